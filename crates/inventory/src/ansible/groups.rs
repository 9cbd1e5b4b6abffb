//! Groups with their hosts, their children and their variables, and what follows of them for each host.

use std::collections::{BTreeMap, BTreeSet};

use super::{Value, Variables};
use crate::{HOSTS_MAX, InventoryError, Place, Source};

/// One group.
#[derive(Debug, Default)]
struct Group {
    hosts: BTreeSet<String>,
    children: BTreeMap<String, Place>,
    variables: Variables,
}

/// An inventory as it is written.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: BTreeMap<String, Group>,
    hosts: BTreeMap<String, (Place, Variables)>,
}

/// A host with all its variables and all its groups, `all` and `ungrouped` left out.
pub(crate) type Resolved = BTreeMap<String, (Place, Variables, BTreeSet<String>)>;

const ALL: &str = "all";
const UNGROUPED: &str = "ungrouped";

impl Groups {
    /// A group is there, even if it is empty.
    pub(crate) fn group(&mut self, name: &str, place: &Place) -> Result<(), InventoryError> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(fits) {
            let detail = format!("{name:?} is no group name: use letters, digits, `_`, `-`, `.`");
            return Err(InventoryError::Syntax { place: place.clone(), detail });
        }
        self.groups.entry(name.to_owned()).or_default();
        Ok(())
    }

    /// A host in a group. Its variables go over those that it had.
    pub(crate) fn host(&mut self, group: &str, name: &str, variables: Variables, place: &Place) -> Result<(), InventoryError> {
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(name) {
            return Err(InventoryError::TooMany { place: place.clone() });
        }
        let (_, known) = self.hosts.entry(name.to_owned()).or_insert_with(|| (place.clone(), Variables::new()));
        known.extend(variables);
        self.groups.entry(group.to_owned()).or_default().hosts.insert(name.to_owned());
        Ok(())
    }

    /// A group in a group.
    pub(crate) fn child(&mut self, group: &str, child: &str, place: &Place) {
        self.groups.entry(group.to_owned()).or_default().children.insert(child.to_owned(), place.clone());
    }

    /// A variable of a group.
    pub(crate) fn variable(&mut self, group: &str, name: String, value: Value) {
        self.groups.entry(group.to_owned()).or_default().variables.insert(name, value);
    }

    /// What is true of each host. Nearer groups go over farther ones, among equals the later name; a host's own go over all.
    pub(crate) fn resolve(mut self, source: &Source) -> Result<Resolved, InventoryError> {
        for (group, children) in self.groups.iter().map(|(name, group)| (name, &group.children)) {
            if let Some((child, place)) = children.iter().find(|(child, _)| !self.groups.contains_key(*child)) {
                let detail = format!("group {child}, a child of {group}, is not defined");
                return Err(InventoryError::Syntax { place: place.clone(), detail });
            }
        }
        let order = self.order(source)?;
        // From the outermost group inwards: so the nearer one speaks last.
        let mut resolved: Resolved = BTreeMap::new();
        let all = self.groups.get(ALL).map(|group| group.variables.clone()).unwrap_or_default();
        for (name, (place, _)) in &self.hosts {
            resolved.insert(name.clone(), (place.clone(), all.clone(), BTreeSet::new()));
        }
        for group in order.iter().filter(|group| *group != ALL) {
            let variables = self.groups.get(group).map(|g| g.variables.clone()).unwrap_or_default();
            for host in self.members(group) {
                if let Some((_, known, of)) = resolved.get_mut(&host) {
                    known.extend(variables.iter().map(|(name, value)| (name.clone(), value.clone())));
                    if group != UNGROUPED {
                        of.insert(group.clone());
                    }
                }
            }
        }
        for (name, (_, own)) in std::mem::take(&mut self.hosts) {
            if let Some((_, known, _)) = resolved.get_mut(&name) {
                known.extend(own);
            }
        }
        Ok(resolved)
    }

    /// All hosts of a group and of what is below it. There is no circle by now.
    fn members(&self, group: &str) -> BTreeSet<String> {
        let (mut members, mut seen, mut waiting) = (BTreeSet::new(), BTreeSet::new(), vec![group]);
        while let Some(name) = waiting.pop() {
            if let Some(group) = self.groups.get(name).filter(|_| seen.insert(name)) {
                members.extend(group.hosts.iter().cloned());
                waiting.extend(group.children.keys().map(String::as_str));
            }
        }
        members
    }

    /// The groups, outer ones first, by the longest way from the outside, then by name (Ansible's order).
    fn order(&self, source: &Source) -> Result<Vec<String>, InventoryError> {
        let mut depth: BTreeMap<&str, usize> = self.groups.keys().map(|name| (name.as_str(), 0)).collect();
        for round in 0..=self.groups.len() {
            let mut changed = None;
            for (name, group) in &self.groups {
                let below = depth.get(name.as_str()).map_or(0, |depth| depth + 1);
                for child in group.children.keys() {
                    if let Some(own) = depth.get_mut(child.as_str()).filter(|own| **own < below) {
                        *own = below;
                        changed = Some(child);
                    }
                }
            }
            let Some(child) = changed else { break };
            if round == self.groups.len() {
                let place = Place { file: source.name.clone(), line: 0 };
                let detail = format!("group {child} is, by a circle of children, below itself");
                return Err(InventoryError::Syntax { place, detail });
            }
        }
        let mut order: Vec<(usize, String)> = depth.into_iter().map(|(name, depth)| (depth, name.to_owned())).collect();
        order.sort();
        Ok(order.into_iter().map(|(_, name)| name).collect())
    }
}
