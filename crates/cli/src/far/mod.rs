//! What is done on hosts over SSH, without an engine: checks, commands, and what should run.

mod checks;
mod health;
mod kept;
mod reach;
mod run;
mod sync;

pub(crate) use checks::own_site;
pub(crate) use health::health_check;
pub(crate) use reach::access;
pub(crate) use run::run;
pub(crate) use sync::sync;

use std::path::PathBuf;

use inventory::{Host, Inventory};

use crate::args::Here;
use crate::error::CliError;
use crate::fleet;

/// The inventory, or what to do without one.
fn inventory(here: &Here, word: &str) -> Result<(Inventory, Vec<PathBuf>), CliError> {
    let files = fleet::files(here);
    if files.is_empty() {
        return Err(CliError::usage(format!("`reveille {word}` needs to know the hosts: there is no inventory"))
            .hint("list them in fleet.toml, or give an Ansible inventory with -i FILE"));
    }
    Ok((fleet::load(&files)?, files))
}

/// Those that are meant; without words all of them.
fn meant<'a>(inventory: &'a Inventory, words: &[String]) -> Result<Vec<(&'a str, &'a Host)>, CliError> {
    if words.is_empty() { fleet::select(inventory, &["*".to_owned()]) } else { fleet::select(inventory, words) }
}
