//! Sandbox hosts: supervised process trees that pretend to be hosts, for the demonstration and for tests. Not real machines.
//!
//! A sandbox host is one directory and one supervisor, its firmware and its init in one. A boot writes a new boot identity
//! and starts the agent and the children that start by themselves; a reboot kills all of that (nothing survives it) and boots
//! anew. Children are real processes that tick into a log file. It needs no root. What it shares with a real host is what is
//! tested with it: the agent, its ledger, its link, and the recipes; what it does not have is a kernel of its own, inhibitors
//! and scheduled shutdowns.
//!
//! The directory (0700) holds `sandbox.json` ([`HostConfig`]), `boot_id` (`BOOT_ID/0`, while it is up), `control.sock` (0600),
//! `host.log`, `agent.log` and `children/NAME.log`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

mod child;
mod config;
mod control;
mod host;
mod process;
mod table;

pub(crate) use config::{AgentConfig, ChildConfig, HostConfig, OnTerm};
pub(crate) use control::{Request, ask};
pub(crate) use process::bound;

/// Where a running sandbox host shows its boot identity, in its directory; absent while it is down.
pub(crate) const BOOT_ID_FILE: &str = "boot_id";

/// The commands that make up a sandbox host; none is meant for operators.
#[derive(Debug, Subcommand)]
pub(crate) enum SandboxCommand {
    /// Run a sandbox host (a process tree for demonstrations, not a real machine) until it is shut down
    #[command(name = "sandbox-host", hide = true)]
    Host(HostArgs),
    /// Control a sandbox host; answers are JSON on standard output
    #[command(name = "sandbox-ctl", hide = true)]
    Ctl(CtlArgs),
    /// Be a child of a sandbox host
    #[command(name = "sandbox-child", hide = true)]
    Child(ChildArgs),
    /// Run a program that ends when the supervisor of its sandbox host ends
    #[command(name = "sandbox-exec", hide = true)]
    Exec(ExecArgs),
}

/// Of the supervisor.
#[derive(Debug, Args)]
pub(crate) struct HostArgs {
    /// Directory of the sandbox host; holds sandbox.json
    #[arg(long)]
    pub(crate) dir: PathBuf,
    /// Its name, for its log
    #[arg(long)]
    pub(crate) name: String,
}

/// Of the control program.
#[derive(Debug, Args)]
pub(crate) struct CtlArgs {
    /// Directory of the sandbox host
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: CtlVerb,
}

/// What can be asked of a sandbox host.
#[derive(Debug, Subcommand)]
pub(crate) enum CtlVerb {
    /// List the children
    List,
    /// Stop a child
    Stop {
        /// Its name
        name: String,
        /// How long it may take, in milliseconds
        #[arg(long, default_value_t = 10_000)]
        grace_ms: u64,
        /// Kill it instead of asking
        #[arg(long)]
        force: bool,
    },
    /// Start a child, or thaw it
    Start {
        /// Its name
        name: String,
        /// Leave it frozen
        #[arg(long)]
        frozen: bool,
    },
    /// Reboot the host
    Reboot,
    /// Shut the host down; its supervisor ends
    Shutdown,
    /// Say whether a reboot or shutdown is under way
    Pending,
}

/// Of a child.
#[derive(Debug, Args)]
pub(crate) struct ChildArgs {
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) log_file: PathBuf,
    #[arg(long)]
    pub(crate) parent: u32,
    #[arg(long)]
    pub(crate) boot: String,
    #[arg(long, value_enum, default_value_t = OnTerm::Exit)]
    pub(crate) on_term: OnTerm,
    #[arg(long, default_value_t = 0)]
    pub(crate) stop_delay_ms: u64,
}

/// Of the wrapper.
#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[arg(long)]
    pub(crate) parent: u32,
    #[arg(last = true, required = true)]
    pub(crate) argv: Vec<String>,
}

/// Why a part of a sandbox host failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// A file or directory.
    #[error("{what} {path}: {source}")]
    File { what: &'static str, path: PathBuf, source: std::io::Error },
    /// The configuration.
    #[error("{path} is no configuration of a sandbox host: {why}")]
    Config { path: PathBuf, why: String },
    /// Another supervisor.
    #[error("another supervisor runs the sandbox host in {0}; stop it first")]
    Taken(PathBuf),
    /// No supervisor.
    #[error("no sandbox host answers at {path}: {source} (is it running?)")]
    NoHost { path: PathBuf, source: std::io::Error },
    /// It answered with an error.
    #[error("{0}")]
    Refused(String),
    /// The answer cannot be read.
    #[error("the sandbox host gave an unreadable answer: {0}")]
    Answer(String),
    /// The operating system.
    #[error("{what}: {source}")]
    System { what: &'static str, source: std::io::Error },
    /// A process outlived its kill.
    #[error("processes of the sandbox host survived its end: {0:?}")]
    Survivors(Vec<u32>),
    /// The supervisor is gone already.
    #[error("the supervisor of this sandbox host has ended")]
    Orphan,
}

impl SandboxError {
    fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { what, path, source }
    }

    fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Runs one of the commands to its end; errors go to standard error, with exit code 1. Blocks the calling thread.
pub(crate) fn run(command: SandboxCommand) -> ExitCode {
    let done = match command {
        SandboxCommand::Host(args) => host::run(&args),
        SandboxCommand::Ctl(args) => ctl(&args),
        SandboxCommand::Child(args) => child::run(&args),
        SandboxCommand::Exec(args) => process::exec(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandbox: {error}");
            ExitCode::FAILURE
        }
    }
}

fn ctl(args: &CtlArgs) -> Result<(), SandboxError> {
    let request = match &args.verb {
        CtlVerb::List => Request::List,
        CtlVerb::Stop { name, grace_ms, force } => Request::Stop { name: name.clone(), grace_ms: *grace_ms, force: *force },
        CtlVerb::Start { name, frozen } => Request::Start { name: name.clone(), frozen: *frozen },
        CtlVerb::Reboot => Request::Reboot,
        CtlVerb::Shutdown => Request::Shutdown,
        CtlVerb::Pending => Request::Pending,
    };
    println!("{}", ask(&args.dir, &request)?);
    Ok(())
}

/// Runs async code on a thread and runtime of its own, so that it can be called from anywhere. The thread lives as long as
/// the code: processes that it spawns are bound to its life ([`process`]).
fn on_own_thread<T: Send>(work: impl AsyncFnOnce() -> Result<T, SandboxError> + Send) -> Result<T, SandboxError> {
    let body = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(SandboxError::system("no runtime"))?;
        tokio::task::LocalSet::new().block_on(&runtime, work())
    };
    std::thread::scope(|scope| match scope.spawn(body).join() {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
