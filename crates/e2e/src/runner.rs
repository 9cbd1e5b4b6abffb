//! Running scenarios, inside the sandbox: each in a process of its own, with a limit, on hosts of its own; some at a time.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, ensure};

use crate::lab::{Host, HostSpec, Kind, Paths};
use crate::process::{command, wait};
use crate::scenarios;

/// One scenario: a story on real machines.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called on the command line and in the documents.
    pub name: &'static str,
    /// One line for a reader.
    pub about: &'static str,
    /// How long it may take before it is killed and counts as failed.
    pub limit: Duration,
    /// The story. Its error is the reason for the failure.
    pub run: fn(&World) -> anyhow::Result<()>,
}

/// What a scenario finds. Scenarios run beside each other: numbers and ports come from here, not from the scenario.
#[derive(Debug)]
pub struct World {
    /// The lab.
    pub paths: Paths,
    /// An empty directory for databases and logs; what is in it is lost when the lab goes down.
    pub dir: PathBuf,
    slot: u8,
    numbers: Cell<u8>,
    ports: Cell<u16>,
}

/// How many scenarios can run beside each other.
pub const SLOTS: u8 = 6;

/// Addresses that each of them has for its hosts and children, from [`FIRST_NUMBER`] on.
const NUMBERS: u8 = 36;
const FIRST_NUMBER: u8 = 32;

/// How a line begins that tells what a scenario has shown; printed with its result.
const SHOWN: &str = "       - ";

/// Where a scenario's list of its own hosts lies in its directory.
const HOSTS: &str = "hosts";

impl World {
    fn new(paths: &Paths, scenario: &str, slot: u8) -> anyhow::Result<Self> {
        ensure!(slot < SLOTS, "there are {SLOTS} slots");
        let dir = dir_of(paths, scenario);
        if dir.exists() {
            std::fs::remove_dir_all(&dir)?;
        }
        std::fs::create_dir_all(&dir)?;
        Ok(Self { paths: paths.clone(), dir, slot, numbers: Cell::new(0), ports: Cell::new(0) })
    }

    /// The next free number for an address `10.77.0.NUMBER` of a host or child.
    ///
    /// # Errors
    ///
    /// When the scenario has used all of its numbers.
    pub fn number(&self) -> anyhow::Result<u8> {
        let used = self.numbers.get();
        ensure!(used < NUMBERS, "a scenario has {NUMBERS} addresses");
        self.numbers.set(used + 1);
        Ok(FIRST_NUMBER + self.slot * NUMBERS + used)
    }

    /// Tells what was shown, with figures; it is printed with the scenario's result.
    pub fn shown(&self, what: impl std::fmt::Display) {
        println!("{SHOWN}{what}");
    }

    /// The next free port on the sandbox's own address.
    pub fn port(&self) -> u16 {
        let used = self.ports.get();
        self.ports.set(used + 1);
        20_000 + u16::from(self.slot) * 1_000 + used
    }

    /// Makes a host that is still off, to put files on its disk first. Its name is `prefix` and its number.
    ///
    /// # Errors
    ///
    /// When the lab refuses it: see [`Host::create`].
    pub fn host(&self, prefix: &str, kind: Kind) -> anyhow::Result<Host> {
        let number = self.number()?;
        let spec = HostSpec { name: format!("{prefix}{number}"), number, kind };
        // Listed first: what is made only in part is thrown away, too.
        let mut list = File::options().create(true).append(true).open(self.dir.join(HOSTS))?;
        writeln!(list, "{}", spec.name)?;
        Host::create(&self.paths, spec)
    }

    /// Makes a host and boots it.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn boot(&self, prefix: &str, kind: Kind) -> anyhow::Result<Host> {
        let host = self.host(prefix, kind)?;
        host.boot()?;
        Ok(host)
    }

    /// [`Host::three_children`], with addresses of this scenario.
    ///
    /// # Errors
    ///
    /// When LXD refuses.
    pub fn three_children(&self, host: &Host) -> anyhow::Result<()> {
        host.three_children([self.number()?, self.number()?, self.number()?])
    }

    /// A program of the product, as it is built for the lab: `reveille`, `reveille-agent`.
    ///
    /// # Errors
    ///
    /// When it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let place = programs()?.join("debug").join(name);
        ensure!(place.exists(), "{} is not there; `cargo xtask lab test` builds it", place.display());
        Ok(place)
    }
}

/// The target directory of the programs that scenarios put to work. One of their own: they have pause points, which no
/// program outside the lab has.
///
/// # Errors
///
/// When the place of the running program is not known.
pub fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    Ok(own.parent().and_then(Path::parent).context("no directory")?.join("lab"))
}

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
    let waiting: Mutex<VecDeque<Scenario>> = Mutex::new(select(words)?.into());
    let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let worker = |slot: u8| -> anyhow::Result<Tally> {
        let mut tally = Tally::default();
        while let Some(scenario) = next() {
            match judge(paths, &scenario, slot, keep)? {
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

fn dir_of(paths: &Paths, scenario: &str) -> PathBuf {
    paths.run().join("scenarios").join(scenario)
}

fn hosts_of(paths: &Paths, dir: &Path) -> Vec<Host> {
    let names = std::fs::read_to_string(dir.join(HOSTS)).unwrap_or_default();
    names.lines().filter_map(|name| Host::open(paths, name).ok()).collect()
}

fn judge(paths: &Paths, scenario: &Scenario, slot: u8, keep: bool) -> anyhow::Result<bool> {
    let dir = dir_of(paths, scenario.name);
    std::fs::create_dir_all(&dir)?;
    // Beside its directory, which it empties when it begins.
    let output = dir.with_extension("output");
    // Kept by an earlier run for a look at them.
    hosts_of(paths, &dir).iter().try_for_each(Host::destroy)?;
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

    use super::*;

    #[test]
    fn a_summary_is_read_back() {
        let tally = Tally { passed: 12, failed: 3 };
        assert_eq!(read_summary(&format!("ok a\n{}\n", summary(tally))), Some(tally));
        assert_eq!(read_summary("ok a\n"), None);
    }

    #[test]
    fn scenarios_beside_each_other_share_no_address() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths { root: dir.path().to_owned() };
        let mut seen = BTreeSet::new();
        for slot in 0..SLOTS {
            let world = World::new(&paths, &format!("s{slot}"), slot).unwrap();
            for _ in 0..NUMBERS {
                assert!(seen.insert(world.number().unwrap()));
            }
            assert!(world.number().is_err());
        }
        assert!(seen.iter().all(|number| (2..=254).contains(number)));
        assert!(World::new(&paths, "one too many", SLOTS).is_err());
    }

    #[test]
    fn names_select_and_a_wrong_one_is_refused() {
        assert!(select(&["no such thing".to_owned()]).is_err());
        assert_eq!(select(&[]).unwrap().len(), scenarios::all().len());
        let names: BTreeSet<&str> = scenarios::all().iter().map(|one| one.name).collect();
        assert_eq!(names.len(), scenarios::all().len(), "names are unique");
    }
}
