//! Why waiting tracks wait, kept as long as it holds: a track that waits for room in a limit group, or for a time, need not be
//! asked again before.

use model::Timestamp;

use crate::explain::{Blocker, Why};
use crate::guard::Guard;
use crate::track::TrackPlan;

/// Of one orchestration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parked {
    tracks: Vec<Option<Park>>,
    holds_in: Option<Setting>,
}

/// What each of them rests on: the wave and when it began, and the span in which windows are open, if they are.
pub(crate) type Setting = (u32, Timestamp, Option<(Option<Timestamp>, Option<Timestamp>)>);

/// Until then, and until its host changes.
#[derive(Clone, Debug)]
struct Park {
    until: Option<Timestamp>,
    /// Only while so many more have no room in this group.
    group: Option<(usize, u32)>,
}

impl Parked {
    /// In another setting all of them are asked again.
    pub(crate) fn hold_in(&mut self, setting: Setting) {
        if self.holds_in != Some(setting) {
            self.tracks.clear();
            self.holds_in = Some(setting);
        }
    }

    /// This is what keeps a track from starting, the first in order.
    pub(crate) fn park(
        &mut self,
        track: u32,
        plan: &TrackPlan<'_>,
        guard: &Guard<'_>,
        blocker: &Blocker,
        until: Option<Timestamp>,
    ) {
        let group = match &blocker.why {
            // What stands on it changes without it.
            Why::LimitGroup { .. } | Why::Locked { .. } | Why::HasSlot { .. } if guard.goes_down_with(plan.target).len() > 1 => {
                return;
            }
            Why::LimitGroup { group, unavailable, adds, .. } => {
                let Some((index, _)) = guard.limits.named(group) else { return };
                let more = guard.room(index).and_then(|(count, _)| (unavailable + adds).checked_sub(count));
                let Some(more) = more else { return };
                Some((index, more))
            }
            _ if !plan.after.is_empty() => return,
            _ => None,
        };
        let place = track as usize;
        if self.tracks.len() <= place {
            self.tracks.resize(place + 1, None);
        }
        if let Some(park) = self.tracks.get_mut(place) {
            *park = Some(Park { until, group });
        }
    }

    /// Something changed about its host.
    pub(crate) fn forget(&mut self, track: u32) {
        if let Some(park) = self.tracks.get_mut(track as usize) {
            *park = None;
        }
    }

    /// Whether what keeps the track from starting is known, and still holds.
    pub(crate) fn is_held(&self, track: u32, guard: &Guard<'_>) -> bool {
        let Some(Some(park)) = self.tracks.get(track as usize) else { return false };
        let is_full = |(group, more): (usize, u32)| guard.room(group).is_some_and(|(count, limit)| count + more > limit);
        park.until.is_none_or(|until| guard.now < until) && park.group.is_none_or(is_full)
    }

    /// Until when, where that is known.
    pub(crate) fn until(&self, track: u32) -> Option<Timestamp> {
        self.tracks.get(track as usize)?.as_ref()?.until
    }
}
