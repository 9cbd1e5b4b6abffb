//! The state that the journal of one orchestration tells.

use std::collections::BTreeMap;

use model::{Actor, OrchestrationId, Place, Plan, Report, Request, TargetId, Timestamp};

use crate::journal::{Entry, Outcome, Record};
use crate::track::{TrackPlan, TrackState};

/// One orchestration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Orchestration {
    pub(crate) id: OrchestrationId,
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    pub(crate) host_name: String,
    pub(crate) report: Report,
    pub(crate) accepted_at: Timestamp,
    pub(crate) wait_until: Timestamp,
    /// Over all waves, laid end to end.
    pub(crate) tracks: Vec<TrackState>,
    pub(crate) cancelled_by: Option<Actor>,
    /// Highest position that its commands carry.
    pub(crate) position: u64,
    /// When its last record was written.
    pub(crate) last_at: Timestamp,
    pub(crate) ended: Option<Ended>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) outcome: Outcome,
    pub(crate) error_message: Option<String>,
}

impl Orchestration {
    /// From the first record of its journal.
    pub(crate) fn accept(id: OrchestrationId, record: &Record<Entry>) -> Result<Self, String> {
        let Entry::Accepted { request, plan, host_name, report, wait_until } = &record.entry else {
            return Err("the journal does not begin with its acceptance".into());
        };
        let tracks = plan.tracks().map(|t| TrackState::new(plan.steps(t).len()).taking_up(t.unfinished.as_ref())).collect();
        Ok(Self {
            id,
            request: request.clone(),
            plan: plan.clone(),
            host_name: host_name.clone(),
            report: (**report).clone(),
            accepted_at: record.at,
            wait_until: *wait_until,
            tracks,
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
            Entry::TrackStarted { track } => self.track_mut(*track)?.started_at = Some(at),
            Entry::StepStarted { place, round, position, subjects, deadline } => {
                self.position = self.position.max(*position);
                let (state, plan) = self.both(*place)?;
                state.start_step(&plan, *place, *round, *position, subjects, *deadline, at)?;
            }
            Entry::CommandIssued { place, command } => self.track_mut(place.track)?.issue(*place, command, at)?,
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
            Entry::TrackEnded { track, outcome, reason } => {
                self.track_mut(*track)?.ended = Some((*outcome, reason.clone(), at));
            }
            Entry::Ended { outcome, error_message } => {
                self.ended = Some(Ended { at, outcome: *outcome, error_message: error_message.clone() });
            }
        }
        Ok(())
    }

    fn track_mut(&mut self, track: u32) -> Result<&mut TrackState, String> {
        self.tracks.get_mut(track as usize).ok_or_else(|| format!("the plan has no track {track}"))
    }

    fn both(&mut self, place: Place) -> Result<(&mut TrackState, TrackPlan<'_>), String> {
        let plan = TrackPlan::of(&self.plan, place.track as usize);
        let state = self.tracks.get_mut(place.track as usize);
        state.zip(plan).ok_or_else(|| format!("the plan has no {place}"))
    }

    /// The plan of one track.
    pub(crate) fn track_plan(&self, track: usize) -> Option<TrackPlan<'_>> {
        TrackPlan::of(&self.plan, track)
    }

    /// Which wave a track belongs to, and its index in it.
    pub(crate) fn wave_of(&self, track: usize) -> Option<(usize, usize)> {
        let mut first = 0;
        for (w, wave) in self.plan.waves.iter().enumerate() {
            if track < first + wave.tracks.len() {
                return Some((w, track - first));
            }
            first += wave.tracks.len();
        }
        None
    }

    /// Index of a wave's first track.
    pub(crate) fn first_of_wave(&self, wave: usize) -> usize {
        self.plan.waves.iter().take(wave).map(|w| w.tracks.len()).sum()
    }

    /// Names of all subjects.
    pub(crate) fn names(&self) -> BTreeMap<TargetId, String> {
        let children = self.tracks.iter().flat_map(|t| &t.children).map(|(id, c)| (*id, c.child.name.clone()));
        children.chain([(self.request.target(), self.host_name.clone())]).collect()
    }
}
