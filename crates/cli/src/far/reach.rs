//! Who we are to hosts without an agent.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use inventory::Inventory;
use reach::ssh::{Access, ConfigFiles, Options, Secret, Sudo};

use crate::args::Here;
use crate::error::CliError;
use crate::terminal;

/// Configuration, keys, known hosts and the password for sudo, each read once.
pub(crate) fn access(here: &Here, inventory: &Inventory) -> Result<Arc<Access>, CliError> {
    let mut options = Options { accept_new: here.accept_new_keys, sudo: sudo(here)?, ..Options::usual() };
    if let Some(file) = &here.ssh_config {
        options.config = ConfigFiles::Only(file.clone());
    }
    // Keys that an inventory names are tried before those of the configuration.
    let keys: BTreeSet<&str> = inventory.hosts.values().filter_map(|host| host.identity.as_deref()).collect();
    options.identity_files = keys.into_iter().map(|key| home(&options.around.home, key)).collect();
    let access = Access::new(options).map_err(|error| CliError::usage(error.to_string()))?;
    for note in access.not_obeyed() {
        eprintln!("note: {note}");
    }
    Ok(access)
}

fn home(home: &Path, path: &str) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| path.into(), |below| home.join(below))
}

fn sudo(here: &Here) -> Result<Sudo, CliError> {
    if !here.ask_sudo_password && here.sudo_password_file.is_none() {
        return Ok(Sudo::Plain);
    }
    let file = here.sudo_password_file.as_deref();
    let text = terminal::password(file, "Password for sudo on the hosts", "--sudo-password-file")?;
    Ok(Sudo::Password(Secret::typed(text)))
}
