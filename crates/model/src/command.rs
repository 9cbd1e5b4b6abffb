//! Commands to a target and its acknowledgements.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::lenient::{self, Maybe};
use crate::{
    Action, BootIdentity, CheckResult, ChildStatus, CommandId, ItemState, OrchestrationId, Ran, Report, ServiceSeen, TargetId,
    Timestamp,
};

/// Orders commands: a target refuses what stands under the highest fence that it has seen (G9). Compared first by epoch
/// (raised by a new or restored database), then by position (allotted in commit order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Fence {
    /// Which life of the controller's database.
    pub epoch: u64,
    /// Place in the order of commits.
    pub position: u64,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.position)
    }
}

/// One attempt of one action on one subject, as the performer must see it. On the native route all of it is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// See [`CommandId::of`].
    pub id: CommandId,
    /// The host that performs it; commands for anyone else are refused.
    pub target: TargetId,
    /// What is acted on: the host itself or one of its children.
    pub subject: TargetId,
    /// What is to be done.
    pub action: Action,
    /// For people and logs: whose command this is.
    pub orchestration: OrchestrationId,
    /// From 1.
    pub attempt: u32,
    /// Compared per track target.
    pub fence: Fence,
    /// When it was journaled.
    pub issued_at: Timestamp,
    /// Judged by both sides; a performer begins nothing after it.
    pub expires_at: Timestamp,
}

/// The states that a performer reports, in this order (ruling 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AckStatus {
    /// Claimed on the performer's disk; it will be done or answered.
    Accepted,
    /// The tool is about to be run.
    ExecutionStarted,
    /// Done, and seen to be done.
    Completed,
    /// Refused or failed; carries an error.
    Failed,
}

impl AckStatus {
    /// Nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

impl fmt::Display for AckStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Accepted => "accepted",
            Self::ExecutionStarted => "execution_started",
            Self::Completed => "completed",
            Self::Failed => "failed",
        })
    }
}

/// Why a performer refused or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// No signature, or one that does not fit the pinned key.
    BadSignature,
    /// Came as a retained message.
    Retained,
    /// Its time had passed.
    Expired,
    /// A newer command was seen before it.
    UnderFence,
    /// Meant for another target.
    WrongTarget,
    /// The device's own rate limit.
    RateLimited,
    /// The host is no longer on the boot that the command was to end.
    BootDiffers,
    /// No set clock and no time from the controller.
    ClockUnset,
    /// This performer does not know the action or the kind of child.
    Unsupported,
    /// The payload could not be read.
    Malformed,
    /// No such child.
    NotFound,
    /// The tool said no (an inhibitor, a missing right).
    Refused,
    /// The tool ran and failed.
    ToolFailed,
    /// The wanted state was not seen in time.
    NotObserved,
    /// The reboot or shutdown was ordered and did not happen: the same boot, and nothing pending.
    NotBegun,
    /// The ledger could not be written (a full disk): nothing was done.
    LedgerFailed,
    /// The performer lost what it knew; a person must look.
    OutcomeUnknown,
    /// The host cannot be reached over its route: no address, no connection, no answer.
    Unreachable,
    /// The far end does not let us in, or asks for a password that nobody gave.
    Denied,
    /// The host shows another key than the known one.
    HostKeyChanged,
    /// It could not be taken out of service by the deadline; the message names what is left.
    NotDrained,
    /// The service is no longer in the run that the command was to end.
    InvocationDiffers,
    /// A code of a newer version.
    #[serde(other)]
    Other,
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadSignature => "bad_signature",
            Self::Retained => "retained",
            Self::Expired => "expired",
            Self::UnderFence => "under_fence",
            Self::WrongTarget => "wrong_target",
            Self::RateLimited => "rate_limited",
            Self::BootDiffers => "boot_differs",
            Self::ClockUnset => "clock_unset",
            Self::Unsupported => "unsupported",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::ToolFailed => "tool_failed",
            Self::NotObserved => "not_observed",
            Self::NotBegun => "not_begun",
            Self::LedgerFailed => "ledger_failed",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::HostKeyChanged => "host_key_changed",
            Self::NotDrained => "not_drained",
            Self::InvocationDiffers => "invocation_differs",
            Self::Other => "other",
        })
    }
}

/// What a performer saw, besides a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", from = "WrittenObserved")]
pub enum Observed {
    /// The child that was acted on.
    Child(ChildStatus),
    /// What a drain takes out of service: for observe, drain and undrain.
    Items(Vec<ItemState>),
    /// One result for each check that was asked.
    Checks(Vec<CheckResult>),
    /// How the command ended that was run.
    Ran(Ran),
    /// What was seen of a service.
    Service(Box<ServiceSeen>),
}

/// Journals of version 1 hold the bare status of a child.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenObserved {
    Now(Told),
    Older(ChildStatus),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Child(ChildStatus),
    Items(Vec<ItemState>),
    Checks(Vec<CheckResult>),
    Ran(Ran),
    Service(Box<ServiceSeen>),
}

impl From<WrittenObserved> for Observed {
    fn from(written: WrittenObserved) -> Self {
        match written {
            WrittenObserved::Now(Told::Child(status)) | WrittenObserved::Older(status) => Self::Child(status),
            WrittenObserved::Now(Told::Items(items)) => Self::Items(items),
            WrittenObserved::Now(Told::Checks(results)) => Self::Checks(results),
            WrittenObserved::Now(Told::Ran(ran)) => Self::Ran(ran),
            WrittenObserved::Now(Told::Service(seen)) => Self::Service(seen),
        }
    }
}

/// The error of a failed ack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckError {
    /// For programs.
    pub code: ErrorCode,
    /// For people; at most 4000 characters.
    pub message: String,
}

/// What a performer says about a command. The last one said is said again at each start and connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// Which command.
    pub command: CommandId,
    /// How far it is.
    pub status: AckStatus,
    /// Set when failed.
    #[serde(default, deserialize_with = "error")]
    pub error: Option<AckError>,
    /// The boot on which this was said. For a completed reboot: the new boot, seen by the agent that holds the claim (G3).
    pub boot: BootIdentity,
    /// What was seen. Nothing, where a newer program saw what this one does not know.
    #[serde(default, deserialize_with = "lenient::part")]
    pub observed: Option<Observed>,
    /// It was so already; nothing had to be done.
    pub already: bool,
    /// A fresh report: always for a completed probe, and for a completed reboot.
    #[serde(default, deserialize_with = "lenient::part")]
    pub report: Option<Report>,
}

/// A failure stays one, whatever its reason is written like.
fn error<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AckError>, D::Error> {
    let unread = || AckError { code: ErrorCode::Other, message: "its reason cannot be read: update this program".to_owned() };
    Ok(Option::<Maybe<AckError>>::deserialize(deserializer)?.map(|error| error.read().unwrap_or_else(unread)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_is_read_as_version_1_and_as_today_write_it() {
        let seen = Observed::Child(ChildStatus::Running);
        assert_eq!(serde_json::from_str::<Observed>(r#""running""#).unwrap(), seen);
        let items = Observed::Items(vec![ItemState { name: "web/web1".to_owned(), state: "ready".to_owned(), in_service: true }]);
        let said = crate::Said { bytes: 3, tail: "ok\n".to_owned() };
        let ran = Observed::Ran(Ran { exit: Some(3), timed_out: false, out: said, err: crate::Said::default() });
        for today in [seen, items, Observed::Checks(Vec::new()), ran] {
            assert_eq!(serde_json::from_str::<Observed>(&serde_json::to_string(&today).unwrap()).unwrap(), today);
        }
    }
}
