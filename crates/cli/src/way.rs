//! Whom a command asks: a server, or an engine in this process.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use controller::api::Inside;
use controller::control::{Adopt, ControlError};
use controller::hands::Hands;
use controller::local::{Local, LocalError, LocalOptions, State};
use inventory::Inventory;
use model::{Millis, OrchestrationId, TargetId};

use crate::aim::Aim;
use crate::args::{ClientCommand as Command, Global, Reboot, Restart, Resume, Retry, Shutdown};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::fleet::Hosts;
use crate::near::Near;
use crate::runs::{Begun, Runs};
use crate::session::{self, Session};
use crate::{again, far, fleet};

/// First pause before a command that was lost with a process before is handed over again.
const RESEND: Millis = Millis::secs(2);

/// After an interrupted run on this machine alone, until its deadlines are judged again.
const SETTLING_HERE: Millis = Millis::secs(1);

/// Open until [`Way::close`].
pub(crate) struct Way {
    client: Client,
    local: Option<Local>,
    near: Option<Near>,
}

impl Way {
    /// A server, if one is named or was logged in to; an engine in this process, if an inventory is given with `-i`, or there is no
    /// server and `fleet.toml` is found.
    pub(crate) async fn open(global: &Global, command: &Command, aim: Aim) -> Result<Self, CliError> {
        if aim == Aim::Server {
            return Ok(Self { client: Client::new(&Session::find(global)?)?, local: None, near: None });
        }
        let dir = global.here.state_dir.clone().map_or_else(session::state_dir, Ok)?;
        let dir = std::path::absolute(&dir).unwrap_or(dir);
        match State::open(dir.clone()).await {
            Ok(state) => Self::here(global, command, &dir, state).await,
            Err(LocalError::InUse { path, holder }) => beside(command, &dir, &LocalError::InUse { path, holder }),
            Err(error) => Err(trouble(&error)),
        }
    }

    async fn here(global: &Global, command: &Command, dir: &Path, state: State) -> Result<Self, CliError> {
        let about = match about(command) {
            About::This(id) => Some(id),
            // Which one that is decides under which inventory it goes on.
            About::OnlyOpen => match state.open_orchestrations().await.map_err(|error| trouble(&error))?[..] {
                [one] => Some(one),
                _ => None,
            },
            About::None => None,
        };
        let mut runs = Runs::of(dir);
        let hosts = match command {
            Command::Restart(restart) if global.here.inventory.is_empty() && restart.listed.names_this_machine() => {
                Hosts::ThisMachine
            }
            _ => runs.hosts(about, &global.here.inventory, fleet::found())?,
        };
        let inventory = hosts.load()?;
        // Told before anything is opened.
        let meant = match command {
            Command::Reboot(reboot) => fleet::select(&inventory, &reboot.targets)?,
            Command::Restart(restart) => fleet::select(&inventory, &restart.listed.hosts)?,
            Command::Shutdown(shutdown) => fleet::select(&inventory, std::slice::from_ref(&shutdown.target)).unwrap_or_default(),
            Command::Remove { host, .. } => listed(&inventory, host)?,
            _ => Vec::new(),
        };
        let meant: Vec<TargetId> = meant.into_iter().map(|(name, _)| TargetId::of_ssh(name)).collect();
        let limits = serde_json::to_string(&inventory.config.limit_groups).unwrap_or_default();
        if let Some(id) = about.filter(|id| goes_on(command) && runs.differs(*id, &limits)) {
            eprintln!("note: the limit groups are other ones than when {id} was begun; it goes on under those of now");
        }
        if begins(command) {
            let manifest = if let Command::Restart(restart) = command { restart.listed.manifest.clone() } else { None };
            runs.begins_with(Begun { manifest, ..Begun::with(&hosts, limits) })?;
        }
        let access = far::access(&global.here, &inventory)?;
        let near = Near::new(access.clone(), &inventory);
        let performer = Arc::new(Hands::new(access, far::own_site()?));
        let events = Some(session::events_file(&global.here)?);
        let mut engine = inventory.config.clone();
        if hosts == Hosts::ThisMachine {
            // It answers at once: there is nobody to be heard first.
            engine.settling = SETTLING_HERE;
        }
        let options = LocalOptions { engine, performer, resend: RESEND, user: user(), events };
        let mut local = state.start(options).await.map_err(|error| trouble(&error))?;
        let inside = Inside::new(local.control().clone(), local.who().clone());
        if stays(command)
            && let Err(error) = local.listen(inside.clone())
        {
            tracing::warn!("other commands cannot ask this process: {error}");
        }
        let mut way = Self { client: Client::here(inside, runs), local: Some(local), near: Some(near) };
        match way.prepare(&inventory, meant, command, about).await {
            Ok(()) => Ok(way),
            Err(error) => {
                way.close().await?;
                Err(error)
            }
        }
    }

    /// Makes the hosts of the inventory those that count, lets nothing go on that nobody asked for, and reads the hosts that what is
    /// asked is about.
    async fn prepare(
        &mut self,
        inventory: &Inventory,
        mut meant: Vec<TargetId>,
        command: &Command,
        about: Option<OrchestrationId>,
    ) -> Result<(), CliError> {
        let Some(local) = &self.local else { return Ok(()) };
        let failed = |error: ControlError| trouble(&error.into());
        // Who pauses it says why: that counts, and not that it was interrupted.
        let own_word = goes_on(command) || matches!(command, Command::Pause { .. });
        local.interrupt(about.filter(|_| own_word)).await.map_err(failed)?;
        let adopt = |(name, host): (&String, &inventory::Host)| Adopt {
            name: name.clone(),
            address: host.address.to_string(),
            labels: host.labels.clone(),
        };
        let hosts: Vec<Adopt> = inventory.hosts.iter().map(adopt).collect();
        let (_, kept) = local.adopt(&hosts).await.map_err(failed)?;
        for host in &kept {
            eprintln!("note: {} is not in this inventory, and counts still: {}", host.name, why_kept(host));
        }
        if matches!(command, Command::Reboot(_) | Command::Restart(_)) && !kept.is_empty() {
            self.client.only(meant.clone());
        }
        if let Some(id) = about {
            meant.extend(local.unfinished(id).await.map_err(failed)?);
        }
        let all = || inventory.hosts.keys().map(|name| TargetId::of_ssh(name)).collect();
        let mut read: BTreeSet<TargetId> = match command {
            Command::Explain { .. } | Command::Hosts { .. } => all(),
            // They stay up: nobody else counts against them.
            Command::Restart(_) => meant.iter().copied().collect(),
            // A dry run too: what blocks a host is known of those alone that were read.
            Command::Reboot(_) | Command::Shutdown(_) | Command::Retry(_) => concerned(inventory, &meant),
            command if stays(command) => concerned(inventory, &meant),
            _ => BTreeSet::new(),
        };
        if stays(command) {
            // What had begun is finished beside it.
            let begun = local.control().select(local.who(), None).await.map_err(failed)?;
            read.extend(begun.iter().filter(|host| host.active_orchestration.is_some()).map(|host| host.id));
        }
        if read.is_empty() {
            return Ok(());
        }
        let read: Vec<TargetId> = read.into_iter().collect();
        let unread = local.survey(&read).await.map_err(failed)?;
        for (name, id) in inventory.hosts.keys().map(|name| (name, TargetId::of_ssh(name))) {
            if let Some(reason) = unread.get(&id) {
                eprintln!("note: {name} cannot be read: {reason}");
            }
        }
        Ok(())
    }

    /// Whom to ask.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The hosts that are reached from here, if any are.
    pub(crate) fn near(&self) -> Option<&Near> {
        self.near.as_ref()
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

/// What a command is about.
enum About {
    This(OrchestrationId),
    OnlyOpen,
    None,
}

fn about(command: &Command) -> About {
    match command {
        Command::Resume(Resume { id: None, .. }) => About::OnlyOpen,
        Command::Resume(Resume { id: Some(id), .. })
        | Command::Retry(Retry { id, .. })
        | Command::Watch { id }
        | Command::Cancel { id }
        | Command::Pause { id, .. }
        | Command::Agree { id } => About::This(*id),
        _ => About::None,
    }
}

/// Whether a command is a person's word that what was interrupted goes on.
fn goes_on(command: &Command) -> bool {
    matches!(command, Command::Resume(Resume { unwind: false, .. }) | Command::Agree { .. })
}

/// Whether something may begin by it.
fn begins(command: &Command) -> bool {
    match command {
        Command::Reboot(Reboot { run, .. }) | Command::Shutdown(Shutdown { run, .. }) | Command::Retry(Retry { run, .. }) => {
            !run.dry_run
        }
        Command::Restart(Restart { dry_run, .. }) => !dry_run,
        _ => false,
    }
}

/// Whether it stays until something is over.
fn stays(command: &Command) -> bool {
    begins(command)
        || matches!(command, Command::Resume(_) | Command::Watch { .. } | Command::Cancel { .. } | Command::Agree { .. })
}

/// Another process is at it: it is asked, as a server would be. What is begun must not depend on when that process ends.
fn beside(command: &Command, dir: &Path, error: &LocalError) -> Result<Way, CliError> {
    let socket = State::socket(dir);
    let listens = std::os::unix::net::UnixStream::connect(&socket).is_ok();
    if !listens || begins(command) || matches!(command, Command::Reboot(_) | Command::Restart(_) | Command::Retry(_)) {
        let error = CliError::new(Exit::Refused, error.to_string());
        return Err(error.hint(match listens {
            true => again::hint(
                "orchestrations --active",
                "shows what it does; begin this when that is over, or give another --state-dir",
            ),
            false => "wait until it is done, or give another --state-dir for other hosts".to_owned(),
        }));
    }
    Ok(Way { client: Client::beside(&socket)?, local: None, near: None })
}

/// Who is listed comes back with the next command.
fn listed<'a>(inventory: &'a Inventory, host: &str) -> Result<Vec<(&'a str, &'a inventory::Host)>, CliError> {
    match inventory.hosts.contains_key(host) {
        true => Err(CliError::usage(format!("{host} stands in the inventory")).hint("take it out there")),
        false => Ok(Vec::new()),
    }
}

/// Why a host counts that no inventory lists.
fn why_kept(host: &engine::HostView) -> String {
    let name = &host.name;
    match (&host.stranded, host.active_orchestration) {
        (Some(reason), _) => format!("it is stranded ({reason}); {}", again::hint(&format!("acknowledge {name}"), "ends that")),
        (None, Some(id)) => format!("{id} works on it; {}", again::hint(&format!("remove {name}"), "forgets it")),
        (None, None) => format!("it waits in a rollout; {}", again::hint(&format!("remove {name}"), "forgets it")),
    }
}

/// Those that are meant, and those whose being away counts against them.
fn concerned(inventory: &Inventory, meant: &[TargetId]) -> BTreeSet<TargetId> {
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
    all
}

fn user() -> String {
    ["USER", "LOGNAME"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|user| !user.is_empty()))
        .unwrap_or_else(|| "root".to_owned())
}

fn trouble(error: &LocalError) -> CliError {
    let exit = match error {
        LocalError::Control(controller::control::ControlError::Invalid(_)) => Exit::Usage,
        _ => Exit::Failed,
    };
    CliError::new(exit, error.to_string())
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
        assert_eq!(concerned(&inventory, &[TargetId::of_ssh("a")]), ids(&["a", "b"]));
    }
}
