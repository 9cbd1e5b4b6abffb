//! The `reveille` program: server, client of a server, and the demonstration's sandbox hosts; and what other programs can call of
//! it: [`rolling_restart`] and [`restart_service`].

mod again;
mod agent;
mod aim;
mod args;
mod client;
mod commands;
mod demo;
mod error;
mod exit;
mod far;
mod fleet;
mod follow;
mod manifest;
mod near;
mod programs;
mod render;
mod restarted;
mod results;
mod runs;
mod sandbox;
mod server;
mod session;
mod sse;
mod terminal;
mod trust;
mod way;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use args::{Cli, Command};
use error::CliError;
use exit::Exit;

pub use programs::{RestartError, RestartOptions, RestartResult, restart_service, rolling_restart};

/// What the program does with the arguments that it was started with.
pub fn main() -> ExitCode {
    let Cli { global, command } = Cli::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    // An error means that a provider is installed already, which is what we want.
    drop(rustls::crypto::ring::default_provider().install_default());
    if let Err(error) = aim::heard(&global, &command) {
        terminal::complain(global.output, &error);
        return error.exit.into();
    }
    let done = match command {
        // A supervisor forks and reaps by itself: no runtime around it.
        Command::Sandbox(command) => return sandbox::run(command),
        Command::Agent(args) => {
            log(global.log.as_deref().or(Some(USUAL)));
            agent::run(args)
        }
        Command::Demo(args) => demo::run(args, global.output),
        Command::Server(args) => {
            log(global.log.as_deref().or(Some(USUAL)));
            runtime().and_then(|runtime| runtime.block_on(server::run(args, global.output)))
        }
        Command::Client(command) => {
            log(global.log.as_deref());
            runtime().and_then(|runtime| runtime.block_on(commands::run(&global, command)))
        }
    };
    done.unwrap_or_else(|error| {
        terminal::complain(global.output, &error);
        error.exit
    })
    .into()
}

/// What those log that run for long.
const USUAL: &str = "info";

/// Logs go to standard error. Commands of a person say what there is to say by themselves, and log only when they are asked to.
fn log(filter: Option<&str>) {
    let Some(filter) = filter else { return };
    let filter = EnvFilter::new(filter);
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(console::colors_enabled_stderr());
    // Under systemd the time is the journal's to write.
    if std::env::var_os("JOURNAL_STREAM").is_some() { log.without_time().init() } else { log.init() }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))
}
