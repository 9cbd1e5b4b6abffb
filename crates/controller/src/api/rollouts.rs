//! Rollouts: previewed, started, paused and resumed, agreed to, tried again; and their tracks.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use model::OrchestrationId;
use protocol::rest::Problem;
use protocol::rest::orchestrations::{Orchestration, OrchestrationList, Outcome};
use protocol::rest::rollouts::{NewRollout, Retry, RolloutPreview, RolloutStarted, TrackDetails, TrackList, WithReason};
use serde::Deserialize;

use super::extract::{Body, Params, PathIds, Who};
use super::problem::ApiError;
use super::{Api, documents, reboot, rollout_documents};
use crate::control::{self, OrchestrationFilter, Permission, Principal, Started, TrackFilter};

/// Take a fleet through a rolling reboot
///
/// With `dry_run` nothing is done, and the answer (200) is what would be.
#[utoipa::path(post, path = "/rollouts", tag = "rollouts", request_body = NewRollout,
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 201, description = "It was accepted", body = RolloutStarted),
        (status = 200, description = "What would be done", body = RolloutPreview),
        (status = 400, description = "Nobody is named, somebody twice, or the options make no sense", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "A word names nobody, or a label that nobody carries", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Some hosts can never start; `targets` says which and why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start_rollout(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Response, ApiError> {
    let sent: NewRollout = body.json()?;
    let new = control::NewRollout {
        shutdown_timeout: sent.shutdown_timeout_seconds.map(reboot::shutdown_timeout).transpose()?,
        on_timeout: sent.on_timeout.map(Into::into),
        strict: sent.strict,
        force: reboot::force(sent.force.as_ref())?,
        targets: sent.targets,
        options: sent.options,
    };
    if sent.dry_run {
        let (request, preview) = api.control.preview(&who, &new).await?;
        return Ok(Json(rollout_documents::preview(&request, &preview?)).into_response());
    }
    Ok(started(api.control.start_rollout(&who, &new).await?))
}

pub(super) fn started(Started { id, targets, waves }: Started) -> Response {
    let place = HeaderValue::from_str(&format!("/api/v1/rollouts/{id}")).unwrap_or(HeaderValue::from_static("/api/v1/rollouts"));
    let headers: [(HeaderName, HeaderValue); 1] = [(header::LOCATION, place)];
    (StatusCode::CREATED, headers, Json(RolloutStarted { id, targets, waves })).into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RolloutQuery {
    active: Option<bool>,
    before: Option<i64>,
    #[serde(default)]
    limit: u32,
}

/// List rollouts, the newest first
#[utoipa::path(get, path = "/rollouts", tag = "rollouts",
    params(("active" = Option<bool>, Query, description = "Only those that are open, or over"),
        ("before" = Option<i64>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = OrchestrationList)))]
pub(super) async fn list_rollouts(
    State(api): State<Api>,
    Who(who): Who,
    Params(query): Params<RolloutQuery>,
) -> Result<Json<OrchestrationList>, ApiError> {
    let RolloutQuery { active, before, limit } = query;
    let filter = OrchestrationFilter { rollouts: true, active, before, limit, ..OrchestrationFilter::default() };
    let page = api.control.orchestrations(&who, filter).await?;
    Ok(Json(OrchestrationList { orchestrations: page.items.iter().map(documents::summary).collect(), next: page.next }))
}

/// Show a rollout with its journal in words
#[utoipa::path(get, path = "/rollouts/{orchestration_id}", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = Orchestration), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show_rollout(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<Json<Orchestration>, ApiError> {
    shown(&api, &who, id(&path)?).await
}

/// Start nothing new in a rollout; what runs goes on
#[utoipa::path(post, path = "/rollouts/{orchestration_id}/pause", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid")), request_body = WithReason,
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Orchestration),
        (status = 409, description = "It is over, or paused already", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pause_rollout(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Json<Orchestration>, ApiError> {
    let id = id(&path)?;
    api.control.authorize(&who, Permission::RebootHost, None).await?;
    let sent: WithReason = body.json()?;
    api.control.pause(&who, id, &sent.reason).await?;
    stands(&api, &who, id).await
}

/// Go on with a paused rollout; the failures so far are accepted
#[utoipa::path(post, path = "/rollouts/{orchestration_id}/resume", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid")),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Orchestration),
        (status = 409, description = "It is over, or not paused", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn resume_rollout(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
) -> Result<Json<Orchestration>, ApiError> {
    let id = id(&path)?;
    api.control.resume(&who, id).await?;
    stands(&api, &who, id).await
}

/// Agree to the wave that waits for it
#[utoipa::path(post, path = "/rollouts/{orchestration_id}/agree", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid")),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Orchestration),
        (status = 409, description = "No wave waits for it", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn agree_rollout(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<Json<Orchestration>, ApiError> {
    let id = id(&path)?;
    api.control.agree(&who, id).await?;
    stands(&api, &who, id).await
}

/// Cancel a rollout: what runs goes back to where it was, unless its reboot was handed over; nothing new starts
#[utoipa::path(post, path = "/rollouts/{orchestration_id}/cancel", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid")),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Orchestration),
        (status = 409, description = "It is over, or every reboot was issued already", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel_rollout(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
) -> Result<Json<Orchestration>, ApiError> {
    let id = id(&path)?;
    api.control.cancel(&who, id).await?;
    stands(&api, &who, id).await
}

/// Take up what an ended or a paused rollout has left undone
///
/// A new rollout of its failed, skipped, cancelled and not started hosts; one whose reboot was proven is not rebooted again. A
/// paused one ends first. With `dry_run` nothing is done, and the answer (200) is what would be.
#[utoipa::path(post, path = "/rollouts/{orchestration_id}/retry", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid")), request_body(content = Option<Retry>, description = "Optional"),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 201, description = "It was accepted", body = RolloutStarted),
        (status = 200, description = "What would be done", body = RolloutPreview),
        (status = 409, description = "It goes on, or has left nothing", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn retry_rollout(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Response, ApiError> {
    let id = id(&path)?;
    api.control.authorize(&who, Permission::RebootHost, None).await?;
    let sent: Retry = body.json_or_default()?;
    let force = reboot::force(sent.force.as_ref())?;
    if sent.dry_run {
        let (request, preview) = api.control.preview_retry(&who, id, &sent.options, force).await?;
        return Ok(Json(rollout_documents::preview(&request, &preview?)).into_response());
    }
    Ok(started(api.control.retry(&who, id, &sent.options, force).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrackQuery {
    #[serde(default)]
    offset: u32,
    #[serde(default)]
    limit: u32,
    outcome: Option<OutcomeQuery>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum OutcomeQuery {
    /// Not over.
    Open,
    #[serde(untagged)]
    Ended(Outcome),
}

/// List the tracks of an orchestration: one for each host
#[utoipa::path(get, path = "/orchestrations/{orchestration_id}/tracks", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid"),
        ("offset" = Option<u32>, Query, description = "Leave out so many at the beginning"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50"),
        ("outcome" = Option<String>, Query, description = "Only those that ended so; `open`: those that are not over")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = TrackList), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_tracks(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    Params(query): Params<TrackQuery>,
) -> Result<Json<TrackList>, ApiError> {
    let id = id(&path)?;
    let outcome = query.outcome.map(|wanted| match wanted {
        OutcomeQuery::Open => String::new(),
        OutcomeQuery::Ended(outcome) => outcome.to_string(),
    });
    let page = api.control.tracks(&who, id, &TrackFilter { outcome, offset: query.offset, limit: query.limit }).await?;
    let tracks = page.tracks.iter().map(rollout_documents::track).collect();
    Ok(Json(TrackList { tracks, total: page.total, next: page.next }))
}

/// Show a track: its steps, its children, and why it does not start
#[utoipa::path(get, path = "/orchestrations/{orchestration_id}/tracks/{track}", tag = "rollouts",
    params(("orchestration_id" = String, Path, format = "uuid"), ("track" = u32, Path, description = "Its index, from 0")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = TrackDetails), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show_track(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<Json<TrackDetails>, ApiError> {
    let id = id(&path)?;
    let index = path.text("track")?;
    let index = index.parse().map_err(|_| ApiError::bad_request(format!("track is not an index: {index:?}")))?;
    let (track, blockers) = api.control.track(&who, id, index).await?;
    Ok(Json(rollout_documents::track_details(&track, &blockers)))
}

fn id(path: &PathIds) -> Result<OrchestrationId, ApiError> {
    Ok(OrchestrationId(path.uuid("orchestration_id")?))
}

async fn shown(api: &Api, who: &Principal, id: OrchestrationId) -> Result<Json<Orchestration>, ApiError> {
    let view = api.control.orchestration(who, id).await?;
    let journal = api.control.journal(who, id, 0).await?;
    Ok(Json(api.orchestration(&view, &journal).await?))
}

/// How it stands, for whoever has just said something to it; its journal may be long, and is read for itself.
async fn stands(api: &Api, who: &Principal, id: OrchestrationId) -> Result<Json<Orchestration>, ApiError> {
    let view = api.control.orchestration(who, id).await?;
    Ok(Json(api.orchestration(&view, &[]).await?))
}
