//! The ledger in one file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Corrupt, Ledger, LedgerError, Record, decode, encode, encode_all};

/// A ledger of this size was not written by us; reading it would only use up memory.
const LARGEST: u64 = 64 * 1024 * 1024;

/// An append-only file, readable by its owner only, locked against a second agent on the same folder.
#[derive(Debug)]
pub struct FileLedger {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    _lock: File,
    /// Length of what is whole.
    written: u64,
    /// Length of what is whole and durable.
    flushed: u64,
}

impl FileLedger {
    /// Opens or makes `ledger` in the folder, which must exist.
    ///
    /// # Errors
    /// The folder cannot be used, or another agent holds it ([`io::ErrorKind::WouldBlock`]).
    pub fn open(folder: &Path) -> io::Result<Self> {
        let private = |path: &Path| OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        // The lock is a file of its own: the ledger itself is replaced when it is compacted.
        let lock = private(&folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, format!("another agent is running on {}", folder.display()))
            }
            TryLockError::Error(error) => error,
        })?;
        let path = folder.join("ledger");
        let file = private(&path)?;
        sync_folder(folder)?;
        Ok(Self { folder: folder.to_owned(), path, file, _lock: lock, written: 0, flushed: 0 })
    }

    /// Cuts the file back to what is known to be good; whether that worked.
    fn undo(&mut self) -> bool {
        let undone = self.file.set_len(self.flushed).and_then(|()| self.file.sync_all());
        if undone.is_ok() {
            self.written = self.flushed;
        }
        undone.is_ok()
    }

    fn failed(&mut self, error: &io::Error) -> LedgerError {
        LedgerError { reason: error.to_string(), undone: self.undo() }
    }
}

impl Ledger for FileLedger {
    fn load(&mut self) -> Result<Vec<Record>, Corrupt> {
        let unreadable = |error: io::Error| Corrupt::Unreadable(error.to_string());
        let length = self.file.metadata().map_err(unreadable)?.len();
        if length > LARGEST {
            return Err(Corrupt::Unreadable(format!("it has {length} bytes, at most {LARGEST} are read")));
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(0)).and_then(|_| self.file.read_to_end(&mut bytes)).map_err(unreadable)?;
        let decoded = decode(&bytes)?;
        self.written = (bytes.len() - decoded.torn) as u64;
        if decoded.torn > 0 {
            self.file.set_len(self.written).map_err(unreadable)?;
        }
        // What was read is acted upon: it must not vanish in a power cut after all.
        self.file.sync_all().map_err(unreadable)?;
        self.flushed = self.written;
        Ok(decoded.records)
    }

    fn append(&mut self, record: &Record) -> Result<(), LedgerError> {
        let line = encode(record);
        let done = self.file.seek(SeekFrom::Start(self.written)).and_then(|_| self.file.write_all(&line));
        match done {
            Ok(()) => {
                self.written += line.len() as u64;
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn flush(&mut self) -> Result<(), LedgerError> {
        match self.file.sync_data() {
            Ok(()) => {
                self.flushed = self.written;
                Ok(())
            }
            Err(error) => Err(self.failed(&error)),
        }
    }

    fn replace(&mut self, records: &[Record]) -> Result<(), LedgerError> {
        let temporary = self.folder.join("ledger.new");
        let bytes = encode_all(records);
        let write = || {
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            Ok(file)
        };
        let file: io::Result<File> = write();
        let file = match file.and_then(|file| std::fs::rename(&temporary, &self.path).map(|()| file)) {
            Ok(file) => file,
            Err(error) => {
                // Space is what is missing most often.
                drop(std::fs::remove_file(&temporary));
                return Err(LedgerError { reason: error.to_string(), undone: true });
            }
        };
        (self.file, self.written, self.flushed) = (file, bytes.len() as u64, bytes.len() as u64);
        // From here on the new file may be there after a crash, or the old one.
        sync_folder(&self.folder).map_err(|error| LedgerError { reason: error.to_string(), undone: false })
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
