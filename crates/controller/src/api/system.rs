//! What the server says of itself, and what it says when nobody is there to answer.

use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use protocol::rest::Problem;
use protocol::rest::access::{Health, Version};

use super::Api;
use super::problem::ApiError;

/// How long a request may take until its answer begins. Waits for the engine end after 10 s.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Gives up on a request that takes too long. The body of an event stream is not part of it.
pub(super) async fn within_limits(request: Request, next: Next) -> Response {
    match tokio::time::timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let text = format!("no answer within {} s: look whether it happened before asking again", REQUEST_LIMIT.as_secs());
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, text).into_response()
        }
    }
}

pub(super) async fn no_such_route(uri: Uri) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, format!("there is no {}: see /api/openapi.json", uri.path()))
}

pub(super) async fn no_such_method(method: Method, uri: Uri) -> ApiError {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}: see /api/openapi.json", uri.path()))
}

/// This document
#[utoipa::path(get, path = "/api/openapi.json", tag = "system", security(()),
    responses((status = 200, description = "The OpenAPI document", content_type = "application/json")))]
pub(super) async fn openapi(State(api): State<Api>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.document.to_string()).into_response()
}

/// The process runs
#[utoipa::path(get, path = "/healthz", tag = "system", security(()), responses((status = 200, body = Health)))]
pub(super) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok".to_owned() })
}

/// The controller works: its engine runs and its store takes entries
#[utoipa::path(get, path = "/readyz", tag = "system", security(()),
    responses((status = 200, body = Health), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Health>, ApiError> {
    let ready = api.control.ready();
    if ready.ready {
        return Ok(Json(Health { status: "ready".to_owned() }));
    }
    let reason = ready.reason.unwrap_or_else(|| "not ready".to_owned());
    Err(ApiError::new(StatusCode::SERVICE_UNAVAILABLE, reason).with("since", ready.since.to_string()))
}

/// Versions of the program and of the API
#[utoipa::path(get, path = "/version", tag = "system", security(()), responses((status = 200, body = Version)))]
pub(super) async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: "v1".to_owned() })
}
