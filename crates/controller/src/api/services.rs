//! Restarts of services (S3).

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use model::DeployFrom;
use protocol::rest::Problem;
use protocol::rest::rollouts::RolloutStarted;
use protocol::rest::services::{NewServiceRestart, ServiceRestartPreview};

use super::extract::{Body, Who};
use super::problem::ApiError;
use super::rollouts::started;
use super::{Api, reboot, service_documents};
use crate::control::{self, Permission};

/// Restart services in the order of their dependencies
///
/// Each service is looked at, its unit file backed up, a new tree deployed and a migration run where that is asked for; it is reloaded
/// or restarted, looked at again, and watched for its soak. What fails is taken back; what depends on it is left alone. With
/// `dry_run` nothing is done, and the answer (200) is what would be.
#[utoipa::path(post, path = "/service-restarts", tag = "services", request_body = NewServiceRestart,
    security(("bearer" = ["RESTART_SERVICES"])),
    responses((status = 201, description = "It was accepted", body = RolloutStarted),
        (status = 200, description = "What would be done", body = ServiceRestartPreview),
        (status = 400, description = "The services make no sense: a circle, an unknown dependency, a bad unit, path or time; or nobody is named", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "A word names nobody, or a label that nobody carries", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Some hosts can never start; `targets` says which and why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start_service_restart(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Response, ApiError> {
    api.control.authorize(&who, Permission::RestartServices, None).await?;
    let sent: NewServiceRestart = body.json()?;
    if sent.deploy_path.is_some() && !sent.deploy {
        return Err(ApiError::bad_request("deploy_path means nothing without deploy".to_owned()));
    }
    let new = control::NewServiceRestart {
        targets: sent.targets,
        services: sent.services,
        only: sent.only.into_iter().collect(),
        parallel: sent.parallel.unwrap_or(1),
        keep_going: sent.keep_going,
        skip_migrations: sent.skip_migrations,
        deploy: sent.deploy.then_some(DeployFrom { path: sent.deploy_path }),
        force: reboot::force(sent.force.as_ref())?,
    };
    if sent.dry_run {
        let (request, preview) = api.control.preview_service_restart(&who, new).await?;
        let preview = preview?;
        let known = api.control.select(&who, None).await?;
        let name = |id| known.iter().find(|host| host.id == id).map(|host| host.name.clone()).unwrap_or_default();
        return Ok(Json(service_documents::preview(&request, &preview, name)).into_response());
    }
    Ok(started(api.control.start_service_restart(&who, new).await?))
}
