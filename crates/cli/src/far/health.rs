//! `reveille health-check` (S2-12 to 14, 21, 27).

use std::time::Duration;

use model::OrchestrationId;
use protocol::rest::orchestrations::Outcome;
use protocol::rest::rollouts::Track;
use protocol::rest::runs::NewHealthCheck;
use tokio::time::Instant;

use super::checks::{Asked, Asker, planned};
use crate::args::{Global, HealthCheck, Output};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::follow::{Events, Heard};
use crate::render::rollout::needs_a_person;
use crate::results::{Given, Health, HostHealth, ServedHealth};
use crate::session::Session;
use crate::{render, terminal};

/// Between two rounds of asking.
const PAUSE: Duration = Duration::from_secs(2);

pub(crate) async fn health_check(global: &Global, args: HealthCheck) -> Result<Exit, CliError> {
    let (inventory, _) = super::inventory(global, "health-check")?;
    let hosts = super::meant(&inventory, &args.targets)?;
    let asked = planned(&inventory, &hosts, args.jobs.as_deref())?;
    let asker = Asker::new(super::access(&global.here, &inventory)?)?;
    let limit = args.wait.then(|| args.timeout.duration());
    let health = until_healthy(&asker, &asked, limit, global.output).await;
    terminal::answer(global.output, &health, || render::checks::health(&health))?;
    Ok(if health.passed { Exit::Done } else { Exit::Failed })
}

/// The same by a server, of hosts with and without an agent.
pub(crate) async fn health_check_served(global: &Global, args: HealthCheck) -> Result<Exit, CliError> {
    let client = Client::new(&Session::find(global)?)?;
    let targets = if args.targets.is_empty() { vec!["*".to_owned()] } else { args.targets };
    let wait = args.wait.then_some(args.timeout);
    let id = client.health_check(&NewHealthCheck { targets, checks: args.jobs, wait }).await?.id;
    tokio::select! {
        ended = until_over(&client, id) => ended?,
        _ = tokio::signal::ctrl_c() => {
            eprint!("\n{}", render::orchestration::detached(id));
            return Ok(Exit::Detached);
        }
    }
    let hosts: Vec<HostHealth> = client.all_tracks(id).await?.into_iter().map(of_track).collect();
    let health = ServedHealth { passed: hosts.iter().all(|host| host.passed), orchestration: id, hosts };
    terminal::answer(global.output, &health, || render::checks::health_of_hosts(&health))?;
    Ok(if health.passed { Exit::Done } else { Exit::Failed })
}

async fn until_over(client: &Client, id: OrchestrationId) -> Result<(), CliError> {
    let (mut events, mut told) = (Events::new(client, id, None), None);
    loop {
        match events.next().await? {
            Heard::Ended(_) => return Ok(()),
            // Whoever paused it has to say more; those that were asked are told.
            Heard::Progress(progress) => match progress.orchestration.summary.rollout {
                Some(rolling) if needs_a_person(&rolling) => return Ok(()),
                _ => told = None,
            },
            Heard::Away(reason) if told.as_ref() == Some(&reason) => {}
            Heard::Away(reason) => {
                eprintln!("{reason}; trying again");
                told = Some(reason);
            }
        }
    }
}

fn of_track(track: Track) -> HostHealth {
    let passed = track.outcome == Some(Outcome::Completed);
    let detail = track.reason.unwrap_or_else(|| if passed { "well".to_owned() } else { "not asked".to_owned() });
    HostHealth { host: track.name, passed, detail: render::plain(&detail) }
}

/// Asks, and with a limit asks again what did not pass, until all passes in one last round together or the limit is over.
pub(super) async fn until_healthy(asker: &Asker, asked: &[Asked<'_>], limit: Option<Duration>, output: Output) -> Health {
    let begun = Instant::now();
    let (mut told, mut rounds) = (0, 0);
    loop {
        rounds += 1;
        let checks = asker.ask(asked, limit.map(|limit| begun + limit)).await;
        let bad: Vec<&Given> = checks.iter().filter(|given| !given.result.passed).collect();
        let over = limit.is_none_or(|limit| begun.elapsed() + PAUSE >= limit);
        if bad.is_empty() || over {
            return Health { passed: bad.is_empty(), rounds, checks };
        }
        if output == Output::Text && told != bad.len() {
            let first = bad.first().map(|given| format!("{} {}: {}", given.host, given.result.name, given.result.detail));
            eprintln!("{} of {} checks do not pass yet; {}", bad.len(), checks.len(), first.unwrap_or_default());
            told = bad.len();
        }
        tokio::time::sleep(PAUSE).await;
    }
}
