//! The turn.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use engine::{Config, Engine, Entry, Fact, FleetEntry, Input, JournalId, Reply, RestoreError};
use model::broken::{self, Rule};
use model::{BootIdentity, Command, CommandId, Millis, OrchestrationId, TargetId, Timestamp};

use crate::batch::{Append, AuditRow, Batch, Loaded};

/// Durable journals. All of one batch or nothing of it.
pub trait Store {
    /// Take the lead: raises the lease number, so that whoever held it before can append no more.
    fn lead(&mut self) -> impl Future<Output = Result<u64, StoreError>> + Send;
    /// Everything needed to restore.
    fn load(&mut self) -> impl Future<Output = Result<Loaded, StoreError>> + Send;
    /// Append; durable when it returns.
    fn append(&mut self, batch: &Batch) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// The way to the targets.
pub trait Transport {
    /// Hand one command over; no promise that it arrives.
    fn send(&mut self, command: &Command) -> impl Future<Output = Result<(), SendError>> + Send;
}

/// Why a store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A journal does not stand where the batch says.
    #[error("journal conflict: {0}")]
    Conflict(String),
    /// Somebody else leads.
    #[error("the lease is held by another controller (ours {ours}, now {now})")]
    LeaseLost {
        /// The lease of the batch.
        ours: u64,
        /// The lease in force.
        now: u64,
    },
    /// No room.
    #[error("the disk under the database is full: free some space, the controller goes on by itself ({0})")]
    Full(String),
    /// Anything else.
    #[error("store: {0}")]
    Other(String),
}

/// Why a command could not be handed over; it is tried again later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("send: {0}")]
pub struct SendError(pub String);

/// Why the driver could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journals do not hold together.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The first turn failed.
    #[error(transparent)]
    Turn(#[from] TurnError),
}

/// A turn that did not become durable. The engine in memory is ahead of the store: start again from the store.
#[derive(Debug, thiserror::Error)]
#[error("turn not durable: {0}")]
pub struct TurnError(#[from] pub StoreError);

/// Engine, store and transport, held together by the turn.
pub struct Driver<S, T> {
    engine: Engine,
    store: S,
    transport: T,
    lease: u64,
    heads: BTreeMap<JournalId, u64>,
    /// What was sent and is wanted still, by track.
    sent: BTreeMap<TrackKey, OfTrack>,
    /// When something is to be sent again.
    due: BTreeSet<(Timestamp, TrackKey)>,
    resend: Millis,
}

type TrackKey = (OrchestrationId, u32);

#[derive(Default)]
struct OfTrack {
    commands: BTreeMap<CommandId, Sent>,
    /// When the first of them is sent again.
    due: Timestamp,
}

#[derive(Clone, Copy)]
struct Sent {
    target: TargetId,
    at: Timestamp,
    times: u32,
}

/// A command that nobody answered is sent again after this pause, doubled each time up to sixteen times it.
const RESEND_DOUBLINGS_MAX: u32 = 4;

impl<S: Store, T: Transport> Driver<S, T> {
    /// Take the lead, restore from the store and write the start down. `resend` is the first pause before an unanswered
    /// command is sent again. `own_boot` is the boot of the machine on which this runs, where it can be read.
    ///
    /// # Errors
    /// The store cannot be read or written, or the fleet journal is bad (G8).
    pub async fn start(
        config: Config,
        mut store: S,
        transport: T,
        resend: Millis,
        own_boot: Option<BootIdentity>,
        now: Timestamp,
    ) -> Result<Self, StartError> {
        let lease = store.lead().await?;
        let loaded = store.load().await?;
        let epoch = loaded.epoch;
        let mut heads = BTreeMap::from([(JournalId::Fleet, loaded.fleet.len() as u64)]);
        for (id, journal) in &loaded.open {
            if let Ok(records) = journal {
                heads.insert(JournalId::Orchestration(*id), records.len() as u64);
            }
        }
        let engine = Engine::restore(config, loaded.fleet, loaded.open)?;
        let (sent, due) = (BTreeMap::new(), BTreeSet::new());
        let mut driver = Self { engine, store, transport, lease, heads, sent, due, resend };
        // What was wanted before is sent with the first turn.
        let running: Vec<TrackKey> = driver.engine.running().collect();
        driver.due.extend(running.into_iter().map(|track| (Timestamp::default(), track)));
        driver.turn(vec![Input::Started { epoch, lease, own_boot }], now).await?;
        Ok(driver)
    }

    /// The engine, to look at.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The transport.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Give store and transport back, to start again.
    pub fn into_parts(self) -> (S, T) {
        (self.store, self.transport)
    }

    /// One turn: all inputs that wait are decided together, appended together, and only then answered and acted on.
    /// Returns one reply per input.
    ///
    /// # Errors
    /// Nothing of the turn became durable, or nobody knows: the driver must not be used any more.
    pub async fn turn(&mut self, inputs: Vec<Input>, now: Timestamp) -> Result<Vec<Reply>, TurnError> {
        let mut facts = Vec::new();
        let mut events = Vec::new();
        let mut replies = Vec::with_capacity(inputs.len());
        let mut gone = BTreeMap::new();
        for input in inputs {
            // Once it is gone nobody knows what it was called.
            if let Input::Remove { host, .. } | Input::Unlist { host, .. } = &input {
                gone.extend(self.engine.name_of(*host).map(|name| (*host, name)));
            }
            let turn = self.engine.handle(input, now);
            facts.extend(turn.facts);
            events.extend(turn.events);
            replies.push(turn.reply);
        }
        // What a track wants changes with its own entries alone.
        let mut tracks: BTreeSet<TrackKey> = facts.iter().filter_map(track_of).collect();
        if broken::is(Rule::SendBeforeAppend) {
            self.dispatch(tracks.clone(), now).await;
        }
        // Another run of an agent, or one that is heard again, has not heard what was sent before.
        for fact in &facts {
            if let Fact::Fleet(record) = fact
                && let FleetEntry::HostSeen { host, .. } = &record.entry
            {
                for (track, OfTrack { commands, .. }) in &mut self.sent {
                    let before = commands.len();
                    commands.retain(|_, sent| sent.target != *host);
                    tracks.extend((commands.len() < before).then_some(*track));
                }
            }
        }
        if !facts.is_empty() {
            let batch = Batch { events, ..self.batch(facts, &gone) };
            match self.store.append(&batch).await {
                Ok(()) => self.advance_heads(&batch),
                Err(_) if broken::is(Rule::KeepAfterConflict) => self.advance_heads(&batch),
                Err(error) => return Err(error.into()),
            }
        }
        self.dispatch(tracks, now).await;
        Ok(replies)
    }

    /// When a turn is due even if nothing happens.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let resend = self.due.first().map(|(at, _)| self.engine.given(*at));
        [self.engine.poll_timeout(), resend].into_iter().flatten().min()
    }

    fn batch(&self, facts: Vec<Fact>, gone: &BTreeMap<TargetId, String>) -> Batch {
        let mut touched: BTreeMap<OrchestrationId, BTreeSet<u32>> = BTreeMap::new();
        let mut audit = Vec::with_capacity(facts.len());
        let mut journals: BTreeMap<JournalId, Vec<Fact>> = BTreeMap::new();
        for fact in facts {
            if let Fact::Orchestration(id, record) = &fact {
                let tracks = touched.entry(*id).or_default();
                match &record.entry {
                    Entry::Accepted { plan, .. } => tracks.extend(0..u32::try_from(plan.tracks().count()).unwrap_or(u32::MAX)),
                    entry => tracks.extend(entry.track()),
                }
            }
            audit.push(self.audit_row(&fact, gone));
            journals.entry(fact.journal()).or_default().push(fact);
        }
        let views = touched.keys().filter_map(|id| self.engine.view(*id)).collect();
        let tracks = touched.iter().flat_map(|(id, tracks)| tracks.iter().map(|track| (*id, *track)));
        let tracks = tracks.filter_map(|(id, track)| Some((id, self.engine.track(id, track)?))).collect();
        let appends = journals
            .into_iter()
            .map(|(journal, facts)| Append { journal, follows: self.heads.get(&journal).copied().unwrap_or(0), facts })
            .collect();
        Batch { lease: self.lease, appends, views, tracks, audit, events: Vec::new() }
    }

    fn audit_row(&self, fact: &Fact, gone: &BTreeMap<TargetId, String>) -> AuditRow {
        let (at, by, target, orchestration) = match fact {
            Fact::Fleet(r) => (r.at, r.by.to_string(), self.fleet_target(&r.entry), None),
            Fact::Orchestration(id, r) => (r.at, r.by.to_string(), self.engine.target_of(*id, &r.entry), Some(*id)),
        };
        AuditRow {
            at,
            actor: by,
            action: engine::action_of(fact).to_owned(),
            target,
            orchestration,
            success: engine::is_good(fact),
            detail: engine::tell(fact, target, &|id| gone.get(&id).cloned().or_else(|| self.engine.name_in(fact, id))),
        }
    }

    fn advance_heads(&mut self, batch: &Batch) {
        for append in &batch.appends {
            *self.heads.entry(append.journal).or_default() += append.facts.len() as u64;
        }
    }

    /// Send what should be in flight and was not sent lately: of these tracks, and of those that have unanswered commands.
    async fn dispatch(&mut self, mut tracks: BTreeSet<TrackKey>, now: Timestamp) {
        let now = self.engine.time(now);
        tracks.extend(self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, track)| *track));
        for track in tracks {
            self.dispatch_track(track, now).await;
        }
        debug_assert!(self.has_sent_all(), "what is wanted of a track changed without an entry of its own");
    }

    async fn dispatch_track(&mut self, track: TrackKey, now: Timestamp) {
        let before = self.sent.remove(&track).unwrap_or_default();
        self.due.remove(&(before.due, track));
        let mut commands = BTreeMap::new();
        for command in self.engine.wanted_of(track.0, track.1) {
            let times = match before.commands.get(&command.id) {
                Some(lately) if now < lately.at + self.pause(lately.times) => {
                    commands.insert(command.id, *lately);
                    continue;
                }
                Some(sent) => sent.times,
                None => 0,
            };
            // A command that could not be handed over is paced like one that was not answered.
            let _ = self.transport.send(&command).await;
            commands.insert(command.id, Sent { target: command.target, at: now, times: times.saturating_add(1) });
        }
        let first = commands.values().map(|sent| sent.at + self.pause(sent.times)).min();
        if let Some(due) = first {
            self.due.insert((due, track));
            self.sent.insert(track, OfTrack { commands, due });
        }
    }

    fn has_sent_all(&self) -> bool {
        let sent: BTreeSet<CommandId> = self.sent.values().flat_map(|track| track.commands.keys().copied()).collect();
        let wanted: BTreeSet<CommandId> = self.engine.wanted().iter().map(|command| command.id).collect();
        sent == wanted
    }

    fn pause(&self, times: u32) -> Millis {
        Millis(self.resend.0.saturating_mul(1 << times.saturating_sub(1).min(RESEND_DOUBLINGS_MAX)))
    }

    /// Whom an entry of the fleet journal is about; so whoever sees only some hosts finds it in the audit log.
    fn fleet_target(&self, entry: &FleetEntry) -> Option<TargetId> {
        match entry {
            FleetEntry::ControllerStarted { .. } | FleetEntry::Frozen { .. } | FleetEntry::Thawed => None,
            FleetEntry::SlotTaken { holder, .. } | FleetEntry::SlotGiven { holder, .. } => self.engine.host_of_holder(holder),
            FleetEntry::HostEnrolled { host, .. }
            | FleetEntry::HostApproved { host }
            | FleetEntry::HostAdopted { host, .. }
            | FleetEntry::HostRemoved { host }
            | FleetEntry::HostUnlisted { host }
            | FleetEntry::Held { host, .. }
            | FleetEntry::Released { host }
            | FleetEntry::HostWorked { host, .. }
            | FleetEntry::HostSeen { host, .. }
            | FleetEntry::HostSilent { host }
            | FleetEntry::HostOff { host, .. }
            | FleetEntry::HostStillOn { host }
            | FleetEntry::LateAck { host, .. }
            | FleetEntry::Locked { host, .. }
            | FleetEntry::Unlocked { host, .. }
            | FleetEntry::BootEndCommanded { host, .. } => Some(*host),
            FleetEntry::Stranded { target, .. }
            | FleetEntry::StrandedEnded { target, .. }
            | FleetEntry::AlarmAcknowledged { target } => Some(*target),
        }
    }
}

fn track_of(fact: &Fact) -> Option<TrackKey> {
    match fact {
        Fact::Orchestration(id, record) => Some((*id, record.entry.track()?)),
        Fact::Fleet(_) => None,
    }
}
