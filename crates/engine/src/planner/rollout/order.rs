//! In which order targets start.

use std::collections::HashMap;

use super::{Candidate, Memberships};
use crate::config::Group;

/// Indices of the targets: what a retry takes up first, then those that failed least lately, and those that are equal in that
/// in turns over the limit groups, by name; the engine's own host last.
pub(super) fn order(targets: &[&Candidate<'_>], groups: &[Group], memberships: &Memberships) -> Vec<usize> {
    let class = |index: usize| targets.get(index).map(|t| (t.own, t.unfinished.is_none(), t.failures));
    let mut order: Vec<usize> = (0..targets.len()).collect();
    order.sort_by_key(|index| (class(*index), targets.get(*index).map(|t| (t.name, t.id))));
    for same in order.chunk_by_mut(|a, b| class(*a) == class(*b)) {
        for family in families(groups) {
            in_turns(same, &family, memberships);
        }
    }
    order
}

/// For each group its number inside the family that it belongs to, if it does: the groups of one configured limit group share
/// no host, and taking turns is between them. The family of the most groups comes last, so that it counts most: turns between
/// racks, and among equal racks between sites.
fn families(groups: &[Group]) -> Vec<HashMap<u32, usize>> {
    let mut families: Vec<(&str, HashMap<u32, usize>)> = Vec::new();
    for (group, number) in groups.iter().zip(0_u32..) {
        let family = group.name.split_once('/').map_or(group.name.as_str(), |(family, _)| family);
        match families.last_mut() {
            Some((last, members)) if *last == family => {
                members.insert(number, members.len());
            }
            _ => families.push((family, HashMap::from([(number, 0)]))),
        }
    }
    families.sort_by_key(|(_, members)| members.len());
    families.into_iter().map(|(_, members)| members).collect()
}

/// The first of each group, the second of each, and so on; those of no group take turns as one more.
fn in_turns(same: &mut [usize], family: &HashMap<u32, usize>, memberships: &Memberships) {
    let mut taken = vec![0_u32; family.len() + 1];
    let mut turns: Vec<(u32, usize)> = Vec::with_capacity(same.len());
    for index in same.iter() {
        let own = memberships.get(*index).into_iter().flatten().find_map(|(number, _)| family.get(number));
        let turn = taken.get_mut(own.copied().unwrap_or(family.len()));
        turns.push((turn.as_deref().copied().unwrap_or(0), *index));
        turn.into_iter().for_each(|turn| *turn += 1);
    }
    turns.sort_by_key(|(turn, _)| *turn);
    for (place, (_, index)) in same.iter_mut().zip(turns) {
        *place = index;
    }
}
