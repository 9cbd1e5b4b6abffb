//! A store that fails: the driver is thrown away and started again, nobody is told a lie, and the process lives.

use std::time::Duration;

use controller::control::ControlError;
use model::Labels;
use protocol::native::DeviceBody;

use super::stage::{Device, REBOOT, Stage, eventually, options, quick};

/// The next append fails, until it is mended.
async fn break_store(stage: &Stage) {
    let text = "CREATE TRIGGER broken BEFORE INSERT ON journal BEGIN SELECT RAISE(ABORT, 'the disk failed'); END";
    tell_database(stage, text).await;
}

/// Somebody else took the lead.
async fn steal_lease(stage: &Stage) {
    tell_database(stage, "UPDATE meta SET value = value + 1 WHERE key = 'lease'").await;
}

async fn tell_database(stage: &Stage, text: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(stage.dir.path().join("reveille.db"))
        .busy_timeout(Duration::from_secs(10));
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    sqlx::raw_sql(text).execute(&pool).await.unwrap();
    pool.close().await;
}

/// Two controllers that throw each other out would settle for ever, and both work over SSH: whoever lost the lead keeps still.
#[tokio::test]
async fn whoever_lost_the_lead_does_not_take_it_back() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    let admin = stage.admin().await;
    steal_lease(&stage).await;
    stage.hear(&device, &DeviceBody::Report { report: device.report(1, &["a"]) }).await;
    eventually(async || (!stage.control.ready().ready).then_some(())).await;
    for _ in 0..2 {
        let error = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap_err();
        assert!(matches!(&error, ControlError::Unavailable(text) if text.contains("another controller")), "{error}");
    }
    let reason = stage.control.ready().reason.unwrap();
    assert!(reason.contains("another controller"), "{reason}");
}

#[tokio::test]
async fn a_turn_that_is_not_durable_starts_the_engine_again_from_the_store() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    stage.hello(&device, device.report(1, &["a"])).await;
    let token = stage.token("web-2", &[]).await;
    break_store(&stage).await;
    let second = Device::new("web-2");
    let error = stage.control.enrol("10.1.1.1", second.request(&token)).await.unwrap_err();
    assert!(matches!(error, ControlError::Unavailable(_)), "{error}");
    tell_database(&stage, "DROP TRIGGER broken").await;
    eventually(async || stage.control.ready().ready.then_some(())).await;
    // What was not durable is not there, what was is.
    let admin = stage.admin().await;
    let names: Vec<_> = stage.control.select(&admin, None).await.unwrap().into_iter().map(|host| host.name).collect();
    assert_eq!(names, ["web-1"]);
    // The token was used up; with a new one it goes on.
    let token = stage.token("web-2", &[]).await;
    let answer = stage.control.enrol("10.1.1.1", second.request(&token)).await.unwrap();
    stage.control.approve(&admin, answer.host_id, None).await.unwrap();
}

#[tokio::test]
async fn readiness_goes_off_while_the_store_cannot_be_written_and_comes_back() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    let admin = stage.admin().await;
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(stage.dir.path().join("reveille.db"));
    let pool = sqlx::SqlitePool::connect_with(file).await.unwrap();
    let mut held = pool.acquire().await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *held).await.unwrap();
    // The first report of a host is a fact; it cannot be written.
    stage.hear(&device, &DeviceBody::Report { report: device.report(1, &["a"]) }).await;
    eventually(async || (!stage.control.ready().ready).then_some(())).await;
    assert!(stage.control.ready().reason.is_some());
    let error = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap_err();
    assert!(matches!(error, ControlError::Unavailable(_)), "{error}");
    sqlx::raw_sql("ROLLBACK").execute(&mut *held).await.unwrap();
    drop(held);
    pool.close().await;
    eventually(async || stage.control.ready().ready.then_some(())).await;
    stage.hello(&device, device.report(2, &["a"])).await;
    stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_goes_on_after_a_restart() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[("role", "web")]).await;
    stage.hello(&device, device.report(1, &["a"])).await;
    let admin = stage.admin().await;
    let (id, _) = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap();
    let before = stage.control.journal(&admin, id, 0).await.unwrap();
    let stage = stage.restart(quick()).await;
    let admin = stage.admin().await;
    let view = stage.control.orchestration(&admin, id).await.unwrap();
    assert_eq!((view.id, view.outcome), (id, None));
    let after = stage.control.journal(&admin, id, 0).await.unwrap();
    assert_eq!(after[..before.len()], before[..]);
    let active =
        stage.control.query(move |engine, now| engine.host(device.host, now).unwrap().active_orchestration).await.unwrap();
    assert_eq!(active, Some(id));
    assert_eq!(
        stage.control.select(&admin, Some("role=web")).await.unwrap()[0].labels,
        Labels::from([("role".to_owned(), "web".to_owned())])
    );
}
