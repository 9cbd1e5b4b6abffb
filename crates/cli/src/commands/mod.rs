//! The client's commands: each asks the server and prints what it answers.

mod access;
mod hosts;
mod orchestrations;
mod reboot;

use crate::args::{ClientCommand as Command, Global};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::Session;

/// Runs one client command.
pub(crate) async fn run(global: &Global, command: Command) -> Result<Exit, CliError> {
    let output = global.output;
    let client = || Client::new(&Session::find(global)?);
    match command {
        Command::Login(login) => access::login(global, login).await,
        Command::Logout => access::logout(global).await,
        Command::Hosts { selector } => hosts::list(&client()?, output, selector.as_deref()).await,
        Command::Approve { host, fingerprint } => hosts::approve(&client()?, output, &host, fingerprint.as_deref()).await,
        Command::EnrolToken { name, labels, expires_in_secs } => {
            hosts::enrol_token(&client()?, output, name, labels, expires_in_secs).await
        }
        Command::Explain { target, operation } => hosts::explain(&client()?, output, &target, operation).await,
        Command::Acknowledge { target, child } => hosts::acknowledge(&client()?, output, &target, child.as_deref()).await,
        Command::Reboot(reboot) => reboot::reboot(&client()?, output, reboot).await,
        Command::Shutdown(shutdown) => reboot::shutdown(&client()?, output, shutdown).await,
        Command::Orchestrations { host, active } => orchestrations::list(&client()?, output, host.as_deref(), active).await,
        Command::Watch { id } => crate::follow::follow(&client()?, id, output).await,
        Command::Cancel { id } => orchestrations::cancel(&client()?, output, id).await,
        Command::Audit(audit) => access::audit(&client()?, output, audit).await,
        Command::Tokens(tokens) => access::tokens(&client()?, output, tokens).await,
    }
}
