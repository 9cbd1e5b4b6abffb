//! The tools of this host: recipes begun in the background, each answered once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{Action, ChildKind, Command, CommandId, Readable, TargetId};
use recipe::{Before, HostKind, HostReading};
use tokio::sync::{Semaphore, mpsc};
use tracing::warn;

use crate::identity;
use crate::machine::{Input, Reading};
use crate::tool;

/// Readings at the same time; more wait their turn.
const READINGS: usize = 4;

/// What the host's package tool says of a needed reboot is asked for again only after so long: it reads its whole database.
const PACKAGES_AGAIN: Duration = Duration::from_secs(600);

/// What the package tool said, and when.
type Packages = Option<(Instant, Readable<Option<String>>)>;

/// What runs recipes on this host.
#[derive(Clone)]
pub struct Host {
    kind: HostKind,
    id: TargetId,
    engines: Arc<Mutex<BTreeSet<ChildKind>>>,
    /// Where engines that were seen are noted; `None` when the configuration names them.
    note: Option<PathBuf>,
    readings: Arc<Semaphore>,
    /// The folder of named hooks.
    hooks: Arc<str>,
    /// The folder of named commands.
    commands: Arc<str>,
    /// As whom free commands run.
    run_as: Option<Arc<str>>,
    packages: Arc<Mutex<Packages>>,
}

impl Host {
    /// `configured` are the child engines that the configuration names; otherwise those ever seen count, kept in `state`.
    /// `hooks` is the folder of named hooks.
    pub fn new(
        kind: HostKind,
        id: TargetId,
        configured: Option<BTreeSet<ChildKind>>,
        state: PathBuf,
        hooks: &std::path::Path,
    ) -> Self {
        let note = configured.is_none().then_some(state.clone());
        let engines = Arc::new(Mutex::new(configured.unwrap_or_else(|| identity::engines(&state))));
        let hooks = hooks.to_string_lossy().into();
        let (commands, run_as) = (recipe::COMMANDS_DIR.into(), None);
        let readings = Arc::new(Semaphore::new(READINGS));
        Self { kind, id, engines, note, readings, hooks, commands, run_as, packages: Arc::default() }
    }

    /// With named commands in another folder, and free ones run as this user.
    #[must_use]
    pub fn with_commands(self, commands: &std::path::Path, run_as: Option<&str>) -> Self {
        Self { commands: commands.to_string_lossy().into(), run_as: run_as.map(Into::into), ..self }
    }

    /// Begins the recipe of a command.
    pub fn perform(&self, command: &Command, answers: mpsc::UnboundedSender<Input>) {
        if let Action::Run { run, limit, .. } = &command.action {
            let program = recipe::command(&self.commands, self.run_as.as_deref(), run, *limit);
            let command = command.id;
            tokio::spawn(async move {
                let verdict = match tool::perform(program).await {
                    Ok(invocation) => tool::run_kept(&invocation).await,
                    Err(refused) => refused,
                };
                drop(answers.send(Input::Performed { command, verdict }));
            });
            return;
        }
        let script = recipe::perform(&self.kind, self.id, &self.hooks, &command.action);
        let command = command.id;
        tokio::spawn(async move {
            let verdict = tool::perform(script).await;
            // Nobody to tell: the agent is stopping, and the claim stays open.
            drop(answers.send(Input::Performed { command, verdict }));
        });
    }

    /// Begins the recipe of an action that only looks.
    pub fn look(&self, command: CommandId, action: Action, answers: mpsc::UnboundedSender<Input>) {
        let host = self.clone();
        tokio::spawn(async move {
            // As for readings; but whoever watches a service for a while must not keep others from looking.
            let watches = matches!(&action, Action::Service { verb: model::ServiceVerb::Watch { .. }, .. });
            let _turn = if watches { None } else { Some(host.readings.acquire().await) };
            let verdict = tool::perform(recipe::perform(&host.kind, host.id, &host.hooks, &action)).await;
            drop(answers.send(Input::Looked { command, verdict }));
        });
    }

    /// Begins a reading.
    pub fn read(&self, reading: Reading, answers: mpsc::UnboundedSender<Input>) {
        let host = self.clone();
        tokio::spawn(async move {
            let read = Box::new(host.reading().await);
            drop(answers.send(Input::Read { reading, host: read }));
        });
    }

    /// Reads the host.
    pub async fn reading(&self) -> HostReading {
        // The semaphore is never closed; without a permit there would only be one reading more at once.
        let _turn = self.readings.acquire().await;
        let engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let packages = self.packages.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let needs_restarting = packages.filter(|(at, _)| at.elapsed() < PACKAGES_AGAIN).map(|(_, said)| said);
        let read = tool::perform(recipe::read_host(&self.kind, self.id, &Before { engines, needs_restarting })).await;
        if let Some(said) = &read.needs_restarting {
            *self.packages.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), said.clone()));
        }
        self.remember(&read.engines);
        read
    }

    fn remember(&self, found: &BTreeSet<ChildKind>) {
        let Some(state) = &self.note else { return };
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if !found.is_subset(&engines) {
            engines.extend(found);
            if let Err(error) = identity::keep_engines(state, &engines) {
                warn!(%error, "the child engines of this host cannot be noted");
            }
        }
    }
}
