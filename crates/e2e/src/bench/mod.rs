//! What a restart of S3's 19 services takes on a real host: one after the other, and as many at once as their dependencies allow,
//! beside the longest chain of dependencies and beside what `systemctl` itself takes.
//!
//! Nothing is measured by the product: the makespan is read from a clock around its command, and everything else from systemd's
//! own timestamps.

mod calls;
mod chain;
mod platform;
pub mod simulated;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

pub use calls::time_here;

use crate::lab::{Host, Kind, Paths};
use crate::runner;
use crate::wait;
use crate::world::World;
use calls::Calls;
use platform::{GROUPS, SERVICES, Simulated};

const NAME: &str = "bench_services";
const PROGRAM: &str = "/usr/local/bin/lab-service";
const REVEILLE: &str = "/usr/local/bin/reveille";
const MANIFEST: &str = "/etc/reveille/reveille.toml";
/// S3: "about 28 minutes" for all of them.
const OF_S3: Duration = Duration::from_mins(28);
/// The aim for the makespan beside the longest chain.
const RATIO: f64 = 1.05;
/// The aim for what a restart costs beside what its `systemctl` calls take.
const OVERHEAD: f64 = 2.0;
/// A soak that is as good as none: a look when it begins, and one when it is over.
const SHORTEST: Duration = Duration::from_millis(1);
/// What each service takes besides its soak, at most: it ends a run that hangs.
const PATIENCE: Duration = Duration::from_mins(2);

/// What systemd has measured of one restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Restarted {
    /// When it began to stop.
    left: Duration,
    /// When it was up again.
    up: Duration,
}

impl Restarted {
    /// What the service itself took.
    fn own(self) -> Duration {
        self.up.saturating_sub(self.left)
    }
}

/// One run of the product.
struct Run {
    /// By a clock around its command, on the host.
    wall: Duration,
    /// In the order of [`SERVICES`].
    restarted: Vec<Restarted>,
}

/// All of it, on a host of its own; `reveille` is a build without pause points.
///
/// # Errors
///
/// When the lab or the product refuses, and when a figure misses its aim.
pub fn run(paths: &Paths, soak: Duration, reveille: &Path) -> anyhow::Result<()> {
    runner::clear(paths, NAME)?;
    let world = World::new(paths, NAME, 0)?;
    let host = world.host("bench", Kind::Platform)?;
    let measured = measure(&host, soak, reveille);
    if measured.is_err() {
        println!("{}", host.console_tail());
    }
    host.destroy()?;
    measured
}

fn measure(host: &Host, soak: Duration, reveille: &Path) -> anyhow::Result<()> {
    host.put_program(&std::env::current_exe()?, PROGRAM)?;
    host.put_program(reveille, REVEILLE)?;
    for service in &SERVICES {
        host.put_unit(&service.unit(), &service.unit_file(PROGRAM))?;
    }
    host.boot()?;
    host.put_file(MANIFEST, platform::manifest(soak), 0o644)?;
    let units: Vec<String> = SERVICES.iter().map(Simulated::unit).collect();
    wait::until_true("all services to run", PATIENCE, || {
        Ok(host.sh(&format!("systemctl is-active {}", units.join(" "))).is_ok())
    })?;
    let sequential = restart(host, "", soak).context("one after the other")?;
    let parallel = restart(host, "--parallel", soak).context("in parallel")?;
    let calls = calls::record(host, || {
        host.put_file(MANIFEST, platform::manifest(SHORTEST), 0o644)?;
        restart(host, "", SHORTEST).map(drop)
    })?;
    report(soak, &sequential, &parallel, &calls)
}

/// Runs it on the host itself, as root, and asks systemd what came of it.
fn restart(host: &Host, words: &str, soak: Duration) -> anyhow::Result<Run> {
    let before = restarted(host)?;
    let line = format!(
        "cd /; begun=$(date +%s%N); {REVEILLE} restart --yes {words} --output json > /root/said 2> /root/err; code=$?; \
         ended=$(date +%s%N); echo $code $((ended - begun))"
    );
    let count = u32::try_from(SERVICES.len())?;
    let said = host.ssh(&line, PATIENCE + (soak + Duration::from_secs(20)) * count)?;
    let words: Vec<&str> = said.out.split_whitespace().collect();
    let [code, nanos] = words.as_slice() else { anyhow::bail!("{}{}", said.out, said.err) };
    ensure!(*code == "0", "it ended with {code}: {}{}", host.read_file("/root/said")?, host.read_file("/root/err")?);
    let after = restarted(host)?;
    ensure!(before.iter().zip(&after).all(|(before, after)| before.up < after.left), "not all were restarted");
    Ok(Run { wall: Duration::from_nanos(nanos.parse()?), restarted: after })
}

fn restarted(host: &Host) -> anyhow::Result<Vec<Restarted>> {
    let units: Vec<String> = SERVICES.iter().map(Simulated::unit).collect();
    let show = "systemctl show --property=ActiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic --";
    let said = host.sh(&format!("{show} {}", units.join(" ")))?;
    let read = |block: &str| {
        let micros = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            anyhow::Ok(Duration::from_micros(line.with_context(|| format!("no {name} in {block}"))?.trim().parse()?))
        };
        anyhow::Ok(Restarted { left: micros("ActiveExitTimestampMonotonic")?, up: micros("ActiveEnterTimestampMonotonic")? })
    };
    let all: Vec<Restarted> = said.trim().split("\n\n").map(read).collect::<anyhow::Result<_>>()?;
    ensure!(all.len() == SERVICES.len(), "{said}");
    Ok(all)
}

/// What lies between one service's being up again and the next one's going down, the soak and the health checks taken off: the looks
/// at one, and what comes before the restart of the next. Each with the name of the first and what its `systemctl` calls take.
fn overheads(run: &Run, soak: Duration, calls: &Calls) -> Vec<(&'static str, Duration, Duration)> {
    let mut order: Vec<(&Simulated, &Restarted)> = SERVICES.iter().zip(&run.restarted).collect();
    order.sort_by_key(|(_, restarted)| restarted.left);
    let pairs = order.windows(2).filter_map(|pair| match pair {
        [(first, one), (second, next)] => Some((
            first.name,
            next.left.saturating_sub(one.up).saturating_sub(soak + calls.checks()),
            calls.between(first, second),
        )),
        _ => None,
    });
    pairs.collect()
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn report(soak: Duration, sequential: &Run, parallel: &Run, calls: &Calls) -> anyhow::Result<()> {
    let own = |run: &Run| run.restarted.iter().map(|one| one.own()).collect::<Vec<_>>();
    let all: Duration = own(sequential).iter().map(|own| *own + soak).sum();
    let (chain, names) = chain::longest(&SERVICES, &own(parallel), soak);
    let shortest = ratio(parallel.wall, chain);
    let secs = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    println!("{} services, soak {} s", SERVICES.len(), soak.as_secs());
    println!("| | by the clock | cannot be less than | ratio | aim |\n|---|---|---|---|---|");
    println!("| S3's own figure | about {} s | | | |", OF_S3.as_secs());
    println!("| one after the other | {} | {} | {:.4} | |", secs(sequential.wall), secs(all), ratio(sequential.wall, all));
    println!("| `--parallel` | {} | {} | {shortest:.4} | at most {RATIO} |", secs(parallel.wall), secs(chain));
    println!("the longest chain: {}", names.join(" → "));
    println!("| | services | one after the other, soak and own time |\n|---|---|---|");
    for (group, members) in GROUPS {
        let of_group = SERVICES.iter().zip(own(sequential)).filter(|(service, _)| service.group == group);
        let took: Duration = of_group.map(|(_, own)| own + soak).sum();
        println!("| {group} | {members} | {} |", secs(took));
    }
    let millis = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1000.0);
    let mut between = overheads(sequential, soak, calls);
    for (name, took, calls) in &between {
        println!("  {name}: {} beside {}", millis(*took), millis(*calls));
    }
    between.sort_by(|a, b| ratio(a.1, a.2).total_cmp(&ratio(b.1, b.2)));
    let median = between.get(between.len() / 2).context("no services")?;
    let worst = between.last().context("no services")?;
    println!("its health checks take {} and are not among our own", millis(calls.checks()));
    println!("| per service | our own | its `systemctl` calls | ratio | aim |\n|---|---|---|---|---|");
    for (which, (name, took, calls)) in [("median", median), ("worst", worst)] {
        let aim = if which == "median" { format!("at most {OVERHEAD}") } else { String::new() };
        println!("| {which} ({name}) | {} | {} | {:.2} | {aim} |", millis(*took), millis(*calls), ratio(*took, *calls));
    }
    ensure!(shortest <= RATIO, "the makespan is {shortest:.4} of the longest chain, at most {RATIO} was the aim");
    let overhead = ratio(median.1, median.2);
    ensure!(overhead <= OVERHEAD, "our own time is {overhead:.2} of the systemctl calls, at most {OVERHEAD} was the aim");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_two_restarts_is_ours_but_for_the_soak() {
        let secs = Duration::from_secs;
        let at = |n: u64| Restarted { left: secs(100 * n), up: secs(100 * n + 3) };
        let run = Run { wall: secs(0), restarted: (0..SERVICES.len() as u64).map(at).collect() };
        let between = overheads(&run, secs(30), &Calls::default());
        assert_eq!(between.len(), SERVICES.len() - 1);
        assert!(between.iter().all(|(_, took, _)| *took == secs(67)), "{between:?}");
        assert_eq!(run.restarted[0].own(), secs(3));
    }
}
