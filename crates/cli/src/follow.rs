//! Following an orchestration live, also across a restart of the server.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::OrchestrationId;
use protocol::rest::orchestrations::{Orchestration, Progress};
use tokio::time::Instant;

use crate::args::Output;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::orchestration as text;
use crate::sse::{Event, Parser};
use crate::terminal;

/// A server that stays away for so long is given up; the orchestration goes on without anybody looking.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two attempts to reach it again.
const PAUSE: Duration = Duration::from_secs(1);

/// Follows until the end, or until Ctrl-C, which detaches and cancels nothing.
pub(crate) async fn follow(client: &Client, id: OrchestrationId, output: Output) -> Result<Exit, CliError> {
    let mut screen = Screen::new(output);
    let ended = tokio::select! {
        ended = until_end(client, id, &mut screen) => ended,
        signal = tokio::signal::ctrl_c() => {
            signal.map_err(|error| CliError::new(Exit::Failed, format!("cannot wait for Ctrl-C: {error}")))?;
            screen.clear();
            eprint!("{}", text::detached(id));
            return Ok(Exit::Detached);
        }
    };
    screen.clear();
    let last = ended?;
    match output {
        Output::Text => terminal::print(&format!("\n{}", text::verdict(&last)))?,
        Output::Json => terminal::answer(output, &client.orchestration(id).await?, String::new)?,
    }
    Ok(text::exit(&last))
}

async fn until_end(client: &Client, id: OrchestrationId, screen: &mut Screen) -> Result<Orchestration, CliError> {
    let mut events = Events::new(client, id, None);
    loop {
        match events.next().await? {
            Heard::Away(reason) => screen.note(&format!("{reason}; trying again")),
            Heard::Progress(progress) => screen.show(&progress)?,
            Heard::Ended(progress) => {
                screen.show(&progress)?;
                return Ok(progress.orchestration);
            }
        }
    }
}

/// What the event stream of an orchestration says.
pub(crate) enum Heard {
    /// Something happened.
    Progress(Box<Progress>),
    /// It is over; nothing follows.
    Ended(Box<Progress>),
    /// The server went away, for this reason; it will be tried again after a pause.
    Away(String),
}

/// The event stream of an orchestration, taken up again where it broke off when the server goes away.
pub(crate) struct Events<'a> {
    client: &'a Client,
    id: OrchestrationId,
    seen: Option<String>,
    last_contact: Instant,
    away: bool,
    stream: Option<Stream>,
    waiting: VecDeque<Event>,
}

/// A stream while it is open.
struct Stream {
    bytes: BoxStream<'static, reqwest::Result<Vec<u8>>>,
    parser: Parser,
}

impl<'a> Events<'a> {
    /// From the journal's begin, or after so many entries of it.
    pub(crate) fn new(client: &'a Client, id: OrchestrationId, entries: Option<u64>) -> Self {
        let seen = entries.map(|entries| entries.to_string());
        Self { client, id, seen, last_contact: Instant::now(), away: false, stream: None, waiting: VecDeque::new() }
    }

    /// The next thing that is heard.
    ///
    /// # Errors
    /// The server answers with a refusal, or was away for longer than anybody waits.
    pub(crate) async fn next(&mut self) -> Result<Heard, CliError> {
        if std::mem::take(&mut self.away) {
            tokio::time::sleep(PAUSE).await;
        }
        let error = match self.event().await {
            Ok(heard) => return Ok(heard),
            Err(error) if error.exit == Exit::Unavailable => error,
            Err(error) => return Err(error),
        };
        (self.stream, self.away) = (None, true);
        if self.last_contact.elapsed() > PATIENCE {
            return Err(error.hint(format!("the orchestration goes on; follow it again with `reveille watch {}`", self.id)));
        }
        Ok(Heard::Away(error.to_string()))
    }

    async fn event(&mut self) -> Result<Heard, CliError> {
        let broken = |reason: String| CliError::new(Exit::Unavailable, format!("the event stream broke: {reason}"));
        let event = loop {
            if let Some(event) = self.waiting.pop_front() {
                break event;
            }
            let stream = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let bytes = self.client.events(self.id, self.seen.as_deref()).await?.bytes_stream();
                    let bytes = bytes.map(|chunk| chunk.map(|bytes| bytes.to_vec())).boxed();
                    self.stream.insert(Stream { bytes, parser: Parser::default() })
                }
            };
            // The end of the stream before that of the orchestration: the server went away.
            let closed = || CliError::new(Exit::Unavailable, "the server closed the event stream");
            let chunk = stream.bytes.next().await.ok_or_else(closed)?.map_err(|error| broken(error.to_string()))?;
            self.last_contact = Instant::now();
            self.waiting.extend(stream.parser.feed(&chunk).map_err(|error| broken(error.to_string()))?);
        };
        let progress = Box::new(serde_json::from_str(&event.data).map_err(|error| broken(error.to_string()))?);
        self.seen = event.id.or(self.seen.take());
        Ok(if event.name == "ended" { Heard::Ended(progress) } else { Heard::Progress(progress) })
    }
}

/// The journal as lines on standard output and, on a terminal, the steps as they stand below them on standard error.
struct Screen {
    output: Output,
    steps: Steps,
    noted: Option<String>,
}

impl Screen {
    fn new(output: Output) -> Self {
        Self { output, steps: Steps::default(), noted: None }
    }

    fn show(&mut self, progress: &Progress) -> Result<(), CliError> {
        self.noted = None;
        if self.output == Output::Json {
            return Ok(());
        }
        let lines: String = progress.lines.iter().map(|line| format!("{}\n", text::journal_line(line))).collect();
        self.steps.above(|| terminal::print(&lines))?;
        self.steps.show(&progress.orchestration);
        Ok(())
    }

    /// Says something once, however often it happens.
    fn note(&mut self, text: &str) {
        if self.noted.as_deref() != Some(text) && self.output == Output::Text {
            self.steps.above(|| eprintln!("{text}"));
        }
        self.noted = Some(text.to_owned());
    }

    fn clear(&mut self) {
        self.steps.clear();
    }
}

/// The steps as they stand, at the bottom of a terminal on standard error; elsewhere nothing.
#[derive(Default)]
pub(crate) struct Steps {
    lines: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Steps {
    /// Shows them as they stand now.
    pub(crate) fn show(&mut self, orchestration: &Orchestration) {
        let lines = text::step_lines(orchestration);
        while self.bars.len() < lines.len() {
            let bar = self.lines.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {msg}") {
                bar.set_style(style);
            }
            self.bars.push(bar);
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(line);
            bar.tick();
        }
    }

    /// Prints something above them.
    pub(crate) fn above<T>(&self, print: impl FnOnce() -> T) -> T {
        self.lines.suspend(print)
    }

    /// Takes them away.
    pub(crate) fn clear(&mut self) {
        for bar in self.bars.drain(..) {
            bar.finish_and_clear();
        }
        // Nothing is lost when the terminal is gone.
        self.lines.clear().unwrap_or_default();
    }
}
