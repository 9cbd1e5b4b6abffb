//! The configuration file, `/etc/reveille/agent.toml`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::{ChildKind, Millis};
use serde::Deserialize;

use crate::boot::BootSource;

/// Where it is looked for unless said otherwise.
pub const PATH: &str = "/etc/reveille/agent.toml";

/// What can be configured. A key that is not here is an error.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which tools this host is driven with.
    pub host_kind: HostKind,
    /// Key, enrolment and ledger are kept here; nobody else may enter. Default `/var/lib/reveille-agent`.
    pub state_dir: PathBuf,
    /// What tells this machine from others. Default `/etc/machine-id`.
    pub machine_id_file: PathBuf,
    /// Where the kernel's files are. Default `/proc`.
    pub proc_dir: PathBuf,
    /// Seconds between two heartbeats, 1 to 3600. Default 30 (ruling 23).
    pub heartbeat_secs: u64,
    /// Commanded reboots and shutdowns in one window, 1 to 1000. Default 3 (ruling 23).
    pub rate_limit: u32,
    /// The window in seconds, 1 to 86400. Default 900.
    pub rate_window_secs: u64,
    /// Child engines that this host has. When not given, those that were ever seen on it.
    pub engines: Option<BTreeSet<ChildKind>>,
    /// The folder of named hooks; it, what is above it and the hooks must belong to root and be writable by root only. Default
    /// `/etc/reveille/hooks`.
    pub hooks_dir: PathBuf,
    /// The folder of named commands (`reveille run`); it, what is above it and the commands must belong to root and be writable by
    /// root only. Default `/etc/reveille/commands.d`.
    pub commands_dir: PathBuf,
    /// Free commands. Without it none is run.
    pub free: Option<Free>,
    /// Only with `host_kind = "sandbox"`.
    pub sandbox: Option<Sandbox>,
}

/// Whose free commands are run, and with whose rights.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Free {
    /// Users of the controller, by name.
    pub users: BTreeSet<String>,
    /// The user of this host as whom they run; root must be written.
    pub run_as: String,
}

/// See [`recipe::HostKind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostKind {
    /// A host under systemd.
    Systemd,
    /// A supervised process tree, for demonstrations and tests only.
    Sandbox,
}

/// How a sandbox host is driven.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sandbox {
    /// The file in which it shows its boot identity.
    pub boot_id_file: PathBuf,
    /// Its control program and first arguments.
    pub ctl: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            host_kind: HostKind::Systemd,
            state_dir: "/var/lib/reveille-agent".into(),
            machine_id_file: "/etc/machine-id".into(),
            proc_dir: "/proc".into(),
            heartbeat_secs: 30,
            rate_limit: 3,
            rate_window_secs: 15 * 60,
            engines: None,
            hooks_dir: recipe::HOOKS_DIR.into(),
            commands_dir: recipe::COMMANDS_DIR.into(),
            free: None,
            sandbox: None,
        }
    }
}

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("cannot read {path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is written in it.
    #[error("{path}: {why}")]
    Content {
        /// Which.
        path: PathBuf,
        /// In words, with the place.
        why: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Value(String),
}

impl Config {
    /// Reads the file; the defaults, if it is the usual one and not there.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let config = match std::fs::read_to_string(path) {
            Ok(text) => toml::from_str(&text)
                .map_err(|e: toml::de::Error| ConfigError::Content { path: path.to_owned(), why: e.to_string() })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == Path::new(PATH) => Self::default(),
            Err(source) => return Err(ConfigError::File { path: path.to_owned(), source }),
        };
        config.check()?;
        Ok(config)
    }

    /// Whether the values are in their bounds and go together.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the key and its bounds.
    pub fn check(&self) -> Result<(), ConfigError> {
        let within = |key: &str, value: u64, most: u64| {
            let fits = (1..=most).contains(&value);
            fits.then_some(()).ok_or_else(|| ConfigError::Value(format!("{key} = {value} is not between 1 and {most}")))
        };
        within("heartbeat_secs", self.heartbeat_secs, 3600)?;
        within("rate_limit", self.rate_limit.into(), 1000)?;
        within("rate_window_secs", self.rate_window_secs, 86_400)?;
        let wrong = |words: &str| Err(ConfigError::Value(words.to_owned()));
        if !self.hooks_dir.is_absolute() {
            return wrong("hooks_dir is no absolute path (it begins with /)");
        }
        if !self.commands_dir.is_absolute() {
            return wrong("commands_dir is no absolute path (it begins with /)");
        }
        if let Some(free) = &self.free {
            if free.users.is_empty() || free.users.iter().any(String::is_empty) {
                return wrong("free.users names nobody: list users of the controller, or leave [free] out");
            }
            // It becomes an argument.
            if free.run_as.is_empty() || free.run_as.starts_with('-') || free.run_as.contains('\0') {
                return wrong("free.run_as is no name of a user of this host");
            }
        }
        match (&self.host_kind, &self.sandbox) {
            (HostKind::Systemd, Some(_)) => wrong("[sandbox] needs host_kind = \"sandbox\""),
            (HostKind::Sandbox, None) => wrong("host_kind = \"sandbox\" needs [sandbox] with boot_id_file and ctl"),
            (HostKind::Sandbox, Some(sandbox)) if sandbox.ctl.is_empty() => {
                wrong("sandbox.ctl is empty: name the control program")
            }
            (HostKind::Systemd, None) | (HostKind::Sandbox, Some(_)) => Ok(()),
        }
    }

    /// The kind of host, for the recipes.
    pub fn recipes(&self) -> recipe::HostKind {
        match &self.sandbox {
            Some(sandbox) => recipe::HostKind::Sandbox { ctl: sandbox.ctl.clone() },
            None => recipe::HostKind::Systemd,
        }
    }

    /// Where the boot identity is read.
    pub fn boot_source(&self) -> BootSource {
        match &self.sandbox {
            Some(sandbox) => BootSource::Sandbox(sandbox.boot_id_file.clone()),
            None => BootSource::Kernel(self.proc_dir.clone()),
        }
    }

    /// Time between two heartbeats.
    pub fn heartbeat(&self) -> Millis {
        Millis::secs(self.heartbeat_secs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.toml");
        std::fs::write(&path, text).unwrap();
        Config::read(&path).map_err(|e| e.to_string())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        assert_eq!(read("").unwrap(), Config::default());
        let config = read("heartbeat_secs = 5\nrate_limit = 9\nengines = [\"lxd\"]").unwrap();
        assert_eq!((config.heartbeat(), config.rate_limit), (Millis::secs(5), 9));
        assert!(Config::read(Path::new("/nonexistent/agent.toml")).is_err());
    }

    #[test]
    fn a_wrong_file_says_what_and_where() {
        for (text, said) in [
            ("heartbeet_secs = 5", "unknown field `heartbeet_secs`"),
            ("heartbeat_secs = 0", "between 1 and 3600"),
            ("rate_limit = 0", "between 1 and 1000"),
            ("hooks_dir = \"hooks\"", "no absolute path"),
            ("commands_dir = \"c\"", "commands_dir is no absolute path"),
            ("[free]\nusers = [\"alice\"]", "missing field `run_as`"),
            ("[free]\nusers = []\nrun_as = \"root\"", "names nobody"),
            ("[free]\nusers = [\"alice\"]\nrun_as = \"-x\"", "no name of a user"),
            ("[free]\nusers = [\"alice\"]\nrun_as = \"root\"\nsudo = true", "unknown field `sudo`"),
            ("host_kind = \"windows\"", "unknown variant `windows`"),
            ("host_kind = \"sandbox\"", "needs [sandbox]"),
            ("[sandbox]\nboot_id_file = \"/x\"\nctl = [\"y\"]", "needs host_kind"),
            ("host_kind = \"sandbox\"\n[sandbox]\nboot_id_file = \"/x\"\nctl = []", "ctl is empty"),
            ("host_kind = \"sandbox\"\n[sandbox]\nboot_id_file = \"/x\"\nctl = [\"y\"]\nz = 1", "unknown field `z`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
