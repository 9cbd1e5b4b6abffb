//! The way of a command, by its target: the engine's own site, a host over SSH, or an agent over the broker.
//!
//! Without an agent the command is performed by a task of this process. What the performer says goes to the engine by the door
//! of the devices' messages. A task that is lost, with the process or without it, is no harm: the driver sends again what
//! nobody answers, and every command on these routes may be repeated.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use driver::SendError;
use engine::Input;
use model::{Ack, Command, CommandId, Fence, TargetId};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use super::Shared;
use super::courier::Courier;
use super::performer::Performer;
use super::worker::Message;

/// Acks of one command that wait for the engine.
const SAID: usize = 8;

/// The driver's transport. Cheap to clone.
#[derive(Clone)]
pub(super) struct Dispatch {
    pub(super) courier: Courier,
    pub(super) reach: Option<Arc<Reach>>,
}

/// What is performed by this process.
pub(super) struct Reach {
    performer: Arc<dyn Performer>,
    shared: OnceLock<Weak<Shared>>,
    /// Weak, or the engine's task would wait for itself.
    messages: mpsc::WeakSender<Message>,
    busy: Mutex<HashMap<CommandId, Busy>>,
}

struct Busy {
    /// Commands for one of these come one after the other.
    subject: TargetId,
    fence: Fence,
    /// A newer command ends it.
    may_be_superseded: bool,
    /// What was said last; said again when the driver asks again.
    last: Arc<Mutex<Option<Ack>>>,
    task: AbortHandle,
}

impl Reach {
    pub(super) fn new(performer: Arc<dyn Performer>, messages: mpsc::WeakSender<Message>) -> Arc<Self> {
        Arc::new(Self { performer, shared: OnceLock::new(), messages, busy: Mutex::default() })
    }

    /// Names what is known of hosts; once.
    pub(super) fn attach(&self, shared: &Arc<Shared>) {
        // Set once, right after both are made.
        drop(self.shared.set(Arc::downgrade(shared)));
    }

    pub(super) fn performer(&self) -> &Arc<dyn Performer> {
        &self.performer
    }

    fn busy(&self) -> MutexGuard<'_, HashMap<CommandId, Busy>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a command, unless it is under way.
    fn begin(self: &Arc<Self>, command: &Command) -> Result<(), SendError> {
        let shared =
            self.shared.get().and_then(Weak::upgrade).ok_or_else(|| SendError("the controller is starting".to_owned()))?;
        let here = command.target == TargetId::CONTROLLER;
        let host = if here { None } else { shared.reached(command.target) };
        if host.is_none() && !here {
            return Err(SendError(format!("{} is no host that is reached without an agent", command.target)));
        }
        let mut busy = self.busy();
        if let Some(under_way) = busy.get(&command.id) {
            let last = under_way.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let (Some(ack), Some(messages)) = (last, self.messages.upgrade()) {
                let input = Input::Acked { host: command.target, ack: Box::new(ack) };
                // No room means that it is said once more.
                drop(messages.try_send(Message::Input { input, check: None, answer: None }));
            }
            return Ok(());
        }
        let subject = if here { command.subject } else { command.target };
        let kind = command.action.kind();
        if kind.is_disruptive() {
            // A late drain must not undo an undrain (design, section 5). The end of a boot cannot be superseded.
            let older = |b: &Busy| b.subject == subject && b.may_be_superseded && b.fence < command.fence;
            busy.retain(|_, other| {
                let ends = older(other);
                if ends {
                    other.task.abort();
                }
                !ends
            });
        }
        let last = Arc::<Mutex<Option<Ack>>>::default();
        let said_last = Arc::clone(&last);
        let (reach, command) = (Arc::clone(self), command.clone());
        let (id, fence) = (command.id, command.fence);
        let task = tokio::spawn(async move {
            // Removed however the task ends.
            let ended = Ended { reach: &reach, id };
            // A performer begins nothing that is too old. Of the end of a boot it must still be asked what became of it.
            if kind.ends_boot() || shared.engine_time() < command.expires_at {
                drop(shared);
                let (say, said) = mpsc::channel(SAID);
                let performed = async {
                    match &host {
                        Some(host) => reach.performer.perform(host, &command, say).await,
                        None => reach.performer.perform_here(&command, say).await,
                    }
                };
                tokio::join!(performed, reach.tell(command.target, said, &said_last));
            }
            drop(ended);
        });
        let may_be_superseded = kind.is_disruptive() && !kind.ends_boot();
        busy.insert(id, Busy { subject, fence, may_be_superseded, last, task: task.abort_handle() });
        Ok(())
    }

    /// Gives what a performer says to the engine, until it has nothing more to say.
    async fn tell(&self, target: TargetId, mut said: mpsc::Receiver<Ack>, last: &Mutex<Option<Ack>>) {
        while let Some(mut ack) = said.recv().await {
            let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
            ack.report = ack.report.map(|report| shared.own_report(report, shared.next_report()));
            drop(shared);
            let Some(messages) = self.messages.upgrade() else { return };
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Some(ack.clone());
            let input = Input::Acked { host: target, ack: Box::new(ack) };
            if messages.send(Message::Input { input, check: None, answer: None }).await.is_err() {
                return;
            }
        }
    }

    /// Gives up on what is under way for a host that does not belong to the fleet any more.
    pub(super) fn forget(&self, host: TargetId) {
        self.busy().retain(|_, busy| {
            let ends = busy.subject == host;
            if ends {
                busy.task.abort();
            }
            !ends
        });
    }

    /// Gives up on all that is under way.
    pub(super) fn abandon(&self) {
        for (_, busy) in self.busy().drain() {
            busy.task.abort();
        }
    }
}

struct Ended<'a> {
    reach: &'a Reach,
    id: CommandId,
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.reach.busy().remove(&self.id);
    }
}

impl driver::Transport for Dispatch {
    async fn send(&mut self, command: &Command) -> Result<(), SendError> {
        let Some(reach) = &self.reach else { return self.courier.send(command).await };
        let here = command.target == TargetId::CONTROLLER;
        let known = || reach.shared.get().and_then(Weak::upgrade).is_some_and(|shared| shared.reached(command.target).is_some());
        if !here && !known() {
            return self.courier.send(command).await;
        }
        let begun = reach.begin(command);
        if let Err(error) = &begun {
            tracing::warn!(command = %command.id, "{error}");
        }
        begun
    }
}
