//! Until when something may be begun.

use std::time::{Duration, SystemTime};

use model::{Command, Millis, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// By the clock that nobody sets and that goes on while the machine sleeps. A command's expiry is in the engine's time, so whoever
/// knows that time says how much of it is left; the wall clock may be an hour off from it (decision 10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Deadline(u64);

impl Deadline {
    /// So long from now.
    pub(crate) fn within(left: Millis) -> Self {
        Self(since_boot().saturating_add(left.0))
    }

    /// Of a command that was made just now by this machine's own clock.
    pub(crate) fn by_wall(command: &Command) -> Self {
        Self::within(command.expires_at.since(wall()))
    }

    pub(crate) fn has_passed(self) -> bool {
        since_boot() >= self.0
    }

    /// Nothing when it has passed.
    pub(crate) fn left(self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(since_boot()))
    }
}

fn since_boot() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let (secs, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    secs.saturating_mul(1000).saturating_add(nanos / 1_000_000)
}

/// The wall clock.
pub(crate) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
