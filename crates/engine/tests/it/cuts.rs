//! Every cut: journals cut after each fact, restored, continued, come to the same end (G8).

use engine::{Config, Input, Outcome};
use model::{AckStatus, Action, ChildStatus, Millis, Operation, OrchestrationId, Request};
use uuid::Uuid;

use crate::script::{Shell, options, user};
use crate::world::{Host, host_id};

const ID: OrchestrationId = OrchestrationId(Uuid::from_u128(100));

fn fresh() -> Shell {
    let mut shell = Shell::new(Config::default());
    let mut host = Host::new("host-1");
    host.children.insert("web".into(), (ChildStatus::Running, false));
    host.children.insert("db".into(), (ChildStatus::Frozen, true));
    host.children.insert("old".into(), (ChildStatus::Stopped, true));
    let id = host.id;
    shell.hosts.push(host);
    let labels = model::Labels::new();
    shell.input(Input::Enrol { host: id, name: "host-1".into(), machine_id: "m".into(), public_key: "k".into(), labels });
    shell.input(Input::Approve { host: id, by: user() });
    shell.report("host-1");
    shell
}

fn submit(shell: &mut Shell) {
    let request = Request {
        targets: vec![host_id("host-1")],
        operation: Operation::OrchestratedReboot,
        options: options(),
        rollout: None,
        by: user(),
    };
    shell.input(Input::Submit { id: ID, request });
}

/// A world that does what it is told, once for each command, until nothing is wanted any more.
fn go_on(shell: &mut Shell) -> Option<Outcome> {
    for _ in 0..200 {
        if let Some(ended) = shell.engine.view(ID).and_then(|v| v.outcome) {
            return Some(ended);
        }
        shell.report("host-1");
        for command in shell.engine.wanted() {
            let now = shell.now;
            let host = &mut shell.hosts[0];
            let done_before = command.action.expect_boot().is_some_and(|b| b != host.boot());
            let ack = if done_before {
                // The agent holds its claim: it says again what it knows, and reboots nothing.
                let boot = host.boot();
                model::Ack { boot, ..claim_answer(&command, host.report(now)) }
            } else {
                host.answer(&command, AckStatus::Completed, None, now)
            };
            shell.input(Input::Acked { host: host_id("host-1"), ack: Box::new(ack) });
        }
        shell.wait(2);
    }
    None
}

fn claim_answer(command: &model::Command, report: model::Report) -> model::Ack {
    model::Ack {
        command: command.id,
        status: AckStatus::Completed,
        error: None,
        boot: report.boot,
        observed: None,
        already: false,
        report: Some(report),
    }
}

#[test]
fn any_cut_of_the_journals_comes_to_the_same_end() {
    let mut whole = fresh();
    let before = whole.all.len();
    submit(&mut whole);
    assert_eq!(go_on(&mut whole), Some(Outcome::Completed));
    let facts = whole.all.clone();
    for cut in before + 1..facts.len() {
        let mut shell = fresh();
        for fact in &facts[before..cut] {
            shell.keep(fact.clone());
        }
        // The world has done what was acknowledged before the cut, and no more.
        for fact in &facts[before..cut] {
            if let engine::Fact::Orchestration(_, r) = fact
                && let engine::Entry::Acked { ack, .. } = &r.entry
                && ack.status == AckStatus::Completed
            {
                let host = &mut shell.hosts[0];
                if ack.boot != host.boot() {
                    host.reboot();
                }
                if let (Some(model::Observed::Child(observed)), Some(name)) =
                    (ack.observed.clone(), child_of(&facts, ack.command))
                {
                    host.set(&name, observed);
                }
            }
        }
        shell.now = shell.now + Millis::secs(1);
        shell.restart();
        assert_eq!(go_on(&mut shell), Some(Outcome::Completed), "cut after fact {cut} of {}", facts.len());
        let host = &shell.hosts[0];
        assert_eq!(host.boot, 2, "cut after fact {cut}: one reboot, neither more nor less");
        assert_eq!(host.children["web"].0, ChildStatus::Running);
        assert_eq!(host.children["db"].0, ChildStatus::Frozen);
        assert_eq!(host.children["old"].0, ChildStatus::Stopped);
    }
}

fn child_of(facts: &[engine::Fact], command: model::CommandId) -> Option<String> {
    facts.iter().find_map(|f| match f {
        engine::Fact::Orchestration(_, r) => match &r.entry {
            engine::Entry::CommandIssued { command: c, .. } if c.id == command => match &c.action {
                Action::StopChild { child, .. } | Action::StartChild { child, .. } => Some(child.name.clone()),
                _ => None,
            },
            _ => None,
        },
        engine::Fact::Fleet(_) => None,
    })
}
