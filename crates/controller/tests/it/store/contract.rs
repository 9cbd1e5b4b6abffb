//! Append, conflict, lease; against a model, over restarts.

use std::collections::BTreeMap;

use controller::store::AuditFilter;
use driver::{AuditRow, Store as _, StoreError};
use engine::{Fact, JournalId, Outcome};
use proptest::prelude::*;

use super::stage::{NOW, Stage, append, batch, fleet_fact, host, orchestration, own_fact, view};

#[tokio::test]
async fn what_was_appended_is_loaded_again_after_a_restart() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    open.append(vec![append(JournalId::Fleet, 0, vec![fleet_fact(1), fleet_fact(2)])], vec![]).await.unwrap();
    open.begin(orchestration(1), host(1), 3).await;
    open.begin(orchestration(2), host(2), 1).await;
    let ended = vec![append(JournalId::Orchestration(orchestration(2)), 1, vec![own_fact(orchestration(2), 9)])];
    open.append(ended, vec![view(orchestration(2), host(2), Some(Outcome::Completed))]).await.unwrap();
    let first = open.lease;
    open.database.close().await;

    let mut open = stage.open().await;
    assert!(open.lease > first);
    let loaded = open.store.load().await.unwrap();
    assert!(loaded.epoch >= 1_800_000_000);
    assert_eq!(loaded.fleet.len(), 2);
    assert_eq!(Fact::Fleet(loaded.fleet[1].clone()), fleet_fact(2));
    // What has ended is not loaded, and can still be read.
    assert_eq!(loaded.open.len(), 1);
    assert_eq!((loaded.open[0].0, loaded.open[0].1.as_ref().unwrap().len()), (orchestration(1), 3));
    assert_eq!(open.database.journal(orchestration(2), 0).await.unwrap().unwrap().len(), 2);
    let (sequence, view) = open.database.orchestration(orchestration(2)).await.unwrap().unwrap();
    assert_eq!((sequence, view.outcome), (2, Some(Outcome::Completed)));
}

/// More rows than one statement takes, of journal and audit, in their order.
#[tokio::test]
async fn a_turn_of_many_facts_is_whole_and_in_order() {
    const MANY: u32 = 1201;
    let stage = Stage::new();
    let mut open = stage.open().await;
    let facts: Vec<Fact> = (0..MANY).map(fleet_fact).collect();
    let row = |n: u32| AuditRow {
        at: NOW,
        actor: "ann".to_owned(),
        action: "host_enrolled".to_owned(),
        target: Some(host(n.into())),
        orchestration: None,
        success: n.is_multiple_of(2),
        detail: n.to_string(),
    };
    let mut turn = batch(open.lease, vec![append(JournalId::Fleet, 0, facts.clone())], vec![]);
    turn.audit = (0..MANY).map(row).collect();
    open.store.append(&turn).await.unwrap();
    open.append(vec![append(JournalId::Fleet, MANY.into(), vec![fleet_fact(MANY)])], vec![]).await.unwrap();
    let loaded = open.store.load().await.unwrap().fleet;
    let loaded: Vec<Fact> = loaded.into_iter().map(Fact::Fleet).collect();
    assert_eq!(loaded.len(), facts.len() + 1);
    assert!(loaded.starts_with(&facts), "the checksums and positions go on from one statement to the next");
    let (mut lines, mut before) = (Vec::new(), None);
    loop {
        let page = open.database.audit(&AuditFilter { before, limit: 500, ..AuditFilter::default() }, None).await.unwrap();
        let Some(last) = page.items.last() else { break };
        before = Some(last.id);
        lines.extend(page.items);
    }
    let told: Vec<_> = lines.into_iter().rev().map(|line| (line.detail, line.target, line.success)).collect();
    let expected: Vec<_> = (0..MANY).map(row).map(|row| (row.detail, row.target, row.success)).collect();
    assert_eq!(told, expected);
}

#[tokio::test]
async fn a_conflict_in_one_journal_leaves_nothing_of_the_batch() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    let id = orchestration(1);
    let own = |follows| append(JournalId::Orchestration(id), follows, vec![own_fact(id, 0)]);
    open.append(vec![own(0)], vec![view(id, host(1), None)]).await.unwrap();
    let wrong = vec![append(JournalId::Fleet, 0, vec![fleet_fact(1)]), own(0)];
    assert!(matches!(open.append(wrong, vec![]).await, Err(StoreError::Conflict(_))));
    let loaded = open.store.load().await.unwrap();
    assert_eq!((loaded.fleet.len(), loaded.open[0].1.as_ref().unwrap().len()), (0, 1));
}

#[tokio::test]
async fn who_lost_the_lease_appends_nothing() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    let old = open.lease;
    open.lease = open.store.lead().await.unwrap();
    let stale = batch(old, vec![append(JournalId::Fleet, 0, vec![fleet_fact(1)])], vec![]);
    let error = open.store.append(&stale).await.unwrap_err();
    assert_eq!(error, StoreError::LeaseLost { ours: old, now: old + 1 });
    assert_eq!(open.store.load().await.unwrap().fleet.len(), 0);
}

#[tokio::test]
async fn e13_a_host_has_one_open_orchestration() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    open.begin(orchestration(1), host(1), 1).await;
    let second = vec![append(JournalId::Orchestration(orchestration(2)), 0, vec![own_fact(orchestration(2), 0)])];
    let error = open.append(second.clone(), vec![view(orchestration(2), host(1), None)]).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict(_)), "{error}");
    assert_eq!(open.store.load().await.unwrap().open.len(), 1);
    // Once the first is over there is room.
    let end = vec![append(JournalId::Orchestration(orchestration(1)), 1, vec![own_fact(orchestration(1), 1)])];
    open.append(end, vec![view(orchestration(1), host(1), Some(Outcome::Failed))]).await.unwrap();
    open.append(second, vec![view(orchestration(2), host(1), None)]).await.unwrap();
}

#[derive(Clone, Debug)]
enum Op {
    /// To these journals (0 is the fleet's), so many records each, at the right place or beside it.
    Append(Vec<(u8, u8)>, Option<u8>),
    Reopen,
    Lead,
    StaleAppend,
}

fn op() -> impl Strategy<Value = Op> {
    let journals = proptest::collection::btree_map(0..4_u8, 1..4_u8, 1..4).prop_map(|map| map.into_iter().collect());
    prop_oneof![
        6 => (journals, proptest::option::weighted(0.3, 0..4_u8)).prop_map(|(journals, wrong)| Op::Append(journals, wrong)),
        1 => Just(Op::Reopen),
        1 => Just(Op::Lead),
        1 => Just(Op::StaleAppend),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// Whatever is tried in whatever order, the store holds what the model holds.
    #[test]
    fn the_store_does_as_the_model(ops in proptest::collection::vec(op(), 1..25)) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(ops));
    }
}

async fn run(ops: Vec<Op>) {
    let stage = Stage::new();
    let mut open = stage.open().await;
    let mut model: BTreeMap<u8, Vec<Fact>> = BTreeMap::new();
    let mut number = 0;
    let id = |journal: u8| orchestration(u128::from(journal));
    for op in ops {
        match op {
            Op::Reopen => {
                open.database.close().await;
                open = stage.open().await;
            }
            Op::Lead => open.lease = open.store.lead().await.unwrap(),
            Op::StaleAppend => {
                let held = model.get(&0).map_or(0, Vec::len) as u64;
                let stale = batch(open.lease - 1, vec![append(JournalId::Fleet, held, vec![fleet_fact(0)])], vec![]);
                assert!(matches!(open.store.append(&stale).await, Err(StoreError::LeaseLost { .. })));
            }
            Op::Append(journals, wrong) => {
                let mut next = model.clone();
                let (mut appends, mut views, mut fits) = (Vec::new(), Vec::new(), true);
                for (journal, count) in journals {
                    let held = next.entry(journal).or_default();
                    let mut follows = held.len() as u64;
                    if wrong == Some(journal) {
                        follows += 1;
                        fits = false;
                    }
                    let facts: Vec<Fact> = (0..count)
                        .map(|_| {
                            number += 1;
                            if journal == 0 { fleet_fact(number) } else { own_fact(id(journal), number) }
                        })
                        .collect();
                    held.extend(facts.clone());
                    if journal == 0 {
                        appends.push(append(JournalId::Fleet, follows, facts));
                    } else {
                        appends.push(append(JournalId::Orchestration(id(journal)), follows, facts));
                        views.push(view(id(journal), host(u128::from(journal)), None));
                    }
                }
                let done = open.append(appends, views).await;
                if fits {
                    done.unwrap();
                    model = next;
                } else {
                    assert!(matches!(done, Err(StoreError::Conflict(_))));
                }
            }
        }
        let loaded = open.store.load().await.unwrap();
        let fleet: Vec<Fact> = loaded.fleet.into_iter().map(Fact::Fleet).collect();
        assert_eq!(&fleet, model.get(&0).unwrap_or(&Vec::new()));
        let held: BTreeMap<_, Vec<Fact>> = loaded
            .open
            .into_iter()
            .map(|(id, records)| (id, records.unwrap().into_iter().map(|record| Fact::Orchestration(id, record)).collect()))
            .collect();
        let expected: BTreeMap<_, _> = model
            .iter()
            .filter(|(journal, facts)| **journal > 0 && !facts.is_empty())
            .map(|(journal, facts)| (id(*journal), facts.clone()))
            .collect();
        assert_eq!(held, expected);
    }
}
