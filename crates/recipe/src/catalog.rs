//! Which recipe fits which kind of host and action.

use std::collections::BTreeSet;

use model::{Action, ActionKind, ChildKind, ChildReport, ErrorCode, Listing, Millis, PendingShutdown, Readable, TargetId};

use crate::children::{Drive, Engine, Want};
use crate::inhibit::Inhibitors;
use crate::lxd::Lxd;
use crate::pending::Pending;
use crate::power::Power;
use crate::sandbox::{self, Sandbox};
use crate::{Invocation, Next, Output, Script, Steps, Verdict};

/// The kind of a host: decides which tools it is driven with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKind {
    /// A host under systemd, with LXD children if it has LXD.
    Systemd,
    /// A supervised process tree, for demonstrations and tests only.
    Sandbox {
        /// Program and first arguments of its control program.
        ctl: Vec<String>,
    },
}

/// What one reading of a host gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReading {
    /// Child engines found.
    pub engines: BTreeSet<ChildKind>,
    /// The children of all engines; unknown as soon as one of them could not be listed.
    pub children: Listing,
    /// A shutdown that is pending.
    pub pending_shutdown: Readable<Option<PendingShutdown>>,
    /// Who blocks a shutdown, each in words.
    pub inhibitors: Readable<Vec<String>>,
}

/// The actions that a host of this kind can perform.
pub fn supported_actions(_kind: &HostKind) -> BTreeSet<ActionKind> {
    [ActionKind::Probe, ActionKind::StopChild, ActionKind::StartChild, ActionKind::Reboot, ActionKind::Shutdown].into()
}

/// The recipe for an action on this host. A probe is no recipe: it is answered with [`read_host`].
///
/// The time limit is the action's own (`grace`, `limit`), plus at most 30 s for tools that do not end. What the recipe does not
/// know ends as [`ErrorCode::Unsupported`]. Comparing `expect_boot` is the performer's duty, before the first step.
pub fn perform(kind: &HostKind, host: TargetId, action: &Action) -> Script<Verdict> {
    let (child, want, limit) = match action {
        Action::StopChild { child, grace, force } => (child, Want::Down { force: *force }, *grace),
        Action::StartChild { child, frozen, limit } => (child, Want::Up { frozen: *frozen }, *limit),
        Action::Reboot { ignore_inhibitors, .. } => return power(kind, "reboot", *ignore_inhibitors),
        Action::Shutdown { ignore_inhibitors, .. } => return power(kind, "poweroff", *ignore_inhibitors),
        Action::Probe { .. } => return unsupported("a probe is answered by reading the host".to_owned()),
        Action::Check { .. } | Action::Observe { .. } | Action::Drain { .. } | Action::Undrain { .. } => {
            return unsupported(format!("this kind of host cannot {}", action.kind()));
        }
    };
    match (kind, child.kind) {
        (HostKind::Systemd, ChildKind::Lxd) => Script::new(Drive::new(Lxd { host }, child.clone(), want, limit)),
        (HostKind::Sandbox { ctl }, ChildKind::Sandbox) => {
            Script::new(Drive::new(Sandbox { host, ctl: ctl.clone() }, child.clone(), want, limit))
        }
        (HostKind::Systemd, ChildKind::Sandbox) | (HostKind::Sandbox { .. }, ChildKind::Lxd) => {
            unsupported(format!("this kind of host has no {} children", child.kind))
        }
    }
}

/// Reads the host for a report. `expected` names the engines that this host is known to have: one of them that is gone makes
/// the children unknown, whereas a host that never had LXD has no children.
pub fn read_host(kind: &HostKind, host: TargetId, expected: &BTreeSet<ChildKind>) -> Script<HostReading> {
    match kind {
        HostKind::Systemd => Script::new(ReadSystemd {
            lxd: Lxd { host },
            lxd_expected: expected.contains(&ChildKind::Lxd),
            found: None,
            pending: (Pending::new(), None),
            inhibitors: Inhibitors::new(),
            part: Part::Start,
        }),
        HostKind::Sandbox { ctl } => {
            Script::new(ReadSandbox { sandbox: Sandbox { host, ctl: ctl.clone() }, children: None, asked: 0 })
        }
    }
}

fn unsupported(why: String) -> Script<Verdict> {
    Script::ended(Verdict::failed(ErrorCode::Unsupported, why))
}

fn power(kind: &HostKind, verb: &'static str, ignore_inhibitors: bool) -> Script<Verdict> {
    match kind {
        HostKind::Systemd => Script::new(Power::new(verb, ignore_inhibitors)),
        // A sandbox has no inhibitors.
        HostKind::Sandbox { ctl } => {
            let verb = if verb == "poweroff" { "shutdown" } else { verb };
            Script::new(SandboxPower { order: sandbox::run(ctl, &[verb]), asked: false })
        }
    }
}

fn listing(engine: &impl Engine, output: &Output) -> Listing {
    match engine.read_list(output) {
        Ok(listed) => Readable::Known(listed.into_iter().map(|l| l.report).collect::<Vec<ChildReport>>()),
        Err(why) => Readable::Unknown(why),
    }
}

enum Part {
    Start,
    Children,
    Pending,
    Inhibitors,
}

struct ReadSystemd {
    lxd: Lxd,
    lxd_expected: bool,
    found: Option<(BTreeSet<ChildKind>, Listing)>,
    pending: (Pending, Option<Readable<Option<PendingShutdown>>>),
    inhibitors: Inhibitors,
    part: Part,
}

impl Steps<HostReading> for ReadSystemd {
    fn next(&mut self, mut last: Option<&Output>, elapsed: Millis) -> Next<HostReading> {
        if let Part::Start = self.part {
            self.part = Part::Children;
            return Next::Run(self.lxd.list());
        }
        if let Part::Children = self.part {
            // 127: there is no such program.
            let output = last.take();
            self.found = Some(match output {
                Some(output) if output.exit == Some(127) && !self.lxd_expected => (BTreeSet::new(), Readable::Known(Vec::new())),
                Some(output) => ([ChildKind::Lxd].into(), listing(&self.lxd, output)),
                None => ([ChildKind::Lxd].into(), Readable::Unknown("lxc list: no answer was brought".to_owned())),
            });
            self.part = Part::Pending;
        }
        if let Part::Pending = self.part {
            match self.pending.0.next(last.take(), elapsed) {
                Next::Done(pending) => self.pending.1 = Some(pending),
                Next::Run(invocation) => return Next::Run(invocation),
                Next::Wait(time) => return Next::Wait(time),
            }
            self.part = Part::Inhibitors;
        }
        match self.inhibitors.next(last.take(), elapsed) {
            Next::Run(invocation) => Next::Run(invocation),
            Next::Wait(time) => Next::Wait(time),
            Next::Done(inhibitors) => {
                let unread = || "not read".to_owned();
                let (engines, children) = self.found.take().unwrap_or_else(|| (BTreeSet::new(), Readable::Unknown(unread())));
                let pending_shutdown = self.pending.1.take().unwrap_or_else(|| Readable::Unknown(unread()));
                Next::Done(HostReading { engines, children, pending_shutdown, inhibitors })
            }
        }
    }
}

struct ReadSandbox {
    sandbox: Sandbox,
    children: Option<Listing>,
    asked: u8,
}

impl Steps<HostReading> for ReadSandbox {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<HostReading> {
        self.asked += 1;
        match (self.asked, last) {
            (1, _) => Next::Run(self.sandbox.list()),
            (2, Some(output)) => {
                self.children = Some(listing(&self.sandbox, output));
                Next::Run(sandbox::run(&self.sandbox.ctl, &["pending"]))
            }
            (_, last) => {
                let unread = || "no answer was brought".to_owned();
                let pending_shutdown = match last.ok_or_else(unread).and_then(sandbox::read_pending) {
                    Ok(kind) => Readable::Known(kind.map(|kind| PendingShutdown { kind, at: None })),
                    Err(why) => Readable::Unknown(why),
                };
                Next::Done(HostReading {
                    engines: [ChildKind::Sandbox].into(),
                    children: self.children.take().unwrap_or_else(|| Readable::Unknown(unread())),
                    pending_shutdown,
                    inhibitors: Readable::Known(Vec::new()),
                })
            }
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
