//! `reveille check`: everything that would go wrong with a restart of services and can be seen without doing anything.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use inventory::services::{Manifest, ServicesError};
use model::{CheckKind, Migrate, MigrateOn, Service};
use recipe::{COMMANDS_DIR, HOOKS_DIR, There};

use super::seen::{Machine, Machines, inspect};
use crate::args::{Check, Global};
use crate::error::CliError;
use crate::exit::Exit;
use crate::results::{Checked, Trouble};
use crate::{manifest, render, terminal};

/// So many services are looked at at once.
const AT_ONCE: usize = 8;
/// All that one service names.
const LIMIT: Duration = Duration::from_secs(120);
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) async fn check(global: &Global, args: &Check) -> Result<Exit, CliError> {
    let path = manifest::find(args.listed.manifest.as_deref())?;
    let mut checked = Checked { good: false, manifest: path.clone(), order: Vec::new(), hosts: Vec::new(), problems: Vec::new() };
    match manifest::parse(&path)? {
        Ok(read) => {
            order(&read.services, &mut checked);
            if read.services.is_empty() {
                read.notes.iter().for_each(|note| eprintln!("note: {note}"));
            }
            if !args.offline && !read.services.is_empty() {
                on_hosts(global, args, read, &mut checked).await?;
            }
        }
        Err(ServicesError::Problems(problems)) => {
            let trouble = |problem: &inventory::services::Problem| Trouble {
                place: if problem.key.is_empty() {
                    problem.place.to_string()
                } else {
                    format!("{}: {}", problem.place, problem.key)
                },
                host: None,
                problem: problem.wrong.to_string(),
            };
            checked.problems.extend(problems.iter().map(trouble));
        }
        Err(error) => checked.problems.push(Trouble { place: String::new(), host: None, problem: error.to_string() }),
    }
    checked.good = checked.problems.is_empty();
    terminal::answer(global.output, &checked, || render::services::checked(&checked))?;
    Ok(if checked.good { Exit::Done } else { Exit::Usage })
}

fn order(services: &[Service], checked: &mut Checked) {
    match engine::service_order(services) {
        Ok(order) => {
            checked.order = order.into_iter().filter_map(|place| services.get(place)).map(|one| one.name.clone()).collect();
        }
        Err(error) => checked.problems.push(Trouble { place: String::new(), host: None, problem: error.to_string() }),
    }
}

async fn on_hosts(global: &Global, args: &Check, read: Manifest, checked: &mut Checked) -> Result<(), CliError> {
    let machines = Machines::of(global, "check", &args.listed)?;
    let units: BTreeSet<String> = read.services.iter().map(|service| service.unit.clone()).collect();
    let names: BTreeSet<String> = read.services.iter().map(|service| service.name.clone()).collect();
    let of_another = |dependency: &String| !units.contains(dependency) && !names.contains(dependency);
    let places = where_migrated(machines.places(read.services));
    checked.hosts = machines.all.iter().map(|machine| machine.name.clone()).collect();
    let (whole, of_another) = (&machines, &of_another);
    let runs = &read.runs;
    let looks = stream::iter(&places).map(|(machine, service)| async move {
        let needs = service.dependencies.iter().filter(|dependency| of_another(dependency));
        let written = runs.contains_key(&service.name);
        let looked = tokio::time::timeout(LIMIT, on_host(whole, machine, service, written, needs)).await;
        let late = vec![(String::new(), format!("no answer within {} s", LIMIT.as_secs()))];
        (machine, service, looked.unwrap_or(late))
    });
    let looked: Vec<_> = looks.buffered(AT_ONCE).collect().await;
    for (machine, service, problems) in looked {
        let place = read.places.get(&service.name).map(ToString::to_string).unwrap_or_default();
        for (key, problem) in problems {
            let place = if key.is_empty() { String::new() } else { format!("{place}: service.\"{}\".{key}", service.name) };
            let trouble = Trouble { place, host: Some(machine.name.clone()), problem };
            if !checked.problems.contains(&trouble) {
                checked.problems.push(trouble);
            }
        }
    }
    Ok(())
}

/// Each service on each of its hosts, with its migration only where it is run.
fn where_migrated<M>(places: Vec<(M, Service)>) -> Vec<(M, Service)> {
    let mut met = BTreeSet::new();
    let place = |(machine, service): (M, Service)| {
        let here = met.insert(service.name.clone()) || service.migrate_on == MigrateOn::Every;
        (machine, Service { migrate: service.migrate.filter(|_| here), ..service })
    };
    places.into_iter().map(place).collect()
}

/// A key, and what is wrong with what it says.
type Found = (String, String);

/// `written`: the manifest says how its unit file is to be.
async fn on_host<'a>(
    machines: &Machines,
    machine: &Machine,
    service: &Service,
    written: bool,
    needs: impl Iterator<Item = &'a String>,
) -> Vec<Found> {
    let mut problems = Vec::new();
    let mut found = |key: &str, problem: String| problems.push((key.to_owned(), problem));
    let mut wanted = wanted(service);
    match inspect(&machines.access, machine, &service.unit, Vec::new()).await {
        Ok(seen) if !seen.unit.is_loaded() => {
            let hint = if written {
                format!("; `reveille units --service {} --to FOLDER` writes it", service.name)
            } else {
                String::new()
            };
            found("unit", format!("{} is {}{hint}", service.unit, seen.unit.load));
        }
        Ok(seen) if seen.unit.fragment.is_empty() => {
            found("unit", format!("{} has no unit file: there is nothing to back up, and nothing to put back", service.unit));
        }
        Ok(seen) => wanted.push(("unit", There::File(seen.unit.fragment))),
        Err(error) => {
            // Nothing else can be looked at either; and it is the host's fault, not that of the service.
            return vec![(String::new(), error)];
        }
    }
    for dependency in needs {
        match inspect(&machines.access, machine, dependency, Vec::new()).await {
            Ok(seen) if seen.unit.is_up() => {}
            Ok(seen) => found("dependencies", format!("{dependency} must be up before it is restarted, and is {}", seen.unit)),
            Err(error) => found("dependencies", format!("{dependency} could not be looked at: {error}")),
        }
    }
    let asked: Vec<There> = wanted.iter().map(|(_, there)| there.clone()).collect();
    let answers = machines.access.far(machine.at.clone()).perform(recipe::there(&asked), PATIENCE).await;
    let answers = answers.unwrap_or_else(|error| asked.iter().map(|_| Err(error.to_string())).collect());
    for ((key, there), answer) in wanted.iter().zip(answers) {
        match answer {
            Ok(true) => {}
            Ok(false) => found(key, missing(there)),
            Err(why) => found(key, format!("{}: {why}", missing(there))),
        }
    }
    problems
}

/// What a service names and must be on its host.
fn wanted(service: &Service) -> Vec<(&'static str, There)> {
    let mut wanted = Vec::new();
    let program = |argv: &[String], folder: Option<&String>| {
        argv.first().map(|name| There::Program { name: name.clone(), folder: folder.cloned() })
    };
    match service.check.as_ref().map(|check| &check.kind) {
        Some(CheckKind::Command { argv }) => {
            wanted.extend(program(argv, None).map(|program| ("health_check.command", program)));
        }
        Some(CheckKind::Hook { name }) => {
            wanted.push(("health_check.hook", There::Program { name: format!("{HOOKS_DIR}/{name}"), folder: None }));
        }
        _ => {}
    }
    if let Some(deploy) = &service.deploy {
        // The destination itself comes with the first deploy.
        let parent = deploy.destination.trim_end_matches('/').rsplit_once('/').map_or("/", |(parent, _)| parent);
        let parent = if parent.is_empty() { "/" } else { parent };
        wanted.push(("deploy.destination", There::Folder(parent.to_owned())));
        wanted.push(("deploy.destination", There::Guarded(deploy.destination.clone())));
        if deploy.source.starts_with('/') {
            wanted.push(("deploy.source", There::Folder(deploy.source.clone())));
        }
    }
    match &service.migrate {
        Some(Migrate::Command { argv, directory }) => {
            wanted.push(("migrate.directory", There::Folder(directory.clone())));
            wanted.extend(program(argv, Some(directory)).map(|program| ("migrate.command", program)));
        }
        Some(Migrate::Named { name }) => {
            wanted.push(("migrate.named", There::Program { name: format!("{COMMANDS_DIR}/{name}"), folder: None }));
        }
        None => {}
    }
    wanted
}

fn missing(there: &There) -> String {
    match there {
        There::File(path) => format!("{path} cannot be read"),
        There::Folder(path) => format!("there is no folder {path}"),
        There::Guarded(_) => "a deploy is refused".to_owned(),
        There::Program { name, folder: Some(folder) } if name.contains('/') && !name.starts_with('/') => {
            format!("there is no program {name} in {folder}")
        }
        There::Program { name, .. } => format!("there is no program {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether each of two services on each of two hosts must have what migrates it there.
    #[test]
    fn a_migration_is_looked_for_where_it_is_run() {
        let text = "[service.one]\nmigrate = { named = \"x\" }\n[service.each]\nmigrate = { named = \"x\", on = \"every\" }\n";
        let source = inventory::Source { name: "reveille.toml".to_owned(), text: text.to_owned() };
        let services = inventory::services::read(&source).unwrap().services;
        let places: Vec<_> = services.iter().flat_map(|service| ["a", "b"].map(|host| (host, service.clone()))).collect();
        let seen: Vec<_> = where_migrated(places)
            .into_iter()
            .map(|(host, service)| {
                let looked_for = wanted(&service).iter().any(|(key, _)| *key == "migrate.named");
                format!("{} on {host}: {looked_for}", service.name)
            })
            .collect();
        assert_eq!(seen, ["one on a: true", "one on b: false", "each on a: true", "each on b: true"]);
    }
}
