//! What a target tells of itself.

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize};

use crate::lenient::{self, Maybe};
use crate::{ActionKind, BootIdentity, ChildKind, ChildRef, ChildStatus, InstanceId, Timestamp};

/// Something that was read, or the reason why it could not be. A check that errors blocks (G5); it never reads as "nothing".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readable<T> {
    /// Read.
    Known(T),
    /// Could not be read; the text says why.
    Unknown(String),
}

impl<T> Readable<T> {
    /// The value, if it was read.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown(_) => None,
        }
    }
}

/// The children of a host, or why they could not be listed. An empty or failed listing is never "deleted" (E11).
pub type Listing = Readable<Vec<ChildReport>>;

/// One child in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildReport {
    /// Which child.
    #[serde(flatten)]
    pub child: ChildRef,
    /// What it is doing.
    pub status: ChildStatus,
    /// Its engine starts it by itself when the host boots.
    pub autostart: bool,
    /// Children with a higher number start first.
    pub start_priority: i64,
    /// Children with a higher number stop first.
    pub stop_priority: i64,
}

/// A shutdown or reboot that the host itself has scheduled or begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingShutdown {
    /// What is pending, in the tool's word: `reboot`, `poweroff`, …
    pub kind: String,
    /// When it is scheduled for by the host's clock; `None` when it is already under way.
    pub at: Option<Timestamp>,
}

/// The device's own rate limit (G9): a blocker that nobody can force, known before anything is stopped (G5).
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RateState {
    /// Commanded reboots and shutdowns that count now.
    pub counted: u32,
    /// How many are allowed in the window.
    pub limit: u32,
    /// Milliseconds from now until one more is allowed; `None` when one is allowed now.
    pub opens_in_ms: Option<u64>,
}

/// What a target tells of itself: at each connect, as a heartbeat, and as the answer to a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// This boot of the host.
    pub boot: BootIdentity,
    /// This run of the agent.
    pub instance: InstanceId,
    /// Order inside one instance, from 1; reports of one instance are judged by it, not by arrival (E2).
    pub sequence: u64,
    /// The host's own clock; for people, never a proof.
    pub taken_at: Timestamp,
    /// Version of the agent program.
    pub agent_version: String,
    /// Version of the native dialect that it speaks.
    pub protocol_version: u32,
    /// Actions that it can perform, of those that this program knows.
    #[serde(deserialize_with = "lenient::words")]
    pub actions: BTreeSet<ActionKind>,
    /// Child engines found on the host, of those that this program knows.
    #[serde(deserialize_with = "lenient::words")]
    pub engines: BTreeSet<ChildKind>,
    /// The children.
    #[serde(deserialize_with = "listing")]
    pub children: Listing,
    /// A shutdown that is pending, if any.
    pub pending_shutdown: Readable<Option<PendingShutdown>>,
    /// Who blocks a shutdown (block inhibitors), each in words.
    pub inhibitors: Readable<Vec<String>>,
    /// The device's own rate limit.
    pub rate: RateState,
    /// Whether the host says that it needs a reboot: the reason, or `None` when it needs none. Unknown never triggers (pain 8).
    #[serde(default = "not_told")]
    pub reboot_required: Readable<Option<String>>,
}

/// A child of a kind or in a state that this program does not know blocks: a listing without it would not be the whole (G5).
fn listing<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Listing, D::Error> {
    let list = match Readable::<Vec<Maybe<ChildReport>>>::deserialize(deserializer)? {
        Readable::Known(list) => list,
        Readable::Unknown(why) => return Ok(Readable::Unknown(why)),
    };
    let list: Option<Vec<ChildReport>> = list.into_iter().map(Maybe::read).collect();
    let newer = || "a child is of a kind or in a state that this program does not know: update it".to_owned();
    Ok(list.map_or_else(|| Readable::Unknown(newer()), Readable::Known))
}

fn not_told() -> Readable<Option<String>> {
    Readable::Unknown("not told".to_owned())
}

impl Report {
    /// The children, when they are known.
    pub fn children(&self) -> Option<&[ChildReport]> {
        self.children.known().map(Vec::as_slice)
    }

    /// One child by its id.
    pub fn child(&self, id: crate::TargetId) -> Option<&ChildReport> {
        self.children()?.iter().find(|c| c.child.id == id)
    }
}
