//! The engine in a process of its own, for a command line without a server: the same control, engine, driver and store, with
//! neither broker nor API. Whoever starts it is its only user.
//!
//! One process at a time uses a state directory. A process that is killed is no special case: the next one restores from the
//! journals and goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::HostView;
use model::{Millis, OrchestrationId, TargetId};
use protocol::native::{ControllerKey, KeyError};
use tokio::net::UnixListener;
use tokio::sync::oneshot;

use crate::api::Inside;
use crate::control::{
    self, Adopt, Clock, Control, ControlConfig, ControlError, ControlTask, Licensing, OrchestrationFilter, Performer, Principal,
    ReachConfig, Watchful,
};
use crate::notify::{self, FileSettings, FileSink, Notifier, Sink};
use crate::store::{Database, Holder, OpenError, OpenOptions};

const DATABASE: &str = "reveille.db";

/// More orchestrations than this are not looked through.
const LISTED: u32 = 500;

/// Events that were not given on yet have so long at the end.
const NOTIFY_LIMIT: std::time::Duration = std::time::Duration::from_secs(3);

/// Where another process can ask the engine of this one, in the state directory.
const SOCKET: &str = "reveille.sock";

/// How to run it.
#[derive(Clone)]
pub struct LocalOptions {
    /// The engine's pace and limits, and what is configured for rollouts. Its settling counts only after an interrupted run.
    pub engine: engine::Config,
    /// Who reaches hosts, and what is done on this one.
    pub performer: Arc<dyn Performer>,
    /// First pause before an unanswered command is handed over again.
    pub resend: Millis,
    /// Who this is, for the journals.
    pub user: String,
    /// The file to which events of services are added, if any.
    pub events: Option<PathBuf>,
}

/// Why it does not run.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Another process uses the state directory.
    #[error("another reveille{holder} uses {}: two must never decide at once", path.display())]
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

/// A state directory that nobody else uses. Nothing goes on yet: which inventory is to be obeyed may depend on what was interrupted.
pub struct State {
    database: Database,
    dir: PathBuf,
}

impl State {
    /// Opens it; made with mode 0700 if it is not there.
    ///
    /// # Errors
    /// [`LocalError::InUse`] while another process is at it; [`LocalError::Directory`]; [`LocalError::Database`].
    pub async fn open(dir: PathBuf) -> Result<Self, LocalError> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir);
        made.map_err(|source| LocalError::Directory { path: dir.clone(), source })?;
        let database = Database::open(OpenOptions::new(dir.join(DATABASE), Clock::new().now())).await;
        let database = database.map_err(|error| match error {
            OpenError::InUse { path, holder } => LocalError::InUse { path, holder },
            other => LocalError::Database(other),
        })?;
        Ok(Self { database, dir })
    }

    /// The orchestrations that are not over, the newest first.
    ///
    /// # Errors
    /// [`LocalError::Start`] when they cannot be read.
    pub async fn open_orchestrations(&self) -> Result<Vec<OrchestrationId>, LocalError> {
        let filter = OrchestrationFilter { active: Some(true), limit: LISTED, ..OrchestrationFilter::default() };
        let page = self.database.orchestrations(&filter, None).await.map_err(driver::StartError::Store)?;
        Ok(page.items.into_iter().map(|view| view.id).collect())
    }

    /// Runs the engine on it.
    ///
    /// # Errors
    /// [`LocalError::Start`], [`LocalError::Control`], [`LocalError::Key`].
    pub async fn start(self, options: LocalOptions) -> Result<Local, LocalError> {
        let LocalOptions { mut engine, performer, resend, user, events } = options;
        let database = self.database;
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
        let sinks: Vec<Box<dyn Sink>> =
            events.into_iter().map(|path| Box::new(FileSink::new(FileSettings::new(path))) as _).collect();
        let names: Vec<String> = sinks.iter().map(|sink| sink.name()).collect();
        notify::prepare(&database, &names).await.map_err(driver::StartError::Store)?;
        let (control, task) = Control::start(config, database.clone()).await?;
        let notifier = Notifier::start(&database, sinks);
        Ok(Local { control, task, notifier, database, who: Principal::local(user), socket: self.dir.join(SOCKET), served: None })
    }

    /// Lets go of it.
    pub async fn close(self) {
        self.database.close().await;
    }

    /// Where the process that uses this directory can be asked, if it listens.
    pub fn socket(dir: &Path) -> PathBuf {
        dir.join(SOCKET)
    }
}

/// A running engine. What it is asked goes through [`Local::control`], in the name of [`Local::who`].
pub struct Local {
    control: Control,
    task: ControlTask,
    notifier: Notifier,
    database: Database,
    who: Principal,
    socket: PathBuf,
    /// Ends the listening.
    served: Option<oneshot::Sender<()>>,
}

impl Local {
    /// The handle: everything that the API of a server can do.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// In whose name.
    pub fn who(&self) -> &Principal {
        &self.who
    }

    /// Lets other processes of this user ask this engine too, until it is closed.
    ///
    /// # Errors
    /// The socket cannot be made; everything else works without it.
    pub fn listen(&mut self, inside: Inside) -> io::Result<()> {
        // Whoever has the lock of the state directory is alone: an old socket is nobody's.
        match std::fs::remove_file(&self.socket) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&self.socket)?;
        std::fs::set_permissions(&self.socket, std::fs::Permissions::from_mode(0o600))?;
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(inside.serve(listener, async move { drop(stopped.await) }));
        self.served = Some(stop);
        Ok(())
    }

    /// Makes these the hosts that count, and gives their ids in the same order; those that are known as they are stay so. Others
    /// count nowhere until they are listed again, but for those on which something is open still: they are named.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn adopt(&self, hosts: &[Adopt]) -> Result<(Vec<TargetId>, Vec<HostView>), ControlError> {
        let listed = self.control.adopt(&self.who, hosts).await?;
        let ids: BTreeSet<TargetId> = listed.iter().copied().collect();
        let mut kept = Vec::new();
        for host in self.control.select(&self.who, None).await?.into_iter().filter(|host| !ids.contains(&host.id)) {
            if !self.control.unlist(&self.who, host.id).await? {
                kept.push(host);
            }
        }
        Ok((listed, kept))
    }

    /// Lets nothing new start in what an earlier process left in the middle, but for this one: only a person goes on with it. What
    /// had begun is finished.
    ///
    /// # Errors
    /// [`ControlError`].
    pub async fn interrupt(&self, but: Option<OrchestrationId>) -> Result<(), ControlError> {
        let filter = OrchestrationFilter { active: Some(true), limit: LISTED, ..OrchestrationFilter::default() };
        for view in self.control.orchestrations(&self.who, filter).await?.items {
            // One that waits for a person's word waits already.
            if Some(view.id) == but || view.paused.is_some() || view.waits_for_approval.is_some() {
                continue;
            }
            match self.control.pause(&self.who, view.id, "interrupted: the process that ran it has ended").await {
                // Nothing new would start in it.
                Ok(()) | Err(ControlError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hosts that an orchestration has not finished.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn unfinished(&self, id: OrchestrationId) -> Result<Vec<TargetId>, ControlError> {
        let hosts = self.database.track_hosts(id).await.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let done = |outcome: &Option<String>| matches!(outcome.as_deref(), Some("completed" | "not_needed"));
        Ok(hosts.into_iter().filter(|(_, outcome)| !done(outcome)).map(|(host, _)| host).collect())
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
        if let Some(stop) = self.served.take() {
            drop(stop);
            // The lock is still held: nobody else listens there yet.
            drop(std::fs::remove_file(&self.socket));
        }
        drop(self.control);
        let ended = self.task.stop().await;
        self.notifier.finish(NOTIFY_LIMIT).await;
        self.task.finish().await;
        self.database.close().await;
        ended.map_err(|_| LocalError::Failed)
    }
}
