//! Running scenarios, inside the sandbox: each in a process of its own, with a limit, on hosts of its own; some at a time.

use std::collections::VecDeque;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};

use crate::lab::{Host, Paths};
use crate::process::{command, wait};
use crate::scenarios;
use crate::world::{HOSTS, MACHINES, SHOWN, SLOTS, Scenario, World, dir_of};

/// How a run of scenarios ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Scenarios that held.
    pub passed: usize,
    /// Scenarios that did not.
    pub failed: usize,
}

/// The line that ends a run, for the program outside that counts.
#[must_use]
pub fn summary(tally: Tally) -> String {
    format!("scenarios: {} passed, {} failed", tally.passed, tally.failed)
}

/// Reads [`summary`] back.
#[must_use]
pub fn read_summary(output: &str) -> Option<Tally> {
    let line = output.lines().rev().find_map(|line| line.strip_prefix("scenarios: "))?;
    let (passed, failed) = line.strip_suffix(" failed")?.split_once(" passed, ")?;
    Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

/// The scenarios whose names contain one of `words`; all of them without words.
///
/// # Errors
///
/// When a word fits none: a misspelt name must not pass as success.
pub fn select(words: &[String]) -> anyhow::Result<Vec<Scenario>> {
    let all = scenarios::all();
    for word in words {
        let known: Vec<&str> = all.iter().map(|one| one.name).collect();
        ensure!(all.iter().any(|one| one.name.contains(word.as_str())), "no scenario {word}; there are: {known:?}");
    }
    let wanted = |one: &Scenario| words.is_empty() || words.iter().any(|word| one.name.contains(word.as_str()));
    Ok(all.into_iter().filter(wanted).collect())
}

/// Runs scenarios, `jobs` beside each other, and tells how each ended. With `keep`, their hosts stay for a look at them.
///
/// # Errors
///
/// When a name fits none, the lab is down or a host cannot be thrown away. A failing scenario is counted, not an error.
pub fn run(paths: &Paths, words: &[String], keep: bool, jobs: u8) -> anyhow::Result<Tally> {
    let queue = Queue { state: Mutex::new((select(words)?.into(), 0)), ended: Condvar::new() };
    let worker = |slot: u8| -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        while let Some(scenario) = queue.take() {
            let held = judge(paths, &scenario, slot, keep);
            queue.give_back(&scenario);
            match held? {
                true => tally.passed += 1,
                false => tally.failed += 1,
            }
        }
        Ok(tally)
    };
    let tallies = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.clamp(1, SLOTS)).map(|slot| scope.spawn(move || worker(slot))).collect();
        workers.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow!("a worker panicked")))).collect::<Vec<_>>()
    });
    let mut total = Tally::default();
    for tally in tallies {
        let tally = tally?;
        total.passed += tally.passed;
        total.failed += tally.failed;
    }
    println!("{}", summary(total));
    Ok(total)
}

/// What waits, and how many machines are in use.
struct Queue {
    state: Mutex<(VecDeque<Scenario>, u8)>,
    ended: Condvar,
}

impl Queue {
    /// The first that there is room for; waits until there is. `None`: all have begun.
    fn take(&self) -> Option<Scenario> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let (waiting, used) = &mut *state;
            if waiting.is_empty() {
                return None;
            }
            // One that needs more than there ever is gets all of it.
            let fits = |one: &Scenario| *used == 0 || *used + one.machines <= MACHINES;
            if let Some(scenario) = waiting.iter().position(fits).and_then(|place| waiting.remove(place)) {
                *used += scenario.machines;
                return Some(scenario);
            }
            state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn give_back(&self, scenario: &Scenario) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 -= scenario.machines;
        self.ended.notify_all();
    }
}

fn hosts_of(paths: &Paths, dir: &Path) -> Vec<Host> {
    let names = std::fs::read_to_string(dir.join(HOSTS)).unwrap_or_default();
    names.lines().filter_map(|name| Host::open(paths, name).ok()).collect()
}

/// Throws away what an earlier run of this name has left: it was kept for a look, or killed.
pub(crate) fn clear(paths: &Paths, name: &str) -> anyhow::Result<()> {
    hosts_of(paths, &dir_of(paths, name)).iter().try_for_each(Host::destroy)
}

fn judge(paths: &Paths, scenario: &Scenario, slot: u8, keep: bool) -> anyhow::Result<bool> {
    let dir = dir_of(paths, scenario.name);
    std::fs::create_dir_all(&dir)?;
    // Beside its directory, which it empties when it begins.
    let output = dir.with_extension("output");
    clear(paths, scenario.name)?;
    let start = Instant::now();
    let result = one(scenario, slot, &output);
    let seconds = start.elapsed().as_secs_f32();
    let hosts = hosts_of(paths, &dir);
    match &result {
        Ok(()) => {
            let said = std::fs::read_to_string(&output).unwrap_or_default();
            let shown: String = said.lines().filter(|line| line.starts_with(SHOWN)).map(|line| format!("{line}\n")).collect();
            println!("ok     {} ({seconds:.1} s)\n{}", scenario.name, shown.trim_end_matches('\n'));
        }
        Err(error) => {
            let said = std::fs::read_to_string(&output).unwrap_or_default();
            let about: String = hosts.iter().map(tell_about).collect();
            // In one piece: others are telling, too.
            println!("{about}{said}FAILED {} ({seconds:.1} s): {error:#}", scenario.name);
        }
    }
    for host in hosts.iter().filter(|_| !keep) {
        host.destroy().with_context(|| format!("throwing {} away", host.name()))?;
    }
    Ok(result.is_ok())
}

fn one(scenario: &Scenario, slot: u8, output: &Path) -> anyhow::Result<()> {
    let log = File::create(output)?;
    let mut process: Command = command(["setpriv", "--pdeathsig", "KILL"]);
    process.arg(std::env::current_exe()?).args(["lab-inner", "scenario", scenario.name, &slot.to_string()]);
    let mut child = process.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let status = wait(&mut child, scenario.limit)?;
    ensure!(status.success(), "the reason is above");
    Ok(())
}

fn tell_about(host: &Host) -> String {
    let console = format!("--- {}: end of its console\n{}\n", host.name(), host.console_tail());
    match host.journal("-n 40") {
        Ok(journal) => format!("{console}--- {}: end of its journal\n{journal}---\n", host.name()),
        Err(error) => format!("{console}--- {}: no journal: {error:#}\n", host.name()),
    }
}

/// One scenario, in this process.
///
/// # Errors
///
/// The scenario's reason for failing.
pub fn run_here(paths: &Paths, name: &str, slot: u8) -> anyhow::Result<()> {
    let scenario = scenarios::all().into_iter().find(|one| one.name == name).context("no such scenario")?;
    (scenario.run)(&World::new(paths, name, slot)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_summary_is_read_back() {
        let tally = Tally { passed: 12, failed: 3 };
        assert_eq!(read_summary(&format!("ok a\n{}\n", summary(tally))), Some(tally));
        assert_eq!(read_summary("ok a\n"), None);
    }

    #[test]
    fn scenarios_begin_where_there_is_room_for_their_machines() {
        let one = |name, machines| Scenario { name, about: "", limit: Duration::ZERO, machines, run: |_| Ok(()) };
        let waiting = [one("a", 12), one("b", 12), one("c", 3), one("d", MACHINES + 1)];
        let queue = Queue { state: Mutex::new((waiting.into(), 0)), ended: Condvar::new() };
        let name = || queue.take().map(|scenario| scenario.name);
        assert_eq!((name(), name()), (Some("a"), Some("c")));
        queue.give_back(&waiting[0]);
        assert_eq!(name(), Some("b"));
        queue.give_back(&waiting[2]);
        let last = std::thread::scope(|scope| {
            let last = scope.spawn(name);
            queue.give_back(&waiting[1]);
            last.join().unwrap()
        });
        assert_eq!((last, name()), (Some("d"), None));
    }

    #[test]
    fn names_select_and_a_wrong_one_is_refused() {
        assert!(select(&["no such thing".to_owned()]).is_err());
        assert_eq!(select(&[]).unwrap().len(), scenarios::all().len());
        let names: BTreeSet<&str> = scenarios::all().iter().map(|one| one.name).collect();
        assert_eq!(names.len(), scenarios::all().len(), "names are unique");
    }
}
