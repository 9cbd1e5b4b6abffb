//! Documents for the tests of what people are shown.

use model::{ChildKind, ChildStatus, Operation, OrchestrationId, Proof, TargetId, Timestamp};
use protocol::rest::access::{AuditEntry, AuditPage, TokenInfo, TokenList};
use protocol::rest::hosts::{Alarm, Blocker, Child, Explanation, Host, HostState, PlannedStep};
use protocol::rest::orchestrations::{
    JournalLine, OnTimeout, OrchestratedChild, Orchestration, OrchestrationSummary, Outcome, Step, StepState, StopStatus, Subject,
};
use protocol::rest::{RebootPreCheck, RebootStatus, RestartStatus, RunningChild};
use uuid::Uuid;

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_736_937_000_000 + seconds * 1000)
}

fn target(number: u128) -> TargetId {
    TargetId(Uuid::from_u128(number))
}

fn child(number: u128, name: &str, status: ChildStatus) -> Child {
    Child { id: target(number), name: name.to_owned(), kind: ChildKind::Lxd, status, autostart: true }
}

pub(crate) fn host() -> Host {
    Host {
        id: target(1),
        name: "shop-01".to_owned(),
        machine_id: "m1".to_owned(),
        route: model::Route::Agent,
        address: None,
        unread: None,
        held: None,
        key_fingerprint: "0011-2233".to_owned(),
        labels: [("role".to_owned(), "web".to_owned()), ("site".to_owned(), "north".to_owned())].into(),
        approved: true,
        state: HostState::Active,
        last_heard: Some(at(-3)),
        agent_version: Some("0.1.0".to_owned()),
        boot: None,
        engines: [ChildKind::Lxd].into(),
        children: vec![
            child(11, "web-01", ChildStatus::Running),
            child(12, "db-01", ChildStatus::Frozen),
            child(13, "old", ChildStatus::Stopped),
        ],
        children_unknown: None,
        active_orchestration: None,
        stranded: None,
        alarms: vec![Alarm {
            target: target(13),
            name: "old".to_owned(),
            reason: "could not be started".to_owned(),
            since: at(-600),
            ended_at: Some(at(-300)),
        }],
    }
}

pub(crate) fn pre_check() -> RebootPreCheck {
    let running = |child: &Child| RunningChild {
        id: child.id,
        child_name: child.name.clone(),
        child_type: child.kind,
        status: child.status,
    };
    let children = host().children;
    RebootPreCheck {
        has_running_children: true,
        running_children: children.iter().filter(|child| child.status.is_up()).map(running).collect(),
        running_count: 2,
        total_children: 3,
        has_container_engine: true,
    }
}

pub(crate) fn blockers() -> Vec<Blocker> {
    let blocker = |kind: &str, message: &str, until, forceable| Blocker {
        blocker: kind.to_owned(),
        message: message.to_owned(),
        since: None,
        until,
        forceable,
        details: serde_json::Map::new(),
    };
    vec![
        blocker("device_rate_limit", "the device's own rate limit is reached; it cannot be forced", Some(at(300)), false),
        blocker("inhibited", "shutdown is inhibited by apt: upgrading", None, true),
    ]
}

pub(crate) fn explanation(operation: Operation, blockers: Vec<Blocker>) -> Explanation {
    let step = |title: &str, subjects: &[&str], limit_seconds, irreversible| PlannedStep {
        title: title.to_owned(),
        subjects: subjects.iter().map(|s| (*s).to_owned()).collect(),
        limit_seconds,
        irreversible,
    };
    let steps = if operation == Operation::Shutdown {
        vec![step("check the host", &["shop-01"], 60, false), step("shut the host down", &["shop-01"], 960, true)]
    } else {
        vec![
            step("check the host", &["shop-01"], 60, false),
            step("stop running children", &["web", "db"], 120, false),
            step("reboot the host", &["shop-01"], 960, true),
            step("start what ran before", &["web", "db"], 120, false),
            step("stop what the boot started and was down", &[], 120, false),
            step("check that all is as before", &["shop-01"], 120, false),
        ]
    };
    let would_start = blockers.is_empty();
    Explanation {
        host_id: target(1),
        host_name: "shop-01".to_owned(),
        operation,
        would_start,
        blockers,
        steps,
        rollouts_use: Default::default(),
    }
}

pub(crate) fn orchestration(outcome: Option<Outcome>) -> Orchestration {
    let over = outcome.is_some();
    let restarted = |number: u128, name: &str, before, restart_status, error: Option<&str>| OrchestratedChild {
        id: target(number),
        name: name.to_owned(),
        kind: ChildKind::Lxd,
        pre_reboot_status: before,
        stop_status: if over { StopStatus::Stopped } else { StopStatus::Stopping },
        restart_status,
        error: error.map(str::to_owned),
    };
    let (first, second, error) = match outcome {
        None => (RestartStatus::Pending, RestartStatus::Pending, None),
        Some(Outcome::Partial) => (RestartStatus::Running, RestartStatus::Failed, Some("not up within 120 s")),
        Some(_) => (RestartStatus::Running, RestartStatus::Running, None),
    };
    let subject = |name: &str, attempt, status: &str, result: Option<&str>| Subject {
        id: target(11),
        name: name.to_owned(),
        attempt,
        status: Some(status.to_owned()),
        result: result.map(str::to_owned),
    };
    let step = |index, title: &str, state, deadline, subjects| Step {
        index,
        title: title.to_owned(),
        state,
        rounds: 1,
        started_at: Some(at(0)),
        ended_at: None,
        deadline,
        subjects,
    };
    Orchestration {
        summary: OrchestrationSummary {
            id: OrchestrationId(Uuid::from_u128(99)),
            host_id: target(1),
            host_name: "shop-01".to_owned(),
            operation: Operation::OrchestratedReboot,
            status: if over { RebootStatus::Completed } else { RebootStatus::ShuttingDown },
            outcome,
            error_message: error.map(|error| format!("db-01: {error}")),
            initiated_by: "admin".to_owned(),
            initiated_at: at(0),
            ended_at: over.then(|| at(90)),
            rollout: None,
            services: None,
        },
        shutdown_timeout_seconds: 120,
        on_timeout: OnTimeout::Proceed,
        strict: false,
        forced: None,
        proof: Proof::BootId,
        boot_before: over.then(|| "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11/3".parse().unwrap()),
        boot_after: over.then(|| "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a12/3".parse().unwrap()),
        unwinding: None,
        waiting_for: if over { Vec::new() } else { blockers() },
        children: vec![
            restarted(11, "web-01", ChildStatus::Running, first, None),
            restarted(12, "db-01", ChildStatus::Frozen, second, error),
        ],
        steps: vec![
            step(0, "look at the host", StepState::Done, None, vec![subject("shop-01", 1, "completed", None)]),
            step(
                1,
                "stop running children",
                StepState::Running,
                Some(at(120)),
                vec![subject("web-01", 1, "completed", Some("stopped")), subject("db-01", 2, "execution_started", None)],
            ),
            step(2, "reboot", StepState::Pending, None, Vec::new()),
        ],
        journal: Vec::new(),
    }
}

pub(crate) fn journal() -> Vec<JournalLine> {
    let line = |position, action: &str, text: &str, good| JournalLine {
        position,
        at: at(1),
        by: "system".to_owned(),
        action: action.to_owned(),
        text: text.to_owned(),
        good,
    };
    vec![
        line(0, "accepted", "admin asked for an orchestrated reboot", true),
        line(1, "deadline_passed", "db-01 did not stop", false),
    ]
}

pub(crate) fn audit() -> AuditPage {
    let entry = |id, actor: &str, action: &str, success, detail: &str| AuditEntry {
        id,
        at: at(id),
        actor: actor.to_owned(),
        action: action.to_owned(),
        target: None,
        orchestration: None,
        success,
        detail: detail.to_owned(),
    };
    AuditPage {
        entries: vec![
            entry(8, "system", "step_started", true, "stop running children: web-01, db-01"),
            entry(7, "eve", "refused", false, "POST /api/v1/host/{host_id}/reboot: needs REBOOT_HOST"),
        ],
        next: Some(7),
    }
}

pub(crate) fn tokens() -> TokenList {
    let token = |id, name: Option<&str>, may_force, scope: &str| TokenInfo {
        id,
        user: "admin".to_owned(),
        name: name.map(str::to_owned),
        role: "operator".to_owned(),
        may_force,
        scope: scope.to_owned(),
        created_at: at(0),
        expires_at: at(3600),
        last_used_at: None,
    };
    TokenList { tokens: vec![token(1, None, false, "*"), token(2, Some("nightly"), true, "site=north")] }
}
