//! Many seeds at once, and one seed told in words.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use model::broken::{self, Rule};

use crate::fault::Counts;
use crate::scenario::Scenario;
use crate::sim::check::{Guarantee, Violation};
use crate::sim::{Mode, Outcome, run};

/// What many seeds gave.
#[derive(Debug, Default)]
pub struct Sweep {
    /// What occurred, summed.
    pub counts: Counts,
    /// Seeds that were run.
    pub seeds: u64,
    /// Seeds on which a guarantee did not hold, lowest first.
    pub violations: Vec<(u64, Violation)>,
}

/// When to stop early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAt {
    /// Never: all seeds are run.
    Never,
    /// When so many seeds failed.
    Violations(usize),
    /// When this guarantee failed on one.
    First(Guarantee),
}

/// Runs seeds `from .. from + count`, with a rule broken or none, on so many threads.
pub fn sweep(from: u64, count: u64, rule: Option<Rule>, threads: usize, stop: StopAt) -> Sweep {
    let next = AtomicU64::new(from);
    let over = AtomicBool::new(false);
    let found = Mutex::new(Sweep::default());
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                let mut own = Sweep::default();
                while !over.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= from + count {
                        break;
                    }
                    let outcome = run_one(seed, rule, Mode::default());
                    own.counts.add(&outcome.counts);
                    own.seeds += 1;
                    if let Some(violation) = outcome.violation {
                        let enough = match stop {
                            StopAt::Never => false,
                            StopAt::Violations(n) => own.violations.len() + 1 >= n,
                            StopAt::First(guarantee) => violation.guarantee == guarantee,
                        };
                        over.fetch_or(enough, Ordering::Relaxed);
                        own.violations.push((seed, violation));
                    }
                }
                if let Ok(mut all) = found.lock() {
                    all.counts.add(&own.counts);
                    all.seeds += own.seeds;
                    all.violations.append(&mut own.violations);
                }
            });
        }
    });
    let mut all = found.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    all.violations.sort_by_key(|(seed, _)| *seed);
    all
}

/// Runs one seed with a rule broken or none.
pub fn run_one(seed: u64, rule: Option<Rule>, mode: Mode) -> Outcome {
    broken::set(rule);
    let outcome = run(Scenario::of(seed), mode);
    broken::set(None);
    outcome
}

/// Runs the seed's fleet with one request in a healthy world, but for the crash that the mode makes.
pub fn run_calm(seed: u64, mode: Mode) -> Outcome {
    broken::set(None);
    run(Scenario::of(seed).calm(), mode)
}

/// As [`run_calm`], with one command on all hosts that have an agent.
pub fn run_calm_run(seed: u64, mode: Mode) -> Outcome {
    broken::set(None);
    run(Scenario::of(seed).calm_run(), mode)
}

/// The story of a seed, cut to the last lines when it is long.
pub fn tell(seed: u64, rule: Option<Rule>, lines_max: usize) -> String {
    let scenario = Scenario::of(seed);
    let outcome = run_one(seed, rule, Mode { story: true, ..Mode::default() });
    let cut = outcome.story.len().saturating_sub(lines_max);
    let mut out = format!("seed {seed}: {}\n", scenario.words());
    if cut > 0 {
        out += &format!("  … {cut} earlier lines\n");
    }
    for line in &outcome.story[cut..] {
        out += line;
        out.push('\n');
    }
    match outcome.violation {
        Some(v) => out += &format!("seed {seed} breaks {}: {}\n", v.guarantee, v.words),
        None => out += &format!("seed {seed} holds\n"),
    }
    out
}
