//! `sandbox.json`.

use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::SandboxError;

/// Name of the file.
const FILE: &str = "sandbox.json";

/// What a sandbox host is made of.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostConfig {
    /// Started at each boot, and again when it ends by itself.
    #[serde(default)]
    pub(crate) agent: Option<AgentConfig>,
    /// The children.
    #[serde(default)]
    pub(crate) children: Vec<ChildConfig>,
    /// How long the firmware takes between the end of one boot and the begin of the next.
    #[serde(default = "default_boot_delay")]
    pub(crate) boot_delay_ms: u64,
    /// How long everything has to end by itself when the host goes down, before it is killed.
    #[serde(default = "default_stop_grace")]
    pub(crate) stop_grace_ms: u64,
}

/// The agent of a sandbox host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentConfig {
    /// Program and arguments.
    pub(crate) argv: Vec<String>,
}

/// One child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChildConfig {
    /// Letters, digits, `-`, `_` and `.`, at most 63, the first a letter or digit.
    pub(crate) name: String,
    /// Started by each boot.
    #[serde(default)]
    pub(crate) autostart: bool,
    /// Children with a higher number start first.
    #[serde(default)]
    pub(crate) start_priority: i64,
    /// Children with a higher number stop first.
    #[serde(default)]
    pub(crate) stop_priority: i64,
    /// What it does when it is asked to stop.
    #[serde(default)]
    pub(crate) on_term: OnTerm,
    /// How long it takes to stop once asked.
    #[serde(default)]
    pub(crate) stop_delay_ms: u64,
}

/// What a child does when it is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnTerm {
    /// It ends.
    #[default]
    Exit,
    /// It notes that it was asked and goes on.
    Ignore,
}

fn default_boot_delay() -> u64 {
    500
}

fn default_stop_grace() -> u64 {
    2000
}

impl HostConfig {
    /// Reads it from the directory of a sandbox host.
    pub(super) fn read(dir: &Path) -> Result<Self, SandboxError> {
        let path = dir.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(SandboxError::file("cannot read", &path))?;
        let wrong = |why: String| SandboxError::Config { path: path.clone(), why };
        let config: Self = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }

    /// Makes the directory (0700) if needed and writes the configuration into it.
    ///
    /// # Errors
    /// A name that a child cannot have, or one that two have, or the disk.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), SandboxError> {
        let path = dir.join(FILE);
        self.check().map_err(|why| SandboxError::Config { path: path.clone(), why })?;
        make_private(dir)?;
        let text = serde_json::to_string_pretty(self).map_err(|e| SandboxError::Answer(e.to_string()))?;
        std::fs::write(&path, text).map_err(SandboxError::file("cannot write", &path))
    }

    fn check(&self) -> Result<(), String> {
        let mut names = std::collections::BTreeSet::new();
        for child in &self.children {
            let name = &child.name;
            let good = (1..=63).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
                && name.starts_with(|c: char| c.is_ascii_alphanumeric());
            if !good {
                return Err(format!("a child cannot be named {name:?} (letters, digits, - _ . and at most 63)"));
            }
            if !names.insert(name) {
                return Err(format!("two children are named {name:?}"));
            }
        }
        match &self.agent {
            Some(agent) if agent.argv.is_empty() => Err("the agent's argv is empty".to_owned()),
            _ => Ok(()),
        }
    }
}

/// A directory that only its owner can enter.
pub(super) fn make_private(dir: &Path) -> Result<(), SandboxError> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(dir).map_err(SandboxError::file("cannot make", dir))?;
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(dir, mode).map_err(SandboxError::file("cannot set the mode of", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_configuration_is_refused_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let said = |text: &str| {
            std::fs::write(dir.path().join(FILE), text).unwrap();
            HostConfig::read(dir.path()).unwrap_err().to_string()
        };
        assert!(said("{").contains("no configuration"));
        assert!(said(r#"{"childs":[]}"#).contains("unknown field `childs`"));
        assert!(said(r#"{"children":[{"name":"-f"}]}"#).contains("cannot be named"));
        assert!(said(r#"{"children":[{"name":"a"},{"name":"a"}]}"#).contains("two children"));
        assert!(said(r#"{"agent":{"argv":[]}}"#).contains("argv is empty"));
    }

    #[test]
    fn what_is_written_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let child = ChildConfig {
            name: "web".into(),
            autostart: true,
            start_priority: 1,
            stop_priority: 2,
            on_term: OnTerm::Ignore,
            stop_delay_ms: 3,
        };
        let agent = Some(AgentConfig { argv: vec!["/bin/true".into()] });
        let config = HostConfig { agent, children: vec![child], boot_delay_ms: 7, stop_grace_ms: 9 };
        config.write(dir.path()).unwrap();
        assert_eq!(HostConfig::read(dir.path()).unwrap(), config);
    }
}
