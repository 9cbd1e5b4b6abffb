//! The engine in a process of its own, without broker and API.

use std::collections::BTreeSet;
use std::sync::Arc;

use controller::api::{Inside, Question};
use controller::control::{Adopt, NewRollout};
use controller::local::{Local, LocalError, LocalOptions, State};
use model::{Amount, Labels, Millis, RolloutOptions};

use crate::api_rollouts::Played;
use crate::api_stage::{LIMIT, config};

async fn open(dir: &std::path::Path, performer: Arc<Played>) -> Result<Local, LocalError> {
    let engine = engine::Config { probe_limit: Millis::secs(2), ..config() };
    let options = LocalOptions { engine, performer, resend: Millis(200), user: "ann".to_owned(), events: None };
    State::open(dir.join("state")).await?.start(options).await
}

fn hosts() -> Vec<Adopt> {
    let host = |name: &str| Adopt { name: name.to_owned(), address: format!("root@{name}"), labels: Labels::new() };
    ["a", "b", "c"].map(host).into()
}

/// An interrupted run goes on where it was, and reboots no finished host again.
#[tokio::test]
async fn s2_what_was_interrupted_goes_on_and_nobody_is_rebooted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let played = Arc::new(Played::default());
    let first = open(dir.path(), Arc::clone(&played)).await.unwrap();
    let (ids, _) = first.adopt(&hosts()).await.unwrap();
    assert_eq!(first.adopt(&hosts()).await.unwrap().0, ids, "saying it again changes nothing");
    played.away("c", true);
    let unread = first.survey(&ids).await.unwrap();
    assert_eq!(unread.into_values().collect::<Vec<_>>(), ["connection refused: is sshd running there?"]);
    played.away("c", false);
    assert!(first.survey(&ids).await.unwrap().is_empty());

    // Somebody else is told who is at it, and since when.
    let refused = open(dir.path(), Arc::clone(&played)).await.err().unwrap();
    assert!(
        matches!(&refused, LocalError::InUse { holder, .. } if holder.pid == Some(std::process::id()) && holder.since.is_some())
    );
    assert!(refused.to_string().contains("since 20"), "{refused}");

    let said = RolloutOptions { soak: Some(Millis(0)), concurrency: Some(Amount::Count(1)), ..RolloutOptions::default() };
    let new = NewRollout { targets: vec!["*".to_owned()], options: said, ..NewRollout::default() };
    let started = first.control().start_rollout(first.who(), &new).await.unwrap();
    let one_is_done = async {
        while played.reboots().is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, one_is_done).await.unwrap();
    first.close().await.unwrap();
    assert!(played.reboots().len() < 3, "it was interrupted too late to show anything");

    let second = open(dir.path(), Arc::clone(&played)).await.unwrap();
    second.survey(&ids).await.unwrap();
    let over = async {
        loop {
            let view = second.control().orchestration(second.who(), started.id).await.unwrap();
            if let Some(outcome) = view.outcome {
                return outcome;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert_eq!(tokio::time::timeout(LIMIT, over).await.unwrap(), engine::Outcome::Completed);
    assert_eq!(played.reboots().len(), 3, "each once (G2): {:?}", played.reboots());
    assert_eq!(played.reboots().into_iter().collect::<BTreeSet<_>>().len(), 3);
    second.close().await.unwrap();
}

/// The engine in the same process has no door that a large body could block.
#[tokio::test]
async fn thousands_of_hosts_are_named_by_their_ids_where_there_is_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let local = open(dir.path(), Arc::new(Played::default())).await.unwrap();
    let many = (0..3000).map(|n| Adopt { name: format!("h{n}"), address: format!("root@h{n}"), labels: Labels::new() });
    let (ids, _) = local.adopt(&many.collect::<Vec<_>>()).await.unwrap();
    let body = serde_json::to_vec(&serde_json::json!({ "targets": ids, "dry_run": true })).unwrap();
    assert!(body.len() > 64 * 1024);
    let inside = Inside::new(local.control().clone(), local.who().clone());
    let question = Question { method: "POST", path: "/api/v1/rollouts", body: Some(body), last_event_id: None };
    assert_eq!(inside.ask(question).await.unwrap().status, 200);
    drop(inside);
    local.close().await.unwrap();
}
