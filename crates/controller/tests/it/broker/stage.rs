//! A broker with devices that it knows, and everything that it hears and refuses written down.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use agent::link::{Link, LinkConfig, LinkEvent, LinkHandle};
use controller::transport::auth::{secret_hash, secret_matches};
use controller::transport::{
    Authenticator, BoxFuture, Broker, BrokerConfig, Hooks, Identity, Inbound, InboundMessage, InboundVerdict, Login,
    LoginVerdict, Refusal, Refused, install_crypto_provider,
};
use model::TargetId;
use protocol::native::TopicKind;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

/// Longest wait for anything that must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// Two devices that the broker knows, and one whose credentials cannot be checked.
pub(crate) const A: &str = "0a000000-0000-4000-8000-00000000000a";
pub(crate) const B: &str = "0b000000-0000-4000-8000-00000000000b";
pub(crate) const UNCHECKED: &str = "0c000000-0000-4000-8000-00000000000c";

pub(crate) fn id(device: &str) -> TargetId {
    device.parse().unwrap()
}

pub(crate) fn secret(device: &str) -> Vec<u8> {
    format!("secret of {device}").into_bytes()
}

/// Devices with the hash of their secret, and whether the token of those who listen to events was revoked.
struct Devices(HashMap<TargetId, [u8; 32]>, Arc<AtomicBool>);

impl Authenticator for Devices {
    fn authenticate<'a>(&'a self, login: Login<'a>) -> BoxFuture<'a, LoginVerdict> {
        Box::pin(std::future::ready(match self.0.get(&login.device) {
            _ if login.device == id(UNCHECKED) => LoginVerdict::Unavailable,
            Some(hash) if secret_matches(login.password, hash) => LoginVerdict::Accept,
            _ => LoginVerdict::Refuse,
        }))
    }

    fn may_watch<'a>(&'a self, token: &'a [u8]) -> BoxFuture<'a, LoginVerdict> {
        let revoked = self.1.load(std::sync::atomic::Ordering::SeqCst);
        let verdict = if token == b"good" && !revoked { LoginVerdict::Accept } else { LoginVerdict::Refuse };
        Box::pin(std::future::ready(verdict))
    }
}

/// Writes down what it hears, and gives its verdict when it has a permit.
pub(crate) struct Ears {
    pub(crate) heard: Mutex<Vec<InboundMessage>>,
    pub(crate) gate: Semaphore,
    pub(crate) verdict: Mutex<InboundVerdict>,
}

impl Inbound for Ears {
    fn inbound(&self, message: InboundMessage) -> BoxFuture<'_, InboundVerdict> {
        Box::pin(async move {
            self.heard.lock().unwrap().push(message);
            self.gate.acquire().await.unwrap().forget();
            *self.verdict.lock().unwrap()
        })
    }
}

pub(crate) struct Stage {
    pub(crate) broker: Broker,
    pub(crate) identity: Identity,
    pub(crate) ears: Arc<Ears>,
    pub(crate) hooks: Hooks,
    refusals: Arc<Mutex<Vec<Refusal>>>,
    pub(crate) revoked: Arc<AtomicBool>,
    _dir: tempfile::TempDir,
}

pub(crate) fn identity(dir: &std::path::Path) -> Identity {
    Identity::load_or_create(dir, &["127.0.0.1".to_owned()], SystemTime::now()).unwrap()
}

pub(crate) fn config(listen: SocketAddr) -> BrokerConfig {
    BrokerConfig { listen: vec![listen], ..BrokerConfig::default() }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(config(SocketAddr::from(([127, 0, 0, 1], 0)))).await
    }

    pub(crate) async fn with(config: BrokerConfig) -> Self {
        install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let identity = identity(dir.path());
        let ears = Arc::new(Ears {
            heard: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            verdict: Mutex::new(InboundVerdict::Accept),
        });
        let revoked = Arc::new(AtomicBool::new(false));
        let refusals = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&refusals);
        let hooks = Hooks {
            authenticator: Arc::new(Devices([A, B].map(|d| (id(d), secret_hash(&secret(d)))).into(), Arc::clone(&revoked))),
            inbound: Arc::clone(&ears) as _,
            on_refusal: Arc::new(move |refusal| written.lock().unwrap().push(refusal)),
        };
        let broker = Broker::start(config, identity.server_config(&[b"mqtt"]).unwrap(), hooks.clone()).await.unwrap();
        Self { broker, identity, ears, hooks, refusals, revoked, _dir: dir }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.broker.addresses()[0]
    }

    pub(crate) fn link_config(&self, device: &str) -> LinkConfig {
        LinkConfig {
            backoff_first: Duration::from_millis(20),
            backoff_most: Duration::from_millis(200),
            will: b"gone".to_vec(),
            ..LinkConfig::new("127.0.0.1", self.address().port(), self.identity.ca_pem(), id(device), secret(device))
        }
    }

    /// A link of the device, connected.
    pub(crate) async fn link(&self, device: &str) -> (LinkHandle, mpsc::Receiver<LinkEvent>) {
        let (handle, mut events) = Link::connect(self.link_config(device)).unwrap();
        assert!(matches!(event(&mut events).await, LinkEvent::Connected));
        (handle, events)
    }

    /// Refusals so far, as user, client id, what and topic.
    pub(crate) fn refusals(&self) -> Vec<(String, String, Refused, Option<String>)> {
        let refusals = self.refusals.lock().unwrap();
        assert!(refusals.iter().all(|refusal| refusal.peer.ip().is_loopback()));
        refusals.iter().map(|r| (r.user.clone(), r.client_id.clone(), r.what, r.topic.clone())).collect()
    }

    /// What was heard, as device, kind and payload; the payload of a will is marked.
    pub(crate) fn heard(&self) -> Vec<(TargetId, TopicKind, String)> {
        let heard = self.ears.heard.lock().unwrap();
        let text = |m: &InboundMessage| format!("{}{}", if m.will { "will: " } else { "" }, String::from_utf8_lossy(&m.payload));
        heard.iter().map(|m| (m.device, m.kind, text(m))).collect()
    }

    pub(crate) fn payloads(&self) -> Vec<String> {
        self.heard().into_iter().map(|(_, _, payload)| payload).collect()
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let met = timeout(LIMIT, async {
            while !condition(self) {
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(met.await.is_ok(), "not in time: {what}; heard {:?}, refused {:?}", self.heard(), self.refusals());
    }
}

pub(crate) async fn event(events: &mut mpsc::Receiver<LinkEvent>) -> LinkEvent {
    timeout(LIMIT, events.recv()).await.expect("an event in time").expect("the link is alive")
}

/// The next command, acknowledged.
pub(crate) async fn command(handle: &LinkHandle, events: &mut mpsc::Receiver<LinkEvent>) -> String {
    match event(events).await {
        LinkEvent::Command { payload, retained, ack } => {
            assert!(!retained);
            handle.ack(ack).await;
            String::from_utf8(payload.to_vec()).unwrap()
        }
        other => panic!("a command was expected, not {other:?}"),
    }
}
