//! The way of commands to the devices: sealed with the controller's key and handed to the broker.
//!
//! Handing over never waits for a device. Each host has its lane, so that commands to one host keep their order and a host
//! that takes nothing holds up few others. What is dropped is sent again by the driver.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use driver::SendError;
use model::{Command, TargetId};
use protocol::native::{ControllerBody, ControllerKey, seal_controller};
use tokio::sync::mpsc;

use crate::transport::{BoxFuture, Broker};

const LANES: usize = 16;
/// Messages that wait in one lane.
const LANE_LENGTH: usize = 256;
const PUBLISH_LIMIT: Duration = Duration::from_secs(5);

/// What control needs of a broker.
pub trait Publisher: Send + Sync {
    /// Publishes on the command topic of a host; no promise that it arrives.
    fn publish(&self, host: TargetId, payload: Vec<u8>) -> BoxFuture<'_, Result<(), String>>;
    /// Closes the connection of a device whose right changed.
    fn kick(&self, device: TargetId);
}

impl Publisher for Broker {
    fn publish(&self, host: TargetId, payload: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { Self::publish(self, host, payload).await.map(drop).map_err(|error| error.to_string()) })
    }

    fn kick(&self, device: TargetId) {
        Self::kick(self, device);
    }
}

/// The broker, while there is one.
pub(super) type Link = Arc<RwLock<Option<Arc<dyn Publisher>>>>;

struct Parcel {
    host: TargetId,
    payload: Vec<u8>,
}

/// Seals and hands over. Cheap to clone.
#[derive(Clone)]
pub(super) struct Courier {
    key: Arc<ControllerKey>,
    lanes: Arc<[mpsc::Sender<Parcel>]>,
}

impl Courier {
    /// Starts the lanes; they end with the last clone. Until there is a publisher nothing leaves.
    pub(super) fn start(key: Arc<ControllerKey>, link: &Link) -> Self {
        let lanes = (0..LANES).map(|_| {
            let (to_lane, mut parcels) = mpsc::channel::<Parcel>(LANE_LENGTH);
            let link = Arc::clone(link);
            tokio::spawn(async move {
                while let Some(Parcel { host, payload }) = parcels.recv().await {
                    let publisher = link.read().unwrap_or_else(PoisonError::into_inner).clone();
                    let Some(publisher) = publisher else { continue };
                    match tokio::time::timeout(PUBLISH_LIMIT, publisher.publish(host, payload)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => tracing::warn!(%host, "not published: {error}"),
                        Err(_) => tracing::debug!(%host, "the device takes nothing; tried again later"),
                    }
                }
            });
            to_lane
        });
        Self { key, lanes: lanes.collect() }
    }

    /// Seals and queues.
    pub(super) fn say(&self, host: TargetId, body: &ControllerBody) -> Result<(), SendError> {
        let payload = seal_controller(&self.key, host, body).map_err(|error| SendError(error.to_string()))?;
        let lane = usize::from(host.0.as_bytes()[15]) % LANES;
        self.lanes[lane]
            .try_send(Parcel { host, payload })
            .map_err(|_| SendError("too many messages wait for the broker".to_owned()))
    }
}

impl driver::Transport for Courier {
    async fn send(&mut self, command: &Command) -> Result<(), SendError> {
        let sent = self.say(command.target, &ControllerBody::Command { command: command.clone() });
        if let Err(error) = &sent {
            tracing::warn!(command = %command.id, "{error}");
        }
        sent
    }
}
