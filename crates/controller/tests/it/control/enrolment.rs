//! Enrolment: tokens that are wrong, used, expired; keys that change (ruling 27).

use controller::control::{ControlError, NewEnrolment, Role};
use controller::transport::{Authenticator as _, Login, LoginVerdict};
use model::{Labels, Millis};

use super::stage::{Device, Stage};

async fn login(stage: &Stage, device: &Device) -> LoginVerdict {
    let peer = "10.1.1.1:4000".parse().unwrap();
    stage.control.authenticate(Login { device: device.host, password: device.mqtt_secret.as_bytes(), peer }).await
}

#[tokio::test]
async fn a_wrong_token_is_refused_and_audited() {
    let stage = Stage::new().await;
    let mut token = stage.token("web-1", &[]).await;
    token.secret = "f".repeat(64);
    let error = stage.control.enrol("10.1.1.1", Device::new("web-1").request(&token)).await.unwrap_err();
    assert!(matches!(&error, ControlError::Unauthenticated(text) if text.contains("not known")), "{error}");
    let lines = stage.audited("enrol").await;
    assert!(!lines[0].success && lines[0].actor == "10.1.1.1" && lines[0].detail.contains("not known"), "{lines:?}");
    assert_eq!(stage.control.select(&stage.admin().await, None).await.unwrap(), []);
}

#[tokio::test]
async fn a_used_token_is_refused_and_audited() {
    let stage = Stage::new().await;
    let token = stage.token("web-1", &[]).await;
    stage.control.enrol("10.1.1.1", Device::new("web-1").request(&token)).await.unwrap();
    for second in [Device::new("web-1"), Device::new("web-1").reinstalled()] {
        let error = stage.control.enrol("10.1.1.2", second.request(&token)).await.unwrap_err();
        assert!(matches!(&error, ControlError::Unauthenticated(text) if text.contains("used already")), "{error}");
    }
    assert!(stage.audited("enrol").await[0].detail.contains("used already"));
}

#[tokio::test]
async fn an_expired_token_is_refused_and_audited() {
    let stage = Stage::new().await;
    let new = NewEnrolment { name: "web-1".to_owned(), labels: Labels::new(), valid_for: Some(Millis(1)) };
    let made = stage.control.create_enrolment_token(&stage.admin().await, new).await.unwrap();
    super::stage::eventually(async || (stage.control.now() > made.expires_at).then_some(())).await;
    let error = stage.control.enrol("10.1.1.1", Device::new("web-1").request(&made.token.parse().unwrap())).await.unwrap_err();
    assert!(matches!(&error, ControlError::Unauthenticated(text) if text.contains("good until")), "{error}");
    assert!(stage.audited("enrol").await[0].detail.contains("good until"));
}

#[tokio::test]
async fn a_token_is_for_one_name_and_only_a_manager_makes_one() {
    let stage = Stage::new().await;
    let token = stage.token("web-1", &[]).await;
    let other = stage.control.enrol("10.1.1.1", Device::new("web-2").request(&token)).await;
    assert!(matches!(other, Err(ControlError::Invalid(_))));
    stage.control.enrol("10.1.1.1", Device::new("web-1").request(&token)).await.unwrap();
    let operator = stage.user("olga", Role::Operator, "*").await;
    let new = |name: &str| NewEnrolment { name: name.to_owned(), labels: Labels::new(), valid_for: None };
    assert!(matches!(stage.control.create_enrolment_token(&operator, new("x")).await, Err(ControlError::Forbidden { .. })));
    let admin = stage.admin().await;
    for bad in ["", "-x", "a b", "a=b", "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11"] {
        let made = stage.control.create_enrolment_token(&admin, new(bad)).await;
        assert!(matches!(made, Err(ControlError::Invalid(_))), "{bad}");
    }
}

#[tokio::test]
async fn a_device_may_connect_when_a_person_has_approved_its_key() {
    let stage = Stage::new().await;
    let token = stage.token("web-1", &[]).await;
    let device = Device::new("web-1");
    let answer = stage.control.enrol("10.1.1.1", device.request(&token)).await.unwrap();
    assert_eq!(answer.controller_public_key, stage.key.public());
    let device = device.with(answer);
    assert_eq!(login(&stage, &device).await, LoginVerdict::Refuse, "not approved yet");
    let admin = stage.admin().await;
    let wrong = stage.control.approve(&admin, device.host, Some("0000-0000")).await;
    assert!(matches!(wrong, Err(ControlError::Conflict(_))), "{wrong:?}");
    assert_eq!(login(&stage, &device).await, LoginVerdict::Refuse);
    stage.control.approve(&admin, device.host, Some(&device.key.public().fingerprint())).await.unwrap();
    assert_eq!(login(&stage, &device).await, LoginVerdict::Accept);
    let wrong = Device { mqtt_secret: "x".repeat(64), ..device };
    assert_eq!(login(&stage, &wrong).await, LoginVerdict::Refuse);
}

#[tokio::test]
async fn e36_a_known_machine_with_a_new_key_keeps_its_id_and_waits_for_approval() {
    let stage = Stage::new().await;
    let old = stage.device("web-1", &[]).await;
    assert_eq!(login(&stage, &old).await, LoginVerdict::Accept);
    let token = stage.token("web-1", &[]).await;
    let new = old.reinstalled();
    let answer = stage.control.enrol("10.1.1.1", new.request(&token)).await.unwrap();
    assert_eq!(answer.host_id, old.host);
    let new = new.with(answer);
    assert!(stage.sent.kicked.lock().unwrap().contains(&old.host));
    assert_eq!(login(&stage, &old).await, LoginVerdict::Refuse);
    assert_eq!(login(&stage, &new).await, LoginVerdict::Refuse);
    stage.control.approve(&stage.admin().await, new.host, None).await.unwrap();
    assert_eq!(login(&stage, &old).await, LoginVerdict::Refuse);
    assert_eq!(login(&stage, &new).await, LoginVerdict::Accept);
}

#[tokio::test]
async fn names_and_machines_are_not_mixed_up() {
    let stage = Stage::new().await;
    let first = stage.device("web-1", &[]).await;
    // A clone: the same machine id under another name.
    let token = stage.token("web-2", &[]).await;
    let clone = Device { machine_id: first.machine_id.clone(), ..Device::new("web-2") };
    let error = stage.control.enrol("10.1.1.1", clone.request(&token)).await.unwrap_err();
    assert!(matches!(&error, ControlError::Conflict(text) if text.contains("cloned")), "{error}");
    // Another machine under a known name.
    let token = stage.token("web-1", &[]).await;
    let other = Device { machine_id: "a".repeat(32), ..Device::new("web-1") };
    assert!(matches!(stage.control.enrol("10.1.1.1", other.request(&token)).await, Err(ControlError::Conflict(_))));
    for bad in ["", "0", &"0".repeat(32), &"g".repeat(32)] {
        let odd = Device { machine_id: (*bad).to_owned(), ..Device::new("web-1") };
        assert!(matches!(stage.control.enrol("10.1.1.1", odd.request(&token)).await, Err(ControlError::Invalid(_))), "{bad}");
    }
}

#[tokio::test]
async fn a_manager_of_some_hosts_makes_no_token_for_the_name_of_another() {
    let stage = Stage::new().await;
    let web = stage.device("web-1", &[("site", "b")]).await;
    let scoped = stage.user("ada", Role::Admin, "site=a").await;
    let labels: Labels = [("site".to_owned(), "a".to_owned())].into();
    let new = |name: &str| NewEnrolment { name: name.to_owned(), labels: labels.clone(), valid_for: None };
    let refused = stage.control.create_enrolment_token(&scoped, new("web-1")).await;
    assert!(matches!(refused, Err(ControlError::Forbidden { outside_scope: true, .. })), "{refused:?}");
    let refused = async || stage.audited("enrolment_token_created").await.iter().any(|line| !line.success).then_some(());
    super::stage::eventually(refused).await;
    assert_eq!(login(&stage, &web).await, LoginVerdict::Accept);
    stage.control.create_enrolment_token(&scoped, new("web-2")).await.unwrap();
}

#[tokio::test]
async fn a_machine_id_in_capitals_is_the_same_machine() {
    let stage = Stage::new().await;
    let web = stage.device("web-1", &[]).await;
    let mut other = Device::new("web-2");
    other.machine_id = web.machine_id.to_ascii_uppercase();
    let token = stage.token("web-2", &[]).await;
    let error = stage.control.enrol("10.1.1.1", other.request(&token)).await.unwrap_err();
    assert!(matches!(&error, ControlError::Conflict(text) if text.contains("web-1")), "{error}");
}

/// A machine that died is replaced under its name; the same machine comes back under another one.
#[tokio::test]
async fn what_was_removed_can_enrol_again_and_is_no_longer_connected() {
    let stage = Stage::new().await;
    let first = stage.device("web-1", &[]).await;
    stage.control.remove(&stage.admin().await, first.host).await.unwrap();
    assert_eq!(*stage.sent.kicked.lock().unwrap().last().unwrap(), first.host);
    assert_eq!(login(&stage, &first).await, LoginVerdict::Refuse);

    let token = stage.token("web-1", &[]).await;
    let other = Device { machine_id: "a".repeat(32), ..Device::new("web-1") };
    let answer = stage.control.enrol("10.1.1.1", other.request(&token)).await.unwrap();
    assert_ne!(answer.host_id, first.host);

    let token = stage.token("web-9", &[]).await;
    let renamed = Device { machine_id: first.machine_id.clone(), ..Device::new("web-9") };
    let answer = stage.control.enrol("10.1.1.1", renamed.request(&token)).await.unwrap();
    assert_ne!(answer.host_id, first.host);
    assert_eq!(login(&stage, &first).await, LoginVerdict::Refuse, "its old key and secret are forgotten");
}
