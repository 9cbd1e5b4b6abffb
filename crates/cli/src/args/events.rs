//! `reveille events`.

use std::path::PathBuf;

use clap::Args;

/// Of `reveille events`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Events {
    /// Go on with those that are yet to come, also when the file is rotated or the server restarts
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Only of this service
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// Read this file (default without a server: /var/log/reveille/orchestrator-events.jsonl for root, else
    /// $XDG_STATE_HOME/reveille/orchestrator-events.jsonl; with --state-dir, in that directory)
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How many of those that there are, 0 to 500
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub(crate) lines: u32,
}
