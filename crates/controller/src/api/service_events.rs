//! Events of services: the last ones, and live.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use futures_util::{Stream, StreamExt as _};
use protocol::rest::events::{OrchestratorEvent, PlacedEvent, ServiceEventList};
use serde::Deserialize;

use super::Api;
use super::events::KEEP_ALIVE;
use super::extract::{Params, Who};
use super::problem::ApiError;
use crate::control::{EventFilter, StoredEvent};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    after: Option<i64>,
    service: Option<String>,
    #[serde(default)]
    limit: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LiveQuery {
    service: Option<String>,
}

/// List events of services, the oldest first
///
/// Each restart tells its start and its end, and so does a rollback. Without `after` they are the newest ones.
#[utoipa::path(get, path = "/events/services", tag = "services",
    params(("after" = Option<i64>, Query, description = "`next` of the page before: only what is behind it"),
        ("service" = Option<String>, Query, description = "Only of the service with this name"),
        ("limit" = Option<u32>, Query, description = "1 to 500, default 50")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = ServiceEventList)))]
pub(super) async fn list_service_events(
    State(api): State<Api>,
    Who(who): Who,
    Params(query): Params<ListQuery>,
) -> Result<Json<ServiceEventList>, ApiError> {
    let ListQuery { after, service, limit } = query;
    let filter = EventFilter { after, service, limit };
    let events = api.control.service_events(&who, &filter).await?;
    let next = events.last().map(|last| last.position).or(after).unwrap_or(0);
    let events = events.iter().map(|stored| PlacedEvent { position: stored.position, event: document(stored) }).collect();
    Ok(Json(ServiceEventList { events, next }))
}

/// Follow events of services
///
/// Server-sent events, `service` each, with the line as it stands in the event file, and its position as id. With `Last-Event-ID`
/// it goes on behind that one; without, it begins with the next that happens.
#[utoipa::path(get, path = "/events/services/live", tag = "services",
    params(("service" = Option<String>, Query, description = "Only of the service with this name"),
        ("Last-Event-ID" = Option<i64>, Header, description = "Id of the last event that was seen")),
    security(("bearer" = ["VIEW_HOSTS"])),
    responses((status = 200, body = OrchestratorEvent, content_type = "text/event-stream")))]
pub(super) async fn follow_service_events(
    State(api): State<Api>,
    Who(who): Who,
    Params(query): Params<LiveQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let after = match headers.get("last-event-id") {
        None => None,
        Some(text) => {
            let number = text.to_str().ok().and_then(|text| text.trim().parse().ok());
            Some(number.ok_or_else(|| ApiError::bad_request("Last-Event-ID is not a number that this stream gave"))?)
        }
    };
    let events = api.control.follow_service_events(&who, query.service, after).await?;
    let events = events.map(|stored| {
        let data = serde_json::to_string(&stored.event).unwrap_or_default();
        Ok(Event::default().event("service").id(stored.position.to_string()).data(data))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn document(stored: &StoredEvent) -> OrchestratorEvent {
    let event = &stored.event;
    let metadata = match serde_json::to_value(&event.metadata) {
        Ok(serde_json::Value::Object(metadata)) => Some(metadata),
        _ => None,
    };
    OrchestratorEvent {
        kind: event.kind.as_str().to_owned(),
        service_id: event.service.clone(),
        timestamp: event.timestamp,
        metadata,
    }
}
