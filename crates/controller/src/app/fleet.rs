//! Hosts without an agent: how the server reaches them, and which there are.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reach::own::{OwnSite, Settings};
use reach::ssh::{Access, ConfigFiles, Options, Secret, SettingsError, Sudo};

use crate::config::{ServerConfig, SshConfig};
use crate::control::{Adopt, Control, ControlError, Principal, ReachConfig, Watchful, own_boot};
use crate::hands::Hands;

/// The user that adopts in the name of the configuration.
const CONFIGURATION: &str = "configuration";

/// Why hosts without an agent cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The password for `sudo` could be read by others.
    #[error("{} can be read by others; run `chmod 600` on it, and think whether somebody has", .0.display())]
    Exposed(PathBuf),
    /// The `ssh_config`.
    #[error(transparent)]
    Ssh(#[from] SettingsError),
    /// The list of hosts.
    #[error(transparent)]
    List(#[from] inventory::InventoryError),
    /// It says how, not only which.
    #[error("{}: limit groups, drains, checks, windows and the like of a server stand in its own configuration, under [engine]", .0.display())]
    NotHere(PathBuf),
    /// The hosts cannot be adopted.
    #[error("the hosts of the list cannot be adopted: {0}")]
    Adopt(ControlError),
    /// The boot of this machine.
    #[error("the boot identity of this machine cannot be read from /proc")]
    NoBoot,
}

/// Those who reach hosts without an agent.
pub(super) fn reach(config: &ServerConfig) -> Result<ReachConfig, FleetError> {
    let SshConfig { config: file, identity_files, sudo_password_file, survey } = config.ssh.clone();
    let sudo = sudo_password_file.as_deref().map(secret).transpose()?.map_or(Sudo::Plain, Sudo::Password);
    let files = file.map_or(ConfigFiles::Usual, ConfigFiles::Only);
    let access = Access::new(Options { config: files, identity_files, sudo, ..Options::usual() })?;
    for note in access.not_obeyed() {
        tracing::warn!("{note}");
    }
    let own = OwnSite::new(Settings { boot: own_boot().ok_or(FleetError::NoBoot)?, roots_pem: Vec::new() });
    let survey = survey.unwrap_or(config.engine.heartbeat);
    Ok(ReachConfig { performer: Arc::new(Hands::new(access, own)), survey, watchful: Watchful::All })
}

fn secret(path: &Path) -> Result<Secret, FleetError> {
    let failed = |source| FleetError::Read { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(FleetError::Exposed(path.to_owned()));
    }
    Secret::read(path).map_err(failed)
}

/// The hosts of a list.
pub(super) fn listed(path: &Path) -> Result<Vec<Adopt>, FleetError> {
    let text = std::fs::read_to_string(path).map_err(|source| FleetError::Read { path: path.to_owned(), source })?;
    let found = inventory::read(&[inventory::Source { name: path.display().to_string(), text }])?;
    if found.config != engine::Config::default() {
        return Err(FleetError::NotHere(path.to_owned()));
    }
    for note in found.notes {
        tracing::warn!("{note}");
    }
    let adopt = |(name, host): (String, inventory::Host)| Adopt { name, address: host.address.to_string(), labels: host.labels };
    Ok(found.hosts.into_iter().map(adopt).collect())
}

/// Makes the fleet's hosts without an agent those of the list.
pub(super) async fn adopt(control: &Control, hosts: &[Adopt]) -> Result<(), FleetError> {
    let who = Principal::local(CONFIGURATION);
    let kept: BTreeSet<_> = control.adopt(&who, hosts).await.map_err(FleetError::Adopt)?.into_iter().collect();
    for gone in control.adopted().map_err(FleetError::Adopt)?.into_iter().filter(|host| !kept.contains(host)) {
        control.remove(&who, gone).await.map_err(FleetError::Adopt)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sudo");
        std::fs::write(&path, "secret\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(secret(&path), Err(FleetError::Exposed(_))));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(secret(&path).is_ok());
        assert!(matches!(secret(&dir.path().join("none")), Err(FleetError::Read { .. })));
    }

    #[test]
    fn a_list_holds_hosts_and_not_the_servers_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fleet.toml");
        std::fs::write(&path, "[host.web1]\naddress = \"root@10.0.0.7:2222\"\nlabels = { role = \"web\" }\n").unwrap();
        let hosts = listed(&path).unwrap();
        assert_eq!((hosts[0].name.as_str(), hosts[0].address.as_str()), ("web1", "root@10.0.0.7:2222"));
        std::fs::write(&path, "heartbeat = 1000\n").unwrap();
        assert!(matches!(listed(&path), Err(FleetError::NotHere(_))));
        std::fs::write(&path, "[hosts.web1]\n").unwrap();
        assert!(matches!(listed(&path), Err(FleetError::List(_))));
    }
}
