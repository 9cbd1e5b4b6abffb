//! Who this device is: its key, and what the controller told it at enrolment.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::enrol::EnrolAnswer;
use protocol::native::DeviceKey;
use rand::TryRngCore as _;
use serde::{Deserialize, Serialize};

use crate::files::{self, FileError};

const KEY: &str = "key.json";
const ENROLMENT: &str = "enrolment.json";
const ENGINES: &str = "engines.json";

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing there yet.
    #[error("this host is not enrolled: make a token on the controller, then run `reveille-agent enrol --token-file FILE`")]
    NotEnrolled,
    /// The key file holds no key.
    #[error("the key in {0} is damaged: move it away and enrol this host again")]
    BadKey(String),
    /// The operating system gave no randomness.
    #[error("no randomness for a key: {0}")]
    NoRandomness(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    ed25519_seed: String,
}

/// The device's key, if it has made one.
///
/// # Errors
/// [`IdentityError`]; [`IdentityError::NotEnrolled`] when there is none.
pub fn key(state: &Path) -> Result<DeviceKey, IdentityError> {
    let path = state.join(KEY);
    let file: KeyFile = files::read_json(&path).map_err(absent)?;
    let bad = || IdentityError::BadKey(path.display().to_string());
    let seed = STANDARD.decode(file.ed25519_seed).ok().and_then(|s| <[u8; 32]>::try_from(s).ok()).ok_or_else(bad)?;
    DeviceKey::from_seed(&seed).map_err(|_| bad())
}

/// The device's key; made here, and never leaving this folder, when there is none (ruling 27).
///
/// # Errors
/// [`IdentityError`].
pub fn key_or_new(state: &Path) -> Result<DeviceKey, IdentityError> {
    match key(state) {
        Err(IdentityError::NotEnrolled) => {
            let mut seed = [0; 32];
            rand::rngs::OsRng.try_fill_bytes(&mut seed).map_err(|e| IdentityError::NoRandomness(e.to_string()))?;
            files::write_json(&state.join(KEY), &KeyFile { ed25519_seed: STANDARD.encode(seed) })?;
            key(state)
        }
        other => other,
    }
}

/// What the controller answered at enrolment.
///
/// # Errors
/// [`IdentityError`].
pub fn enrolment(state: &Path) -> Result<EnrolAnswer, IdentityError> {
    files::read_json(&state.join(ENROLMENT)).map_err(absent)
}

/// Keeps it.
///
/// # Errors
/// [`FileError`].
pub fn keep_enrolment(state: &Path, answer: &EnrolAnswer) -> Result<(), FileError> {
    files::write_json(&state.join(ENROLMENT), answer)
}

/// The child engines that were ever seen on this host: one of them that does not answer makes the children unknown, never
/// "none" (E11). Of a note that cannot be read nothing is known, so that every engine is expected until it is moved away.
pub fn engines(state: &Path) -> std::collections::BTreeSet<model::ChildKind> {
    match files::read_json(&state.join(ENGINES)) {
        Ok(engines) => engines,
        Err(error) if error.is_absent() => std::collections::BTreeSet::new(),
        Err(error) => {
            tracing::warn!(%error, "which child engines this host has is not known; move the file away if it has none");
            [model::ChildKind::Lxd, model::ChildKind::Sandbox].into()
        }
    }
}

/// Keeps them.
///
/// # Errors
/// [`FileError`].
pub fn keep_engines(state: &Path, engines: &std::collections::BTreeSet<model::ChildKind>) -> Result<(), FileError> {
    files::write_json(&state.join(ENGINES), engines)
}

fn absent(error: FileError) -> IdentityError {
    if error.is_absent() { IdentityError::NotEnrolled } else { IdentityError::File(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(key(folder.path()), Err(IdentityError::NotEnrolled)));
        let made = key_or_new(folder.path()).unwrap().public();
        assert_eq!(key_or_new(folder.path()).unwrap().public(), made);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(key_or_new(other.path()).unwrap().public(), made);
    }

    #[test]
    fn a_damaged_note_of_engines_is_not_no_engine() {
        let folder = tempfile::tempdir().unwrap();
        assert!(engines(folder.path()).is_empty());
        keep_engines(folder.path(), &[model::ChildKind::Lxd].into()).unwrap();
        assert_eq!(engines(folder.path()), [model::ChildKind::Lxd].into());
        for damage in ["", "[\"lx", "[\"other\"]"] {
            std::fs::write(folder.path().join(ENGINES), damage).unwrap();
            assert!(engines(folder.path()).contains(&model::ChildKind::Lxd), "{damage:?}");
        }
    }

    #[test]
    fn a_damaged_key_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KEY), "{\"ed25519_seed\":\"AAAA\"}").unwrap();
        assert!(matches!(key_or_new(folder.path()), Err(IdentityError::BadKey(_))));
        std::fs::write(folder.path().join(KEY), "{").unwrap();
        assert!(matches!(key_or_new(folder.path()), Err(IdentityError::File(_))));
    }
}
