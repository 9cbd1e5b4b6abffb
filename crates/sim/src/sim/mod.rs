//! One run: virtual time, a heap of events, and everything that they happen to.

mod agents;
pub(crate) mod check;
mod commands;
mod controllers;
mod far;
mod net;
mod people;
mod remote;
mod service;
mod strikes;
mod tools;
mod units;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use model::{ChildStatus, CommandId, OrchestrationId, TargetId};
use protocol::native::{ControllerKey, DeviceKey};

use crate::backend::{CrashPlan, Shared};
use crate::fault::{Counts, Fault};
use crate::rng::Rng;
use crate::scenario::{HostPlan, MINUTE, START, Scenario};
use crate::sim::agents::Agent;
use crate::sim::check::{Checks, Guarantee, Violation};
use crate::sim::commands::{Execution, Fate};
use crate::sim::controllers::Controller;
use crate::sim::net::{Down, Up};
use crate::sim::remote::Remote;
use crate::sim::tools::Done;
use crate::units::Unit;
use crate::world::{Boot, Cause, FarDisk, Host, Power, Service, Time, new_boot};

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Event {
    /// A controller process starts.
    ControllerStart { controller: usize, run: u64 },
    /// A controller has something to do, or its timer is due.
    ControllerWake { controller: usize, run: u64 },
    /// A message reaches the controllers.
    Up(Box<Up>),
    /// A message reaches an agent.
    Down(Box<Down>),
    /// An agent process starts, if its host still is on this boot.
    AgentStart { host: usize, boot: usize },
    /// An agent connects.
    AgentConnect { host: usize, run: u64 },
    /// An agent's timer is due.
    AgentWake { host: usize, run: u64 },
    /// Something that an agent began is done.
    AgentDone { host: usize, run: u64, done: Box<Done> },
    /// A child changes, if its host still is on this boot.
    ChildChanges { host: usize, boot: usize, child: TargetId, status: ChildStatus, cause: Cause },
    /// A pending shutdown takes the host down.
    HostFalls { host: usize, number: u64 },
    /// A pending shutdown is taken back.
    PendingDropped { host: usize, number: u64 },
    /// A host starts.
    HostRises { host: usize },
    /// A fault that comes by time strikes.
    Strike { fault: Fault, host: usize },
    /// A fault that lasted is over.
    Heal { fault: Fault, host: usize },
    /// The command of a run comes to its end, if nothing ended it before.
    CommandEnds { host: usize, command: CommandId, fate: Fate },
    /// A watch of a service goes on.
    UnitWatched { host: usize, boot: usize, watching: Box<units::Watching> },
    /// A service crashes, or comes up at last, if it still is in this run.
    UnitChanges { host: usize, boot: usize, unit: usize, run: Option<model::InvocationId>, crash: bool },
    /// A person asks for something.
    Ask { index: usize, tries: u32 },
    /// A performer in a controller's process goes on.
    Remote { controller: usize, run: u64, host: usize, remote: Box<Remote> },
    /// A copy of the claim script that was late goes on, if its host still is on this boot.
    Far { host: usize, boot: usize, copy: Box<far::ScriptCopy> },
    /// A person looks after a rollout.
    Tend { id: OrchestrationId },
    /// No more faults from here on.
    FaultsEnd,
}

struct Queued {
    at: Time,
    number: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// How a run is to be made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode {
    /// Keep the story in words.
    pub story: bool,
    /// The controller crashes after exactly this commit, counted from 1.
    pub cut: Option<u64>,
    /// An agent crashes at exactly this crash point, counted from 1 over all agents.
    pub agent_cut: Option<u64>,
}

impl Mode {
    pub(crate) fn is_cut(&self) -> bool {
        self.cut.is_some() || self.agent_cut.is_some()
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// What occurred.
    pub counts: Counts,
    /// The guarantee that did not hold, if one did not.
    pub violation: Option<Violation>,
    /// The story in words, when it was asked for.
    pub story: Vec<String>,
    /// A digest of everything that happened.
    pub trace: u64,
    /// How each orchestration ended, in the order of acceptance.
    pub ends: Vec<Option<engine::Outcome>>,
    /// Boots of each host.
    pub boots: Vec<usize>,
    /// Transactions.
    pub commits: u64,
    /// Crash points that agents passed.
    pub agent_points: u64,
    /// What every child of every host does in the end.
    pub children: Vec<(String, ChildStatus)>,
    /// How often each host executed a command of a run.
    pub executions: Vec<usize>,
}

pub(crate) struct Sim {
    pub(crate) scenario: Scenario,
    pub(crate) mode: Mode,
    pub(crate) rng: Rng,
    pub(crate) now: Time,
    heap: BinaryHeap<Reverse<Queued>>,
    queued: u64,
    pub(crate) hosts: Vec<Host>,
    pub(crate) agents: Vec<Agent>,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) backend: Shared,
    pub(crate) controller_key: ControllerKey,
    pub(crate) controller_public: protocol::native::PublicKey,
    pub(crate) device_keys: Vec<DeviceKey>,
    pub(crate) counts: Counts,
    pub(crate) checks: Checks,
    /// Hosts cut off from the broker until then.
    pub(crate) cut_off: BTreeMap<usize, Time>,
    /// Number of the broker's life; what was under way in an earlier one is lost.
    pub(crate) broker_life: u64,
    /// Commands that were sent, for replays.
    pub(crate) old_commands: Vec<(usize, model::Command)>,
    pub(crate) faults_over: bool,
    /// Orchestrations that people know of.
    pub(crate) accepted: Vec<OrchestrationId>,
    /// Orchestrations of databases that were replaced.
    pub(crate) forgotten: BTreeSet<OrchestrationId>,
    /// Tools that were run for a command: on which boot of the host, when.
    pub(crate) tools_run: BTreeMap<CommandId, Vec<(usize, usize, Time)>>,
    /// Commands of runs that hosts began to execute: the truth, whatever is on a disk.
    pub(crate) executions: BTreeMap<CommandId, Vec<Execution>>,
    pub(crate) agent_points: u64,
    pub(crate) violation: Option<Violation>,
    pub(crate) story: Vec<String>,
    pub(crate) trace: u64,
}

/// Run one scenario to its end.
pub fn run(scenario: Scenario, mode: Mode) -> Outcome {
    let mut sim = Sim::new(scenario, mode);
    sim.schedule_everything();
    sim.go();
    sim.finish()
}

impl Sim {
    fn new(scenario: Scenario, mode: Mode) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let plan = CrashPlan {
            per_mille: if scenario.has(Fault::ControllerCrash) { scenario.crash_per_mille } else { 0 },
            after_commit: mode.cut,
            ack_lost_per_mille: if scenario.has(Fault::CommitAckLost) { scenario.crash_per_mille } else { 0 },
        };
        let mut hosts: Vec<Host> = scenario.hosts.iter().map(|h| make_host(h, &mut rng)).collect();
        let mut runs = Rng::new(scenario.seed ^ 0x0011_0217);
        for host in &mut hosts {
            let here = scenario.services.iter().filter(|s| s.host.as_ref().is_none_or(|name| *name == host.name));
            host.units = here.map(|s| Unit::new(host.id, &s.name, &s.unit, &mut runs)).collect();
        }
        let key = |rng: &mut Rng| {
            let mut seed = [0u8; 32];
            seed.chunks_mut(8).for_each(|c| c.copy_from_slice(&rng.bits().to_le_bytes()));
            seed
        };
        let controller_key = match ControllerKey::from_seed(&key(&mut rng)) {
            Ok(key) => key,
            Err(error) => unreachable!("any 32 bytes are a seed: {error}"),
        };
        let device_keys = hosts.iter().filter_map(|_| DeviceKey::from_seed(&key(&mut rng)).ok()).collect();
        Self {
            controller_public: controller_key.public(),
            controller_key,
            device_keys,
            backend: Shared::new(rng.fork(), plan),
            agents: hosts.iter().map(|_| Agent::default()).collect(),
            controllers: vec![Controller::default(), Controller::default()],
            checks: Checks::new(&hosts, &scenario),
            hosts,
            rng,
            now: START,
            heap: BinaryHeap::new(),
            queued: 0,
            counts: Counts::default(),
            cut_off: BTreeMap::new(),
            broker_life: 0,
            old_commands: Vec::new(),
            faults_over: false,
            accepted: Vec::new(),
            forgotten: BTreeSet::new(),
            tools_run: BTreeMap::new(),
            executions: BTreeMap::new(),
            agent_points: 0,
            violation: None,
            story: Vec::new(),
            trace: 0xcbf2_9ce4_8422_2325,
            scenario,
            mode,
        }
    }

    pub(crate) fn after(&mut self, delay: i64, event: Event) {
        self.at(self.now + delay.max(0), event);
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.queued += 1;
        self.heap.push(Reverse(Queued { at: at.max(self.now), number: self.queued, event }));
    }

    /// Tell something, if somebody listens.
    pub(crate) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.mode.story {
            let line = text(self);
            let elapsed = self.now - START;
            self.story.push(format!("{:>4}:{:02}.{:03}  {line}", elapsed / MINUTE, elapsed / 1000 % 60, elapsed % 1000));
        }
    }

    pub(crate) fn mix(&mut self, word: u64) {
        self.trace = (self.trace ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    }

    /// A guarantee did not hold. Only the first one counts.
    pub(crate) fn fail(&mut self, guarantee: Guarantee, words: impl Into<String>) {
        if self.violation.is_none() {
            let words = words.into();
            self.note(|_| format!("VIOLATION {guarantee}: {words}"));
            self.violation = Some(Violation { guarantee, words, at: self.now });
        }
    }

    fn schedule_everything(&mut self) {
        self.start_controller_in(0, 0);
        for host in 0..self.hosts.len() {
            if !self.hosts[host].ssh {
                let delay = self.rng.below(5_000) as i64;
                self.after(delay, Event::AgentStart { host, boot: 0 });
            }
        }
        for index in 0..self.scenario.asks.len() {
            let at = self.scenario.asks[index].at;
            self.at(at, Event::Ask { index, tries: 0 });
        }
        self.schedule_strikes();
        self.at(self.scenario.faults_end, Event::FaultsEnd);
    }

    fn go(&mut self) {
        while self.violation.is_none()
            && let Some(Reverse(Queued { at, number, event })) = self.heap.pop()
        {
            self.now = at;
            self.counts.steps += 1;
            self.mix(at as u64 ^ number << 40);
            self.happen(event);
            if self.is_over() {
                break;
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::ControllerStart { controller, run } => self.controller_start(controller, run),
            Event::ControllerWake { controller, run } => self.controller_wake(controller, run),
            Event::Up(message) => self.up_arrives(*message),
            Event::Down(message) => self.down_arrives(*message),
            Event::AgentStart { host, boot } => self.agent_start(host, boot),
            Event::AgentConnect { host, run } => self.agent_connect(host, run),
            Event::AgentWake { host, run } => self.agent_wake(host, run),
            Event::AgentDone { host, run, done } => self.agent_done(host, run, *done),
            Event::ChildChanges { host, boot, child, status, cause } => self.child_changes(host, boot, child, status, cause),
            Event::HostFalls { host, number } => {
                if let Some(pending) = self.hosts[host].pending.clone()
                    && pending.number == number
                {
                    self.host_falls(host, pending.cause, pending.off);
                }
            }
            Event::PendingDropped { host, number } => {
                if self.hosts[host].pending.as_ref().is_some_and(|p| p.number == number) {
                    self.hosts[host].pending = None;
                    self.counts.fault(Fault::ShutdownTakenBack);
                    self.note(|s| format!("{}: the pending shutdown is taken back", s.hosts[host].name));
                }
            }
            Event::HostRises { host } => self.host_rises(host),
            Event::Strike { fault, host } => self.strike(fault, host),
            Event::Heal { fault, host } => self.heal(fault, host),
            Event::CommandEnds { host, command, fate } => self.command_ends(host, command, fate),
            Event::UnitWatched { host, boot, watching } => self.unit_watched(host, boot, *watching),
            Event::UnitChanges { host, boot, unit, run, crash } => self.unit_changes(host, boot, unit, run, crash),
            Event::Ask { index, tries } => self.ask(index, tries),
            Event::Remote { controller, run, host, remote } => self.remote(controller, run, host, *remote),
            Event::Far { host, boot, copy } => self.far_wakes(host, boot, *copy),
            Event::Tend { id } => self.tend(id),
            Event::FaultsEnd => self.faults_end(),
        }
    }

    /// The boot of a host ends, and with it everything on it.
    pub(crate) fn host_falls(&mut self, host: usize, cause: Cause, stays_off: bool) {
        if !self.hosts[host].is_up() {
            return;
        }
        self.note(|s| format!("{} goes down ({})", s.hosts[host].name, words_of(cause)));
        self.mix(0xdead ^ host as u64);
        self.checks_boot_ends(host, cause);
        self.commands_cut(host);
        self.agent_killed(host, cause != Cause::PowerCut);
        let torn = self.hosts[host].go_down(self.now, cause, &mut self.rng);
        if cause == Cause::PowerCut {
            self.checks_ledger_lost(host);
        }
        if torn {
            self.counts.fault(Fault::LedgerTorn);
        }
        let never = !self.faults_over && self.scenario.has(Fault::NeverReturns) && self.rng.per_mille(250);
        if never {
            self.hosts[host].lost = true;
            self.counts.fault(Fault::NeverReturns);
            self.note(|s| format!("{} will never return", s.hosts[host].name));
        } else if stays_off {
            let delay = self.rng.between(5, 60) as i64 * MINUTE;
            self.after(delay, Event::HostRises { host });
        } else {
            let delay = match self.rng.below(10) {
                0..=1 => self.rng.between(500, 5_000),
                2..=8 => self.rng.between(10_000, 90_000),
                _ if self.scenario.healthy => 120_000,
                _ => self.rng.between(90_000, 700_000),
            };
            self.after(delay as i64, Event::HostRises { host });
        }
    }

    fn host_rises(&mut self, host: usize) {
        if self.hosts[host].power == Power::On || self.hosts[host].lost {
            return;
        }
        let now = self.now;
        self.hosts[host].come_up(now, &mut self.rng);
        if self.scenario.has(Fault::Clock1970) && !self.faults_over && self.rng.per_mille(600) {
            self.counts.fault(Fault::Clock1970);
            self.hosts[host].clock_offset = -now;
            self.hosts[host].clock_set = false;
        }
        if self.scenario.has(Fault::ListingFails) && !self.faults_over && self.rng.per_mille(600) {
            let until = now + self.rng.between(1_000, 40_000) as i64;
            self.hosts[host].listing_bad = Some((until, self.rng.per_mille(500)));
            self.counts.fault(Fault::ListingFails);
        }
        self.note(|s| format!("{} is up on boot {}", s.hosts[host].name, s.hosts[host].boot().identity));
        let boot = self.hosts[host].boots.len() - 1;
        let starting: Vec<TargetId> =
            self.hosts[host].children.iter().filter(|c| c.autostart && c.exists && !c.fails).map(|c| c.who.id).collect();
        for child in starting {
            let latest = if self.scenario.healthy { 2_500 } else { 25_000 };
            let delay = self.rng.between(500, latest) as i64;
            let status = ChildStatus::Running;
            self.after(delay, Event::ChildChanges { host, boot, child, status, cause: Cause::Boot });
        }
        self.jobs_start(host);
        self.units_start(host);
        if !self.hosts[host].ssh {
            let delay = self.rng.between(500, 12_000) as i64;
            self.after(delay, Event::AgentStart { host, boot });
        }
    }

    /// Jobs that ran before start with the host; it may come up sick.
    fn jobs_start(&mut self, host: usize) {
        let sick = !self.faults_over && self.scenario.has(Fault::ComesUpSick) && self.rng.per_mille(300);
        if sick {
            self.counts.fault(Fault::ComesUpSick);
            self.hosts[host].sick = true;
            self.note(|s| format!("{} came up, and its service does not answer", s.hosts[host].name));
        }
        self.hosts[host].needs_reboot = self.hosts[host].needs_reboot.map(|_| false);
    }

    fn child_changes(&mut self, host: usize, boot: usize, child: TargetId, status: ChildStatus, cause: Cause) {
        if self.hosts[host].boots.len() != boot + 1 || !self.hosts[host].is_up() {
            return;
        }
        let now = self.now;
        let Some(it) = self.hosts[host].child_mut(child) else { return };
        if !it.exists || it.status == status || (cause == Cause::Boot && it.status.is_up()) {
            return;
        }
        it.set(status, cause, now);
        let name = it.who.name.clone();
        self.note(|s| format!("{}/{name} is {status} ({})", s.hosts[host].name, words_of(cause)));
        if cause == Cause::Boot {
            self.checks_boot_started(host, child);
        }
    }

    fn is_over(&mut self) -> bool {
        let calming = if self.scenario.calm { 0 } else { 30 * MINUTE };
        if !self.faults_over || self.now < self.scenario.faults_end + calming {
            return false;
        }
        self.liveness()
    }

    fn finish(mut self) -> Outcome {
        let backend = self.backend.lock();
        self.counts.add(&backend.counts);
        let commits = backend.commit_count;
        let ends = self
            .accepted
            .iter()
            .map(|id| {
                backend.db.orchestrations.get(id).and_then(|j| {
                    j.iter().rev().find_map(|r| match &r.entry {
                        engine::Entry::Ended { outcome, .. } => Some(*outcome),
                        _ => None,
                    })
                })
            })
            .collect();
        drop(backend);
        self.counts.virtual_ms += (self.now - START) as u64;
        self.counts.sealed += u64::from(self.scenario.sealed);
        Outcome {
            seed: self.scenario.seed,
            counts: self.counts,
            violation: self.violation,
            story: self.story,
            trace: self.trace,
            ends,
            boots: self.hosts.iter().map(|h| h.boots.len()).collect(),
            commits,
            agent_points: self.agent_points,
            children: self.hosts.iter().flat_map(|h| &h.children).map(|c| (c.who.name.clone(), c.status)).collect(),
            executions: (0..self.hosts.len())
                .map(|host| self.executions.values().flatten().filter(|e| e.host == host).count())
                .collect(),
        }
    }

    /// The index of a host.
    pub(crate) fn host_index(&self, id: TargetId) -> Option<usize> {
        self.hosts.iter().position(|h| h.id == id)
    }

    /// The name of a host, a child or a service.
    pub(crate) fn name_of(&self, id: TargetId) -> Option<String> {
        let units = self.hosts.iter().flat_map(|h| h.units.iter().map(move |unit| (h, unit)));
        if let Some((host, unit)) = units.into_iter().find(|(_, unit)| unit.id == id) {
            return Some(format!("{} on {}", unit.service, host.name));
        }
        self.hosts.iter().find_map(|h| if h.id == id { Some(h.name.clone()) } else { h.child(id).map(|c| c.who.name.clone()) })
    }
}

pub(crate) fn words_of(cause: Cause) -> String {
    match cause {
        Cause::Command(id) => format!("by command {}", &id.to_string()[..8]),
        Cause::Rogue(id) => format!("by the command {} of a controller without limits", &id.to_string()[..8]),
        Cause::Foreign => "by someone else".to_owned(),
        Cause::PowerCut => "power cut".to_owned(),
        Cause::Boot => "by the boot".to_owned(),
        Cause::Itself => "by itself".to_owned(),
    }
}

fn make_host(plan: &HostPlan, rng: &mut Rng) -> Host {
    let from = START - rng.between(MINUTE as u64, 100 * MINUTE as u64) as i64;
    let mut host = Host {
        id: TargetId(rng.uuid()),
        name: plan.name.clone(),
        labels: plan.labels.clone(),
        power: Power::On,
        boots: vec![Boot { identity: new_boot(rng), from, ended: None }],
        pending: None,
        children: Vec::new(),
        disk: crate::disk::Disk::default(),
        clock_offset: 0,
        clock_set: true,
        inhibitors: Vec::new(),
        listing_bad: None,
        lost: false,
        clock_stepped_at: None,
        ssh: plan.ssh,
        far: FarDisk::default(),
        jobs: plan.jobs.then(Service::new),
        place: Service::new(),
        units: Vec::new(),
        sick: false,
        needs_reboot: rng.pick(&[Some(true), Some(true), Some(false), None]),
    };
    for name in &plan.children {
        let child = host.new_child(name, rng);
        host.children.push(child);
    }
    host
}
