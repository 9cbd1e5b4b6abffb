//! A rolling reboot of simulated hosts with known durations, through the real engine and driver, in virtual time: how its
//! makespan stands to list scheduling, and what the engine itself costs. Nothing fails, and nothing is written to a disk.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::future::Future;
use std::pin::pin;
use std::task::{Context as Turn, Poll, Waker};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use driver::{Append, Batch, Driver, Loaded, SendError, Store, StoreError, Transport};
use engine::{Config, Durations, Entry, Fact, Input, Outcome, Pace, Reply, limit_groups, makespan};
use model::{
    Ack, AckStatus, Action, ActionKind, Actor, BootIdentity, Check, CheckResult, Command, Drain, InstanceId, ItemState, Millis,
    Observed, OrchestrationId, RateState, Readable, Report, RolloutOptions, TargetId, Timestamp,
};
use uuid::Uuid;

use crate::bench::cpu;
use crate::planning::{CONFIG, Host, candidates, fleet, request};

const ID: OrchestrationId = OrchestrationId(Uuid::from_u128(1));
/// An answer takes so long, the end of a reboot aside.
const ANSWER: Millis = Millis(50);
/// So many inputs are decided together at most, as in the controller.
const BATCH: usize = 512;
/// The aim for 200 hosts.
const RATIO: f64 = 1.02;

/// Writes nothing, and keeps what the bench looks at.
#[derive(Default)]
struct Kept {
    facts: u64,
    started: BTreeMap<u32, Timestamp>,
    ended: BTreeMap<u32, Timestamp>,
}

impl Store for Kept {
    async fn lead(&mut self) -> Result<u64, StoreError> {
        Ok(1)
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded { epoch: 1, ..Loaded::default() })
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        for fact in batch.appends.iter().flat_map(|Append { facts, .. }| facts) {
            self.facts += 1;
            if let Fact::Orchestration(_, record) = fact {
                match &record.entry {
                    Entry::TrackStarted { track } => drop(self.started.insert(*track, record.at)),
                    Entry::TrackEnded { track, .. } => drop(self.ended.insert(*track, record.at)),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

#[derive(Default)]
struct Outbox(Vec<Command>);

impl Transport for Outbox {
    async fn send(&mut self, command: &Command) -> Result<(), SendError> {
        self.0.push(command.clone());
        Ok(())
    }
}

/// Neither the store nor the transport ever waits.
fn at_once<T>(future: impl Future<Output = T>) -> anyhow::Result<T> {
    match pin!(future).poll(&mut Turn::from_waker(Waker::noop())) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => bail!("a store in memory waits for nothing"),
    }
}

/// A host that does what it is told, and whose reboot takes what is known.
struct Machine {
    id: TargetId,
    boot: u64,
    sequence: u64,
    down_for: Millis,
    /// It is down until then.
    up_at: Timestamp,
}

impl Machine {
    fn boot(&self) -> anyhow::Result<BootIdentity> {
        Ok(BootIdentity::new(&Uuid::from_u128(self.id.0.as_u128() << 32 | u128::from(self.boot)).to_string(), 1)?)
    }

    fn report(&mut self, now: Timestamp) -> anyhow::Result<Report> {
        self.sequence += 1;
        let kinds = [
            ActionKind::Probe,
            ActionKind::StopChild,
            ActionKind::StartChild,
            ActionKind::Reboot,
            ActionKind::Observe,
            ActionKind::Drain,
            ActionKind::Undrain,
        ];
        Ok(Report {
            boot: self.boot()?,
            instance: InstanceId(Uuid::from_u128(u128::from(self.boot))),
            sequence: self.sequence,
            taken_at: now,
            agent_version: String::new(),
            protocol_version: 1,
            actions: BTreeSet::from(kinds),
            engines: BTreeSet::new(),
            children: Readable::Known(Vec::new()),
            pending_shutdown: Readable::Known(None),
            inhibitors: Readable::Known(Vec::new()),
            rate: RateState { counted: 0, limit: 3, opens_in_ms: None },
            reboot_required: Readable::Known(None),
        })
    }
}

/// What comes to pass in the world.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Up(usize),
    Heartbeat(usize),
    Answer(u64),
}

struct World {
    machines: Vec<Machine>,
    by_id: BTreeMap<TargetId, usize>,
    /// What is drained, by the name that the drain has for it.
    drained: BTreeSet<String>,
    events: BinaryHeap<Reverse<(Timestamp, Event)>>,
    answers: BTreeMap<u64, (Command, AckStatus)>,
    seen: BTreeSet<model::CommandId>,
    heartbeat: Millis,
}

impl World {
    fn of(hosts: &[Host], reboots: &[Millis], config: &Config, now: Timestamp) -> Self {
        let machine =
            |(host, down_for): (&Host, &Millis)| Machine { id: host.id, boot: 1, sequence: 0, down_for: *down_for, up_at: now };
        let machines: Vec<Machine> = hosts.iter().zip(reboots).map(machine).collect();
        let by_id = machines.iter().enumerate().map(|(index, machine)| (machine.id, index)).collect();
        let heartbeat = config.heartbeat;
        let phase = |index: usize| Millis(index as u64 * 7919 % heartbeat.0);
        let events = (0..machines.len()).map(|index| Reverse((now + phase(index), Event::Heartbeat(index)))).collect();
        let (drained, answers, seen) = Default::default();
        Self { machines, by_id, drained, events, answers, seen, heartbeat }
    }

    /// Commands that were handed over are answered in their time; a repeated one is known.
    fn take(&mut self, commands: Vec<Command>, now: Timestamp) {
        for command in commands {
            if !self.seen.insert(command.id) {
                continue;
            }
            if command.action.kind() == ActionKind::Reboot {
                self.will_answer(&command, AckStatus::Accepted, now + ANSWER);
                self.will_answer(&command, AckStatus::ExecutionStarted, now + ANSWER + ANSWER);
                if let Some(index) = self.by_id.get(&command.target).copied()
                    && let Some(machine) = self.machines.get_mut(index)
                {
                    let up_at = now + machine.down_for;
                    machine.up_at = up_at;
                    self.events.push(Reverse((up_at, Event::Up(index))));
                    self.will_answer(&command, AckStatus::Completed, up_at);
                }
            } else {
                self.will_answer(&command, AckStatus::Completed, now + ANSWER);
            }
        }
    }

    fn will_answer(&mut self, command: &Command, status: AckStatus, at: Timestamp) {
        let key = self.answers.last_key_value().map_or(0, |(key, _)| key + 1);
        self.answers.insert(key, (command.clone(), status));
        self.events.push(Reverse((at, Event::Answer(key))));
    }

    /// What the engine hears of all that has come to pass by now.
    fn inputs(&mut self, now: Timestamp) -> anyhow::Result<Vec<Input>> {
        let mut inputs = Vec::new();
        while inputs.len() < BATCH && self.events.peek().is_some_and(|Reverse((at, _))| *at <= now) {
            let Some(Reverse((_, event))) = self.events.pop() else { break };
            match event {
                Event::Up(index) | Event::Heartbeat(index) => {
                    let machine = self.machines.get_mut(index).context("a machine")?;
                    if let Event::Heartbeat(_) = event {
                        self.events.push(Reverse((now + self.heartbeat, Event::Heartbeat(index))));
                        if now < machine.up_at {
                            continue;
                        }
                    } else {
                        (machine.boot, machine.sequence) = (machine.boot + 1, 0);
                    }
                    inputs.push(Input::Reported { host: machine.id, report: Box::new(machine.report(now)?) });
                }
                Event::Answer(key) => {
                    let Some((command, status)) = self.answers.remove(&key) else { continue };
                    let ack = Box::new(self.answer(&command, status, now)?);
                    inputs.push(Input::Acked { host: command.target, ack });
                }
            }
        }
        Ok(inputs)
    }

    fn answer(&mut self, command: &Command, status: AckStatus, now: Timestamp) -> anyhow::Result<Ack> {
        let observed = match &command.action {
            Action::Probe { checks } | Action::Check { checks } => {
                let passed = |check: &Check| CheckResult { name: check.name.clone(), passed: true, detail: String::new() };
                Some(Observed::Checks(checks.iter().map(passed).collect()))
            }
            Action::Observe { drain } => Some(self.items(drain)),
            Action::Drain { drain, .. } => {
                self.drained.extend(names(drain));
                Some(self.items(drain))
            }
            Action::Undrain { drain, .. } => {
                let back = names(drain);
                self.drained.retain(|name| !back.contains(name));
                Some(self.items(drain))
            }
            _ => None,
        };
        let machine = self.by_id.get(&command.target).and_then(|index| self.machines.get_mut(*index));
        let tells = matches!(command.action, Action::Probe { .. } | Action::Reboot { .. }) && status == AckStatus::Completed;
        let (boot, report) = match machine {
            Some(machine) => (machine.boot()?, tells.then(|| machine.report(now)).transpose()?),
            None => (BootIdentity::new(&Uuid::from_u128(u128::MAX).to_string(), 1)?, None),
        };
        Ok(Ack { command: command.id, status, error: None, boot, observed, already: false, report })
    }

    fn items(&self, drain: &Drain) -> Observed {
        let item = |name: String| {
            let in_service = !self.drained.contains(&name);
            ItemState { state: if in_service { "ready" } else { "maint" }.to_owned(), in_service, name }
        };
        Observed::Items(names(drain).into_iter().map(item).collect())
    }
}

fn names(drain: &Drain) -> Vec<String> {
    match drain {
        Drain::Haproxy { servers, .. } => servers.clone(),
        Drain::Units { units } => units.clone(),
        _ => Vec::new(),
    }
}

/// One run to its end.
struct Run {
    /// From the start of the first track to the end of the last.
    took: Millis,
    /// Each track, from its start to its end.
    tracks: Vec<Millis>,
    /// Processor time inside the engine and the driver.
    cost: Duration,
    turns: u64,
    inputs: u64,
    facts: u64,
    expected: Millis,
}

fn go(count: u32, racks: u32, said: &RolloutOptions) -> anyhow::Result<Run> {
    let config: Config = toml::from_str(CONFIG)?;
    config.check()?;
    let hosts = fleet(count, racks);
    let reboots: Vec<Millis> = (0..u64::from(count)).map(|n| Millis::secs(120 + n * 7919 % 360)).collect();
    let request = request(&config, &hosts, said);
    let rollout = request.rollout.clone().context("a rollout")?;
    // What no engine can do without: the reboot, two looks at the restored host, and the soak.
    let known = |down_for: &Millis| Millis(down_for.0 + config.health_hold.0 + rollout.soak.0);
    let durations: Durations = hosts.iter().zip(&reboots).map(|(host, down_for)| (host.id, known(down_for))).collect();

    let mut now = Timestamp::from_millis(1_800_000_000_000);
    let mut world = World::of(&hosts, &reboots, &config, now);
    let started = Driver::start(config.clone(), Kept::default(), Outbox::default(), Millis::secs(2), None, now);
    let mut driver = at_once(started)??;
    let adopt = |host: &Host| Input::Adopt {
        host: host.id,
        name: host.name.clone(),
        address: host.address.clone(),
        labels: host.labels.clone(),
        by: Actor::System,
    };
    for some in hosts.chunks(BATCH) {
        at_once(driver.turn(some.iter().map(adopt).collect(), now))??;
    }
    let mut reports = Vec::new();
    for machine in &mut world.machines {
        reports.push(Input::Reported { host: machine.id, report: Box::new(machine.report(now)?) });
    }
    at_once(driver.turn(reports, now))??;

    let (mut cost, mut turns, mut inputs) = (Duration::ZERO, 0, 0);
    let mut waiting = vec![Input::Submit { id: ID, request }];
    loop {
        (turns, inputs) = (turns + 1, inputs + waiting.len() as u64);
        let begin = cpu();
        let replies = at_once(driver.turn(waiting, now))??;
        let due = driver.poll_timeout();
        cost += cpu().saturating_sub(begin);
        ensure!(!replies.iter().any(|r| matches!(r, Reply::Refused(_))), "refused: {replies:?}");
        world.take(std::mem::take(&mut driver.transport().0), now);
        if driver.engine().open().count() == 0 {
            break;
        }
        let next = world.events.peek().map(|Reverse((at, _))| *at);
        now = next.into_iter().chain(due).min().context("nothing more comes")?.max(now);
        waiting = world.inputs(now)?;
        if waiting.is_empty() {
            waiting.push(Input::Tick);
        }
    }
    let outcome = driver.engine().view(ID).and_then(|view| view.outcome);
    ensure!(outcome == Some(Outcome::Completed), "it ended as {outcome:?}");
    let groups = limit_groups(&config, &candidates(&hosts));
    let plan = engine::plan_rollout(&config, &crate::planning::request(&config, &hosts, said), &candidates(&hosts))?;
    let pace = Pace { concurrency: rollout.concurrency.of(count).max(1), stagger: Millis(0), expected: Millis(0) };
    let (_, expected) = makespan(&plan, &groups, &durations, pace);
    let (kept, _) = driver.into_parts();
    let (first, last) = (kept.started.values().min(), kept.ended.values().max());
    let took = last.zip(first).map(|(last, first)| last.since(*first)).context("no track was started")?;
    let tracks = kept.started.iter().filter_map(|(track, began)| Some(kept.ended.get(track)?.since(*began))).collect();
    Ok(Run { took, tracks, cost, turns, inputs, facts: kept.facts, expected })
}

/// 200 hosts against list scheduling, and then so many hosts for the cost.
pub(crate) fn run(targets: u32, concurrency: &str) -> anyhow::Result<()> {
    let said: RolloutOptions = toml::from_str("canary = \"1%\"\nstages = [\"10%\", \"50%\"]\nconcurrency = \"5%\"")?;
    let run = go(200, 20, &said)?;
    let ratio = run.took.0 as f64 / run.expected.0 as f64;
    println!(
        "200 hosts under limit groups: {} by the engine, {} by list scheduling in the same order: {ratio:.4} (aim: at most {RATIO})",
        run.took, run.expected
    );
    ensure!(ratio <= RATIO, "the engine loses time");

    let said: RolloutOptions = toml::from_str(&format!("canary = \"1%\"\nconcurrency = \"{concurrency}\""))?;
    let whole = Instant::now();
    let run = go(targets, targets.div_ceil(10).max(1), &said)?;
    let (took, expected) = (run.took.0 as f64, run.expected.0 as f64);
    let longest = run.tracks.iter().max().copied().unwrap_or_default();
    println!(
        "{targets} targets, {concurrency} at once: {} of virtual time ({:.4} of list scheduling, longest track {longest}), {} inputs in {} turns, {} facts",
        run.took,
        took / expected,
        run.inputs,
        run.turns,
        run.facts
    );
    println!(
        "engine and driver: {:.2} s of processor time, {:.1} µs per input ({:.1} s on the clock, with the simulated hosts)",
        run.cost.as_secs_f64(),
        run.cost.as_secs_f64() * 1e6 / run.inputs as f64,
        whole.elapsed().as_secs_f64()
    );
    Ok(())
}
