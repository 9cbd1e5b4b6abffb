//! The embedded broker behind a port of our own: publish, inbound verdicts, kick, figures, stop.
//!
//! The listener is ours and not the library's: that one shakes hands inside its accept loop and without a limit, so that a
//! single silent connection would keep every device out. It also gives each connection its own hooks and way to be closed,
//! and lets a renewed certificate take effect without a restart.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use model::TargetId;
use mqtt5::QoS;
use mqtt5::broker::client_handler::ClientHandler;
use mqtt5::broker::resource_monitor::{ResourceLimits, ResourceMonitor};
use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueLimits;
use mqtt5::broker::sys_topics::BrokerStats;
use mqtt5::broker::tls_acceptor::TlsStreamWrapper;
use mqtt5::broker::transport::BrokerTransport;
use mqtt5::error::MqttError;
use mqtt5::packet::publish::PublishPacket;
use protocol::native::{Topic, TopicKind};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::auth::{Authenticator, LoginVerdict};
use super::connection::{CLOSE_LIMIT, Connection, Inbound, Refusal, Refused};

/// Limits and addresses of the broker.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// Where to listen; port 0 takes a free one. At least one.
    pub listen: Vec<SocketAddr>,
    /// Largest MQTT packet in bytes, either way.
    pub max_packet: usize,
    /// Most connections at a time, those included that are still shaking hands.
    pub max_connections: usize,
    /// Longest TLS handshake.
    pub handshake_limit: Duration,
    /// Longest wait for a verdict on a device's message.
    pub inbound_limit: Duration,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([0, 0, 0, 0], 8883))],
            max_packet: 256 * 1024,
            max_connections: 16 * 1024,
            handshake_limit: Duration::from_secs(10),
            inbound_limit: Duration::from_secs(30),
        }
    }
}

/// Who decides, and who hears of refusals.
#[derive(Clone)]
pub struct Hooks {
    /// Checks logins.
    pub authenticator: Arc<dyn Authenticator>,
    /// Takes what devices say.
    pub inbound: Arc<dyn Inbound>,
    /// Hears of every refusal; must return at once and limit its own rate.
    pub on_refusal: Arc<dyn Fn(Refusal) + Send + Sync>,
}

/// Why the broker does not start, or a publish cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// An address cannot be listened on.
    #[error("the broker cannot listen on {address}: {source}; is another controller running, or the port taken?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No address to listen on.
    #[error("the broker has no address to listen on; configure at least one")]
    NoAddress,
    /// The payload does not fit into a packet.
    #[error("a message of {size} bytes is above the broker's limit of {limit} bytes for a packet")]
    TooLarge {
        /// Size of the payload in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Nobody can say who may listen.
    #[error("who may listen to events cannot be told just now")]
    Unknown,
}

/// What became of a publish; neither answer says that the device has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The device is connected and listens: on its way with QoS 1.
    Queued,
    /// The device does not listen now. The broker keeps nothing for it.
    NobodyListens,
}

/// Figures since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Devices connected now.
    pub connected: usize,
    /// Logins accepted.
    pub logins: u64,
    /// Messages received from devices and handed to the inbound hook, wills not counted.
    pub received: u64,
    /// Commands queued to devices.
    pub sent: u64,
    /// Refusals of all kinds.
    pub refused: u64,
}

/// The running broker. Dropping it stops it without waiting.
pub struct Broker {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    listeners: Mutex<Vec<JoinHandle<()>>>,
}

impl Broker {
    /// Listens and serves until [`Broker::stop`].
    ///
    /// # Errors
    /// If any of the addresses cannot be listened on; then none is.
    pub async fn start(config: BrokerConfig, tls: Arc<ServerConfig>, hooks: Hooks) -> Result<Self, BrokerError> {
        if config.listen.is_empty() {
            return Err(BrokerError::NoAddress);
        }
        let mut sockets = Vec::new();
        let mut addresses = Vec::new();
        for &address in &config.listen {
            let listen = |source| BrokerError::Listen { address, source };
            let socket = TcpListener::bind(address).await.map_err(listen)?;
            addresses.push(socket.local_addr().map_err(listen)?);
            sockets.push(socket);
        }
        let shared = Arc::new(Shared::new(config, tls, hooks));
        let listeners = sockets.into_iter().map(|socket| tokio::spawn(accept(socket, Arc::clone(&shared)))).collect();
        tracing::info!(?addresses, "the broker listens");
        Ok(Self { shared, addresses, listeners: Mutex::new(listeners) })
    }

    /// The addresses listened on, with the real ports.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Publishes on the host's command topic with QoS 1, never retained. Waits a few seconds at most when the device takes
    /// nothing.
    ///
    /// # Errors
    /// If the payload is too large.
    pub async fn publish(&self, host: TargetId, payload: impl Into<Bytes>) -> Result<Delivery, BrokerError> {
        let payload = payload.into();
        let topic = Topic { host, kind: TopicKind::Command }.to_string();
        // Topic, packet id and properties come on top; 256 bytes are ample for the latter two.
        let limit = self.shared.config.max_packet;
        if payload.len() + topic.len() + 256 > limit {
            return Err(BrokerError::TooLarge { size: payload.len(), limit });
        }
        if !self.shared.router.has_subscription(&host.to_string(), &topic).await {
            return Ok(Delivery::NobodyListens);
        }
        // The library bounds the wait for a full delivery lane at 2 s.
        self.shared.router.route_message(&PublishPacket::new(topic, payload, QoS::AtLeastOnce), None).await;
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        Ok(Delivery::Queued)
    }

    /// Publishes with QoS 1, never retained, to those who listen there; whether they may is asked anew. Who may not any more is gone
    /// before anything is said.
    ///
    /// # Errors
    /// If the payload is too large, or it cannot be said who may listen.
    pub async fn announce(&self, topic: &str, content_type: &str, payload: impl Into<Bytes>) -> Result<(), BrokerError> {
        let payload = payload.into();
        let limit = self.shared.config.max_packet;
        if payload.len() + topic.len() + content_type.len() + 256 > limit {
            return Err(BrokerError::TooLarge { size: payload.len(), limit });
        }
        for connection in self.shared.watchers() {
            let Some(token) = connection.watcher() else { continue };
            match self.shared.hooks.authenticator.may_watch(token).await {
                LoginVerdict::Accept => continue,
                LoginVerdict::Refuse => connection.close(),
                LoginVerdict::Unavailable => return Err(BrokerError::Unknown),
            }
            let gone = async {
                while self.shared.registry().connections.contains_key(&connection.number) {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            if timeout(CLOSE_LIMIT, gone).await.is_err() {
                return Err(BrokerError::Unknown);
            }
        }
        let packet = PublishPacket::new(topic, payload, QoS::AtLeastOnce).with_content_type(content_type.to_owned());
        self.shared.router.route_message(&packet.with_payload_format_indicator(true), None).await;
        Ok(())
    }

    /// Closes the connection of a device, if it has one; says whether it had. A device whose right was taken away must be
    /// kicked, since rights are checked at login.
    pub fn kick(&self, device: TargetId) -> bool {
        let connections = self.shared.connections_of(device);
        connections.iter().for_each(|connection| connection.close());
        !connections.is_empty()
    }

    /// Figures since the start.
    pub fn stats(&self) -> Stats {
        Stats {
            connected: self.shared.stats.clients_connected.load(Ordering::Relaxed),
            logins: self.shared.logins.load(Ordering::Relaxed),
            received: self.shared.received.load(Ordering::Relaxed),
            sent: self.shared.sent.load(Ordering::Relaxed),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Uses another certificate for connections from now on.
    pub fn replace_tls(&self, tls: Arc<ServerConfig>) {
        *self.shared.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
    }

    /// Stops listening, closes all connections (their last wills are not delivered) and waits until all is done, 5 s at
    /// most; the ports are free afterwards.
    pub async fn stop(&self) {
        self.shared.stop.send_replace(true);
        let listeners = std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        for listener in listeners {
            if let Err(e) = listener.await {
                tracing::error!("a listener of the broker failed: {e}");
            }
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
    }
}

/// What all connections share.
pub(super) struct Shared {
    pub(super) config: BrokerConfig,
    pub(super) hooks: Hooks,
    mqtt: mqtt5::broker::BrokerConfig,
    router: Arc<MessageRouter>,
    stats: Arc<BrokerStats>,
    monitor: Arc<ResourceMonitor>,
    tls: RwLock<Arc<ServerConfig>>,
    slots: Arc<Semaphore>,
    stop: watch::Sender<bool>,
    registry: Mutex<Registry>,
    numbers: AtomicU64,
    logins: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
    refused: AtomicU64,
}

#[derive(Default)]
struct Registry {
    connections: HashMap<u64, Arc<Connection>>,
    /// Numbers of the live connections of each device, of which there are two for a moment when it connects anew.
    devices: HashMap<TargetId, BTreeSet<u64>>,
}

impl Shared {
    fn new(config: BrokerConfig, tls: Arc<ServerConfig>, hooks: Hooks) -> Self {
        // No sessions, no retained messages, no wildcards, no QoS 2: what we do not use cannot be used against us.
        let mqtt = mqtt5::broker::BrokerConfig {
            max_packet_size: config.max_packet,
            session_expiry_interval: Duration::ZERO,
            topic_alias_maximum: 0,
            retain_available: false,
            maximum_qos: 1,
            wildcard_subscription_available: false,
            subscription_identifier_available: false,
            shared_subscription_available: false,
            max_subscriptions_per_client: 1,
            client_channel_capacity: 64,
            max_outbound_inflight: 16,
            server_receive_maximum: Some(64),
            sys_topics_enabled: false,
            ..Default::default()
        };
        let queue = QueueLimits { max_messages: 256, max_bytes: 8 * 1024 * 1024 };
        let limits = ResourceLimits { max_connections: usize::MAX, max_connections_per_ip: usize::MAX, ..Default::default() };
        Self {
            mqtt,
            router: Arc::new(MessageRouter::new().with_fallback_queue_limits(queue)),
            stats: Arc::new(BrokerStats::new()),
            monitor: Arc::new(ResourceMonitor::new(limits)),
            tls: RwLock::new(tls),
            slots: Arc::new(Semaphore::new(config.max_connections)),
            stop: watch::Sender::new(false),
            registry: Mutex::default(),
            numbers: AtomicU64::new(1),
            logins: AtomicU64::new(0),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            config,
            hooks,
        }
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, connection: &Arc<Connection>) {
        self.registry().connections.insert(connection.number, Arc::clone(connection));
    }

    fn leave(&self, connection: &Connection) {
        let mut registry = self.registry();
        registry.connections.remove(&connection.number);
        if let Some(device) = connection.device()
            && let Some(numbers) = registry.devices.get_mut(&device)
        {
            numbers.remove(&connection.number);
            if numbers.is_empty() {
                registry.devices.remove(&device);
            }
        }
    }

    pub(super) fn logged_in(&self, device: TargetId, number: u64) {
        self.logins.fetch_add(1, Ordering::Relaxed);
        self.registry().devices.entry(device).or_default().insert(number);
    }

    pub(super) fn has_newer(&self, device: TargetId, number: u64) -> bool {
        self.registry().devices.get(&device).is_some_and(|numbers| numbers.range(number + 1..).next().is_some())
    }

    fn watchers(&self) -> Vec<Arc<Connection>> {
        self.registry().connections.values().filter(|connection| connection.watcher().is_some()).cloned().collect()
    }

    fn connections_of(&self, device: TargetId) -> Vec<Arc<Connection>> {
        let registry = self.registry();
        let numbers = registry.devices.get(&device).into_iter().flatten();
        numbers.filter_map(|number| registry.connections.get(number).cloned()).collect()
    }

    pub(super) fn count_received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        (self.hooks.on_refusal)(refusal);
    }

    fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.tls.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

async fn accept(socket: TcpListener, shared: Arc<Shared>) {
    let mut stop = shared.stop.subscribe();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next() => {
                if let Err(e) = ended {
                    tracing::error!("a connection of the broker failed: {e}");
                }
            }
            accepted = socket.accept() => match accepted {
                Ok((stream, peer)) => match Arc::clone(&shared.slots).try_acquire_owned() {
                    Ok(slot) => {
                        connections.spawn(serve(Arc::clone(&shared), stream, peer, slot));
                    }
                    Err(_) => tracing::warn!(%peer, limit = shared.config.max_connections, "too many connections; one was turned away"),
                },
                Err(e) => {
                    // Out of file descriptors, most likely: trying again at once would only burn the processor.
                    tracing::warn!("cannot accept a connection: {e}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    }
    drop(socket);
    let open: Vec<_> = shared.registry().connections.values().cloned().collect();
    open.iter().for_each(|connection| connection.close());
    if timeout(CLOSE_LIMIT, async { while connections.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(left = connections.len(), "connections did not end in time and are cut");
    }
    connections.shutdown().await;
}

/// Returns when the broker is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the broker is gone altogether.
    drop(stop.wait_for(|stopped| *stopped).await);
}

/// Keeps a connection in the registry, however its task ends.
struct Entry(Arc<Shared>, Arc<Connection>);

impl Drop for Entry {
    fn drop(&mut self) {
        self.0.leave(&self.1);
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr, _slot: OwnedSemaphorePermit) {
    if let Err(e) = stream.set_nodelay(true) {
        tracing::debug!(%peer, "cannot switch off the delay of small packets: {e}");
    }
    let mut stop = shared.stop.subscribe();
    let handshake = tokio::select! {
        () = stopped(&mut stop) => return,
        handshake = timeout(shared.config.handshake_limit, shared.acceptor().accept(stream)) => handshake,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(e)) => return tracing::debug!(%peer, "no TLS handshake: {e}"),
        Err(_) => return tracing::debug!(%peer, "no TLS handshake within the limit"),
    };

    let connection = Arc::new(Connection::new(shared.numbers.fetch_add(1, Ordering::Relaxed), peer, Arc::clone(&shared)));
    shared.enter(&connection);
    let _entry = Entry(Arc::clone(&shared), Arc::clone(&connection));
    let mut mqtt = shared.mqtt.clone();
    mqtt.event_handler = Some(Arc::clone(&connection) as _);
    let handler = ClientHandler::new(
        BrokerTransport::tls(TlsStreamWrapper::new(stream)),
        peer,
        Arc::new(mqtt),
        Arc::clone(&shared.router),
        Arc::clone(&connection) as _,
        None,
        Arc::clone(&shared.stats),
        Arc::clone(&shared.monitor),
        connection.closing(),
    );
    // The library hears the closing signal only after login; before it, nothing is lost by dropping the connection.
    let stopped_before_login = async {
        stopped(&mut stop).await;
        if connection.is_logged_in() {
            std::future::pending::<()>().await;
        }
    };
    let ended = tokio::select! {
        ended = handler.run() => ended,
        () = stopped_before_login => Ok(()),
    };
    match ended {
        Err(MqttError::PacketTooLarge { size, max }) => {
            let device = connection.device().map(|device| device.to_string()).unwrap_or_default();
            tracing::warn!(%peer, device, size, max, "a packet above the limit; the connection is closed");
            connection.refused(&device, &device, Refused::TooLarge, None);
        }
        Err(e) if !e.is_normal_disconnect() => tracing::debug!(%peer, device = ?connection.device(), "connection ended: {e}"),
        _ => {}
    }
}
