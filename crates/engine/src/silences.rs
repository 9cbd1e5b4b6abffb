//! When hosts could fall silent, without looking at all of them each time.

use std::collections::{BTreeSet, HashMap};

use model::{Millis, TargetId, Timestamp};

/// For each host whose silence would be news a time before which it is not silent. Hosts are heard all the time, so it is looked
/// up again only when it has come.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silences {
    by_time: BTreeSet<(Timestamp, TargetId)>,
    of: HashMap<TargetId, Timestamp>,
}

/// What comes so soon is looked at with what has come: otherwise each of ten thousand hosts would wake the engine by itself.
const SOON: Millis = Millis::secs(5);

impl Silences {
    /// This host is not silent before.
    pub(crate) fn watch(&mut self, host: TargetId, at: Timestamp) {
        match self.of.get(&host) {
            Some(known) if *known <= at => return,
            Some(known) => drop(self.by_time.remove(&(*known, host))),
            None => {}
        }
        self.of.insert(host, at);
        self.by_time.insert((at, host));
    }

    /// The earliest of these times.
    pub(crate) fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// Hosts whose time has come, or comes soon; none while no time has come.
    pub(crate) fn come(&mut self, now: Timestamp) -> Vec<TargetId> {
        if self.first().is_none_or(|at| now <= at) {
            return Vec::new();
        }
        let later = self.by_time.split_off(&(now + SOON, TargetId::CONTROLLER));
        let come: Vec<TargetId> = std::mem::replace(&mut self.by_time, later).into_iter().map(|(_, host)| host).collect();
        for host in &come {
            self.of.remove(host);
        }
        come
    }
}
