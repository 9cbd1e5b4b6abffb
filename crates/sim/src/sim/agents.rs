//! An agent's process: runs the production machine by its contract, with a crash possible at each write and each send.

use std::collections::BTreeSet;

use agent::ledger::{self, Record};
use agent::machine::{Clock, Config, Effect, Input, Machine, Reading, Token};
use model::{Ack, AckStatus, Action, ActionKind, InstanceId, Millis, ServiceVerb};
use protocol::native::DeviceBody;

use crate::fault::{CrashPoint, Fault};
use crate::sim::net::{Down, short, words_down, words_of};
use crate::sim::tools::Done;
use crate::sim::units::Asker;
use crate::sim::{Event, Sim};

/// One agent's process, or its absence.
#[derive(Debug, Default)]
pub(crate) struct Agent {
    machine: Option<Machine>,
    /// Number of this run; what an earlier run began is not answered.
    run: u64,
    instance: Option<InstanceId>,
    pub(crate) connected: bool,
    tokens: u64,
    wake_at: Option<i64>,
    /// Connects are under way.
    connecting: bool,
    /// Wakes without the time going on.
    spins: u32,
}

/// The process died here.
struct Died;

impl Sim {
    fn clock(&self, host: usize) -> Clock {
        let it = &self.hosts[host];
        Clock { wall: it.wall(self.now), wall_is_set: it.clock_set, boottime: Millis(it.uptime(self.now)) }
    }

    pub(crate) fn agent_start(&mut self, host: usize, boot: usize) {
        let h = &self.hosts[host];
        if !h.is_up() || h.boots.len() != boot + 1 || self.agents[host].machine.is_some() {
            return;
        }
        let ledger = match ledger::decode(&h.disk.read()) {
            Ok(decoded) => {
                if decoded.torn > 0 {
                    let len = self.hosts[host].disk.read().len() - decoded.torn;
                    self.hosts[host].disk.truncate(len);
                }
                // What is read is acted upon, so the production ledger flushes when it loads.
                self.hosts[host].disk.flush_quietly();
                self.checks_ledger_flushed(host);
                Ok(decoded.records)
            }
            Err(error) => {
                self.fail_ledger(host, &error.to_string());
                Err(error.to_string())
            }
        };
        let instance = InstanceId(self.rng.uuid());
        let actions = BTreeSet::from([
            ActionKind::Probe,
            ActionKind::Check,
            ActionKind::Observe,
            ActionKind::Drain,
            ActionKind::Undrain,
            ActionKind::StopChild,
            ActionKind::StartChild,
            ActionKind::Reboot,
            ActionKind::Shutdown,
            ActionKind::Run,
            ActionKind::Inspect,
            ActionKind::Watch,
            ActionKind::BackUp,
            ActionKind::Deploy,
            ActionKind::Migrate,
            ActionKind::Restart,
            ActionKind::StopUnit,
            ActionKind::Revert,
            ActionKind::Restore,
        ]);
        let config = Config::new(self.hosts[host].id, instance, self.controller_public.to_string(), actions);
        let identity = self.hosts[host].boot().identity;
        self.checks.instances.insert(instance, self.now);
        let (machine, effects) = Machine::start(config, identity, ledger, self.clock(host));
        self.note(|s| format!("{}: agent starts", s.hosts[host].name));
        let agent = &mut self.agents[host];
        let run = agent.run;
        *agent = Agent { machine: Some(machine), run, instance: Some(instance), ..Agent::default() };
        let delay = self.rng.between(50, 2_000) as i64;
        self.agents[host].connecting = true;
        self.after(delay, Event::AgentConnect { host, run });
        self.perform_effects(host, effects);
    }

    /// The process ends from outside: the host goes down, or somebody kills it.
    pub(crate) fn agent_killed(&mut self, host: usize, broker_notices: bool) {
        self.commands_left_alone(host);
        let agent = &mut self.agents[host];
        agent.run += 1;
        let was_connected = std::mem::take(&mut agent.connected);
        agent.machine = None;
        agent.wake_at = None;
        agent.connecting = false;
        if was_connected && let Some(instance) = agent.instance {
            // The last will: at once when the connection is closed, by the broker's timer when the host is just gone.
            let delay = if broker_notices { 20 } else { 45_000 };
            self.will(host, instance, delay);
        }
    }

    fn will(&mut self, host: usize, instance: InstanceId, delay: i64) {
        let body = DeviceBody::Gone { instance };
        let kind = body.topic();
        let wire = if self.scenario.sealed {
            match protocol::native::seal_device(&self.device_keys[host], self.hosts[host].id, &body) {
                Ok(bytes) => crate::sim::net::Wire::Sealed(bytes),
                Err(_) => return,
            }
        } else {
            crate::sim::net::Wire::Plain(body)
        };
        let life = self.broker_life;
        self.after(delay, Event::Up(Box::new(crate::sim::net::Up { from: host, topic: host, kind, wire, life })));
    }

    pub(crate) fn agent_crash(&mut self, host: usize) {
        if self.agents[host].machine.is_none() {
            return;
        }
        self.counts.fault(Fault::AgentCrash);
        self.note(|s| format!("{}: agent dies", s.hosts[host].name));
        self.agent_killed(host, true);
        let boot = self.hosts[host].boots.len() - 1;
        let delay = self.rng.between(1_000, 15_000) as i64;
        self.after(delay, Event::AgentStart { host, boot });
    }

    /// The connection breaks while the process goes on.
    pub(crate) fn agent_disconnected(&mut self, host: usize, gone: bool) {
        if !self.agents[host].connected {
            return;
        }
        self.agents[host].connected = false;
        if gone && let Some(instance) = self.agents[host].instance {
            self.will(host, instance, 45_000);
        }
        self.agent_input(host, Input::Disconnected);
        let run = self.agents[host].run;
        if self.agents[host].machine.is_some() && !self.agents[host].connecting {
            self.agents[host].connecting = true;
            let delay = self.rng.between(500, 20_000) as i64;
            self.after(delay, Event::AgentConnect { host, run });
        }
    }

    pub(crate) fn agent_connect(&mut self, host: usize, run: u64) {
        if self.agents[host].run != run || self.agents[host].machine.is_none() || self.agents[host].connected {
            return;
        }
        let up = self.backend.lock().broker_up;
        if !up || self.is_cut_off(host) {
            let delay = self.rng.between(1_000, 30_000) as i64;
            return self.after(delay, Event::AgentConnect { host, run });
        }
        self.agents[host].connecting = false;
        self.agents[host].connected = true;
        self.agent_input(host, Input::Connected);
    }

    pub(crate) fn agent_wake(&mut self, host: usize, run: u64) {
        let now = self.now;
        let agent = &mut self.agents[host];
        if agent.run != run || agent.wake_at.is_none_or(|at| at > now) {
            return;
        }
        agent.wake_at = None;
        self.agent_input(host, Input::Tick);
    }

    pub(crate) fn agent_done(&mut self, host: usize, run: u64, done: Done) {
        if self.agents[host].run != run || self.agents[host].machine.is_none() {
            return;
        }
        let input = match done {
            Done::Performed { command, verdict } => {
                self.command_seen(command);
                Input::Performed { command, verdict }
            }
            Done::Read { reading } => {
                if let Reading::Probe(command) = reading {
                    self.checks_probe_taken(host, command);
                }
                Input::Read { reading, host: Box::new(self.read_host(host)) }
            }
            Done::Looked { command, verdict } => Input::Looked { command, verdict },
            Done::Said { command, heard } => Input::Said { command, heard },
            Done::Unheard => Input::Unheard,
        };
        self.agent_input(host, input);
    }

    pub(crate) fn down_arrives(&mut self, down: Down) {
        let host = down.host;
        if down.life != self.broker_life || !self.agents[host].connected || self.is_cut_off(host) {
            return;
        }
        let opened = self.open_down(&down);
        self.checks_delivered(host, &opened, down.retained);
        if let Ok(body) = &opened {
            let words = words_down(body);
            let stored = if down.retained { " (retained)" } else { "" };
            self.note(|s| format!("{} receives {words}{stored}", s.hosts[host].name));
        }
        self.agents[host].tokens += 1;
        let token = Token(self.agents[host].tokens);
        self.agent_input(host, Input::Delivery { token, retained: down.retained, opened });
    }

    fn agent_input(&mut self, host: usize, input: Input) {
        let clock = self.clock(host);
        let Some(machine) = &mut self.agents[host].machine else { return };
        let effects = machine.handle(input, clock);
        self.perform_effects(host, effects);
    }

    /// All effects of one call, strictly in order, before the next call.
    fn perform_effects(&mut self, host: usize, mut effects: Vec<Effect>) {
        loop {
            match self.perform_list(host, effects) {
                Err(Died) => return self.agent_crash(host),
                Ok(None) => break,
                Ok(Some(input)) => {
                    let clock = self.clock(host);
                    let Some(machine) = &mut self.agents[host].machine else { return };
                    effects = machine.handle(input, clock);
                }
            }
        }
        self.schedule_agent(host);
    }

    fn schedule_agent(&mut self, host: usize) {
        let from = self.hosts[host].boot().from;
        let now = self.now;
        let agent = &mut self.agents[host];
        let Some(due) = agent.machine.as_ref().and_then(Machine::poll_timeout) else { return };
        let due = from.saturating_add(i64::try_from(due.0).unwrap_or(i64::MAX));
        if due <= now {
            agent.spins += 1;
            if agent.spins > 1_000 {
                self.fail(crate::sim::check::Guarantee::G6, "the agent's timer is always due: it spins");
                return;
            }
        } else {
            agent.spins = 0;
        }
        let agent = &mut self.agents[host];
        let due = due.max(now);
        if agent.wake_at.is_none_or(|at| due < at) {
            agent.wake_at = Some(due);
            let run = agent.run;
            self.at(due, Event::AgentWake { host, run });
        }
    }

    /// Performs a list; the input that must follow at once, if a ledger effect failed.
    fn perform_list(&mut self, host: usize, effects: Vec<Effect>) -> Result<Option<Input>, Died> {
        for effect in effects {
            match effect {
                Effect::Append(record) => {
                    if let Some(failed) = self.append(host, &record)? {
                        return Ok(Some(failed));
                    }
                }
                Effect::Flush => {
                    if !self.hosts[host].disk.flush() {
                        return Ok(Some(self.ledger_failed(host)));
                    }
                    self.checks_ledger_flushed(host);
                    self.pass(host, CrashPoint::AgentAfterFlush)?;
                }
                Effect::Compact(records) => {
                    self.pass(host, CrashPoint::AgentBeforeWrite)?;
                    if !self.hosts[host].disk.replace(ledger::encode_all(&records)) {
                        self.counts.fault(Fault::AgentDiskFull);
                        return Ok(Some(Input::LedgerFailed { reason: "disk full".to_owned(), undone: true }));
                    }
                    records.iter().for_each(|record| self.checks_written(host, record));
                    self.checks_ledger_flushed(host);
                    self.pass(host, CrashPoint::AgentAfterFlush)?;
                }
                Effect::Publish(body) => {
                    self.pass(host, CrashPoint::AgentBeforeSend)?;
                    if !self.say(host, *body) && self.agents[host].connected {
                        let run = self.agents[host].run;
                        self.after(30_000, Event::AgentDone { host, run, done: Box::new(Done::Unheard) });
                    }
                    self.pass(host, CrashPoint::AgentAfterSend)?;
                }
                Effect::PublishAwait { command, body, limit } => {
                    self.pass(host, CrashPoint::AgentBeforeSend)?;
                    let heard = self.say(host, *body);
                    let delay = if heard { self.rng.between(5, 300).min(limit.0) } else { limit.0 };
                    let run = self.agents[host].run;
                    let done = Box::new(Done::Said { command, heard });
                    self.after(i64::try_from(delay).unwrap_or(0), Event::AgentDone { host, run, done });
                    self.pass(host, CrashPoint::AgentAfterSend)?;
                }
                Effect::Perform(command) => {
                    self.pass(host, CrashPoint::AgentBeforeTool)?;
                    self.checks_performs(host, &command);
                    self.run_tool(host, &command);
                    self.pass(host, CrashPoint::AgentAfterTool)?;
                }
                Effect::Look { command, action }
                    if matches!(&*action, Action::Service { verb: ServiceVerb::Watch { .. }, .. }) =>
                {
                    let Action::Service { verb: ServiceVerb::Watch { hold, .. }, .. } = &*action else { continue };
                    let issued = self.checks.issued.get(&command).map(|issued| issued.command.clone());
                    let asker = Asker::Agent { run: self.agents[host].run };
                    if let Some(command) = issued {
                        self.watch_unit(host, &command, *hold, asker);
                    }
                }
                Effect::Look { command, action } => {
                    let delay = self.rng.between(20, 900) as i64;
                    let run = self.agents[host].run;
                    let (_, verdict) = match &*action {
                        Action::Probe { checks } => self.serve(host, false, command, &Action::Check { checks: checks.clone() }),
                        Action::Service { unit, verb: ServiceVerb::Inspect { checks } } => {
                            (0, self.inspect_unit(host, command, unit, checks))
                        }
                        action => self.serve(host, false, command, action),
                    };
                    self.after(delay, Event::AgentDone { host, run, done: Box::new(Done::Looked { command, verdict }) });
                }
                Effect::Read(reading) => {
                    let delay = self.rng.between(20, 900) as i64;
                    let run = self.agents[host].run;
                    self.after(delay, Event::AgentDone { host, run, done: Box::new(Done::Read { reading }) });
                }
                Effect::AckDelivery(_) => {}
            }
        }
        Ok(None)
    }

    fn append(&mut self, host: usize, record: &Record) -> Result<Option<Input>, Died> {
        self.pass(host, CrashPoint::AgentBeforeWrite)?;
        let bytes = ledger::encode(record);
        if self.dies(CrashPoint::AgentDuringWrite) {
            self.hosts[host].disk.tear(&bytes, &mut self.rng);
            self.counts.fault(Fault::LedgerTorn);
            return Err(Died);
        }
        if !self.hosts[host].disk.write(&bytes) {
            return Ok(Some(self.ledger_failed(host)));
        }
        self.checks_written(host, record);
        self.pass(host, CrashPoint::AgentBeforeFlush)?;
        Ok(None)
    }

    fn ledger_failed(&mut self, host: usize) -> Input {
        self.counts.fault(Fault::AgentDiskFull);
        let undone = self.rng.per_mille(700);
        if undone {
            self.hosts[host].disk.forget_written();
            self.checks_ledger_lost(host);
        }
        self.note(|s| format!("{}: the ledger cannot be written", s.hosts[host].name));
        Input::LedgerFailed { reason: "no space left on the disk".to_owned(), undone }
    }

    fn say(&mut self, host: usize, body: DeviceBody) -> bool {
        if let DeviceBody::Ack { ack } = &body {
            let words = words_of(&body);
            self.note(|s| format!("{} says {words}", s.hosts[host].name));
            self.checks_said(host, ack);
            self.false_word(host, ack);
        }
        self.send_up(host, body)
    }

    /// A device that is wrong about its own reboot, in a well-signed message.
    fn false_word(&mut self, host: usize, ack: &Ack) {
        let ends_boot = self.checks.issued.get(&ack.command).is_some_and(|i| i.command.action.kind().ends_boot());
        if ends_boot && ack.status == AckStatus::ExecutionStarted && self.strikes_now(Fault::FalseWord) {
            self.note(|s| format!("{} falsely says that {} is completed", s.hosts[host].name, short(ack.command)));
            let ack = Ack { status: AckStatus::Completed, error: None, report: None, ..ack.clone() };
            self.send_up(host, DeviceBody::Ack { ack });
        }
    }

    fn pass(&mut self, host: usize, point: CrashPoint) -> Result<(), Died> {
        if self.dies(point) {
            self.note(|s| format!("{}: crash point: {}", s.hosts[host].name, point.words()));
            return Err(Died);
        }
        Ok(())
    }

    fn dies(&mut self, point: CrashPoint) -> bool {
        self.agent_points += 1;
        let by_chance =
            !self.faults_over && self.scenario.has(Fault::AgentCrash) && self.rng.per_mille(self.scenario.crash_per_mille);
        let dies = by_chance || self.mode.agent_cut == Some(self.agent_points);
        self.counts.point(point, dies);
        dies
    }

    fn fail_ledger(&mut self, host: usize, why: &str) {
        let words = format!("the ledger of {} does not load: {why}", self.hosts[host].name);
        self.fail(crate::sim::check::Guarantee::G8, words);
    }
}

impl Agent {
    /// The number of this run; what an earlier run began is not answered.
    pub(crate) fn run_number(&self) -> u64 {
        self.run
    }
}
