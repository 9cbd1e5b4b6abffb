//! The device's own rate limit (G9): commanded reboots and shutdowns in a window, whatever anyone says.

use model::{BootIdentity, Millis, RateState};

use crate::ledger::Moment;

/// The least time that has surely passed since `stamp`.
///
/// The time that the machine was up since then is a floor that no clock setting moves. More is believed only when the host's
/// own clock and the controller's signed time both say so: a stepped clock alone, or a controller that lies alone, opens
/// nothing. A stamp that lies in the future counts as now.
fn age(stamp: &Moment, now: &Moment, boots: &[(BootIdentity, Millis)]) -> Millis {
    let up = if stamp.boot == now.boot {
        now.boottime.0.saturating_sub(stamp.boottime.0)
    } else {
        let place = boots.iter().position(|(boot, _)| *boot == stamp.boot);
        let (own, later) = match place {
            Some(i) => (boots[i].1.0.saturating_sub(stamp.boottime.0), &boots[i + 1..]),
            None => (0, &boots[..0]),
        };
        let between = later.iter().filter(|(boot, _)| *boot != now.boot).map(|(_, last)| last.0);
        between.fold(own.saturating_add(now.boottime.0), u64::saturating_add)
    };
    let passed = |then: Option<model::Timestamp>, now: Option<model::Timestamp>| Some(now?.since(then?));
    let clocks = match (passed(stamp.wall, now.wall), passed(stamp.controller, now.controller)) {
        (Some(wall), Some(controller)) => wall.min(controller),
        _ => Millis(0),
    };
    Millis(up).max(clocks)
}

/// What counts now.
pub(super) fn state(stamps: &[Moment], boots: &[(BootIdentity, Millis)], now: &Moment, limit: u32, window: Millis) -> RateState {
    let mut left: Vec<u64> =
        stamps.iter().filter_map(|stamp| window.0.checked_sub(age(stamp, now, boots).0).filter(|left| *left > 0)).collect();
    left.sort_unstable();
    let counted = u32::try_from(left.len()).unwrap_or(u32::MAX);
    // One more is allowed when all but `limit - 1` of them have left the window.
    let opens_in_ms = (counted >= limit).then(|| left.get((counted - limit) as usize).copied().unwrap_or(window.0));
    RateState { counted, limit, opens_in_ms }
}

/// The stamps that may still count.
pub(super) fn counting(stamps: &[Moment], boots: &[(BootIdentity, Millis)], now: &Moment, window: Millis) -> Vec<Moment> {
    stamps.iter().filter(|stamp| age(stamp, now, boots) < window).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Timestamp;

    fn boot(n: u64) -> BootIdentity {
        BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", n).unwrap()
    }

    fn at(n: u64, minutes: u64, wall: Option<i64>, controller: Option<i64>) -> Moment {
        let time = |m: Option<i64>| m.map(|m| Timestamp::from_millis(1_700_000_000_000 + m * 60_000));
        Moment { boot: boot(n), boottime: Millis::secs(minutes * 60), wall: time(wall), controller: time(controller) }
    }

    const WINDOW: Millis = Millis::secs(900);

    #[test]
    fn time_up_counts_over_boots_and_no_clock_alone_opens_the_limit() {
        let stamp = at(1, 5, Some(5), Some(5));
        let boots = [(boot(1), Millis::secs(6 * 60)), (boot(2), Millis::secs(4 * 60))];
        let counted = |now: Moment| state(&[stamp], &boots, &now, 1, WINDOW).counted;
        assert_eq!(age(&stamp, &at(3, 2, None, None), &boots), Millis::secs((1 + 4 + 2) * 60));
        assert_eq!(counted(at(3, 2, None, None)), 1);
        assert_eq!(counted(at(3, 10, None, None)), 0, "1 + 4 + 10 minutes up");
        assert_eq!(counted(at(3, 2, Some(500), Some(8))), 1, "a stepped wall clock");
        assert_eq!(counted(at(3, 2, Some(8), Some(500))), 1, "a controller that lies");
        assert_eq!(counted(at(3, 2, Some(500), Some(500))), 0, "it was off for hours");
        assert_eq!(counted(at(3, 2, Some(-500), Some(-500))), 1, "in the future counts as now");
    }

    #[test]
    fn the_time_until_it_opens_is_that_of_the_stamp_in_the_way() {
        let stamps = [at(1, 0, None, None), at(1, 2, None, None), at(1, 4, None, None), at(1, 5, None, None)];
        let now = at(1, 6, None, None);
        let seen = state(&stamps, &[], &now, 3, WINDOW);
        // Four count: two must leave before one more is allowed; the second oldest leaves at minute 17.
        assert_eq!((seen.counted, seen.opens_in_ms), (4, Some(11 * 60_000)));
        assert_eq!(state(&stamps[..2], &[], &now, 3, WINDOW).opens_in_ms, None);
        assert_eq!(counting(&stamps, &[], &at(1, 18, None, None), WINDOW).len(), 2);
    }
}
