//! Between two steps: which one is next, forwards or backwards, and how the track ends.

mod backwards;
mod end;
mod run;
mod service;

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{
    ActionKind, Direction, Drain, DrainPolicy, Millis, Observed, Place, Planner, Readable, Recheck, Report, Site, Step,
    StepAction, Subjects, TargetId, TimeoutPolicy, Timestamp,
};

use crate::decision::{Out, View, leaves_down, parallel, unwind};
use crate::drained;
use crate::explain::Why;
use crate::guard;
use crate::journal::{Entry, Outcome};
use crate::track::{Standing, StepRun, SubjectRun, TrackPlan, TrackState};

pub(crate) use end::left_behind;
pub(crate) use service::{is_answered, rollback_troubles, without_output};

/// A step is gone through again at most so often, for what an earlier round missed.
const ROUNDS_MAX: u32 = 3;
/// A late child gets one more stop round (E12).
const STOP_ROUNDS_MAX: u32 = 2;
/// What is in service again right before the reboot is drained once more (pain 10).
const DRAIN_ROUNDS_MAX: u32 = 2;

/// What a probe at this place must show. Taken back, the first probe becomes the proof that all is as before.
pub(crate) fn recheck(step: &Step, place: Place) -> Option<Recheck> {
    match (&step.action, place.direction) {
        (StepAction::Probe { recheck, .. }, Direction::Do) => Some(*recheck),
        (StepAction::Probe { .. }, Direction::Undo) => Some(Recheck::Restored),
        _ => None,
    }
}

/// How long every answer of a probe must be good.
pub(crate) fn hold(view: &View<'_>, step: &Step, place: Place) -> Millis {
    match (&step.action, place.direction) {
        (StepAction::Probe { hold, .. }, Direction::Do) => *hold,
        _ => view.config.health_hold,
    }
}

/// Whether the last answers let the step end. What they say may still send the track back or into its policy.
pub(crate) fn is_satisfied(
    view: &View<'_>,
    recheck: Recheck,
    plan: &TrackPlan<'_>,
    step: &Step,
    place: Place,
    track: &TrackState,
    run: &StepRun,
) -> bool {
    let Some(report) = run.answer(plan.target) else { return false };
    match recheck {
        Recheck::Admission => is_whole(view, report),
        // A child on its way up would be killed by the reboot: asked again until it has come up or the limit (ruling 16).
        Recheck::ChildrenDown => report.children().is_some() && creating(report).is_empty(),
        Recheck::Asked => {
            // Those that the controller asks itself answer apart from the host.
            let told = |s: &SubjectRun| matches!(s.standing(), Standing::Done(_) | Standing::Failed(..));
            let all = run.order.iter().all(|id| run.subjects.get(id).is_some_and(told));
            all && (view.orchestration.request.wait.is_none() || is_healthy(view, step, place, track, run))
        }
        Recheck::Restored | Recheck::Soak => match track.unrestored(report) {
            None => false,
            Some(list) if list.is_empty() => is_healthy(view, step, place, track, run),
            // Something is left to do, and a round is left to do it in.
            Some(list) => again(plan, track, &list).is_some(),
        },
    }
}

/// For the whole hold every answer was good: at least two of them, unless there is no hold. A probe that its deadline ended did
/// not show that: answers from before an outage do not make up for it.
fn is_healthy(view: &View<'_>, step: &Step, place: Place, track: &TrackState, run: &StepRun) -> bool {
    let cut_off = run.subjects.values().any(|subject| subject.timed_out) && !broken::is(Rule::OutageCounts);
    let good = good_since(view, track, run).and_then(|(since, last)| (last >= since).then(|| last.since(since)));
    broken::is(Rule::NoHealthGate) || !cut_off && good.is_some_and(|good| good >= hold(view, step, place))
}

/// Since when all answers were good, and until when. What was not looked at, since no controller was there, was not good.
pub(crate) fn good_since(view: &View<'_>, track: &TrackState, run: &StepRun) -> Option<(Timestamp, Timestamp)> {
    let judged = run.ended_at.is_some() || broken::is(Rule::OutageCounts);
    let from = if judged { Timestamp::default() } else { view.fleet.controller_started_at };
    track.health.good_between(&run.order, from)
}

/// The next step of a track that has none open, or its end.
pub(crate) fn choose(view: &View<'_>, number: u32, plan: &TrackPlan<'_>, track: &TrackState) -> Option<Vec<Out>> {
    let cursor = Cursor { view, number, plan: *plan, track };
    match (track.unwinding.is_some(), plan.service.is_some()) {
        (false, _) => cursor.forwards(),
        (true, false) => cursor.backwards(),
        (true, true) => cursor.service_backwards(),
    }
}

struct Cursor<'a> {
    view: &'a View<'a>,
    number: u32,
    plan: TrackPlan<'a>,
    track: &'a TrackState,
}

impl Cursor<'_> {
    fn forwards(&self) -> Option<Vec<Out>> {
        let Some(last) = self.track.last else { return self.start(0, None) };
        let step = self.plan.steps.get(last.step as usize)?;
        let run = self.track.run(last)?;
        match &step.action {
            StepAction::Probe { recheck: Recheck::Admission, .. } => self.after_admission(last, run),
            StepAction::Probe { recheck: Recheck::ChildrenDown, .. } => self.after_children_down(last),
            StepAction::Probe { recheck: Recheck::Restored | Recheck::Soak | Recheck::Asked, .. } => {
                self.after_health(last, step, run)
            }
            StepAction::Observe { drain } => self.after_observe(last, run, drain),
            StepAction::Drain { drain, on_timeout, .. } => self.after_drain(last, run, drain, *on_timeout),
            StepAction::Undrain { drain } => self.after_undrain(last, run, drain),
            StepAction::Stop { on_timeout, .. } => self.after_stop(last, run, *on_timeout),
            StepAction::Reboot { .. } | StepAction::Shutdown { .. } => self.after_boot_end(last, run),
            StepAction::Run { .. } => self.after_run(last, run),
            StepAction::Start | StepAction::StopAgain => self.go_on(last),
            action @ (StepAction::Inspect { .. }
            | StepAction::BackUp { .. }
            | StepAction::Deploy { .. }
            | StepAction::Migrate { .. }
            | StepAction::Restart { .. }
            | StepAction::Watch { .. }) => self.after_service(last, action, run),
        }
    }

    /// The next step of the list, or the end of the track.
    fn go_on(&self, last: Place) -> Option<Vec<Out>> {
        let next = last.step + 1;
        self.look_again(next).or_else(|| self.start(next, None)).or_else(|| Some(self.finish()))
    }

    fn after_admission(&self, last: Place, run: &StepRun) -> Option<Vec<Out>> {
        let request = &self.view.orchestration.request;
        let Some(report) = run.answer(self.plan.target).filter(|r| is_whole(self.view, r)) else {
            return Some(self.turn_back(format!("the host gave no complete report{}", self.last_word(run))));
        };
        if let Some(out) = self.is_not_needed(report) {
            return Some(out);
        }
        let mut why = self.not_ready(report);
        // What ends no boot only brings back what was begun before: that is never gated (G5).
        let begins = self.find(|a| ends_boot(a) || matches!(a, StepAction::Run { .. })).is_some();
        if begins && !self.is_second_half() {
            let mut blockers = guard::report_blockers(report, run.started_at, request, run.started_at);
            guard::override_by(request, &mut blockers);
            // The children may have stopped by themselves since the request: then there is nothing to stop.
            blockers.retain(|b| b.why != Why::NoRunningChildren);
            why.extend(blockers.iter().map(|b| b.why.to_string()));
        }
        if !why.is_empty() {
            return Some(self.turn_back(format!("not begun: {}", why.join("; "))));
        }
        match self.find(ends_boot).filter(|_| self.is_second_half()) {
            Some(reboot) => self.start(reboot + 1, None),
            None => self.go_on(last),
        }
    }

    /// Only hosts that say that they need a reboot were asked for: unknown never triggers (pain 8).
    fn is_not_needed(&self, report: &Report) -> Option<Vec<Out>> {
        let only_required = self.view.orchestration.request.rollout.as_ref().is_some_and(|r| r.only_if_required);
        if !only_required || self.plan.unfinished.is_some() {
            return None;
        }
        let reason = match &report.reboot_required {
            Readable::Known(Some(_)) => return None,
            Readable::Known(None) => None,
            Readable::Unknown(why) => Some(format!("left alone: nobody can tell whether it needs a reboot: {why}")),
        };
        Some(vec![Out::Own(Entry::TrackEnded { track: self.number, outcome: Outcome::NotNeeded, reason })])
    }

    /// What the steps of the list need and this host does not have: better known before anything is done.
    fn not_ready(&self, report: &Report) -> Vec<String> {
        let mut why = Vec::new();
        let mut drain = |drain: &Drain, action: ActionKind| {
            if let Err(unknown) = drain.filled(&self.plan.vars) {
                why.push(format!("{drain}: {unknown}"));
            } else if drain.site() == Site::Target && !report.actions.contains(&action) {
                why.push(Why::Unsupported { action }.to_string());
            }
        };
        for step in self.plan.steps {
            match &step.action {
                StepAction::Observe { drain: of } => drain(of, ActionKind::Observe),
                StepAction::Drain { drain: of, .. } => drain(of, ActionKind::Drain),
                StepAction::Undrain { drain: of } => drain(of, ActionKind::Undrain),
                _ => {}
            }
        }
        for step in self.plan.steps {
            if let StepAction::Probe { checks, .. } = &step.action {
                let unknown =
                    checks.iter().filter_map(|c| c.filled(&self.plan.vars).err().map(|e| format!("check {}: {e}", c.name)));
                why.extend(unknown);
            }
        }
        why.extend(guard::lacks_checks(self.plan.steps, report).map(|why| why.to_string()));
        let mut seen = std::collections::BTreeSet::new();
        why.retain(|w| seen.insert(w.clone()));
        why
    }

    /// What would be drained is written down before anything is; the second time, nothing may be in service again (pain 10).
    fn after_observe(&self, last: Place, run: &StepRun, drain: &Drain) -> Option<Vec<Out>> {
        let items = match run.subjects.get(&self.plan.target)?.standing() {
            Standing::Done(ack) => match &ack.observed {
                Some(Observed::Items(items)) => items.as_slice(),
                _ => &[],
            },
            _ => &[],
        };
        // A drain of nothing is a wrong name rather than a host without work.
        if items.is_empty() {
            let drain = drain.filled(&self.plan.vars).ok()?;
            return Some(self.turn_back(format!("{drain}: what is in service could not be read{}", self.last_word(run))));
        }
        if run.round == 1 {
            return self.go_on(last);
        }
        let again = drained::in_service(items);
        let (step, policy) = self.drain_step(drain)?;
        if again.is_empty() {
            return self.look_again_or_reboot();
        }
        if self.track.run(Place { step, ..last })?.round < DRAIN_ROUNDS_MAX {
            return self.start(step, None);
        }
        Some(self.leave_alone(format!("in service again right before the reboot: {}", again.join(", ")), policy))
    }

    fn after_drain(&self, last: Place, run: &StepRun, drain: &Drain, policy: DrainPolicy) -> Option<Vec<Out>> {
        let subject = run.subjects.get(&self.plan.target)?;
        if !matches!(subject.standing(), Standing::Done(_)) && !broken::is(Rule::DrainFailureIgnored) {
            let filled = drain.filled(&self.plan.vars).ok()?;
            let left = self.track.drains.in_service(&filled);
            let left = if left.is_empty() { String::new() } else { format!("; left in service: {}", left.join(", ")) };
            return Some(self.leave_alone(format!("{filled}: not drained{}{left}", self.last_word(run)), policy));
        }
        // Drained a second time: all is looked at once more from the start.
        let down = self.find(|a| matches!(a, StepAction::Probe { recheck: Recheck::ChildrenDown, .. }));
        match down.filter(|_| run.round > 1) {
            Some(down) => self.start(down, None),
            None => self.go_on(last),
        }
    }

    /// A host that does not drain is put back into service; its policy says how that counts.
    fn leave_alone(&self, reason: String, policy: DrainPolicy) -> Vec<Out> {
        unwind(self.number, self.track, reason, policy == DrainPolicy::Skip)
    }

    /// Right before the boot is ended, everything that was drained is looked at again (pain 10).
    fn look_again(&self, next: u32) -> Option<Vec<Out>> {
        if !ends_boot(&self.plan.steps.get(next as usize)?.action) || broken::is(Rule::DrainNotRechecked) {
            return None;
        }
        let runs = || self.plan.steps.iter().zip(&self.track.steps);
        let since = runs().filter(|(s, _)| {
            let is_down = matches!(s.action, StepAction::Probe { recheck: Recheck::ChildrenDown, .. });
            is_down || matches!(s.action, StepAction::Drain { .. })
        });
        let since = since.map(|(_, run)| run.position).max()?;
        let stale = |(step, run): (&Step, &StepRun)| {
            matches!(step.action, StepAction::Observe { .. }) && (run.position < since || run.round < 2)
        };
        let found = runs().position(stale)?;
        self.start(u32::try_from(found).ok()?, None)
    }

    fn look_again_or_reboot(&self) -> Option<Vec<Out>> {
        let next = self.find(ends_boot)?;
        self.look_again(next).or_else(|| self.start(next, None))
    }

    fn after_undrain(&self, last: Place, run: &StepRun, drain: &Drain) -> Option<Vec<Out>> {
        let filled = drain.filled(&self.plan.vars).ok()?;
        if self.track.drains.is_left(&filled) {
            let reason = format!("{filled}: could not be put back into service{}", self.last_word(run));
            return Some(self.strand_unhealthy(reason));
        }
        self.go_on(last)
    }

    fn after_stop(&self, last: Place, run: &StepRun, policy: TimeoutPolicy) -> Option<Vec<Out>> {
        let failed: Vec<String> = self.not_done(run);
        if failed.is_empty() || policy == TimeoutPolicy::Proceed {
            return self.go_on(last);
        }
        Some(self.turn_back(format!("children did not stop: {}", failed.join(", "))))
    }

    fn not_done(&self, run: &StepRun) -> Vec<String> {
        run.order
            .iter()
            .filter_map(|id| {
                let failure = run.subjects.get(id)?.failure()?;
                Some(format!("{} ({failure})", self.name(*id)))
            })
            .collect()
    }

    /// Nobody is up that the plan meant to stop; a late child gets one more stop round, then the policy (E12).
    fn after_children_down(&self, last: Place) -> Option<Vec<Out>> {
        let answer = self.track.run(last).and_then(|run| run.answer(self.plan.target));
        let Some(report) = answer.filter(|r| r.children().is_some()) else {
            return Some(self.turn_back("the children could not be listed before the reboot".to_owned()));
        };
        let on_the_way = creating(report);
        if !on_the_way.is_empty() {
            return Some(self.turn_back(format!("children are on their way up: {}", on_the_way.join(", "))));
        }
        let gave_up = |id: &TargetId| self.track.children.get(id).is_some_and(|c| c.stop_failed.is_some());
        let late: Vec<TargetId> = up_children(report).into_iter().filter(|id| !gave_up(id)).collect();
        if late.is_empty() || broken::is(Rule::NoLateChild) {
            return self.go_on(last);
        }
        if let Some((stop, policy)) = self.stop_step() {
            if self.track.run(stop)?.round < STOP_ROUNDS_MAX {
                return self.start(stop.step, Some(late));
            }
            if policy == TimeoutPolicy::Proceed {
                return self.go_on(last);
            }
        }
        let names: Vec<String> = late.iter().map(|id| self.name(*id)).collect();
        Some(self.turn_back(format!("children are up again: {}", names.join(", "))))
    }

    fn after_boot_end(&self, last: Place, run: &StepRun) -> Option<Vec<Out>> {
        let subject = run.subjects.get(&self.plan.target)?;
        let what = subject.command.as_ref().map(|c| c.action.kind().to_string()).unwrap_or_default();
        match subject.standing() {
            Standing::Done(_) => self.go_on(last),
            Standing::Failed(error, _) => Some(self.turn_back(format!("{what} failed: {}: {}", error.code, error.message))),
            // A shutdown that was seen to begin and then was silent (ruling 28).
            Standing::Open if leaves_down(self.view.orchestration.request.operation) => Some(self.finish()),
            Standing::Open | Standing::Idle | Standing::TimedOut => {
                let status = subject.status().map(|s| s.to_string());
                let error = subject.last_error.as_ref().map(|e| format!("{}: {}", e.code, e.message));
                let words: Vec<String> = status.into_iter().chain(error).collect();
                Some(self.strand_host(&what, (!words.is_empty()).then(|| words.join("; "))))
            }
        }
    }

    /// What is not as before and can be put right gets another round. In a rollout only a healthy host goes on; for one host
    /// alone, what is not as before is named at the end.
    fn after_health(&self, last: Place, step: &Step, run: &StepRun) -> Option<Vec<Out>> {
        if let Some(out) = self.another_round(Direction::Do) {
            return Some(out);
        }
        if matches!(self.view.orchestration.plan.planner, Planner::Run | Planner::HealthCheck) {
            return self.after_health_of_a_run(last, step, run);
        }
        if self.view.orchestration.plan.planner == Planner::Host || broken::is(Rule::UndrainUnhealthy) {
            return self.go_on(last);
        }
        let troubles = self.troubles();
        if is_healthy(self.view, step, last, self.track, run) && troubles.is_empty() {
            return self.go_on(last);
        }
        let soaks = recheck(step, last) == Some(Recheck::Soak);
        let mut why = self.track.health.wrong();
        why.extend(troubles);
        if why.is_empty() {
            why.push(format!("it was not well for {} without a break", hold(self.view, step, last)));
        }
        let when = if soaks { "not healthy while it soaked" } else { "not healthy after its reboot" };
        Some(self.strand_unhealthy(format!("{when}: {}", why.join("; "))))
    }

    /// Back to the step that can put right what the last probe showed.
    fn another_round(&self, direction: Direction) -> Option<Vec<Out>> {
        let (_, report) = self.track.report.as_ref()?;
        let list = self.track.unrestored(report)?;
        let up = again(&self.plan, self.track, &list)?;
        let wanted: Vec<TargetId> = list.iter().filter(|(_, should_be_up)| *should_be_up == up).map(|(id, _)| *id).collect();
        let step = match (direction, up) {
            (Direction::Do, true) => self.find(|a| matches!(a, StepAction::Start))?,
            (Direction::Do, false) => self.find(|a| matches!(a, StepAction::StopAgain))?,
            (Direction::Undo, true) => self.stop_step()?.0.step,
            (Direction::Undo, false) => return None,
        };
        self.begin(Place { track: self.number, step, direction }, wanted)
    }

    /// Take back what was done. What an earlier orchestration has rebooted is not taken back: it stays as it was left.
    fn turn_back(&self, reason: String) -> Vec<Out> {
        if self.is_second_half() {
            return self.give_up(reason);
        }
        unwind(self.number, self.track, reason, false)
    }

    /// Whether this track only finishes what an earlier orchestration has rebooted.
    fn is_second_half(&self) -> bool {
        self.track.is_second_half(&self.plan)
    }

    /// Why the host did not do it, for the end of a sentence; empty when it only did not answer.
    fn last_word(&self, run: &StepRun) -> String {
        let error = run.subjects.get(&self.plan.target).and_then(|s| s.last_error.as_ref());
        error.map(|e| format!(": {}: {}", e.code, e.message)).unwrap_or_default()
    }

    fn drain_step(&self, drain: &Drain) -> Option<(u32, DrainPolicy)> {
        let mut steps = self.plan.steps.iter().enumerate();
        steps.find_map(|(i, s)| match &s.action {
            StepAction::Drain { drain: of, on_timeout, .. } if of == drain => Some((u32::try_from(i).ok()?, *on_timeout)),
            _ => None,
        })
    }

    fn stop_step(&self) -> Option<(Place, TimeoutPolicy)> {
        self.plan.steps.iter().enumerate().find_map(|(i, s)| match s.action {
            StepAction::Stop { on_timeout, .. } => {
                Some((Place { track: self.number, step: u32::try_from(i).ok()?, direction: Direction::Do }, on_timeout))
            }
            _ => None,
        })
    }

    fn find(&self, is: impl Fn(&StepAction) -> bool) -> Option<u32> {
        self.plan.steps.iter().position(|s| is(&s.action)).and_then(|i| u32::try_from(i).ok())
    }

    /// Begin a step forwards, on these subjects or on those that the plan names; `None` past the end of the list.
    fn start(&self, step: u32, subjects: Option<Vec<TargetId>>) -> Option<Vec<Out>> {
        let plan = self.plan.steps.get(step as usize)?;
        let subjects = subjects.unwrap_or_else(|| self.resolve(plan));
        self.begin(Place { track: self.number, step, direction: Direction::Do }, subjects)
    }

    fn begin(&self, place: Place, subjects: Vec<TargetId>) -> Option<Vec<Out>> {
        let plan = self.plan.steps.get(place.step as usize)?;
        let run = self.track.run(place)?;
        let limit = match (&plan.action, place.direction) {
            (StepAction::Probe { .. }, Direction::Undo) => self.view.config.health_gate,
            // A stop that still runs on the host ends before the start of its child begins.
            (StepAction::Stop { .. }, Direction::Undo) => {
                Millis(plan.limit.0 + self.turns(place, &subjects, self.view.config.start_limit).0)
            }
            (StepAction::Start, _) => self.turns(place, &subjects, plan.limit),
            // Put back, read anew and started, or seen not to start.
            (StepAction::BackUp { grace }, Direction::Undo) => Millis(plan.limit.0.saturating_add(grace.0.saturating_mul(2))),
            _ => plan.limit,
        };
        Some(vec![Out::Own(Entry::StepStarted {
            place,
            round: run.round + 1,
            position: if broken::is(Rule::NoSupersede) { self.view.position } else { self.view.position + 1 },
            subjects,
            // What is held back while the controller settles has its whole time after it.
            deadline: self.view.now.max(self.view.fleet.settle_until) + limit,
        })])
    }

    /// The limit holds for each child (ruling 23): those that wait for others of them get theirs after it.
    fn turns(&self, place: Place, subjects: &[TargetId], limit: Millis) -> Millis {
        let Some(step) = self.plan.steps.get(place.step as usize) else { return limit };
        let mut classes: BTreeMap<i64, usize> = BTreeMap::new();
        for child in subjects.iter().filter_map(|id| self.track.children.get(id)) {
            *classes.entry(child.start_priority).or_default() += 1;
        }
        let at_once = parallel(self.view.config, step, place);
        let turns: usize = classes.values().map(|n| at_once.map_or(1, |at_once| n.div_ceil(at_once))).sum();
        Millis(limit.0.saturating_mul(turns.max(1) as u64))
    }

    /// Subjects that only a probe can tell are fixed here, and written down by the entry of the step.
    fn resolve(&self, step: &Step) -> Vec<TargetId> {
        let report = self.track.report.as_ref().map(|(_, r)| r);
        match step.subjects {
            Subjects::Target => match &step.action {
                StepAction::Probe { checks, .. } if checks.iter().any(|c| c.site() == Site::Controller) => {
                    vec![self.plan.target, TargetId::CONTROLLER]
                }
                // What nobody drained is not put back.
                StepAction::Undrain { drain } => {
                    let is_left = drain.filled(&self.plan.vars).is_ok_and(|d| self.track.drains.is_left(&d));
                    if is_left { vec![self.plan.target] } else { Vec::new() }
                }
                _ => vec![self.plan.target],
            },
            Subjects::Service => service::subjects(self.plan.service.as_deref()),
            Subjects::RunningChildren => report.map(up_children).unwrap_or_default(),
            Subjects::ChildrenUpBefore => {
                self.track.children.iter().filter(|(_, c)| c.before.is_up()).map(|(id, _)| *id).collect()
            }
            Subjects::ChildrenStartedByBoot => {
                let list = report.and_then(|r| self.track.unrestored(r)).unwrap_or_default();
                list.into_iter().filter(|(_, should_be_up)| !*should_be_up).map(|(id, _)| id).collect()
            }
        }
    }

    fn name(&self, id: TargetId) -> String {
        self.track.children.get(&id).map_or_else(|| id.to_string(), |c| c.child.name.clone())
    }
}

/// Whether the report tells what must be known before anything begins. What ends no boot has no business with children.
fn is_whole(view: &View<'_>, report: &Report) -> bool {
    report.children().is_some() || !view.orchestration.request.operation.ends_boot()
}

fn ends_boot(action: &StepAction) -> bool {
    matches!(action, StepAction::Reboot { .. } | StepAction::Shutdown { .. })
}

fn creating(report: &model::Report) -> Vec<String> {
    let on_the_way = report.children().unwrap_or_default().iter().filter(|c| c.status == model::ChildStatus::Creating);
    on_the_way.map(|c| c.child.name.clone()).collect()
}

fn up_children(report: &model::Report) -> Vec<TargetId> {
    report.children().unwrap_or_default().iter().filter(|c| c.status.is_up()).map(|c| c.child.id).collect()
}

/// Whether a round is left for what is not as before: `Some(true)` to start children, `Some(false)` to stop them.
fn again(plan: &TrackPlan<'_>, track: &TrackState, list: &[(TargetId, bool)]) -> Option<bool> {
    let unwinding = track.unwinding.is_some();
    let has_step = |up: bool| {
        plan.steps.iter().any(|s| match &s.action {
            StepAction::Start => up && !unwinding,
            StepAction::StopAgain => !up && !unwinding,
            StepAction::Stop { .. } => up && unwinding,
            _ => false,
        })
    };
    let rounds = |up: bool| {
        let direction = if unwinding { &track.undo } else { &track.steps };
        let ids: Vec<TargetId> = list.iter().filter(|(_, u)| *u == up).map(|(id, _)| *id).collect();
        let used = direction.iter().filter(|r| ids.iter().any(|id| r.subjects.contains_key(id))).map(|r| r.round).max();
        !ids.is_empty() && has_step(up) && used.unwrap_or(0) < ROUNDS_MAX
    };
    if rounds(true) {
        return Some(true);
    }
    (rounds(false) && !broken::is(Rule::BootStartedStayUp)).then_some(false)
}
