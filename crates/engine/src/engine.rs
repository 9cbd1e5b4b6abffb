//! The engine: state from journals, decisions from state.

use model::{Command, OrchestrationId, Request, TargetId, Timestamp};

use crate::config::Config;
use crate::explain::Blocker;
use crate::input::{Input, Reply};
use crate::journal::{Entry, Fact, FleetEntry, Record};
use crate::view::{HostView, View};

/// What one input led to.
#[must_use = "the facts must be made durable before anything else happens"]
#[derive(Clone, Debug)]
pub struct Turn {
    /// In order; to be appended in one transaction.
    pub facts: Vec<Fact>,
    /// For whoever brought the input.
    pub reply: Reply,
}

/// Why an engine could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The fleet journal does not follow from itself; starting would forget locks and stranded targets (G8).
    #[error("fleet journal, record {position}: {reason}")]
    FleetJournal {
        /// From 0.
        position: usize,
        /// Why.
        reason: String,
    },
}

/// All state and all decisions.
#[derive(Clone, Debug)]
pub struct Engine {
    config: Config,
}

/// The journals of one open orchestration, or why they could not be read.
pub type OpenJournal = (OrchestrationId, Result<Vec<Record<Entry>>, String>);

impl Engine {
    /// The state that the journals tell. `open` holds the orchestrations that have not ended; one that cannot be read is
    /// isolated, its targets stay locked and stranded (G8).
    ///
    /// # Errors
    /// A bad fleet journal refuses start (G8).
    pub fn restore(config: Config, fleet: Vec<Record<FleetEntry>>, open: Vec<OpenJournal>) -> Result<Self, RestoreError> {
        let _ = (fleet, open);
        Ok(Self { config })
    }

    /// Decide. The facts are applied to this state at once: when they cannot be made durable, throw the engine away.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Turn {
        let _ = (input, now, &self.config);
        Turn { facts: Vec::new(), reply: Reply::Noted }
    }

    /// Every command that should be in flight, computed from the state.
    pub fn wanted(&self) -> Vec<Command> {
        Vec::new()
    }

    /// When the engine wants a [`Input::Tick`] at the latest.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }

    /// Why this request would not start now; empty exactly when it would.
    pub fn explain(&self, _request: &Request, _now: Timestamp) -> Vec<Blocker> {
        Vec::new()
    }

    /// What an accepted orchestration waits for; empty when it waits for nothing.
    pub fn explain_waiting(&self, _id: OrchestrationId, _now: Timestamp) -> Vec<Blocker> {
        Vec::new()
    }

    /// One open orchestration, or one that ended in this process's life.
    pub fn view(&self, _id: OrchestrationId) -> Option<View> {
        None
    }

    /// All hosts, by name.
    pub fn hosts(&self, _now: Timestamp) -> Vec<HostView> {
        Vec::new()
    }

    /// The name of a host or child, where it is known.
    pub fn name_of(&self, _id: TargetId) -> Option<String> {
        None
    }

    /// One host.
    pub fn host(&self, _id: TargetId, _now: Timestamp) -> Option<HostView> {
        None
    }
}
