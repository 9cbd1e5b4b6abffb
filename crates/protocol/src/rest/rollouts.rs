//! Rollouts: a whole fleet, gone through in waves.

use model::{
    Amount, Approval, BootIdentity, DrainPolicy, Labels, OrchestrationId, Proof, RolloutOptions, Route, TargetId, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::hosts::Blocker;
use super::orchestrations::{ForceOption, OnTimeout, OrchestratedChild, Outcome, Step};
use super::runs::RanDocument;
use super::services::ServiceDocument;

/// Body of `POST /api/v1/rollouts`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRollout {
    /// Which hosts: words of a selector (`web1`, `web*`, `role=web,site!=fra`), of which each must name somebody; `*` for all of
    /// them. Nothing is ever meant by leaving it out.
    #[cfg_attr(feature = "openapi", schema(example = json!(["role=web,site!=fra"])))]
    pub targets: Vec<String>,
    /// How; what is left out is as configured. Durations are milliseconds, or texts like `30s` and `1h30m`; amounts are numbers
    /// of hosts, or texts like `10%`.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub options: RolloutOptions,
    /// How long the children of each host have to stop, in seconds, 1 to 3600; default as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_timeout_seconds: Option<u64>,
    /// What happens when they do not; default as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_timeout: Option<OnTimeout>,
    /// A host with a child that does not come back counts as failed.
    #[serde(skip_serializing_if = "is_false")]
    pub strict: bool,
    /// Override what can be overridden; needs its own permission, and is audited (G5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceOption>,
    /// Only say what would be done.
    #[serde(skip_serializing_if = "is_false")]
    pub dry_run: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Answer to the same, and to a retry, when it was accepted (201).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutStarted {
    /// Its id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub id: OrchestrationId,
    /// How many hosts.
    pub targets: u32,
    /// In how many waves.
    pub waves: u32,
}

/// Answer to the same when it was a dry run (200): what would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutPreview {
    /// How many hosts.
    pub targets: u32,
    /// At most so many hosts are worked on at once.
    pub concurrency: u32,
    /// So many may fail.
    pub failure_budget: u32,
    /// How, with what is configured filled in.
    pub options: RolloutDocument,
    /// What is done to a host, in words; tracks name one of these lists.
    pub lists: Vec<Vec<String>>,
    /// One after the other.
    pub waves: Vec<PlannedWave>,
    /// What cannot be taken back, in words.
    pub irreversible: Vec<String>,
    /// What the whole is expected to take at least, in seconds: with nothing to wait for but one another.
    pub expected_seconds: u64,
}

/// One wave of a plan that is not accepted yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedWave {
    /// From 0.
    pub index: u32,
    /// A person must agree before it starts.
    pub approval: bool,
    /// In the order in which they start.
    pub tracks: Vec<PlannedTrack>,
}

/// One host of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlannedTrack {
    /// Over all waves, from 0.
    pub index: u32,
    /// The host.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub target: TargetId,
    /// Its name.
    pub name: String,
    /// How it is reached.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "ssh"))]
    pub route: Route,
    /// Index of its list of steps.
    pub list: u32,
    /// What it is expected to take, in seconds: from its own history, else as configured.
    pub expected_seconds: u64,
    /// An earlier rollout has left something undone there; this one takes it up.
    pub unfinished: bool,
    /// What would keep it from starting if it were its turn now.
    pub blockers: Vec<Blocker>,
}

/// How a fleet is gone through, with nothing left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutDocument {
    /// Size of the first wave; 0 = no canary.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "1"))]
    pub canary: Amount,
    /// Further waves, each as the part of all targets that is done when it ends.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>))]
    pub stages: Vec<Amount>,
    /// How many at once.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "10%"))]
    pub concurrency: Amount,
    /// So many may fail.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "0"))]
    pub failure_budget: Amount,
    /// So many of the canary may fail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "5%"))]
    pub canary_failure_budget: Option<Amount>,
    /// When a person must agree: `never`, `after_canary` or `each_wave`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "never"))]
    pub approval: Approval,
    /// Names of drains.
    pub drains: Vec<String>,
    /// How long each drain may take.
    pub drain_limit_seconds: u64,
    /// What happens then: `abort`, `skip` or `force`.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "abort"))]
    pub on_drain_timeout: DrainPolicy,
    /// Names of checks.
    pub checks: Vec<String>,
    /// How long every probe must pass at the end.
    pub soak_seconds: u64,
    /// Names of maintenance windows.
    pub windows: Vec<String>,
    /// Two starts are never closer.
    pub stagger_seconds: u64,
    /// Each start is put off by a part of it.
    pub jitter_seconds: u64,
    /// Only hosts that say they need a reboot.
    pub only_if_required: bool,
    /// The orchestration whose unfinished targets this one takes up.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "uuid", required = true))]
    pub retry_of: Option<OrchestrationId>,
}

/// How far a rollout is: a member of the document of its orchestration, and of the lines of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RolloutProgress {
    /// How many hosts.
    pub targets: u32,
    /// Not begun.
    pub waiting: u32,
    /// Worked on.
    pub running: u32,
    /// Over, by how they ended.
    pub ended: Vec<EndedCount>,
    /// The present wave, from 0.
    pub wave: u32,
    /// How many waves.
    pub waves: u32,
    /// So many failed.
    pub failures: u32,
    /// So many may.
    pub failure_budget: u32,
    /// Nothing new starts, and why.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub paused: Option<Paused>,
    /// A person must agree to the present wave.
    pub waits_for_approval: bool,
    /// If nothing starts or ends until then, it is cancelled (G6).
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub waits_until: Option<Timestamp>,
    /// How.
    pub options: RolloutDocument,
}

/// How many ended so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EndedCount {
    /// How.
    pub outcome: Outcome,
    /// How many.
    pub count: u32,
}

/// Why nothing new starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Paused {
    /// A user name, or `system` where the failure budget is spent.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub since: Timestamp,
}

/// Answer to `GET /api/v1/orchestrations/{orchestration_id}/tracks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrackList {
    /// By index.
    pub tracks: Vec<Track>,
    /// How many fit what was asked for, on all pages.
    pub total: u32,
    /// Give it as `offset` to read on; null on the last page.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next: Option<u32>,
}

/// One host in an orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Track {
    /// Over all waves, from 0.
    pub index: u32,
    /// Its wave, from 0.
    pub wave: u32,
    /// The host.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
    pub target: TargetId,
    /// Its name.
    pub name: String,
    /// How it is reached.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "ssh"))]
    pub route: Route,
    /// How far: `waiting`, `running`, `undoing` or `ended`.
    pub state: TrackState,
    /// How it ended, when over.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub outcome: Option<Outcome>,
    /// Why it ended so, or why it is taken back.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub reason: Option<String>,
    /// What it does, in words: `reboot`.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub step: Option<String>,
    /// Steps that are over.
    pub steps_done: u32,
    /// All of its steps.
    pub steps: u32,
    /// When it began.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub started_at: Option<Timestamp>,
    /// When it was over.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub ended_at: Option<Timestamp>,
    /// The boot that was to end.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub boot_before: Option<BootIdentity>,
    /// The boot that was proven.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub boot_after: Option<BootIdentity>,
    /// The service that it is about; only for a restart of services.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<ServiceDocument>>,
}

/// How far a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum TrackState {
    /// Not begun.
    Waiting,
    /// Worked on.
    Running,
    /// Being taken back.
    Undoing,
    /// Over.
    Ended,
}

/// Answer to `GET /api/v1/orchestrations/{orchestration_id}/tracks/{track}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TrackDetails {
    /// What the list shows.
    #[serde(flatten)]
    pub track: Track,
    /// What its outcome rests on (G3).
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "boot_id"))]
    pub proof: Proof,
    /// Its steps that have begun, as they went.
    pub steps_begun: Vec<Step>,
    /// The children taken into it.
    pub children: Vec<OrchestratedChild>,
    /// All that keeps it from starting, the most important first: the list that the scheduler goes by (pain 13). Empty when it
    /// has begun.
    pub waiting_for: Vec<Blocker>,
    /// How its command ended; only for a run, once that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<RanDocument>,
}

/// Body of `POST /api/v1/orchestrations/{orchestration_id}/pause`, `POST /api/v1/hosts/{host_id}/hold` and `POST /api/v1/freeze`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct WithReason {
    /// Why, for everybody who finds it so; 1 to 500 characters.
    pub reason: String,
}

/// Optional body of `POST /api/v1/orchestrations/{orchestration_id}/retry`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Retry {
    /// What is to be another way this time; the rest is as it was.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub options: RolloutOptions,
    /// Override what can be overridden; needs its own permission, and is audited (G5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceOption>,
    /// Only show what would be done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// Body of `POST /api/v1/hosts`: a host that is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AdoptHost {
    /// Its name: 1 to 253 letters, digits, or any of `-`, `_`, `.`; its id is computed from it.
    pub name: String,
    /// `USER@ADDRESS:PORT`, of which user and port may be left out.
    #[cfg_attr(feature = "openapi", schema(example = "root@10.0.0.7"))]
    pub address: String,
    /// Its labels.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = std::collections::BTreeMap<String, String>))]
    pub labels: Labels,
}

/// Answer to `GET /api/v1/locks`: everything that keeps something from starting until somebody lets go (pain 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LockList {
    /// The oldest first.
    pub locks: Vec<Lock>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Lock {
    /// What kind: `orchestration` (it works on the host), `hold` (a person took the host out of use), `slot` (a `FleetLock` client
    /// restarts under a limit group), `stranded` (the host could not be brought back) or `freeze` (nothing starts anywhere).
    pub kind: LockKind,
    /// The host, where it is about one.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "uuid", required = true))]
    pub host_id: Option<TargetId>,
    /// The name of the host, or of the limit group.
    pub name: String,
    /// Who holds it: an orchestration's id, a user name, or the id of a machine.
    pub holder: String,
    /// Since when.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub since: Timestamp,
    /// Why, where somebody said so.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub reason: Option<String>,
}

/// Body of `POST /api/v1/slots/release`: a slot is taken away from a machine that does not come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReleaseSlot {
    /// The limit group.
    pub group: String,
    /// The id of the machine.
    pub holder: String,
}

/// What kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LockKind {
    /// An orchestration works on the host.
    Orchestration,
    /// A person took the host out of use.
    Hold,
    /// A `FleetLock` client restarts under a limit group.
    Slot,
    /// The host could not be brought back.
    Stranded,
    /// Nothing starts anywhere.
    Freeze,
}

/// Body of `POST /v1/pre-reboot` and `POST /v1/steady-state`: the `FleetLock` protocol.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetLock {
    /// Who asks.
    pub client_params: FleetLockClient,
}

/// Who asks for a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FleetLockClient {
    /// The machine. Early clients say `node_uuid`.
    #[serde(alias = "node_uuid")]
    pub id: String,
    /// The name of a limit group.
    pub group: String,
}
