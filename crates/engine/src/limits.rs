//! Who belongs to which limit group, looked up and not searched for.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::TargetId;

use crate::config::{Config, Group};
use crate::fleet::Fleet;

/// All limit groups with their members, as long as nobody joins, leaves or changes labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) groups: Vec<Group>,
    of_host: HashMap<TargetId, Vec<usize>>,
    by_name: HashMap<String, TargetId>,
}

impl Limits {
    pub(crate) fn of(config: &Config, fleet: &Fleet) -> Self {
        let hosts = || fleet.hosts.iter().filter(|(_, h)| h.was_approved).map(|(id, h)| (*id, h.name.as_str(), &h.labels));
        let groups: Vec<Group> = config.limit_groups.iter().flat_map(|group| group.resolve(hosts())).collect();
        let mut of_host: HashMap<TargetId, Vec<usize>> = HashMap::new();
        for (index, group) in groups.iter().enumerate() {
            for host in group.members.iter().filter_map(|m| m.host) {
                let list = of_host.entry(host).or_default();
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
        }
        let by_name = hosts().map(|(id, name, _)| (name.to_owned(), id)).collect();
        Self { groups, of_host, by_name }
    }

    /// The host of this name: a child of that name on another host is the same thing (E14).
    pub(crate) fn host_named(&self, name: &str) -> Option<TargetId> {
        self.by_name.get(name).copied()
    }

    /// The groups that one of these hosts, or a child on one, belongs to.
    pub(crate) fn of_hosts(&self, hosts: &BTreeSet<TargetId>) -> impl Iterator<Item = (usize, &Group)> {
        let list = hosts.iter().filter_map(|host| self.of_host.get(host)).flatten();
        let list: BTreeSet<usize> = list.copied().collect();
        list.into_iter().filter_map(|index| Some((index, self.groups.get(index)?)))
    }

    pub(crate) fn named(&self, name: &str) -> Option<(usize, &Group)> {
        self.groups.iter().enumerate().find(|(_, group)| group.name == name)
    }
}

/// Unavailable members by group, each counted once while nothing changes, and the hosts that have a slot.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    counted: RefCell<BTreeMap<usize, u32>>,
    slots: OnceCell<HashSet<TargetId>>,
    /// Hosts that stand on one that is worked on.
    on_locked: OnceCell<HashSet<TargetId>>,
}

impl Usage {
    pub(crate) fn of(&self, group: usize, count: impl FnOnce() -> u32) -> u32 {
        let known = self.counted.borrow().get(&group).copied();
        known.unwrap_or_else(|| {
            let counted = count();
            self.counted.borrow_mut().insert(group, counted);
            counted
        })
    }

    pub(crate) fn stands_on_locked(&self, host: TargetId, look_up: impl FnOnce() -> HashSet<TargetId>) -> bool {
        self.on_locked.get_or_init(look_up).contains(&host)
    }

    pub(crate) fn has_slot(&self, host: TargetId, look_up: impl FnOnce() -> HashSet<TargetId>) -> bool {
        self.slots.get_or_init(look_up).contains(&host)
    }
}
