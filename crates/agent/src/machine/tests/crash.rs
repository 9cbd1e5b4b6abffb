//! Crashes between any two effects, full disks, and a ledger cut anywhere.

use model::{AckStatus, ErrorCode, Millis};
use recipe::Verdict;

use super::bench::*;
use crate::ledger::decode;
use crate::machine::{Clock, Machine};

/// A script: a stop, a reboot, a start after it. Returns how often each command was done.
fn script(bench: &mut Bench, die_before: Option<usize>, power_cut: bool) {
    bench.die_before = die_before.map(|n| bench.effects() + n);
    let stop = bench.stop(1, "a");
    let reboot = bench.reboot(2);
    let alive = |bench: &mut Bench| {
        if bench.dead {
            let same = bench.boot;
            bench.restart(same, power_cut);
            bench.connect();
        }
    };
    // The controller sends until there is a last word, as the engine does.
    for command in [&stop, &reboot] {
        for _ in 0..10 {
            if bench.last(command).is_some_and(|(status, _)| status.is_final()) {
                break;
            }
            bench.deliver(command);
            alive(bench);
            if command.id == stop.id {
                bench.finish(command, Verdict::Completed { observed: None, already: false });
                alive(bench);
            } else if bench.boot == boot(1) && bench.done.iter().any(|c| c.id == reboot.id) {
                // The host goes down as soon as it is told to.
                bench.restart(boot(2), true);
                bench.connect();
            }
            bench.wait(Millis::secs(20));
            alive(bench);
        }
    }
    let start = bench.start(3, "a");
    bench.deliver(&start);
    alive(bench);
    if bench.last(&start) != Some((AckStatus::Completed, None)) {
        bench.finish(&start, Verdict::Completed { observed: None, already: false });
        alive(bench);
        bench.finish(&start, Verdict::Completed { observed: None, already: false });
    }
    let reboots = bench.done.iter().filter(|c| c.id == reboot.id).count();
    // Died between the record of the execution and the order: nobody can know whether the order was given, so it is not given
    // again; the device says in the end that nothing began.
    let undecided = reboots == 0 && bench.last(&reboot) == Some((AckStatus::Failed, Some(ErrorCode::NotBegun)));
    for command in [&stop, &reboot, &start] {
        let well = bench.last(command) == Some((AckStatus::Completed, None)) || (command.id == reboot.id && undecided);
        assert!(well, "{:?} {die_before:?}: {:?}\n{:#?}", command.action, bench.last(command), bench.log);
    }
    assert!(reboots <= 1, "G2: {reboots} reboots for one command: {:#?}", bench.log);
}

#[test]
fn a_crash_before_any_effect_ends_the_same() {
    let mut whole = Bench::new();
    let before = whole.effects();
    script(&mut whole, None, false);
    let effects = whole.effects() - before;
    assert!(effects > 20, "{effects}");
    for n in 1..=effects {
        for power_cut in [false, true] {
            let mut bench = Bench::new();
            script(&mut bench, Some(n), power_cut);
        }
    }
}

#[test]
fn an_open_reboot_that_was_not_executed_goes_on_after_a_kill() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    // Before the record of the execution: claim, flush, said, delivery acknowledged.
    bench.die_before = Some(bench.effects() + 5);
    bench.deliver(&command);
    assert!(bench.dead && bench.done.is_empty());
    bench.restart(bench.boot, false);
    assert_eq!(bench.done.len(), 1, "the same boot, not executed, not expired");

    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.die_before = Some(bench.effects() + 5);
    bench.deliver(&command);
    bench.up = Millis(bench.up.0 + 600_000);
    // By a wall clock that was turned back it would be fresh; the controller's time goes on with the boot.
    bench.restart(bench.boot, false);
    bench.connect();
    assert_eq!(bench.refused(&command), Some(ErrorCode::Expired));
}

#[test]
fn an_executed_reboot_is_not_done_again_after_a_kill() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);
    bench.wait(Millis::secs(100));
    bench.restart(bench.boot, false);
    bench.connect();
    bench.wait(Millis::secs(19));
    assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));
    bench.wait(Millis::secs(2));
    assert_eq!(bench.last(&command), Some((AckStatus::Failed, Some(ErrorCode::NotBegun))));
    assert_eq!(bench.done.len(), 1);
}

#[test]
fn a_foreign_reboot_between_claim_and_execution_ends_it_well() {
    let mut bench = Bench::new();
    let command = bench.reboot(1);
    bench.die_before = Some(bench.effects() + 5);
    bench.deliver(&command);
    bench.restart(boot(2), true);
    bench.connect();
    assert!(bench.done.is_empty());
    let ack = *bench.acks(&command).last().unwrap();
    assert_eq!((ack.status, ack.already, ack.boot), (AckStatus::Completed, true, boot(2)));
}

#[test]
fn with_a_full_disk_nothing_is_done_and_the_refusal_says_so() {
    let mut bench = Bench::new();
    bench.disk_full = true;
    let (reboot, stop) = (bench.reboot(1), bench.stop(2, "a"));
    for command in [&reboot, &stop] {
        bench.deliver(command);
        assert_eq!(bench.refused(command), Some(ErrorCode::LedgerFailed));
    }
    bench.disk_full = false;
    let next = bench.reboot(3);
    bench.deliver(&next);
    assert_eq!(bench.last(&next), Some((AckStatus::ExecutionStarted, None)));
    assert!(decode(&bench.disk.1).is_ok());
}

#[test]
fn a_claim_that_may_be_on_disk_all_the_same_gets_no_last_word() {
    let mut bench = Bench::new();
    (bench.disk_full, bench.dirty) = (true, true);
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    assert_eq!(bench.last(&command), None);
    // It is there: the agent is killed and finds it.
    (bench.disk_full, bench.dirty) = (false, false);
    bench.restart(bench.boot, false);
    bench.connect();
    assert_eq!(bench.last(&command), Some((AckStatus::ExecutionStarted, None)));

    // Or the controller asks again, and now it can be written.
    let mut bench = Bench::new();
    (bench.disk_full, bench.dirty) = (true, true);
    let command = bench.stop(1, "a");
    bench.deliver(&command);
    (bench.disk_full, bench.dirty) = (false, false);
    bench.deliver(&command);
    assert_eq!(bench.done.len(), 1);
}

#[test]
fn an_outcome_that_cannot_be_written_is_kept_and_written_later() {
    let mut bench = Bench::new();
    let (stop, reboot) = (bench.stop(1, "a"), bench.reboot(2));
    bench.deliver(&stop);
    bench.deliver(&reboot);
    bench.disk_full = true;
    bench.finish(&stop, Verdict::Completed { observed: None, already: false });
    assert_eq!(bench.last(&stop), Some((AckStatus::Completed, None)), "saying what was seen is harmless");
    bench.finish(&reboot, Verdict::Failed { code: ErrorCode::Refused, message: "no".to_owned() });
    bench.wait(Millis::secs(200));
    assert_eq!(bench.last(&reboot), Some((AckStatus::ExecutionStarted, None)), "it is still open on disk");
    bench.disk_full = false;
    bench.wait(Millis::secs(20));
    assert_eq!(bench.last(&reboot), Some((AckStatus::Failed, Some(ErrorCode::Refused))));
    bench.restart(bench.boot, true);
    assert_eq!(bench.machine.open().count(), 0);
}

/// Any ledger, cut at any byte, restores to a state from which the same commands end the same.
#[test]
fn a_ledger_cut_at_any_byte_goes_on_to_the_same_end() {
    let mut bench = Bench::new();
    let (stop, reboot) = (bench.stop(1, "a"), bench.reboot(2));
    bench.deliver(&stop);
    bench.finish(&stop, Verdict::Completed { observed: None, already: false });
    bench.deliver(&reboot);
    let ledger = bench.disk.1.clone();
    for cut in 0..=ledger.len() {
        let mut cut_bench = Bench::new();
        cut_bench.disk = (ledger[..cut].to_vec(), ledger[..cut].to_vec());
        cut_bench.restart(boot(1), false);
        cut_bench.connect();
        for command in [&stop, &reboot] {
            for _ in 0..2 {
                cut_bench.deliver(command);
                if cut_bench.done.iter().any(|c| c.id == command.id) && command.id == stop.id {
                    cut_bench.finish(command, Verdict::Completed { observed: None, already: true });
                }
            }
        }
        cut_bench.restart(boot(2), true);
        cut_bench.connect();
        assert_eq!(cut_bench.last(&stop), Some((AckStatus::Completed, None)), "cut at {cut}");
        assert_eq!(cut_bench.last(&reboot), Some((AckStatus::Completed, None)), "cut at {cut}");
        assert!(cut_bench.done.iter().filter(|c| c.id == reboot.id).count() <= 1, "cut at {cut}");
        assert_eq!(cut_bench.rate().counted, 1, "cut at {cut}");
    }
}

#[test]
fn the_first_word_of_a_new_ledger_is_its_header() {
    let clock = Clock { wall: model::Timestamp::from_millis(T0), wall_is_set: true, boottime: Millis(1) };
    let (machine, effects) = Machine::start(config(), boot(1), Ok(Vec::new()), clock);
    assert!(matches!(&effects[..], [crate::machine::Effect::Compact(records)] if records.len() == 3), "{effects:?}");
    assert_eq!(machine.poll_timeout(), None);
}
