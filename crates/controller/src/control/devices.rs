//! The broker's side: who may connect, and what devices say.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Input;
use model::TargetId;
use protocol::native::{ControllerBody, DeviceBody, open_device};

use super::{Control, ControlError, Permission};
use crate::transport::auth::secret_matches;
use crate::transport::{
    Authenticator, BoxFuture, Hooks, Inbound, InboundMessage, InboundVerdict, Login, LoginVerdict, Refusal, Refused,
};

/// The connection on which each host greeted last: a last will of an earlier one is old news.
#[derive(Debug, Default)]
pub(super) struct Greetings(Mutex<HashMap<TargetId, u64>>);

impl Greetings {
    fn greeted(&self, host: TargetId, connection: u64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = last.entry(host).or_default();
        *entry = (*entry).max(connection);
    }

    fn is_old(&self, host: TargetId, connection: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&host).is_some_and(|last| connection < *last)
    }
}

impl Control {
    /// What the broker asks and tells.
    pub fn hooks(&self) -> Hooks {
        let refusing = self.clone();
        Hooks {
            authenticator: Arc::new(self.clone()),
            inbound: Arc::new(self.clone()),
            on_refusal: Arc::new(move |refusal| refusing.broker_refused(&refusal)),
        }
    }

    async fn judge_login(&self, login: Login<'_>) -> LoginVerdict {
        let Ok(directory) = self.directory() else { return LoginVerdict::Unavailable };
        let host = login.device;
        let Some(known) = directory.hosts.get(&host).filter(|known| known.approved && known.key.is_some()) else {
            return LoginVerdict::Refuse;
        };
        match self.shared.database.device_secret(host, &known.public_key).await {
            Ok(Some(stored)) if secret_matches(login.password, &stored) => LoginVerdict::Accept,
            Ok(_) => LoginVerdict::Refuse,
            Err(error) => {
                tracing::warn!("a login could not be checked: {error}");
                LoginVerdict::Unavailable
            }
        }
    }

    /// Who may see all hosts may hear of all services.
    async fn judge_watcher(&self, token: &[u8]) -> LoginVerdict {
        let Ok(token) = std::str::from_utf8(token) else { return LoginVerdict::Refuse };
        match self.verify(token).await {
            Ok(who) if who.has(Permission::ViewHosts) && who.scope.is_all() => LoginVerdict::Accept,
            Err(ControlError::Unavailable(_)) => LoginVerdict::Unavailable,
            _ => LoginVerdict::Refuse,
        }
    }

    async fn judge_message(&self, message: InboundMessage) -> InboundVerdict {
        let (host, body) = match self.open(&message) {
            Ok(opened) => opened,
            // Whatever is wrong with it will be wrong again: it is not asked for once more.
            Err(Some((host, why))) => {
                self.refused(&self.device_name(host), "message", Some(host), &why);
                return InboundVerdict::Accept;
            }
            Err(None) => return InboundVerdict::Refuse,
        };
        let told = match body {
            DeviceBody::Ack { ack } => {
                return self.judge_answer(self.ask(Input::Acked { host, ack: Box::new(ack) }, None).await.is_ok());
            }
            DeviceBody::Report { report } => self.tell(Input::Reported { host, report: Box::new(report) }).await,
            DeviceBody::Hello { nonce, report } => {
                self.shared.greetings.greeted(host, message.connection);
                if let Err(error) = self.courier.say(host, &ControllerBody::Time { nonce, now: self.shared.engine_time() }) {
                    tracing::warn!(%host, "the time was not said: {error}");
                }
                self.tell(Input::Reported { host, report: Box::new(report) }).await
            }
            DeviceBody::Gone { .. } if message.will && self.shared.greetings.is_old(host, message.connection) => true,
            DeviceBody::Gone { instance } => self.tell(Input::Gone { host, instance }).await,
        };
        self.judge_answer(told)
    }

    /// Whose message this is and what it says; `None` before the first start, else why it is not believed.
    fn open(&self, message: &InboundMessage) -> Result<(TargetId, DeviceBody), Option<(TargetId, String)>> {
        let directory = self.directory().map_err(|_| None)?;
        let host = message.device;
        let refuse = |why: String| Some((host, why));
        // The approval may have gone since the login.
        let known = directory.hosts.get(&host).filter(|known| known.approved);
        let key = known.and_then(|known| known.key).ok_or_else(|| refuse("the host is not approved".to_owned()))?;
        let body = open_device(&message.payload, &key, host, message.kind);
        let body = body.map_err(|error| refuse(format!("{} message: {error}", message.kind.as_str())))?;
        Ok((host, body))
    }

    fn judge_answer(&self, taken: bool) -> InboundVerdict {
        if taken { InboundVerdict::Accept } else { InboundVerdict::Refuse }
    }

    fn device_name(&self, host: TargetId) -> String {
        let known = self.directory().ok().and_then(|directory| directory.hosts.get(&host).map(|known| known.name.clone()));
        format!("device {}", known.unwrap_or_else(|| host.to_string()))
    }

    fn broker_refused(&self, refusal: &Refusal) {
        let host = refusal.user.parse::<TargetId>().ok();
        let known = host.filter(|host| self.directory().is_ok_and(|directory| directory.hosts.contains_key(host)));
        let proven = refusal.what != Refused::Login;
        let actor = match known {
            Some(host) if proven => self.device_name(host),
            // Who failed to log in is not known; a name of its choosing does not get a line of its own.
            _ => refusal.peer.ip().to_string(),
        };
        let (action, why) = match refusal.what {
            Refused::Login => ("mqtt_login", "wrong secret, or a host that is unknown or not approved"),
            Refused::ClientId => ("mqtt_client_id", "a client id that is not its own"),
            Refused::Will => ("mqtt_will", "a last will on a topic that is not its own, or retained"),
            Refused::Publish => ("mqtt_publish", "published on a topic that is not its own"),
            Refused::Subscribe => ("mqtt_subscribe", "subscribed to what is not its own"),
            Refused::Retained => ("mqtt_retained", "published a retained message"),
            Refused::TooLarge => ("mqtt_too_large", "sent a message above the size limit"),
        };
        let topic = refusal.topic.as_deref().map(|topic| format!(", topic {topic:?}")).unwrap_or_default();
        let text = format!("{why} (user {:?}, client id {:?}, from {}{topic})", refusal.user, refusal.client_id, refusal.peer);
        self.refused(&actor, action, known, &text);
    }
}

impl Authenticator for Control {
    fn authenticate<'a>(&'a self, login: Login<'a>) -> BoxFuture<'a, LoginVerdict> {
        Box::pin(self.judge_login(login))
    }

    fn may_watch<'a>(&'a self, token: &'a [u8]) -> BoxFuture<'a, LoginVerdict> {
        Box::pin(self.judge_watcher(token))
    }
}

impl Inbound for Control {
    /// An ack is taken when it is durable; a report when it waits for the engine, which may still lose it in a crash: there
    /// is always a next one.
    fn inbound(&self, message: InboundMessage) -> BoxFuture<'_, InboundVerdict> {
        Box::pin(self.judge_message(message))
    }
}
