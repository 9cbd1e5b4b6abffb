//! Events of services, given on: to a file, over HTTP, and from a process without a server.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test, like the tests themselves")]

mod file;
mod here;
mod http;
mod outbox;

use controller::store::StoredEvent;
use engine::{EventKind, EventMetadata, ServiceEvent};
use model::{OrchestrationId, TargetId, Timestamp};
use uuid::Uuid;

/// The time of S3's example: 2026-01-19T12:00:00.000Z.
const NOON: Timestamp = Timestamp::from_millis(1_768_824_000_000);

fn event(number: u32) -> StoredEvent {
    let id = OrchestrationId(Uuid::from_u128(u128::from(number)));
    let metadata = EventMetadata {
        event_id: format!("{id}/0/SERVICE_RESTART_START"),
        orchestration_id: id,
        host_id: TargetId(Uuid::from_u128(1)),
        name: "sso.api".to_owned(),
        unit: "sso.api.service".to_owned(),
        method: None,
        invocation_before: None,
        invocation_after: None,
        forced: None,
        outcome: None,
        reason: None,
        duration_ms: None,
    };
    let event = ServiceEvent { kind: EventKind::ServiceRestartStart, service: "sso.api".to_owned(), timestamp: NOON, metadata };
    StoredEvent { position: i64::from(number), event }
}

fn events(numbers: std::ops::Range<u32>) -> Vec<StoredEvent> {
    numbers.map(event).collect()
}

/// Ids of the events in these lines, each of which must be whole.
fn ids(text: &str) -> Vec<String> {
    let line = |line: &str| serde_json::from_str::<ServiceEvent>(line).unwrap().metadata.event_id;
    text.lines().map(line).collect()
}

fn expected(numbers: std::ops::Range<u32>) -> Vec<String> {
    events(numbers).into_iter().map(|stored| stored.event.metadata.event_id).collect()
}
