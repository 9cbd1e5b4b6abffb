//! Every chore of the project.

mod bench;
mod lab;
mod loading;
mod planning;
mod restarting;
mod rolling;
mod stages;
mod test;
mod tidy;
mod traces;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Every chore of the project")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Everything that has to hold, from a clean clone on; ends with one total line
    Test {
        /// Only these stages, in their usual order
        stages: Vec<String>,
    },
    /// The walls of the house: floors, purity, lengths, names
    Tidy,
    /// A fleet on a seed, around the production engine, driver and agent machine
    Sim {
        /// For the simulator: `--seeds N` runs so many, `--seed S` tells one
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Figures beside peers, in one run; not part of the tests
    #[command(subcommand)]
    Bench(bench::Order),
    /// Real systemd hosts that really reboot
    #[command(subcommand)]
    Lab(lab::Order),
    /// What the lab calls for its own processes
    #[command(hide = true)]
    LabInner {
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().chore {
        Chore::Test { stages } => test::run(&stages),
        Chore::Tidy => tidy::run(),
        Chore::Sim { words } => stages::simulate(&words),
        Chore::Bench(order) => bench::run(order),
        Chore::Lab(order) => lab::run(order),
        Chore::LabInner { words } => e2e::inner::main(&e2e::lab::Paths::from_environment(), &words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
