//! The audit log.

use axum::Json;
use axum::extract::State;
use model::{OrchestrationId, TargetId, Timestamp};
use protocol::rest::access::{AuditEntry, AuditPage};
use serde::Deserialize;

use super::Api;
use super::extract::{Params, Who};
use super::problem::ApiError;
use crate::control::AuditFilter;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    actor: Option<String>,
    action: Option<String>,
    target: Option<TargetId>,
    orchestration: Option<OrchestrationId>,
    success: Option<bool>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    before: Option<i64>,
    #[serde(default)]
    limit: u32,
}

/// Read the audit log, the newest entry first
///
/// Somebody with a scope reads what was done to hosts in it, and by whom it is.
#[utoipa::path(get, path = "/audit", tag = "audit",
    params(("actor" = Option<String>, Query, description = "Only of this user, host, or `system`"),
        ("action" = Option<String>, Query, description = "Only of this kind"),
        ("target" = Option<String>, Query, description = "Only on the host or child with this UUID"),
        ("orchestration" = Option<String>, Query, description = "Only in the orchestration with this UUID"),
        ("success" = Option<bool>, Query, description = "Only what was done, or only what was refused or failed"),
        ("since" = Option<String>, Query, description = "At or after this instant"),
        ("until" = Option<String>, Query, description = "Before this instant"),
        ("before" = Option<i64>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50")),
    security(("bearer" = ["VIEW_AUDIT"])),
    responses((status = 200, body = AuditPage)))]
pub(super) async fn list_audit(
    State(api): State<Api>,
    Who(who): Who,
    Params(query): Params<AuditQuery>,
) -> Result<Json<AuditPage>, ApiError> {
    let AuditQuery { actor, action, target, orchestration, success, since, until, before, limit } = query;
    let filter = AuditFilter { actor, action, target, orchestration, success, since, until, before, limit };
    let page = api.control.audit(&who, filter).await?;
    let entries = page.items.into_iter().map(|line| AuditEntry {
        id: line.id,
        at: line.at,
        actor: line.actor,
        action: line.action,
        target: line.target,
        orchestration: line.orchestration,
        success: line.success,
        detail: line.detail,
    });
    Ok(Json(AuditPage { entries: entries.collect(), next: page.next }))
}
