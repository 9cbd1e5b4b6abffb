//! The task that owns the driver: one turn after the other (design, section 5).
//!
//! Whatever fails in a turn throws the driver away and starts it again from the store, with back-off and readiness off;
//! what waits meanwhile is answered "unavailable". The process never ends for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use driver::{Driver, StartError, StoreError};
use engine::{Engine, Input, Reply};
use model::{Millis, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use super::directory::Directory;
use super::dispatch::Dispatch;
use super::{ControlError, Ready, Shared};
use crate::store::SqliteStore;

/// Inputs that are decided and appended together.
const BATCH: usize = 512;
/// Messages that wait for the worker.
pub(super) const QUEUE: usize = 4096;
/// The clock may be set while we sleep: look at it so often.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// A timer that is always due must not burn a core.
const SLEEP_MIN: Duration = Duration::from_millis(10);
/// Whoever lost the lead looks so often whether it is to stop.
const LOST_LOOK: Duration = Duration::from_secs(60);
const LOST: &str = "another controller has taken the lead on this database, and this one does nothing any more: stop one of them, then start the other again";
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The answer to an input.
pub(super) type Answer = oneshot::Sender<Result<Reply, ControlError>>;
/// Looked at on the engine right before the input is decided.
pub(super) type Check = Box<dyn FnOnce(&Engine, Timestamp) -> Result<(), ControlError> + Send>;
/// A look at the engine.
pub(super) type Look = Box<dyn FnOnce(&Engine, Timestamp) + Send>;

#[expect(clippy::large_enum_variant, reason = "inputs are most of what comes")]
pub(super) enum Message {
    /// Decide this.
    Input { input: Input, check: Option<Check>, answer: Option<Answer> },
    /// Let this look.
    Look(Look),
}

pub(super) struct Worker {
    pub(super) config: engine::Config,
    pub(super) resend: Millis,
    pub(super) shared: Arc<Shared>,
    pub(super) transport: Dispatch,
    pub(super) messages: mpsc::Receiver<Message>,
    pub(super) stop: watch::Receiver<bool>,
}

/// A started driver.
pub(super) struct Running {
    driver: Driver<SqliteStore, Dispatch>,
    /// How often the clock had been set before the start read it.
    steps: u64,
}

impl Worker {
    pub(super) async fn start(&self) -> Result<Running, StartError> {
        let store = SqliteStore::new(self.shared.database.clone());
        let steps = self.shared.clock.steps();
        let now = self.shared.clock.now();
        let driver = Driver::start(self.config.clone(), store, self.transport.clone(), self.resend, own_boot(), now).await?;
        self.shared.set_directory(Directory::of(driver.engine(), now));
        self.shared.set_ahead(driver.engine(), now);
        self.shared.set_ready(None);
        Ok(Running { driver, steps })
    }

    /// Until it is told to stop. `first` is the driver as it was started, or why it could not be yet.
    pub(super) async fn run(mut self, first: Result<Running, String>) {
        let mut next = first.map_err(Failed::passes);
        let mut pause = BACK_OFF.0;
        loop {
            let reason: Failed = match next {
                Ok(running) => {
                    let since = self.shared.clock.now();
                    let Some(failed) = self.serve(running).await else { break };
                    if self.shared.clock.now().since(since) > Millis::secs(60) {
                        pause = BACK_OFF.0;
                    }
                    failed
                }
                Err(failed) => failed,
            };
            if reason.lost {
                // Whoever took the lead has it. Two that throw each other out would settle for ever, and both work over SSH.
                tracing::error!("{}; {LOST}", reason.text);
                if let Some(reach) = &self.transport.reach {
                    reach.abandon();
                }
                self.shared.set_ready(Some(LOST.to_owned()));
                while !self.wait(LOST_LOOK, lost).await {}
                break;
            }
            tracing::error!("the engine is started again from its store: {}", reason.text);
            self.shared.set_ready(Some(reason.text));
            if self.wait(pause, down).await {
                break;
            }
            pause = (pause * 2).min(BACK_OFF.1);
            next = self.start().await.map_err(|error| Failed { lost: is_lost(&error), text: error.to_string() });
        }
        self.shared.set_ready(Some("the controller is stopping".to_owned()));
    }

    /// Turns until one fails (gives the reason) or all is to end (`None`).
    async fn serve(&mut self, Running { mut driver, steps }: Running) -> Option<Failed> {
        let mut waiting = Vec::with_capacity(BATCH);
        loop {
            let due = driver.poll_timeout();
            let sleep = due.map_or(SLEEP_MAX, |at| at.since(self.shared.clock.now()).duration().clamp(SLEEP_MIN, SLEEP_MAX));
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return None,
                count = self.messages.recv_many(&mut waiting, BATCH) => {
                    if count == 0 {
                        return None;
                    }
                }
                () = tokio::time::sleep(sleep) => {}
            }
            let now = self.shared.clock.now();
            if self.shared.clock.steps() != steps {
                for message in waiting.drain(..) {
                    refuse(message, down);
                }
                return Some(Failed::passes("the system clock was set; deadlines are judged after settling".to_owned()));
            }
            let mut turn = TurnInputs::default();
            if due.is_some_and(|at| at <= now) {
                turn.push(Input::Tick, None);
            }
            let mut looks = Vec::new();
            let mut failed = None;
            for message in waiting.drain(..) {
                if failed.is_some() {
                    refuse(message, down);
                    continue;
                }
                match message {
                    Message::Look(look) => looks.push(look),
                    Message::Input { input, check: None, answer } => turn.push(input, answer),
                    Message::Input { input, check: Some(check), answer } => {
                        // What was said before it counts in the check.
                        failed = self.turn(&mut driver, &mut turn, now).await.err();
                        match if failed.is_some() { Err(down()) } else { check(driver.engine(), now) } {
                            Ok(()) => turn.push(input, answer),
                            Err(error) => reply(answer, Err(error)),
                        }
                    }
                }
            }
            if failed.is_none() {
                failed = self.turn(&mut driver, &mut turn, now).await.err();
            }
            if failed.is_some() {
                return failed;
            }
            for look in looks {
                look(driver.engine(), now);
            }
        }
    }

    async fn turn(
        &self,
        driver: &mut Driver<SqliteStore, Dispatch>,
        turn: &mut TurnInputs,
        now: Timestamp,
    ) -> Result<(), Failed> {
        let TurnInputs { inputs, answers } = std::mem::take(turn);
        if inputs.is_empty() {
            return Ok(());
        }
        let changes_hosts = inputs.iter().any(|input| {
            matches!(
                input,
                Input::Enrol { .. } | Input::Approve { .. } | Input::Adopt { .. } | Input::Remove { .. } | Input::Unlist { .. }
            )
        });
        match driver.turn(inputs, now).await {
            Ok(replies) => {
                self.shared.set_ahead(driver.engine(), now);
                if changes_hosts {
                    self.shared.set_directory(Directory::of(driver.engine(), now));
                }
                for (answer, said) in answers.into_iter().zip(replies) {
                    reply(answer, Ok(said));
                }
                Ok(())
            }
            Err(error) => {
                for answer in answers {
                    reply(answer, Err(unknown()));
                }
                Err(Failed { lost: matches!(error.0, StoreError::LeaseLost { .. }), text: error.to_string() })
            }
        }
    }

    /// Waits, and answers what comes meanwhile; `true` when all is to end.
    async fn wait(&mut self, pause: Duration, answer: fn() -> ControlError) -> bool {
        let sleep = tokio::time::sleep(pause);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                () = stopped(&mut self.stop) => return true,
                () = &mut sleep => return false,
                message = self.messages.recv() => match message {
                    Some(message) => refuse(message, answer),
                    None => return true,
                },
            }
        }
    }
}

/// Why the driver was thrown away.
struct Failed {
    text: String,
    /// Somebody else leads.
    lost: bool,
}

impl Failed {
    fn passes(text: String) -> Self {
        Self { text, lost: false }
    }
}

#[derive(Default)]
struct TurnInputs {
    inputs: Vec<Input>,
    answers: Vec<Option<Answer>>,
}

impl TurnInputs {
    fn push(&mut self, input: Input, answer: Option<Answer>) {
        self.inputs.push(input);
        self.answers.push(answer);
    }
}

/// The boot of the machine that this runs on, where it can be read: its own host goes last in a rollout.
pub(crate) fn own_boot() -> Option<model::BootIdentity> {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    recipe::boot::of_kernel(&read(recipe::boot::BOOT_ID_PATH)?, &read(recipe::boot::STAT_PATH)?).ok()
}

/// Returns when all is to end.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that everybody who could say so is gone.
    drop(stop.wait_for(|stop| *stop).await);
}

fn reply(answer: Option<Answer>, said: Result<Reply, ControlError>) {
    if let Some(answer) = answer {
        // Whoever asked may have gone.
        drop(answer.send(said));
    }
}

fn refuse(message: Message, error: fn() -> ControlError) {
    match message {
        Message::Input { answer, .. } => reply(answer, Err(error())),
        // Whoever looks sees that it was dropped.
        Message::Look(_) => {}
    }
}

fn unknown() -> ControlError {
    ControlError::Unavailable(
        "it could not be written down; look whether it was taken before you try again in a few seconds".to_owned(),
    )
}

fn lost() -> ControlError {
    ControlError::Unavailable(LOST.to_owned())
}

fn down() -> ControlError {
    ControlError::Unavailable(
        "the controller is starting again from its store; nothing was done: try again in a few seconds".to_owned(),
    )
}

/// Whether the very first start may be tried again, rather than refused with the reason.
pub(super) fn may_pass(error: &StartError) -> bool {
    matches!(of_store(error), Some(StoreError::Full(_)))
}

/// Whether somebody else leads.
fn is_lost(error: &StartError) -> bool {
    matches!(of_store(error), Some(StoreError::LeaseLost { .. }))
}

fn of_store(error: &StartError) -> Option<&StoreError> {
    match error {
        StartError::Store(store) => Some(store),
        StartError::Turn(turn) => Some(&turn.0),
        StartError::Restore(_) => None,
    }
}

impl Shared {
    fn set_directory(&self, directory: Directory) {
        *self.directory.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(directory));
        self.known.send_replace(());
    }

    fn set_ahead(&self, engine: &Engine, now: Timestamp) {
        self.ahead.store(engine.time(now).since(now).0, Ordering::Relaxed);
    }

    /// The time that expiry is written in.
    pub(super) fn engine_time(&self) -> Timestamp {
        self.clock.now() + Millis(self.ahead.load(Ordering::Relaxed))
    }

    fn set_ready(&self, reason: Option<String>) {
        let now = self.clock.now();
        self.ready.send_if_modified(|ready| {
            let changed = ready.ready != reason.is_none();
            let since = if changed { now } else { ready.since };
            *ready = Ready { ready: reason.is_none(), reason, since };
            changed
        });
    }
}

#[cfg(test)]
mod tests {
    use protocol::native::ControllerKey;

    use super::super::courier::{Courier, Link};
    use super::super::license::Licensing;
    use super::super::{Clock, ControlConfig};
    use super::*;
    use crate::store::{Database, OpenOptions};

    /// Deadlines were restored by one clock and would be judged by another.
    #[tokio::test]
    async fn a_clock_that_is_set_while_the_engine_is_restored_makes_it_settle_again() {
        let dir = tempfile::tempdir().unwrap();
        let database = Database::open(OpenOptions::new(dir.path().join("db"), Clock::new().now())).await.unwrap();
        let key = Arc::new(ControllerKey::from_seed(&[1; 32]).unwrap());
        let config = ControlConfig {
            engine: engine::Config::default(),
            resend: Millis::secs(2),
            key: Arc::clone(&key),
            licensing: Licensing::default(),
            one_time_password_file: None,
            reach: None,
        };
        let publisher = Link::default();
        let transport = Dispatch { courier: Courier::start(key, &publisher), reach: None };
        let shared = Arc::new(Shared::new(&config, database, publisher).await.unwrap());
        let (_messages, receiver) = mpsc::channel(1);
        let stop = shared.stopping.subscribe();
        let (config, resend) = (config.engine, config.resend);
        let mut worker = Worker { config, resend, shared: Arc::clone(&shared), transport, messages: receiver, stop };
        let running = worker.start().await.unwrap();
        shared.clock.set_aside();
        let served = tokio::time::timeout(Duration::from_secs(60), worker.serve(running)).await;
        assert!(served.expect("it goes on").is_some_and(|failed| failed.text.contains("clock was set")));
    }
}
