//! From what the engine shows of rollouts to the documents of the REST dialect. Nothing is decided here.

use engine::{Counts, MarkView, Preview, TrackPhase, TrackView, View};
use model::{Ran, Request, Rollout, Said};
use protocol::rest::orchestrations::Outcome;
use protocol::rest::rollouts::{
    EndedCount, Lock, LockKind, Paused, PlannedTrack, PlannedWave, RolloutDocument, RolloutPreview, RolloutProgress, Track,
    TrackDetails, TrackState,
};
use protocol::rest::runs::{RanDocument, SaidDocument};

use super::{documents, service_documents};
use crate::control;

/// How a fleet is gone through.
pub(super) fn rollout(rollout: &Rollout) -> RolloutDocument {
    RolloutDocument {
        canary: rollout.canary,
        stages: rollout.stages.clone(),
        concurrency: rollout.concurrency,
        failure_budget: rollout.failure_budget,
        canary_failure_budget: rollout.canary_failure_budget,
        approval: rollout.approval,
        drains: rollout.drains.clone(),
        drain_limit_seconds: rollout.drain_limit.as_secs(),
        on_drain_timeout: rollout.on_drain_timeout,
        checks: rollout.checks.clone(),
        soak_seconds: rollout.soak.as_secs(),
        windows: rollout.windows.clone(),
        stagger_seconds: rollout.stagger.as_secs(),
        jitter_seconds: rollout.jitter.as_secs(),
        only_if_required: rollout.only_if_required,
        retry_of: rollout.retry_of,
    }
}

/// How far a rollout is; `None` for anything else.
pub(super) fn progress(view: &View) -> Option<Box<RolloutProgress>> {
    let options = view.rollout.as_ref()?;
    Some(Box::new(RolloutProgress {
        targets: view.counts.total,
        waiting: view.counts.waiting,
        running: view.counts.running,
        ended: ended(&view.counts),
        wave: view.wave,
        waves: view.waves,
        failures: view.failures,
        failure_budget: view.budget,
        paused: view.paused.as_ref().map(paused),
        waits_for_approval: view.waits_for_approval.is_some(),
        waits_until: view.waits_until,
        options: rollout(options),
    }))
}

pub(super) fn ended(counts: &Counts) -> Vec<EndedCount> {
    let all = [
        (Outcome::Completed, counts.completed),
        (Outcome::Partial, counts.partial),
        (Outcome::Failed, counts.failed),
        (Outcome::Cancelled, counts.cancelled),
        (Outcome::Skipped, counts.skipped),
        (Outcome::NotNeeded, counts.not_needed),
        (Outcome::Unknown, counts.unknown),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).map(|(outcome, count)| EndedCount { outcome, count }).collect()
}

pub(super) fn paused(mark: &MarkView) -> Paused {
    Paused { by: mark.by.to_string(), reason: mark.reason.clone(), since: mark.since }
}

/// A line of the list of tracks.
pub(super) fn track(track: &TrackView) -> Track {
    let open = track.step.and_then(|index| track.steps.iter().find(|step| step.index == index));
    let done = track.steps.iter().filter(|step| step.state == engine::StepState::Done).count();
    Track {
        index: track.index,
        wave: track.wave,
        target: track.target,
        name: track.name.clone(),
        route: track.route,
        state: match track.phase {
            TrackPhase::Waiting => TrackState::Waiting,
            TrackPhase::Running => TrackState::Running,
            TrackPhase::Unwinding => TrackState::Undoing,
            TrackPhase::Ended => TrackState::Ended,
        },
        outcome: track.outcome.map(documents::outcome),
        reason: track.reason.clone(),
        step: open.map(|step| step.title.clone()),
        steps_done: u32::try_from(done).unwrap_or(u32::MAX),
        steps: track.step_count,
        started_at: track.started_at,
        ended_at: track.ended_at,
        boot_before: track.boot_before,
        boot_after: track.boot_after,
        service: track.service.as_ref().map(|service| Box::new(service_documents::service(service))),
    }
}

/// One track, whole.
pub(super) fn track_details(view: &TrackView, blockers: &[engine::Blocker]) -> TrackDetails {
    TrackDetails {
        track: track(view),
        proof: view.proof,
        steps_begun: view.steps.iter().map(documents::step).collect(),
        children: view.children.iter().map(documents::orchestrated_child).collect(),
        waiting_for: blockers.iter().map(documents::blocker).collect(),
        ran: view.ran.as_ref().map(ran),
    }
}

fn ran(ran: &Ran) -> RanDocument {
    let said = |said: &Said| SaidDocument { bytes: said.bytes, tail: said.tail.clone(), is_cut: said.is_cut() };
    RanDocument { exit: ran.exit, timed_out: ran.timed_out, out: said(&ran.out), err: said(&ran.err) }
}

/// What a request would lead to.
pub(super) fn preview(request: &Request, preview: &Preview) -> Option<RolloutPreview> {
    let options = request.rollout.as_ref()?;
    let count = u32::try_from(request.targets.len()).unwrap_or(u32::MAX);
    let concurrency = options.concurrency.of(count).max(1);
    let mut lists: Vec<Vec<String>> = Vec::new();
    let mut index = 0;
    let mut expected_seconds = 0;
    let mut waves = Vec::with_capacity(preview.waves.len());
    for (wave, number) in preview.waves.iter().zip(0..) {
        let mut tracks = Vec::with_capacity(wave.tracks.len());
        for track in &wave.tracks {
            let list = lists.iter().position(|known| *known == track.steps).unwrap_or_else(|| {
                lists.push(track.steps.clone());
                lists.len() - 1
            });
            tracks.push(PlannedTrack {
                index,
                target: track.target,
                name: track.name.clone(),
                route: track.route,
                list: u32::try_from(list).unwrap_or(u32::MAX),
                expected_seconds: track.expected.as_secs(),
                unfinished: track.takes_up,
                blockers: track.blockers.iter().map(documents::blocker).collect(),
            });
            index += 1;
        }
        expected_seconds += makespan(tracks.iter().map(|track| track.expected_seconds), concurrency);
        waves.push(PlannedWave { index: number, approval: wave.approval, tracks });
    }
    Some(RolloutPreview {
        targets: count,
        concurrency,
        failure_budget: options.failure_budget.of(count),
        options: rollout(options),
        lists,
        waves,
        irreversible: preview.irreversible.clone(),
        expected_seconds,
    })
}

/// How long it takes when so many run at once, each starting as soon as there is room.
fn makespan(durations: impl Iterator<Item = u64>, concurrency: u32) -> u64 {
    let mut busy = std::collections::BinaryHeap::new();
    let mut end = 0;
    for duration in durations {
        let start = if busy.len() < concurrency as usize { 0 } else { busy.pop().map_or(0, |std::cmp::Reverse(free)| free) };
        end = end.max(start + duration);
        busy.push(std::cmp::Reverse(start + duration));
    }
    end
}

/// A lock.
pub(super) fn lock(lock: &control::Lock) -> Lock {
    Lock {
        kind: match lock.kind {
            control::LockKind::Orchestration => LockKind::Orchestration,
            control::LockKind::Hold => LockKind::Hold,
            control::LockKind::Slot => LockKind::Slot,
            control::LockKind::Stranded => LockKind::Stranded,
            control::LockKind::Freeze => LockKind::Freeze,
        },
        host_id: lock.host,
        name: lock.name.clone(),
        holder: lock.holder.clone(),
        since: lock.since,
        reason: lock.reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::makespan;

    #[test]
    fn what_runs_at_once_does_not_add_up() {
        assert_eq!(makespan([10, 10, 10].into_iter(), 1), 30);
        assert_eq!(makespan([10, 10, 10].into_iter(), 2), 20);
        assert_eq!(makespan([30, 10, 10, 10].into_iter(), 2), 30);
        assert_eq!(makespan([].into_iter(), 2), 0);
    }
}
