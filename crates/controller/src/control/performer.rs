//! Those who perform commands where no agent runs: on hosts reached over SSH, and where the engine itself runs.

use model::{Ack, Command, Millis, Report, TargetId};
use tokio::sync::mpsc;

use crate::transport::BoxFuture;

/// How to reach a host without an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Its id.
    pub id: TargetId,
    /// Its name, for messages.
    pub name: String,
    /// `USER@ADDR:PORT`, or what the user's `ssh_config` makes of it.
    pub address: String,
}

/// Performs without an agent. The sequence of its reports is set by control; their instance says which machine it was on which
/// boot, so that one machine under two names is seen.
pub trait Performer: Send + Sync {
    /// Performs a command to its end on a host over SSH. It is begun within `left`, or answered as expired: `expires_at` is in
    /// the engine's time, which only the engine tells. Every ack goes into `say` as soon as it is true; the last one is final,
    /// unless the far end could not be asked what became of the command: then the engine sends it again. Dropping the future
    /// gives up on it.
    fn perform<'a>(&'a self, host: &'a Reached, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()>;

    /// The same for a command whose target is [`TargetId::CONTROLLER`]: performed here.
    fn perform_here<'a>(&'a self, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()>;

    /// Reads a host; else why not, in words.
    fn survey<'a>(&'a self, host: &'a Reached) -> BoxFuture<'a, Result<Report, String>>;

    /// A host was removed, or is reached otherwise from now on: nothing that is kept of it is used again.
    fn forget(&self, host: TargetId) {
        let _ = host;
    }
}
