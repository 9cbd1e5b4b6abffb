//! Live progress: the journal of an orchestration as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt as _};
use model::OrchestrationId;
use protocol::rest::Problem;
use protocol::rest::orchestrations::Progress;

use super::extract::{PathIds, Who};
use super::problem::ApiError;
use super::{Api, documents};
use crate::control::Followed;

/// A silent stream says so often that it lives.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follow an orchestration
///
/// Server-sent events: `progress` after each change and at last `ended`, each with a `Progress` document. The id of an
/// event is the number of journal entries that it covers: with `Last-Event-ID` nothing comes twice. The stream ends with
/// the orchestration, or with the token.
#[utoipa::path(get, path = "/orchestrations/{orchestration_id}/events", tag = "orchestrations",
    params(("orchestration_id" = String, Path, format = "uuid"),
        ("Last-Event-ID" = Option<u64>, Header, description = "Id of the last event that was seen")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = Progress, content_type = "text/event-stream"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(
    State(api): State<Api>,
    Who(who): Who,
    path: PathIds,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let id = OrchestrationId(path.uuid("orchestration_id")?);
    let after = match headers.get("last-event-id") {
        None => None,
        Some(text) => {
            let number = text.to_str().ok().and_then(|text| text.trim().parse().ok());
            Some(number.ok_or_else(|| ApiError::bad_request("Last-Event-ID is not a number that this stream gave"))?)
        }
    };
    let mut followed = api.control.follow(&who, id, after).await?;
    let stream = async_stream::stream! {
        while let Some(state) = followed.next().await {
            if let Ok(event) = api.progress(&state).await {
                yield Ok(event);
            }
        }
    };
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Api {
    async fn progress(&self, state: &Followed) -> Result<Event, ApiError> {
        let orchestration = self.orchestration(&state.view, &[]).await?;
        let progress = Progress { lines: state.lines.iter().map(documents::line).collect(), orchestration };
        let data = serde_json::to_string(&progress).unwrap_or_default();
        let name = if state.over { "ended" } else { "progress" };
        Ok(Event::default().event(name).id(state.seen.to_string()).data(data))
    }
}
