//! Which time is believed.

use model::broken::{self, Rule};
use model::{BootIdentity, Millis, Timestamp};

use super::Clock;
use crate::ledger::Moment;

/// The controller's time at one instant of this boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// What the controller signed, plus the time that its answer took: never behind the controller's clock.
    pub(super) time: Timestamp,
    /// When.
    pub(super) boottime: Millis,
}

/// The present instant by every clock.
pub(super) fn moment(boot: BootIdentity, anchor: Option<Anchor>, clock: &Clock) -> Moment {
    let controller = anchor.map(|a| a.time + Millis(clock.boottime.0.saturating_sub(a.boottime.0)));
    let wall = (clock.wall_is_set || broken::is(Rule::TrustUnsetClock)).then_some(clock.wall);
    Moment { boot, boottime: clock.boottime, wall, controller }
}

impl Moment {
    /// The time by which expiry is judged: the controller's, else a set wall clock, else none (design, section 9).
    pub(super) fn trusted(&self) -> Option<Timestamp> {
        self.controller.or(self.wall)
    }

    /// The anchor that this moment is for a later one of the same boot.
    pub(super) fn anchor(&self) -> Option<Anchor> {
        self.controller.map(|time| Anchor { time, boottime: self.boottime })
    }
}
