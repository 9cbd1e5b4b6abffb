//! Between two steps: which one is next, forwards or backwards, and how the track ends.

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{Direction, Millis, Place, Recheck, Step, StepAction, Subjects, TargetId, TimeoutPolicy};

use crate::decision::{Out, View, ended, leaves_down, parallel, unwind};
use crate::guard;
use crate::journal::{Entry, FleetEntry, Outcome};
use crate::track::{Standing, StepRun, TrackPlan, TrackState};

/// A step is gone through again at most so often, for what an earlier round missed.
const ROUNDS_MAX: u32 = 3;
/// A late child gets one more stop round (E12).
const STOP_ROUNDS_MAX: u32 = 2;

/// What a probe at this place must show. Taken back, the first probe becomes the proof that all is as before.
pub(crate) fn recheck(step: &Step, place: Place) -> Option<Recheck> {
    match (&step.action, place.direction) {
        (StepAction::Probe { recheck, .. }, Direction::Do) => Some(*recheck),
        (StepAction::Probe { .. }, Direction::Undo) => Some(Recheck::Restored),
        _ => None,
    }
}

/// Whether the last answer lets the step end. What it says may still send the track back or into its policy.
pub(crate) fn is_satisfied(view: &View<'_>, recheck: Recheck, track: &TrackState, run: &StepRun, target: TargetId) -> bool {
    let Some(report) = run.answer(target) else { return false };
    match recheck {
        Recheck::Admission => report.children().is_some(),
        // A child on its way up would be killed by the reboot: asked again until it has come up or the limit (ruling 16).
        Recheck::ChildrenDown => report.children().is_some() && creating(report).is_empty(),
        Recheck::Restored | Recheck::Soak => match track.unrestored(report) {
            None => false,
            Some(list) if list.is_empty() => broken::is(Rule::NoHealthGate) || is_healthy(view, track),
            // Something is left to do, and a round is left to do it in.
            Some(list) => again(track, &list).is_some(),
        },
    }
}

/// Two probes that found everything as before lie far enough apart, with none between them that did not.
fn is_healthy(view: &View<'_>, track: &TrackState) -> bool {
    let last = track.report.as_ref().map(|(at, _)| *at);
    track.healthy_since.zip(last).is_some_and(|(since, last)| last >= since + view.config.health_hold)
}

/// The next step of a track that has none open, or its end.
pub(crate) fn choose(view: &View<'_>, number: u32, plan: &TrackPlan<'_>, track: &TrackState) -> Option<Vec<Out>> {
    let cursor = Cursor { view, number, plan: *plan, track };
    if track.unwinding.is_some() { cursor.backwards() } else { cursor.forwards() }
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
            StepAction::Probe { recheck: Recheck::Restored, .. } => self.after_restored(),
            StepAction::Stop { on_timeout, .. } => self.after_stop(last, run, *on_timeout),
            StepAction::Reboot { .. } | StepAction::Shutdown { .. } => self.after_boot_end(last, run),
            StepAction::Start
            | StepAction::StopAgain
            | StepAction::Observe { .. }
            | StepAction::Drain { .. }
            | StepAction::Undrain { .. }
            | StepAction::Probe { recheck: Recheck::Soak, .. } => self.start(last.step + 1, None),
        }
    }

    fn after_admission(&self, last: Place, run: &StepRun) -> Option<Vec<Out>> {
        let request = &self.view.orchestration.request;
        let Some(report) = run.answer(self.plan.target).filter(|r| r.children().is_some()) else {
            return Some(self.turn_back("the host gave no complete report".to_owned()));
        };
        let mut blockers = guard::report_blockers(report, run.started_at, request, run.started_at);
        guard::override_by(request, &mut blockers);
        // The children may have stopped by themselves since the request: then there is nothing to stop.
        blockers.retain(|b| b.why != crate::explain::Why::NoRunningChildren);
        if blockers.is_empty() {
            return self.start(last.step + 1, None);
        }
        let why: Vec<String> = blockers.iter().map(|b| b.why.to_string()).collect();
        Some(self.turn_back(format!("not begun: {}", why.join("; "))))
    }

    fn after_stop(&self, last: Place, run: &StepRun, policy: TimeoutPolicy) -> Option<Vec<Out>> {
        let failed: Vec<String> = self.not_done(run);
        if failed.is_empty() || policy == TimeoutPolicy::Proceed {
            return self.start(last.step + 1, None);
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
        let (stop, policy) = self.stop_step()?;
        let stop_run = self.track.run(stop)?;
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
            return self.start(last.step + 1, None);
        }
        if stop_run.round < STOP_ROUNDS_MAX {
            return self.start(stop.step, Some(late));
        }
        if policy == TimeoutPolicy::Proceed {
            return self.start(last.step + 1, None);
        }
        let names: Vec<String> = late.iter().map(|id| self.name(*id)).collect();
        Some(self.turn_back(format!("children are up again: {}", names.join(", "))))
    }

    fn after_boot_end(&self, last: Place, run: &StepRun) -> Option<Vec<Out>> {
        let subject = run.subjects.get(&self.plan.target)?;
        let what = subject.command.as_ref().map(|c| c.action.kind().to_string()).unwrap_or_default();
        match subject.standing() {
            Standing::Done(_) => self.start(last.step + 1, None).or_else(|| Some(self.finish())),
            Standing::Failed(error, _) => Some(self.turn_back(format!("{what} failed: {}: {}", error.code, error.message))),
            // A shutdown that was seen to begin and then was silent (ruling 28).
            Standing::Open if leaves_down(self.view.orchestration.request.operation) => Some(self.finish()),
            Standing::Open | Standing::Idle | Standing::TimedOut => {
                Some(self.strand_host(&what, subject.status().map(|s| s.to_string())))
            }
        }
    }

    /// The host did not come back by its deadline: it and what ran on it are stranded, and named (G7).
    fn strand_host(&self, what: &str, last_word: Option<String>) -> Vec<Out> {
        let orchestration = self.view.orchestration;
        let reason = match last_word {
            Some(word) => format!("no new boot identity by the deadline of the {what} (last word: {word})"),
            None => format!("no word on the {what} by its deadline"),
        };
        let mut out = vec![Out::Fleet(FleetEntry::Stranded {
            target: self.plan.target,
            host: self.plan.target,
            name: orchestration.host_name.clone(),
            orchestration: orchestration.id,
            reason: reason.clone(),
            expected_up: true,
            open_boot: self.track.open_boot(),
            unfinished: None,
        })];
        let down: Vec<TargetId> = self.track.children.iter().filter(|(_, c)| c.before.is_up()).map(|(id, _)| *id).collect();
        let names: Vec<String> = down.iter().map(|id| self.name(*id)).collect();
        out.extend(down.iter().map(|id| self.strand_child(*id, true, "its host did not come back")));
        let children = if names.is_empty() { String::new() } else { format!("; not back with it: {}", names.join(", ")) };
        out.push(ended(
            self.number,
            Outcome::Failed,
            format!("host {} is stranded: {reason}{children}", orchestration.host_name),
        ));
        out
    }

    fn strand_child(&self, id: TargetId, expected_up: bool, reason: &str) -> Out {
        Out::Fleet(FleetEntry::Stranded {
            target: id,
            host: self.plan.target,
            name: self.name(id),
            orchestration: self.view.orchestration.id,
            reason: reason.to_owned(),
            expected_up,
            open_boot: None,
            unfinished: None,
        })
    }

    fn after_restored(&self) -> Option<Vec<Out>> {
        if let Some(out) = self.another_round(Direction::Do) {
            return Some(out);
        }
        Some(self.finish())
    }

    /// Back to the step that can put right what the last probe showed.
    fn another_round(&self, direction: Direction) -> Option<Vec<Out>> {
        let (_, report) = self.track.report.as_ref()?;
        let list = self.track.unrestored(report)?;
        let up = again(self.track, &list)?;
        let wanted: Vec<TargetId> = list.iter().filter(|(_, should_be_up)| *should_be_up == up).map(|(id, _)| *id).collect();
        let step = match (direction, up) {
            (Direction::Do, true) => self.find(|a| matches!(a, StepAction::Start))?,
            (Direction::Do, false) => self.find(|a| matches!(a, StepAction::StopAgain))?,
            (Direction::Undo, true) => self.stop_step()?.0.step,
            (Direction::Undo, false) => return None,
        };
        self.begin(Place { track: self.number, step, direction }, wanted)
    }

    /// The end of a track that was not taken back.
    fn finish(&self) -> Vec<Out> {
        let it = self.view.orchestration;
        if leaves_down(it.request.operation) {
            return vec![Out::Own(Entry::TrackEnded { track: self.number, outcome: Outcome::Completed, reason: None })];
        }
        let (mut out, troubles) = self.account();
        let healthy = is_healthy(self.view, self.track) || broken::is(Rule::NoHealthGate);
        let up_before = self.track.children.values().filter(|c| c.before.is_up()).count();
        let failed = troubles.len();
        let none_came_up =
            up_before > 0 && self.track.children.values().filter(|c| c.before.is_up()).all(|c| self.is_down(c.child.id));
        let again =
            (self.track.boots_after > 0).then(|| format!("boots after the proven one, by itself: {}", self.track.boots_after));
        let (outcome, reason) = if failed == 0 && healthy {
            (Outcome::Completed, again)
        } else if failed == 0 {
            (Outcome::Failed, Some("the host rebooted but was not seen healthy in time".to_owned()))
        } else if it.request.options.strict || none_came_up || !self.is_known() {
            (Outcome::Failed, Some(troubles.join("; ")))
        } else {
            (Outcome::Partial, Some(troubles.join("; ")))
        };
        out.push(Out::Own(Entry::TrackEnded { track: self.number, outcome, reason }));
        out
    }

    fn is_known(&self) -> bool {
        self.track.known().is_some()
    }

    fn is_down(&self, id: TargetId) -> bool {
        let seen = self.track.known().and_then(|r| r.child(id));
        !seen.is_some_and(|c| c.status.is_up())
    }

    /// Every child that is not as it was: stranded, and named with its reason (G7, E28).
    fn account(&self) -> (Vec<Out>, Vec<String>) {
        let mut out = Vec::new();
        let mut troubles = Vec::new();
        for (id, child) in &self.track.children {
            let known = self.track.known();
            let now = known.and_then(|r| r.child(*id)).map(|c| c.status);
            let unwinding = self.track.unwinding.is_some();
            let wrong = if child.before.is_up() {
                // Taken back on the same boot, only what this plan stopped is its business.
                now != Some(child.before) && (!unwinding || child.stop_asked)
            } else {
                let may_be_up = known.is_none() || now.is_some_and(|s| s.is_up() || s == model::ChildStatus::Creating);
                !unwinding && child.autostart && may_be_up && !broken::is(Rule::BootStartedStayUp)
            };
            if !wrong {
                continue;
            }
            let expected_up = child.before.is_up();
            let failure = if expected_up { &child.start_failed } else { &child.stop_failed };
            let why = match (failure, now) {
                (Some(failure), _) => failure.clone(),
                (None, None) if known.is_none() => {
                    format!("is not known to be as before ({}): the host has not told since", child.before)
                }
                (None, Some(now)) => format!("is {now}, was {}", child.before),
                (None, None) => "is missing from the list of children".to_owned(),
            };
            troubles.push(format!("{}: {why}", child.child.name));
            out.push(self.strand_child(*id, expected_up, &why));
        }
        (out, troubles)
    }

    /// What was stopped is started again, and all is looked at once more; then the track ends.
    fn backwards(&self) -> Option<Vec<Out>> {
        let stopped: Vec<TargetId> =
            self.track.children.iter().filter(|(_, c)| c.stop_asked && c.before.is_up()).map(|(id, _)| *id).collect();
        if stopped.is_empty() || broken::is(Rule::NoUnwind) {
            return Some(self.finish_unwound());
        }
        let (stop, _) = self.stop_step()?;
        match self.track.last.filter(|p| p.direction == Direction::Undo) {
            None => self.begin(Place { direction: Direction::Undo, ..stop }, stopped),
            Some(last) if last.step == stop.step => {
                let first = Place { track: self.number, step: 0, direction: Direction::Undo };
                self.begin(first, vec![self.plan.target])
            }
            Some(_) => self.another_round(Direction::Undo).or_else(|| Some(self.finish_unwound())),
        }
    }

    fn finish_unwound(&self) -> Vec<Out> {
        let reason = self.track.unwinding.clone().unwrap_or_default();
        let (mut out, troubles) = if broken::is(Rule::NoUnwind) { (Vec::new(), Vec::new()) } else { self.account() };
        let cancelled = self.view.orchestration.cancelled_by.is_some() && !self.track.boot_end_issued();
        let outcome = if cancelled && troubles.is_empty() { Outcome::Cancelled } else { Outcome::Failed };
        let reason = if troubles.is_empty() { reason } else { format!("{reason}; not restored: {}", troubles.join("; ")) };
        out.push(ended(self.number, outcome, reason));
        out
    }

    fn turn_back(&self, reason: String) -> Vec<Out> {
        unwind(self.number, self.track, reason)
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
        let subjects = subjects.unwrap_or_else(|| self.resolve(plan.subjects));
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
    fn resolve(&self, subjects: Subjects) -> Vec<TargetId> {
        let report = self.track.report.as_ref().map(|(_, r)| r);
        match subjects {
            Subjects::Target => vec![self.plan.target],
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

fn creating(report: &model::Report) -> Vec<String> {
    let on_the_way = report.children().unwrap_or_default().iter().filter(|c| c.status == model::ChildStatus::Creating);
    on_the_way.map(|c| c.child.name.clone()).collect()
}

fn up_children(report: &model::Report) -> Vec<TargetId> {
    report.children().unwrap_or_default().iter().filter(|c| c.status.is_up()).map(|c| c.child.id).collect()
}

/// Whether a round is left for what is not as before: `Some(true)` to start children, `Some(false)` to stop them.
fn again(track: &TrackState, list: &[(TargetId, bool)]) -> Option<bool> {
    let rounds = |up: bool| {
        let direction = if track.unwinding.is_some() { &track.undo } else { &track.steps };
        let ids: Vec<TargetId> = list.iter().filter(|(_, u)| *u == up).map(|(id, _)| *id).collect();
        let used = direction.iter().filter(|r| ids.iter().any(|id| r.subjects.contains_key(id))).map(|r| r.round).max();
        !ids.is_empty() && used.unwrap_or(0) < ROUNDS_MAX
    };
    if rounds(true) {
        return Some(true);
    }
    (track.unwinding.is_none() && rounds(false) && !broken::is(Rule::BootStartedStayUp)).then_some(false)
}
