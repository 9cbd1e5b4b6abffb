//! One controller per database, one use per enrolment token, one epoch per life of the database.

use controller::store::{ClaimRefused, Database, DeviceRow, NewEnrolmentRow, OpenError, OpenOptions, sha256};
use driver::{AuditRow, Store as _};
use model::{Labels, Millis};

use super::stage::{NOW, Stage, host};

#[tokio::test]
async fn a_second_controller_on_the_same_database_is_refused_with_the_reason() {
    let stage = Stage::new();
    let open = stage.open().await;
    let error = Database::open(OpenOptions::new(stage.path(), NOW)).await.unwrap_err();
    assert!(matches!(error, OpenError::InUse { pid: Some(pid), .. } if pid == std::process::id()), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
    // The refused one has done the first no harm.
    open.database.write_audit(&[line()]).await.unwrap();
    open.database.close().await;
    stage.open().await;
}

#[tokio::test]
async fn an_older_copy_of_the_database_begins_a_new_epoch() {
    let stage = Stage::new();
    let mut open = stage.open().await;
    let epoch = open.store.load().await.unwrap().epoch;
    open.database.close().await;
    let backup = std::fs::read(stage.path()).unwrap();
    for _ in 0..2 {
        let mut open = stage.open().await;
        assert_eq!(open.store.load().await.unwrap().epoch, epoch);
        open.database.close().await;
    }
    std::fs::write(stage.path(), backup).unwrap();
    let mut open = stage.open().await;
    assert!(open.store.load().await.unwrap().epoch > epoch);
    assert_eq!(open.lease, 4, "the lease goes on where the lost part had left it");
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
        tokio::spawn(async move { database.claim_enrolment(&hash, &device).await.unwrap() })
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
    AuditRow { at: NOW, actor: "ann".to_owned(), action: "test".to_owned(), target: None, orchestration: None, success: true, detail: String::new() }
}
