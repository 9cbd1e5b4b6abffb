//! The order of services: what they depend on first (S3-4, S3-59).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{Service, is_unit_name};

/// Why services have no order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// Two services of one name.
    #[error("the service {0} is declared twice: give each service a name of its own")]
    Twice(String),
    /// Nothing is called so.
    #[error(
        "{service} depends on {dependency}, which is no service that is declared, and no unit (units have a suffix: {dependency}.service, network.target)"
    )]
    Unknown {
        /// Which.
        service: String,
        /// On what.
        dependency: String,
    },
    /// They wait for each other.
    #[error("services depend on each other in a circle: {}; take one of these dependencies away", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// What a service depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Services, by their places in the list.
    pub(super) services: BTreeSet<usize>,
    /// Units that no service is declared for, systemd's targets among them (S3-62).
    pub(super) units: BTreeSet<String>,
}

/// What each service depends on. A dependency may be the name of a service, or the unit of one (S3-61).
pub(super) fn needs(services: &[Service]) -> Result<Vec<Needs>, OrderError> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for (place, service) in services.iter().enumerate() {
        if names.insert(&service.name, place).is_some() {
            return Err(OrderError::Twice(service.name.clone()));
        }
    }
    let mut units: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    services.iter().enumerate().for_each(|(place, service)| units.entry(&service.unit).or_default().push(place));
    let of = |service: &Service| {
        let mut needs = Needs::default();
        for dependency in &service.dependencies {
            if let Some(place) = names.get(dependency.as_str()) {
                needs.services.insert(*place);
            } else if let Some(places) = units.get(dependency.as_str()) {
                needs.services.extend(places);
            } else if is_unit_name(dependency) {
                needs.units.insert(dependency.clone());
            } else {
                return Err(OrderError::Unknown { service: service.name.clone(), dependency: dependency.clone() });
            }
        }
        Ok(needs)
    };
    services.iter().map(of).collect()
}

/// The places of these services in the order in which they are restarted: each after all that it depends on; of those that could
/// come next, the lower kind, and then the one that is declared first (S3-4, S3-59, S3-60).
///
/// # Errors
/// [`OrderError`].
pub fn order(services: &[Service]) -> Result<Vec<usize>, OrderError> {
    let needs = needs(services)?;
    let mut left: BTreeMap<usize, BTreeSet<usize>> =
        needs.iter().enumerate().map(|(place, needs)| (place, needs.services.clone())).collect();
    let mut ordered = Vec::with_capacity(services.len());
    while !left.is_empty() {
        let kind = |place: usize| services.get(place).map(|s| s.kind);
        let ready = left.iter().filter(|(_, waits)| waits.is_empty()).map(|(place, _)| *place);
        let Some(next) = ready.min_by_key(|place| (kind(*place), *place)) else {
            return Err(OrderError::Cycle(circle(services, &left)));
        };
        left.remove(&next);
        left.values_mut().for_each(|waits| {
            waits.remove(&next);
        });
        ordered.push(next);
    }
    Ok(ordered)
}

/// One circle, by name, from a service back to itself; all that is left waits for something that is left.
fn circle(services: &[Service], left: &BTreeMap<usize, BTreeSet<usize>>) -> Vec<String> {
    let name = |place: &usize| services.get(*place).map(|s| s.name.clone()).unwrap_or_default();
    let mut way: Vec<usize> = Vec::new();
    let mut at = left.keys().next().copied();
    while let Some(place) = at {
        if let Some(begin) = way.iter().position(|seen| *seen == place) {
            let circle = way.iter().skip(begin).chain([&place]);
            return circle.map(name).collect();
        }
        way.push(place);
        at = left.get(&place).and_then(|waits| waits.first().copied());
    }
    way.iter().map(name).collect()
}
