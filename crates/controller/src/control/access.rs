//! Who may do what, and with which hosts (G10). Roles are a closed list, a scope is a label selector.

use std::fmt;
use std::str::FromStr;

use model::{Actor, Labels, Timestamp};
use serde::{Deserialize, Serialize};

/// One thing that needs a right. Every route of the API names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Permission {
    /// See hosts, orchestrations and why something does not start.
    ViewHosts,
    /// Reboot or shut down hosts in scope, one or a whole rollout; cancel, pause and resume that; acknowledge stranded targets;
    /// disable hosts; freeze what one's scope holds all of.
    RebootHost,
    /// Run named commands on hosts in scope.
    RunCommand,
    /// Run free commands too, on hosts that name the user in their own configuration; always together with
    /// [`Permission::RunCommand`].
    RunFree,
    /// Restart services on hosts in scope; what its request brings of commands and paths needs
    /// [`Permission::DeployServices`] too.
    RestartServices,
    /// Deploy trees, and run health checks and migrations that a request brings: what is as good as being root there.
    DeployServices,
    /// Override what can be overridden (G5); always together with [`Permission::RebootHost`] and a reason.
    Force,
    /// Take and give back a slot of a limit group (FleetLock), for hosts that reboot by themselves.
    TakeSlot,
    /// Approve hosts and make enrolment tokens; adopt hosts without an agent, and remove hosts.
    ManageHosts,
    /// Read the audit log.
    ViewAudit,
    /// Make and revoke users and tokens.
    ManageAccess,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::ViewHosts,
        Self::RebootHost,
        Self::RunCommand,
        Self::RunFree,
        Self::RestartServices,
        Self::DeployServices,
        Self::Force,
        Self::TakeSlot,
        Self::ManageHosts,
        Self::ViewAudit,
        Self::ManageAccess,
    ];

    /// The word in documents and messages: `REBOOT_HOST`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ViewHosts => "VIEW_HOSTS",
            Self::RebootHost => "REBOOT_HOST",
            Self::RunCommand => "RUN_COMMAND",
            Self::RunFree => "RUN_FREE",
            Self::RestartServices => "RESTART_SERVICES",
            Self::DeployServices => "DEPLOY_SERVICES",
            Self::Force => "FORCE",
            Self::TakeSlot => "TAKE_SLOT",
            Self::ManageHosts => "MANAGE_HOSTS",
            Self::ViewAudit => "VIEW_AUDIT",
            Self::ManageAccess => "MANAGE_ACCESS",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A named set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A machine that takes and gives back slots, and sees nothing.
    Node,
    /// Sees.
    Viewer,
    /// Sees, reboots and runs named commands.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// Whether the role carries the permission. [`Permission::Force`] comes with `admin`; others are given it one by one
    /// ([`Principal::may_force`]).
    pub const fn grants(self, permission: Permission) -> bool {
        match self {
            Self::Node => matches!(permission, Permission::TakeSlot),
            Self::Viewer => matches!(permission, Permission::ViewHosts),
            Self::Operator => matches!(
                permission,
                Permission::ViewHosts
                    | Permission::RebootHost
                    | Permission::RunCommand
                    | Permission::RestartServices
                    | Permission::TakeSlot
            ),
            Self::Admin => true,
        }
    }

    /// Whether it carries nothing that the other does not carry. Not every two roles can be compared: a viewer sees, a node
    /// does not, and takes slots.
    pub fn is_within(self, other: Self) -> bool {
        Permission::ALL.into_iter().all(|permission| !self.grants(permission) || other.grants(permission))
    }

    /// The word in documents and in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such role: {0:?}; there are node, viewer, operator and admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Node, Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// The hosts that somebody may deal with: those that carry all these labels; empty is all hosts. Written
/// `label=value,label=value`, or `*` for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Scope(Labels);

impl Scope {
    /// All hosts.
    pub const fn all() -> Self {
        Self(Labels::new())
    }

    /// Whether nothing is left out.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a host with these labels is in it.
    pub fn covers(&self, labels: &Labels) -> bool {
        self.0.iter().all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Whether everything in `inner` is also in this scope.
    pub fn contains(&self, inner: &Self) -> bool {
        self.covers(&inner.0)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("*");
        }
        for (index, (key, value)) in self.0.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

/// A text that is no list of labels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of labels: {0:?} (expected label=value,label=value with every label once, or * for all hosts)")]
pub struct BadScope(String);

impl FromStr for Scope {
    type Err = BadScope;
    fn from_str(text: &str) -> Result<Self, BadScope> {
        if text.trim() == "*" {
            return Ok(Self::all());
        }
        parse_labels(text).map(Self).ok_or_else(|| BadScope(text.to_owned()))
    }
}

impl TryFrom<String> for Scope {
    type Error = BadScope;
    fn try_from(text: String) -> Result<Self, BadScope> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

/// `label=value,…`, at least one; `None` for anything else. Neither part holds a `=` or white space at its ends.
pub(super) fn parse_labels(text: &str) -> Option<Labels> {
    let mut labels = Labels::new();
    for part in text.split(',') {
        let (key, value) = part.split_once('=')?;
        let (key, value) = (key.trim(), value.trim());
        if key.is_empty() || value.is_empty() || value.contains('=') || labels.insert(key.to_owned(), value.to_owned()).is_some()
        {
            return None;
        }
    }
    Some(labels)
}

/// Somebody who has shown a valid token, or who runs the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// User name; a token acts for the user who made it, as `user/token`.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may force, beyond its role.
    pub may_force: bool,
    /// With which hosts.
    pub scope: Scope,
    /// Public id of the token that was shown; `None` for whoever runs the engine in a process of their own ([`crate::local`]).
    pub token: Option<i64>,
    /// When that token ends.
    pub expires_at: Timestamp,
}

impl Principal {
    /// Whoever runs the engine in a process of their own: what may be done is what they may do themselves.
    pub fn local(name: impl Into<String>) -> Self {
        let expires_at = Timestamp::from_millis(i64::MAX);
        Self { name: name.into(), role: Role::Admin, may_force: true, scope: Scope::all(), token: None, expires_at }
    }

    /// Whether it has the permission, scope apart.
    pub fn has(&self, permission: Permission) -> bool {
        match permission {
            // An API token of an administrator forces only if it was made for that.
            Permission::Force if self.name.contains('/') => self.may_force && self.role.grants(Permission::RebootHost),
            Permission::Force => {
                self.role.grants(Permission::Force) || (self.may_force && self.role.grants(Permission::RebootHost))
            }
            other => self.role.grants(other),
        }
    }

    /// Everything that it may do.
    pub fn permissions(&self) -> Vec<Permission> {
        Permission::ALL.into_iter().filter(|permission| self.has(*permission)).collect()
    }

    /// The user that it stands for, without the name of a token.
    pub fn user(&self) -> &str {
        self.name.split('/').next().unwrap_or(&self.name)
    }

    /// As journals and the audit log name it.
    pub fn actor(&self) -> Actor {
        Actor::User(self.name.clone())
    }
}
