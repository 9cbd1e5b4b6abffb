//! What follows from the state: the next facts of one orchestration, until nothing follows any more.
//!
//! Everything here is computed from the state alone, so a controller that starts in the middle goes on as if it had never
//! stopped (G8).

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{
    AckStatus, Action, ActionKind, Command, CommandId, Direction, Drain, DrainPolicy, Drained, ErrorCode, Fence, Millis, Moment,
    Place, Recheck, ServiceVerb, Site, Step, StepAction, TargetId, TimeoutPolicy, Timestamp,
};

use crate::config::Config;
use crate::decision::{Out, View, deadline, is_disruptive, parallel, unwind};
use crate::explain::Blocker;
use crate::flow;
use crate::gates;
use crate::journal::{Entry, FleetEntry};
use crate::planner::services;
use crate::track::{Standing, StepRun, SubjectRun, TrackPlan, TrackState, is_barred, is_hopeless};

/// What follows for a track that runs.
pub(crate) fn decide(view: &View<'_>, number: u32, plan: &TrackPlan<'_>, track: &TrackState) -> Option<Vec<Out>> {
    if let Some(out) = cancel(view, number, plan, track) {
        return Some(out);
    }
    match track.open() {
        Some((place, run)) => {
            let step = plan.steps.get(place.step as usize)?;
            within_step(view, plan, step, track, place, run)
        }
        None => flow::choose(view, number, plan, track),
    }
}

/// A cancel takes back what was done, unless the boot is already being ended (ruling 24).
fn cancel(view: &View<'_>, number: u32, plan: &TrackPlan<'_>, track: &TrackState) -> Option<Vec<Out>> {
    let by = view.orchestration.cancelled_by.as_ref()?;
    // What an earlier orchestration rebooted is brought back by this one.
    let rebooted = track.boot_end_issued() || track.is_second_half(plan) || track.service.goes_on();
    // What a command does is not taken back, and it is not cut off: its end is waited for.
    let past = track.run_issued || rebooted && !broken::is(Rule::UnwindPastReboot);
    if track.unwinding.is_some() || past {
        return None;
    }
    Some(unwind(number, track, format!("cancelled by {by}"), false))
}

/// Issue, retry, judge and close one open step.
fn within_step(
    view: &View<'_>,
    plan: &TrackPlan<'_>,
    step: &Step,
    track: &TrackState,
    place: Place,
    run: &StepRun,
) -> Option<Vec<Out>> {
    if let Some(out) = host_gone(view, plan, step, track, place, run) {
        return Some(out);
    }
    let settled = view.now >= view.fleet.settle_until || broken::is(Rule::NoSettling);
    let due = settled && view.now >= deadline(view, step, run) && !broken::is(Rule::NoDeadline);
    let open: Vec<TargetId> = if answered(view, plan, step, track, place, run) {
        Vec::new()
    } else {
        run.order.iter().copied().filter(|id| !is_over(view, step, track, place, run, *id)).collect()
    };
    if open.is_empty() {
        return Some(close(view, step, place, run));
    }
    if due {
        return Some(vec![Out::Own(Entry::DeadlinePassed { place })]);
    }
    let disruptive = is_disruptive(step, place);
    if disruptive && !settled {
        return None;
    }
    for id in slots(view, step, track, place, run, &open) {
        let subject = run.subjects.get(&id)?;
        if may_issue(view, step, track, place, id, subject) {
            if disruptive && let Some(out) = held_back(view, plan, step, track, place.track) {
                return Some(out);
            }
            return Some(issue(view, plan, step, track, place, run, id, subject));
        }
    }
    None
}

/// Until its first disruption the gates of a track are looked at again: between its start and that, a controller may have been
/// away for hours (G1, G5). From then on only the reboot itself is held back, when one was: what was done is taken back.
fn held_back(view: &View<'_>, plan: &TrackPlan<'_>, step: &Step, track: &TrackState, number: u32) -> Option<Vec<Out>> {
    let stops = |(step, run): (&Step, &StepRun)| {
        matches!(step.action, StepAction::Stop { .. }) && run.subjects.values().any(|s| s.command.is_some())
    };
    let begun = track.drains.any_commanded() || track.service.has_begun() || plan.steps.iter().zip(&track.steps).any(stops);
    if track.boot_end_issued() {
        return None;
    }
    let was_away = track.started_at.is_some_and(|at| at < view.fleet.controller_started_at);
    if begun {
        let ends_boot = matches!(step.action, StepAction::Reboot { .. });
        let why = told(if was_away && ends_boot { gates::shut(view, plan.target, true) } else { Vec::new() })?;
        return Some(unwind(number, track, format!("no controller was there, and now: {why}"), true));
    }
    let mut shut = gates::shut(view, plan.target, was_away);
    if plan.service.is_none() {
        shut.extend(view.guard().limit_groups(plan.target, Some(view.orchestration.id)));
    }
    let why = told(shut)?;
    if view.orchestration.request.rollout.is_none() {
        return Some(unwind(number, track, format!("not begun: {why}"), false));
    }
    Some(put_off(view, plan, track, number, why))
}

fn told(blockers: Vec<Blocker>) -> Option<String> {
    let why: Vec<String> = blockers.iter().map(|b| b.why.to_string()).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

/// Nothing was done yet: its turn comes again.
fn put_off(view: &View<'_>, plan: &TrackPlan<'_>, track: &TrackState, number: u32, reason: String) -> Vec<Out> {
    let it = view.orchestration;
    let open = track.current.map(|place| Out::Own(Entry::StepEnded { place }));
    let lock = FleetEntry::Unlocked { host: plan.target, orchestration: it.id, position: it.position };
    open.into_iter().chain([Out::Own(Entry::TrackPutOff { track: number, reason }), Out::Fleet(lock)]).collect()
}

/// Whether a probe is over: its answers show what they must, or the host bars us from asking again.
fn answered(view: &View<'_>, plan: &TrackPlan<'_>, step: &Step, track: &TrackState, place: Place, run: &StepRun) -> bool {
    let Some(recheck) = flow::recheck(step, place) else { return false };
    let barred = |code| is_barred(code) && is_of_no_use(track, code);
    let is_barred = |s: &SubjectRun| matches!(s.standing(), Standing::Failed(error, _) if barred(error.code));
    flow::is_satisfied(view, recheck, plan, step, place, track, run) || run.subjects.values().any(is_barred)
}

/// Whether another attempt would fail in the same way. A host that is on its way up may let nobody in yet.
fn is_of_no_use(track: &TrackState, code: ErrorCode) -> bool {
    is_hopeless(code) && !(is_barred(code) && track.boot_end_issued())
}

/// Whether nothing more will come of this subject in this round.
fn is_over(view: &View<'_>, step: &Step, track: &TrackState, place: Place, run: &StepRun, id: TargetId) -> bool {
    let Some(subject) = run.subjects.get(&id) else { return true };
    let is_probe = flow::recheck(step, place).is_some();
    match subject.standing() {
        Standing::TimedOut => true,
        _ if subject.timed_out => true,
        Standing::Idle | Standing::Open => false,
        // Never a second time, whatever was said of the first.
        Standing::Failed(..) if matches!(step.action, StepAction::Run { .. }) && !broken::is(Rule::RunRetried) => true,
        // Out of reach is not refused: asked again until the step's deadline.
        Standing::Failed(error, _) if error.code == ErrorCode::Unreachable => false,
        Standing::Failed(error, _) => match tries_max(view.config, step, place) {
            Some(max) => subject.tries >= max || is_of_no_use(track, error.code),
            None => false,
        },
        Standing::Done(_) => match step.action {
            StepAction::Inspect { attempts, .. } => flow::is_answered(track, place, subject, attempts),
            _ => !is_probe,
        },
    }
}

/// How many attempts one round has; probes are asked until the deadline, and a boot is ended once.
fn tries_max(config: &Config, step: &Step, place: Place) -> Option<u32> {
    match (&step.action, place.direction) {
        (StepAction::Run { .. }, _) if broken::is(Rule::RunRetried) => Some(config.attempts),
        (StepAction::Probe { .. }, _) => None,
        (StepAction::Reboot { .. } | StepAction::Shutdown { .. } | StepAction::Run { .. }, _) => Some(1),
        (
            StepAction::Stop { .. }
            | StepAction::Start
            | StepAction::StopAgain
            | StepAction::Observe { .. }
            | StepAction::Drain { .. }
            | StepAction::Undrain { .. },
            _,
        ) => Some(config.attempts),
        (StepAction::Inspect { attempts, .. }, _) => Some(*attempts),
        // It only looks: one that could not look is asked again.
        (StepAction::Watch { .. }, _) => Some(config.attempts),
        // What did not work is taken back, and that as often as it takes.
        (
            StepAction::BackUp { .. } | StepAction::Deploy { .. } | StepAction::Migrate { .. } | StepAction::Restart { .. },
            Direction::Do,
        ) => Some(1),
        (
            StepAction::BackUp { .. } | StepAction::Deploy { .. } | StepAction::Migrate { .. } | StepAction::Restart { .. },
            Direction::Undo,
        ) => Some(config.attempts),
    }
}

/// Which open subjects may be acted on now: by priority, so many at once (E24). Stops share the time of their step: children
/// of a lower priority are asked when their share begins, also while one of a higher priority does not stop.
fn slots(view: &View<'_>, step: &Step, track: &TrackState, place: Place, run: &StepRun, open: &[TargetId]) -> Vec<TargetId> {
    let mut out = Vec::new();
    for (class, begins) in classes(step, track, place, run) {
        let same: Vec<TargetId> = class.into_iter().filter(|id| open.contains(id)).collect();
        if same.is_empty() {
            continue;
        }
        if out.is_empty() || begins.is_some_and(|at| view.now >= at) || run.force {
            let limit = parallel(view.config, step, place).unwrap_or(same.len());
            out.extend(same.into_iter().take(limit));
        }
    }
    out
}

/// The subjects by priority, the highest first; for stops with the instant at which each class is asked at the latest.
fn classes(step: &Step, track: &TrackState, place: Place, run: &StepRun) -> Vec<(Vec<TargetId>, Option<Timestamp>)> {
    let stops = matches!(step.action, StepAction::Stop { .. } | StepAction::StopAgain) && place.direction == Direction::Do;
    let mut by_priority: BTreeMap<i64, Vec<TargetId>> = BTreeMap::new();
    for id in &run.order {
        let child = track.children.get(id);
        let priority = child.map(|c| if stops { c.stop_priority } else { c.start_priority }).unwrap_or_default();
        by_priority.entry(priority).or_default().push(*id);
    }
    let all = by_priority.len() as u64;
    let whole = run.deadline.since(run.started_at).0;
    let share = |n: usize| run.started_at + Millis(whole * n as u64 / all.max(1));
    by_priority.into_values().rev().enumerate().map(|(n, class)| (class, stops.then(|| share(n)))).collect()
}

fn may_issue(view: &View<'_>, step: &Step, track: &TrackState, place: Place, id: TargetId, subject: &SubjectRun) -> bool {
    let pause = || pause(view.config, step, track.health.is_good(id));
    match subject.standing() {
        Standing::Idle => true,
        // While it soaks, an answer that does not come counts as a bad one.
        Standing::Open => soaks(step, place) && view.now >= subject.issued_at + view.config.probe_limit,
        Standing::TimedOut => false,
        // A probe that did not show what it must, or a failed attempt: again after a pause.
        Standing::Done(_) => subject.last_ack.as_ref().is_some_and(|(at, _)| view.now >= *at + pause()),
        Standing::Failed(_, at) => view.now >= at + again_after(step, pause(), subject.fails),
    }
}

/// The pause after so many failed attempts: doubled each time, up to sixteen times.
fn longer(pause: Millis, tries: u32) -> Millis {
    Millis(pause.0.saturating_mul(1 << tries.saturating_sub(1).min(4)))
}

/// How long after so many failed attempts the next one comes. How a service is asked again is said in its plan.
fn again_after(step: &Step, pause: Millis, fails: u32) -> Millis {
    if matches!(step.action, StepAction::Inspect { .. }) { pause } else { longer(pause, fails) }
}

/// A soak is looked at so many times.
const SOAK_LOOKS: u64 = 12;

/// How long after an answer the next one is asked for. Where the last one was not good, a short hold is no reason to hurry.
fn pause(config: &Config, step: &Step, is_good: bool) -> Millis {
    if let StepAction::Inspect { pause, .. } = step.action {
        return pause;
    }
    let StepAction::Probe { recheck: recheck @ (Recheck::Restored | Recheck::Soak), hold, .. } = step.action else {
        return config.retry_pause;
    };
    let looks = if recheck == Recheck::Soak { hold.0 / SOAK_LOOKS } else { 0 };
    let pause = config.retry_pause.0.max(looks);
    Millis(if is_good { pause.min(hold.0.max(1)) } else { pause })
}

fn soaks(step: &Step, place: Place) -> bool {
    flow::recheck(step, place) == Some(Recheck::Soak)
}

#[expect(clippy::too_many_arguments, reason = "all of them are the place of one decision")]
fn issue(
    view: &View<'_>,
    plan: &TrackPlan<'_>,
    step: &Step,
    track: &TrackState,
    place: Place,
    run: &StepRun,
    subject_id: TargetId,
    subject: &SubjectRun,
) -> Vec<Out> {
    let it = view.orchestration;
    let Some((target, action)) = action_of(view, plan, step, track, place, run, subject_id) else {
        // Nothing is known that could be asked: fails closed at the deadline.
        return vec![Out::Own(Entry::DeadlinePassed { place })];
    };
    let attempt = if broken::is(Rule::AttemptNotCounted) { 1 } else { subject.attempt + 1 };
    let command = Command {
        id: CommandId::of(it.id, place, subject_id, attempt),
        target,
        subject: subject_id,
        orchestration: it.id,
        attempt,
        fence: Fence { epoch: view.fleet.epoch, position: run.position },
        issued_at: view.now,
        expires_at: view.now + view.config.command_expiry,
        action,
    };
    let mut out = Vec::new();
    if command.action.kind().ends_boot() {
        out.push(Out::Fleet(FleetEntry::BootEndCommanded { host: plan.target, command: command.id }));
    }
    out.push(Out::Own(Entry::CommandIssued { place, command: Box::new(command) }));
    out
}

/// What is asked, and of whom: the host, or ourselves for what is done where the engine runs.
fn action_of(
    view: &View<'_>,
    plan: &TrackPlan<'_>,
    step: &Step,
    track: &TrackState,
    place: Place,
    run: &StepRun,
    subject: TargetId,
) -> Option<(TargetId, Action)> {
    let child = || track.children.get(&subject);
    let ignore_inhibitors = view.orchestration.request.options.force.is_some();
    let left = || deadline(view, step, run).since(view.now);
    let start = || {
        let child = child()?;
        let frozen = child.before == model::ChildStatus::Frozen;
        Some(Action::StartChild { child: child.child.clone(), frozen, limit: view.config.start_limit })
    };
    let undrain = |drain: &Drain| {
        let drain = drain.filled(&plan.vars).ok()?;
        let Drained { prior, forced, .. } = track.drains.of_drain(&drain)?.clone();
        Some((performer(plan, drain.site()), Action::Undrain { drain, prior, limit: left(), forced }))
    };
    let on_host = |action: Action| Some((plan.target, action));
    match (&step.action, place.direction) {
        (StepAction::Probe { checks, .. }, direction) => {
            let site = if subject == TargetId::CONTROLLER { Site::Controller } else { Site::Target };
            let asked = checks.iter().filter(|c| c.site() == site && direction == Direction::Do);
            let checks = asked.map(|c| c.filled(&plan.vars)).collect::<Result<Vec<_>, _>>().ok()?;
            let action = if site == Site::Controller { Action::Check { checks } } else { Action::Probe { checks } };
            Some((performer(plan, site), action))
        }
        (StepAction::Observe { drain }, Direction::Do) => {
            let drain = drain.filled(&plan.vars).ok()?;
            Some((performer(plan, drain.site()), Action::Observe { drain }))
        }
        (StepAction::Drain { drain, .. }, Direction::Do) => {
            let drain = drain.filled(&plan.vars).ok()?;
            // What is there now must be known before anything is taken out of service (G7).
            track.drains.of_drain(&drain)?;
            Some((performer(plan, drain.site()), Action::Drain { drain, grace: left(), force: run.force }))
        }
        (StepAction::Drain { drain, .. }, Direction::Undo) | (StepAction::Undrain { drain }, Direction::Do) => undrain(drain),
        (StepAction::Start, Direction::Do) | (StepAction::Stop { .. }, Direction::Undo) => on_host(start()?),
        (StepAction::Stop { .. } | StepAction::StopAgain, Direction::Do) => {
            on_host(Action::StopChild { child: child()?.child.clone(), grace: left(), force: run.force })
        }
        (StepAction::Reboot { begin_within }, Direction::Do) => {
            on_host(Action::Reboot { expect_boot: track.boot_before?, begin_within: *begin_within, ignore_inhibitors })
        }
        (StepAction::Shutdown { begin_within, .. }, Direction::Do) => {
            on_host(Action::Shutdown { expect_boot: track.boot_before?, begin_within: *begin_within, ignore_inhibitors })
        }
        (StepAction::Run { run, limit }, Direction::Do) => {
            on_host(Action::Run { run: run.clone(), expect_boot: track.boot_before?, limit: *limit })
        }
        (
            StepAction::Start
            | StepAction::StopAgain
            | StepAction::Observe { .. }
            | StepAction::Undrain { .. }
            | StepAction::Reboot { .. }
            | StepAction::Shutdown { .. }
            | StepAction::Run { .. },
            Direction::Undo,
        ) => None,
        (
            StepAction::Inspect { .. }
            | StepAction::BackUp { .. }
            | StepAction::Deploy { .. }
            | StepAction::Migrate { .. }
            | StepAction::Restart { .. }
            | StepAction::Watch { .. },
            direction,
        ) => {
            let unit = plan.service.as_ref()?.unit.clone();
            on_host(Action::Service { unit, verb: verb_of(view, plan, step, track, direction)? })
        }
    }
}

/// What a step of a service asks for, forwards or backwards.
fn verb_of(view: &View<'_>, plan: &TrackPlan<'_>, step: &Step, track: &TrackState, direction: Direction) -> Option<ServiceVerb> {
    let key = view.orchestration.id;
    let it = &track.service;
    Some(match (&step.action, direction) {
        // Taken back, it is asked what it was asked before, but for what others have to do with it.
        (StepAction::Inspect { checks, .. }, Direction::Do) => ServiceVerb::Inspect { checks: checks.clone() },
        (StepAction::Inspect { .. }, Direction::Undo) => {
            let last = |s: &Step| match &s.action {
                StepAction::Inspect { moment: Moment::Final, checks, .. } => Some(checks.clone()),
                _ => None,
            };
            let checks = plan.steps.iter().find_map(last).unwrap_or_default();
            ServiceVerb::Inspect { checks: if it.was_up() { checks } else { Vec::new() } }
        }
        (StepAction::BackUp { .. }, Direction::Do) => ServiceVerb::BackUp { key },
        (StepAction::BackUp { grace }, Direction::Undo) => ServiceVerb::Restore { key, start: it.was_up(), grace: *grace },
        (StepAction::Deploy { deploy, limit }, Direction::Do) => {
            ServiceVerb::Deploy { key, deploy: deploy.clone(), limit: *limit }
        }
        (StepAction::Deploy { deploy, limit }, Direction::Undo) => {
            ServiceVerb::Revert { key, deploy: deploy.clone(), limit: *limit }
        }
        (StepAction::Migrate { migrate, limit }, Direction::Do) => {
            let expect_boot = view.fleet.hosts.get(&plan.target).and_then(|host| host.boot)?;
            ServiceVerb::Migrate { migrate: migrate.clone(), key, expect_boot, limit: *limit }
        }
        (StepAction::Restart { reload, grace }, Direction::Do) => {
            let looks = [it.before.as_ref(), it.seen.as_ref().map(|seen| &seen.unit)];
            let is_stale = it.before.is_none() || looks.into_iter().flatten().any(|unit| unit.needs_daemon_reload);
            let reload = services::reload_is_enough(*reload, it.tree_changed) && !is_stale && it.was_up();
            ServiceVerb::Restart { key: Some(key), expect: it.expect(), reload, grace: *grace }
        }
        (StepAction::Restart { grace, .. }, Direction::Undo) => ServiceVerb::Stop { grace: *grace },
        (StepAction::Watch { checks, hold, every }, Direction::Do) => {
            let after = it.after.as_ref()?;
            let (invocation, restarts) = (after.invocation, after.restarts);
            let hold = if broken::is(Rule::SoakSkipped) { Millis(0) } else { *hold };
            ServiceVerb::Watch { invocation, restarts, checks: checks.clone(), hold, every: *every }
        }
        _ => return None,
    })
}

/// Who performs what is done at this site.
fn performer(plan: &TrackPlan<'_>, site: Site) -> TargetId {
    match site {
        Site::Target => plan.target,
        Site::Controller => TargetId::CONTROLLER,
    }
}

/// The host went away while it was to go (ruling 1); for a shutdown, that and silence are the end (ruling 28).
fn host_gone(
    view: &View<'_>,
    plan: &TrackPlan<'_>,
    step: &Step,
    track: &TrackState,
    place: Place,
    run: &StepRun,
) -> Option<Vec<Out>> {
    let kind = match step.action {
        StepAction::Reboot { .. } => ActionKind::Reboot,
        StepAction::Shutdown { .. } => ActionKind::Shutdown,
        _ => return None,
    };
    let subject = run.subjects.get(&plan.target)?;
    if subject.status() != Some(AckStatus::ExecutionStarted) || subject.timed_out {
        return None;
    }
    // Begun, and then silent (ruling 28): what was silent before says nothing.
    let begun = subject.last_ack.as_ref().map_or(view.now, |(at, _)| *at);
    let silent_for = silence(view, plan.target).min(view.now.since(begun));
    if track.gone_at.is_none() {
        let broke = view.heard.host(plan.target).is_some_and(|h| h.gone_at.is_some());
        return (broke || silent_for > view.config.active_limit).then(|| vec![Out::Own(Entry::HostGone { track: place.track })]);
    }
    let StepAction::Shutdown { silence: enough, .. } = step.action else { return None };
    if kind != ActionKind::Shutdown || silent_for < enough || view.now < view.fleet.settle_until {
        return None;
    }
    Some(vec![
        Out::Fleet(FleetEntry::HostOff { host: plan.target, open_boot: track.open_boot()? }),
        Out::Own(Entry::StepEnded { place }),
    ])
}

/// How long the host has been silent, as far as this controller can tell.
pub(crate) fn silence(view: &View<'_>, host: TargetId) -> Millis {
    let last = view.heard.host(host).and_then(|h| h.last).unwrap_or(view.fleet.controller_started_at);
    view.now.since(last)
}

/// The step is over, unless what did not stop or drain is to be cut off first.
fn close(view: &View<'_>, step: &Step, place: Place, run: &StepRun) -> Vec<Out> {
    let force_limit = match step.action {
        StepAction::Stop { on_timeout: TimeoutPolicy::ForceStop, force_limit }
        | StepAction::Drain { on_timeout: DrainPolicy::Force, force_limit, .. } => force_limit,
        _ => return vec![Out::Own(Entry::StepEnded { place })],
    };
    let left = run.order.iter().any(|id| run.subjects.get(id).is_some_and(|s| !matches!(s.standing(), Standing::Done(_))));
    if left && !run.force && place.direction == Direction::Do {
        return vec![Out::Own(Entry::ForceStarted { place, deadline: view.now + force_limit })];
    }
    vec![Out::Own(Entry::StepEnded { place })]
}

/// When something may follow for one of these tracks that run, although nothing happens.
pub(crate) fn due_at<'a>(view: &View<'_>, running: impl IntoIterator<Item = &'a u32>) -> Option<Timestamp> {
    let it = view.orchestration;
    if it.ended.is_some() {
        return None;
    }
    // What the settling held back goes on then.
    let mut due: Vec<Timestamp> = vec![view.fleet.settle_until];
    for number in running {
        let Some(track) = it.tracks.get(*number as usize) else { continue };
        let index = *number as usize;
        let (Some((place, run)), Some(plan)) = (track.open(), it.track_plan(index)) else { continue };
        let Some(step) = plan.steps.get(place.step as usize) else { continue };
        due.push(deadline(view, step, run).max(view.fleet.settle_until));
        due.extend(classes(step, track, place, run).into_iter().filter_map(|(_, begins)| begins));
        for (id, subject) in &run.subjects {
            if soaks(step, place) && matches!(subject.standing(), Standing::Open) {
                due.push(subject.issued_at + view.config.probe_limit);
            }
            if let Some((at, _)) = &subject.last_ack {
                let pause = pause(view.config, step, track.health.is_good(*id));
                due.push(*at + pause);
                due.push(*at + again_after(step, pause, subject.fails));
            }
        }
        if let Some((since, _)) = flow::good_since(view, track, run) {
            due.push(since + flow::hold(view, step, place));
        }
        if let StepAction::Reboot { .. } | StepAction::Shutdown { .. } = step.action {
            let begun = run.subjects.get(&plan.target).and_then(|s| s.last_ack.as_ref()).map(|(at, _)| *at);
            let last = view.heard.host(plan.target).and_then(|h| h.last).unwrap_or(view.fleet.controller_started_at);
            let heard = begun.map_or(last, |begun| begun.max(last));
            due.push(heard + view.config.active_limit + Millis(1));
            if let StepAction::Shutdown { silence, .. } = step.action {
                due.push((heard + silence).max(view.fleet.settle_until));
            }
        }
    }
    due.into_iter().filter(|at| *at > view.now).min()
}
