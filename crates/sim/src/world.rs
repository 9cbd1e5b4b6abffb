//! The truth: hosts, their boots, their children. Nothing here decides anything; it only happens.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    BootIdentity, ChildKind, ChildRef, ChildReport, ChildStatus, CommandId, ErrorCode, ItemState, Labels, Listing,
    PendingShutdown, Readable, TargetId, Timestamp,
};
use uuid::Uuid;

use crate::disk::Disk;
use crate::rng::Rng;
use crate::units::Unit;

pub(crate) use crate::cause::{Cause, Time};

/// What is on the far end's disk, and what ends with its boot.
#[derive(Clone, Debug, Default)]
pub(crate) struct FarDisk {
    /// Claims: they outlive the boot.
    pub(crate) claims: BTreeSet<CommandId>,
    /// What a claim ended with: it outlives the boot too.
    pub(crate) ends: BTreeMap<CommandId, ErrorCode>,
    /// Who decided first, by command: an order, or that none is given any more.
    pub(crate) go: BTreeMap<CommandId, Go>,
    /// Copies that order something get stuck on their way to it until then; a question gets through.
    pub(crate) slow_until: Time,
    /// The command whose end of this boot is open, since when.
    pub(crate) lock: Option<(CommandId, Time)>,
}

/// Who decided about a command first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    Closed,
    /// The script is about to order.
    Ordering,
    Ordered,
}

impl FarDisk {
    /// The boot ends.
    pub(crate) fn boot_ends(&mut self) {
        self.go.clear();
        self.lock = None;
    }
}

/// One boot of a host.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// What tells it from others.
    pub(crate) identity: BootIdentity,
    /// When it began.
    pub(crate) from: Time,
    /// When and by whom it was ended.
    pub(crate) ended: Option<(Time, Cause)>,
}

/// A shutdown under way.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Who ordered it.
    pub(crate) cause: Cause,
    /// Whether the host stays off.
    pub(crate) off: bool,
    /// Tells two shutdowns apart.
    pub(crate) number: u64,
}

/// Something that a drain takes out of service: the jobs on a host, or its place behind a balancer.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// In the tool's word.
    pub(crate) state: String,
    /// It takes work.
    pub(crate) in_service: bool,
    /// It does not drain when asked.
    pub(crate) hangs: bool,
    /// Who brought it to its state, and when.
    pub(crate) changed: (Cause, Time),
}

impl Service {
    /// As it is without anybody's doing.
    pub(crate) fn new() -> Self {
        Self { state: "ready".to_owned(), in_service: true, hangs: false, changed: (Cause::Itself, 0) }
    }

    /// Change it.
    pub(crate) fn set(&mut self, state: &str, in_service: bool, cause: Cause, now: Time) {
        state.clone_into(&mut self.state);
        self.in_service = in_service;
        self.changed = (cause, now);
    }

    /// As a performer sees it.
    pub(crate) fn item(&self) -> ItemState {
        ItemState { name: "it".to_owned(), state: self.state.clone(), in_service: self.in_service }
    }
}

/// Whether a host runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    /// Up, on its last boot.
    On,
    /// Down; will come up by an event that is already scheduled, or never.
    Down,
}

/// One child.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    /// Its names.
    pub(crate) who: ChildRef,
    /// What it does.
    pub(crate) status: ChildStatus,
    /// Who brought it to its present status.
    pub(crate) cause: Cause,
    /// Starts with the host.
    pub(crate) autostart: bool,
    /// Higher starts first.
    pub(crate) start_priority: i64,
    /// Higher stops first.
    pub(crate) stop_priority: i64,
    /// It is there at all.
    pub(crate) exists: bool,
    /// Does not stop when asked.
    pub(crate) hangs: bool,
    /// Does not stop even when cut off.
    pub(crate) unstoppable: bool,
    /// Does not start.
    pub(crate) fails: bool,
    /// When a command of ours last took it down, itself or with its host.
    pub(crate) taken_down: Option<Time>,
    /// When it last came up, and as what.
    pub(crate) came_up: Option<(Time, ChildStatus)>,
}

/// One host with everything on it.
#[derive(Debug)]
pub(crate) struct Host {
    /// Its id.
    pub(crate) id: TargetId,
    /// Its name.
    pub(crate) name: String,
    /// Its labels.
    pub(crate) labels: Labels,
    /// Up or down.
    pub(crate) power: Power,
    /// All boots, the present one last.
    pub(crate) boots: Vec<Boot>,
    /// A shutdown under way.
    pub(crate) pending: Option<Pending>,
    /// Its children.
    pub(crate) children: Vec<Child>,
    /// The agent's ledger.
    pub(crate) disk: Disk,
    /// The host's clock minus true time, in milliseconds.
    pub(crate) clock_offset: i64,
    /// The clock was set by someone who knows.
    pub(crate) clock_set: bool,
    /// Who inhibits shutdown.
    pub(crate) inhibitors: Vec<String>,
    /// Until then the child engine answers an empty list (`true`) or an error.
    pub(crate) listing_bad: Option<(Time, bool)>,
    /// Nobody brings it up again.
    pub(crate) lost: bool,
    /// True time of the last step of its clock.
    pub(crate) clock_stepped_at: Option<Time>,
    /// It has no agent and is reached over SSH.
    pub(crate) ssh: bool,
    /// What the compare-and-claim script has left on it.
    pub(crate) far: FarDisk,
    /// Its jobs, where it has any that a drain knows.
    pub(crate) jobs: Option<Service>,
    /// Its place behind the balancer.
    pub(crate) place: Service,
    /// Its services.
    pub(crate) units: Vec<Unit>,
    /// Its service runs and does not do what it is for.
    pub(crate) sick: bool,
    /// Whether it says that it needs a reboot; `None`: it cannot tell.
    pub(crate) needs_reboot: Option<bool>,
}

impl Host {
    /// The present boot, or the last one.
    pub(crate) fn boot(&self) -> &Boot {
        &self.boots[self.boots.len() - 1]
    }

    /// The host's own clock.
    pub(crate) fn wall(&self, now: Time) -> Timestamp {
        Timestamp::from_millis(now + self.clock_offset)
    }

    /// Milliseconds since the host started.
    pub(crate) fn uptime(&self, now: Time) -> u64 {
        u64::try_from(now - self.boot().from).unwrap_or(0)
    }

    /// Up and on its way to stay so.
    pub(crate) fn is_up(&self) -> bool {
        self.power == Power::On
    }

    /// What the child engine says.
    pub(crate) fn list(&self, now: Time) -> Listing {
        match self.listing_bad {
            Some((until, true)) if now < until => Readable::Known(Vec::new()),
            Some((until, false)) if now < until => Readable::Unknown("the child engine does not answer".to_owned()),
            _ => Readable::Known(self.children.iter().filter(|c| c.exists).map(report_of).collect()),
        }
    }

    /// What the host says of shutdowns under way.
    pub(crate) fn pending_shutdown(&self) -> Readable<Option<PendingShutdown>> {
        Readable::Known(
            self.pending
                .as_ref()
                .map(|p| PendingShutdown { kind: if p.off { "poweroff" } else { "reboot" }.to_owned(), at: None }),
        )
    }

    /// One child.
    pub(crate) fn child(&self, id: TargetId) -> Option<&Child> {
        self.children.iter().find(|c| c.who.id == id)
    }

    /// One child.
    pub(crate) fn child_mut(&mut self, id: TargetId) -> Option<&mut Child> {
        self.children.iter_mut().find(|c| c.who.id == id)
    }

    /// The present boot ends; everything on the host stops. The disk is flushed by an orderly shutdown and cut by a power cut.
    pub(crate) fn go_down(&mut self, now: Time, cause: Cause, rng: &mut Rng) -> bool {
        self.power = Power::Down;
        self.pending = None;
        self.far.boot_ends();
        if let Some(boot) = self.boots.last_mut() {
            boot.ended = Some((now, cause));
        }
        for child in &mut self.children {
            if child.status != ChildStatus::Stopped {
                child.set(ChildStatus::Stopped, cause, now);
            }
        }
        self.units.iter_mut().for_each(|unit| unit.boot_ends(cause, now));
        if cause == Cause::PowerCut {
            self.disk.lose_power(rng)
        } else {
            self.disk.flush_quietly();
            false
        }
    }

    /// A new boot begins.
    pub(crate) fn come_up(&mut self, now: Time, rng: &mut Rng) {
        self.power = Power::On;
        self.boots.push(Boot { identity: new_boot(rng), from: now, ended: None });
    }

    /// A child as it is made with a host or later.
    pub(crate) fn new_child(&self, name: &str, rng: &mut Rng) -> Child {
        let kind = if rng.per_mille(800) { ChildKind::Lxd } else { ChildKind::Sandbox };
        let stable_id = rng.uuid().to_string();
        let who = ChildRef { id: TargetId::of_child(self.id, kind, &stable_id), kind, name: name.to_owned(), stable_id };
        let status = match rng.below(10) {
            0..=5 => ChildStatus::Running,
            6 => ChildStatus::Frozen,
            _ => ChildStatus::Stopped,
        };
        Child {
            who,
            status,
            cause: Cause::Itself,
            autostart: rng.per_mille(500),
            start_priority: rng.below(3) as i64,
            stop_priority: rng.below(3) as i64,
            exists: true,
            hangs: false,
            unstoppable: false,
            fails: false,
            taken_down: None,
            came_up: None,
        }
    }
}

impl Child {
    /// Change what it does.
    pub(crate) fn set(&mut self, status: ChildStatus, cause: Cause, now: Time) {
        self.status = status;
        self.cause = cause;
        if status.is_up() {
            self.came_up = Some((now, status));
        } else if matches!(cause, Cause::Command(_)) {
            self.taken_down = Some(now);
        }
    }

    /// It came up as it was before after we last took it down; what happened to it since is not our doing.
    pub(crate) fn was_brought_back(&self, before: ChildStatus) -> bool {
        self.taken_down.is_none_or(|down| self.came_up.is_some_and(|(up, status)| up > down && status == before))
    }

    /// There and running, or paused.
    pub(crate) fn is_up(&self) -> bool {
        self.exists && self.status.is_up()
    }
}

fn report_of(child: &Child) -> ChildReport {
    ChildReport {
        child: child.who.clone(),
        status: child.status,
        autostart: child.autostart,
        start_priority: child.start_priority,
        stop_priority: child.stop_priority,
    }
}

/// The identity of a boot that never was before.
pub(crate) fn new_boot(rng: &mut Rng) -> BootIdentity {
    let id: Uuid = rng.uuid();
    let ticks = rng.between(1, 500);
    match BootIdentity::new(&id.to_string(), ticks) {
        Ok(identity) => identity,
        Err(error) => unreachable!("a random id is never nil: {error}"),
    }
}
