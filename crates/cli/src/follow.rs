//! Following an orchestration live, also across a restart of the server.

use std::time::Duration;

use futures_util::StreamExt as _;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use model::OrchestrationId;
use protocol::rest::orchestrations::{Orchestration, Progress};
use tokio::time::Instant;

use crate::args::Output;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render::orchestration as text;
use crate::sse::Parser;
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
    let mut seen: Option<String> = None;
    let mut last_contact = Instant::now();
    loop {
        let error = match one_stream(client, id, screen, &mut seen, &mut last_contact).await {
            Ok(Some(end)) => return Ok(end),
            // The stream ended before the orchestration: the server went away.
            Ok(None) => CliError::new(Exit::Unavailable, "the server closed the event stream"),
            Err(error) if error.exit == Exit::Unavailable => error,
            Err(error) => return Err(error),
        };
        if last_contact.elapsed() > PATIENCE {
            return Err(error.hint(format!("the orchestration goes on; follow it again with `reveille watch {id}`")));
        }
        screen.note(&format!("{error}; trying again"));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn one_stream(
    client: &Client,
    id: OrchestrationId,
    screen: &mut Screen,
    seen: &mut Option<String>,
    last_contact: &mut Instant,
) -> Result<Option<Orchestration>, CliError> {
    let broken = |reason: String| CliError::new(Exit::Unavailable, format!("the event stream broke: {reason}"));
    let mut bytes = client.events(id, seen.as_deref()).await?.bytes_stream();
    let mut parser = Parser::default();
    while let Some(chunk) = bytes.next().await {
        let chunk = chunk.map_err(|error| broken(error.to_string()))?;
        *last_contact = Instant::now();
        for event in parser.feed(&chunk).map_err(|error| broken(error.to_string()))? {
            let progress: Progress = serde_json::from_str(&event.data).map_err(|error| broken(error.to_string()))?;
            screen.show(&progress)?;
            *seen = event.id.or(seen.take());
            if event.name == "ended" {
                return Ok(Some(progress.orchestration));
            }
        }
    }
    Ok(None)
}

/// The journal as lines on standard output and, on a terminal, the steps as they stand below them on standard error.
struct Screen {
    output: Output,
    steps: MultiProgress,
    bars: Vec<ProgressBar>,
    noted: Option<String>,
}

impl Screen {
    fn new(output: Output) -> Self {
        Self { output, steps: MultiProgress::new(), bars: Vec::new(), noted: None }
    }

    fn show(&mut self, progress: &Progress) -> Result<(), CliError> {
        self.noted = None;
        if self.output == Output::Json {
            return Ok(());
        }
        let lines: String = progress.lines.iter().map(|line| format!("{}\n", text::journal_line(line))).collect();
        self.steps.suspend(|| terminal::print(&lines))?;
        let lines = text::step_lines(&progress.orchestration);
        while self.bars.len() < lines.len() {
            let bar = self.steps.add(ProgressBar::new_spinner());
            if let Ok(style) = ProgressStyle::with_template("  {msg}") {
                bar.set_style(style);
            }
            self.bars.push(bar);
        }
        for (bar, line) in self.bars.iter().zip(lines) {
            bar.set_message(line);
            bar.tick();
        }
        Ok(())
    }

    /// Says something once, however often it happens.
    fn note(&mut self, text: &str) {
        if self.noted.as_deref() != Some(text) && self.output == Output::Text {
            self.steps.suspend(|| eprintln!("{text}"));
        }
        self.noted = Some(text.to_owned());
    }

    fn clear(&mut self) {
        for bar in self.bars.drain(..) {
            bar.finish_and_clear();
        }
        // Nothing is lost when the terminal is gone.
        self.steps.clear().unwrap_or_default();
    }
}
