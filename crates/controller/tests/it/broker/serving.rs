//! Verdicts, order, last wills, closing and stopping.

use std::net::SocketAddr;
use std::time::Duration;

use controller::transport::{Broker, BrokerConfig, BrokerError, Delivery, InboundVerdict};
use protocol::native::TopicKind;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::stage::{A, B, Stage, config, id, identity};
use super::wire::{Connect, DISCONNECT, PUBACK, Wire, packet, publish};

const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const REPORT: &str = "reveille/v1/0a000000-0000-4000-8000-00000000000a/report";

async fn login_with_will(stage: &Stage) -> Wire {
    let (wire, reason) = Wire::connect(
        stage,
        &Connect { will: Some(("reveille/v1/0a000000-0000-4000-8000-00000000000a/gone", false)), ..Connect::of(A) },
    )
    .await;
    assert_eq!(reason, 0);
    wire
}

#[tokio::test]
async fn a_publish_is_acknowledged_only_after_the_verdict() {
    let stage = Stage::new().await;
    stage.ears.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut wire = Wire::login(&stage, A).await;
    wire.send(&publish(REPORT, "wait", Some(1), false)).await;
    stage.until("the publish is heard", |stage| stage.heard().len() == 1).await;
    assert!(timeout(Duration::from_millis(300), wire.receive()).await.is_err(), "acknowledged before the verdict");
    stage.ears.gate.add_permits(1);
    assert_eq!(wire.receive().await.unwrap().0, PUBACK);
}

#[tokio::test]
async fn a_refused_message_is_not_acknowledged_and_nothing_overtakes_it() {
    let stage = Stage::new().await;
    *stage.ears.verdict.lock().unwrap() = InboundVerdict::Refuse;
    // Several times, because it is chance whether the library reads on or closes first.
    for connection in 1..=12 {
        let mut wire = login_with_will(&stage).await;
        let many: Vec<u8> = (1..=20).flat_map(|id| publish(REPORT, &id.to_string(), Some(id), false)).collect();
        wire.send(&many).await;
        assert_eq!(wire.rest().await, [DISCONNECT]);
        stage.until("the connection is gone", |stage| stage.broker.stats().connected == 0).await;
        // The first alone was heard, and no last will: it was we who closed.
        assert_eq!(stage.heard(), vec![(id(A), TopicKind::Report, "1".to_owned()); connection]);
    }
}

#[tokio::test]
async fn a_verdict_that_never_comes_counts_as_refused() {
    let stage = Stage::with(BrokerConfig { inbound_limit: Duration::from_millis(50), ..config(LOCAL) }).await;
    stage.ears.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    let mut wire = Wire::login(&stage, A).await;
    wire.send(&publish(REPORT, "x", Some(1), false)).await;
    assert_eq!(wire.rest().await, [DISCONNECT]);
}

#[tokio::test]
async fn five_hundred_messages_arrive_in_order_and_are_acknowledged_in_order() {
    let stage = Stage::new().await;
    let mut wire = Wire::login(&stage, A).await;
    let many: Vec<u8> = (1..=500).flat_map(|id| publish(REPORT, &id.to_string(), Some(id), false)).collect();
    wire.send(&many).await;
    for id in 1..=500_u16 {
        let (kind, body) = wire.receive().await.unwrap();
        assert_eq!((kind, &body[..2]), (PUBACK, &id.to_be_bytes()[..]));
    }
    assert_eq!(stage.payloads(), (1..=500).map(|id| id.to_string()).collect::<Vec<_>>());
    assert_eq!(stage.broker.stats().received, 500);
}

#[tokio::test]
async fn the_last_will_is_delivered_when_the_connection_breaks() {
    let stage = Stage::new().await;
    drop(login_with_will(&stage).await);
    stage.until("the will", |stage| stage.heard() == [(id(A), TopicKind::Gone, "will: will".into())]).await;
    stage.until("the connection is gone", |stage| stage.broker.stats().connected == 0).await;
}

#[tokio::test]
async fn the_last_will_is_not_delivered_after_a_goodbye_a_kick_or_a_new_connection_of_the_device() {
    let stage = Stage::new().await;

    let mut wire = login_with_will(&stage).await;
    wire.send(&packet(DISCONNECT, &[])).await;
    assert!(wire.rest().await.is_empty());
    stage.until("the goodbye", |stage| stage.broker.stats().connected == 0).await;

    let mut wire = login_with_will(&stage).await;
    assert!(stage.broker.kick(id(A)));
    assert_eq!(wire.rest().await, [DISCONNECT]);
    stage.until("the kick", |stage| stage.broker.stats().connected == 0).await;
    assert!(!stage.broker.kick(id(A)));

    let mut old = login_with_will(&stage).await;
    let mut new = login_with_will(&stage).await;
    assert_eq!(old.rest().await, [DISCONNECT]);
    stage.until("the old connection is gone", |stage| stage.broker.stats().connected == 1).await;
    assert!(stage.heard().is_empty());

    // The new one's will is its own.
    assert_eq!(new.publish(REPORT, "hello").await, 0);
    drop(new);
    stage.until("the will", |stage| stage.payloads().last().is_some_and(|last| last == "will: will")).await;
    let heard = stage.ears.heard.lock().unwrap();
    assert_eq!(heard[0].connection, heard[1].connection);
}

#[tokio::test]
async fn a_silent_connection_keeps_nobody_out() {
    let stage = Stage::with(BrokerConfig { handshake_limit: Duration::from_millis(200), ..config(LOCAL) }).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(stage.address()).await.unwrap());
    }
    let mut wire = Wire::login(&stage, A).await;
    assert_eq!(wire.publish(REPORT, "in").await, 0);
    // And it is cut, in the end.
    for mut stream in silent {
        let mut byte = [0; 1];
        let read = tokio::io::AsyncReadExt::read(&mut stream, &mut byte);
        assert!(matches!(timeout(super::stage::LIMIT, read).await, Ok(Ok(0) | Err(_))));
    }
}

#[tokio::test]
async fn connections_above_the_limit_are_turned_away_until_there_is_room() {
    let stage = Stage::with(BrokerConfig { max_connections: 1, ..config(LOCAL) }).await;
    let first = Wire::login(&stage, A).await;
    let mut second = TcpStream::connect(stage.address()).await.unwrap();
    let mut byte = [0; 1];
    let read = tokio::io::AsyncReadExt::read(&mut second, &mut byte);
    assert!(matches!(timeout(super::stage::LIMIT, read).await, Ok(Ok(0) | Err(_))));
    drop(first);
    let (_handle, _events) = stage.link(B).await;
}

#[tokio::test]
async fn commands_go_only_to_devices_that_listen_now() {
    let stage = Stage::new().await;
    let command = "reveille/v1/0a000000-0000-4000-8000-00000000000a/command";
    assert_eq!(stage.broker.publish(id(A), "x").await.unwrap(), Delivery::NobodyListens);
    let mut wire = Wire::login(&stage, A).await;
    assert_eq!(stage.broker.publish(id(A), "x").await.unwrap(), Delivery::NobodyListens);
    assert_eq!(wire.subscribe(command).await, 1);
    assert_eq!(stage.broker.publish(id(A), "x").await.unwrap(), Delivery::Queued);
    assert!(wire.receive().await.unwrap().1.ends_with(b"x"));

    assert!(matches!(stage.broker.publish(id(A), vec![0; 256 * 1024]).await, Err(BrokerError::TooLarge { .. })));
    assert_eq!(stage.broker.stats().sent, 1);

    // A session ends with its connection: nothing is kept for the next one.
    drop(wire);
    stage.until("the connection is gone", |stage| stage.broker.stats().connected == 0).await;
    assert_eq!(stage.broker.publish(id(A), "lost").await.unwrap(), Delivery::NobodyListens);
}

#[tokio::test]
async fn a_stop_says_goodbye_frees_the_port_and_delivers_no_last_will() {
    let stage = Stage::new().await;
    let mut wire = login_with_will(&stage).await;
    let mut unknown = Wire::open(&stage).await;
    let _silent = TcpStream::connect(stage.address()).await.unwrap();
    stage.broker.stop().await;
    assert_eq!(wire.rest().await, [DISCONNECT]);
    assert!(unknown.rest().await.is_empty());
    assert!(stage.heard().is_empty());
    assert!(TcpStream::connect(stage.address()).await.is_err());
    stage.broker.stop().await;

    let again =
        Broker::start(config(stage.address()), stage.identity.server_config(&[]).unwrap(), stage.hooks.clone()).await.unwrap();
    let taken = Broker::start(config(stage.address()), stage.identity.server_config(&[]).unwrap(), stage.hooks.clone()).await;
    assert!(matches!(taken, Err(BrokerError::Listen { .. })));
    drop(again);
    let none = Broker::start(
        BrokerConfig { listen: vec![], ..config(LOCAL) },
        stage.identity.server_config(&[]).unwrap(),
        stage.hooks.clone(),
    );
    assert!(matches!(none.await, Err(BrokerError::NoAddress)));
}

#[tokio::test]
async fn a_renewed_certificate_takes_effect_without_a_restart() {
    let stage = Stage::new().await;
    let mut before = Wire::login(&stage, A).await;
    let dir = tempfile::tempdir().unwrap();
    let other = identity(dir.path());
    stage.broker.replace_tls(other.server_config(&[b"mqtt"]).unwrap());
    Wire::to(stage.address(), other.ca_pem()).await;
    assert_eq!(before.publish(REPORT, "undisturbed").await, 0);
}
