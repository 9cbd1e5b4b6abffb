//! How the story is told: narrow enough for any terminal, with colours where they are shown.

use std::time::Duration;

use console::style;
use model::Timestamp;
use protocol::rest::orchestrations::JournalLine;

use crate::error::CliError;
use crate::{render, terminal};

/// No line is wider: the story is read on any terminal.
const WIDTH: usize = 80;
/// Before a line.
const INDENT: &str = "  ";

/// A part of the story.
pub(super) fn part(text: &str) -> Result<(), CliError> {
    terminal::print(&format!("\n{}\n", style(text).bold().cyan()))
}

/// Plain words.
pub(super) fn fact(text: &str) -> Result<(), CliError> {
    terminal::print(&indented(text))
}

/// Something violent.
pub(super) fn struck(text: &str) -> Result<(), CliError> {
    terminal::print(&format!("{INDENT}{}\n", style(text).red().bold()))
}

/// Something that was held against the facts and agrees.
pub(super) fn agrees(text: &str) -> Result<(), CliError> {
    let text = text.replace('\n', &format!("\n{INDENT}  "));
    terminal::print(&format!("{INDENT}{} {text}\n", style("✓").green()))
}

/// A line of a journal.
pub(super) fn journal(line: &JournalLine) -> Result<(), CliError> {
    let mark = if line.good { "" } else { "! " };
    self::line(line.at, &format!("{mark}{}", line.text))
}

/// What somebody said at some time.
pub(super) fn line(at: Timestamp, text: &str) -> Result<(), CliError> {
    let clock = render::clock(at);
    let before = INDENT.len() + clock.len() + 2;
    let text = wrapped(text, WIDTH - before).join(&format!("\n{:before$}", ""));
    terminal::print(&format!("{INDENT}{}  {text}\n", style(clock).dim()))
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| format!("{all}{INDENT}{line}\n"))
}

/// Pieces of at most so many characters where there are spaces; broken after a comma or its like rather than elsewhere.
fn wrapped(mut text: &str, width: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    while let Some((beyond, _)) = text.char_indices().nth(width) {
        let spaces: Vec<usize> = text.match_indices(' ').map(|(place, _)| place).take_while(|place| *place <= beyond).collect();
        let after_comma = |place: &&usize| text[..**place].ends_with([',', ';', ':']) && **place > beyond / 2;
        let Some(&place) = spaces.iter().rfind(after_comma).or(spaces.last()) else { break };
        pieces.push(&text[..place]);
        text = &text[place + 1..];
    }
    pieces.push(text);
    pieces
}

/// `4.2 s`.
pub(super) fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

/// `web`, `web and db`, `web, db and cache`.
pub(super) fn names(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_owned(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_broken_where_it_reads_best() {
        assert_eq!(wrapped("short", 20), ["short"]);
        assert_eq!(wrapped("accepted: two children, seven steps", 30), ["accepted: two children,", "seven steps"]);
        assert_eq!(wrapped("one two three four", 10), ["one two", "three four"]);
        assert_eq!(wrapped("unbreakable", 5), ["unbreakable"]);
        assert_eq!(wrapped("ééé ééé", 3), ["ééé", "ééé"]);
    }
}
