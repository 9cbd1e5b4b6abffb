//! From what the engine shows of services to the documents of the REST dialect. Nothing is decided here.

use engine::{Preview, ServiceView, View};
use model::{Millis, Planner, Request};
use protocol::rest::services::{PlannedService, ServiceDocument, ServiceRestartPreview, ServicesProgress};

use super::{documents, rollout_documents};

/// How far a restart of services is; `None` for anything else.
pub(super) fn progress(view: &View) -> Option<Box<ServicesProgress>> {
    (view.planner == Planner::Services).then(|| {
        Box::new(ServicesProgress {
            services: view.counts.total,
            waiting: view.counts.waiting,
            running: view.counts.running,
            ended: rollout_documents::ended(&view.counts),
            paused: view.paused.as_ref().map(rollout_documents::paused),
            waits_until: view.waits_until,
        })
    })
}

/// The service of a track.
pub(super) fn service(view: &ServiceView) -> ServiceDocument {
    ServiceDocument {
        id: view.id,
        name: view.name.clone(),
        unit: view.unit.clone(),
        was_up: view.was_up,
        invocation_before: view.invocation_before,
        invocation_after: view.invocation_after,
        reloaded: view.reloaded,
        deployed: view.deployed,
        migrated: view.migrated,
        rolled_back: view.rolled_back,
        attempt: view.attempt.map(|(attempt, _)| attempt),
        attempts: view.attempt.map(|(_, attempts)| attempts),
        soaks_until: view.soaks_until,
        seen: view.seen.clone(),
        manual_rollback: view.by_hand.as_ref().map(recipe::manual_rollback).unwrap_or_default(),
    }
}

/// What a request would lead to. `name` gives the name of a host.
pub(super) fn preview(
    request: &Request,
    preview: &Preview,
    name: impl Fn(model::TargetId) -> String,
) -> Option<ServiceRestartPreview> {
    let asked = request.services.as_deref()?;
    let mut services = Vec::new();
    let mut takes: Vec<Takes> = Vec::new();
    for (track, index) in preview.waves.iter().flat_map(|wave| &wave.tracks).zip(0_u32..) {
        let Some(service) = &track.service else { continue };
        let of = asked.services.iter().find(|of| of.name == service.name);
        let soak = of.map_or(Millis(0), |of| of.timings.stabilization_period);
        takes.push(Takes { soak, least: track.expected, most: track.expected_most });
        services.push(PlannedService {
            index,
            service: service.name.clone(),
            unit: service.unit.clone(),
            host: name(track.target),
            route: track.route,
            after: track.after.clone(),
            steps: track.steps.clone(),
            soak_seconds: soak.as_secs(),
            expected_seconds: track.expected.as_secs(),
            expected_seconds_most: track.expected_most.as_secs(),
            blockers: track.blockers.iter().map(documents::blocker).collect(),
        });
    }
    let in_all = |of: fn(&Takes) -> Millis| {
        let takes: Vec<Millis> = takes.iter().map(of).collect();
        in_all(&services, &takes, asked.parallel).as_secs()
    };
    let (soak_seconds, expected_seconds) = (in_all(|takes| takes.soak), in_all(|takes| takes.least));
    let expected_seconds_most = in_all(|takes| takes.most);
    let irreversible = preview.irreversible.clone();
    let parallel = asked.parallel;
    Some(ServiceRestartPreview { parallel, services, irreversible, soak_seconds, expected_seconds, expected_seconds_most })
}

/// What one service takes.
struct Takes {
    soak: Millis,
    least: Millis,
    most: Millis,
}

/// When the last one is over: each service begins when those that it waits for are over and there is room.
fn in_all(services: &[PlannedService], takes: &[Millis], parallel: u32) -> Millis {
    let mut ends: Vec<Millis> = Vec::with_capacity(services.len());
    let mut busy: Vec<Millis> = Vec::new();
    for (service, takes) in services.iter().zip(takes) {
        let after = service.after.iter().filter_map(|index| ends.get(*index as usize)).max().copied().unwrap_or_default();
        busy.sort_unstable();
        let room = if parallel == 0 || busy.len() < parallel as usize { Millis(0) } else { busy.remove(0) };
        let end = Millis(after.max(room).0.saturating_add(takes.0));
        busy.push(end);
        ends.push(end);
    }
    ends.into_iter().max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S3-85: the API tells it as the command line does.
    #[test]
    fn s3_85_a_rollback_by_hand_is_told_of_what_did_not_end_well_alone() {
        let id = model::TargetId(uuid::Uuid::from_u128(1));
        let by_hand = model::ByHand::of("web.service");
        let view = ServiceView {
            id,
            name: "web".to_owned(),
            unit: "web.service".to_owned(),
            was_up: Some(true),
            invocation_before: None,
            invocation_after: None,
            reloaded: false,
            deployed: false,
            migrated: false,
            rolled_back: Some(false),
            attempt: None,
            soaks_until: None,
            seen: None,
            by_hand: Some(by_hand.clone()),
        };
        assert_eq!(service(&view).manual_rollback, recipe::manual_rollback(&by_hand));
        assert!(service(&ServiceView { by_hand: None, ..view }).manual_rollback.is_empty());
    }
}
