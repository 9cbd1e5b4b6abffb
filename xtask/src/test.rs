//! `cargo xtask test`: all stages, their times, one total.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};

use crate::stages::{ALL, Outcome, Stage};

/// Runs the stages (all of them without names) and prints, as the last line, `N passed, N failed`.
pub(crate) fn run(names: &[String]) -> anyhow::Result<()> {
    for name in names {
        let known: Vec<&str> = ALL.iter().map(|stage| stage.name).collect();
        ensure!(known.contains(&name.as_str()), "no stage {name}; there are: {}", known.join(", "));
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true" || value == "1");
    let chosen = ALL.iter().filter(|stage| names.is_empty() || names.iter().any(|name| name == stage.name));
    let mut report = Report::default();
    for stage in chosen {
        println!("=== {}", stage.name);
        let start = Instant::now();
        let outcome = (stage.run)();
        report.add(stage, outcome, start.elapsed(), in_ci);
    }
    // What stages wrote to standard error comes before it: both are unbuffered or flushed by now.
    println!("{}", report.text());
    std::io::stdout().flush()?;
    if report.failed > 0 {
        // No word of ours after the total line.
        std::process::exit(1);
    }
    if report.passed == 0 && names.is_empty() {
        bail!("nothing was tested");
    }
    Ok(())
}

#[derive(Default)]
struct Report {
    lines: Vec<String>,
    passed: usize,
    failed: usize,
}

impl Report {
    fn add(&mut self, stage: &Stage, outcome: anyhow::Result<Outcome>, time: Duration, in_ci: bool) {
        let words = match outcome {
            Ok(Outcome::Ready) => "ready".to_owned(),
            Ok(Outcome::Counted { passed, failed }) => {
                self.passed += passed;
                self.failed += failed;
                format!("{passed} of {}", passed + failed)
            }
            Ok(Outcome::Skipped(reason)) => {
                self.failed += usize::from(in_ci);
                format!("skipped{}: {reason}", if in_ci { ", which is a failure in CI" } else { "" })
            }
            Err(error) => {
                self.failed += 1;
                format!("FAILED: {error:#}")
            }
        };
        let line = format!("{:10} {:7.1} s  {words}", stage.name, time.as_secs_f32());
        println!("{line}");
        self.lines.push(line);
    }

    fn text(&self) -> String {
        format!("=== summary\n{}\n{} passed, {} failed", self.lines.join("\n"), self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAGE: Stage = Stage { name: "a", run: || Ok(Outcome::Ready) };

    fn report(in_ci: bool) -> Report {
        let mut report = Report::default();
        report.add(&STAGE, Ok(Outcome::Counted { passed: 4, failed: 0 }), Duration::ZERO, in_ci);
        report.add(&STAGE, Ok(Outcome::Skipped("no root".to_owned())), Duration::ZERO, in_ci);
        report
    }

    #[test]
    fn a_skipped_part_fails_in_ci_only() {
        assert_eq!(report(false).failed, 0);
        assert_eq!(report(true).failed, 1);
    }

    #[test]
    fn the_total_is_the_last_line_and_an_error_counts() {
        let mut report = report(false);
        report.add(&STAGE, Err(anyhow::anyhow!("broken")), Duration::ZERO, false);
        assert_eq!(report.text().lines().last(), Some("4 passed, 1 failed"));
        assert!(report.text().contains("broken"));
    }
}
