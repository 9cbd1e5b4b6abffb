//! The kept counts of limit groups, brought up to what the guard sees: of the hosts that were named alone.

use model::TargetId;

use crate::guard::Guard;
use crate::limits::Usage;
use crate::tally::Tally;

/// Brings the counts up to what the guard sees, which keeps no counts itself. Gives the hosts that changed without being
/// named.
pub(crate) fn settle(tally: &mut Tally, guard: &Guard<'_>) -> Vec<TargetId> {
    if !tally.whole {
        *tally = Tally::default();
        tally.counts = guard.limits.groups.iter().map(|group| guard.counted_alone(group)).collect();
        tally.slots = guard.slots_of_hosts();
        tally.stale = guard.fleet.hosts.keys().copied().collect();
        (tally.moved, tally.whole) = (true, true);
    }
    let mut found = Vec::new();
    if std::mem::take(&mut tally.moved) {
        let on_locked = guard.hosts_on_locked();
        found.extend(tally.on_locked.symmetric_difference(&on_locked));
        tally.on_locked = on_locked;
        let slots = guard.slots_of_hosts();
        found.extend(tally.slots.down.symmetric_difference(&slots.down));
        tally.slots = slots;
    }
    while let Some((at, host)) = tally.silent.first().copied().filter(|(at, _)| *at < guard.now) {
        tally.silent.remove(&(at, host));
        match guard.silent_after(host) {
            Some(later) if later >= guard.now => drop(tally.silent.insert((later, host))),
            _ => {
                tally.watched.remove(&host);
                found.push(host);
            }
        }
    }
    tally.stale.extend(&found);
    if tally.stale.is_empty() {
        return found;
    }
    for host in std::mem::take(&mut tally.stale) {
        let now: Vec<(usize, u32)> = Guard { usage: Usage::kept(tally), ..*guard }.adds(host);
        let before = if now.is_empty() { tally.down.remove(&host) } else { tally.down.insert(host, now.clone()) };
        for (group, count) in before.unwrap_or_default() {
            tally.counts.get_mut(group).into_iter().for_each(|all| *all -= count);
        }
        for (group, count) in now {
            tally.counts.get_mut(group).into_iter().for_each(|all| *all += count);
        }
        if let Some(at) = guard.silent_after(host).filter(|at| *at >= guard.now && tally.watched.insert(host)) {
            tally.silent.insert((at, host));
        }
    }
    debug_assert_eq!(tally.counts, guard.all_counts(), "the kept counts are those that are counted anew");
    found
}
