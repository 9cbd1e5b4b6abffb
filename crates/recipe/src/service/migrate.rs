//! A migration: run once for a run of the orchestration and a unit, whoever asks again is told how it ended (S3-86, S3-87).

use model::{ErrorCode, Migrate, Millis, Observed, OrchestrationId, Ran, Said as Stream, is_file_name};

use super::said::{Said, script as sh};
use super::{Places, failed, over};
use crate::drain::{Trouble, ask_safe, safe_as};
use crate::{Invocation, Next, Output, Script, Steps, Verdict};

const MIGRATE: &str = include_str!("migrate.sh");
const RUNNER: &str = include_str!("runner.sh");
/// The question who owns a file.
const LOOK: Millis = Millis(10_000);
/// The script on the host ends by itself so long after the limit.
const MORE: Millis = Millis(15_000);
const END: &str = "\nREVEILLE end .\n";

pub(super) fn script(places: &Places, unit: &str, key: OrchestrationId, migrate: &Migrate, limit: Millis) -> Script<Verdict> {
    let malformed = |why: String| failed(Trouble::new(ErrorCode::Malformed, why));
    let (folder, argv, named) = match migrate {
        Migrate::Command { argv, directory } => {
            if argv.first().is_none_or(String::is_empty) || argv.iter().any(|word| word.contains('\0')) {
                return malformed("the migration names no program".to_owned());
            }
            if argv.first().is_some_and(|program| program.starts_with('-')) {
                return malformed("the program of the migration begins with \"-\"".to_owned());
            }
            if !directory.starts_with('/') || directory.contains(char::is_control) {
                return malformed(format!("{directory:?}, the folder of the migration, is no absolute path"));
            }
            (directory.clone(), argv.clone(), None)
        }
        Migrate::Named { name } => {
            if !is_file_name(name) {
                return malformed(format!("{name:?} is no name of a command (letters, digits, - _ . and no path)"));
            }
            let path = format!("{}/{name}", places.commands);
            ("/".to_owned(), vec![path.clone()], Some(path))
        }
    };
    let (claims, claim) = (format!("{}/migrations", places.run), format!("{key}-{unit}"));
    let (secs, most) = (limit.0.div_ceil(1000).max(1).to_string(), Stream::MOST.to_string());
    let first = [claims.as_str(), &claim, &secs, &most, RUNNER, &folder];
    let words = first.into_iter().chain(argv.iter().map(String::as_str));
    let run = sh(MIGRATE, words, Millis(limit.0.saturating_add(MORE.0)));
    Script::new(Once { named, run, at: At::Start })
}

enum At {
    Start,
    Owners,
    Running,
}

struct Once {
    /// The program that root alone must have put there.
    named: Option<String>,
    run: Invocation,
    at: At,
}

impl Steps<Verdict> for Once {
    fn next(&mut self, last: Option<&Output>, _: Millis) -> Next<Verdict> {
        match (&self.at, last, &self.named) {
            (At::Start, _, Some(path)) => {
                self.at = At::Owners;
                Next::Run(ask_safe(path, LOOK))
            }
            (At::Owners, Some(output), Some(path)) => match safe_as("command", path, output) {
                Ok(()) => {
                    self.at = At::Running;
                    Next::Run(self.run.clone())
                }
                Err(trouble) => over(trouble),
            },
            (At::Start, _, None) => {
                self.at = At::Running;
                Next::Run(self.run.clone())
            }
            (At::Running, Some(output), _) => match read(output) {
                Ok(ran) => Next::Done(Verdict::Completed { observed: Some(Observed::Ran(ran)), already: false }),
                Err(trouble) => over(trouble),
            },
            (At::Owners | At::Running, ..) => over(Trouble::new(ErrorCode::OutcomeUnknown, "no answer was brought")),
        }
    }
}

/// The line for programs, and for one that has ended the ends of its two streams after it. What cannot be read may have run.
fn read(output: &Output) -> Result<Ran, Trouble> {
    let unknown = |why: String| Trouble::new(ErrorCode::OutcomeUnknown, why);
    let (head, rest) = output.stdout.split_once(" .\n").unwrap_or((&output.stdout, ""));
    let line = Output { stdout: format!("{head} .\n"), ..output.clone() };
    let said = Said::read("migrate", &line).map_err(|trouble| unknown(trouble.why))?;
    let words = || format!("migration: {}", output.words());
    let code = match said.word.as_str() {
        "ended" => {
            let number = |name: &str| said.fields.get(name).and_then(|text| text.parse::<u64>().ok());
            let late = said.yes("late").map_err(|trouble| unknown(trouble.why))?;
            let (Some(code), Some(out), Some(err), Some(tail)) =
                (number("exit"), number("out"), number("err"), rest.strip_suffix(END))
            else {
                return Err(unknown(format!("its end cannot be read: {}", output.words())));
            };
            // A shell's word for an end by a signal.
            let exit = i32::try_from(code).ok().filter(|code| !(129..=192).contains(code) && !late);
            let stream = |bytes: u64, text: &str| Stream { bytes, tail: end_of(text).to_owned() };
            return Ok(Ran { exit, timed_out: late, out: stream(out, tail), err: stream(err, &output.stderr) });
        }
        "missing" => ErrorCode::NotFound,
        "toolless" => ErrorCode::Unsupported,
        "unwritable" => ErrorCode::LedgerFailed,
        _ => ErrorCode::OutcomeUnknown,
    };
    Err(Trouble::new(code, words()))
}

/// At most so many bytes: what was replaced has grown.
fn end_of(text: &str) -> &str {
    let mut from = text.len().saturating_sub(Stream::MOST);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    text.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests;
