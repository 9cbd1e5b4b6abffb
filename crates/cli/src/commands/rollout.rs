//! A reboot of several hosts: show, ask, start, follow; and what is said to it later.

use model::OrchestrationId;
use protocol::rest::orchestrations::ForceOption;
use protocol::rest::rollouts::{NewRollout, Retry as RetryBody, RolloutStarted};

use crate::args::{OnTimeoutArg, Output, Reboot, Resume, Retry};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::near::Near;
use crate::render::rollout as text;
use crate::{again, follow, terminal};

/// What is asked for, as a document.
pub(super) fn request(args: &Reboot) -> NewRollout {
    NewRollout {
        targets: args.targets.clone(),
        options: args.rolling.options(),
        shutdown_timeout_seconds: args.timeout_secs,
        on_timeout: args.on_timeout.map(OnTimeoutArg::word),
        strict: args.strict,
        force: args.run.force.clone().map(|reason| ForceOption { reason }),
        dry_run: false,
    }
}

/// An engine in this process ends with it: nobody would go on.
pub(super) fn attached(client: &Client, detach: bool) -> Result<(), CliError> {
    if detach && client.is_here() {
        return Err(CliError::usage("--detach needs a server: without one nothing goes on when this process ends"));
    }
    Ok(())
}

pub(super) async fn reboot(client: &Client, output: Output, args: &Reboot) -> Result<Exit, CliError> {
    attached(client, args.run.detach)?;
    let request = request(args);
    let preview = client.preview(&request).await?;
    if args.run.dry_run {
        terminal::answer(output, &preview, || text::preview(&preview))?;
        return Ok(Exit::Done);
    }
    if output == Output::Text {
        terminal::print(&text::preview(&preview))?;
    }
    if !args.run.yes {
        let question = format!("\nReboot {} hosts like this?", preview.targets);
        tokio::task::block_in_place(|| terminal::confirm(&question, "give --yes if nobody is there to be asked"))?;
    }
    let started = client.rollout(&request).await?;
    started_now(client, None, output, &started, args.run.detach).await
}

pub(super) async fn started_now(
    client: &Client,
    near: Option<&Near>,
    output: Output,
    started: &RolloutStarted,
    detach: bool,
) -> Result<Exit, CliError> {
    let id = started.id;
    if detach {
        terminal::answer(output, started, || crate::render::orchestration::detached(id))?;
        return Ok(Exit::Done);
    }
    if output == Output::Text {
        let hint = if client.is_here() { "lets nothing new start" } else { "detaches and does not cancel it" };
        terminal::print(&format!("\nOrchestration {id}; Ctrl-C {hint}.\n"))?;
    }
    follow::follow(client, near, id, output).await
}

pub(super) async fn retry(client: &Client, output: Output, args: &Retry) -> Result<Exit, CliError> {
    attached(client, args.run.detach)?;
    let force = args.run.force.clone().map(|reason| ForceOption { reason });
    let request = RetryBody { options: args.rolling.options(), force, dry_run: false };
    if args.run.dry_run {
        let preview = client.preview_retry(args.id, &request).await?;
        terminal::answer(output, &preview, || text::preview(&preview))?;
        return Ok(Exit::Done);
    }
    // Who says yes has seen to what.
    if !args.run.yes || output == Output::Text {
        let preview = client.preview_retry(args.id, &request).await?;
        if output == Output::Text {
            terminal::print(&text::preview(&preview))?;
        }
    }
    if !args.run.yes {
        let question = format!("\nTake up the hosts that {} left undone?", args.id);
        tokio::task::block_in_place(|| terminal::confirm(&question, "give --yes if nobody is there to be asked"))?;
    }
    let started = client.retry(args.id, &request).await?;
    started_now(client, None, output, &started, args.run.detach).await
}

/// Goes on: with one that was paused, and, where the engine is in this process, with one that was interrupted.
pub(super) async fn resume(client: &Client, near: Option<&Near>, output: Output, args: Resume) -> Result<Exit, CliError> {
    attached(client, args.detach)?;
    let id = match args.id {
        Some(id) => id,
        None => only_active(client).await?,
    };
    let stands = client.orchestration(id).await?;
    let over = stands.summary.outcome.is_some();
    if over && output == Output::Text {
        eprintln!("{id} is over already; nothing is done again.");
    }
    if args.unwind && !over {
        if stands.unwinding.is_some() {
            return super::watch(client, near, output, id).await;
        }
        return super::orchestrations::cancel(client, near, output, id).await;
    }
    let rolling = stands.summary.rollout.as_ref().is_some_and(|progress| progress.paused.is_some());
    let restarting = stands.summary.services.as_ref().is_some_and(|progress| progress.paused.is_some());
    if !over && (rolling || restarting) {
        client.resume(id).await?;
    } else if !over && !client.is_here() {
        return Err(CliError::new(Exit::Refused, "it is not paused")
            .hint(format!("follow it with `{}`", again::command(&format!("watch {id}")))));
    }
    if args.detach {
        terminal::answer(output, &stands, || crate::render::orchestration::detached(id))?;
        return Ok(Exit::Done);
    }
    super::watch(client, near, output, id).await
}

async fn only_active(client: &Client) -> Result<OrchestrationId, CliError> {
    let active = client.orchestrations(None, true).await?.orchestrations;
    match &active[..] {
        [] => Err(CliError::new(Exit::NotFound, "there is nothing to go on with: every orchestration is over")
            .hint(again::hint("orchestrations", "lists them"))),
        [one] => Ok(one.id),
        several => {
            let ids: Vec<String> = several.iter().map(|one| one.id.to_string()).collect();
            Err(CliError::usage(format!("{} orchestrations are not over: {}", ids.len(), ids.join(", ")))
                .hint("name one of them"))
        }
    }
}

pub(super) async fn pause(client: &Client, output: Output, id: OrchestrationId, reason: &str) -> Result<Exit, CliError> {
    let paused = client.pause(id, reason).await?;
    terminal::answer(output, &paused, || {
        let resume = again::command(&format!("resume {id}"));
        format!("Nothing new starts in {id}; what has begun is finished.\n  {resume}   goes on\n")
    })?;
    Ok(Exit::Done)
}

pub(super) async fn agree(client: &Client, near: Option<&Near>, output: Output, id: OrchestrationId) -> Result<Exit, CliError> {
    let agreed = client.agree(id).await?;
    terminal::answer(output, &agreed, || format!("Agreed. Follow it with `{}`\n", again::command(&format!("watch {id}"))))?;
    if client.is_here() { follow::follow(client, near, id, output).await } else { Ok(Exit::Done) }
}
