//! The engine in a process of its own, for a command line without a server: the same control, engine, driver and store, with
//! neither broker nor API. Whoever starts it is its only user.
//!
//! One process at a time uses a state directory. A process that is killed is no special case: the next one restores from the
//! journals and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use model::{Millis, TargetId};
use protocol::native::{ControllerKey, KeyError};

use crate::control::{
    self, Adopt, Clock, Control, ControlConfig, ControlError, ControlTask, Licensing, Performer, Principal, ReachConfig, Watchful,
};
use crate::store::{Database, Holder, OpenError, OpenOptions};

const DATABASE: &str = "reveille.db";

/// How to run it.
#[derive(Clone)]
pub struct LocalOptions {
    /// Where the journals stand; made with mode 0700 if it is not there.
    pub state_dir: PathBuf,
    /// The engine's pace and limits, and what is configured for rollouts. Its settling counts only after an interrupted run.
    pub engine: engine::Config,
    /// Who reaches hosts, and what is done on this one.
    pub performer: Arc<dyn Performer>,
    /// First pause before an unanswered command is handed over again.
    pub resend: Millis,
    /// Who this is, for the journals.
    pub user: String,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process uses the state directory.
    #[error("another reveille{holder} uses {}: wait for it, or give another --state-dir; two must never decide at once", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// Who.
        holder: Holder,
    },
    /// The state directory cannot be made.
    #[error("cannot make the state directory {}: {source}; give another with --state-dir", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database.
    #[error(transparent)]
    Database(OpenError),
    /// The journals.
    #[error(transparent)]
    Start(#[from] driver::StartError),
    /// A read of the store, or a key.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// No key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The engine's task failed: a bug.
    #[error("the engine's task failed; run it again, it goes on where it was")]
    Failed,
}

/// A running engine. What it is asked goes through [`Local::control`], in the name of [`Local::who`].
pub struct Local {
    control: Control,
    task: ControlTask,
    database: Database,
    who: Principal,
}

impl Local {
    /// Opens or makes the store, and goes on with whatever was interrupted.
    ///
    /// # Errors
    /// [`LocalError`]; in particular while another process is at it.
    pub async fn open(options: LocalOptions) -> Result<Self, LocalError> {
        let LocalOptions { state_dir, mut engine, performer, resend, user } = options;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&state_dir);
        made.map_err(|source| LocalError::Directory { path: state_dir.clone(), source })?;
        let database = Database::open(OpenOptions::new(state_dir.join(DATABASE), Clock::new().now())).await;
        let database = database.map_err(|error| match error {
            OpenError::InUse { path, holder } => LocalError::InUse { path, holder },
            other => LocalError::Database(other),
        })?;
        // Settling gives hosts time to be heard before deadlines are judged: without a deadline there is nothing to wait for.
        if !database.has_open().await.map_err(driver::StartError::Store)? {
            engine.settling = Millis(0);
        }
        let reach = ReachConfig { performer, survey: engine.heartbeat, watchful: Watchful::Only(BTreeSet::new()) };
        let config = ControlConfig {
            engine,
            resend,
            // Nobody is told anything that is signed with it.
            key: Arc::new(ControllerKey::from_seed(&control::random()?)?),
            licensing: Licensing::default(),
            one_time_password_file: None,
            reach: Some(reach),
        };
        let (control, task) = Control::start(config, database.clone()).await?;
        Ok(Self { control, task, database, who: Principal::local(user) })
    }

    /// The handle: everything that the API of a server can do.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// In whose name.
    pub fn who(&self) -> &Principal {
        &self.who
    }

    /// Takes these hosts in, and gives their ids in the same order. Those that are known as they are stay so; others stay too.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn adopt(&self, hosts: &[Adopt]) -> Result<Vec<TargetId>, ControlError> {
        self.control.adopt(&self.who, hosts).await
    }

    /// Asks these hosts at once, and from now on again and again; returns when each has answered or could not, with the reasons
    /// of those that could not.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn survey(&self, hosts: &[TargetId]) -> Result<BTreeMap<TargetId, String>, ControlError> {
        let unread = self.control.survey(hosts).await?;
        self.control.watch_over(Watchful::Only(hosts.iter().copied().collect()));
        Ok(unread)
    }

    /// Returns when the engine's task ends by itself, which it does only by a bug.
    pub async fn ended(&mut self) {
        self.task.ended().await;
    }

    /// Gives up on what is under way (the next process goes on with it) and lets go of the store.
    ///
    /// # Errors
    /// [`LocalError::Failed`].
    pub async fn close(mut self) -> Result<(), LocalError> {
        drop(self.control);
        let ended = self.task.stop().await;
        self.task.finish().await;
        self.database.close().await;
        ended.map_err(|_| LocalError::Failed)
    }
}
