//! Topics of the native dialect: `reveille/v1/{host_id}/{kind}`.

use std::fmt;
use std::str::FromStr;

use model::TargetId;

/// What travels on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicKind {
    /// Controller to device: commands and signed time. Never retained.
    Command,
    /// Device to controller: acknowledgements.
    Ack,
    /// Device to controller: heartbeats.
    Report,
    /// Device to controller: the greeting at each connect.
    Hello,
    /// Device to controller: the last will.
    Gone,
}

impl TopicKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Command, Self::Ack, Self::Report, Self::Hello, Self::Gone];

    /// The last part of the topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Ack => "ack",
            Self::Report => "report",
            Self::Hello => "hello",
            Self::Gone => "gone",
        }
    }

    /// Whether the device publishes on it (and else subscribes to it).
    pub const fn from_device(self) -> bool {
        !matches!(self, Self::Command)
    }
}

/// A topic of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic {
    /// Whose.
    pub host: TargetId,
    /// What travels on it.
    pub kind: TopicKind,
}

/// A topic that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a topic of the native dialect: {0:?} (expected reveille/v1/HOST_ID/KIND)")]
pub struct NotOurs(String);

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reveille/v1/{}/{}", self.host, self.kind.as_str())
    }
}

impl FromStr for Topic {
    type Err = NotOurs;

    /// # Errors
    /// Anything that is not exactly what [`Topic`] writes: other versions, wildcards, another spelling of the id.
    fn from_str(text: &str) -> Result<Self, NotOurs> {
        let parse = || {
            let (host, kind) = text.strip_prefix("reveille/v1/")?.split_once('/')?;
            let kind = TopicKind::ALL.into_iter().find(|k| k.as_str() == kind)?;
            Some(Self { host: host.parse().ok()?, kind })
        };
        // Comparing with what would be written refuses upper case, braces and the other spellings of an id.
        parse().filter(|topic| topic.to_string() == text).ok_or_else(|| NotOurs(text.to_owned()))
    }
}

/// The one filter that a device subscribes to.
pub fn filter_commands(host: TargetId) -> String {
    Topic { host, kind: TopicKind::Command }.to_string()
}

/// The filter for everything that devices say, for the controller.
pub fn filter_all(kind: TopicKind) -> String {
    format!("reveille/v1/+/{}", kind.as_str())
}
