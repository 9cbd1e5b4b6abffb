//! Only one controller at a time may use a database file. The lock is the system's (`flock`): it ends with the process,
//! however that ends.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// The held lock. The file also remembers the highest lease under which this database was led here, so that an older copy
/// put in its place is noticed.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// Why the lock could not be taken.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody has it; the process id as written by the holder.
    Held(Option<u32>),
    /// The file cannot be used.
    Io(io::Error),
}

pub(super) fn path_beside(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, LockError> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut lock = Self { file: file.map_err(LockError::Io)? };
        match flock(&lock.file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(LockError::Held(lock.field("pid").and_then(|pid| pid.parse().ok()))),
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
        let text = format!("pid={}\nlease={lease}\n", std::process::id());
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
        let mut held = Lock::take(&path).unwrap();
        assert!(matches!(Lock::take(&path), Err(LockError::Held(Some(pid))) if pid == std::process::id()));
        held.write(12).unwrap();
        held.write(3).unwrap();
        drop(held);
        assert_eq!(Lock::take(&path).unwrap().led_lease(), 3);
    }
}
