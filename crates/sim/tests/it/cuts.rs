//! Every cut: a whole run is cut after each commit of the controller and at each crash point of the agents, goes on in a
//! healthy world, and comes to the same end.

use engine::Outcome as End;
use sim::sweep::{run_calm, run_calm_run};
use sim::{Mode, Outcome};

/// Fleets that the cuts are made on: hosts with and without children, all policies.
const SEEDS: [u64; 6] = [1, 5, 7, 13, 18, 36];
/// Fleets on which a command can go through: no limit group is full of children that were down before.
const RUN_SEEDS: [u64; 5] = [1, 5, 7, 18, 36];

fn whole(seed: u64) -> Outcome {
    let whole = run_calm(seed, Mode::default());
    assert!(whole.violation.is_none(), "seed {seed}: {:?}", whole.violation);
    assert_eq!(whole.ends, vec![Some(End::Completed)], "seed {seed}");
    whole
}

#[test]
fn a_controller_that_dies_after_any_commit_comes_to_the_same_end() {
    for seed in SEEDS {
        let whole = whole(seed);
        for cut in 1..=whole.commits {
            let it = run_calm(seed, Mode { cut: Some(cut), ..Mode::default() });
            assert!(it.violation.is_none(), "seed {seed}, cut after commit {cut}: {:?}", it.violation);
            assert_eq!((&it.ends, &it.boots), (&whole.ends, &whole.boots), "seed {seed}, cut after commit {cut}");
            assert_eq!(it.children, whole.children, "seed {seed}, cut after commit {cut}");
        }
    }
}

/// A crash between the word that a reboot begins and the tool leaves nobody who knows whether it was run: then the end is
/// `failed`, nothing was rebooted, and the children are back all the same.
#[test]
fn an_agent_that_dies_at_any_crash_point_leaves_nothing_behind() {
    for seed in SEEDS {
        let whole = whole(seed);
        let mut not_begun = 0;
        for cut in 1..=whole.agent_points {
            let it = run_calm(seed, Mode { agent_cut: Some(cut), ..Mode::default() });
            assert!(it.violation.is_none(), "seed {seed}, cut at point {cut}: {:?}", it.violation);
            assert_eq!(it.children, whole.children, "seed {seed}, cut at point {cut}");
            if it.ends == whole.ends {
                assert_eq!(it.boots, whole.boots, "seed {seed}, cut at point {cut}");
            } else {
                assert_eq!(it.ends, vec![Some(End::Failed)], "seed {seed}, cut at point {cut}");
                assert!(it.boots.iter().all(|boots| *boots == 1), "seed {seed}, cut at point {cut}");
                not_begun += 1;
            }
        }
        assert!(not_begun <= 6, "seed {seed}: {not_begun} of {} points", whole.agent_points);
    }
}

/// The same for a command on all hosts: it is executed once, or what became of it is told to be unknown.
#[test]
fn a_command_is_executed_once_whenever_the_controller_dies() {
    for seed in RUN_SEEDS {
        let whole = whole_run(seed);
        for cut in 1..=whole.commits {
            let it = run_calm_run(seed, Mode { cut: Some(cut), ..Mode::default() });
            assert!(it.violation.is_none(), "seed {seed}, cut after commit {cut}: {:?}", it.violation);
            assert_eq!((&it.ends, &it.executions), (&whole.ends, &whole.executions), "seed {seed}, cut after commit {cut}");
        }
    }
}

#[test]
fn a_command_whose_agent_dies_at_any_crash_point_is_executed_at_most_once() {
    let (mut not_begun, mut begun) = (0, 0);
    for seed in RUN_SEEDS {
        let whole = whole_run(seed);
        for cut in 1..=whole.agent_points {
            let it = run_calm_run(seed, Mode { agent_cut: Some(cut), ..Mode::default() });
            assert!(it.violation.is_none(), "seed {seed}, cut at point {cut}: {:?}", it.violation);
            assert!(it.boots.iter().all(|boots| *boots == 1), "seed {seed}, cut at point {cut}");
            if it.ends == whole.ends {
                assert_eq!(it.executions, whole.executions, "seed {seed}, cut at point {cut}");
                continue;
            }
            assert_eq!(it.ends, vec![Some(End::Unknown)], "seed {seed}, cut at point {cut}");
            let missing = whole.executions.iter().sum::<usize>() - it.executions.iter().sum::<usize>();
            assert!(missing <= 1 && it.executions.iter().all(|times| *times <= 1), "seed {seed}, cut at point {cut}");
            not_begun += missing;
            begun += 1 - missing;
        }
    }
    assert!(not_begun > 0 && begun > 0, "{not_begun} that were unknown had not begun, {begun} had");
}

fn whole_run(seed: u64) -> Outcome {
    let whole = run_calm_run(seed, Mode::default());
    assert!(whole.violation.is_none(), "seed {seed}: {:?}", whole.violation);
    assert_eq!(whole.ends, vec![Some(End::Completed)], "seed {seed}");
    let once = whole.executions.iter().all(|times| *times <= 1) && whole.executions.contains(&1);
    assert!(once, "seed {seed}: {:?}", whole.executions);
    whole
}
