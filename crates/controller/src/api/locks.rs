//! What holds what, and how people hold and let go: hosts, the whole fleet, slots.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::TargetId;
use protocol::rest::Problem;
use protocol::rest::hosts::Host;
use protocol::rest::rollouts::{AdoptHost, LockList, ReleaseSlot, WithReason};

use super::extract::{Body, PathIds, Who};
use super::problem::ApiError;
use super::{Api, rollout_documents};
use crate::control::{Adopt, Permission};

/// Adopt a host that has no agent and is reached over SSH
///
/// One that is known by this name gets this address and these labels.
#[utoipa::path(post, path = "/hosts", tag = "hosts", request_body = AdoptHost,
    security(("bearer" = ["MANAGE_HOSTS"])),
    responses((status = 200, body = Host),
        (status = 409, description = "A host with an agent has this name", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn adopt_host(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Json<Host>, ApiError> {
    let AdoptHost { name, address, labels } = body.json()?;
    let ids = api.control.adopt(&who, &[Adopt { name, address, labels }]).await?;
    let id = ids.first().copied().unwrap_or(TargetId::CONTROLLER);
    Ok(Json(api.host_document(&api.host(id).await?)))
}

/// Remove a host from the fleet: its tracks end, and what held it lets go
#[utoipa::path(delete, path = "/hosts/{host_id}", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid")),
    security(("bearer" = ["MANAGE_HOSTS"])),
    responses((status = 204, description = "It is gone"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn remove_host(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<StatusCode, ApiError> {
    api.control.remove(&who, TargetId(path.uuid("host_id")?)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a host out of use: it counts as unavailable, and rollouts leave it alone, until a person gives it back
#[utoipa::path(post, path = "/hosts/{host_id}/hold", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid")), request_body = WithReason,
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Host), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn hold_host(State(api): State<Api>, Who(who): Who, path: PathIds, body: Body) -> Result<Json<Host>, ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::RebootHost, Some(id)).await?;
    let sent: WithReason = body.json()?;
    api.control.hold(&who, id, &sent.reason).await?;
    Ok(Json(api.host_document(&api.host(id).await?)))
}

/// Give a host back that a person took out of use
#[utoipa::path(post, path = "/hosts/{host_id}/release", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid")),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Host),
        (status = 409, description = "Nobody holds it", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn release_host(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<Json<Host>, ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.release(&who, id).await?;
    Ok(Json(api.host_document(&api.host(id).await?)))
}

/// Let nothing start anywhere until it is thawed; what runs goes on
#[utoipa::path(post, path = "/freeze", tag = "locks", request_body = WithReason,
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = LockList)))]
pub(super) async fn freeze(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Json<LockList>, ApiError> {
    api.control.authorize(&who, Permission::RebootHost, None).await?;
    let sent: WithReason = body.json()?;
    api.control.freeze(&who, &sent.reason).await?;
    locks(&api, &who).await
}

/// Allow starts again
#[utoipa::path(post, path = "/thaw", tag = "locks",
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = LockList),
        (status = 409, description = "Nothing is frozen", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn thaw(State(api): State<Api>, Who(who): Who) -> Result<Json<LockList>, ApiError> {
    api.control.thaw(&who).await?;
    locks(&api, &who).await
}

/// List everything that is held, by whom, since when and why
#[utoipa::path(get, path = "/locks", tag = "locks",
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = LockList)))]
pub(super) async fn list_locks(State(api): State<Api>, Who(who): Who) -> Result<Json<LockList>, ApiError> {
    locks(&api, &who).await
}

/// Take a slot away from a machine that does not come back
#[utoipa::path(post, path = "/slots/release", tag = "locks", request_body = ReleaseSlot,
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = LockList), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn release_slot(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Json<LockList>, ApiError> {
    api.control.authorize(&who, Permission::RebootHost, None).await?;
    let ReleaseSlot { group, holder } = body.json()?;
    api.control.take_slot_away(&who, &group, &holder).await?;
    locks(&api, &who).await
}

async fn locks(api: &Api, who: &crate::control::Principal) -> Result<Json<LockList>, ApiError> {
    let locks = api.control.locks(who).await?;
    Ok(Json(LockList { locks: locks.iter().map(rollout_documents::lock).collect() }))
}
