//! The `reveille` program: server, client of a server, and the demonstration's sandbox hosts.

mod args;
mod client;
mod commands;
mod error;
mod exit;
mod follow;
mod render;
mod sandbox;
mod session;
mod sse;
mod terminal;
mod trust;

use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
use error::CliError;
use exit::Exit;

fn main() -> ExitCode {
    let Cli { global, command } = Cli::parse();
    match command {
        // A supervisor forks and reaps by itself: no runtime around it.
        Command::Sandbox(command) => sandbox::run(command),
        command => {
            // An error means that a provider is installed already, which is what we want.
            drop(rustls::crypto::ring::default_provider().install_default());
            let done = runtime().and_then(|runtime| runtime.block_on(commands::run(&global, command)));
            done.unwrap_or_else(|error| {
                terminal::complain(global.output, &error);
                error.exit
            })
            .into()
        }
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot start: {error}")))
}
