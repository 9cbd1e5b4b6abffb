//! Every cut: journals cut after each fact, restored, continued, come to the same end (G8).

use std::collections::BTreeMap;

use engine::{Config, Input, Outcome};
use model::{AckStatus, Action, ActionKind, ChildStatus, Millis, Observed, Operation, OrchestrationId, Request};
use uuid::Uuid;

use crate::lists::{List, check, drain};
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
        run: None,
        wait: None,
        services: None,
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
            shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
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

/// From every cut of these facts on, with a world that has done what was acknowledged before it, and no more.
fn from_every_cut(fresh: impl Fn() -> Shell, before: usize, facts: &[engine::Fact], judge: impl Fn(&mut Shell, usize)) {
    for cut in before + 1..facts.len() {
        let mut shell = fresh();
        for fact in &facts[before..cut] {
            shell.keep(fact.clone());
        }
        for fact in &facts[before..cut] {
            if let engine::Fact::Orchestration(_, r) = fact
                && let engine::Entry::Acked { ack, action, .. } = &r.entry
                && ack.status == AckStatus::Completed
            {
                let host = &mut shell.hosts[0];
                if ack.boot != host.boot() {
                    host.reboot();
                }
                match &ack.observed {
                    Some(Observed::Child(status)) => {
                        if let Some(name) = child_of(facts, ack.command) {
                            host.set(&name, *status);
                        }
                    }
                    Some(Observed::Items(items)) if *action != ActionKind::Observe => {
                        let items = items.iter().map(|i| (i.name.clone(), (i.state.clone(), i.in_service)));
                        host.items.extend(items);
                    }
                    _ => {}
                }
            }
        }
        shell.now = shell.now + Millis::secs(1);
        shell.restart();
        judge(&mut shell, cut);
    }
}

fn children_are_as_before(shell: &Shell) {
    let host = &shell.hosts[0];
    assert_eq!(host.children["web"].0, ChildStatus::Running);
    assert_eq!(host.children["db"].0, ChildStatus::Frozen);
    assert_eq!(host.children["old"].0, ChildStatus::Stopped);
}

#[test]
fn any_cut_of_the_journals_comes_to_the_same_end() {
    let mut whole = fresh();
    let before = whole.all.len();
    submit(&mut whole);
    assert_eq!(go_on(&mut whole), Some(Outcome::Completed));
    from_every_cut(fresh, before, &whole.all, |shell, cut| {
        assert_eq!(go_on(shell), Some(Outcome::Completed), "cut after fact {cut}");
        assert_eq!(shell.hosts[0].boot, 2, "cut after fact {cut}: one reboot, neither more nor less");
        children_are_as_before(shell);
    });
}

/// In service before: the server of a load balancer and one of two units.
fn items() -> BTreeMap<String, (String, bool)> {
    let item = |name: &str, state: &str, in_service| (name.to_owned(), (state.to_owned(), in_service));
    BTreeMap::from([
        item("web/host-1", "ready", true),
        item("app.service", "active", true),
        item("worker.service", "inactive", false),
    ])
}

fn fresh_in_service() -> Shell {
    let mut shell = fresh();
    shell.hosts[0].items = items();
    shell
}

fn drained() -> List {
    let mut list = List::of("host-1");
    list.drains = vec![drain("haproxy"), drain("units")];
    list.checks = vec![check("http"), check("unit")];
    list.soak = Millis::secs(10);
    list
}

#[test]
fn any_cut_of_a_drained_track_comes_to_the_same_end_and_restores_what_was_there() {
    let mut whole = fresh_in_service();
    let before = whole.all.len();
    drained().accept(&mut whole, "host-1");
    assert_eq!(go_on(&mut whole), Some(Outcome::Completed));
    from_every_cut(fresh_in_service, before, &whole.all, |shell, cut| {
        assert_eq!(go_on(shell), Some(Outcome::Completed), "cut after fact {cut}");
        assert_eq!(shell.hosts[0].boot, 2, "cut after fact {cut}: one reboot, neither more nor less");
        assert_eq!(shell.hosts[0].items, items(), "cut after fact {cut}");
        children_are_as_before(shell);
    });
}

#[test]
fn any_cut_of_a_drained_track_that_is_cancelled_leaves_all_as_it_was() {
    let mut whole = fresh_in_service();
    let before = whole.all.len();
    drained().accept(&mut whole, "host-1");
    whole.go(Some("reboot"));
    // Right before the reboot: its command is not among these facts.
    let issued = whole.all.iter().position(|f| engine::action_of(f) == "boot_end_commanded").expect("a reboot");
    from_every_cut(fresh_in_service, before, &whole.all[..issued], |shell, cut| {
        shell.input(Input::Cancel { id: ID, by: user() });
        assert_eq!(go_on(shell), Some(Outcome::Cancelled), "cut after fact {cut}");
        assert_eq!(shell.hosts[0].boot, 1, "cut after fact {cut}");
        assert_eq!(shell.hosts[0].items, items(), "cut after fact {cut}");
        children_are_as_before(shell);
    });
}

#[test]
fn any_cut_of_an_unhealthy_track_leaves_it_drained_and_stranded() {
    let unhealthy = || {
        let mut shell = fresh_in_service();
        shell.hosts[0].failing.insert("http".to_owned());
        shell
    };
    let mut whole = unhealthy();
    let before = whole.all.len();
    drained().accept(&mut whole, "host-1");
    assert_eq!(go_on(&mut whole), Some(Outcome::Failed));
    from_every_cut(unhealthy, before, &whole.all, |shell, cut| {
        assert_eq!(go_on(shell), Some(Outcome::Failed), "cut after fact {cut}");
        assert_eq!(shell.hosts[0].boot, 2, "cut after fact {cut}");
        assert!(shell.hosts[0].items.values().all(|(_, in_service)| !in_service), "cut after fact {cut}");
        let stranded = shell.engine.host(host_id("host-1"), shell.now).and_then(|h| h.stranded);
        assert!(stranded.is_some_and(|why| why.contains("check http")), "cut after fact {cut}");
        // The retry knows what was there before the first drain.
        let unfinished = shell.left_undone("host-1").expect("something is left");
        assert!(unfinished.proven.is_some(), "cut after fact {cut}");
        let was: BTreeMap<_, _> =
            unfinished.drained.iter().flat_map(|d| &d.prior).map(|i| (i.name.clone(), (i.state.clone(), i.in_service))).collect();
        assert_eq!(was, items(), "cut after fact {cut}");
    });
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
