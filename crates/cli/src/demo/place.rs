//! The private directory of a demonstration, which goes when it goes; and ports for it.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::failed;
use crate::error::CliError;

/// What the names of all temporary ones begin with.
const PREFIX: &str = "reveille-demo-";
/// Held for as long as the demonstration lives.
const LOCK: &str = "lock";
/// The longest path of a unix socket is 107 bytes, and there is one in the directory of each host.
const LONGEST: usize = 107 - "/borealis/control.sock".len();
/// How long processes that were killed may still write into it.
const REMOVAL_LIMIT: Duration = Duration::from_secs(10);
/// Below the ports that the system gives to outgoing connections, so that nobody takes one while the controller is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Removed when dropped.
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// Makes `asked`, which must not exist yet, or a temporary one; mode 0700.
    pub(super) fn make(asked: Option<&Path>) -> Result<Self, CliError> {
        let path = match asked {
            Some(path) => path.to_owned(),
            None => std::env::temp_dir().join(format!("{PREFIX}{:08x}", rand::random::<u32>())),
        };
        let cannot = |error: io::Error| {
            let error = failed(format!("cannot make the directory {}: {error}", path.display()));
            error.hint("give one that does not exist yet, where you may write, with --dir")
        };
        let path = std::path::absolute(&path).map_err(cannot)?;
        if path.as_os_str().len() > LONGEST || path.to_str().is_none() {
            return Err(CliError::usage(format!("the path {} is too long, or no text", path.display()))
                .hint(format!("give one of at most {LONGEST} bytes with --dir")));
        }
        sweep();
        DirBuilder::new().mode(0o700).create(&path).map_err(cannot)?;
        // From here on it is ours to remove. The lock appears held, so that nobody takes it for a leftover.
        let lock = locked(&path).inspect_err(|_| remove(&path)).map_err(cannot)?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn locked(path: &Path) -> io::Result<File> {
    let (new, lock) = (path.join("lock.new"), path.join(LOCK));
    let file = File::create(&new)?;
    file.try_lock()?;
    fs::rename(&new, lock)?;
    Ok(file)
}

/// Tries for a while: what was killed just now may still write.
fn remove(path: &Path) {
    let begun = Instant::now();
    while let Err(error) = fs::remove_dir_all(path) {
        if error.kind() == io::ErrorKind::NotFound {
            return;
        }
        if begun.elapsed() > REMOVAL_LIMIT {
            eprintln!("The directory {} could not be removed: {error}", path.display());
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Removes what demonstrations that were killed (SIGKILL) have left: directories of ours whose lock nobody holds.
fn sweep() {
    let ours = rustix::process::getuid().as_raw();
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let path = entry.path();
        let named = path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with(PREFIX));
        // Of a link this is the link's own.
        let owned = || fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir() && meta.uid() == ours);
        if named && owned() && File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok()) {
            remove(&path);
        }
    }
}

/// Two free ports on the loopback address.
pub(super) fn free_ports() -> Result<(u16, u16), CliError> {
    let free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut found = (0..1000).map(|_| rand::random_range(PORTS)).filter(free);
    match (found.next(), found.next()) {
        (Some(one), Some(other)) if one != other => Ok((one, other)),
        _ => Err(failed("no two free ports on 127.0.0.1").hint("try again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_holder() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo");
        let place = Place::make(Some(&path)).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(Place::make(Some(&path)).is_err(), "never one that exists");
        fs::write(path.join("file"), "x").unwrap();
        drop(place);
        assert!(!path.exists());
        let long = dir.path().join("x".repeat(100));
        let error = Place::make(Some(&long)).err().unwrap();
        assert!(error.hint.unwrap().contains("--dir") && !long.exists());
    }

    #[test]
    fn what_a_killed_one_left_is_removed_and_no_other() {
        let make = |what: &str, lock: bool| {
            let path = std::env::temp_dir().join(format!("{PREFIX}test-{what}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            lock.then(|| locked(&path).unwrap()).map_or((path.clone(), None), |lock| (path, Some(lock)))
        };
        let ((left, lock), (held, other), (new, _)) = (make("left", true), make("held", true), make("new", false));
        drop(lock);
        sweep();
        assert!(!left.exists(), "its lock is nobody's");
        assert!(held.exists(), "its holder lives");
        assert!(new.exists(), "it is just being made");
        drop(other);
        [held, new].iter().for_each(|path| remove(path));
    }
}
