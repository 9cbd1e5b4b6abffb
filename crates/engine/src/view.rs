//! What people are shown of an orchestration or a host: computed, never stored as truth.

use model::{
    AckStatus, Actor, BootIdentity, ByHand, ChildRef, ChildStatus, InvocationId, Labels, Millis, Operation, OrchestrationId,
    Planner, Proof, Ran, Report, Rollout, Route, ServiceRef, ServiceSeen, TargetId, TimeoutPolicy, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::journal::Outcome;

/// The six public states of S0: a pure function of the journal (S0-11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Stop commands are sent; confirmation is awaited (S0-12).
    ShuttingDown,
    /// The reboot command is issued (S0-13).
    Rebooting,
    /// The reboot is known to have begun (ruling 1).
    PendingRestart,
    /// A new boot identity is proven; children are started (S0-15).
    Restarting,
    /// Over, and well; partial results are here too, with an error message (ruling 2).
    Completed,
    /// Over, and not well.
    Failed,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::ShuttingDown => "shutting_down",
            Self::Rebooting => "rebooting",
            Self::PendingRestart => "pending_restart",
            Self::Restarting => "restarting",
            Self::Completed => "completed",
            Self::Failed => "failed",
        })
    }
}

/// One orchestration, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// Its id.
    pub id: OrchestrationId,
    /// The host.
    pub host: TargetId,
    /// The host's name when it was accepted.
    pub host_name: String,
    /// Who made the plan.
    pub planner: Planner,
    /// What was asked.
    pub operation: Operation,
    /// Who asked.
    pub by: Actor,
    /// How long children had to stop.
    pub shutdown_timeout: Millis,
    /// What happens to those that do not.
    pub on_timeout: TimeoutPolicy,
    /// Any failed child makes all failed.
    pub strict: bool,
    /// The reason of a forced start.
    pub forced: Option<String>,
    /// Public state.
    pub phase: Phase,
    /// Set when over.
    pub outcome: Option<Outcome>,
    /// Names each child and reason.
    pub error_message: Option<String>,
    /// What the outcome rests on.
    pub proof: Proof,
    /// Accepted.
    pub initiated_at: Timestamp,
    /// Children are down (or given up).
    pub shutdown_completed_at: Option<Timestamp>,
    /// The reboot was handed over.
    pub reboot_issued_at: Option<Timestamp>,
    /// The new boot identity was proven.
    pub agent_reconnected_at: Option<Timestamp>,
    /// Everything was found as before.
    pub restart_completed_at: Option<Timestamp>,
    /// Over.
    pub ended_at: Option<Timestamp>,
    /// The boot that was to end.
    pub boot_before: Option<BootIdentity>,
    /// The boot that was proven.
    pub boot_after: Option<BootIdentity>,
    /// Being cancelled or taken back, and why.
    pub unwinding: Option<String>,
    /// The children taken into it; of a rollout see its tracks.
    pub children: Vec<ChildView>,
    /// The steps of its track; of a rollout see its tracks.
    pub steps: Vec<StepView>,
    /// How the fleet is gone through, for a rollout.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// How many tracks are where.
    #[serde(default)]
    pub counts: Counts,
    /// Index of the wave that is gone through now, or of the last.
    #[serde(default)]
    pub wave: u32,
    /// How many there are.
    #[serde(default)]
    pub waves: u32,
    /// Nothing new starts. By the system: an alarm, which a person ends by resuming or cancelling.
    #[serde(default)]
    pub paused: Option<MarkView>,
    /// Index of the wave that waits until a person agrees.
    #[serde(default)]
    pub waits_for_approval: Option<u32>,
    /// Tracks that spent failure budget (G4).
    #[serde(default)]
    pub failures: u32,
    /// So many may fail; what a person accepted by resuming is in it.
    #[serde(default)]
    pub budget: u32,
    /// If nothing starts or ends until then, it is cancelled (G6).
    #[serde(default)]
    pub waits_until: Option<Timestamp>,
}

/// How many tracks of an orchestration are where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    /// All.
    pub total: u32,
    /// Not started.
    pub waiting: u32,
    /// Started and not over.
    pub running: u32,
    /// Over, with this outcome.
    pub completed: u32,
    /// Over, with this outcome.
    pub partial: u32,
    /// Over, with this outcome.
    pub failed: u32,
    /// Over, with this outcome.
    pub cancelled: u32,
    /// Over, with this outcome.
    pub skipped: u32,
    /// Over, with this outcome.
    pub not_needed: u32,
    /// Over, with this outcome.
    #[serde(default)]
    pub unknown: u32,
}

/// Who paused an orchestration or holds a host, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkView {
    /// Who.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

/// How far a track is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrackPhase {
    /// Not started.
    Waiting,
    /// Started.
    Running,
    /// What it did is taken back.
    Unwinding,
    /// Over.
    Ended,
}

/// One track of an orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrackView {
    /// Its index, over all waves.
    pub index: u32,
    /// Index of its wave.
    pub wave: u32,
    /// Its target.
    pub target: TargetId,
    /// The target's name when it was accepted.
    pub name: String,
    /// How the target is reached.
    pub route: Route,
    /// What its outcome rests on.
    pub proof: Proof,
    /// How far it is.
    pub phase: TrackPhase,
    /// Set when over.
    pub outcome: Option<Outcome>,
    /// Why, when not completed; while it is taken back, why that.
    pub reason: Option<String>,
    /// It took its lock.
    pub started_at: Option<Timestamp>,
    /// Over.
    pub ended_at: Option<Timestamp>,
    /// The boot that was to end.
    pub boot_before: Option<BootIdentity>,
    /// The boot that was proven.
    pub boot_after: Option<BootIdentity>,
    /// The reboot was handed over.
    pub reboot_issued_at: Option<Timestamp>,
    /// The new boot identity was proven.
    pub reboot_proven_at: Option<Timestamp>,
    /// How many steps its list has.
    pub step_count: u32,
    /// Index of the open step.
    pub step: Option<u32>,
    /// The steps that have begun, in order.
    pub steps: Vec<StepView>,
    /// The children taken into it.
    pub children: Vec<ChildView>,
    /// How its command ended, and the end of what it said: for [`model::Operation::Run`], once that was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Ran>,
    /// What became of its service, for [`model::Operation::RestartServices`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceView>,
}

/// The service of a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its id.
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// It was up before anything was done; `None`: it was not looked at yet.
    pub was_up: Option<bool>,
    /// The run of its unit before.
    pub invocation_before: Option<InvocationId>,
    /// The run of its unit after the restart.
    pub invocation_after: Option<InvocationId>,
    /// A reload was enough.
    pub reloaded: bool,
    /// Another tree was deployed, or may have been.
    pub deployed: bool,
    /// Its migration was handed over.
    pub migrated: bool,
    /// It was taken back, and proven to be as it was, or not.
    pub rolled_back: Option<bool>,
    /// Which attempt of a look is under way, of how many.
    pub attempt: Option<(u32, u32)>,
    /// While it soaks: until when.
    pub soaks_until: Option<Timestamp>,
    /// As it was seen last.
    pub seen: Option<ServiceSeen>,
    /// What may have to be put back by hand: of one that did not end well after something was done to it.
    pub by_hand: Option<ByHand>,
}

/// Something that is held, by whom and why (pain 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockView {
    /// What holds.
    #[serde(flatten)]
    pub holder: Holder,
    /// The host; of a slot, the one that holds it, where it is known by that id.
    pub host: Option<TargetId>,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// Why.
    pub reason: String,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "held_by", rename_all = "snake_case")]
pub enum Holder {
    /// An orchestration that works on the host.
    Orchestration {
        /// Which.
        orchestration: OrchestrationId,
    },
    /// A person took the host out of use.
    Person {
        /// Who.
        by: Actor,
    },
    /// Somebody outside restarts a machine.
    Slot {
        /// Under which limit group.
        group: String,
        /// The id of the machine.
        holder: String,
    },
}

/// What a request would lead to, before it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// In order.
    pub waves: Vec<PreviewWave>,
    /// What cannot be taken back, in words.
    pub irreversible: Vec<String>,
}

/// One wave of a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewWave {
    /// A person must agree first.
    pub approval: bool,
    /// In the order in which they would start.
    pub tracks: Vec<PreviewTrack>,
}

/// One track of a preview.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewTrack {
    /// Its target.
    pub target: TargetId,
    /// The target's name.
    pub name: String,
    /// How the target is reached.
    pub route: Route,
    /// What it is expected to take (95 of 100 of its last tracks took no longer, else the configured default); of a service at
    /// least.
    pub expected: Millis,
    /// What it is usually expected to take at most; the same, but of a service.
    pub expected_most: Millis,
    /// It takes up what an earlier orchestration left undone; without another reboot where that was proven.
    pub takes_up: bool,
    /// The service that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<ServiceRef>>,
    /// Tracks that it waits for, by index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<u32>,
    /// The steps, in words.
    pub steps: Vec<String>,
    /// What would keep it from starting now, apart from other tracks of the same plan.
    pub blockers: Vec<crate::explain::Blocker>,
}

/// One child in an orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildView {
    /// Which.
    #[serde(flatten)]
    pub child: ChildRef,
    /// As reported before (ruling 21).
    pub pre_reboot_status: ChildStatus,
    /// How its stop went.
    pub stop: StopStatus,
    /// How its start went (ruling 21).
    pub restart: RestartStatus,
    /// Why not.
    pub error: Option<String>,
}

/// How the stop of a child went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// How the restart of a child went (ruling 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartStatus {
    /// Not asked yet.
    Pending,
    /// Asked.
    Starting,
    /// Seen up.
    Running,
    /// Could not be started.
    Failed,
    /// Not tried.
    Skipped,
}

/// One step of the plan as it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepView {
    /// Index in the track.
    pub index: u32,
    /// In words: `stop running children`.
    pub title: String,
    /// How far it is.
    pub state: StepState,
    /// Rounds begun.
    pub rounds: u32,
    /// First begun.
    pub started_at: Option<Timestamp>,
    /// Last ended.
    pub ended_at: Option<Timestamp>,
    /// Judged then, while it is open.
    pub deadline: Option<Timestamp>,
    /// On whom, with the last command's state.
    pub subjects: Vec<SubjectView>,
}

/// How far a step is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
pub struct SubjectView {
    /// Which.
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Attempts issued.
    pub attempt: u32,
    /// Last word of the performer.
    pub status: Option<AckStatus>,
    /// Result in words, once there is one.
    pub result: Option<String>,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its id.
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Its machine id.
    pub machine_id: String,
    /// Its public key, as text.
    pub public_key: String,
    /// Its labels.
    pub labels: Labels,
    /// A person approved it.
    pub approved: bool,
    /// How it is reached.
    pub route: Route,
    /// Where it is reached over SSH.
    pub address: Option<String>,
    /// Who adopted it, or changed it last.
    pub adopted_by: Option<Actor>,
    /// Out of use by a person's word.
    pub held: Option<MarkView>,
    /// What a retry would have to finish on it.
    pub unfinished: Option<model::Unfinished>,
    /// How it is.
    pub state: HostState,
    /// When it was last heard by this controller process.
    pub last_heard: Option<Timestamp>,
    /// What it last told of itself.
    pub report: Option<Report>,
    /// The orchestration that holds it.
    pub active_orchestration: Option<OrchestrationId>,
    /// Why it is stranded.
    pub stranded: Option<String>,
    /// Targets on it (itself or children) whose alarm nobody has acknowledged, with the reason.
    pub alarms: Vec<Alarm>,
}

/// An alarm that stays until a person acknowledges it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// Stranded target.
    pub target: TargetId,
    /// Its name.
    pub name: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// When it was proven to be back, if it was.
    pub ended_at: Option<Timestamp>,
}

/// How a host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
