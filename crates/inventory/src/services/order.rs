//! Which services wait for which.

use std::collections::BTreeMap;

use model::Service;

/// For each service those that it waits for, as indexes; a dependency that is the unit of a service on the same host means that
/// service.
pub(super) fn edges(services: &[Service]) -> Vec<Vec<usize>> {
    let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, service) in services.iter().enumerate() {
        for name in [&service.name, &service.unit] {
            named.entry(name).or_default().push(index);
        }
    }
    let meant = |service: &Service, dependency: &String| {
        let candidates = named.get(dependency.as_str()).into_iter().flatten().copied();
        let fits = |index: &usize| {
            let other = &services[*index];
            other.name == *dependency || share_a_host(service, other)
        };
        candidates.filter(fits).collect::<Vec<_>>()
    };
    services.iter().map(|service| service.dependencies.iter().flat_map(|name| meant(service, name)).collect()).collect()
}

/// Without a host a service runs on every host.
pub(super) fn share_a_host(one: &Service, other: &Service) -> bool {
    one.host.is_none() || other.host.is_none() || one.host == other.host
}

/// Services that wait for each other, each for the next and the last for the first, from the lowest on; `None`: there are none.
pub(super) fn cycle(edges: &[Vec<usize>]) -> Option<Vec<usize>> {
    let mut waits: Vec<usize> = edges.iter().map(Vec::len).collect();
    let mut waiting_for: Vec<Vec<usize>> = vec![Vec::new(); edges.len()];
    for (index, edges) in edges.iter().enumerate() {
        edges.iter().for_each(|other| waiting_for[*other].push(index));
    }
    let mut free: Vec<usize> = (0..edges.len()).filter(|index| waits[*index] == 0).collect();
    while let Some(index) = free.pop() {
        for other in &waiting_for[index] {
            waits[*other] -= 1;
            if waits[*other] == 0 {
                free.push(*other);
            }
        }
    }
    // What still waits, waits for something that still waits: whoever walks on comes round.
    let mut at = (0..edges.len()).find(|index| waits[*index] > 0)?;
    let mut walked = Vec::new();
    while !walked.contains(&at) {
        walked.push(at);
        at = edges[at].iter().copied().find(|other| waits[*other] > 0)?;
    }
    let mut cycle: Vec<usize> = walked.into_iter().skip_while(|index| *index != at).collect();
    let lowest = cycle.iter().enumerate().min_by_key(|(_, index)| **index).map_or(0, |(place, _)| place);
    cycle.rotate_left(lowest);
    Some(cycle)
}

#[cfg(test)]
mod tests {
    use super::cycle;

    #[test]
    fn a_cycle_is_found_whole_and_nothing_besides() {
        type Case = (&'static [&'static [usize]], Option<&'static [usize]>);
        let cases: [Case; 6] = [
            (&[], None),
            (&[&[], &[0], &[0, 1]], None),
            (&[&[0]], Some(&[0])),
            (&[&[1], &[2], &[0]], Some(&[0, 1, 2])),
            // 0 waits for a cycle, and is in none.
            (&[&[2], &[], &[3, 1], &[2]], Some(&[2, 3])),
            (&[&[1, 1], &[0, 0]], Some(&[0, 1])),
        ];
        for (edges, found) in cases {
            let edges: Vec<Vec<usize>> = edges.iter().map(|edges| edges.to_vec()).collect();
            assert_eq!(cycle(&edges).as_deref(), found, "{edges:?}");
        }
    }
}
