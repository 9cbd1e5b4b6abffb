//! `reveille run` with a server: a command of the hosts themselves, run by their agents; shown and kept as over SSH. `reveille watch`
//! shows all of it again.

use std::collections::BTreeSet;

use model::{OrchestrationId, RolloutOptions};
use protocol::rest::orchestrations::{Orchestration, Outcome};
use protocol::rest::rollouts::{RolloutProgress, Track};
use protocol::rest::runs::{NewRun, RanDocument, SaidDocument};

use super::kept::Kept;
use super::said::Said;
use crate::args::{Global, Output, RunCommand};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::{Events, Heard};
use crate::render::rollout::needs_a_person;
use crate::results::{Ran, RanHost};
use crate::session::{self, Session};
use crate::{again, render, terminal};

pub(crate) async fn run_served(global: &Global, args: RunCommand) -> Result<Exit, CliError> {
    if let Some(option) = [(args.reboots, "--reboots"), (args.no_reboots, "--no-reboots")].iter().find(|(given, _)| *given) {
        let text = format!("{} is for commands over SSH: one that a server has run must not take its host down", option.1);
        return Err(CliError::usage(text).hint("`reveille reboot` takes hosts down with a server; -i FILE runs a line over SSH"));
    }
    let concurrency = super::not_nothing(args.concurrency)?;
    let client = Client::new(&Session::find(global)?)?;
    let (name, line) = if args.free { (None, Some(args.command.clone())) } else { (Some(args.command.clone()), None) };
    let request = NewRun {
        targets: args.targets,
        name,
        line,
        limit: Some(args.limit),
        health_check: args.health_check,
        options: RolloutOptions {
            concurrency: Some(concurrency),
            failure_budget: Some(args.failure_budget),
            checks: args.check,
            ..RolloutOptions::default()
        },
        force: None,
    };
    // First, since a command that has begun is not begun again.
    let kept = Kept::new(&global.here.state_dir.clone().map_or_else(session::state_dir, Ok)?)?;
    let started = match client.run(&request).await {
        Ok(started) => started,
        Err(error) => {
            kept.discard();
            return Err(refused(error, args.free));
        }
    };
    let id = started.id;
    if global.output == Output::Text {
        eprintln!("Orchestration {id} on {} hosts; Ctrl-C detaches and does not cancel it.", started.targets);
    }
    let said = Said::new(global.output, Some(kept));
    Shown { command: Some(args.command), ..Shown::of(&client, global.output, id, said) }.followed().await
}

/// What to do about a run that was not accepted, or nobody knows whether.
fn refused(error: CliError, free: bool) -> CliError {
    if !free && error.message.contains("is no name of") {
        return error
            .hint("a command of the hosts is named; --free runs a line where they allow it, and -i FILE runs one over SSH");
    }
    if error.exit == Exit::Unavailable {
        let text = "shows whether it was begun: look there before it is run again";
        return error.hint(again::hint("orchestrations --active", text));
    }
    error
}

/// A run of which somebody has let go, from its begin: everything that hosts said is shown, and kept, once more.
pub(crate) async fn watch(client: &Client, output: Output, id: OrchestrationId) -> Result<Exit, CliError> {
    let kept = session::state_dir().and_then(|state| Kept::new(&state));
    if let Err(error) = &kept {
        eprintln!("note: {error}: it is only shown");
    }
    Shown { watched: true, ..Shown::of(client, output, id, Said::new(output, kept.ok())) }.followed().await
}

/// Whatever went wrong here, it goes on there.
fn shown_again(id: OrchestrationId) -> String {
    again::hint(&format!("watch {id}"), "shows all of it again; it goes on meanwhile")
}

struct Shown<'a> {
    client: &'a Client,
    id: OrchestrationId,
    output: Output,
    /// What was run, where that is known.
    command: Option<String>,
    /// Its journal is shown too: whoever watches has not typed what it is.
    watched: bool,
    said: Said,
    /// Why the server is away, as it was told.
    away: Option<String>,
    /// Tracks whose end was told.
    told: BTreeSet<u32>,
    hosts: Vec<RanHost>,
}

impl<'a> Shown<'a> {
    fn of(client: &'a Client, output: Output, id: OrchestrationId, said: Said) -> Self {
        let (told, hosts) = (BTreeSet::new(), Vec::new());
        Self { client, id, output, command: None, watched: false, said, away: None, told, hosts }
    }

    async fn followed(mut self) -> Result<Exit, CliError> {
        let id = self.id;
        let done = tokio::select! {
            ended = self.until_end() => match ended {
                Ok((last, progress)) => self.end(&last, &progress).await,
                Err(error) => Err(error),
            },
            _ = tokio::signal::ctrl_c() => {
                eprint!("\n{}", render::orchestration::detached(id));
                return Ok(Exit::Detached);
            }
        };
        done.map_err(|error| if error.hint.is_some() { error } else { error.hint(shown_again(id)) })
    }

    /// What hosts said is shown as soon as they have ended.
    async fn until_end(&mut self) -> Result<(Orchestration, RolloutProgress), CliError> {
        let mut events = Events::new(self.client, self.id, None);
        loop {
            let (progress, ended) = match events.next().await? {
                Heard::Away(reason) => {
                    self.is_away(reason);
                    continue;
                }
                Heard::Progress(progress) => (progress, false),
                Heard::Ended(progress) => (progress, true),
            };
            if self.watched && self.output == Output::Text {
                let lines = progress.lines.iter().map(|line| format!("{}\n", render::orchestration::journal_line(line)));
                terminal::print(&lines.collect::<String>())?;
            }
            let orchestration = progress.orchestration;
            let Some(rolling) = orchestration.summary.rollout.as_deref().cloned() else {
                return Err(CliError::new(Exit::Failed, format!("orchestration {} is no run", self.id)));
            };
            let over: u32 = rolling.ended.iter().map(|ended| ended.count).sum();
            let stands = ended || needs_a_person(&rolling);
            let told = if over as usize > self.told.len() { self.tell().await } else { Ok(()) };
            match told {
                Ok(()) => self.away = None,
                // What was not told is told with what is heard next.
                Err(error) if error.exit == Exit::Unavailable && !stands => self.is_away(error.message),
                Err(error) => return Err(error),
            }
            if stands {
                return Ok((orchestration, rolling));
            }
        }
    }

    /// Said once, however often it is tried.
    fn is_away(&mut self, reason: String) {
        if self.away.as_ref() != Some(&reason) {
            eprintln!("{reason}; trying again");
        }
        self.away = Some(reason);
    }

    async fn tell(&mut self) -> Result<(), CliError> {
        for track in self.client.all_tracks(self.id).await? {
            if track.outcome.is_none() || self.told.contains(&track.index) {
                continue;
            }
            let ran = self.client.track(self.id, track.index).await?.ran;
            self.told.insert(track.index);
            if let Some(ran) = &ran {
                self.say(&track, &ran.out, false);
                self.say(&track, &ran.err, true);
                self.said.end_of(track.index as usize);
            }
            self.hosts.push(row(&track, ran.as_ref()));
        }
        Ok(())
    }

    fn say(&mut self, track: &Track, said: &SaidDocument, error: bool) {
        if said.is_cut && self.output == Output::Text {
            eprintln!("{}: of {} bytes only the last are kept", track.name, said.bytes);
        }
        for line in said.tail.lines() {
            self.said.line(track.index as usize, &track.name, error, line);
        }
    }

    /// The table, and the exit code: what is not known is never well.
    async fn end(&mut self, last: &Orchestration, progress: &RolloutProgress) -> Result<Exit, CliError> {
        for track in self.client.all_tracks(self.id).await?.iter().filter(|track| track.outcome.is_none()) {
            self.hosts.push(row(track, None));
        }
        let ran = Ran {
            command: self.command.take(),
            orchestration: Some(self.id),
            kept: self.said.dir().map(ToOwned::to_owned),
            failures: progress.failures as usize,
            failure_budget: progress.failure_budget,
            hosts: std::mem::take(&mut self.hosts),
        };
        let text = self.output == Output::Text;
        if text && self.watched {
            terminal::print(&format!("\n{}", render::rollout::verdict(last, progress, &[])))?;
        }
        let kept = std::mem::replace(&mut self.said, Said::new(self.output, None)).end(&ran);
        let is_open = last.summary.outcome.is_none();
        if text && is_open {
            terminal::print(&render::rollout::next(last, progress))?;
        }
        kept.map_err(|error| error.hint(shown_again(self.id)))?;
        Ok(if is_open { Exit::Paused } else { ran.exit() })
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
