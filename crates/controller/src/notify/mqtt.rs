//! Events as CloudEvents on the embedded broker. It keeps nothing: who does not listen just then reads them from the API later.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use protocol::cloud::{CONTENT_TYPE, TOPIC};

use super::{Sink, Taken, cloud};
use crate::store::StoredEvent;
use crate::transport::{BoxFuture, Broker};

/// Says something to all who may listen.
pub trait Announcer: Send + Sync {
    /// Publishes; says why that could not be.
    fn announce(&self, topic: &str, content_type: &str, payload: Vec<u8>) -> BoxFuture<'_, Result<(), String>>;
}

impl Announcer for Broker {
    fn announce(&self, topic: &str, content_type: &str, payload: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        let (topic, content_type) = (topic.to_owned(), content_type.to_owned());
        Box::pin(async move { Self::announce(self, &topic, &content_type, payload).await.map_err(|error| error.to_string()) })
    }
}

/// To the broker.
pub struct MqttSink {
    announcer: Arc<dyn Announcer>,
}

impl MqttSink {
    /// Over this one.
    pub fn new(announcer: Arc<dyn Announcer>) -> Self {
        Self { announcer }
    }

    /// Its name in the store.
    pub const NAME: &str = "mqtt";
}

impl Sink for MqttSink {
    fn name(&self) -> String {
        Self::NAME.to_owned()
    }

    fn take<'a>(&'a mut self, events: &'a [StoredEvent], _again: bool) -> Pin<Box<dyn Future<Output = Taken> + Send + 'a>> {
        Box::pin(async move {
            for (count, StoredEvent { event, .. }) in events.iter().enumerate() {
                let said = match cloud::bytes(event) {
                    Ok(payload) => self.announcer.announce(TOPIC, CONTENT_TYPE, payload).await,
                    Err(error) => Err(error),
                };
                if let Err(error) = said {
                    return Taken::only(count, format!("MQTT: {error}"));
                }
            }
            Taken::all(events.len())
        })
    }
}
