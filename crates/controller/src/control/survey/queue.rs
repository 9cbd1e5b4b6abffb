//! Whom to ask next: whoever has waited longest. Hosts that do not answer take no room from those that do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use model::TargetId;
use tokio::time::Instant;

use super::super::performer::Reached;
use super::WIDTH;

/// Of all that are asked at once, at most so many did not answer the last time.
const DEAD_WIDTH: usize = WIDTH / 2;
/// A host that takes longer holds no place any more; else those that turn out to be dead would hold up all others at a start.
const SLOW: Duration = Duration::from_secs(3);
/// So many at most are asked at once, the slow ones included.
const OPEN_MAX: usize = 4 * WIDTH;
/// Longest pause between two questions to a host that does not answer.
const PAUSE_MAX: Duration = Duration::from_secs(300);

pub(super) struct Queue {
    pace: Duration,
    hosts: BTreeMap<TargetId, Turn>,
    /// Those that are not being asked, by when they are to be: that answered, or are new; and that did not answer.
    live: BTreeSet<(Instant, TargetId)>,
    dead: BTreeSet<(Instant, TargetId)>,
    /// Those that are being asked, by since when; those of them that did not answer the last time.
    open: BTreeSet<(Instant, TargetId)>,
    open_dead: usize,
}

struct Turn {
    host: Reached,
    /// How often in a row it did not answer.
    failures: u32,
    /// When it is to be asked; since when it is asked.
    at: Instant,
    is_open: bool,
}

impl Queue {
    pub(super) fn new(pace: Duration) -> Self {
        let (live, dead, open) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        Self { pace, hosts: BTreeMap::new(), live, dead, open, open_dead: 0 }
    }

    /// These are the hosts now; new ones are to be asked at once. Gives those that are not there any more, or not where they were.
    pub(super) fn be(&mut self, hosts: BTreeMap<TargetId, Reached>, now: Instant) -> Vec<Reached> {
        let gone: Vec<TargetId> = self.hosts.keys().filter(|id| !hosts.contains_key(id)).copied().collect();
        let mut left = Vec::new();
        for id in gone {
            self.take_out(id);
            left.extend(self.hosts.remove(&id).map(|turn| turn.host));
        }
        for (id, host) in hosts {
            match self.hosts.get_mut(&id) {
                // Somewhere else it may be well.
                Some(turn) if turn.host.address != host.address => {
                    left.push(std::mem::replace(&mut turn.host, host));
                    self.put(id, 0, now);
                }
                Some(turn) => turn.host = host,
                None => {
                    self.hosts.insert(id, Turn { host, failures: 0, at: now, is_open: false });
                    self.live.insert((now, id));
                }
            }
        }
        left
    }

    /// The next one that is due, if there is room; it is being asked from now on.
    pub(super) fn take(&mut self, now: Instant) -> Option<Reached> {
        let slow = now.checked_sub(SLOW).map_or(0, |at| self.open.range(..(at, TargetId::CONTROLLER)).count());
        if self.open.len() - slow >= WIDTH || self.open.len() >= OPEN_MAX {
            return None;
        }
        let due = |set: &BTreeSet<(Instant, TargetId)>| set.first().copied().filter(|(at, _)| *at <= now);
        let live = due(&self.live);
        let dead = due(&self.dead).filter(|_| self.open_dead < DEAD_WIDTH);
        let (_, id) = live.into_iter().chain(dead).min()?;
        self.take_out(id);
        let turn = self.hosts.get_mut(&id)?;
        (turn.at, turn.is_open) = (now, true);
        self.open.insert((now, id));
        self.open_dead += usize::from(turn.failures > 0);
        Some(turn.host.clone())
    }

    /// It has answered, or could not be asked.
    pub(super) fn ended(&mut self, id: TargetId, answered: bool, now: Instant) {
        let Some(failures) = self.hosts.get(&id).filter(|turn| turn.is_open).map(|turn| turn.failures) else { return };
        let failures = if answered { 0 } else { failures.saturating_add(1) };
        let longer = self.pace.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX.max(self.pace));
        self.put(id, failures, now + longer);
    }

    /// It was heard by another way.
    pub(super) fn back(&mut self, id: TargetId, now: Instant) {
        if self.hosts.get(&id).is_some_and(|turn| turn.failures > 0 && !turn.is_open) {
            self.put(id, 0, now + self.pace);
        }
    }

    /// Nobody is being asked any more.
    pub(super) fn again(&mut self, now: Instant) {
        let open: Vec<TargetId> = self.open.iter().map(|(_, id)| *id).collect();
        for id in open {
            let failures = self.hosts.get(&id).map_or(0, |turn| turn.failures);
            self.put(id, failures, now);
        }
    }

    /// When to look again at the latest, if nothing else happens.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let later = now + self.pace;
        let slow = self.open.iter().map(|(since, _)| *since + SLOW).find(|at| *at > now);
        let dead = self.dead.first().filter(|_| self.open_dead < DEAD_WIDTH);
        let due = self.live.first().into_iter().chain(dead).map(|(at, _)| *at).min().filter(|at| *at > now);
        // Whoever is due already waits for room: an answer, or somebody who turns out to be slow.
        slow.into_iter().chain(due).chain([later]).min().unwrap_or(later)
    }

    fn put(&mut self, id: TargetId, failures: u32, at: Instant) {
        self.take_out(id);
        let Some(turn) = self.hosts.get_mut(&id) else { return };
        (turn.failures, turn.at, turn.is_open) = (failures, at, false);
        if failures > 0 {
            self.dead.insert((at, id))
        } else {
            self.live.insert((at, id))
        };
    }

    fn take_out(&mut self, id: TargetId) {
        let Some(turn) = self.hosts.get_mut(&id) else { return };
        let place = (turn.at, id);
        if self.open.remove(&place) {
            self.open_dead -= usize::from(turn.failures > 0);
            turn.is_open = false;
        }
        self.live.remove(&place);
        self.dead.remove(&place);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_secs(30);

    /// Asks for an hour, second by second; gives how long each live host waited at most for its next turn. Hosts below `dead` do
    /// not answer within `patience`.
    fn longest(hosts: u32, dead: u32, patience: u64) -> (u64, u64) {
        let begun = Instant::now();
        let at = |second: u64| begun + Duration::from_secs(second);
        let host = |number: u32| {
            let id = TargetId::of_ssh(&number.to_string());
            (id, Reached { id, name: number.to_string(), address: "x".to_owned() })
        };
        let mut queue = Queue::new(PACE);
        queue.be((0..hosts).map(host).collect(), at(0));
        let mut ends: BTreeMap<u64, Vec<(TargetId, bool)>> = BTreeMap::new();
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut longest, mut questions_to_dead) = (0, 0);
        for second in 0..3600 {
            for (id, answered) in ends.remove(&second).unwrap_or_default() {
                queue.ended(id, answered, at(second));
            }
            while let Some(host) = queue.take(at(second)) {
                let number: u32 = host.name.parse().unwrap();
                let is_dead = number < dead;
                if is_dead {
                    questions_to_dead += 1;
                } else {
                    longest = longest.max(second - last.insert(number, second).unwrap_or(0));
                }
                let takes = if is_dead { patience } else { 1 };
                ends.entry(second + takes).or_default().push((host.id, !is_dead));
            }
        }
        let unheard = (dead..hosts).filter(|number| 3600 - last.get(number).copied().unwrap_or(0) > 90).count();
        assert_eq!(unheard, 0, "somebody was not asked for 90 s at the end");
        (longest, questions_to_dead)
    }

    #[test]
    fn hosts_that_do_not_answer_take_no_room_from_those_that_do() {
        let (longest, questions) = longest(1200, 400, 30);
        assert!(longest <= 80, "{longest} s; a host counts as silent after 90 s");
        assert!(questions > 400 * 8 && questions < 400 * 30, "dead hosts are asked at a growing pace: {questions}");
    }

    #[test]
    fn whoever_waited_longest_is_asked_next_whatever_its_id() {
        assert!(longest(1800, 0, 1).0 <= 35);
    }

    #[test]
    fn a_host_that_was_heard_or_moved_is_asked_at_its_pace_again() {
        let now = Instant::now();
        let id = TargetId::of_ssh("a");
        let host = |address: &str| BTreeMap::from([(id, Reached { id, name: "a".to_owned(), address: address.to_owned() })]);
        let mut queue = Queue::new(PACE);
        queue.be(host("a"), now);
        for number in 1..=5 {
            let at = now + PAUSE_MAX * number;
            assert!(queue.take(at).is_some(), "{number}");
            assert!(queue.take(at).is_none());
            queue.ended(id, false, at);
        }
        let at = now + PAUSE_MAX * 5;
        assert!(queue.take(at + PACE * 2).is_none());
        queue.back(id, at);
        assert!(queue.take(at + PACE * 2).is_some());
        queue.ended(id, false, at + PACE * 2);
        let moved = queue.be(host("b"), at + PACE * 2);
        assert!(moved.len() == 1 && moved[0].address == "a", "whoever was there is told");
        assert!(queue.take(at + PACE * 2).is_some());
        assert_eq!(queue.be(BTreeMap::new(), at).len(), 1);
        queue.ended(id, true, at);
        assert!(queue.hosts.is_empty() && queue.open.is_empty() && queue.live.is_empty() && queue.open_dead == 0);
    }
}
