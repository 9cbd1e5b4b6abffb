//! The planner `rollout` (S2): a fleet in waves. Every track drains, stops, reboots, proves, verifies, undrains and soaks; or
//! takes up what an earlier orchestration left undone.

mod error;
mod lists;
mod makespan;
mod order;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use model::{
    Approval, BootIdentity, ChildReport, InstanceId, Labels, Millis, Operation, Plan, Planner, Request, Rollout, Route, Run,
    TargetId, Track, Unfinished, Wave,
};

use crate::config::{Config, Group};

pub use error::PlanError;
pub use makespan::{Pace, makespan};

/// What is known of a host when a plan is made.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its id.
    pub id: TargetId,
    /// Its name.
    pub name: &'a str,
    /// Where it is reached, `user@host:port` or a part of that; for what `{address}` stands for the host alone is taken.
    pub address: Option<&'a str>,
    /// Its labels.
    pub labels: &'a Labels,
    /// How it is reached.
    pub route: Route,
    /// What stands on it, by its last report.
    pub children: &'a [ChildReport],
    /// Its boot, and the run of what reported it: one machine under two names shows the same.
    pub boot: Option<(BootIdentity, InstanceId)>,
    /// Rollouts that failed on it lately.
    pub failures: u32,
    /// What the orchestration that is retried left undone.
    pub unfinished: Option<Unfinished>,
    /// The engine itself runs on it.
    pub own: bool,
}

/// The plan for a fleet. `hosts` is all of it, since limit groups have members that are no targets. The same input gives the
/// same plan, in whatever order the hosts come.
///
/// # Errors
/// [`PlanError`]: what makes no sense, what nobody could carry out, and what would break a limit with its smallest step (G1).
pub fn plan(config: &Config, request: &Request, hosts: &[Candidate<'_>]) -> Result<Plan, PlanError> {
    let planner = match request.operation {
        Operation::RollingReboot => Planner::Rollout,
        Operation::Run => Planner::Run,
        Operation::HealthCheck => Planner::HealthCheck,
        other => return Err(PlanError::NoRollout(other)),
    };
    let rollout = request.rollout.clone().unwrap_or_else(|| config.rollout_of(&model::RolloutOptions::default(), None));
    config.check_rollout(&rollout)?;
    let targets = targets(request, hosts)?;
    no_host_twice(&targets)?;
    match (planner, &request.run) {
        (Planner::Run, Some(asked)) => runnable(config, &asked.run, asked.limit, &targets)?,
        (Planner::Run, None) => return Err(PlanError::NoCommand),
        (Planner::HealthCheck, _) => waitable(config, request.wait)?,
        _ => no_nesting(&targets)?,
    }
    // Who is only asked takes nothing from any group.
    let goes_down = planner != Planner::HealthCheck;
    let groups = if goes_down { groups(config, hosts) } else { Vec::new() };
    let memberships = memberships(&groups, &targets)?;
    let ordered = order::order(&targets, &groups, &memberships);
    let mut lists = lists::Lists::new(config, request, &rollout);
    let tracks = ordered.iter().map(|index| lists.track(targets[*index])).collect::<Result<Vec<_>, _>>()?;
    let alone = goes_down && targets.iter().any(|target| target.own);
    Ok(Plan { planner, lists: lists.done(), waves: waves(&rollout, tracks, alone) })
}

/// The limit groups that a configuration means among these hosts.
pub fn groups(config: &Config, hosts: &[Candidate<'_>]) -> Vec<Group> {
    let members = || hosts.iter().map(|host| (host.id, host.name, host.labels));
    config.limit_groups.iter().flat_map(|group| group.resolve(members())).collect()
}

fn targets<'h, 'a>(request: &Request, hosts: &'h [Candidate<'a>]) -> Result<Vec<&'h Candidate<'a>>, PlanError> {
    if request.targets.is_empty() {
        return Err(PlanError::NoTargets);
    }
    let known: HashMap<TargetId, &Candidate<'_>> = hosts.iter().map(|host| (host.id, host)).collect();
    let mut seen = HashSet::with_capacity(request.targets.len());
    let mut targets = Vec::with_capacity(request.targets.len());
    for id in &request.targets {
        let host = *known.get(id).ok_or(PlanError::UnknownTarget(*id))?;
        if !seen.insert(*id) {
            return Err(PlanError::Twice { name: host.name.to_owned() });
        }
        targets.push(host);
    }
    Ok(targets)
}

/// One machine under two names would be rebooted twice, and counted once too often in its groups.
fn no_host_twice(targets: &[&Candidate<'_>]) -> Result<(), PlanError> {
    let (mut by_address, mut by_boot) = (HashMap::new(), HashMap::new());
    for target in targets {
        let ssh = target.address.filter(|_| target.route == Route::Ssh).map(endpoint);
        let same_address = ssh.and_then(|address| by_address.insert(address, target.name));
        let same_boot = target.boot.and_then(|boot| by_boot.insert(boot, target.name));
        if let Some(other) = same_address.or(same_boot) {
            return Err(PlanError::TwoNames { one: other.to_owned(), other: target.name.to_owned() });
        }
    }
    Ok(())
}

/// Commands go over agents; over SSH they go without an engine, with the right of whoever runs them.
fn runnable(config: &Config, run: &Run, limit: Millis, targets: &[&Candidate<'_>]) -> Result<(), PlanError> {
    run.check().map_err(PlanError::BadCommand)?;
    if limit.0 == 0 || limit > config.wait_limit {
        return Err(PlanError::RunLimit { limit, most: config.wait_limit });
    }
    match targets.iter().find(|target| target.route != Route::Agent) {
        Some(target) => Err(PlanError::RunWithoutAgent { host: target.name.to_owned() }),
        None => Ok(()),
    }
}

fn waitable(config: &Config, wait: Option<Millis>) -> Result<(), PlanError> {
    match wait {
        Some(limit) if limit.0 == 0 || limit > config.wait_limit => Err(PlanError::Wait { limit, most: config.wait_limit }),
        _ => Ok(()),
    }
}

/// A target that stands on another one would go down in the middle of its own track (E14).
fn no_nesting(targets: &[&Candidate<'_>]) -> Result<(), PlanError> {
    let ids: HashMap<TargetId, &str> = targets.iter().map(|target| (target.id, target.name)).collect();
    let names: HashSet<&str> = targets.iter().map(|target| target.name).collect();
    for parent in targets {
        for report in parent.children {
            let by_name = names.get(report.child.name.as_str()).copied().filter(|name| *name != parent.name);
            if let Some(child) = ids.get(&report.child.id).copied().or(by_name) {
                return Err(PlanError::Nested { parent: parent.name.to_owned(), child: child.to_owned() });
            }
        }
    }
    Ok(())
}

/// For each target the groups in which it has members, with how many.
type Memberships = Vec<Vec<(u32, u32)>>;

/// # Errors
/// A group of a target that allows none of its members, and a target that alone is more than its group allows (G1, ruling 15).
fn memberships(groups: &[Group], targets: &[&Candidate<'_>]) -> Result<Memberships, PlanError> {
    let places: HashMap<TargetId, usize> = targets.iter().enumerate().map(|(index, target)| (target.id, index)).collect();
    let mut all: Memberships = vec![Vec::new(); targets.len()];
    for (group, number) in groups.iter().zip(0_u32..) {
        for member in &group.members {
            let Some(place) = member.host.and_then(|host| places.get(&host)) else { continue };
            if group.limit == 0 {
                let members = group.members.len();
                return Err(PlanError::LimitRoundsToNothing { group: group.name.clone(), amount: group.amount, members });
            }
            let Some(of_target) = all.get_mut(*place) else { continue };
            match of_target.last_mut() {
                Some((last, count)) if *last == number => *count += 1,
                _ => of_target.push((number, 1)),
            }
        }
    }
    for (target, of_target) in targets.iter().zip(&all) {
        for (number, count) in of_target {
            let Some(group) = groups.get(*number as usize).filter(|group| *count > group.limit) else { continue };
            let (group, limit) = (group.name.clone(), group.limit);
            return Err(PlanError::TooManyAtOnce { group, host: target.name.to_owned(), count: *count, limit });
        }
    }
    Ok(all)
}

/// Canary, stages, the rest; the engine's own host, last in the order, in a wave of its own: nothing else is under way while it
/// is down.
fn waves(rollout: &Rollout, tracks: Vec<Track>, own_is_last: bool) -> Vec<Wave> {
    let total = tracks.len();
    let count = |amount: model::Amount| amount.of(u32::try_from(total).unwrap_or(u32::MAX)) as usize;
    let mut ends = Vec::new();
    if !matches!(rollout.canary, model::Amount::Count(0) | model::Amount::Percent(0)) {
        ends.push(count(rollout.canary).max(1));
    }
    ends.extend(rollout.stages.iter().map(|stage| count(*stage)));
    ends.push(total);
    if own_is_last {
        ends.push(total - 1);
    }
    // Of so few targets stages may fall together.
    ends.retain(|end| *end > 0 && *end <= total);
    ends.push(total);
    ends.sort_unstable();
    ends.dedup();
    let mut tracks = tracks.into_iter();
    let mut begun = 0;
    let mut waves = Vec::with_capacity(ends.len());
    for end in ends {
        let approval = match rollout.approval {
            Approval::Never => false,
            Approval::AfterCanary => waves.len() == 1,
            Approval::EachWave => !waves.is_empty(),
        };
        waves.push(Wave { approval, tracks: tracks.by_ref().take(end - begun).collect() });
        begun = end;
    }
    waves
}

impl Candidate<'_> {
    /// Whether only what follows a reboot is left to do on it.
    fn is_second_half(&self) -> bool {
        self.unfinished.as_ref().is_some_and(|left| left.is_second_half(self.boot.map(|(boot, _)| boot)))
    }
}

/// `host:port` of where a host is reached over SSH.
fn endpoint(address: &str) -> (String, u16) {
    let (host, port) = host_and_port(address);
    (host.to_lowercase(), port.unwrap_or(22))
}

/// The host alone, without user, port and brackets.
fn host_of(address: &str) -> &str {
    host_and_port(address).0
}

fn host_and_port(address: &str) -> (&str, Option<u16>) {
    let place = address.rsplit_once('@').map_or(address, |(_, place)| place);
    if let Some((host, after)) = place.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        return (host, after.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match place.rsplit_once(':') {
        // More than one colon without brackets: an IPv6 address.
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (place, None),
    }
}

/// What each target is expected to take, for [`makespan`].
pub type Durations = BTreeMap<TargetId, model::Millis>;
