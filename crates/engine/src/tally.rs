//! Counts of limit groups that go on from decision to decision, instead of being counted anew for each. Whatever changes what is
//! known of a host names it here; then the host alone is looked at again. Debug builds count everything once more and compare.

use std::collections::{BTreeSet, HashMap, HashSet};

use model::{TargetId, Timestamp};

/// How many members of each limit group are unavailable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Vec<u32>,
    /// What each host adds to which group, where that is anything.
    pub(crate) down: HashMap<TargetId, Vec<(usize, u32)>>,
    /// Hosts that stand on one that is worked on.
    pub(crate) on_locked: HashSet<TargetId>,
    /// Hosts that have a slot.
    pub(crate) slots: Slots,
    /// To be looked at again.
    pub(crate) stale: BTreeSet<TargetId>,
    /// `on_locked` is to be found anew.
    pub(crate) moved: bool,
    /// When each host that is heard could fall silent, as it looked at some time: the earliest that it can be.
    pub(crate) silent: BTreeSet<(Timestamp, TargetId)>,
    pub(crate) watched: HashSet<TargetId>,
    /// Everything has been counted.
    pub(crate) whole: bool,
}

/// Hosts that were let restart by themselves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slots {
    pub(crate) holders: HashSet<TargetId>,
    /// They, and what stands on them.
    pub(crate) down: HashSet<TargetId>,
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
}
