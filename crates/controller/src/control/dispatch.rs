//! The way of a command, by its target: the engine's own site, a host over SSH, or an agent over the broker.
//!
//! Without an agent the command is performed by a task of this process. What the performer says goes to the engine by the door
//! of the devices' messages. A task that is lost, with the process or without it, is no harm: the driver sends again what
//! nobody answers, and every command on these routes may be repeated.
//!
//! What is changed on a host over SSH is changed by one command at a time, as an agent does it: a newer one waits for the older
//! one, which would go on behind it if it were only given up (G7).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use driver::SendError;
use engine::Input;
use model::{Ack, Action, Check, Command, CommandId, Fence, Millis, ServiceVerb, TargetId};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::courier::Courier;
use super::performer::Performer;
use super::worker::Message;

/// Acks of one command that wait for the engine.
const SAID: usize = 8;
/// What a command takes besides what its action says: connecting, looking, and what is cut off being seen gone.
const ROUND: Duration = Duration::from_secs(90);

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
    target: TargetId,
    /// Changes of one of these come one after the other.
    subject: TargetId,
    /// On the own site.
    here: bool,
    fence: Fence,
    /// A newer command waits for it, or ends it. The end of a boot cannot be superseded.
    may_be_superseded: bool,
    /// It asks a child to stop; cutting that child off does not wait for it.
    asks_to_stop: bool,
    /// By then it is over, or hangs.
    until: Instant,
    /// What was said last; said again when the driver asks again.
    last: Arc<Mutex<Option<Ack>>>,
    task: AbortHandle,
    /// Closed when it is over.
    over: watch::Receiver<()>,
}

/// An older command that a newer one has to wait for.
struct Older {
    until: Instant,
    task: AbortHandle,
    over: watch::Receiver<()>,
}

impl Older {
    /// Until it is over or `latest` has come. One that hangs past its own limit is given up; what it left on the far end has been
    /// killed by then.
    async fn wait(mut self, latest: Instant) {
        let over = timeout_at(self.until.min(latest), async { while self.over.changed().await.is_ok() {} }).await;
        if over.is_err() && self.until <= latest {
            self.task.abort();
        }
    }
}

/// How long an action may take by its own words.
fn limit(action: &Action) -> Millis {
    match action {
        Action::Drain { grace, .. } | Action::StopChild { grace, .. } => *grace,
        Action::Undrain { limit, .. } | Action::StartChild { limit, .. } | Action::Run { limit, .. } => *limit,
        Action::Check { checks } | Action::Probe { checks } => Millis(checks.iter().map(|check| check.limit.0).sum()),
        Action::Observe { .. } | Action::Reboot { .. } | Action::Shutdown { .. } => Millis(0),
        Action::Service { verb, .. } => {
            let answers = |checks: &[Check]| checks.iter().map(|check| check.limit.0).sum::<u64>();
            Millis(match verb {
                ServiceVerb::Inspect { checks } => answers(checks),
                ServiceVerb::Watch { checks, hold, .. } => hold.0.saturating_add(answers(checks).saturating_mul(2)),
                ServiceVerb::BackUp { .. } => 0,
                ServiceVerb::Deploy { limit, .. } | ServiceVerb::Migrate { limit, .. } | ServiceVerb::Revert { limit, .. } => {
                    limit.0
                }
                // Reading anew, a reload that fails, a restart, and seeing it up.
                ServiceVerb::Restart { grace, .. } | ServiceVerb::Stop { grace } | ServiceVerb::Restore { grace, .. } => {
                    grace.0.saturating_mul(4)
                }
            })
        }
    }
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
        let kind = command.action.kind();
        let subject = command.subject;
        let left = command.expires_at.since(shared.engine_time());
        let mut older = Vec::new();
        if kind.is_disruptive() {
            let cuts = matches!(command.action, Action::StopChild { force: true, .. });
            busy.retain(|_, other| {
                // A late drain must not undo an undrain (design, section 5).
                let is_older = other.subject == subject && other.here == here && other.fence < command.fence;
                if !is_older || !other.may_be_superseded {
                    return true;
                }
                let begun = other.last.lock().unwrap_or_else(PoisonError::into_inner).is_some();
                // The programs of the own site end with their task; on a host nothing was begun yet.
                if here || !begun {
                    other.task.abort();
                    return false;
                }
                if !(cuts && other.asks_to_stop) {
                    older.push(Older { until: other.until, task: other.task.clone(), over: other.over.clone() });
                }
                true
            });
        }
        let last = Arc::<Mutex<Option<Ack>>>::default();
        let said_last = Arc::clone(&last);
        let now = Instant::now();
        let begin_by = now + left.duration();
        let waits = older.iter().map(|older| older.until).max().unwrap_or(now).min(begin_by);
        let until = waits.max(begin_by) + limit(&command.action).duration() + ROUND;
        let asks_to_stop = matches!(command.action, Action::StopChild { force: false, .. });
        let (reach, command) = (Arc::clone(self), command.clone());
        let (id, target, fence) = (command.id, command.target, command.fence);
        let (running, over) = watch::channel(());
        drop(shared);
        let task = tokio::spawn(async move {
            // Removed however the task ends.
            let ended = Ended { reach: &reach, id, _running: running };
            for older in older {
                older.wait(begin_by).await;
            }
            // A performer begins nothing that is too old, and says so: a new attempt follows. Only of the end of a boot it must
            // still be asked what became of it.
            if let Some(left) = reach.left(&command) {
                let (say, said) = mpsc::channel(SAID);
                let performed = async {
                    match &host {
                        Some(host) => reach.performer.perform(host, &command, left, say).await,
                        None => reach.performer.perform_here(&command, left, say).await,
                    }
                };
                tokio::join!(performed, reach.tell(command.target, said, &said_last));
            }
            drop(ended);
        });
        let may_be_superseded = kind.is_disruptive() && !kind.ends_boot();
        let busy_with =
            Busy { target, subject, here, fence, may_be_superseded, asks_to_stop, until, last, task: task.abort_handle(), over };
        busy.insert(id, busy_with);
        Ok(())
    }

    /// How long the command may still be begun, in the engine's time. `None`: the controller is ending.
    fn left(&self, command: &Command) -> Option<Millis> {
        let shared = self.shared.get().and_then(Weak::upgrade)?;
        Some(command.expires_at.since(shared.engine_time()))
    }

    /// Gives what a performer says to the engine, until it has nothing more to say.
    async fn tell(&self, target: TargetId, mut said: mpsc::Receiver<Ack>, last: &Mutex<Option<Ack>>) {
        while let Some(mut ack) = said.recv().await {
            let Some(shared) = self.shared.get().and_then(Weak::upgrade) else { return };
            if ack.report.is_some() {
                shared.answered(target);
            }
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
            let ends = busy.subject == host || busy.target == host;
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
    /// Dropped after the command has gone from the list.
    _running: watch::Sender<()>,
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

#[cfg(test)]
mod tests;
