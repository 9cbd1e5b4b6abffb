//! One controller per database, one use per enrolment token, one epoch per life of the database.

use controller::store::{ClaimRefused, Database, DeviceRow, NewEnrolmentRow, OpenError, OpenOptions, sha256};
use driver::{AuditRow, Store as _};
use engine::JournalId;
use model::{Labels, Millis};

use super::stage::{NOW, Stage, append, fleet_fact, host};

#[tokio::test]
async fn a_second_controller_on_the_same_database_is_refused_with_the_reason() {
    let stage = Stage::new();
    let open = stage.open().await;
    let error = Database::open(OpenOptions::new(stage.path(), NOW)).await.unwrap_err();
    assert!(
        matches!(error, OpenError::InUse { holder, .. } if holder.pid == Some(std::process::id()) && holder.since == Some(NOW)),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    // The refused one has done the first no harm.
    open.database.write_audit(&[line()]).await.unwrap();
    open.database.close().await;
    stage.open().await;
}

#[tokio::test]
async fn an_older_copy_of_the_database_begins_a_new_epoch() {
    let stage = Stage::new();
    stage.open().await.database.close().await;
    let backup = std::fs::read(stage.path()).unwrap();
    let mut last = 0;
    for _ in 0..2 {
        let mut open = stage.open().await;
        last = open.store.load().await.unwrap().epoch;
        open.database.close().await;
    }
    std::fs::write(stage.path(), backup).unwrap();
    let mut open = stage.open().await;
    assert!(open.store.load().await.unwrap().epoch > last);
    assert_eq!(open.lease, 4, "the lease goes on where the lost part had left it");
}

/// A copy made while the controller ran was led under the same lease, and one that is put back with its lock file has not even
/// that to be told by.
#[tokio::test]
async fn a_copy_that_looks_like_the_database_used_last_begins_a_new_epoch_too() {
    for with_lock in [false, true] {
        let stage = Stage::new();
        let mut open = stage.open().await;
        let mut last = open.store.load().await.unwrap().epoch;
        open.tamper(&stage, "PRAGMA wal_checkpoint(TRUNCATE)").await;
        let backup = std::fs::read(stage.path()).unwrap();
        let lock = stage.path().with_extension("db.lock");
        let backup_lock = std::fs::read(&lock).unwrap();
        open.append(vec![append(JournalId::Fleet, 0, vec![fleet_fact(1)])], vec![]).await.unwrap();
        open.database.close().await;
        let mut later = NOW;
        if with_lock {
            for _ in 0..3 {
                later = later + Millis::secs(60);
                let mut open = stage.open_with(OpenOptions::new(stage.path(), later)).await;
                last = open.store.load().await.unwrap().epoch;
                open.database.close().await;
            }
            std::fs::write(&lock, backup_lock).unwrap();
        }
        std::fs::write(stage.path(), backup).unwrap();
        let mut open = stage.open_with(OpenOptions::new(stage.path(), later + Millis::secs(60))).await;
        let loaded = open.store.load().await.unwrap();
        assert_eq!(loaded.fleet.len(), 0, "it is the copy");
        assert!(loaded.epoch > last, "with its lock file: {with_lock}");
    }
}

#[tokio::test]
async fn a_database_that_is_up_to_date_is_opened_without_a_write() {
    let stage = Stage::new();
    stage.open().await.database.close().await;
    let before = std::fs::read(stage.path()).unwrap();
    let database = Database::open(OpenOptions::new(stage.path(), NOW)).await.unwrap();
    let log = std::fs::metadata(stage.path().with_extension("db-wal")).map_or(0, |log| log.len());
    assert_eq!(log, 0, "on a full disk it could not be opened");
    database.close().await;
    assert_eq!(std::fs::read(stage.path()).unwrap(), before);
}

#[tokio::test]
async fn a_new_database_fences_higher_than_an_older_one() {
    let (first, second) = (Stage::new(), Stage::new());
    let epoch = first.open().await.store.load().await.unwrap().epoch;
    let later = OpenOptions::new(second.path(), NOW + Millis::secs(1));
    assert!(second.open_with(later).await.store.load().await.unwrap().epoch > epoch);
}

#[tokio::test]
async fn a_database_of_a_newer_program_is_refused() {
    let stage = Stage::new();
    let open = stage.open().await;
    open.tamper(&stage, "PRAGMA user_version = 1000").await;
    open.database.close().await;
    let error = Database::open(OpenOptions::new(stage.path(), NOW)).await.unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 1000, .. }), "{error}");
}

#[tokio::test]
async fn of_two_devices_with_one_token_one_is_enrolled() {
    let stage = Stage::new();
    let open = stage.open().await;
    let hash = sha256(b"secret");
    let row = NewEnrolmentRow {
        hash,
        name: "web-1".to_owned(),
        labels: Labels::new(),
        created_by: "ann".to_owned(),
        created_at: NOW,
        expires_at: NOW + Millis::secs(60),
    };
    open.database.insert_enrolment(&row, line()).await.unwrap();
    let claim = |n: u128| {
        let device = DeviceRow {
            new_host: host(n),
            machine_id: format!("{n:032x}"),
            name: "web-1".to_owned(),
            public_key: format!("key{n}"),
            secret_hash: [0; 32],
            at: NOW,
        };
        let database = open.database.clone();
        tokio::spawn(async move { database.claim_enrolment(&hash, &device, &|_| true).await.unwrap() })
    };
    let claims: Vec<_> = (1..=8).map(claim).collect();
    let mut taken = 0;
    for claimed in claims {
        match claimed.await.unwrap() {
            Ok(_) => taken += 1,
            Err(refused) => assert_eq!(refused, ClaimRefused::Used(NOW)),
        }
    }
    assert_eq!(taken, 1);
}

fn line() -> AuditRow {
    AuditRow {
        at: NOW,
        actor: "ann".to_owned(),
        action: "test".to_owned(),
        target: None,
        orchestration: None,
        success: true,
        detail: String::new(),
    }
}
