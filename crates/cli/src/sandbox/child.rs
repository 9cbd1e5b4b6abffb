//! A child of a sandbox host: a process that ticks into its log until it is told to stop.

use std::io::Write;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{ChildArgs, OnTerm, SandboxError, on_own_thread, process};

/// Runs until told to stop.
pub(super) fn run(args: &ChildArgs) -> Result<(), SandboxError> {
    process::end_with(args.parent)?;
    on_own_thread(async || tick(args).await)
}

async fn tick(args: &ChildArgs) -> Result<(), SandboxError> {
    let mut log = process::open_log(&args.log_file)?;
    let mut note = |text: &str| {
        writeln!(log, "{} {} {text}", super::host::now(), std::process::id())
            .map_err(SandboxError::file("cannot write", &args.log_file))
    };
    let mut term = signal(SignalKind::terminate()).map_err(SandboxError::system("no signals"))?;
    note(&format!("up, {} on boot {}", args.name, args.boot))?;
    // The supervisor waits for this line: from here on the child can be asked to stop.
    println!("ready");
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    let mut count = 0_u64;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                count += 1;
                note(&format!("tick {count}"))?;
            }
            _ = term.recv() => match args.on_term {
                OnTerm::Ignore => note("asked to stop, goes on")?,
                OnTerm::Exit => {
                    note("asked to stop")?;
                    tokio::time::sleep(Duration::from_millis(args.stop_delay_ms)).await;
                    return note("down");
                }
            },
        }
    }
}
