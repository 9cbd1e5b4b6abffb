//! S0's three endpoints, and the plain reboot and shutdown beside them (ruling 26). The order of checks is 401, 403, 404,
//! 402, 400 or 409 (ruling 3): the gate, [`Control::authorize`](crate::control::Control::authorize) for the host, the
//! license, then what was sent and the engine's guard.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use model::{Force, Millis, Operation, Options, OrchestrationId, TargetId, TimeoutPolicy};
use protocol::rest::orchestrations::{ForceOption, RebootOptions};
use protocol::rest::{OrchestratedRebootStarted, Problem, RebootOrchestration, RebootPreCheck};

use super::extract::{Body, PathIds, Who};
use super::problem::ApiError;
use super::{Api, documents};
use crate::control::{Module, Permission, Principal};

/// How long children have to stop if nobody says otherwise (S0-69).
const SHUTDOWN_TIMEOUT: Millis = Millis::secs(120);
/// The longest time that may be asked for: an hour. A child that needs more is stopped by its owner beforehand.
const SHUTDOWN_TIMEOUT_SECS_MAX: u64 = 3600;
/// The longest reason of a forced start, in characters.
const REASON_MAX: usize = 500;

/// What would a reboot of this host stop?
///
/// The header `Age` says how many seconds ago the host told so.
#[utoipa::path(get, path = "/host/{host_id}/reboot/pre-check", tag = "reboot",
    params(("host_id" = String, Path, format = "uuid", description = "UUID of the parent host")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses(
        (status = 200, body = RebootPreCheck),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "The children could not be listed", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn pre_check(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
) -> Result<([(HeaderName, HeaderValue); 1], Json<RebootPreCheck>), ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::ViewHosts, Some(id)).await?;
    let host = api.host(id).await?;
    let entitled = api.control.entitled(Module::ContainerEngine).is_ok();
    let Some(document) = documents::pre_check(&host, entitled) else {
        let reason = documents::host(&host, None).children_unknown.unwrap_or_default();
        let text = format!("the children of this host are not known: {reason}");
        return Err(ApiError::new(StatusCode::CONFLICT, text).with("error", "children_unknown"));
    };
    let age = host.last_heard.map_or(0, |heard| api.control.now().since(heard).as_secs());
    Ok(([(header::AGE, HeaderValue::from(age))], Json(document)))
}

/// Stop the running children, reboot the host, start them again
#[utoipa::path(post, path = "/host/{host_id}/reboot/orchestrated", tag = "reboot",
    params(("host_id" = String, Path, format = "uuid", description = "UUID of the parent host")),
    request_body(content = Option<RebootOptions>, description = "Optional"),
    security(("bearer" = ["REBOOT_HOST"])),
    responses(
        (status = 200, body = OrchestratedRebootStarted),
        (status = 400, description = "Host is not active, or no running child hosts found", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "Professional+ license required", body = Problem, content_type = "application/problem+json"),
        (status = 403, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Something else blocks it; `blockers` says what", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn orchestrated(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Json<OrchestratedRebootStarted>, ApiError> {
    start(&api, &who, &path, &body, Operation::OrchestratedReboot).await
}

/// How far is an orchestrated reboot?
#[utoipa::path(get, path = "/host/{host_id}/reboot/orchestration/{orchestration_id}", tag = "reboot",
    params(
        ("host_id" = String, Path, format = "uuid", description = "UUID of the parent host"),
        ("orchestration_id" = String, Path, format = "uuid", description = "UUID of the orchestration record"),
    ),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses(
        (status = 200, body = RebootOrchestration),
        (status = 404, body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn orchestration(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
) -> Result<Json<RebootOrchestration>, ApiError> {
    let host = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::ViewHosts, Some(host)).await?;
    let id = OrchestrationId(path.uuid("orchestration_id")?);
    let view = api.control.orchestration(&who, id).await?;
    if view.host != host {
        return Err(ApiError::new(StatusCode::NOT_FOUND, format!("host {host} has no orchestration {id}")));
    }
    Ok(Json(documents::status(&view)))
}

/// Reboot a host that has no running children
#[utoipa::path(post, path = "/host/{host_id}/reboot", tag = "reboot",
    params(("host_id" = String, Path, format = "uuid")),
    request_body(content = Option<RebootOptions>, description = "Optional"),
    security(("bearer" = ["REBOOT_HOST"])),
    responses(
        (status = 200, body = OrchestratedRebootStarted),
        (status = 400, description = "Host is not active", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Something else blocks it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn plain_reboot(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Json<OrchestratedRebootStarted>, ApiError> {
    start(&api, &who, &path, &body, Operation::Reboot).await
}

/// Shut down a host that has no running children
#[utoipa::path(post, path = "/host/{host_id}/shutdown", tag = "reboot",
    params(("host_id" = String, Path, format = "uuid")),
    request_body(content = Option<RebootOptions>, description = "Optional"),
    security(("bearer" = ["REBOOT_HOST"])),
    responses(
        (status = 200, body = OrchestratedRebootStarted),
        (status = 400, description = "Host is not active", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Something else blocks it", body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn shutdown(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Json<OrchestratedRebootStarted>, ApiError> {
    start(&api, &who, &path, &body, Operation::Shutdown).await
}

async fn start(
    api: &Api,
    who: &Principal,
    path: &PathIds,
    body: &Body,
    operation: Operation,
) -> Result<Json<OrchestratedRebootStarted>, ApiError> {
    let host = TargetId(path.uuid("host_id")?);
    api.control.authorize(who, Permission::RebootHost, Some(host)).await?;
    if operation == Operation::OrchestratedReboot {
        api.control.entitled(Module::ContainerEngine)?;
    }
    let options = options(&body.json_or_default()?)?;
    let (id, child_count) = api.control.submit(who, host, operation, options).await?;
    let view = api.control.orchestration(who, id).await?;
    Ok(Json(OrchestratedRebootStarted { orchestration_id: id, status: documents::phase(view.phase), child_count }))
}

/// What was sent, with S0's defaults.
pub(super) fn options(sent: &RebootOptions) -> Result<Options, ApiError> {
    let shutdown_timeout = sent.shutdown_timeout_seconds.map_or(Ok(SHUTDOWN_TIMEOUT), shutdown_timeout)?;
    let force = force(sent.force.as_ref())?;
    let on_timeout = sent.on_timeout.map_or(TimeoutPolicy::Proceed, Into::into);
    Ok(Options { shutdown_timeout, on_timeout, strict: sent.strict, force })
}

/// How long children have to stop.
pub(super) fn shutdown_timeout(seconds: u64) -> Result<Millis, ApiError> {
    match seconds {
        1..=SHUTDOWN_TIMEOUT_SECS_MAX => Ok(Millis::secs(seconds)),
        _ => {
            let text = format!("shutdown_timeout_seconds is {seconds}: give 1 to {SHUTDOWN_TIMEOUT_SECS_MAX}");
            Err(ApiError::bad_request(text))
        }
    }
}

/// Why something is forced.
pub(super) fn force(sent: Option<&ForceOption>) -> Result<Option<Force>, ApiError> {
    let Some(force) = sent else { return Ok(None) };
    match force.reason.trim() {
        "" => Err(ApiError::bad_request("force needs a reason: it is written into the audit log")),
        long if long.chars().count() > REASON_MAX => {
            Err(ApiError::bad_request(format!("the reason has more than {REASON_MAX} characters")))
        }
        reason => Ok(Some(Force { reason: reason.to_owned() })),
    }
}

#[cfg(test)]
mod tests {
    use protocol::rest::orchestrations::OnTimeout;

    use super::*;

    #[test]
    fn options_have_the_defaults_of_s0_and_bounds() {
        let default = options(&RebootOptions::default()).unwrap();
        assert_eq!((default.shutdown_timeout, default.on_timeout), (Millis::secs(120), TimeoutPolicy::Proceed));
        assert!(!default.strict && default.force.is_none());
        let force = |reason: &str| RebootOptions { force: Some(ForceOption { reason: reason.to_owned() }), ..Default::default() };
        assert_eq!(options(&force(" disk ")).unwrap().force.unwrap().reason, "disk");
        assert!(options(&force("  ")).is_err());
        assert!(options(&force(&"x".repeat(501))).is_err());
        for seconds in [0, 3601] {
            let sent = RebootOptions { shutdown_timeout_seconds: Some(seconds), ..Default::default() };
            assert!(options(&sent).is_err(), "{seconds}");
        }
        let sent = RebootOptions { on_timeout: Some(OnTimeout::ForceStop), ..Default::default() };
        assert_eq!(options(&sent).unwrap().on_timeout, TimeoutPolicy::ForceStop);
    }
}
