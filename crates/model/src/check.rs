//! Checks: what must hold for a host to count as healthy.

use serde::{Deserialize, Serialize};

use crate::Millis;
use crate::drain::{Site, UnknownVar, Vars, fill};

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// For people and for `--jobs`.
    pub name: String,
    /// What must hold.
    pub kind: CheckKind,
    /// One answer may take so long; a slower one is a failure.
    pub limit: Millis,
}

/// What must hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum CheckKind {
    /// A systemd unit on the host is active.
    Unit {
        /// With its suffix.
        unit: String,
    },
    /// A container on the host runs, and is healthy where it has a health check.
    Container {
        /// Whose.
        engine: crate::ContainerEngine,
        /// Its name.
        name: String,
    },
    /// `/etc/reveille/hooks/NAME check` on the host exits with 0.
    Hook {
        /// Its file name.
        name: String,
    },
    /// An argument list on the host exits with 0. Only over SSH, with the operator's own right; agents refuse it.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// The configuration on the host is of this generation (S2-35..37).
    Generation {
        /// A file on the host.
        path: String,
        /// The file is a JSON object and this member counts; without it the whole text, trimmed, counts.
        #[serde(default)]
        key: Option<String>,
        /// What must stand there.
        expected: String,
    },
    /// Everything on the host that should run does (S2-30, S2-33): enabled services of systemd, and containers whose restart
    /// policy wants them up.
    Running {},
    /// A TCP connection can be opened, from where the engine runs.
    Tcp {
        /// `HOST:PORT`.
        address: String,
    },
    /// A GET answers as it should, from where the engine runs; redirects are not followed.
    Http {
        /// `http://` or `https://`.
        url: String,
        /// Expected status.
        #[serde(default = "ok_status")]
        status: u16,
        /// The first 64 KiB of the body must contain this.
        #[serde(default)]
        contains: Option<String>,
    },
}

fn ok_status() -> u16 {
    200
}

impl Check {
    /// Where it is performed.
    pub fn site(&self) -> Site {
        match self.kind {
            CheckKind::Unit { .. }
            | CheckKind::Container { .. }
            | CheckKind::Hook { .. }
            | CheckKind::Command { .. }
            | CheckKind::Generation { .. }
            | CheckKind::Running {} => Site::Target,
            CheckKind::Tcp { .. } | CheckKind::Http { .. } => Site::Controller,
        }
    }

    /// With every `{…}` filled in.
    ///
    /// # Errors
    /// Names the first variable that the host does not have.
    pub fn filled(&self, vars: &Vars) -> Result<Self, UnknownVar> {
        let text = |text: &str| fill(text, vars);
        let kind = match &self.kind {
            CheckKind::Unit { unit } => CheckKind::Unit { unit: text(unit)? },
            CheckKind::Container { engine, name } => CheckKind::Container { engine: *engine, name: text(name)? },
            CheckKind::Hook { name } => CheckKind::Hook { name: text(name)? },
            CheckKind::Command { argv } => CheckKind::Command { argv: argv.iter().map(|a| text(a)).collect::<Result<_, _>>()? },
            CheckKind::Generation { path, key, expected } => {
                CheckKind::Generation { path: text(path)?, key: key.clone(), expected: text(expected)? }
            }
            CheckKind::Running {} => CheckKind::Running {},
            CheckKind::Tcp { address } => CheckKind::Tcp { address: text(address)? },
            CheckKind::Http { url, status, contains } => {
                CheckKind::Http { url: text(url)?, status: *status, contains: contains.clone() }
            }
        };
        Ok(Self { name: self.name.clone(), kind, limit: self.limit })
    }
}

/// What one check gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    /// Which check.
    pub name: String,
    /// It holds. A check that could not be made does not hold (G5).
    pub passed: bool,
    /// What was found, in words; at most 1000 characters.
    pub detail: String,
}
