//! What is left to be looked at. A decision is a function of the state: where nothing that it rests on has changed since it gave
//! nothing, it gives nothing still. So only tracks of which something was written or heard, or whose time has come, are looked
//! at again, and a start only where something may have freed a place. Debug builds look at everything once more and compare.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{OrchestrationId, Timestamp};

use crate::advance;
use crate::decision::{Out, View};
use crate::journal::Entry;
use crate::orchestration::Orchestration;
use crate::parked::Parked;
use crate::schedule;

/// Of all open orchestrations.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agenda {
    of: BTreeMap<OrchestrationId, Todo>,
}

/// Of one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Todo {
    /// Everything was looked at since something changed that each track may rest on.
    known: bool,
    /// Running tracks to be looked at.
    tracks: BTreeSet<u32>,
    /// When something may follow for a running track although nothing happens.
    due: BTreeSet<(Timestamp, u32)>,
    due_of: HashMap<u32, Timestamp>,
    /// Something may start, or end without having started.
    starts: bool,
    starts_due: Option<Timestamp>,
    /// Why waiting tracks wait, as long as that holds.
    parked: Parked,
}

impl Agenda {
    pub(crate) fn of(&mut self, id: OrchestrationId) -> &mut Todo {
        self.of.entry(id).or_default()
    }

    pub(crate) fn ended(&mut self, id: OrchestrationId) {
        self.of.remove(&id);
    }

    /// Something changed that every decision may rest on.
    pub(crate) fn reset(&mut self) {
        self.of.clear();
    }

    /// When something may follow although nothing happens; at once, where not everything was looked at.
    pub(crate) fn due_at(&self, id: OrchestrationId, now: Timestamp) -> Option<Timestamp> {
        let Some(todo) = self.of.get(&id).filter(|todo| !todo.has_work(now)) else { return Some(now) };
        todo.due.first().map(|(at, _)| *at).into_iter().chain(todo.starts_due).min()
    }
}

impl Todo {
    /// This entry of its journal was applied.
    pub(crate) fn wrote(&mut self, entry: &Entry) {
        let Some(track) = entry.track() else {
            self.known = false;
            return;
        };
        self.tracks.insert(track);
        let within = matches!(
            entry,
            Entry::StepStarted { .. }
                | Entry::CommandIssued { .. }
                | Entry::Acked { .. }
                | Entry::HostGone { .. }
                | Entry::DeadlinePassed { .. }
                | Entry::ForceStarted { .. }
                | Entry::StepEnded { .. }
                | Entry::UnwindStarted { .. }
        );
        if !within {
            self.parked.forget(track);
            self.starts = true;
        }
    }

    /// Something changed about the host of these tracks.
    pub(crate) fn touch(&mut self, tracks: &[u32]) {
        for track in tracks {
            self.tracks.insert(*track);
            self.parked.forget(*track);
        }
        self.starts = true;
    }

    /// The host of these tracks was heard, and told nothing new.
    pub(crate) fn heard(&mut self, tracks: &[u32]) {
        self.tracks.extend(tracks);
    }

    fn has_work(&self, now: Timestamp) -> bool {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        !self.known || self.starts || !self.tracks.is_empty() || due(self.starts_due) || due(self.due.first().map(|d| d.0))
    }

    /// The next facts of this orchestration, or none: what [`schedule::next`] gives.
    pub(crate) fn next(&mut self, view: &View<'_>) -> Option<Vec<Out>> {
        if !self.has_work(view.now) {
            return None;
        }
        self.wake(view.orchestration, view.now);
        while let Some(track) = self.tracks.first().copied() {
            let runs = view.orchestration.running.contains(&track);
            if let Some(out) = schedule::next_of_track(view, track).filter(|_| runs) {
                return Some(out);
            }
            self.tracks.remove(&track);
            self.put_down(track, advance::due_at(view, [&track]).filter(|_| runs));
        }
        if self.starts {
            if let Some(out) = schedule::next_start(view, &mut self.parked).or_else(|| schedule::end(view)) {
                return Some(out);
            }
            self.starts = false;
            self.starts_due = schedule::next_start_at(view, &self.parked);
        }
        None
    }

    fn wake(&mut self, it: &Orchestration, now: Timestamp) {
        if !self.known {
            *self = Self { known: true, starts: true, tracks: it.running.clone(), ..Self::default() };
        }
        while let Some((_, track)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.tracks.insert(track);
            self.put_down(track, None);
        }
        self.starts |= self.starts_due.is_some_and(|at| at <= now);
    }

    fn put_down(&mut self, track: u32, at: Option<Timestamp>) {
        let before = match at {
            Some(at) => self.due_of.insert(track, at),
            None => self.due_of.remove(&track),
        };
        before.map(|before| self.due.remove(&(before, track)));
        at.map(|at| self.due.insert((at, track)));
    }
}
