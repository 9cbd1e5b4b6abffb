//! What is written.

use std::collections::BTreeMap;

use model::{Ack, BootIdentity, Command, CommandId, Fence, Millis, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

/// Version of the ledger that this program writes; it reads this and older ones. Version 1 knew no drains and no runs.
pub const LEDGER_VERSION: u32 = 2;

/// When something was written, by every clock that there is: none of them is trusted alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// On which boot.
    pub boot: BootIdentity,
    /// Milliseconds after the start of that boot.
    pub boottime: Millis,
    /// The host's own clock, if it was set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall: Option<Timestamp>,
    /// The controller's signed time, carried on by the time since the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub controller: Option<Timestamp>,
}

/// One record. Samples of every version in `samples/ledger` must still load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// Always the first.
    Header {
        /// See [`LEDGER_VERSION`].
        version: u32,
    },
    /// Which controller is obeyed from here on. Fences are its own and begin anew; the rate limit goes on (ruling 27).
    Controller {
        /// Its public key.
        key: String,
    },
    /// A command will be done or answered. For a reboot or shutdown: also one commanded reboot for the rate limit.
    Claimed {
        /// All of it: what is open runs again after a crash.
        command: Box<Command>,
        /// Carries the boot identity that a reboot is compared with (G3).
        at: Moment,
    },
    /// The tool of a reboot or shutdown, or a command, may have been run from here on.
    Executing {
        /// Which.
        command: CommandId,
        /// The device's own limit for the begin of the reboot counts from here.
        at: Moment,
    },
    /// The last word on a command: done, failed or refused.
    Ended {
        /// Said again whenever the command comes again.
        ack: Box<Ack>,
        /// Of the command.
        expires_at: Timestamp,
        /// When.
        at: Moment,
    },
    /// The limits as they stood when the ledger was compacted; replaces what was read before it.
    Limits {
        /// Nothing under it is obeyed.
        floor: Fence,
        /// Fences above the floor, by subject.
        fences: BTreeMap<TargetId, Fence>,
        /// Commanded reboots and shutdowns.
        stamps: Vec<Moment>,
        /// The boots that the stamps lie in and those after, in order, each with the last moment known in it.
        boots: Vec<(BootIdentity, Millis)>,
    },
}
