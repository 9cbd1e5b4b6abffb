//! The closed set of things that can be done to a target.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BootIdentity, ChildRef, Millis};

/// One action on one subject, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Read the host and answer with a fresh report. Never enters the agent's ledger.
    Probe,
    /// Stop a child cleanly; confirmed by observing that it is down (E7).
    StopChild {
        /// Which child.
        child: ChildRef,
        /// How long it may take to stop by itself.
        grace: Millis,
        /// Cut it off instead of asking.
        force: bool,
    },
    /// Start a child; confirmed by observing that it is up. A child that is up already is a success (E10).
    StartChild {
        /// Which child.
        child: ChildRef,
        /// Leave it paused, as it was (ruling 16).
        frozen: bool,
        /// How long it may take.
        limit: Millis,
    },
    /// Reboot the host, if it is still on this boot (G2).
    Reboot {
        /// The boot that this command is meant to end.
        expect_boot: BootIdentity,
        /// The device itself calls the reboot failed when it is still up, with nothing pending, after so long.
        begin_within: Millis,
        /// Go past block inhibitors and logged-in users: only for a request that was forced (G5). Otherwise the host refuses.
        ignore_inhibitors: bool,
    },
    /// Shut the host down, if it is still on this boot.
    Shutdown {
        /// The boot that this command is meant to end.
        expect_boot: BootIdentity,
        /// As for a reboot.
        begin_within: Millis,
        /// As for a reboot.
        ignore_inhibitors: bool,
    },
}

/// The kind of an [`Action`], without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// [`Action::Probe`].
    Probe,
    /// [`Action::StopChild`].
    StopChild,
    /// [`Action::StartChild`].
    StartChild,
    /// [`Action::Reboot`].
    Reboot,
    /// [`Action::Shutdown`].
    Shutdown,
}

impl Action {
    /// Which kind this is.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Probe => ActionKind::Probe,
            Self::StopChild { .. } => ActionKind::StopChild,
            Self::StartChild { .. } => ActionKind::StartChild,
            Self::Reboot { .. } => ActionKind::Reboot,
            Self::Shutdown { .. } => ActionKind::Shutdown,
        }
    }

    /// The boot that the action is meant to end, for those that end one.
    pub fn expect_boot(&self) -> Option<BootIdentity> {
        match self {
            Self::Reboot { expect_boot, .. } | Self::Shutdown { expect_boot, .. } => Some(*expect_boot),
            Self::Probe | Self::StopChild { .. } | Self::StartChild { .. } => None,
        }
    }

    /// The child that is acted on, if any.
    pub fn child(&self) -> Option<&ChildRef> {
        match self {
            Self::StopChild { child, .. } | Self::StartChild { child, .. } => Some(child),
            Self::Probe | Self::Reboot { .. } | Self::Shutdown { .. } => None,
        }
    }
}

impl ActionKind {
    /// Whether it ends the present boot of the host. These are what the rate limit counts.
    pub fn ends_boot(self) -> bool {
        matches!(self, Self::Reboot | Self::Shutdown)
    }

    /// Whether it changes anything. What only reads is never claimed, fenced or rate-limited.
    pub fn is_disruptive(self) -> bool {
        self != Self::Probe
    }

    /// Whether, and under which proof, a command of this kind may be sent or run again on this route (design, section 5).
    pub fn repeat(self, route: Route) -> Repeat {
        match (route, self) {
            (Route::Agent, Self::Probe | Self::StopChild | Self::StartChild) => Repeat::Safe,
            (Route::Agent, Self::Reboot | Self::Shutdown) => Repeat::IfUnchanged,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "probe",
            Self::StopChild => "stop",
            Self::StartChild => "start",
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Whether a command may be repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// As often as one likes: the performer observes first.
    Safe,
    /// Only while the boot identity is the one that the command expects to end.
    IfUnchanged,
    /// Sent once; after a crash its outcome is unknown and a person decides.
    Never,
}

/// How commands reach a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Our agent, over MQTT, with signed commands.
    Agent,
}

impl Route {
    /// The best proof of a reboot that this route can give (G3).
    pub fn proof(self) -> Proof {
        match self {
            Self::Agent => Proof::BootId,
        }
    }
}

/// What an outcome rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Only the device's word.
    DeviceWord,
    /// A boot identity that differs from the expected one.
    BootId,
}
