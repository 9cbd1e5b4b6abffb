//! Seeds: the same twice, without violation, and with one where a rule is broken.

use std::collections::BTreeSet;

use sim::Mode;
use sim::kept::{ALL, FORMERLY_BROKEN, KEPT};
use sim::sweep::{StopAt, run_one, sweep, tell};

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 1..=12 {
        let (a, b) = (run_one(seed, None, Mode::default()), run_one(seed, None, Mode::default()));
        assert_eq!((a.trace, &a.ends, a.counts), (b.trace, &b.ends, b.counts), "seed {seed}");
        // Telling the story does not change it.
        let told = run_one(seed, None, Mode { story: true, ..Mode::default() });
        assert_eq!(a.trace, told.trace, "seed {seed}");
        assert!(!told.story.is_empty());
    }
}

#[test]
fn no_guarantee_fails_on_the_first_seeds() {
    let found = sweep(1, 250, None, 2, StopAt::Violations(1));
    if let Some((seed, violation)) = found.violations.first() {
        panic!("{}\n{}: {}", tell(*seed, None, 120), violation.guarantee, violation.words);
    }
    assert_eq!(found.seeds, 250);
}

#[test]
fn each_broken_rule_is_caught() {
    for (rule, guarantee, seed) in KEPT {
        let whole = run_one(*seed, None, Mode::default());
        assert!(whole.violation.is_none(), "seed {seed}, kept for {rule:?}, fails unbroken: {:?}", whole.violation);
        let broken = run_one(*seed, Some(*rule), Mode::default());
        let found = broken.violation.as_ref().map(|v| v.guarantee);
        assert_eq!(found, Some(*guarantee), "seed {seed}, {rule:?} broken: {:?}", broken.violation);
    }
}

#[test]
fn every_rule_that_can_be_broken_has_a_kept_seed() {
    let kept: BTreeSet<_> = KEPT.iter().map(|(rule, ..)| *rule).collect();
    assert_eq!(kept, ALL.iter().copied().collect());
}

#[test]
fn seeds_that_once_failed_hold() {
    for (seed, what) in FORMERLY_BROKEN {
        let outcome = run_one(*seed, None, Mode::default());
        assert!(outcome.violation.is_none(), "seed {seed} ({what}): {:?}", outcome.violation);
    }
}
