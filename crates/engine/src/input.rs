//! Everything that can wake the engine, and what it answers.

use model::{Ack, Actor, InstanceId, Labels, OrchestrationId, Report, Request, TargetId};
use serde::{Deserialize, Serialize};

use crate::explain::Blocker;

/// One thing that happened. Messages of devices are already opened: signature and sender were checked by the protocol.
#[derive(Clone, Debug)]
pub enum Input {
    /// This controller took the lead; always the first input after a restore.
    Started {
        /// Which life of the database.
        epoch: u64,
        /// The lease under which it writes.
        lease: u64,
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
    /// No such orchestration is active.
    NotActive,
    /// The reboot was handed to the device; it goes on to bring everything back (ruling 24).
    RebootAlreadyIssued,
    /// No such target.
    UnknownTarget,
    /// Nothing of that kind to do: approved already, not stranded.
    NothingToDo,
}
