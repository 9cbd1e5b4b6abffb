use model::ServiceVerb;

use super::super::tests::{Host, Mounted, RUN_1, key, seen, why};
use super::*;

const RUN_2: &str = "4f9c0a6f3a1d4a3f8a52d0f0b1c2d302";

fn restart(expect: Option<&str>, reload: bool) -> ServiceVerb {
    restart_of(1, expect, reload)
}

fn restart_of(orchestration: u128, expect: Option<&str>, reload: bool) -> ServiceVerb {
    let expect = expect.map(|run| run.parse().unwrap());
    ServiceVerb::Restart { key: Some(key(orchestration)), expect, reload, grace: Millis::secs(5) }
}

#[test]
fn s3_17_a_restart_is_another_run_and_a_repeat_does_nothing() {
    for shell in crate::testing::shells() {
        let host = Host::with(&shell);
        let seen = host.seen(&restart(Some(RUN_1), false));
        assert!(seen.changed && !seen.reloaded, "{seen:?}");
        assert_eq!(seen.unit.invocation, RUN_2.parse().ok());
        assert_eq!(host.asked(), ["systemctl restart -- web.service"]);
        let verdict = host.perform(&restart(Some(RUN_1), false));
        assert!(matches!(verdict, Verdict::Completed { already: true, .. }), "{verdict:?}");
        assert_eq!(host.asked().len(), 1);
    }
}

#[test]
fn another_run_that_is_not_our_work_is_left_alone() {
    let host = Host::new();
    host.state("run", RUN_2);
    let (code, words) = why(&host.perform(&restart(Some(RUN_1), false)));
    assert!(code == ErrorCode::InvocationDiffers && words.contains("restarted by itself"), "{words}");
    let (code, words) = why(&host.perform(&restart(None, false)));
    assert!(code == ErrorCode::InvocationDiffers && words.contains("somebody else has started it"), "{words}");
    assert!(host.asked().is_empty());
}

#[test]
fn one_that_does_not_run_is_started_and_the_claim_is_of_that_run_alone() {
    let host = Host::new();
    host.state("active", "inactive");
    assert_eq!(host.seen(&restart(None, true)).unit.invocation, RUN_2.parse().ok());
    assert!(matches!(host.perform(&restart(None, true)), Verdict::Completed { already: true, .. }));
    // Much later somebody else starts it.
    host.state("run", RUN_1);
    assert_eq!(why(&host.perform(&restart(None, true))).0, ErrorCode::InvocationDiffers);
    // And it is down again: another restart, killed before it noted what came of it.
    host.state("active", "inactive");
    let mut script = host.script(&restart(None, true));
    let mut last = None;
    loop {
        match script.next(last.take().as_ref(), Millis(0)) {
            Next::Run(run) if run.argv.iter().any(|word| word == "end") => break,
            Next::Run(run) => last = Some(host.run(&run)),
            other => panic!("{other:?}"),
        }
    }
    assert!(matches!(host.perform(&restart(None, true)), Verdict::Completed { already: true, .. }));
}

/// A forced start that failed leaves its claim until the next boot.
#[test]
fn a_claim_of_another_orchestration_is_never_taken_for_ones_own() {
    for expect in [None, Some(RUN_1)] {
        let host = Host::new();
        if expect.is_none() {
            host.state("active", "inactive");
        }
        host.state("script", "case $1 in restart) echo failed > $state/active; exit 1;; esac");
        assert_eq!(why(&host.perform(&restart_of(1, expect, false))).0, ErrorCode::ToolFailed, "{expect:?}");
        assert!(host.asked().len() == 1, "{:?}", host.asked());
        // Somebody else starts it, before the next orchestration's command arrives.
        host.state("script", "");
        host.state("active", "active");
        host.state("run", RUN_2);
        let (code, words) = why(&host.perform(&restart_of(2, expect, false)));
        assert!(code == ErrorCode::InvocationDiffers, "{expect:?}: {words}");
        // Whoever asked first goes on believing that it is its own work.
        assert!(matches!(host.perform(&restart_of(1, expect, false)), Verdict::Completed { already: true, .. }), "{expect:?}");
        assert_eq!(host.asked().len(), 1, "nothing more was done to it: {expect:?}");
    }
}

/// Commands of programs from before claims had owners.
#[test]
fn a_restart_without_an_owner_knows_its_own_claim_alone() {
    let host = Host::new();
    let nameless = ServiceVerb::Restart { key: None, expect: RUN_1.parse().ok(), reload: false, grace: Millis::secs(5) };
    assert!(host.seen(&nameless).changed);
    assert!(matches!(host.perform(&nameless), Verdict::Completed { already: true, .. }));
    assert_eq!(why(&host.perform(&restart(Some(RUN_1), false))).0, ErrorCode::InvocationDiffers);
    assert_eq!(host.asked().len(), 1);
}

#[test]
fn s3_16_what_can_be_reloaded_is_and_anything_else_is_restarted() {
    let host = Host::new();
    let seen = host.seen(&restart(Some(RUN_1), true));
    assert!(seen.reloaded && seen.unit.invocation == RUN_1.parse().ok(), "{seen:?}");
    assert_eq!(host.asked(), ["systemctl reload -- web.service"]);

    let host = Host::new();
    host.state("script", "case $1 in reload) echo 'reload failed' >&2; exit 1;; esac");
    let seen = host.seen(&restart(Some(RUN_1), true));
    assert!(!seen.reloaded && seen.detail.contains("reload failed"), "{seen:?}");
    assert_eq!(host.asked(), ["systemctl reload -- web.service", "systemctl restart -- web.service"]);

    let host = Host::new();
    host.state("can_reload", "no");
    assert!(!host.seen(&restart(Some(RUN_1), true)).reloaded);
    assert_eq!(host.asked(), ["systemctl restart -- web.service"]);

    let host = Host::new();
    host.state("needs", "yes");
    let seen = host.seen(&restart(Some(RUN_1), true));
    assert!(!seen.reloaded && seen.detail.contains("unit file has changed"), "{seen:?}");
    assert_eq!(host.asked(), ["systemctl daemon-reload", "systemctl restart -- web.service"]);

    let host = Host::new();
    host.state("script", "case $1 in reload) echo failed > $state/active;; esac");
    let seen = host.seen(&restart(Some(RUN_1), true));
    assert!(!seen.reloaded && seen.detail.contains("ended at its reload"), "{seen:?}");

    let host = Host::new();
    host.state("script", &format!("case $1 in reload) echo {RUN_2} > $state/run;; esac"));
    assert_eq!(why(&host.perform(&restart(Some(RUN_1), true))).0, ErrorCode::ToolFailed);
}

/// E7: an exit code alone is never a success.
#[test]
fn e7_a_restart_that_is_not_seen_did_not_happen() {
    let perform = |script: &str| {
        let host = Host::new();
        host.state("script", script);
        why(&host.perform(&restart(Some(RUN_1), false)))
    };
    let (code, words) = perform("case $1 in restart) exit 0;; esac");
    assert!(code == ErrorCode::NotObserved && words.contains("still in the run that was to end"), "{words}");
    let (code, words) = perform("case $1 in restart) echo activating > $state/active; echo start > $state/sub; exit 0;; esac");
    assert!(code == ErrorCode::NotObserved && words.contains("activating (start) after 5 s (result success)"), "{words}");
    let failed =
        "case $1 in restart) echo failed > $state/active; echo exit-code > $state/result; echo 'Job failed' >&2; exit 1;; esac";
    let (code, words) = perform(failed);
    assert!(code == ErrorCode::ToolFailed && words.contains("result exit-code") && words.contains("Job failed"), "{words}");
    let (code, words) = perform("case $1 in restart) echo 'Access denied' >&2; exit 1;; esac");
    assert!(code == ErrorCode::Refused && words.contains("Access denied"), "{words}");
    let (code, _) = perform("case $1 in restart) echo 'no such job' >&2; exit 5;; esac");
    assert_eq!(code, ErrorCode::ToolFailed);
    let (code, _) = perform("case $1 in restart) echo gone > $state/load; echo not-found > $state/load; exit 0;; esac");
    assert_eq!(code, ErrorCode::NotFound);
    // Its own failure is no failure when the new run is seen.
    let host = Host::new();
    host.state("script", &format!("case $1 in restart) echo {RUN_2} > $state/run; exit 1;; esac"));
    assert!(host.seen(&restart(Some(RUN_1), false)).changed);
}

#[test]
fn without_a_claim_nothing_is_restarted() {
    let host = Host::new();
    std::fs::remove_dir(host.at("run")).unwrap();
    host.write("run", "");
    assert_eq!(why(&host.perform(&restart(Some(RUN_1), false))).0, ErrorCode::LedgerFailed);
    assert!(host.asked().is_empty());
}

/// On a full disk it is not there afterwards either, or another run would be taken for its work.
#[test]
fn a_claim_that_could_not_be_written_is_none() {
    let host = Host::new();
    let Some(mounted) = Mounted::at(host.at("run"), "size=16k") else { return };
    std::fs::create_dir_all(host.at(&format!("run/restarts/{}", key(1)))).unwrap();
    host.write("run/dust", &"x".repeat(16 * 1024));
    let (code, words) = why(&host.perform(&restart(Some(RUN_1), false)));
    assert!(code == ErrorCode::LedgerFailed && words.contains("No space left"), "{words}");
    assert!(host.asked().is_empty());
    host.state("run", RUN_2);
    assert_eq!(why(&host.perform(&restart(Some(RUN_1), false))).0, ErrorCode::InvocationDiffers);
    // One that was there stays, and may be of something that was done.
    host.state("run", RUN_1);
    host.write("run/dust", "");
    drop(host.run(&{
        let mut script = host.script(&restart(Some(RUN_1), true));
        let Next::Run(look) = script.next(None, Millis(0)) else { panic!("it looks") };
        let Next::Run(claim) = script.next(Some(&host.run(&look)), Millis(0)) else { panic!("it claims") };
        claim
    }));
    assert_eq!(host.asked(), ["systemctl reload -- web.service"]);
    mounted.remount("remount,ro");
    let (code, words) = why(&host.perform(&restart(Some(RUN_1), true)));
    assert!(code == ErrorCode::ToolFailed && words.contains("Read-only"), "{words}");
}

/// The claim and what is claimed are one script: killed at each of its tools, or its answer lost, a repeat ends in one new run.
#[test]
fn killed_while_it_claims_and_restarts_it_is_its_own_work_all_the_same() {
    let mut faults = 0;
    for stop in 1..10 {
        let host = Host::new();
        let struck = host.killed(&restart(Some(RUN_1), false), stop);
        faults += u32::from(struck);
        // Each start is another run: the second one means that there was one.
        assert_eq!(host.seen(&restart(Some(RUN_1), false)).unit.invocation, RUN_2.parse().ok(), "{stop}");
        if !struck {
            break;
        }
    }
    assert!(faults > 2, "{faults}");
}

#[test]
fn an_answer_that_is_lost_is_judged_by_what_is_seen_and_what_follows_claims_again() {
    let lost = |reload: bool, before: &dyn Fn(&Host)| {
        let host = Host::new();
        let mut script = host.script(&restart(Some(RUN_1), reload));
        let (mut last, mut lost, mut elapsed) = (None, false, Millis(0));
        let verdict = loop {
            match script.next(last.take().as_ref(), elapsed) {
                Next::Run(run) if !lost && run.argv[0] == "sh" => {
                    drop(host.run(&run));
                    before(&host);
                    (lost, last) = (true, Some(Output::default()));
                }
                Next::Run(run) => last = Some(host.run(&run)),
                Next::Wait(time) => elapsed = Millis(elapsed.0 + time.0),
                Next::Done(verdict) => break verdict,
            }
        };
        (verdict, host.asked())
    };
    let (verdict, asked) = lost(false, &|_| {});
    assert_eq!((seen(&verdict).unit.invocation, asked.len()), (RUN_2.parse().ok(), 1));
    let (verdict, asked) = lost(true, &|_| {});
    assert_eq!(seen(&verdict).unit.invocation, RUN_2.parse().ok(), "a reload of which nothing is known is no end");
    assert_eq!(asked, ["systemctl reload -- web.service", "systemctl restart -- web.service"]);
    // It may have been reloaded: that nothing was done cannot be said.
    let (verdict, asked) = lost(true, &|host| {
        std::fs::remove_dir_all(host.at("run")).unwrap();
        host.write("run", "");
    });
    assert_eq!((why(&verdict).0, asked.len()), (ErrorCode::ToolFailed, 1));
}

/// Killed at any step, a repeat ends in exactly one new run.
#[test]
fn cut_off_anywhere_a_repeat_ends_in_one_new_run() {
    for cut in 1..10 {
        let host = Host::new();
        let mut script = host.script(&restart(Some(RUN_1), false));
        let (mut last, mut runs) = (None, 0);
        while runs < cut {
            match script.next(last.take().as_ref(), Millis(0)) {
                Next::Run(run) => last = Some(host.run(&run)),
                Next::Done(_) => break,
                Next::Wait(_) => {}
            }
            runs += 1;
        }
        let verdict = host.perform(&restart(Some(RUN_1), false));
        assert_eq!(seen(&verdict).unit.invocation, RUN_2.parse().ok(), "{cut}: {verdict:?}");
        assert_eq!(host.asked().len(), 1, "{cut}");
    }
}
