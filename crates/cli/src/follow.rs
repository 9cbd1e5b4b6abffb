//! Following an orchestration live, also across a restart of the server.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::{Operation, OrchestrationId};
use protocol::rest::orchestrations::{Orchestration, Progress};
use protocol::rest::rollouts::{Track, TrackState};
use protocol::rest::services::ServicesProgress;
use tokio::time::Instant;

use crate::again;
use crate::args::Output;
use crate::client::{Client, Pieces};
use crate::error::CliError;
use crate::exit::Exit;
use crate::near::Near;
use crate::render::{orchestration as text, rollout, services};
use crate::restarted;
use crate::sse::{Event, Parser};
use crate::terminal;

/// A server that stays away for so long is given up; the orchestration goes on without anybody looking.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two attempts to reach it again.
const PAUSE: Duration = Duration::from_secs(1);

/// The running hosts are asked for at most this often.
const LOOK: Duration = Duration::from_millis(500);
/// What counts down is shown anew so often.
const TICK: Duration = Duration::from_secs(1);
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
pub(crate) async fn follow(client: &Client, near: Option<&Near>, id: OrchestrationId, output: Output) -> Result<Exit, CliError> {
    match until_left(client, id, output).await? {
        Followed::Detached => Ok(Exit::Detached),
        Followed::Stands { last, interrupted } => {
            let exit = match (&last.summary.rollout, &last.summary.services) {
                (Some(progress), _) => rollout::exit(&last, progress),
                (None, Some(progress)) => services::exit(&last, progress),
                (None, None) => text::exit(&last),
            };
            tell(client, near, &last, output).await?;
            Ok(if interrupted && exit == Exit::Paused { Exit::Detached } else { exit })
        }
    }
}

/// How following something ended.
pub(crate) enum Followed {
    /// It goes on without anybody looking.
    Detached,
    /// It is over, or nothing goes on without a person.
    Stands {
        /// As it stands.
        last: Box<Orchestration>,
        /// Ctrl-C was pressed.
        interrupted: bool,
    },
}

/// The same, with nothing said of how it ended.
pub(crate) async fn until_left(client: &Client, id: OrchestrationId, output: Output) -> Result<Followed, CliError> {
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
            return Ok(Followed::Detached);
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
    Ok(Followed::Stands { last: Box::new(ended?), interrupted: interrupts > 0 })
}

/// Says how it ended, or how it stands.
async fn tell(client: &Client, near: Option<&Near>, last: &Orchestration, output: Output) -> Result<(), CliError> {
    let id = last.summary.id;
    match (output, &last.summary.rollout, &last.summary.services) {
        (_, None, Some(progress)) => {
            let restarted = restarted::of(client, near, last).await?;
            let next = services::next(last, progress, client.is_here());
            terminal::answer(output, &restarted, || format!("\n{}{next}", services::verdict(&restarted)))
        }
        (Output::Json, ..) => terminal::answer(output, &client.orchestration(id).await?, String::new),
        (Output::Text, None, None) => terminal::print(&format!("\n{}", text::verdict(last))),
        (Output::Text, Some(progress), _) => {
            let unwell = unwell(client, id).await?;
            let next = rollout::next(last, progress);
            terminal::print(&format!("\n{}{next}", rollout::verdict(last, progress, &unwell)))
        }
    }
}

/// Follows without a word, and whatever is pressed, until it is over or nothing goes on without a person.
pub(crate) async fn quietly(client: &Client, id: OrchestrationId) -> Result<Orchestration, CliError> {
    until_end(client, id, &mut Screen::new(Output::Json)).await
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
        .hint(again::hint(&format!("resume {id}"), "goes on; what is done is not done again"))
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
        match heard(client, id, &mut events, screen).await? {
            Heard::Away(reason) => screen.note(&format!("{reason}; trying again")),
            Heard::Progress(progress) => {
                let summary = &progress.orchestration.summary;
                let due = screen.is_live() && looked.is_none_or(|at| at.elapsed() >= LOOK);
                let lines = match (&summary.rollout, &summary.services) {
                    (Some(rolling), _) if due => {
                        let running = running(client, id).await?;
                        Some([rollout::counters(rolling)].into_iter().chain(running.iter().map(rollout::running)).collect())
                    }
                    (None, Some(_)) if due => {
                        screen.services = client.all_tracks(id).await?;
                        screen.progress = summary.services.clone();
                        Some(screen.live_services())
                    }
                    (None, None) => Some(text::step_lines(&progress.orchestration)),
                    _ => None,
                };
                if due && lines.is_some() {
                    looked = Some(Instant::now());
                }
                screen.progress = summary.services.clone();
                if screen.wants_services(&progress) && !due {
                    screen.services = client.all_tracks(id).await?;
                }
                screen.show(&progress, lines)?;
                let rolling = summary.rollout.as_deref().filter(|rolling| rollout::needs_a_person(rolling));
                let restarting = summary.services.as_deref().filter(|progress| services::needs_a_person(progress));
                let standing = rolling.map(rollout::standing).or(restarting.map(services::standing));
                if let Some(standing) = standing.filter(|_| summary.outcome.is_none()) {
                    screen.note(&standing.unwrap_or_default());
                    return Ok(progress.orchestration);
                }
            }
            Heard::Ended(progress) => {
                if screen.wants_services(&progress) {
                    screen.services = client.all_tracks(id).await?;
                }
                screen.show(&progress, None)?;
                return Ok(progress.orchestration);
            }
        }
    }
}

/// The next thing that is heard; until then what is on the screen is kept up to date, so that a soak is seen counting down.
async fn heard(client: &Client, id: OrchestrationId, events: &mut Events<'_>, screen: &mut Screen) -> Result<Heard, CliError> {
    let mut next = std::pin::pin!(events.next());
    loop {
        tokio::select! {
            heard = &mut next => return heard,
            () = tokio::time::sleep(TICK), if screen.is_live() && screen.progress.is_some() => {
                // What cannot be asked now is asked again at the next tick; that it is away is told by the events.
                if let Ok(tracks) = client.all_tracks(id).await {
                    screen.services = tracks;
                }
                let lines = screen.live_services();
                screen.steps.lines(lines);
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
    /// Of a restart of services: how far it is, and each of them.
    progress: Option<Box<ServicesProgress>>,
    services: Vec<Track>,
    /// Those of which it was said that they are over.
    told: BTreeSet<u32>,
}

impl Screen {
    fn new(output: Output) -> Self {
        Self { output, steps: Steps::default(), noted: None, progress: None, services: Vec::new(), told: BTreeSet::new() }
    }

    /// Somebody looks at a terminal.
    fn is_live(&self) -> bool {
        self.output == Output::Text && console::Term::stderr().is_term()
    }

    fn show(&mut self, progress: &Progress, lines: Option<Vec<String>>) -> Result<(), CliError> {
        self.noted = None;
        if self.output == Output::Json {
            return Ok(());
        }
        let of_services = progress.orchestration.summary.services.is_some();
        let told = progress.lines.iter().filter(|line| !of_services || services::is_worth_a_line(line));
        let mut journal: Vec<String> = told.map(|line| format!("{}\n", text::journal_line(line))).collect();
        // The last word comes last: how all of it ended.
        let last = if progress.orchestration.summary.outcome.is_some() { journal.pop() } else { None };
        let journal: String = journal.into_iter().chain([self.newly_over()]).chain(last).collect();
        self.steps.above(|| terminal::print(&journal))?;
        if let Some(lines) = lines {
            self.steps.lines(lines);
        }
        Ok(())
    }

    /// Something ended that a line is due for.
    fn wants_services(&self, progress: &Progress) -> bool {
        let ended = || progress.lines.iter().any(|line| line.action == "track_ended");
        self.output == Output::Text && progress.orchestration.summary.services.is_some() && ended()
    }

    /// A line for each service that was not over when this was asked last.
    fn newly_over(&mut self) -> String {
        let over = self.services.iter().filter(|track| track.outcome.is_some() && !self.told.contains(&track.index));
        let lines: Vec<(u32, String)> = over.map(|track| (track.index, services::over(track))).collect();
        self.told.extend(lines.iter().map(|(index, _)| *index));
        lines.into_iter().map(|(_, line)| line).collect()
    }

    fn live_services(&self) -> Vec<String> {
        let counters = self.progress.as_deref().map(services::counters);
        counters.into_iter().chain(services::live(&self.services, agent::boot::wall(), SHOWN)).collect()
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
