//! What the ledger says, folded.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Ack, BootIdentity, Command, CommandId, Fence, Millis, TargetId, Timestamp};

use super::{Config, rate};
use crate::ledger::{LEDGER_VERSION, Moment, Record};

/// Outcomes are known for a day after their command has expired, but not more than this many.
const OUTCOMES: usize = 512;
const KEPT: Millis = Millis::secs(24 * 3600);
/// Boots and stamps beyond this are the oldest and do not count any more.
const MOST_BOOTS: usize = 64;

/// A command that will be done or answered.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) command: Arc<Command>,
    pub(super) at: Moment,
    /// Reboot, shutdown and run: the tool may have been run from here on.
    pub(super) executing: Option<Moment>,
}

/// The last word on a command.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ack: Ack,
    pub(super) expires_at: Timestamp,
    pub(super) at: Moment,
}

#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) controller: Option<String>,
    pub(super) open: BTreeMap<CommandId, Claim>,
    /// In the order in which they ended.
    pub(super) ended: Vec<Arc<Ended>>,
    floor: Fence,
    fences: BTreeMap<TargetId, Fence>,
    stamps: Vec<Moment>,
    boots: Vec<(BootIdentity, Millis)>,
    /// The newest moment that knows the controller's time.
    pub(super) timed: Option<Moment>,
}

impl State {
    pub(super) fn apply(&mut self, record: &Record) {
        match record {
            Record::Header { .. } => {}
            Record::Controller { key } => {
                self.controller = Some(key.clone());
                self.floor = Fence::default();
                self.fences.clear();
            }
            Record::Claimed { command, at } => {
                self.note(at);
                if command.action.kind().ends_boot() {
                    // It stands for the whole host: everything older is under it.
                    self.floor = self.floor.max(command.fence);
                    self.stamps.push(*at);
                    let excess = self.stamps.len().saturating_sub(MOST_BOOTS);
                    self.stamps.drain(..excess);
                } else {
                    let fence = self.fences.entry(command.subject).or_default();
                    *fence = command.fence.max(*fence);
                }
                let floor = self.floor;
                self.fences.retain(|_, fence| *fence > floor);
                self.open.insert(command.id, Claim { command: Arc::new((**command).clone()), at: *at, executing: None });
            }
            Record::Executing { command, at } => {
                self.note(at);
                if let Some(claim) = self.open.get_mut(command) {
                    claim.executing = Some(*at);
                }
            }
            Record::Ended { ack, expires_at, at } => {
                self.note(at);
                self.open.remove(&ack.command);
                self.ended.retain(|e| e.ack.command != ack.command);
                self.ended.push(Arc::new(Ended { ack: (**ack).clone(), expires_at: *expires_at, at: *at }));
            }
            Record::Limits { floor, fences, stamps, boots } => {
                self.floor = *floor;
                self.fences = fences.clone();
                self.stamps = stamps.clone();
                self.boots = boots.clone();
            }
        }
    }

    fn note(&mut self, at: &Moment) {
        match self.boots.iter_mut().find(|(boot, _)| *boot == at.boot) {
            Some((_, last)) => *last = at.boottime.max(*last),
            None => self.boots.push((at.boot, at.boottime)),
        }
        let excess = self.boots.len().saturating_sub(MOST_BOOTS);
        self.boots.drain(..excess);
        if at.controller.is_some() {
            self.timed = Some(*at);
        }
    }

    /// Forgets what cannot matter any more.
    pub(super) fn prune(&mut self, now: &Moment, config: &Config) {
        if let Some(time) = now.trusted() {
            self.ended.retain(|e| e.expires_at + KEPT > time);
        }
        let excess = self.ended.len().saturating_sub(OUTCOMES);
        self.ended.drain(..excess);
        self.stamps = rate::counting(&self.stamps, &self.boots, now, config.rate_window);
        let first = self.boots.iter().position(|(boot, _)| self.stamps.iter().any(|s| s.boot == *boot));
        match first {
            Some(first) => drop(self.boots.drain(..first)),
            None => self.boots.clear(),
        }
    }

    /// The shortest ledger that gives this state again.
    pub(super) fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Header { version: LEDGER_VERSION }];
        records.extend(self.controller.iter().map(|key| Record::Controller { key: key.clone() }));
        records.extend(self.ended.iter().map(|e| Record::Ended {
            ack: Box::new(e.ack.clone()),
            expires_at: e.expires_at,
            at: e.at,
        }));
        for claim in self.open.values() {
            records.push(Record::Claimed { command: Box::new((*claim.command).clone()), at: claim.at });
            records.extend(claim.executing.map(|at| Record::Executing { command: claim.command.id, at }));
        }
        // Last: it takes the place of what the records before it add up to.
        records.push(Record::Limits {
            floor: self.floor,
            fences: self.fences.clone(),
            stamps: self.stamps.clone(),
            boots: self.boots.clone(),
        });
        records
    }

    pub(super) fn outcome(&self, id: CommandId) -> Option<&Arc<Ended>> {
        self.ended.iter().rev().find(|e| e.ack.command == id)
    }

    /// The highest fence that binds this command: of its subject and of the whole host; for what ends the boot, of
    /// everything on the host.
    pub(super) fn fence_for(&self, command: &Command) -> Fence {
        if command.action.kind().ends_boot() {
            return self.fences.values().copied().fold(self.floor, Fence::max);
        }
        self.fences.get(&command.subject).copied().unwrap_or_default().max(self.floor)
    }

    pub(super) fn rate(&self, now: &Moment, config: &Config) -> model::RateState {
        rate::state(&self.stamps, &self.boots, now, config.rate_limit, config.rate_window)
    }
}
