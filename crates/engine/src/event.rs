//! Events of services as S3 has them (S3-64 to S3-70): a pure function of the journal, so that they can be told anew.

use model::{Direction, InvocationId, Millis, OrchestrationId, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::flow;
use crate::journal::{Entry, Outcome, Record};
use crate::orchestration::Orchestration;
use crate::track::{TrackPlan, TrackState};

/// The words of a reason that are told; the journal has all of it.
const REASON_MOST: usize = 1000;

/// What happened to a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    /// Its turn has come (S3-65).
    ServiceRestartStart,
    /// It was restarted or reloaded, and is proven to be well (S3-66).
    ServiceRestartSuccess,
    /// It was not, or nobody knows (S3-67).
    ServiceRestartFailed,
    /// What was done is taken back (S3-68).
    RollbackStart,
    /// It is proven to be as it was (S3-69).
    RollbackSuccess,
    /// It is not (S3-70).
    RollbackFailed,
}

impl EventKind {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ServiceRestartStart => "SERVICE_RESTART_START",
            Self::ServiceRestartSuccess => "SERVICE_RESTART_SUCCESS",
            Self::ServiceRestartFailed => "SERVICE_RESTART_FAILED",
            Self::RollbackStart => "ROLLBACK_START",
            Self::RollbackSuccess => "ROLLBACK_SUCCESS",
            Self::RollbackFailed => "ROLLBACK_FAILED",
        }
    }
}

/// S3's `OrchestratorEvent`: written with these keys, in this order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceEvent {
    /// What.
    #[serde(rename = "type")]
    pub kind: EventKind,
    /// The name of the service, `sso.api`.
    #[serde(rename = "serviceId")]
    pub service: String,
    /// When, as the journal has it.
    pub timestamp: Timestamp,
    /// What else is known.
    pub metadata: EventMetadata,
}

/// What an event knows beside what S3's example shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventMetadata {
    /// The same whenever the event is told: whoever has it knows a duplicate.
    pub event_id: String,
    /// Where its whole story is.
    pub orchestration_id: OrchestrationId,
    /// On which host.
    pub host_id: TargetId,
    /// The service, with its host where there are several.
    pub name: String,
    /// Its systemd unit.
    pub unit: String,
    /// `restart` or `reload`, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// The run of the unit before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_before: Option<InvocationId>,
    /// The run that the restart began, or the reload left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invocation_after: Option<InvocationId>,
    /// Why it was forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forced: Option<String>,
    /// How the track ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why, when it is not well. What a migration printed is not in it: it may hold secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From the start of the track, at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Millis>,
}

/// How a service was made to take up what is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Another run of its unit.
    Restart,
    /// The same run.
    Reload,
}

/// All events that a journal tells of, in their order.
///
/// # Errors
/// The journal does not follow from itself, in words.
pub fn service_events(id: OrchestrationId, journal: &[Record<Entry>]) -> Result<Vec<ServiceEvent>, String> {
    let (first, rest) = journal.split_first().ok_or("the journal is empty")?;
    let mut it = Orchestration::accept(id, first)?;
    let mut events = Vec::new();
    for record in rest {
        it.apply(record)?;
        events.extend(of(&it, record));
    }
    Ok(events)
}

/// What this record, which was applied just now, tells.
pub(crate) fn of(it: &Orchestration, record: &Record<Entry>) -> Vec<ServiceEvent> {
    let (Entry::TrackStarted { track } | Entry::TrackEnded { track, .. }) = record.entry else {
        let Entry::StepStarted { place, round: 1, .. } = record.entry else { return Vec::new() };
        return if place.direction == Direction::Undo { rollback(it, place.track, record.at) } else { Vec::new() };
    };
    let Some(told) = Told::of(it, track, record.at) else { return Vec::new() };
    match record.entry {
        Entry::TrackEnded { outcome, .. } => told.ends(outcome),
        _ => vec![told.event(EventKind::ServiceRestartStart, None)],
    }
}

/// The first step backwards.
fn rollback(it: &Orchestration, track: u32, at: Timestamp) -> Vec<ServiceEvent> {
    let Some(told) = Told::of(it, track, at) else { return Vec::new() };
    let begun = told.track.undo.iter().filter(|run| run.first_started_at.is_some()).count();
    let reason = told.track.unwinding.clone();
    if begun == 1 { vec![told.event(EventKind::RollbackStart, reason)] } else { Vec::new() }
}

struct Told<'a> {
    it: &'a Orchestration,
    plan: TrackPlan<'a>,
    service: &'a model::ServiceRef,
    track: &'a TrackState,
    number: u32,
    at: Timestamp,
}

impl<'a> Told<'a> {
    /// `None` where the track is about no service, or never began.
    fn of(it: &'a Orchestration, number: u32, at: Timestamp) -> Option<Self> {
        let plan = it.track_plan(number as usize)?;
        let service = plan.service()?;
        let track = it.tracks.get(number as usize).filter(|track| track.started_at.is_some())?;
        Some(Self { it, plan, service, track, number, at })
    }

    fn ends(&self, outcome: Outcome) -> Vec<ServiceEvent> {
        let reason = || self.track.ended.as_ref().and_then(|(_, reason, _)| reason.clone());
        if outcome == Outcome::Completed {
            return vec![self.event(EventKind::ServiceRestartSuccess, None)];
        }
        let undone = self.track.undo.iter().any(|run| run.first_started_at.is_some());
        let rolled_back = undone.then(|| match flow::rollback_troubles(&self.plan, self.track).is_empty() {
            true => self.event(EventKind::RollbackSuccess, None),
            false => self.event(EventKind::RollbackFailed, reason()),
        });
        rolled_back.into_iter().chain([self.event(EventKind::ServiceRestartFailed, reason())]).collect()
    }

    fn event(&self, kind: EventKind, reason: Option<String>) -> ServiceEvent {
        let known = &self.track.service;
        let ended = self.track.ended.as_ref();
        let reason = reason.map(|reason| flow::without_output(&self.plan, self.track, reason));
        let method = if known.reloaded { Method::Reload } else { Method::Restart };
        let metadata = EventMetadata {
            event_id: format!("{}/{}/{}", self.it.id, self.number, kind.as_str()),
            orchestration_id: self.it.id,
            host_id: self.plan.target,
            name: self.plan.name.clone(),
            unit: self.service.unit.clone(),
            method: known.after.is_some().then_some(method),
            invocation_before: known.before.as_ref().and_then(|unit| unit.invocation),
            invocation_after: known.after.as_ref().and_then(|unit| unit.invocation),
            forced: self.it.request.options.force.as_ref().map(|force| force.reason.clone()),
            outcome: ended.map(|(outcome, ..)| *outcome),
            reason: reason.map(|reason| reason.chars().take(REASON_MOST).collect()),
            duration_ms: ended.and(self.track.started_at).map(|started| self.at.since(started)),
        };
        ServiceEvent { kind, service: self.service.name.clone(), timestamp: self.at, metadata }
    }
}
