//! What was found and done on hosts, as documents: printed as JSON, kept, and made into text for people.

use std::path::PathBuf;

use model::{CheckResult, InvocationId, OrchestrationId, UnitSeen};
use protocol::rest::orchestrations::Outcome;
use serde::Serialize;

use crate::exit::{self, Exit};

/// What one check gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Given {
    pub(crate) host: String,
    #[serde(flatten)]
    pub(crate) result: CheckResult,
}

/// What is printed with `--output json`.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    /// All checks have passed.
    pub(crate) passed: bool,
    /// Rounds of asking.
    pub(crate) rounds: u32,
    /// One row for each check of each host, as last seen.
    pub(crate) checks: Vec<Given>,
}

/// What is printed with `--output json` when a server asked.
#[derive(Debug, Serialize)]
pub(crate) struct ServedHealth {
    /// All hosts are well.
    pub(crate) passed: bool,
    /// Under which id it is in the journal.
    pub(crate) orchestration: OrchestrationId,
    /// One row for each host.
    pub(crate) hosts: Vec<HostHealth>,
}

/// Whether a host is well.
#[derive(Debug, Serialize)]
pub(crate) struct HostHealth {
    pub(crate) host: String,
    pub(crate) passed: bool,
    /// What it failed.
    pub(crate) detail: String,
}

/// What is printed with `--output json`, and kept as `result.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Ran {
    /// What was run; who only watches is not told it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
    /// Of a server: what `reveille watch` follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) orchestration: Option<OrchestrationId>,
    /// Where the output is kept, if it is.
    pub(crate) kept: Option<std::path::PathBuf>,
    pub(crate) failures: usize,
    pub(crate) failure_budget: u32,
    pub(crate) hosts: Vec<RanHost>,
}

impl Ran {
    /// How it went in all.
    pub(crate) fn exit(&self) -> Exit {
        let good = self.hosts.iter().filter(|host| host.good).count();
        exit::of_hosts(good, self.hosts.len(), self.failures, self.failure_budget)
    }
}

/// How it went on one host.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RanHost {
    pub(crate) host: String,
    /// All is well with it.
    pub(crate) good: bool,
    /// It was begun.
    pub(crate) begun: bool,
    /// Its exit code, where it was heard.
    pub(crate) exit: Option<i32>,
    /// In words.
    pub(crate) result: String,
    pub(crate) seconds: f64,
}

/// What is printed with `--output json`.
#[derive(Debug, Serialize)]
pub(crate) struct UnitFiles {
    pub(crate) manifest: std::path::PathBuf,
    /// Where they were written, if they were.
    pub(crate) to: Option<std::path::PathBuf>,
    pub(crate) units: Vec<UnitFile>,
}

/// One of them.
#[derive(Debug, Serialize)]
pub(crate) struct UnitFile {
    pub(crate) service: String,
    pub(crate) unit: String,
    /// What was done to the file; `None` when it is only shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) written: Option<Written>,
    /// Where the file is kept that was replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kept: Option<std::path::PathBuf>,
    pub(crate) text: String,
}

/// What writing a file does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Written {
    /// None was there.
    Made,
    /// Another one was there.
    Replaced,
    /// It was there as it is.
    Unchanged,
}

/// What is printed with `--output json`.
#[derive(Debug, Serialize)]
pub(crate) struct Synced {
    /// Nothing was changed.
    pub(crate) dry_run: bool,
    pub(crate) failures: usize,
    pub(crate) failure_budget: u32,
    pub(crate) hosts: Vec<SyncedHost>,
}

impl Synced {
    /// How it went in all; of a dry run, whether there is nothing to be done.
    pub(crate) fn exit(&self) -> Exit {
        let good = self.hosts.iter().filter(|host| host.good).count();
        match self.dry_run {
            true if good == self.hosts.len() => Exit::Done,
            true => Exit::Failed,
            false => exit::of_hosts(good, self.hosts.len(), self.failures, self.failure_budget),
        }
    }
}

/// How one host stands.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SyncedHost {
    pub(crate) host: String,
    /// It was looked at.
    pub(crate) begun: bool,
    /// All that should run runs, and the generation is the expected one; where something was to be done, it was done.
    pub(crate) good: bool,
    /// Generation checks that do not pass, before anything was done.
    pub(crate) generation: Vec<CheckResult>,
    /// What should run and does not, before anything was done.
    pub(crate) missing: Vec<String>,
    /// What was done.
    pub(crate) done: Vec<String>,
    /// Why it is not good.
    pub(crate) error: Option<String>,
}

/// What is printed with `--output json` when services were restarted (S3-38 to S3-40).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Restarted {
    /// All of them run anew, and are proven to be well.
    pub(crate) success: bool,
    /// Names, in the order of the plan; with `NAME on HOST` where there are several hosts.
    pub(crate) services_restarted: Vec<String>,
    /// Rolled back, or not, or nobody knows: the rows say which.
    pub(crate) services_failed: Vec<String>,
    /// Not begun, or taken back because it was cancelled.
    pub(crate) services_skipped: Vec<String>,
    pub(crate) orchestration_id: OrchestrationId,
    /// Null while it is not over.
    pub(crate) outcome: Option<Outcome>,
    /// Why it ended so.
    pub(crate) error: Option<String>,
    /// Nothing new starts until a person says so, and why.
    pub(crate) paused: Option<String>,
    pub(crate) services: Vec<RestartedService>,
}

/// How one service stands.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RestartedService {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) host: String,
    pub(crate) outcome: Option<Outcome>,
    /// In words: `restarted`, `reloaded`, `rolled back`, …
    pub(crate) result: String,
    pub(crate) reason: Option<String>,
    pub(crate) reloaded: bool,
    pub(crate) deployed: bool,
    pub(crate) migrated: bool,
    /// Null where nothing was to be rolled back.
    pub(crate) rolled_back: Option<bool>,
    /// The runs of its unit: another one after than before is the proof of a restart.
    pub(crate) invocation_before: Option<InvocationId>,
    pub(crate) invocation_after: Option<InvocationId>,
    /// From its begin to its end.
    pub(crate) seconds: Option<f64>,
    /// Of one that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) help: Option<Help>,
}

/// What helps a person with a service that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Help {
    /// The host was asked.
    pub(crate) read: bool,
    /// What could not be read, with why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<String>,
    /// The end of the journal of its unit.
    pub(crate) journal: Vec<String>,
    /// The port of its health check.
    pub(crate) port: Option<u16>,
    /// Who listens there; null where no port is known.
    pub(crate) listening: Option<Vec<String>>,
    /// What it needs and what is not up.
    pub(crate) failed_dependencies: Vec<String>,
    /// Names of variables in its environment.
    pub(crate) environment: Vec<String>,
    pub(crate) environment_files: Vec<String>,
    /// The backup of its unit file; null: there is none, or it was not looked for.
    pub(crate) backup: Option<String>,
    /// How its migration is run by hand; null where none was run.
    pub(crate) migration: Option<String>,
    /// What to look at by hand, where it was not read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) look: Vec<String>,
    /// How to roll it back by hand, on its host.
    pub(crate) rollback: Vec<String>,
}

/// What is printed with `--output json` when services are looked at (S3-94).
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServicesSeen {
    /// All that are listed are up and healthy.
    pub(crate) healthy: bool,
    pub(crate) services: Vec<SeenService>,
}

/// How one service was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct SeenService {
    /// Its name in the manifest; of one that is not listed null.
    pub(crate) service: Option<String>,
    pub(crate) unit: String,
    pub(crate) host: String,
    /// It is up, and its check passes.
    pub(crate) healthy: bool,
    /// What systemd says; null where it could not be asked.
    pub(crate) seen: Option<UnitSeen>,
    /// What its check gave; null without one.
    pub(crate) check: Option<CheckResult>,
    /// Why it could not be looked at.
    pub(crate) error: Option<String>,
}

/// What is printed with `--output json` by `reveille check`.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    /// Nothing is wrong.
    pub(crate) good: bool,
    pub(crate) manifest: PathBuf,
    /// In the order in which they would be restarted; empty when there is none.
    pub(crate) order: Vec<String>,
    /// Hosts that were looked at.
    pub(crate) hosts: Vec<String>,
    pub(crate) problems: Vec<Trouble>,
}

/// One thing that would go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Trouble {
    /// Where it is written: a file with its line, and a key.
    pub(crate) place: String,
    /// Where it was seen; null for the file itself.
    pub(crate) host: Option<String>,
    pub(crate) problem: String,
}
