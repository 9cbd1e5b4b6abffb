//! Journal entries: the facts from which everything else is computed.
//!
//! There are two kinds of journal (design, section 5): one per orchestration, and the fleet journal for what outlives or
//! spans orchestrations. Entries outlive the process: a change here walks old and new reader against old and new writer,
//! and `tests/samples` holds journals that must still load.

use model::broken::{self, Rule};
use model::{
    Ack, ActionKind, Actor, BootIdentity, Command, CommandId, InstanceId, Labels, Millis, OrchestrationId, Place, Plan, Report,
    Request, TargetId, Timestamp, Unfinished,
};
use serde::{Deserialize, Serialize};

/// The version that new records are written in.
pub const JOURNAL_VERSION: u32 = 4;

/// Which journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum JournalId {
    /// The one fleet journal.
    Fleet,
    /// The journal of one orchestration.
    Orchestration(OrchestrationId),
}

/// One entry with when and by whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record<E> {
    /// When the engine decided it, by the controller's clock.
    pub at: Timestamp,
    /// Who caused it.
    pub by: Actor,
    /// What.
    #[serde(flatten)]
    pub entry: E,
}

/// A record with the journal that it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// In the fleet journal.
    Fleet(Record<FleetEntry>),
    /// In the journal of an orchestration.
    Orchestration(OrchestrationId, Record<Entry>),
}

impl Fact {
    /// Which journal it belongs to.
    pub fn journal(&self) -> JournalId {
        match self {
            Self::Fleet(_) => JournalId::Fleet,
            Self::Orchestration(id, _) => JournalId::Orchestration(*id),
        }
    }
}

/// A fact of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
pub enum FleetEntry {
    /// A controller took the lead. Until `settle_until` facts are heard, no deadline is judged and no disruption starts.
    ControllerStarted {
        /// Which life of the database; part of the fence.
        epoch: u64,
        /// The lease under which it writes.
        lease: u64,
        /// End of settling.
        settle_until: Timestamp,
        /// The boot of the machine on which it runs, where it could be read: one of the hosts may be that machine.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        own_boot: Option<BootIdentity>,
    },
    /// A host asked to join, with a valid token; or a known machine came with a new key (ruling 27).
    HostEnrolled {
        /// Our id of it.
        host: TargetId,
        /// Its name.
        name: String,
        /// Its machine id.
        machine_id: String,
        /// Its public key, as text.
        public_key: String,
        /// Labels that came with the token.
        labels: Labels,
    },
    /// A host without agent was taken in, or its address or labels are other ones now. It needs no approval: whoever adopts it
    /// reaches it by their own right.
    HostAdopted {
        /// Our id of it.
        host: TargetId,
        /// Its name.
        name: String,
        /// Where it is reached over SSH.
        address: String,
        /// Its labels.
        labels: Labels,
    },
    /// The host left the fleet: whatever held it lets go (pain 1).
    HostRemoved {
        /// Which.
        host: TargetId,
    },
    /// No inventory lists the host any more, and nothing was open on it: it counts nowhere until it is adopted again. What is known
    /// of it, and a person's mark, wait for that.
    HostUnlisted {
        /// Which.
        host: TargetId,
    },
    /// A person took the host out of use: it counts as unavailable, and nothing but a person ends that.
    Held {
        /// Which.
        host: TargetId,
        /// Why.
        reason: String,
    },
    /// A person gave the host back.
    Released {
        /// Which.
        host: TargetId,
    },
    /// Nothing starts anywhere until a person thaws the fleet.
    Frozen {
        /// Why.
        reason: String,
    },
    /// Starts are allowed again.
    Thawed,
    /// Somebody outside restarts a machine under one of our limit groups: one unavailable member of it.
    SlotTaken {
        /// The limit group.
        group: String,
        /// Whoever took it.
        holder: String,
    },
    /// The machine is back, or a person took the slot back.
    SlotGiven {
        /// The limit group.
        group: String,
        /// Whoever had it.
        holder: String,
    },
    /// A track on the host is over: for the order and the expected durations of later ones.
    HostWorked {
        /// Which.
        host: TargetId,
        /// How it ended.
        outcome: Outcome,
        /// From its start to its end.
        took: Millis,
        /// It did only a part of what a rollout does to a host: that says nothing of how long the whole takes.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        part: bool,
        /// The first of its row of retries.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<OrchestrationId>,
    },
    /// A person approved the host and the fingerprint of its key.
    HostApproved {
        /// Which.
        host: TargetId,
    },
    /// The host was heard: for the first time, again after silence, on another boot, or by another run of its agent.
    HostSeen {
        /// Which.
        host: TargetId,
        /// The boot it is on.
        boot: BootIdentity,
        /// The run of its agent.
        instance: InstanceId,
    },
    /// The host has been silent past the limit.
    HostSilent {
        /// Which.
        host: TargetId,
    },
    /// The host was shut down by us and went silent (ruling 28); it counts as disrupted until it is heard on another boot.
    HostOff {
        /// Which.
        host: TargetId,
        /// The command and the boot that it ended.
        open_boot: OpenBoot,
    },
    /// The host that was off is on after all, on the same boot: the shutdown did not happen. Raises an alarm.
    HostStillOn {
        /// Which.
        host: TargetId,
    },
    /// The last word on the end of a boot came after its orchestration was over. It reopens nothing (ruling 9), but tells what
    /// became of the host.
    LateAck {
        /// Who says so.
        host: TargetId,
        /// Of which command.
        command: CommandId,
        /// Done (`true`), or not done and nothing pending.
        done: bool,
        /// The boot on which it is said.
        boot: BootIdentity,
        /// In words.
        detail: String,
    },
    /// An orchestration holds the host; one at a time (ruling 5, E13).
    Locked {
        /// Which.
        host: TargetId,
        /// Held by.
        orchestration: OrchestrationId,
        /// It only asks, and does nothing to the host.
        #[serde(default, skip_serializing_if = "is_false")]
        asks_only: bool,
        /// It works on services of the host, which stays up: it counts as available.
        #[serde(default, skip_serializing_if = "is_false")]
        stays_up: bool,
    },
    /// The orchestration lets go. By a person's word for one whose journal cannot be read; that raises the epoch, since the
    /// positions in it are not known.
    Unlocked {
        /// Which.
        host: TargetId,
        /// Was held by.
        orchestration: OrchestrationId,
        /// Highest position allotted so far: positions stay unique when ended journals are not read again.
        position: u64,
    },
    /// A reboot or shutdown was commanded; commands count for the lockout, boots do not (ruling 23).
    BootEndCommanded {
        /// Which.
        host: TargetId,
        /// The command.
        command: CommandId,
    },
    /// The target could not be brought back. It counts as unavailable until fresh proof and health, or a person, end it.
    Stranded {
        /// The host, or a child of it.
        target: TargetId,
        /// Its host.
        host: TargetId,
        /// Its name.
        name: String,
        /// Whose doing.
        orchestration: OrchestrationId,
        /// The first of its row of retries, where that is another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        root: Option<OrchestrationId>,
        /// Why.
        reason: String,
        /// It should be up (`true`) or down.
        expected_up: bool,
        /// For a host: the boot that was to end.
        open_boot: Option<OpenBoot>,
        /// For a host: what a retry must finish. With it, only such a retry or a person ends the state: no report tells that
        /// what was drained is in service again, or that the checks pass.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unfinished: Option<Unfinished>,
        /// It is a service of the host: no report of the host tells how it is.
        #[serde(default, skip_serializing_if = "is_false")]
        service: bool,
    },
    /// Fresh proof and health were seen, or a person said so.
    StrandedEnded {
        /// Which.
        target: TargetId,
        /// Ended by proof (`true`) or by a person's word.
        proven: bool,
        /// For a host: the boot on which it is back.
        boot: Option<BootIdentity>,
    },
    /// A person has seen the alarm that the target was stranded.
    AlarmAcknowledged {
        /// Which.
        target: TargetId,
    },
}

/// A reboot or shutdown whose end nobody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBoot {
    /// The command that was to end it.
    pub command: CommandId,
    /// The boot it was meant to end.
    pub expect_boot: BootIdentity,
}

/// A fact of one orchestration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one entry of a journal is the large one; all others are written and dropped")]
pub enum Entry {
    /// The plan was accepted; it does not change any more.
    Accepted {
        /// What was asked.
        request: Request,
        /// What will be done.
        plan: Plan,
        /// The name of the one target; in journals of version 1. Since then names stand in the tracks.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        host_name: String,
        /// The report on which it was accepted, where there is one target.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        report: Option<Box<Report>>,
        /// When waiting ends in cancelling, if nothing starts or ends before; each start and end gives as much time again (G6).
        wait_until: Timestamp,
    },
    /// Nothing new starts; what runs goes on.
    Paused {
        /// Why.
        reason: String,
    },
    /// Starts go on.
    Resumed {
        /// So many failures are accepted, whatever the budget says: those that there were (G4).
        accepted: u32,
    },
    /// A person agreed to the start of a wave.
    Agreed {
        /// Index of the wave.
        wave: u32,
    },
    /// Admission passed: the track holds its lock and begins.
    TrackStarted {
        /// Index of the track.
        track: u32,
    },
    /// Before anything was done a gate was found shut: the track lets go of its lock, and its turn comes again.
    TrackPutOff {
        /// Index of the track.
        track: u32,
        /// What holds it back.
        reason: String,
    },
    /// A step began, with its subjects fixed (also those that a probe resolved), and its deadline.
    StepStarted {
        /// Where.
        place: Place,
        /// From 1; a later round acts on what an earlier one missed.
        round: u32,
        /// Position of its commands in the order of commits.
        position: u64,
        /// On whom it acts.
        subjects: Vec<TargetId>,
        /// Judged by a timer of the controller (G6).
        deadline: Timestamp,
    },
    /// Intent: this command is to be sent until it is answered.
    CommandIssued {
        /// Where.
        place: Place,
        /// All of it.
        command: Box<Command>,
    },
    /// The performer said something new about an open command.
    Acked {
        /// Where.
        place: Place,
        /// On whom.
        subject: TargetId,
        /// What was commanded.
        action: ActionKind,
        /// What it said.
        ack: Box<Ack>,
        /// The step's deadline from here on, when this moves it.
        deadline: Option<Timestamp>,
    },
    /// The host went away while it was to go: its will, or silence.
    HostGone {
        /// Index of the track.
        track: u32,
    },
    /// The step's deadline passed: what is open in it has timed out.
    DeadlinePassed {
        /// Where.
        place: Place,
    },
    /// Those that did not stop are cut off.
    ForceStarted {
        /// Where.
        place: Place,
        /// New deadline of the step.
        deadline: Timestamp,
    },
    /// The step is over; open commands in it are superseded.
    StepEnded {
        /// Where.
        place: Place,
    },
    /// An operator asked to stop.
    CancelRequested,
    /// What was done is taken back.
    UnwindStarted {
        /// Index of the track.
        track: u32,
        /// Why.
        reason: String,
        /// The drain's policy says that the host is left alone ([`model::DrainPolicy::Skip`]).
        #[serde(default, skip_serializing_if = "is_false")]
        skips: bool,
    },
    /// The track is over.
    TrackEnded {
        /// Index of the track.
        track: u32,
        /// How.
        outcome: Outcome,
        /// Why, when not completed.
        reason: Option<String>,
    },
    /// The orchestration is over: a terminal state.
    Ended {
        /// How.
        outcome: Outcome,
        /// Names each child and reason (ruling 2, E28).
        error_message: Option<String>,
    },
}

/// How something ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All as it should be, and proven.
    Completed,
    /// The host is back and proven, some children are not (ruling 2: `completed` with an error message in S0's document).
    Partial,
    /// Not done, or not proven.
    Failed,
    /// Cancelled before the reboot was handed over, and taken back.
    Cancelled,
    /// Not started, because of another track; or put back into service, because it did not drain in time.
    Skipped,
    /// Left alone: it needs no reboot, or cannot tell, and only required ones were asked for.
    NotNeeded,
    /// A command was handed over, and nobody knows whether it was done, or how it ended: a person has to look. It is never run
    /// again by itself.
    Unknown,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Entry {
    /// The track that it is about, if it is about one.
    pub fn track(&self) -> Option<u32> {
        match self {
            Self::StepStarted { place, .. }
            | Self::CommandIssued { place, .. }
            | Self::Acked { place, .. }
            | Self::DeadlinePassed { place }
            | Self::ForceStarted { place, .. }
            | Self::StepEnded { place } => Some(place.track),
            Self::TrackStarted { track }
            | Self::TrackPutOff { track, .. }
            | Self::HostGone { track }
            | Self::UnwindStarted { track, .. }
            | Self::TrackEnded { track, .. } => Some(*track),
            Self::Accepted { .. }
            | Self::Paused { .. }
            | Self::Resumed { .. }
            | Self::Agreed { .. }
            | Self::CancelRequested
            | Self::Ended { .. } => None,
        }
    }
}

impl Outcome {
    /// Whether it spends failure budget (G4). What was skipped, was not needed or was cancelled does not; a host that is back
    /// with a child that is not has failed.
    pub fn is_failure(self) -> bool {
        let unknown = self == Self::Unknown && !broken::is(Rule::UnknownNotCounted);
        unknown || matches!(self, Self::Failed | Self::Partial)
    }

    /// The worse of two, for what is made of both.
    pub(crate) fn worse(self, other: Self) -> Self {
        let badness = |outcome| match outcome {
            Self::Completed | Self::NotNeeded => 0,
            Self::Partial => 1,
            Self::Skipped => 2,
            Self::Cancelled => 3,
            Self::Failed => 4,
            Self::Unknown => 5,
        };
        if badness(other) > badness(self) { other } else { self }
    }
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
