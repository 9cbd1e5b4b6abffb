//! Deciding and doing: what people ask of the engine.

use std::time::Duration;

use engine::{Engine, HostView, Input, Refusal, Reply};
use model::{Operation, Options, OrchestrationId, Request, TargetId, Timestamp};
use protocol::native::PublicKey;
use tokio::sync::oneshot;

use super::access::{Permission, Principal};
use super::secret::new_id;
use super::worker::{Check, Message};
use super::{Control, ControlError};

/// Longest wait for room in the worker's queue, and for its answer.
const ASK_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for room for what a device says.
const TELL_LIMIT: Duration = Duration::from_secs(5);

impl Control {
    /// Asks for a reboot or shutdown. Needs [`Permission::RebootHost`] for the host, and [`Permission::Force`] when forced.
    /// Returns the id and how many running children were taken in (S0-37).
    ///
    /// # Errors
    /// [`ControlError::Refused`] with the engine's reasons (audited); rights; an unknown host; [`ControlError::Invalid`] for
    /// a force without a reason; [`ControlError::Unavailable`].
    pub async fn submit(
        &self,
        by: &Principal,
        target: TargetId,
        operation: Operation,
        options: Options,
    ) -> Result<(OrchestrationId, u32), ControlError> {
        self.authorize(by, Permission::RebootHost, Some(target)).await?;
        if let Some(force) = &options.force {
            self.authorize(by, Permission::Force, Some(target)).await?;
            if force.reason.trim().is_empty() {
                return Err(ControlError::Invalid("forcing needs a reason, which is kept in the audit log".to_owned()));
            }
        }
        let id = OrchestrationId(new_id(self.now())?);
        let request = Request {
            targets: vec![target],
            operation,
            options,
            rollout: None,
            run: None,
            wait: None,
            services: None,
            by: by.actor(),
        };
        match self.ask(Input::Submit { id, request }, None).await? {
            Reply::Accepted { id, child_count } => Ok((id, child_count)),
            Reply::Noted => Err(ControlError::Unavailable(
                "the engine did not say whether it accepted: look at the orchestrations".to_owned(),
            )),
            Reply::Refused(refusal) => Err(self.engine_refused(by, "submit", Some(target), refusal)),
        }
    }

    /// Stops an orchestration: what runs goes back to where it was, unless its reboot was handed over (ruling 24); nothing new
    /// starts. Needs [`Permission::RebootHost`] for every host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when it is over or every reboot was issued (audited); rights; an unknown id.
    pub async fn cancel(&self, by: &Principal, id: OrchestrationId) -> Result<(), ControlError> {
        let host = self.authorize_on(by, id).await?.host;
        self.noted(by, "cancel", Some(host), Input::Cancel { id, by: by.actor() }, None).await
    }

    /// Approves a host and the key that it waits with. Needs [`Permission::ManageHosts`]. `fingerprint` is what the person
    /// compared ([`PublicKey::fingerprint`]); another key that came meanwhile is then not approved.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when it is approved already; rights; an unknown host; [`ControlError::Conflict`] when the
    /// fingerprint is another.
    pub async fn approve(&self, by: &Principal, host: TargetId, fingerprint: Option<&str>) -> Result<(), ControlError> {
        self.authorize(by, Permission::ManageHosts, Some(host)).await?;
        let check = fingerprint.map(|given| {
            let given = given.trim().to_ascii_lowercase();
            let check: Check = Box::new(move |engine, now| {
                let key = engine.host(host, now).and_then(|view| view.public_key.parse::<PublicKey>().ok());
                match key {
                    Some(key) if key.fingerprint() == given => Ok(()),
                    Some(key) => {
                        let text = format!(
                            "the host waits with the key {}, not {given}: compare it on the host itself",
                            key.fingerprint()
                        );
                        Err(ControlError::Conflict(text))
                    }
                    None => Err(ControlError::NotFound(format!("there is no host with the id {host}"))),
                }
            });
            check
        });
        self.noted(by, "approve", Some(host), Input::Approve { host, by: by.actor() }, check).await
    }

    /// Says that a stranded target is fine, or that its alarm was seen. Needs [`Permission::RebootHost`] for its host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when there is nothing to acknowledge; rights; an unknown target.
    pub async fn acknowledge(&self, by: &Principal, target: TargetId) -> Result<(), ControlError> {
        let stands_on = move |host: &HostView| {
            let in_report = || host.report.as_ref().is_some_and(|report| report.child(target).is_some());
            host.id == target || host.alarms.iter().any(|alarm| alarm.target == target) || in_report()
        };
        let host = self.query(move |engine, now| engine.hosts(now).into_iter().find(stands_on).map(|host| host.id)).await?;
        let host = host.ok_or_else(|| ControlError::NotFound(format!("there is no host or child with the id {target}")))?;
        self.authorize(by, Permission::RebootHost, Some(host)).await?;
        self.noted(by, "acknowledge", Some(target), Input::Acknowledge { target, by: by.actor() }, None).await
    }

    pub(super) async fn noted(
        &self,
        by: &Principal,
        action: &str,
        target: Option<TargetId>,
        input: Input,
        check: Option<Check>,
    ) -> Result<(), ControlError> {
        match self.ask(input, check).await? {
            Reply::Noted | Reply::Accepted { .. } => Ok(()),
            Reply::Refused(refusal) => Err(self.engine_refused(by, action, target, refusal)),
        }
    }

    pub(super) fn engine_refused(
        &self,
        by: &Principal,
        action: &str,
        target: Option<TargetId>,
        refusal: Refusal,
    ) -> ControlError {
        self.refused(&by.name, action, target, &refusal.to_string());
        ControlError::Refused(refusal)
    }

    /// Lets the engine decide; the answer comes when it is durable.
    pub(super) async fn ask(&self, input: Input, check: Option<Check>) -> Result<Reply, ControlError> {
        let (answer, said) = oneshot::channel();
        let asked = async {
            let sent = self.messages.send(Message::Input { input, check, answer: Some(answer) }).await;
            sent.map_err(|_| stopping())?;
            said.await.map_err(|_| stopping())?
        };
        tokio::time::timeout(ASK_LIMIT, asked).await.unwrap_or_else(|_| {
            Err(ControlError::Unavailable("no answer in time; look whether it was taken before you try again".to_owned()))
        })
    }

    /// Tells the engine something that nobody waits for; `false` when there is no room for it in time. Whoever says much waits
    /// in line behind the others: one device that never stops does not take the room of all.
    pub(super) async fn tell(&self, input: Input) -> bool {
        self.messages.send_timeout(Message::Input { input, check: None, answer: None }, TELL_LIMIT).await.is_ok()
    }

    /// Runs `look` on the engine between two turns, with the time. For `hosts`, `host`, `explain`, `explain_waiting`. It must
    /// be short: no turn happens meanwhile. Checks no right.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] while the engine is being restored, or after 20 s.
    pub async fn query<R: Send + 'static>(
        &self,
        look: impl FnOnce(&Engine, Timestamp) -> R + Send + 'static,
    ) -> Result<R, ControlError> {
        let (answer, seen) = oneshot::channel();
        let look = Box::new(move |engine: &Engine, now: Timestamp| drop(answer.send(look(engine, now))));
        let asked = async {
            self.messages.send(Message::Look(look)).await.map_err(|_| stopping())?;
            seen.await.map_err(|_| {
                ControlError::Unavailable(
                    "the controller is starting again from its store: try again in a few seconds".to_owned(),
                )
            })
        };
        let late = || Err(ControlError::Unavailable("the engine did not answer in time: try again".to_owned()));
        tokio::time::timeout(ASK_LIMIT, asked).await.unwrap_or_else(|_| late())
    }
}

fn stopping() -> ControlError {
    ControlError::Unavailable("the controller is stopping".to_owned())
}
