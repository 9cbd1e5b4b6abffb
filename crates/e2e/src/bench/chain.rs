//! The longest chain of dependencies: nothing that obeys them can be faster.

use std::collections::HashMap;
use std::time::Duration;

use super::platform::Simulated;

/// How long it takes, and its services, the first one first. `own` is what each of them takes by itself, in their order; what a
/// service needs comes before it.
pub(super) fn longest(services: &[Simulated], own: &[Duration], soak: Duration) -> (Duration, Vec<&'static str>) {
    let mut chains: HashMap<&str, (Duration, Vec<&'static str>)> = HashMap::new();
    for (service, own) in services.iter().zip(own) {
        let before = service.after.iter().filter_map(|name| chains.get(name)).max_by_key(|(took, _)| *took);
        let (took, mut names) = before.cloned().unwrap_or_default();
        names.push(service.name);
        chains.insert(service.name, (took + *own + soak, names));
    }
    chains.into_values().max_by_key(|(took, _)| *took).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::platform::SERVICES;
    use super::*;

    #[test]
    fn the_longest_chain_follows_what_takes_long() {
        let secs = Duration::from_secs;
        let mut own = [secs(1); SERVICES.len()];
        let (took, names) = longest(&SERVICES, &own, secs(30));
        assert_eq!((took, names.len()), (secs(4 * 31), 4), "{names:?}");
        // `imajin.ml` stands alone on two others.
        own[14] = secs(100);
        let (took, names) = longest(&SERVICES, &own, secs(30));
        assert_eq!((took, names.len(), names.last()), (secs(31 + 130), 2, Some(&"imajin.ml")), "{names:?}");
    }
}
