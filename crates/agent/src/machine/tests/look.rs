//! Commands that only look: in no ledger, in no order, answered every time.

use model::{
    AckStatus, Action, ActionKind, Check, CheckKind, CheckResult, Command, Drain, ErrorCode, ItemState, Millis, Observed,
};
use recipe::Verdict;

use super::bench::*;
use crate::machine::Input;

fn check(kind: CheckKind) -> Check {
    Check { name: "web".to_owned(), kind, limit: Millis::secs(5) }
}

fn unit() -> Check {
    check(CheckKind::Unit { unit: "web.service".to_owned() })
}

fn drain() -> Drain {
    Drain::Units { units: vec!["web.service".to_owned()] }
}

fn items() -> Vec<ItemState> {
    vec![ItemState { name: "web.service".to_owned(), state: "active/running".to_owned(), in_service: true }]
}

fn saw(observed: Observed) -> Verdict {
    Verdict::Completed { observed: Some(observed), already: false }
}

fn results() -> Observed {
    Observed::Checks(vec![CheckResult { name: "web".to_owned(), passed: false, detail: "it is inactive".to_owned() }])
}

fn looked(bench: &mut Bench, command: &Command, verdict: Verdict) {
    bench.input(Input::Looked { command: command.id, verdict });
}

#[test]
fn checks_and_observations_are_answered_and_leave_no_record() {
    let mut bench = Bench::new();
    let disk = bench.disk.clone();
    let observe = bench.command(1, Action::Observe { drain: drain() });
    bench.deliver(&observe);
    bench.deliver(&observe);
    assert_eq!(bench.looked.len(), 1, "a copy of what is being looked at looks no second time");
    looked(&mut bench, &observe, saw(Observed::Items(items())));
    assert_eq!(bench.acks(&observe)[0].observed, Some(Observed::Items(items())));
    looked(&mut bench, &observe, saw(results()));
    assert_eq!(bench.acks(&observe).len(), 1);
    let asked = bench.command(2, Action::Check { checks: vec![unit()] });
    bench.deliver(&asked);
    looked(&mut bench, &asked, saw(results()));
    assert_eq!((bench.acks(&asked)[0].observed.clone(), bench.acks(&asked)[0].report.clone()), (Some(results()), None));
    let failing = bench.command(3, Action::Observe { drain: drain() });
    bench.deliver(&failing);
    looked(&mut bench, &failing, Verdict::Failed { code: ErrorCode::NotFound, message: "no unit".to_owned() });
    assert_eq!(bench.last(&failing), Some((AckStatus::Failed, Some(ErrorCode::NotFound))));
    assert_eq!(bench.disk, disk);
    assert!(bench.done.is_empty());
}

#[test]
fn a_probe_with_checks_is_answered_with_both_and_the_report_is_the_newer() {
    let mut bench = Bench::new();
    let probe = bench.command(1, Action::Probe { checks: vec![unit()] });
    bench.log.clear();
    bench.deliver(&probe);
    assert_eq!(bench.looked, [(probe.id, Action::Check { checks: vec![unit()] })]);
    assert!(bench.acks(&probe).is_empty() && !bench.log.contains(&"read".to_owned()), "not before the checks are made");
    looked(&mut bench, &probe, saw(results()));
    let ack = bench.acks(&probe)[0];
    assert_eq!((ack.status, ack.observed.clone(), ack.report.is_some()), (AckStatus::Completed, Some(results()), true));
}

#[test]
fn g9_no_agent_runs_a_command_that_somebody_names() {
    let mut bench = Bench::new();
    let free = check(CheckKind::Command { argv: vec!["id".to_owned()] });
    let probe = bench.command(1, Action::Probe { checks: vec![unit(), free.clone()] });
    let plain = bench.command(2, Action::Check { checks: vec![free] });
    for command in [&probe, &plain] {
        bench.deliver(command);
        assert_eq!(bench.last(command), Some((AckStatus::Failed, Some(ErrorCode::Unsupported))));
    }
    let stored = bench.command(3, Action::Observe { drain: drain() });
    bench.deliver_as(&stored, true);
    assert_eq!(bench.last(&stored), Some((AckStatus::Failed, Some(ErrorCode::Retained))));
    let mut late = bench.command(4, Action::Check { checks: vec![unit()] });
    late.expires_at = bench.wall - Millis(1);
    bench.deliver(&late);
    assert_eq!(bench.last(&late), Some((AckStatus::Failed, Some(ErrorCode::Expired))));
    assert!(bench.looked.is_empty());
}

#[test]
fn what_a_host_cannot_look_at_is_unsupported() {
    let mut config = config();
    for kind in [ActionKind::Check, ActionKind::Observe, ActionKind::Drain] {
        config.actions.remove(&kind);
    }
    let mut bench = Bench::with(config, true);
    bench.connect();
    let grace = Millis::secs(60);
    let actions = [
        Action::Check { checks: vec![unit()] },
        Action::Probe { checks: vec![unit()] },
        Action::Observe { drain: drain() },
        Action::Drain { drain: drain(), grace, force: false },
    ];
    for (n, action) in (1..).zip(actions) {
        let command = bench.command(n, action);
        bench.deliver(&command);
        assert_eq!(bench.last(&command), Some((AckStatus::Failed, Some(ErrorCode::Unsupported))), "{command:?}");
    }
    assert!(bench.looked.is_empty() && bench.done.is_empty());
}

#[test]
fn a_drain_is_claimed_runs_again_after_a_crash_and_never_undoes_a_newer_undrain() {
    let mut bench = Bench::new();
    let grace = Millis::secs(60);
    let command = bench.command(1, Action::Drain { drain: drain(), grace, force: false });
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);
    bench.restart(bench.boot, true);
    bench.connect();
    assert_eq!(bench.done.len(), 2, "it is safe to repeat");
    let back = bench.command(2, Action::Undrain { drain: drain(), prior: items(), limit: grace, forced: false });
    bench.deliver(&back);
    assert_eq!(bench.done.len(), 2, "it waits for what runs on the same host");
    bench.finish(&command, saw(Observed::Items(items())));
    assert_eq!(bench.done.last().map(|c| c.id), Some(back.id));
    bench.finish(&back, saw(Observed::Items(items())));
    assert_eq!(bench.acks(&back).last().unwrap().observed, Some(Observed::Items(items())));
    let mut old = bench.command(3, Action::Drain { drain: drain(), grace, force: false });
    old.fence = command.fence;
    bench.deliver(&old);
    assert_eq!(bench.last(&old), Some((AckStatus::Failed, Some(ErrorCode::UnderFence))));
}
