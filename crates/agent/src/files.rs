//! Small private files: written whole or not at all, readable by their owner only.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk, or a right.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Not what was written there.
    #[error("{path} cannot be read: {why}; if it was damaged, move it away and enrol this host again")]
    Content {
        /// Which file.
        path: PathBuf,
        /// In words.
        why: String,
    },
}

impl FileError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// Whether the file is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// Reads a file of JSON.
///
/// # Errors
/// [`FileError`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, FileError> {
    let text = std::fs::read_to_string(path).map_err(FileError::io("read", path))?;
    serde_json::from_str(&text).map_err(|e| FileError::Content { path: path.to_owned(), why: e.to_string() })
}

/// Writes a file of JSON, durably, mode 0600: after a crash there is the old one or the new one.
///
/// # Errors
/// [`FileError`].
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), FileError> {
    let content = |why: String| FileError::Content { path: path.to_owned(), why };
    let text = serde_json::to_vec_pretty(value).map_err(|e| content(e.to_string()))?;
    let folder = path.parent().ok_or_else(|| content("it is no file in a folder".to_owned()))?;
    let temporary = path.with_extension("new");
    let write = || {
        // A new file, whatever stands there: one of an earlier crash may have other rights, a link would lead elsewhere.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(&text)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(FileError::io("write", path))
}

/// Makes a folder, and those above it, that only the owner can enter. One that is there stays as it is.
///
/// # Errors
/// [`FileError`].
pub fn make_private(folder: &Path) -> Result<(), FileError> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(FileError::io("make", folder))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_private_file_is_private_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, path) = (folder.path().join("a/b"), folder.path().join("a/b/c.json"));
        make_private(&inner).unwrap();
        write_json(&path, &[1, 2]).unwrap();
        write_json(&path, &[3]).unwrap();
        assert_eq!(read_json::<Vec<u8>>(&path).unwrap(), [3]);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(read_json::<Vec<u8>>(&inner.join("none")).unwrap_err().is_absent());
        // What stands in the way is not written through, and does not lend its rights.
        let (elsewhere, draft) = (folder.path().join("elsewhere"), path.with_extension("new"));
        std::fs::write(&elsewhere, "kept").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &draft).unwrap();
        write_json(&path, &[4]).unwrap();
        std::fs::write(&draft, "left over, for all to read").unwrap();
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_json(&path, &[5]).unwrap();
        assert_eq!(std::fs::read_to_string(&elsewhere).unwrap(), "kept");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write_json(&path, &[3]).unwrap();
        assert!(matches!(read_json::<String>(&path), Err(FileError::Content { .. })));
    }
}
