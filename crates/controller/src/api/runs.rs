//! Health checks, and commands on hosts with an agent.

use axum::extract::State;
use axum::response::Response;
use protocol::rest::Problem;
use protocol::rest::rollouts::RolloutStarted;
use protocol::rest::runs::{NewHealthCheck, NewRun};

use super::extract::{Body, Who};
use super::problem::ApiError;
use super::rollouts::started;
use super::{Api, reboot};
use crate::control::{self, Permission, What};

/// Run a command on hosts with an agent
///
/// A named one is a root-owned file on each host; a free one is a shell line, and runs only where the host itself names the user.
/// It is handed over once to each host. How it ended, and the last of what it said, is shown with its track
/// (`ran`); where nobody knows, the outcome is `unknown`, and it is never run again by itself.
#[utoipa::path(post, path = "/runs", tag = "rollouts", request_body = NewRun,
    security(("bearer" = ["RUN_COMMAND"])),
    responses((status = 201, description = "It was accepted", body = RolloutStarted),
        (status = 400, description = "No command, nobody is named, somebody twice, a host without an agent, or the options make no sense", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "A word names nobody, or a label that nobody carries", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Some hosts can never start; `targets` says which and why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start_run(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Response, ApiError> {
    api.control.authorize(&who, Permission::RunCommand, None).await?;
    let sent: NewRun = body.json()?;
    let what = match (sent.name, sent.line) {
        (Some(name), None) => What::Named(name),
        (None, Some(line)) => What::Free(line),
        _ => return Err(ApiError::bad_request("give either name, a command of the hosts, or line, a free one".to_owned())),
    };
    let new = control::NewRun {
        targets: sent.targets,
        what,
        limit: sent.limit,
        health_check: sent.health_check,
        options: sent.options,
        force: reboot::force(sent.force.as_ref())?,
    };
    Ok(started(api.control.start_run(&who, &new).await?))
}

/// Ask hosts whether they are well
///
/// The configured checks of every host are asked, all hosts at once; a host that is worked on is asked after that. Nothing is
/// changed, and no window, freeze or limit group keeps it back. What a host failed stands in the `reason` of its track.
#[utoipa::path(post, path = "/health-checks", tag = "rollouts", request_body = NewHealthCheck,
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 201, description = "It was accepted", body = RolloutStarted),
        (status = 400, description = "Nobody is named, somebody twice, or a check that there is not", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "A word names nobody, or a label that nobody carries", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Some hosts can never be asked; `targets` says which and why", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn start_health_check(State(api): State<Api>, Who(who): Who, body: Body) -> Result<Response, ApiError> {
    api.control.authorize(&who, Permission::RebootHost, None).await?;
    let NewHealthCheck { targets, checks, wait } = body.json()?;
    let new = control::NewHealthCheck { targets, checks, wait };
    Ok(started(api.control.start_health_check(&who, &new).await?))
}
