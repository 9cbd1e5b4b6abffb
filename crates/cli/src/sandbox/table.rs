//! The children of a running sandbox host.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::rc::Rc;
use std::time::Duration;

use clap::ValueEnum;
use model::ChildStatus;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::watch;

use super::{ChildConfig, SandboxError, process};

/// How long a child may take until it says that it is ready.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long a kill may take to show.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// One line of the listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChildLine {
    /// Its name.
    pub(crate) name: String,
    /// What it is doing.
    pub(crate) status: ChildStatus,
    /// Started by each boot.
    pub(crate) autostart: bool,
    /// Higher starts first.
    pub(crate) start_priority: i64,
    /// Higher stops first.
    pub(crate) stop_priority: i64,
}

/// A process that was started, until its end is seen.
#[derive(Clone, Debug)]
struct Alive {
    pid: u32,
    status: ChildStatus,
    ended: watch::Receiver<bool>,
}

/// All processes of one supervisor: the children by name, and the agent.
#[derive(Debug)]
pub(super) struct Table {
    logs: PathBuf,
    children: Vec<ChildConfig>,
    alive: RefCell<BTreeMap<String, Alive>>,
}

/// How a wish ended: what is, and whether it was so before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    pub(super) status: ChildStatus,
    pub(super) already: bool,
}

impl Table {
    pub(super) fn new(logs: PathBuf, children: Vec<ChildConfig>) -> Rc<Self> {
        Rc::new(Self { logs, children, alive: RefCell::default() })
    }

    /// The children that a boot starts, in order.
    pub(super) fn autostart(&self) -> Vec<String> {
        let mut first: Vec<&ChildConfig> = self.children.iter().filter(|c| c.autostart).collect();
        first.sort_by_key(|c| std::cmp::Reverse(c.start_priority));
        first.into_iter().map(|c| c.name.clone()).collect()
    }

    pub(super) fn list(&self) -> Vec<ChildLine> {
        let line = |c: &ChildConfig| ChildLine {
            name: c.name.clone(),
            status: self.status(&c.name),
            autostart: c.autostart,
            start_priority: c.start_priority,
            stop_priority: c.stop_priority,
        };
        self.children.iter().map(line).collect()
    }

    fn status(&self, name: &str) -> ChildStatus {
        self.alive.borrow().get(name).map_or(ChildStatus::Stopped, |a| a.status)
    }

    fn config(&self, name: &str) -> Result<&ChildConfig, SandboxError> {
        let found = self.children.iter().find(|c| c.name == name);
        found.ok_or_else(|| SandboxError::Refused(format!("no child {name}")))
    }

    /// Process ids of everything that was started and has not ended.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.alive.borrow().values().map(|a| a.pid).collect()
    }

    /// Watches a process under a name until its end, in the background.
    pub(super) fn watch(
        self: &Rc<Self>,
        name: &str,
        mut child: tokio::process::Child,
        status: ChildStatus,
    ) -> watch::Receiver<bool> {
        let (tell, ended) = watch::channel(false);
        let pid = child.id().unwrap_or_default();
        self.alive.borrow_mut().insert(name.to_owned(), Alive { pid, status, ended: ended.clone() });
        let (table, name) = (self.clone(), name.to_owned());
        tokio::task::spawn_local(async move {
            // Once this returns the process id may be used anew: it leaves the table without a pause between.
            let _ = child.wait().await;
            table.alive.borrow_mut().remove(&name);
            tell.send_replace(true);
        });
        ended
    }

    /// Stops a child: asks it, or kills it; ends when its end is seen, or fails after the grace.
    pub(super) async fn stop(&self, name: &str, grace: Duration, force: bool) -> Result<Reached, SandboxError> {
        self.config(name)?;
        let Some(mut alive) = self.alive.borrow().get(name).cloned() else {
            return Ok(Reached { status: ChildStatus::Stopped, already: true });
        };
        let (signal, limit) = if force { (Signal::KILL, KILL_LIMIT) } else { (Signal::TERM, grace) };
        process::signal_group(alive.pid, signal);
        self.thaw(name);
        match tokio::time::timeout(limit, alive.ended.wait_for(|ended| *ended)).await {
            Ok(_) => Ok(Reached { status: ChildStatus::Stopped, already: false }),
            Err(_) => {
                let after = limit.as_millis();
                Err(SandboxError::Refused(format!("{name} is still {} after {after} ms", self.status(name))))
            }
        }
    }

    fn thaw(&self, name: &str) {
        if let Some(alive) = self.alive.borrow_mut().get_mut(name)
            && alive.status == ChildStatus::Frozen
        {
            process::signal_group(alive.pid, Signal::CONT);
            alive.status = ChildStatus::Running;
        }
    }

    /// Starts a child or thaws it; with `frozen` leaves it frozen.
    pub(super) async fn start(self: &Rc<Self>, name: &str, frozen: bool, boot: &str) -> Result<Reached, SandboxError> {
        let config = self.config(name)?.clone();
        let before = self.status(name);
        match before {
            ChildStatus::Stopped => self.spawn(&config, boot).await?,
            ChildStatus::Creating => {
                return Err(SandboxError::Refused(format!("{name} is on its way up")));
            }
            ChildStatus::Running | ChildStatus::Frozen | ChildStatus::Error => {}
        }
        if frozen {
            if let Some(alive) = self.alive.borrow_mut().get_mut(name) {
                process::signal_group(alive.pid, Signal::STOP);
                alive.status = ChildStatus::Frozen;
            }
        } else {
            self.thaw(name);
        }
        let status = self.status(name);
        Ok(Reached { status, already: status == before })
    }

    async fn spawn(self: &Rc<Self>, config: &ChildConfig, boot: &str) -> Result<(), SandboxError> {
        let log = self.logs.join(format!("{}.log", config.name));
        let errors = process::open_log(&log)?;
        let mut command = process::ourselves("sandbox-child");
        command.args(["--name", &config.name, "--boot", boot]).arg("--log-file").arg(&log);
        command.args(["--parent", &std::process::id().to_string()]);
        if let Some(word) = config.on_term.to_possible_value() {
            command.args(["--on-term", word.get_name()]);
        }
        command.args(["--stop-delay-ms", &config.stop_delay_ms.to_string()]);
        let mut child =
            command.stdout(Stdio::piped()).stderr(errors).spawn().map_err(SandboxError::system("cannot start a child"))?;
        let said = child.stdout.take();
        let mut ended = self.watch(&config.name, child, ChildStatus::Creating);
        // Bound to our life and able to be asked to stop only once it says so.
        let ready = async {
            let mut line = String::new();
            match said {
                Some(out) => BufReader::new(out).read_line(&mut line).await.is_ok() && line.trim() == "ready",
                None => false,
            }
        };
        let ready = tokio::time::timeout(READY_LIMIT, ready).await.unwrap_or(false);
        if let Some(alive) = self.alive.borrow_mut().get_mut(&config.name)
            && ready
        {
            alive.status = ChildStatus::Running;
            return Ok(());
        }
        if let Some(alive) = self.alive.borrow().get(&config.name) {
            process::signal_group(alive.pid, Signal::KILL);
        }
        let _ = tokio::time::timeout(KILL_LIMIT, ended.wait_for(|e| *e)).await;
        Err(SandboxError::Refused(format!("{} did not come up; see {}", config.name, log.display())))
    }

    /// Takes everything down: asks all, kills what is left after the grace, and whatever else is below this process.
    ///
    /// # Errors
    /// Something survived its kill.
    pub(super) async fn end_all(&self, grace: Duration) -> Result<(), SandboxError> {
        let all: Vec<Alive> = self.alive.borrow().values().cloned().collect();
        for alive in &all {
            process::signal_group(alive.pid, Signal::TERM);
            process::signal_group(alive.pid, Signal::CONT);
        }
        let ended = async {
            for alive in &all {
                let _ = alive.ended.clone().wait_for(|e| *e).await;
            }
        };
        let _ = tokio::time::timeout(grace, ended).await;
        let deadline = tokio::time::Instant::now() + KILL_LIMIT;
        loop {
            let alive = process::kill_below();
            if alive.is_empty() && self.alive.borrow().is_empty() {
                process::collect(&[]);
                return Ok(());
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(SandboxError::Survivors(alive));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
