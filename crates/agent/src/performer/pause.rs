//! Places where a test can hold the agent and kill it for real. Not in any build that is shipped: the feature
//! `pause-points` is never on by default.

use std::path::Path;
use std::time::Duration;

use model::Command;
use tracing::warn;

use crate::ledger::Record;

/// A test that forgot its file must not hold a host for ever.
const LONGEST: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(50);

/// Waits while `pause-NAME` exists; `paused-NAME` shows that it does.
pub(super) async fn at(state: &Path, name: &str) {
    let (wanted, shown) = (state.join(format!("pause-{name}")), state.join(format!("paused-{name}")));
    if !wanted.exists() {
        return;
    }
    warn!(name, "paused by a test");
    drop(std::fs::write(&shown, b""));
    let gone = async {
        while wanted.exists() {
            tokio::time::sleep(LOOK).await;
        }
    };
    drop(tokio::time::timeout(LONGEST, gone).await);
    drop(std::fs::remove_file(&shown));
}

/// The same; with a number in the file, only at the so many-th time.
async fn later(state: &Path, name: &str) {
    let wanted = state.join(format!("pause-{name}"));
    let left: Option<u32> = std::fs::read_to_string(&wanted).ok().and_then(|text| text.trim().parse().ok());
    match left {
        Some(left) if left > 1 => drop(std::fs::write(&wanted, (left - 1).to_string())),
        _ => at(state, name).await,
    }
}

pub(super) async fn before_append(state: &Path, record: &Record) {
    match record {
        Record::Claimed { command, .. } if command.action.kind().ends_boot() => at(state, "before_claim").await,
        // Written for what is done once only: claimed, and certainly not ordered.
        Record::Executing { .. } => at(state, "after_claim").await,
        // Done, and nobody knows.
        Record::Ended { .. } => later(state, "before_end").await,
        _ => {}
    }
}

pub(super) async fn before_perform(state: &Path, command: &Command) {
    if command.action.kind().ends_boot() {
        at(state, "before_order").await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_holds_at_the_time_that_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (wanted, shown) = (folder.path().join("pause-x"), folder.path().join("paused-x"));
        std::fs::write(&wanted, "2").unwrap();
        later(folder.path(), "x").await;
        assert_eq!(std::fs::read_to_string(&wanted).unwrap(), "1");
        let path = folder.path().to_owned();
        let held = tokio::spawn(async move { later(&path, "x").await });
        while !shown.exists() {
            tokio::time::sleep(LOOK).await;
        }
        std::fs::remove_file(&wanted).unwrap();
        tokio::time::timeout(Duration::from_secs(60), held).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn it_holds_while_the_file_is_there() {
        let folder = tempfile::tempdir().unwrap();
        at(folder.path(), "x").await;
        let (wanted, shown) = (folder.path().join("pause-x"), folder.path().join("paused-x"));
        std::fs::write(&wanted, b"").unwrap();
        let path = folder.path().to_owned();
        let held = tokio::spawn(async move { at(&path, "x").await });
        while !shown.exists() {
            tokio::time::sleep(LOOK).await;
        }
        assert!(!held.is_finished());
        std::fs::remove_file(&wanted).unwrap();
        tokio::time::timeout(Duration::from_secs(60), held).await.unwrap().unwrap();
        assert!(!shown.exists());
    }
}
