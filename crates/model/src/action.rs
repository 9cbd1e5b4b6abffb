//! The closed set of things that can be done to a target.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{BootIdentity, Check, ChildRef, Drain, ItemState, Millis, Run, ServiceVerb};

/// One action on one subject, with its parameters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Read the host and answer with a fresh report, and with what these checks gave. Never enters the agent's ledger.
    Probe {
        /// Only such as are performed on the host.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Check>,
    },
    /// Make these checks; answered with one result for each. Never enters the agent's ledger.
    Check {
        /// All of one site.
        checks: Vec<Check>,
    },
    /// Read what a drain would take out of service. Never enters the agent's ledger.
    Observe {
        /// Filled in.
        drain: Drain,
    },
    /// Take out of service; confirmed by observing (E7). Out of service already is a success.
    Drain {
        /// Filled in.
        drain: Drain,
        /// How long it may take by itself.
        grace: Millis,
        /// Cut off what is left instead of waiting for it.
        force: bool,
    },
    /// Bring each item back to the state it had; confirmed by observing. One that was out of service stays so (G7).
    Undrain {
        /// Filled in.
        drain: Drain,
        /// What was found before the drain.
        prior: Vec<ItemState>,
        /// How long it may take.
        limit: Millis,
        /// What was left was cut off: how a forced drain leaves things is our own doing, too, and not somebody else's.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        forced: bool,
    },
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
    /// Run a command, if the host is still on this boot: a copy that is late must not run on a later one. Never run twice; where
    /// its end was not seen the outcome is unknown.
    Run {
        /// What.
        run: Run,
        /// The boot on which it was admitted.
        expect_boot: BootIdentity,
        /// Then it is killed.
        limit: Millis,
    },
    /// Something with one systemd unit.
    Service {
        /// With its suffix.
        unit: String,
        /// What.
        #[serde(flatten)]
        verb: ServiceVerb,
    },
}

/// The kind of an [`Action`], without parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// [`Action::Probe`].
    Probe,
    /// [`Action::Check`].
    Check,
    /// [`Action::Observe`].
    Observe,
    /// [`Action::Drain`].
    Drain,
    /// [`Action::Undrain`].
    Undrain,
    /// [`Action::StopChild`].
    StopChild,
    /// [`Action::StartChild`].
    StartChild,
    /// [`Action::Reboot`].
    Reboot,
    /// [`Action::Shutdown`].
    Shutdown,
    /// [`Action::Run`].
    Run,
    /// [`ServiceVerb::Inspect`].
    Inspect,
    /// [`ServiceVerb::Watch`].
    Watch,
    /// [`ServiceVerb::BackUp`].
    BackUp,
    /// [`ServiceVerb::Deploy`].
    Deploy,
    /// [`ServiceVerb::Migrate`].
    Migrate,
    /// [`ServiceVerb::Restart`].
    Restart,
    /// [`ServiceVerb::Stop`].
    StopUnit,
    /// [`ServiceVerb::Revert`].
    Revert,
    /// [`ServiceVerb::Restore`].
    Restore,
}

impl Action {
    /// Which kind this is.
    pub fn kind(&self) -> ActionKind {
        match self {
            Self::Probe { .. } => ActionKind::Probe,
            Self::Check { .. } => ActionKind::Check,
            Self::Observe { .. } => ActionKind::Observe,
            Self::Drain { .. } => ActionKind::Drain,
            Self::Undrain { .. } => ActionKind::Undrain,
            Self::StopChild { .. } => ActionKind::StopChild,
            Self::StartChild { .. } => ActionKind::StartChild,
            Self::Reboot { .. } => ActionKind::Reboot,
            Self::Shutdown { .. } => ActionKind::Shutdown,
            Self::Run { .. } => ActionKind::Run,
            Self::Service { verb, .. } => match verb {
                ServiceVerb::Inspect { .. } => ActionKind::Inspect,
                ServiceVerb::Watch { .. } => ActionKind::Watch,
                ServiceVerb::BackUp { .. } => ActionKind::BackUp,
                ServiceVerb::Deploy { .. } => ActionKind::Deploy,
                ServiceVerb::Migrate { .. } => ActionKind::Migrate,
                ServiceVerb::Restart { .. } => ActionKind::Restart,
                ServiceVerb::Stop { .. } => ActionKind::StopUnit,
                ServiceVerb::Revert { .. } => ActionKind::Revert,
                ServiceVerb::Restore { .. } => ActionKind::Restore,
            },
        }
    }

    /// The boot that the action is meant to end, for those that end one.
    pub fn expect_boot(&self) -> Option<BootIdentity> {
        match self {
            Self::Reboot { expect_boot, .. } | Self::Shutdown { expect_boot, .. } => Some(*expect_boot),
            Self::Probe { .. }
            | Self::Check { .. }
            | Self::Observe { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::StopChild { .. }
            | Self::StartChild { .. }
            | Self::Run { .. }
            | Self::Service { .. } => None,
        }
    }

    /// The child that is acted on, if any.
    pub fn child(&self) -> Option<&ChildRef> {
        match self {
            Self::StopChild { child, .. } | Self::StartChild { child, .. } => Some(child),
            Self::Probe { .. }
            | Self::Check { .. }
            | Self::Observe { .. }
            | Self::Drain { .. }
            | Self::Undrain { .. }
            | Self::Reboot { .. }
            | Self::Shutdown { .. }
            | Self::Run { .. }
            | Self::Service { .. } => None,
        }
    }
}

impl ActionKind {
    /// Whether it ends the present boot of the host. These are what the rate limit counts.
    pub fn ends_boot(self) -> bool {
        matches!(self, Self::Reboot | Self::Shutdown)
    }

    /// Whether a claim that was carried out is never carried out again: its end is found out, or is unknown.
    pub fn is_done_once(self) -> bool {
        self.repeat(Route::Agent) != Repeat::Safe
    }

    /// Whether it changes anything. What only reads is never claimed, fenced or rate-limited.
    pub fn is_disruptive(self) -> bool {
        !matches!(self, Self::Probe | Self::Check | Self::Observe | Self::Inspect | Self::Watch)
    }

    /// Whether, and under which proof, a command of this kind may be sent or run again on this route (design, section 5).
    pub fn repeat(self, route: Route) -> Repeat {
        match (route, self) {
            (
                Route::Agent | Route::Ssh | Route::Local,
                Self::Probe
                | Self::Check
                | Self::Observe
                | Self::Drain
                | Self::Undrain
                | Self::StopChild
                | Self::StartChild
                | Self::Inspect
                | Self::Watch
                | Self::BackUp
                | Self::Deploy
                | Self::StopUnit
                | Self::Revert
                | Self::Restore,
            ) => Repeat::Safe,
            (Route::Agent | Route::Ssh | Route::Local, Self::Reboot | Self::Shutdown) => Repeat::IfUnchanged,
            // The invocation id that is to end is compared and claimed by the recipe itself, so it may be asked for again.
            (Route::Agent | Route::Ssh | Route::Local, Self::Restart) => Repeat::Safe,
            // A migration claims its command on the host: asked for again, it is not run again.
            (Route::Agent | Route::Ssh | Route::Local, Self::Run | Self::Migrate) => Repeat::Never,
        }
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "probe",
            Self::Check => "check",
            Self::Observe => "observe",
            Self::Drain => "drain",
            Self::Undrain => "undrain",
            Self::StopChild => "stop",
            Self::StartChild => "start",
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
            Self::Run => "run",
            Self::Inspect => "inspect",
            Self::Watch => "watch",
            Self::BackUp => "back_up",
            Self::Deploy => "deploy",
            Self::Migrate => "migrate",
            Self::Restart => "restart",
            Self::StopUnit => "stop_unit",
            Self::Revert => "revert",
            Self::Restore => "restore",
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

/// In place of an address: this very machine.
pub const LOCAL_ADDRESS: &str = "local:";

/// How commands reach a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Our agent, over MQTT, with signed commands.
    Agent,
    /// No agent: recipes over SSH, with a compare-and-claim script for what ends a boot.
    Ssh,
    /// This very machine, without agent and without a server.
    Local,
}

impl Route {
    /// The best proof of a reboot that this route can give (G3).
    pub fn proof(self) -> Proof {
        match self {
            Self::Agent | Self::Ssh | Self::Local => Proof::BootId,
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
    /// An invocation id of the unit that differs from the one before.
    InvocationId,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agent => "agent",
            Self::Ssh => "ssh",
            Self::Local => "local",
        })
    }
}
