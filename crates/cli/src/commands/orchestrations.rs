//! Orchestrations: listed and cancelled.

use model::OrchestrationId;
use protocol::rest::orchestrations::Outcome;

use crate::args::Output;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::near::Near;
use crate::{again, follow, render, terminal};

pub(super) async fn list(client: &Client, output: Output, host: Option<&str>, active: bool) -> Result<Exit, CliError> {
    let host = match host {
        Some(selector) => Some(client.one_host(selector).await?.id),
        None => None,
    };
    let list = client.orchestrations(host, active).await?;
    terminal::answer(output, &list, || render::tables::orchestrations(&list))?;
    Ok(Exit::Done)
}

pub(super) async fn cancel(client: &Client, near: Option<&Near>, output: Output, id: OrchestrationId) -> Result<Exit, CliError> {
    let cancelled = client.cancel(id).await.map_err(|error| {
        if error.code.as_deref() == Some("reboot_already_issued") {
            let watch = again::command(&format!("watch {id}"));
            return error.hint(format!("it goes on to bring everything back; follow it with `{watch}`"));
        }
        error
    })?;
    if client.is_here() {
        return put_back(client, near, output, id).await;
    }
    terminal::answer(output, &cancelled, || {
        let watch = again::command(&format!("watch {id}"));
        format!("Being cancelled. Follow it with `{watch}`\n\n{}", render::orchestration::whole(&cancelled))
    })?;
    Ok(Exit::Done)
}

/// The engine ends with this process: it stays until everything is as it was (G7). Done, unless that could not be.
pub(super) async fn put_back(
    client: &Client,
    near: Option<&Near>,
    output: Output,
    id: OrchestrationId,
) -> Result<Exit, CliError> {
    if output == Output::Text {
        terminal::print("Being cancelled: what is half done is taken back, and nothing new starts.\n")?;
    }
    let exit = follow::follow(client, near, id, output).await?;
    if exit == Exit::Detached {
        return Ok(exit);
    }
    let cancelled = client.orchestration(id).await?.summary.outcome == Some(Outcome::Cancelled);
    let failed = !client.tracks(id, "failed", 1).await?.is_empty();
    Ok(if cancelled && !failed { Exit::Done } else { exit })
}
