//! The database and the way out of a controller, with every crash point numbered. Production code calls it through the
//! driver's two traits; a crash is a future that never goes on and is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use driver::{Append, Batch, Loaded, SendError, Store, StoreError, Transport};
use engine::{Entry, Fact, FleetEntry, JournalId, Record, View};
use model::{Command, CommandId, OrchestrationId};

use crate::fault::{Counts, CrashPoint, Fault};
use crate::rng::Rng;

/// One durable transaction.
#[derive(Clone, Debug)]
pub(crate) struct Commit {
    /// By which controller process.
    pub(crate) by: usize,
    /// What it holds, journal by journal.
    pub(crate) facts: Vec<Fact>,
}

/// The journals as they are on disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Db {
    /// Which life of the database.
    pub(crate) epoch: u64,
    /// The lease in force.
    pub(crate) lease: u64,
    /// The fleet journal.
    pub(crate) fleet: Vec<Record<FleetEntry>>,
    /// The journals of all orchestrations.
    pub(crate) orchestrations: BTreeMap<OrchestrationId, Vec<Record<Entry>>>,
    /// The rows that the API reads.
    pub(crate) views: BTreeMap<OrchestrationId, View>,
    /// The journal that cannot be read.
    pub(crate) unreadable: Option<OrchestrationId>,
    /// Commands whose intent is durable.
    pub(crate) issued: BTreeSet<CommandId>,
}

impl Db {
    /// Whether an orchestration has ended.
    pub(crate) fn is_open(journal: &[Record<Entry>]) -> bool {
        !journal.iter().rev().any(|r| matches!(r.entry, Entry::Ended { .. }))
    }

    /// What a controller would restore from.
    pub(crate) fn load(&self) -> Loaded {
        let open = self.orchestrations.iter().filter(|(_, j)| Self::is_open(j)).map(|(id, j)| {
            let journal = if self.unreadable == Some(*id) { Err("record 1: unknown entry".to_owned()) } else { Ok(j.clone()) };
            (*id, journal)
        });
        Loaded { epoch: self.epoch, fleet: self.fleet.clone(), open: open.collect() }
    }

    fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        if batch.lease != self.lease {
            return Err(StoreError::LeaseLost { ours: batch.lease, now: self.lease });
        }
        for append in &batch.appends {
            let len = self.len(append.journal);
            if len != append.follows {
                return Err(StoreError::Conflict(format!("{:?} holds {len}, not {}", append.journal, append.follows)));
            }
        }
        for append in &batch.appends {
            self.push(append);
        }
        for view in &batch.views {
            self.views.insert(view.id, view.clone());
        }
        Ok(())
    }

    fn len(&self, journal: JournalId) -> u64 {
        match journal {
            JournalId::Fleet => self.fleet.len() as u64,
            JournalId::Orchestration(id) => self.orchestrations.get(&id).map_or(0, |j| j.len() as u64),
        }
    }

    fn push(&mut self, append: &Append) {
        for fact in &append.facts {
            match fact {
                Fact::Fleet(record) => self.fleet.push(record.clone()),
                Fact::Orchestration(id, record) => {
                    if let Entry::CommandIssued { command, .. } = &record.entry {
                        self.issued.insert(command.id);
                    }
                    self.orchestrations.entry(*id).or_default().push(record.clone());
                }
            }
        }
    }
}

/// When controllers crash.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CrashPlan {
    /// At each point, so many times of a thousand.
    pub(crate) per_mille: u32,
    /// After exactly this commit, counted from 1 over the whole run.
    pub(crate) after_commit: Option<u64>,
    /// The answer of so many commits of a thousand is lost.
    pub(crate) ack_lost_per_mille: u32,
}

/// What all controllers of a run share.
#[derive(Debug)]
pub(crate) struct Backend {
    /// The database.
    pub(crate) db: Db,
    /// Its disk has no room.
    pub(crate) full: bool,
    /// Chance of crashes.
    pub(crate) rng: Rng,
    /// When controllers crash.
    pub(crate) plan: CrashPlan,
    /// Transactions since the simulator last looked.
    pub(crate) commits: Vec<Commit>,
    /// Transactions so far.
    pub(crate) commit_count: u64,
    /// A command that was handed over before its entry was durable.
    pub(crate) leaked: Option<CommandId>,
    /// Commands handed over since the simulator last looked.
    pub(crate) outbox: Vec<Command>,
    /// Which controller took the lead last.
    pub(crate) leader: usize,
    /// Which controller is running a turn.
    pub(crate) running: usize,
    /// The broker takes messages from that controller.
    pub(crate) broker_up: bool,
    /// What occurred.
    pub(crate) counts: Counts,
}

/// A handle that store and transport share.
#[derive(Clone, Debug)]
pub(crate) struct Shared(Arc<Mutex<Backend>>);

impl Shared {
    /// A fresh database.
    pub(crate) fn new(rng: Rng, plan: CrashPlan) -> Self {
        let db = Db { epoch: 1, ..Db::default() };
        Self(Arc::new(Mutex::new(Backend {
            db,
            full: false,
            rng,
            plan,
            commits: Vec::new(),
            commit_count: 0,
            leaked: None,
            outbox: Vec::new(),
            leader: 0,
            running: 0,
            broker_up: true,
            counts: Counts::default(),
        })))
    }

    /// Look inside.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Backend> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pass a crash point; never returns when the process dies there.
    async fn pass(&self, point: CrashPoint) {
        if self.lock().dies(point) {
            pending::<()>().await;
        }
    }
}

impl Backend {
    fn dies(&mut self, point: CrashPoint) -> bool {
        let chance = self.plan.per_mille;
        let exact = point == CrashPoint::AfterCommit && self.plan.after_commit == Some(self.commit_count);
        let dies = exact || self.rng.per_mille(chance);
        self.counts.point(point, dies);
        if dies {
            self.counts.fault(Fault::ControllerCrash);
        }
        dies
    }
}

/// The facts of a transaction in the order in which they were decided: the audit has one row per fact, in that order.
fn in_order(batch: &Batch) -> Vec<Fact> {
    let mut journals: BTreeMap<JournalId, std::slice::Iter<'_, Fact>> =
        batch.appends.iter().map(|a| (a.journal, a.facts.iter())).collect();
    let journal_of = |row: &driver::AuditRow| row.orchestration.map_or(JournalId::Fleet, JournalId::Orchestration);
    batch.audit.iter().filter_map(|row| journals.get_mut(&journal_of(row))?.next().cloned()).collect()
}

/// The store of one controller process.
#[derive(Debug)]
pub(crate) struct SimStore(pub(crate) Shared);

impl Store for SimStore {
    async fn lead(&mut self) -> Result<u64, StoreError> {
        let mut backend = self.0.lock();
        if backend.full {
            backend.counts.fault(Fault::ControllerDiskFull);
            return Err(StoreError::Full("simulated".to_owned()));
        }
        backend.db.lease += 1;
        backend.leader = backend.running;
        Ok(backend.db.lease)
    }

    async fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(self.0.lock().db.load())
    }

    async fn append(&mut self, batch: &Batch) -> Result<(), StoreError> {
        self.0.pass(CrashPoint::BeforeCommit).await;
        let lost = {
            let mut backend = self.0.lock();
            if backend.full {
                backend.counts.fault(Fault::ControllerDiskFull);
                return Err(StoreError::Full("simulated".to_owned()));
            }
            backend.db.append(batch)?;
            let by = backend.running;
            backend.commits.push(Commit { by, facts: in_order(batch) });
            backend.commit_count += 1;
            let chance = backend.plan.ack_lost_per_mille;
            backend.rng.per_mille(chance)
        };
        self.0.pass(CrashPoint::AfterCommit).await;
        if lost {
            self.0.lock().counts.fault(Fault::CommitAckLost);
            return Err(StoreError::Other("simulated: the answer of the commit was lost".to_owned()));
        }
        Ok(())
    }
}

/// The way out of one controller process.
#[derive(Debug)]
pub(crate) struct SimTransport(pub(crate) Shared);

impl Transport for SimTransport {
    async fn send(&mut self, command: &Command) -> Result<(), SendError> {
        self.0.pass(CrashPoint::BeforeSend).await;
        let up = {
            let mut backend = self.0.lock();
            if !backend.db.issued.contains(&command.id) && backend.leaked.is_none() {
                backend.leaked = Some(command.id);
            }
            if backend.broker_up {
                backend.outbox.push(command.clone());
            }
            backend.broker_up
        };
        self.0.pass(CrashPoint::AfterSend).await;
        if up { Ok(()) } else { Err(SendError("simulated: not connected to the broker".to_owned())) }
    }
}
