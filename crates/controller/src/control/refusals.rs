//! Refused attempts in the audit log, limited in rate (G10): the first of an actor and action is written at once, further
//! ones within a minute are counted and written as one line.

use std::collections::HashMap;
use std::time::Duration;

use driver::AuditRow;
use model::{Millis, TargetId, Timestamp};
use tokio::sync::mpsc;

use crate::store::Database;

/// Repeats within it are one line.
const WINDOW: Millis = Millis::secs(60);
/// Pairs of actor and action that are told apart within a window. Whoever makes up names beyond it is counted as one.
const PAIRS_MAX: usize = 1000;
/// Lines that wait to be written.
const WAITING_MAX: usize = 1024;
/// Longest text that is kept of what an attacker sends, in characters.
const TEXT_MAX: usize = 300;

/// Takes refusals; never waits.
#[derive(Clone, Debug)]
pub(super) struct Refusals(mpsc::Sender<AuditRow>);

impl Refusals {
    /// Starts the writer; it ends, with all written, when the last clone is gone.
    pub(super) fn start(database: Database) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), tokio::spawn(write(database, receiver)))
    }

    pub(super) fn note(&self, at: Timestamp, actor: &str, action: &str, target: Option<TargetId>, why: &str) {
        let cut = |text: &str| text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect::<String>();
        let row = AuditRow {
            at,
            actor: cut(actor),
            action: cut(action),
            target,
            orchestration: None,
            success: false,
            detail: format!("refused: {}", cut(why)),
        };
        if self.0.try_send(row).is_err() {
            tracing::warn!(actor, action, why, "refused; too many refusals to write all of them down");
        }
    }
}

async fn write(database: Database, mut rows: mpsc::Receiver<AuditRow>) {
    let mut limiter = Limiter::default();
    let mut tick = tokio::time::interval(Duration::from_secs(5));
    let mut last = Timestamp::default();
    loop {
        let due = tokio::select! {
            row = rows.recv() => match row {
                Some(row) => {
                    last = last.max(row.at);
                    limiter.take(row).into_iter().collect()
                }
                None => {
                    put(&database, limiter.flush(last + WINDOW)).await;
                    return;
                }
            },
            _ = tick.tick() => {
                last = last + Millis::secs(5);
                limiter.flush(last)
            }
        };
        put(&database, due).await;
    }
}

async fn put(database: &Database, rows: Vec<AuditRow>) {
    if rows.is_empty() {
        return;
    }
    if let Err(error) = database.write_audit(&rows).await {
        for row in rows {
            tracing::error!(actor = row.actor, action = row.action, detail = row.detail, "not written to the audit log: {error}");
        }
    }
}

#[derive(Default)]
struct Limiter(HashMap<(String, String), Window>);

struct Window {
    since: Timestamp,
    further: u64,
    last: AuditRow,
}

impl Limiter {
    /// What is to be written at once.
    fn take(&mut self, mut row: AuditRow) -> Option<AuditRow> {
        let mut key = (row.actor.clone(), row.action.clone());
        if self.0.len() >= PAIRS_MAX && !self.0.contains_key(&key) {
            "many".clone_into(&mut row.actor);
            key.0.clone_from(&row.actor);
        }
        match self.0.get_mut(&key) {
            Some(window) if row.at.since(window.since) < WINDOW => {
                window.further += 1;
                window.last = row;
                None
            }
            _ => {
                let ended = self.0.insert(key, Window { since: row.at, further: 0, last: row.clone() });
                // A window that was not flushed yet keeps its count in the new line.
                if let Some(Window { further: more @ 1.., .. }) = ended {
                    row.detail = format!("{} (and {more} more before)", row.detail);
                }
                Some(row)
            }
        }
    }

    /// Counts of windows that have ended.
    fn flush(&mut self, now: Timestamp) -> Vec<AuditRow> {
        let mut rows = Vec::new();
        self.0.retain(|_, window| {
            if now.since(window.since) < WINDOW {
                return true;
            }
            if window.further > 0 {
                let mut row = window.last.clone();
                row.detail = format!("{} ({} times within a minute)", row.detail, window.further);
                rows.push(row);
            }
            false
        });
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(actor: &str, ms: i64) -> AuditRow {
        AuditRow {
            at: Timestamp::from_millis(ms),
            actor: actor.to_owned(),
            action: "login".to_owned(),
            target: None,
            orchestration: None,
            success: false,
            detail: "refused".to_owned(),
        }
    }

    #[test]
    fn repeats_are_counted_and_none_is_lost() {
        let mut limiter = Limiter::default();
        assert!(limiter.take(row("a", 0)).is_some());
        for ms in 1..100 {
            assert_eq!(limiter.take(row("a", ms)), None);
        }
        assert!(limiter.take(row("b", 5)).is_some());
        assert_eq!(limiter.flush(Timestamp::from_millis(59_999)), []);
        let flushed = limiter.flush(Timestamp::from_millis(60_000));
        assert_eq!(flushed.len(), 1);
        assert!(flushed[0].detail.contains("99 times"));
        assert!(limiter.take(row("a", 60_000)).is_some());
    }

    #[test]
    fn made_up_names_do_not_fill_the_log() {
        let mut limiter = Limiter::default();
        let written = (0..5000).filter(|n| limiter.take(row(&format!("name{n}"), 0)).is_some()).count();
        assert_eq!(written, PAIRS_MAX + 1);
    }
}
