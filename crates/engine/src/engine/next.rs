//! What follows next, from what changed: see [`crate::agenda`] and [`crate::tally`].

use model::{OrchestrationId, TargetId, Timestamp};

use super::Engine;
use crate::decision::{Out, View};
use crate::guard::Reserved;
use crate::journal::FleetEntry;
use crate::recount;
use crate::schedule;
use crate::tally::Tally;

impl Engine {
    /// The next facts of the first orchestration for which any follow.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<(OrchestrationId, Vec<Out>)> {
        self.settle(now);
        let position = self.position();
        let mut agenda = std::mem::take(&mut self.agenda);
        let found = self.open.values().find_map(|it| {
            let view = View { tally: Some(&self.tally), ..self.look(it, now, position) };
            agenda.of(it.id).next(&view).map(|out| (it.id, out))
        });
        self.agenda = agenda;
        debug_assert_eq!(found, self.next_of_all(now), "what was not looked at has not changed");
        found
    }

    /// The same from everything looked at anew, which is what the rest saves.
    fn next_of_all(&self, now: Timestamp) -> Option<(OrchestrationId, Vec<Out>)> {
        let position = self.position();
        self.open.values().find_map(|it| schedule::next(&self.look(it, now, position)).map(|out| (it.id, out)))
    }

    /// When something follows in an open orchestration although nothing happens.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        self.open.keys().filter_map(|id| self.agenda.due_at(*id, self.clock)).min()
    }

    /// Bring the counts of limit groups up to now.
    fn settle(&mut self, now: Timestamp) {
        if self.open.is_empty() {
            // Nobody asks; and whoever joins meanwhile is counted then.
            return self.tally.reset();
        }
        let mut tally = std::mem::take(&mut self.tally);
        let nobody = Reserved::new();
        let changed = recount::settle(&mut tally, &self.guard(&nobody, now));
        self.tally = tally;
        changed.into_iter().for_each(|host| self.tracks_of(host));
    }

    /// Something that was written or heard of this host may change what follows.
    pub(super) fn touch(&mut self, host: TargetId) {
        self.tally.touch(host);
        self.tracks_of(host);
    }

    fn tracks_of(&mut self, host: TargetId) {
        for it in self.open.values() {
            self.agenda.of(it.id).touch(it.tracks_on(host));
        }
    }

    /// The host was heard, and tells nothing new: only what runs on it may wait for that.
    pub(super) fn heard_again(&mut self, host: TargetId) {
        for it in self.open.values() {
            self.agenda.of(it.id).heard(it.tracks_on(host));
        }
    }

    /// Everything is to be looked at again.
    pub(super) fn touch_all(&mut self) {
        self.tally = Tally::default();
        self.agenda.reset();
    }

    /// The one host that an entry is about, where it is about one and changes nothing else; before it is applied.
    pub(super) fn host_of(&self, entry: &FleetEntry) -> Option<TargetId> {
        match entry {
            FleetEntry::HostSeen { host, .. }
            | FleetEntry::HostSilent { host }
            | FleetEntry::HostOff { host, .. }
            | FleetEntry::HostWorked { host, .. }
            | FleetEntry::BootEndCommanded { host, .. }
            | FleetEntry::Held { host, .. }
            | FleetEntry::Released { host }
            | FleetEntry::Locked { host, .. }
            | FleetEntry::Unlocked { host, .. }
            | FleetEntry::Stranded { host, .. } => Some(*host),
            FleetEntry::StrandedEnded { target, .. } | FleetEntry::AlarmAcknowledged { target } => {
                self.fleet.stranded.get(target).map(|stranded| stranded.host)
            }
            _ => None,
        }
    }
}
