//! The one place through which the API and the broker reach the engine.
//!
//! A single task owns the driver: it drains what waits, decides it together, and answers only after it is durable (design,
//! section 5). [`Control`] is a handle on it. Control itself sends no command: only the driver appends and sends.

mod access;
mod accounts;
mod clock;
mod courier;
mod decide;
mod devices;
mod directory;
mod dispatch;
mod enrol;
mod error;
mod hosts;
mod license;
mod look;
mod performer;
mod records;
mod refusals;
mod rollout;
mod run;
mod secret;
mod services;
mod survey;
mod told;
mod worker;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use driver::{StartError, StoreError};
use model::{Millis, TargetId, Timestamp};
use protocol::native::ControllerKey;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle};

pub use access::{BadScope, Permission, Principal, Role, Scope, UnknownRole};
pub use accounts::{ADMINISTRATOR, ensure_administrator};
pub(crate) use clock::Clock;
pub use courier::Publisher;
pub use error::ControlError;
pub use hosts::{Adopt, CONFIGURATION};
pub use license::{License, Licensing};
pub use performer::{Performer, Reached};
pub use records::{
    EnrolmentToken, Followed, JournalLine, Lock, LockKind, LoggedIn, Module, NewEnrolment, NewRollout, NewToken, NewUser, Ready,
    Started, TokenInfo, TokenMade, UserInfo, Watched,
};
pub use run::{NewHealthCheck, NewRun, What};
pub(crate) use secret::random;
pub use services::NewServiceRestart;
pub use survey::{Unread, Watchful};
pub(crate) use worker::own_boot;

use crate::store::Database;
pub use crate::store::{AuditFilter, AuditLine, EventFilter, OrchestrationFilter, Page, StoredEvent, TrackFilter, TrackPage};
use accounts::Throttle;
use courier::Courier;
use directory::Directory;
use dispatch::{Dispatch, Reach};
use refusals::Refusals;
use secret::Passwords;
use survey::Surveyor;
use worker::{Message, Worker};

/// Refusals that wait at the end are written in this time.
const FINISH_LIMIT: std::time::Duration = std::time::Duration::from_secs(2);

/// What control is made of.
pub struct ControlConfig {
    /// The engine's pace and limits.
    pub engine: engine::Config,
    /// First pause before an unanswered command is sent again; doubled up to sixteen times it.
    pub resend: Millis,
    /// Signs what is said to devices; they pin its public half.
    pub key: Arc<ControllerKey>,
    /// What is licensed.
    pub licensing: Licensing,
    /// Removed when the administrator replaces the password in it.
    pub one_time_password_file: Option<PathBuf>,
    /// How hosts without an agent are reached; `None`: not at all.
    pub reach: Option<ReachConfig>,
}

/// How hosts without an agent are reached.
#[derive(Clone)]
pub struct ReachConfig {
    /// Who does it.
    pub performer: Arc<dyn Performer>,
    /// Pause between two surveys of one host.
    pub survey: Millis,
    /// Whom to survey at first; see [`Control::watch_over`].
    pub watchful: Watchful,
}

/// Where devices find us; known once broker and API listen.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Of the API: `https://HOST:PORT`.
    pub url: String,
    /// SHA-256 of the CA's certificate, 64 hex digits.
    pub ca_fingerprint: String,
    /// The CA's certificate in PEM.
    pub ca_pem: String,
    /// Host of the broker, as devices must name it.
    pub mqtt_host: String,
    /// Port of the broker.
    pub mqtt_port: u16,
}

/// A handle on the running controller; cheap to clone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    courier: Courier,
    refusals: Refusals,
    surveyor: Option<Surveyor>,
}

struct Shared {
    database: Database,
    clock: Clock,
    /// How far the engine's time is ahead of the clock, in milliseconds; devices must judge expiry by the engine's time.
    ahead: AtomicU64,
    /// `None` before the first start.
    directory: RwLock<Option<Arc<Directory>>>,
    /// Says that the directory has changed.
    known: watch::Sender<()>,
    watchful: watch::Sender<Watchful>,
    unread: Mutex<BTreeMap<TargetId, Unread>>,
    /// Those among them that have answered since, for whoever asks them again and again.
    back: (Mutex<Vec<TargetId>>, tokio::sync::Notify),
    /// Reports of such hosts so far.
    reports: AtomicU64,
    ready: watch::Sender<Ready>,
    stopping: watch::Sender<bool>,
    publisher: courier::Link,
    addresses: OnceLock<Addresses>,
    public_key: protocol::native::PublicKey,
    licensing: Licensing,
    /// What is configured for rollouts.
    engine: engine::Config,
    one_time_password_file: Option<PathBuf>,
    passwords: Passwords,
    throttle: Throttle,
    greetings: devices::Greetings,
    /// Held from the use of an enrolment token until the host is known.
    enrolling: tokio::sync::Mutex<()>,
}

/// The running tasks behind a [`Control`].
pub struct ControlTask {
    worker: JoinHandle<()>,
    surveys: Option<JoinHandle<()>>,
    reach: Option<Arc<Reach>>,
    refusals: JoinHandle<()>,
    shared: Arc<Shared>,
}

impl ControlTask {
    /// Ends the turn that is under way, then the engine's task and all streams. Requests are answered "unavailable" from
    /// here on.
    ///
    /// # Errors
    /// When the task had panicked.
    pub async fn stop(&mut self) -> Result<(), JoinError> {
        self.shared.stopping.send_replace(true);
        let ended = (&mut self.worker).await;
        if let Some(reach) = &self.reach {
            reach.abandon();
        }
        if let Some(surveys) = self.surveys.take()
            && let Err(error) = surveys.await
        {
            tracing::error!("the surveys failed: {error}");
        }
        ended
    }

    /// After [`ControlTask::stop`], when nobody can be refused any more: writes what was refused to the end, and lets go of
    /// the broker.
    pub async fn finish(self) {
        drop(self.shared.publisher.write().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.shared);
        if tokio::time::timeout(FINISH_LIMIT, self.refusals).await.is_err() {
            tracing::warn!("somebody still holds control at the end; its last refusals may not be in the audit log");
        }
    }

    /// Returns when the engine's task ends by itself, which it does only by a panic.
    pub async fn ended(&mut self) {
        if let Err(error) = (&mut self.worker).await {
            tracing::error!("the engine's task failed: {error}");
        }
    }
}

impl Control {
    /// Takes the lead on the database, restores the engine and runs it. Must be called in a runtime.
    ///
    /// # Errors
    /// [`StartError`] when the journals do not hold together or the store cannot be read (G8). A full disk is no error: it
    /// starts when there is room, and is not ready until then.
    pub async fn start(config: ControlConfig, database: Database) -> Result<(Self, ControlTask), StartError> {
        let publisher = courier::Link::default();
        let courier = Courier::start(Arc::clone(&config.key), &publisher);
        let (refusals, refusals_task) = Refusals::start(database.clone());
        let (messages, receiver) = mpsc::channel(worker::QUEUE);
        let shared = Arc::new(Shared::new(&config, database, publisher).await?);
        let pace = config.reach.as_ref().map(|reach| reach.survey);
        let reach = config.reach.map(|reach| Reach::new(reach.performer, messages.downgrade()));
        let surveyor = reach.as_ref().map(|reach| {
            reach.attach(&shared);
            Surveyor { shared: Arc::clone(&shared), reach: Arc::clone(reach), messages: messages.downgrade() }
        });
        let worker = Worker {
            config: config.engine,
            resend: config.resend,
            shared: Arc::clone(&shared),
            transport: Dispatch { courier: courier.clone(), reach: reach.clone() },
            messages: receiver,
            stop: shared.stopping.subscribe(),
        };
        let first = match worker.start().await {
            Ok(driver) => Ok(driver),
            Err(error) if worker::may_pass(&error) => Err(error.to_string()),
            Err(error) => return Err(error),
        };
        let surveys =
            surveyor.clone().zip(pace).map(|(surveyor, pace)| tokio::spawn(surveyor.run(pace, shared.stopping.subscribe())));
        let worker = tokio::spawn(worker.run(first));
        let task = ControlTask { worker, surveys, reach, refusals: refusals_task, shared: Arc::clone(&shared) };
        Ok((Self { shared, messages, courier, refusals, surveyor }, task))
    }

    /// Names the broker and the addresses, once, when both listen.
    pub fn attach(&self, publisher: Arc<dyn Publisher>, addresses: Addresses) {
        if self.shared.addresses.set(addresses).is_err() {
            tracing::error!("control was attached twice; the second broker is not used");
            return;
        }
        *self.shared.publisher.write().unwrap_or_else(PoisonError::into_inner) = Some(publisher);
    }

    /// Writes down that an attempt was refused (G10). Repeats of one actor and action within a minute are counted and
    /// written as one line. Never waits.
    pub fn refused(&self, actor: &str, action: &str, target: Option<TargetId>, why: &str) {
        self.refusals.note(self.now(), actor, action, target, why);
    }

    /// Whether the license grants the module (ruling 3); always, unless licensing is required.
    ///
    /// # Errors
    /// [`ControlError::NotEntitled`].
    pub fn entitled(&self, module: Module) -> Result<(), ControlError> {
        self.shared.licensing.entitled(module, self.now())
    }

    /// Whether the engine runs and its store takes entries, else why not.
    pub fn ready(&self) -> Ready {
        self.shared.ready.borrow().clone()
    }

    /// Returns when it is ready, at once if it is.
    pub async fn until_ready(&self) {
        // Only control itself could be gone before.
        drop(self.shared.ready.subscribe().wait_for(|ready| ready.ready).await);
    }

    /// The wall clock, as the engine sees it.
    pub fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn directory(&self) -> Result<Arc<Directory>, ControlError> {
        let directory = self.shared.directory.read().unwrap_or_else(PoisonError::into_inner).clone();
        directory.ok_or_else(|| ControlError::Unavailable("the controller is starting: try again in a few seconds".to_owned()))
    }
}

impl Shared {
    async fn new(config: &ControlConfig, database: Database, publisher: courier::Link) -> Result<Self, StoreError> {
        let failed = |error: ControlError| StoreError::Other(error.to_string());
        let clock = Clock::new();
        let now = clock.now();
        Ok(Self {
            database,
            clock,
            ahead: AtomicU64::new(0),
            directory: RwLock::new(None),
            known: watch::Sender::new(()),
            watchful: watch::Sender::new(config.reach.as_ref().map_or(Watchful::All, |reach| reach.watchful.clone())),
            unread: Mutex::default(),
            back: <(Mutex<_>, tokio::sync::Notify)>::default(),
            reports: AtomicU64::new(0),
            ready: watch::Sender::new(Ready { ready: false, reason: Some("the controller is starting".to_owned()), since: now }),
            stopping: watch::Sender::new(false),
            publisher,
            addresses: OnceLock::new(),
            public_key: config.key.public(),
            licensing: config.licensing.clone(),
            engine: config.engine.clone(),
            one_time_password_file: config.one_time_password_file.clone(),
            passwords: Passwords::new().await.map_err(failed)?,
            throttle: Throttle::default(),
            greetings: devices::Greetings::default(),
            enrolling: tokio::sync::Mutex::default(),
        })
    }

    /// What cannot be looked up does not count.
    async fn is_valid(&self, who: &Principal) -> bool {
        let Some(token) = who.token else { return true };
        let end = self.database.token_end(token).await;
        end.is_ok_and(|end| end.is_some_and(|end| self.clock.now() < end))
    }

    fn forget_one_time_password(&self, user: &str) {
        if let Some(file) = &self.one_time_password_file
            && user == ADMINISTRATOR
        {
            accounts::forget(file);
        }
    }
}

/// What a failing store means for whoever asked.
fn unavailable(error: StoreError) -> ControlError {
    ControlError::Unavailable(error.to_string())
}
