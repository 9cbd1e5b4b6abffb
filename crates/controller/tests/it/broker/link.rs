//! The agent's link against the broker.

use std::time::Duration;

use agent::link::{Disconnect, Link, LinkConfig, LinkError, LinkEvent, LinkHandle, PublishError};
use controller::transport::{Broker, Delivery, InboundVerdict};
use protocol::native::TopicKind;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::stage::{A, Stage, UNCHECKED, command, config, event, id, identity};

async fn refused(config: LinkConfig) -> Disconnect {
    let (_handle, mut events) = Link::connect(config).unwrap();
    match event(&mut events).await {
        LinkEvent::Disconnected { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

async fn reconnected(events: &mut mpsc::Receiver<LinkEvent>) {
    while !matches!(event(events).await, LinkEvent::Connected) {}
}

#[tokio::test]
async fn a_link_tells_wrong_credentials_wrong_certificate_and_no_network_apart() {
    let stage = Stage::new().await;
    let good = stage.link_config(A);

    assert_eq!(refused(LinkConfig { secret: b"wrong".to_vec(), ..good.clone() }).await, Disconnect::Credentials);
    assert_eq!(
        refused(LinkConfig { host: id("0d000000-0000-4000-8000-00000000000d"), ..good.clone() }).await,
        Disconnect::Credentials
    );
    let down = refused(LinkConfig { host: id(UNCHECKED), ..good.clone() }).await;
    assert!(matches!(down, Disconnect::Refused(_)), "{down:?}");

    let dir = tempfile::tempdir().unwrap();
    let impostor = refused(LinkConfig { ca_pem: identity(dir.path()).ca_pem().into(), ..good.clone() }).await;
    assert!(matches!(impostor, Disconnect::Certificate(_)), "{impostor:?}");
    let misnamed = refused(LinkConfig { server: "localhost".into(), ..good.clone() }).await;
    assert!(matches!(misnamed, Disconnect::Certificate(_)), "{misnamed:?}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = free.local_addr().unwrap().port();
    // Connected, but nobody answers.
    let mute = refused(LinkConfig { port, connect_limit: Duration::from_millis(100), ..good.clone() }).await;
    assert!(matches!(mute, Disconnect::Network(_)), "{mute:?}");
    drop(free);
    let nobody = refused(LinkConfig { port, ..good.clone() }).await;
    assert!(matches!(nobody, Disconnect::Network(_)), "{nobody:?}");

    for ca_pem in ["", "junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        assert!(matches!(Link::connect(LinkConfig { ca_pem: ca_pem.into(), ..good.clone() }), Err(LinkError::Ca(_))), "{ca_pem}");
    }
    assert!(!format!("{good:?}").contains("secret of"), "a secret in the log");
}

#[tokio::test]
async fn five_hundred_commands_arrive_in_order_while_reports_go_up() {
    let stage = Stage::new().await;
    let (handle, mut events) = stage.link(A).await;
    let down = async {
        for number in 0..500 {
            assert_eq!(stage.broker.publish(id(A), number.to_string()).await.unwrap(), Delivery::Queued);
        }
    };
    let taken = async {
        for number in 0..500 {
            assert_eq!(command(&handle, &mut events).await, number.to_string());
        }
    };
    let up = async {
        for number in 0..500 {
            handle.publish(TopicKind::Report, number.to_string()).await.unwrap();
        }
    };
    tokio::join!(down, taken, up);
    assert_eq!(stage.payloads(), (0..500).map(|number| number.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_command_is_acknowledged_only_when_the_caller_says_so() {
    let stage = Stage::new().await;
    let (handle, mut events) = stage.link(A).await;
    for number in 0..20 {
        stage.broker.publish(id(A), number.to_string()).await.unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..16 {
        match event(&mut events).await {
            LinkEvent::Command { ack, .. } => held.push(ack),
            other => panic!("{other:?}"),
        }
    }
    // The window of 16 is full: the next comes only after an acknowledgement.
    assert!(timeout(Duration::from_millis(300), events.recv()).await.is_err());
    handle.ack(held.remove(0)).await;
    assert_eq!(command(&handle, &mut events).await, "16");

    // On another connection an old acknowledgement does nothing, and disturbs nothing.
    stage.broker.kick(id(A));
    reconnected(&mut events).await;
    stage.broker.publish(id(A), "anew").await.unwrap();
    for ack in held {
        handle.ack(ack).await;
    }
    assert_eq!(command(&handle, &mut events).await, "anew");
    handle.publish(TopicKind::Report, "fine").await.unwrap();
}

#[tokio::test]
async fn a_kicked_link_says_so_and_comes_back() {
    let stage = Stage::new().await;
    let (handle, mut events) = stage.link(A).await;
    assert!(stage.broker.kick(id(A)));
    let kicked = event(&mut events).await;
    assert!(matches!(&kicked, LinkEvent::Disconnected { reason: Disconnect::Closed(_), .. }), "{kicked:?}");
    reconnected(&mut events).await;
    handle.publish(TopicKind::Report, "back").await.unwrap();
    assert_eq!(stage.heard(), [(id(A), TopicKind::Report, "back".into())]);
}

#[tokio::test]
async fn a_link_survives_a_restart_of_the_broker_on_the_same_port() {
    let stage = Stage::new().await;
    let (handle, mut events) = stage.link(A).await;
    handle.publish(TopicKind::Report, "before").await.unwrap();

    stage.broker.stop().await;
    assert!(matches!(event(&mut events).await, LinkEvent::Disconnected { .. }));
    assert_eq!(handle.publish(TopicKind::Report, "during").await, Err(PublishError::NotConnected));
    assert!(!handle.is_connected());

    let again = Broker::start(config(stage.address()), stage.identity.server_config(&[b"mqtt"]).unwrap(), stage.hooks.clone())
        .await
        .unwrap();
    reconnected(&mut events).await;
    handle.publish(TopicKind::Report, "after").await.unwrap();
    assert_eq!(again.publish(id(A), "go on").await.unwrap(), Delivery::Queued);
    assert_eq!(command(&handle, &mut events).await, "go on");
    assert_eq!(stage.payloads(), ["before", "after"]);
}

#[tokio::test]
async fn what_the_controller_cannot_take_is_reported_as_lost() {
    let stage = Stage::new().await;
    let (handle, mut events) = stage.link(A).await;
    *stage.ears.verdict.lock().unwrap() = InboundVerdict::Refuse;
    assert_eq!(handle.publish(TopicKind::Report, "again, please").await, Err(PublishError::Lost));
    *stage.ears.verdict.lock().unwrap() = InboundVerdict::Accept;
    reconnected(&mut events).await;
    handle.publish(TopicKind::Report, "again, please").await.unwrap();
    assert_eq!(stage.heard().len(), 2);
}

#[tokio::test]
async fn a_publish_waits_no_longer_than_its_limit_and_hears_refusals() {
    let stage = Stage::new().await;
    let limit = Duration::from_millis(100);
    let (handle, mut events) = Link::connect(LinkConfig { publish_limit: limit, ..stage.link_config(A) }).unwrap();
    reconnected(&mut events).await;
    assert_eq!(handle.publish(TopicKind::Report, vec![0; 256 * 1024]).await, Err(PublishError::TooLarge(256 * 1024)));
    assert_eq!(handle.publish(TopicKind::Command, "x").await, Err(PublishError::Refused("NotAuthorized".into())));
    stage.ears.gate.forget_permits(tokio::sync::Semaphore::MAX_PERMITS);
    assert_eq!(handle.publish(TopicKind::Report, "x").await, Err(PublishError::Timeout(limit)));
    assert!(handle.is_connected());
}

#[tokio::test]
async fn a_link_that_is_stopped_or_dropped_leaves_no_last_will() {
    let stage = Stage::new().await;
    type End = fn(LinkHandle, mpsc::Receiver<LinkEvent>) -> std::pin::Pin<Box<dyn Future<Output = ()>>>;
    let ends: [End; 3] = [
        |handle, _events| {
            Box::pin(async move {
                handle.stop().await;
                assert!(!handle.is_connected());
            })
        },
        |handle, mut events| {
            drop(handle);
            Box::pin(async move { assert!(events.recv().await.is_none()) })
        },
        |handle, events| {
            drop(events);
            Box::pin(async move { handle.stop().await })
        },
    ];
    for end in ends {
        let (handle, events) = stage.link(A).await;
        end(handle, events).await;
        stage.until("the goodbye", |stage| stage.broker.stats().connected == 0).await;
        assert!(stage.heard().is_empty());
    }
}

#[tokio::test]
async fn the_last_will_of_a_link_that_dies_is_delivered() {
    let stage = Stage::new().await;
    // A runtime that is dropped takes the link with it, without a goodbye, like a process that is killed.
    let link_config = stage.link_config(A);
    let death = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (handle, mut events) = Link::connect(link_config).unwrap();
            reconnected(&mut events).await;
            std::mem::forget((handle, events));
        });
    });
    death.await.unwrap();
    stage.until("the will", |stage| stage.heard() == [(id(A), TopicKind::Gone, "will: gone".into())]).await;
}

#[tokio::test]
async fn a_caller_that_takes_no_events_loses_the_connection_and_gets_it_back() {
    let stage = Stage::new().await;
    let (handle, mut events) = stage.link(A).await;
    let sixteen_commands = async || {
        for number in 0..16 {
            stage.broker.publish(id(A), number.to_string()).await.unwrap();
        }
    };
    sixteen_commands().await;
    stage.until("the commands", |_| events.len() == 16).await;
    stage.broker.kick(id(A));
    stage.until("the second connection", |stage| stage.broker.stats().logins == 2 && handle.is_connected()).await;
    // With the two events of the connections there is room for 14 more.
    sixteen_commands().await;
    stage.until("the overrun", |_| !handle.is_connected()).await;

    while !matches!(event(&mut events).await, LinkEvent::Disconnected { reason: Disconnect::Overrun, .. }) {}
    reconnected(&mut events).await;
    handle.publish(TopicKind::Report, "here").await.unwrap();
}
