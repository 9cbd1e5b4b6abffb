//! Starts are spread over a window (pain 12).

use model::{Millis, OrchestrationId, TargetId};
use uuid::Uuid;

/// The part of `jitter` by which the start of a target is put off. It depends on the orchestration and the target alone, so
/// that it is the same after a restart, and is spread evenly over the targets. With `room`, the time that the window leaves
/// besides the target's expected duration, it is a part of the shorter of the two: no target is put off past the end of every
/// window, and so lost.
pub fn put_off(orchestration: OrchestrationId, target: TargetId, jitter: Millis, room: Option<Millis>) -> Millis {
    let most = room.map_or(jitter, |room| room.min(jitter));
    if most.0 == 0 {
        return most;
    }
    let (hash, _) = Uuid::new_v5(&orchestration.0, target.0.as_bytes()).as_u64_pair();
    // Some bits of an id are fixed, those at its front are not.
    let part = (u128::from(hash >> 16) * u128::from(most.0)) >> 48;
    Millis(u64::try_from(part).unwrap_or(most.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delay(orchestration: u128, target: u128, jitter: u64, room: Option<u64>) -> u64 {
        put_off(
            OrchestrationId(Uuid::from_u128(orchestration)),
            TargetId(Uuid::from_u128(target)),
            Millis(jitter),
            room.map(Millis),
        )
        .0
    }

    #[test]
    fn delays_are_the_same_each_time_and_spread_evenly() {
        let mut tenths = [0_u32; 10];
        for target in 0..10_000 {
            let first = delay(1, target, 60_000, None);
            assert_eq!(first, delay(1, target, 60_000, None));
            tenths[usize::try_from(first / 6000).unwrap()] += 1;
        }
        assert!(tenths.iter().all(|n| (900..1100).contains(n)), "{tenths:?}");
        assert_ne!(delay(1, 7, 60_000, None), delay(2, 7, 60_000, None), "another orchestration spreads otherwise");
    }

    #[test]
    fn a_delay_is_shorter_than_the_room_that_there_is() {
        for target in 0..1000 {
            assert!(delay(1, target, 60_000, Some(500)) < 500);
            assert_eq!(delay(1, target, 60_000, Some(0)), 0);
            assert_eq!(delay(1, target, 0, None), 0);
            assert_eq!(delay(1, target, 1000, Some(60_000)), delay(1, target, 1000, None));
        }
    }
}
