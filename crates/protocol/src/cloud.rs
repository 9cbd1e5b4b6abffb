//! CloudEvents 1.0, structured mode: what happened to services, for programs that are not ours (S3-73).

use model::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The type of the one event that there is.
pub const SERVICE_RESTART: &str = "orchestrator.service.restart";
/// The media type of its structured form.
pub const CONTENT_TYPE: &str = "application/cloudevents+json";
/// Where it is published on the broker.
pub const TOPIC: &str = "reveille/events/service";
/// The user name with which somebody who only listens to [`TOPIC`] logs in to the broker; the password is an API token.
pub const WATCHER: &str = "events";
/// What the client ids of those begin with.
pub const WATCHER_CLIENT: &str = "events-";

/// A CloudEvent with what happened to a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloudEvent {
    /// `1.0`.
    pub specversion: String,
    /// [`SERVICE_RESTART`].
    #[serde(rename = "type")]
    pub kind: String,
    /// `/reveille/orchestrations/{id}`.
    pub source: String,
    /// The same whenever the event is told.
    pub id: String,
    /// The name of the service.
    pub subject: String,
    /// When it happened.
    pub time: Timestamp,
    /// `application/json`.
    pub datacontenttype: String,
    /// What.
    pub data: ServiceRestart,
}

/// S3's domain event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRestart {
    /// The name of the service.
    pub service_id: String,
    /// `SERVICE_RESTART_START`, …, as in the lines of the event file.
    pub status: String,
    /// When it happened.
    pub timestamp: Timestamp,
    /// What else is known.
    pub metadata: Value,
}
