//! One orchestrated reboot, followed live and checked from outside.

use std::time::{Duration, Instant};

use model::{Operation, OrchestrationId, Timestamp};
use protocol::rest::hosts::Host;
use protocol::rest::orchestrations::{JournalLine, Orchestration, Outcome, Progress, RebootOptions};
use tokio::time::timeout;

use super::evidence::{self, Reboot, Seen};
use super::hosts::HostSpec;
use super::stage::Stage;
use super::{failed, tell};
use crate::client::Client;
use crate::error::CliError;
use crate::follow::{Events, Heard, Steps};

/// Longer than everything in it may take.
const LIMIT: Duration = Duration::from_secs(240);
/// How long a host may take to go down and come back.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// How a reboot went.
pub(super) struct Journey {
    pub(super) end: Orchestration,
    pub(super) seen: Reboot,
    /// Journal entries, all told.
    pub(super) entries: usize,
    /// How long there was no controller.
    pub(super) without: Option<Duration>,
}

/// Where the controller is killed: the agent has said that it reboots now, so that the host is certain to go down.
fn strikes(line: &JournalLine, host: &str) -> bool {
    line.action == "acked" && line.text == format!("reboot of {host} began")
}

/// Performs it; with `kill`, the controller is killed while the host reboots, and started again when the host is back.
pub(super) async fn reboot(
    stage: &mut Stage,
    client: &Client,
    host: &Host,
    spec: &HostSpec,
    kill: bool,
) -> Result<Journey, CliError> {
    let dir = spec.dir(stage.path());
    let before = evidence::look(spec, &dir);
    let started = client.start(host.id, Operation::OrchestratedReboot, &RebootOptions::default()).await?;
    let id = started.orchestration_id;
    let mut steps = Steps::default();
    let mut shown = Shown { host: spec.name, kill, entries: 0 };
    let mut events = Events::new(client, id, None);
    let mut without = None;
    loop {
        let heard = timeout(LIMIT, next(&mut events, &mut steps)).await;
        let (progress, over) = heard.map_err(|_| failed(format!("nothing happened for {} s", LIMIT.as_secs())))??;
        let struck = shown.show(&progress, &mut steps)?;
        if struck && without.is_none() {
            steps.clear();
            without = Some(lose_controller(stage, client, &before, spec).await?);
            // What came with the last event and was not shown comes again.
            events = Events::new(client, id, Some(shown.entries));
        } else if over {
            break;
        }
    }
    steps.clear();
    if kill && without.is_none() {
        return Err(failed("the reboot was over before its controller could be killed"));
    }
    check(client, id, spec, &before, &evidence::look(spec, &dir), without).await
}

/// The next event; a server that is away is waited for.
async fn next(events: &mut Events<'_>, steps: &mut Steps) -> Result<(Box<Progress>, bool), CliError> {
    loop {
        match events.next().await? {
            Heard::Progress(progress) => return Ok((progress, false)),
            Heard::Ended(progress) => return Ok((progress, true)),
            Heard::Away(reason) => steps.above(|| eprintln!("{reason}; trying again")),
        }
    }
}

/// What has been shown.
struct Shown {
    host: &'static str,
    kill: bool,
    entries: u64,
}

impl Shown {
    /// Shows what is new, at most up to the line at which the controller is killed; whether that has come.
    fn show(&mut self, progress: &Progress, steps: &mut Steps) -> Result<bool, CliError> {
        for line in progress.lines.iter().filter(|line| line.position >= self.entries).collect::<Vec<_>>() {
            self.entries = line.position + 1;
            if tells(line) {
                steps.above(|| tell::journal(line))?;
            }
            if self.kill && strikes(line, self.host) {
                self.kill = false;
                return Ok(true);
            }
        }
        steps.show(&progress.orchestration);
        Ok(false)
    }
}

/// Of the journal, what tells the story: what was asked, each command that changes something, and how it went.
fn tells(line: &JournalLine) -> bool {
    let text = &line.text;
    match line.action.as_str() {
        _ if !line.good => true,
        "accepted" | "force_started" | "cancel_requested" | "ended" => true,
        "command_issued" => !text.starts_with("probe "),
        "acked" => {
            !text.starts_with("probe ") && text.ends_with(" completed") || text.starts_with("reboot ") && text.ends_with(" began")
        }
        _ => false,
    }
}

/// Kills the controller, waits until the host is back on another boot, and starts the controller again. Gives the time between.
async fn lose_controller(stage: &mut Stage, client: &Client, before: &Seen, spec: &HostSpec) -> Result<Duration, CliError> {
    let begun = Instant::now();
    let how = stage.kill_controller().await?;
    tell::struck(&format!("The controller is killed ({how})."))?;
    let back = async {
        loop {
            match evidence::boot(&spec.dir(stage.path())) {
                Some(boot) if Some(&boot) != before.boot.as_ref() => return boot,
                _ => tokio::time::sleep(LOOK).await,
            }
        }
    };
    let late = |_| failed(format!("{} did not come back within {} s", spec.name, BOOT_LIMIT.as_secs()));
    let boot = timeout(BOOT_LIMIT, back).await.map_err(late)?;
    tell::fact(&format!("Without it {} goes down, and comes back on boot\n{boot}.", spec.name))?;
    let pid = stage.start_controller().await?;
    let without = begun.elapsed();
    tell::fact(&format!("The controller is started again, as process {pid}, and reads its journal:"))?;
    let query = vec![("action", "controller_started".to_owned()), ("limit", "1".to_owned())];
    let newest = client.audit(query).await?.entries.into_iter().next();
    let newest = newest.ok_or_else(|| failed("the audit log does not tell of the controller's start"))?;
    tell::line(newest.at, newest.detail.split(';').next().unwrap_or_default())?;
    Ok(without)
}

/// Holds what the product says against what the host shows. Everything must agree.
async fn check(
    client: &Client,
    id: OrchestrationId,
    spec: &HostSpec,
    before: &Seen,
    after: &Seen,
    without: Option<Duration>,
) -> Result<Journey, CliError> {
    let end = client.orchestration(id).await?;
    let wrong = |what: String| failed(format!("{}: {what}", spec.name));
    match (end.summary.outcome, &end.summary.error_message) {
        (Some(Outcome::Completed), None) => {}
        (outcome, message) => {
            let outcome = outcome.map_or_else(|| "not over".to_owned(), |outcome| outcome.to_string());
            return Err(wrong(format!("the reboot ended as {outcome}: {}", message.clone().unwrap_or_default())));
        }
    }
    let seen = evidence::compare(before, after).map_err(wrong)?;
    let same = |what: &str, product: String, host: String| {
        if product == host { Ok(()) } else { Err(wrong(format!("{what}: the controller says {product}, the host shows {host}"))) }
    };
    let boot = |boot: Option<model::BootIdentity>| boot.map(|boot| boot.boot_id().to_string()).unwrap_or_default();
    same("boot before", boot(end.boot_before), seen.boot_before.clone())?;
    same("boot after", boot(end.boot_after), seen.boot_after.clone())?;
    let commanded = |verb: &str| {
        let issued = end.journal.iter().filter(|line| line.action == "command_issued");
        let names: Vec<&str> = issued.filter_map(|line| line.text.strip_prefix(verb)?.split([' ', ',']).next()).collect();
        names
    };
    let ran =
        |names: Vec<&str>| names.into_iter().filter(|name| spec.running(true).contains(name)).collect::<Vec<_>>().join(", ");
    same("order of the stops", ran(commanded("stop ")), seen.stopped.join(", "))?;
    same("order of the starts", ran(commanded("start ")), seen.started.join(", "))?;
    same("reboots", commanded("reboot ").join(", "), spec.name.to_owned())?;
    let entries = end.journal.len();
    Ok(Journey { end, seen, entries, without })
}

impl Journey {
    /// How long it took by the journal.
    pub(super) fn took(&self) -> Duration {
        let end: Option<Timestamp> = self.end.summary.ended_at;
        end.map(|end| end.since(self.end.summary.initiated_at).duration()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(action: &str, text: &str, good: bool) -> JournalLine {
        JournalLine {
            position: 0,
            at: Timestamp::from_millis(0),
            by: "system".into(),
            action: action.into(),
            text: text.into(),
            good,
        }
    }

    #[test]
    fn the_story_is_made_of_what_changes_something_and_of_all_that_goes_wrong() {
        assert!(tells(&line("command_issued", "stop web within 120 s", true)));
        assert!(tells(&line("acked", "stop_child of web completed", true)));
        assert!(tells(&line("acked", "probe of apollo failed: timeout: too slow", false)));
        assert!(!tells(&line("command_issued", "probe apollo", true)));
        assert!(!tells(&line("acked", "probe of apollo completed", true)));
        assert!(!tells(&line("step_started", "step 1 on apollo", true)));
    }

    #[test]
    fn the_controller_is_killed_when_the_host_is_certain_to_go_down() {
        assert!(strikes(&line("acked", "reboot of borealis began", true), "borealis"));
        assert!(!strikes(&line("command_issued", "reboot borealis, to end boot x", true), "borealis"));
    }
}
