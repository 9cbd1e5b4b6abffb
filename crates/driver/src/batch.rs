//! What one turn writes, in one transaction.

use engine::{Fact, FleetEntry, JournalId, OpenJournal, Record, ServiceEvent, TrackView, View};
use model::{OrchestrationId, TargetId, Timestamp};

/// One transaction: every journal that the turn touches, the rows that the API reads, and the audit.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The lease under which it is written; the store refuses a stale one.
    pub lease: u64,
    /// Each journal with the position that the append follows.
    pub appends: Vec<Append>,
    /// Present state of every orchestration that the turn touched.
    pub views: Vec<View>,
    /// Present state of every track that the turn touched, and no other: a rollout of ten thousand does not write ten thousand
    /// rows each turn.
    pub tracks: Vec<(OrchestrationId, TrackView)>,
    /// One row per fact.
    pub audit: Vec<AuditRow>,
    /// What the facts tell of services, in order.
    pub events: Vec<ServiceEvent>,
}

/// Records for one journal.
#[derive(Clone, Debug)]
pub struct Append {
    /// Which journal.
    pub journal: JournalId,
    /// How many records it holds before; anything else is a conflict.
    pub follows: u64,
    /// All of this journal.
    pub facts: Vec<Fact>,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// What kind of thing, in snake case: `step_started`, `login_failed`.
    pub action: String,
    /// On which host or child, where there is one.
    pub target: Option<TargetId>,
    /// In which orchestration, where there is one.
    pub orchestration: Option<OrchestrationId>,
    /// Done (`true`) or refused or failed.
    pub success: bool,
    /// In words.
    pub detail: String,
}

/// What a store holds at a start.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Which life of the database.
    pub epoch: u64,
    /// The fleet journal.
    pub fleet: Vec<Record<FleetEntry>>,
    /// Orchestrations that have not ended: their journals, or why they cannot be read.
    pub open: Vec<OpenJournal>,
}
