//! The machine itself: inputs, the steps of open commands, and one ledger transaction per call.

use std::collections::{BTreeMap, VecDeque};

use model::broken::{self, Rule};
use model::{Ack, AckStatus, Action, BootIdentity, Command, CommandId, ErrorCode, Millis, Observed, Readable, ServiceVerb};
use protocol::native::DeviceBody;
use recipe::{HostReading, Verdict};

use super::admit::{expired, under};
use super::clock::{Anchor, moment};
use super::state::State;
use super::{Clock, Config, Effect, Input, Reading, Refusal, Token};
use crate::ledger::{LEDGER_VERSION, Moment, Record};

const UNSEEN: &str = "the agent ended while the command ran, or right before: whether it was done, and how it ended, is not known; look at the host";

/// A ledger of so many records is written anew, shorter.
const COMPACT_AT: usize = 256;

/// See the module's documentation for the contract.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    pub(super) boot: BootIdentity,
    pub(super) state: State,
    /// Where each open command is.
    pub(super) flows: BTreeMap<CommandId, Flow>,
    /// Why the ledger is not believed.
    pub(super) corrupt: Option<String>,
    pub(super) connected: bool,
    pub(super) anchor: Option<Anchor>,
    /// The nonce of the last hello, and when it was said.
    pub(super) asked: Option<(String, Millis)>,
    /// The controller's time came on this connection.
    pub(super) time_heard: bool,
    /// Commands wait for the controller's time until then.
    pub(super) time_until: Millis,
    pub(super) held: VecDeque<Held>,
    pub(super) refused: VecDeque<Ack>,
    /// Commands that only look, and are being answered.
    pub(super) looks: BTreeMap<CommandId, Looking>,
    pub(super) sequence: u64,
    pub(super) said_all: bool,
    pub(super) say_again_at: Option<Millis>,
    nonces: u64,
    next_heartbeat: Millis,
    beating: bool,
    /// Records in the ledger as it is on disk.
    length: usize,
    /// The last write failed: everything is written anew, not before this time unless a command asks for it.
    trouble: Option<Millis>,
    batch: Option<Batch>,
    last: Moment,
}

/// Where an open command is.
#[derive(Clone, Debug)]
pub(super) enum Flow {
    /// Its next step is due.
    Queued {
        /// It was open when the agent started.
        recovered: bool,
    },
    /// `execution_started` is being said.
    Saying,
    /// The tool runs.
    Running,
    /// The host was told to go down. At `check_at` it is asked whether that is still to come; if not, this is the error.
    Watching { check_at: Millis, error: Refusal, reading: bool },
    /// The boot is another one; the report that goes with it is being read.
    Proving,
    /// The last word is known and could not be written yet.
    Ending(Box<Ack>),
}

/// A command that only looks: it is in no ledger, and a copy of it looks again.
#[derive(Clone, Debug)]
pub(super) enum Looking {
    /// A probe, with what its checks gave.
    Probe(Option<Observed>),
    /// Checks, or what a drain would take out.
    Plain,
}

/// A command that waits for the controller's time.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) retained: bool,
    pub(super) command: Command,
    pub(super) until: Millis,
}

/// What one call does: at most one record, and what surrounds it.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) before: Vec<Effect>,
    record: Option<Record>,
    pub(super) after: Vec<Effect>,
}

/// What to do should the record of this call not be written.
#[derive(Debug)]
pub(super) enum Then {
    Claimed { command: CommandId, token: Token },
    Refused { ack: Box<Ack>, token: Token },
    Ended { ack: Box<Ack> },
    Nothing,
}

#[derive(Debug)]
struct Batch {
    state: State,
    flows: BTreeMap<CommandId, Flow>,
    then: Then,
    length: usize,
}

impl Machine {
    /// The ordinary start, on whatever the ledger kept. `ledger` is its records, or why it cannot be believed: then nothing
    /// disruptive is obeyed, and reports go on.
    pub fn start(config: Config, boot: BootIdentity, ledger: Result<Vec<Record>, String>, clock: Clock) -> (Self, Vec<Effect>) {
        let (records, corrupt) = match ledger {
            Ok(records) => (records, None),
            Err(reason) => (Vec::new(), Some(reason)),
        };
        let mut state = State::default();
        records.iter().for_each(|record| state.apply(record));
        // The controller's time of an earlier run holds as long as the boot does.
        let anchor = state.timed.filter(|at| at.boot == boot).and_then(|at| at.anchor());
        let flows = state.open.keys().map(|id| (*id, Flow::Queued { recovered: true })).collect();
        let mut machine = Self {
            config,
            boot,
            state,
            flows,
            corrupt,
            connected: false,
            anchor,
            asked: None,
            time_heard: false,
            time_until: Millis(0),
            held: VecDeque::new(),
            refused: VecDeque::new(),
            looks: BTreeMap::new(),
            sequence: 0,
            said_all: false,
            say_again_at: None,
            nonces: 0,
            next_heartbeat: Millis(0),
            beating: false,
            // One of an older version is written anew before anything is added that it did not know.
            length: if records.first().is_some_and(is_current) { records.len() } else { 0 },
            trouble: None,
            batch: None,
            last: moment(boot, anchor, &clock),
        };
        let effects = machine.handle(Input::Tick, clock);
        (machine, effects)
    }

    /// Commands that are claimed and have no outcome yet.
    pub fn open(&self) -> impl Iterator<Item = &Command> {
        self.state.open.values().map(|claim| &*claim.command)
    }

    /// Whether this start found the claim of a reboot or shutdown that a boot other than the present one carries.
    pub fn woke_with_claim(&self) -> bool {
        self.state.open.values().any(|claim| claim.command.action.kind().ends_boot() && claim.at.boot != self.boot)
    }

    /// When the next [`Input::Tick`] is due, in milliseconds since boot; `None`: only another input can change anything.
    pub fn poll_timeout(&self) -> Option<Millis> {
        let time_known = self.last.trusted().is_some();
        let mut at: Vec<Millis> = Vec::new();
        at.extend(self.due_controller());
        at.extend(self.held.front().map(|held| if time_known { Millis(0) } else { held.until }));
        for (id, flow) in &self.flows {
            at.extend(self.due(*id, flow, time_known));
            if matches!(flow, Flow::Queued { .. }) && !time_known {
                // The wall clock may be set without any word.
                at.push(Millis(self.last.boottime.0.saturating_add(self.config.recheck.0)));
            }
        }
        if self.connected {
            at.extend((!self.beating).then_some(self.next_heartbeat));
            at.extend(self.say_again_at);
        }
        at.into_iter().min()
    }

    /// One turn; see the module's documentation.
    pub fn handle(&mut self, input: Input, clock: Clock) -> Vec<Effect> {
        let mut turn = Turn::default();
        let mut now = moment(self.boot, self.anchor, &clock);
        let batch = self.batch.take();
        if batch.is_some() && !matches!(input, Input::LedgerFailed { .. }) {
            self.trouble = None;
        }
        match input {
            Input::Tick => {}
            Input::Connected => self.connect(&now, &mut turn),
            Input::Disconnected => {
                self.connected = false;
                self.held.clear();
                self.asked = None;
            }
            Input::Delivery { token, retained, opened } => {
                self.deliver(token, retained, opened, &now, &mut turn);
                now = moment(self.boot, self.anchor, &clock);
            }
            Input::Said { command, heard: _ } => self.said(command, &now, &mut turn),
            Input::Performed { command, verdict } => self.performed(command, verdict, &now, &mut turn),
            Input::Looked { command, verdict } => self.looked(command, verdict, &mut turn),
            Input::Read { reading, host } => self.read(reading, *host, &now, &clock, &mut turn),
            Input::LedgerFailed { reason, undone } => self.ledger_failed(batch, &reason, undone, &now, &mut turn),
            Input::Unheard => self.say_again_at = Some(Millis(now.boottime.0.saturating_add(self.config.recheck.0))),
        }
        self.last = now;
        self.advance(&now, &mut turn);
        self.finish(turn)
    }

    fn connect(&mut self, now: &Moment, turn: &mut Turn) {
        self.connected = true;
        self.asked = None;
        self.time_heard = false;
        self.time_until = Millis(now.boottime.0.saturating_add(self.config.time_limit.0));
        self.next_heartbeat = Millis(now.boottime.0.saturating_add(self.config.heartbeat.0));
        self.say_all_again(turn, now);
        turn.after.push(Effect::Read(Reading::Hello));
    }

    fn said(&mut self, id: CommandId, now: &Moment, turn: &mut Turn) {
        let Some(claim) = self.state.open.get(&id).filter(|_| matches!(self.flows.get(&id), Some(Flow::Saying))) else { return };
        let command = claim.command.clone();
        // Saying it took time: judged again right before acting (design, section 9).
        if self.expired(&command, now) {
            let ack = self.failed(id, (ErrorCode::Expired, expired(&command)));
            return self.end(ack, now, turn);
        }
        self.flows.insert(id, Flow::Running);
        turn.after.push(Effect::Perform(Box::new((*command).clone())));
    }

    fn performed(&mut self, id: CommandId, verdict: Verdict, now: &Moment, turn: &mut Turn) {
        let Some(claim) = self.state.open.get(&id).filter(|_| matches!(self.flows.get(&id), Some(Flow::Running))) else { return };
        if let Some(begin_within) = begin_within(&claim.command.action) {
            let since = claim.executing.map_or(now.boottime, |at| at.boottime);
            let flow = match verdict {
                // The tool's yes proves nothing (G3), and its no is believed when nothing is pending.
                Verdict::Ordered | Verdict::Completed { .. } => watching(since, begin_within),
                Verdict::Failed { code, message } => {
                    Flow::Watching { check_at: now.boottime, error: (code, message), reading: false }
                }
            };
            self.flows.insert(id, flow);
            return;
        }
        let ack = match verdict {
            Verdict::Completed { observed, already } => self.completed(id, observed, already),
            Verdict::Failed { code, message } => self.failed(id, (code, message)),
            Verdict::Ordered => self.failed(id, (ErrorCode::NotObserved, "the end was not seen".to_owned())),
        };
        self.end(ack, now, turn);
    }

    fn read(&mut self, reading: Reading, host: HostReading, now: &Moment, clock: &Clock, turn: &mut Turn) {
        match reading {
            Reading::Hello => {
                let report = self.report(host, now, clock.wall);
                self.greet(report, now, turn);
            }
            Reading::Heartbeat => {
                self.beating = false;
                let report = self.report(host, now, clock.wall);
                if self.time_heard {
                    self.say(turn, DeviceBody::Report { report });
                } else {
                    // The time did not come: the heartbeat asks once more.
                    self.greet(report, now, turn);
                }
            }
            Reading::Probe(id) => {
                if let Some(Looking::Probe(checks)) = self.looks.remove(&id) {
                    let report = self.report(host, now, clock.wall);
                    self.say_ack(turn, Ack { report: Some(report), ..self.completed(id, checks, false) });
                }
            }
            Reading::Proof(id) => {
                let Some(claim) = self.state.open.get(&id).filter(|_| matches!(self.flows.get(&id), Some(Flow::Proving))) else {
                    return;
                };
                // Not executed by us: the boot was ended by something else, and what was wanted is so already.
                let already = claim.executing.is_none();
                let report = self.report(host, now, clock.wall);
                let ack = Ack { report: Some(report), ..self.completed(id, None, already) };
                self.end(ack, now, turn);
            }
            Reading::Pending(id) => {
                let recheck = Millis(now.boottime.0.saturating_add(self.config.recheck.0));
                let Some(Flow::Watching { check_at, error, reading }) = self.flows.get_mut(&id) else { return };
                *reading = false;
                if let Readable::Known(None) = host.pending_shutdown {
                    // Closed on disk before it is said: from then on it can never happen by us.
                    let error = error.clone();
                    let ack = self.failed(id, error);
                    self.end(ack, now, turn);
                } else {
                    // Still to come, or not to be known: no last word (section 5: an open reboot).
                    *check_at = recheck;
                }
            }
        }
    }

    fn looked(&mut self, id: CommandId, verdict: Verdict, turn: &mut Turn) {
        let Some(looking) = self.looks.remove(&id) else { return };
        let ack = match (looking, verdict) {
            // The report is the newer of the two: what the checks have done to the host is in it.
            (Looking::Probe(_), Verdict::Completed { observed, .. }) => {
                self.looks.insert(id, Looking::Probe(observed));
                return turn.after.push(Effect::Read(Reading::Probe(id)));
            }
            (Looking::Plain, Verdict::Completed { observed, already }) => self.completed(id, observed, already),
            (_, Verdict::Failed { code, message }) => self.failed(id, (code, message)),
            (_, Verdict::Ordered) => self.failed(id, (ErrorCode::NotObserved, "the end was not seen".to_owned())),
        };
        self.say_ack(turn, ack);
    }

    fn greet(&mut self, report: model::Report, now: &Moment, turn: &mut Turn) {
        self.nonces += 1;
        // Signed by this device and never the same twice; it need not be secret.
        let nonce = format!("{}-{}", self.config.instance.0.simple(), self.nonces);
        self.asked = Some((nonce.clone(), now.boottime));
        self.say(turn, DeviceBody::Hello { nonce, report });
    }

    fn ledger_failed(&mut self, batch: Option<Batch>, reason: &str, undone: bool, now: &Moment, turn: &mut Turn) {
        self.trouble = Some(Millis(now.boottime.0.saturating_add(self.config.recheck.0)));
        let Some(batch) = batch else { return };
        (self.state, self.flows, self.length) = (batch.state, batch.flows, batch.length);
        match batch.then {
            Then::Claimed { command, token } => {
                turn.after.push(Effect::AckDelivery(token));
                if undone {
                    let words = format!("{reason}; nothing was done");
                    self.refuse_in_memory(command, (ErrorCode::LedgerFailed, words), turn);
                }
                // Else the claim may be on disk: nothing final is said until the ledger was written anew.
            }
            Then::Refused { ack, token } => {
                turn.after.push(Effect::AckDelivery(token));
                if let Some(error) = ack.error {
                    self.refuse_in_memory(ack.command, (error.code, error.message), turn);
                }
            }
            Then::Ended { ack } => {
                if self.harmless(&ack) {
                    self.say_ack(turn, (*ack).clone());
                }
                self.flows.insert(ack.command, Flow::Ending(ack));
            }
            Then::Nothing => {}
        }
    }

    /// Takes the steps that are due; stops at the first that writes.
    fn advance(&mut self, now: &Moment, turn: &mut Turn) {
        let time_known = now.trusted().is_some();
        if turn.record.is_none() && self.due_controller().is_some_and(|at| at <= now.boottime) {
            let record = Record::Controller { key: self.config.controller.clone() };
            self.write(record, Then::Nothing, turn);
        }
        while turn.record.is_none() {
            let due = self.held.front().is_some_and(|held| time_known || held.until <= now.boottime);
            let Some(held) = self.held.pop_front_if(|_| due) else { break };
            self.command(held.token, held.retained, held.command, now, turn);
        }
        let due: Vec<CommandId> = self.flows.keys().copied().collect();
        for id in due {
            if turn.record.is_some() {
                break;
            }
            let at = self.flows.get(&id).and_then(|flow| self.due(id, flow, time_known));
            if at.is_some_and(|at| at <= now.boottime) {
                self.step(id, now, turn);
            }
        }
        if !self.connected {
            return;
        }
        if self.next_heartbeat <= now.boottime && !self.beating {
            self.beating = true;
            self.next_heartbeat = Millis(now.boottime.0.saturating_add(self.config.heartbeat.0));
            turn.after.push(Effect::Read(Reading::Heartbeat));
        }
        if self.say_again_at.is_some_and(|at| at <= now.boottime) {
            self.say_all_again(turn, now);
        }
    }

    /// When the pinned controller must be written, if it must.
    fn due_controller(&self) -> Option<Millis> {
        let same = self.state.controller.as_deref() == Some(self.config.controller.as_str());
        (!same && self.corrupt.is_none()).then(|| self.writable())
    }

    /// When the next step of an open command is due.
    fn due(&self, id: CommandId, flow: &Flow, time_known: bool) -> Option<Millis> {
        match flow {
            Flow::Queued { .. } => {
                let claim = self.state.open.get(&id)?;
                let kind = claim.command.action.kind();
                // Whether the boot has ended, or a command was begun, can be judged without any clock; whether to act cannot.
                let judged = kind.is_done_once() && (claim.at.boot != self.boot || claim.executing.is_some());
                ((judged || time_known) && !self.is_busy(&claim.command)).then(|| self.writable())
            }
            Flow::Watching { check_at, reading: false, .. } => Some(*check_at),
            Flow::Ending(_) => Some(self.writable()),
            Flow::Watching { .. } | Flow::Saying | Flow::Running | Flow::Proving => None,
        }
    }

    /// When the ledger may be written. A write that was just decided is believed to work: else the next input says so.
    fn writable(&self) -> Millis {
        self.trouble.filter(|_| self.batch.is_none()).unwrap_or_default()
    }

    /// Another command runs on the same child: a stop that is still running must not undo a newer start. Cutting a child off
    /// does not wait for the clean stop that it hangs in.
    fn is_busy(&self, command: &Command) -> bool {
        let runs = |id: &CommandId| matches!(self.flows.get(id), Some(Flow::Running));
        let cuts = |other: &Command| {
            matches!(command.action, Action::StopChild { force: true, .. })
                && matches!(other.action, Action::StopChild { force: false, .. })
        };
        let holds_back = |other: &Command| other.subject == command.subject && !cuts(other);
        self.state.open.iter().any(|(id, claim)| *id != command.id && holds_back(&claim.command) && runs(id))
    }

    fn step(&mut self, id: CommandId, now: &Moment, turn: &mut Turn) {
        let Some(claim) = self.state.open.get(&id).cloned() else { return };
        let command = claim.command.clone();
        let recovered = match self.flows.get_mut(&id) {
            Some(Flow::Watching { reading, .. }) => {
                *reading = true;
                return turn.after.push(Effect::Read(Reading::Pending(id)));
            }
            Some(Flow::Ending(ack)) => {
                let ack = (**ack).clone();
                return self.end(ack, now, turn);
            }
            Some(Flow::Queued { recovered }) => *recovered,
            _ => return,
        };
        if let Some(begin_within) = begin_within(&command.action) {
            if claim.at.boot != self.boot || (recovered && broken::is(Rule::StartProvesReboot)) {
                self.flows.insert(id, Flow::Proving);
                return turn.after.push(Effect::Read(Reading::Proof(id)));
            }
            if let Some(executing) = claim.executing {
                drop(self.flows.insert(id, watching(executing.boottime, begin_within)));
                return;
            }
        }
        if let Some((expect_boot, tells)) = done_once_on(&command.action) {
            // Begun, and its end not seen: it is never begun again (design, section 5). A migration has its own claim on the host,
            // which tells how it ended, as long as the boot is the same.
            let lost = claim.executing.is_some() && !(tells && claim.at.boot == self.boot);
            if lost && !broken::is(Rule::RunAgainAfterCrash) {
                let ack = self.failed(id, (ErrorCode::OutcomeUnknown, UNSEEN.to_owned()));
                return self.end(ack, now, turn);
            }
            if expect_boot != self.boot {
                let ack = self.failed(id, self.other_boot(expect_boot));
                return self.end(ack, now, turn);
            }
        }
        if self.under_fence(&command) {
            let ack = self.failed(id, (ErrorCode::UnderFence, under(&command, self.state.fence_for(&command))));
            return self.end(ack, now, turn);
        }
        if self.expired(&command, now) {
            let ack = self.failed(id, (ErrorCode::Expired, expired(&command)));
            return self.end(ack, now, turn);
        }
        let started = self.ack(id, AckStatus::ExecutionStarted);
        if command.action.kind().is_done_once() {
            self.write(Record::Executing { command: id, at: *now }, Then::Nothing, turn);
            self.flows.insert(id, Flow::Saying);
            let (body, limit) = (Box::new(DeviceBody::Ack { ack: started }), self.config.say_limit);
            turn.after.push(Effect::PublishAwait { command: id, body, limit });
        } else {
            self.flows.insert(id, Flow::Running);
            self.say_ack(turn, started);
            turn.after.push(Effect::Perform(Box::new((*command).clone())));
        }
    }

    /// The last word on an open command: on disk, then said.
    fn end(&mut self, ack: Ack, now: &Moment, turn: &mut Turn) {
        let Some(claim) = self.state.open.get(&ack.command) else { return };
        let expires_at = claim.command.expires_at;
        let record = Record::Ended { ack: Box::new(ack.clone()), expires_at, at: *now };
        self.write(record, Then::Ended { ack: Box::new(ack.clone()) }, turn);
        self.flows.remove(&ack.command);
        self.say_ack(turn, ack);
    }

    /// Decides the one record of this call; callers change `flows` after it, so that a failure finds them as they were.
    pub(super) fn write(&mut self, record: Record, then: Then, turn: &mut Turn) {
        debug_assert!(turn.record.is_none(), "one ledger transaction per call");
        self.batch = Some(Batch { state: self.state.clone(), flows: self.flows.clone(), then, length: self.length });
        self.state.apply(&record);
        turn.record = Some(record);
    }

    fn finish(&mut self, turn: Turn) -> Vec<Effect> {
        let mut effects = turn.before;
        if let Some(record) = turn.record {
            if self.length == 0 || self.length >= COMPACT_AT || self.trouble.is_some() {
                self.state.prune(&self.last, &self.config);
                let records = self.state.records();
                self.length = records.len();
                effects.push(Effect::Compact(records));
            } else {
                self.length += 1;
                let claim = matches!(record, Record::Claimed { .. } | Record::Executing { .. });
                effects.push(Effect::Append(record));
                if !(claim && broken::is(Rule::ClaimNotFlushed)) {
                    effects.push(Effect::Flush);
                }
            }
        }
        effects.extend(turn.after);
        effects
    }
}

fn is_current(header: &Record) -> bool {
    matches!(header, Record::Header { version } if *version == LEDGER_VERSION)
}

fn watching(since: Millis, begin_within: Millis) -> Flow {
    let words = format!("{begin_within} after the order this host is still on the same boot, and no shutdown is pending");
    let check_at = Millis(since.0.saturating_add(begin_within.0));
    Flow::Watching { check_at, error: (ErrorCode::NotBegun, words), reading: false }
}

/// The boot on which a command that is done at most once is done, and whether what performs it can tell how it ended.
fn done_once_on(action: &Action) -> Option<(BootIdentity, bool)> {
    match action {
        Action::Run { expect_boot, .. } => Some((*expect_boot, false)),
        Action::Service { verb: ServiceVerb::Migrate { expect_boot, .. }, .. } => Some((*expect_boot, true)),
        _ => None,
    }
}

fn begin_within(action: &Action) -> Option<Millis> {
    match action {
        Action::Reboot { begin_within, .. } | Action::Shutdown { begin_within, .. } => Some(*begin_within),
        _ => None,
    }
}
