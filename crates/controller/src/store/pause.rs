//! Pause points for tests that kill the controller at a named point. Never in a shipped build.
//!
//! While the file `pause-NAME` exists in the state directory, a turn that reaches the point writes `paused-NAME` and waits.
//! If the file is not empty, only a turn whose audit holds that action pauses (`command_issued`, for one); with a number behind it,
//! only the turn with so many-th such row of this process, and with other words behind it one whose row holds them.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use driver::Batch;

/// Rows of the action that is waited for, so far.
static SEEN: AtomicUsize = AtomicUsize::new(0);

/// Nothing waits for ever, not even a test.
const LIMIT: Duration = Duration::from_secs(600);

pub(super) async fn point(dir: &Path, name: &str, batch: &Batch) {
    let pause = dir.join(format!("pause-{name}"));
    let Ok(wanted) = std::fs::read_to_string(&pause) else { return };
    let (action, which) = wanted.trim().split_once(' ').unwrap_or((wanted.trim(), ""));
    if !action.is_empty() {
        let found: Vec<_> = batch.audit.iter().filter(|row| row.action == action).collect();
        let rows = found.len();
        let seen = SEEN.fetch_add(rows, Ordering::SeqCst);
        let due = match which.parse::<usize>() {
            Ok(number) => (seen + 1..=seen + rows).contains(&number),
            Err(_) => found.iter().any(|row| row.detail.contains(which)),
        };
        if !due {
            return;
        }
    }
    let mark = dir.join(format!("paused-{name}"));
    if let Err(error) = std::fs::write(&mark, format!("{}\n", std::process::id())) {
        tracing::error!("cannot write {}: {error}", mark.display());
    }
    let wait = async {
        while pause.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if tokio::time::timeout(LIMIT, wait).await.is_err() {
        tracing::error!(name, "a pause point was not released in time");
    }
    drop(std::fs::remove_file(&mark));
}
