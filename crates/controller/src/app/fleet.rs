//! Hosts without an agent: how the server reaches them, and which there are.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::TargetId;
use reach::own::{OwnSite, Settings};
use reach::ssh::{Access, ConfigFiles, Options, Secret, SettingsError, Sudo};

use crate::config::{ServerConfig, SshConfig};
use crate::control::{Adopt, CONFIGURATION, Control, ControlError, Principal, ReachConfig, Watchful, own_boot};
use crate::hands::Hands;

/// Pause before the hosts of the list are adopted again, when the store did not take them.
const AGAIN: Duration = Duration::from_secs(5);

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
    if found.deploy.is_some() {
        tracing::warn!("{}: `deploy` is for the command line; a server does not use it", path.display());
    }
    for (name, host) in found.hosts.iter().filter(|(_, host)| host.identity.is_some()) {
        let file = host.identity.as_deref().unwrap_or_default();
        tracing::warn!("host {name}: its key file {file} is not used by a server; name it in ssh.identity_files");
    }
    let adopt = |(name, host): (String, inventory::Host)| Adopt { name, address: host.address.to_string(), labels: host.labels };
    Ok(found.hosts.into_iter().map(adopt).collect())
}

/// Makes the fleet's hosts those of the list: hosts that an earlier list named and this one does not are removed, but never those
/// that a person adopted, none on which something is under way, and not many at once unless that is wanted.
pub(super) async fn adopt(control: &Control, list: &Path, hosts: &[Adopt], may_shrink: bool) -> Result<(), ControlError> {
    let who = Principal::local(CONFIGURATION);
    let listed: BTreeSet<TargetId> = hosts.iter().map(|host| TargetId::of_ssh(&host.name)).collect();
    let before = control.adopted_by(&who)?;
    let gone: Vec<&(TargetId, String)> = before.iter().filter(|(host, _)| !listed.contains(host)).collect();
    // A list that is empty or half written must not take the fleet apart.
    if gone.len() > 1 && gone.len() > before.len() / 10 && !may_shrink {
        let text = format!(
            "{} of the {} hosts that {} named before are not in it any more, and none of them was removed: if that is right, \
             start once with fleet_may_shrink = true, or use `reveille remove`",
            gone.len(),
            before.len(),
            list.display()
        );
        tracing::error!("{text}");
        control.refused(CONFIGURATION, "remove", None, &text);
    } else {
        for (host, name) in gone {
            let host = *host;
            let at_work =
                control.query(move |engine, now| engine.host(host, now).and_then(|view| view.active_orchestration)).await?;
            match at_work {
                None => control.remove(&who, host).await?,
                Some(id) => {
                    tracing::warn!("host {name} is not in the list any more and stays: orchestration {id} is not over on it")
                }
            }
        }
    }
    control.adopt(&who, hosts).await.map(drop)
}

/// The same when the store takes entries again.
pub(super) async fn adopt_later(control: Control, list: PathBuf, hosts: Vec<Adopt>, may_shrink: bool) {
    loop {
        control.until_ready().await;
        match adopt(&control, &list, &hosts, may_shrink).await {
            Err(ControlError::Unavailable(reason)) => {
                tracing::warn!("the hosts of {} are adopted later: {reason}", list.display());
                tokio::time::sleep(AGAIN).await;
            }
            Err(error) => return tracing::error!("{}", FleetError::Adopt(error)),
            Ok(()) => return,
        }
    }
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
