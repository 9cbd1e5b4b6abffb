//! G1: no start brings a limit group over its limit, and none happens while the controller settles.

use std::collections::BTreeMap;

use engine::LimitGroup;
use model::Timestamp;

use super::{Guarantee, TrackId, Watch};
use crate::sim::Sim;
use crate::world::Host;

/// A group with its members as (host index, name of a child).
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) limit: u32,
    pub(crate) members: Vec<(usize, Option<String>)>,
}

/// The groups that a configured one means, one for each value of its label.
pub(super) fn groups_of(group: &LimitGroup, hosts: &[Host]) -> Vec<Group> {
    let value = |h: &Host| group.per.as_ref().and_then(|key| h.labels.get(key)).cloned().unwrap_or_default();
    let everyone = group.on.is_none() && group.children.is_empty();
    let mut by_value: BTreeMap<String, Vec<(usize, Option<String>)>> = BTreeMap::new();
    for (index, h) in hosts.iter().enumerate() {
        if everyone || group.on.as_ref().is_some_and(|on| on.matches(h.id, &h.name, &h.labels)) {
            by_value.entry(value(h)).or_default().push((index, None));
        }
    }
    for (name, child) in group.children.iter().filter_map(|path| path.split_once('/')) {
        if let Some(index) = hosts.iter().position(|h| h.name == name) {
            by_value.entry(value(&hosts[index])).or_default().push((index, Some(child.to_owned())));
        }
    }
    let of = |(value, members): (String, Vec<(usize, Option<String>)>)| Group {
        name: if group.per.is_some() { format!("{}/{value}", group.name) } else { group.name.clone() },
        limit: group.max_unavailable.of(u32::try_from(members.len()).unwrap_or(u32::MAX)),
        members,
    };
    by_value.into_iter().map(of).collect()
}

/// A message may wait so long in a controller's hands before it counts as heard.
const SLACK: i64 = 2_000;

impl Sim {
    /// A track begins: from here on its host and everything on it may go down.
    pub(super) fn check_start(&mut self, controller: usize, id: TrackId, at: Timestamp) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let host = watch.host;
        let shares = |other: &TrackId| watch.is_of_service() && other.0 == id.0;
        let other =
            self.checks.watched.iter().find(|(other, w)| **other != id && is_working(w) && w.host == host && !shares(other));
        if let Some((other, _)) = other {
            let words = format!("{id} begins on {} while {other} works there", self.hosts[host].name);
            return self.fail(Guarantee::G5, words);
        }
        if at < self.checks.settle_until {
            let words = format!("{id} begins at {at}, before settling ends at {}", self.checks.settle_until);
            return self.fail(Guarantee::G1, words);
        }
        if let Some(words) = self.run_on_stranded(id) {
            return self.fail(Guarantee::G1, words);
        }
        // A host that came back late, with proof, is only looked at and put back: it goes down no more (decision 24).
        let goes_down = !self.only_brings_back(watch) && !watch.is_of_service();
        let mut over = None;
        for group in self.checks.groups.iter().filter(|_| goes_down) {
            let (mut down, mut adds) = (Vec::new(), Vec::new());
            for (index, child) in &group.members {
                let name = child.clone().unwrap_or_else(|| self.hosts[*index].name.clone());
                if let Some(why) = self.surely_unavailable(controller, *index, child.as_deref(), id) {
                    down.push(format!("{name} ({why})"));
                } else if *index == host {
                    adds.push(name);
                }
            }
            let slots = self.checks.slots.get(&group.name).copied().unwrap_or_default();
            down.extend((0..slots).map(|_| "a slot".to_owned()));
            if !adds.is_empty() && down.len() + adds.len() > group.limit as usize {
                over = Some(format!(
                    "{id} begins on {}: group {} has {} unavailable, and {} goes down with it; its limit is {}",
                    self.hosts[host].name,
                    group.name,
                    down.join(", "),
                    adds.join(", "),
                    group.limit
                ));
            }
        }
        if let Some(words) = over {
            self.fail(Guarantee::G1, words);
        }
    }

    /// Why a member is unavailable beyond doubt, by the truth, and as far as a controller could know it.
    fn surely_unavailable(&self, controller: usize, host: usize, child: Option<&str>, own: TrackId) -> Option<&'static str> {
        let it = &self.hosts[host];
        let takes_down = |w: &Watch| is_working(w) && !w.is_of_service();
        if self.checks.watched.iter().any(|(id, w)| *id != own && takes_down(w) && w.host == host) {
            return Some("being worked on");
        }
        if self.checks.stranded.contains_key(&it.id) {
            return Some("stranded");
        }
        if self.checks.off.contains(&it.id) {
            return Some("off");
        }
        // A clock that was set back takes the time since the last message with it.
        let stepped = if self.checks.controller_clock_stepped { 60_000 } else { 0 };
        let limit = self.scenario.config.active_limit.0 as i64 + SLACK + stepped;
        let ears = &self.controllers[controller];
        match ears.heard.get(&it.id) {
            None => return Some("not heard since the controller started"),
            Some(at) if self.now - at > limit => return Some("silent"),
            Some(_) => {}
        }
        let down_since = it.boot().ended.map(|(at, _)| at).filter(|_| !it.is_up());
        if down_since.is_some_and(|since| self.now - since > limit + 1_000_000) {
            return Some("down");
        }
        let name = child?;
        let known = it.children.iter().find(|c| c.who.name == name)?;
        if self.checks.stranded.contains_key(&known.who.id) {
            return Some("stranded");
        }
        let report = ears.reports.get(&it.id)?;
        let listed = report.children()?;
        match listed.iter().find(|c| c.child.name == name) {
            Some(found) if found.status.is_up() => None,
            Some(_) => Some("reported down"),
            None => Some("missing from the report"),
        }
    }
}

/// Begun and not over.
fn is_working(watch: &Watch) -> bool {
    watch.started_at.is_some() && watch.ended.is_none()
}
