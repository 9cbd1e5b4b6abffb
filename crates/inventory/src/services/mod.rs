//! `reveille.toml`: services under systemd, what they depend on, and how it is known that they are well (S3). Text in, services
//! out: nothing is read here, and nothing is looked at on a host.

mod endpoint;
mod entry;
mod error;
mod init;

mod run;
mod schema;
mod shape;
mod together;
mod unit;
mod words;
mod written;

use std::collections::BTreeMap;

use model::{CheckKind, Migrate, Service, Timings};

use crate::lines::Lines;
use crate::{Place, Source};

pub use error::{Problem, ServicesError, Wrong};
pub use init::{FoundUnit, first_file};
pub use run::Run;
pub use schema::schema;
pub use unit::unit_file;

/// More than this in one file is no list of services, in bytes.
const SIZE_MAX: usize = 4 << 20;
/// More services than this are refused.
pub const SERVICES_MAX: usize = 1_000;

/// What a services file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    /// In the order of the file.
    pub services: Vec<Service>,
    /// Where each of them is written, by its name.
    pub places: BTreeMap<String, Place>,
    /// How those are run that say it, by name. A restart needs nothing of it: only their unit files are made of it.
    pub runs: BTreeMap<String, Run>,
    /// What can be meant and may surprise; to be shown.
    pub notes: Vec<String>,
}

/// Reads a services file. A deploy without `source` has an empty one in [`model::Deploy`], and one whose source is relative has it as
/// it is written: whoever plans fills in both from the request.
///
/// # Errors
/// [`ServicesError`]: everything that is wrong, each with its line; nothing is half read.
pub fn read(source: &Source) -> Result<Manifest, ServicesError> {
    if source.text.len() > SIZE_MAX {
        return Err(ServicesError::TooLarge { file: source.name.clone() });
    }
    let lines = Lines::of(source);
    let mut reader = written::Reader::new(&lines);
    let mut file = reader.file(&source.text, &shape::FILE);
    let mut problems = std::mem::take(&mut reader.problems);

    let mut defaults = entry::Defaults { unit_prefix: String::new(), timings: Timings::default() };
    if let Some(said) = file.text("unit_prefix") {
        if model::is_unit_name(&entry::usual_unit(&said.value, "x")) {
            defaults.unit_prefix = said.value;
        } else {
            let detail =
                format!("no unit can begin with {:?}: use letters, digits, '-', '_' and '.', as in \"lilith-\"", said.value);
            problems.push(said.spot.problem(Wrong::Value(detail)));
        }
    }
    if let Some(mut said) = file.keys("timings") {
        entry::timings(&mut said, &mut defaults.timings);
    }
    let named = file.named("service");
    if let Some((name, _)) = named.get(SERVICES_MAX) {
        return Err(ServicesError::Problems(vec![name.spot.problem(Wrong::TooMany)]));
    }
    let entries: Vec<_> = named.into_iter().map(|(name, fields)| entry::read(name, fields, &defaults, &mut problems)).collect();
    together::check(&entries, &mut problems);
    if !problems.is_empty() {
        problems.sort_by_key(|problem| problem.place.line);
        return Err(ServicesError::Problems(problems));
    }
    let places = entries.iter().map(|entry| (entry.service.name.clone(), entry.spot.place.clone())).collect();
    let (mut services, mut runs) = (Vec::with_capacity(entries.len()), BTreeMap::new());
    for entry in entries {
        runs.extend(entry.run.map(|run| (entry.service.name.clone(), run)));
        services.push(entry.service);
    }
    let notes = notes(&source.name, &services);
    Ok(Manifest { services, places, runs, notes })
}

fn notes(file: &str, services: &[Service]) -> Vec<String> {
    let of = |fits: fn(&Service) -> bool| {
        let names: Vec<&str> = services.iter().filter(|service| fits(service)).map(|service| service.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let none = services
        .is_empty()
        .then(|| format!("{file}: no service is listed; write [service.NAME], or let reveille init find some"));
    let checks = of(|service| matches!(&service.check, Some(check) if matches!(check.kind, CheckKind::Command { .. })));
    let checks = checks.map(|names| {
        format!(
            "{file}: health_check.command of {names}: agents run no command that a file brings; on hosts with an agent put it into /etc/reveille/hooks, and name it with hook"
        )
    });
    let migrations = of(|service| matches!(service.migrate, Some(Migrate::Command { .. })));
    let migrations = migrations.map(|names| {
        format!(
            "{file}: migrate.command of {names}: agents run no command that a file brings; on hosts with an agent put it into /etc/reveille/commands.d, and name it with named"
        )
    });
    none.into_iter().chain(checks).chain(migrations).collect()
}
