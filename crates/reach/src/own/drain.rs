//! Taking out of service and putting back: look first, do what is left to do, look until it is so.

use std::time::Duration;

use model::{Drain, ErrorCode, ItemState};
use tokio::time::Instant;

use super::haproxy::Haproxy;
use super::hook::Hook;
use super::web::Web;
use super::{Done, POLL, Trouble};

/// What this drain would take out of service, as it is now.
pub(super) async fn observe(web: &Web, drain: &Drain) -> Result<Vec<ItemState>, Trouble> {
    match (Hook::of(drain, web), drain) {
        (Some(hook), _) => hook.state().await,
        (None, Drain::Haproxy { address, servers }) => Haproxy::new(address, servers)?.state().await,
        (None, _) => Err(elsewhere()),
    }
}

/// Takes out of service. What is out already is a success.
pub(super) async fn drain(web: &Web, drain: &Drain, grace: Duration, force: bool) -> Result<Done, Trouble> {
    match (Hook::of(drain, web), drain) {
        (Some(hook), _) => drain_by(&hook, grace, force).await,
        (None, Drain::Haproxy { address, servers }) => Haproxy::new(address, servers)?.drain(grace, force).await,
        (None, _) => Err(elsewhere()),
    }
}

/// Brings back exactly `prior` (G7); `forced` when the drain cut off what was left.
pub(super) async fn undrain(
    web: &Web,
    drain: &Drain,
    prior: &[ItemState],
    limit: Duration,
    forced: bool,
) -> Result<Done, Trouble> {
    match (Hook::of(drain, web), drain) {
        (Some(hook), _) => undrain_by(&hook, prior, limit).await,
        (None, Drain::Haproxy { address, servers }) => Haproxy::new(address, servers)?.undrain(prior, limit, forced).await,
        (None, _) => Err(elsewhere()),
    }
}

fn elsewhere() -> Trouble {
    Trouble::new(ErrorCode::Unsupported, "this drain is performed on the host, not where the engine runs")
}

async fn drain_by(hook: &Hook<'_>, grace: Duration, force: bool) -> Result<Done, Trouble> {
    let until = Instant::now() + grace;
    let mut items = hook.state().await?;
    if in_service(&items).is_empty() {
        return Ok(Done { items, already: true });
    }
    let said = hook.drain(grace, force).await;
    loop {
        items = hook.state().await?;
        let left = in_service(&items);
        // A tool that failed has not done what it is there for, whatever the state says.
        if left.is_empty() && said.is_ok() {
            return Ok(Done { items, already: false });
        }
        if said.is_err() || Instant::now() >= until {
            let left = if left.is_empty() { String::new() } else { format!("still in service: {}", left.join(", ")) };
            let why = said.err().map(|trouble| trouble.message).unwrap_or_default();
            let both = if left.is_empty() || why.is_empty() { "" } else { "; " };
            return Err(Trouble { code: ErrorCode::NotDrained, message: format!("{left}{both}{why}"), items });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn in_service(items: &[ItemState]) -> Vec<String> {
    items.iter().filter(|item| item.in_service).map(|item| format!("{} ({})", item.name, item.state)).collect()
}

async fn undrain_by(hook: &Hook<'_>, prior: &[ItemState], limit: Duration) -> Result<Done, Trouble> {
    let until = Instant::now() + limit;
    let mut items = hook.state().await?;
    if not_as(&items, prior).is_empty() {
        return Ok(Done { items, already: true });
    }
    let said = hook.undrain(prior, limit).await;
    loop {
        items = hook.state().await?;
        let left = not_as(&items, prior);
        if left.is_empty() {
            return Ok(Done { items, already: false });
        }
        if said.is_err() || Instant::now() >= until {
            let why = said.err().map(|trouble| format!("; {}", trouble.message)).unwrap_or_default();
            let message = format!("not back as it was: {}{why}", left.join(", "));
            return Err(Trouble { code: ErrorCode::NotObserved, message, items });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What differs from before, in words.
fn not_as(items: &[ItemState], prior: &[ItemState]) -> Vec<String> {
    let word = |item: &ItemState| format!("{} {}", item.state, if item.in_service { "in" } else { "out of" });
    let differs = prior.iter().filter_map(|before| match items.iter().find(|item| item.name == before.name) {
        Some(now) if now == before => None,
        Some(now) => Some(format!("{} is {} service and was {} service", before.name, word(now), word(before))),
        None => Some(format!("{} is not there any more", before.name)),
    });
    differs.collect()
}
