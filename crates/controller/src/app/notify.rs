//! Where events of services are given on to, as it is configured.

use std::sync::Arc;

use driver::StoreError;

use super::AppError;
use crate::config::EventsConfig;
use crate::notify::{self, Announcer, FileSettings, FileSink, HttpSink, MqttSink, Sink};
use crate::store::Database;

/// Those that need no broker.
pub(super) fn sinks(config: &EventsConfig) -> Result<Vec<Box<dyn Sink>>, AppError> {
    let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
    if !config.file.as_os_str().is_empty() {
        sinks.push(Box::new(FileSink::new(FileSettings {
            path: config.file.clone(),
            rotate_size: config.rotate_size,
            keep: config.keep,
            metadata: config.metadata,
        })));
    }
    for http in &config.http {
        sinks.push(Box::new(HttpSink::new(http.settings())?));
    }
    Ok(sinks)
}

/// With the one that needs it.
pub(super) fn with_broker(
    config: &EventsConfig,
    mut sinks: Vec<Box<dyn Sink>>,
    broker: Arc<dyn Announcer>,
) -> Vec<Box<dyn Sink>> {
    if config.mqtt {
        sinks.push(Box::new(MqttSink::new(broker)));
    }
    sinks
}

/// A place that is new misses nothing from now on. On a full disk nothing can happen that it could miss.
pub(super) async fn prepare(config: &EventsConfig, database: &Database, sinks: &[Box<dyn Sink>]) -> Result<(), AppError> {
    let names = sinks.iter().map(|sink| sink.name()).chain(config.mqtt.then(|| MqttSink::NAME.to_owned()));
    match notify::prepare(database, &names.collect::<Vec<_>>()).await {
        Ok(()) => Ok(()),
        Err(StoreError::Full(why)) => {
            tracing::warn!("events of services begin when there is room: {why}");
            Ok(())
        }
        Err(error) => Err(AppError::Start(error.into())),
    }
}
