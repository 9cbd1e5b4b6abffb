//! Where events of services are given on to.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::notify::{EVENTS_FILE, FileSettings, HttpSettings};

/// Where events of services are given on to (S3-71 to S3-73).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// The file to which each is added as a line of JSON; empty: none is written.
    pub file: PathBuf,
    /// The file grows to this size in bytes; then it becomes `….1`, and a new one is begun.
    pub rotate_size: u64,
    /// So many older files are kept.
    pub keep: u32,
    /// Lines have what is known beside type, service and time; without it they are S3's example to the letter.
    pub metadata: bool,
    /// They are published on the broker, topic `reveille/events/service`.
    pub mqtt: bool,
    /// Addresses to which each is sent as a CloudEvent.
    pub http: Vec<EventsHttpConfig>,
}

/// An address to which events are sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsHttpConfig {
    /// `https://…`, or `http://` to this machine.
    pub url: String,
    /// A file whose first line is sent as `Authorization: Bearer`.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// Certificates that are trusted beside the system's.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

impl Default for EventsConfig {
    fn default() -> Self {
        let FileSettings { path, rotate_size, keep, metadata } = FileSettings::new(PathBuf::from(EVENTS_FILE));
        Self { file: path, rotate_size, keep, metadata, mqtt: false, http: Vec::new() }
    }
}

impl EventsHttpConfig {
    /// For whoever sends them.
    pub fn settings(&self) -> HttpSettings {
        HttpSettings { url: self.url.clone(), token_file: self.token_file.clone(), ca_file: self.ca_file.clone() }
    }
}
