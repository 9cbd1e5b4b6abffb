use std::collections::BTreeSet;

use model::{
    Ack, AckError, AckStatus, Action, ActionKind, BootIdentity, ChildKind, ChildRef, ChildReport, ChildStatus, Command,
    CommandId, ErrorCode, Fence, InstanceId, Millis, Observed, OrchestrationId, PendingShutdown, RateState, Readable, Report,
    ServiceVerb, TargetId, Timestamp,
};
use serde_json::{Value, json};

use super::*;

fn id(n: u128) -> uuid::Uuid {
    uuid::Uuid::from_u128(n)
}

fn host() -> TargetId {
    TargetId(id(7))
}

fn boot() -> BootIdentity {
    BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 42).unwrap()
}

fn child() -> ChildRef {
    let id = TargetId::of_child(host(), ChildKind::Lxd, "u-1");
    ChildRef { id, kind: ChildKind::Lxd, name: "web".to_owned(), stable_id: "u-1".to_owned() }
}

fn command(action: Action) -> Command {
    Command {
        id: CommandId(id(1)),
        target: host(),
        subject: action.child().map_or(host(), |c| c.id),
        action,
        orchestration: OrchestrationId(id(2)),
        attempt: 1,
        fence: Fence { epoch: 1, position: 9 },
        issued_at: Timestamp::from_millis(1_736_937_000_007),
        expires_at: Timestamp::from_millis(1_736_937_240_007),
    }
}

fn reboot() -> ControllerBody {
    ControllerBody::Command {
        command: command(Action::Reboot { expect_boot: boot(), begin_within: Millis::secs(120), ignore_inhibitors: false }),
    }
}

fn report() -> Report {
    Report {
        boot: boot(),
        instance: InstanceId(id(3)),
        sequence: 1,
        taken_at: Timestamp::from_millis(1_736_937_000_007),
        agent_version: "0.1.0".to_owned(),
        protocol_version: VERSION,
        actions: BTreeSet::from([ActionKind::Probe, ActionKind::Reboot]),
        engines: BTreeSet::from([ChildKind::Lxd]),
        children: Readable::Known(vec![ChildReport {
            child: child(),
            status: ChildStatus::Running,
            autostart: true,
            start_priority: 0,
            stop_priority: 0,
        }]),
        pending_shutdown: Readable::Known(Some(PendingShutdown { kind: "reboot".to_owned(), at: None })),
        inhibitors: Readable::Unknown("busctl failed".to_owned()),
        rate: RateState { counted: 3, limit: 3, opens_in_ms: Some(1000) },
        reboot_required: Readable::Unknown("not told".to_owned()),
    }
}

fn ack() -> Ack {
    Ack {
        command: CommandId(id(1)),
        status: AckStatus::Failed,
        error: Some(AckError { code: ErrorCode::RateLimited, message: "three in 15 min".to_owned() }),
        boot: boot(),
        observed: Some(Observed::Child(ChildStatus::Stopped)),
        already: false,
        report: Some(report()),
    }
}

fn keys() -> (ControllerKey, DeviceKey) {
    (ControllerKey::from_seed(&[1; 32]).unwrap(), DeviceKey::from_seed(&[2; 32]).unwrap())
}

fn reseal(key: &ControllerKey, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::to_value(reboot()).unwrap();
    change(&mut value);
    // The production path with a body of another version: sealed as any serialisable value would be.
    let sealed = seal_value(key, &value);
    serde_json::to_vec(&sealed).unwrap()
}

fn seal_value(key: &ControllerKey, body: &Value) -> Value {
    use base64::Engine as _;
    let text = body.to_string();
    let message = [b"reveille native v1 controller to device\0".as_slice(), host().0.as_bytes(), text.as_bytes()].concat();
    json!({"v": 1, "body": text, "sig": base64::engine::general_purpose::STANDARD.encode(key.sign(&message))})
}

#[test]
fn a_topic_is_read_back_and_nothing_else_is_a_topic() {
    for kind in TopicKind::ALL {
        let topic = Topic { host: host(), kind };
        assert_eq!(topic.to_string().parse::<Topic>().unwrap(), topic);
    }
    let h = "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11";
    for bad in [
        format!("reveille/v2/{h}/ack"),
        format!("reveille/v1/{}/ack", h.to_uppercase()),
        format!("reveille/v1/{}/ack", h.replace('-', "")),
        format!("reveille/v1/{h}/ack/x"),
        format!("reveille/v1/{h}/nothing"),
        "reveille/v1/+/ack".to_owned(),
        "te/device/main".to_owned(),
        String::new(),
    ] {
        assert!(bad.parse::<Topic>().is_err(), "{bad}");
    }
}

#[test]
fn sealed_bodies_open_with_the_right_key_and_host_only() {
    let (controller, device) = keys();
    let sealed = seal_controller(&controller, host(), &reboot()).unwrap();
    assert_eq!(open_controller(&sealed, &controller.public(), host()).unwrap(), reboot());

    let other = ControllerKey::from_seed(&[9; 32]).unwrap();
    let refused = open_controller(&sealed, &other.public(), host()).unwrap_err();
    assert_eq!((refused.error.code(), refused.command), (ErrorCode::BadSignature, Some(CommandId(id(1)))));
    let refused = open_controller(&sealed, &controller.public(), TargetId(id(8))).unwrap_err();
    assert_eq!(refused.error, OpenError::BadSignature);

    let body = DeviceBody::Ack { ack: ack() };
    let sealed = seal_device(&device, host(), &body).unwrap();
    assert_eq!(open_device(&sealed, &device.public(), host(), TopicKind::Ack).unwrap(), body);
    assert!(matches!(open_device(&sealed, &device.public(), host(), TopicKind::Hello), Err(OpenError::Malformed(_))));
    assert_eq!(open_device(&sealed, &device.public(), TargetId(id(8)), TopicKind::Ack), Err(OpenError::BadSignature));
}

#[test]
fn a_message_of_one_direction_is_none_of_the_other() {
    // One key for both roles: only the domain separation stands between them.
    let (controller, device) = (ControllerKey::from_seed(&[1; 32]).unwrap(), DeviceKey::from_seed(&[1; 32]).unwrap());
    assert_eq!(controller.public(), device.public());
    let sealed = seal_controller(&controller, host(), &reboot()).unwrap();
    assert_eq!(open_device(&sealed, &device.public(), host(), TopicKind::Ack), Err(OpenError::BadSignature));
}

#[test]
fn any_changed_bit_of_body_or_signature_is_refused() {
    let (controller, _) = keys();
    let sealed = seal_controller(&controller, host(), &reboot()).unwrap();
    let mut opened = 0;
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        if let Ok(body) = open_controller(&changed, &controller.public(), host()) {
            assert_eq!(body, reboot());
            opened += 1;
        }
    }
    // Only the last digit of the base64 padding could decode to the same bytes, and the decoder refuses that.
    assert_eq!(opened, 0);
}

#[test]
fn unsigned_is_a_bad_signature() {
    let (controller, _) = keys();
    for sig in ["", "AAAA", "not base64"] {
        let text = serde_json::to_string(&reboot()).unwrap();
        let payload = json!({"v": 1, "body": text, "sig": sig}).to_string();
        let refused = open_controller(payload.as_bytes(), &controller.public(), host()).unwrap_err();
        assert_eq!(refused.error, OpenError::BadSignature);
        let payload = json!({"v": 1, "body": serde_json::to_string(&reboot()).unwrap()}).to_string();
        let refused = open_controller(payload.as_bytes(), &controller.public(), host()).unwrap_err();
        assert_eq!(refused.error, OpenError::BadSignature);
    }
}

#[test]
fn malformed_oversized_and_other_versions_are_told_apart() {
    let (controller, _) = keys();
    let open = |payload: &[u8]| open_controller(payload, &controller.public(), host()).unwrap_err().error;
    for bad in ["", "{", "null", "[]", "{\"v\":\"1\"}", "{\"v\":1}", "{\"v\":1,\"body\":7}", "\u{0}\u{1}"] {
        assert!(matches!(open(bad.as_bytes()), OpenError::Malformed(_)), "{bad:?}");
    }
    assert!(matches!(open(b"\xff\xfe"), OpenError::Malformed(_)));
    let deep = format!("{{\"v\":1,\"body\":{}", "[".repeat(100_000));
    assert!(matches!(open(deep.as_bytes()), OpenError::Malformed(_)));
    assert_eq!(open(&vec![b' '; MAX_PAYLOAD + 1]), OpenError::TooLarge(MAX_PAYLOAD + 1));
    assert_eq!(open(b"{\"v\":2,\"anything\":true}"), OpenError::Version { found: 2 });
    assert_eq!(OpenError::Version { found: 2 }.code(), ErrorCode::Unsupported);
}

#[test]
fn version_skew_unknown_fields_pass_and_unknown_words_are_unsupported() {
    let (controller, _) = keys();
    let open = |payload: &[u8]| open_controller(payload, &controller.public(), host());
    let newer = reseal(&controller, |v| {
        v["hint"] = json!("new");
        v["command"]["trace"] = json!({"a": 1});
        v["command"]["action"]["colour"] = json!("red");
    });
    assert_eq!(open(&newer).unwrap(), reboot());

    let unknown = reseal(&controller, |v| v["command"]["action"] = json!({"kind": "defrost", "degrees": 4}));
    let refused = open(&unknown).unwrap_err();
    assert_eq!((refused.error.code(), refused.command), (ErrorCode::Unsupported, Some(CommandId(id(1)))));
    let unknown = reseal(&controller, |v| v["type"] = json!("sing"));
    assert_eq!(open(&unknown).unwrap_err().error.code(), ErrorCode::Unsupported);

    let broken = reseal(&controller, |v| v["command"]["action"]["expect_boot"] = json!("yes"));
    assert_eq!(open(&broken).unwrap_err().error.code(), ErrorCode::Malformed);
    let elsewhere = reseal(&controller, |v| v["command"]["target"] = json!(id(8).to_string()));
    assert_eq!(open(&elsewhere).unwrap_err().error, OpenError::WrongTarget(TargetId(id(8))));
}

/// One sample per body, written by version 0.1.0 with the seeds of these tests: they must load for ever.
#[test]
fn samples_of_old_versions_still_open() {
    let (controller, device) = keys();
    let stop = Action::StopChild { child: child(), grace: Millis::secs(120), force: false };
    let start = Action::StartChild { child: child(), frozen: false, limit: Millis::secs(120) };
    let shutdown = Action::Shutdown { expect_boot: boot(), begin_within: Millis::secs(120), ignore_inhibitors: false };
    let down = [
        (
            include_str!("../../samples/native/command-probe.json"),
            ControllerBody::Command { command: command(Action::Probe { checks: Vec::new() }) },
        ),
        (include_str!("../../samples/native/command-stop.json"), ControllerBody::Command { command: command(stop) }),
        (include_str!("../../samples/native/command-start.json"), ControllerBody::Command { command: command(start) }),
        (include_str!("../../samples/native/command-reboot.json"), reboot()),
        (include_str!("../../samples/native/command-shutdown.json"), ControllerBody::Command { command: command(shutdown) }),
        (
            include_str!("../../samples/native/time.json"),
            ControllerBody::Time { nonce: "3-1".to_owned(), now: Timestamp::from_millis(1_736_937_000_007) },
        ),
    ];
    let restart = |key| Action::Service {
        unit: "web.service".to_owned(),
        verb: ServiceVerb::Restart { key, expect: None, reload: false, grace: Millis::secs(10) },
    };
    let restarts = [
        // From before claims on restarts had owners.
        (include_str!("../../samples/native/command-restart-unowned.json"), restart(None)),
        (include_str!("../../samples/native/command-restart.json"), restart(Some(OrchestrationId(id(2))))),
    ];
    for (sample, action) in restarts {
        let body = ControllerBody::Command { command: command(action) };
        assert_eq!(open_controller(sample.as_bytes(), &controller.public(), host()).unwrap(), body);
    }
    let up = [
        (include_str!("../../samples/native/ack.json"), DeviceBody::Ack { ack: ack() }),
        (include_str!("../../samples/native/report.json"), DeviceBody::Report { report: report() }),
        (include_str!("../../samples/native/hello.json"), DeviceBody::Hello { nonce: "3-1".to_owned(), report: report() }),
        (include_str!("../../samples/native/gone.json"), DeviceBody::Gone { instance: InstanceId(id(3)) }),
    ];
    for (sample, body) in &down {
        assert_eq!(&open_controller(sample.as_bytes(), &controller.public(), host()).unwrap(), body);
    }
    for (sample, body) in &up {
        assert_eq!(&open_device(sample.as_bytes(), &device.public(), host(), body.topic()).unwrap(), body);
    }
}

#[test]
fn a_fingerprint_is_short_enough_to_compare() {
    let (controller, _) = keys();
    let fingerprint = controller.public().fingerprint();
    assert_eq!(fingerprint.len(), 39);
    assert_eq!(controller.public().to_string().parse::<PublicKey>().unwrap(), controller.public());
    assert!("AAAA".parse::<PublicKey>().is_err());
}

/// What a program of tomorrow says, in both directions: sealed with the seeds of these tests.
#[test]
fn samples_from_the_future_cost_what_is_new_in_them_and_nothing_else() {
    let (controller, device) = keys();
    let up = |sample: &str, kind| open_device(sample.as_bytes(), &device.public(), host(), kind).unwrap();
    let unlisted = |report: &Report| {
        assert_eq!(report.actions, BTreeSet::from([ActionKind::Probe, ActionKind::Reboot]));
        assert_eq!(report.engines, BTreeSet::from([ChildKind::Lxd]));
        // A list without what is not known would not be the whole: nothing starts on it (G5).
        assert!(matches!(&report.children, Readable::Unknown(why) if why.contains("update")));
        assert_eq!(report.boot, boot());
    };
    let DeviceBody::Hello { report, .. } = up(include_str!("../../samples/native/future-hello.json"), TopicKind::Hello) else {
        panic!("a hello is a hello");
    };
    unlisted(&report);
    let DeviceBody::Report { report } = up(include_str!("../../samples/native/future-report.json"), TopicKind::Report) else {
        panic!("a report is a report");
    };
    unlisted(&report);
    let DeviceBody::Ack { ack: told } = up(include_str!("../../samples/native/future-ack.json"), TopicKind::Ack) else {
        panic!("an ack is an ack");
    };
    unlisted(told.report.as_ref().unwrap());
    assert_eq!(Ack { report: None, error: None, ..told.clone() }, Ack { report: None, error: None, observed: None, ..ack() });
    let error = told.error.unwrap();
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Other, "-4"));
    let sample = include_str!("../../samples/native/future-ack-all-anew.json");
    let DeviceBody::Ack { ack: told } = up(sample, TopicKind::Ack) else { panic!("an ack is an ack") };
    // That a reboot is done, and on which boot, is worth more than what stands beside it.
    assert_eq!(told, Ack { status: AckStatus::Completed, error: None, observed: None, report: None, ..ack() });

    for (sample, word) in [
        (include_str!("../../samples/native/future-command-action.json"), "defrost"),
        (include_str!("../../samples/native/future-command-check.json"), "thermometer"),
        (include_str!("../../samples/native/future-command-field.json"), "gently"),
    ] {
        let refused = open_controller(sample.as_bytes(), &controller.public(), host()).unwrap_err();
        assert_eq!((refused.error.code(), refused.command), (ErrorCode::Unsupported, Some(CommandId(id(1)))), "{word}");
        assert!(refused.error.to_string().contains(word) && refused.error.to_string().contains("update"), "{refused}");
    }
}
