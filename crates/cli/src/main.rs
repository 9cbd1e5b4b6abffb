//! The `reveille` program.

mod sandbox;

use std::process::ExitCode;

use clap::Parser;

/// Takes things down safely, brings them back, and proves that they came back.
#[derive(Debug, Parser)]
#[command(name = "reveille", version)]
struct Cli {
    #[command(subcommand)]
    command: sandbox::SandboxCommand,
}

fn main() -> ExitCode {
    sandbox::run(Cli::parse().command)
}
