//! From what the engine shows to the documents of the REST dialect. Nothing is decided here.

use engine::{HostView, Phase, View};
use model::{Plan, StepAction, Subjects};
use protocol::native::PublicKey;
use protocol::rest::hosts::{Alarm, Blocker, Child, Held, Host, HostState, PlannedStep};
use protocol::rest::orchestrations::{
    JournalLine, OrchestratedChild, Orchestration, OrchestrationSummary, Outcome, Step, StepState, StopStatus, Subject,
};
use protocol::rest::{
    ChildRestart, ChildSnapshot, RebootOrchestration, RebootPreCheck, RebootStatus, RestartStatus, RunningChild,
};

use super::{rollout_documents, service_documents};
use crate::control;

/// S0's pre-check; `None` when the children are not known: that is never "no children" (E11, E29).
pub(super) fn pre_check(host: &HostView, entitled: bool) -> Option<RebootPreCheck> {
    let report = host.report.as_ref()?;
    let children = report.children()?;
    let running: Vec<RunningChild> = children
        .iter()
        .filter(|child| child.status.is_up())
        .map(|child| RunningChild {
            id: child.child.id,
            child_name: child.child.name.clone(),
            child_type: child.child.kind,
            status: child.status,
        })
        .collect();
    Some(RebootPreCheck {
        has_running_children: !running.is_empty(),
        running_count: count(running.len()),
        running_children: running,
        total_children: count(children.len()),
        has_container_engine: entitled && !report.engines.is_empty(),
    })
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// S0's status document.
pub(super) fn status(view: &View) -> RebootOrchestration {
    RebootOrchestration {
        orchestration_id: view.id,
        parent_host_id: view.host,
        status: phase(view.phase),
        child_hosts_snapshot: view
            .children
            .iter()
            .map(|child| ChildSnapshot {
                id: child.child.id,
                child_name: child.child.name.clone(),
                child_type: child.child.kind,
                pre_reboot_status: child.pre_reboot_status,
            })
            .collect(),
        child_hosts_restart_status: view
            .children
            .iter()
            .map(|child| ChildRestart {
                id: child.child.id,
                child_name: child.child.name.clone(),
                restart_status: restart(child.restart),
                error: child.error.clone(),
            })
            .collect(),
        shutdown_timeout_seconds: view.shutdown_timeout.as_secs(),
        initiated_by: view.by.to_string(),
        initiated_at: view.initiated_at,
        shutdown_completed_at: view.shutdown_completed_at,
        reboot_issued_at: view.reboot_issued_at,
        agent_reconnected_at: view.agent_reconnected_at,
        restart_completed_at: view.restart_completed_at,
        error_message: view.error_message.clone(),
    }
}

pub(super) fn phase(phase: Phase) -> RebootStatus {
    match phase {
        Phase::ShuttingDown => RebootStatus::ShuttingDown,
        Phase::Rebooting => RebootStatus::Rebooting,
        Phase::PendingRestart => RebootStatus::PendingRestart,
        Phase::Restarting => RebootStatus::Restarting,
        Phase::Completed => RebootStatus::Completed,
        Phase::Failed => RebootStatus::Failed,
    }
}

fn restart(status: engine::RestartStatus) -> RestartStatus {
    match status {
        engine::RestartStatus::Pending => RestartStatus::Pending,
        engine::RestartStatus::Starting => RestartStatus::Starting,
        engine::RestartStatus::Running => RestartStatus::Running,
        engine::RestartStatus::Failed => RestartStatus::Failed,
        engine::RestartStatus::Skipped => RestartStatus::Skipped,
    }
}

pub(super) fn outcome(outcome: engine::Outcome) -> Outcome {
    match outcome {
        engine::Outcome::Completed => Outcome::Completed,
        engine::Outcome::Partial => Outcome::Partial,
        engine::Outcome::Failed => Outcome::Failed,
        engine::Outcome::Cancelled => Outcome::Cancelled,
        engine::Outcome::Skipped => Outcome::Skipped,
        engine::Outcome::NotNeeded => Outcome::NotNeeded,
        engine::Outcome::Unknown => Outcome::Unknown,
    }
}

/// A line of the list.
pub(super) fn summary(view: &View) -> OrchestrationSummary {
    OrchestrationSummary {
        id: view.id,
        host_id: view.host,
        host_name: view.host_name.clone(),
        operation: view.operation,
        status: phase(view.phase),
        outcome: view.outcome.map(outcome),
        error_message: view.error_message.clone(),
        initiated_by: view.by.to_string(),
        initiated_at: view.initiated_at,
        ended_at: view.ended_at,
        rollout: rollout_documents::progress(view),
        services: service_documents::progress(view),
    }
}

/// All of an orchestration.
pub(super) fn orchestration(view: &View, waiting_for: &[engine::Blocker], journal: &[control::JournalLine]) -> Orchestration {
    Orchestration {
        summary: summary(view),
        shutdown_timeout_seconds: view.shutdown_timeout.as_secs(),
        on_timeout: view.on_timeout.into(),
        strict: view.strict,
        forced: view.forced.clone(),
        proof: view.proof,
        boot_before: view.boot_before,
        boot_after: view.boot_after,
        unwinding: view.unwinding.clone(),
        waiting_for: waiting_for.iter().map(blocker).collect(),
        children: view.children.iter().map(orchestrated_child).collect(),
        steps: view.steps.iter().map(step).collect(),
        journal: journal.iter().map(line).collect(),
    }
}

pub(super) fn orchestrated_child(child: &engine::ChildView) -> OrchestratedChild {
    OrchestratedChild {
        id: child.child.id,
        name: child.child.name.clone(),
        kind: child.child.kind,
        pre_reboot_status: child.pre_reboot_status,
        stop_status: stop(child.stop),
        restart_status: restart(child.restart),
        error: child.error.clone(),
    }
}

fn stop(status: engine::StopStatus) -> StopStatus {
    match status {
        engine::StopStatus::Pending => StopStatus::Pending,
        engine::StopStatus::Stopping => StopStatus::Stopping,
        engine::StopStatus::Stopped => StopStatus::Stopped,
        engine::StopStatus::Forced => StopStatus::Forced,
        engine::StopStatus::TimedOut => StopStatus::TimedOut,
        engine::StopStatus::Failed => StopStatus::Failed,
    }
}

pub(super) fn step(step: &engine::StepView) -> Step {
    Step {
        index: step.index,
        title: step.title.clone(),
        state: match step.state {
            engine::StepState::Pending => StepState::Pending,
            engine::StepState::Running => StepState::Running,
            engine::StepState::Done => StepState::Done,
            engine::StepState::Undoing => StepState::Undoing,
            engine::StepState::Undone => StepState::Undone,
        },
        rounds: step.rounds,
        started_at: step.started_at,
        ended_at: step.ended_at,
        deadline: step.deadline,
        subjects: step
            .subjects
            .iter()
            .map(|subject| Subject {
                id: subject.id,
                name: subject.name.clone(),
                attempt: subject.attempt,
                status: subject.status.map(|status| status.to_string()),
                result: subject.result.clone(),
            })
            .collect(),
    }
}

/// A line of a journal.
pub(super) fn line(line: &control::JournalLine) -> JournalLine {
    JournalLine {
        position: line.position,
        at: line.at,
        by: line.by.clone(),
        action: line.entry.clone(),
        text: line.text.clone(),
        good: line.good,
    }
}

/// A host.
pub(super) fn host(host: &HostView, unread: Option<&control::Unread>) -> Host {
    let report = host.report.as_ref();
    let children = report.map(|report| &report.children);
    Host {
        id: host.id,
        name: host.name.clone(),
        route: host.route,
        address: host.address.clone(),
        unread: unread.map(|unread| unread.reason.clone()),
        held: host.held.as_ref().map(|mark| Held { by: mark.by.to_string(), reason: mark.reason.clone(), since: mark.since }),
        machine_id: host.machine_id.clone(),
        key_fingerprint: if host.public_key.is_empty() { String::new() } else { fingerprint(&host.public_key) },
        labels: host.labels.clone(),
        approved: host.approved,
        state: match host.state {
            engine::HostState::Unknown => HostState::Unknown,
            engine::HostState::Active => HostState::Active,
            engine::HostState::Silent => HostState::Silent,
            engine::HostState::Off => HostState::Off,
        },
        last_heard: host.last_heard,
        agent_version: report.map(|report| report.agent_version.clone()),
        boot: report.map(|report| report.boot),
        engines: report.map(|report| report.engines.clone()).unwrap_or_default(),
        children: children.and_then(|listing| listing.known()).map(|all| all.iter().map(child).collect()).unwrap_or_default(),
        children_unknown: match children {
            Some(model::Readable::Unknown(reason)) => Some(reason.clone()),
            Some(model::Readable::Known(_)) => None,
            None => Some("the host has not been heard since the controller started".to_owned()),
        },
        active_orchestration: host.active_orchestration,
        stranded: host.stranded.clone(),
        alarms: host
            .alarms
            .iter()
            .map(|alarm| Alarm {
                target: alarm.target,
                name: alarm.name.clone(),
                reason: alarm.reason.clone(),
                since: alarm.since,
                ended_at: alarm.ended_at,
            })
            .collect(),
    }
}

fn child(report: &model::ChildReport) -> Child {
    Child {
        id: report.child.id,
        name: report.child.name.clone(),
        kind: report.child.kind,
        status: report.status,
        autostart: report.autostart,
    }
}

/// What a person compares. A key that cannot be read has none, so nobody can approve it.
pub(super) fn fingerprint(public_key: &str) -> String {
    public_key.parse::<PublicKey>().map(|key| key.fingerprint()).unwrap_or_else(|_| "unreadable key".to_owned())
}

/// A blocker: its own members beside the words for people.
pub(super) fn blocker(blocker: &engine::Blocker) -> Blocker {
    let mut details = match serde_json::to_value(&blocker.why) {
        Ok(serde_json::Value::Object(members)) => members,
        _ => serde_json::Map::new(),
    };
    let kind = details.remove("blocker").and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default();
    Blocker {
        blocker: kind,
        message: blocker.why.to_string(),
        since: blocker.since,
        until: blocker.until,
        forceable: blocker.forceable,
        details,
    }
}

/// A plan before it is accepted, with the names of those it would act on by what is known now.
pub(super) fn planned_steps(plan: &Plan, host: &HostView) -> Vec<PlannedStep> {
    let children = host.report.as_ref().and_then(|r| r.children()).unwrap_or_default();
    let names = |up: bool| {
        let fits = children.iter().filter(|c| c.status.is_up() == up && (up || c.autostart));
        fits.map(|c| c.child.name.clone()).collect::<Vec<_>>()
    };
    let tracks = plan.waves.iter().flat_map(|wave| &wave.tracks).map(|track| plan.steps(track));
    let steps = tracks.flat_map(|steps| steps.iter().zip(engine::titles(steps, model::Direction::Do)));
    steps
        .map(|(step, title)| PlannedStep {
            title,
            subjects: match step.subjects {
                Subjects::Target | Subjects::Service => vec![host.name.clone()],
                Subjects::RunningChildren | Subjects::ChildrenUpBefore => names(true),
                Subjects::ChildrenStartedByBoot => names(false),
            },
            limit_seconds: step.limit.as_secs(),
            irreversible: matches!(step.action, StepAction::Reboot { .. } | StepAction::Shutdown { .. } | StepAction::Run { .. }),
        })
        .collect()
}
