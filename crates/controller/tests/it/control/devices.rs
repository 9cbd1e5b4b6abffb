//! What devices say, and what of it is believed.

use controller::transport::{Inbound as _, InboundMessage, InboundVerdict, Refusal, Refused};
use engine::Why;
use model::{InstanceId, Request, TargetId};
use protocol::native::{ControllerBody, DeviceBody, seal_device};
use uuid::Uuid;

use super::stage::{Device, REBOOT, Stage, eventually, options, quick};

#[tokio::test]
async fn a_hello_is_heard_and_answered_with_the_signed_time() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    stage.hello(&device, device.report(1, &[])).await;
    let said = eventually(async || stage.sent_to(device.host).into_iter().next()).await;
    assert!(matches!(said, ControllerBody::Time { nonce, now } if nonce == "nonce1" && now <= stage.control.now()));
}

#[tokio::test]
async fn what_is_badly_signed_or_malformed_is_refused_audited_and_not_asked_for_again() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    let other = stage.device("web-2", &[]).await;
    let body = DeviceBody::Report { report: device.report(7, &[]) };
    let gone = DeviceBody::Gone { instance: InstanceId(Uuid::from_u128(5)) };
    let payloads = [
        // By another key; meant for another host; of another kind; no envelope; unsigned; too large.
        seal_device(&other.key, device.host, &body).unwrap(),
        seal_device(&device.key, other.host, &body).unwrap(),
        device.seal(&gone),
        b"hello".to_vec(),
        br#"{"v":1,"body":"{}"}"#.to_vec(),
        vec![b' '; 300 * 1024],
    ];
    for (n, payload) in payloads.into_iter().enumerate() {
        assert_eq!(stage.hear_payload(&device, &body, payload).await, InboundVerdict::Accept, "{n}");
    }
    let lines = stage.audited("message").await;
    assert!(
        lines.iter().all(|line| !line.success && line.target == Some(device.host) && line.actor == "device web-1"),
        "{lines:?}"
    );
    let host = device.host;
    let heard = stage.control.query(move |engine, now| engine.host(host, now).unwrap().report).await.unwrap();
    assert_eq!(heard, None);
}

#[tokio::test]
async fn an_ack_is_taken_once_it_is_durable_and_not_while_the_engine_is_gone() {
    let mut stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    let ack = model::Ack {
        command: model::CommandId(Uuid::from_u128(1)),
        status: model::AckStatus::Accepted,
        error: None,
        boot: device.report(1, &[]).boot,
        observed: None,
        already: false,
        report: None,
    };
    let body = DeviceBody::Ack { ack };
    assert_eq!(stage.hear(&device, &body).await, InboundVerdict::Accept);
    stage.task.stop().await.unwrap();
    assert_eq!(stage.hear(&device, &body).await, InboundVerdict::Refuse);
}

#[tokio::test]
async fn the_last_will_of_an_earlier_connection_is_old_news() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    let say = |connection, body: DeviceBody| {
        let message = InboundMessage {
            device: device.host,
            peer: "10.1.1.1:4000".parse().unwrap(),
            connection,
            kind: body.topic(),
            payload: device.seal(&body).into(),
            will: matches!(body, DeviceBody::Gone { .. }),
        };
        stage.control.inbound(message)
    };
    let admin = stage.admin().await;
    let (target, by) = (device.host, admin.actor());
    let away = async || {
        let request = Request {
            targets: vec![target],
            operation: REBOOT,
            options: options(),
            rollout: None,
            run: None,
            wait: None,
            services: None,
            by: by.clone(),
        };
        let blockers = stage.control.query(move |engine, now| engine.explain(&request, now)).await.unwrap();
        blockers.iter().any(|blocker| blocker.why == Why::NotActive)
    };
    let gone = || DeviceBody::Gone { instance: device.report(1, &[]).instance };
    // Both connections are of one run of the agent; the will of the first comes last.
    assert_eq!(
        say(2, DeviceBody::Hello { nonce: "a".to_owned(), report: device.report(1, &["a"]) }).await,
        InboundVerdict::Accept
    );
    assert_eq!(say(1, gone()).await, InboundVerdict::Accept);
    assert!(!away().await);
    assert_eq!(say(2, gone()).await, InboundVerdict::Accept);
    assert!(away().await);
}

#[tokio::test]
async fn what_the_broker_refuses_is_audited_by_whom() {
    let stage = Stage::new().await;
    let device: Device = stage.device("web-1", &[]).await;
    let refuse = stage.control.hooks().on_refusal;
    let refusal = |what, user: TargetId| Refusal {
        user: user.to_string(),
        client_id: user.to_string(),
        peer: "10.9.9.9:4000".parse().unwrap(),
        what,
        topic: Some("reveille/v1/x/ack".to_owned()),
    };
    refuse(refusal(Refused::Login, device.host));
    refuse(refusal(Refused::Publish, device.host));
    refuse(refusal(Refused::Subscribe, device.host));
    refuse(refusal(Refused::ClientId, device.host));
    let login = stage.audited("mqtt_login").await;
    assert_eq!((login[0].actor.as_str(), login[0].target), ("10.9.9.9", Some(device.host)));
    for action in ["mqtt_publish", "mqtt_subscribe", "mqtt_client_id"] {
        let lines = stage.audited(action).await;
        assert_eq!((lines[0].actor.as_str(), lines[0].success), ("device web-1", false));
        assert!(lines[0].detail.contains("reveille/v1/x/ack"));
    }
}

/// One device that never stops speaking fills the queue, but the others get their turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_says_waits_for_room_instead_of_being_turned_away() {
    let stage = Stage::with(quick()).await;
    let (loud, quiet) = (stage.device("loud", &[]).await, stage.device("quiet", &[]).await);
    let (go, held) = std::sync::mpsc::channel::<()>();
    let (begun, holds) = tokio::sync::oneshot::channel();
    let control = stage.control.clone();
    let holding = tokio::spawn(async move {
        control
            .query(move |_, _| {
                let _ = begun.send(());
                held.recv_timeout(super::stage::PATIENCE)
            })
            .await
    });
    holds.await.unwrap();
    for sequence in 1..=4096 {
        let report = loud.report(sequence, &[]);
        assert_eq!(stage.hear(&loud, &DeviceBody::Report { report }).await, InboundVerdict::Accept);
    }
    let report = DeviceBody::Report { report: quiet.report(1, &[]) };
    let heard = stage.hear(&quiet, &report);
    let release = async {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        go.send(()).unwrap();
    };
    let (heard, ()) = tokio::join!(heard, release);
    assert_eq!(heard, InboundVerdict::Accept);
    holding.await.unwrap().unwrap().unwrap();
}
