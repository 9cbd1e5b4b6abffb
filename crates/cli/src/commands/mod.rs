//! The client's commands: each asks a server, or the engine in this process, and prints what is answered.

mod access;
mod events;
mod hosts;
mod orchestrations;
mod people;
mod reboot;
pub(crate) mod restart;
mod rollout;

use model::{Operation, OrchestrationId};

use crate::aim::Aim;
use crate::args::{ClientCommand as Command, Global, Locks, Output};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::near::Near;
use crate::way::Way;
use crate::{again, far, follow, terminal};

/// Runs one client command.
pub(crate) async fn run(global: &Global, command: Command) -> Result<Exit, CliError> {
    let aim = Aim::of(global, &command)?;
    again::given(global, aim == Aim::Server);
    match command {
        Command::Login(login) => access::login(global, login).await,
        Command::Logout => access::logout(global).await,
        Command::Run(args) if aim == Aim::Server => far::run_served(global, args).await,
        Command::Run(args) if args.free => Err(CliError::usage("--free is for a server: without one every command is free")),
        Command::Run(args) => far::run(global, args).await,
        Command::HealthCheck(args) if aim == Aim::Server => far::health_check_served(global, args).await,
        Command::HealthCheck(args) => far::health_check(global, args).await,
        Command::Sync(args) => far::sync(global, args).await,
        Command::Services(args) => far::services(global, &args).await,
        Command::Check(args) => far::check(global, &args).await,
        Command::Init(args) => far::init(global, &args).await,
        Command::Units(args) => far::units(global, &args).await,
        Command::Schema => schema(),
        Command::Restart(mut args) => {
            let request = restart::request(&mut args, aim, !global.here.inventory.is_empty())?;
            let command = Command::Restart(args);
            let way = Way::open(global, &command, aim).await?;
            let Command::Restart(args) = command else { return way.close().await.map(|()| Exit::Done) };
            let done = restart::restart(way.client(), way.near(), global.output, &args, &request).await;
            let closed = way.close().await;
            done.and_then(|exit| closed.map(|()| exit))
        }
        Command::Events(args) if aim != Aim::Server => events::filed(global, args).await,
        command => {
            let way = Way::open(global, &command, aim).await?;
            let done = asked(&way, global, command).await;
            let closed = way.close().await;
            done.and_then(|exit| closed.map(|()| exit))
        }
    }
}

/// One document, whoever asks.
fn schema() -> Result<Exit, CliError> {
    let schema = inventory::services::schema();
    terminal::answer(crate::args::Output::Json, &schema, String::new)?;
    Ok(Exit::Done)
}

async fn asked(way: &Way, global: &Global, command: Command) -> Result<Exit, CliError> {
    let (client, near, output) = (way.client(), way.near(), global.output);
    match command {
        // Answered above, without anybody to ask.
        Command::Login(_)
        | Command::Logout
        | Command::Run(_)
        | Command::HealthCheck(_)
        | Command::Sync(_)
        | Command::Services(_)
        | Command::Check(_)
        | Command::Init(_)
        | Command::Units(_)
        | Command::Schema
        | Command::Restart(_) => Ok(Exit::Done),
        Command::Events(args) => events::served(client, args).await,
        Command::Hosts { selector } => hosts::list(client, output, selector.as_deref()).await,
        Command::Approve { host, fingerprint } => hosts::approve(client, output, &host, fingerprint.as_deref()).await,
        Command::EnrolToken { name, labels, expires_in_secs } => {
            hosts::enrol_token(client, output, name, labels, expires_in_secs).await
        }
        Command::Explain { target, operation } => hosts::explain(client, output, &target, operation).await,
        Command::Acknowledge { target, child } => hosts::acknowledge(client, output, &target, child.as_deref()).await,
        Command::Reboot(reboot) => reboot::reboot(client, output, reboot).await,
        Command::Shutdown(shutdown) => reboot::shutdown(client, output, shutdown).await,
        Command::Orchestrations { host, active } => orchestrations::list(client, output, host.as_deref(), active).await,
        Command::Watch { id } => watch(client, near, output, id).await,
        Command::Cancel { id } => orchestrations::cancel(client, near, output, id).await,
        Command::Pause { id, reason } => rollout::pause(client, output, id, &reason).await,
        Command::Resume(resume) => rollout::resume(client, near, output, resume).await,
        Command::Agree { id } => rollout::agree(client, near, output, id).await,
        Command::Retry(retry) => rollout::retry(client, output, &retry).await,
        Command::Locks { command: None } => people::locks(client, output).await,
        Command::Locks { command: Some(Locks::Release { group, holder }) } => {
            people::release_slot(client, output, &group, &holder).await
        }
        Command::Disable { host, reason } => people::disable(client, output, &host, &reason).await,
        Command::Enable { host } => people::enable(client, output, &host).await,
        Command::Freeze { reason } => people::freeze(client, output, &reason).await,
        Command::Thaw => people::thaw(client, output).await,
        Command::Adopt(adopt) => people::adopt(client, output, adopt).await,
        Command::Remove { host, yes } => people::remove(client, output, &host, yes).await,
        Command::Audit(audit) => access::audit(client, output, audit).await,
        Command::Tokens(tokens) => access::tokens(client, output, tokens).await,
    }
}

/// Follows it until it is over; a run with everything that its hosts said.
async fn watch(client: &Client, near: Option<&Near>, output: Output, id: OrchestrationId) -> Result<Exit, CliError> {
    match follow::operation(client, id).await? {
        Operation::Run => far::watch(client, output, id).await,
        _ => follow::follow(client, near, id, output).await,
    }
}
