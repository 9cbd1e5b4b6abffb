//! Hosts: seen, approved, explained, acknowledged.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use engine::HostView;
use model::{Force, Operation, Request, TargetId};
use protocol::rest::Problem;
use protocol::rest::hosts::{Acknowledge, Acknowledged, Approve, Explanation, Host, HostList, RolloutsUse};
use protocol::rest::orchestrations::{OnTimeout, RebootOptions};
use serde::Deserialize;

use super::extract::{Body, Params, PathIds, Who};
use super::problem::ApiError;
use super::{Api, documents, reboot};
use crate::control::Permission;

impl Api {
    /// The document of a host.
    pub(super) fn host_document(&self, host: &HostView) -> Host {
        documents::host(host, self.control.unread().get(&host.id))
    }

    /// One host as the engine knows it now.
    pub(super) async fn host(&self, id: TargetId) -> Result<HostView, ApiError> {
        let found = self.control.query(move |engine, now| engine.host(id, now)).await?;
        found.ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "Host not found").with("error", "not_found"))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HostQuery {
    selector: Option<String>,
}

/// List hosts
#[utoipa::path(get, path = "/hosts", tag = "hosts",
    params(("selector" = Option<String>, Query, description = "An id, a name, or label=value,…; an empty match is an error")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = HostList), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list_hosts(
    State(api): State<Api>,
    Who(who): Who,
    Params(query): Params<HostQuery>,
) -> Result<Json<HostList>, ApiError> {
    let hosts = api.control.select(&who, query.selector.as_deref()).await?;
    let unread = api.control.unread();
    Ok(Json(HostList { hosts: hosts.iter().map(|host| documents::host(host, unread.get(&host.id))).collect() }))
}

/// Show a host
#[utoipa::path(get, path = "/hosts/{host_id}", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = Host), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show_host(State(api): State<Api>, Who(who): Who, path: PathIds) -> Result<Json<Host>, ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::ViewHosts, Some(id)).await?;
    Ok(Json(api.host_document(&api.host(id).await?)))
}

/// Approve a host, if its key is still the one that the approver has seen
#[utoipa::path(post, path = "/hosts/{host_id}/approve", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid")), request_body = Approve,
    security(("bearer" = ["MANAGE_HOSTS"])),
    responses((status = 200, body = Host),
        (status = 409, description = "Another key waits for approval, or it is approved already", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn approve_host(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Json<Host>, ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::ManageHosts, Some(id)).await?;
    let sent: Approve = body.json()?;
    api.control.approve(&who, id, Some(sent.fingerprint.trim())).await?;
    Ok(Json(api.host_document(&api.host(id).await?)))
}

/// Say that what is stranded on a host is fine, and that its alarms were seen
#[utoipa::path(post, path = "/hosts/{host_id}/acknowledge", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid")), request_body(content = Option<Acknowledge>, description = "Optional"),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Acknowledged),
        (status = 409, description = "There is nothing to acknowledge", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn acknowledge_host(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    body: Body,
) -> Result<Json<Acknowledged>, ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::RebootHost, Some(id)).await?;
    let sent: Acknowledge = body.json_or_default()?;
    let host = api.host(id).await?;
    let mut found: Vec<(TargetId, String)> = host.alarms.iter().map(|alarm| (alarm.target, alarm.name.clone())).collect();
    if host.stranded.is_some() && found.iter().all(|(target, _)| *target != id) {
        found.push((id, host.name.clone()));
    }
    found.retain(|(target, _)| sent.target.is_none_or(|wanted| wanted == *target));
    if found.is_empty() {
        let text = "there is nothing to acknowledge: nothing is stranded here and no alarm is open";
        return Err(ApiError::new(StatusCode::CONFLICT, text).with("error", "nothing_to_do"));
    }
    let mut acknowledged = Vec::new();
    for (target, name) in found {
        api.control.acknowledge(&who, target).await?;
        acknowledged.push(name);
    }
    Ok(Json(Acknowledged { acknowledged }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainQuery {
    operation: Option<Operation>,
    #[serde(default)]
    force: bool,
    shutdown_timeout_seconds: Option<u64>,
    on_timeout: Option<OnTimeout>,
}

/// Why would a reboot or shutdown of this host not start now?
#[utoipa::path(get, path = "/hosts/{host_id}/explain", tag = "hosts",
    params(("host_id" = String, Path, format = "uuid"),
        ("operation" = Option<String>, Query, description = "orchestrated_reboot, reboot or shutdown; without: whichever reboot fits"),
        ("force" = Option<bool>, Query, description = "as if it were forced"),
        ("shutdown_timeout_seconds" = Option<u64>, Query, description = "for the plan: how long the children have to stop"),
        ("on_timeout" = Option<OnTimeout>, Query, description = "for the plan: what happens when they do not")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = Explanation), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn explain_host(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    Params(query): Params<ExplainQuery>,
) -> Result<Json<Explanation>, ApiError> {
    let id = TargetId(path.uuid("host_id")?);
    api.control.authorize(&who, Permission::ViewHosts, Some(id)).await?;
    let host = api.host(id).await?;
    let has_running = host.report.as_ref().and_then(|r| r.children()).is_some_and(|all| all.iter().any(|c| c.status.is_up()));
    let fitting = if has_running { Operation::OrchestratedReboot } else { Operation::Reboot };
    let operation = query.operation.unwrap_or(fitting);
    let asked = RebootOptions {
        shutdown_timeout_seconds: query.shutdown_timeout_seconds,
        on_timeout: query.on_timeout,
        ..RebootOptions::default()
    };
    let mut options = reboot::options(&asked)?;
    options.force = query.force.then(|| Force { reason: "asked only".to_owned() });
    let request =
        Request { targets: vec![id], operation, options, rollout: None, run: None, wait: None, services: None, by: who.actor() };
    let (drains, checks, windows) = api.control.used_by_rollouts(&host);
    let look = move |engine: &engine::Engine, now| (engine.explain(&request, now), engine.plan(&request));
    let (blockers, plan) = api.control.query(look).await?;
    let steps = documents::planned_steps(&plan, &host);
    Ok(Json(Explanation {
        host_id: id,
        host_name: host.name,
        operation,
        would_start: blockers.is_empty(),
        blockers: blockers.iter().map(documents::blocker).collect(),
        steps,
        rollouts_use: RolloutsUse { drains, checks, windows },
    }))
}
