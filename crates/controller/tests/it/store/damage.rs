//! Damaged journals: one orchestration is set aside, a damaged fleet journal refuses start (G8).

use controller::store::OrchestrationFilter;
use driver::{Store as _, StoreError};
use engine::{Fact, FleetEntry, JournalId, Record};
use model::Actor;

use super::stage::{NOW, Stage, append, fleet_fact, host, orchestration, own_fact, view};

/// What can happen to the journal of orchestration 2, and a word of the reason that must be given.
const DAMAGE: &[(&str, &str)] = &[
    ("UPDATE journal SET record = '{not json' WHERE journal LIKE '%0002' AND position = 1", "checksum"),
    ("UPDATE journal SET record = replace(record, '\"track\":1', '\"track\":7') WHERE journal LIKE '%0002'", "checksum"),
    ("UPDATE journal SET record = CAST(x'ff00' AS TEXT) WHERE journal LIKE '%0002' AND position = 0", "checksum"),
    ("DELETE FROM journal WHERE journal LIKE '%0002' AND position = 1", "missing"),
    ("DELETE FROM journal WHERE journal LIKE '%0002' AND position = 0", "missing"),
    ("DELETE FROM journal WHERE journal LIKE '%0002' AND position = 2", "end is lost"),
    ("DELETE FROM journal WHERE journal LIKE '%0002'", "end is lost"),
    ("UPDATE journal SET position = 7 WHERE journal LIKE '%0002' AND position = 2", "missing"),
    ("UPDATE journal SET checksum = 'text' WHERE journal LIKE '%0002' AND position = 1", "checksum"),
    ("UPDATE journal SET version = 'text' WHERE journal LIKE '%0002' AND position = 1", "checksum"),
    ("UPDATE journal SET position = 'text' WHERE journal LIKE '%0002' AND position = 1", "missing"),
    ("UPDATE journal_head SET records = 'text', checksum = 'text' WHERE journal LIKE '%0002'", "end is lost"),
    ("UPDATE journal SET version = 1 WHERE journal LIKE '%0002' AND position = 2", "checksum"),
];

#[tokio::test]
async fn one_damaged_journal_beside_good_ones_is_set_aside_alone() {
    for (sql, word) in DAMAGE {
        let stage = Stage::new();
        let mut open = stage.open().await;
        open.append(vec![append(JournalId::Fleet, 0, vec![fleet_fact(1)])], vec![]).await.unwrap();
        for n in 1..=3 {
            open.begin(orchestration(n), host(n), 3).await;
        }
        open.tamper(&stage, sql).await;
        let loaded = open.store.load().await.unwrap();
        assert_eq!(loaded.open.len(), 3);
        for (id, journal) in loaded.open {
            if id == orchestration(2) {
                let reason = journal.expect_err(sql);
                assert!(reason.contains(word), "{sql}: {reason}");
                assert!(open.database.journal(id, 0).await.unwrap().is_err());
            } else {
                assert_eq!(journal.expect(sql).len(), 3);
            }
        }
    }
}

#[tokio::test]
async fn one_damaged_state_does_not_hide_the_others() {
    for damage in [
        "UPDATE orchestration SET view = '{' WHERE id LIKE '%0002'",
        "UPDATE orchestration SET view = x'ff' WHERE id LIKE '%0002'",
    ] {
        let stage = Stage::new();
        let mut open = stage.open().await;
        for n in 1..=3 {
            open.begin(orchestration(n), host(n), 1).await;
        }
        open.tamper(&stage, damage).await;
        let page = open.database.orchestrations(&OrchestrationFilter::default(), None).await.unwrap();
        assert_eq!(page.items.iter().map(|view| view.id).collect::<Vec<_>>(), [orchestration(3), orchestration(1)]);
    }
}

#[tokio::test]
async fn a_damaged_fleet_journal_refuses_to_load() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    open.append(vec![append(JournalId::Fleet, 0, vec![fleet_fact(1), fleet_fact(2)])], vec![]).await.unwrap();
    open.tamper(&stage, "DELETE FROM journal WHERE journal = 'fleet' AND position = 1").await;
    let error = open.store.load().await.unwrap_err().to_string();
    assert!(error.contains("fleet journal is damaged") && error.contains("restore a backup"), "{error}");
}

#[tokio::test]
async fn a_host_is_free_again_when_its_unreadable_orchestration_was_let_go() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    open.begin(orchestration(2), host(2), 3).await;
    open.tamper(&stage, DAMAGE[0].0).await;
    open.store.load().await.unwrap();
    let begin = vec![append(JournalId::Orchestration(orchestration(3)), 0, vec![own_fact(orchestration(3), 0)])];
    let unlocked = FleetEntry::Unlocked { host: host(2), orchestration: orchestration(2), position: 0 };
    let unlocked = Fact::Fleet(Record { at: NOW, by: Actor::User("ann".to_owned()), entry: unlocked });
    open.append(vec![append(JournalId::Fleet, 0, vec![unlocked])], vec![]).await.unwrap();
    assert_eq!(open.store.load().await.unwrap().open.len(), 0);
    open.append(begin, vec![view(orchestration(3), host(2), None)]).await.unwrap();
}

/// A lock was never taken by it, so nothing lets go of it: the engine's word that another may run is enough.
#[tokio::test]
async fn an_unreadable_orchestration_does_not_stand_in_the_way_of_an_accepted_one() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    open.begin(orchestration(2), host(2), 3).await;
    open.tamper(&stage, DAMAGE[0].0).await;
    open.store.load().await.unwrap();
    let begin = vec![append(JournalId::Orchestration(orchestration(3)), 0, vec![own_fact(orchestration(3), 0)])];
    open.append(begin, vec![view(orchestration(3), host(2), None)]).await.unwrap();
    let loaded = open.store.load().await.unwrap();
    assert_eq!(loaded.open.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [orchestration(3)]);
}

#[tokio::test]
async fn an_append_after_the_damaged_end_of_a_journal_is_a_conflict() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    open.begin(orchestration(2), host(2), 3).await;
    let more = vec![append(JournalId::Orchestration(orchestration(2)), 2, vec![own_fact(orchestration(2), 3)])];
    assert!(matches!(open.append(more, vec![]).await, Err(StoreError::Conflict(_))));
}
