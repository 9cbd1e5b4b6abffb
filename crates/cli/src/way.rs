//! Whom a command asks: a server, or an engine in this process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use controller::api::Inside;
use controller::control::Adopt;
use controller::hands::Hands;
use controller::local::{Local, LocalError, LocalOptions};
use inventory::Inventory;
use model::{Millis, TargetId};
use serde::{Deserialize, Serialize};

use crate::args::{ClientCommand as Command, Global};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::session::{self, Session};
use crate::{far, fleet};

/// Beside the journal: which inventory it was used with last, so that `resume` needs no `-i`.
const USED: &str = "inventory.json";

/// First pause before a command that was lost with a process before is handed over again.
const RESEND: Millis = Millis::secs(2);

/// Open until [`Way::close`].
pub(crate) struct Way {
    client: Client,
    local: Option<Local>,
}

impl Way {
    /// A server, if one is named or was logged in to; an engine in this process, if an inventory is given with `-i`, or there is no
    /// server and `fleet.toml` is found.
    pub(crate) async fn open(global: &Global, command: &Command) -> Result<Self, CliError> {
        if let Some(word) = for_a_server(command) {
            return Ok(Self { client: server(global, word)?, local: None });
        }
        let said = !global.here.inventory.is_empty() || global.here.state_dir.is_some();
        let known = global.server.is_some() || Session::stored()?.is_some();
        if !said && known {
            return Ok(Self { client: Client::new(&Session::find(global)?)?, local: None });
        }
        Self::here(global, command).await
    }

    async fn here(global: &Global, command: &Command) -> Result<Self, CliError> {
        let state = global.here.state_dir.clone().map_or_else(session::state_dir, Ok)?;
        let state = std::path::absolute(&state).unwrap_or(state);
        let files = files(global, &state)?;
        let inventory = fleet::load(&files)?;
        // Told before anything is opened.
        let meant = match command {
            Command::Reboot(reboot) => Some(fleet::select(&inventory, &reboot.targets)?),
            _ => None,
        };
        let meant: Vec<TargetId> = meant.into_iter().flatten().map(|(name, _)| TargetId::of_ssh(name)).collect();
        let performer = Arc::new(Hands::new(far::access(&global.here, &inventory)?, far::own_site()?));
        let engine = inventory.config.clone();
        let options = LocalOptions { state_dir: state.clone(), engine, performer, resend: RESEND, user: user() };
        let local = Local::open(options).await.map_err(|error| trouble(&error))?;
        remember(&state, &files)?;
        let client = Client::here(Inside::new(local.control().clone(), local.who().clone()));
        let way = Self { client, local: Some(local) };
        match way.prepare(&inventory, &meant, command).await {
            Ok(()) => Ok(way),
            Err(error) => {
                way.close().await?;
                Err(error)
            }
        }
    }

    /// Makes the hosts known, and reads those that what is asked is about.
    async fn prepare(&self, inventory: &Inventory, meant: &[TargetId], command: &Command) -> Result<(), CliError> {
        let Some(local) = &self.local else { return Ok(()) };
        let adopt = |(name, host): (&String, &inventory::Host)| Adopt {
            name: name.clone(),
            address: host.address.to_string(),
            labels: host.labels.clone(),
        };
        let hosts: Vec<Adopt> = inventory.hosts.iter().map(adopt).collect();
        local.adopt(&hosts).await.map_err(|error| trouble(&error.into()))?;
        let read = match command {
            Command::Reboot(_) => concerned(inventory, meant),
            Command::Explain { .. } | Command::Hosts { .. } => {
                inventory.hosts.keys().map(|name| TargetId::of_ssh(name)).collect()
            }
            Command::Resume(_) | Command::Watch { .. } | Command::Retry(_) | Command::Agree { .. } | Command::Shutdown(_) => {
                inventory.hosts.keys().map(|name| TargetId::of_ssh(name)).collect()
            }
            _ => Vec::new(),
        };
        if read.is_empty() {
            return Ok(());
        }
        let unread = local.survey(&read).await.map_err(|error| trouble(&error.into()))?;
        for name in inventory.hosts.keys() {
            if let Some(reason) = unread.get(&TargetId::of_ssh(name)) {
                eprintln!("note: {name} cannot be read: {reason}");
            }
        }
        Ok(())
    }

    /// Whom to ask.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Lets go of it.
    pub(crate) async fn close(self) -> Result<(), CliError> {
        drop(self.client);
        match self.local {
            Some(local) => local.close().await.map_err(|error| trouble(&error)),
            None => Ok(()),
        }
    }
}

/// What only a server can do.
fn for_a_server(command: &Command) -> Option<&'static str> {
    match command {
        Command::Approve { .. } => Some("approve"),
        Command::EnrolToken { .. } => Some("enrol-token"),
        Command::Tokens(_) => Some("tokens"),
        Command::Adopt(_) => Some("adopt"),
        Command::Remove { .. } => Some("remove"),
        _ => None,
    }
}

fn server(global: &Global, word: &str) -> Result<Client, CliError> {
    if !global.here.inventory.is_empty() {
        return Err(CliError::usage(format!("`{word}` is for a server: without one the inventory says which hosts there are"))
            .hint("leave -i away, or edit the inventory"));
    }
    Client::new(&Session::find(global)?)
}

/// The inventory files: those that are given or found, else those that the journal was used with last.
fn files(global: &Global, state: &Path) -> Result<Vec<PathBuf>, CliError> {
    let files = fleet::files(&global.here);
    if !files.is_empty() {
        return Ok(files);
    }
    let used = std::fs::read(state.join(USED)).ok().and_then(|text| serde_json::from_slice::<Used>(&text).ok());
    used.map(|used| used.files).ok_or_else(|| {
        CliError::new(Exit::Unauthorised, "there is neither a server nor an inventory")
            .hint("log in with `reveille login https://HOST:PORT`, or list the hosts in fleet.toml (or give -i FILE)")
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct Used {
    files: Vec<PathBuf>,
}

fn remember(state: &Path, files: &[PathBuf]) -> Result<(), CliError> {
    let files = files.iter().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())).collect();
    let path = state.join(USED);
    let json = serde_json::to_vec(&Used { files }).map_err(std::io::Error::from);
    json.and_then(|json| std::fs::write(&path, json))
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))
}

/// Those that are meant, and those whose being away counts against them.
fn concerned(inventory: &Inventory, meant: &[TargetId]) -> Vec<TargetId> {
    let mut all: BTreeSet<TargetId> = meant.iter().copied().collect();
    for group in &inventory.config.limit_groups {
        let hosts = inventory.hosts.iter().map(|(name, host)| (TargetId::of_ssh(name), name.as_str(), &host.labels));
        for group in group.resolve(hosts) {
            let members: Vec<TargetId> = group.members.iter().filter_map(|member| member.host).collect();
            if members.iter().any(|member| meant.contains(member)) {
                all.extend(members);
            }
        }
    }
    all.into_iter().collect()
}

fn user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "root".to_owned())
}

fn trouble(error: &LocalError) -> CliError {
    let exit = match error {
        LocalError::InUse { .. } => Exit::Refused,
        LocalError::Control(controller::control::ControlError::Invalid(_)) => Exit::Usage,
        _ => Exit::Failed,
    };
    let error = CliError::new(exit, error.to_string());
    match exit {
        Exit::Refused => error.hint("follow it where it runs, or give another --state-dir for other hosts"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use inventory::Source;

    use super::*;

    #[test]
    fn members_of_the_same_limit_group_are_read_too() {
        let text = "[host.a]\nlabels = { rack = \"1\" }\n[host.b]\nlabels = { rack = \"1\" }\n[host.c]\nlabels = { rack = \"2\" }\n\
                    [[limit_group]]\nname = \"rack\"\nper = \"rack\"\nmax_unavailable = 1\n";
        let inventory = inventory::read(&[Source { name: "fleet.toml".to_owned(), text: text.to_owned() }]).unwrap();
        let ids = |names: &[&str]| names.iter().map(|name| TargetId::of_ssh(name)).collect::<BTreeSet<_>>();
        let all: BTreeSet<TargetId> = concerned(&inventory, &[TargetId::of_ssh("a")]).into_iter().collect();
        assert_eq!(all, ids(&["a", "b"]));
    }
}
