//! What was found and done on hosts, as documents: printed as JSON, kept, and made into text for people.

use model::{CheckResult, OrchestrationId};
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
