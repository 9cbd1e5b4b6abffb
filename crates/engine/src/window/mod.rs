//! Maintenance windows: when disruptions may start, in the time of a place (pain 12).
//!
//! The zone database is part of the program; nothing is read from the machine.

mod cron;
mod pace;
mod schedule;
#[cfg(test)]
mod tests;
mod written;

use jiff::civil::{Date, DateTime, Weekday};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Span, ToSpan};
use model::{Millis, Timestamp};
use serde::{Deserialize, Serialize};

use cron::Cron;
use written::Written;

pub use cron::CronError;
pub use pace::put_off;
pub use schedule::{Look, Schedule};
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

/// What is looked back for the beginning of a window, beyond its length.
const LOOKED_BACK: Millis = Millis::secs(8 * 24 * 3600);

/// A window that stays open longer counts as one that does not shut.
const LOOKED_AHEAD: Millis = Millis::secs(35 * 24 * 3600);

/// A window of more pieces, without a break between them, counts as shutting where the last of these does; asked again there,
/// it is open still.
const PIECES_MAX: usize = 50_000;

/// A time during which a window is open without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    opens: Timestamp,
    shuts: Timestamp,
    /// When the run before it shut, if that is not long ago.
    before: Option<Timestamp>,
}

impl Window {
    /// What it means.
    pub fn kind(&self) -> WindowKind {
        self.written.kind
    }

    /// The run at or after this time; `None`: it never opens again.
    fn run(&self, at: Timestamp) -> Option<Run> {
        let mut run: Option<Run> = None;
        for (opens, shuts) in self.pieces(at)?.take(PIECES_MAX) {
            match &mut run {
                Some(run) if opens <= run.shuts => run.shuts = run.shuts.max(shuts),
                Some(run) if run.shuts > at => break,
                _ => run = Some(Run { opens, shuts, before: run.map(|r| r.shuts) }),
            }
            if run.is_some_and(|run| run.shuts > at + LOOKED_AHEAD) {
                break;
            }
        }
        run.filter(|run| run.shuts > at)
    }

    /// When it is open, in order, from well before this time on.
    fn pieces(&self, at: Timestamp) -> Option<Box<dyn Iterator<Item = (Timestamp, Timestamp)> + '_>> {
        let lasts = if let Opens::Cron { lasts, .. } = &self.opens { *lasts } else { Millis(0) };
        let from = self.zone.to_datetime(jiff::Timestamp::from_millisecond((at - lasts - LOOKED_BACK).millis()).ok()?);
        Some(match &self.opens {
            Opens::Weekly { days, from: opens, to } => {
                let on_days = from.date().series(1.day()).filter(|date| days.contains(&date.weekday()));
                Box::new(on_days.filter_map(move |date| self.on(date, *opens, *to)))
            }
            Opens::Cron { cron, lasts } => {
                let first = cron.next(from);
                let times = std::iter::successors(first, |last| cron.next(last.checked_add(1.minute()).ok()?));
                Box::new(times.filter_map(|time| self.instant(time, Twice::First)).map(|opens| (opens, opens + *lasts)))
            }
        })
    }

    fn on(&self, date: Date, from: u32, to: u32) -> Option<(Timestamp, Timestamp)> {
        let time = |minutes: u32| date.to_datetime(jiff::civil::Time::midnight()).checked_add(Span::new().minutes(minutes)).ok();
        let (opens, shuts) = (self.instant(time(from)?, Twice::First)?, self.instant(time(to)?, Twice::Second)?);
        let length = Millis::secs(u64::from(to - from) * 60);
        Some((opens, if shuts > opens { shuts } else { opens + length }))
    }

    /// When the clock of the place shows this time. A time that it leaps over: at the leap.
    fn instant(&self, time: DateTime, twice: Twice) -> Option<Timestamp> {
        let instant = match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time),
            AmbiguousOffset::Fold { before, after } => {
                let offset = if twice == Twice::First { before } else { after };
                offset.to_timestamp(time)
            }
            AmbiguousOffset::Gap { after, .. } => {
                let earlier = after.to_timestamp(time).ok()?;
                Ok(self.zone.following(earlier).next()?.timestamp())
            }
        };
        instant.ok().map(|instant| Timestamp::from_millis(instant.as_millisecond()))
    }
}

/// Which of two equal times on the clock is meant, where an hour comes twice.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Twice {
    First,
    Second,
}
