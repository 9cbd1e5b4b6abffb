//! A request on its way: submitted, sent, watched, refused a second time, cancelled.

use controller::control::{ControlError, OrchestrationFilter};
use engine::{Refusal, Why};
use futures_util::StreamExt as _;
use model::{Ack, AckStatus, ActionKind, BootIdentity, Command};
use protocol::native::DeviceBody;

use super::stage::{Device, REBOOT, Stage, eventually, options, quick};

/// The command of this kind that the device was sent last.
async fn command(stage: &Stage, device: &Device, kind: ActionKind) -> Command {
    eventually(async || stage.commands_to(device.host).into_iter().rev().find(|command| command.action.kind() == kind)).await
}

fn ack(command: &Command, device: &Device, sequence: u64) -> DeviceBody {
    let report = device.report(sequence, &["a"]);
    let report = (command.action.kind() == ActionKind::Probe).then_some(report);
    let boot: BootIdentity = device.report(1, &[]).boot;
    DeviceBody::Ack {
        ack: Ack { command: command.id, status: AckStatus::Completed, error: None, boot, observed: None, already: false, report },
    }
}

#[tokio::test]
async fn commands_leave_signed_after_they_are_in_the_journal() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    stage.hello(&device, device.report(1, &["a"])).await;
    let admin = stage.admin().await;
    let (id, children) = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap();
    assert_eq!(children, 1);
    let probe = command(&stage, &device, ActionKind::Probe).await;
    assert_eq!((probe.orchestration, probe.target), (id, device.host));
    let journal = stage.control.journal(&admin, id, 0).await.unwrap();
    assert!(journal.iter().any(|line| line.entry == "command_issued"), "{journal:?}");
    assert!(journal.iter().all(|line| !line.text.is_empty()));

    stage.hear(&device, &ack(&probe, &device, 2)).await;
    let stop = command(&stage, &device, ActionKind::StopChild).await;
    assert_eq!(stop.action.child().unwrap().name, "a");
}

#[tokio::test]
async fn a_second_request_for_the_same_host_is_refused_with_the_id_of_the_first() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    stage.hello(&device, device.report(1, &["a"])).await;
    let admin = stage.admin().await;
    let (id, _) = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap();
    let error = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap_err();
    let ControlError::Refused(Refusal::Blocked { blockers }) = error else { panic!("{error}") };
    assert!(blockers.iter().any(|blocker| blocker.why == Why::Locked { orchestration: id, on: None }), "{blockers:?}");
    let lines = stage.audited("submit").await;
    assert!(!lines[0].success && lines[0].detail.contains(&id.to_string()), "{lines:?}");
}

#[tokio::test]
async fn a_watcher_sees_each_change_once_and_the_end() {
    let stage = Stage::with(quick()).await;
    let device = stage.device("web-1", &[]).await;
    stage.hello(&device, device.report(1, &["a"])).await;
    let admin = stage.admin().await;
    let (id, _) = stage.control.submit(&admin, device.host, REBOOT, options()).await.unwrap();
    let watched = stage.control.watch(&admin, id, None).await.unwrap();
    let probe = command(&stage, &device, ActionKind::Probe).await;
    stage.hear(&device, &ack(&probe, &device, 2)).await;
    command(&stage, &device, ActionKind::StopChild).await;
    stage.control.cancel(&admin, id).await.unwrap();
    // The device answers what it is asked until it is over.
    let answering = async {
        for sequence in 3.. {
            for open in stage.commands_to(device.host) {
                stage.hear(&device, &ack(&open, &device, sequence)).await;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let states = tokio::select! {
        states = tokio::time::timeout(super::stage::PATIENCE, watched.collect::<Vec<_>>()) => states.expect("it did not end"),
        () = answering => unreachable!("it answers for ever"),
    };
    assert!(states.windows(2).all(|pair| pair[0].sequence < pair[1].sequence));
    let last = states.last().unwrap();
    assert_eq!(last.view.outcome, Some(engine::Outcome::Cancelled));

    // Whoever comes back with the last number but one sees the last only; with the last, nothing.
    let resume = async |after| stage.control.watch(&admin, id, Some(after)).await.unwrap().collect::<Vec<_>>().await;
    assert_eq!(resume(states[states.len() - 2].sequence).await.as_slice(), std::slice::from_ref(last));
    assert_eq!(resume(last.sequence).await, []);
    assert_eq!(resume(last.sequence + 100).await.as_slice(), std::slice::from_ref(last));

    let over = OrchestrationFilter { active: Some(false), ..OrchestrationFilter::default() };
    assert_eq!(stage.control.orchestrations(&admin, over).await.unwrap().items[0].id, id);
    let refused = stage.control.cancel(&admin, id).await.unwrap_err();
    assert_eq!(refused, ControlError::Refused(Refusal::NotActive));
}

#[tokio::test]
async fn a_selector_is_an_id_a_name_or_labels_and_never_matches_nothing() {
    let stage = Stage::with(quick()).await;
    let first = stage.device("web-1", &[("role", "web"), ("site", "a")]).await;
    stage.device("web-2", &[("role", "web"), ("site", "b")]).await;
    let admin = stage.admin().await;
    let names = async |selector: &str| -> Result<Vec<String>, ControlError> {
        Ok(stage.control.select(&admin, Some(selector)).await?.into_iter().map(|host| host.name).collect())
    };
    assert_eq!(names("web-2").await.unwrap(), ["web-2"]);
    assert_eq!(names(&first.host.to_string()).await.unwrap(), ["web-1"]);
    assert_eq!(names("role=web").await.unwrap(), ["web-1", "web-2"]);
    assert_eq!(names("role=web,site=b").await.unwrap(), ["web-2"]);
    assert_eq!(names("web-1 site=b").await.unwrap(), ["web-1", "web-2"]);
    let nothing = [
        "web-3",
        "role=db",
        "role=web,site=c",
        "rack=7",
        "rack!=7",
        "web-1 web-3",
        "role=web,role=db",
        "00000000-0000-0000-0000-000000000001",
    ];
    for nothing in nothing {
        assert!(matches!(names(nothing).await, Err(ControlError::NotFound(_))), "{nothing}");
    }
    for bad in ["", " ", "role=", "=web", "role=web, site=b"] {
        assert!(matches!(names(bad).await, Err(ControlError::Invalid(_))), "{bad}");
    }
}
