//! Hosts: adopted and removed, taken out of use and given back; and what holds what.

use std::collections::{HashMap, HashSet};

use engine::{Holder, Input, Refusal, Reply};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use inventory::Address;
use model::{LOCAL_ADDRESS, Labels, TargetId};

use super::access::{Permission, Principal};
use super::directory::Known;
use super::enrol::{check_labels, check_name};
use super::records::{Lock, LockKind};
use super::{Control, ControlError};

/// In whose name the hosts of the server's own list are adopted; no user is called so.
pub const CONFIGURATION: &str = "configuration";
/// Hosts that are adopted at the same time: they share turns, and so waits for the disk.
const ADOPTED_AT_ONCE: usize = 512;
/// Longest reason, in characters.
const REASON_MAX: usize = 500;

/// A host that is reached over SSH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adopt {
    /// Its name; its id is computed from it.
    pub name: String,
    /// `USER@ADDRESS:PORT`, of which user and port may be left out.
    pub address: String,
    /// Its labels.
    pub labels: Labels,
}

impl Control {
    /// Takes hosts without an agent in, and gives their ids in the same order. One that is known by that name gets these address
    /// and labels. Needs [`Permission::ManageHosts`] for all hosts: whoever names an address uses the controller's own key and
    /// password there. Labels alone can be changed in one's scope.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] for a bad name, address or label; [`ControlError::Conflict`] for the name of a host with an agent,
    /// or the address of another host; rights; [`ControlError::Unavailable`].
    pub async fn adopt(&self, by: &Principal, hosts: &[Adopt]) -> Result<Vec<TargetId>, ControlError> {
        self.authorize(by, Permission::ManageHosts, None).await?;
        let directory = self.directory()?;
        let mut ids = Vec::with_capacity(hosts.len());
        let mut new = Vec::new();
        let mut places: HashMap<(String, u16), (TargetId, &str)> = HashMap::new();
        let mut names: HashMap<&str, TargetId> = HashMap::new();
        let meant: HashSet<TargetId> = hosts.iter().map(|host| TargetId::of_ssh(&host.name)).collect();
        for (id, known) in &directory.hosts {
            names.insert(&known.name, *id);
            // Those that are meant may change places among themselves.
            let address = known.address.as_ref().filter(|_| !meant.contains(id)).and_then(|text| text.parse::<Address>().ok());
            if let Some(address) = address {
                places.insert(address.reached(), (*id, &known.name));
            }
        }
        for host in hosts {
            check_name(&host.name)?;
            check_labels(&host.labels)?;
            // The machine that the engine runs on is offered by whoever runs it, and by no user of a server.
            let is_local = host.address == LOCAL_ADDRESS && by.token.is_none();
            let address = match is_local {
                true => None,
                false => Some(host.address.parse::<Address>().map_err(|error| ControlError::Invalid(error.to_string()))?),
            };
            let id = TargetId::of_ssh(&host.name);
            ids.push(id);
            let known = directory.hosts.get(&id);
            let moves = known.is_none_or(|known| known.address.as_ref() != Some(&host.address));
            let outside = !by.scope.covers(&host.labels) || known.is_some_and(|known| !by.scope.covers(&known.labels));
            if outside || moves && !by.scope.is_all() {
                let error = ControlError::Forbidden { permission: Permission::ManageHosts, outside_scope: true };
                self.refused(&by.name, "adopt", Some(id), &error.to_string());
                return Err(error);
            }
            if names.get(host.name.as_str()).is_some_and(|other| *other != id) {
                let text =
                    format!("there is a host {:?} with an agent already: remove it first, or take another name", host.name);
                return Err(ControlError::Conflict(text));
            }
            // Whoever runs the engine lists hosts of his own, of which some may have new names.
            if let Some((other, name)) = address.and_then(|address| places.insert(address.reached(), (id, &host.name)))
                && other != id
                && by.token.is_some()
            {
                let text = format!(
                    "{} is the address of host {name} already, and one machine has one name: remove that host first",
                    host.address
                );
                return Err(ControlError::Conflict(text));
            }
            // What the server's list names is the list's, whoever adopted it before.
            let owner = by.token.is_none() && by.name == CONFIGURATION;
            let is_new = |known: &Known| owner && known.adopted_by.as_ref() != Some(&by.actor());
            if known.is_none_or(|known| moves || known.labels != host.labels || is_new(known)) {
                new.push((id, host.clone()));
            }
        }
        let adopted = stream::iter(new).map(|(host, Adopt { name, address, labels })| async move {
            self.noted(by, "adopt", Some(host), Input::Adopt { host, name, address, labels, by: by.actor() }, None).await
        });
        adopted.buffer_unordered(ADOPTED_AT_ONCE).try_collect::<Vec<()>>().await?;
        Ok(ids)
    }

    /// The hosts that were adopted in this name, with their own.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] before the first start.
    pub fn adopted_by(&self, who: &Principal) -> Result<Vec<(TargetId, String)>, ControlError> {
        let directory = self.directory()?;
        let of = directory.hosts.iter().filter(|(_, known)| known.adopted_by.as_ref() == Some(&who.actor()));
        Ok(of.map(|(host, known)| (*host, known.name.clone())).collect())
    }

    /// Takes a host out of the fleet: its tracks end, and what held it lets go (pain 1). Needs [`Permission::ManageHosts`].
    ///
    /// # Errors
    /// Rights; an unknown host; [`ControlError::Unavailable`].
    pub async fn remove(&self, by: &Principal, host: TargetId) -> Result<(), ControlError> {
        self.authorize(by, Permission::ManageHosts, Some(host)).await?;
        self.noted(by, "remove", Some(host), Input::Remove { host, by: by.actor() }, None).await?;
        // Nothing is done to it any more, by nobody.
        self.kick(host);
        if let Some(surveyor) = &self.surveyor {
            surveyor.reach.forget(host);
        }
        Ok(())
    }

    /// The inventory lists a host no more. Says whether it counts nowhere from now on: it does as long as something is open on it.
    /// Needs [`Permission::ManageHosts`].
    ///
    /// # Errors
    /// Rights; an unknown host; [`ControlError::Unavailable`].
    pub async fn unlist(&self, by: &Principal, host: TargetId) -> Result<bool, ControlError> {
        self.authorize(by, Permission::ManageHosts, Some(host)).await?;
        match self.ask(Input::Unlist { host, by: by.actor() }, None).await? {
            Reply::Refused(Refusal::NothingToDo) => Ok(false),
            Reply::Refused(refusal) => Err(self.engine_refused(by, "unlist", Some(host), refusal)),
            Reply::Noted | Reply::Accepted { .. } => Ok(true),
        }
    }

    /// Takes a host out of use: it counts as unavailable until a person gives it back. Needs [`Permission::RebootHost`].
    ///
    /// # Errors
    /// [`ControlError::Invalid`] without a reason; rights; an unknown host; [`ControlError::Unavailable`].
    pub async fn hold(&self, by: &Principal, host: TargetId, reason: &str) -> Result<(), ControlError> {
        self.authorize(by, Permission::RebootHost, Some(host)).await?;
        let reason = checked_reason(reason)?;
        self.noted(by, "hold", Some(host), Input::Hold { host, by: by.actor(), reason }, None).await
    }

    /// Gives a host back. Needs [`Permission::RebootHost`].
    ///
    /// # Errors
    /// [`ControlError::Refused`] when nobody holds it; rights; an unknown host; [`ControlError::Unavailable`].
    pub async fn release(&self, by: &Principal, host: TargetId) -> Result<(), ControlError> {
        self.authorize(by, Permission::RebootHost, Some(host)).await?;
        self.noted(by, "release", Some(host), Input::Release { host, by: by.actor() }, None).await
    }

    /// Nothing starts anywhere until it is thawed. Needs [`Permission::RebootHost`] for all hosts.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] without a reason; rights; [`ControlError::Unavailable`].
    pub async fn freeze(&self, by: &Principal, reason: &str) -> Result<(), ControlError> {
        self.authorize_everywhere(by, Permission::RebootHost, "freeze").await?;
        let reason = checked_reason(reason)?;
        self.noted(by, "freeze", None, Input::Freeze { by: by.actor(), reason }, None).await
    }

    /// Starts are allowed again. Needs [`Permission::RebootHost`] for all hosts.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when nothing is frozen; rights; [`ControlError::Unavailable`].
    pub async fn thaw(&self, by: &Principal) -> Result<(), ControlError> {
        self.authorize_everywhere(by, Permission::RebootHost, "thaw").await?;
        self.noted(by, "thaw", None, Input::Thaw { by: by.actor() }, None).await
    }

    /// Takes a slot of a limit group for a machine that restarts by itself (`FleetLock`); whoever has it gets it again. Needs
    /// [`Permission::TakeSlot`]; a scope may name `fleetlock.group` and `fleetlock.id` beside the labels of the host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when there is no room or no such group; rights; [`ControlError::Unavailable`].
    pub async fn take_slot(&self, by: &Principal, group: &str, holder: &str) -> Result<(), ControlError> {
        let host = self.authorize_slot(by, group, holder, "take_slot").await?;
        let input = Input::TakeSlot { group: group.to_owned(), holder: holder.to_owned(), by: by.actor() };
        self.noted(by, "take_slot", host, input, None).await
    }

    /// The machine is back. Nobody having the slot is fine. Rights as for [`Control::take_slot`].
    ///
    /// # Errors
    /// [`ControlError::Refused`] for an unknown group; rights; [`ControlError::Unavailable`].
    pub async fn give_slot(&self, by: &Principal, group: &str, holder: &str) -> Result<(), ControlError> {
        let host = self.authorize_slot(by, group, holder, "give_slot").await?;
        let input = Input::GiveSlot { group: group.to_owned(), holder: holder.to_owned(), by: by.actor() };
        self.noted(by, "give_slot", host, input, None).await
    }

    /// Takes a slot away from a machine that does not come back (pain 1). Needs [`Permission::RebootHost`] for all hosts, or for
    /// the one that holds it.
    ///
    /// # Errors
    /// As [`Control::give_slot`].
    pub async fn take_slot_away(&self, by: &Principal, group: &str, holder: &str) -> Result<(), ControlError> {
        let host = self.holder(holder).await?;
        match host {
            Some(host) => self.authorize(by, Permission::RebootHost, Some(host)).await?,
            None => self.authorize_everywhere(by, Permission::RebootHost, "take_slot_away").await?,
        }
        // A client that gives back what it has not is right; a person who does so meant another one.
        let key = (group.to_owned(), holder.to_owned());
        let check: super::worker::Check = Box::new(move |engine, _| {
            let slot = |lock: &engine::LockView| matches!(&lock.holder, Holder::Slot { group, holder } if *group == key.0 && *holder == key.1);
            if engine.locks().iter().any(slot) {
                return Ok(());
            }
            Err(ControlError::NotFound(format!("{:?} has no slot of {:?}; `reveille locks` lists who has one", key.1, key.0)))
        });
        let input = Input::GiveSlot { group: group.to_owned(), holder: holder.to_owned(), by: by.actor() };
        self.noted(by, "take_slot_away", host, input, Some(check)).await
    }

    /// Everything that keeps something from starting until somebody lets go, the oldest first; of hosts only those in scope.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn locks(&self, who: &Principal) -> Result<Vec<Lock>, ControlError> {
        let directory = self.directory()?;
        let seen = |host: Option<TargetId>| who.scope.is_all() || host.is_some_and(|host| directory.is_in(&who.scope, host));
        let look = |engine: &engine::Engine, now| (engine.locks(), engine.frozen(), engine.hosts(now));
        let (locks, frozen, hosts) = self.query(look).await?;
        let mut all: Vec<Lock> = locks
            .into_iter()
            .filter(|lock| seen(lock.host))
            .map(|lock| {
                let (kind, holder, group) = match lock.holder {
                    Holder::Orchestration { orchestration } => (LockKind::Orchestration, orchestration.to_string(), None),
                    Holder::Person { by } => (LockKind::Hold, by.to_string(), None),
                    Holder::Slot { group, holder } => (LockKind::Slot, holder, Some(group)),
                };
                let name = group.or(lock.name).or_else(|| lock.host.map(|host| host.to_string())).unwrap_or_default();
                Lock {
                    kind,
                    host: lock.host,
                    name,
                    holder,
                    since: lock.since,
                    reason: Some(lock.reason).filter(|r| !r.is_empty()),
                }
            })
            .collect();
        for host in hosts.into_iter().filter(|host| seen(Some(host.id))) {
            // Where the host itself is stranded its alarm says since when; an unreadable journal has none.
            let since =
                host.alarms.iter().find(|alarm| alarm.target == host.id && alarm.ended_at.is_none()).map(|alarm| alarm.since);
            if let (Some(reason), Some(since)) = (host.stranded, since) {
                let (kind, holder) = (LockKind::Stranded, "system".to_owned());
                all.push(Lock { kind, host: Some(host.id), name: host.name, holder, since, reason: Some(reason) });
            }
        }
        if let Some(mark) = frozen {
            let (kind, holder, name) = (LockKind::Freeze, mark.by.to_string(), "all hosts".to_owned());
            all.push(Lock { kind, host: None, name, holder, since: mark.since, reason: Some(mark.reason) });
        }
        all.sort_by_key(|lock| lock.since);
        Ok(all)
    }

    /// A right that is about more than the hosts of a scope.
    async fn authorize_everywhere(&self, who: &Principal, permission: Permission, action: &str) -> Result<(), ControlError> {
        self.authorize(who, permission, None).await?;
        if who.scope.is_all() {
            return Ok(());
        }
        let error = ControlError::Forbidden { permission, outside_scope: true };
        self.refused(&who.name, action, None, &error.to_string());
        Err(error)
    }

    /// The known host that a `FleetLock` client is.
    async fn holder(&self, holder: &str) -> Result<Option<TargetId>, ControlError> {
        let holder = holder.to_owned();
        self.query(move |engine, _| engine.host_of_holder(&holder)).await
    }

    async fn authorize_slot(
        &self,
        who: &Principal,
        group: &str,
        holder: &str,
        action: &str,
    ) -> Result<Option<TargetId>, ControlError> {
        self.authorize(who, Permission::TakeSlot, None).await?;
        let host = self.holder(holder).await?;
        let mut labels =
            host.and_then(|host| self.directory().ok()?.hosts.get(&host).map(|known| known.labels.clone())).unwrap_or_default();
        labels.insert("fleetlock.group".to_owned(), group.to_owned());
        labels.insert("fleetlock.id".to_owned(), holder.to_owned());
        if who.scope.covers(&labels) {
            return Ok(host);
        }
        let error = ControlError::Forbidden { permission: Permission::TakeSlot, outside_scope: true };
        self.refused(&who.name, action, host, &error.to_string());
        Err(error)
    }
}

/// A reason as it is kept.
pub(super) fn checked_reason(reason: &str) -> Result<String, ControlError> {
    match reason.trim() {
        "" => Err(ControlError::Invalid("say why: the reason is shown to everybody who finds it so".to_owned())),
        long if long.chars().count() > REASON_MAX => {
            Err(ControlError::Invalid(format!("the reason has more than {REASON_MAX} characters")))
        }
        reason => Ok(reason.to_owned()),
    }
}
