//! What happens to commands that are obeyed.

use model::{AckStatus, Action, ChildStatus, ErrorCode, Millis, Observed, PendingShutdown, Readable};
use protocol::native::DeviceBody;
use recipe::Verdict;

use super::bench::*;
use crate::machine::{Input, Reading};

fn done() -> Verdict {
    Verdict::Completed { observed: Some(Observed::Child(ChildStatus::Stopped)), already: false }
}

#[test]
fn a_reboot_is_claimed_said_and_only_then_done() {
    let mut bench = Bench::new();
    bench.log.clear();
    let command = bench.reboot(1);
    let token = bench.deliver(&command);
    let order =
        ["append claimed", "flush", "say accepted", "append executing", "flush", "say execution_started and wait", "do reboot"];
    assert_eq!(bench.log, order);
    assert!(bench.acked.contains(&token));
}

#[test]
fn another_boot_completes_it_with_a_fresh_report() {
    let mut bench = Bench::new();
    let command = bench.reboot_whole(1);
    let ack = *bench.acks(&command).last().unwrap();
    assert_eq!((ack.boot, ack.already), (bench.boot, false));
    assert_eq!(ack.report.as_ref().unwrap().boot, bench.boot);
    // Said again at each start and connect, and when the command comes again; never done again.
    let times = bench.acks(&command).len();
    bench.input(Input::Disconnected);
    bench.connect();
    bench.restart(bench.boot, true);
    bench.connect();
    bench.deliver(&command);
    assert_eq!(bench.acks(&command).len(), times + 3);
    assert_eq!(bench.done.len(), 1);
}

#[test]
fn a_shutdown_that_ended_is_completed_at_the_next_start() {
    let mut bench = Bench::new();
    let expect_boot = bench.boot;
    let command = bench.command(1, Action::Shutdown { expect_boot, begin_within: Millis::secs(120), ignore_inhibitors: false });
    bench.deliver(&command);
    bench.finish(&command, Verdict::Ordered);
    bench.restart(boot(2), true);
    bench.connect();
    assert_eq!(bench.last(&command), Some((AckStatus::Completed, None)));
}

#[test]
fn a_reboot_that_does_not_begin_fails_after_its_time_and_not_before() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.deliver(&command);
    bench.finish(&command, Verdict::Ordered);
    bench.wait(Millis::secs(119));
    assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));
    bench.log.clear();
    bench.wait(Millis::secs(2));
    assert_eq!(bench.last(&command), Some((AckStatus::Failed, Some(ErrorCode::NotBegun))));
    let failed: Vec<&String> = bench.log.iter().filter(|l| !l.contains("report")).collect();
    assert_eq!(failed, ["read", "append ended", "flush", "say failed"], "closed on disk before it is said");
}

#[test]
fn nothing_final_is_said_while_a_shutdown_is_pending_or_not_to_be_known() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.deliver(&command);
    bench.finish(&command, Verdict::Failed { code: ErrorCode::Refused, message: "inhibited".to_owned() });
    assert_eq!(bench.last(&command), Some((AckStatus::Failed, Some(ErrorCode::Refused))), "nothing is pending");

    for pending in [
        Readable::Known(Some(PendingShutdown { kind: "reboot".to_owned(), at: None })),
        Readable::Unknown("busctl failed".to_owned()),
    ] {
        let mut bench = Bench::new();
        bench.pending = pending;
        let command = bench.reboot(1);
        bench.deliver(&command);
        bench.finish(&command, Verdict::Failed { code: ErrorCode::ToolFailed, message: "no".to_owned() });
        bench.wait(Millis::secs(3600));
        assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));
        bench.pending = Readable::Known(None);
        bench.wait(Millis::secs(16));
        assert_eq!(bench.last(&command), Some((AckStatus::Failed, Some(ErrorCode::ToolFailed))));
    }
}

#[test]
fn expiry_is_judged_again_after_execution_started_was_said() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);

    // The same with a slow broker: the answer comes after the expiry.
    let mut bench = Bench::new();
    let mut command = bench.reboot(1);
    command.expires_at = bench.wall + Millis::secs(3);
    let body = protocol::native::ControllerBody::Command { command: command.clone() };
    let delivery = Input::Delivery { token: crate::machine::Token(9), retained: false, opened: Ok(Box::new(body)) };
    let clock = bench.clock();
    bench.machine.handle(delivery, clock);
    bench.machine.handle(Input::Tick, clock);
    bench.wall = bench.wall + Millis::secs(4);
    bench.up = Millis(bench.up.0 + 4000);
    bench.input(Input::Said { command: command.id, heard: false });
    assert_eq!(bench.refused(&command), Some(ErrorCode::Expired));
}

#[test]
fn a_child_is_stopped_once_however_often_it_is_asked() {
    let mut bench = Bench::new();
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);
    bench.finish(&command, done());
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);
    assert_eq!(bench.last(&command), Some((AckStatus::Completed, None)));
    assert_eq!(bench.acks(&command).last().unwrap().observed, Some(Observed::Child(ChildStatus::Stopped)));
}

#[test]
fn children_are_stopped_side_by_side_and_one_child_is_in_one_hand() {
    let mut bench = Bench::new();
    let (a, b) = (bench.stop(1, "a"), bench.stop(2, "b"));
    bench.deliver(&a);
    bench.deliver(&b);
    assert_eq!(bench.done.len(), 2);
    // A newer start waits for the stop that is still running; an older one that comes late is not done at all.
    let start = bench.start(5, "a");
    bench.deliver(&start);
    assert_eq!(bench.done.len(), 2);
    assert_eq!(bench.last(&start), Some((AckStatus::Accepted, None)));
    bench.finish(&a, done());
    assert_eq!(bench.done.last().unwrap().id, start.id);
}

#[test]
fn an_open_safe_command_runs_again_at_the_start_and_an_outdated_one_does_not() {
    let mut bench = Bench::new();
    let (stop, start, other) = (bench.stop(1, "a"), bench.start(2, "a"), bench.stop(3, "b"));
    for command in [&stop, &start, &other] {
        bench.deliver(command);
    }
    bench.done.clear();
    bench.restart(bench.boot, true);
    bench.connect();
    let again: Vec<_> = bench.done.iter().map(|c| c.id).collect();
    assert_eq!(again.len(), 2);
    assert!(again.contains(&start.id) && again.contains(&other.id));
    assert_eq!(bench.last(&stop), Some((AckStatus::Failed, Some(ErrorCode::UnderFence))));
}

#[test]
fn a_probe_is_answered_with_a_report_and_leaves_no_record() {
    let mut bench = Bench::new();
    let disk = bench.disk.clone();
    let command = bench.command(1, Action::Probe { checks: Vec::new() });
    bench.deliver(&command);
    let ack = bench.acks(&command)[0];
    assert_eq!((ack.status, ack.report.is_some()), (AckStatus::Completed, true));
    assert_eq!(bench.disk, disk);
}

#[test]
fn heartbeats_come_in_order_and_only_while_somebody_listens() {
    let mut bench = Bench::new();
    bench.wait(Millis::secs(95));
    bench.input(Input::Disconnected);
    bench.wait(Millis::secs(300));
    let sequences: Vec<u64> = bench
        .said
        .iter()
        .filter_map(|body| match body {
            DeviceBody::Report { report } | DeviceBody::Hello { report, .. } => Some(report.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(sequences, [1, 2, 3, 4]);
}

#[test]
fn a_late_reading_or_verdict_of_something_else_changes_nothing() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    let host = |bench: &Bench| {
        Box::new(recipe::HostReading {
            engines: Default::default(),
            children: Readable::Known(Vec::new()),
            pending_shutdown: bench.pending.clone(),
            inhibitors: Readable::Known(Vec::new()),
            reboot_required: Readable::Known(None),
            needs_restarting: None,
        })
    };
    let said = bench.said.len();
    bench.finish(&command, done());
    for reading in [Reading::Proof(command.id), Reading::Pending(command.id), Reading::Probe(command.id)] {
        let host = host(&bench);
        bench.input(Input::Read { reading, host });
    }
    assert_eq!(bench.said.len(), said);
}

#[test]
fn what_the_broker_did_not_acknowledge_is_said_again() {
    let mut bench = Bench::new();
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    bench.finish(&command, done());
    let times = bench.acks(&command).len();
    bench.input(Input::Unheard);
    bench.wait(Millis::secs(20));
    assert_eq!(bench.acks(&command).len(), times + 1);
}
