//! The disk under an agent: what is flushed survives everything, what is only written survives the process but not the power.

use crate::rng::Rng;

/// One append-only file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    flushed: Vec<u8>,
    written: Vec<u8>,
    /// No room for one more byte.
    pub(crate) full: bool,
}

impl Disk {
    /// Append; not yet durable. `false` when the disk is full.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        if self.full {
            return false;
        }
        self.written.extend_from_slice(bytes);
        true
    }

    /// Make durable what was written. `false` when the disk is full and something waited.
    pub(crate) fn flush(&mut self) -> bool {
        if self.full && !self.written.is_empty() {
            return false;
        }
        self.flushed.append(&mut self.written);
        true
    }

    /// Replace the whole file at once and durably (write beside, flush, rename). `false` when the disk is full.
    pub(crate) fn replace(&mut self, bytes: Vec<u8>) -> bool {
        if self.full {
            return false;
        }
        self.flushed = bytes;
        self.written.clear();
        true
    }

    /// What would survive a power cut now.
    pub(crate) fn durable(&self) -> &[u8] {
        &self.flushed
    }

    /// What a process reads.
    pub(crate) fn read(&self) -> Vec<u8> {
        [self.flushed.as_slice(), self.written.as_slice()].concat()
    }

    /// The power fails: of what was not flushed any first part survives. True when something was lost.
    pub(crate) fn lose_power(&mut self, rng: &mut Rng) -> bool {
        if self.written.is_empty() {
            return false;
        }
        let keep = rng.index(self.written.len());
        self.flushed.extend_from_slice(&self.written[..keep]);
        self.written.clear();
        true
    }

    /// The process dies in the middle of a write: any first part of these bytes is in the file.
    pub(crate) fn tear(&mut self, bytes: &[u8], rng: &mut Rng) {
        if !self.full {
            let keep = rng.index(bytes.len());
            self.written.extend_from_slice(&bytes[..keep]);
        }
    }

    /// Cut off the end: what a reader found torn there.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.flush_quietly();
        self.flushed.truncate(len);
    }

    /// What was written and not flushed is taken out of the file again.
    pub(crate) fn forget_written(&mut self) {
        self.written.clear();
    }

    /// An orderly shutdown writes everything out.
    pub(crate) fn flush_quietly(&mut self) {
        let rest = std::mem::take(&mut self.written);
        self.flushed.extend(rest);
    }
}
