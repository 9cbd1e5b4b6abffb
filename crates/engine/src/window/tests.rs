//! Clock changes in three zones, and a thousand targets through them (pain 12).

use std::collections::{BTreeMap, BTreeSet};

use jiff::tz::{TimeZone, TimeZoneDatabase};
use model::OrchestrationId;
use model::TargetId;
use uuid::Uuid;

use super::*;

fn window(text: &str) -> Window {
    toml::from_str(text).expect(text)
}

fn at(text: &str) -> Timestamp {
    text.parse().expect(text)
}

const HOUR: u64 = 3600 * 1000;
const MINUTE: u64 = 60 * 1000;
const DAY: u64 = 24 * HOUR;

/// The run at or after a time, in UTC.
fn run(text: &str, from: &str) -> String {
    let short = |t: Timestamp| t.to_string().replace(":00.000Z", "Z");
    window(text).run(at(from)).map_or("never".into(), |run| format!("{} {}", short(run.opens), short(run.shuts)))
}

#[test]
fn a_weekly_window_opens_and_shuts_on_the_clock_of_the_place() {
    let weekend = "days = [\"sat\", \"sun\"]\nfrom = \"22:00\"\nto = \"04:00\"\nzone = \"Europe/Berlin\"";
    for (from, expected) in [
        ("2026-11-20T00:00:00Z", "2026-11-21T21:00Z 2026-11-22T03:00Z"),
        ("2026-11-22T02:59:59.999Z", "2026-11-21T21:00Z 2026-11-22T03:00Z"),
        ("2026-11-22T03:00:00Z", "2026-11-22T21:00Z 2026-11-23T03:00Z"),
        ("2026-07-01T00:00:00Z", "2026-07-04T20:00Z 2026-07-05T02:00Z"),
    ] {
        assert_eq!(run(weekend, from), expected, "{from}");
    }
    assert_eq!(
        run("days = [\"sat\", \"sun\"]", "2026-11-22T12:00:00Z"),
        "2026-11-21T00:00Z 2026-11-23T00:00Z",
        "two days, one run"
    );
    assert_eq!(
        run("from = \"08:00\"\nto = \"08:00\"\ndays = [\"mon\"]", "2026-11-22T12:00:00Z"),
        "2026-11-23T08:00Z 2026-11-24T08:00Z"
    );
    assert_eq!(run("from = \"22:00\"\nto = \"24:00\"", "2026-11-22T12:00:00Z"), "2026-11-22T22:00Z 2026-11-23T00:00Z");
}

#[test]
fn a_cron_window_opens_when_the_expression_comes_true_and_lasts_its_length() {
    let cron = "cron = \"0 2 * * sat\"\nlasts = \"3h\"\nzone = \"America/New_York\"";
    assert_eq!(run(cron, "2026-11-22T00:00:00Z"), "2026-11-28T07:00Z 2026-11-28T10:00Z");
    assert_eq!(run(cron, "2026-11-28T09:59:59Z"), "2026-11-28T07:00Z 2026-11-28T10:00Z");
    let overlapping = "cron = \"0 */6 * * *\"\nlasts = \"6h\"";
    assert!(
        window(overlapping)
            .run(at("2026-11-22T00:00:00Z"))
            .is_some_and(|r| r.shuts.since(at("2026-11-22T00:00:00Z")) > LOOKED_AHEAD)
    );
    let long = "cron = \"0 0 20 dec *\"\nlasts = \"14d\"";
    assert_eq!(run(long, "2027-01-02T23:59:00Z"), "2026-12-20T00:00Z 2027-01-03T00:00Z");
    let dense = "cron = \"* * * * *\"\nlasts = \"31d\"";
    assert!(window(dense).run(at("2026-11-22T00:00:00Z")).is_some_and(|r| r.opens < at("2026-11-22T00:00:00Z")));
}

/// Berlin and New York leap an hour and repeat one, Lord Howe half an hour.
#[test]
fn s2_clock_changes_open_a_window_once_at_the_next_existing_instant_and_never_shut_it_early() {
    for (zone, from, to, when, expected) in [
        // 2027-03-28: 02:00 becomes 03:00, at 01:00Z.
        ("Europe/Berlin", "02:30", "06:00", "2027-03-28T00:00:00Z", "2027-03-28T01:00Z 2027-03-28T04:00Z"),
        ("Europe/Berlin", "02:15", "02:45", "2027-03-28T00:00:00Z", "2027-03-28T01:00Z 2027-03-28T01:30Z"),
        ("Europe/Berlin", "01:30", "02:30", "2027-03-28T00:00:00Z", "2027-03-28T00:30Z 2027-03-28T01:00Z"),
        ("Europe/Berlin", "02:30", "03:15", "2027-03-28T00:00:00Z", "2027-03-28T01:00Z 2027-03-28T01:15Z"),
        ("Europe/Berlin", "23:00", "05:00", "2027-03-28T00:00:00Z", "2027-03-27T22:00Z 2027-03-28T03:00Z"),
        // 2026-10-25: 03:00 becomes 02:00, at 01:00Z.
        ("Europe/Berlin", "02:15", "02:45", "2026-10-24T23:00:00Z", "2026-10-25T00:15Z 2026-10-25T01:45Z"),
        ("Europe/Berlin", "01:30", "02:30", "2026-10-24T23:00:00Z", "2026-10-24T23:30Z 2026-10-25T01:30Z"),
        ("Europe/Berlin", "02:30", "04:00", "2026-10-24T23:00:00Z", "2026-10-25T00:30Z 2026-10-25T03:00Z"),
        ("Europe/Berlin", "23:00", "05:00", "2026-10-24T23:00:00Z", "2026-10-24T21:00Z 2026-10-25T04:00Z"),
        // 2027-03-14: 02:00 becomes 03:00, at 07:00Z. 2026-11-01: 02:00 becomes 01:00, at 06:00Z.
        ("America/New_York", "02:30", "02:50", "2027-03-14T06:00:00Z", "2027-03-14T07:00Z 2027-03-14T07:20Z"),
        ("America/New_York", "01:30", "04:00", "2027-03-14T06:00:00Z", "2027-03-14T06:30Z 2027-03-14T08:00Z"),
        ("America/New_York", "01:15", "01:45", "2026-11-01T04:30:00Z", "2026-11-01T05:15Z 2026-11-01T06:45Z"),
        ("America/New_York", "00:30", "02:00", "2026-11-01T04:30:00Z", "2026-11-01T04:30Z 2026-11-01T07:00Z"),
        // 2026-10-04: 02:00 becomes 02:30, at 15:30Z the day before. 2027-04-04: 02:00 becomes 01:30, at 15:00Z the day before.
        ("Australia/Lord_Howe", "02:10", "02:20", "2026-10-03T15:00:00Z", "2026-10-03T15:30Z 2026-10-03T15:40Z"),
        ("Australia/Lord_Howe", "02:10", "05:00", "2026-10-03T15:00:00Z", "2026-10-03T15:30Z 2026-10-03T18:00Z"),
        ("Australia/Lord_Howe", "01:40", "01:50", "2027-04-03T14:00:00Z", "2027-04-03T14:40Z 2027-04-03T15:20Z"),
        ("Australia/Lord_Howe", "01:00", "03:00", "2027-04-03T14:00:00Z", "2027-04-03T14:00Z 2027-04-03T16:30Z"),
    ] {
        let text = format!("from = \"{from}\"\nto = \"{to}\"\nzone = \"{zone}\"");
        assert_eq!(run(&text, when), expected, "{zone} {from} to {to}");
    }
    for (zone, cron, when, expected) in [
        ("Europe/Berlin", "30 2 * * *", "2027-03-28T00:00:00Z", "2027-03-28T01:00Z 2027-03-28T02:00Z"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T23:00:00Z", "2026-10-25T00:30Z 2026-10-25T01:30Z"),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T01:30:00Z", "2026-10-26T01:30Z 2026-10-26T02:30Z"),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T15:00:00Z", "2026-10-03T15:30Z 2026-10-03T16:30Z"),
    ] {
        let text = format!("cron = \"{cron}\"\nlasts = \"1h\"\nzone = \"{zone}\"");
        assert_eq!(run(&text, when), expected, "{zone} {cron}");
    }
}

#[test]
fn several_windows_must_all_allow() {
    let (night, freeze) =
        (window("from = \"22:00\"\nto = \"04:00\""), window("kind = \"blackout\"\ncron = \"0 23 22 nov *\"\nlasts = \"26h\""));
    let both = Schedule::new([("night", &night), ("freeze", &freeze)]);
    let week = Millis(7 * DAY);
    let open = |since: &str, until: &str| Look::Open { since: Some(at(since)), until: Some(at(until)) };
    assert_eq!(
        both.look(at("2026-11-22T21:00:00Z"), week),
        Look::Shut { window: "night", until: Some(at("2026-11-22T22:00:00Z")) }
    );
    assert_eq!(both.look(at("2026-11-22T22:30:00Z"), week), open("2026-11-22T22:00:00Z", "2026-11-22T23:00:00Z"));
    assert_eq!(
        both.look(at("2026-11-22T23:30:00Z"), week),
        Look::Shut { window: "freeze", until: Some(at("2026-11-24T01:00:00Z")) }
    );
    assert_eq!(both.look(at("2026-11-24T01:00:00Z"), week), open("2026-11-24T01:00:00Z", "2026-11-24T04:00:00Z"));
    assert_eq!(
        both.look(at("2026-11-22T23:30:00Z"), Millis(HOUR)),
        Look::Shut { window: "freeze", until: None },
        "not within the limit"
    );

    let now = at("2026-11-22T22:30:00Z");
    assert!(both.fits(now, Millis(30 * MINUTE)) && !both.fits(now, Millis(30 * MINUTE + 1)), "past the end nothing fits");
    assert_eq!(both.next_fit(now, Millis(31 * MINUTE), week), Some(at("2026-11-24T01:00:00Z")));
    assert_eq!(both.next_fit(now, Millis(7 * HOUR), week), None, "longer than any window");
    assert_eq!(both.closes_at(now), Some(at("2026-11-22T23:00:00Z")));

    let (mon, tue) = (window("days = [\"mon\"]"), window("days = [\"tue\"]"));
    let never = Schedule::new([("mon", &mon), ("tue", &tue)]);
    assert_eq!(never.next_opening(now, week), None);
    let none = Schedule::default();
    assert_eq!((none.look(now, week), none.fits(now, week)), (Look::Open { since: None, until: None }, true));
}

/// A window as one would read it off a clock on the wall, minute by minute: between the first minute at which the clock shows
/// `from` or later, and the last at which it shows less than `to`.
struct Clock {
    open: BTreeSet<i64>,
}

impl Clock {
    fn new(zone: &TimeZone, from: u32, to: u32, begin: Timestamp, days: i64) -> Self {
        let minute_ms = i64::try_from(MINUTE).expect("small");
        let first = begin.millis() / minute_ms;
        let shown = |minute: i64| zone.to_datetime(jiff::Timestamp::from_millisecond(minute * minute_ms).expect("in range"));
        let minutes: Vec<(i64, DateTime)> = (first..first + days * 1440).map(|minute| (minute, shown(minute))).collect();
        let mut open = BTreeSet::new();
        let mut dates: Vec<Date> = minutes.iter().map(|(_, time)| time.date()).collect();
        dates.dedup();
        dates.sort();
        dates.dedup();
        for date in dates {
            let time = |minutes: u32| {
                date.to_datetime(jiff::civil::Time::midnight()).checked_add(Span::new().minutes(minutes)).expect("in range")
            };
            let opens = minutes.iter().find(|(_, shown)| *shown >= time(from)).map(|(minute, _)| *minute);
            let shuts = minutes.iter().rfind(|(_, shown)| *shown < time(to)).map(|(minute, _)| *minute + 1);
            let (Some(opens), Some(mut shuts)) = (opens, shuts) else { continue };
            if shuts <= opens && !minutes.iter().any(|(_, shown)| *shown >= time(from) && *shown < time(to)) {
                shuts = opens + i64::from(to - from);
            }
            open.extend(opens..shuts);
        }
        Self { open }
    }

    fn is_open(&self, at: Timestamp) -> bool {
        self.open.contains(&at.millis().div_euclid(i64::try_from(MINUTE).expect("small")))
    }
}

/// Starts a thousand targets as the scheduler does: in order, each when it fits, so many at a time, never two within the
/// stagger. Gives the starts by target, and fails when one is lost.
fn roll_out(schedule: &Schedule<'_>, begin: Timestamp, jitter: Millis, stagger: Millis) -> BTreeMap<u128, Timestamp> {
    let orchestration = OrchestrationId(Uuid::from_u128(9));
    let mut waiting: Vec<(u128, Millis)> = (0..1000).map(|n| (n, expected(n))).collect();
    let mut running: Vec<Timestamp> = Vec::new();
    let mut starts = BTreeMap::new();
    let (mut now, mut last) = (begin, None::<Timestamp>);
    while !waiting.is_empty() {
        assert!(now.since(begin) < Millis(12 * DAY), "{} targets are lost", waiting.len());
        running.retain(|end| *end > now);
        let Look::Open { since, until } = schedule.look(now, Millis(7 * DAY)) else {
            now = schedule.next_opening(now, Millis(7 * DAY)).expect("an opening");
            continue;
        };
        let base = since.map_or(begin, |since| since.max(begin));
        let ready = |(target, expected): &(u128, Millis)| {
            let room = until.map(|until| Millis(until.since(base).0.saturating_sub(expected.0)));
            let delay = put_off(orchestration, TargetId(Uuid::from_u128(*target)), jitter, room);
            now >= base + delay && until.is_none_or(|until| now + *expected <= until)
        };
        let free = running.len() < 60 && last.is_none_or(|last| now >= last + stagger);
        match free.then(|| waiting.iter().position(ready)).flatten() {
            Some(index) => {
                let (target, expected) = waiting.remove(index);
                assert!(schedule.fits(now, expected));
                starts.insert(target, now);
                running.push(now + expected);
                last = Some(now);
                now = now + stagger;
            }
            None => now = now + Millis(5000),
        }
    }
    starts
}

fn expected(target: u128) -> Millis {
    Millis(MINUTE * u64::try_from(target % 9 + 1).expect("small"))
}

#[test]
fn s2_no_start_of_a_thousand_targets_outside_a_window_and_none_lost_over_clock_changes_in_three_zones() {
    for (zone, begin, from, to) in [
        ("Europe/Berlin", "2027-03-26T12:00:00Z", 75, 210),
        ("Europe/Berlin", "2027-03-26T12:00:00Z", 130, 170),
        ("Europe/Berlin", "2026-10-23T12:00:00Z", 130, 170),
        ("Europe/Berlin", "2026-10-23T12:00:00Z", 90, 150),
        ("America/New_York", "2027-03-12T12:00:00Z", 90, 200),
        ("America/New_York", "2026-10-30T12:00:00Z", 65, 115),
        ("Australia/Lord_Howe", "2026-10-02T03:00:00Z", 122, 148),
        ("Australia/Lord_Howe", "2027-04-02T03:00:00Z", 80, 115),
    ] {
        let time = |minutes: u32| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let name = format!("{zone} {} to {}", time(from), time(to));
        let night = window(&format!("from = \"{}\"\nto = \"{}\"\nzone = \"{zone}\"", time(from), time(to)));
        let schedule = Schedule::new([("night", &night)]);
        let clock = Clock::new(&TimeZoneDatabase::bundled().get(zone).expect(zone), from, to, at(begin) - Millis(DAY), 15);
        for minute in 0..5 * 1440 {
            let now = at(begin) + Millis(minute * MINUTE);
            assert_eq!(schedule.is_open(now), clock.is_open(now), "{name}: {now}");
        }
        let stagger = Millis(2000);
        let starts = roll_out(&schedule, at(begin), Millis(30 * MINUTE), stagger);
        assert_eq!(starts.len(), 1000, "{name}: none lost");
        for (target, start) in &starts {
            let end = *start + expected(*target) - Millis(1);
            assert!(clock.is_open(*start) && clock.is_open(end), "{name}: {start} to {end}");
        }
        let mut times: Vec<Timestamp> = starts.into_values().collect();
        times.sort();
        assert!(times.windows(2).all(|pair| pair[1].since(pair[0]) >= stagger), "{name}: closer than the stagger");
    }
}
