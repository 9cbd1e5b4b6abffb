//! A host around the machine: a disk that knows what was flushed, clocks, and a log of what was said and done.

use std::collections::BTreeSet;

use model::{
    Ack, AckStatus, Action, ActionKind, BootIdentity, ChildKind, ChildRef, Command, CommandId, ErrorCode, Fence, InstanceId,
    Millis, OrchestrationId, PendingShutdown, Readable, TargetId, Timestamp,
};
use protocol::native::{ControllerBody, DeviceBody};
use recipe::{HostReading, Verdict};
use uuid::Uuid;

use crate::ledger::{decode, encode, encode_all};
use crate::machine::{Clock, Config, Effect, Input, Machine, Reading, Token};

/// Wall clock of the bench at its start.
pub(crate) const T0: i64 = 1_700_000_000_000;

pub(crate) fn boot(n: u64) -> BootIdentity {
    BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", n).unwrap()
}

pub(crate) fn host() -> TargetId {
    TargetId(Uuid::from_u128(7))
}

pub(crate) fn child(name: &str) -> ChildRef {
    let id = TargetId::of_child(host(), ChildKind::Lxd, name);
    ChildRef { id, kind: ChildKind::Lxd, name: name.to_owned(), stable_id: name.to_owned() }
}

pub(crate) struct Bench {
    pub(crate) machine: Machine,
    /// What survives a power cut, and what was written on top of it.
    pub(crate) disk: (Vec<u8>, Vec<u8>),
    pub(crate) boot: BootIdentity,
    pub(crate) up: Millis,
    pub(crate) wall: Timestamp,
    pub(crate) wall_is_set: bool,
    pub(crate) said: Vec<DeviceBody>,
    pub(crate) done: Vec<Command>,
    pub(crate) looked: Vec<(CommandId, Action)>,
    pub(crate) acked: Vec<Token>,
    /// Every effect, in order, in short.
    pub(crate) log: Vec<String>,
    pub(crate) disk_full: bool,
    /// A failed write leaves its bytes behind.
    pub(crate) dirty: bool,
    pub(crate) pending: Readable<Option<PendingShutdown>>,
    /// The process dies before the effect of this number.
    pub(crate) die_before: Option<usize>,
    pub(crate) dead: bool,
    pub(crate) answer_time: bool,
    pub(crate) config: Config,
    effects: usize,
    tokens: u64,
}

pub(crate) fn config() -> Config {
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
    ]);
    Config::new(host(), InstanceId(Uuid::from_u128(1)), "key-1".to_owned(), actions)
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut bench = Self::off();
        bench.connect();
        bench
    }

    /// Started, not connected.
    pub(crate) fn off() -> Self {
        Self::with(config(), true)
    }

    pub(crate) fn with(config: Config, wall_is_set: bool) -> Self {
        let clock = Clock { wall: Timestamp::from_millis(T0), wall_is_set, boottime: Millis::secs(60) };
        let (machine, effects) = Machine::start(config.clone(), boot(1), Ok(Vec::new()), clock);
        let mut bench = Self {
            machine,
            disk: Default::default(),
            boot: boot(1),
            up: Millis::secs(60),
            wall: Timestamp::from_millis(T0),
            wall_is_set,
            said: Vec::new(),
            done: Vec::new(),
            looked: Vec::new(),
            acked: Vec::new(),
            log: Vec::new(),
            disk_full: false,
            dirty: false,
            pending: Readable::Known(None),
            die_before: None,
            dead: false,
            answer_time: true,
            config,
            effects: 0,
            tokens: 0,
        };
        bench.run(effects);
        bench.settle();
        bench
    }

    pub(crate) fn clock(&self) -> Clock {
        Clock { wall: self.wall, wall_is_set: self.wall_is_set, boottime: self.up }
    }

    /// Starts the agent again: after a kill (same boot) or a reboot; `power_cut` loses what was not flushed.
    pub(crate) fn restart(&mut self, boot: BootIdentity, power_cut: bool) {
        if power_cut {
            self.disk.1 = self.disk.0.clone();
        }
        if boot != self.boot {
            self.up = Millis::secs(20);
        }
        (self.boot, self.dead, self.die_before) = (boot, false, None);
        self.config.instance = InstanceId(Uuid::from_u128(self.config.instance.0.as_u128() + 1));
        let ledger = decode(&self.disk.1);
        if let Ok(decoded) = &ledger {
            let whole = self.disk.1.len() - decoded.torn;
            self.disk.1.truncate(whole);
            self.disk.0 = self.disk.1.clone();
        }
        let ledger = ledger.map(|d| d.records).map_err(|e| e.to_string());
        let (machine, effects) = Machine::start(self.config.clone(), boot, ledger, self.clock());
        self.machine = machine;
        self.log.push("START".to_owned());
        self.run(effects);
        self.settle();
    }

    pub(crate) fn connect(&mut self) {
        self.input(Input::Connected);
    }

    pub(crate) fn wait(&mut self, time: Millis) {
        let end = self.up.0 + time.0;
        while !self.dead {
            let next = self.machine.poll_timeout().map_or(end, |at| at.0.clamp(self.up.0, end));
            self.wall = self.wall + Millis(next - self.up.0);
            self.up = Millis(next);
            if next == end {
                break;
            }
            self.input(Input::Tick);
        }
        self.settle();
    }

    pub(crate) fn input(&mut self, input: Input) {
        if self.dead {
            return;
        }
        let effects = self.machine.handle(input, self.clock());
        self.run(effects);
        self.settle();
    }

    pub(crate) fn deliver(&mut self, command: &Command) -> Token {
        self.deliver_as(command, false)
    }

    pub(crate) fn deliver_as(&mut self, command: &Command, retained: bool) -> Token {
        self.tokens += 1;
        let token = Token(self.tokens);
        let body = Box::new(ControllerBody::Command { command: command.clone() });
        self.input(Input::Delivery { token, retained, opened: Ok(body) });
        token
    }

    pub(crate) fn finish(&mut self, command: &Command, verdict: Verdict) {
        self.input(Input::Performed { command: command.id, verdict });
    }

    fn settle(&mut self) {
        for turn in 0.. {
            assert!(turn < 1000, "the machine is never content: {:?}", self.log);
            if self.dead || self.machine.poll_timeout().is_none_or(|at| at > self.up) {
                return;
            }
            let effects = self.machine.handle(Input::Tick, self.clock());
            self.run(effects);
        }
    }

    fn run(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.effects += 1;
            if self.die_before == Some(self.effects) {
                self.dead = true;
            }
            if self.dead {
                return;
            }
            let mut answer = None;
            match effect {
                Effect::Append(record) => {
                    self.log.push(format!("append {}", name(&record)));
                    if self.disk_full {
                        let line = encode(&record);
                        self.disk.1.extend(&line[..if self.dirty { line.len() } else { 0 }]);
                        return self.fail();
                    }
                    self.disk.1.extend(encode(&record));
                }
                Effect::Flush => {
                    self.log.push("flush".to_owned());
                    self.disk.0 = self.disk.1.clone();
                }
                Effect::Compact(records) => {
                    self.log.push("compact".to_owned());
                    if self.disk_full {
                        return self.fail();
                    }
                    self.disk = (encode_all(&records), encode_all(&records));
                }
                Effect::Publish(body) => {
                    self.log.push(format!("say {}", words(&body)));
                    if let (DeviceBody::Hello { nonce, .. }, true) = (&*body, self.answer_time) {
                        let time = Box::new(ControllerBody::Time { nonce: nonce.clone(), now: self.wall });
                        answer = Some(Input::Delivery { token: Token(0), retained: false, opened: Ok(time) });
                    }
                    self.said.push(*body);
                }
                Effect::PublishAwait { command, body, .. } => {
                    self.log.push(format!("say {} and wait", words(&body)));
                    self.said.push(*body);
                    answer = Some(Input::Said { command, heard: true });
                }
                Effect::Perform(command) => {
                    self.log.push(format!("do {}", command.action.kind()));
                    self.done.push(*command);
                }
                Effect::Look { command, action } => {
                    self.log.push("look".to_owned());
                    self.looked.push((command, *action));
                }
                Effect::Read(reading) => {
                    if !matches!(reading, Reading::Hello | Reading::Heartbeat) {
                        self.log.push("read".to_owned());
                    }
                    answer = Some(Input::Read { reading, host: Box::new(self.reading()) });
                }
                Effect::AckDelivery(token) => self.acked.push(token),
            }
            if let Some(answer) = answer {
                let effects = self.machine.handle(answer, self.clock());
                self.run(effects);
            }
        }
    }

    fn fail(&mut self) {
        let failed = Input::LedgerFailed { reason: "no space left on device".to_owned(), undone: !self.dirty };
        let effects = self.machine.handle(failed, self.clock());
        self.run(effects);
    }

    fn reading(&self) -> HostReading {
        HostReading {
            engines: BTreeSet::from([ChildKind::Lxd]),
            children: Readable::Known(Vec::new()),
            pending_shutdown: self.pending.clone(),
            inhibitors: Readable::Known(Vec::new()),
            reboot_required: Readable::Known(None),
            needs_restarting: None,
        }
    }

    pub(crate) fn command(&self, n: u64, action: Action) -> Command {
        Command {
            id: CommandId(Uuid::from_u128(1000 + u128::from(n))),
            target: host(),
            subject: action.child().map_or(host(), |c| c.id),
            action,
            orchestration: OrchestrationId(Uuid::from_u128(2)),
            attempt: 1,
            fence: Fence { epoch: 1, position: n },
            issued_at: self.wall,
            expires_at: self.wall + Millis::secs(240),
        }
    }

    pub(crate) fn reboot(&self, n: u64) -> Command {
        let expect_boot = self.boot;
        self.command(n, Action::Reboot { expect_boot, begin_within: Millis::secs(120), ignore_inhibitors: false })
    }

    pub(crate) fn stop(&self, n: u64, name: &str) -> Command {
        self.command(n, Action::StopChild { child: child(name), grace: Millis::secs(120), force: false })
    }

    pub(crate) fn start(&self, n: u64, name: &str) -> Command {
        self.command(n, Action::StartChild { child: child(name), frozen: false, limit: Millis::secs(120) })
    }

    pub(crate) fn acks(&self, command: &Command) -> Vec<&Ack> {
        let acks = self.said.iter().filter_map(|body| match body {
            DeviceBody::Ack { ack } if ack.command == command.id => Some(ack),
            _ => None,
        });
        acks.collect()
    }

    pub(crate) fn last(&self, command: &Command) -> Option<(AckStatus, Option<ErrorCode>)> {
        self.acks(command).last().map(|ack| (ack.status, ack.error.as_ref().map(|e| e.code)))
    }

    pub(crate) fn refused(&self, command: &Command) -> Option<ErrorCode> {
        assert!(!self.done.iter().any(|c| c.id == command.id), "it was performed");
        self.last(command)?.1
    }

    pub(crate) fn rate(&self) -> model::RateState {
        let rate = self.said.iter().rev().find_map(|body| match body {
            DeviceBody::Report { report } | DeviceBody::Hello { report, .. } => Some(report.rate.clone()),
            _ => None,
        });
        rate.unwrap()
    }

    pub(crate) fn effects(&self) -> usize {
        self.effects
    }

    /// A whole reboot: obeyed, down and up again on the next boot, `away` later.
    pub(crate) fn reboot_whole(&mut self, n: u64) -> Command {
        let command = self.reboot(n);
        self.deliver(&command);
        assert!(self.done.iter().any(|c| c.id == command.id), "refused: {:?}", self.last(&command));
        self.finish(&command, Verdict::Ordered);
        self.wall = self.wall + Millis::secs(40);
        self.restart(boot(100 + n), true);
        self.connect();
        assert_eq!(self.last(&command), Some((AckStatus::Completed, None)));
        command
    }
}

fn name(record: &crate::ledger::Record) -> String {
    let value = serde_json::to_value(record).unwrap();
    value["record"].as_str().unwrap().to_owned()
}

fn words(body: &DeviceBody) -> String {
    match body {
        DeviceBody::Ack { ack } => ack.status.to_string(),
        DeviceBody::Report { .. } => "report".to_owned(),
        DeviceBody::Hello { .. } => "hello".to_owned(),
        DeviceBody::Gone { .. } => "gone".to_owned(),
    }
}
