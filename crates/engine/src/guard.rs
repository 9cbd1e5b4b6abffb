//! Admission: the one choke point for everything that goes down (ruling 5, E26).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::broken::{self, Rule};
use model::{
    ActionKind, ChildStatus, Millis, Operation, OrchestrationId, Readable, Report, Request, Site, Step, StepAction, TargetId,
    Timestamp, Track,
};

use crate::config::{Config, Group, Member};
use crate::explain::{Blocker, Why};
use crate::fleet::{BootEnd, Fleet, Host, Lock, Stranded};
use crate::heard::Heard;
use crate::limits::{Limits, Usage};
use crate::returned;
use crate::tally::Slots;

/// What the guard looks at.
pub(crate) struct Guard<'a> {
    pub(crate) config: &'a Config,
    pub(crate) fleet: &'a Fleet,
    pub(crate) heard: &'a Heard,
    pub(crate) limits: &'a Limits,
    /// Counts of limit groups, as far as they were asked for.
    pub(crate) usage: Usage<'a>,
    /// Hosts for which an orchestration was accepted that has not taken its lock yet.
    pub(crate) reserved: &'a Reserved,
    pub(crate) now: Timestamp,
}

/// Accepted orchestrations by host.
pub(crate) type Reserved = BTreeMap<TargetId, (OrchestrationId, Timestamp)>;

/// Blockers in order, without those that force overrides (G5).
pub(crate) struct List {
    pub(crate) found: Vec<Blocker>,
    forced: bool,
    /// Whoever asks only whether there is one gets the first.
    first_only: bool,
}

impl List {
    pub(crate) fn all(request: &Request) -> Self {
        Self { found: Vec::new(), forced: request.options.force.is_some(), first_only: false }
    }

    pub(crate) fn first(request: &Request) -> Self {
        Self { first_only: true, ..Self::all(request) }
    }

    pub(crate) fn push(&mut self, blocker: Blocker) {
        if !(self.forced && blocker.forceable || self.is_done()) {
            self.found.push(blocker);
        }
    }

    /// Whoever asks wants to know only whether there is one.
    pub(crate) fn is_brief(&self) -> bool {
        self.first_only
    }

    /// Nothing more needs to be looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.first_only && !self.found.is_empty()
    }
}

/// Who asks: its own lock does not stop it, and what it takes up is no reason to stay away.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asks {
    pub(crate) own: Option<OrchestrationId>,
    /// It finishes what an earlier orchestration left undone on this host.
    pub(crate) takes_up: bool,
    /// Nothing but that: it ends no boot, and recovery is never gated (G5).
    pub(crate) second_half: bool,
}

impl Asks {
    /// For a track of this orchestration, or of one that is not accepted yet.
    pub(crate) fn of(own: Option<OrchestrationId>, track: &Track, fleet: &Fleet) -> Self {
        let boot = fleet.hosts.get(&track.target).and_then(|h| h.boot);
        let second_half = track.unfinished.as_ref().is_some_and(|u| u.is_second_half(boot));
        Self { own, takes_up: track.unfinished.is_some(), second_half }
    }
}

impl Guard<'_> {
    /// Everything that keeps the target of a request from starting, in order; empty exactly when it would start.
    pub(crate) fn blockers(&self, target: TargetId, request: &Request, asks: Asks) -> Vec<Blocker> {
        let mut list = List::all(request);
        if !asks.second_half {
            self.frozen(&mut list);
        }
        self.host(target, request, asks, &mut list);
        list.found
    }

    /// Whether anything may start anywhere.
    pub(crate) fn frozen(&self, list: &mut List) {
        if let Some(mark) = self.fleet.frozen.as_ref().filter(|_| !broken::is(Rule::FreezeIgnored)) {
            let why = Why::Frozen { by: mark.by.clone(), reason: mark.reason.clone() };
            list.push(Blocker { since: Some(mark.since), ..hard(why) });
        }
    }

    /// Whether a person took the host out of use.
    pub(crate) fn held(&self, host: TargetId, list: &mut List) {
        let mark = self.fleet.hosts.get(&host).and_then(|h| h.held.as_ref());
        if let Some(mark) = mark.filter(|_| !broken::is(Rule::HoldIgnored)) {
            let why = Why::HeldBy { by: mark.by.clone(), reason: mark.reason.clone() };
            list.push(Blocker { since: Some(mark.since), ..soft(why) });
        }
    }

    /// What of the target itself keeps it from starting.
    pub(crate) fn host(&self, target: TargetId, request: &Request, asks: Asks, list: &mut List) {
        let Some(host) = self.fleet.hosts.get(&target) else { return list.push(hard(Why::UnknownTarget)) };
        if !host.approved {
            list.push(hard(Why::NotApproved));
        }
        let asks_only = request.operation == Operation::HealthCheck;
        if !asks_only {
            self.held(target, list);
        }
        if let Some(other) = self.fleet.same_machine(target) {
            list.push(hard(Why::SameMachine { other: other.name.clone() }));
        }
        let services = request.operation == Operation::RestartServices;
        let locked = match asks.own.filter(|_| services) {
            _ if asks_only => self.lock_on(target, asks.own),
            own => self.lock_on(target, asks.own).or_else(|| self.lock_beside(target, own)),
        };
        locked.into_iter().for_each(|b| list.push(b));
        if !asks_only {
            self.slot_of(target, None).into_iter().for_each(|b| list.push(b));
        }
        if self.is_settling() {
            list.push(Blocker { until: Some(self.fleet.settle_until), ..hard(Why::Settling) });
        }
        if list.is_done() {
            return;
        }
        let active = self.active_report(target);
        if host.off.is_some() {
            list.push(hard(Why::Off));
        } else if active.is_none() {
            list.push(Blocker { since: self.heard.host(target).and_then(|h| h.last), ..hard(Why::NotActive) });
        }
        if asks_only {
            return active
                .into_iter()
                .flat_map(|(report, at)| report_blockers(report, at, request, self.now))
                .for_each(|b| list.push(b));
        }
        // A boot that may still end by itself is no place to begin anew.
        let may_begin =
            |s: &Stranded| asks.takes_up && active.is_none_or(|(report, _)| returned::is_proven(self.fleet, s, report));
        if let Some(stranded) = self.fleet.stranded_now(target).filter(|s| !may_begin(s)) {
            list.push(Blocker { since: Some(stranded.since), ..hard(Why::Stranded { reason: stranded.reason.clone() }) });
        }
        if list.is_done() {
            return;
        }
        if !asks.second_half && request.operation.ends_boot() {
            self.lockout(host, list);
        }
        if let Some((report, at)) = active.filter(|_| !asks.second_half) {
            report_blockers(report, at, request, self.now).into_iter().for_each(|b| list.push(b));
        }
        // What it finishes counts as unavailable already; a host whose services are restarted stays up.
        let goes_down = request.operation != Operation::RestartServices;
        if !list.is_done() && !asks.second_half && goes_down {
            self.limit_groups(target, asks.own).into_iter().for_each(|b| list.push(b));
        }
    }

    pub(crate) fn is_settling(&self) -> bool {
        self.now < self.fleet.settle_until && !broken::is(Rule::NoSettling)
    }

    /// Another is at work on the host itself, or about to be.
    fn lock_on(&self, target: TargetId, own: Option<OrchestrationId>) -> Option<Blocker> {
        let held = self.fleet.locks.get(&target).map(|l| (l.orchestration, l.since));
        let held = held.or_else(|| self.reserved.get(&target).copied()).filter(|(by, _)| Some(*by) != own);
        let (orchestration, since) = held.filter(|_| !broken::is(Rule::NoLock))?;
        Some(Blocker { since: Some(since), ..hard(Why::Locked { orchestration, on: None }) })
    }

    /// A lock on a host that stands on this one, or that this one stands on: they go down together, and nobody begins in the
    /// middle of another's work (E14). Also of the same orchestration, whose plan knew only what stood where at that time. No
    /// track waits while it has a lock, so nobody waits for ever. `services`: of this orchestration no host goes down, and the
    /// locks of its services wait for each other: they are not asked.
    fn lock_beside(&self, target: TargetId, services: Option<OrchestrationId>) -> Option<Blocker> {
        if broken::is(Rule::NoLock) {
            return None;
        }
        let locks = &self.fleet.locks;
        let is_own = |host: &TargetId| services.is_some() && locks.get(host).map(|l| l.orchestration) == services;
        let is_above = |host: &&TargetId| self.stands_on(**host).contains(&target);
        let is_on_locked = self.usage.stands_on_locked(target, || self.hosts_on_locked());
        let is_busy = |host: &TargetId| locks.get(host).is_some_and(|lock| !lock.asks_only) && !is_own(host);
        let below = self.stands_on(target).into_iter().find(is_busy);
        // Services are worked on where nothing goes down: no count has them.
        let stays_up = |host: &&TargetId| locks.get(host).is_some_and(|l| l.stays_up) && !is_own(host);
        let on_busy = || self.worked_on().filter(stays_up).find(is_above).copied();
        let above = || is_on_locked.then(|| self.worked_on().find(is_above).copied()).flatten().or_else(on_busy);
        let host = below.or_else(above)?;
        let lock = locks.get(&host)?;
        let on = self.fleet.hosts.get(&host).map(|h| h.name.clone());
        Some(Blocker { since: Some(lock.since), ..hard(Why::Locked { orchestration: lock.orchestration, on }) })
    }

    /// A host that was let restart by itself does so any moment, takes along what stands on it, and must not be cut off:
    /// nobody else begins there. `asks`: the slots of this host itself are its own.
    fn slot_of(&self, target: TargetId, asks: Option<TargetId>) -> Option<Blocker> {
        if self.fleet.slots.is_empty() || broken::is(Rule::SlotNotCounted) {
            return None;
        }
        let below = self.goes_down_with(target);
        let concerns = |slots: &Slots| slots.down.contains(&target) || below.iter().any(|on| slots.holders.contains(on));
        if !self.usage.slots(|| self.slots_of_hosts(), concerns) {
            return None;
        }
        let taken = self.fleet.slots.iter().find(|((_, holder), _)| {
            let holder = self.fleet.by_id_text(holder).filter(|on| Some(*on) != asks);
            holder.is_some_and(|on| below.contains(&on) || self.goes_down_with(on).contains(&target))
        });
        let ((group, holder), mark) = taken?;
        let why = Why::HasSlot { group: group.clone(), holder: holder.clone(), by: mark.by.clone() };
        Some(Blocker { since: Some(mark.since), ..hard(why) })
    }

    fn lockout(&self, host: &Host, list: &mut List) {
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
        let all_of_it = self.goes_down_with(target);
        for (index, group, members) in self.limits.of_hosts(&all_of_it) {
            let all = self.usage.of(index, || self.unavailable(group));
            let (mut adds, mut of_target, mut others) = (0, 0, all);
            for member in members {
                let Some(host) = member.host else { continue };
                let child = member.child.as_deref();
                let counts = host == target && child.is_none() || !broken::is(Rule::ChildrenNotCounted);
                // Its own lock does not count for the target that is asked about, nor for what stands on it.
                let down = self.is_unavailable(host, child, own);
                others -= u32::from(self.counts(host, child) && !down);
                of_target += u32::from(counts);
                adds += u32::from(counts && !down);
            }
            let limit = group.limit;
            if of_target > limit {
                list.push(hard(Why::LimitImpossible { group: group.name.clone(), adds: of_target, limit }));
            } else if of_target > 0 && others + adds > limit {
                list.push(hard(Why::LimitGroup { group: group.name.clone(), unavailable: others, adds, limit }));
            }
        }
        list
    }

    /// The host, and the hosts that stand on it: a container that is a host of its own goes down with its parent (G1).
    pub(crate) fn goes_down_with(&self, target: TargetId) -> BTreeSet<TargetId> {
        let mut all = BTreeSet::from([target]);
        let mut open = vec![target];
        while let Some(host) = open.pop() {
            let report = self.heard.host(host).and_then(|h| h.report.as_ref());
            for child in report.and_then(|r| r.children()).unwrap_or_default() {
                open.extend(self.limits.host_named(&child.child.name).filter(|on| all.insert(*on)));
            }
        }
        all
    }

    /// Whether the host stands on one that is worked on, by another than `own`.
    fn stands_on_locked(&self, host: TargetId, own: Option<OrchestrationId>) -> bool {
        if !self.usage.stands_on_locked(host, || self.hosts_on_locked()) {
            return false;
        }
        let mut others = self.fleet.locks.iter().filter(|(_, lock)| Some(lock.orchestration) != own && lock.takes_down());
        own.is_none() || others.any(|(locked, _)| self.stands_on(*locked).contains(&host))
    }

    fn stands_on(&self, host: TargetId) -> BTreeSet<TargetId> {
        let mut all = self.goes_down_with(host);
        all.remove(&host);
        all
    }

    /// Hosts that stand on one that is worked on.
    pub(crate) fn hosts_on_locked(&self) -> HashSet<TargetId> {
        let has_children = |host: &&TargetId| {
            let report = self.heard.host(**host).and_then(|h| h.report.as_ref());
            report.and_then(|r| r.children()).is_some_and(|children| !children.is_empty())
        };
        self.worked_on()
            .filter(|host| self.fleet.locks.get(host).is_some_and(Lock::takes_down))
            .filter(has_children)
            .flat_map(|locked| self.stands_on(*locked))
            .collect()
    }

    /// Hosts on which something is done.
    fn worked_on(&self) -> impl Iterator<Item = &TargetId> {
        self.fleet.locks.iter().filter(|(_, lock)| !lock.asks_only).map(|(host, _)| host)
    }

    /// Members that are unavailable, and slots that were taken from outside: one for each holder that is not counted already.
    fn unavailable(&self, group: &Group) -> u32 {
        // A child whose host nobody knows is a member too, and counts as down.
        let down = |m: &&Member| m.host.is_none_or(|id| self.counts(id, m.child.as_deref()));
        let members = group.members.iter().filter(down).count();
        u32::try_from(members + self.slots_beside(group)).unwrap_or(u32::MAX)
    }

    /// What of the group's count no host adds.
    pub(crate) fn counted_alone(&self, group: &Group) -> u32 {
        let unknown = group.members.iter().filter(|m| m.host.is_none()).count();
        u32::try_from(unknown + self.slots_beside(group)).unwrap_or(u32::MAX)
    }

    /// What a host and its children add to each of their groups, where that is anything.
    pub(crate) fn adds(&self, host: TargetId) -> Vec<(usize, u32)> {
        let count = |members: &mut dyn Iterator<Item = &Member>| {
            members.filter(|m| self.counts(host, m.child.as_deref())).fold(0, |sum, _| sum + 1)
        };
        let groups = self.limits.of_host(host).map(|(index, mut members)| (index, count(&mut members)));
        groups.filter(|(_, count)| *count > 0).collect()
    }

    /// Each group, counted anew.
    pub(crate) fn all_counts(&self) -> Vec<u32> {
        self.limits.groups.iter().map(|group| self.unavailable(group)).collect()
    }

    /// How many members of a group are unavailable, and how many may be.
    pub(crate) fn room(&self, index: usize) -> Option<(u32, u32)> {
        let group = self.limits.groups.get(index)?;
        Some((self.usage.of(index, || self.unavailable(group)), group.limit))
    }

    fn slots_beside(&self, group: &Group) -> usize {
        if self.fleet.slots.is_empty() || broken::is(Rule::SlotNotCounted) {
            return 0;
        }
        let first = (group.name.clone(), String::new());
        let slots = self.fleet.slots.range(first..).take_while(|((name, _), _)| *name == group.name);
        // A host of the group that has a slot of any group is counted as a member.
        let counted = |holder: &str| {
            let host = self.fleet.by_id_text(holder);
            host.is_some_and(|id| group.members.iter().any(|m| m.host == Some(id) && m.child.is_none()))
        };
        slots.filter(|((_, holder), _)| !counted(holder)).count()
    }

    /// Whether a member is unavailable, or will be any moment: what has a slot goes down in each of its groups (G1).
    fn counts(&self, host: TargetId, child: Option<&str>) -> bool {
        self.is_unavailable(host, child, None) || self.has_slot(host)
    }

    fn has_slot(&self, host: TargetId) -> bool {
        self.usage.slots(|| self.slots_of_hosts(), |slots| slots.down.contains(&host))
    }

    pub(crate) fn slots_of_hosts(&self) -> Slots {
        let slots = self.fleet.slots.keys().filter(|_| !broken::is(Rule::SlotNotCounted));
        let holders: HashSet<TargetId> = slots.filter_map(|(_, holder)| self.fleet.by_id_text(holder)).collect();
        Slots { down: holders.iter().flat_map(|host| self.goes_down_with(*host)).collect(), holders }
    }

    /// Until when a host that is heard cannot fall silent.
    pub(crate) fn silent_after(&self, host: TargetId) -> Option<Timestamp> {
        self.heard.host(host).and_then(|h| h.last).map(|last| last + self.config.active_limit)
    }

    /// What keeps a slot of a limit group from being taken from outside. A host of ours that asks for it must have room in all
    /// of its groups, and nobody may be at work on it.
    pub(crate) fn slot(&self, index: usize, group: &Group, holder: &str) -> Vec<Blocker> {
        let mut list = Vec::new();
        if let Some(mark) = self.fleet.frozen.as_ref().filter(|_| !broken::is(Rule::FreezeIgnored)) {
            let why = Why::Frozen { by: mark.by.clone(), reason: mark.reason.clone() };
            list.push(Blocker { since: Some(mark.since), ..hard(why) });
        }
        if self.is_settling() {
            list.push(Blocker { until: Some(self.fleet.settle_until), ..hard(Why::Settling) });
        }
        let host = self.fleet.by_id_text(holder);
        // What a member brings is counted below, and may be more than one.
        let is_member = host.is_some_and(|host| self.limits.of_hosts(&self.goes_down_with(host)).any(|(of, ..)| of == index));
        let unavailable = self.usage.of(index, || self.unavailable(group));
        if !is_member && unavailable + 1 > group.limit {
            list.push(hard(Why::LimitGroup { group: group.name.clone(), unavailable, adds: 1, limit: group.limit }));
        }
        if let Some(host) = host {
            list.extend(self.lock_on(host, None).or_else(|| self.lock_beside(host, None)));
            list.extend(self.slot_of(host, Some(host)));
            list.extend(self.limit_groups(host, None));
        }
        list
    }

    /// Unknown, silent, stranded, off and being worked on all count as disrupted (G1). `own`: the lock of this orchestration
    /// does not count, for the target that is asked about.
    fn is_unavailable(&self, host: TargetId, child: Option<&str>, own: Option<OrchestrationId>) -> bool {
        if !self.fleet.hosts.get(&host).is_some_and(|h| h.approved) {
            return true;
        }
        if self.fleet.locks.get(&host).is_some_and(|l| Some(l.orchestration) != own && l.takes_down())
            && !broken::is(Rule::NoLock)
        {
            return true;
        }
        if self.stands_on_locked(host, own) && !broken::is(Rule::ChildrenNotCounted) {
            return true;
        }
        if self.fleet.hosts.get(&host).is_some_and(|h| h.held.is_some()) {
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
    if !request.operation.ends_boot() {
        // It ends no boot and stops no child: what speaks against those does not speak against it.
        use ActionKind::{BackUp, Inspect, Probe, Restart, Restore, Run, StopUnit, Watch};
        let needs: &[ActionKind] = match request.operation {
            Operation::Run => &[Probe, Run],
            Operation::RestartServices => &[Inspect, BackUp, Restart, Watch, StopUnit, Restore],
            _ => &[Probe],
        };
        let missing = needs.iter().filter(|action| !report.actions.contains(action));
        list.extend(missing.map(|action| hard(Why::Unsupported { action: *action })));
        return list;
    }
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

/// Whether a host cannot make the checks of its steps: better known before it is rebooted than after.
pub(crate) fn lacks_checks(steps: &[Step], report: &Report) -> Option<Why> {
    let on_host = |step: &Step| match &step.action {
        StepAction::Probe { checks, .. } => checks.iter().any(|check| check.site() == Site::Target),
        _ => false,
    };
    let action = ActionKind::Check;
    (!report.actions.contains(&action) && steps.iter().any(on_host)).then_some(Why::Unsupported { action })
}

/// Leave out what the request overrides (G5).
pub(crate) fn override_by(request: &Request, list: &mut Vec<Blocker>) {
    if request.options.force.is_some() {
        list.retain(|b| !b.forceable);
    }
}

pub(crate) fn hard(why: Why) -> Blocker {
    Blocker { why, since: None, until: None, forceable: false }
}

pub(crate) fn soft(why: Why) -> Blocker {
    Blocker { forceable: true, ..hard(why) }
}
