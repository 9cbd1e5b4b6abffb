//! The step machine that every recipe is.

use model::{ErrorCode, Millis, Observed};

/// One run of a tool: an argument list, never a shell line. Standard input is empty (`/dev/null`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// Program and arguments; never empty.
    pub argv: Vec<String>,
    /// Set on top of the performer's own environment; always `LC_ALL=C`, so that answers can be read.
    pub env: Vec<(String, String)>,
    /// The performer ends the tool after so long and answers [`Output::timed_out`].
    pub limit: Millis,
    /// Of standard output so many bytes are read, and then it is closed to the tool, whose end counts all the same; all if `None`.
    pub first: Option<u32>,
}

impl Invocation {
    pub(crate) fn new<I, S>(argv: I, limit: Millis) -> Self
    where
        I: IntoIterator<Item = S>,
        S: Into<String>,
    {
        let argv = argv.into_iter().map(Into::into).collect();
        Self { argv, env: vec![("LC_ALL".into(), "C".into())], limit, first: None }
    }

    /// The same of which only so many bytes of standard output are wanted.
    pub(crate) fn first(self, bytes: u32) -> Self {
        Self { first: Some(bytes), ..self }
    }

    /// It changes nothing on its host: nothing has to wait for one that was left behind.
    pub fn only_looks(&self) -> bool {
        matches!(self.argv.as_slice(), [tool, verb, ..] if tool == "systemctl" && verb == "show")
    }
}

/// What a run of a tool gave.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Output {
    /// Exit code; `None` when it was ended by a signal, or its end was not seen. A program that does not exist is 127 with the
    /// reason on `stderr`, as a shell reports it.
    pub exit: Option<i32>,
    /// Standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Standard error; what is not UTF-8 is replaced.
    pub stderr: String,
    /// It was ended at its limit.
    pub timed_out: bool,
}

impl Output {
    /// Whether the tool ended by itself and said yes.
    pub fn succeeded(&self) -> bool {
        self.exit == Some(0) && !self.timed_out
    }

    /// The tool's own words, on one line, trimmed and at most 1000 characters: for messages to people.
    pub fn words(&self) -> String {
        let said = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let said = said.split(|c: char| c.is_control()).map(str::trim).filter(|line| !line.is_empty());
        let mut text: String = said.collect::<Vec<_>>().join("; ").chars().take(1000).collect();
        if text.is_empty() {
            text.push_str("it said nothing");
        }
        let ended = match (self.timed_out, self.exit) {
            (true, _) => " (no end within its limit)".to_owned(),
            (false, None) => " (ended by a signal)".to_owned(),
            (false, Some(0)) => String::new(),
            (false, Some(code)) => format!(" (exit {code})"),
        };
        text + &ended
    }
}

/// What the performer has to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next<T> {
    /// Run this and bring the output.
    Run(Invocation),
    /// Wait so long and come again without an output.
    Wait(Millis),
    /// The recipe has ended; asking again gives the same.
    Done(T),
}

/// The steps of a recipe. Implemented here, and by tests and the simulator for hosts of their own.
pub trait Steps<T>: Send {
    /// `last` is the output of the run that was asked for last, `None` at the start and after a wait; `elapsed` counts from the
    /// first call.
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<T>;
}

/// A recipe under way. It always ends: each run has a limit, and waiting ends at the recipe's own limit by `elapsed`.
pub struct Script<T> {
    steps: Box<dyn Steps<T>>,
    done: Option<T>,
}

impl<T: Clone> Script<T> {
    /// From its steps.
    pub fn new(steps: impl Steps<T> + 'static) -> Self {
        Self { steps: Box::new(steps), done: None }
    }

    /// A script that has nothing to do.
    pub(crate) fn ended(with: T) -> Self
    where
        T: Send + 'static,
    {
        struct Nothing;
        impl<T> Steps<T> for Nothing {
            fn next(&mut self, _: Option<&Output>, _: Millis) -> Next<T> {
                Next::Wait(Millis(0))
            }
        }
        Self { steps: Box::new(Nothing), done: Some(with) }
    }

    /// See [`Steps::next`].
    pub fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<T> {
        if let Some(done) = &self.done {
            return Next::Done(done.clone());
        }
        let next = self.steps.next(last, elapsed);
        if let Next::Done(done) = &next {
            self.done = Some(done.clone());
        }
        next
    }
}

impl<T> std::fmt::Debug for Script<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

/// How an action ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The wanted state was observed (E7): never said because of an exit code alone.
    Completed {
        /// What was seen of the child.
        observed: Option<Observed>,
        /// It was so before anything was done (E10).
        already: bool,
    },
    /// A reboot or shutdown was asked for, or may have been: the tool's answer is "request sent" and proves nothing (E7, G3).
    /// The end is another boot identity, or the same one with nothing pending.
    Ordered,
    /// It did not work, and nothing more will happen because of it.
    Failed {
        /// For programs.
        code: ErrorCode,
        /// For people, with the tool's own words; at most 2000 characters.
        message: String,
    },
}

impl Verdict {
    pub(crate) fn failed(code: ErrorCode, message: impl Into<String>) -> Self {
        let message: String = message.into();
        Self::Failed { code, message: message.chars().take(2000).collect() }
    }
}
