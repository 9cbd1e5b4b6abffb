//! What somebody asks for.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{Millis, Rollout, RunRequest, ServicesRequest, TargetId, TimeoutPolicy};

/// Who does something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A person or program, by user name.
    User(String),
    /// The controller itself.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => f.write_str(name),
            Self::System => f.write_str("system"),
        }
    }
}

/// What is to be done with the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Stop the running children, reboot, start them again (S0).
    OrchestratedReboot,
    /// Reboot a host that has no running children (ruling 26).
    Reboot,
    /// Shut down a host that has no running children (ruling 26).
    Shutdown,
    /// Go through a fleet: drain, stop what runs on each host, reboot, bring back, verify (S2).
    RollingReboot,
    /// Run one command on each host of a fleet (S2).
    Run,
    /// Ask the hosts of a fleet whether they are well: nothing is changed, so nothing but work on the host itself keeps it back (S2).
    HealthCheck,
    /// Restart services in the order of their dependencies (S3).
    RestartServices,
}

impl Operation {
    /// Whether it goes through a fleet, with a [`Rollout`].
    pub fn is_rolling(self) -> bool {
        matches!(self, Self::RollingReboot | Self::Run | Self::HealthCheck)
    }

    /// Whether it ends the boot of its hosts.
    pub fn ends_boot(self) -> bool {
        !matches!(self, Self::Run | Self::HealthCheck | Self::RestartServices)
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OrchestratedReboot => "orchestrated reboot",
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
            Self::RollingReboot => "rolling reboot",
            Self::Run => "run",
            Self::HealthCheck => "health check",
            Self::RestartServices => "restart of services",
        })
    }
}

/// An override of what can be overridden (G5): needs its own permission and a reason, and is audited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Force {
    /// Why; never empty.
    pub reason: String,
}

/// How it is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How long the children have to stop (S0-69).
    pub shutdown_timeout: Millis,
    /// What happens when they do not (ruling 6).
    pub on_timeout: TimeoutPolicy,
    /// Any failed child makes the whole `failed` (ruling 2).
    pub strict: bool,
    /// Override inhibitors, lockout and the like.
    pub force: Option<Force>,
}

/// A request, with who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The hosts, each once; one, but for a rollout.
    #[serde(alias = "target", deserialize_with = "targets")]
    pub targets: Vec<TargetId>,
    /// What.
    pub operation: Operation,
    /// How.
    pub options: Options,
    /// How the fleet is gone through: for what is rolling ([`Operation::is_rolling`]), and only for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// For [`Operation::Run`], and only for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunRequest>,
    /// For [`Operation::HealthCheck`]: what does not pass is asked again for so long. Without it every host is asked once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Millis>,
    /// For [`Operation::RestartServices`], and only for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Box<ServicesRequest>>,
    /// Who.
    pub by: Actor,
}

/// One target, as journals of version 1 have it, or a list of them.
fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TargetId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Many(Vec<TargetId>),
        One(TargetId),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Many(targets) => targets,
        Written::One(target) => vec![target],
    })
}

impl Request {
    /// The host of a request for one; the first of a rollout. A request without targets is refused before it is looked at.
    pub fn target(&self) -> TargetId {
        self.targets.first().copied().unwrap_or(TargetId::CONTROLLER)
    }
}
