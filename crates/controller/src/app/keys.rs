//! Secrets on disk: the key that commands are signed with, and the one-time password.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use protocol::native::ControllerKey;
use ring::rand::{SecureRandom as _, SystemRandom};

/// Why a secret is not there.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// A file or directory could not be used.
    #[error("cannot {action} {}: {source}; check that the state directory belongs to this user and has space left", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else could read it.
    #[error("{} can be read by others; run `chmod 600` on it, and think whether somebody has", .0.display())]
    Exposed(PathBuf),
    /// Not what we wrote.
    #[error("{} is damaged: restore it from a backup; with a new key every device must enrol again", .0.display())]
    Damaged(PathBuf),
    /// No random numbers.
    #[error("the system gives no random numbers")]
    NoChance,
}

/// Makes the directory, for its owner alone.
pub(super) fn state_dir(dir: &Path) -> Result<(), KeyFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(file_error("create", dir))
}

/// The controller's key: 32 bytes as they are, in a file of mode 0600 that is made once.
pub(super) fn controller_key(path: &Path) -> Result<ControllerKey, KeyFileError> {
    if !path.try_exists().map_err(file_error("read", path))? {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| KeyFileError::NoChance)?;
        write_new(path, &seed)?;
    }
    let mut file = File::open(path).map_err(file_error("read", path))?;
    if file.metadata().map_err(file_error("read", path))?.permissions().mode() & 0o077 != 0 {
        return Err(KeyFileError::Exposed(path.to_owned()));
    }
    let mut seed = Vec::new();
    (&mut file).take(33).read_to_end(&mut seed).map_err(file_error("read", path))?;
    let damaged = || KeyFileError::Damaged(path.to_owned());
    let seed: [u8; 32] = seed.try_into().map_err(|_| damaged())?;
    ControllerKey::from_seed(&seed).map_err(|_| damaged())
}

/// Writes a secret that only the owner reads, in place of one of the same name.
pub(super) fn write_secret(path: &Path, text: &str) -> Result<(), KeyFileError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("replace", path)(error)),
        _ => write_new(path, text.as_bytes()),
    }
}

/// The file appears whole or not at all, and never in place of another.
fn write_new(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let draft = path.with_extension("new");
    let write = || {
        match std::fs::remove_file(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        // Unlike a rename, a link fails when the name is taken.
        std::fs::hard_link(&draft, path)?;
        std::fs::remove_file(&draft)?;
        path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(file_error("write", path))
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("controller.key");
        let first = controller_key(&path).unwrap().public();
        assert_eq!(controller_key(&path).unwrap().public(), first);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(controller_key(&path), Err(KeyFileError::Exposed(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, b"short").unwrap();
        assert!(matches!(controller_key(&path), Err(KeyFileError::Damaged(_))));
    }

    #[test]
    fn a_secret_replaces_the_one_before_and_is_for_the_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin-password");
        write_secret(&path, "one\n").unwrap();
        write_secret(&path, "two\n").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
