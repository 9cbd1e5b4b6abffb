//! The planner `services` (S3): systemd services of one or more hosts in the order of their dependencies. One wave; a track for
//! each service on each of its hosts: look, back up, deploy, migrate, reload or restart, look, soak, look once more.

mod expected;
mod order;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::{
    Check, CheckKind, Deploy, DeployFrom, Migrate, MigrateOn, Millis, Moment, Plan, Planner, Reload, Request, Route, Service,
    ServiceRef, ServicesRequest, Step, StepAction, Subjects, TargetId, Track, Vars, Wave, is_unit_name, paths, restartable,
};

use crate::config::Config;
use crate::planner::rollout::Candidate;
use order::{Needs, needs};

pub(crate) use expected::{Expected, expected};
pub use order::{OrderError, order};

/// By what a host without an agent lets people in.
const LOGIN: [&str; 3] = ["ssh.service", "sshd.service", "ssh.socket"];

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServicesError {
    /// Nothing is declared.
    #[error("no service is declared: write a reveille.toml (reveille init makes a first one)")]
    Nothing,
    /// Their order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// No such service.
    #[error("no service is called {name}; there are: {}", known.join(", "))]
    UnknownService {
        /// As asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// What cannot be a unit.
    #[error("{service}: {unit:?} is no name of a unit (it needs its suffix: web.service)")]
    Unit {
        /// Whose.
        service: String,
        /// As declared.
        unit: String,
    },
    /// A unit that is none of a service's.
    #[error("{service}: {why}")]
    NotAService {
        /// Whose.
        service: String,
        /// In words.
        why: String,
    },
    /// Two trees in one place.
    #[error("{one} and {other} would be deployed into one another on {host}: each service needs a folder of its own")]
    SameTree {
        /// A name.
        one: String,
        /// The other.
        other: String,
        /// Where.
        host: String,
    },
    /// Two services that are one.
    #[error("{one} and {other} are both {unit} on {host}: a unit is one service")]
    SameUnit {
        /// A name.
        one: String,
        /// The other.
        other: String,
        /// Their unit.
        unit: String,
        /// Where.
        host: String,
    },
    /// The host that it runs on is not asked for.
    #[error("{service} runs on {host}, which is not among the hosts that are asked for: name it with --host")]
    OtherHost {
        /// Which.
        service: String,
        /// Where it runs.
        host: String,
    },
    /// No host is meant, or none of the services runs on those.
    #[error("none of the services runs on the hosts that are asked for")]
    Nowhere,
    /// Not a host of this fleet.
    #[error("no host has the id {0}: it was removed, or never enrolled or adopted")]
    UnknownTarget(TargetId),
    /// Nothing to deploy.
    #[error("{0}: nothing is said of a deploy: give it a [service.\"{0}\".deploy] with its destination, or leave --deploy out")]
    NoDeploy(String),
    /// None of them is deployed.
    #[error("none of the services has a deploy with its destination: leave --deploy out")]
    NothingToDeploy,
    /// From where?
    #[error("{0}: it is not said where the new tree lies: give --deploy-path, or an absolute source in its deploy")]
    NoSource(String),
    /// What a deploy must not do.
    #[error("{service}: {why}")]
    Deploy {
        /// Whose.
        service: String,
        /// In words.
        why: String,
    },
    /// Agents run no commands that others name.
    #[error(
        "{service} on {host}: its {what} is a command, and {host} has an agent, which runs no commands that others name: make it a {instead}"
    )]
    CommandOverAgent {
        /// Whose.
        service: String,
        /// Where.
        host: String,
        /// `health check` or `migration`.
        what: &'static str,
        /// What to do.
        instead: &'static str,
    },
    /// Longer than anything may wait.
    #[error("{service}: {what} may take from 1ms to {most}, not {limit}")]
    Limit {
        /// Whose.
        service: String,
        /// Which of its times.
        what: &'static str,
        /// As declared.
        limit: Millis,
        /// As configured (`wait_limit`).
        most: Millis,
    },
}

/// The plan for a request for services. The same input gives the same plan.
///
/// # Errors
/// [`ServicesError`]: what makes no sense, and what nobody could carry out.
pub fn plan(config: &Config, request: &Request, hosts: &[Candidate<'_>]) -> Result<Plan, ServicesError> {
    let asked = request.services.as_deref().ok_or(ServicesError::Nothing)?;
    let services = asked.services.as_slice();
    if services.is_empty() {
        return Err(ServicesError::Nothing);
    }
    let needs = needs(services)?;
    let ordered = order(services)?;
    let known: HashMap<&str, usize> = services.iter().enumerate().map(|(place, s)| (s.name.as_str(), place)).collect();
    if let Some(name) = asked.only.iter().find(|name| !known.contains_key(name.as_str())) {
        let known = services.iter().map(|s| s.name.clone()).collect();
        return Err(ServicesError::UnknownService { name: name.clone(), known });
    }
    let targets = targets(request, hosts)?;
    let planner = Services { config, request, asked, services, needs: &needs, targets: &targets };
    let chosen: Vec<usize> = ordered.into_iter().filter(|place| planner.is_asked(*place)).collect();
    planner.sound_deploy(&chosen)?;
    let places = planner.places(&chosen)?;
    let mut lists: Vec<Vec<Step>> = Vec::new();
    let mut tracks = Vec::with_capacity(places.len());
    for (number, (place, host)) in places.iter().enumerate() {
        let Some(service) = services.get(*place) else { continue };
        let first = places.iter().position(|(other, _)| other == place).filter(|_| planner.migrates_once(service));
        let migrate = planner.migration(service).filter(|_| first.is_none_or(|first| first == number));
        let steps = planner.steps(*place, service, host, migrate)?;
        let list = lists.iter().position(|known| *known == steps).unwrap_or_else(|| {
            lists.push(steps);
            lists.len() - 1
        });
        let mut after = planner.after(*place, host.id, places.get(..number).unwrap_or_default());
        // Where the migration went wrong once, nothing that counts on it is touched elsewhere.
        after.extend(first.filter(|first| *first < number));
        let name = if targets.len() == 1 { service.name.clone() } else { format!("{} on {}", service.name, host.name) };
        let id = TargetId::of_service(host.id, &service.unit);
        tracks.push(Track {
            target: host.id,
            name,
            route: host.route,
            after: after.into_iter().filter_map(|number| u32::try_from(number).ok()).collect(),
            list: u32::try_from(list).unwrap_or(u32::MAX),
            vars: Vars::new(),
            unfinished: None,
            service: Some(Box::new(ServiceRef { id, name: service.name.clone(), unit: service.unit.clone() })),
        });
    }
    Ok(Plan { planner: Planner::Services, lists, waves: vec![Wave { approval: false, tracks }] })
}

fn targets<'h, 'a>(request: &Request, hosts: &'h [Candidate<'a>]) -> Result<Vec<&'h Candidate<'a>>, ServicesError> {
    let mut seen = BTreeSet::new();
    let targets = request.targets.iter().filter(|id| seen.insert(**id));
    let find = |id: &TargetId| hosts.iter().find(|host| host.id == *id).ok_or(ServicesError::UnknownTarget(*id));
    targets.map(find).collect()
}

struct Services<'a> {
    config: &'a Config,
    request: &'a Request,
    asked: &'a ServicesRequest,
    services: &'a [Service],
    needs: &'a [Needs],
    targets: &'a [&'a Candidate<'a>],
}

/// A service on one of its hosts.
type Placed<'a> = (usize, &'a Candidate<'a>);

impl<'a> Services<'a> {
    fn is_asked(&self, place: usize) -> bool {
        self.asked.only.is_empty() || self.services.get(place).is_some_and(|s| self.asked.only.contains(&s.name))
    }

    /// On which of the hosts each of these services is, in the order in which they are gone through.
    fn places(&self, chosen: &[usize]) -> Result<Vec<Placed<'a>>, ServicesError> {
        let mut places: Vec<Placed<'a>> = Vec::new();
        let mut units: BTreeMap<(TargetId, &str), &str> = BTreeMap::new();
        for (place, service) in chosen.iter().filter_map(|place| Some((*place, self.services.get(*place)?))) {
            if !is_unit_name(&service.unit) {
                return Err(ServicesError::Unit { service: service.name.clone(), unit: service.unit.clone() });
            }
            let none = |why| ServicesError::NotAService { service: service.name.clone(), why };
            restartable(&service.unit).map_err(none)?;
            let here = |host: &&&Candidate<'_>| service.host.as_deref().is_none_or(|name| name == host.name);
            let on: Vec<&'a Candidate<'a>> = self.targets.iter().filter(here).copied().collect();
            if let (true, false, Some(host)) = (on.is_empty(), self.asked.only.is_empty(), &service.host) {
                return Err(ServicesError::OtherHost { service: service.name.clone(), host: host.clone() });
            }
            for host in on {
                // A rollback stops it first, and nobody would get in to start it again (G7).
                if host.route == Route::Ssh && LOGIN.contains(&service.unit.as_str()) {
                    return Err(none(format!("{} is how {} is reached: restart it there", service.unit, host.name)));
                }
                self.own_tree(place, host, &places)?;
                if let Some(one) = units.insert((host.id, service.unit.as_str()), service.name.as_str()) {
                    return Err(ServicesError::SameUnit {
                        one: one.to_owned(),
                        other: service.name.clone(),
                        unit: service.unit.clone(),
                        host: host.name.to_owned(),
                    });
                }
                places.push((place, host));
            }
        }
        if places.is_empty() { Err(ServicesError::Nowhere) } else { Ok(places) }
    }

    /// No tree of another service on the same host lies in this one's, or around it.
    fn own_tree(&self, place: usize, host: &Candidate<'_>, before: &[Placed<'_>]) -> Result<(), ServicesError> {
        let of = |place: usize| {
            let service = self.services.get(place)?;
            let destination = paths::absolute(&service.deploy.as_ref()?.destination).ok()?;
            Some((service.name.as_str(), destination))
        };
        let Some((other, mine)) = of(place).filter(|_| self.asked.deploy.is_some()) else { return Ok(()) };
        let meets =
            |(name, theirs): &(&str, String)| *name != other && (paths::within(theirs, &mine) || paths::within(&mine, theirs));
        let on_host = before.iter().filter(|(_, on)| on.id == host.id).filter_map(|(place, _)| of(*place));
        match on_host.into_iter().find(meets) {
            Some((one, _)) => {
                Err(ServicesError::SameTree { one: one.to_owned(), other: other.to_owned(), host: host.name.to_owned() })
            }
            None => Ok(()),
        }
    }

    /// What `--deploy` means must be there for one that is named, and for at least one of all.
    fn sound_deploy(&self, chosen: &[usize]) -> Result<(), ServicesError> {
        if self.asked.deploy.is_none() {
            return Ok(());
        }
        let without = chosen.iter().filter_map(|place| self.services.get(*place)).filter(|s| s.deploy.is_none());
        let without: Vec<&Service> = without.collect();
        if let Some(first) = without.first().filter(|_| !self.asked.only.is_empty()) {
            return Err(ServicesError::NoDeploy(first.name.clone()));
        }
        if without.len() == chosen.len() { Err(ServicesError::NothingToDeploy) } else { Ok(()) }
    }

    /// The tracks before this one that it waits for: its dependencies' on the same host, or all of one that is on others. What lies
    /// between two of them and is not asked for does not separate them.
    fn after(&self, place: usize, host: TargetId, before: &[Placed<'a>]) -> BTreeSet<usize> {
        let mut after = BTreeSet::new();
        let mut seen = BTreeSet::from([place]);
        let mut open = vec![place];
        while let Some(at) = open.pop() {
            for dependency in self.needs.get(at).into_iter().flat_map(|needs| &needs.services) {
                if !seen.insert(*dependency) {
                    continue;
                }
                let all = || before.iter().enumerate().filter(|(_, (p, _))| p == dependency);
                let same_host: Vec<usize> = all().filter(|(_, (_, h))| h.id == host).map(|(n, _)| n).collect();
                let tracks = if same_host.is_empty() { all().map(|(n, _)| n).collect() } else { same_host };
                if tracks.is_empty() {
                    open.push(*dependency);
                }
                after.extend(tracks);
            }
        }
        after
    }

    /// What is run for this service before its restart, when migrations are asked for.
    fn migration<'s>(&self, service: &'s Service) -> Option<&'s Migrate> {
        service.migrate.as_ref().filter(|_| !self.asked.skip_migrations)
    }

    /// Its hosts share what is migrated.
    fn migrates_once(&self, service: &Service) -> bool {
        self.migration(service).is_some() && service.migrate_on == MigrateOn::First
    }

    /// What must be up on the host before the service is touched (S3-102).
    fn satisfied(&self, place: usize, host: &Candidate<'_>, limit: Millis) -> Vec<Check> {
        let Some(needs) = self.needs.get(place) else { return Vec::new() };
        let is_here = |service: &&Service| service.host.as_deref().is_none_or(|name| name == host.name);
        let services = needs.services.iter().filter_map(|place| self.services.get(*place)).filter(is_here);
        let units =
            services.map(|s| (s.name.as_str(), s.unit.as_str())).chain(needs.units.iter().map(|u| (u.as_str(), u.as_str())));
        let check = |(name, unit): (&str, &str)| Check {
            name: format!("dependency {name}"),
            kind: CheckKind::Unit { unit: unit.to_owned() },
            limit,
        };
        units.map(check).collect()
    }

    /// `migrate` is what is run on this host.
    fn steps(
        &self,
        place: usize,
        service: &Service,
        host: &Candidate<'_>,
        migrate: Option<&Migrate>,
    ) -> Result<Vec<Step>, ServicesError> {
        let times = &service.timings;
        self.sound_times(service)?;
        let forced = self.request.options.force.is_some();
        let grace = times.systemd_grace_period;
        let checks: Vec<Check> = service.check.iter().filter(|_| !forced).cloned().collect();
        self.sound_commands(service, host, migrate)?;
        let on_service = |action, limit| Step { action, subjects: Subjects::Service, limit, parallel: 0 };
        let slack = self.config.probe_limit;
        let sum = |times: &[Millis]| Millis(times.iter().fold(0_u64, |sum, time| sum.saturating_add(time.0)));
        let times_of = |n: u64, time: Millis| Millis(time.0.saturating_mul(n));
        let inspect = |moment, checks: Vec<Check>| {
            let one = sum(&[times.retry_delay, times_of(checks.len() as u64, times.health_check_timeout), slack]);
            let limit = times_of(u64::from(times.max_retry_attempts), one);
            let (attempts, pause) = (times.max_retry_attempts, times.retry_delay);
            on_service(StepAction::Inspect { moment, checks, attempts, pause }, limit)
        };
        let mut before = checks.clone();
        if !forced {
            before.splice(0..0, self.satisfied(place, host, times.health_check_timeout));
        }
        let mut steps = vec![inspect(Moment::Before, before), on_service(StepAction::BackUp { grace }, times_of(2, slack))];
        if let Some(deploy) = self.deploy(service)? {
            let limit = times.deploy_timeout;
            steps.push(on_service(StepAction::Deploy { deploy, limit }, sum(&[limit, slack, slack])));
        }
        if let Some(migrate) = migrate.cloned() {
            let limit = times.migrate_timeout;
            // Handed over, run, and its end told by a host that may be away for a moment.
            let whole = sum(&[limit, self.config.command_expiry, self.config.active_limit]);
            steps.push(on_service(StepAction::Migrate { migrate, limit }, whole));
        }
        let reload = service.reload;
        // A reload that fails, a reading anew, a restart: each may take the grace.
        steps.push(on_service(StepAction::Restart { reload, grace }, sum(&[times_of(4, grace), slack, slack])));
        steps.push(inspect(Moment::After, checks.clone()));
        let hold = times.stabilization_period;
        if hold.0 > 0 {
            let every = times.health_check_interval;
            let answers = times_of(2 * checks.len() as u64, times.health_check_timeout);
            // One whose performer was lost is begun anew, whole.
            let limit = sum(&[times_of(2, hold), answers, slack]);
            steps.push(on_service(StepAction::Watch { checks: checks.clone(), hold, every }, limit));
        }
        steps.push(inspect(Moment::Final, checks));
        Ok(steps)
    }

    fn sound_times(&self, service: &Service) -> Result<(), ServicesError> {
        let times = &service.timings;
        let most = self.config.wait_limit;
        let all = [
            ("one health check", times.health_check_timeout),
            ("the time between health checks", times.health_check_interval),
            ("systemd's grace period", times.systemd_grace_period),
            ("a deploy", times.deploy_timeout),
            ("a migration", times.migrate_timeout),
        ];
        let wrong = all.into_iter().find(|(_, limit)| limit.0 == 0 || *limit > most);
        let long = [("the stabilization period", times.stabilization_period), ("the delay between attempts", times.retry_delay)];
        let wrong = wrong.or_else(|| long.into_iter().find(|(_, limit)| *limit > most));
        let attempts = Millis(u64::from(times.max_retry_attempts));
        let wrong = wrong.or_else(|| (attempts.0 == 0 || attempts.0 > 100).then_some(("the number of attempts", attempts)));
        match wrong {
            Some((what, limit)) => Err(ServicesError::Limit { service: service.name.clone(), what, limit, most }),
            None => Ok(()),
        }
    }

    fn sound_commands(&self, service: &Service, host: &Candidate<'_>, migrate: Option<&Migrate>) -> Result<(), ServicesError> {
        if host.route != Route::Agent {
            return Ok(());
        }
        let is_command = service.check.as_ref().is_some_and(|c| matches!(c.kind, CheckKind::Command { .. }));
        let migrates = matches!(migrate, Some(Migrate::Command { .. }));
        let forced = self.request.options.force.is_some();
        let (what, instead) = match (is_command && !forced, migrates) {
            (true, _) => ("health check", "hook, a file in /etc/reveille/hooks on the host"),
            (_, true) => ("migration", "named one, a file in /etc/reveille/commands.d on the host"),
            _ => return Ok(()),
        };
        let (service, host) = (service.name.clone(), host.name.to_owned());
        Err(ServicesError::CommandOverAgent { service, host, what, instead })
    }

    /// Its deploy with the source that the request means (S3-34 to S3-36).
    fn deploy(&self, service: &Service) -> Result<Option<Deploy>, ServicesError> {
        let (Some(DeployFrom { path }), Some(deploy)) = (&self.asked.deploy, &service.deploy) else { return Ok(None) };
        let alone = self.asked.only.len() == 1;
        let own = deploy.source.as_str();
        let source = match path {
            Some(tree) if alone => tree.clone(),
            Some(root) => {
                let name = if own.is_empty() || own.starts_with('/') { service.name.as_str() } else { own };
                format!("{}/{name}", root.trim_end_matches('/'))
            }
            None if own.starts_with('/') => own.to_owned(),
            None => return Err(ServicesError::NoSource(service.name.clone())),
        };
        let deploy = Deploy { source, ..deploy.clone() };
        deploy.check().map_err(|why| ServicesError::Deploy { service: service.name.clone(), why })?;
        Ok(Some(deploy))
    }
}

/// Whether a reload is enough for what was changed (S3-16): a new tree or a new unit file need more than one of the configuration.
pub(crate) fn reload_is_enough(reload: Reload, tree_changed: bool) -> bool {
    match reload {
        Reload::Never => false,
        Reload::Config => !tree_changed,
        Reload::Code => true,
    }
}
