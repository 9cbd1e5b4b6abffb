//! The link's task: one connection after another, each with a client of its own.

use std::error::Error;
use std::io;

use protocol::native::TopicKind;
use rumqttc::mqttbytes::Error as MqttError;
use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, Incoming, MqttOptions, Publish, QoS, StateError,
    SubscribeReasonCode,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{AckToken, Current, Disconnect, EVENTS, GOODBYE, LinkConfig, LinkEvent, backoff};

pub(super) struct Runner {
    pub(super) config: LinkConfig,
    pub(super) options: MqttOptions,
    pub(super) events: mpsc::Sender<LinkEvent>,
    pub(super) current: watch::Sender<Option<Current>>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) connection: u64,
}

impl Runner {
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            // Room for the event "connected" is taken beforehand, so that nothing but the network is waited for while
            // there is a connection to serve.
            let events = self.events.clone();
            let room = tokio::select! {
                () = stopped(&mut self.stop) => return,
                room = events.reserve() => match room {
                    Ok(room) => room,
                    Err(_) => return,
                },
            };
            let began = Instant::now();
            let ended = self.connection(room).await;
            self.current.send_replace(None);
            let Err(reason) = ended else { return };

            if began.elapsed() > self.config.backoff_most {
                failures = 0;
            }
            failures += 1;
            let retry_in = backoff::wait(self.config.backoff_first, self.config.backoff_most, failures, rand::random());
            tracing::warn!(server = self.config.server, port = self.config.port, ?retry_in, "{reason}");
            let told = async {
                if self.events.send(LinkEvent::Disconnected { reason, retry_in }).await.is_ok() {
                    sleep(retry_in).await;
                }
            };
            tokio::select! {
                () = stopped(&mut self.stop) => return,
                () = told => {}
            }
        }
    }

    /// One connection from login to end: `Ok` when the link is to stop, else the reason.
    async fn connection(&mut self, room: mpsc::Permit<'_, LinkEvent>) -> Result<(), Disconnect> {
        self.connection += 1;
        let commands = self.config.topic(TopicKind::Command);
        let (client, mut network) = AsyncClient::builder(self.options.clone()).capacity(EVENTS).build();
        let deadline = Instant::now() + self.config.connect_limit;
        let mut room = Some(room);
        loop {
            let event = tokio::select! {
                () = stopped(&mut self.stop) => return goodbye(&client, &mut network).await,
                () = self.events.closed() => return goodbye(&client, &mut network).await,
                event = next(&mut network, room.is_some().then_some(deadline)) => event?,
            };
            match event {
                Event::Incoming(Incoming::ConnAck(_)) => {
                    client.try_subscribe(commands.as_str(), QoS::AtLeastOnce).map_err(|e| Disconnect::Network(e.to_string()))?;
                }
                Event::Incoming(Incoming::SubAck(answer)) => {
                    if !answer.return_codes.iter().all(|code| matches!(code, SubscribeReasonCode::Success(_))) {
                        return Err(Disconnect::Refused(format!("no subscription to {commands}: {:?}", answer.return_codes)));
                    }
                    if let Some(room) = room.take() {
                        tracing::info!(server = self.config.server, port = self.config.port, "connected to the controller");
                        self.current.send_replace(Some(Current { connection: self.connection, client: client.clone() }));
                        room.send(LinkEvent::Connected);
                    }
                }
                Event::Incoming(Incoming::Publish(publish)) if publish.topic == commands.as_bytes() => {
                    self.command(&client, publish)?
                }
                Event::Incoming(Incoming::Publish(publish)) => {
                    tracing::warn!(topic = %String::from_utf8_lossy(&publish.topic), "a message that nobody asked for");
                }
                _ => {}
            }
        }
    }

    fn command(&self, client: &AsyncClient, publish: Publish) -> Result<(), Disconnect> {
        let ack = AckToken { connection: self.connection, ack: client.prepare_ack(&publish) };
        let event = LinkEvent::Command { retained: publish.retain, payload: publish.payload, ack };
        self.events.try_send(event).map_err(|_| Disconnect::Overrun)
    }
}

/// Returns when the link is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the last handle is gone.
    drop(stop.wait_for(|stopped| *stopped).await);
}

async fn next(network: &mut EventLoop, deadline: Option<Instant>) -> Result<Event, Disconnect> {
    let event = match deadline {
        Some(deadline) => {
            timeout_at(deadline, network.poll()).await.map_err(|_| Disconnect::Network("no answer in time".into()))?
        }
        None => network.poll().await,
    };
    event.map_err(reason)
}

/// Says goodbye, as far as that is possible in a short time.
async fn goodbye(client: &AsyncClient, network: &mut EventLoop) -> Result<(), Disconnect> {
    if client.try_disconnect_now().is_ok() {
        let said: Result<(), _> = timeout(GOODBYE / 2, async { while network.poll().await.is_ok() {} }).await;
        if said.is_err() {
            tracing::debug!("the goodbye to the controller did not leave in time");
        }
    }
    Ok(())
}

/// What an error of the client means to a person.
fn reason(error: ConnectionError) -> Disconnect {
    match &error {
        ConnectionError::ConnectionRefused(code) | ConnectionError::MqttState(StateError::ConnFail { reason: code }) => {
            match code {
                ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized => Disconnect::Credentials,
                code => Disconnect::Refused(format!("{code:?}")),
            }
        }
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            Disconnect::Closed(format!("{reason_code:?}"))
        }
        // A goodbye with a reason and no properties ends here too: the client library takes that packet for incomplete.
        ConnectionError::MqttState(StateError::ConnectionAborted) => Disconnect::Closed("by the other end".into()),
        ConnectionError::MqttState(StateError::Io(e) | StateError::Deserialization(MqttError::Io(e)))
            if e.kind() == io::ErrorKind::UnexpectedEof =>
        {
            Disconnect::Closed("by the other end".into())
        }
        _ => match rustls_error(&error) {
            Some(rustls::Error::InvalidCertificate(detail)) => Disconnect::Certificate(detail.to_string()),
            Some(error) => Disconnect::Network(error.to_string()),
            None => Disconnect::Network(error.to_string()),
        },
    }
}

/// The TLS error at the bottom of an error, if there is one; IO errors do not name what they carry as their source.
fn rustls_error(error: &ConnectionError) -> Option<&rustls::Error> {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref).and_then(|e| e.downcast_ref());
        if let Some(found) = error.downcast_ref().or(carried) {
            return Some(found);
        }
        cause = error.source();
    }
    None
}
