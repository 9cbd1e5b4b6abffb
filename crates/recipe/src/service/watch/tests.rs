use model::CheckKind;
use model::ServiceVerb;

use super::super::Places;
use super::super::tests::{RUN_1, UNIT, seen, why};
use super::*;
use crate::HOOKS_DIR;
use crate::testing::{drive, said};

const GOOD: &str = "LoadState=loaded\nActiveState=active\nSubState=running\nInvocationID=4f9c0a6f3a1d4a3f8a52d0f0b1c2d301\n\
                    NRestarts=1\nResult=success\nCanReload=no\nNeedDaemonReload=no\nFragmentPath=/x\nDropInPaths=\n";

/// Looks and checks are answered by what time it is.
fn watch(answer: impl Fn(&str, Millis) -> Output) -> (String, Verdict) {
    let checks =
        vec![Check { name: "health".into(), kind: CheckKind::Command { argv: vec!["probe".into()] }, limit: Millis(900) }];
    let verb = ServiceVerb::Watch {
        invocation: RUN_1.parse().ok(),
        restarts: 1,
        checks,
        hold: Millis::secs(30),
        every: Millis::secs(20),
    };
    drive(super::super::script(&Places::default(), UNIT, &verb, HOOKS_DIR), |line, now| (answer(line, now), Millis(10)))
}

fn from(time: u64, good: &str, bad: &str) -> impl Fn(&str, Millis) -> Output {
    let (good, bad) = (good.to_owned(), bad.to_owned());
    move |line, now| {
        said(if line == "probe" {
            ""
        } else if now >= Millis(time) {
            &bad
        } else {
            &good
        })
    }
}

#[test]
fn s3_19_a_soak_looks_twice_a_second_and_ends_with_a_look_and_a_check() {
    let (story, verdict) = watch(|line, _| said(if line == "probe" { "" } else { GOOD }));
    let seen = seen(&verdict);
    assert!(seen.trouble.is_none() && seen.is_healthy() && seen.checks.len() == 1, "{seen:?}");
    let at = |part: &str| -> Vec<u64> {
        let lines = story.lines().filter(|line| line.contains(part));
        lines
            .map(|line| line.split(':').next().unwrap().replace("0 s", "0 ms").trim_end_matches(" ms").parse().unwrap_or(0))
            .collect()
    };
    let (looks, probes) = (at(" show "), at(": probe"));
    assert!(looks.len() >= 58, "{} looks", looks.len());
    assert_eq!(probes.len(), 2, "one when it is due, and one at the end: {story}");
    let last: Vec<&str> = story.lines().rev().take(3).collect();
    assert!(last[1].contains("probe") && last[2].contains(" show "), "{last:?}");
}

#[test]
fn s3_82_what_is_not_as_it_was_ends_the_soak_at_once() {
    let other = GOOD.replace("d301", "d302");
    for (bad, words) in [
        (GOOD.replace("ActiveState=active", "ActiveState=failed"), "the unit is failed"),
        (GOOD.replace("ActiveState=active", "ActiveState=activating"), "the unit is activating"),
        (other, "in another run"),
        (GOOD.replace("NRestarts=1", "NRestarts=3"), "started it again, 2 times"),
        (GOOD.replace("Result=success", "Result=oom-kill"), "result oom-kill"),
        (GOOD.replace("InvocationID=4f9c0a6f3a1d4a3f8a52d0f0b1c2d301", "InvocationID="), "not known to systemd"),
        (GOOD.replace("loaded", "not-found").replace("ActiveState=active", "ActiveState=inactive"), "the unit is not-found"),
    ] {
        let (story, verdict) = watch(from(5000, GOOD, &bad));
        let trouble = seen(&verdict).trouble.unwrap_or_default();
        assert!(trouble.contains(words), "{words}: {trouble:?}");
        assert!(story.lines().count() < 30, "it ends at once: {story}");
    }
}

#[test]
fn a_check_that_fails_once_ends_it() {
    let no = Output { exit: Some(1), stderr: "503".into(), ..Output::default() };
    let (_, verdict) = watch(|line, _| if line == "probe" { no.clone() } else { said(GOOD) });
    let seen = seen(&verdict);
    assert_eq!(seen.trouble.as_deref(), Some("health: 503 (exit 1)"));
    assert!(!seen.checks[0].passed && seen.unit.is_up());
}

#[test]
fn a_look_that_cannot_be_read_is_made_again_for_a_while() {
    // For four seconds: nothing is wrong.
    let gap = |to: u64| {
        move |line: &str, now: Millis| {
            let blind = now > Millis(3000) && now < Millis(to);
            said(if line == "probe" {
                ""
            } else if blind {
                "no bus"
            } else {
                GOOD
            })
        }
    };
    assert_eq!(seen(&watch(gap(7000)).1).trouble, None);
    let trouble = seen(&watch(gap(60_000)).1).trouble.unwrap_or_default();
    assert!(trouble.contains("could not be looked at for 5 s"), "{trouble}");
    assert_eq!(why(&watch(|_, _| said("")).1).0, ErrorCode::NotObserved);
}
