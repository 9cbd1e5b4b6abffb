//! Why a target does not start: the ordered list of blockers, empty exactly when it would start.

use std::fmt;

use model::{ActionKind, Actor, CommandId, Millis, OrchestrationId, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing that keeps a target from starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocker {
    /// What.
    #[serde(flatten)]
    pub why: Why,
    /// Since when, where known.
    pub since: Option<Timestamp>,
    /// Until when, where known.
    pub until: Option<Timestamp>,
    /// A person with the permission can override it with a reason (G5).
    pub forceable: bool,
}

/// The reasons, in the order in which they are listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "blocker", rename_all = "snake_case")]
pub enum Why {
    /// Tracks of an earlier wave are not over.
    EarlierWave {
        /// Index of that wave.
        wave: u32,
    },
    /// The orchestration is paused.
    Paused {
        /// By whom.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person must agree to this wave first.
    ApprovalWanted {
        /// Index of the wave.
        wave: u32,
    },
    /// Nothing starts anywhere.
    Frozen {
        /// By whom.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// More failed than the budget allows (G4).
    BudgetSpent {
        /// So many failed.
        failures: u32,
        /// So many may.
        budget: u32,
    },
    /// As many targets are worked on as may be at once.
    ConcurrencyFull {
        /// So many are.
        running: u32,
        /// So many may be.
        limit: u32,
    },
    /// Too close to the start before it.
    Stagger,
    /// Put off by its part of the jitter, so that not all start at once.
    Jitter,
    /// A maintenance window is shut, or a blackout holds.
    Window {
        /// Which.
        name: String,
    },
    /// It would not be over before a maintenance window shuts.
    DoesNotFit {
        /// What the target is expected to take.
        expected: Millis,
        /// When the window shuts.
        closes: Timestamp,
    },
    /// A person took the host out of use.
    HeldBy {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// Two names for one machine: both report the same boot.
    SameMachine {
        /// The other name.
        other: String,
    },
    /// No such target.
    UnknownTarget,
    /// Not approved yet, or its new key is not.
    NotApproved,
    /// Another orchestration holds the host (ruling 5), or one that goes down together with it (E14).
    Locked {
        /// Which.
        orchestration: OrchestrationId,
        /// The host that it is active on, where that is another one: it stands on this one, or this one on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        on: Option<String>,
    },
    /// It, or a host that goes down together with it, was let restart by itself, and has not said that it is back.
    HasSlot {
        /// The limit group of which it has a slot.
        group: String,
        /// The id that it was asked for with.
        #[serde(default)]
        holder: String,
        /// Who asked for it.
        by: Actor,
    },
    /// The controller has just started.
    Settling,
    /// Shut down by us (ruling 28).
    Off,
    /// Not heard lately enough (E19).
    NotActive,
    /// Could not be brought back, and nothing has proven otherwise.
    Stranded {
        /// Why.
        reason: String,
    },
    /// Too many commanded reboots and shutdowns in the window (G5, ruling 10).
    Lockout {
        /// How many count.
        counted: u32,
        /// How many are allowed.
        limit: u32,
        /// Those that count (ruling 10), the oldest first.
        commands: Vec<CommandId>,
    },
    /// The device's own rate limit: cannot be forced (G5).
    DeviceRateLimit,
    /// The agent cannot do what the plan needs.
    Unsupported {
        /// What.
        action: ActionKind,
    },
    /// The children could not be listed.
    ChildrenUnknown {
        /// Why.
        reason: String,
    },
    /// A child is being made or broken (ruling 16).
    ChildNotReady {
        /// Which.
        name: String,
        /// Its status.
        status: String,
    },
    /// A plain reboot of a host with running children (ruling 26).
    ChildrenRunning {
        /// How many.
        count: u32,
    },
    /// An orchestrated reboot of a host without running children (S0-40).
    NoRunningChildren,
    /// A shutdown is pending on the host, not by us.
    ShutdownPending {
        /// What.
        kind: String,
    },
    /// Somebody inhibits shutdown (pain 14).
    Inhibited {
        /// Who.
        who: String,
    },
    /// A check could not be made: it blocks (G5).
    CheckFailed {
        /// Which, and why.
        reason: String,
    },
    /// A limit group has no room (G1).
    LimitGroup {
        /// Which.
        group: String,
        /// Members that are unavailable now.
        unavailable: u32,
        /// Members that this start would add.
        adds: u32,
        /// The limit.
        limit: u32,
    },
    /// Even alone this start would exceed the limit of the group: the plan is refused (G1).
    LimitImpossible {
        /// Which.
        group: String,
        /// Members that this start would take down.
        adds: u32,
        /// The limit.
        limit: u32,
    },
    /// Another track must end well before.
    After {
        /// Index of that track.
        track: u32,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EarlierWave { wave } => write!(f, "wave {} is not over", wave + 1),
            Self::Paused { by, reason } => write!(f, "paused by {by}: {reason}"),
            Self::ApprovalWanted { wave } => write!(f, "wave {} waits until a person agrees to it", wave + 1),
            Self::Frozen { by, reason } => write!(f, "the fleet is frozen by {by}: {reason}"),
            Self::BudgetSpent { failures, budget } => {
                write!(f, "the failure budget is spent: {failures} failed, {budget} may fail")
            }
            Self::ConcurrencyFull { running, limit } => write!(f, "{running} targets are worked on, at most {limit} at once"),
            Self::Stagger => write!(f, "too close to the start before it"),
            Self::Jitter => write!(f, "put off by its part of the jitter"),
            Self::Window { name } => write!(f, "maintenance window {name} does not allow starts now"),
            Self::DoesNotFit { expected, closes } => {
                write!(f, "expected to take {expected}, but the maintenance window shuts at {closes}")
            }
            Self::HeldBy { by, reason } => write!(f, "host is held by {by}: {reason}"),
            Self::SameMachine { other } => {
                write!(f, "{other} reports the same boot: two names for one machine; remove one of them")
            }
            Self::UnknownTarget => write!(f, "no such target"),
            Self::NotApproved => write!(f, "host is not approved: compare its key fingerprint and approve it"),
            Self::Locked { orchestration, on: None } => write!(f, "orchestration {orchestration} is active on this host"),
            Self::Locked { orchestration, on: Some(on) } => {
                write!(f, "orchestration {orchestration} is active on {on}, and the two hosts go down together")
            }
            Self::HasSlot { group, holder, by } => {
                write!(
                    f,
                    "{holder} restarts by itself: {by} took a slot of limit group {group} for it; release it if it does not"
                )
            }
            Self::Settling => write!(f, "the controller has just started and waits until it has heard its hosts"),
            Self::Off => write!(f, "host was shut down: switch it on; it counts as off until it is heard on another boot"),
            Self::NotActive => write!(f, "host is not active: it has not been heard lately"),
            Self::Stranded { reason } => write!(f, "host is stranded: {reason}"),
            Self::Lockout { counted, limit, .. } => {
                write!(f, "lockout: {counted} commanded reboots or shutdowns of {limit} allowed")
            }
            Self::DeviceRateLimit => write!(f, "the device's own rate limit is reached; it cannot be forced"),
            Self::Unsupported { action } => write!(f, "the agent cannot perform {action}"),
            Self::ChildrenUnknown { reason } => write!(f, "children could not be listed: {reason}"),
            Self::ChildNotReady { name, status } => write!(f, "child {name} is {status}"),
            Self::ChildrenRunning { count } => {
                write!(f, "{count} children are running: use the orchestrated reboot, which stops and starts them")
            }
            Self::NoRunningChildren => write!(f, "no running child hosts found"),
            Self::ShutdownPending { kind } => write!(f, "a {kind} is pending on the host"),
            Self::Inhibited { who } => write!(f, "shutdown is inhibited by {who}"),
            Self::CheckFailed { reason } => write!(f, "a check could not be made: {reason}"),
            Self::LimitGroup { group, unavailable, adds, limit } => {
                write!(f, "limit group {group}: {unavailable} unavailable, this would add {adds}, limit {limit}")
            }
            Self::LimitImpossible { group, adds, limit } => {
                write!(f, "limit group {group}: this takes down {adds}, more than its limit of {limit} at any time")
            }
            Self::After { track } => write!(f, "waits for track {track}"),
        }
    }
}
