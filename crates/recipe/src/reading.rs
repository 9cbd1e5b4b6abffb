//! Reading a host for a report.

use std::collections::BTreeSet;

use model::{ChildKind, ChildReport, Listing, Millis, PendingShutdown, Readable, TargetId};

use crate::catalog::HostKind;
use crate::children::Engine;
use crate::inhibit::Inhibitors;
use crate::lxd::Lxd;
use crate::pending::{HasLxd, Pending, PlainPending, ask_has, read_has};
use crate::required::{ReadRequired, Required};
use crate::sandbox::{self, Sandbox};
use crate::{Next, Output, Script, Steps};

/// What one reading of a host gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostReading {
    /// Child engines found.
    pub engines: BTreeSet<ChildKind>,
    /// The children of all engines; unknown as soon as one of them could not be listed.
    pub children: Listing,
    /// A shutdown that is pending.
    pub pending_shutdown: Readable<Option<PendingShutdown>>,
    /// Who blocks a shutdown, each in words. A host without systemd knows nobody who could.
    pub inhibitors: Readable<Vec<String>>,
    /// Whether the host says that it needs a reboot: the reason, or `None` when it needs none (pain 8).
    pub reboot_required: Readable<Option<String>>,
    /// The same, when the host's package tool had to be asked for it; see [`Before::needs_restarting`].
    pub needs_restarting: Option<Readable<Option<String>>>,
}

/// What is known from before a reading.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Before {
    /// The engines that this host is known to have: one of them that is gone makes the children unknown, whereas a host that
    /// never had LXD has no children.
    pub engines: BTreeSet<ChildKind>,
    /// What the host's package tool said within the last minutes of this boot: asking it reads its whole database.
    pub needs_restarting: Option<Readable<Option<String>>>,
}

/// Reads the host for a report.
pub fn read_host(kind: &HostKind, host: TargetId, before: &Before) -> Script<HostReading> {
    let lxd_expected = before.engines.contains(&ChildKind::Lxd);
    let read = |any: bool| ReadHost {
        lxd: Lxd { host },
        lxd_expected,
        any,
        systemd: true,
        own: 0,
        held: None,
        children: None,
        pending: None,
        inhibitors: None,
        part: Part::Detect,
        reboot: ReadRequired::new(before.needs_restarting.clone()),
    };
    match kind {
        HostKind::Systemd => Script::new(read(false)),
        HostKind::Shell => Script::new(read(true)),
        HostKind::Sandbox { ctl } => {
            Script::new(ReadSandbox { sandbox: Sandbox { host, ctl: ctl.clone() }, children: None, asked: 0 })
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
    /// What it has is to be asked.
    Detect,
    Detecting,
    Children,
    Pending(Pending),
    PlainPending(PlainPending),
    Inhibitors(Inhibitors),
    Required,
}

struct ReadHost {
    lxd: Lxd,
    lxd_expected: bool,
    /// It may be a host without systemd, reached by a user who came in by `sudo`.
    any: bool,
    systemd: bool,
    /// The user whose login asks.
    own: u32,
    /// Files that keep it up; `None`: not known.
    held: Option<Vec<String>>,
    children: Option<(BTreeSet<ChildKind>, Listing)>,
    pending: Option<Readable<Option<PendingShutdown>>>,
    inhibitors: Option<Readable<Vec<String>>>,
    part: Part,
    reboot: ReadRequired,
}

/// What a part of the reading needs, or that the next part is to go on.
macro_rules! part {
    ($self:ident, $part:expr, $next:expr) => {
        match $next {
            Next::Run(invocation) => {
                $self.part = $part;
                return Next::Run(invocation);
            }
            Next::Wait(time) => {
                $self.part = $part;
                return Next::Wait(time);
            }
            Next::Done(done) => done,
        }
    };
}

impl ReadHost {
    /// Its children as far as they are known without asking LXD, which is asked for `None`.
    fn unasked(&self, has: Option<HasLxd>) -> Option<(BTreeSet<ChildKind>, Listing)> {
        let why = match has {
            Some(HasLxd::Yes) => return None,
            Some(HasLxd::No) if !self.lxd_expected => return Some((BTreeSet::new(), Readable::Known(Vec::new()))),
            Some(HasLxd::No) => "this host had LXD, and has it no more",
            Some(HasLxd::Down) => "LXD is on this host, and its daemon is not there to be asked (no unix.socket)",
            None => "whether this host has LXD cannot be read",
        };
        Some(([ChildKind::Lxd].into(), Readable::Unknown(why.to_owned())))
    }

    fn found(&self, output: Option<&Output>) -> (BTreeSet<ChildKind>, Listing) {
        match output {
            // 127: there is no such program, though something listens.
            Some(output) if output.exit == Some(127) && !self.lxd_expected => (BTreeSet::new(), Readable::Known(Vec::new())),
            Some(output) => ([ChildKind::Lxd].into(), listing(&self.lxd, output)),
            None => ([ChildKind::Lxd].into(), Readable::Unknown("lxc list: no answer was brought".to_owned())),
        }
    }

    fn after_children(&self) -> Part {
        if self.systemd { Part::Pending(Pending::new()) } else { Part::PlainPending(PlainPending::new()) }
    }

    /// Everybody who keeps it up: what cannot be read may be somebody.
    fn inhibited(&mut self) -> Option<Readable<Vec<String>>> {
        let held = self.held.take();
        Some(match (self.inhibitors.take()?, held) {
            (Readable::Known(who), Some(held)) => Readable::Known(who.into_iter().chain(held).collect()),
            (Readable::Known(_), None) => Readable::Unknown("whether a file holds this host up cannot be read".to_owned()),
            (unknown @ Readable::Unknown(_), _) => unknown,
        })
    }

    fn done(&mut self, required: Required) -> HostReading {
        let unread = || "not read".to_owned();
        let (engines, children) = self.children.take().unwrap_or_else(|| (BTreeSet::new(), Readable::Unknown(unread())));
        HostReading {
            engines,
            children,
            pending_shutdown: self.pending.take().unwrap_or_else(|| Readable::Unknown(unread())),
            inhibitors: self.inhibited().unwrap_or_else(|| Readable::Unknown(unread())),
            needs_restarting: self.reboot.asked_tool().then(|| required.clone()),
            reboot_required: required,
        }
    }
}

impl Steps<HostReading> for ReadHost {
    fn next(&mut self, mut last: Option<&Output>, elapsed: Millis) -> Next<HostReading> {
        loop {
            match std::mem::replace(&mut self.part, Part::Detect) {
                Part::Detect => {
                    self.part = Part::Detecting;
                    return Next::Run(ask_has());
                }
                // Unreadable: it is asked as a host under systemd, and what does not answer is unknown.
                Part::Detecting => {
                    let has = last.take().and_then(read_has);
                    if let Some(has) = has.as_ref().filter(|_| self.any) {
                        (self.systemd, self.own) = (has.systemd, has.user);
                    }
                    self.children = self.unasked(has.as_ref().map(|has| has.lxd));
                    self.held = has.map(|has| has.held);
                    if self.children.is_none() {
                        self.part = Part::Children;
                        return Next::Run(self.lxd.list());
                    }
                    self.part = self.after_children();
                }
                Part::Children => {
                    self.children = Some(self.found(last.take()));
                    self.part = self.after_children();
                }
                Part::Pending(mut pending) => {
                    let next = pending.next(last.take(), elapsed);
                    self.pending = Some(part!(self, Part::Pending(pending), next));
                    self.part = Part::Inhibitors(Inhibitors::new(self.own));
                }
                Part::PlainPending(mut pending) => {
                    let next = pending.next(last.take(), elapsed);
                    self.pending = Some(part!(self, Part::PlainPending(pending), next));
                    self.inhibitors = Some(Readable::Known(Vec::new()));
                    self.part = Part::Required;
                }
                Part::Inhibitors(mut inhibitors) => {
                    let next = inhibitors.next(last.take(), elapsed);
                    self.inhibitors = Some(part!(self, Part::Inhibitors(inhibitors), next));
                    self.part = Part::Required;
                }
                Part::Required => {
                    let next = self.reboot.next(last.take(), elapsed);
                    let required = part!(self, Part::Required, next);
                    return Next::Done(self.done(required));
                }
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
                    reboot_required: Readable::Unknown("a sandbox host does not tell".to_owned()),
                    needs_restarting: None,
                })
            }
        }
    }
}
