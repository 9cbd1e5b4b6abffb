//! A maintenance window as it stands in the configuration.

use jiff::civil::Weekday;
use jiff::tz::TimeZoneDatabase;
use model::Millis;
use serde::{Deserialize, Serialize};

use super::cron::CronError;
use super::{Opens, Window};

/// Whether things may start while the window is open, or must not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// They may, and at no other time.
    #[default]
    Allow,
    /// They must not.
    Blackout,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    #[serde(default)]
    pub(super) kind: Kind,
    #[serde(default = "utc")]
    zone: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    days: Option<Vec<Day>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lasts: Option<Millis>,
}

fn utc() -> String {
    "UTC".to_owned()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// Why a window cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// Not in the zone database.
    #[error("no time zone is called {0:?}: take a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"")]
    Zone(String),
    /// Not a time of day.
    #[error("{0:?} is no time of day: write HH:MM, as \"22:00\"; the end may be \"24:00\"")]
    Time(String),
    /// Of `from` and `to` one is missing.
    #[error("'from' and 'to' go together: give both, or neither for whole days")]
    HalfGiven,
    /// No day at all.
    #[error("'days' names no day: leave it out for every day")]
    NoDay,
    /// `cron` and `lasts` go together, and with nothing else.
    #[error("a window is weekly (days, from, to) or by cron (cron and lasts), not both and not half of one")]
    Mixed,
    /// Neither.
    #[error("nothing says when it is open: give days, from and to, or cron and lasts")]
    Nothing,
    /// Not a length.
    #[error("a window cannot last {0}: longer than nothing and at most 31d")]
    Length(Millis),
    /// Not a cron expression.
    #[error(transparent)]
    Cron(#[from] CronError),
}

const DAY_MINUTES: u32 = 24 * 60;

/// Longer ones are better said the other way round.
const LONGEST: Millis = Millis::secs(31 * 24 * 3600);

impl TryFrom<Written> for Window {
    type Error = WindowError;

    fn try_from(written: Written) -> Result<Self, WindowError> {
        let zone = TimeZoneDatabase::bundled().get(&written.zone).map_err(|_| WindowError::Zone(written.zone.clone()))?;
        let opens = match (&written.cron, &written.lasts) {
            (Some(cron), Some(lasts)) => {
                if written.days.is_some() || written.from.is_some() || written.to.is_some() {
                    return Err(WindowError::Mixed);
                }
                Opens::Cron {
                    cron: cron.parse()?,
                    lasts: Some(*lasts).filter(|l| *l > Millis(0) && *l <= LONGEST).ok_or(WindowError::Length(*lasts))?,
                }
            }
            (None, None) => weekly(&written)?,
            _ => return Err(WindowError::Mixed),
        };
        Ok(Self { written, zone, opens })
    }
}

fn weekly(written: &Written) -> Result<Opens, WindowError> {
    let (from, to) = match (&written.from, &written.to) {
        (Some(from), Some(to)) => {
            let (from, to) = (
                minutes(from).filter(|m| *m < DAY_MINUTES).ok_or_else(|| WindowError::Time(from.clone()))?,
                minutes(to).ok_or_else(|| WindowError::Time(to.clone()))?,
            );
            (from, if to > from { to } else { to + DAY_MINUTES })
        }
        (None, None) if written.days.is_none() => return Err(WindowError::Nothing),
        (None, None) => (0, DAY_MINUTES),
        _ => return Err(WindowError::HalfGiven),
    };
    let all = [Day::Mon, Day::Tue, Day::Wed, Day::Thu, Day::Fri, Day::Sat, Day::Sun];
    let days = written.days.as_deref().unwrap_or(&all);
    if days.is_empty() {
        return Err(WindowError::NoDay);
    }
    Ok(Opens::Weekly { days: days.iter().map(|day| day.weekday()).collect(), from, to })
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Mon => Weekday::Monday,
            Self::Tue => Weekday::Tuesday,
            Self::Wed => Weekday::Wednesday,
            Self::Thu => Weekday::Thursday,
            Self::Fri => Weekday::Friday,
            Self::Sat => Weekday::Saturday,
            Self::Sun => Weekday::Sunday,
        }
    }
}

fn minutes(text: &str) -> Option<u32> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |t: &str| if t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit()) { t.parse::<u32>().ok() } else { None };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (minutes < 60).then_some(hours * 60 + minutes).filter(|total| *total <= DAY_MINUTES)
}

impl From<Window> for Written {
    fn from(window: Window) -> Self {
        window.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Window, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.to_string())
    }

    #[test]
    fn a_window_is_read_and_written_again() {
        for text in [
            "days = [\"sat\", \"sun\"]\nfrom = \"22:00\"\nto = \"04:00\"\nzone = \"Europe/Berlin\"",
            "days = [\"mon\"]",
            "from = \"00:00\"\nto = \"24:00\"",
            "kind = \"blackout\"\ncron = \"0 2 * * sat\"\nlasts = \"3h\"",
            "cron = \"0 0 20 dec *\"\nlasts = \"14d12h\"",
        ] {
            let window = read(text).unwrap();
            assert_eq!(read(&toml::to_string(&window).unwrap()), Ok(window), "{text}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_told_with_a_hint() {
        for (text, part) in [
            ("days = [\"sat\"]\nzone = \"Europe/Berlyn\"", "Europe/Berlin"),
            ("days = [\"sat\"]\nfrom = \"25:00\"\nto = \"04:00\"", "HH:MM"),
            ("days = [\"sat\"]\nfrom = \"24:00\"\nto = \"04:00\"", "HH:MM"),
            ("days = [\"sat\"]\nfrom = \"22:60\"\nto = \"04:00\"", "HH:MM"),
            ("days = [\"sat\"]\nfrom = \"2:00\"\nto = \"04:00\"", "HH:MM"),
            ("days = [\"sat\"]\nfrom = \"22:00\"", "both"),
            ("days = []\nfrom = \"22:00\"\nto = \"04:00\"", "no day"),
            ("days = [\"saturday\"]", "sat"),
            ("cron = \"0 2 * * sat\"", "not both"),
            ("lasts = \"3h\"", "not both"),
            ("cron = \"0 2 * * sat\"\nlasts = \"3h\"\ndays = [\"sat\"]", "not both"),
            ("cron = \"0 2 * * sat\"\nlasts = \"long\"", "30s"),
            ("cron = \"0 2 * * sat\"\nlasts = \"0s\"", "longer than nothing"),
            ("cron = \"0 2 * * sat\"\nlasts = \"32d\"", "31d"),
            ("cron = \"0 2 * *\"\nlasts = \"3h\"", "five fields"),
            ("zone = \"UTC\"", "nothing says when"),
            ("days = [\"sat\"]\nfrm = \"22:00\"", "frm"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
