//! Orchestrations: what starts them, how far they are, what happened in them.

use model::{BootIdentity, ChildKind, ChildStatus, Operation, OrchestrationId, Proof, TargetId, TimeoutPolicy, Timestamp};
use serde::{Deserialize, Serialize};

use super::hosts::Blocker;
use super::rollouts::RolloutProgress;
use super::services::ServicesProgress;
use super::{RebootStatus, RestartStatus};

/// Optional body of `POST …/reboot/orchestrated`, and of the plain reboot and shutdown. What is left out has S0's default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebootOptions {
    /// How long the children have to stop, in seconds, 1 to 3600. Default 120 (S0-69).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_timeout_seconds: Option<u64>,
    /// What happens when they do not: `proceed` (S0-70), `force-stop` or `abort`. Default `proceed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnTimeout>,
    /// Any failed child makes the whole `failed` (ruling 2).
    #[serde(skip_serializing_if = "is_false")]
    pub strict: bool,
    /// Override what can be overridden; needs its own permission, and is audited (G5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceOption>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Why something is forced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ForceOption {
    /// 1 to 500 characters.
    pub reason: String,
}

/// What happens when children do not stop in time (ruling 6), in the words of S0's dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum OnTimeout {
    /// Go on all the same.
    Proceed,
    /// Cut them off; abort if even that fails.
    ForceStop,
    /// Start again what was stopped, and end as failed.
    Abort,
}

impl From<OnTimeout> for TimeoutPolicy {
    fn from(word: OnTimeout) -> Self {
        match word {
            OnTimeout::Proceed => Self::Proceed,
            OnTimeout::ForceStop => Self::ForceStop,
            OnTimeout::Abort => Self::Abort,
        }
    }
}

impl From<TimeoutPolicy> for OnTimeout {
    fn from(policy: TimeoutPolicy) -> Self {
        match policy {
            TimeoutPolicy::Proceed => Self::Proceed,
            TimeoutPolicy::ForceStop => Self::ForceStop,
            TimeoutPolicy::Abort => Self::Abort,
        }
    }
}

/// Answer to `GET /api/v1/orchestrations`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrchestrationList {
    /// The newest first.
    pub orchestrations: Vec<OrchestrationSummary>,
    /// Give it as `before` to read on; null on the last page.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next: Option<i64>,
}

/// One line of that list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrchestrationSummary {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: OrchestrationId,
    /// The host.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub host_id: TargetId,
    /// The host's name when it was accepted.
    pub host_name: String,
    /// What was asked.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "orchestrated_reboot"))]
    pub operation: Operation,
    /// Public state.
    pub status: RebootStatus,
    /// How it ended, when over.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub outcome: Option<Outcome>,
    /// Names each child and reason.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub error_message: Option<String>,
    /// Who asked.
    pub initiated_by: String,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub initiated_at: Timestamp,
    /// When it was over.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub ended_at: Option<Timestamp>,
    /// How far it is, for a rollout; `host_id` and `host_name` are then those of its first target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Box<RolloutProgress>>,
    /// How far it is, for a restart of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Box<ServicesProgress>>,
}

/// How something ended. `partial` is `completed` with an error message in S0's document (ruling 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Outcome {
    /// All as it should be, and proven.
    Completed,
    /// The host is back and proven, some children are not.
    Partial,
    /// Not done, or not proven.
    Failed,
    /// Cancelled before the reboot was handed over, and taken back.
    Cancelled,
    /// Not started, because of another track.
    Skipped,
    /// It needs no reboot, or cannot tell, and only required ones were asked for.
    NotNeeded,
    /// A command was handed over, and nobody knows whether it was done, or how it ended: look at the host.
    Unknown,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Completed => "completed",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Skipped => "skipped",
            Self::NotNeeded => "not_needed",
            Self::Unknown => "unknown",
        })
    }
}

/// Answer to `GET /api/v1/orchestrations/{orchestration_id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Orchestration {
    /// What the list shows.
    #[serde(flatten)]
    pub summary: OrchestrationSummary,
    /// How long the children had to stop.
    pub shutdown_timeout_seconds: u64,
    /// What happens to those that do not.
    pub on_timeout: OnTimeout,
    /// Any failed child makes the whole failed.
    pub strict: bool,
    /// The reason of a forced start.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub forced: Option<String>,
    /// What the outcome rests on (G3).
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "boot_id"))]
    pub proof: Proof,
    /// The boot that was to end.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub boot_before: Option<BootIdentity>,
    /// The boot that was proven.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub boot_after: Option<BootIdentity>,
    /// Being taken back, and why.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub unwinding: Option<String>,
    /// What it waits for, if it waits.
    pub waiting_for: Vec<Blocker>,
    /// The children taken into it.
    pub children: Vec<OrchestratedChild>,
    /// The steps of its plan, as they went.
    pub steps: Vec<Step>,
    /// The journal in words; empty in the documents of the event stream.
    pub journal: Vec<JournalLine>,
}

/// One child in an orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrchestratedChild {
    /// Stable id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Its kind.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "lxd"))]
    pub kind: ChildKind,
    /// As reported before.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "running"))]
    pub pre_reboot_status: ChildStatus,
    /// How its stop went.
    pub stop_status: StopStatus,
    /// How its start went.
    pub restart_status: RestartStatus,
    /// Why not.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub error: Option<String>,
}

/// How the stop of a child went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StopStatus {
    /// Not asked yet.
    Pending,
    /// Asked.
    Stopping,
    /// Seen down.
    Stopped,
    /// Cut off.
    Forced,
    /// Did not stop; the policy decided.
    TimedOut,
    /// The stop was refused or failed.
    Failed,
}

/// One step of the plan, as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Step {
    /// Index in the track, from 0.
    pub index: u32,
    /// In words: `stop running children`.
    pub title: String,
    /// How far it is.
    pub state: StepState,
    /// Rounds begun.
    pub rounds: u32,
    /// First begun.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub started_at: Option<Timestamp>,
    /// Last ended.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub ended_at: Option<Timestamp>,
    /// Judged then, while it is open.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub deadline: Option<Timestamp>,
    /// On whom, with the state of the last command.
    pub subjects: Vec<Subject>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StepState {
    /// Not begun.
    Pending,
    /// Open.
    Running,
    /// Over.
    Done,
    /// Being taken back.
    Undoing,
    /// Taken back.
    Undone,
}

/// One subject of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Subject {
    /// Which.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Attempts issued.
    pub attempt: u32,
    /// The performer's last word: `accepted`, `execution_started`, `completed` or `failed`.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub status: Option<String>,
    /// The result in words, once there is one.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub result: Option<String>,
}

/// One journal entry in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JournalLine {
    /// Place in the journal, from 0.
    pub position: u64,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub at: Timestamp,
    /// By whom: a user name or `system`.
    pub by: String,
    /// What kind of entry: `step_started`.
    pub action: String,
    /// What happened.
    pub text: String,
    /// It tells of something done, rather than of something refused or failed.
    pub good: bool,
}

/// Data of the server-sent events of `GET /api/v1/orchestrations/{orchestration_id}/events`: `progress` after each change,
/// `ended` as the last one. The event's id is the number of journal entries that it covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Progress {
    /// What happened since the event before.
    pub lines: Vec<JournalLine>,
    /// How the orchestration stands now, its journal left out.
    pub orchestration: Orchestration,
}
