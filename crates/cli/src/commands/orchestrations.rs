//! Orchestrations: listed and cancelled.

use model::OrchestrationId;

use crate::args::Output;
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{render, terminal};

pub(super) async fn list(client: &Client, output: Output, host: Option<&str>, active: bool) -> Result<Exit, CliError> {
    let host = match host {
        Some(selector) => Some(client.one_host(selector).await?.id),
        None => None,
    };
    let list = client.orchestrations(host, active).await?;
    terminal::answer(output, &list, || render::tables::orchestrations(&list))?;
    Ok(Exit::Done)
}

pub(super) async fn cancel(client: &Client, output: Output, id: OrchestrationId) -> Result<Exit, CliError> {
    let cancelled = client.cancel(id).await.map_err(|error| {
        if error.code.as_deref() == Some("reboot_already_issued") {
            return error.hint(format!("it goes on to bring everything back; follow it with `reveille watch {id}`"));
        }
        error
    })?;
    terminal::answer(output, &cancelled, || {
        format!("Being cancelled. Follow it with `reveille watch {id}`\n\n{}", render::orchestration::whole(&cancelled))
    })?;
    Ok(Exit::Done)
}
