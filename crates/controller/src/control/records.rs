//! What goes in and out of [`super::Control`].

use std::fmt;

use engine::View;
use model::{Force, Labels, Millis, OrchestrationId, RolloutOptions, TargetId, TimeoutPolicy, Timestamp};
use serde::{Deserialize, Serialize};

use super::access::{Permission, Role, Scope};

/// One entry of a journal, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// From 0.
    pub position: u64,
    /// When.
    pub at: Timestamp,
    /// Who caused it.
    pub by: String,
    /// Kind of the entry: `step_started`.
    pub entry: String,
    /// Tells of something done, rather than refused or failed.
    pub good: bool,
    /// One sentence.
    pub text: String,
}

/// One state of an orchestration, as watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// Number of entries in its journal; grows with every change.
    pub sequence: u64,
    /// The state.
    pub view: View,
}

/// One state of an orchestration, with what led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Lines of its journal that were given so far.
    pub seen: u64,
    /// The state.
    pub view: View,
    /// What was written since the state before.
    pub lines: Vec<JournalLine>,
    /// Nothing follows.
    pub over: bool,
}

/// A rollout to be started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewRollout {
    /// Words of a [`model::Selector`].
    pub targets: Vec<String>,
    /// What is not as configured.
    pub options: RolloutOptions,
    /// How long children have to stop; default as configured.
    pub shutdown_timeout: Option<Millis>,
    /// What happens when they do not; default as configured.
    pub on_timeout: Option<TimeoutPolicy>,
    /// A host with a child that does not come back has failed.
    pub strict: bool,
    /// Override what can be overridden.
    pub force: Option<Force>,
}

/// A rollout that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub id: OrchestrationId,
    /// How many hosts.
    pub targets: u32,
    /// In how many waves.
    pub waves: u32,
}

/// Something that keeps something from starting until somebody lets go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// What kind.
    pub kind: LockKind,
    /// The host, where it is about one.
    pub host: Option<TargetId>,
    /// Name of the host or limit group.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// Since when.
    pub since: Timestamp,
    /// Why, where somebody said so.
    pub reason: Option<String>,
}

/// What kind of lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockKind {
    /// An orchestration works on the host.
    Orchestration,
    /// A person took the host out of use.
    Hold,
    /// A `FleetLock` client restarts under a limit group.
    Slot,
    /// The host could not be brought back.
    Stranded,
    /// Nothing starts anywhere.
    Freeze,
}

/// Whether the controller works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The engine runs and its store takes entries.
    pub ready: bool,
    /// Why not.
    pub reason: Option<String>,
    /// Since when it is so.
    pub since: Timestamp,
}

/// A module that a license can grant (ruling 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// Orchestrated reboots of hosts with children.
    ContainerEngine,
}

impl Module {
    /// Its name in license files and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerEngine => "container_engine",
        }
    }
}

/// A device to be enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEnrolment {
    /// The name that the host is to have: 1 to 253 of letters, digits, `-`, `_`, `.`.
    pub name: String,
    /// Its labels.
    #[serde(default)]
    pub labels: Labels,
    /// Good for so long; default 1 h, at most 7 days.
    #[serde(default)]
    pub valid_for: Option<Millis>,
}

/// An enrolment token, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolmentToken {
    /// `rvl1.…`, for the device.
    pub token: String,
    /// Not good after.
    pub expires_at: Timestamp,
}

/// A session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedIn {
    /// The user.
    pub user: String,
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    /// Ends then.
    pub expires_at: Timestamp,
    /// The user's role.
    pub role: Role,
    /// What it may do.
    pub permissions: Vec<Permission>,
}

/// An API token to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What for; a word that is unique among one's tokens.
    pub name: String,
    /// At most the maker's.
    pub role: Role,
    /// May force; only if the maker may.
    #[serde(default)]
    pub may_force: bool,
    /// At most the maker's; default the maker's.
    #[serde(default)]
    pub scope: Option<Scope>,
    /// Good for so long; default 90 days, at most 366 days.
    #[serde(default)]
    pub valid_for: Option<Millis>,
}

/// An API token, shown once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    /// Names it in lists.
    pub id: i64,
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    /// Ends then.
    pub expires_at: Timestamp,
}

/// A token in a list, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Names it.
    pub id: i64,
    /// Whose.
    pub user: String,
    /// What for; `None` for a session.
    pub name: Option<String>,
    /// Its role.
    pub role: Role,
    /// May force.
    pub may_force: bool,
    /// Its hosts.
    pub scope: Scope,
    /// Made.
    pub created_at: Timestamp,
    /// Ends.
    pub expires_at: Timestamp,
    /// Last shown, to the minute.
    pub last_used_at: Option<Timestamp>,
}

/// A user to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// 1 to 64 of letters, digits, `-`, `_`, `.`, `@`.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// May force, beyond its role.
    #[serde(default)]
    pub may_force: bool,
    /// Its hosts; default all.
    #[serde(default)]
    pub scope: Scope,
}

/// A user in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// May force.
    pub may_force: bool,
    /// Its hosts.
    pub scope: Scope,
    /// Has a one-time password that was not replaced yet.
    pub must_change_password: bool,
    /// Made.
    pub created_at: Timestamp,
}

macro_rules! hide_token {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "(until {}, token hidden)"), self.expires_at)
            }
        }
    )*};
}

hide_token!(EnrolmentToken, LoggedIn, TokenMade);
