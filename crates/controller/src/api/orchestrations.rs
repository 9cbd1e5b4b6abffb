//! Orchestrations: listed, shown, cancelled.

use axum::Json;
use axum::extract::State;
use engine::View;
use model::{OrchestrationId, TargetId};
use protocol::rest::Problem;
use protocol::rest::orchestrations::{Orchestration, OrchestrationList};
use serde::Deserialize;

use super::extract::{Params, PathIds, Who};
use super::problem::ApiError;
use super::{Api, documents};
use crate::control::{JournalLine, OrchestrationFilter, Permission};

impl Api {
    /// All of an orchestration, with these lines of its journal.
    pub(super) async fn orchestration(&self, view: &View, lines: &[JournalLine]) -> Result<Orchestration, ApiError> {
        let id = view.id;
        let waiting = match view.outcome {
            None => self.control.query(move |engine, now| engine.explain_waiting(id, now)).await?,
            Some(_) => Vec::new(),
        };
        Ok(documents::orchestration(view, &waiting, lines))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    host: Option<TargetId>,
    active: Option<bool>,
    before: Option<i64>,
    #[serde(default)]
    limit: u32,
}

/// List orchestrations, the newest first
#[utoipa::path(get, path = "/orchestrations", tag = "orchestrations",
    params(("host" = Option<String>, Query, description = "Only on the host with this UUID"),
        ("active" = Option<bool>, Query, description = "Only those that are open, or over"),
        ("before" = Option<i64>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = OrchestrationList)))]
pub(super) async fn list_orchestrations(
    State(api): State<Api>,
    Who(who): Who,
    Params(query): Params<ListQuery>,
) -> Result<Json<OrchestrationList>, ApiError> {
    let ListQuery { host, active, before, limit } = query;
    let page = api.control.orchestrations(&who, OrchestrationFilter { host, active, before, limit, rollouts: false }).await?;
    Ok(Json(OrchestrationList { orchestrations: page.items.iter().map(documents::summary).collect(), next: page.next }))
}

/// Show an orchestration with its steps and its journal in words
#[utoipa::path(get, path = "/orchestrations/{orchestration_id}", tag = "orchestrations",
    params(("orchestration_id" = String, Path, format = "uuid")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = Orchestration), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn show_orchestration(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
) -> Result<Json<Orchestration>, ApiError> {
    let id = OrchestrationId(path.uuid("orchestration_id")?);
    let view = api.control.orchestration(&who, id).await?;
    let journal = api.control.journal(&who, id, 0).await?;
    Ok(Json(api.orchestration(&view, &journal).await?))
}

/// Cancel an orchestration: what was stopped is started again
///
/// Once the reboot was handed to the host it cannot be taken back: the answer is 409 `reboot already issued`, and the
/// orchestration goes on to bring everything back (ruling 24).
#[utoipa::path(post, path = "/orchestrations/{orchestration_id}/cancel", tag = "orchestrations",
    params(("orchestration_id" = String, Path, format = "uuid")),
    security(("bearer" = ["REBOOT_HOST"])),
    responses((status = 200, body = Orchestration),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is over, or the reboot was issued already", body = Problem, content_type = "application/problem+json")))]
pub(super) async fn cancel_orchestration(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
) -> Result<Json<Orchestration>, ApiError> {
    let id = OrchestrationId(path.uuid("orchestration_id")?);
    let view = api.control.orchestration(&who, id).await?;
    api.control.authorize(&who, Permission::RebootHost, Some(view.host)).await?;
    api.control.cancel(&who, id).await?;
    let view = api.control.orchestration(&who, id).await?;
    // Its journal may be long, and is read for itself.
    Ok(Json(api.orchestration(&view, &[]).await?))
}
