//! What a login leaves behind: address, CA and token, in a file that only its owner can read.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::args::{Global, Here};
use crate::error::CliError;
use crate::exit::Exit;

/// The stored login.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// `https://HOST:PORT`.
    pub(crate) server: String,
    /// The pinned CA.
    pub(crate) ca_pem: String,
    /// User name.
    pub(crate) user: String,
    /// Bearer token.
    pub(crate) token: String,
}

/// Where the login is kept.
pub(crate) fn path() -> Result<PathBuf, CliError> {
    Ok(config_dir()?.join("login.json"))
}

/// `$XDG_CONFIG_HOME/reveille`, else `~/.config/reveille`.
pub(crate) fn config_dir() -> Result<PathBuf, CliError> {
    user_dir("XDG_CONFIG_HOME", ".config")
}

/// `$XDG_STATE_HOME/reveille`, else `~/.local/state/reveille`.
pub(crate) fn state_dir() -> Result<PathBuf, CliError> {
    user_dir("XDG_STATE_HOME", ".local/state")
}

/// The file to which an engine in this process adds events of services.
pub(crate) fn events_file(here: &Here) -> Result<PathBuf, CliError> {
    const NAME: &str = "orchestrator-events.jsonl";
    match &here.state_dir {
        Some(dir) => Ok(std::path::absolute(dir).unwrap_or_else(|_| dir.clone()).join(NAME)),
        None if rustix::process::geteuid().is_root() => Ok(PathBuf::from(controller::notify::EVENTS_FILE)),
        None => Ok(state_dir()?.join(NAME)),
    }
}

fn user_dir(variable: &str, below_home: &str) -> Result<PathBuf, CliError> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(variable)
        .filter(|dir| dir.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(below_home)))
        .map(|dir| dir.join("reveille"))
        .ok_or_else(|| CliError::new(Exit::Failed, format!("neither {variable} nor HOME is set")).hint("set one of them"))
}

impl Session {
    /// The stored login, overridden by options and environment (`REVEILLE_TOKEN`).
    pub(crate) fn find(global: &Global) -> Result<Self, CliError> {
        let stored = Self::stored()?;
        let ca = global.ca.as_deref().map(read_ca).transpose()?;
        let token = std::env::var("REVEILLE_TOKEN").ok().filter(|token| !token.trim().is_empty());
        Self::combine(stored, global.server.clone(), ca, token)
    }

    /// The stored login as it is, if there is one.
    pub(crate) fn stored() -> Result<Option<Self>, CliError> {
        Self::load(&path()?)
    }

    /// Forget the stored login.
    pub(crate) fn forget() -> Result<(), CliError> {
        let path = path()?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(CliError::new(Exit::Failed, format!("cannot remove {}: {error}", path.display())))
            }
            _ => Ok(()),
        }
    }

    fn combine(
        stored: Option<Self>,
        server: Option<String>,
        ca: Option<String>,
        token: Option<String>,
    ) -> Result<Self, CliError> {
        let missing = |what: &str| {
            CliError::new(Exit::Unauthorised, format!("not logged in: {what} is not known"))
                .hint("log in with `reveille login https://HOST:PORT`")
        };
        // A token is a secret of the server that it came from: it is never sent to another one, nor past another CA.
        let same = |one: &Self| server.as_ref().is_none_or(|s| s.trim_end_matches('/') == one.server);
        let stored = stored.filter(same);
        let server = server.or_else(|| stored.as_ref().map(|s| s.server.clone())).ok_or_else(|| missing("the server"))?;
        let ca_pem = ca.or_else(|| stored.as_ref().map(|s| s.ca_pem.clone())).ok_or_else(|| missing("the server's CA"))?;
        let token = token.or_else(|| stored.as_ref().map(|s| s.token.clone())).ok_or_else(|| missing("a token"))?;
        let user = stored.map(|s| s.user).unwrap_or_default();
        Ok(Self { server: server.trim_end_matches('/').to_owned(), ca_pem, user, token: token.trim().to_owned() })
    }

    fn load(path: &Path) -> Result<Option<Self>, CliError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(CliError::new(Exit::Failed, format!("cannot read {}: {error}", path.display()))),
        };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            CliError::new(Exit::Failed, format!("{} is damaged: {error}", path.display())).hint("remove it and log in again")
        })
    }

    /// Write it so that it appears whole or not at all, readable by its owner alone.
    pub(crate) fn store(&self, path: &Path) -> Result<(), CliError> {
        let write = || -> io::Result<()> {
            if let Some(dir) = path.parent() {
                fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            }
            let draft = path.with_extension(format!("new-{}", std::process::id()));
            let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            file.sync_all()?;
            fs::rename(&draft, path)
        };
        write().map_err(|error| {
            CliError::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
                .hint("check that the directory belongs to you and has space left")
        })
    }
}

/// A CA file, as PEM.
pub(crate) fn read_ca(path: &Path) -> Result<String, CliError> {
    fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("cannot read the CA {}: {error}", path.display())))
        .map(|pem| pem.trim_start().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let text = |s: &str| s.to_owned();
        Session { server: text("https://a:1"), ca_pem: text("ca"), user: text("admin"), token: text("secret") }
    }

    #[test]
    fn a_stored_login_is_read_back_and_readable_by_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/login.json");
        assert!(Session::load(&path).unwrap().is_none());
        session().store(&path).unwrap();
        session().store(&path).unwrap();
        assert!(Session::load(&path).unwrap() == Some(session()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").unwrap();
        assert!(Session::load(&path).err().unwrap().hint.unwrap().contains("log in again"));
    }

    #[test]
    fn a_token_is_never_sent_to_another_server() {
        let other = Session::combine(Some(session()), Some("https://b:1".to_owned()), Some("ca".to_owned()), None);
        assert_eq!(other.err().unwrap().exit, Exit::Unauthorised);
        let same = Session::combine(Some(session()), Some("https://a:1/".to_owned()), None, None).ok().unwrap();
        assert!(same == session());
        let own = Session::combine(None, Some("https://b:1".to_owned()), Some("ca".to_owned()), Some("t\n".to_owned()));
        assert_eq!(own.ok().unwrap().token, "t");
        assert!(Session::combine(None, None, None, None).is_err());
    }
}
