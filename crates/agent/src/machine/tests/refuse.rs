//! Every refusal of G9.

use model::{AckStatus, Action, CommandId, ErrorCode, Millis, Timestamp};
use protocol::native::{ControllerBody, OpenError, Refused};
use recipe::Verdict;

use super::bench::*;
use crate::machine::{Input, Machine, Token};

fn deliver_refused(bench: &mut Bench, error: OpenError, command: Option<CommandId>) {
    bench.input(Input::Delivery { token: Token(77), retained: false, opened: Err(Refused { error, command }) });
}

#[test]
fn unsigned_and_wrongly_signed_commands_are_refused_and_leave_no_trace_on_disk() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    let disk = bench.disk.clone();
    deliver_refused(&mut bench, OpenError::BadSignature, Some(command.id));
    assert_eq!(bench.refused(&command), Some(ErrorCode::BadSignature));
    assert_eq!((bench.disk == disk, bench.acked.contains(&Token(77))), (true, true));
    // What was said to have failed stays failed, whoever says it now.
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::BadSignature));
}

#[test]
fn a_forged_copy_says_nothing_about_a_real_command() {
    let mut bench = Bench::new();
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    bench.finish(&command, Verdict::Completed { observed: None, already: false });
    deliver_refused(&mut bench, OpenError::BadSignature, Some(command.id));
    assert_eq!(bench.last(&command), Some((AckStatus::Completed, None)));
}

#[test]
fn malformed_oversized_and_unknown_payloads_change_nothing() {
    let mut bench = Bench::new();
    let said = bench.said.len();
    deliver_refused(&mut bench, OpenError::Malformed("x".to_owned()), None);
    deliver_refused(&mut bench, OpenError::TooLarge(1 << 30), None);
    assert_eq!(bench.said.len(), said);
    let command = bench.reboot(1);
    deliver_refused(&mut bench, OpenError::Unsupported("the action \"defrost\"".to_owned()), Some(command.id));
    assert_eq!(bench.refused(&command), Some(ErrorCode::Unsupported));
}

#[test]
fn a_retained_command_is_refused() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.deliver_as(&command, true);
    assert_eq!(bench.refused(&command), Some(ErrorCode::Retained));
    let probe = bench.command(2, Action::Probe { checks: Vec::new() });
    bench.deliver_as(&probe, true);
    assert_eq!(bench.last(&probe), Some((AckStatus::Failed, Some(ErrorCode::Retained))));
}

#[test]
fn an_expired_command_is_refused_by_the_controllers_time_whatever_the_wall_clock_says() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.wait(Millis::secs(241));
    bench.wall = Timestamp::from_millis(T0);
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::Expired));
}

#[test]
fn a_command_for_another_host_is_refused() {
    let mut bench = Bench::new();
    let command = model::Command { target: child("x").id, ..bench.reboot(1) };
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::WrongTarget));
}

#[test]
fn what_is_under_the_fence_is_refused_and_an_equal_fence_is_fine() {
    let mut bench = Bench::new();
    let newer = bench.start(9, "a");
    bench.deliver(&newer);
    bench.finish(&newer, Verdict::Completed { observed: None, already: false });
    let late = bench.stop(8, "a");
    bench.deliver(&late);
    assert_eq!(bench.refused(&late), Some(ErrorCode::UnderFence));
    let late = bench.reboot(7);
    bench.deliver(&late);
    assert_eq!(bench.refused(&late), Some(ErrorCode::UnderFence), "a reboot is under the fence of every child");
    let other = bench.stop(6, "b");
    bench.deliver(&other);
    assert_eq!(bench.last(&other), Some((AckStatus::ExecutionStarted, None)), "another child has a fence of its own");
    let equal = model::Command { id: CommandId(uuid::Uuid::from_u128(5)), ..bench.start(9, "a") };
    bench.deliver(&equal);
    assert_eq!(bench.last(&equal), Some((AckStatus::ExecutionStarted, None)));
}

#[test]
fn a_reboot_raises_the_fence_for_the_whole_host_and_it_survives_reboot_and_compaction() {
    let mut bench = Bench::new();
    bench.reboot_whole(50);
    for n in 0..300 {
        let stop = bench.stop(60 + n, "b");
        bench.deliver(&stop);
        bench.finish(&stop, Verdict::Completed { observed: None, already: true });
    }
    assert!(bench.log.iter().filter(|l| *l == "compact").count() >= 2);
    bench.restart(bench.boot, true);
    bench.connect();
    let late = bench.start(49, "c");
    bench.deliver(&late);
    assert_eq!(bench.refused(&late), Some(ErrorCode::UnderFence));
    let late = bench.stop(100, "b");
    bench.deliver(&model::Command { id: CommandId(uuid::Uuid::from_u128(4)), ..late.clone() });
    assert!(!bench.done.iter().any(|c| c.id == CommandId(uuid::Uuid::from_u128(4))));
}

#[test]
fn without_any_clock_nothing_disruptive_is_obeyed() {
    let mut bench = Bench::with(config(), false);
    bench.answer_time = false;
    bench.connect();
    let command = bench.reboot(1);
    bench.deliver(&command);
    assert_eq!(bench.last(&command), None, "the controller's time may still come");
    bench.wait(Millis::secs(31));
    assert_eq!(bench.refused(&command), Some(ErrorCode::ClockUnset));
    let probe = bench.command(2, Action::Probe { checks: Vec::new() });
    bench.deliver(&probe);
    assert_eq!(bench.last(&probe), Some((AckStatus::Completed, None)));
}

#[test]
fn the_controllers_time_is_enough_and_an_old_or_foreign_answer_is_not() {
    let mut bench = Bench::with(config(), false);
    bench.answer_time = false;
    bench.connect();
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    let nonce = bench.said.iter().rev().find_map(|body| match body {
        protocol::native::DeviceBody::Hello { nonce, .. } => Some(nonce.clone()),
        _ => None,
    });
    let time = |nonce: String, now| ControllerBody::Time { nonce, now };
    let send = |bench: &mut Bench, body| {
        bench.input(Input::Delivery { token: Token(5), retained: false, opened: Ok(Box::new(body)) });
    };
    let now = bench.wall;
    send(&mut bench, time("another".to_owned(), now));
    assert_eq!(bench.last(&command), None);
    send(&mut bench, time(nonce.clone().unwrap(), now));
    assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));
    // The same answer once more, hours later, does not turn the clock back.
    bench.wait(Millis::secs(7200));
    send(&mut bench, time(nonce.unwrap(), now));
    let late = model::Command { expires_at: now + Millis::secs(240), ..bench.stop(2, "b") };
    bench.deliver(&late);
    assert_eq!(bench.refused(&late), Some(ErrorCode::Expired));
}

#[test]
fn a_command_that_waits_twice_for_the_time_is_performed_once() {
    let mut bench = Bench::with(config(), false);
    bench.answer_time = false;
    bench.connect();
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    bench.deliver(&command);
    bench.answer_time = true;
    bench.connect();
    bench.deliver(&command);
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);
}

#[test]
fn another_boot_is_nothing_to_end_and_makes_no_claim() {
    let mut bench = Bench::new();
    let expect_boot = boot(99);
    let action = Action::Reboot { expect_boot, begin_within: Millis::secs(120), ignore_inhibitors: false };
    let command = bench.command(1, action);
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::BootDiffers));
    assert!(!bench.log.contains(&"append claimed".to_owned()));
    assert_eq!(bench.rate().counted, 0);
}

#[test]
fn the_fourth_reboot_in_the_window_is_refused_whatever_happened_in_between() {
    let mut bench = Bench::new();
    for n in 1..=3 {
        bench.reboot_whole(n);
        bench.wait(Millis::secs(60));
    }
    assert_eq!((bench.rate().counted, bench.rate().limit), (3, 3));
    // A new controller with a database of its own: fences begin anew, the limit does not.
    bench.config.controller = "key-2".to_owned();
    bench.restart(bench.boot, true);
    bench.connect();
    let command = model::Command { id: CommandId(uuid::Uuid::from_u128(9)), ..bench.reboot(1) };
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::RateLimited));
    // Many records later, compacted and started again.
    for n in 10..400 {
        let stop = bench.stop(n, "b");
        bench.deliver(&stop);
        bench.finish(&stop, Verdict::Completed { observed: None, already: true });
    }
    bench.restart(bench.boot, true);
    bench.connect();
    let command = bench.reboot(500);
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::RateLimited));
    // The wall clock alone opens nothing.
    bench.wall = bench.wall + Millis::secs(3600);
    bench.answer_time = false;
    bench.restart(bench.boot, true);
    let left = bench.rate().opens_in_ms.unwrap();
    bench.wall = Timestamp::from_millis(bench.wall.millis() - 3_600_000);
    bench.answer_time = true;
    bench.connect();
    bench.wait(Millis(left + 60_000));
    let command = bench.reboot(501);
    bench.deliver(&command);
    assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));
}

#[test]
fn a_new_controller_begins_with_fences_of_its_own() {
    let mut bench = Bench::new();
    bench.reboot_whole(500);
    bench.config.controller = "key-2".to_owned();
    bench.restart(bench.boot, true);
    bench.connect();
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));
}

#[test]
fn a_second_reboot_is_refused_while_one_is_open() {
    let mut bench = Bench::new();
    let first = bench.reboot(1);
    bench.deliver(&first);
    let second = bench.reboot(2);
    bench.deliver(&second);
    assert_eq!(bench.refused(&second), Some(ErrorCode::Refused));
    assert_eq!(bench.done.len(), 1);
}

#[test]
fn a_refusal_is_final_also_after_a_restart() {
    let mut bench = Bench::with(config(), false);
    bench.answer_time = false;
    bench.connect();
    let command = bench.reboot(1);
    bench.deliver(&command);
    bench.wait(Millis::secs(31));
    bench.wall_is_set = true;
    bench.restart(bench.boot, true);
    bench.connect();
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::ClockUnset));
}

#[test]
fn what_the_host_cannot_do_is_unsupported() {
    let mut small = config();
    small.actions.remove(&model::ActionKind::Reboot);
    let mut bench = Bench::with(small, true);
    bench.connect();
    let command = bench.reboot(1);
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::Unsupported));
}

#[test]
fn a_damaged_ledger_refuses_and_still_reports() {
    let mut bench = Bench::new();
    let clock = bench.clock();
    let (machine, effects) = Machine::start(config(), boot(1), Err("damaged at byte 12".to_owned()), clock);
    assert!(effects.is_empty());
    bench.machine = machine;
    bench.said.clear();
    bench.connect();
    let command = bench.reboot(1);
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::OutcomeUnknown), "it may have begun it before");
    assert!(bench.acks(&command)[0].error.as_ref().unwrap().message.contains("byte 12"));
    let probe = bench.command(2, Action::Probe { checks: Vec::new() });
    bench.deliver(&probe);
    assert_eq!(bench.last(&probe), Some((AckStatus::Completed, None)));
}
