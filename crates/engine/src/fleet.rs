//! The state that the fleet journal tells.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use model::{
    Actor, BootIdentity, CommandId, InstanceId, LOCAL_ADDRESS, Labels, Millis, OrchestrationId, Route, TargetId, Timestamp,
    Unfinished,
};

use crate::journal::{FleetEntry, OpenBoot, Outcome, Record};
use crate::outside;

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fleet {
    pub(crate) epoch: u64,
    pub(crate) lease: u64,
    pub(crate) settle_until: Timestamp,
    pub(crate) controller_started_at: Timestamp,
    /// Highest position allotted by orchestrations that have let go.
    pub(crate) position: u64,
    pub(crate) hosts: BTreeMap<TargetId, Host>,
    pub(crate) locks: BTreeMap<TargetId, Lock>,
    pub(crate) stranded: BTreeMap<TargetId, Stranded>,
    /// Nothing starts anywhere.
    pub(crate) frozen: Option<Mark>,
    /// Taken from outside, by limit group and holder.
    pub(crate) slots: BTreeMap<(String, String), Mark>,
    /// The boot of the machine on which the controller runs.
    pub(crate) own_boot: Option<BootIdentity>,
    /// Which hosts say that they are on a boot.
    by_boot: BTreeMap<BootIdentity, BTreeSet<TargetId>>,
    /// What is known of hosts that no inventory lists any more.
    unlisted: BTreeMap<TargetId, Unlisted>,
    /// Commanded ends of boots of hosts that were removed and had no agent to count them.
    gone: BTreeMap<TargetId, Vec<BootEnd>>,
    /// Raised by whatever changes who belongs to which limit group.
    pub(crate) membership: u64,
}

/// A host that counts nowhere until it is listed again, with its alarms.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unlisted {
    host: Host,
    alarms: BTreeMap<TargetId, Stranded>,
}

/// A person's word that holds until a person takes it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) by: Actor,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
}

/// How a track on a host went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Worked {
    pub(crate) outcome: Outcome,
    took: Millis,
    part: bool,
    root: Option<OrchestrationId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) machine_id: String,
    /// What Zincati makes of the machine id.
    pub(crate) zincati_id: Option<String>,
    pub(crate) public_key: String,
    pub(crate) labels: Labels,
    pub(crate) approved: bool,
    /// It belongs to the fleet since its first approval, also while a new key waits.
    pub(crate) was_approved: bool,
    /// Name and labels of a new enrolment; they count once a person has approved it.
    pub(crate) renamed: Option<(String, Labels)>,
    pub(crate) boot: Option<BootIdentity>,
    /// Boots before it, bounded.
    pub(crate) past_boots: VecDeque<BootIdentity>,
    pub(crate) instance: Option<InstanceId>,
    pub(crate) silent_since: Option<Timestamp>,
    pub(crate) off: Option<OpenBoot>,
    pub(crate) route: Route,
    /// Where it is reached over SSH.
    pub(crate) address: Option<String>,
    /// Who said so last.
    pub(crate) adopted_by: Option<Actor>,
    /// Out of use by a person's word.
    pub(crate) held: Option<Mark>,
    /// Its last tracks, the latest last, bounded.
    pub(crate) worked: VecDeque<Worked>,
    /// Commanded reboots and shutdowns, oldest first, bounded.
    pub(crate) boot_ends: Vec<BootEnd>,
    /// What an orchestration left undone on it that is no longer stranded: for a retry of that orchestration.
    pub(crate) left: Option<Unfinished>,
}

/// A commanded end of a boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BootEnd {
    pub(crate) at: Timestamp,
    pub(crate) command: CommandId,
    /// What was said of it after its orchestration: done or not.
    pub(crate) last_word: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lock {
    pub(crate) orchestration: OrchestrationId,
    pub(crate) since: Timestamp,
    /// Nothing is done on the host: it counts nowhere as worked on.
    pub(crate) asks_only: bool,
    /// Its services are worked on, and the host stays up.
    pub(crate) stays_up: bool,
}

impl Lock {
    /// The host, or something on it, is taken down under it.
    pub(crate) fn takes_down(&self) -> bool {
        !self.asks_only && !self.stays_up
    }
}

/// A stranded target, or one that was and whose alarm still stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stranded {
    pub(crate) host: TargetId,
    /// Whose track left it so.
    pub(crate) orchestration: Option<OrchestrationId>,
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
    pub(crate) expected_up: bool,
    pub(crate) open_boot: Option<OpenBoot>,
    pub(crate) unfinished: Option<Unfinished>,
    /// A service: no report of its host tells how it is.
    pub(crate) service: bool,
    /// The first of its row of retries, where that is another.
    root: Option<OrchestrationId>,
    pub(crate) ended_at: Option<Timestamp>,
}

impl Stranded {
    /// What a retry has to do on it, now that it is on this boot: a host that came back late is not rebooted again.
    pub(crate) fn left(&self, unfinished: Option<Unfinished>, boot: Option<BootIdentity>) -> Option<Unfinished> {
        let mut left = unfinished.unwrap_or_default();
        if left.proven.is_none() {
            left.open_boot = self.open_boot.map(|open| open.expect_boot);
            left.proven = boot.filter(|_| left.is_second_half(boot));
        }
        let is_left = left != Unfinished { root: left.root, ..Unfinished::default() };
        left.root = left.root.or(self.root).or(self.orchestration);
        is_left.then_some(left)
    }
}

/// Commands older than any window are of no use; so many are kept per host.
const BOOT_ENDS_KEPT: usize = 64;

/// No lockout looks further back.
const GONE_KEPT: Millis = Millis::secs(7 * 24 * 3600);

/// Messages are not older than so many boots.
const PAST_BOOTS_KEPT: usize = 32;

/// Order and expected durations rest on so many tracks.
const WORKED_KEPT: usize = 20;

impl Host {
    fn new(name: &str, labels: &Labels) -> Self {
        Self {
            name: name.to_owned(),
            machine_id: String::new(),
            zincati_id: None,
            public_key: String::new(),
            labels: labels.clone(),
            approved: false,
            was_approved: false,
            renamed: None,
            boot: None,
            past_boots: VecDeque::new(),
            instance: None,
            silent_since: None,
            off: None,
            route: Route::Agent,
            address: None,
            adopted_by: None,
            held: None,
            worked: VecDeque::new(),
            boot_ends: Vec::new(),
            left: None,
        }
    }

    /// How many of its last tracks failed.
    pub(crate) fn recent_failures(&self) -> u32 {
        u32::try_from(self.worked.iter().filter(|w| w.outcome.is_failure()).count()).unwrap_or(u32::MAX)
    }

    /// Whether a track of this row of retries ended well on it.
    pub(crate) fn is_done_by(&self, root: OrchestrationId) -> bool {
        self.worked.iter().any(|w| w.outcome == Outcome::Completed && w.root == Some(root))
    }

    /// What a track on it takes: 95 of 100 of its last ones took no longer (pain 12).
    pub(crate) fn expected(&self) -> Option<Millis> {
        let mut took: Vec<Millis> =
            self.worked.iter().filter(|w| w.outcome == Outcome::Completed && !w.part).map(|w| w.took).collect();
        took.sort_unstable();
        let rank = (took.len() * 95).div_ceil(100);
        took.get(rank.checked_sub(1)?).copied()
    }
}

impl Fleet {
    /// Apply one record. An error means that the journal does not follow from itself.
    pub(crate) fn apply(&mut self, record: &Record<FleetEntry>) -> Result<(), String> {
        let at = record.at;
        match &record.entry {
            FleetEntry::ControllerStarted { epoch, lease, settle_until, own_boot } => {
                self.own_boot = *own_boot;
                self.epoch = self.epoch.max(*epoch);
                self.lease = *lease;
                self.settle_until = *settle_until;
                self.controller_started_at = at;
            }
            FleetEntry::HostEnrolled { host, name, machine_id, public_key, labels } => {
                if let Some(known) = self.hosts.get_mut(host) {
                    // A known machine with a new key: whatever was signed for the old one is under the fence (ruling 27).
                    self.epoch += 1;
                    known.public_key.clone_from(public_key);
                    known.approved = false;
                    known.renamed = Some((name.clone(), labels.clone()));
                } else {
                    let fresh = Host {
                        machine_id: machine_id.clone(),
                        zincati_id: outside::zincati_id(machine_id),
                        public_key: public_key.clone(),
                        ..Host::new(name, labels)
                    };
                    self.hosts.insert(*host, fresh);
                }
            }
            FleetEntry::HostAdopted { host, name, address, labels } => {
                if !self.hosts.contains_key(host) {
                    self.list_again(*host);
                }
                // Removing and adopting a host again is no way around its lockout.
                let gone = &mut self.gone;
                let new = || Host { boot_ends: gone.remove(host).unwrap_or_default(), ..Host::new(name, labels) };
                let known = self.hosts.entry(*host).or_insert_with(new);
                known.adopted_by = Some(record.by.clone());
                known.name.clone_from(name);
                known.labels.clone_from(labels);
                known.address = Some(address.clone());
                known.route = if address == LOCAL_ADDRESS { Route::Local } else { Route::Ssh };
                known.approved = true;
                known.was_approved = true;
                self.membership += 1;
            }
            FleetEntry::HostRemoved { host } => {
                self.remove(*host, at)?;
            }
            FleetEntry::HostUnlisted { host } => self.unlist(*host, at)?,
            FleetEntry::Held { host, reason } => {
                self.host_mut(*host)?.held = Some(Mark { by: record.by.clone(), reason: reason.clone(), since: at });
            }
            FleetEntry::Released { host } => self.host_mut(*host)?.held = None,
            FleetEntry::Frozen { reason } => {
                self.frozen = Some(Mark { by: record.by.clone(), reason: reason.clone(), since: at });
            }
            FleetEntry::Thawed => self.frozen = None,
            FleetEntry::SlotTaken { group, holder } => {
                let mark = Mark { by: record.by.clone(), reason: "restarts by itself".to_owned(), since: at };
                self.slots.entry((group.clone(), holder.clone())).or_insert(mark);
            }
            FleetEntry::SlotGiven { group, holder } => {
                self.slots.remove(&(group.clone(), holder.clone()));
            }
            FleetEntry::HostWorked { host, outcome, took, part, root } => {
                let known = self.host_mut(*host)?;
                if *outcome == Outcome::Completed {
                    known.left = None;
                }
                let worked = &mut known.worked;
                worked.push_back(Worked { outcome: *outcome, took: *took, part: *part, root: *root });
                if worked.len() > WORKED_KEPT {
                    worked.pop_front();
                }
            }
            FleetEntry::HostApproved { host } => {
                self.membership += 1;
                let known = self.host_mut(*host)?;
                known.approved = true;
                known.was_approved = true;
                if let Some((name, labels)) = known.renamed.take() {
                    known.name = name;
                    known.labels = labels;
                }
            }
            FleetEntry::HostSeen { host: id, boot, instance } => {
                let host = self.host_mut(*id)?;
                let past = host.boot.replace(*boot).filter(|past| past != boot);
                self.moved_on(*id, past, Some(*boot));
                let host = self.host_mut(*id)?;
                if let Some(past) = past {
                    host.past_boots.push_back(past);
                    if host.past_boots.len() > PAST_BOOTS_KEPT {
                        host.past_boots.pop_front();
                    }
                }
                host.instance = Some(*instance);
                host.silent_since = None;
                if host.off.is_some_and(|ended| ended.expect_boot != *boot) {
                    host.off = None;
                }
            }
            FleetEntry::HostSilent { host } => self.host_mut(*host)?.silent_since = Some(at),
            FleetEntry::HostOff { host, open_boot } => self.host_mut(*host)?.off = Some(*open_boot),
            FleetEntry::LateAck { host, command, done, boot, .. } => {
                if let Some(end) = self.host_mut(*host)?.boot_ends.iter_mut().find(|e| e.command == *command) {
                    end.last_word = Some(*done);
                }
                // It came back too late, and says so itself: a retry need not reboot it again.
                if let Some(stranded) = self.stranded.get_mut(host).filter(|_| *done)
                    && stranded.open_boot.is_some_and(|open| open.command == *command && open.expect_boot != *boot)
                    && let Some(unfinished) = &mut stranded.unfinished
                {
                    unfinished.proven = Some(*boot);
                }
            }
            FleetEntry::HostStillOn { host } => {
                let known = self.host_mut(*host)?;
                known.off = None;
                let alarm = Stranded {
                    host: *host,
                    orchestration: None,
                    name: known.name.clone(),
                    reason: "it was shut down and went silent, and is heard again on the same boot".to_owned(),
                    since: at,
                    expected_up: true,
                    open_boot: None,
                    unfinished: None,
                    root: None,
                    service: false,
                    ended_at: Some(at),
                };
                self.stranded.insert(*host, alarm);
            }
            FleetEntry::Locked { host, orchestration, asks_only, stays_up } => {
                self.host_mut(*host)?;
                if let Some(other) = self.locks.get(host)
                    && other.orchestration != *orchestration
                {
                    return Err(format!("host {host} is locked by {} and by {orchestration}", other.orchestration));
                }
                self.locks.entry(*host).or_insert(Lock {
                    orchestration: *orchestration,
                    since: at,
                    asks_only: *asks_only,
                    stays_up: *stays_up,
                });
            }
            FleetEntry::Unlocked { host, orchestration, position } => {
                if self.locks.get(host).is_some_and(|l| l.orchestration == *orchestration) {
                    self.locks.remove(host);
                }
                self.position = self.position.max(*position);
                if matches!(record.by, Actor::User(_)) {
                    self.epoch += 1;
                }
            }
            FleetEntry::BootEndCommanded { host, command } => {
                let ends = &mut self.host_mut(*host)?.boot_ends;
                if !ends.iter().any(|e| e.command == *command) {
                    ends.push(BootEnd { at, command: *command, last_word: None });
                }
                if ends.len() > BOOT_ENDS_KEPT {
                    ends.remove(0);
                }
            }
            FleetEntry::Stranded {
                target,
                host,
                name,
                orchestration,
                root,
                reason,
                expected_up,
                open_boot,
                unfinished,
                service,
            } => {
                if target != host && self.hosts.contains_key(target) {
                    return Err(format!("host {target} cannot be a child of {host}"));
                }
                if let Some(known) = self.hosts.get_mut(target) {
                    known.left = None;
                }
                let stranded = Stranded {
                    host: *host,
                    orchestration: Some(*orchestration),
                    name: name.clone(),
                    reason: reason.clone(),
                    since: at,
                    expected_up: *expected_up,
                    open_boot: *open_boot,
                    root: *root,
                    unfinished: unfinished.clone(),
                    service: *service,
                    ended_at: None,
                };
                self.stranded.insert(*target, stranded);
            }
            FleetEntry::StrandedEnded { target, proven, boot } => {
                let Some(ended) = self.stranded.get_mut(target) else { return Ok(()) };
                ended.ended_at = Some(at);
                let unfinished = ended.unfinished.take();
                let left = ended.left(unfinished.filter(|_| !proven), *boot);
                if !proven {
                    self.stranded.remove(target);
                }
                if let Some(known) = self.hosts.get_mut(target) {
                    known.left = left;
                }
            }
            FleetEntry::AlarmAcknowledged { target } => {
                if self.stranded.get(target).is_some_and(|s| s.ended_at.is_some()) {
                    self.stranded.remove(target);
                }
            }
        }
        Ok(())
    }

    /// With everything that is held of it, which would hold others up for ever (pain 1).
    fn remove(&mut self, host: TargetId, at: Timestamp) -> Result<(), String> {
        let removed = self.hosts.remove(&host).ok_or_else(|| format!("host {host} was never enrolled"))?;
        self.moved_on(host, removed.boot, None);
        self.gone.retain(|_, ends| ends.last().is_some_and(|end| at.since(end.at) < GONE_KEPT));
        if removed.route != Route::Agent && !removed.boot_ends.is_empty() {
            self.gone.insert(host, removed.boot_ends);
        }
        self.locks.remove(&host);
        self.stranded.retain(|_, s| s.host != host);
        self.membership += 1;
        Ok(())
    }

    fn unlist(&mut self, id: TargetId, at: Timestamp) -> Result<(), String> {
        let host = self.hosts.get(&id).cloned().ok_or_else(|| format!("host {id} was never enrolled"))?;
        let alarms = self.stranded.iter().filter(|(_, s)| s.host == id).map(|(target, s)| (*target, s.clone())).collect();
        self.remove(id, at)?;
        // It is kept whole, with what counts for its lockout.
        self.gone.remove(&id);
        self.unlisted.insert(id, Unlisted { host, alarms });
        Ok(())
    }

    fn list_again(&mut self, id: TargetId) {
        if let Some(Unlisted { host, alarms }) = self.unlisted.remove(&id) {
            self.moved_on(id, None, host.boot);
            self.hosts.insert(id, host);
            self.stranded.extend(alarms);
        }
    }

    fn moved_on(&mut self, host: TargetId, past: Option<BootIdentity>, now: Option<BootIdentity>) {
        if let Some(past) = past
            && let Some(there) = self.by_boot.get_mut(&past)
        {
            there.remove(&host);
            if there.is_empty() {
                self.by_boot.remove(&past);
            }
        }
        if let Some(now) = now {
            self.by_boot.entry(now).or_default().insert(host);
        }
    }

    /// Another host that says it is on the same boot: one machine under two names.
    pub(crate) fn same_machine(&self, host: TargetId) -> Option<&Host> {
        let boot = self.hosts.get(&host)?.boot?;
        let other = self.by_boot.get(&boot)?.iter().find(|id| **id != host)?;
        self.hosts.get(other)
    }

    /// The host that somebody outside means by this id: its name, our id of it, its machine id, or what Zincati makes of that.
    pub(crate) fn by_id_text(&self, id: &str) -> Option<TargetId> {
        let uuid = uuid::Uuid::parse_str(id).ok();
        let word = uuid.map_or_else(|| id.to_owned(), |uuid| uuid.simple().to_string());
        let is = |target: &TargetId, host: &Host| {
            host.name == id
                || Some(target.0) == uuid
                || host.machine_id == word
                || host.zincati_id.as_deref() == Some(word.as_str())
        };
        self.hosts.iter().find(|(target, host)| host.was_approved && is(target, host)).map(|(target, _)| *target)
    }

    /// Whether the controller runs on this host.
    pub(crate) fn is_own(&self, host: &Host, own_name: Option<&str>) -> bool {
        own_name == Some(host.name.as_str()) || self.own_boot.is_some() && self.own_boot == host.boot
    }

    fn host_mut(&mut self, id: TargetId) -> Result<&mut Host, String> {
        self.hosts.get_mut(&id).ok_or_else(|| format!("host {id} was never enrolled"))
    }

    /// Whether the performer itself has said, too late for its orchestration, that this end of a boot did not happen.
    pub(crate) fn did_not_happen(&self, host: TargetId, open_boot: OpenBoot) -> bool {
        let ends = self.hosts.get(&host).map(|h| h.boot_ends.as_slice()).unwrap_or_default();
        ends.iter().any(|e| e.command == open_boot.command && e.last_word == Some(false))
    }

    /// What a retry has to do on a host that is stranded still.
    pub(crate) fn unfinished(&self, stranded: &Stranded, host: &Host) -> Option<Unfinished> {
        match stranded.open_boot {
            Some(open) if self.did_not_happen(stranded.host, open) => stranded.unfinished.clone(),
            _ => stranded.left(stranded.unfinished.clone(), host.boot),
        }
    }

    /// Why the target is stranded now, if it is.
    pub(crate) fn stranded_now(&self, target: TargetId) -> Option<&Stranded> {
        self.stranded.get(&target).filter(|s| s.ended_at.is_none())
    }
}
