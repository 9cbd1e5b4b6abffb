//! How long a plan takes when every target takes what it is expected to: list scheduling in the planned order.

use std::collections::HashMap;

use model::{Millis, Plan, TargetId};

use super::Durations;
use crate::config::Group;

/// How fast a plan is gone through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// So many targets at once; at least 1.
    pub concurrency: u32,
    /// Two starts are never closer than this.
    pub stagger: Millis,
    /// What a target takes of which nothing is known.
    pub expected: Millis,
}

/// When each track would start, in the order of the plan, and when the last one would end, counted from the start of the first
/// wave: at each moment the first track that has not started, and for which there is room in the number of targets at once and
/// in all its limit groups, starts. Waves follow each other without a pause. Nothing fails, and nothing else is unavailable.
pub fn makespan(plan: &Plan, groups: &[Group], durations: &Durations, pace: Pace) -> (Vec<Millis>, Millis) {
    let mut of_target: HashMap<TargetId, Vec<(usize, u32)>> = HashMap::new();
    for (number, group) in groups.iter().enumerate() {
        for host in group.members.iter().filter_map(|member| member.host) {
            let groups = of_target.entry(host).or_default();
            match groups.last_mut() {
                Some((last, count)) if *last == number => *count += 1,
                _ => groups.push((number, 1)),
            }
        }
    }
    let mut down = vec![0_u32; groups.len()];
    let mut starts = Vec::new();
    let mut now = 0_u64;
    let mut last_start = None;
    for wave in &plan.waves {
        let first = starts.len();
        starts.resize(first + wave.tracks.len(), None);
        let mut running: Vec<(u64, TargetId)> = Vec::new();
        let mut waiting: Vec<usize> = (0..wave.tracks.len()).collect();
        while !waiting.is_empty() || !running.is_empty() {
            let may_start = last_start.is_none_or(|last: u64| now >= last + pace.stagger.0);
            let fits = |target: &TargetId| {
                of_target.get(target).into_iter().flatten().all(|(number, count)| {
                    let limit = groups.get(*number).map_or(0, |group| group.limit);
                    down.get(*number).is_some_and(|down| down + count <= limit)
                })
            };
            let free = may_start && running.len() < pace.concurrency.max(1) as usize;
            let next = waiting.iter().position(|index| free && wave.tracks.get(*index).is_some_and(|track| fits(&track.target)));
            if let Some(index) = next.map(|place| waiting.remove(place))
                && let (Some(track), Some(start)) = (wave.tracks.get(index), starts.get_mut(first + index))
            {
                *start = Some(Millis(now));
                last_start = Some(now);
                count(&of_target, track.target, |number, count| down.get_mut(number).into_iter().for_each(|down| *down += count));
                running.push((now + durations.get(&track.target).unwrap_or(&pace.expected).0, track.target));
                continue;
            }
            let staggered = last_start.map(|last| last + pace.stagger.0).filter(|at| *at > now && !waiting.is_empty());
            let Some(then) = running.iter().map(|(end, _)| *end).chain(staggered).min() else { break };
            now = then;
            for (_, target) in running.extract_if(.., |(end, _)| *end <= then) {
                count(&of_target, target, |number, count| down.get_mut(number).into_iter().for_each(|down| *down -= count));
            }
        }
    }
    (starts.into_iter().map(Option::unwrap_or_default).collect(), Millis(now))
}

fn count(of_target: &HashMap<TargetId, Vec<(usize, u32)>>, target: TargetId, mut each: impl FnMut(usize, u32)) {
    of_target.get(&target).into_iter().flatten().for_each(|(number, count)| each(*number, *count));
}
