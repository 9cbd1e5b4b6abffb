//! The engine: state from journals, decisions from state.

mod belief;

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{
    Ack, AckStatus, ActionKind, Actor, Command, ErrorCode, Millis, OrchestrationId, Place, Plan, Report, Request, StepAction,
    TargetId, Timestamp,
};

use crate::advance;
use crate::config::Config;
use crate::decision::{self, Out};
use crate::explain::{Blocker, Why};
use crate::fleet::{Fleet, Host};
use crate::guard::{Guard, Reserved};
use crate::heard::Heard;
use crate::input::{Input, Refusal, Reply};
use crate::journal::{Entry, Fact, FleetEntry, Record};
use crate::orchestration::Orchestration;
use crate::planner;
use crate::returned;
use crate::show;
use crate::track::{Standing, TrackState};
use crate::view::{HostView, View};

use belief::{is_credible, is_forgotten, is_news, is_said_of_a_copy, own_children};

/// What one input led to.
#[must_use = "the facts must be made durable before anything else happens"]
#[derive(Clone, Debug)]
pub struct Turn {
    /// In order; to be appended in one transaction.
    pub facts: Vec<Fact>,
    /// For whoever brought the input.
    pub reply: Reply,
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
        self.ahead.0 += self.clock.since(now + self.ahead).0;
        let now = self.time(now);
        self.clock = now;
        let mut facts = Vec::new();
        let reply = self.take(input, now, &mut facts);
        self.judge_silence(now, &mut facts);
        self.advance(now, &mut facts);
        Turn { facts, reply }
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
            Input::Started { epoch, lease } => {
                let settle = if self.fleet.hosts.is_empty() { now } else { now + self.config.settling };
                self.fleet_fact(FleetEntry::ControllerStarted { epoch, lease, settle_until: settle }, Actor::System, now, facts);
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
                Reply::Noted
            }
            Input::Enrol { host, name, machine_id, public_key, labels } => {
                let entry = FleetEntry::HostEnrolled { host, name: name.clone(), machine_id, public_key, labels };
                self.fleet_fact(entry, Actor::System, now, facts);
                Reply::Noted
            }
            Input::Approve { host, by } => match self.fleet.hosts.get(&host) {
                None => Reply::Refused(Refusal::UnknownTarget),
                Some(known) if known.approved => Reply::Refused(Refusal::NothingToDo),
                Some(_) => {
                    self.fleet_fact(FleetEntry::HostApproved { host }, by, now, facts);
                    self.seen(host, now, facts);
                    Reply::Noted
                }
            },
            Input::Submit { id, request } => self.submit(id, request, now, facts),
            Input::Cancel { id, by } => self.cancel(id, by, now, facts),
            Input::Acknowledge { target, by } => self.acknowledge(target, by, now, facts),
        }
    }

    fn submit(&mut self, id: OrchestrationId, request: Request, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        let mut blockers = self.blockers(&request, now);
        // Settling passes by itself within seconds: the plan is accepted and its track waits.
        blockers.retain(|b| b.why != Why::Settling);
        let heard = self.heard.host(request.target()).and_then(|h| h.report.clone());
        let (Some(report), true) = (heard, blockers.is_empty()) else {
            return Reply::Refused(Refusal::Blocked { blockers });
        };
        let child_count = report.children().unwrap_or_default().iter().filter(|c| c.status.is_up()).count();
        let by = request.by.clone();
        let entry = Entry::Accepted {
            plan: self.plan(&request),
            host_name: self.name_of(request.target()).unwrap_or_default(),
            report: Box::new(report),
            wait_until: now + self.patience(now),
            request,
        };
        self.own_fact(id, entry, by, now, facts);
        Reply::Accepted { id, child_count: u32::try_from(child_count).unwrap_or(u32::MAX) }
    }

    /// How long an accepted plan waits for admission. Nobody expects a reboot any more that was asked for long ago (E17): past
    /// settling, and the time in which every host is heard, the plan is given up.
    fn patience(&self, now: Timestamp) -> Millis {
        let settling = self.fleet.settle_until.since(now).0 + self.config.settling.0;
        Millis(self.config.wait_limit.0.min(settling + self.config.active_limit.0))
    }

    fn cancel(&mut self, id: OrchestrationId, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        let Some(it) = self.open.get(&id) else { return Reply::Refused(Refusal::NotActive) };
        let past = |t: &&TrackState| t.boot_end_issued() && !broken::is(Rule::UnwindPastReboot);
        let left: Vec<&TrackState> = it.tracks.iter().filter(|t| t.ended.is_none() && t.unwinding.is_none()).collect();
        if it.cancelled_by.is_some() || left.is_empty() {
            return Reply::Refused(Refusal::NothingToDo);
        }
        if left.iter().all(past) {
            return Reply::Refused(Refusal::RebootAlreadyIssued);
        }
        self.own_fact(id, Entry::CancelRequested, by, now, facts);
        Reply::Noted
    }

    /// A person's word ends a stranded state and its alarm; it also lets go of what an unreadable orchestration holds.
    fn acknowledge(&mut self, target: TargetId, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        let held = self.fleet.locks.get(&target).map(|l| l.orchestration).filter(|id| self.unreadable.contains_key(id));
        if self.fleet.hosts.get(&target).is_some_and(|h| h.off.is_some()) {
            self.fleet_fact(FleetEntry::HostStillOn { host: target }, by, now, facts);
            return Reply::Noted;
        }
        let Some(stranded) = self.fleet.stranded.get(&target) else {
            let Some(orchestration) = held else { return Reply::Refused(Refusal::NothingToDo) };
            let position = self.position();
            self.fleet_fact(FleetEntry::Unlocked { host: target, orchestration, position }, by, now, facts);
            return Reply::Noted;
        };
        let entry = if stranded.ended_at.is_some() {
            FleetEntry::AlarmAcknowledged { target }
        } else {
            let boot = self.heard.host(target).and_then(|h| h.report.as_ref()).map(|r| r.boot);
            FleetEntry::StrandedEnded { target, proven: false, boot }
        };
        self.fleet_fact(entry, by, now, facts);
        Reply::Noted
    }

    fn reported(&mut self, host: TargetId, report: &Report, now: Timestamp, facts: &mut Vec<Fact>) {
        // A known machine whose new key nobody has approved says nothing about itself (ruling 27).
        // And boots never come back: what was said on an earlier one is old, however late it arrives (E2).
        let listened_to = |h: &Host| (h.approved || !h.was_approved) && !h.past_boots.contains(&report.boot);
        let listened_to = self.fleet.hosts.get(&host).is_some_and(listened_to);
        if !listened_to || !self.heard.take(host, report, now) {
            return;
        }
        self.seen(host, now, facts);
        if broken::is(Rule::ProofWithoutClaim) {
            self.believe_report(host, report, now, facts);
        }
    }

    /// Write down what a report changes: another boot, another run of the agent, heard again, no longer stranded.
    fn seen(&mut self, host: TargetId, now: Timestamp, facts: &mut Vec<Fact>) {
        let Some(known) = self.fleet.hosts.get(&host).filter(|h| h.approved) else { return };
        let Some(report) = self.heard.host(host).and_then(|h| h.report.clone()) else { return };
        let changed = known.boot != Some(report.boot) || known.instance != Some(report.instance) || known.silent_since.is_some();
        if changed {
            let entry = FleetEntry::HostSeen { host, boot: report.boot, instance: report.instance };
            self.fleet_fact(entry, Actor::System, now, facts);
        }
        for entry in returned::ends(&self.fleet, host, &report) {
            self.fleet_fact(entry, Actor::System, now, facts);
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
        self.heard.touch(host, now);
        if let Some(report) = &ack.report {
            self.reported(host, report, now, facts);
        }
        let Some((id, place, subject, action)) = self.find_command(host, ack, now) else {
            return self.late(host, ack, now, facts);
        };
        let Some(deadline) = self.new_deadline(id, place, ack, now) else { return };
        let entry = Entry::Acked { place, subject, action, ack: Box::new(ack.clone()), deadline };
        self.own_fact(id, entry, Actor::System, now, facts);
    }

    /// The last word on the end of a boot, when nothing waits for it any more (ruling 9).
    fn late(&mut self, host: TargetId, ack: &Ack, now: Timestamp, facts: &mut Vec<Fact>) {
        let waits = self.open.values().any(|o| o.tracks.iter().any(|t| t.open_boot().is_some_and(|b| b.command == ack.command)));
        let ends = self.fleet.hosts.get(&host).map(|h| h.boot_ends.as_slice()).unwrap_or_default();
        let unknown = ends.iter().any(|e| e.command == ack.command && e.last_word.is_none());
        let lost = ack
            .error
            .as_ref()
            .is_some_and(|e| e.code == ErrorCode::OutcomeUnknown || is_forgotten(e.code) || is_said_of_a_copy(e.code));
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
        self.seen(host, now, facts);
    }

    /// The command that is meant, if the ack says anything new about it.
    fn find_command(&self, host: TargetId, ack: &Ack, now: Timestamp) -> Option<(OrchestrationId, Place, TargetId, ActionKind)> {
        for it in self.open.values() {
            for (number, track) in it.tracks.iter().enumerate() {
                let number = u32::try_from(number).ok()?;
                let lists = [(model::Direction::Do, &track.steps), (model::Direction::Undo, &track.undo)];
                for (direction, list) in lists {
                    for (step, run) in list.iter().enumerate() {
                        let place = Place { track: number, step: u32::try_from(step).ok()?, direction };
                        for (subject, state) in &run.subjects {
                            let Some(command) = state.command.as_ref().filter(|c| c.id == ack.command && c.target == host) else {
                                continue;
                            };
                            let last = state.late.as_ref().or(state.last_ack.as_ref().map(|(_, ack)| ack));
                            let accepted = state.last_ack.is_some();
                            let found = (it.id, place, *subject, command.action.kind());
                            return (is_news(command, last, ack) && is_credible(command, accepted, ack, now)).then_some(found);
                        }
                    }
                }
            }
        }
        None
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

    fn judge_silence(&mut self, now: Timestamp, facts: &mut Vec<Fact>) {
        if now < self.fleet.settle_until {
            return;
        }
        let silent: Vec<TargetId> = self
            .fleet
            .hosts
            .iter()
            .filter(|(_, h)| h.approved && h.silent_since.is_none() && h.boot.is_some())
            .map(|(id, _)| *id)
            .filter(|id| now > self.silent_at(*id))
            .collect();
        for host in silent {
            self.fleet_fact(FleetEntry::HostSilent { host }, Actor::System, now, facts);
        }
    }

    /// When the host's silence passes the limit.
    fn silent_at(&self, host: TargetId) -> Timestamp {
        let last = self.heard.host(host).and_then(|h| h.last).unwrap_or(self.fleet.controller_started_at);
        last + self.config.active_limit
    }

    fn advance(&mut self, now: Timestamp, facts: &mut Vec<Fact>) {
        while facts.len() < FACTS_MAX {
            let position = self.position();
            let found = self.open.values().find_map(|it| {
                let view = self.look(it, now, position);
                advance::next(&view).map(|out| (it.id, out))
            });
            let Some((id, out)) = found else { break };
            let before = facts.len();
            for one in out {
                match one {
                    Out::Fleet(entry) => self.fleet_fact(entry, Actor::System, now, facts),
                    Out::Own(entry) => self.own_fact(id, entry, Actor::System, now, facts),
                }
            }
            if facts.len() == before {
                break; // a decision that its own journal refuses would be taken for ever
            }
        }
    }

    fn look<'a>(&'a self, it: &'a Orchestration, now: Timestamp, position: u64) -> decision::View<'a> {
        decision::View { config: &self.config, fleet: &self.fleet, heard: &self.heard, orchestration: it, now, position }
    }

    fn position(&self) -> u64 {
        self.open.values().map(|o| o.position).chain([self.fleet.position]).max().unwrap_or(0)
    }

    fn fleet_fact(&mut self, entry: FleetEntry, by: Actor, at: Timestamp, facts: &mut Vec<Fact>) {
        let record = Record { at, by, entry };
        if self.fleet.apply(&record).is_ok() {
            facts.push(Fact::Fleet(record));
        }
    }

    fn own_fact(&mut self, id: OrchestrationId, entry: Entry, by: Actor, at: Timestamp, facts: &mut Vec<Fact>) {
        let record = Record { at, by, entry };
        let applied = match self.open.get_mut(&id) {
            Some(it) => it.apply(&record),
            None => Orchestration::accept(id, &record).map(|it| {
                self.open.insert(id, it);
            }),
        };
        if applied.is_err() {
            return;
        }
        if matches!(record.entry, Entry::Ended { .. })
            && let Some(it) = self.open.remove(&id)
        {
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

    /// When the engine wants a [`Input::Tick`] at the latest, by the clock that it is given.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let position = self.position();
        let orchestrations = self.open.values().filter_map(|it| advance::due_at(&self.look(it, self.clock, position)));
        let silent = self.fleet.hosts.iter().filter(|(_, h)| h.approved && h.silent_since.is_none() && h.boot.is_some());
        let silences = silent.map(|(id, _)| (self.silent_at(*id) + model::Millis(1)).max(self.fleet.settle_until));
        let settling = (self.fleet.settle_until > self.clock).then_some(self.fleet.settle_until);
        orchestrations.chain(silences).chain(settling).min().map(|at| self.given(at))
    }

    /// The plan that this request would be accepted with.
    pub fn plan(&self, request: &Request) -> Plan {
        planner::host::plan(&self.config, request, self.name_of(request.target()).unwrap_or_default(), model::Route::Agent)
    }

    /// Why this request would not start now; empty exactly when it would.
    pub fn explain(&self, request: &Request, now: Timestamp) -> Vec<Blocker> {
        self.blockers(request, self.time(now))
    }

    fn blockers(&self, request: &Request, now: Timestamp) -> Vec<Blocker> {
        let reserved: Reserved = self.open.values().map(|o| (o.request.target(), (o.id, o.accepted_at))).collect();
        let guard = Guard { config: &self.config, fleet: &self.fleet, heard: &self.heard, reserved: &reserved, now };
        guard.blockers(request.target(), request, None)
    }

    /// What an accepted orchestration waits for; empty when it waits for nothing.
    pub fn explain_waiting(&self, id: OrchestrationId, now: Timestamp) -> Vec<Blocker> {
        let Some(it) = self.open.get(&id).filter(|o| o.tracks.iter().any(|t| t.started_at.is_none() && t.ended.is_none())) else {
            return Vec::new();
        };
        let reserved = Reserved::new();
        let now = self.time(now);
        let guard = Guard { config: &self.config, fleet: &self.fleet, heard: &self.heard, reserved: &reserved, now };
        guard.blockers(it.request.target(), &it.request, Some(id))
    }

    /// One open orchestration, or one that ended in this process's life.
    pub fn view(&self, id: OrchestrationId) -> Option<View> {
        self.open.get(&id).or_else(|| self.ended.get(&id)).map(show::orchestration)
    }

    /// Orchestrations that are open.
    pub fn open(&self) -> impl Iterator<Item = OrchestrationId> {
        self.open.keys().copied()
    }

    /// Orchestrations whose journal could not be read, with the reason.
    pub fn unreadable(&self) -> impl Iterator<Item = (OrchestrationId, &str)> {
        self.unreadable.iter().map(|(id, why)| (*id, why.as_str()))
    }

    /// End of settling.
    pub fn settle_until(&self) -> Timestamp {
        self.fleet.settle_until
    }

    /// All hosts, by name.
    pub fn hosts(&self, now: Timestamp) -> Vec<HostView> {
        let mut list: Vec<HostView> = self.fleet.hosts.keys().filter_map(|id| self.host(*id, now)).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// The name of a host or child, where it is known.
    pub fn name_of(&self, id: TargetId) -> Option<String> {
        if id == TargetId::CONTROLLER {
            return Some("the controller".to_owned());
        }
        if let Some(host) = self.fleet.hosts.get(&id) {
            return Some(host.name.clone());
        }
        let in_orchestration = self.open.values().chain(self.ended.values()).find_map(|o| o.names().remove(&id));
        in_orchestration.or_else(|| self.fleet.stranded.get(&id).map(|s| s.name.clone()))
    }

    /// One host.
    pub fn host(&self, id: TargetId, now: Timestamp) -> Option<HostView> {
        let reserved = self.open.values().find(|o| o.request.target() == id).map(|o| o.id);
        let mut view = show::host(&self.config, &self.fleet, &self.heard, id, self.time(now))?;
        view.active_orchestration = view.active_orchestration.or(reserved);
        if let Some(why) = view.active_orchestration.and_then(|id| self.unreadable.get(&id)) {
            view.stranded.get_or_insert_with(|| format!("the journal of the orchestration that holds it cannot be read: {why}"));
        }
        Some(view)
    }
}

/// Commands of open steps that nobody has answered finally.
fn open_commands(it: &Orchestration) -> impl Iterator<Item = (Place, TargetId, &Command)> {
    it.tracks.iter().filter(|t| t.ended.is_none()).flat_map(|track| {
        track.open().into_iter().flat_map(|(place, run)| {
            run.subjects.iter().filter_map(move |(id, subject)| {
                let open = matches!(subject.standing(), Standing::Open);
                subject.command.as_ref().filter(|_| open).map(|c| (place, *id, c))
            })
        })
    })
}
