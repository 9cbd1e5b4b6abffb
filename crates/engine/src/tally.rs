//! Counts of limit groups that go on from decision to decision, instead of being counted anew for each. Whatever changes what is
//! known of a host names it here; then the host alone is looked at again. Debug builds count everything once more and compare.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::{TargetId, Timestamp};

use crate::guard::Guard;
use crate::limits::Usage;

/// How many members of each limit group are unavailable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    counts: Vec<u32>,
    /// What each host adds to which group, where that is anything.
    down: HashMap<TargetId, Vec<(usize, u32)>>,
    /// Hosts that stand on one that is worked on.
    pub(crate) on_locked: HashSet<TargetId>,
    /// Hosts that have a slot.
    pub(crate) slots: HashSet<TargetId>,
    /// To be looked at again.
    stale: BTreeSet<TargetId>,
    /// `on_locked` is to be found anew.
    moved: bool,
    /// When each host that is heard could fall silent, as it looked at some time: the earliest that it can be.
    silent: BTreeSet<(Timestamp, TargetId)>,
    watched: HashSet<TargetId>,
    /// Everything has been counted.
    whole: bool,
}

impl Tally {
    pub(crate) fn of(&self, group: usize) -> u32 {
        self.counts.get(group).copied().unwrap_or_default()
    }

    /// Something that counts has changed about this host.
    pub(crate) fn touch(&mut self, host: TargetId) {
        if self.whole {
            self.stale.insert(host);
        }
    }

    /// Who is locked has changed, or what stands on whom.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }

    /// Who belongs where has changed.
    pub(crate) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Brings the counts up to what the guard sees, which keeps no counts itself. Gives the hosts that changed without being
    /// named.
    pub(crate) fn settle(&mut self, guard: &Guard<'_>) -> Vec<TargetId> {
        if !self.whole {
            *self = Self::default();
            self.counts = guard.limits.groups.iter().map(|group| guard.counted_alone(group)).collect();
            self.slots = guard.hosts_with_slots();
            self.stale = guard.fleet.hosts.keys().copied().collect();
            (self.moved, self.whole) = (true, true);
        }
        let mut found = Vec::new();
        if std::mem::take(&mut self.moved) {
            let on_locked = guard.hosts_on_locked();
            found.extend(self.on_locked.symmetric_difference(&on_locked));
            self.on_locked = on_locked;
        }
        while let Some((at, host)) = self.silent.first().copied().filter(|(at, _)| *at < guard.now) {
            self.silent.remove(&(at, host));
            match guard.silent_after(host) {
                Some(later) if later >= guard.now => drop(self.silent.insert((later, host))),
                _ => {
                    self.watched.remove(&host);
                    found.push(host);
                }
            }
        }
        self.stale.extend(&found);
        if self.stale.is_empty() {
            return found;
        }
        for host in std::mem::take(&mut self.stale) {
            let now: Vec<(usize, u32)> = Guard { usage: Usage::kept(self), ..*guard }.adds(host);
            let before = if now.is_empty() { self.down.remove(&host) } else { self.down.insert(host, now.clone()) };
            for (group, count) in before.unwrap_or_default() {
                self.counts.get_mut(group).into_iter().for_each(|all| *all -= count);
            }
            for (group, count) in now {
                self.counts.get_mut(group).into_iter().for_each(|all| *all += count);
            }
            if let Some(at) = guard.silent_after(host).filter(|at| *at >= guard.now && self.watched.insert(host)) {
                self.silent.insert((at, host));
            }
        }
        debug_assert_eq!(self.counts, guard.all_counts(), "the kept counts are those that are counted anew");
        found
    }
}
