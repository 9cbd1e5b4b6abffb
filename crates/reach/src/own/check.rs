//! Checks that need no one on the host: can it be connected to, does it answer.

use std::time::Duration;

use futures_util::future::join_all;
use model::{Check, CheckKind, CheckResult};
use reqwest::Method;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::web::{Question, Web};

/// So much of a body is looked at, in bytes (`contains`).
const BODY_MAX: usize = 64 * 1024;
/// What a result tells, in characters.
const DETAIL_MAX: usize = 1000;
/// So many are made at once.
const WIDTH: usize = 32;

pub(super) async fn all(web: &Web, checks: &[Check]) -> Vec<CheckResult> {
    let room = Semaphore::new(WIDTH);
    let one = async |check: &Check| {
        // The semaphore is never closed.
        let _place = room.acquire().await;
        let limit = check.limit.duration();
        let made = match &check.kind {
            CheckKind::Tcp { address } => tcp(address, limit).await,
            CheckKind::Http { url, status, contains } => http(web, url, *status, contains.as_deref(), limit).await,
            CheckKind::Unit { .. }
            | CheckKind::Container { .. }
            | CheckKind::Hook { .. }
            | CheckKind::Command { .. }
            | CheckKind::Generation { .. }
            | CheckKind::Running {} => Err("this check is made on the host, not where the engine runs".to_owned()),
        };
        let (passed, detail) = match made {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        CheckResult { name: check.name.clone(), passed, detail: detail.chars().take(DETAIL_MAX).collect() }
    };
    join_all(checks.iter().map(one)).await
}

async fn tcp(address: &str, limit: Duration) -> Result<String, String> {
    match tokio::time::timeout(limit, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Ok(format!("{address} takes connections")),
        Ok(Err(error)) => Err(format!("{address}: {error}")),
        Err(_) => Err(format!("{address}: no connection within {} s", limit.as_secs_f32())),
    }
}

async fn http(web: &Web, url: &str, expected: u16, contains: Option<&str>, limit: Duration) -> Result<String, String> {
    let most = if contains.is_some() { BODY_MAX } else { 0 };
    let question = Question { method: Method::GET, url, headers: &[], body: String::new(), limit, most };
    let answer = web.ask(question).await;
    // What follows the path may be a secret, and what is told here is read by many.
    let url = model::shown(url);
    let answer = answer.map_err(|why| format!("{url}: {why}"))?;
    if answer.status != expected {
        return Err(format!("{url}: answered {} and not {expected}", answer.status));
    }
    match contains {
        Some(text) if !answer.body.contains(text) => {
            let part = if answer.cut { format!("the first {BODY_MAX} bytes of its body do") } else { "its body does".to_owned() };
            Err(format!("{url}: answered {expected}, but {part} not contain {text:?}"))
        }
        _ => Ok(format!("{url}: answered {expected}")),
    }
}
