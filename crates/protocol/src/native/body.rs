//! The closed set of bodies.

use model::{Ack, Command, InstanceId, Report, Timestamp};
use serde::{Deserialize, Serialize};

use super::TopicKind;

/// What the controller says to a device, all of it on the command topic.
///
/// Unknown fields are let pass, since a newer controller may speak to an older agent; unknown bodies and actions are
/// answered with `unsupported`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one at a time is opened and handed on")]
pub enum ControllerBody {
    /// Do something.
    Command {
        /// What.
        command: Command,
    },
    /// The controller's time, for boards without a clock that was ever set (design, section 9).
    Time {
        /// The nonce of the device's own hello: an old answer proves nothing.
        nonce: String,
        /// The controller's clock when it answered.
        now: Timestamp,
    },
}

/// What a device says to the controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeviceBody {
    /// How far a command is.
    Ack {
        /// The acknowledgement.
        ack: Ack,
    },
    /// A heartbeat.
    Report {
        /// What the host looks like now.
        report: Report,
    },
    /// The greeting at each connect; asks for the time.
    Hello {
        /// Comes back in [`ControllerBody::Time`]; at most 64 characters, never the same twice.
        nonce: String,
        /// What the host looks like now.
        report: Report,
    },
    /// The last will: this run of the agent lost its connection.
    Gone {
        /// Which run.
        instance: InstanceId,
    },
}

impl DeviceBody {
    /// The topic that it travels on.
    pub fn topic(&self) -> TopicKind {
        match self {
            Self::Ack { .. } => TopicKind::Ack,
            Self::Report { .. } => TopicKind::Report,
            Self::Hello { .. } => TopicKind::Hello,
            Self::Gone { .. } => TopicKind::Gone,
        }
    }
}
