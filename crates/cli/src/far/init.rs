//! `reveille init`: a first manifest, from the units of this machine.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write as _};
use std::time::Duration;

use inventory::services::{FoundUnit, first_file};
use recipe::ListedUnit;

use super::seen::Machines;
use crate::args::{Global, Init, Listed};
use crate::error::CliError;
use crate::exit::Exit;
use crate::terminal;

const LIMIT: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(5);
/// Where an administrator's own units lie.
const OWN: &str = "/etc/systemd/system/";

pub(crate) async fn init(global: &Global, args: &Init) -> Result<Exit, CliError> {
    let shown = args.to.display().to_string();
    // Told before anything is asked; the file is made anew below all the same.
    if !args.force && args.to.exists() {
        return Err(there_already(&shown));
    }
    let machines = Machines::of(global, "init", &Listed::default())?;
    if !machines.this_one {
        return Err(CliError::usage("init looks at this machine alone").hint("leave -i away, and run it on the host"));
    }
    let Some(machine) = machines.all.first() else { return Err(CliError::usage("there is no host")) };
    let mut far = machines.access.far(machine.at.clone());
    let failed = |why: String| CliError::new(Exit::Failed, format!("the units of this machine cannot be listed: {why}"));
    let listed = tokio::time::timeout(LIMIT, far.perform(recipe::list_units(&args.units), PATIENCE)).await;
    let listed = listed.map_err(|_| failed(format!("no answer within {} s", LIMIT.as_secs())))?;
    let listed = listed.map_err(|error| failed(error.to_string()))?.map_err(failed)?;
    let chosen = if args.units.is_empty() { own(&listed) } else { listed.iter().collect() };
    if chosen.is_empty() {
        let text = if args.units.is_empty() {
            format!("no unit of an administrator runs here (their files lie in {OWN})")
        } else {
            "no unit is called so".to_owned()
        };
        return Err(CliError::new(Exit::NotFound, text)
            .hint("name units with --unit, as in --unit 'lilith-*'; `reveille services --all` lists them"));
    }
    let found: Vec<FoundUnit> = chosen.into_iter().map(found).collect();
    write(args, &shown, &first_file(&found))?;
    let units: Vec<&String> = found.iter().map(|unit| &unit.unit).collect();
    let document = serde_json::json!({ "manifest": shown, "units": units });
    terminal::answer(global.output, &document, || {
        let option =
            if args.to == std::path::Path::new(crate::args::MANIFEST) { String::new() } else { format!(" --manifest {shown}") };
        format!(
            "{shown} lists {}. Look through it: what it is for and how its health is asked is a guess.\n  {}   looks for what is wrong with it\n  {}   shows the order, and does nothing\n",
            crate::render::services::services(found.len()),
            crate::again::command(&format!("check{option}")),
            crate::again::command(&format!("restart --dry-run{option}"))
        )
    })?;
    Ok(Exit::Done)
}

fn there_already(shown: &str) -> CliError {
    CliError::new(Exit::Refused, format!("{shown} is there already: it is not replaced"))
        .hint("give --force to replace it, or another file with --to")
}

fn write(args: &Init, shown: &str, text: &str) -> Result<(), CliError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    let options = if args.force { options.create(true).truncate(true) } else { options.create_new(true) };
    let written = options.open(&args.to).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => there_already(shown),
        _ => CliError::new(Exit::Failed, format!("cannot write {shown}: {error}")).hint("give another place with --to"),
    })
}

/// What an administrator's own units are, and the running services that these are started after.
fn own(listed: &[ListedUnit]) -> Vec<&ListedUnit> {
    let lives = |unit: &ListedUnit| unit.unit.is_loaded() && (unit.unit.sub == "running" || unit.unit.active == "failed");
    let mut names: BTreeSet<&str> =
        listed.iter().filter(|unit| unit.unit.fragment.starts_with(OWN) && lives(unit)).map(|unit| unit.name.as_str()).collect();
    let mut fresh: Vec<&str> = names.iter().copied().collect();
    while let Some(name) = fresh.pop() {
        let of = listed.iter().find(|unit| unit.name == name);
        for before in of.into_iter().flat_map(|unit| &unit.after).chain(of.into_iter().flat_map(|unit| &unit.requires)) {
            let other = listed.iter().find(|unit| unit.name == *before && lives(unit) && !is_of_the_system(&unit.name));
            if let Some(other) = other
                && names.insert(&other.name)
            {
                fresh.push(&other.name);
            }
        }
    }
    listed.iter().filter(|unit| names.contains(unit.name.as_str())).collect()
}

/// What every machine has, and nobody restarts with a platform.
fn is_of_the_system(name: &str) -> bool {
    const SYSTEM: [&str; 8] = ["systemd-", "dbus", "NetworkManager", "networkd-", "ssh", "getty@", "user@", "polkit"];
    SYSTEM.iter().any(|begin| name.starts_with(begin))
}

fn found(unit: &ListedUnit) -> FoundUnit {
    FoundUnit {
        unit: unit.name.clone(),
        description: unit.description.clone(),
        after: unit.after.clone(),
        requires: unit.requires.clone(),
    }
}
