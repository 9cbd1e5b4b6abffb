//! Maintenance windows: when disruptions may start, in the time of a place (pain 12).
//!
//! The zone database is part of the program; nothing is read from the machine.

mod cron;
mod written;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use model::Millis;
use serde::{Deserialize, Serialize};

use cron::Cron;
use written::Written;

pub use cron::CronError;
pub use written::{Kind as WindowKind, WindowError};

/// A maintenance window.
///
/// Weekly: `days = ["sat", "sun"]`, `from = "22:00"`, `to = "04:00"`: on each of these days it opens, and it shuts at the next
/// `to` on the clock of the place; without `days` every day, without `from` and `to` the whole day. By cron:
/// `cron = "0 2 * * sat"`, `lasts = "3h"`. `zone` is the place, default `UTC`. `kind = "blackout"` turns the meaning round:
/// nothing starts while it is open.
///
/// Clock changes: what would open or shut at a time that the clock leaps over does so at the leap; a window that lies in it as
/// a whole opens at the leap for its length. Where an hour comes twice, a window opens the first time, shuts the second time,
/// and is open in between: once, and never shut early.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Window {
    written: Written,
    zone: TimeZone,
    opens: Opens,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Opens {
    Weekly {
        days: Vec<Weekday>,
        /// Minutes after midnight.
        from: u32,
        /// Minutes after the midnight before `from`; at most a day later than it.
        to: u32,
    },
    Cron {
        cron: Cron,
        lasts: Millis,
    },
}
