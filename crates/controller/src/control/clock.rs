//! The one place that reads the wall clock.
//!
//! Deadlines stand in journals as UTC, but a wall clock can be set. So the time told here goes on with the monotonic
//! clock (time asleep included) and is drawn to the wall clock slowly. When they differ by more than a minute the clock was
//! set: the wall clock is right at once, and whoever judges deadlines must settle first ([`Clock::steps`], E34).

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use model::{Millis, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// A difference up to this is drawn in; a larger one is a step.
const STEP: i64 = 60_000;
/// A tenth of the elapsed time is given to drawing in.
const SLEW: i64 = 10;

/// Tells the time; shared.
#[derive(Debug)]
pub(crate) struct Clock(Mutex<State>);

#[derive(Debug)]
struct State {
    told: i64,
    monotonic: i64,
    steps: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { told: wall(), monotonic: monotonic(), steps: 0 }))
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Timestamp::from_millis(state.advance(wall(), monotonic()))
    }

    /// How often the wall clock was set since the start.
    pub(crate) fn steps(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).steps
    }

    /// As if the wall clock had been set by an hour just now, and somebody had asked for the time since.
    #[cfg(test)]
    pub(crate) fn set_aside(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).told -= 3_600_000;
        self.now();
    }
}

impl State {
    fn advance(&mut self, wall: i64, monotonic: i64) -> i64 {
        let elapsed = monotonic.saturating_sub(self.monotonic).max(0);
        let expected = self.told.saturating_add(elapsed);
        let difference = wall.saturating_sub(expected);
        if difference.abs() > STEP {
            tracing::warn!(by = %Millis(difference.unsigned_abs()), forward = difference > 0, "the system clock was set");
            self.steps += 1;
            self.told = wall;
            self.monotonic = monotonic;
        } else if elapsed >= SLEW {
            // Less than the elapsed time, so the time told never goes back.
            let most = elapsed / SLEW;
            self.told = expected.saturating_add(difference.clamp(-most, most));
            self.monotonic = monotonic;
        } else {
            return expected;
        }
        self.told
    }
}

fn wall() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn monotonic() -> i64 {
    let time = clock_gettime(ClockId::Boottime);
    time.tv_sec.saturating_mul(1000).saturating_add(time.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State { told: 1_000_000, monotonic: 0, steps: 0 }
    }

    #[test]
    fn a_small_difference_is_drawn_in_and_time_never_goes_back() {
        let mut state = state();
        let mut last = 1_000_000;
        // The wall clock stands 5 s behind.
        for tick in 1..=100 {
            let told = state.advance(1_000_000 + tick * 1000 - 5000, tick * 1000);
            assert!(told > last);
            last = told;
        }
        assert_eq!(last, 1_000_000 + 100_000 - 5000);
        assert_eq!(state.steps, 0);
    }

    #[test]
    fn many_readings_at_once_do_not_stop_the_drawing_in() {
        let mut state = state();
        for tick in 1..=100_000 {
            state.advance(1_000_000 + tick + 5000, tick);
        }
        assert_eq!(state.told, 1_000_000 + 100_000 + 5000);
    }

    #[test]
    fn a_set_clock_is_followed_at_once_and_counted() {
        for step in [3_600_000, -3_600_000] {
            let mut state = state();
            assert_eq!(state.advance(1_001_000 + step, 1000), 1_001_000 + step);
            assert_eq!(state.steps, 1);
            assert_eq!(state.advance(1_002_000 + step, 2000), 1_002_000 + step);
            assert_eq!(state.steps, 1);
        }
    }
}
