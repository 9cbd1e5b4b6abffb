//! The network part: carries sealed bytes between the link and the performer. It holds the device's secret for the broker,
//! and no key.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use crate::link::{AckToken, LinkEvent, LinkHandle, PublishError};
use crate::machine::Token;
use crate::performer::{FromNetwork, ToNetwork};

type Tokens = Arc<Mutex<HashMap<Token, AckToken>>>;

/// Carries until the link or the performer is gone.
pub async fn run(
    link: LinkHandle,
    events: mpsc::Receiver<LinkEvent>,
    to: mpsc::Sender<FromNetwork>,
    from: mpsc::Receiver<ToNetwork>,
) {
    let tokens = Tokens::default();
    tokio::select! {
        () = inwards(events, to.clone(), tokens.clone()) => {}
        () = outwards(link, to, from, tokens) => {}
    }
}

async fn inwards(mut events: mpsc::Receiver<LinkEvent>, to: mpsc::Sender<FromNetwork>, tokens: Tokens) {
    let mut last = 0;
    while let Some(event) = events.recv().await {
        let message = match event {
            LinkEvent::Connected => {
                info!("connected to the controller");
                FromNetwork::Connected
            }
            LinkEvent::Disconnected { reason, retry_in } => {
                warn!(%reason, retry_in_ms = u64::try_from(retry_in.as_millis()).unwrap_or(u64::MAX), "not connected");
                tokens.lock().unwrap_or_else(PoisonError::into_inner).clear();
                FromNetwork::Disconnected
            }
            LinkEvent::Command { payload, retained, ack } => {
                last += 1;
                tokens.lock().unwrap_or_else(PoisonError::into_inner).insert(Token(last), ack);
                FromNetwork::Delivery { token: Token(last), retained, payload: payload.into() }
            }
        };
        if to.send(message).await.is_err() {
            return;
        }
    }
}

/// One after the other, so that what is said keeps its order.
async fn outwards(link: LinkHandle, to: mpsc::Sender<FromNetwork>, mut from: mpsc::Receiver<ToNetwork>, tokens: Tokens) {
    while let Some(message) = from.recv().await {
        match message {
            ToNetwork::Ack(token) => {
                let ack = tokens.lock().unwrap_or_else(PoisonError::into_inner).remove(&token);
                if let Some(ack) = ack {
                    link.ack(ack).await;
                }
            }
            ToNetwork::Publish { kind, payload, heard } => {
                let result = link.publish(kind, payload).await;
                if let Some(heard) = heard {
                    // The performer may have waited long enough.
                    let _ = heard.send(result.is_ok());
                }
                match result {
                    Ok(()) => {}
                    // A new connection says everything again by itself.
                    Err(error @ (PublishError::NotConnected | PublishError::Lost)) => debug!(%error, "not said"),
                    Err(error @ PublishError::TooLarge(_)) => warn!(%error, topic = kind.as_str(), "not said"),
                    Err(error @ (PublishError::Timeout(_) | PublishError::Refused(_))) => {
                        warn!(%error, topic = kind.as_str(), "not said");
                        // Told from aside: the performer may be waiting for this very task.
                        let to = to.clone();
                        tokio::spawn(async move { to.send(FromNetwork::Unheard).await });
                    }
                }
            }
        }
    }
}
