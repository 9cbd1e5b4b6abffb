//! The `FleetLock` protocol, so that hosts with Zincati or another of its clients coordinate through us: a slot of a limit group
//! is taken before a reboot and given back after it. The slots are the same as for everything else that reboots.
//!
//! Its clients know HTTP Basic only, from the user information in their base URL: the password is an API token. Of an error they
//! read `kind` and `value`; both are members of our problem documents here.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use protocol::rest::Problem;
use protocol::rest::rollouts::{FleetLock, FleetLockClient};

use super::Api;
use super::extract::{Body, Who};
use super::problem::ApiError;

/// Take a slot of a limit group before a reboot (`FleetLock`)
///
/// Whoever has the slot gets it again. The header `fleet-lock-protocol: true` must be there.
#[utoipa::path(post, path = "/v1/pre-reboot", tag = "fleetlock", request_body = FleetLock,
    params(("fleet-lock-protocol" = String, Header, description = "`true`")),
    security(("basic" = ["TAKE_SLOT"])),
    responses((status = 200, description = "The slot is yours"),
        (status = 404, description = "No such limit group", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "There is no slot now: ask again later", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pre_reboot(
    State(api): State<Api>,
    Who(who): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let client = client(&headers, &body).map_err(ApiError::for_fleet_lock)?;
    api.control.take_slot(&who, &client.group, &client.id).await.map_err(|error| ApiError::from(error).for_fleet_lock())?;
    Ok(StatusCode::OK)
}

/// Give a slot back after a reboot (`FleetLock`)
///
/// Not having one is fine.
#[utoipa::path(post, path = "/v1/steady-state", tag = "fleetlock", request_body = FleetLock,
    params(("fleet-lock-protocol" = String, Header, description = "`true`")),
    security(("basic" = ["TAKE_SLOT"])),
    responses((status = 200, description = "You have no slot any more"),
        (status = 404, description = "No such limit group", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn steady_state(
    State(api): State<Api>,
    Who(who): Who,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ApiError> {
    let client = client(&headers, &body).map_err(ApiError::for_fleet_lock)?;
    api.control.give_slot(&who, &client.group, &client.id).await.map_err(|error| ApiError::from(error).for_fleet_lock())?;
    Ok(StatusCode::OK)
}

fn client(headers: &HeaderMap, body: &Body) -> Result<FleetLockClient, ApiError> {
    if headers.get("fleet-lock-protocol").is_none_or(|value| value.as_bytes() != b"true") {
        return Err(ApiError::bad_request(
            "the header `fleet-lock-protocol: true` is missing: this is no request of a FleetLock client",
        ));
    }
    // Its clients say nothing of the kind of their body.
    let sent: FleetLock = body.json_of_any_kind()?;
    let FleetLockClient { id, group } = sent.client_params;
    let fits = |text: &str| !text.is_empty() && text.len() <= 253 && !text.contains(char::is_control);
    if !fits(&id) || !fits(&group) {
        return Err(ApiError::bad_request("client_params.id and client_params.group have 1 to 253 bytes each"));
    }
    Ok(FleetLockClient { id, group })
}
