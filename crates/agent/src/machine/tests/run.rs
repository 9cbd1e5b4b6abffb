//! Commands: run once, by nobody's word but that of those who may, and never again when their end was not seen.

use model::{AckStatus, Action, Command, ErrorCode, Millis, Observed, Ran, Run, Said};
use recipe::Verdict;

use super::bench::*;

fn run(bench: &Bench, n: u64, run: Run) -> Command {
    bench.command(n, Action::Run { run, expect_boot: bench.boot, limit: Millis::secs(60) })
}

fn named(bench: &Bench, n: u64) -> Command {
    run(bench, n, Run::Named { name: "rotate".to_owned() })
}

fn ran(exit: i32) -> Verdict {
    let out = Said { bytes: 3, tail: "ok\n".to_owned() };
    let ran = Ran { exit: Some(exit), timed_out: false, out, err: Said::default() };
    Verdict::Completed { observed: Some(Observed::Ran(ran)), already: false }
}

const UNKNOWN: Option<(AckStatus, Option<ErrorCode>)> = Some((AckStatus::Failed, Some(ErrorCode::OutcomeUnknown)));

#[test]
fn its_begin_is_on_disk_before_it_is_run_and_its_end_is_told_with_what_it_said() {
    let mut bench = Bench::new();
    bench.log.clear();
    let command = named(&bench, 1);
    bench.deliver(&command);
    let at = |word: &str| bench.log.iter().position(|line| line.contains(word)).unwrap_or_else(|| panic!("{:?}", bench.log));
    assert!(at("append executing") < at("do run"), "{:?}", bench.log);
    assert!(bench.log[at("append executing")..at("do run")].iter().any(|line| line == "flush"), "{:?}", bench.log);
    bench.finish(&command, ran(3));
    let last = bench.acks(&command).pop().unwrap().clone();
    assert_eq!(last.status, AckStatus::Completed, "whether an exit code is good is not the agent's to say");
    assert!(matches!(&last.observed, Some(Observed::Ran(ran)) if ran.exit == Some(3) && ran.out.tail == "ok\n"));
    // A copy is answered, also after a restart, and nothing is run again.
    bench.deliver(&command);
    bench.restart(boot(1), true);
    bench.connect();
    bench.deliver(&command);
    assert_eq!((bench.done.len(), bench.acks(&command).pop().unwrap()), (1, &last));
}

#[test]
fn after_a_crash_in_the_middle_the_outcome_is_unknown_and_it_is_never_run_again() {
    for (power_cut, next) in [(false, boot(1)), (true, boot(1)), (true, boot(2))] {
        let mut bench = Bench::new();
        let command = named(&bench, 1);
        bench.deliver(&command);
        bench.restart(next, power_cut);
        bench.connect();
        assert_eq!(bench.last(&command), UNKNOWN);
        bench.deliver(&command);
        bench.wait(Millis::secs(600));
        bench.restart(next, true);
        bench.connect();
        assert_eq!((bench.done.len(), bench.last(&command)), (1, UNKNOWN));
        // It is over: what comes after it is done.
        let later = run(&bench, 2, Run::Named { name: "other".to_owned() });
        bench.deliver(&later);
        bench.finish(&later, ran(0));
        assert_eq!(bench.last(&later), Some((AckStatus::Completed, None)));
    }
}

/// Dies before each effect in turn; whatever is lost, the command is run at most once, and it ends.
#[test]
fn wherever_the_agent_dies_it_is_run_at_most_once_and_what_is_said_of_it_is_true() {
    let mut ends = [0; 3];
    for (die, power_cut) in (1..40).flat_map(|die| [(die, false), (die, true)]) {
        let mut bench = Bench::new();
        bench.die_before = Some(bench.effects() + die);
        let command = named(&bench, 1);
        for _ in 0..6 {
            bench.deliver(&command);
            if bench.done.len() == 1 && !bench.dead {
                bench.finish(&command, ran(0));
            }
            if bench.dead {
                let same = bench.boot;
                bench.restart(same, power_cut);
                bench.connect();
            }
        }
        assert!(bench.done.len() <= 1, "{die}: run {} times: {:#?}", bench.done.len(), bench.log);
        match bench.last(&command) {
            Some((AckStatus::Completed, None)) => assert_eq!(bench.done.len(), 1),
            last => assert_eq!(last, UNKNOWN, "{die}: {:#?}", bench.log),
        }
        ends[usize::from(bench.last(&command) == UNKNOWN)] += 1;
    }
    assert!(ends[0] > 0 && ends[1] > 0, "both ends are met: {ends:?}");
}

#[test]
fn one_that_was_claimed_and_not_begun_is_begun_after_a_restart_on_the_same_boot_alone() {
    for (next, runs) in [(boot(1), 1), (boot(2), 0)] {
        let mut bench = Bench::new();
        let command = named(&bench, 1);
        // Dead between the claim and the record of its begin.
        let mut die = 1;
        let begun = loop {
            let mut tried = Bench::new();
            tried.die_before = Some(tried.effects() + die);
            tried.deliver(&command);
            if tried.log.iter().any(|line| line.starts_with("append executing")) {
                break die;
            }
            die += 1;
        };
        bench.die_before = Some(bench.effects() + begun - 1);
        bench.deliver(&command);
        assert!(bench.dead && bench.done.is_empty());
        bench.restart(next, true);
        bench.connect();
        assert_eq!(bench.done.len(), runs);
        if runs == 0 {
            assert_eq!(bench.last(&command), Some((AckStatus::Failed, Some(ErrorCode::BootDiffers))));
        }
    }
}

#[test]
fn free_commands_are_run_for_users_who_are_configured_and_for_nobody_else() {
    let free = |by: &str| Run::Free { line: "uptime".to_owned(), by: by.to_owned() };
    let mut bench = Bench::new();
    let command = run(&bench, 1, free("alice"));
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::Refused), "off unless enabled on the device");
    let mut config = config();
    config.free_users.insert("alice".to_owned());
    let mut bench = Bench::with(config, true);
    bench.connect();
    let other = run(&bench, 1, free("bob"));
    bench.deliver(&other);
    assert_eq!(bench.refused(&other), Some(ErrorCode::Refused));
    let command = run(&bench, 2, free("alice"));
    bench.deliver(&command);
    bench.finish(&command, ran(0));
    assert_eq!(bench.last(&command), Some((AckStatus::Completed, None)));
}

#[test]
fn a_copy_on_another_boot_or_after_its_time_is_not_run() {
    let mut bench = Bench::new();
    let command = named(&bench, 1);
    bench.restart(boot(2), false);
    bench.connect();
    bench.deliver(&command);
    assert_eq!(bench.refused(&command), Some(ErrorCode::BootDiffers));
    let late = named(&bench, 2);
    bench.wait(Millis::secs(300));
    bench.deliver(&late);
    assert_eq!(bench.refused(&late), Some(ErrorCode::Expired));
    // Nor one that is stored, nor with a ledger that is not believed.
    let stored = named(&bench, 3);
    bench.deliver_as(&stored, true);
    assert_eq!(bench.refused(&stored), Some(ErrorCode::Retained));
}
