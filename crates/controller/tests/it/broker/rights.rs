//! Who gets in, and who may use which topic (G10).

use controller::transport::Refused;
use protocol::native::TopicKind;

use super::stage::{A, B, Stage, UNCHECKED, command, id};
use super::wire::{Connect, DISCONNECT, PUBACK, PUBLISH, Wire, packet, publish};

const NOBODY: &str = "0d000000-0000-4000-8000-00000000000d";
const NOT_AUTHORIZED: u8 = 0x87;

fn refusal(user: &str, client_id: &str, what: Refused, topic: Option<&str>) -> (String, String, Refused, Option<String>) {
    (user.into(), client_id.into(), what, topic.map(Into::into))
}

#[tokio::test]
async fn only_the_right_secret_gets_in() {
    let stage = Stage::new().await;
    let answer = async |connect: Connect<'static>| Wire::connect(&stage, &connect).await.1;

    assert_eq!(answer(Connect::of(A)).await, 0);
    assert_eq!(answer(Connect { password: Some(b"wrong".to_vec()), ..Connect::of(A) }).await, 0x86);
    assert_eq!(answer(Connect { password: Some(Vec::new()), ..Connect::of(A) }).await, 0x86);
    assert_eq!(answer(Connect::of(NOBODY)).await, 0x86);
    // Another spelling of the same id is another name.
    let shouted: &str = &A.to_uppercase();
    assert_eq!(Wire::connect(&stage, &Connect { client_id: A, user: Some(shouted), ..Connect::of(A) }).await.1, 0x86);
    assert_eq!(answer(Connect { password: None, ..Connect::of(A) }).await, 0x86);
    assert_eq!(answer(Connect { client_id: A, ..Connect::default() }).await, 0x86);
    // Not a refusal: the store could not be asked.
    assert_eq!(answer(Connect::of(UNCHECKED)).await, 0x88);

    let login = |user| refusal(user, if user == NOBODY { user } else { A }, Refused::Login, None);
    assert_eq!(stage.refusals(), [login(A), login(A), login(NOBODY), login(shouted), login(A), login("")]);
    assert_eq!(stage.broker.stats().logins, 1);
}

#[tokio::test]
async fn a_client_id_that_is_not_the_own_is_refused_and_does_not_kick_its_owner() {
    let stage = Stage::new().await;
    let mut owner = Wire::login(&stage, A).await;

    assert_eq!(Wire::connect(&stage, &Connect { client_id: A, ..Connect::of(B) }).await.1, 0x85);
    assert_eq!(Wire::connect(&stage, &Connect { client_id: "", ..Connect::of(B) }).await.1, 0x85);

    assert_eq!(owner.publish("reveille/v1/0a000000-0000-4000-8000-00000000000a/ack", "still here").await, 0);
    assert_eq!(stage.refusals()[0], refusal(B, A, Refused::ClientId, None));
    assert_eq!(stage.refusals()[1].2, Refused::ClientId);
}

#[tokio::test]
async fn publishing_on_another_s_topic_is_refused() {
    let stage = Stage::new().await;
    let mut wire = Wire::login(&stage, A).await;

    for topic in [
        "reveille/v1/0b000000-0000-4000-8000-00000000000b/ack",
        "reveille/v1/0b000000-0000-4000-8000-00000000000b/command",
        "reveille/v1/0a000000-0000-4000-8000-00000000000a/command",
        "reveille/v1/0a000000-0000-4000-8000-00000000000a/other",
        "elsewhere",
    ] {
        assert_eq!(wire.publish(topic, "x").await, NOT_AUTHORIZED, "{topic}");
        assert_eq!(stage.refusals().pop(), Some(refusal(A, A, Refused::Publish, Some(topic))));
    }
    // Without an acknowledgement to carry the answer, the refusal is silent; the next publish shows that it is through.
    wire.send(&publish("reveille/v1/0b000000-0000-4000-8000-00000000000b/report", "x", None, false)).await;
    assert_eq!(wire.publish("reveille/v1/0a000000-0000-4000-8000-00000000000a/report", "mine").await, 0);
    assert_eq!(
        stage.refusals().pop(),
        Some(refusal(A, A, Refused::Publish, Some("reveille/v1/0b000000-0000-4000-8000-00000000000b/report")))
    );

    assert_eq!(stage.heard(), [(id(A), TopicKind::Report, "mine".into())]);
    assert_eq!(stage.broker.stats().refused, 6);
}

#[tokio::test]
async fn subscribing_to_another_s_commands_is_refused() {
    let stage = Stage::new().await;
    let (other, mut other_events) = stage.link(B).await;
    let mut wire = Wire::login(&stage, A).await;

    let filters = [
        "reveille/v1/0b000000-0000-4000-8000-00000000000b/command",
        "reveille/v1/+/command",
        "reveille/v1/#",
        "#",
        "$share/g/reveille/v1/0b000000-0000-4000-8000-00000000000b/command",
        "$share/g/reveille/v1/0a000000-0000-4000-8000-00000000000a/command",
        "reveille/v1/0b000000-0000-4000-8000-00000000000b/ack",
    ];
    for filter in filters {
        assert_eq!(wire.subscribe(filter).await, NOT_AUTHORIZED, "{filter}");
        assert_eq!(stage.refusals().pop(), Some(refusal(A, A, Refused::Subscribe, Some(filter))));
    }

    // What is meant for the other reaches the other alone: the first that we hear is our own.
    assert_eq!(wire.subscribe("reveille/v1/0a000000-0000-4000-8000-00000000000a/command").await, 1);
    stage.broker.publish(id(B), "for b").await.unwrap();
    stage.broker.publish(id(A), "for a").await.unwrap();
    let (kind, body) = wire.receive().await.unwrap();
    assert_eq!(kind, PUBLISH);
    assert!(body.ends_with(b"for a"));
    assert_eq!(command(&other, &mut other_events).await, "for b");
}

#[tokio::test]
async fn a_retained_publish_is_refused_and_closes_the_connection() {
    let stage = Stage::new().await;
    for id in [None, Some(1)] {
        let mut wire = Wire::login(&stage, A).await;
        wire.send(&publish("reveille/v1/0a000000-0000-4000-8000-00000000000a/report", "for ever", id, true)).await;
        assert_eq!(wire.rest().await, [DISCONNECT], "closed, and not acknowledged");
        assert_eq!(
            stage.refusals().pop(),
            Some(refusal(A, A, Refused::Retained, Some("reveille/v1/0a000000-0000-4000-8000-00000000000a/report")))
        );
    }
    assert!(stage.heard().is_empty());
}

#[tokio::test]
async fn a_will_on_a_foreign_topic_or_a_retained_one_is_refused_at_login() {
    let stage = Stage::new().await;
    let wills = [
        ("reveille/v1/0b000000-0000-4000-8000-00000000000b/gone", false),
        ("reveille/v1/0b000000-0000-4000-8000-00000000000b/command", false),
        ("reveille/v1/0a000000-0000-4000-8000-00000000000a/ack", false),
        ("reveille/v1/0a000000-0000-4000-8000-00000000000a/gone", true),
    ];
    for (topic, retain) in wills {
        let (mut wire, reason) = Wire::connect(&stage, &Connect { will: Some((topic, retain)), ..Connect::of(A) }).await;
        assert_eq!(reason, NOT_AUTHORIZED, "{topic}");
        assert!(wire.rest().await.is_empty());
        assert_eq!(stage.refusals().pop(), Some(refusal(A, A, Refused::Will, Some(topic))));
    }
    assert!(stage.heard().is_empty());
}

#[tokio::test]
async fn an_oversized_packet_is_refused_and_others_are_served() {
    let stage = Stage::new().await;
    let (other, _events) = stage.link(B).await;

    // Just what fits, first.
    let mut wire = Wire::login(&stage, A).await;
    let topic = "reveille/v1/0a000000-0000-4000-8000-00000000000a/report";
    assert_eq!(wire.publish(topic, &"x".repeat(255 * 1024)).await, 0);
    wire.try_send(&publish(topic, &"x".repeat(256 * 1024), Some(1), false)).await;
    assert!(!wire.rest().await.contains(&PUBACK));
    stage.until("the refusal", |stage| stage.refusals() == [refusal(A, A, Refused::TooLarge, None)]).await;

    // A length that nobody could hold, before login: refused by its header alone.
    let mut wire = Wire::open(&stage).await;
    wire.try_send(&[0x10, 0xff, 0xff, 0xff, 0x7f]).await;
    assert!(wire.rest().await.is_empty());

    other.publish(TopicKind::Report, "alive").await.unwrap();
    assert_eq!(stage.ears.heard.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn malformed_bytes_hurt_nobody_else() {
    let stage = Stage::new().await;
    let (other, _events) = stage.link(B).await;

    let junk: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x00; 64],
        &[0xff; 64],
        // A login that is cut short by its own lengths, a publish without login, a protocol that does not exist.
        &[0x10, 0x04, 0x00, 0xff, b'M', b'Q'],
        &publish("reveille/v1/0a000000-0000-4000-8000-00000000000a/ack", "x", Some(1), false),
        &packet(0x10, b"\x00\x04MQTT\x09\x02\x00\x3c\x00\x00\x01a"),
    ];
    for bytes in junk {
        let mut wire = Wire::open(&stage).await;
        wire.try_send(bytes).await;
        assert!(!wire.rest().await.contains(&PUBACK));
    }
    // After login: a second login, a publish with a wildcard, a truncated property, reserved bits.
    let mut again = packet(0x10, b"\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01a");
    again.extend(publish("reveille/v1/0a000000-0000-4000-8000-00000000000a/ack", "late", Some(3), false));
    for bytes in [
        &again[..],
        &publish("reveille/v1/0a000000-0000-4000-8000-00000000000a/+", "x", Some(1), false),
        &[0x32, 0x03, 0x00, 0x01, 0x61],
        &[0xf7, 0x00],
        &[0x82, 0x02, 0x00, 0x01],
    ] {
        let mut wire = Wire::login(&stage, A).await;
        wire.try_send(bytes).await;
        assert!(!wire.rest().await.contains(&PUBACK), "{bytes:?}");
    }
    // And bytes that are not even TLS.
    let mut plain = tokio::net::TcpStream::connect(stage.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"not TLS at all, and long enough to be looked at").await.unwrap();

    other.publish(TopicKind::Ack, "alive").await.unwrap();
    assert_eq!(stage.heard(), [(id(B), TopicKind::Ack, "alive".into())]);
}
