//! Who we are to hosts without an agent.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use inventory::Inventory;
use reach::ssh::{Access, ConfigFiles, Options, Secret, Sudo};

use crate::args::Here;
use crate::error::CliError;
use crate::terminal;

/// Configuration, keys, known hosts and the password for sudo, each read once.
pub(crate) fn access(here: &Here, inventory: &Inventory) -> Result<Arc<Access>, CliError> {
    access_by(here, inventory, sudo(here)?)
}

/// The same for who only looks at this machine: his own rights do, unless he says whose password it takes to have more.
pub(super) fn access_to_look(here: &Here, inventory: &Inventory) -> Result<Arc<Access>, CliError> {
    match sudo(here)? {
        Sudo::Plain => access_by(here, inventory, Sudo::Never),
        given => access_by(here, inventory, given),
    }
}

fn access_by(here: &Here, inventory: &Inventory, sudo: Sudo) -> Result<Arc<Access>, CliError> {
    let mut options = Options { accept_new: here.accept_new_keys, sudo, ..Options::usual() };
    if let Some(file) = &here.ssh_config {
        options.config = ConfigFiles::Only(file.clone());
    }
    // A key that an inventory names is tried with its own host alone, before those of the configuration.
    let hosts = inventory.hosts.values();
    let own = hosts.filter_map(|host| Some((host.address.to_string().parse().ok()?, host.identity.as_deref()?)));
    options.identity_of = own.map(|(at, key)| (at, home(&options.around.home, key))).collect();
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
    file.map_or(Ok(()), is_closed)?;
    let text = terminal::password(file, "Password for sudo on the hosts", "--sudo-password-file")?;
    Ok(Sudo::Password(Secret::typed(text)))
}

/// A password that others can read is none. Pipes and descriptors of the shell are nobody's file.
fn is_closed(file: &Path) -> Result<(), CliError> {
    use std::os::unix::fs::PermissionsExt as _;
    match std::fs::metadata(file) {
        Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o077 != 0 => {
            let shown = file.display();
            Err(CliError::usage(format!("others can read {shown}: it is not used")).hint(format!("chmod 600 {shown}")))
        }
        // What cannot be read is told by whoever reads it.
        Ok(_) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_for_sudo_that_others_can_read_is_refused_with_a_hint() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        for (mode, good) in [(0o644, false), (0o640, false), (0o604, false), (0o600, true), (0o400, true)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let said = is_closed(&path);
            assert_eq!(said.is_ok(), good, "{mode:o}");
            assert!(good || said.unwrap_err().hint.is_some_and(|hint| hint.starts_with("chmod 600 ")));
        }
        assert!(is_closed(Path::new("/dev/null")).is_ok() && is_closed(Path::new("-")).is_ok());
    }
}
