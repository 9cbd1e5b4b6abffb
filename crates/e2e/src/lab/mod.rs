//! The lab: packages, images, the sandbox, its hosts and their children.
//!
//! Everything of the lab lies under one directory outside the repository and in one cgroup; [`sandbox::down`] leaves
//! neither processes nor namespaces, mounts, cgroups or run-time files, whatever killed the lab before.

pub mod children;
pub mod host;
pub mod image;
pub mod packages;
mod power;
pub mod probe;
pub mod sandbox;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

pub use host::{Host, HostSpec, Kind};
pub use power::supply as power_supply;

/// The variable that moves the lab's directory.
pub const DIR_VARIABLE: &str = "REVEILLE_LAB_DIR";

/// The lab's network; hosts and children take the addresses `10.77.0.2` to `10.77.0.254`, the sandbox itself is
/// [`SANDBOX_IP`].
pub const NETWORK: &str = "10.77.0";

/// Where the controller and the tests are, as the hosts see them.
pub const SANDBOX_IP: &str = "10.77.0.1";

/// Where the lab keeps what it has.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Everything: `/var/cache/reveille-lab` unless `REVEILLE_LAB_DIR` says otherwise. Not on a tmpfs overlay: hosts'
    /// disks are overlays, and an overlay cannot hold another one's upper layer.
    pub root: PathBuf,
}

impl Paths {
    /// Reads `REVEILLE_LAB_DIR`.
    #[must_use]
    pub fn from_environment() -> Self {
        let root = std::env::var_os(DIR_VARIABLE)
            .filter(|dir| !dir.is_empty())
            .map_or_else(|| PathBuf::from("/var/cache/reveille-lab"), PathBuf::from);
        Self { root }
    }

    /// Cached images, one directory per content key.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// What a lab that is up has; gone when it is down.
    #[must_use]
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// The directory of one host.
    #[must_use]
    pub fn host(&self, name: &str) -> PathBuf {
        self.run().join("hosts").join(name)
    }

    /// Held by the keeper of a sandbox for as long as it lives.
    #[must_use]
    pub fn keeper_lock(&self) -> PathBuf {
        self.root.join("keeper.lock")
    }
}

/// Takes the lock on `path`, waiting for at most `limit`.
///
/// # Errors
///
/// When another process holds it for longer, or the file cannot be made.
pub(crate) fn lock(path: &Path, limit: Duration, who: &str) -> anyhow::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    let file = File::options().create(true).append(true).open(path).with_context(|| path.display().to_string())?;
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(50)),
            Err(TryLockError::WouldBlock) => {
                bail!("{who} has held {} for {} s; end it and try again", path.display(), limit.as_secs())
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
}

/// FNV-1a: stable between releases of the compiler, and all that a cache key needs.
pub(crate) fn fingerprint<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        // The length goes in too, so that moving a byte from one part to the next changes the key.
        for byte in (part.len() as u64).to_le_bytes().iter().chain(part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_depends_on_every_byte_and_on_the_parts() {
        let key = |parts: &[&str]| fingerprint(parts.iter().map(|part| part.as_bytes()));
        assert_eq!(key(&["ab", "c"]), key(&["ab", "c"]));
        assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
        assert_ne!(key(&["ab", "c"]), key(&["ab", "d"]));
    }

    #[test]
    fn a_held_lock_is_reported_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = lock(&path, Duration::ZERO, "nobody").unwrap();
        let error = lock(&path, Duration::from_millis(1), "another lab").unwrap_err();
        assert!(error.to_string().contains("another lab"), "{error}");
        drop(held);
        lock(&path, Duration::from_secs(30), "another lab").unwrap();
    }
}
