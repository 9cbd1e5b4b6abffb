//! A database in a directory of its own, and what can be put into it.

use std::path::PathBuf;

use controller::store::{Database, OpenOptions, SqliteStore};
use driver::{Append, Batch, Store as _, StoreError};
use engine::{Entry, Fact, FleetEntry, JournalId, Outcome, Phase, Record, TrackPhase, TrackView, View};
use model::{Actor, Labels, Millis, Operation, OrchestrationId, Planner, Proof, Route, TargetId, TimeoutPolicy, Timestamp};
use uuid::Uuid;

pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

pub(crate) fn orchestration(n: u128) -> OrchestrationId {
    OrchestrationId(Uuid::from_u128(n))
}

pub(crate) fn host(n: u128) -> TargetId {
    TargetId(Uuid::from_u128(0x1000 + n))
}

pub(crate) fn fleet_fact(n: u32) -> Fact {
    let entry = FleetEntry::HostEnrolled {
        host: host(u128::from(n)),
        name: format!("host-{n}"),
        machine_id: format!("{n:032x}"),
        public_key: "key".to_owned(),
        labels: Labels::from([("n".to_owned(), n.to_string())]),
    };
    Fact::Fleet(Record { at: NOW, by: Actor::System, entry })
}

pub(crate) fn own_fact(id: OrchestrationId, n: u32) -> Fact {
    let entry = Entry::TrackStarted { track: n };
    Fact::Orchestration(id, Record { at: NOW, by: Actor::User("ann".to_owned()), entry })
}

pub(crate) fn view(id: OrchestrationId, host: TargetId, outcome: Option<Outcome>) -> View {
    View {
        id,
        host,
        host_name: "web-1".to_owned(),
        planner: Planner::Host,
        operation: Operation::OrchestratedReboot,
        by: Actor::User("ann".to_owned()),
        shutdown_timeout: Millis::secs(120),
        on_timeout: TimeoutPolicy::Proceed,
        strict: false,
        forced: None,
        phase: Phase::ShuttingDown,
        outcome,
        error_message: None,
        proof: Proof::BootId,
        initiated_at: NOW,
        shutdown_completed_at: None,
        reboot_issued_at: None,
        agent_reconnected_at: None,
        restart_completed_at: None,
        ended_at: outcome.map(|_| NOW),
        boot_before: None,
        boot_after: None,
        unwinding: None,
        children: Vec::new(),
        steps: Vec::new(),
        rollout: None,
        counts: engine::Counts::default(),
        wave: 0,
        waves: 1,
        paused: None,
        waits_for_approval: None,
        failures: 0,
        budget: 0,
        waits_until: None,
    }
}

pub(crate) fn append(journal: JournalId, follows: u64, facts: Vec<Fact>) -> Append {
    Append { journal, follows, facts }
}

pub(crate) fn batch(lease: u64, appends: Vec<Append>, views: Vec<View>) -> Batch {
    let tracks = views.iter().map(|view| (view.id, track(0, view.host, view.outcome))).collect();
    Batch { lease, appends, views, tracks, audit: Vec::new(), events: Vec::new() }
}

pub(crate) fn track(index: u32, target: TargetId, outcome: Option<Outcome>) -> TrackView {
    TrackView {
        index,
        wave: 0,
        target,
        name: format!("web-{index}"),
        route: Route::Ssh,
        proof: Proof::BootId,
        phase: if outcome.is_some() { TrackPhase::Ended } else { TrackPhase::Waiting },
        outcome,
        reason: None,
        started_at: None,
        ended_at: outcome.map(|_| NOW),
        boot_before: None,
        boot_after: None,
        reboot_issued_at: None,
        reboot_proven_at: None,
        step_count: 0,
        step: None,
        steps: Vec::new(),
        children: Vec::new(),
        ran: None,
        service: None,
    }
}

/// A directory with a database that can be closed and opened again.
pub(crate) struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("reveille.db")
    }

    pub(crate) async fn open(&self) -> Open {
        self.open_with(OpenOptions::new(self.path(), NOW)).await
    }

    pub(crate) async fn open_with(&self, options: OpenOptions) -> Open {
        let database = Database::open(options).await.unwrap();
        let mut store = SqliteStore::new(database.clone());
        let lease = store.lead().await.unwrap();
        Open { database, store, lease }
    }
}

/// An open database that is led.
pub(crate) struct Open {
    pub(crate) database: Database,
    pub(crate) store: SqliteStore,
    pub(crate) lease: u64,
}

impl Open {
    pub(crate) async fn append(&mut self, appends: Vec<Append>, views: Vec<View>) -> Result<(), StoreError> {
        self.store.append(&batch(self.lease, appends, views)).await
    }

    /// An open orchestration with so many records.
    pub(crate) async fn begin(&mut self, id: OrchestrationId, host: TargetId, records: u32) {
        let facts = (0..records).map(|n| own_fact(id, n)).collect();
        self.append(vec![append(JournalId::Orchestration(id), 0, facts)], vec![view(id, host, None)]).await.unwrap();
    }

    /// Does something to the file behind the store's back.
    pub(crate) async fn tamper(&self, stage: &Stage, sql: &'static str) {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(stage.path());
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }
}
