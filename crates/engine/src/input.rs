//! Everything that can wake the engine, and what it answers.

use model::{Ack, Actor, BootIdentity, InstanceId, Labels, OrchestrationId, Report, Request, TargetId};
use serde::{Deserialize, Serialize};

use crate::explain::Blocker;

/// One thing that happened. Messages of devices are already opened: signature and sender were checked by the protocol.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "requests are large and rare, and no input is kept")]
pub enum Input {
    /// This controller took the lead; always the first input after a restore.
    Started {
        /// Which life of the database.
        epoch: u64,
        /// The lease under which it writes.
        lease: u64,
        /// The boot of the machine on which it runs, where that can be read: so it knows its own host, and reboots it last.
        own_boot: Option<BootIdentity>,
    },
    /// A host without agent is part of the fleet, under this name, address and labels. Saying it again changes nothing.
    Adopt {
        /// Our id of it.
        host: TargetId,
        /// Its name.
        name: String,
        /// Where it is reached over SSH.
        address: String,
        /// Its labels.
        labels: Labels,
        /// Who.
        by: Actor,
    },
    /// A person takes a host out of the fleet.
    Remove {
        /// Which.
        host: TargetId,
        /// Who.
        by: Actor,
    },
    /// The inventory does not list a host any more. It counts nowhere from now on, unless something is open on it; what is known of
    /// it comes back with it.
    Unlist {
        /// Which.
        host: TargetId,
        /// Who.
        by: Actor,
    },
    /// A person wants nothing new to start in an orchestration.
    Pause {
        /// Which.
        id: OrchestrationId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person wants a paused orchestration to go on, and accepts the failures so far.
    Resume {
        /// Which.
        id: OrchestrationId,
        /// Who.
        by: Actor,
    },
    /// A person agrees to the wave that waits for it.
    Agree {
        /// In which.
        id: OrchestrationId,
        /// Who.
        by: Actor,
    },
    /// A person wants nothing to start anywhere.
    Freeze {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person allows starts again.
    Thaw {
        /// Who.
        by: Actor,
    },
    /// A person takes a host out of use.
    Hold {
        /// Which.
        host: TargetId,
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// A person gives a held host back.
    Release {
        /// Which.
        host: TargetId,
        /// Who.
        by: Actor,
    },
    /// Somebody outside (`FleetLock`) asks to restart a machine under a limit group. Whoever has the slot gets it again.
    TakeSlot {
        /// The limit group, `NAME` or `NAME/VALUE`.
        group: String,
        /// The id of the machine.
        holder: String,
        /// Who asks.
        by: Actor,
    },
    /// The machine is back, or a person takes its slot away. Nobody having it is fine.
    GiveSlot {
        /// The limit group.
        group: String,
        /// The id of the machine.
        holder: String,
        /// Who says so.
        by: Actor,
    },
    /// A host told of itself: heartbeat or hello.
    Reported {
        /// Who.
        host: TargetId,
        /// What.
        report: Box<Report>,
    },
    /// A performer answered a command.
    Acked {
        /// Who.
        host: TargetId,
        /// What.
        ack: Box<Ack>,
    },
    /// The connection of a host broke (its last will).
    Gone {
        /// Who.
        host: TargetId,
        /// Which run of its agent.
        instance: InstanceId,
    },
    /// A host wants to join; token and key were checked.
    Enrol {
        /// Our id of it: of a known machine, else new.
        host: TargetId,
        /// Its name.
        name: String,
        /// Its machine id.
        machine_id: String,
        /// Its public key, as text.
        public_key: String,
        /// Labels of the token.
        labels: Labels,
    },
    /// A person approves a host.
    Approve {
        /// Which.
        host: TargetId,
        /// Who.
        by: Actor,
    },
    /// A person or program asks for something.
    Submit {
        /// The id under which it will be known.
        id: OrchestrationId,
        /// What.
        request: Request,
    },
    /// A person wants an orchestration to stop.
    Cancel {
        /// Which.
        id: OrchestrationId,
        /// Who.
        by: Actor,
    },
    /// A person says that a stranded target is fine, and has seen its alarm.
    Acknowledge {
        /// Which.
        target: TargetId,
        /// Who.
        by: Actor,
    },
    /// Time passed.
    Tick,
}

/// The answer to one input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Heard; nothing to say.
    Noted,
    /// The plan was accepted.
    Accepted {
        /// Its id.
        id: OrchestrationId,
        /// Running children taken into it (S0-37).
        child_count: u32,
    },
    /// Not done, and why.
    Refused(Refusal),
}

/// Why an input was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "refusal", rename_all = "snake_case")]
pub enum Refusal {
    /// Something keeps the target from starting; the same list as `explain` gives.
    Blocked {
        /// In order of importance.
        blockers: Vec<Blocker>,
    },
    /// Some targets of a rollout can never start.
    TargetsBlocked {
        /// Only those.
        targets: Vec<TargetBlockers>,
    },
    /// The plan makes no sense, with a hint what to do.
    BadPlan {
        /// In words.
        reason: String,
    },
    /// The orchestration that is to be taken up again still works on hosts: pause it and wait, or cancel it.
    StillRunning {
        /// Which.
        orchestration: OrchestrationId,
    },
    /// No such limit group.
    UnknownGroup {
        /// As asked for.
        group: String,
    },
    /// Somebody else has taken it out of use, or frozen everything: their mark and reason stay.
    MarkedBy {
        /// Who.
        by: Actor,
        /// Why.
        reason: String,
    },
    /// No such orchestration is active.
    NotActive,
    /// The reboot was handed to the device; it goes on to bring everything back (ruling 24).
    RebootAlreadyIssued,
    /// The command runs, or has run, on every host that is left: it is not cut off.
    CommandAlreadyIssued,
    /// No such target.
    UnknownTarget,
    /// Nothing of that kind to do: approved already, not stranded.
    NothingToDo,
}

/// What keeps one target of many from starting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetBlockers {
    /// Which.
    pub target: TargetId,
    /// Its name, where it is known.
    pub name: String,
    /// In order of importance.
    pub blockers: Vec<Blocker>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let listed = |blockers: &[Blocker]| blockers.iter().map(|b| b.why.to_string()).collect::<Vec<_>>().join("; ");
        match self {
            Self::Blocked { blockers } => f.write_str(&listed(blockers)),
            Self::TargetsBlocked { targets } => {
                let each: Vec<String> = targets.iter().map(|t| format!("{}: {}", t.name, listed(&t.blockers))).collect();
                f.write_str(&each.join("\n"))
            }
            Self::BadPlan { reason } => f.write_str(reason),
            Self::StillRunning { orchestration } => {
                write!(f, "orchestration {orchestration} still works on hosts: pause it and wait until it rests, or cancel it")
            }
            Self::MarkedBy { by, reason } => {
                write!(f, "{by} has done that already, with this reason: {reason}; it holds until a person takes it back")
            }
            Self::UnknownGroup { group } => write!(f, "no limit group is called {group:?}: see limit_group in the configuration"),
            Self::NotActive => f.write_str("no such orchestration is active"),
            Self::RebootAlreadyIssued => f.write_str("the reboot was already issued"),
            Self::CommandAlreadyIssued => f.write_str(
                "the command was handed over to every host that is left: it is not cut off, and ends by itself or at its limit",
            ),
            Self::UnknownTarget => f.write_str("no such target"),
            Self::NothingToDo => f.write_str("nothing to do: it is so already"),
        }
    }
}
