//! The state that the journal of one orchestration tells.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::broken::{self, Rule};
use model::{Actor, Amount, CommandId, Millis, Operation, OrchestrationId, Place, Plan, Report, Request, TargetId, Timestamp};

use crate::fleet::Mark;
use crate::journal::{Entry, Outcome, Record};
use crate::track::{TrackPlan, TrackState};

/// One orchestration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orchestration {
    pub(crate) id: OrchestrationId,
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    /// Where it has one target: the report on which it was accepted.
    pub(crate) report: Option<Report>,
    pub(crate) accepted_at: Timestamp,
    /// How long it may wait while nothing starts or ends (G6).
    patience: Millis,
    /// When something last started or ended, or a person did something about it.
    pub(crate) progress_at: Timestamp,
    /// Over all waves, laid end to end.
    pub(crate) tracks: Vec<TrackState>,
    /// Not started and not over.
    pub(crate) waiting: BTreeSet<u32>,
    /// Started and not over.
    pub(crate) running: BTreeSet<u32>,
    /// Wave and index in it, for each track.
    places: Vec<(u32, u32)>,
    waves: Vec<WaveState>,
    by_target: HashMap<TargetId, Vec<u32>>,
    commands: HashMap<CommandId, (Place, TargetId)>,
    /// Tracks that spent failure budget.
    pub(crate) failures: u32,
    /// Those of them in the canary.
    canary_failures: u32,
    /// Tracks that ended well, with a reboot that they proved, or with their command.
    rebooted: u32,
    /// Tracks that do not only finish what an earlier orchestration has rebooted.
    whole: u32,
    /// Tracks that are over, by how they ended.
    pub(crate) over: BTreeMap<Outcome, u32>,
    /// Failures that a person accepted by resuming.
    accepted_failures: u32,
    pub(crate) paused: Option<Mark>,
    agreed: BTreeSet<u32>,
    pub(crate) last_start: Option<Timestamp>,
    /// When a place became free last: the turn of those that wait has come since then at the earliest.
    pub(crate) turn_at: Timestamp,
    /// Some of its tracks take up what an earlier orchestration left undone.
    pub(crate) takes_up: bool,
    pub(crate) cancelled_by: Option<Actor>,
    /// Highest position that its commands carry.
    pub(crate) position: u64,
    /// When its last record was written.
    pub(crate) last_at: Timestamp,
    pub(crate) ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct WaveState {
    first: u32,
    /// Tracks that are not over.
    left: u32,
    /// When it could first start, as far as waves and people go.
    began_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) error_message: Option<String>,
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl Orchestration {
    /// From the first record of its journal.
    pub(crate) fn accept(id: OrchestrationId, record: &Record<Entry>) -> Result<Self, String> {
        let Entry::Accepted { request, plan, host_name, report, wait_until } = &record.entry else {
            return Err("the journal does not begin with its acceptance".into());
        };
        let mut plan = plan.clone();
        for track in plan.waves.iter_mut().flat_map(|w| &mut w.tracks).filter(|t| t.name.is_empty()) {
            track.name.clone_from(host_name);
        }
        let tracks: Vec<TrackState> =
            plan.tracks().map(|t| TrackState::new(plan.steps(t).len()).taking_up(t.unfinished.as_ref())).collect();
        let mut by_target: HashMap<TargetId, Vec<u32>> = HashMap::new();
        for (index, track) in plan.tracks().enumerate() {
            by_target.entry(track.target).or_default().push(number(index));
        }
        let mut places = Vec::with_capacity(tracks.len());
        let mut waves = Vec::with_capacity(plan.waves.len());
        for (w, wave) in plan.waves.iter().enumerate() {
            waves.push(WaveState { first: number(places.len()), left: number(wave.tracks.len()), began_at: record.at });
            places.extend((0..wave.tracks.len()).map(|i| (number(w), number(i))));
        }
        let proven = |track: &&model::Track| track.unfinished.as_ref().is_some_and(|left| left.proven.is_some());
        let whole = number(plan.tracks().filter(|track| !proven(track)).count());
        let takes_up = plan.tracks().any(|track| track.unfinished.is_some());
        Ok(Self {
            id,
            request: request.clone(),
            report: report.as_deref().cloned(),
            accepted_at: record.at,
            patience: wait_until.since(record.at),
            progress_at: record.at,
            waiting: (0..number(tracks.len())).collect(),
            running: BTreeSet::new(),
            tracks,
            places,
            waves,
            by_target,
            commands: HashMap::new(),
            plan,
            failures: 0,
            canary_failures: 0,
            rebooted: 0,
            whole,
            over: BTreeMap::new(),
            accepted_failures: 0,
            paused: None,
            agreed: BTreeSet::new(),
            last_start: None,
            turn_at: record.at,
            takes_up,
            cancelled_by: None,
            position: 0,
            last_at: record.at,
            ended: None,
        })
    }

    /// From a whole journal.
    pub(crate) fn replay(id: OrchestrationId, records: &[Record<Entry>]) -> Result<Self, String> {
        let (first, rest) = records.split_first().ok_or("the journal is empty")?;
        let mut it = Self::accept(id, first)?;
        for (i, record) in rest.iter().enumerate() {
            it.apply(record).map_err(|e| format!("record {}: {e}", i + 1))?;
        }
        Ok(it)
    }

    /// Apply one record after the first.
    pub(crate) fn apply(&mut self, record: &Record<Entry>) -> Result<(), String> {
        let at = record.at;
        self.last_at = at;
        match &record.entry {
            Entry::Accepted { .. } => return Err("accepted twice".into()),
            Entry::Paused { reason } => {
                self.paused = Some(Mark { by: record.by.clone(), reason: reason.clone(), since: at });
                self.progress_at = at;
            }
            Entry::Resumed { accepted } => {
                self.paused = None;
                self.accepted_failures = self.accepted_failures.max(*accepted);
                self.progress_at = at;
                self.turn_at = at;
            }
            Entry::Agreed { wave } => {
                let agreed = self.waves.get_mut(*wave as usize).ok_or_else(|| format!("the plan has no wave {wave}"))?;
                agreed.began_at = at;
                self.agreed.insert(*wave);
                self.progress_at = at;
            }
            Entry::TrackStarted { track } => {
                self.track_mut(*track)?.started_at = Some(at);
                self.waiting.remove(track);
                self.running.insert(*track);
                self.last_start = Some(at);
                self.progress_at = at;
            }
            Entry::TrackPutOff { track, .. } => {
                let plan = self.track_plan(*track as usize).and_then(|plan| plan.unfinished.clone());
                self.track_mut(*track)?.put_off(plan.as_ref());
                self.waiting.insert(*track);
                self.running.remove(track);
                self.turn_at = at;
            }
            Entry::StepStarted { place, round, position, subjects, deadline } => {
                self.position = self.position.max(*position);
                let (state, plan) = self.both(*place)?;
                state.start_step(&plan, *place, *round, *position, subjects, *deadline, at)?;
            }
            Entry::CommandIssued { place, command } => {
                self.track_mut(place.track)?.issue(*place, command, at)?;
                self.commands.insert(command.id, (*place, command.subject));
            }
            Entry::Acked { place, subject, ack, deadline, .. } => {
                let (state, plan) = self.both(*place)?;
                state.ack(&plan, *place, *subject, ack, *deadline, at)?;
            }
            Entry::HostGone { track } => self.track_mut(*track)?.gone_at = Some(at),
            Entry::DeadlinePassed { place } => self.track_mut(place.track)?.deadline_passed(*place)?,
            Entry::ForceStarted { place, deadline } => self.track_mut(place.track)?.force(*place, *deadline)?,
            Entry::StepEnded { place } => self.track_mut(place.track)?.end_step(*place, at)?,
            Entry::CancelRequested => self.cancelled_by = Some(record.by.clone()),
            Entry::UnwindStarted { track, reason, skips } => {
                let track = self.track_mut(*track)?;
                track.unwinding = Some(reason.clone());
                track.skips = *skips;
            }
            Entry::TrackEnded { track, outcome, reason } => self.end_track(*track, *outcome, reason.clone(), at)?,
            Entry::Ended { outcome, error_message } => {
                self.ended = Some(Ended { at, outcome: *outcome, error_message: error_message.clone() });
            }
        }
        Ok(())
    }

    /// Whether it changes nothing on any host.
    pub(crate) fn asks_only(&self) -> bool {
        self.request.operation == Operation::HealthCheck
    }

    /// Nothing more of it starts: a service failed, and nobody wants it to go on (ruling 14).
    pub(crate) fn is_given_up(&self) -> bool {
        self.failures > 0 && self.request.services.as_ref().is_some_and(|services| !services.keep_going)
    }

    /// Whether some of its tracks wait for no window, freeze or pace.
    pub(crate) fn has_ungated(&self) -> bool {
        self.takes_up || self.asks_only()
    }

    fn end_track(&mut self, track: u32, outcome: Outcome, reason: Option<String>, at: Timestamp) -> Result<(), String> {
        let runs = !self.request.operation.ends_boot();
        let state = self.track_mut(track)?;
        if state.ended.is_some() {
            return Err(format!("track {track} ended twice"));
        }
        state.ended = Some((outcome, reason, at));
        let done = outcome == Outcome::Completed && (state.boot_proven_at.is_some() || runs);
        self.rebooted += u32::from(done);
        self.waiting.remove(&track);
        if self.running.remove(&track) {
            self.turn_at = at;
        }
        self.failures += u32::from(outcome.is_failure());
        *self.over.entry(outcome).or_default() += 1;
        self.progress_at = at;
        let (wave, _) = self.wave_of(track as usize).ok_or("a track outside all waves")?;
        self.canary_failures += u32::from(wave == 0 && self.canary() > 0 && outcome.is_failure());
        if let Some(state) = self.waves.get_mut(wave) {
            state.left -= 1;
            if state.left == 0
                && let Some(next) = self.waves.get_mut(wave + 1)
            {
                next.began_at = next.began_at.max(at);
            }
        }
        Ok(())
    }

    fn track_mut(&mut self, track: u32) -> Result<&mut TrackState, String> {
        self.tracks.get_mut(track as usize).ok_or_else(|| format!("the plan has no track {track}"))
    }

    fn both(&mut self, place: Place) -> Result<(&mut TrackState, TrackPlan<'_>), String> {
        let at = self.places.get(place.track as usize);
        let plan = at.and_then(|(wave, index)| TrackPlan::at(&self.plan, *wave, *index));
        let state = self.tracks.get_mut(place.track as usize);
        state.zip(plan).ok_or_else(|| format!("the plan has no {place}"))
    }

    /// The plan of one track.
    pub(crate) fn track_plan(&self, track: usize) -> Option<TrackPlan<'_>> {
        let (wave, index) = self.places.get(track)?;
        TrackPlan::at(&self.plan, *wave, *index)
    }

    /// Which wave a track belongs to, and its index in it.
    pub(crate) fn wave_of(&self, track: usize) -> Option<(usize, usize)> {
        self.places.get(track).map(|(wave, index)| (*wave as usize, *index as usize))
    }

    /// Index of a wave's first track.
    pub(crate) fn first_of_wave(&self, wave: usize) -> usize {
        self.waves.get(wave).map_or(self.tracks.len(), |w| w.first as usize)
    }

    /// The first wave that is not over; `None` when all are.
    pub(crate) fn wave_now(&self) -> Option<u32> {
        self.waves.iter().position(|w| w.left > 0).map(number)
    }

    pub(crate) fn wave_began_at(&self, wave: u32) -> Timestamp {
        self.waves.get(wave as usize).map_or(self.accepted_at, |w| w.began_at)
    }

    /// Whether this wave waits until a person agrees to it.
    pub(crate) fn wants_approval(&self, wave: u32) -> bool {
        self.plan.waves.get(wave as usize).is_some_and(|w| w.approval) && !self.agreed.contains(&wave)
    }

    /// Its tracks on this target.
    pub(crate) fn tracks_on(&self, target: TargetId) -> &[u32] {
        self.by_target.get(&target).map(Vec::as_slice).unwrap_or_default()
    }

    /// Whether it works on the target, or will.
    pub(crate) fn is_open_on(&self, target: TargetId) -> bool {
        self.ended.is_none() && self.tracks_on(target).iter().any(|t| self.waiting.contains(t) || self.running.contains(t))
    }

    /// Where a command of its journal belongs, and on whom it acts.
    pub(crate) fn command(&self, id: CommandId) -> Option<(Place, TargetId)> {
        self.commands.get(&id).copied()
    }

    /// Whether an answer to this command still decides how its step goes on.
    pub(crate) fn waits_for(&self, id: CommandId) -> bool {
        let step = self.command(id).and_then(|(place, subject)| {
            let track = self.tracks.get(place.track as usize)?;
            (track.current == Some(place)).then_some(track.run(place)?.subjects.get(&subject)?)
        });
        step.is_some_and(|subject| !subject.timed_out)
    }

    /// How many may fail: the budget, and what a person accepted (G4, ruling 15).
    pub(crate) fn budget(&self) -> u32 {
        let budget = self.request.rollout.as_ref().map_or(u32::MAX, |r| r.failure_budget.of(number(self.tracks.len())));
        budget.max(self.accepted_failures)
    }

    /// How many failed and how many may, once more failed than may; of the canary by itself, where it has its own budget.
    pub(crate) fn overspent(&self) -> Option<(u32, u32)> {
        if broken::is(Rule::BudgetNotCounted) {
            return None;
        }
        let own = self.request.rollout.as_ref().and_then(|r| r.canary_failure_budget).map(|own| own.of(self.canary()));
        if let Some(budget) = own.map(|own| own.max(self.accepted_failures)).filter(|own| self.canary_failures > *own) {
            return Some((self.canary_failures, budget));
        }
        (self.failures > self.budget()).then(|| (self.failures, self.budget()))
    }

    /// Whether more failed than may.
    pub(crate) fn is_over_budget(&self) -> bool {
        self.overspent().is_some()
    }

    /// Size of the canary; 0: there is none.
    fn canary(&self) -> u32 {
        let canary = self.request.rollout.as_ref().map_or(Amount::Count(0), |r| r.canary);
        match canary {
            Amount::Count(0) | Amount::Percent(0) => 0,
            // What only finishes an earlier one proves nothing.
            some => some.of(number(self.tracks.len())).max(1).min(self.whole),
        }
    }

    /// How many targets may be worked on at once (rulings 15 and 17). A canary that rebooted nobody, since nobody needed it or
    /// was there, has proven nothing: until as many as it was to have are through, no more than those at once.
    pub(crate) fn concurrency(&self) -> u32 {
        if let Some(services) = &self.request.services {
            return if services.parallel == 0 { u32::MAX } else { services.parallel };
        }
        let all = self.request.rollout.as_ref().map_or(u32::MAX, |r| r.concurrency.of(number(self.tracks.len())).max(1));
        if self.rebooted < self.canary() { all.min(self.canary()) } else { all }
    }

    /// When it is cancelled, if nothing starts or ends before (G6).
    pub(crate) fn wait_until(&self) -> Timestamp {
        self.progress_at + self.patience
    }

    /// The name of the host, or how many there are.
    pub(crate) fn name(&self) -> String {
        match (self.tracks.len(), self.plan.tracks().next()) {
            (1, Some(track)) => track.name.clone(),
            (count, _) if self.request.services.is_some() => format!("{count} services"),
            (count, _) => format!("{count} hosts"),
        }
    }

    /// The name of a target of it, or of a child of one.
    pub(crate) fn name_of(&self, id: TargetId) -> Option<&str> {
        let mut of_services = self.plan.tracks().filter(|_| self.request.services.is_some());
        if let Some(track) = of_services.find(|track| track.service.as_ref().is_some_and(|service| service.id == id)) {
            return Some(&track.name);
        }
        if let Some(track) = self.tracks_on(id).first() {
            let (wave, index) = self.wave_of(*track as usize)?;
            return self.plan.waves.get(wave)?.tracks.get(index).map(|t| t.name.as_str());
        }
        self.tracks.iter().find_map(|t| t.children.get(&id)).map(|c| c.child.name.as_str())
    }
}
