//! The engine: state from journals, decisions from state.

mod belief;
mod look;
mod next;
mod people;

use std::collections::BTreeMap;
use std::sync::OnceLock;

use model::broken::{self, Rule};
use model::{
    Ack, AckStatus, ActionKind, Actor, Command, ErrorCode, Millis, OrchestrationId, Place, Report, StepAction, TargetId,
    Timestamp,
};

use crate::agenda::Agenda;
use crate::config::Config;
use crate::decision::Out;
use crate::event::{self, ServiceEvent};
use crate::fleet::{Fleet, Host};
use crate::heard::Heard;
use crate::input::{Input, Reply};
use crate::journal::{Entry, Fact, FleetEntry, Record};
use crate::limits::Limits;
use crate::orchestration::Orchestration;
use crate::returned;
use crate::silences::Silences;
use crate::tally::Tally;
use crate::track::{Standing, is_of_the_way};

use belief::{is_credible, is_forgotten, is_news, is_said_of_a_copy, own_children, says_the_same};

/// What one input led to.
#[must_use = "the facts must be made durable before anything else happens"]
#[derive(Clone, Debug)]
pub struct Turn {
    /// In order; to be appended in one transaction.
    pub facts: Vec<Fact>,
    /// For whoever brought the input.
    pub reply: Reply,
    /// What the facts tell of services; to be kept in the same transaction.
    pub events: Vec<ServiceEvent>,
}

/// Why an engine could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The fleet journal does not follow from itself; starting would forget locks and stranded targets (G8).
    #[error("fleet journal, record {position}: {reason}")]
    FleetJournal {
        /// From 0.
        position: usize,
        /// Why.
        reason: String,
    },
}

/// All state and all decisions.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
    fleet: Fleet,
    open: BTreeMap<OrchestrationId, Orchestration>,
    /// Ended in this process's life, kept for a while to be looked at.
    ended: BTreeMap<OrchestrationId, Orchestration>,
    /// Orchestrations whose journal could not be read, with the reason: their targets stay locked (G8).
    unreadable: BTreeMap<OrchestrationId, String>,
    heard: Heard,
    /// Members of limit groups, until somebody joins, leaves or changes labels.
    limits: OnceLock<Limits>,
    /// What changed since nothing followed any more.
    agenda: Agenda,
    tally: Tally,
    /// What the facts of this input tell of services so far.
    events: Vec<ServiceEvent>,
    /// One input led to so much that the rest waits for the next.
    unfinished: bool,
    /// `None`: to be looked up.
    silences: Option<Silences>,
    /// Time of the last input: journals never run backwards (E34).
    clock: Timestamp,
    /// How far this engine's time is ahead of the clock that it is given. A clock that was set back moves it, so that time
    /// goes on from the last entry at its usual pace, and no deadline waits until a wrong clock has caught up.
    ahead: Millis,
}

/// The journals of one open orchestration, or why they could not be read.
pub type OpenJournal = (OrchestrationId, Result<Vec<Record<Entry>>, String>);

/// So many ended orchestrations are kept in memory.
const ENDED_KEPT: usize = 100;
/// More facts than this from one input mean that a decision does not come to rest; the driver sees them all the same.
const FACTS_MAX: usize = 10_000;

impl Engine {
    /// The state that the journals tell. `open` holds the orchestrations that have not ended; one that cannot be read is
    /// isolated, its targets stay locked and stranded (G8).
    ///
    /// # Errors
    /// A bad fleet journal refuses start (G8).
    pub fn restore(config: Config, fleet: Vec<Record<FleetEntry>>, open: Vec<OpenJournal>) -> Result<Self, RestoreError> {
        let mut engine = Self {
            config,
            fleet: Fleet::default(),
            open: BTreeMap::new(),
            ended: BTreeMap::new(),
            unreadable: BTreeMap::new(),
            heard: Heard::default(),
            limits: OnceLock::new(),
            agenda: Agenda::default(),
            tally: Tally::default(),
            events: Vec::new(),
            unfinished: false,
            silences: None,
            clock: Timestamp::default(),
            ahead: Millis(0),
        };
        for (position, record) in fleet.iter().enumerate() {
            engine.clock = engine.clock.max(record.at);
            engine.fleet.apply(record).map_err(|reason| RestoreError::FleetJournal { position, reason })?;
        }
        for (id, journal) in open {
            match journal.and_then(|records| Orchestration::replay(id, &records)) {
                Ok(it) if it.ended.is_some() => {}
                Ok(it) => {
                    engine.clock = engine.clock.max(it.last_at);
                    engine.open.insert(id, it);
                }
                Err(reason) => {
                    engine.unreadable.insert(id, reason);
                }
            }
        }
        Ok(engine)
    }

    /// Decide. The facts are applied to this state at once: when they cannot be made durable, throw the engine away.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Turn {
        // What was written before a start is older than it, also by a fast clock.
        let least = if matches!(input, Input::Started { .. }) { self.clock + Millis(1) } else { self.clock };
        self.ahead.0 += least.since(now + self.ahead).0;
        let now = self.time(now);
        self.clock = now;
        let mut facts = Vec::new();
        let reply = self.take(input, now, &mut facts);
        self.judge_silence(now, &mut facts);
        self.advance(now, &mut facts);
        Turn { facts, reply, events: std::mem::take(&mut self.events) }
    }

    /// The time that entries, deadlines and expiries are written in, when the given clock shows `now`. Devices must be told
    /// this time, since they judge expiry by it.
    pub fn time(&self, now: Timestamp) -> Timestamp {
        (now + self.ahead).max(self.clock)
    }

    /// What the given clock shows at an instant of this engine's time.
    pub fn given(&self, at: Timestamp) -> Timestamp {
        at - self.ahead
    }

    fn take(&mut self, input: Input, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        match input {
            Input::Tick => Reply::Noted,
            Input::Started { epoch, lease, own_boot } => {
                let settle_until = if self.fleet.hosts.is_empty() { now } else { now + self.config.settling };
                let entry = FleetEntry::ControllerStarted { epoch, lease, settle_until, own_boot };
                self.fleet_fact(entry, Actor::System, now, facts);
                Reply::Noted
            }
            Input::Reported { host, report } => {
                self.reported(host, &own_children(host, *report), now, facts);
                Reply::Noted
            }
            Input::Acked { host, mut ack } => {
                ack.report = ack.report.map(|report| own_children(host, report));
                self.acked(host, &ack, now, facts);
                Reply::Noted
            }
            Input::Gone { host, instance } => {
                self.heard.gone(host, instance, now);
                self.touch(host);
                Reply::Noted
            }
            other => self.asked(other, now, facts),
        }
    }

    fn reported(&mut self, host: TargetId, report: &Report, now: Timestamp, facts: &mut Vec<Fact>) {
        // A known machine whose new key nobody has approved says nothing about itself (ruling 27).
        // And boots never come back: what was said on an earlier one is old, however late it arrives (E2).
        let listened_to = |h: &Host| (h.approved || !h.was_approved) && !h.past_boots.contains(&report.boot);
        let listened_to = self.fleet.hosts.get(&host).is_some_and(listened_to);
        let says_nothing_new = self.is_heartbeat(host, report, now);
        if !listened_to || !self.heard.take(host, report, now) {
            return;
        }
        if says_nothing_new {
            self.heard_again(host);
        } else {
            self.tally.moved();
            self.touch(host);
        }
        self.seen(host, report, now, facts);
        if broken::is(Rule::ProofWithoutClaim) {
            self.believe_report(host, report, now, facts);
        }
    }

    /// Write down what a report changes: another boot, another run of the agent, heard again, no longer stranded.
    fn seen(&mut self, host: TargetId, report: &Report, now: Timestamp, facts: &mut Vec<Fact>) {
        let Some(known) = self.fleet.hosts.get(&host).filter(|h| h.approved) else { return };
        let changed = known.boot != Some(report.boot) || known.instance != Some(report.instance) || known.silent_since.is_some();
        if changed {
            let entry = FleetEntry::HostSeen { host, boot: report.boot, instance: report.instance };
            self.fleet_fact(entry, Actor::System, now, facts);
        }
        for entry in returned::ends(&self.fleet, host, report) {
            self.fleet_fact(entry, Actor::System, now, facts);
        }
    }

    /// The same for what it told before anybody listened.
    fn seen_before(&mut self, host: TargetId, now: Timestamp, facts: &mut Vec<Fact>) {
        if let Some(report) = self.heard.host(host).and_then(|h| h.report.clone()) {
            self.seen(host, &report, now, facts);
        }
    }

    /// Only reached with a rule broken on purpose.
    fn believe_report(&mut self, host: TargetId, report: &Report, now: Timestamp, facts: &mut Vec<Fact>) {
        let found = self.open.values().find_map(|it| {
            let (place, subject, command) =
                open_commands(it).find(|(_, _, c)| c.target == host && c.action.kind().ends_boot())?;
            Some((it.id, place, subject, command.clone()))
        });
        if let Some((id, place, subject, command)) = found
            && command.action.expect_boot() != Some(report.boot)
        {
            let ack = Ack {
                command: command.id,
                status: AckStatus::Completed,
                error: None,
                boot: report.boot,
                observed: None,
                already: false,
                report: Some(report.clone()),
            };
            let action = command.action.kind();
            self.own_fact(
                id,
                Entry::Acked { place, subject, action, ack: Box::new(ack), deadline: None },
                Actor::System,
                now,
                facts,
            );
        }
    }

    fn acked(&mut self, host: TargetId, ack: &Ack, now: Timestamp, facts: &mut Vec<Fact>) {
        if host != TargetId::CONTROLLER && !self.fleet.hosts.get(&host).is_some_and(|h| h.approved) {
            return; // bound to the approved identity (E36)
        }
        // That nobody got through to the host is no word of the host.
        let is_told_by_it = !ack.error.as_ref().is_some_and(|e| is_of_the_way(e.code));
        if is_told_by_it {
            if self.is_silent(host, now) {
                self.touch(host);
            }
            self.heard.touch(host, now);
        }
        if let Some(report) = &ack.report {
            self.reported(host, report, now, facts);
        }
        let Some((id, place, subject, action)) = self.find_command(host, ack, now) else {
            return self.late(host, ack, now, facts);
        };
        let Some(deadline) = self.new_deadline(id, place, ack, now) else { return };
        let entry = Entry::Acked { place, subject, action, ack: Box::new(ack.clone()), deadline };
        self.own_fact(id, entry, Actor::System, now, facts);
        self.late(host, ack, now, facts);
    }

    /// The last word on the end of a boot, when nothing waits for it any more (ruling 9).
    fn late(&mut self, host: TargetId, ack: &Ack, now: Timestamp, facts: &mut Vec<Fact>) {
        let waits = self.open.values().any(|it| it.waits_for(ack.command));
        let ends = self.fleet.hosts.get(&host).map(|h| h.boot_ends.as_slice()).unwrap_or_default();
        let unknown = ends.iter().any(|e| e.command == ack.command && e.last_word.is_none());
        let lost = ack.error.as_ref().is_some_and(|e| {
            e.code == ErrorCode::OutcomeUnknown || is_forgotten(e.code) || is_said_of_a_copy(e.code) || is_of_the_way(e.code)
        });
        if waits || !unknown || lost || !ack.status.is_final() {
            return;
        }
        let done = ack.status == AckStatus::Completed;
        let detail = ack.error.as_ref().map_or_else(|| "done".to_owned(), |e| format!("{}: {}", e.code, e.message));
        let entry = FleetEntry::LateAck { host, command: ack.command, done, boot: ack.boot, detail };
        self.fleet_fact(entry, Actor::System, now, facts);
        if returned::is_still_on(&self.fleet, host) {
            self.fleet_fact(FleetEntry::HostStillOn { host }, Actor::System, now, facts);
        }
        self.seen_before(host, now, facts);
    }

    /// The command that is meant, if the ack says anything new about it.
    fn find_command(&self, host: TargetId, ack: &Ack, now: Timestamp) -> Option<(OrchestrationId, Place, TargetId, ActionKind)> {
        let (it, place, subject) =
            self.open.values().find_map(|it| it.command(ack.command).map(|(place, subject)| (it, place, subject)))?;
        let state = it.tracks.get(place.track as usize)?.run(place)?.subjects.get(&subject)?;
        let command = state.command.as_ref().filter(|c| c.id == ack.command && c.target == host)?;
        let accepted = state.last_ack.is_some();
        let found = (it.id, place, subject, command.action.kind());
        (is_news(command, state, ack) && is_credible(command, accepted, ack, now)).then_some(found)
    }

    /// The deadline of a boot's end moves with what is known of it: accepted, begun. `None`: not to be recorded at all.
    fn new_deadline(&self, id: OrchestrationId, place: Place, ack: &Ack, now: Timestamp) -> Option<Option<Timestamp>> {
        let it = self.open.get(&id)?;
        let step = it.track_plan(place.track as usize)?.steps.get(place.step as usize)?;
        let begin_within = match step.action {
            StepAction::Reboot { begin_within } | StepAction::Shutdown { begin_within, .. } => begin_within,
            _ => return Some(None),
        };
        Some(match ack.status {
            AckStatus::Accepted => Some(now + begin_within + self.config.back_within),
            AckStatus::ExecutionStarted => Some(now + self.config.back_within),
            AckStatus::Completed | AckStatus::Failed => None,
        })
    }

    /// Whether the report changes nothing that a decision could rest on: ten thousand hosts say such things all the time.
    fn is_heartbeat(&self, host: TargetId, report: &Report, now: Timestamp) -> bool {
        let Some(known) = self.heard.host(host).filter(|h| h.gone_at.is_none()) else { return false };
        let same = |last: &Report| says_the_same(last, report);
        !self.is_silent(host, now) && report.rate.opens_in_ms.is_none() && known.report.as_ref().is_some_and(same)
    }

    fn is_silent(&self, host: TargetId, now: Timestamp) -> bool {
        let last = self.heard.host(host).and_then(|h| h.last);
        last.is_none_or(|last| now.since(last) > self.config.active_limit)
    }

    fn judge_silence(&mut self, now: Timestamp, facts: &mut Vec<Fact>) {
        if now < self.fleet.settle_until {
            return;
        }
        let mut silences = self.silences.take().unwrap_or_else(|| self.all_silences());
        let mut silent = Vec::new();
        for host in silences.come(now) {
            match self.silent_at(host) {
                _ if !self.is_watched(host) => {}
                at if now > at => silent.push(host),
                at => silences.watch(host, at),
            }
        }
        self.silences = Some(silences);
        silent.sort_unstable();
        for host in silent {
            self.fleet_fact(FleetEntry::HostSilent { host }, Actor::System, now, facts);
        }
        debug_assert!(!self.fleet.hosts.keys().any(|id| self.is_watched(*id) && now > self.silent_at(*id)));
    }

    fn all_silences(&self) -> Silences {
        let mut silences = Silences::default();
        let watched = self.fleet.hosts.keys().filter(|host| self.is_watched(**host));
        watched.for_each(|host| silences.watch(*host, self.silent_at(*host)));
        silences
    }

    /// Whether the host's silence would be news.
    fn is_watched(&self, host: TargetId) -> bool {
        self.fleet.hosts.get(&host).is_some_and(|h| h.approved && h.silent_since.is_none() && h.boot.is_some())
    }

    /// When the host's silence passes the limit.
    fn silent_at(&self, host: TargetId) -> Timestamp {
        let last = self.heard.host(host).and_then(|h| h.last).unwrap_or(self.fleet.controller_started_at);
        last + self.config.active_limit
    }

    fn advance(&mut self, now: Timestamp, facts: &mut Vec<Fact>) {
        self.unfinished = true;
        while facts.len() < FACTS_MAX {
            let Some((id, out)) = self.next(now) else {
                self.unfinished = false;
                break;
            };
            let before = facts.len();
            for one in out {
                match one {
                    Out::Fleet(entry) => self.fleet_fact(entry, Actor::System, now, facts),
                    Out::Own(entry) => self.own_fact(id, entry, Actor::System, now, facts),
                }
            }
            if facts.len() == before {
                self.unfinished = false;
                break; // a decision that its own journal refuses would be taken for ever
            }
        }
    }

    fn position(&self) -> u64 {
        self.open.values().map(|o| o.position).chain([self.fleet.position]).max().unwrap_or(0)
    }

    fn fleet_fact(&mut self, entry: FleetEntry, by: Actor, at: Timestamp, facts: &mut Vec<Fact>) {
        let record = Record { at, by, entry };
        let membership = self.fleet.membership;
        let host = self.host_of(&record.entry);
        // What happens to one machine under two names concerns both.
        let is_one = |fleet: &Fleet| host.filter(|host| fleet.same_machine(*host).is_none());
        let before = is_one(&self.fleet);
        if self.fleet.apply(&record).is_ok() {
            match before.and_then(|_| is_one(&self.fleet)) {
                Some(host) => self.touch(host),
                None => self.touch_all(),
            }
            if matches!(record.entry, FleetEntry::Locked { .. } | FleetEntry::Unlocked { .. }) {
                self.tally.moved();
            }
            self.watch(&record.entry);
            facts.push(Fact::Fleet(record));
        }
        if self.fleet.membership != membership {
            self.limits = OnceLock::new();
        }
    }

    /// Whose silence is news from now on: one host more, without looking at all of them. Who left makes it no earlier.
    fn watch(&mut self, entry: &FleetEntry) {
        match entry {
            FleetEntry::ControllerStarted { .. } => self.silences = None,
            FleetEntry::HostApproved { host } | FleetEntry::HostAdopted { host, .. } | FleetEntry::HostSeen { host, .. } => {
                let at = self.silent_at(*host);
                if let Some(silences) = &mut self.silences {
                    silences.watch(*host, at);
                }
            }
            _ => {}
        }
    }

    fn own_fact(&mut self, id: OrchestrationId, entry: Entry, by: Actor, at: Timestamp, facts: &mut Vec<Fact>) {
        let record = Record { at, by, entry };
        let applied = match self.open.get_mut(&id) {
            Some(it) => it.apply(&record).map(|()| self.events.extend(event::of(it, &record))),
            None => Orchestration::accept(id, &record).map(|it| {
                self.open.insert(id, it);
            }),
        };
        if applied.is_err() {
            return;
        }
        self.agenda.of(id).wrote(&record.entry);
        if matches!(record.entry, Entry::Ended { .. })
            && let Some(it) = self.open.remove(&id)
        {
            self.agenda.ended(id);
            self.ended.insert(id, it);
            if self.ended.len() > ENDED_KEPT {
                let oldest = self.ended.values().min_by_key(|o| o.accepted_at).map(|o| o.id);
                oldest.map(|id| self.ended.remove(&id));
            }
        }
        facts.push(Fact::Orchestration(id, record));
    }

    /// Every command that should be in flight, computed from the state.
    pub fn wanted(&self) -> Vec<Command> {
        self.open.values().flat_map(|it| open_commands(it).map(|(_, _, c)| c.clone())).collect()
    }

    /// Those of them that belong to one track. They change with the entries of that track alone.
    pub fn wanted_of(&self, id: OrchestrationId, track: u32) -> Vec<Command> {
        let it = self.open.get(&id).filter(|it| it.running.contains(&track));
        it.map(|it| open_commands_of(it, track).map(|(_, _, c)| c.clone()).collect()).unwrap_or_default()
    }

    /// All tracks that run.
    pub fn running(&self) -> impl Iterator<Item = (OrchestrationId, u32)> {
        self.open.values().flat_map(|it| it.running.iter().map(|track| (it.id, *track)))
    }

    /// When the engine wants a [`Input::Tick`] at the latest, by the clock that it is given.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.unfinished {
            return Some(self.given(self.clock));
        }
        let orchestrations = self.due_at();
        let first = match &self.silences {
            Some(silences) => silences.first(),
            None => self.all_silences().first(),
        };
        let silences = first.map(|at| (at + Millis(1)).max(self.fleet.settle_until));
        let settling = (self.fleet.settle_until > self.clock).then_some(self.fleet.settle_until);
        [orchestrations, silences, settling].into_iter().flatten().min().map(|at| self.given(at))
    }
}

/// Commands of open steps that nobody has answered finally.
fn open_commands(it: &Orchestration) -> impl Iterator<Item = (Place, TargetId, &Command)> {
    it.running.iter().flat_map(|track| open_commands_of(it, *track))
}

fn open_commands_of(it: &Orchestration, track: u32) -> impl Iterator<Item = (Place, TargetId, &Command)> {
    let open = it.tracks.get(track as usize).and_then(|track| track.open());
    open.into_iter().flat_map(|(place, run)| {
        run.subjects.iter().filter_map(move |(id, subject)| {
            let open = matches!(subject.standing(), Standing::Open);
            subject.command.as_ref().filter(|_| open).map(|c| (place, *id, c))
        })
    })
}
