//! What was found and done on hosts, as documents: printed as JSON, kept, and made into text for people.

use model::CheckResult;
use serde::Serialize;

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

/// What is printed with `--output json`, and kept as `result.json`.
#[derive(Debug, Serialize)]
pub(crate) struct Ran {
    pub(crate) command: String,
    /// Where the output is kept.
    pub(crate) kept: std::path::PathBuf,
    pub(crate) failures: usize,
    pub(crate) failure_budget: u32,
    pub(crate) hosts: Vec<RanHost>,
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
    pub(crate) hosts: Vec<SyncedHost>,
}

/// How one host stands.
#[derive(Debug, Default, Serialize)]
pub(crate) struct SyncedHost {
    pub(crate) host: String,
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
