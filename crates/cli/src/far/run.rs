//! `reveille run` (S2-18 to 29): one command on many hosts, in batches.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Instant;

use model::Millis;
use reach::ssh::{Destination, Down, RunEnd, RunEvent, RunNews, RunOptions, RunTarget, run_many};
use tokio::sync::mpsc;

use super::checks::{Asked, Asker, planned};
use super::health::until_healthy;
use super::kept::Kept;
use super::said::Said;
use crate::args::{Global, Output, RunCommand};
use crate::error::CliError;
use crate::exit::Exit;
use crate::results::{Ran, RanHost};
use crate::session;

/// News that nobody has printed yet.
const WAITING: usize = 1024;

pub(crate) async fn run(global: &Global, args: RunCommand) -> Result<Exit, CliError> {
    let (inventory, _) = super::inventory(global, "run")?;
    let hosts = super::meant(&inventory, &args.targets)?;
    let total = u32::try_from(hosts.len()).unwrap_or(u32::MAX);
    let wide = super::not_nothing(args.concurrency)?.of(total).max(1);
    let access = super::access(&global.here, &inventory)?;
    // Told before anything is done: a check that cannot be asked would stop the run after its first batch.
    let checks = match args.health_check {
        true => Some((Asker::new(access.clone())?, planned(&inventory, &hosts, args.check.as_deref())?)),
        false => None,
    };
    let target = |(name, host): &(&str, &inventory::Host)| -> Result<RunTarget, CliError> {
        let at: Destination = host.address.to_string().parse().map_err(|error| CliError::usage(format!("{name}: {error}")))?;
        Ok(RunTarget { name: (*name).to_owned(), at })
    };
    let targets: Vec<RunTarget> = hosts.iter().map(target).collect::<Result<_, _>>()?;
    let state = global.here.state_dir.clone().map_or_else(session::state_dir, Ok)?;
    let budget = args.failure_budget.of(total);
    let kept = Kept::new(&state)?;
    let mut batches = Batches {
        output: global.output,
        ran: Ran {
            command: Some(args.command.clone()),
            orchestration: None,
            kept: Some(kept.dir().to_owned()),
            failures: 0,
            failure_budget: budget,
            hosts: Vec::new(),
        },
        command: args.command,
        said: Said::new(global.output, Some(kept)),
        under_way: BTreeMap::new(),
    };
    let options = RunOptions {
        concurrency: usize::try_from(wide).unwrap_or(1),
        limit: Some(args.limit.duration()),
        down: match (args.reboots, args.no_reboots) {
            (true, _) => Down::Expected,
            (false, true) => Down::Never,
            (false, false) => Down::ByWords,
        },
        ..RunOptions::default()
    };
    let gate = inventory.config.health_gate;
    let work = batches.go(&access, &targets, options, checks.as_ref().map(|(asker, asked)| (asker, asked.as_slice())), gate);
    let interrupted = tokio::select! {
        () = work => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    batches.rest(&targets);
    let Batches { said, ran, .. } = batches;
    if interrupted {
        eprintln!("Interrupted: no further host is begun; what had begun may go on there.");
    }
    said.end(&ran)?;
    Ok(if interrupted { Exit::Detached } else { ran.exit() })
}

struct Batches {
    output: Output,
    command: String,
    /// When it is in trouble, nothing new is begun.
    said: Said,
    ran: Ran,
    /// Hosts of the batch that have begun and not ended.
    under_way: BTreeMap<usize, (String, Instant)>,
}

impl Batches {
    /// With checks: batch by batch, and after each its hosts must be healthy again. Without: a host follows when a place is free.
    async fn go(
        &mut self,
        access: &std::sync::Arc<reach::ssh::Access>,
        targets: &[RunTarget],
        options: RunOptions,
        checks: Option<(&Asker, &[Asked<'_>])>,
        gate: Millis,
    ) {
        let size = if checks.is_some() { options.concurrency } else { targets.len().max(1) };
        for batch in targets.chunks(size) {
            let budget = usize::try_from(self.ran.failure_budget).unwrap_or(usize::MAX);
            let Some(left) = budget.checked_sub(self.ran.failures).filter(|_| !self.said.is_in_trouble()) else { return };
            let from = self.ran.hosts.len();
            self.batch(access, batch, RunOptions { failures: Some(left), ..options }).await;
            if let Some((asker, asked)) = checks {
                self.check(asker, asked, batch, from, gate).await;
            }
            self.ran.failures = self.ran.hosts.iter().filter(|host| host.begun && !host.good).count();
        }
    }

    /// A row for each host that has none: it was not begun, or how it ends is not heard any more. All in the order of the targets.
    fn rest(&mut self, targets: &[RunTarget]) {
        for (name, since) in std::mem::take(&mut self.under_way).into_values() {
            let result = "was under way when this ended; it may go on there".to_owned();
            let seconds = rounded(since.elapsed().as_secs_f64());
            self.ran.hosts.push(RanHost { host: name, good: false, begun: true, exit: None, result, seconds });
        }
        let known: HashSet<&str> = self.ran.hosts.iter().map(|row| row.host.as_str()).collect();
        let missing = targets.iter().filter(|target| !known.contains(target.name.as_str()));
        let missing: Vec<RanHost> = missing.map(|target| row(&target.name, &RunEnd::NotBegun, 0.0)).collect();
        self.ran.hosts.extend(missing);
        let places: HashMap<&str, usize> = targets.iter().map(|target| target.name.as_str()).zip(0..).collect();
        self.ran.hosts.sort_by_key(|row| places.get(row.host.as_str()).copied());
        self.ran.failures = self.ran.hosts.iter().filter(|host| host.begun && !host.good).count();
    }

    async fn batch(&mut self, access: &std::sync::Arc<reach::ssh::Access>, batch: &[RunTarget], options: RunOptions) {
        let (news, mut heard) = mpsc::channel(WAITING);
        let command = self.command.clone();
        let printing = async {
            while let Some(RunEvent { host, news }) = heard.recv().await {
                let Some(target) = batch.get(host) else { continue };
                match &news {
                    RunNews::Begun => drop(self.under_way.insert(host, (target.name.clone(), Instant::now()))),
                    // At once: whatever ends this process later, how this host ended is known.
                    RunNews::Ended(end) => {
                        let took = self.under_way.remove(&host).map_or(0.0, |(_, begun)| begun.elapsed().as_secs_f64());
                        self.ran.hosts.push(row(&target.name, end, took));
                    }
                    _ => {}
                }
                self.tell(host, &target.name, &news);
                if self.said.is_in_trouble() {
                    // No further host is begun; what those under way say is not heard any more, and how they end is.
                    heard.close();
                }
            }
        };
        let (ends, ()) = tokio::join!(run_many(access, batch, &command, options, news), printing);
        for (host, (name, begun)) in std::mem::take(&mut self.under_way) {
            if let Some(end) = ends.get(host) {
                self.ran.hosts.push(row(&name, end, begun.elapsed().as_secs_f64()));
            }
        }
    }

    fn tell(&mut self, host: usize, name: &str, news: &RunNews) {
        let text = self.output == Output::Text;
        match news {
            RunNews::Said { error, line } => self.said.line(host, name, *error, line),
            RunNews::Down { why } if text => eprintln!("{name}: down; waiting for it ({why})"),
            RunNews::Back { took, .. } if text => eprintln!("{name}: back on another boot after {} s", took.as_secs()),
            RunNews::Ended(_) => self.said.end_of(host),
            RunNews::Begun | RunNews::Down { .. } | RunNews::Back { .. } => {}
        }
    }

    /// The hosts of a batch must pass their checks before the next one.
    async fn check(&mut self, asker: &Asker, asked: &[Asked<'_>], batch: &[RunTarget], from: usize, gate: Millis) {
        let good = |name: &str| self.ran.hosts.iter().skip(from).any(|host| host.host == name && host.good);
        let in_batch = |asked: &&Asked<'_>| batch.iter().any(|target| target.name == asked.name) && good(asked.name);
        let asked: Vec<Asked<'_>> = asked.iter().filter(in_batch).cloned().collect();
        if asked.is_empty() {
            return;
        }
        let health = until_healthy(asker, &asked, Some(gate.duration()), self.output).await;
        for given in health.checks.iter().filter(|given| !given.result.passed) {
            if let Some(row) = self.ran.hosts.iter_mut().skip(from).find(|row| row.host == given.host) {
                let seen = format!("check {}: {}", given.result.name, given.result.detail);
                row.result = if row.good { seen } else { format!("{}; {seen}", row.result) };
                row.good = false;
            }
        }
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

fn row(name: &str, end: &RunEnd, seconds: f64) -> RanHost {
    let exit = match end {
        RunEnd::Exit(code) | RunEnd::StayedUp { exit: code } => Some(*code),
        RunEnd::Rebooted { exit } => *exit,
        RunEnd::Signal | RunEnd::Limit | RunEnd::Gone { .. } | RunEnd::Failed(_) | RunEnd::NotBegun => None,
    };
    let result = match end {
        RunEnd::Exit(code) => format!("exit {code}"),
        RunEnd::Signal => "ended by a signal".to_owned(),
        RunEnd::Limit => "killed at its limit".to_owned(),
        RunEnd::Rebooted { .. } => "went down and is back on another boot".to_owned(),
        RunEnd::StayedUp { .. } => {
            "was to go down and is still up on the same boot; if the command reboots nobody, give --no-reboots".to_owned()
        }
        RunEnd::Gone { why } => format!("went down and is not back: {why}"),
        RunEnd::Failed(error) => error.to_string(),
        RunEnd::NotBegun => "not begun".to_owned(),
    };
    let begun = !matches!(end, RunEnd::NotBegun);
    RanHost { host: name.to_owned(), good: end.is_good(), begun, exit, result, seconds: rounded(seconds) }
}
