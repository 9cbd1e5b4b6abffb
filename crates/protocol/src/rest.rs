//! The REST documents. The three of S0 are exactly as its text writes them (S0-19 to S0-63), with the differences that
//! rulings 19 to 22 name: times in RFC 3339 UTC with milliseconds and `Z`, errors as problem JSON.

pub mod access;
pub mod events;
pub mod hosts;
pub mod orchestrations;
pub mod rollouts;
pub mod runs;
pub mod services;

use model::{ChildKind, ChildStatus, OrchestrationId, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

/// Answer to `GET /api/host/{host_id}/reboot/pre-check` (S0-19 to S0-30).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebootPreCheck {
    /// At least one child counts as running.
    pub has_running_children: bool,
    /// Those children.
    pub running_children: Vec<RunningChild>,
    /// How many they are.
    pub running_count: u32,
    /// All children, not only the running ones.
    pub total_children: u32,
    /// The host has a child engine and an orchestrated reboot is to be had.
    pub has_container_engine: bool,
}

/// One running child in a pre-check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunningChild {
    /// Stable id (ruling 22).
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub child_name: String,
    /// Its kind, `lxd` for one.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "lxd"))]
    pub child_type: ChildKind,
    /// What it is doing.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "running"))]
    pub status: ChildStatus,
}

/// Answer to `POST /api/host/{host_id}/reboot/orchestrated` (S0-31 to S0-37).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrchestratedRebootStarted {
    /// The orchestration.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub orchestration_id: OrchestrationId,
    /// At first `shutting_down`.
    pub status: RebootStatus,
    /// How many running children were taken in.
    pub child_count: u32,
}

/// The six public states of an orchestrated reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RebootStatus {
    /// Stop commands are out.
    ShuttingDown,
    /// The reboot command is out.
    Rebooting,
    /// The host is on its way through the reboot.
    PendingRestart,
    /// It is back; the children are being started.
    Restarting,
    /// All is as it was, or an error message names what is not (ruling 2).
    Completed,
    /// It is not.
    Failed,
}

/// Answer to `GET /api/host/{host_id}/reboot/orchestration/{orchestration_id}` (S0-41 to S0-63).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RebootOrchestration {
    /// The orchestration.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub orchestration_id: OrchestrationId,
    /// The host.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub parent_host_id: TargetId,
    /// How far it is.
    pub status: RebootStatus,
    /// The children as they were before anything was stopped.
    pub child_hosts_snapshot: Vec<ChildSnapshot>,
    /// How the start of each is going.
    pub child_hosts_restart_status: Vec<ChildRestart>,
    /// Default 120 (S0-69).
    pub shutdown_timeout_seconds: u64,
    /// User name.
    pub initiated_by: String,
    /// When it was asked for.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub initiated_at: Timestamp,
    /// When the children were down, or their time was over.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub shutdown_completed_at: Option<Timestamp>,
    /// When the reboot was commanded.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub reboot_issued_at: Option<Timestamp>,
    /// When the agent was back with proof of a new boot.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub agent_reconnected_at: Option<Timestamp>,
    /// When the last child was up, or given up.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub restart_completed_at: Option<Timestamp>,
    /// What went wrong, in words.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub error_message: Option<String>,
}

/// One child in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChildSnapshot {
    /// Stable id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub child_name: String,
    /// Its kind.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "lxd"))]
    pub child_type: ChildKind,
    /// As reported before (ruling 21).
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "running"))]
    pub pre_reboot_status: ChildStatus,
}

/// How the start of one child is going.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChildRestart {
    /// Stable id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub child_name: String,
    /// How far it is.
    pub restart_status: RestartStatus,
    /// What went wrong, in words.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub error: Option<String>,
}

/// How far the start of a child is (ruling 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum RestartStatus {
    /// Its turn has not come.
    Pending,
    /// The start command is out.
    Starting,
    /// Up, started by us or by itself.
    Running,
    /// It did not come up.
    Failed,
    /// Nothing was to be done, or it was given up before its turn.
    Skipped,
}

/// A problem document (RFC 9457), the body of every error; served as `application/problem+json` (ruling 20).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// A reference that names the kind of problem; `about:blank` when the status says it all.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The kind in words.
    #[serde(default)]
    pub title: String,
    /// The HTTP status again.
    pub status: u16,
    /// What happened and what to do now. Clients that know S0 read this.
    #[serde(default)]
    pub detail: String,
    /// The address of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Members of this kind of problem, `orchestration_id` of a conflict for one.
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub extensions: serde_json::Map<String, serde_json::Value>,
}

impl Problem {
    /// A problem that its status and detail say it all of.
    pub fn new(status: u16, title: impl Into<String>, detail: impl Into<String>) -> Self {
        let extensions = serde_json::Map::new();
        Self { kind: about_blank(), title: title.into(), status, detail: detail.into(), instance: None, extensions }
    }

    /// The same with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.extensions.insert(name.to_owned(), value.into());
        self
    }
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

#[cfg(test)]
mod tests;
