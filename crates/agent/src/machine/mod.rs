//! The machine: every decision of the agent, pure.
//!
//! It reads nothing and writes nothing. Whoever runs it (the agent program, or the simulator) brings [`Input`]s with a
//! [`Clock`] and performs the [`Effect`]s of each call **strictly in order, before the next call**. The contract:
//!
//! - [`Effect::Append`], [`Effect::Flush`] and [`Effect::Compact`] are done when they return. If one fails, the rest of that
//!   list is *dropped* and the very next input is [`Input::LedgerFailed`]; any other input tells the machine that the whole
//!   list was performed. One list holds at most one ledger transaction.
//! - [`Effect::Publish`] need not wait; publishes keep their order. What was not acknowledged by the broker is answered with
//!   [`Input::Unheard`] at some time, or the connection is reported as broken: either way the last word is said again.
//! - [`Effect::PublishAwait`] is answered by exactly one [`Input::Said`], at the latest after its limit.
//! - [`Effect::Perform`], [`Effect::Look`] and [`Effect::Read`] only begin something; each is answered by exactly one
//!   [`Input::Performed`], [`Input::Looked`] or [`Input::Read`], unless the process dies. Several run at once. A reading must begin after its effect.
//! - [`Machine::poll_timeout`] says when (milliseconds since boot) [`Input::Tick`] is due; a time that has passed means now.
//!   Steps that must each be on disk before the next are one call each, so this is how a claim goes on to its execution.
//! - After a crash anywhere, [`Machine::start`] with what the ledger kept is the ordinary path.

mod admit;
mod clock;
mod core;
mod rate;
mod say;
mod state;

use std::collections::BTreeSet;

use model::{Action, ActionKind, Command, CommandId, ErrorCode, InstanceId, Millis, TargetId, Timestamp};
use protocol::native::{ControllerBody, DeviceBody, Refused};
use recipe::{HostReading, Verdict};

pub use self::core::Machine;
use crate::ledger::Record;

/// The clocks of the host at one instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The wall clock.
    pub wall: Timestamp,
    /// Whether the wall clock was ever set; a board without a battery may think that it is 1970.
    pub wall_is_set: bool,
    /// Milliseconds since the boot, counting sleep; never goes back within one boot.
    pub boottime: Millis,
}

/// What the machine is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// This host.
    pub host: TargetId,
    /// This run of the agent: different at each start.
    pub instance: InstanceId,
    /// The pinned public key of the controller, as text: fences belong to it.
    pub controller: String,
    /// Version of the agent program.
    pub agent_version: String,
    /// What this host can perform.
    pub actions: BTreeSet<ActionKind>,
    /// Users whose free commands are run; nobody's by default.
    pub free_users: BTreeSet<String>,
    /// Time between two heartbeats; default 30 s (ruling 23).
    pub heartbeat: Millis,
    /// Commanded reboots and shutdowns in one window; default 3 (G9). At least 1.
    pub rate_limit: u32,
    /// The window; default 15 min.
    pub rate_window: Millis,
    /// Longest wait for the broker's acknowledgement of `execution_started` before a reboot; default 5 s.
    pub say_limit: Millis,
    /// Longest wait for the controller's time before a command is refused with `clock_unset`; default 30 s.
    pub time_limit: Millis,
    /// Time between two looks at a pending shutdown, and between two tries to write a ledger that failed; default 15 s.
    pub recheck: Millis,
}

impl Config {
    /// With the defaults of ruling 23.
    pub fn new(host: TargetId, instance: InstanceId, controller: String, actions: BTreeSet<ActionKind>) -> Self {
        Self {
            host,
            instance,
            controller,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            actions,
            free_users: BTreeSet::new(),
            heartbeat: Millis::secs(30),
            rate_limit: 3,
            rate_window: Millis::secs(15 * 60),
            say_limit: Millis::secs(5),
            time_limit: Millis::secs(30),
            recheck: Millis::secs(15),
        }
    }
}

/// Names one delivery of the link, for its acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

/// What a reading of the host is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reading {
    /// The greeting of a new connection.
    Hello,
    /// A heartbeat.
    Heartbeat,
    /// The answer to a probe.
    Probe(CommandId),
    /// The report that goes with a completed reboot.
    Proof(CommandId),
    /// Whether a shutdown is still pending.
    Pending(CommandId),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The link is up and subscribed.
    Connected,
    /// The link is down; deliveries that were not acknowledged are gone.
    Disconnected,
    /// Something came on the command topic.
    Delivery {
        /// For [`Effect::AckDelivery`].
        token: Token,
        /// The broker had stored it.
        retained: bool,
        /// Opened with the pinned key by the performer's side.
        opened: Result<Box<ControllerBody>, Refused>,
    },
    /// Answers [`Effect::PublishAwait`].
    Said {
        /// Which command's.
        command: CommandId,
        /// The broker acknowledged it in time.
        heard: bool,
    },
    /// Answers [`Effect::Perform`].
    Performed {
        /// Which.
        command: CommandId,
        /// How it ended.
        verdict: Verdict,
    },
    /// Answers [`Effect::Look`].
    Looked {
        /// Which.
        command: CommandId,
        /// What was seen.
        verdict: Verdict,
    },
    /// Answers [`Effect::Read`].
    Read {
        /// Which.
        reading: Reading,
        /// What was seen.
        host: Box<HostReading>,
    },
    /// A ledger effect of the last list failed, and the rest of that list was dropped.
    LedgerFailed {
        /// In words.
        reason: String,
        /// See [`crate::ledger::LedgerError::undone`].
        undone: bool,
    },
    /// A publish was not acknowledged although the link stands.
    Unheard,
    /// Time passed.
    Tick,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Add a record to the ledger.
    Append(Record),
    /// Make it durable.
    Flush,
    /// Replace the whole ledger by these, durably.
    Compact(Vec<Record>),
    /// Say something; sealed by the performer's side.
    Publish(Box<DeviceBody>),
    /// Say something and wait for the broker's acknowledgement, but not longer than this.
    PublishAwait {
        /// Whose acknowledgement it is.
        command: CommandId,
        /// What.
        body: Box<DeviceBody>,
        /// How long at most.
        limit: Millis,
    },
    /// Begin the recipe of this command.
    Perform(Box<Command>),
    /// Begin the recipe of an action that only looks (checks, what a drain would take out), for this command.
    Look {
        /// Which.
        command: CommandId,
        /// What to look at.
        action: Box<Action>,
    },
    /// Begin to read the host.
    Read(Reading),
    /// The delivery is safe here; the broker may forget it.
    AckDelivery(Token),
}

/// Why the machine refuses a command: code and words.
pub(crate) type Refusal = (ErrorCode, String);

#[cfg(test)]
mod tests;
