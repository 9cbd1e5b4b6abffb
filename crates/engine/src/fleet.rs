//! The state that the fleet journal tells.

use std::collections::{BTreeMap, VecDeque};

use model::{Actor, BootIdentity, CommandId, InstanceId, Labels, OrchestrationId, TargetId, Timestamp, Unfinished};

use crate::journal::{FleetEntry, OpenBoot, Record};

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
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) machine_id: String,
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
    /// Commanded reboots and shutdowns, oldest first, bounded.
    pub(crate) boot_ends: Vec<BootEnd>,
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
}

/// A stranded target, or one that was and whose alarm still stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stranded {
    pub(crate) host: TargetId,
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) since: Timestamp,
    pub(crate) expected_up: bool,
    pub(crate) open_boot: Option<OpenBoot>,
    pub(crate) unfinished: Option<Unfinished>,
    pub(crate) ended_at: Option<Timestamp>,
}

/// Commands older than any window are of no use; so many are kept per host.
const BOOT_ENDS_KEPT: usize = 64;

/// Messages are not older than so many boots.
const PAST_BOOTS_KEPT: usize = 32;

impl Fleet {
    /// Apply one record. An error means that the journal does not follow from itself.
    pub(crate) fn apply(&mut self, record: &Record<FleetEntry>) -> Result<(), String> {
        let at = record.at;
        match &record.entry {
            FleetEntry::ControllerStarted { epoch, lease, settle_until } => {
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
                        name: name.clone(),
                        machine_id: machine_id.clone(),
                        public_key: public_key.clone(),
                        labels: labels.clone(),
                        approved: false,
                        was_approved: false,
                        renamed: None,
                        boot: None,
                        past_boots: VecDeque::new(),
                        instance: None,
                        silent_since: None,
                        off: None,
                        boot_ends: Vec::new(),
                    };
                    self.hosts.insert(*host, fresh);
                }
            }
            FleetEntry::HostApproved { host } => {
                let known = self.host_mut(*host)?;
                known.approved = true;
                known.was_approved = true;
                if let Some((name, labels)) = known.renamed.take() {
                    known.name = name;
                    known.labels = labels;
                }
            }
            FleetEntry::HostSeen { host, boot, instance } => {
                let host = self.host_mut(*host)?;
                if let Some(past) = host.boot.replace(*boot).filter(|past| past != boot) {
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
                    name: known.name.clone(),
                    reason: "it was shut down and went silent, and is heard again on the same boot".to_owned(),
                    since: at,
                    expected_up: true,
                    open_boot: None,
                    unfinished: None,
                    ended_at: Some(at),
                };
                self.stranded.insert(*host, alarm);
            }
            FleetEntry::Locked { host, orchestration } => {
                self.host_mut(*host)?;
                if let Some(other) = self.locks.get(host)
                    && other.orchestration != *orchestration
                {
                    return Err(format!("host {host} is locked by {} and by {orchestration}", other.orchestration));
                }
                self.locks.entry(*host).or_insert(Lock { orchestration: *orchestration, since: at });
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
            FleetEntry::Stranded { target, host, name, reason, expected_up, open_boot, unfinished, .. } => {
                if target != host && self.hosts.contains_key(target) {
                    return Err(format!("host {target} cannot be a child of {host}"));
                }
                let stranded = Stranded {
                    host: *host,
                    name: name.clone(),
                    reason: reason.clone(),
                    since: at,
                    expected_up: *expected_up,
                    open_boot: *open_boot,
                    unfinished: unfinished.clone(),
                    ended_at: None,
                };
                self.stranded.insert(*target, stranded);
            }
            FleetEntry::StrandedEnded { target, proven, .. } => {
                if *proven {
                    if let Some(s) = self.stranded.get_mut(target) {
                        s.ended_at = Some(at);
                    }
                } else {
                    self.stranded.remove(target);
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

    fn host_mut(&mut self, id: TargetId) -> Result<&mut Host, String> {
        self.hosts.get_mut(&id).ok_or_else(|| format!("host {id} was never enrolled"))
    }

    /// Whether the performer itself has said, too late for its orchestration, that this end of a boot did not happen.
    pub(crate) fn did_not_happen(&self, host: TargetId, open_boot: OpenBoot) -> bool {
        let ends = self.hosts.get(&host).map(|h| h.boot_ends.as_slice()).unwrap_or_default();
        ends.iter().any(|e| e.command == open_boot.command && e.last_word == Some(false))
    }

    /// Why the target is stranded now, if it is.
    pub(crate) fn stranded_now(&self, target: TargetId) -> Option<&Stranded> {
        self.stranded.get(&target).filter(|s| s.ended_at.is_none())
    }
}
