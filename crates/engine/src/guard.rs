//! Admission: the one choke point for everything that goes down (ruling 5, E26).

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{ActionKind, ChildStatus, Millis, Operation, OrchestrationId, Readable, Report, Request, TargetId, Timestamp};

use crate::config::Config;
use crate::explain::{Blocker, Why};
use crate::fleet::{BootEnd, Fleet, Host};
use crate::heard::Heard;

/// What the guard looks at.
pub(crate) struct Guard<'a> {
    pub(crate) config: &'a Config,
    pub(crate) fleet: &'a Fleet,
    pub(crate) heard: &'a Heard,
    /// Hosts for which an orchestration was accepted that has not taken its lock yet.
    pub(crate) reserved: &'a Reserved,
    pub(crate) now: Timestamp,
}

/// Accepted orchestrations by host.
pub(crate) type Reserved = BTreeMap<TargetId, (OrchestrationId, Timestamp)>;

impl Guard<'_> {
    /// Everything that keeps the target of a request from starting, in order; empty exactly when it would start. `own` is the
    /// orchestration that asks, whose own lock does not stop it.
    pub(crate) fn blockers(&self, target: TargetId, request: &Request, own: Option<OrchestrationId>) -> Vec<Blocker> {
        let Some(host) = self.fleet.hosts.get(&target) else { return vec![hard(Why::UnknownTarget)] };
        let mut list = Vec::new();
        if !host.approved {
            list.push(hard(Why::NotApproved));
        }
        self.lock(target, own, &mut list);
        if self.now < self.fleet.settle_until && !broken::is(Rule::NoSettling) {
            list.push(Blocker { until: Some(self.fleet.settle_until), ..hard(Why::Settling) });
        }
        let active = self.active_report(target);
        if host.off.is_some() {
            list.push(hard(Why::Off));
        } else if active.is_none() {
            list.push(Blocker { since: self.heard.host(target).and_then(|h| h.last), ..hard(Why::NotActive) });
        }
        if let Some(stranded) = self.fleet.stranded_now(target).filter(|s| own.is_none() || s.unfinished.is_none()) {
            list.push(Blocker { since: Some(stranded.since), ..hard(Why::Stranded { reason: stranded.reason.clone() }) });
        }
        self.lockout(host, &mut list);
        if let Some((report, at)) = active {
            list.extend(report_blockers(report, at, request, self.now));
        }
        list.extend(self.limit_groups(target, own));
        override_by(request, &mut list);
        list
    }

    fn lock(&self, target: TargetId, own: Option<OrchestrationId>, list: &mut Vec<Blocker>) {
        let locked = self.fleet.locks.get(&target).map(|l| (l.orchestration, l.since));
        if let Some((orchestration, since)) = locked.or_else(|| self.reserved.get(&target).copied())
            && Some(orchestration) != own
            && !broken::is(Rule::NoLock)
        {
            list.push(Blocker { since: Some(since), ..hard(Why::Locked { orchestration }) });
        }
    }

    fn lockout(&self, host: &Host, list: &mut Vec<Blocker>) {
        let from = self.now - self.config.lockout_window;
        let counting: Vec<&BootEnd> = host.boot_ends.iter().filter(|e| e.at > from).collect();
        let limit = self.config.lockout_count;
        if counting.len() < limit as usize || broken::is(Rule::NoLockout) {
            return;
        }
        // One more is allowed when all but `limit - 1` of them have left the window.
        let frees = counting.len().saturating_sub(limit as usize);
        let until = counting.get(frees).map(|e| e.at + self.config.lockout_window);
        let commands = counting.iter().map(|e| e.command).collect();
        let counted = u32::try_from(counting.len()).unwrap_or(u32::MAX);
        list.push(Blocker { since: counting.first().map(|e| e.at), until, ..soft(Why::Lockout { counted, limit, commands }) });
    }

    /// The last report of a host that counts as active, with when it was heard: lately enough (ruling 23), its connection
    /// not broken since, and not shut down by us (E19).
    pub(crate) fn active_report(&self, target: TargetId) -> Option<(&Report, Timestamp)> {
        let heard = self.heard.host(target)?;
        let last = heard.last?;
        let off = self.fleet.hosts.get(&target).is_some_and(|h| h.off.is_some());
        if self.now.since(last) > self.config.active_limit || heard.gone_at.is_some() || off {
            return None;
        }
        Some((heard.report.as_ref()?, last))
    }

    /// Limit groups that have no room for this target and what stands on it (G1).
    pub(crate) fn limit_groups(&self, target: TargetId, own: Option<OrchestrationId>) -> Vec<Blocker> {
        let mut list = Vec::new();
        let members = || self.fleet.hosts.iter().filter(|(_, h)| h.was_approved).map(|(id, h)| (*id, h.name.as_str(), &h.labels));
        for group in self.config.limit_groups.iter().flat_map(|group| group.resolve(members())) {
            let (mut unavailable, mut adds, mut of_target) = (0, 0, 0);
            // A child whose host nobody knows is a member too, and counts as down.
            for member in &group.members {
                let child = member.child.as_deref();
                let on_target = member.host == Some(target) && (child.is_none() || !broken::is(Rule::ChildrenNotCounted));
                let down = member.host.is_none_or(|id| self.is_unavailable(id, child, own.filter(|_| id == target)));
                of_target += u32::from(on_target);
                unavailable += u32::from(down);
                adds += u32::from(on_target && !down);
            }
            let limit = group.limit;
            if of_target > limit {
                list.push(hard(Why::LimitImpossible { group: group.name.clone(), adds: of_target, limit }));
            } else if of_target > 0 && unavailable + adds > limit {
                list.push(hard(Why::LimitGroup { group: group.name.clone(), unavailable, adds, limit }));
            }
        }
        list
    }

    /// Unknown, silent, stranded, off and being worked on all count as disrupted (G1). `own`: the lock of this orchestration
    /// does not count, for the target that is asked about.
    fn is_unavailable(&self, host: TargetId, child: Option<&str>, own: Option<OrchestrationId>) -> bool {
        if !self.fleet.hosts.get(&host).is_some_and(|h| h.approved) {
            return true;
        }
        if self.fleet.locks.get(&host).is_some_and(|l| Some(l.orchestration) != own) && !broken::is(Rule::NoLock) {
            return true;
        }
        if self.fleet.stranded_now(host).is_some() && !broken::is(Rule::StrandedIsAvailable) {
            return true;
        }
        let active = self.active_report(host);
        if active.is_none() && !broken::is(Rule::SilentIsAvailable) {
            return true;
        }
        let Some(name) = child else { return false };
        let Some((report, _)) = active else { return false };
        let Some(found) = report.children().and_then(|list| list.iter().find(|c| c.child.name == name)) else { return true };
        !found.status.is_up() || self.fleet.stranded_now(found.child.id).is_some() && !broken::is(Rule::StrandedIsAvailable)
    }
}

/// What a report itself says against starting. Also judged on the fresh report of the admission probe, before anything is
/// stopped.
pub(crate) fn report_blockers(report: &Report, at: Timestamp, request: &Request, now: Timestamp) -> Vec<Blocker> {
    let mut list = Vec::new();
    if let Some(opens_in) = report.rate.opens_in_ms
        && now < at + Millis(opens_in)
        && !broken::is(Rule::DeviceLimitNotAsked)
    {
        list.push(Blocker { until: Some(at + Millis(opens_in)), ..hard(Why::DeviceRateLimit) });
    }
    let ends_boot = if request.operation == Operation::Shutdown { ActionKind::Shutdown } else { ActionKind::Reboot };
    for action in [ActionKind::Probe, ActionKind::StopChild, ActionKind::StartChild, ends_boot] {
        if !report.actions.contains(&action) {
            list.push(hard(Why::Unsupported { action }));
        }
    }
    match &report.children {
        Readable::Unknown(reason) => list.push(hard(Why::ChildrenUnknown { reason: reason.clone() })),
        Readable::Known(children) => {
            for child in children.iter().filter(|c| matches!(c.status, ChildStatus::Creating | ChildStatus::Error)) {
                list.push(hard(Why::ChildNotReady { name: child.child.name.clone(), status: child.status.to_string() }));
            }
            let up = children.iter().filter(|c| c.status.is_up()).count();
            match request.operation {
                Operation::OrchestratedReboot if up == 0 => list.push(hard(Why::NoRunningChildren)),
                Operation::Reboot | Operation::Shutdown if up > 0 => {
                    list.push(hard(Why::ChildrenRunning { count: u32::try_from(up).unwrap_or(u32::MAX) }));
                }
                _ => {}
            }
        }
    }
    if broken::is(Rule::BlockersIgnored) {
        return list;
    }
    match &report.pending_shutdown {
        Readable::Known(None) => {}
        Readable::Known(Some(pending)) => {
            list.push(Blocker { until: pending.at, ..soft(Why::ShutdownPending { kind: pending.kind.clone() }) });
        }
        Readable::Unknown(reason) => list.push(soft(Why::CheckFailed { reason: format!("pending shutdown: {reason}") })),
    }
    match &report.inhibitors {
        Readable::Known(list_of) => list.extend(list_of.iter().map(|who| soft(Why::Inhibited { who: who.clone() }))),
        Readable::Unknown(reason) => list.push(soft(Why::CheckFailed { reason: format!("inhibitors: {reason}") })),
    }
    list
}

/// Leave out what the request overrides (G5).
pub(crate) fn override_by(request: &Request, list: &mut Vec<Blocker>) {
    if request.options.force.is_some() {
        list.retain(|b| !b.forceable);
    }
}

fn hard(why: Why) -> Blocker {
    Blocker { why, since: None, until: None, forceable: false }
}

fn soft(why: Why) -> Blocker {
    Blocker { forceable: true, ..hard(why) }
}
