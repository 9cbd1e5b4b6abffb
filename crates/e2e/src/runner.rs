//! Running scenarios, inside the sandbox: each in a process of its own, with a limit, on hosts of its own.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::lab::{Host, HostSpec, Paths, host};
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

/// What a scenario finds.
#[derive(Debug)]
pub struct World {
    /// The lab.
    pub paths: Paths,
    /// An empty directory for databases and logs; what is in it is lost when the lab goes down.
    pub dir: PathBuf,
}

impl World {
    /// Makes a host and boots it.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn boot(&self, spec: HostSpec) -> anyhow::Result<Host> {
        let host = self.host(spec)?;
        host.boot()?;
        Ok(host)
    }

    /// Makes a host that is still off, to put files on its disk first.
    ///
    /// # Errors
    ///
    /// When it exists.
    pub fn host(&self, spec: HostSpec) -> anyhow::Result<Host> {
        Host::create(&self.paths, spec)
    }

    /// A program of the product, built beside the program that is running: `reveille`, `reveille-agent`.
    ///
    /// # Errors
    ///
    /// When it has not been built.
    pub fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        let own = std::env::current_exe()?;
        let place = own.parent().context("no directory")?.join(name);
        ensure!(place.exists(), "{} is not there; build it: cargo build -p cli -p agent", place.display());
        Ok(place)
    }
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

/// Runs scenarios one after the other and tells how each ended. With `keep`, their hosts stay for a look at them.
///
/// # Errors
///
/// When a name fits none or the lab is down. A failing scenario is counted, not an error.
pub fn run(paths: &Paths, words: &[String], keep: bool) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    for scenario in select(words)? {
        let before: BTreeSet<String> = host::names(paths)?.into_iter().collect();
        let start = Instant::now();
        let result = one(&scenario);
        let seconds = start.elapsed().as_secs_f32();
        match &result {
            Ok(()) => {
                tally.passed += 1;
                println!("ok     {} ({seconds:.1} s)", scenario.name);
            }
            Err(error) => {
                tally.failed += 1;
                println!("FAILED {} ({seconds:.1} s): {error:#}", scenario.name);
            }
        }
        for name in host::names(paths)?.into_iter().filter(|name| !before.contains(name)) {
            let host = Host::open(paths, &name)?;
            if result.is_err() {
                tell_about(&host);
            }
            if !keep {
                host.destroy().with_context(|| format!("throwing {name} away"))?;
            }
        }
    }
    println!("{}", summary(tally));
    Ok(tally)
}

fn one(scenario: &Scenario) -> anyhow::Result<()> {
    let mut process: Command = command(["setpriv", "--pdeathsig", "KILL"]);
    let mut child = process.arg(std::env::current_exe()?).args(["lab-inner", "scenario", scenario.name]).spawn()?;
    let status = wait(&mut child, scenario.limit)?;
    ensure!(status.success(), "the reason is above");
    Ok(())
}

fn tell_about(host: &Host) {
    println!("--- {}: end of its console\n{}", host.name(), host.console_tail());
    if let Ok(journal) = host.journal("-n 40") {
        println!("--- {}: end of its journal\n{journal}---", host.name());
    }
}

/// One scenario, in this process.
///
/// # Errors
///
/// The scenario's reason for failing.
pub fn run_here(paths: &Paths, name: &str) -> anyhow::Result<()> {
    let scenario = scenarios::all().into_iter().find(|one| one.name == name).context("no such scenario")?;
    let dir = paths.run().join("scenarios").join(name);
    if dir.exists() {
        std::fs::remove_dir_all(&dir)?;
    }
    std::fs::create_dir_all(&dir)?;
    (scenario.run)(&World { paths: paths.clone(), dir })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_read_back() {
        let tally = Tally { passed: 12, failed: 3 };
        assert_eq!(read_summary(&format!("ok a\n{}\n", summary(tally))), Some(tally));
        assert_eq!(read_summary("ok a\n"), None);
    }

    #[test]
    fn names_select_and_a_wrong_one_is_refused() {
        assert!(select(&["no such thing".to_owned()]).is_err());
        assert_eq!(select(&[]).unwrap().len(), scenarios::all().len());
        let names: BTreeSet<&str> = scenarios::all().iter().map(|one| one.name).collect();
        assert_eq!(names.len(), scenarios::all().len(), "names are unique");
    }
}
