//! Targets: what can be taken down and brought back.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use uuid::Uuid;

use crate::id::{NAMESPACE, TargetId};

/// Labels of a target, as an operator gave them.
pub type Labels = BTreeMap<String, String>;

/// The kind of a child host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildKind {
    /// A container or virtual machine of LXD.
    Lxd,
    /// A supervised process of a sandbox host: for demonstrations only.
    Sandbox,
}

impl fmt::Display for ChildKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lxd => "lxd",
            Self::Sandbox => "sandbox",
        })
    }
}

/// What a child is doing, as its engine says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildStatus {
    /// Up.
    Running,
    /// Paused; counts as running and is brought back frozen (ruling 16).
    Frozen,
    /// Down.
    Stopped,
    /// Being made or on its way up; blocks an orchestration (ruling 16).
    Creating,
    /// Broken; blocks an orchestration (ruling 16).
    Error,
}

impl ChildStatus {
    /// Whether the child counts as running (ruling 16).
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Frozen)
    }
}

impl fmt::Display for ChildStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Frozen => "frozen",
            Self::Stopped => "stopped",
            Self::Creating => "creating",
            Self::Error => "error",
        })
    }
}

/// Names one child to the engine that holds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChildRef {
    /// Our id; see [`TargetId::of_child`].
    pub id: TargetId,
    /// Its kind.
    pub kind: ChildKind,
    /// The name that its engine's commands take.
    pub name: String,
    /// The engine's own stable id (LXD `volatile.uuid`), else the name. A child made anew under an old name differs here.
    pub stable_id: String,
}

impl TargetId {
    /// Not a host: where the engine itself runs. Drains and checks that need no one on the host are performed there.
    pub const CONTROLLER: Self = Self(Uuid::from_u128(0x5f0c_7e6a_2b1d_5c43_9a51_636f_6e74_726c));

    /// The id of a host without an agent: computed from its name, so that it is the same wherever it is listed.
    pub fn of_ssh(name: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("ssh/{name}").as_bytes()))
    }

    /// The id of a child: computed from its host, kind and the engine's own stable id, so that it survives listing again and
    /// two kinds with one name are two children (ruling 22, E23).
    pub fn of_child(host: Self, kind: ChildKind, stable_id: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("child/{host}/{kind}/{stable_id}").as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_tell_kinds_apart() {
        let host = TargetId(Uuid::from_u128(7));
        let lxd = TargetId::of_child(host, ChildKind::Lxd, "web");
        assert_eq!(lxd, TargetId::of_child(host, ChildKind::Lxd, "web"));
        assert_ne!(lxd, TargetId::of_child(host, ChildKind::Sandbox, "web"));
    }
}
