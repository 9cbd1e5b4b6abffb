//! The ledger: what the agent must still know after a crash, a reboot or a power cut.
//!
//! [`Record`] and the bytes are pure; [`FileLedger`] keeps them in one append-only file. The simulator has a ledger of its
//! own on a disk that loses what was not flushed.

mod file;
mod format;
mod record;

pub use file::FileLedger;
pub use format::{Corrupt, Decoded, decode, encode, encode_all};
pub use record::{LEDGER_VERSION, Moment, Record};

/// Why a write to the ledger failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the ledger could not be written: {reason}; free some space on the disk, then try again")]
pub struct LedgerError {
    /// In words.
    pub reason: String,
    /// Nothing of what failed can be read back later: the file is as it was before. Otherwise part of it may be there.
    pub undone: bool,
}

/// Where records are kept. Nothing is durable before `flush` (or `replace`) has returned.
pub trait Ledger {
    /// Reads everything, drops a torn last record and removes it from the file.
    ///
    /// # Errors
    /// [`Corrupt`] when an earlier record is damaged or the file cannot be read: nothing disruptive may be done then.
    fn load(&mut self) -> Result<Vec<Record>, Corrupt>;

    /// Adds one record.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing counts as written.
    fn append(&mut self, record: &Record) -> Result<(), LedgerError>;

    /// Makes everything appended durable.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing since the last flush counts as written.
    fn flush(&mut self) -> Result<(), LedgerError>;

    /// Replaces everything by these records, durably and at once: after a crash there are the old ones or the new ones.
    ///
    /// # Errors
    /// [`LedgerError`]; the old ones are still there.
    fn replace(&mut self, records: &[Record]) -> Result<(), LedgerError>;
}

#[cfg(test)]
mod tests;
