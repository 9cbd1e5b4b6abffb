//! Which `systemctl` calls a restart makes, and what the same calls take by themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::platform::{SERVICES, Simulated};
use super::{PROGRAM, restarted};
use crate::lab::Host;
use crate::wait;

const SYSTEMCTL: &str = "/usr/bin/systemctl";
/// A health check over HTTP by itself.
const CURL: &str = "/usr/bin/curl --silent --show-error";
const LOG: &str = "/root/calls";
const LINES: &str = "/root/lines";
/// Writes down what it is asked, and asks it.
const RECORDER: &str = "#!/bin/sh\nprintf '%s\\n' \"$*\" >> /root/calls\nexec /usr/bin/systemctl.real \"$@\"\n";
/// Each call is timed so often; the median counts.
const ROUNDS: usize = 9;
/// A restart of a service that starts quickly is timed so often for each of them.
const RESTARTS: usize = 3;
const QUICK: [&str; 3] = ["sso.redis", "landing.api", "profile.api"];

/// The calls of one restart of everything, in their order, and what each takes.
#[derive(Debug, Default)]
pub(super) struct Calls {
    made: Vec<String>,
    took: HashMap<String, Duration>,
    /// What `systemctl restart` takes besides what the service takes.
    restart: Duration,
    /// What one health check takes.
    check: Duration,
}

/// Between the restart of one service and that of the next: after the restart, at the end of the soak, at the last look, and before
/// the next.
const CHECKS: u32 = 4;

impl Calls {
    /// What the health checks take that are made between two restarts, the soak taken off.
    pub(super) fn checks(&self) -> Duration {
        self.check * CHECKS
    }

    /// What the calls take that come after the restart of one service, until the restart of the next has begun; one restart is
    /// among them.
    pub(super) fn between(&self, one: &Simulated, next: &Simulated) -> Duration {
        let is_restart = |of: &Simulated, line: &String| *line == format!("restart -- {}", of.unit());
        let after = self.made.iter().skip_while(|line| !is_restart(one, line)).skip(1);
        let looks = after.take_while(|line| !is_restart(next, line));
        let all: Duration = looks.filter_map(|line| self.took.get(line)).sum();
        // The first look of a soak is made while it goes on.
        let of_soak = self.made.iter().find(|line| is_look_at(one, line)).and_then(|line| self.took.get(line));
        (all + self.restart).saturating_sub(of_soak.copied().unwrap_or_default())
    }
}

fn is_look_at(service: &Simulated, line: &str) -> bool {
    line.starts_with("show ") && line.ends_with(&format!("-- {}", service.unit()))
}

/// Records the calls of a run with the shortest soak; and then times each of them while nothing
/// else goes on.
pub(super) fn record(host: &Host, run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Calls> {
    host.shadow_program(SYSTEMCTL, RECORDER)?;
    let ran = run();
    host.unshadow_program(SYSTEMCTL)?;
    ran.context("with its calls recorded")?;
    let units: BTreeSet<String> = SERVICES.iter().map(Simulated::unit).collect();
    // What names none of the services is asked for the host, and not for a service.
    let of_service = |line: &&str| line.split(' ').any(|word| units.contains(word));
    let made: Vec<String> = host.read_file(LOG)?.lines().filter(of_service).map(str::to_owned).collect();
    let restarts = made.iter().filter(|line| line.starts_with("restart ")).count();
    ensure!(restarts == SERVICES.len(), "{restarts} restarts are among the calls: {made:?}");
    let looks: BTreeSet<&str> = made.iter().map(String::as_str).filter(|line| line.starts_with("show ")).collect();
    ensure!(looks.len() >= SERVICES.len(), "the looks: {looks:?}");
    let strange = made.iter().find(|line| !looks.contains(line.as_str()) && !line.starts_with("restart -- "));
    ensure!(strange.is_none(), "a call that is neither a look nor a restart: {strange:?}");
    let took = time(host, &looks.iter().map(|line| format!("{SYSTEMCTL} {line}")).collect::<Vec<_>>(), ROUNDS)?;
    let took = looks.iter().map(|line| (*line).to_owned()).zip(took).collect();
    let checks: Vec<String> = SERVICES.iter().map(|service| format!("{CURL} {}", service.url())).collect();
    let check = median(time(host, &checks, ROUNDS)?).context("no check was timed")?;
    Ok(Calls { made, took, restart: restart(host)?, check })
}

/// What `systemctl restart` takes besides the service's own time.
fn restart(host: &Host) -> anyhow::Result<Duration> {
    let mut besides = Vec::new();
    for (place, service) in SERVICES.iter().enumerate().filter(|(_, service)| QUICK.contains(&service.name)) {
        for _ in 0..RESTARTS {
            let took = time(host, &[format!("{SYSTEMCTL} restart -- {}", service.unit())], 1)?;
            let took = took.first().context("it was not timed")?;
            let own = restarted(host)?.get(place).context("no such service")?.own();
            besides.push(took.saturating_sub(own));
        }
    }
    median(besides).context("nothing was restarted")
}

fn median(mut all: Vec<Duration>) -> Option<Duration> {
    all.sort_unstable();
    all.get(all.len() / 2).copied()
}

/// The median of each, in their order.
fn time(host: &Host, lines: &[String], rounds: usize) -> anyhow::Result<Vec<Duration>> {
    wait::until_true("the host to be quiet", super::PATIENCE, || {
        Ok(host.sh("systemctl list-jobs --no-legend")?.trim().is_empty())
    })?;
    host.put_file(LINES, lines.join("\n"), 0o644)?;
    let said = host.sh(&format!("{PROGRAM} lab-inner time-calls {LINES} {rounds}"))?;
    let micros: Vec<u64> =
        said.lines().map(|line| line.trim().parse().context(line.to_owned())).collect::<anyhow::Result<_>>()?;
    ensure!(micros.len() == lines.len(), "{said}");
    Ok(micros.into_iter().map(Duration::from_micros).collect())
}

/// Runs on a host: runs each line of a file, all of them round after round, and prints the median of each, in
/// microseconds.
///
/// # Errors
///
/// When a call fails.
pub fn time_here(file: &str, rounds: usize) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
    let mut took: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    for _ in 0..rounds {
        for (place, line) in text.lines().enumerate() {
            let mut words = line.split(' ');
            let mut call = Command::new(words.next().context("an empty line")?);
            call.args(words).stdin(Stdio::null());
            let begun = Instant::now();
            let said = call.output()?;
            let time = begun.elapsed();
            ensure!(said.status.success(), "{line}: {}", String::from_utf8_lossy(&said.stderr));
            took.entry(place).or_default().push(time);
        }
    }
    for all in took.into_values() {
        println!("{}", median(all).unwrap_or_default().as_micros());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_of_a_service_are_those_between_two_restarts() {
        let [one, next, ..] = SERVICES;
        let look = |of: &Simulated| format!("show -- {}", of.unit());
        let restart = |of: &Simulated| format!("restart -- {}", of.unit());
        let made = vec![look(&one), restart(&one), look(&one), look(&one), look(&next), restart(&next), look(&next)];
        let millis = Duration::from_millis;
        let took = HashMap::from([(look(&one), millis(5)), (look(&next), millis(7))]);
        let calls = Calls { made, took, restart: millis(20), check: millis(9) };
        assert_eq!(calls.between(&one, &next), millis(5 + 7 + 20), "one of the looks is made while it soaks");
        assert_eq!(calls.checks(), millis(36));
    }
}
