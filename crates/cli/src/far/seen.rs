//! `reveille services` (S3-94): services as they stand, on this machine or over SSH.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, stream};
use model::{Action, Millis, Observed, Service, ServiceSeen, ServiceVerb, TargetId};
use reach::ssh::{Access, Destination};
use recipe::{HOOKS_DIR, HostKind, Verdict};
use tokio::time::Instant;

use crate::args::{Global, Listed, Output, Services};
use crate::error::CliError;
use crate::exit::Exit;
use crate::fleet;
use crate::results::{SeenService, ServicesSeen};
use crate::{manifest, render, terminal};

/// So many are looked at at once: each may be a connection of its own.
const AT_ONCE: usize = 8;
/// A host has so long to answer, beside the limit of the check.
const WAY: Duration = Duration::from_secs(30);
/// A host that cannot be reached is tried again for so long.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hosts that are looked at from here, and how.
pub(super) struct Machines {
    pub(super) access: Arc<Access>,
    pub(super) all: Vec<Machine>,
    pub(super) this_one: bool,
}

/// One of them.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) name: String,
    pub(super) at: Destination,
}

impl Machines {
    /// This machine, or those of an inventory that are meant.
    pub(super) fn of(global: &Global, word: &str, listed: &Listed) -> Result<Self, CliError> {
        let nobody_named = listed.hosts.is_empty() || listed.names_this_machine();
        let this_one = global.here.inventory.is_empty() && nobody_named;
        let (inventory, access) = if this_one {
            let inventory = fleet::this_machine();
            let access = super::reach::access_to_look(&global.here, &inventory)?;
            (inventory, access)
        } else {
            let (inventory, _) = super::inventory(global, word)?;
            let access = super::access(&global.here, &inventory)?;
            (inventory, access)
        };
        let meant = super::meant(&inventory, &listed.hosts)?;
        let machine = |(name, host): (&str, &inventory::Host)| {
            let at = host.address.to_string().parse().map_err(|error| CliError::usage(format!("{name}: {error}")))?;
            Ok::<_, CliError>(Machine { name: name.to_owned(), at })
        };
        Ok(Self { access, all: meant.into_iter().map(machine).collect::<Result<_, _>>()?, this_one })
    }

    /// Each service on each host that it runs on.
    pub(super) fn places(&self, services: Vec<Service>) -> Vec<(Machine, Service)> {
        let services = if self.this_one { manifest::on_this_machine(services) } else { services };
        let on = |service: Service| {
            let here = |machine: &&Machine| service.host.as_ref().is_none_or(|host| *host == machine.name);
            let machines: Vec<Machine> = self.all.iter().filter(here).cloned().collect();
            machines.into_iter().map(move |machine| (machine, service.clone()))
        };
        services.into_iter().flat_map(on).collect()
    }
}

pub(crate) async fn services(global: &Global, args: &Services) -> Result<Exit, CliError> {
    if args.all {
        return all(global, args).await;
    }
    let listed = manifest::read(&manifest::find(args.listed.manifest.as_deref())?, false)?.services;
    let machines = Machines::of(global, "services", &args.listed)?;
    let places = machines.places(listed);
    let looks = stream::iter(&places).map(|(machine, service)| look(&machines.access, machine, service));
    let seen: Vec<SeenService> = looks.buffered(AT_ONCE).collect().await;
    let healthy = seen.iter().all(|one| one.healthy) && !seen.is_empty();
    let mut seen = ServicesSeen { healthy, services: seen };
    terminal::answer(global.output, &seen, || render::services::seen(&seen))?;
    if args.watch && !places.is_empty() {
        tokio::select! {
            told = watch(&machines.access, &places, &mut seen.services, global.output) => told?,
            _ = tokio::signal::ctrl_c() => {}
        }
    }
    Ok(if !seen.services.is_empty() && seen.services.iter().all(|one| one.healthy) { Exit::Done } else { Exit::Failed })
}

/// Each of them again after its own time; what has changed is told, as JSON everything.
async fn watch(
    access: &Arc<Access>,
    places: &[(Machine, Service)],
    seen: &mut [SeenService],
    output: Output,
) -> Result<(), CliError> {
    let later = |place: usize| async move {
        let (machine, service) = places.get(place)?;
        tokio::time::sleep_until(Instant::now() + service.interval.max(Millis::secs(1)).duration()).await;
        Some((place, look(access, machine, service).await))
    };
    let mut under_way: FuturesUnordered<_> = (0..places.len()).map(later).collect();
    while let Some(looked) = under_way.next().await {
        let Some((place, now)) = looked else { continue };
        let before = seen.get_mut(place).filter(|before| output == Output::Json || is_other(before, &now));
        if let Some(before) = before {
            terminal::answer(output, &now, || change(&now, agent::boot::wall()))?;
            *before = now;
        }
        under_way.push(later(place));
    }
    Ok(())
}

fn is_other(before: &SeenService, now: &SeenService) -> bool {
    let what = |one: &SeenService| {
        let unit = one.seen.as_ref().map(|unit| (unit.active.clone(), unit.sub.clone(), unit.invocation, unit.restarts));
        (one.healthy, unit, one.error.is_some())
    };
    what(before) != what(now)
}

fn change(now: &SeenService, at: model::Timestamp) -> String {
    let name = now.service.as_ref().unwrap_or(&now.unit);
    let unit = now.seen.as_ref().map_or_else(|| "?".to_owned(), ToString::to_string);
    let why = match (&now.error, &now.check) {
        (Some(error), _) => format!(": {error}"),
        (None, Some(check)) if !check.passed => format!(": {}", check.detail),
        _ => String::new(),
    };
    let (mark, word) = if now.healthy { ("", "healthy") } else { ("! ", "NOT HEALTHY") };
    format!("{}  {mark}{name} on {}: {unit}, {word}{}\n", render::clock(at), now.host, render::plain(&why))
}

/// One service, as it is now.
async fn look(access: &Arc<Access>, machine: &Machine, service: &Service) -> SeenService {
    let checks: Vec<model::Check> = service.check.iter().cloned().collect();
    let mut row = SeenService {
        service: Some(service.name.clone()),
        unit: service.unit.clone(),
        host: machine.name.clone(),
        healthy: false,
        seen: None,
        check: None,
        error: None,
    };
    match inspect(access, machine, &service.unit, checks).await {
        Ok(seen) => {
            row.healthy = seen.is_healthy();
            row.check = seen.checks.into_iter().next();
            row.seen = Some(seen.unit);
        }
        Err(error) => row.error = Some(error),
    }
    row
}

/// What systemd says of a unit, and what these checks give on its host.
pub(super) async fn inspect(
    access: &Arc<Access>,
    machine: &Machine,
    unit: &str,
    checks: Vec<model::Check>,
) -> Result<ServiceSeen, String> {
    let limit = checks.iter().fold(WAY, |sum, check| sum + check.limit.duration());
    let action = Action::Service { unit: unit.to_owned(), verb: ServiceVerb::Inspect { checks } };
    let script = recipe::perform(&HostKind::Shell, TargetId::of_ssh(&machine.name), HOOKS_DIR, &action);
    let mut far = access.far(machine.at.clone());
    match tokio::time::timeout(limit, far.perform(script, PATIENCE)).await {
        Ok(Ok(Verdict::Completed { observed: Some(Observed::Service(seen)), .. })) => Ok(*seen),
        Ok(Ok(Verdict::Failed { message, .. })) => Err(message),
        Ok(Ok(_)) => Err("it was not answered".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s", limit.as_secs())),
    }
}

/// All services that systemd knows.
async fn all(global: &Global, args: &Services) -> Result<Exit, CliError> {
    let machines = Machines::of(global, "services", &args.listed)?;
    let listed = stream::iter(&machines.all).map(|machine| async {
        let mut far = machines.access.far(machine.at.clone());
        let asked = tokio::time::timeout(2 * WAY, far.perform(recipe::list_units(&[]), PATIENCE)).await;
        let units = match asked {
            Ok(Ok(units)) => units,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        units
            .map_err(|why| CliError::new(Exit::Failed, format!("the services of {} cannot be listed: {why}", machine.name)))
            .map(|units| (machine.name.clone(), units))
    });
    let listed: Vec<Result<(String, Vec<recipe::ListedUnit>), CliError>> = listed.buffered(AT_ONCE).collect().await;
    let mut services = Vec::new();
    for one in listed {
        let (host, units) = one?;
        services.extend(units.into_iter().map(|unit| SeenService {
            service: None,
            healthy: unit.unit.active != "failed",
            unit: unit.name,
            host: host.clone(),
            seen: Some(unit.unit),
            check: None,
            error: None,
        }));
    }
    let seen = ServicesSeen { healthy: services.iter().all(|one| one.healthy), services };
    terminal::answer(global.output, &seen, || render::services::seen(&seen))?;
    Ok(if seen.healthy { Exit::Done } else { Exit::Failed })
}
