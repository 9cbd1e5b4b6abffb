//! `reveille run` with a server: a command of the hosts themselves, run by their agents; shown and kept as over SSH.

use std::collections::BTreeSet;

use model::{Amount, OrchestrationId, RolloutOptions};
use protocol::rest::orchestrations::Outcome;
use protocol::rest::rollouts::{RolloutProgress, Track};
use protocol::rest::runs::{NewRun, RanDocument, SaidDocument};

use super::kept::Kept;
use crate::args::{Global, Output, RunCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::{Events, Heard};
use crate::render::rollout::needs_a_person;
use crate::results::{Ran, RanHost};
use crate::session::{self, Session};
use crate::{render, terminal};

pub(crate) async fn run_served(global: &Global, args: RunCommand) -> Result<Exit, CliError> {
    if matches!(args.concurrency, Amount::Count(0) | Amount::Percent(0)) {
        return Err(CliError::usage("--concurrency is 0, so that nothing could ever run: at least 1, or 1%"));
    }
    let client = Client::new(&Session::find(global)?)?;
    let (name, line) = if args.free { (None, Some(args.command.clone())) } else { (Some(args.command.clone()), None) };
    let request = NewRun {
        targets: args.targets,
        name,
        line,
        limit: Some(args.limit),
        health_check: args.health_check,
        options: RolloutOptions {
            concurrency: Some(args.concurrency),
            failure_budget: Some(args.failure_budget),
            checks: args.check,
            ..RolloutOptions::default()
        },
        force: None,
    };
    let hint = "a command of the hosts is named; --free runs a line where they allow it, and -i FILE runs one over SSH";
    let started = client.run(&request).await;
    let started = started
        .map_err(|error| if !args.free && error.to_string().contains("is no name of") { error.hint(hint) } else { error })?;
    let id = started.id;
    let state = session::state_dir()?;
    let mut shown =
        Shown { client: &client, id, output: global.output, kept: Kept::new(&state)?, told: BTreeSet::new(), hosts: Vec::new() };
    if global.output == Output::Text {
        eprintln!("Orchestration {id} on {} hosts; Ctrl-C detaches and does not cancel it.", started.targets);
    }
    let (outcome, progress) = tokio::select! {
        ended = shown.until_end() => ended?,
        _ = tokio::signal::ctrl_c() => {
            eprint!("\n{}", render::orchestration::detached(id));
            return Ok(Exit::Detached);
        }
    };
    shown.end(args.command, outcome, &progress).await
}

struct Shown<'a> {
    client: &'a Client,
    id: OrchestrationId,
    output: Output,
    kept: Kept,
    /// Tracks whose end was told.
    told: BTreeSet<u32>,
    hosts: Vec<RanHost>,
}

impl Shown<'_> {
    /// What hosts said is shown as soon as they have ended.
    async fn until_end(&mut self) -> Result<(Option<Outcome>, RolloutProgress), CliError> {
        let mut events = Events::new(self.client, self.id, None);
        loop {
            let (progress, ended) = match events.next().await? {
                Heard::Away(reason) => {
                    eprintln!("{reason}; trying again");
                    continue;
                }
                Heard::Progress(progress) => (progress, false),
                Heard::Ended(progress) => (progress, true),
            };
            let summary = progress.orchestration.summary;
            let Some(rolling) = summary.rollout else {
                return Err(CliError::new(Exit::Failed, format!("orchestration {} is no run", self.id)));
            };
            let over: u32 = rolling.ended.iter().map(|ended| ended.count).sum();
            if over as usize > self.told.len() {
                self.tell().await?;
            }
            if ended || needs_a_person(&rolling) {
                return Ok((summary.outcome, *rolling));
            }
        }
    }

    async fn tell(&mut self) -> Result<(), CliError> {
        for track in self.client.all_tracks(self.id).await? {
            if track.outcome.is_none() || !self.told.insert(track.index) {
                continue;
            }
            let ran = self.client.track(self.id, track.index).await?.ran;
            if let Some(ran) = &ran {
                self.say(&track, &ran.out, false)?;
                self.say(&track, &ran.err, true)?;
                self.kept.end(track.index as usize);
            }
            self.hosts.push(row(&track, ran.as_ref()));
        }
        Ok(())
    }

    fn say(&mut self, track: &Track, said: &SaidDocument, error: bool) -> Result<(), CliError> {
        let (text, name) = (self.output == Output::Text, &track.name);
        if said.is_cut && text {
            eprintln!("{name}: of {} bytes only the last are kept", said.bytes);
        }
        for line in said.tail.lines() {
            self.kept.line(track.index as usize, name, error, line)?;
            // What a host says is shown as text, never obeyed by the terminal.
            let line = render::plain(line);
            match (text, error) {
                (true, false) => terminal::print(&format!("{name} | {line}\n"))?,
                (true, true) => eprintln!("{name} ! {line}"),
                (false, _) => {}
            }
        }
        Ok(())
    }

    /// The table, and the exit code: what is not known is never well.
    async fn end(mut self, command: String, outcome: Option<Outcome>, progress: &RolloutProgress) -> Result<Exit, CliError> {
        for track in self.client.all_tracks(self.id).await?.iter().filter(|track| track.outcome.is_none()) {
            self.hosts.push(row(track, None));
        }
        let (failures, failure_budget) = (progress.failures as usize, progress.failure_budget);
        let ran = Ran { command, kept: self.kept.dir().to_owned(), failures, failure_budget, hosts: self.hosts };
        self.kept.result(&ran)?;
        terminal::answer(self.output, &ran, || render::checks::ran(&ran))?;
        let good = ran.hosts.iter().filter(|host| host.good).count();
        if outcome.is_none() {
            if self.output == Output::Text {
                terminal::print(&render::rollout::next(self.id, None, progress))?;
            }
            return Ok(Exit::Paused);
        }
        let within = good > 0 && progress.failures <= failure_budget;
        Ok(match (good == ran.hosts.len(), within) {
            (true, _) => Exit::Done,
            (false, true) => Exit::Partial,
            (false, false) => Exit::Failed,
        })
    }
}

fn row(track: &Track, ran: Option<&RanDocument>) -> RanHost {
    let seconds = match (track.started_at, track.ended_at) {
        (Some(began), Some(ended)) => ended.since(began).duration().as_secs_f64(),
        _ => 0.0,
    };
    let exit = ran.and_then(|ran| ran.exit);
    let word = match (track.outcome, exit) {
        (Some(Outcome::Completed), Some(code)) => format!("exit {code}"),
        (Some(outcome), _) => outcome.to_string(),
        (None, _) => "not begun".to_owned(),
    };
    let result = match &track.reason {
        Some(reason) if track.outcome != Some(Outcome::Completed) => format!("{word}: {}", render::plain(reason)),
        _ => word,
    };
    let good = track.outcome == Some(Outcome::Completed);
    RanHost { host: track.name.clone(), good, begun: track.started_at.is_some(), exit, result, seconds }
}
