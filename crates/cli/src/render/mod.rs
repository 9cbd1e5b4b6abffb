//! From documents to text: pure, so that what people are shown can be tested without a server.

pub(crate) mod checks;
pub(crate) mod orchestration;
pub(crate) mod plan;
pub(crate) mod rollout;
pub(crate) mod services;
pub(crate) mod tables;

use model::Timestamp;
use protocol::rest::hosts::Blocker;

/// `2026-11-22 03:04:05Z`: to the second, since people read it.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    match text.get(..19) {
        Some(to_the_second) => format!("{}Z", to_the_second.replace('T', " ")),
        None => text,
    }
}

/// `03:04:05Z`.
pub(crate) fn clock(at: Timestamp) -> String {
    time(at).split(' ').next_back().unwrap_or_default().to_owned()
}

/// What came from elsewhere, without what a terminal would obey.
pub(crate) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() && c != '\t' { '\u{fffd}' } else { c };
    console::strip_ansi_codes(text.trim_end_matches('\r')).chars().map(shown).collect()
}

/// One line per blocker.
pub(crate) fn blockers(blockers: &[Blocker]) -> String {
    blockers.iter().fold(String::new(), |text, blocker| {
        let mut notes = Vec::new();
        notes.extend(blocker.since.map(|at| format!("since {}", time(at))));
        notes.extend(blocker.until.map(|at| format!("until {}", time(at))));
        notes.extend(blocker.forceable.then(|| "can be forced".to_owned()));
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
        format!("{text}  - {}{notes}\n", blocker.message)
    })
}

/// Words like `shutting_down` as people write them.
pub(crate) fn words<T: serde::Serialize>(value: &T) -> String {
    let word = serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    word.replace('_', " ")
}

#[cfg(test)]
pub(crate) mod samples;
