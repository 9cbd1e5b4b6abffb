//! Events of services on the broker (S3-73): who hears them, and who not.

use std::sync::atomic::Ordering;

use controller::transport::Refused;
use protocol::cloud::{CONTENT_TYPE, TOPIC};

use super::stage::{A, Stage};
use super::wire::{Connect, PUBLISH, Wire};

fn watcher<'a>(client_id: &'a str, token: &str) -> Connect<'a> {
    Connect { client_id, user: Some("events"), password: Some(token.as_bytes().to_vec()), will: None }
}

async fn listening(stage: &Stage, client_id: &str) -> Wire {
    let (mut wire, reason) = Wire::connect(stage, &watcher(client_id, "good")).await;
    assert_eq!(reason, 0);
    assert_eq!(wire.subscribe(TOPIC).await, 1, "with QoS 1");
    wire
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn s3_73_who_listens_hears_each_event_with_its_type() {
    let stage = Stage::new().await;
    let (mut one, mut other) = (listening(&stage, "events-one").await, listening(&stage, "events-other").await);
    stage.broker.announce(TOPIC, CONTENT_TYPE, "{\"specversion\":\"1.0\"}").await.unwrap();
    for wire in [&mut one, &mut other] {
        let (kind, body) = wire.receive().await.unwrap();
        assert_eq!(kind, PUBLISH);
        for part in [TOPIC, CONTENT_TYPE, "{\"specversion\":\"1.0\"}"] {
            assert!(holds(&body, part), "{part}");
        }
    }
    // With nobody there it is said all the same.
    drop((one, other));
    stage.broker.announce(TOPIC, CONTENT_TYPE, "{}").await.unwrap();
}

#[tokio::test]
async fn g10_who_listens_to_events_does_nothing_else_and_devices_hear_none() {
    let stage = Stage::new().await;
    let reason = async |connect: Connect<'static>| Wire::connect(&stage, &connect).await.1;
    assert_eq!(reason(watcher("events-x", "bad")).await, 0x86);
    assert_eq!(reason(Connect { password: None, ..watcher("events-x", "") }).await, 0x86);
    // A device's client id would end the device's connection.
    assert_eq!(reason(watcher(A, "good")).await, 0x85);
    assert_eq!(reason(Connect { will: Some((TOPIC, false)), ..watcher("events-x", "good") }).await, 0x87);
    let kinds: Vec<Refused> = stage.refusals().into_iter().map(|refusal| refusal.2).collect();
    assert_eq!(kinds, [Refused::Login, Refused::Login, Refused::ClientId, Refused::Will]);

    let mut wire = listening(&stage, "events-x").await;
    for topic in [TOPIC, "reveille/v1/0a000000-0000-4000-8000-00000000000a/ack"] {
        assert_eq!(wire.publish(topic, "x").await, 0x87, "{topic}");
    }
    let mut wire = Wire::connect(&stage, &watcher("events-y", "good")).await.0;
    for filter in ["#", "reveille/#", "reveille/v1/0a000000-0000-4000-8000-00000000000a/command"] {
        assert!(wire.subscribe(filter).await >= 0x80, "{filter}");
    }
    let mut device = Wire::login(&stage, A).await;
    assert!(device.subscribe(TOPIC).await >= 0x80);
    assert!(stage.heard().is_empty());
}

#[tokio::test]
async fn g10_whose_token_was_revoked_hears_no_further_event() {
    let stage = Stage::new().await;
    let mut wire = listening(&stage, "events-x").await;
    stage.revoked.store(true, Ordering::SeqCst);
    stage.broker.announce(TOPIC, CONTENT_TYPE, "{}").await.unwrap();
    assert!(!wire.rest().await.contains(&PUBLISH));
}
