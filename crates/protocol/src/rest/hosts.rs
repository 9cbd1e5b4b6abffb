//! Hosts: what is known of them, what keeps them from starting, and what people say about them.

use std::collections::BTreeSet;

use model::{BootIdentity, ChildKind, ChildStatus, Labels, Operation, OrchestrationId, Route, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

/// Answer to `GET /api/v1/hosts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HostList {
    /// By name.
    pub hosts: Vec<Host>,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Host {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// How it is reached.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "agent"))]
    pub route: Route,
    /// Where it is reached over SSH, if it has no agent.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub address: Option<String>,
    /// Why it could not be read when it was last asked over SSH.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub unread: Option<String>,
    /// A person took it out of use.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub held: Option<Held>,
    /// Its machine id, of which the row is one half; the key is the other (ruling 27). Empty without an agent.
    pub machine_id: String,
    /// What a person compares before approving it. Empty without an agent.
    pub key_fingerprint: String,
    /// Labels that it was given.
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub labels: Labels,
    /// A person approved it, with this key.
    pub approved: bool,
    /// How it is.
    pub state: HostState,
    /// When this controller last heard it; how old what follows is (E19).
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub last_heard: Option<Timestamp>,
    /// Version of its agent program.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub agent_version: Option<String>,
    /// The boot that it is on.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub boot: Option<BootIdentity>,
    /// Child engines that were found on it.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub engines: BTreeSet<ChildKind>,
    /// Its children, when they could be listed.
    pub children: Vec<Child>,
    /// Why the children are not known.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub children_unknown: Option<String>,
    /// The orchestration that holds it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "uuid", required = true))]
    pub active_orchestration: Option<OrchestrationId>,
    /// Why it is stranded, while it is.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub stranded: Option<String>,
    /// Alarms that nobody has acknowledged: of the host and of what stands on it.
    pub alarms: Vec<Alarm>,
}

/// A person's word that a host is out of use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Held {
    /// Who.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub since: Timestamp,
}

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HostState {
    /// Not heard since this controller started.
    Unknown,
    /// Heard within the limit.
    Active,
    /// Silent past the limit.
    Silent,
    /// Shut down by us.
    Off,
}

impl std::fmt::Display for HostState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Active => "active",
            Self::Silent => "silent",
            Self::Off => "off",
        })
    }
}

/// One child of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Child {
    /// Stable id (ruling 22).
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Its kind.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "lxd"))]
    pub kind: ChildKind,
    /// What it is doing.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "running"))]
    pub status: ChildStatus,
    /// Its engine starts it when the host boots.
    pub autostart: bool,
}

/// An alarm that stays until a person acknowledges it (ruling 9).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Alarm {
    /// The stranded target.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub target: TargetId,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub since: Timestamp,
    /// When it was proven to be back.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub ended_at: Option<Timestamp>,
}

/// Body of `POST /api/v1/hosts/{host_id}/approve`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Approve {
    /// The fingerprint that the approver has compared with the one on the device; a host that has another by now is not
    /// approved.
    pub fingerprint: String,
}

/// Body of `POST /api/v1/hosts/{host_id}/acknowledge`; without one, all that is stranded or alarming on the host is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledge {
    /// Only this one: the host itself or one of its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "uuid"))]
    pub target: Option<TargetId>,
}

/// Answer to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Acknowledged {
    /// Names of those that were acknowledged.
    pub acknowledged: Vec<String>,
}

/// Answer to `GET /api/v1/hosts/{host_id}/explain`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Explanation {
    /// The host.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub host_id: TargetId,
    /// Its name.
    pub host_name: String,
    /// What was asked about.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "orchestrated_reboot"))]
    pub operation: Operation,
    /// It would start now: there is no blocker.
    pub would_start: bool,
    /// All that keeps it from starting, the most important first (pain 13).
    pub blockers: Vec<Blocker>,
    /// What would be done, in order: the plan that the request would be accepted with.
    pub steps: Vec<PlannedStep>,
    /// What is configured for this host and is used by rollouts only, so not by this.
    #[serde(default)]
    pub rollouts_use: RolloutsUse,
}

/// What a rollout of a host uses unless something else is asked for, by the names of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutsUse {
    /// How it is taken out of service.
    pub drains: Vec<String>,
    /// What it must pass before it counts as back.
    pub checks: Vec<String>,
    /// When it may start.
    pub windows: Vec<String>,
}

/// One step of a plan that is not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedStep {
    /// In words: `stop running children`.
    pub title: String,
    /// Names of those it would act on, by what is known now.
    pub subjects: Vec<String>,
    /// The whole step takes at most so long.
    pub limit_seconds: u64,
    /// From here on it cannot be cancelled (ruling 24).
    pub irreversible: bool,
}

/// One thing that keeps a target from starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Blocker {
    /// Its kind, for programs: `locked`, `lockout`, `inhibited`, …
    pub blocker: String,
    /// In words.
    pub message: String,
    /// Since when, where known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub since: Option<Timestamp>,
    /// Until when, where known.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub until: Option<Timestamp>,
    /// Somebody with the permission can override it with a reason (G5).
    pub forceable: bool,
    /// Members of this kind of blocker: `orchestration`, `group`, …
    #[serde(flatten)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub details: serde_json::Map<String, serde_json::Value>,
}
