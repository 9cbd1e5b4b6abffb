//! A dry run and the journal of the real run, step by step.

use anyhow::{Context, ensure};
use serde_json::Value;

/// Arguments of `reveille` that show the journal's commands in words; the orchestration's id follows.
pub const JOURNAL: [&str; 6] = ["audit", "--action", "command_issued", "--limit", "500", "--orchestration"];

/// How the steps of a service begin: in the dry run, and in the journal, where `{}` is the service.
const STEPS: [(&str, &str); 8] = [
    ("check the service and what it depends on", "look at {}"),
    ("back up the unit file", "back up the unit file of {}"),
    ("deploy /", "deploy /"),
    ("run the migration: ", "run the migration of {}"),
    ("re", "re"), // "restart the service …", or "reload the service, else restart it"
    ("check the service after the restart", "look at {}"),
    ("watch the service for ", "watch {}"),
    ("check the service at the end of the soak", "look at {}"),
];

/// What a plan has of them: whether the service is deployed, and migrated.
fn planned(deploys: bool, migrates: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = STEPS.into_iter().enumerate();
    all.filter(move |(at, _)| (*at != 2 || deploys) && (*at != 3 || migrates)).map(|(_, words)| words)
}

/// The steps of a dry run are those that its services are to have, in order; and those that the journal of the real run has. In words.
///
/// # Errors
///
/// Names the first that differs.
pub fn same(preview: &Value, audit: &Value, with_deploy: bool) -> anyhow::Result<String> {
    let entries = audit["entries"].as_array().context("no entries")?;
    // The newest is the first; a look is repeated where the answer was not good yet.
    let issued: Vec<&str> =
        entries.iter().rev().filter_map(|entry| entry["detail"].as_str()).filter(|text| !text.contains(" (attempt ")).collect();
    let mut steps = 0;
    let services = preview["services"].as_array().context("no services")?;
    for service in services {
        let name = service["service"].as_str().context("no name")?;
        let deploys = with_deploy && name.ends_with(".api");
        let titles: Vec<&str> = service["steps"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let of_it: Vec<&&str> = issued.iter().filter(|text| text.split([' ', ':']).any(|word| word == name)).collect();
        let wanted: Vec<_> = planned(deploys, deploys && name == "sso.api").collect();
        ensure!(titles.len() == wanted.len(), "{name}: the dry run has {titles:#?}");
        ensure!(of_it.len() == wanted.len(), "{name}: the dry run has {titles:#?}, and the journal {of_it:#?}");
        for ((title, journal), (told, done)) in wanted.iter().zip(titles.iter().zip(&of_it)) {
            ensure!(told.starts_with(title), "{name}: {title:?} was to come, and the dry run says {told:?}");
            let is_same = done.starts_with(&journal.replace("{}", name)) && (done.starts_with("rel") == told.starts_with("rel"));
            ensure!(is_same, "{name}: the dry run says {told:?}, and the journal {done:?}");
            if let Some((_, what)) = told.split_once(": ") {
                ensure!(done.ends_with(what), "{name}: the dry run says {told:?}, and the journal {done:?}");
            }
        }
        steps += titles.len();
    }
    ensure!(issued.len() == steps, "{steps} steps in the dry run, {} in the journal: {issued:#?}", issued.len());
    Ok(format!("{} services, {steps} steps: the journal shows what the dry run said, step by step", services.len()))
}
