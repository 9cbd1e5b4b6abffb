//! Which recipe fits which kind of host and action.

use std::collections::BTreeSet;

use model::{Action, ActionKind, CheckResult, ChildKind, ErrorCode, Millis, Observed, TargetId};

use crate::checks::checks;
use crate::children::{Drive, Want};
use crate::drain::{self, Goal};
use crate::lxd::Lxd;
use crate::power::Power;
use crate::sandbox::{self, Sandbox};
use crate::service;
use crate::{Invocation, Next, Output, Script, Steps, Verdict};

/// The kind of a host: decides which tools it is driven with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// A host under systemd, with LXD children if it has LXD.
    Systemd,
    /// A host of which no more is known than that it has a shell: systemd is used where it runs. It is rebooted and shut down
    /// by [`crate::far::Order`], which claims, and not by [`perform`].
    Shell,
    /// A supervised process tree, for demonstrations and tests only.
    Sandbox {
        /// Program and first arguments of its control program.
        ctl: Vec<String>,
    },
}

/// Where named hooks are unless a host is configured otherwise.
pub const HOOKS_DIR: &str = "/etc/reveille/hooks";

/// The actions that a host of this kind can perform.
pub fn supported_actions(kind: &HostKind) -> BTreeSet<ActionKind> {
    use ActionKind::{BackUp, Deploy, Inspect, Migrate, Restart, Restore, Revert, StopUnit, Watch};
    use ActionKind::{Check, Drain, Observe, Probe, Reboot, Run, Shutdown, StartChild, StopChild, Undrain};
    let both = [Probe, Check, Observe, Drain, Undrain, StopChild, StartChild, Reboot, Shutdown];
    let services = [Inspect, Watch, BackUp, Deploy, Migrate, Restart, StopUnit, Revert, Restore];
    match kind {
        HostKind::Systemd => both.into_iter().chain(services).chain([Run]).collect(),
        // Commands over SSH are run without an engine, with the right of whoever logs in.
        HostKind::Shell => both.into_iter().chain(services).collect(),
        HostKind::Sandbox { .. } => [Probe, StopChild, StartChild, Reboot, Shutdown, Run].into(),
    }
}

/// The recipe for an action on this host, with its named hooks in the folder `hooks`. A probe is no recipe: it is answered with
/// [`crate::read_host`], and its checks with [`crate::checks`]; nor is a command, for which [`crate::command`] says what is run.
///
/// The time limit is the action's own (`grace`, `limit`), plus at most 30 s for tools that do not end. What the recipe does not
/// know ends as [`ErrorCode::Unsupported`]. Comparing `expect_boot` is the performer's duty, before the first step.
pub fn perform(kind: &HostKind, host: TargetId, hooks: &str, action: &Action) -> Script<Verdict> {
    if !supported_actions(kind).contains(&action.kind()) {
        return unsupported(format!("this kind of host cannot {}", action.kind()));
    }
    let (child, want, limit) = match action {
        Action::StopChild { child, grace, force } => (child, Want::Down { force: *force }, *grace),
        Action::StartChild { child, frozen, limit } => (child, Want::Up { frozen: *frozen }, *limit),
        Action::Reboot { ignore_inhibitors, .. } => return power(kind, "reboot", *ignore_inhibitors),
        Action::Shutdown { ignore_inhibitors, .. } => return power(kind, "poweroff", *ignore_inhibitors),
        Action::Probe { .. } => return unsupported("a probe is answered by reading the host".to_owned()),
        Action::Run { .. } => return unsupported("a command is run by whoever keeps what it says".to_owned()),
        Action::Check { checks: asked } => return Script::new(Checks(checks(hooks, asked))),
        Action::Observe { drain } => return drain::script(drain, Goal::Look, hooks, Millis(0)),
        Action::Drain { drain, grace, force } => return drain::script(drain, Goal::Out { force: *force }, hooks, *grace),
        Action::Undrain { drain, prior, limit, .. } => return drain::script(drain, Goal::Prior(prior.clone()), hooks, *limit),
        Action::Service { unit, verb } => return service::script(&service::Places::default(), unit, verb, hooks),
    };
    match (kind, child.kind) {
        (HostKind::Systemd | HostKind::Shell, ChildKind::Lxd) => {
            Script::new(Drive::new(Lxd { host }, child.clone(), want, limit))
        }
        (HostKind::Sandbox { ctl }, ChildKind::Sandbox) => {
            Script::new(Drive::new(Sandbox { host, ctl: ctl.clone() }, child.clone(), want, limit))
        }
        (HostKind::Systemd | HostKind::Shell, ChildKind::Sandbox) | (HostKind::Sandbox { .. }, ChildKind::Lxd) => {
            unsupported(format!("this kind of host has no {} children", child.kind))
        }
    }
}

fn unsupported(why: String) -> Script<Verdict> {
    Script::ended(Verdict::failed(ErrorCode::Unsupported, why))
}

fn power(kind: &HostKind, verb: &'static str, ignore_inhibitors: bool) -> Script<Verdict> {
    match kind {
        HostKind::Systemd => Script::new(Power::new(verb, ignore_inhibitors)),
        HostKind::Shell => unsupported("a host without an agent is rebooted and shut down by a claim".to_owned()),
        // A sandbox has no inhibitors.
        HostKind::Sandbox { ctl } => {
            let verb = if verb == "poweroff" { "shutdown" } else { verb };
            Script::new(SandboxPower { order: sandbox::run(ctl, &[verb]), asked: false })
        }
    }
}

/// What the checks gave, as the verdict of a command: they were made, whatever they found.
struct Checks(Script<Vec<CheckResult>>);

impl Steps<Verdict> for Checks {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match self.0.next(last, elapsed) {
            Next::Run(invocation) => Next::Run(invocation),
            Next::Wait(time) => Next::Wait(time),
            Next::Done(results) => Next::Done(Verdict::Completed { observed: Some(Observed::Checks(results)), already: false }),
        }
    }
}

struct SandboxPower {
    order: Invocation,
    asked: bool,
}

impl Steps<Verdict> for SandboxPower {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Verdict> {
        match last {
            Some(output) if self.asked => Next::Done(match output.exit {
                Some(code) if code != 0 && !output.timed_out => {
                    Verdict::failed(ErrorCode::ToolFailed, format!("sandbox: {}", output.words()))
                }
                // Done, or cut off: the order may have been heard.
                Some(_) | None => Verdict::Ordered,
            }),
            _ => {
                self.asked = true;
                Next::Run(self.order.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests;
