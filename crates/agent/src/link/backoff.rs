//! How long to wait between attempts.

use std::time::Duration;

/// The wait after the `failures`-th failure in a row (from 1): `first`, doubled with each failure up to `most`, and of that a
/// part between a half and the whole, as `chance` (0 to 1) says, so that a fleet does not come back in step.
pub(super) fn wait(first: Duration, most: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    doubled.min(most).mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const MOST: Duration = Duration::from_secs(60);

    #[test]
    fn it_doubles_up_to_the_limit() {
        let whole: Vec<u128> = (1..=9).map(|failures| wait(FIRST, MOST, failures, 1.0).as_millis()).collect();
        assert_eq!(whole, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(wait(FIRST, MOST, u32::MAX, 1.0), MOST);
    }

    #[test]
    fn chance_takes_away_up_to_a_half() {
        assert_eq!(wait(FIRST, MOST, 1, 0.0), FIRST / 2);
        assert_eq!(wait(FIRST, MOST, 1, 0.5), FIRST * 3 / 4);
    }
}
