//! The tools of this host: recipes begun in the background, each answered once.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use model::{ChildKind, Command, TargetId};
use recipe::{HostKind, HostReading};
use tokio::sync::{Semaphore, mpsc};
use tracing::warn;

use crate::identity;
use crate::machine::{Input, Reading};
use crate::tool;

/// Readings at the same time; more wait their turn.
const READINGS: usize = 4;

/// What runs recipes on this host.
#[derive(Clone)]
pub struct Host {
    kind: HostKind,
    id: TargetId,
    engines: Arc<Mutex<BTreeSet<ChildKind>>>,
    /// Where engines that were seen are noted; `None` when the configuration names them.
    note: Option<PathBuf>,
    readings: Arc<Semaphore>,
}

impl Host {
    /// `configured` are the child engines that the configuration names; otherwise those ever seen count, kept in `state`.
    pub fn new(kind: HostKind, id: TargetId, configured: Option<BTreeSet<ChildKind>>, state: PathBuf) -> Self {
        let note = configured.is_none().then_some(state.clone());
        let engines = Arc::new(Mutex::new(configured.unwrap_or_else(|| identity::engines(&state))));
        Self { kind, id, engines, note, readings: Arc::new(Semaphore::new(READINGS)) }
    }

    /// Begins the recipe of a command.
    pub fn perform(&self, command: &Command, answers: mpsc::UnboundedSender<Input>) {
        let script = recipe::perform(&self.kind, self.id, &command.action);
        let command = command.id;
        tokio::spawn(async move {
            let verdict = tool::perform(script).await;
            // Nobody to tell: the agent is stopping, and the claim stays open.
            drop(answers.send(Input::Performed { command, verdict }));
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
        let expected = self.engines.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = tool::perform(recipe::read_host(&self.kind, self.id, &expected)).await;
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
