//! How a restart of services went, with what helps with those that failed.

use std::collections::BTreeMap;

use futures_util::{StreamExt as _, stream};
use model::{Service, TargetId};
use protocol::rest::orchestrations::{Orchestration, Outcome};
use protocol::rest::rollouts::Track;

use crate::client::Client;
use crate::error::CliError;
use crate::manifest;
use crate::near::{self, Near};
use crate::render::services;
use crate::results::{Help, Restarted, RestartedService};

/// So many services that failed are looked at; with one after the other there is one.
const HELPED: usize = 5;

/// As it stands now.
pub(crate) async fn of(client: &Client, near: Option<&Near>, last: &Orchestration) -> Result<Restarted, CliError> {
    let id = last.summary.id;
    let tracks = client.all_tracks(id).await?;
    let names: BTreeMap<TargetId, String> =
        client.hosts(None).await?.hosts.into_iter().map(|host| (host.id, host.name)).collect();
    let name = |host: TargetId| names.get(&host).cloned().unwrap_or_else(|| host.to_string());
    let mut restarted = services::result(last, &tracks, name);
    // Where it was begun from here it is known where its services are listed; that the file is gone is no matter here.
    let listed = client.manifest(id).and_then(|path| manifest::parse(&path).ok()?.ok());
    let listed = listed.map(|manifest| manifest.services).unwrap_or_default();
    let bad = |(row, _): &(&mut RestartedService, &Track)| {
        let unwell = matches!(row.outcome, Some(Outcome::Failed | Outcome::Partial | Outcome::Unknown));
        unwell || row.rolled_back == Some(false)
    };
    let bad = restarted.services.iter_mut().zip(&tracks).filter(bad).take(HELPED);
    let helped = bad.map(|(row, track)| async {
        let service = listed.iter().find(|service| service.name == row.name);
        let mut help = near::help(near, track.target, &row.unit, service.and_then(manifest::port)).await;
        help.migration = migration(row, service);
        // What the run has left there is known to whoever runs it.
        if let Some(told) = track.service.as_deref().map(|service| &service.manual_rollback).filter(|told| !told.is_empty()) {
            help.rollback.clone_from(told);
        }
        (row, help)
    });
    let helped: Vec<(&mut RestartedService, Help)> = stream::iter(helped).buffered(HELPED).collect().await;
    for (row, help) in helped {
        row.help = Some(help);
    }
    Ok(restarted)
}

/// How the migration is run by hand, where it was run and may be what went wrong (S3-98).
fn migration(row: &RestartedService, service: Option<&Service>) -> Option<String> {
    row.migrated.then(|| match service.and_then(|service| service.migrate.as_ref()) {
        Some(model::Migrate::Command { argv, directory }) => format!("cd {directory} && {}", argv.join(" ")),
        Some(model::Migrate::Named { name }) => format!("sudo {}/{name}", recipe::COMMANDS_DIR),
        None => "its `migrate` in the manifest".to_owned(),
    })
}
