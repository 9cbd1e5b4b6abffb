//! An event of a service as a CloudEvent.

use engine::ServiceEvent;
use protocol::cloud::{CloudEvent, SERVICE_RESTART, ServiceRestart};

/// The same event, always with the same id.
pub fn cloud_event(event: &ServiceEvent) -> CloudEvent {
    let status = event.kind.as_str().to_owned();
    let metadata = serde_json::to_value(&event.metadata).unwrap_or_default();
    CloudEvent {
        specversion: "1.0".to_owned(),
        kind: SERVICE_RESTART.to_owned(),
        source: format!("/reveille/orchestrations/{}", event.metadata.orchestration_id),
        id: event.metadata.event_id.clone(),
        subject: event.service.clone(),
        time: event.timestamp,
        datacontenttype: "application/json".to_owned(),
        data: ServiceRestart { service_id: event.service.clone(), status, timestamp: event.timestamp, metadata },
    }
}

/// Its bytes.
pub(super) fn bytes(event: &ServiceEvent) -> Result<Vec<u8>, String> {
    serde_json::to_vec(&cloud_event(event)).map_err(|error| format!("an event cannot be written as JSON: {error}"))
}
