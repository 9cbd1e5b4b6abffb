//! What hosts say: shown at once, and kept.

use std::path::Path;

use super::kept::Kept;
use crate::args::Output;
use crate::error::CliError;
use crate::results::Ran;
use crate::{render, terminal};

pub(super) struct Said {
    output: Output,
    kept: Option<Kept>,
    /// Why nothing is kept any more, or cannot be shown.
    trouble: Option<CliError>,
}

impl Said {
    pub(super) fn new(output: Output, kept: Option<Kept>) -> Self {
        Self { output, kept, trouble: None }
    }

    pub(super) fn dir(&self) -> Option<&Path> {
        self.kept.as_ref().map(Kept::dir)
    }

    /// Something could not be kept or shown.
    pub(super) fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// One line of a host. What cannot be kept is shown all the same; what follows is not kept then, since it would look whole.
    pub(super) fn line(&mut self, host: usize, name: &str, error: bool, line: &str) {
        if let (Some(kept), None) = (&mut self.kept, &self.trouble)
            && let Err(error) = kept.line(host, name, error, line)
        {
            self.trouble = Some(error);
        }
        // What the far end says is shown as text, never obeyed by the terminal.
        let line = render::plain(line);
        match (self.output, error) {
            (Output::Text, true) => eprintln!("{name} ! {line}"),
            (Output::Text, false) => {
                let shown = terminal::print(&format!("{name} | {line}\n"));
                self.trouble = self.trouble.take().or(shown.err());
            }
            (Output::Json, _) => {}
        }
    }

    /// Nothing more comes of a host.
    pub(super) fn end_of(&mut self, host: usize) {
        if let Some(kept) = &mut self.kept {
            kept.end(host);
        }
    }

    /// How it went, kept and shown. Where not all could be kept, what was shown is all that is left.
    pub(super) fn end(self, ran: &Ran) -> Result<(), CliError> {
        let kept = self.kept.map_or(Ok(()), |kept| kept.result(ran));
        terminal::answer(self.output, ran, || render::checks::ran(ran))?;
        self.trouble.map_or(kept, Err)
    }
}
