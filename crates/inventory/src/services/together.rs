//! What holds between services: each has its own unit and folder, and none waits for itself.

use std::collections::{BTreeMap, BTreeSet};

use engine::OrderError;
use model::{Service, is_unit_name};

use super::entry::Entry;
use super::error::{Problem, Wrong};

use crate::spelling;

pub(super) fn check(entries: &[Entry], problems: &mut Vec<Problem>) {
    units(entries, problems);
    destinations(entries, problems);
    let sound = dependencies(entries, problems);
    cycles(entries, sound, problems);
}

/// Without a host a service runs on every host.
pub(super) fn share_a_host(one: &Service, other: &Service) -> bool {
    one.host.is_none() || other.host.is_none() || one.host == other.host
}

fn units(entries: &[Entry], problems: &mut Vec<Problem>) {
    let mut of_unit: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        let earlier = of_unit.entry(&entry.service.unit).or_default();
        if let Some(other) = earlier.iter().find(|other| share_a_host(&other.service, &entry.service)) {
            let (unit, place) = (entry.service.unit.clone(), other.spot.place.clone());
            problems.push(entry.unit.problem(Wrong::UnitTwice { unit, other: other.service.name.clone(), place }));
        }
        earlier.push(entry);
    }
}

fn destinations(entries: &[Entry], problems: &mut Vec<Problem>) {
    let deployed: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((entry, entry.destination.as_ref()?, &entry.service.deploy.as_ref()?.destination)))
        .collect();
    for (at, (entry, spot, path)) in deployed.iter().enumerate() {
        let lies = |theirs: &str| model::paths::within(path, theirs) || model::paths::within(theirs, path);
        let mut earlier = deployed.iter().take(at);
        if let Some((other, _, theirs)) =
            earlier.find(|(other, _, theirs)| lies(theirs) && share_a_host(&other.service, &entry.service))
        {
            problems.push(spot.problem(Wrong::DestinationTwice {
                path: (*path).clone(),
                theirs: (*theirs).clone(),
                other: other.service.name.clone(),
                place: other.spot.place.clone(),
            }));
        }
    }
}

/// Returns, for each service, those of its dependencies that can be one.
fn dependencies(entries: &[Entry], problems: &mut Vec<Problem>) -> Vec<Vec<String>> {
    let names: BTreeSet<&str> = entries.iter().map(|entry| entry.service.name.as_str()).collect();
    let mut sound = Vec::with_capacity(entries.len());
    for entry in entries {
        let mut own = Vec::new();
        for said in &entry.dependencies {
            let name = &said.value;
            let wrong = if *name == entry.service.name || *name == entry.service.unit {
                Wrong::Itself(name.clone())
            } else if own.contains(name) {
                Wrong::Value(format!("names {name:?} twice: keep it once"))
            } else if names.contains(name.as_str()) || is_unit_name(name) {
                own.push(name.clone());
                continue;
            } else {
                let near = spelling::nearest(name, names.iter().copied()).map(str::to_owned);
                Wrong::UnknownDependency { name: name.clone(), near }
            };
            problems.push(said.spot.problem(wrong));
        }
        sound.push(own);
    }
    sound
}

/// One cycle after the other, until none is left.
fn cycles(entries: &[Entry], sound: Vec<Vec<String>>, problems: &mut Vec<Problem>) {
    let with = |(entry, dependencies): (&Entry, Vec<String>)| Service { dependencies, ..entry.service.clone() };
    let mut services: Vec<Service> = entries.iter().zip(sound).map(with).collect();
    while let Err(OrderError::Cycle(names)) = engine::service_order(&services) {
        let Some(first) = services.iter().position(|service| names.first() == Some(&service.name)) else { break };
        problems.push(entries[first].spot.problem(Wrong::Cycle(names)));
        // As if the first of them waited for nothing: a cycle that shares nothing with it is found, too.
        services[first].dependencies.clear();
    }
}
