//! One connection of a device, as the broker's library sees it: its login, its rights, what it says, how it ends.
//!
//! Each connection has an object of its own, so that every refusal can name the peer, a verdict can close exactly the
//! connection that it concerns, and a last will is told apart from a publish.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use model::TargetId;
use mqtt5::QoS;
use mqtt5::broker::{AuthProvider, AuthResult, BrokerEventHandler, ClientDisconnectEvent, ClientPublishEvent, PublishAction};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use protocol::cloud::WATCHER;
use protocol::native::TopicKind;
use tokio::sync::broadcast;

use super::auth::{Login, LoginVerdict};
use super::broker::Shared;
use super::{BoxFuture, acl};

/// Something a device said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InboundMessage {
    /// The device: user name and client id of the connection, proven by its secret.
    pub device: TargetId,
    /// Where the connection comes from.
    pub peer: SocketAddr,
    /// Number of the connection; a later connection has a higher one. A last will with a lower number than a hello that was
    /// already heard is old news.
    pub connection: u64,
    /// On which of the device's own topics.
    pub kind: TopicKind,
    /// At most the broker's `max_packet` bytes.
    pub payload: Bytes,
    /// Whether this is the last will of a connection that broke (and not a publish).
    pub will: bool,
}

/// What becomes of an [`InboundMessage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboundVerdict {
    /// Dealt with, for good or ill: it is acknowledged. Also for what is malformed, else it comes again for ever.
    Accept,
    /// Cannot be taken now (disk full, for one): it is *not* acknowledged and the connection is closed, so that the device
    /// keeps it and says it again. Nothing that follows on the same connection overtakes it.
    Refuse,
}

/// Takes what devices say.
pub trait Inbound: Send + Sync {
    /// Judges one message; awaited before its acknowledgement is sent. Calls of one connection come one after the other
    /// and in order. Bounded by [`super::BrokerConfig::inbound_limit`], after which the message counts as refused.
    fn inbound(&self, message: InboundMessage) -> BoxFuture<'_, InboundVerdict>;
}

/// An attempt that was refused, for the audit (G10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The user name as given; proven unless `what` is [`Refused::Login`].
    pub user: String,
    /// The client id as given.
    pub client_id: String,
    /// Where the attempt came from.
    pub peer: SocketAddr,
    /// What was refused.
    pub what: Refused,
    /// The topic or filter concerned, if any.
    pub topic: Option<String>,
}

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// No or wrong credentials, or a user that the authenticator does not accept.
    Login,
    /// A client id that is not the user's own.
    ClientId,
    /// A last will that is retained or on a topic other than the device's own `gone`.
    Will,
    /// A publish on a topic that is not the device's own.
    Publish,
    /// A subscription to anything but the device's own commands.
    Subscribe,
    /// A retained publish. The connection is closed.
    Retained,
    /// A packet above the size limit. The connection is closed.
    TooLarge,
}

pub(super) struct Connection {
    pub(super) number: u64,
    peer: SocketAddr,
    shared: Arc<Shared>,
    close: broadcast::Sender<()>,
    closed_by_us: AtomicBool,
    device: OnceLock<TargetId>,
    /// The token of somebody who only listens to events.
    watcher: OnceLock<Vec<u8>>,
    will: OnceLock<Bytes>,
}

impl Connection {
    pub(super) fn new(number: u64, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        let (close, _) = broadcast::channel(1);
        let closed_by_us = AtomicBool::new(false);
        Self {
            number,
            peer,
            shared,
            close,
            closed_by_us,
            device: OnceLock::new(),
            watcher: OnceLock::new(),
            will: OnceLock::new(),
        }
    }

    /// Signals when [`Connection::close`] is called.
    pub(super) fn closing(&self) -> broadcast::Receiver<()> {
        self.close.subscribe()
    }

    /// Closes the connection from our side; its last will is not delivered, since it did not break.
    pub(super) fn close(&self) {
        self.closed_by_us.store(true, Ordering::SeqCst);
        // Nobody listening means that it is closed already.
        drop(self.close.send(()));
    }

    /// The device, once its login was accepted.
    pub(super) fn device(&self) -> Option<TargetId> {
        self.device.get().copied()
    }

    /// The token with which somebody listens to events, if that is what the connection is for.
    pub(super) fn watcher(&self) -> Option<&[u8]> {
        self.watcher.get().map(Vec::as_slice)
    }

    /// Whether it is in.
    pub(super) fn is_logged_in(&self) -> bool {
        self.device().is_some() || self.watcher().is_some()
    }

    fn is_closed_by_us(&self) -> bool {
        self.closed_by_us.load(Ordering::SeqCst)
    }

    pub(super) fn refused(&self, user: &str, client_id: &str, what: Refused, topic: Option<&str>) {
        self.shared.refused(Refusal {
            user: user.to_owned(),
            client_id: client_id.to_owned(),
            peer: self.peer,
            what,
            topic: topic.map(ToOwned::to_owned),
        });
    }

    async fn login(&self, connect: &ConnectPacket) -> Result<(), ReasonCode> {
        let user = connect.username.as_deref().unwrap_or_default();
        let client_id = connect.client_id.as_str();
        let refuse = |what, topic: Option<&str>| self.refused(user, client_id, what, topic);

        if user == WATCHER {
            return self.login_watcher(connect).await;
        }
        // The spelling counts: topics and client id are made from the name.
        let device = user.parse::<TargetId>().ok().filter(|device| device.to_string() == user);
        let (Some(device), Some(password)) = (device, &connect.password) else {
            refuse(Refused::Login, None);
            return Err(ReasonCode::BadUsernameOrPassword);
        };
        let login = Login { device, password, peer: self.peer };
        match self.shared.hooks.authenticator.authenticate(login).await {
            LoginVerdict::Accept => {}
            LoginVerdict::Refuse => {
                refuse(Refused::Login, None);
                return Err(ReasonCode::BadUsernameOrPassword);
            }
            LoginVerdict::Unavailable => return Err(ReasonCode::ServerUnavailable),
        }
        // Whoever may use another's client id may end the other's connection.
        if client_id != user {
            refuse(Refused::ClientId, None);
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if let Some(will) = &connect.will {
            if will.retain || !acl::may_will(device, &will.topic) {
                refuse(Refused::Will, Some(&will.topic));
                return Err(ReasonCode::NotAuthorized);
            }
            self.will.get_or_init(|| will.payload.clone().into());
        }
        self.device.get_or_init(|| device);
        self.shared.logged_in(device, self.number);
        Ok(())
    }

    async fn login_watcher(&self, connect: &ConnectPacket) -> Result<(), ReasonCode> {
        let client_id = connect.client_id.as_str();
        let refuse = |what, topic: Option<&str>| self.refused(WATCHER, client_id, what, topic);
        let Some(token) = &connect.password else {
            refuse(Refused::Login, None);
            return Err(ReasonCode::BadUsernameOrPassword);
        };
        match self.shared.hooks.authenticator.may_watch(token).await {
            LoginVerdict::Accept => {}
            LoginVerdict::Refuse => {
                refuse(Refused::Login, None);
                return Err(ReasonCode::BadUsernameOrPassword);
            }
            LoginVerdict::Unavailable => return Err(ReasonCode::ServerUnavailable),
        }
        if !acl::may_watch_as(client_id) {
            refuse(Refused::ClientId, None);
            return Err(ReasonCode::ClientIdentifierNotValid);
        }
        if let Some(will) = &connect.will {
            refuse(Refused::Will, Some(&will.topic));
            return Err(ReasonCode::NotAuthorized);
        }
        self.watcher.get_or_init(|| token.clone());
        Ok(())
    }

    async fn inbound(&self, device: TargetId, kind: TopicKind, payload: Bytes, will: bool) -> InboundVerdict {
        let message = InboundMessage { device, peer: self.peer, connection: self.number, kind, payload, will };
        let limit = self.shared.config.inbound_limit;
        tokio::time::timeout(limit, self.shared.hooks.inbound.inbound(message)).await.unwrap_or_else(|_| {
            tracing::warn!(%device, ?limit, "no verdict on a device's message within the limit; it is not acknowledged");
            InboundVerdict::Refuse
        })
    }

    /// Closes the connection and leaves the publish unacknowledged: the library acknowledges what we handle, but not a
    /// publish of QoS 0, so it is given one that reaches nobody (no one can subscribe to this topic).
    fn close_unacknowledged(&self) -> PublishAction {
        self.close();
        PublishAction::Transform(PublishPacket::new("reveille/refused", Bytes::new(), QoS::AtMostOnce))
    }
}

impl AuthProvider for Connection {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _peer: SocketAddr,
    ) -> BoxFuture<'a, mqtt5::error::Result<AuthResult>> {
        Box::pin(async move {
            Ok(match self.login(connect).await {
                Ok(()) => AuthResult::success_with_user(&connect.client_id),
                Err(reason) => AuthResult::fail(reason),
            })
        })
    }

    fn authorize_publish<'a>(&'a self, client_id: &str, user: Option<&'a str>, topic: &'a str) -> BoxFuture<'a, bool> {
        let allowed = self.device().and_then(|device| acl::may_publish(device, topic)).is_some();
        if !allowed {
            self.refused(user.unwrap_or_default(), client_id, Refused::Publish, Some(topic));
        }
        Box::pin(std::future::ready(allowed))
    }

    fn authorize_subscribe<'a>(&'a self, client_id: &str, user: Option<&'a str>, filter: &'a str) -> BoxFuture<'a, bool> {
        let allowed = match self.device() {
            Some(device) => acl::may_subscribe(device, filter),
            None => self.watcher().is_some() && acl::may_watch(filter),
        };
        if !allowed {
            self.refused(user.unwrap_or_default(), client_id, Refused::Subscribe, Some(filter));
        }
        Box::pin(std::future::ready(allowed))
    }
}

impl BrokerEventHandler for Connection {
    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> BoxFuture<'a, PublishAction> {
        Box::pin(async move {
            // What follows a refused message must not overtake it.
            if self.is_closed_by_us() {
                return self.close_unacknowledged();
            }
            // Judged already, but the kind is needed, and a publish without one must go nowhere.
            let kind = |device| acl::may_publish(device, &event.topic).map(|kind| (device, kind));
            let Some((device, kind)) = self.device().and_then(kind) else {
                return self.close_unacknowledged();
            };
            if event.retain {
                self.refused(&event.client_id, &event.client_id, Refused::Retained, Some(&event.topic));
                return self.close_unacknowledged();
            }
            self.shared.count_received();
            match self.inbound(device, kind, event.payload, false).await {
                InboundVerdict::Accept => PublishAction::Handled,
                InboundVerdict::Refuse => self.close_unacknowledged(),
            }
        })
    }

    fn on_client_disconnect<'a>(&'a self, event: ClientDisconnectEvent) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (Some(device), Some(will)) = (self.device(), self.will.get()) else { return };
            // A device that has connected anew is not gone.
            if event.unexpected && !self.is_closed_by_us() && !self.shared.has_newer(device, self.number) {
                // There is nobody left to tell the verdict.
                let _: InboundVerdict = self.inbound(device, TopicKind::Gone, will.clone(), true).await;
            }
        })
    }
}

/// How long a connection that we close may take to end before it is cut.
pub(super) const CLOSE_LIMIT: Duration = Duration::from_secs(5);
