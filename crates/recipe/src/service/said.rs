//! Answers of our own scripts: lines `note …` for people, and one last line for programs.

use std::collections::BTreeMap;

use model::{ErrorCode, Millis};

use crate::drain::Trouble;
use crate::{Invocation, Output};

/// What a script said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// How it ended, in one word.
    pub(super) word: String,
    /// What else it says for programs.
    pub(super) fields: BTreeMap<String, String>,
    /// For people.
    pub(super) notes: Vec<String>,
}

impl Said {
    /// Reads `note …` lines and then `REVEILLE WHAT=WORD NAME=VALUE … .`; whole, or nothing.
    pub(super) fn read(what: &str, output: &Output) -> Result<Self, Trouble> {
        let unread = || Trouble::unread(format!("the answer of {what} cannot be read: {}", output.words()));
        if !output.succeeded() {
            return Err(Trouble::new(
                if output.timed_out { ErrorCode::NotObserved } else { ErrorCode::ToolFailed },
                format!("{what}: {}", output.words()),
            ));
        }
        let text = output.stdout.strip_suffix(" .\n").ok_or_else(unread)?;
        let (notes, last) = text.rsplit_once('\n').unwrap_or(("", text));
        let mut words = last.strip_prefix("REVEILLE ").ok_or_else(unread)?.split(' ');
        let word = words.next().and_then(|word| word.strip_prefix(what)?.strip_prefix('=')).ok_or_else(unread)?.to_owned();
        let pair = |word: &str| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        let fields = words.map(pair).collect::<Option<_>>().ok_or_else(unread)?;
        let note = |line: &str| line.strip_prefix("note ").map(str::to_owned);
        let notes = notes.lines().map(note).collect::<Option<_>>().ok_or_else(unread)?;
        Ok(Self { word, fields, notes })
    }

    /// Of a script that goes on as another tool: its own answer, which is the first line, and what the tool gave. `None` when there
    /// is no such line: it never came so far, or that was not heard.
    pub(super) fn first(what: &str, output: &Output) -> Option<(Self, Output)> {
        let (line, rest) = output.stdout.split_once('\n')?;
        let said = Self::read(what, &Output { exit: Some(0), stdout: format!("{line}\n"), ..Output::default() }).ok()?;
        Some((said, Output { stdout: rest.to_owned(), ..output.clone() }))
    }

    /// A field that says yes or no.
    pub(super) fn yes(&self, name: &str) -> Result<bool, Trouble> {
        match self.fields.get(name).map(String::as_str) {
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            other => Err(Trouble::unread(format!("the answer says {name}={other:?}"))),
        }
    }
}

/// One of our scripts, with its arguments.
pub(super) fn script<'a>(text: &'a str, arguments: impl IntoIterator<Item = &'a str>, limit: Millis) -> Invocation {
    Invocation::new(["sh", "-c", text, "reveille"].into_iter().chain(arguments), limit.max(Millis(1000)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{broken, said};

    #[test]
    fn an_answer_is_whole_or_nothing() {
        let good = "note one\nnote two\nREVEILLE backup=done changed=yes .\n";
        let read = Said::read("backup", &said(good)).unwrap();
        assert_eq!((read.word.as_str(), read.notes.len(), read.yes("changed").unwrap()), ("done", 2, true));
        assert!(read.yes("other").is_err());
        for cut in 0..good.len() {
            assert!(Said::read("backup", &said(&good[..cut])).is_err(), "{cut}");
        }
        for bad in broken(good) {
            assert!(Said::read("backup", &bad).is_err(), "{bad:?}");
        }
        let tool = Output { exit: Some(5), stdout: "REVEILLE claim=made run=- .\nmore".into(), ..Output::default() };
        let (first, rest) = Said::first("claim", &tool).unwrap();
        assert_eq!((first.word.as_str(), rest.exit, rest.stdout.as_str()), ("made", Some(5), "more"));
        for bad in ["", "more\n", "REVEILLE claim=made run=- .", "REVEILLE claim=made run=-\n"] {
            assert_eq!(Said::first("claim", &said(bad)), None, "{bad:?}");
        }
        for bad in ["odd\nREVEILLE backup=done .\n", "REVEILLE deploy=done .\n", "REVEILLE backup=done changed .\n"] {
            assert!(Said::read("backup", &said(bad)).is_err(), "{bad:?}");
        }
    }
}
