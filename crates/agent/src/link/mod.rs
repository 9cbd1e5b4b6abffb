//! The link: the agent's connection to the controller, MQTT 5 inside TLS under the pinned CA.
//!
//! Every connection starts clean and nothing outlives it: what was not acknowledged when it broke is reported as lost, and
//! the caller, who keeps it on disk, says it again. A command is acknowledged only when the caller says so.

mod backoff;
mod run;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use model::TargetId;
use protocol::native::{Topic, TopicKind};
use rumqttc::{
    AckMode, AsyncClient, LastWill, ManualAck, MqttOptions, NetworkOptions, PubAckReason, PublishNoticeError, PublishOptions,
    QoS, TlsConfiguration, Transport,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

/// Most messages on the way in one direction at a time; bounds the client's memory.
const IN_FLIGHT: u16 = 16;
/// Events that wait for the caller: all commands that may be on the way, and the connection's own.
const EVENTS: usize = 2 * IN_FLIGHT as usize;
/// Longest wait for a goodbye to leave.
const GOODBYE: Duration = Duration::from_secs(2);

/// How to reach the controller, and as whom.
#[derive(Clone)]
pub struct LinkConfig {
    /// Host name or IP address of the controller; its certificate must carry it.
    pub server: String,
    /// The broker's port.
    pub port: u16,
    /// Certificate of the pinned CA in PEM. Nothing else is trusted.
    pub ca_pem: String,
    /// The host: user name, client id and part of the topics.
    pub host: TargetId,
    /// The device's secret.
    pub secret: Vec<u8>,
    /// Payload of the last will, which the broker delivers on the host's `gone` topic when the connection breaks.
    pub will: Vec<u8>,
    /// Quiet time after which the connection is checked; whole seconds, at least 1.
    pub keep_alive: Duration,
    /// Longest time from the first packet to the confirmed subscription.
    pub connect_limit: Duration,
    /// Longest wait for the acknowledgement of a publish.
    pub publish_limit: Duration,
    /// Wait after a first failure; doubles with each further one.
    pub backoff_first: Duration,
    /// Longest wait between two attempts. A connection that stood this long starts the waits anew.
    pub backoff_most: Duration,
    /// Largest packet in bytes, either way; not above the broker's own limit.
    pub max_packet: u32,
}

impl LinkConfig {
    /// A configuration with the usual limits.
    pub fn new(server: impl Into<String>, port: u16, ca_pem: impl Into<String>, host: TargetId, secret: Vec<u8>) -> Self {
        Self {
            server: server.into(),
            port,
            ca_pem: ca_pem.into(),
            host,
            secret,
            will: Vec::new(),
            keep_alive: Duration::from_secs(30),
            connect_limit: Duration::from_secs(15),
            publish_limit: Duration::from_secs(30),
            backoff_first: Duration::from_millis(500),
            backoff_most: Duration::from_secs(60),
            max_packet: 256 * 1024,
        }
    }

    fn topic(&self, kind: TopicKind) -> String {
        Topic { host: self.host, kind }.to_string()
    }

    fn options(&self) -> Result<MqttOptions, LinkError> {
        let mut options = MqttOptions::new(self.host.to_string(), (self.server.clone(), self.port));
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(self.tls()?)));
        options.set_credentials(self.host.to_string(), self.secret.clone());
        options.set_last_will(LastWill::new(self.topic(TopicKind::Gone), self.will.clone(), QoS::AtLeastOnce, false, None));
        options.set_clean_start(true);
        options.set_ack_mode(AckMode::Manual);
        options.set_keep_alive(u16::try_from(self.keep_alive.as_secs().max(1)).unwrap_or(u16::MAX));
        options.set_connect_timeout(self.connect_limit);
        options.set_outgoing_inflight_upper_limit(IN_FLIGHT);
        options.set_receive_maximum(Some(IN_FLIGHT));
        options.set_max_packet_size(Some(self.max_packet));
        let mut network = NetworkOptions::new();
        // Else each command waits 40 ms for the acknowledgement of the packet before it.
        network.set_tcp_nodelay(true);
        options.set_network_options(network);
        Ok(options)
    }

    fn tls(&self) -> Result<Arc<rustls::ClientConfig>, LinkError> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(self.ca_pem.as_bytes()) {
            let added = certificate.map_err(|e| e.to_string()).and_then(|der| roots.add(der).map_err(|e| e.to_string()));
            added.map_err(LinkError::Ca)?;
        }
        if roots.is_empty() {
            return Err(LinkError::Ca("no certificate in it".into()));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.map_err(|e| LinkError::Ca(e.to_string()))?.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        Ok(Arc::new(config))
    }
}

impl std::fmt::Debug for LinkConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The secret stays out of logs.
        f.debug_struct("LinkConfig")
            .field("server", &self.server)
            .field("port", &self.port)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// Why a link cannot be made at all.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The pinned CA is unusable.
    #[error("the pinned CA certificate cannot be used: {0}; enrol this host again")]
    Ca(String),
}

/// What happens on the link, in order.
#[derive(Debug)]
pub enum LinkEvent {
    /// Logged in, and the subscription to the commands is confirmed.
    Connected,
    /// The connection ended, or an attempt failed.
    Disconnected {
        /// Why.
        reason: Disconnect,
        /// Time until the next attempt.
        retry_in: Duration,
    },
    /// A command. The broker sends at most 16 that are not acknowledged.
    Command {
        /// As it came.
        payload: Bytes,
        /// Whether it was stored at the broker; such a command must not be obeyed (G9).
        retained: bool,
        /// For [`LinkHandle::ack`].
        ack: AckToken,
    },
}

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disconnect {
    /// The controller knows the name but not the secret, or not the name, or has not approved it.
    #[error("the controller does not accept this host's id and secret; approve the host there, or enrol it again")]
    Credentials,
    /// The controller refused for another reason.
    #[error("the controller refused the connection: {0}")]
    Refused(String),
    /// The other end is not our controller, as far as its certificate says.
    #[error("the controller's certificate is not accepted: {0}; is this the controller that the host was enrolled with?")]
    Certificate(String),
    /// The controller said goodbye: it stops, or another connection took over.
    #[error("the controller closed the connection: {0}")]
    Closed(String),
    /// Nothing reached, or the connection broke.
    #[error("the controller cannot be reached: {0}")]
    Network(String),
    /// The caller of this link takes no commands.
    #[error("commands are not taken fast enough")]
    Overrun,
}

/// Says which command an acknowledgement is for; worth something only on the connection that brought the command.
#[derive(Debug)]
pub struct AckToken {
    connection: u64,
    ack: Option<ManualAck>,
}

/// Why a publish is not known to have arrived. In all cases but `Refused` and `TooLarge`: say it again later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Not sent.
    #[error("not connected to the controller")]
    NotConnected,
    /// The connection broke before the acknowledgement; it may have arrived.
    #[error("the connection broke before the controller acknowledged")]
    Lost,
    /// No acknowledgement in time; it may have arrived.
    #[error("the controller did not acknowledge within {0:?}")]
    Timeout(Duration),
    /// The broker refused it.
    #[error("the controller refused the message: {0}")]
    Refused(String),
    /// Larger than the limit for a packet.
    #[error("a message of {0} bytes is too large to send")]
    TooLarge(usize),
}

/// The connection of the moment.
#[derive(Clone)]
struct Current {
    connection: u64,
    client: AsyncClient,
}

/// Sends on the link; clone it freely. When the last one is dropped, the link says goodbye and ends.
#[derive(Clone)]
pub struct LinkHandle {
    host: TargetId,
    current: watch::Receiver<Option<Current>>,
    stop: Arc<watch::Sender<bool>>,
    done: watch::Receiver<()>,
    publish_limit: Duration,
    max_packet: usize,
}

/// Makes links.
pub struct Link;

impl Link {
    /// Starts a link on the current runtime. It connects, and connects again, until it is stopped, or handle or receiver
    /// are dropped. The caller must keep taking events: without that, commands stay unacknowledged and the link parks.
    ///
    /// # Errors
    /// [`LinkError`] if the configuration can never work. Everything else is an event.
    pub fn connect(config: LinkConfig) -> Result<(LinkHandle, mpsc::Receiver<LinkEvent>), LinkError> {
        let options = config.options()?;
        let (events, receiver) = mpsc::channel(EVENTS);
        let (current_sender, current) = watch::channel(None);
        let (stop, stop_receiver) = watch::channel(false);
        let (done_sender, done) = watch::channel(());
        let handle = LinkHandle {
            host: config.host,
            current,
            stop: Arc::new(stop),
            done,
            publish_limit: config.publish_limit,
            max_packet: config.max_packet as usize,
        };
        tokio::spawn(async move {
            run::Runner { config, options, events, current: current_sender, stop: stop_receiver, connection: 0 }.run().await;
            drop(done_sender);
        });
        Ok((handle, receiver))
    }
}

impl LinkHandle {
    /// Publishes on one of the host's own topics with QoS 1, never retained, and waits for the acknowledgement, `publish_limit` at most.
    ///
    /// # Errors
    /// [`PublishError`]; the message must be said again unless it was refused or too large.
    pub async fn publish(&self, kind: TopicKind, payload: impl Into<Bytes>) -> Result<(), PublishError> {
        let topic = Topic { host: self.host, kind }.to_string();
        let payload = payload.into();
        // Packet header, packet id and properties; a larger packet would end the connection.
        if payload.len() + topic.len() + 64 > self.max_packet {
            return Err(PublishError::TooLarge(payload.len()));
        }
        let Some(Current { client, .. }) = self.current.borrow().clone() else {
            return Err(PublishError::NotConnected);
        };
        let acknowledged = async {
            let notice = client.publish_tracked(topic, payload, PublishOptions::new(QoS::AtLeastOnce)).await;
            notice.map_err(|_| PublishError::Lost)?.wait_completion_async().await.or_else(|error| match error {
                PublishNoticeError::V5PubAck(PubAckReason::NoMatchingSubscribers) => Ok(()),
                PublishNoticeError::V5PubAck(reason) => Err(PublishError::Refused(format!("{reason:?}"))),
                _ => Err(PublishError::Lost),
            })
        };
        timeout(self.publish_limit, acknowledged).await.unwrap_or(Err(PublishError::Timeout(self.publish_limit)))
    }

    /// Acknowledges a command; call it once the command is on disk. On another connection than the one that brought the
    /// command this does nothing: the controller sends again what is due.
    pub async fn ack(&self, token: AckToken) {
        let (Some(current), Some(ack)) = (self.current.borrow().clone(), token.ack) else { return };
        if current.connection == token.connection {
            // Failing or late is like a broken connection: the command comes again.
            drop(timeout(self.publish_limit, current.client.manual_ack(ack)).await);
        }
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.current.borrow().is_some()
    }

    /// Says goodbye, so that no last will is delivered, and ends the link; waits 2 s at most.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let mut done = self.done.clone();
        // An error is what we wait for: the task has ended.
        drop(timeout(GOODBYE, done.changed()).await);
    }
}
