//! Hosts as a script describes them: what they would answer, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use model::{
    Ack, AckError, AckStatus, Action, ActionKind, BootIdentity, CheckResult, ChildKind, ChildRef, ChildReport, ChildStatus,
    Command, Drain, ErrorCode, InstanceId, ItemState, Observed, PendingShutdown, Ran, RateState, Readable, Report, Said,
    TargetId, Timestamp,
};
use uuid::Uuid;

#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) id: TargetId,
    pub(crate) name: String,
    pub(crate) boot: u128,
    pub(crate) instance: u128,
    pub(crate) sequence: u64,
    pub(crate) children: BTreeMap<String, (ChildStatus, bool)>,
    pub(crate) priorities: BTreeMap<String, i64>,
    pub(crate) listing_broken: bool,
    pub(crate) pending: Option<String>,
    pub(crate) inhibitor: Option<String>,
    pub(crate) rate_opens_in_ms: Option<u64>,
    /// What a load balancer or systemd says of it: state, and whether it takes work.
    pub(crate) items: BTreeMap<String, (String, bool)>,
    /// Checks that do not pass.
    pub(crate) failing: BTreeSet<String>,
    pub(crate) reboot_required: Readable<Option<String>>,
    /// It is of a kind that knows no checks.
    pub(crate) cannot_check: bool,
    /// The exit code of each command that is run on it, and how many were.
    pub(crate) exit: i32,
    pub(crate) runs: u32,
    /// An older agent, which knows no commands.
    pub(crate) no_runs: bool,
    /// An older agent, which knows no services.
    pub(crate) no_services: bool,
}

/// What is done to services.
const OF_SERVICES: [ActionKind; 9] = [
    ActionKind::Inspect,
    ActionKind::Watch,
    ActionKind::BackUp,
    ActionKind::Deploy,
    ActionKind::Migrate,
    ActionKind::Restart,
    ActionKind::StopUnit,
    ActionKind::Revert,
    ActionKind::Restore,
];

pub(crate) fn host_id(name: &str) -> TargetId {
    TargetId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, name.as_bytes()))
}

impl Host {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            id: host_id(name),
            name: name.to_owned(),
            boot: 1,
            instance: 1,
            sequence: 0,
            children: BTreeMap::new(),
            priorities: BTreeMap::new(),
            listing_broken: false,
            pending: None,
            inhibitor: None,
            rate_opens_in_ms: None,
            items: BTreeMap::new(),
            failing: BTreeSet::new(),
            reboot_required: Readable::Unknown("not asked".into()),
            cannot_check: false,
            exit: 0,
            runs: 0,
            no_runs: false,
            no_services: false,
        }
    }

    pub(crate) fn boot(&self) -> BootIdentity {
        let id = Uuid::new_v5(&Uuid::NAMESPACE_DNS, format!("{}/{}", self.name, self.boot).as_bytes());
        BootIdentity::new(&id.to_string(), 1).expect("a v5 id is not nil")
    }

    pub(crate) fn child_ref(&self, name: &str) -> ChildRef {
        let id = TargetId::of_child(self.id, ChildKind::Lxd, name);
        ChildRef { id, kind: ChildKind::Lxd, name: name.to_owned(), stable_id: name.to_owned() }
    }

    pub(crate) fn report(&mut self, now: Timestamp) -> Report {
        self.sequence += 1;
        let children = self.children.iter().map(|(name, (status, autostart))| ChildReport {
            child: self.child_ref(name),
            status: *status,
            autostart: *autostart,
            start_priority: 0,
            stop_priority: self.priorities.get(name).copied().unwrap_or(0),
        });
        let mut report = Report {
            boot: self.boot(),
            instance: InstanceId(Uuid::from_u128(self.instance)),
            sequence: self.sequence,
            taken_at: now,
            agent_version: "0".into(),
            protocol_version: 1,
            actions: BTreeSet::from([
                if self.no_runs { ActionKind::Probe } else { ActionKind::Run },
                ActionKind::Probe,
                ActionKind::Check,
                ActionKind::StopChild,
                ActionKind::StartChild,
                ActionKind::Reboot,
                ActionKind::Shutdown,
                ActionKind::Observe,
                ActionKind::Drain,
                ActionKind::Undrain,
            ]),
            engines: BTreeSet::from([ChildKind::Lxd]),
            children: if self.listing_broken {
                Readable::Unknown("lxd is not up".into())
            } else {
                Readable::Known(children.collect())
            },
            pending_shutdown: Readable::Known(self.pending.clone().map(|kind| PendingShutdown { kind, at: None })),
            inhibitors: Readable::Known(self.inhibitor.clone().into_iter().collect()),
            rate: RateState { counted: 0, limit: 3, opens_in_ms: self.rate_opens_in_ms },
            reboot_required: self.reboot_required.clone(),
        };
        report.actions.extend(OF_SERVICES.iter().filter(|_| !self.no_services));
        if self.cannot_check {
            report.actions.remove(&ActionKind::Check);
        }
        report
    }

    /// The answer to a command; the world changes as the command means it, when it completes.
    pub(crate) fn answer(&mut self, command: &Command, status: AckStatus, code: Option<ErrorCode>, now: Timestamp) -> Ack {
        if status == AckStatus::Completed {
            match &command.action {
                Action::StopChild { child, .. } => self.set(&child.name, ChildStatus::Stopped),
                Action::StartChild { child, frozen, .. } => {
                    self.set(&child.name, if *frozen { ChildStatus::Frozen } else { ChildStatus::Running });
                }
                Action::Reboot { .. } => self.reboot(),
                Action::Run { .. } => self.runs += 1,
                Action::Shutdown { .. }
                | Action::Probe { .. }
                | Action::Check { .. }
                | Action::Observe { .. }
                | Action::Service { .. } => {}
                Action::Drain { drain, .. } => {
                    for name in names(drain) {
                        // What is out of service already stays as it is.
                        let item = self.items.entry(name).or_insert_with(|| ("gone".into(), false));
                        if item.1 {
                            *item = ("maint".into(), false);
                        }
                    }
                }
                Action::Undrain { prior, .. } => {
                    for item in prior {
                        self.items.insert(item.name.clone(), (item.state.clone(), item.in_service));
                    }
                }
            }
        }
        let with_report = status == AckStatus::Completed
            && matches!(command.action, Action::Probe { .. } | Action::Reboot { .. } | Action::Shutdown { .. });
        let child = command.action.child().and_then(|c| self.children.get(&c.name)).map(|(s, _)| Observed::Child(*s));
        let observed = match &command.action {
            Action::Observe { drain } | Action::Drain { drain, .. } | Action::Undrain { drain, .. } => {
                let items = names(drain).into_iter().filter_map(|name| {
                    let (state, in_service) = self.items.get(&name)?;
                    Some(ItemState { name, state: state.clone(), in_service: *in_service })
                });
                Some(Observed::Items(items.collect()))
            }
            Action::Probe { checks } | Action::Check { checks } if !checks.is_empty() => {
                let result = |name: &str| {
                    let passed = !self.failing.contains(name);
                    let detail = if passed { "as it should be" } else { "connection refused" };
                    CheckResult { name: name.to_owned(), passed, detail: detail.to_owned() }
                };
                Some(Observed::Checks(checks.iter().map(|c| result(&c.name)).collect()))
            }
            Action::Run { .. } if status == AckStatus::Completed => {
                let (out, err) = (said(&format!("out of {}\n", self.name)), said("well\n"));
                Some(Observed::Ran(Ran { exit: Some(self.exit), timed_out: false, out, err }))
            }
            _ => child,
        };
        Ack {
            command: command.id,
            status,
            error: code.map(|code| AckError { code, message: "as the script says".into() }),
            boot: self.boot(),
            observed,
            already: false,
            report: with_report.then(|| self.report(now)),
        }
    }

    /// A new boot: another run of the agent; children that start by themselves are up, others are down.
    pub(crate) fn reboot(&mut self) {
        self.boot += 1;
        self.instance += 1;
        self.sequence = 0;
        self.pending = None;
        for (status, autostart) in self.children.values_mut() {
            *status = if *autostart { ChildStatus::Running } else { ChildStatus::Stopped };
        }
    }

    pub(crate) fn set(&mut self, child: &str, status: ChildStatus) {
        self.children.entry(child.to_owned()).or_insert((status, false)).0 = status;
    }
}

fn said(text: &str) -> Said {
    Said { bytes: text.len() as u64, tail: text.to_owned() }
}

/// What a drain names.
pub(crate) fn names(drain: &Drain) -> Vec<String> {
    match drain {
        Drain::Haproxy { servers, .. } => servers.clone(),
        Drain::Units { units } => units.clone(),
        Drain::Hook { name } => vec![format!("{name}.service")],
        other => panic!("no script has {other}"),
    }
}
