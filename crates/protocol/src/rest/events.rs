//! Events of services.

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Answer to `GET /api/v1/events/services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ServiceEventList {
    /// The oldest first.
    pub events: Vec<PlacedEvent>,
    /// Give it as `after` to read on; the present end when there are none behind.
    pub next: i64,
}

/// An event with its place in the order in which they happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PlacedEvent {
    /// Rises.
    pub position: i64,
    /// What happened.
    pub event: OrchestratorEvent,
}

/// What happened to a service, as it stands in the event file (S3-64).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OrchestratorEvent {
    /// `SERVICE_RESTART_START`, `SERVICE_RESTART_SUCCESS`, `SERVICE_RESTART_FAILED`, `ROLLBACK_START`, `ROLLBACK_SUCCESS` or
    /// `ROLLBACK_FAILED`.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "SERVICE_RESTART_START"))]
    pub kind: String,
    /// The name of the service.
    #[serde(rename = "serviceId")]
    #[cfg_attr(feature = "openapi", schema(example = "sso.api"))]
    pub service_id: String,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub timestamp: Timestamp,
    /// What else is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub metadata: Option<Map<String, Value>>,
}
