//! Only one controller at a time may use a database file. The lock is the system's (`flock`): it ends with the process,
//! however that ends.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use model::Timestamp;
use rustix::fs::{FlockOperation, flock};

/// The held lock. The file also remembers the highest lease under which this database was led here, so that an older copy
/// put in its place is noticed.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    since: Timestamp,
}

/// Who holds a lock, as far as it said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub pid: Option<u32>,
    /// When it took the lock, by its clock.
    pub since: Option<Timestamp>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pid, self.since) {
            (Some(pid), Some(since)) => write!(f, " (process {pid}, since {since})"),
            (Some(pid), None) => write!(f, " (process {pid})"),
            (None, _) => Ok(()),
        }
    }
}

/// Why the lock could not be taken.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody has it; what the holder has written of itself.
    Held(Holder),
    /// The file cannot be used.
    Io(io::Error),
}

pub(super) fn path_beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl Lock {
    pub(super) fn take(path: &Path, now: Timestamp) -> Result<Self, LockError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut lock = Self { file: file.map_err(LockError::Io)?, since: now };
        match flock(&lock.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = lock.field("pid").and_then(|pid| pid.parse().ok());
                let since = lock.field("since").and_then(|since| since.parse().ok());
                return Err(LockError::Held(Holder { pid, since }));
            }
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        let lease = lock.led_lease();
        lock.write(lease).map_err(LockError::Io)?;
        Ok(lock)
    }

    /// The highest lease that was written here; 0 when none was.
    pub(super) fn led_lease(&mut self) -> u64 {
        self.field("lease").and_then(|lease| lease.parse().ok()).unwrap_or(0)
    }

    pub(super) fn write(&mut self, lease: u64) -> io::Result<()> {
        let text = format!("pid={}\nsince={}\nlease={lease}\n", std::process::id(), self.since);
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)?;
        self.file.sync_all()
    }

    fn field(&mut self, key: &str) -> Option<String> {
        let mut text = String::new();
        self.file.rewind().ok()?;
        (&self.file).take(200).read_to_string(&mut text).ok()?;
        text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_lock_names_its_holder_and_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = path_beside(&dir.path().join("db"));
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut held = Lock::take(&path, now).unwrap();
        let Err(LockError::Held(holder)) = Lock::take(&path, now) else { panic!("it was taken twice") };
        assert_eq!(holder, Holder { pid: Some(std::process::id()), since: Some(now) });
        assert!(holder.to_string().ends_with(", since 2023-11-14T22:13:20.000Z)"), "{holder}");
        held.write(12).unwrap();
        held.write(3).unwrap();
        drop(held);
        assert_eq!(Lock::take(&path, now).unwrap().led_lease(), 3);
    }
}
