//! Who belongs to which limit group, looked up and not searched for.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use model::TargetId;

use crate::config::{Config, Group, Member};
use crate::fleet::Fleet;
use crate::tally::{Slots, Tally};

/// All limit groups with their members, as long as nobody joins, leaves or changes labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Limits {
    pub(crate) groups: Vec<Group>,
    /// For each host its groups, in order, each with the places of the host and its children among the members.
    of_host: HashMap<TargetId, Vec<(usize, Vec<usize>)>>,
    by_name: HashMap<String, TargetId>,
    by_group: HashMap<String, usize>,
}

impl Limits {
    pub(crate) fn of(config: &Config, fleet: &Fleet) -> Self {
        let hosts = || fleet.hosts.iter().filter(|(_, h)| h.was_approved).map(|(id, h)| (*id, h.name.as_str(), &h.labels));
        let groups: Vec<Group> = config.limit_groups.iter().flat_map(|group| group.resolve(hosts())).collect();
        let mut of_host: HashMap<TargetId, Vec<(usize, Vec<usize>)>> = HashMap::new();
        for (index, group) in groups.iter().enumerate() {
            for (place, host) in group.members.iter().enumerate().filter_map(|(place, m)| Some((place, m.host?))) {
                let list = of_host.entry(host).or_default();
                match list.last_mut() {
                    Some((last, places)) if *last == index => places.push(place),
                    _ => list.push((index, vec![place])),
                }
            }
        }
        let by_name = hosts().map(|(id, name, _)| (name.to_owned(), id)).collect();
        let mut by_group = HashMap::new();
        for (index, group) in groups.iter().enumerate() {
            by_group.entry(group.name.clone()).or_insert(index);
        }
        Self { groups, of_host, by_name, by_group }
    }

    /// The host of this name: a child of that name on another host is the same thing (E14).
    pub(crate) fn host_named(&self, name: &str) -> Option<TargetId> {
        self.by_name.get(name).copied()
    }

    /// The groups that one of these hosts, or a child on one, belongs to, each with those members.
    pub(crate) fn of_hosts(&self, hosts: &BTreeSet<TargetId>) -> impl Iterator<Item = (usize, &Group, Vec<&Member>)> {
        let mut found: BTreeMap<usize, Vec<&Member>> = BTreeMap::new();
        for (index, members) in hosts.iter().flat_map(|host| self.of_host(*host)) {
            found.entry(index).or_default().extend(members);
        }
        found.into_iter().filter_map(|(index, members)| Some((index, self.groups.get(index)?, members)))
    }

    /// The groups of one host, each with the members that are the host or its children.
    pub(crate) fn of_host(&self, host: TargetId) -> impl Iterator<Item = (usize, impl Iterator<Item = &Member>)> {
        let list = self.of_host.get(&host).map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(|(index, places)| {
            let members = &self.groups.get(*index)?.members;
            Some((*index, places.iter().filter_map(|place| members.get(*place))))
        })
    }

    pub(crate) fn named(&self, name: &str) -> Option<(usize, &Group)> {
        let index = *self.by_group.get(name)?;
        Some((index, self.groups.get(index)?))
    }
}

/// Unavailable members by group, and the hosts that have a slot or stand on one that is worked on: what the engine keeps
/// counted, or, for a question, each counted once.
#[derive(Debug, Default)]
pub(crate) struct Usage<'a> {
    pub(crate) kept: Option<&'a Tally>,
    counted: RefCell<BTreeMap<usize, u32>>,
    slots: OnceCell<Slots>,
    on_locked: OnceCell<HashSet<TargetId>>,
}

impl<'a> Usage<'a> {
    pub(crate) fn kept(tally: &'a Tally) -> Self {
        Self { kept: Some(tally), ..Self::default() }
    }

    pub(crate) fn of(&self, group: usize, count: impl FnOnce() -> u32) -> u32 {
        if let Some(tally) = self.kept {
            return tally.of(group);
        }
        let known = self.counted.borrow().get(&group).copied();
        known.unwrap_or_else(|| {
            let counted = count();
            self.counted.borrow_mut().insert(group, counted);
            counted
        })
    }

    pub(crate) fn stands_on_locked(&self, host: TargetId, look_up: impl FnOnce() -> HashSet<TargetId>) -> bool {
        match self.kept {
            Some(tally) => tally.on_locked.contains(&host),
            None => self.on_locked.get_or_init(look_up).contains(&host),
        }
    }

    /// Asks the hosts that have slots.
    pub(crate) fn slots<T>(&self, look_up: impl FnOnce() -> Slots, ask: impl FnOnce(&Slots) -> T) -> T {
        match self.kept {
            Some(tally) => ask(&tally.slots),
            None => ask(self.slots.get_or_init(look_up)),
        }
    }
}
