//! A first services file, from the units that were found on a host.

use std::collections::{BTreeMap, BTreeSet};

use engine::OrderError;
use model::{MigrateOn, Millis, Reload, Service, ServiceKind, Timings, is_service_name, is_unit_name};
use toml::Value;

use super::shape::{FILE, Holds, Key, Table};
use super::{SERVICES_MAX, entry};

/// A unit that was found on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FoundUnit {
    /// Its name, with its suffix.
    pub unit: String,
    /// As systemd has it; may be empty.
    pub description: String,
    /// Units after which systemd starts it (`After=`).
    pub after: Vec<String>,
    /// Units without which systemd does not start it (`Requires=`, `Wants=` and the like).
    pub requires: Vec<String>,
}

/// Programs that are known by their names: how their units begin, what they are for, and how their health is asked.
const KNOWN: [(&str, ServiceKind, &str); 19] = [
    ("postgres", ServiceKind::Infrastructure, r#"command = "pg_isready -h localhost -p 5432""#),
    ("redis", ServiceKind::Infrastructure, r#"command = "redis-cli -h localhost -p 6379 ping""#),
    ("valkey", ServiceKind::Infrastructure, r#"command = "valkey-cli -h localhost -p 6379 ping""#),
    ("minio", ServiceKind::Infrastructure, r#"url = "http://localhost:9000/minio/health/live""#),
    ("mysql", ServiceKind::Infrastructure, r#"tcp = "localhost:3306""#),
    ("mariadb", ServiceKind::Infrastructure, r#"tcp = "localhost:3306""#),
    ("mongod", ServiceKind::Infrastructure, r#"tcp = "localhost:27017""#),
    ("memcached", ServiceKind::Infrastructure, r#"tcp = "localhost:11211""#),
    ("rabbitmq", ServiceKind::Infrastructure, r#"tcp = "localhost:5672""#),
    ("mosquitto", ServiceKind::Infrastructure, r#"tcp = "localhost:1883""#),
    ("elasticsearch", ServiceKind::Infrastructure, r#"tcp = "localhost:9200""#),
    ("etcd", ServiceKind::Infrastructure, r#"url = "http://localhost:2379/health""#),
    ("kafka", ServiceKind::Infrastructure, r#"tcp = "localhost:9092""#),
    ("nginx", ServiceKind::Web, r#"tcp = "localhost:80""#),
    ("apache2", ServiceKind::Web, r#"tcp = "localhost:80""#),
    ("httpd", ServiceKind::Web, r#"tcp = "localhost:80""#),
    ("caddy", ServiceKind::Web, r#"tcp = "localhost:80""#),
    ("traefik", ServiceKind::Web, r#"tcp = "localhost:80""#),
    ("haproxy", ServiceKind::Web, ""),
];

/// Words of which one, as a part of the name of a unit, says what it is for.
const ROLES: [(&str, ServiceKind); 10] = [
    ("api", ServiceKind::Api),
    ("backend", ServiceKind::Api),
    ("ml", ServiceKind::Ml),
    ("model", ServiceKind::Ml),
    ("inference", ServiceKind::Ml),
    ("worker", ServiceKind::Worker),
    ("celery", ServiceKind::Worker),
    ("scheduler", ServiceKind::Worker),
    ("web", ServiceKind::Web),
    ("frontend", ServiceKind::Web),
];

/// A unit on its way to a service.
struct Guess<'a> {
    found: &'a FoundUnit,
    name: String,
    kind: ServiceKind,
    check: &'static str,
}

/// The text of a services file with a service for each unit that can be one. [`super::read`] takes it as it is; every key is
/// explained at its end.
pub fn first_file(units: &[FoundUnit]) -> String {
    let mut seen = BTreeSet::new();
    let (fit, others): (Vec<&FoundUnit>, Vec<&FoundUnit>) =
        units.iter().filter(|found| seen.insert(&found.unit)).partition(|found| entry::restartable(&found.unit).is_ok());
    let prefix = prefix(&fit);
    let mut guesses = guesses(&fit, &prefix);
    guesses.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    let mut left_out: Vec<&str> = others.iter().map(|found| found.unit.as_str()).collect();
    left_out.extend(guesses.drain(guesses.len().min(SERVICES_MAX)..).map(|guess| guess.found.unit.as_str()));

    let mut text = comment("", BEGINNING);
    if !left_out.is_empty() {
        text += "#\n";
        text += &comment("", &format!("Left out, since they cannot be restarted as a service: {}.", left_out.join(", ")));
    }
    if !prefix.is_empty() {
        text += &format!("\nunit_prefix = {}\n", quoted(&prefix));
    }
    let (kept, cut) = dependencies(&guesses);
    for ((guess, kept), cut) in guesses.iter().zip(kept).zip(&cut) {
        text += &service(guess, &prefix, kept, cut);
    }
    text += "\n# --- All keys ---\n";
    keys(&FILE, "", &mut text);
    text
}

const BEGINNING: &str = "Services that Reveille restarts, written by `reveille init` from the units of one host. Kinds and health checks are \
guessed from names, dependencies are those that systemd knows: look through them. `reveille check` looks at \
this file and the host, and changes nothing.";

/// What most units begin with, up to their first `-`.
fn prefix(units: &[&FoundUnit]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for found in units.iter().filter(|found| known(&found.unit).is_none()) {
        if let Some(dash) = found.unit.find('-').filter(|dash| *dash > 0 && !found.unit.starts_with("systemd-")) {
            *counts.entry(&found.unit[..=dash]).or_default() += 1;
        }
    }
    let most = counts.into_iter().filter(|(_, count)| *count > 1).max_by_key(|(_, count)| *count);
    most.map_or_else(String::new, |(prefix, _)| prefix.to_owned())
}

fn known(unit: &str) -> Option<&'static (&'static str, ServiceKind, &'static str)> {
    KNOWN.iter().find(|(start, ..)| unit.starts_with(start))
}

fn guesses<'a>(units: &[&'a FoundUnit], prefix: &str) -> Vec<Guess<'a>> {
    let mut taken = BTreeSet::new();
    let mut guesses = Vec::with_capacity(units.len());
    for found in units {
        let stem = found.unit.rsplit_once('.').map_or("", |(stem, _)| stem);
        let inner = if prefix.is_empty() { None } else { stem.strip_prefix(prefix).filter(|inner| !inner.is_empty()) };
        let (kind, check) = match known(inner.unwrap_or(stem)) {
            Some((_, kind, check)) => (*kind, *check),
            None => (role(stem), ""),
        };
        let name = name(inner.unwrap_or(stem), inner.is_some(), &mut taken);
        guesses.push(Guess { found, name, kind, check });
    }
    guesses
}

fn role(stem: &str) -> ServiceKind {
    let mut parts = stem.split(['-', '_', '.', '@', ':']).rev();
    parts.find_map(|part| ROLES.iter().find(|(word, _)| *word == part)).map_or(ServiceKind::Other, |(_, kind)| *kind)
}

/// `feature.role` from what is common to a platform, and the unit's own name from everything else.
fn name(stem: &str, own: bool, taken: &mut BTreeSet<String>) -> String {
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' }).take(90).collect();
    let plain = plain.trim_matches(['-', '.']).to_owned();
    let split = plain.rsplit_once('-').map(|(feature, role)| format!("{feature}.{role}")).filter(|_| own);
    let usable = |name: &String| is_service_name(name) && !is_unit_name(name) && !taken.contains(name);
    let numbered = (2..).map(|number| format!("{}-{number}", if plain.is_empty() { "unit" } else { &plain }));
    let mut names = split.into_iter().chain([plain.clone()]).chain(numbered);
    let name = names.find(usable).unwrap_or_default();
    taken.insert(name.clone());
    name
}

/// For each what it waits for, by name, and what is left out of that because they would wait for each other.
fn dependencies(guesses: &[Guess<'_>]) -> (Vec<Vec<String>>, Vec<Vec<String>>) {
    let names: BTreeMap<&str, &String> = guesses.iter().map(|guess| (guess.found.unit.as_str(), &guess.name)).collect();
    let waiting = |guess: &Guess<'_>| {
        let named = guess.found.after.iter().chain(&guess.found.requires);
        let found: BTreeSet<&String> = named.filter_map(|unit| names.get(unit.as_str()).copied()).collect();
        let dependencies = found.into_iter().filter(|name| **name != guess.name).cloned().collect();
        Service {
            name: guess.name.clone(),
            unit: guess.found.unit.clone(),
            kind: guess.kind,
            host: None,
            dependencies,
            check: None,
            interval: Millis::default(),
            deploy: None,
            migrate: None,
            migrate_on: MigrateOn::First,
            reload: Reload::Never,
            timings: Timings::default(),
        }
    };
    let mut services: Vec<Service> = guesses.iter().map(waiting).collect();
    let mut cut = vec![Vec::new(); services.len()];
    // Each round takes out one dependency, so that this ends.
    while let Err(OrderError::Cycle(names)) = engine::service_order(&services) {
        let [.., last, first] = names.as_slice() else { break };
        let Some(place) = services.iter().position(|service| service.name == *last) else { break };
        services[place].dependencies.retain(|name| name != first);
        cut[place].push(first.clone());
    }
    (services.into_iter().map(|service| service.dependencies).collect(), cut)
}

fn service(guess: &Guess<'_>, prefix: &str, dependencies: Vec<String>, cut: &[String]) -> String {
    let description: String = guess.found.description.chars().map(|c| if c.is_control() { ' ' } else { c }).take(100).collect();
    let mut text = String::from("\n");
    if !description.trim().is_empty() {
        text += &format!("# {}\n", description.trim());
    }
    let header = format!("service.{}", if guess.name.contains('.') { quoted(&guess.name) } else { guess.name.clone() });
    text += &format!("[{header}]\n");
    if entry::usual_unit(prefix, &guess.name) != guess.found.unit {
        text += &format!("unit = {}\n", quoted(&guess.found.unit));
    }
    text += &format!("kind = {}\n", quoted(&guess.kind.to_string()));
    if !dependencies.is_empty() {
        let list = Value::Array(dependencies.into_iter().map(Value::String).collect());
        text += &format!("dependencies = {list}\n");
    }
    if !cut.is_empty() {
        text += &comment("", &format!("systemd has it wait for these, too, which wait for it: {}", cut.join(", ")));
    }
    match guess.kind {
        _ if !guess.check.is_empty() => text += &format!("health_check = {{ {} }}\n", guess.check),
        ServiceKind::Api | ServiceKind::Ml => text += "# health_check = { url = \"http://localhost:3000/health\" }\n",
        ServiceKind::Infrastructure | ServiceKind::Worker | ServiceKind::Web | ServiceKind::Other => {}
    }
    text
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// Every key of a table, and then those of the tables in it.
fn keys(table: &Table, header: &str, text: &mut String) {
    *text += "#\n";
    if !header.is_empty() {
        *text += &format!("# [{header}]\n");
    }
    *text += &comment("", table.text);
    let inner = |key: &'static Key| match key.holds {
        Holds::Keys(table) => Some((key, table, key.name.to_owned())),
        Holds::Named(table) => Some((key, table, format!("{}.NAME", key.name))),
        _ => None,
    };
    for key in table.keys.iter().filter(|key| inner(key).is_none()) {
        *text += &format!("#   {} = {}\n", key.name, key.example);
        let default = if key.default.is_empty() { String::new() } else { format!(" Without it: {}.", key.default) };
        *text += &comment("      ", &format!("{}{default}", key.text));
    }
    for (key, table, name) in table.keys.iter().filter_map(inner) {
        // The timings of one service are those at the top.
        if header.is_empty() || key.name != "timings" {
            keys(table, &if header.is_empty() { name } else { format!("{header}.{name}") }, text);
        } else {
            *text += &format!("#\n# [{header}.{name}]\n");
            *text += &comment("", &format!("{} The keys of [timings].", key.text));
        }
    }
}

/// Lines of at most so many characters.
const WIDTH: usize = 110;

fn comment(indent: &str, words: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && line.chars().count() + word.chars().count() + indent.len() + 3 > WIDTH {
            text += &format!("# {indent}{line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line += word;
    }
    if line.is_empty() { text } else { text + &format!("# {indent}{line}\n") }
}
