//! Following an orchestration live, also across a restart of the server.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::{Operation, OrchestrationId};
use protocol::rest::orchestrations::{Orchestration, Progress};
use protocol::rest::rollouts::{Track, TrackState};
use tokio::time::Instant;

use crate::again;
use crate::args::Output;
use crate::client::{Client, Pieces};
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::{orchestration as text, rollout};
use crate::sse::{Event, Parser};
use crate::terminal;

/// A server that stays away for so long is given up; the orchestration goes on without anybody looking.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two attempts to reach it again.
const PAUSE: Duration = Duration::from_secs(1);

/// The running hosts are asked for at most this often.
const LOOK: Duration = Duration::from_millis(500);
/// So many running hosts are shown.
const SHOWN: usize = 40;
/// So many hosts of each kind that are not well are named at the end.
const NAMED: usize = 1000;
/// How hosts end that are not well.
const UNWELL: [&str; 5] = ["failed", "unknown", "partial", "cancelled", "skipped"];

/// Follows until the end, or until nothing goes on without a person.
///
/// Ctrl-C detaches from a server, and cancels nothing. Where the engine is in this process, the first one lets nothing new start
/// and what has begun is finished; the second one leaves at once.
pub(crate) async fn follow(client: &Client, id: OrchestrationId, output: Output) -> Result<Exit, CliError> {
    let mut screen = Screen::new(output);
    let mut interrupts = 0;
    let mut following = Box::pin(until_end(client, id, &mut screen));
    let ended = loop {
        tokio::select! {
            ended = &mut following => break ended,
            signal = tokio::signal::ctrl_c() => {
                signal.map_err(|error| CliError::new(Exit::Failed, format!("cannot wait for Ctrl-C: {error}")))?;
            }
        }
        interrupts += 1;
        if !client.is_here() {
            eprint!("\n{}", text::detached(id));
            return Ok(Exit::Detached);
        }
        // One host alone has nothing new to start.
        let paused = if interrupts == 1 { client.pause(id, "interrupted by Ctrl-C").await } else { break Err(left(id)) };
        match paused {
            Ok(_) => eprintln!("\nNothing new starts; what has begun is finished. Ctrl-C again leaves at once."),
            Err(error) => eprintln!("\nIt cannot be paused ({error}). Ctrl-C again leaves at once."),
        }
    };
    drop(following);
    screen.clear();
    let last = match ended {
        Ok(last) => last,
        Err(error) => return Err(error),
    };
    let exit = match &last.summary.rollout {
        Some(progress) => rollout::exit(&last, progress),
        None => text::exit(&last),
    };
    match (output, &last.summary.rollout) {
        (Output::Json, _) => terminal::answer(output, &client.orchestration(id).await?, String::new)?,
        (Output::Text, None) => terminal::print(&format!("\n{}", text::verdict(&last)))?,
        (Output::Text, Some(progress)) => {
            let unwell = unwell(client, id).await?;
            let next = rollout::next(&last, progress);
            terminal::print(&format!("\n{}{next}", rollout::verdict(&last, progress, &unwell)))?;
        }
    }
    Ok(if interrupts > 0 && exit == Exit::Paused { Exit::Detached } else { exit })
}

/// What it is, as soon as anybody says so.
pub(crate) async fn operation(client: &Client, id: OrchestrationId) -> Result<Operation, CliError> {
    let (mut events, mut told) = (Events::new(client, id, None), None);
    loop {
        match events.next().await? {
            Heard::Away(reason) if told.as_ref() == Some(&reason) => {}
            Heard::Away(reason) => {
                eprintln!("{reason}; trying again");
                told = Some(reason);
            }
            Heard::Progress(progress) | Heard::Ended(progress) => return Ok(progress.orchestration.summary.operation),
        }
    }
}

/// Who leaves an engine in the middle is told how to come back.
fn left(id: OrchestrationId) -> CliError {
    CliError::new(Exit::Detached, "left in the middle: what the hosts were told goes on there, and nothing else")
        .hint(again::hint(&format!("resume {id}"), "goes on; no host that is done is rebooted again"))
}

/// Hosts that ended otherwise than well.
async fn unwell(client: &Client, id: OrchestrationId) -> Result<Vec<Track>, CliError> {
    let mut unwell = Vec::new();
    for outcome in UNWELL {
        unwell.extend(client.tracks(id, outcome, NAMED).await?);
    }
    Ok(unwell)
}

/// Hosts that are worked on. Tracks start in their order, so they stand among the first that are open.
async fn running(client: &Client, id: OrchestrationId) -> Result<Vec<Track>, CliError> {
    let open = client.tracks(id, "open", 500).await?;
    let at_work = |track: &Track| matches!(track.state, TrackState::Running | TrackState::Undoing);
    Ok(open.into_iter().filter(at_work).take(SHOWN).collect())
}

async fn until_end(client: &Client, id: OrchestrationId, screen: &mut Screen) -> Result<Orchestration, CliError> {
    let mut events = Events::new(client, id, None);
    let mut looked: Option<Instant> = None;
    loop {
        match events.next().await? {
            Heard::Away(reason) => screen.note(&format!("{reason}; trying again")),
            Heard::Progress(progress) => {
                let rolling = progress.orchestration.summary.rollout.as_deref();
                let due = looked.is_none_or(|at| at.elapsed() >= LOOK);
                let running = match rolling {
                    Some(_) if screen.is_live() && due => {
                        looked = Some(Instant::now());
                        Some(running(client, id).await?)
                    }
                    _ => None,
                };
                screen.show(&progress, running.as_deref())?;
                if let Some(standing) = rolling.filter(|rolling| rollout::needs_a_person(rolling)) {
                    screen.note(&rollout::standing(standing).unwrap_or_default());
                    return Ok(progress.orchestration);
                }
            }
            Heard::Ended(progress) => {
                screen.show(&progress, None)?;
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
    bytes: Pieces,
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
            return Err(error.hint(format!(
                "the orchestration goes on; follow it again with `{}`",
                again::command(&format!("watch {}", self.id))
            )));
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
                    let bytes = self.client.events(self.id, self.seen.as_deref()).await?;
                    self.stream.insert(Stream { bytes, parser: Parser::default() })
                }
            };
            // The end of the stream before that of the orchestration: the server went away.
            let closed = || CliError::new(Exit::Unavailable, "the server closed the event stream");
            let chunk = stream.bytes.next().await.ok_or_else(closed)?.map_err(broken)?;
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

    /// Somebody looks at a terminal.
    fn is_live(&self) -> bool {
        self.output == Output::Text && console::Term::stderr().is_term()
    }

    fn show(&mut self, progress: &Progress, running: Option<&[Track]>) -> Result<(), CliError> {
        self.noted = None;
        if self.output == Output::Json {
            return Ok(());
        }
        let lines: String = progress.lines.iter().map(|line| format!("{}\n", text::journal_line(line))).collect();
        self.steps.above(|| terminal::print(&lines))?;
        match (&progress.orchestration.summary.rollout, running) {
            (None, _) => self.steps.show(&progress.orchestration),
            (Some(rolling), Some(running)) => {
                let mut lines = vec![rollout::counters(rolling)];
                lines.extend(running.iter().map(rollout::running));
                self.steps.lines(lines);
            }
            (Some(_), None) => {}
        }
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
    screen: MultiProgress,
    bars: Vec<ProgressBar>,
}

impl Steps {
    /// Shows them as they stand now.
    pub(crate) fn show(&mut self, orchestration: &Orchestration) {
        self.lines(text::step_lines(orchestration));
    }

    /// Shows these lines, and no others.
    pub(crate) fn lines(&mut self, lines: Vec<String>) {
        for bar in self.bars.drain(lines.len().min(self.bars.len())..) {
            bar.finish_and_clear();
        }
        while self.bars.len() < lines.len() {
            let bar = self.screen.add(ProgressBar::new_spinner());
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
        self.screen.suspend(print)
    }

    /// Takes them away.
    pub(crate) fn clear(&mut self) {
        for bar in self.bars.drain(..) {
            bar.finish_and_clear();
        }
        // Nothing is lost when the terminal is gone.
        self.screen.clear().unwrap_or_default();
    }
}
