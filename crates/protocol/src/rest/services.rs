//! Restarts of services (S3): what is asked, what would be done, and how each of them stands.

use model::{InvocationId, Route, Service, ServiceSeen, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

use super::hosts::Blocker;
use super::orchestrations::ForceOption;
use super::rollouts::{EndedCount, Paused};

/// Body of `POST /api/v1/service-restarts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewServiceRestart {
    /// On which hosts: words of a selector, as for a rollout; nothing is ever meant by leaving it out.
    #[cfg_attr(feature = "openapi", schema(example = json!(["app1"])))]
    pub targets: Vec<String>,
    /// All services that are declared; the order of some depends on others.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub services: Vec<Service>,
    /// Names of those that are meant; all when it is empty (S3-28).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// So many at once; 0 = as many as the dependencies allow. Default 1 (S3-10).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// What does not depend on a failed service goes on.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_going: bool,
    /// No migration is run (S3-32).
    #[serde(skip_serializing_if = "is_false")]
    pub skip_migrations: bool,
    /// Deploy, too (S3-33).
    #[serde(skip_serializing_if = "is_false")]
    pub deploy: bool,
    /// Where the new trees lie on the hosts: of one service that is named alone its tree, of several the folder that holds one for
    /// each (S3-34 to S3-36).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy_path: Option<String>,
    /// Skip health checks (S3-31), and override what else can be overridden; needs its own permission, and is audited (G5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceOption>,
    /// Only say what would be done (S3-30).
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Answer to the same when it was a dry run (200).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceRestartPreview {
    /// So many at once; 0 = as many as the dependencies allow.
    pub parallel: u32,
    /// In the order in which they would be restarted.
    pub services: Vec<PlannedService>,
    /// What cannot be taken back, in words.
    pub irreversible: Vec<String>,
    /// What the soaks alone take, in seconds, with nothing to wait for but one another.
    pub soak_seconds: u64,
    /// What all of it is expected to take at least, in seconds, with nothing to wait for but one another; 0: an older controller
    /// does not say.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub expected_seconds: u64,
    /// And usually at most, in seconds.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub expected_seconds_most: u64,
}

/// One service on one host, before it is restarted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedService {
    /// From 0.
    pub index: u32,
    /// Its name.
    pub service: String,
    /// Its unit.
    pub unit: String,
    /// Its host.
    pub host: String,
    /// How the host is reached.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "agent"))]
    pub route: Route,
    /// Those that it waits for, by index.
    pub after: Vec<u32>,
    /// What is done, in words: what the journal of the real run shows.
    pub steps: Vec<String>,
    /// Its soak.
    pub soak_seconds: u64,
    /// What it is expected to take at least, in seconds; 0: an older controller does not say.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub expected_seconds: u64,
    /// And usually at most, in seconds; that it is healthy only at the last attempt is among it.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub expected_seconds_most: u64,
    /// What would keep it from starting if it were its turn now.
    pub blockers: Vec<Blocker>,
}

/// How far a restart of services is: a member of the document of its orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServicesProgress {
    /// How many services.
    pub services: u32,
    /// Not begun.
    pub waiting: u32,
    /// Worked on.
    pub running: u32,
    /// Over, by how they ended.
    pub ended: Vec<EndedCount>,
    /// Nothing new starts, and why.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub paused: Option<Paused>,
    /// If nothing starts or ends until then, it is cancelled (G6).
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub waits_until: Option<Timestamp>,
}

/// The service of a track: a member of its document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceDocument {
    /// Its id: computed from its host and unit.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// It was up before anything was done; null: it was not looked at yet.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub was_up: Option<bool>,
    /// The run of its unit before.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub invocation_before: Option<InvocationId>,
    /// The run of its unit after the restart.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub invocation_after: Option<InvocationId>,
    /// A reload was enough.
    pub reloaded: bool,
    /// Another tree was deployed, or may have been.
    pub deployed: bool,
    /// Its migration was handed over.
    pub migrated: bool,
    /// It was taken back, and proven to be as it was, or not.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub rolled_back: Option<bool>,
    /// Which attempt of a look is under way.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub attempt: Option<u32>,
    /// Of how many.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub attempts: Option<u32>,
    /// While it soaks: until when.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub soaks_until: Option<Timestamp>,
    /// As it was seen last.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>, required = true))]
    pub seen: Option<ServiceSeen>,
    /// How it is rolled back by hand, on its host: of one that did not end well after something was done to it (S3-85).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manual_rollback: Vec<String>,
}
