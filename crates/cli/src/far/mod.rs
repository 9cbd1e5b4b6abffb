//! What is done on hosts over SSH, without an engine: checks, commands, and what should run; and commands that a server runs,
//! which are shown and kept alike.

mod checks;
mod health;
mod init;
mod kept;
mod reach;
mod run;
mod said;
mod seen;
mod served;
mod sound;
mod sync;
mod units;

pub(crate) use checks::own_site;
pub(crate) use health::{health_check, health_check_served};
pub(crate) use init::init;
pub(crate) use reach::access;
pub(crate) use run::run;
pub(crate) use seen::services;
pub(crate) use served::{run_served, watch};
pub(crate) use sound::check;
pub(crate) use sync::sync;
pub(crate) use units::units;

use std::path::PathBuf;

use inventory::{Host, Inventory};
use model::Amount;

use crate::args::Global;
use crate::error::CliError;
use crate::fleet;
use crate::session::Session;

/// The inventory, or what to do without one.
fn inventory(global: &Global, word: &str) -> Result<(Inventory, Vec<PathBuf>), CliError> {
    let files = fleet::files(&global.here);
    if files.is_empty() || global.typed.contains(&"--server") {
        // A damaged login is no login, and no matter here.
        let server = global.server.clone().or_else(|| Session::stored().ok().flatten().map(|session| session.server));
        if let Some(server) = server {
            let text =
                format!("`reveille {word}` goes over SSH from here, not through {server}: it needs to know the hosts itself");
            return Err(CliError::usage(text).hint(
                "give the list of hosts that the server was given with -i FILE, with the [check.NAME] tables of its configuration",
            ));
        }
        return Err(CliError::usage(format!("`reveille {word}` needs to know the hosts: there is no inventory"))
            .hint("list them in fleet.toml, or give an Ansible inventory with -i FILE"));
    }
    Ok((fleet::load(&files)?, files))
}

/// Those that are meant; without words all of them.
fn meant<'a>(inventory: &'a Inventory, words: &[String]) -> Result<Vec<(&'a str, &'a Host)>, CliError> {
    if words.is_empty() { fleet::select(inventory, &["*".to_owned()]) } else { fleet::select(inventory, words) }
}

/// At least one host at a time.
fn not_nothing(concurrency: Amount) -> Result<Amount, CliError> {
    match concurrency {
        Amount::Count(0) | Amount::Percent(0) => {
            Err(CliError::usage("--concurrency is 0, so that nothing could ever run: at least 1, or 1%"))
        }
        amount => Ok(amount),
    }
}
