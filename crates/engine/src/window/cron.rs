//! Five-field cron expressions over calendar time; zones and clock changes are the window's business.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, time};

/// When something happens: minute, hour, day of the month, month, day of the week.
///
/// Each field is `*`, a number, a range `1-5`, either with a step `*/2`, or several of them with commas; months and days of the
/// week also by their first three letters, Sunday is 0 and 7. The day of the month may be `L`, the last one; a day of the week
/// may be the n-th of its month, `sat#2`, or the last, `satL`. Where both days are given, either will do, as in every cron.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cron {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    last_day: bool,
    months: u64,
    weekdays: u64,
    /// Day of the week, and which one of the month; 0 = the last.
    nth: Vec<(i8, i8)>,
    either: bool,
}

/// Why a text is no cron expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error("a cron expression has five fields, minute hour day month weekday, as in \"0 2 * * sat\"; this one has {0}")]
    Fields(usize),
    /// A field that cannot be read.
    #[error("{part:?} is no {field}: {allowed}, *, ranges and steps, with commas between them")]
    Part {
        /// As written.
        part: String,
        /// Which field.
        field: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// Such as the 30th of February.
    #[error("there is no such day: the expression never comes true")]
    Never,
}

struct Field {
    name: &'static str,
    allowed: &'static str,
    first: u8,
    last: u8,
    names: &'static [&'static str],
}

const MINUTE: Field = Field { name: "minute", allowed: "0 to 59", first: 0, last: 59, names: &[] };
const HOUR: Field = Field { name: "hour", allowed: "0 to 23", first: 0, last: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", allowed: "1 to 31, L", first: 1, last: 31, names: &[] };
const MONTH: Field = Field {
    name: "month",
    allowed: "1 to 12, jan to dec",
    first: 1,
    last: 12,
    names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
};
const WEEKDAY: Field = Field {
    name: "day of the week",
    allowed: "0 to 7, sun to sat, sat#2 for the second one of the month, satL for the last",
    first: 0,
    last: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// The 29th of February may be eight years away.
const SEARCHED_DAYS: u32 = 9 * 366;

impl FromStr for Cron {
    type Err = CronError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let fields: Vec<String> = s.split_whitespace().map(str::to_lowercase).collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else { return Err(CronError::Fields(fields.len())) };
        let mut cron = Self {
            text: s.to_owned(),
            minutes: MINUTE.read(minute)?,
            hours: HOUR.read(hour)?,
            days: 0,
            last_day: false,
            months: MONTH.read(month)?,
            weekdays: 0,
            nth: Vec::new(),
            either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        for part in day.split(',') {
            if part == "l" {
                cron.last_day = true;
            } else {
                cron.days |= DAY.read(part)?;
            }
        }
        for part in weekday.split(',') {
            let nth = part.split_once('#').map(|(day, nth)| (day, nth.parse::<i8>().ok().filter(|n| (1..=5).contains(n))));
            match nth.or_else(|| part.strip_suffix('l').map(|day| (day, Some(0)))) {
                Some((day, Some(nth))) if !day.is_empty() => {
                    cron.nth.push((i8::try_from(WEEKDAY.one(day)? % 7).unwrap_or(0), nth))
                }
                Some(_) => return Err(WEEKDAY.wrong(part)),
                None => cron.weekdays |= WEEKDAY.read(part)?,
            }
        }
        cron.weekdays |= cron.weekdays >> 7 & 1;
        if cron.next(DateTime::constant(2000, 1, 1, 0, 0, 0, 0)).is_none() {
            return Err(CronError::Never);
        }
        Ok(cron)
    }
}

impl Field {
    fn wrong(&self, part: &str) -> CronError {
        CronError::Part { part: part.to_owned(), field: self.name, allowed: self.allowed }
    }

    fn one(&self, text: &str) -> Result<u8, CronError> {
        let named = self.names.iter().position(|name| *name == text).and_then(|index| u8::try_from(index).ok());
        let number = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        let value = named.map(|index| index + self.first).or(number);
        value.filter(|v| (self.first..=self.last).contains(v)).ok_or_else(|| self.wrong(text))
    }

    /// One bit for each value.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => (range, step.parse().ok().filter(|s| *s > 0).ok_or_else(|| self.wrong(part))?),
                None => (part, 1_usize),
            };
            let (first, last) = match range.split_once('-') {
                _ if range == "*" => (self.first, self.last),
                Some((first, last)) => (self.one(first)?, self.one(last)?),
                // `5/15` is from 5 on, every 15.
                None if part != range => (self.one(range)?, self.last),
                None => (self.one(range)?, self.one(range)?),
            };
            if first > last {
                return Err(self.wrong(part));
            }
            bits |= (first..=last).step_by(step).fold(0_u64, |bits, value| bits | 1 << value);
        }
        Ok(bits)
    }
}

impl Cron {
    /// The first time at or after this one.
    pub(super) fn next(&self, from: DateTime) -> Option<DateTime> {
        let mut date = from.date();
        let mut earliest = (from.hour(), from.minute() + i8::from(from.second() > 0 || from.subsec_nanosecond() > 0));
        for _ in 0..SEARCHED_DAYS {
            if self.is_on(date) {
                let times = (earliest.0..24).filter(|hour| has(self.hours, *hour)).flat_map(|hour| {
                    let minute = if hour == earliest.0 { earliest.1 } else { 0 };
                    (minute..60).filter(|minute| has(self.minutes, *minute)).map(move |minute| (hour, minute))
                });
                if let Some((hour, minute)) = { times }.next() {
                    return Some(date.to_datetime(time(hour, minute, 0, 0)));
                }
            }
            earliest = (0, 0);
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn is_on(&self, date: Date) -> bool {
        let weekday = date.weekday().to_sunday_zero_offset();
        let in_month = has(self.days, date.day()) || self.last_day && date.day() == date.days_in_month();
        let is_nth = |(day, nth): &(i8, i8)| {
            *day == weekday && if *nth == 0 { date.day() + 7 > date.days_in_month() } else { (date.day() - 1) / 7 + 1 == *nth }
        };
        let in_week = has(self.weekdays, weekday) || self.nth.iter().any(is_nth);
        has(self.months, date.month()) && if self.either { in_month || in_week } else { in_month && in_week }
    }
}

fn has(bits: u64, value: i8) -> bool {
    bits >> value & 1 == 1
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, from: &str) -> String {
        let at = cron.parse::<Cron>().unwrap().next(from.parse().unwrap());
        at.map_or("never".into(), |at| at.strftime("%a %Y-%m-%d %H:%M").to_string())
    }

    #[test]
    fn expressions_come_true_when_they_say() {
        for (cron, from, expected) in [
            ("0 2 * * sat", "2026-11-22T00:00", "Sat 2026-11-28 02:00"),
            ("0 2 * * 6", "2026-11-28T02:00", "Sat 2026-11-28 02:00"),
            ("0 2 * * SAT", "2026-11-28T02:00:01", "Sat 2026-12-05 02:00"),
            ("*/20 8-9 * * *", "2026-11-22T08:41", "Sun 2026-11-22 09:00"),
            ("5/25 * * * *", "2026-11-22T08:31", "Sun 2026-11-22 08:55"),
            ("30 23 31 * *", "2026-11-01T00:00", "Thu 2026-12-31 23:30"),
            ("0 0 L * *", "2026-02-01T00:00", "Sat 2026-02-28 00:00"),
            ("0 0 29 feb *", "2026-01-01T00:00", "Tue 2028-02-29 00:00"),
            ("0 0 29 2 *", "2096-03-01T00:00", "Fri 2104-02-29 00:00"),
            ("0 4 * * tue#2", "2026-11-01T00:00", "Tue 2026-11-10 04:00"),
            ("0 4 * * friL", "2026-11-01T00:00", "Fri 2026-11-27 04:00"),
            ("0 4 * * 7", "2026-11-23T00:00", "Sun 2026-11-29 04:00"),
            ("0 4 * * 5-7", "2026-11-23T00:00", "Fri 2026-11-27 04:00"),
            ("0 0 13 * fri", "2026-11-01T00:00", "Fri 2026-11-06 00:00"),
            ("0 0 13 * *", "2026-11-01T00:00", "Fri 2026-11-13 00:00"),
            ("59 23 * * *", "2026-11-22T23:59:30", "Mon 2026-11-23 23:59"),
        ] {
            assert_eq!(next(cron, from), expected, "{cron} from {from}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_what_may_stand_there() {
        for (cron, part) in [
            ("0 2 * *", "five fields"),
            ("@daily", "five fields"),
            ("60 2 * * *", "0 to 59"),
            ("0 24 * * *", "0 to 23"),
            ("0 2 0 * *", "1 to 31"),
            ("0 2 * 13 *", "jan to dec"),
            ("0 2 * * 8", "sun to sat"),
            ("0 2 * * sat#6", "sat#2"),
            ("0 2 * * #1", "sat#2"),
            ("0 2 * * l", "sat#2"),
            ("0 5-2 * * *", "0 to 23"),
            ("*/0 2 * * *", "0 to 59"),
            ("+1 2 * * *", "0 to 59"),
            ("0 2 30 feb *", "never"),
            (", 2 * * *", "0 to 59"),
        ] {
            let error = cron.parse::<Cron>().expect_err(cron).to_string();
            assert!(error.contains(part), "{cron}: {error}");
        }
    }
}
