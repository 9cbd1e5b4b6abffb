//! The stages of `cargo xtask test`. To add one: a function here, a line in [`ALL`].

use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, ensure};
use e2e::lab::{Paths, image, packages, sandbox};

use crate::lab::{self, JOBS, Lab, cargo};
use crate::{tidy, traces};

/// A part of the test that is timed and counted.
pub(crate) struct Stage {
    /// Its name on the command line and in the report.
    pub(crate) name: &'static str,
    /// What it does; an error counts as one failure, whatever it has counted before.
    pub(crate) run: fn() -> anyhow::Result<Outcome>,
}

/// What a stage has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A preparation: nothing to count.
    Ready,
    /// So many tests.
    Counted { passed: usize, failed: usize },
    /// It could not be done here, and why. In CI that is a failure.
    Skipped(String),
}

/// All stages, in order.
pub(crate) const ALL: &[Stage] = &[
    Stage { name: "packages", run: install },
    Stage { name: "image", run: images },
    Stage { name: "build", run: build },
    Stage { name: "tidy", run: walls },
    Stage { name: "clippy", run: clippy },
    Stage { name: "tests", run: units },
    Stage { name: "doctests", run: doctests },
    Stage { name: "demo", run: demo },
    Stage { name: "sim", run: seeds },
    Stage { name: "lab", run: scenarios },
];

/// Outside CI the lab is left out where it cannot be: without root.
fn no_lab() -> Option<Outcome> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let root = status.lines().any(|line| line.starts_with("Uid:\t0\t"));
    (!root).then(|| Outcome::Skipped("the lab needs root".to_owned()))
}

fn install() -> anyhow::Result<Outcome> {
    if let Some(skipped) = no_lab() {
        return Ok(skipped);
    }
    for package in packages::ensure()? {
        println!("installed {package}");
    }
    Ok(Outcome::Ready)
}

fn images() -> anyhow::Result<Outcome> {
    if let Some(skipped) = no_lab() {
        return Ok(skipped);
    }
    let paths = Paths::from_environment();
    sandbox::down(&paths)?;
    let (image, built) = image::ensure(&paths)?;
    println!("{} {}", if built { "built" } else { "found" }, image.dir.display());
    Ok(Outcome::Ready)
}

fn build() -> anyhow::Result<Outcome> {
    lab::build()?;
    // Tests are compiled here, so that the time of the next stage is theirs.
    let no_run = ["test", "--locked", "--workspace", "--no-run", "--quiet"];
    lab::finish(cargo(&no_run))?;
    Ok(Outcome::Ready)
}

fn walls() -> anyhow::Result<Outcome> {
    let (passed, failed) = tidy::check()?;
    Ok(Outcome::Counted { passed, failed })
}

fn clippy() -> anyhow::Result<Outcome> {
    let present = cargo(&["clippy", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !present.is_ok_and(|status| status.success()) {
        return Ok(Outcome::Skipped("no clippy: rustup component add clippy".to_owned()));
    }
    let lints = ["clippy", "--locked", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
    lab::finish(cargo(&lints))?;
    Ok(Outcome::Counted { passed: 1, failed: 0 })
}

/// Unit and integration tests: with nextest where it is installed, otherwise with cargo's own runner.
fn units() -> anyhow::Result<Outcome> {
    let nextest = cargo(&["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if nextest.is_ok_and(|status| status.success()) {
        let said = hear(cargo(&["nextest", "run", "--locked", "--workspace", "--no-fail-fast", "--color", "never"]), true)?;
        return count_nextest(&said).context("nextest ended without a summary");
    }
    let said = hear(cargo(&["test", "--locked", "--workspace", "--all-targets", "--no-fail-fast"]), false)?;
    count_libtest(&said).context("cargo test ended without a result")
}

/// The examples in the documentation of the library, which nextest leaves out: compiled, and run where they can be.
fn doctests() -> anyhow::Result<Outcome> {
    let said = hear(cargo(&["test", "--locked", "--workspace", "--doc", "--no-fail-fast"]), false)?;
    count_doctests(&said)
}

/// What is not found cannot fail: without any example the stage would say nothing, and that is a failure.
fn count_doctests(said: &str) -> anyhow::Result<Outcome> {
    let counted = count_libtest(said).context("cargo test --doc ended without a result")?;
    ensure!(counted != Outcome::Counted { passed: 0, failed: 0 }, "no example in the documentation was found");
    Ok(counted)
}

/// Runs a command, shows what it says (on standard error with `on_stderr`) and returns it. Its exit status is in its counts.
fn hear(mut command: Command, on_stderr: bool) -> anyhow::Result<String> {
    if !on_stderr {
        return lab::pass_on(command.stdout(Stdio::piped()).spawn()?);
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"exec "$0" "$@" 2>&1"#]).arg(command.get_program()).args(command.get_args());
    lab::pass_on(shell.stdout(Stdio::piped()).spawn()?)
}

/// `     Summary [   0.1s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`
fn count_nextest(said: &str) -> Option<Outcome> {
    let line = said.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
    let (_, counts) = line.split_once("tests run: ").or_else(|| line.split_once("test run: "))?;
    let count = |word: &str| -> usize {
        let part = counts.split(", ").find(|part| part.split(' ').nth(1) == Some(word));
        part.and_then(|part| part.split(' ').next()?.parse().ok()).unwrap_or(0)
    };
    let failed = count("failed") + count("timed") + count("exec");
    Some(Outcome::Counted { passed: count("passed"), failed })
}

/// `test result: ok. 3 passed; 0 failed; 0 ignored; ...`, one for each test program.
fn count_libtest(said: &str) -> Option<Outcome> {
    let mut total = None;
    for line in said.lines().filter(|line| line.starts_with("test result: ")) {
        let count = |word: &str| -> Option<usize> {
            let before = line.split(word).next()?;
            before.split_whitespace().next_back()?.parse().ok()
        };
        let (passed, failed) = total.unwrap_or((0, 0));
        total = Some((passed + count(" passed;")?, failed + count(" failed;")?));
    }
    total.map(|(passed, failed)| Outcome::Counted { passed, failed })
}

/// The first command of the README, in the profile that is built already; a test of its own compares what it tells.
fn demo() -> anyhow::Result<Outcome> {
    lab::finish(cargo(&["run", "--locked", "--quiet", "--", "demo", "--exit"]))?;
    Ok(Outcome::Counted { passed: 1, failed: 0 })
}

/// Seeds that every test runs; a minute or two on two cores. More of them: `cargo xtask sim --seeds 20000`.
const SEEDS: usize = 4000;

fn simulator(words: &[String]) -> Command {
    let mut run = cargo(&["run", "--locked", "--quiet", "-p", "sim", "--"]);
    run.args(words);
    run
}

/// `cargo xtask sim`: the simulator, as it is asked.
pub(crate) fn simulate(words: &[String]) -> anyhow::Result<()> {
    lab::finish(simulator(words))
}

/// Counted as one test of a fleet: seeds differ in nothing but chance.
fn seeds() -> anyhow::Result<Outcome> {
    let words = ["--seeds".to_owned(), SEEDS.to_string()];
    count_seeds(&hear(simulator(&words), false)?).context("the simulator ended without a result")
}

/// `4000 seeds in 61.2 s: ...`, and either `no violation` or lines that begin with `violation: ` or `never occurred: `.
fn count_seeds(said: &str) -> Option<Outcome> {
    let ran: usize = said.lines().find_map(|line| line.split_once(" seeds in ")?.0.parse().ok())?;
    let begins = |words: &str| said.lines().filter(|line| line.starts_with(words)).count();
    let failed = begins("violation: ") + begins("never occurred: ");
    let clean = ran == SEEDS && failed == 0 && begins("no violation") == 1;
    Some(Outcome::Counted { passed: usize::from(clean), failed: if clean { 0 } else { failed.max(1) } })
}

fn scenarios() -> anyhow::Result<Outcome> {
    if let Some(skipped) = no_lab() {
        return Ok(skipped);
    }
    // Nothing to do after the stage `build`; without it, scenarios must not run on programs of yesterday.
    lab::build()?;
    let paths = Paths::from_environment();
    let (image, _) = image::ensure(&paths)?;
    let traces = traces::check(&paths, &image);
    let start = Instant::now();
    let lab = Lab::fresh(&paths)?;
    println!("the lab is up after {:.1} s", start.elapsed().as_secs_f32());
    let told = lab.scenarios(&[], false, JOBS)?;
    ensure!(told.passed + told.failed > 0, "no scenario ran");
    Ok(Outcome::Counted { passed: traces.passed + told.passed, failed: traces.failed + told.failed })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(passed: usize, failed: usize) -> Option<Outcome> {
        Some(Outcome::Counted { passed, failed })
    }

    #[test]
    fn nextest_is_counted() {
        let line = "     Summary [   2.101s] 12 tests run: 9 passed (1 slow), 2 failed, 1 timed out, 2 skipped";
        assert_eq!(count_nextest(line), counted(9, 3));
        assert_eq!(count_nextest("     Summary [   0.1s] 1 test run: 1 passed, 0 skipped"), counted(1, 0));
        assert_eq!(count_nextest("error: could not compile"), None);
    }

    #[test]
    fn seeds_are_counted() {
        assert_eq!(count_seeds("faults\n4000 seeds in 61.2 s: 65 seeds/s on 2 threads\nno violation\n"), counted(1, 0));
        let broken = "4000 seeds in 61.2 s: 65 seeds/s on 2 threads\nviolation: seed 7: G2: two reboots\n";
        assert_eq!(count_seeds(broken), counted(0, 1));
        assert_eq!(count_seeds("17 seeds in 1.0 s: 17 seeds/s on 2 threads\nno violation\n"), counted(0, 1));
        assert_eq!(count_seeds("4000 seeds in 6.0 s: 1 seeds/s on 2 threads\nnever occurred: a torn tail\n"), counted(0, 1));
        assert_eq!(count_seeds("error: could not compile"), None);
    }

    #[test]
    fn cargo_test_is_counted() {
        let said = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
                    test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(count_libtest(said), counted(4, 2));
        assert_eq!(count_libtest("error: could not compile"), None);
    }

    #[test]
    fn examples_in_the_documentation_are_counted_and_never_none() {
        let none = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        let three = none.replace("0 passed", "3 passed");
        assert_eq!(count_doctests(&format!("{none}{three}{none}")).ok(), counted(3, 0));
        assert_eq!(count_doctests(&three.replace("3 passed; 0 failed", "2 passed; 1 failed")).ok(), counted(2, 1));
        assert!(count_doctests(&none.repeat(2)).is_err());
        assert!(count_doctests("error: could not compile").is_err());
    }
}
