//! `reveille health-check` (S2-12 to 14, 21, 27).

use std::time::Duration;

use tokio::time::Instant;

use super::checks::{Asked, Asker, planned};
use crate::args::{Global, HealthCheck, Output};
use crate::error::CliError;
use crate::exit::Exit;
use crate::results::{Given, Health};
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
