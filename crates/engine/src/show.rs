//! From state to what people are shown; the public phase is computed here (S0-11).

use model::{
    AckStatus, ByHand, ChildStatus, Direction, Moment, Observed, Place, Proof, Ran, Recheck, Reload, Step, StepAction, TargetId,
    Timestamp,
};

use crate::child::ChildState;
use crate::config::Config;
use crate::fleet::{Fleet, Mark};
use crate::flow;
use crate::heard::Heard;
use crate::journal::Outcome;
use crate::orchestration::Orchestration;
use crate::track::{Standing, StepRun, TrackPlan, TrackState};
use crate::view::{
    Alarm, ChildView, Counts, HostState, HostView, MarkView, Phase, RestartStatus, ServiceView, StepState, StepView, StopStatus,
    SubjectView, TrackPhase, TrackView, View,
};

/// One orchestration. Steps, children and the public phase are those of its one track; a rollout has [`track`] for each.
pub(crate) fn orchestration(it: &Orchestration) -> View {
    let fresh = TrackState::new(0);
    let one = it.tracks.len() == 1;
    let track = it.tracks.first().filter(|_| one).unwrap_or(&fresh);
    let steps = it.track_plan(0).filter(|_| one).map(|t| t.steps).unwrap_or_default();
    let find = |is: fn(&StepAction) -> bool| steps.iter().position(|s| is(&s.action));
    let ended_of = |index: Option<usize>| index.and_then(|i| track.steps.get(i)).and_then(|r| r.ended_at);
    let down = find(|a| matches!(a, StepAction::Probe { recheck: Recheck::ChildrenDown, .. }));
    let ended = it.ended.as_ref();
    let well = ended.filter(|e| matches!(e.outcome, Outcome::Completed | Outcome::Partial | Outcome::NotNeeded));
    let wave = it.wave_now();
    View {
        id: it.id,
        host: it.request.target(),
        host_name: it.name(),
        planner: it.plan.planner,
        operation: it.request.operation,
        by: it.request.by.clone(),
        shutdown_timeout: it.request.options.shutdown_timeout,
        on_timeout: it.request.options.on_timeout,
        strict: it.request.options.strict,
        forced: it.request.options.force.as_ref().map(|f| f.reason.clone()),
        phase: phase(it, track),
        outcome: ended.map(|e| e.outcome),
        error_message: ended.and_then(|e| e.error_message.clone()),
        proof: it.track_plan(0).zip(it.tracks.first()).map_or(Proof::BootId, |(plan, track)| proof(&plan, track)),
        initiated_at: it.accepted_at,
        shutdown_completed_at: ended_of(down).filter(|_| track.boot_end_issued() || track.unwinding.is_none()),
        reboot_issued_at: track.boot_end_issued_at,
        agent_reconnected_at: track.boot_proven_at,
        restart_completed_at: well.map(|e| e.at),
        ended_at: ended.map(|e| e.at),
        boot_before: track.boot_before,
        boot_after: track.boot_after,
        unwinding: track.unwinding.clone(),
        children: if one { children(it, track, steps) } else { Vec::new() },
        steps: (0..steps.len()).filter_map(|i| step_view(it, 0, track, steps, i)).collect(),
        rollout: it.request.rollout.clone(),
        counts: counts(it),
        wave: wave.unwrap_or_else(|| number(it.plan.waves.len()).saturating_sub(1)),
        waves: number(it.plan.waves.len()),
        paused: it.paused.as_ref().map(mark),
        waits_for_approval: wave.filter(|wave| ended.is_none() && it.wants_approval(*wave)),
        failures: it.failures,
        budget: it.budget().min(number(it.tracks.len())),
        waits_until: (it.running.is_empty() && !it.waiting.is_empty()).then(|| it.wait_until()),
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn counts(it: &Orchestration) -> Counts {
    let over = |outcome| it.over.get(&outcome).copied().unwrap_or_default();
    Counts {
        total: number(it.tracks.len()),
        waiting: number(it.waiting.len()),
        running: number(it.running.len()),
        completed: over(Outcome::Completed),
        partial: over(Outcome::Partial),
        failed: over(Outcome::Failed),
        cancelled: over(Outcome::Cancelled),
        skipped: over(Outcome::Skipped),
        not_needed: over(Outcome::NotNeeded),
        unknown: over(Outcome::Unknown),
    }
}

/// A person's word, with who gave it.
pub(crate) fn mark(mark: &Mark) -> MarkView {
    MarkView { by: mark.by.clone(), reason: mark.reason.clone(), since: mark.since }
}

/// One track.
pub(crate) fn track(it: &Orchestration, index: usize) -> Option<TrackView> {
    let track = it.tracks.get(index)?;
    let plan = it.track_plan(index)?;
    let (wave, _) = it.wave_of(index)?;
    let ended = track.ended.as_ref();
    let begun = |i: &usize| [&track.steps, &track.undo].iter().any(|l| l.get(*i).is_some_and(|r| r.first_started_at.is_some()));
    let shown = (0..plan.steps.len()).filter(begun);
    Some(TrackView {
        index: number(index),
        wave: number(wave),
        target: plan.target,
        name: plan.name.clone(),
        route: plan.route,
        proof: proof(&plan, track),
        phase: match (ended, track.started_at) {
            (Some(_), _) => TrackPhase::Ended,
            (None, None) => TrackPhase::Waiting,
            (None, Some(_)) if track.unwinding.is_some() => TrackPhase::Unwinding,
            (None, Some(_)) => TrackPhase::Running,
        },
        outcome: ended.map(|e| e.0),
        reason: ended.and_then(|e| e.1.clone()).or_else(|| track.unwinding.clone().filter(|_| ended.is_none())),
        started_at: track.started_at,
        ended_at: ended.map(|e| e.2),
        boot_before: track.boot_before,
        boot_after: track.boot_after,
        reboot_issued_at: track.boot_end_issued_at,
        reboot_proven_at: track.boot_proven_at,
        step_count: number(plan.steps.len()),
        step: track.current.map(|place| place.step),
        steps: shown.filter_map(|i| step_view(it, index, track, plan.steps, i)).collect(),
        children: if track.started_at.is_some() { children(it, track, plan.steps) } else { Vec::new() },
        ran: ran(track, plan.steps),
        service: service(it, &plan, track),
    })
}

/// What the outcome of a track rests on. That a reload took effect nobody but the service can say.
fn proof(plan: &TrackPlan<'_>, track: &TrackState) -> Proof {
    match &plan.service {
        None => plan.route.proof(),
        Some(_) if track.service.reloaded => Proof::DeviceWord,
        Some(_) => Proof::InvocationId,
    }
}

/// What became of the service of a track.
fn service(orchestration: &Orchestration, plan: &TrackPlan<'_>, track: &TrackState) -> Option<ServiceView> {
    let of = plan.service.as_deref()?;
    let it = &track.service;
    let undone = track.undo.iter().any(|run| run.first_started_at.is_some());
    let over = track.ended.is_some();
    Some(ServiceView {
        id: of.id,
        name: of.name.clone(),
        unit: of.unit.clone(),
        was_up: it.before.as_ref().map(model::UnitSeen::is_up),
        invocation_before: it.before.as_ref().and_then(|unit| unit.invocation),
        invocation_after: it.after.as_ref().and_then(|unit| unit.invocation),
        reloaded: it.after.is_some() && it.reloaded,
        deployed: it.deploy_issued && it.tree_changed,
        migrated: it.migrate_issued,
        rolled_back: (undone && over).then(|| flow::rollback_troubles(plan, track).is_empty()),
        attempt: attempt(plan, track),
        soaks_until: soaks_until(plan, track),
        seen: it.seen.clone(),
        by_hand: by_hand(orchestration, plan, track),
    })
}

fn by_hand(orchestration: &Orchestration, plan: &TrackPlan<'_>, track: &TrackState) -> Option<ByHand> {
    let it = &track.service;
    let well = track.ended.as_ref().is_none_or(|ended| matches!(ended.0, Outcome::Completed | Outcome::NotNeeded));
    if well || !it.has_begun() {
        return None;
    }
    let deploy = |step: &Step| match &step.action {
        StepAction::Deploy { deploy, .. } => Some((orchestration.id, deploy.clone())),
        _ => None,
    };
    let unit_file = it.before.as_ref().map(|unit| unit.fragment.clone()).filter(|file| !file.is_empty());
    Some(ByHand {
        unit: plan.service.as_deref()?.unit.clone(),
        unit_file,
        deploy: plan.steps.iter().find_map(deploy).filter(|_| it.deploy_issued),
    })
}

fn attempt(plan: &TrackPlan<'_>, track: &TrackState) -> Option<(u32, u32)> {
    let (place, run) = track.open()?;
    match plan.steps.get(place.step as usize)?.action {
        StepAction::Inspect { attempts, .. } => Some((run.subjects.values().next()?.tries, attempts)),
        _ => None,
    }
}

fn soaks_until(plan: &TrackPlan<'_>, track: &TrackState) -> Option<Timestamp> {
    let (place, run) = track.open()?;
    match plan.steps.get(place.step as usize)?.action {
        StepAction::Watch { hold, .. } => Some(run.started_at + hold),
        _ => None,
    }
}

/// How the command of a track ended; also when that was said too late.
fn ran(track: &TrackState, steps: &[Step]) -> Option<Ran> {
    let at = steps.iter().position(|s| matches!(s.action, StepAction::Run { .. }))?;
    let subject = track.steps.get(at)?.subjects.values().next()?;
    let told = subject.late.as_ref().or(subject.last_ack.as_ref().map(|(_, ack)| ack))?;
    match &told.observed {
        Some(Observed::Ran(ran)) => Some(ran.clone()),
        _ => None,
    }
}

fn phase(it: &Orchestration, track: &TrackState) -> Phase {
    match it.ended.as_ref().map(|e| e.outcome) {
        Some(Outcome::Completed | Outcome::Partial | Outcome::NotNeeded) => Phase::Completed,
        Some(Outcome::Failed | Outcome::Cancelled | Outcome::Skipped | Outcome::Unknown) => Phase::Failed,
        None if track.boot_proven_at.is_some() => Phase::Restarting,
        None if track.gone_at.is_some() => Phase::PendingRestart,
        None if track.boot_end_issued() => Phase::Rebooting,
        None => Phase::ShuttingDown,
    }
}

/// The children that were up, at first the accepted report's, then the admission probe's and late ones.
fn children(it: &Orchestration, track: &TrackState, steps: &[Step]) -> Vec<ChildView> {
    if track.children.is_empty() {
        let report = it.report.as_ref().and_then(|r| r.children());
        let up = report.unwrap_or_default().iter().filter(|c| c.status.is_up());
        let untouched = |c: &model::ChildReport| ChildView {
            child: c.child.clone(),
            pre_reboot_status: c.status,
            stop: StopStatus::Pending,
            restart: if it.ended.is_some() { RestartStatus::Skipped } else { RestartStatus::Pending },
            error: None,
        };
        return up.map(untouched).collect();
    }
    let place = |is: fn(&StepAction) -> bool, direction| {
        let step = steps.iter().position(|s| is(&s.action)).and_then(|i| u32::try_from(i).ok());
        step.map(|step| Place { track: 0, step, direction })
    };
    let stop = place(|a| matches!(a, StepAction::Stop { .. }), Direction::Do).and_then(|p| track.run(p));
    let start = place(|a| matches!(a, StepAction::Start), Direction::Do).and_then(|p| track.run(p));
    let undo = place(|a| matches!(a, StepAction::Stop { .. }), Direction::Undo).and_then(|p| track.run(p));
    let mut list: Vec<ChildView> = track
        .children
        .values()
        .filter(|c| c.before.is_up())
        .map(|c| {
            let begun = if track.unwinding.is_some() { undo } else { start };
            let (restart, start_error) = restart_of(it, track, c, begun);
            let (stop, stop_error) = stop_of(c, stop);
            let error = if restart == RestartStatus::Running { stop_error } else { start_error.or(stop_error) };
            ChildView { child: c.child.clone(), pre_reboot_status: c.before, stop, restart, error }
        })
        .collect();
    list.sort_by(|a, b| a.child.name.cmp(&b.child.name));
    list
}

fn stop_of(child: &ChildState, run: Option<&StepRun>) -> (StopStatus, Option<String>) {
    let Some(subject) = run.and_then(|r| r.subjects.get(&child.child.id)) else { return (StopStatus::Pending, None) };
    match subject.standing() {
        Standing::Idle => (StopStatus::Pending, None),
        Standing::Open => (StopStatus::Stopping, None),
        Standing::Done(_) if child.forced => (StopStatus::Forced, None),
        Standing::Done(_) => (StopStatus::Stopped, None),
        Standing::Failed(..) => (StopStatus::Failed, subject.failure().map(|f| format!("did not stop: {f}"))),
        Standing::TimedOut => (StopStatus::TimedOut, subject.failure().map(|f| format!("did not stop: {f}"))),
    }
}

fn restart_of(
    it: &Orchestration,
    track: &TrackState,
    child: &ChildState,
    run: Option<&StepRun>,
) -> (RestartStatus, Option<String>) {
    let id = child.child.id;
    let subject = run.and_then(|r| r.subjects.get(&id));
    let after = track.boot_proven_at.or_else(|| run.and_then(|r| r.first_started_at));
    let over = it.ended.is_some();
    let latest = track.report.as_ref().filter(|(at, _)| after.is_some_and(|a| *at >= a)).map(|(_, r)| r);
    let seen = if over { track.known() } else { latest }.and_then(|r| r.child(id)).map(|c| c.status);
    if over && seen.is_some_and(|s| s == child.before) {
        return (RestartStatus::Running, None);
    }
    match subject.map(|s| s.standing()) {
        Some(Standing::Done(_)) if !over || seen.is_some_and(ChildStatus::is_up) => (RestartStatus::Running, None),
        Some(Standing::Done(_)) if track.known().is_none() => {
            (RestartStatus::Failed, Some("started; nobody has seen it since".to_owned()))
        }
        Some(Standing::Done(_)) => {
            let now = seen.map_or("missing".to_owned(), |s| s.to_string());
            (RestartStatus::Failed, Some(format!("started, then {now}")))
        }
        Some(Standing::Open) if !over => (RestartStatus::Starting, None),
        Some(Standing::Idle) | None if !over => (RestartStatus::Pending, None),
        // Never stopped and never rebooted away: it runs on.
        None if !child.stop_asked && !track.boot_end_issued() => (RestartStatus::Skipped, None),
        Some(Standing::Idle) | None => (RestartStatus::Skipped, Some("not tried: the host did not get that far".to_owned())),
        Some(Standing::Open | Standing::Failed(..) | Standing::TimedOut) => {
            (RestartStatus::Failed, child.start_failed.clone().or_else(|| subject.and_then(|s| s.failure())))
        }
    }
}

fn step_view(it: &Orchestration, of: usize, track: &TrackState, steps: &[Step], index: usize) -> Option<StepView> {
    let step = steps.get(index)?;
    let place = Place { track: number(of), step: number(index), direction: Direction::Do };
    let (forth, back) = (track.steps.get(index), track.undo.get(index));
    let is_open = |direction| track.current == Some(Place { direction, ..place });
    let begun = |run: Option<&StepRun>| run.is_some_and(|r| r.first_started_at.is_some());
    let state = if is_open(Direction::Undo) {
        StepState::Undoing
    } else if begun(back) {
        StepState::Undone
    } else if is_open(Direction::Do) {
        StepState::Running
    } else if begun(forth) {
        StepState::Done
    } else {
        StepState::Pending
    };
    let run = if begun(back) { back } else { forth }.cloned().unwrap_or_default();
    let name = |id: TargetId| {
        if id == TargetId::CONTROLLER {
            return "the controller".to_owned();
        }
        let is_it = |plan: &TrackPlan<'_>| plan.target == id || plan.service.as_ref().is_some_and(|service| service.id == id);
        if let Some(plan) = it.track_plan(of).filter(is_it) {
            return plan.name.clone();
        }
        track.children.get(&id).map_or_else(|| id.to_string(), |c| c.child.name.clone())
    };
    Some(StepView {
        index: place.step,
        title: title(steps, step, if begun(back) { Direction::Undo } else { Direction::Do }),
        state,
        rounds: run.round,
        started_at: run.first_started_at,
        ended_at: run.ended_at,
        deadline: matches!(state, StepState::Running | StepState::Undoing).then_some(run.deadline),
        subjects: run
            .order
            .iter()
            .filter_map(|id| {
                let s = run.subjects.get(id)?;
                let result = match s.standing() {
                    Standing::Done(ack) if ack.already => Some("already so".to_owned()),
                    Standing::Done(ack) => ack.observed.as_ref().and_then(found_wrong).or_else(|| Some("done".to_owned())),
                    // What a drain waits for is named while it does (pain 11).
                    _ => s.failure().or_else(|| s.last_ack.as_ref()?.1.observed.as_ref().and_then(found)),
                };
                Some(SubjectView { id: *id, name: name(*id), attempt: s.attempt, status: s.status(), result })
            })
            .collect(),
    })
}

/// The steps of a track in words, as a dry run and the journal both tell them; taken back, what is done then.
pub fn titles(steps: &[Step], direction: Direction) -> Vec<String> {
    steps.iter().map(|step| title(steps, step, direction)).collect()
}

/// One of them.
fn title(steps: &[Step], step: &Step, direction: Direction) -> String {
    if let (Direction::Undo, Some(title)) = (direction, undone(step)) {
        return title.to_owned();
    }
    let deploys = || steps.iter().any(|step| matches!(step.action, StepAction::Deploy { .. }));
    match &step.action {
        StepAction::Deploy { deploy, .. } => format!("deploy {} to {}", deploy.source, deploy.destination),
        StepAction::Migrate { migrate, .. } => format!("run the migration: {migrate}"),
        StepAction::Watch { hold, .. } => format!("watch the service for {hold}"),
        // A new tree needs more than a reload of the configuration (S3-16).
        StepAction::Restart { reload: Reload::Config, .. } if deploys() => {
            "restart the service; where the tree is the same, reload it".to_owned()
        }
        _ => plain(step).to_owned(),
    }
}

fn undone(step: &Step) -> Option<&'static str> {
    Some(match step.action {
        StepAction::Restart { .. } => "stop the service",
        StepAction::Deploy { .. } => "put the old tree back",
        StepAction::BackUp { .. } => "put the unit file back and start the service",
        StepAction::Inspect { .. } => "check that the service is as it was",
        _ => return None,
    })
}

fn plain(step: &Step) -> &'static str {
    match step.action {
        StepAction::Probe { recheck: Recheck::Admission, .. } => "check the host",
        StepAction::Probe { recheck: Recheck::ChildrenDown, .. } => "check that no child is up",
        StepAction::Probe { recheck: Recheck::Restored, .. } => "check that all is as before",
        StepAction::Probe { recheck: Recheck::Asked, .. } => "ask whether it is well",
        StepAction::Probe { recheck: Recheck::Soak, .. } => "watch it",
        StepAction::Observe { .. } => "see what is in service",
        StepAction::Drain { .. } => "take it out of service",
        StepAction::Undrain { .. } => "put it back into service",
        StepAction::Stop { .. } => "stop running children",
        StepAction::Start => "start what ran before",
        StepAction::StopAgain => "stop what the boot started and was down",
        StepAction::Reboot { .. } => "reboot the host",
        StepAction::Shutdown { .. } => "shut the host down",
        StepAction::Run { .. } => "run the command",
        StepAction::Inspect { moment: Moment::Before, .. } => "check the service and what it depends on",
        StepAction::Inspect { moment: Moment::After, .. } => "check the service after the restart",
        StepAction::Inspect { moment: Moment::Final, .. } => "check the service at the end of the soak",
        StepAction::BackUp { .. } => "back up the unit file",
        StepAction::Deploy { .. } => "deploy the new tree",
        StepAction::Migrate { .. } => "run the migration",
        StepAction::Restart { reload: Reload::Never, .. } => "restart the service",
        StepAction::Restart { .. } => "reload the service, else restart it",
        StepAction::Watch { .. } => "watch the service while it soaks",
    }
}

/// One host.
pub(crate) fn host(config: &Config, fleet: &Fleet, heard: &Heard, id: TargetId, now: Timestamp) -> Option<HostView> {
    let known = fleet.hosts.get(&id)?;
    let live = heard.host(id);
    let last_heard = live.and_then(|h| h.last);
    let state = match last_heard {
        _ if known.off.is_some() => HostState::Off,
        Some(last) if now.since(last) <= config.active_limit => HostState::Active,
        Some(_) => HostState::Silent,
        None if known.silent_since.is_some() => HostState::Silent,
        None => HostState::Unknown,
    };
    let alarms = fleet.stranded.iter().filter(|(_, s)| s.host == id).map(|(target, s)| Alarm {
        target: *target,
        name: s.name.clone(),
        reason: s.reason.clone(),
        since: s.since,
        ended_at: s.ended_at,
    });
    Some(HostView {
        id,
        name: known.name.clone(),
        machine_id: known.machine_id.clone(),
        public_key: known.public_key.clone(),
        labels: known.labels.clone(),
        approved: known.approved,
        route: known.route,
        address: known.address.clone(),
        adopted_by: known.adopted_by.clone(),
        held: known.held.as_ref().map(mark),
        unfinished: fleet.stranded_now(id).and_then(|s| s.unfinished.clone()),
        state,
        last_heard,
        report: live.and_then(|h| h.report.clone()),
        active_orchestration: fleet.locks.get(&id).map(|l| l.orchestration),
        stranded: fleet.stranded_now(id).map(|s| s.reason.clone()),
        alarms: alarms.collect(),
    })
}

/// Whether the last word of a performer is final, in words for the story.
pub(crate) fn word(status: AckStatus) -> &'static str {
    match status {
        AckStatus::Accepted => "accepted",
        AckStatus::ExecutionStarted => "began",
        AckStatus::Completed => "completed",
        AckStatus::Failed => "failed",
    }
}

/// What was seen that keeps a step from going on, in words.
pub(crate) fn found(observed: &Observed) -> Option<String> {
    match observed {
        Observed::Items(items) => {
            let names: Vec<&str> = items.iter().filter(|i| i.in_service).map(|i| i.name.as_str()).collect();
            (!names.is_empty()).then(|| format!("in service: {}", names.join(", ")))
        }
        other => found_wrong(other),
    }
}

/// Checks that did not pass, or how a command ended, in words.
fn found_wrong(observed: &Observed) -> Option<String> {
    if let Observed::Ran(ran) = observed {
        return Some(ran.to_string());
    }
    if let Observed::Service(seen) = observed {
        let wrong = seen.wrong();
        let detail = (!seen.detail.is_empty()).then(|| seen.detail.clone());
        return if wrong.is_empty() { detail } else { Some(format!("not healthy: {}", wrong.join(", "))) };
    }
    let Observed::Checks(results) = observed else { return None };
    let failed: Vec<String> = results.iter().filter(|r| !r.passed).map(|r| format!("{} ({})", r.name, r.detail)).collect();
    (!failed.is_empty()).then(|| format!("not passed: {}", failed.join(", ")))
}
