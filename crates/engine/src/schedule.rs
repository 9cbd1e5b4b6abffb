//! Which track starts next: the first unstarted one whose list of blockers is empty. The list is the same that people are told
//! (pain 13).

use std::collections::BTreeSet;

use model::broken::{self, Rule};
use model::{Actor, Millis, TargetId, Timestamp};

use crate::advance;
use crate::decision::{Out, View, ended, leaves_down};
use crate::explain::{Blocker, Why};
use crate::fleet::Mark;
use crate::gates::{LOOKED_AHEAD, Windows, calendar, expected};
use crate::guard::{Asks, Guard, List, hard, soft};
use crate::journal::{Entry, FleetEntry, Outcome};
use crate::orchestration::Orchestration;
use crate::parked::{Parked, Setting};
use crate::track::{TrackPlan, TrackState};
use crate::window::put_off;

/// The next facts of this orchestration, or none: from everything looked at anew.
pub(crate) fn next(view: &View<'_>) -> Option<Vec<Out>> {
    let it = view.orchestration;
    if it.ended.is_some() {
        return None;
    }
    let running = it.running.iter().find_map(|track| next_of_track(view, *track));
    running.or_else(|| next_start(view, &mut Parked::default())).or_else(|| end(view))
}

/// The next start; or the end of a track that will never start; or a pause.
pub(crate) fn next_start(view: &View<'_>, parked: &mut Parked) -> Option<Vec<Out>> {
    if view.orchestration.waiting.is_empty() {
        return None;
    }
    let scheduler = Scheduler::new(view);
    parked.hold_in(scheduler.setting());
    scheduler.next(parked)
}

/// Why a track that has not started does not; empty for any other.
pub(crate) fn blockers(view: &View<'_>, track: u32) -> Vec<Blocker> {
    if view.orchestration.ended.is_some() || !view.orchestration.waiting.contains(&track) {
        return Vec::new();
    }
    let scheduler = Scheduler::new(view);
    let mut list = List::all(&view.orchestration.request);
    scheduler.before(track, &mut list);
    scheduler.shared(scheduler.is_ungated(track), &mut list);
    scheduler.own(track, &mut list);
    list.found
}

/// When something may start, or be given up, although nothing happens.
pub(crate) fn next_start_at(view: &View<'_>, parked: &Parked) -> Option<Timestamp> {
    let mut due = Vec::new();
    Scheduler::new(view).due_at(parked, &mut due);
    due.into_iter().filter(|at| *at > view.now).min()
}

pub(crate) fn end(view: &View<'_>) -> Option<Vec<Out>> {
    let it = view.orchestration;
    if !it.waiting.is_empty() || !it.running.is_empty() {
        return None;
    }
    let over = || it.tracks.iter().filter_map(|t| t.ended.as_ref());
    let worst = over().fold(Outcome::Completed, |worst, (outcome, ..)| worst.worse(*outcome));
    let held = view.fleet.locks.iter().filter(|(_, lock)| lock.orchestration == it.id);
    let mut out: Vec<Out> = held.map(|(host, _)| unlocked(view, *host)).collect();
    out.push(Out::Own(Entry::Ended { outcome: worst, error_message: message(it) }));
    Some(out)
}

/// So many targets are named when an orchestration of many ends.
const NAMED_MAX: usize = 20;

/// What went wrong, with the names of targets where there are several (E28).
fn message(it: &Orchestration) -> Option<String> {
    let one = it.tracks.len() == 1;
    let is_told = |o: Outcome| one || !matches!(o, Outcome::Completed | Outcome::NotNeeded);
    let wrong = it.tracks.iter().zip(it.plan.tracks()).filter_map(|(state, plan)| {
        let (outcome, reason, _) = state.ended.as_ref().filter(|(outcome, ..)| is_told(*outcome))?;
        match reason {
            Some(reason) if one => Some(reason.clone()),
            Some(reason) => Some(format!("{} {outcome}: {reason}", plan.name)),
            None => (!one).then(|| format!("{} {outcome}", plan.name)),
        }
    });
    let mut list: Vec<String> = wrong.collect();
    let more = list.len().saturating_sub(NAMED_MAX);
    if more > 0 {
        list.truncate(NAMED_MAX);
        list.push(format!("and {more} more"));
    }
    (!list.is_empty()).then(|| list.join("; "))
}

fn unlocked(view: &View<'_>, host: TargetId) -> Out {
    let it = view.orchestration;
    Out::Fleet(FleetEntry::Unlocked { host, orchestration: it.id, position: it.position })
}

/// What follows for a track that runs; when that is its end, its host is let go of.
pub(crate) fn next_of_track(view: &View<'_>, number: u32) -> Option<Vec<Out>> {
    let it = view.orchestration;
    let track = it.tracks.get(number as usize)?;
    let plan = it.track_plan(number as usize)?;
    let mut out = advance::decide(view, number, &plan, track)?;
    let outcome = out.iter().find_map(|o| match o {
        Out::Own(Entry::TrackEnded { outcome, .. }) => Some(*outcome),
        _ => None,
    });
    if let Some(outcome) = outcome {
        out.extend(let_go(view, &plan, track, outcome));
    }
    Some(out)
}

/// What the end of a track that ran means for its host.
pub(crate) fn let_go(view: &View<'_>, plan: &TrackPlan<'_>, track: &TrackState, outcome: Outcome) -> Vec<Out> {
    let it = view.orchestration;
    let mut out = Vec::new();
    let worked = matches!(outcome, Outcome::Completed | Outcome::Partial | Outcome::Failed);
    // How long a command takes says nothing of reboots.
    let is_measure = !leaves_down(it.request.operation) && it.request.operation.ends_boot();
    if let Some(started) = track.started_at.filter(|_| worked && is_measure) {
        let took = view.now.since(started);
        let root = it.request.rollout.as_ref().map(|r| r.root(it.id));
        let part = root.is_none() || track.is_second_half(plan);
        out.push(Out::Fleet(FleetEntry::HostWorked { host: plan.target, outcome, took, part, root }));
    }
    let held = view.fleet.locks.get(&plan.target).is_some_and(|l| l.orchestration == it.id);
    // Several services of one host share its lock.
    let others =
        it.tracks_on(plan.target).iter().filter(|other| it.waiting.contains(other) || it.running.contains(other)).count();
    if held && (others <= 1 || broken::is(Rule::ServiceLockDropped)) && !broken::is(Rule::LockKept) {
        out.push(unlocked(view, plan.target));
    }
    out
}

struct Scheduler<'a> {
    view: &'a View<'a>,
    guard: Guard<'a>,
    /// The wave that is gone through now.
    wave: u32,
    windows: Windows<'a>,
}

impl<'a> Scheduler<'a> {
    fn new(view: &'a View<'a>) -> Self {
        Self { view, guard: view.guard(), wave: view.orchestration.wave_now().unwrap_or(0), windows: Windows::of(view) }
    }

    /// What every track's reason to wait rests on.
    fn setting(&self) -> Setting {
        let open = match self.windows {
            Windows::Open { since, until } => Some((since, until)),
            Windows::Shut { .. } => None,
        };
        (self.wave, self.view.orchestration.wave_began_at(self.wave), open)
    }

    fn next(&self, parked: &mut Parked) -> Option<Vec<Out>> {
        let it = self.view.orchestration;
        let first = *it.waiting.first()?;
        if let Some(by) = &it.cancelled_by {
            let reason = format!("cancelled by {by} before it started");
            return Some(self.never_start(&it.waiting, Outcome::Cancelled, &reason));
        }
        if it.is_given_up() && !broken::is(Rule::DependentsStarted) {
            let reason = format!("not restarted: {}", self.first_failed());
            return Some(self.never_start(&it.waiting, Outcome::Skipped, &reason));
        }
        if let Some((failed, may)) = it.overspent().filter(|_| it.paused.is_none()) {
            let reason = format!("failure budget spent: {failed} failed, {may} may fail");
            return Some(vec![Out::Own(Entry::Paused { reason })]);
        }
        let is_open = |ungated| {
            let mut shared = List::first(&it.request);
            self.shared(ungated, &mut shared);
            shared.found.is_empty()
        };
        let mut found = None;
        if is_open(false) {
            found = self.candidates().find_map(|track| self.turn_of(track, parked));
        } else if it.has_ungated() && is_open(true) {
            let mut ungated = self.candidates().filter(|track| self.is_ungated(*track));
            found = ungated.find_map(|track| self.turn_of(track, parked));
        }
        found.or_else(|| self.waited_too_long(first))
    }

    /// Unstarted tracks of the wave that is gone through, in the order of the plan.
    fn candidates(&self) -> impl Iterator<Item = u32> + '_ {
        let it = self.view.orchestration;
        let end = it.first_of_wave(self.wave as usize + 1);
        let end = if broken::is(Rule::GateIgnored) { it.tracks.len() } else { end };
        it.waiting.iter().copied().take_while(move |track| (*track as usize) < end)
    }

    /// A track whose turn has come starts; or ends, when it will never start.
    fn turn_of(&self, track: u32, parked: &mut Parked) -> Option<Vec<Out>> {
        if parked.is_held(track, &self.guard) {
            return None;
        }
        let it = self.view.orchestration;
        if self.is_left_behind(track) {
            let reason = self.left_behind_by(track).map_or_else(
                || "an earlier track did not end well".to_owned(),
                |on| format!("it depends on {on}, which did not end well"),
            );
            return Some(self.never_start(&BTreeSet::from([track]), Outcome::Skipped, &reason));
        }
        let plan = it.track_plan(track as usize)?;
        let mut list = List::first(&it.request);
        self.before(track, &mut list);
        self.own(track, &mut list);
        let Some(blocker) = list.found.into_iter().next() else { return Some(self.start(track, plan.target)) };
        let Some(outcome) = self.given_up(plan.target, &blocker) else {
            parked.park(track, &plan, &self.guard, &blocker, self.until(plan.target, &blocker));
            return None;
        };
        let verb = if outcome == Outcome::Skipped { "left alone" } else { "cannot start" };
        Some(self.never_start(&BTreeSet::from([track]), outcome, &format!("{verb}: {}", blocker.why)))
    }

    /// These end without a start. A host that is locked for others of its tracks, and on which none is left, is let go of.
    fn never_start(&self, tracks: &BTreeSet<u32>, outcome: Outcome, reason: &str) -> Vec<Out> {
        let it = self.view.orchestration;
        let mut out: Vec<Out> = tracks.iter().map(|track| ended(*track, outcome, reason.to_owned())).collect();
        let is_left = |track: &u32| it.running.contains(track) || it.waiting.contains(track) && !tracks.contains(track);
        let held = self.view.fleet.locks.iter().filter(|(_, lock)| lock.orchestration == it.id).map(|(host, _)| *host);
        let over = held.filter(|host| !it.tracks_on(*host).iter().any(is_left) && !broken::is(Rule::LockKept));
        out.extend(over.map(|host| unlocked(self.view, host)));
        out
    }

    /// When what keeps a track from starting may come to an end, or it is given up, although nothing happens.
    fn until(&self, host: TargetId, blocker: &Blocker) -> Option<Timestamp> {
        let request = &self.view.orchestration.request;
        let is_one_of_many = request.rollout.is_some() || request.services.is_some();
        let given_up = (is_one_of_many && matches!(blocker.why, Why::NotActive)).then(|| self.unreachable_at(host) + Millis(1));
        blocker.until.into_iter().chain(given_up).filter(|at| *at > self.view.now).min()
    }

    /// Admission: the lock of the track's host is taken here (design, section 7).
    fn start(&self, track: u32, host: TargetId) -> Vec<Out> {
        let it = self.view.orchestration;
        let held = self.view.fleet.locks.get(&host).is_some_and(|l| l.orchestration == it.id);
        let stays_up = it.request.services.is_some();
        let entry = FleetEntry::Locked { host, orchestration: it.id, asks_only: it.asks_only(), stays_up };
        let lock = (!held).then_some(Out::Fleet(entry));
        lock.into_iter().chain([Out::Own(Entry::TrackStarted { track })]).collect()
    }

    /// One of many does not wait for what will hardly change: the others go on. What people or windows keep back does wait.
    fn given_up(&self, host: TargetId, blocker: &Blocker) -> Option<Outcome> {
        let request = &self.view.orchestration.request;
        if request.rollout.is_none() && request.services.is_none() {
            return None;
        }
        match blocker.why {
            Why::HeldBy { .. } => Some(Outcome::Skipped),
            Why::NotActive => (self.view.now > self.unreachable_at(host)).then_some(Outcome::Failed),
            Why::UnknownTarget
            | Why::NotApproved
            | Why::SameMachine { .. }
            | Why::Off
            | Why::Stranded { .. }
            | Why::Unsupported { .. }
            | Why::LimitImpossible { .. } => Some(Outcome::Failed),
            _ => None,
        }
    }

    /// When a host that is not heard counts as unreachable for a track whose turn has come (pain 6): a moment of silence just
    /// then is no failure.
    fn unreachable_at(&self, host: TargetId) -> Timestamp {
        let last = self.view.heard.host(host).and_then(|h| h.last).unwrap_or(self.view.fleet.controller_started_at);
        let turn = self.view.orchestration.turn_at.max(self.view.orchestration.wave_began_at(self.wave));
        let open = match self.windows {
            Windows::Open { since, .. } => since.unwrap_or_default(),
            Windows::Shut { .. } => Timestamp::default(),
        };
        // Who waits for a host that is on its way back gives it that time.
        let waits = self.view.orchestration.request.wait.unwrap_or_default();
        last.max(turn).max(open) + self.view.config.active_limit.max(waits)
    }

    /// Nothing starts any more in the time that people and windows are waited for (G6).
    fn waited_too_long(&self, first: u32) -> Option<Vec<Out>> {
        let it = self.view.orchestration;
        if !it.running.is_empty() || self.view.now < it.wait_until() {
            return None;
        }
        let why: Vec<String> = blockers(self.view, first).iter().map(|b| b.why.to_string()).collect();
        let reason = format!("waited too long: {}", why.join("; "));
        Some(self.never_start(&it.waiting, Outcome::Cancelled, &reason))
    }

    /// What must be over before the track's turn comes.
    fn before(&self, track: u32, list: &mut List) {
        let it = self.view.orchestration;
        let Some((wave, _)) = it.wave_of(track as usize) else { return };
        if wave > self.wave as usize && !broken::is(Rule::GateIgnored) {
            list.push(hard(Why::EarlierWave { wave: self.wave }));
        }
        for other in self.after(track).filter(|other| it.tracks.get(*other as usize).is_some_and(|t| t.ended.is_none())) {
            list.push(hard(Why::After { track: other }));
        }
    }

    fn after(&self, track: u32) -> impl Iterator<Item = u32> + '_ {
        let it = self.view.orchestration;
        let first = it.wave_of(track as usize).map_or(0, |(wave, _)| it.first_of_wave(wave));
        let plan = it.track_plan(track as usize);
        let after: Vec<u32> = plan.map(|p| p.after.clone()).unwrap_or_default();
        after.into_iter().filter_map(move |other| u32::try_from(first + other as usize).ok())
    }

    /// A track that it waits for ended, and not well.
    fn is_left_behind(&self, track: u32) -> bool {
        let well = |t: &TrackState| {
            t.ended.as_ref().is_none_or(|(outcome, ..)| matches!(outcome, Outcome::Completed | Outcome::NotNeeded))
        };
        let after = self.after(track).filter(|_| !broken::is(Rule::DependentsStarted));
        after.into_iter().any(|other| self.view.orchestration.tracks.get(other as usize).is_some_and(|t| !well(t)))
    }

    /// The track that it waits for and that did not end well, by name.
    fn left_behind_by(&self, track: u32) -> Option<String> {
        let it = self.view.orchestration;
        let bad = |t: &TrackState| t.ended.as_ref().is_some_and(|(o, ..)| !matches!(o, Outcome::Completed | Outcome::NotNeeded));
        let other = self.after(track).find(|other| it.tracks.get(*other as usize).is_some_and(bad))?;
        it.track_plan(other as usize).filter(|plan| plan.service.is_some()).map(|plan| plan.name.clone())
    }

    /// The service that failed first, by name.
    fn first_failed(&self) -> String {
        let it = self.view.orchestration;
        let failed = |t: &TrackState| t.ended.as_ref().is_some_and(|(outcome, ..)| outcome.is_failure());
        let first = it.tracks.iter().position(failed);
        let name = first.and_then(|track| it.track_plan(track)).map(|plan| plan.name.clone()).unwrap_or_default();
        format!("{name} failed")
    }

    /// Whether the track only finishes what an earlier orchestration has rebooted, or only asks: windows, freeze and pace are for
    /// what goes down, and recovery is never gated (G5).
    fn is_ungated(&self, track: u32) -> bool {
        let it = self.view.orchestration;
        if it.asks_only() {
            return true;
        }
        let asks = it.track_plan(track as usize).filter(|_| it.takes_up).map(|plan| self.asks(&plan));
        asks.is_some_and(|asks| asks.second_half)
    }

    fn asks(&self, plan: &TrackPlan<'_>) -> Asks {
        Asks::of(Some(self.view.orchestration.id), plan, self.view.fleet)
    }

    /// What keeps every track of the wave from starting; or every one that is not gated.
    fn shared(&self, ungated: bool, list: &mut List) {
        let it = self.view.orchestration;
        // What the system paused for its budget is what goes down.
        let is_told = |mark: &&Mark| !ungated || mark.by != Actor::System;
        if let Some(mark) = it.paused.as_ref().filter(is_told) {
            let why = Why::Paused { by: mark.by.clone(), reason: mark.reason.clone() };
            list.push(Blocker { since: Some(mark.since), ..hard(why) });
        }
        if it.wants_approval(self.wave) && !broken::is(Rule::ApprovalIgnored) {
            let since = it.wave_began_at(self.wave);
            list.push(Blocker { since: Some(since), ..hard(Why::ApprovalWanted { wave: self.wave }) });
        }
        if !ungated {
            self.guard.frozen(list);
        }
        if let Some((failures, budget)) = it.overspent().filter(|_| !ungated) {
            list.push(hard(Why::BudgetSpent { failures, budget }));
        }
        let (running, limit) = (u32::try_from(it.running.len()).unwrap_or(u32::MAX), it.concurrency());
        if running >= limit && !broken::is(Rule::ConcurrencyIgnored) {
            list.push(hard(Why::ConcurrencyFull { running, limit }));
        }
        if ungated {
            return;
        }
        let stagger = it.request.rollout.as_ref().map(|r| r.stagger).filter(|_| !broken::is(Rule::StaggerIgnored));
        if let Some((last, stagger)) = it.last_start.zip(stagger)
            && self.view.now < last + stagger
        {
            list.push(Blocker { until: Some(last + stagger), ..hard(Why::Stagger) });
        }
        self.windows.blocks(list);
    }

    /// Whether the track's own part of the jitter is over, and whether it would be over before the window shuts (pain 12).
    fn timing(&self, plan: &TrackPlan<'_>, list: &mut List) {
        let it = self.view.orchestration;
        let Some(rollout) = &it.request.rollout else { return };
        let Windows::Open { since, until } = self.windows else { return };
        let expected = expected(self.view, plan.target);
        let from = since.map_or_else(|| it.wave_began_at(self.wave), |since| since.max(it.wave_began_at(self.wave)));
        let room = until.map(|until| Millis(until.since(from).0.saturating_sub(expected.0)));
        let turn = from + put_off(it.id, plan.target, rollout.jitter, room);
        if self.view.now < turn && !broken::is(Rule::StaggerIgnored) {
            list.push(Blocker { until: Some(turn), ..hard(Why::Jitter) });
        }
        if let Some(closes) = until.filter(|closes| self.view.now + expected > *closes) {
            // Whoever only asks whether comes back when it shuts.
            let fits = || calendar(self.view).next_fit(self.view.now, expected, LOOKED_AHEAD);
            let until = if list.is_brief() { Some(closes) } else { fits() };
            list.push(Blocker { until, ..soft(Why::DoesNotFit { expected, closes }) });
        }
    }

    /// What keeps this track from starting.
    fn own(&self, track: u32, list: &mut List) {
        let it = self.view.orchestration;
        let Some(plan) = it.track_plan(track as usize) else { return };
        if !self.is_ungated(track) {
            self.timing(&plan, list);
        }
        if !list.is_done() {
            self.guard.host(plan.target, &it.request, self.asks(&plan), list);
        }
    }

    fn due_at(&self, parked: &Parked, due: &mut Vec<Timestamp>) {
        let it = self.view.orchestration;
        if it.waiting.is_empty() {
            return;
        }
        if it.running.is_empty() {
            due.push(it.wait_until());
        }
        let mut shared = List::all(&it.request);
        self.shared(false, &mut shared);
        due.extend(shared.found.iter().filter_map(|b| b.until));
        let is_shut = !shared.found.is_empty();
        if is_shut && !it.has_ungated() {
            return;
        }
        for track in self.candidates().filter(|track| !is_shut || self.is_ungated(*track)) {
            if parked.is_held(track, &self.guard) {
                due.extend(parked.until(track));
                continue;
            }
            let Some(plan) = it.track_plan(track as usize) else { continue };
            let mut list = List::first(&it.request);
            self.before(track, &mut list);
            self.own(track, &mut list);
            due.extend(list.found.iter().filter_map(|blocker| self.until(plan.target, blocker)));
        }
    }
}
