use model::{Action, ErrorCode, Observed};
use uuid::Uuid;

use super::*;
use crate::testing::{broken, drive, recorded, said};
use crate::{HostKind, Verdict, perform};

const THREE: &str = include_str!("../../recorded/lxd/list-three.json");
const FROZEN: &str = include_str!("../../recorded/lxd/list-frozen.json");
const ONE: &str = include_str!("../../recorded/lxd/list-one-running.json");
const STOPPING: &str = include_str!("../../recorded/lxd/list-while-stopping.json");
const DOWN: &str = include_str!("../../recorded/lxd/list-daemon-down.txt");
const NOT_INSTALLED: &str = include_str!("../../recorded/lxd/list-not-installed.txt");
const STOP_TIMEOUT: &str = include_str!("../../recorded/lxd/stop-timeout.txt");
const ALREADY_STOPPED: &str = include_str!("../../recorded/lxd/stop-already-stopped.txt");
const ALREADY_RUNNING: &str = include_str!("../../recorded/lxd/start-already-running.txt");
const C2: &str = "65b99153-abf3-4bb1-9e5d-a911a688ccee";

fn host() -> TargetId {
    TargetId(Uuid::from_u128(7))
}

fn lxd() -> Lxd {
    Lxd { host: host() }
}

fn read(text: &str) -> Vec<Listed> {
    lxd().read_list(&said(text)).unwrap()
}

fn child(name: &str, stable_id: &str) -> ChildRef {
    let id = TargetId::of_child(host(), ChildKind::Lxd, stable_id);
    ChildRef { id, kind: ChildKind::Lxd, name: name.into(), stable_id: stable_id.into() }
}

fn c2() -> ChildRef {
    child("c2", C2)
}

fn stop(child: ChildRef, grace: Millis, force: bool) -> Action {
    Action::StopChild { child, grace, force }
}

fn start(child: ChildRef, frozen: bool) -> Action {
    Action::StartChild { child, frozen, limit: Millis::secs(60) }
}

/// c2 with another status, from a recorded listing.
fn with_c2(code: u32, word: &str) -> String {
    let mut all: Vec<serde_json::Value> = serde_json::from_str(THREE).unwrap();
    all[1]["status_code"] = code.into();
    all[1]["status"] = word.into();
    serde_json::to_string(&all).unwrap()
}

/// Performs an action on an LXD that answers from these lists in turn (the last one for ever), and to acts as given.
fn run(action: &Action, listings: &[Output], acts: &[Output]) -> (String, Verdict) {
    let (mut listings, mut acts) = (listings.to_vec(), acts.to_vec());
    drive(perform(&HostKind::Systemd, host(), crate::HOOKS_DIR, action), |line, _| {
        let queue = if line == "lxc list --format json" { &mut listings } else { &mut acts };
        assert!(!queue.is_empty(), "unexpected: {line}");
        let output = if queue.len() > 1 { queue.remove(0) } else { queue[0].clone() };
        (output, Millis(200))
    })
}

fn failed(verdict: &Verdict) -> (ErrorCode, &str) {
    match verdict {
        Verdict::Failed { code, message } => (*code, message),
        other => panic!("{other:?}"),
    }
}

fn completed(observed: ChildStatus, already: bool) -> Verdict {
    Verdict::Completed { observed: Some(Observed::Child(observed)), already }
}

#[test]
fn a_recorded_listing_is_read_with_ids_states_and_autostart() {
    let listed = read(THREE);
    let short: Vec<_> =
        listed.iter().map(|l| (l.report.child.name.as_str(), l.report.status, l.report.autostart, l.passing)).collect();
    let (running, stopped) = (ChildStatus::Running, ChildStatus::Stopped);
    assert_eq!(short, [("c1", running, true, false), ("c2", running, true, false), ("c3", stopped, true, false)]);
    assert_eq!(listed[1].report.child, c2());
    assert_eq!((listed[1].report.start_priority, listed[1].report.stop_priority), (0, 0));
    assert_eq!(read(FROZEN)[1].report.status, ChildStatus::Frozen);
    assert_eq!(read(ONE)[1].report.status, ChildStatus::Stopped);
    assert!(read("[]").is_empty());
}

/// `boot.autostart` decides when set; unset, LXD restores what ran when it last looked.
#[test]
fn autostart_is_lxds_own_rule() {
    let with = |autostart: &str, last: &str| {
        let text = format!(
            r#"[{{"name":"x","status_code":102,"config":{{"volatile.last_state.power":"{last}"}},
                "expanded_config":{{"volatile.last_state.power":"{last}","boot.autostart":"{autostart}",
                "boot.autostart.priority":"5","boot.stop.priority":"-2"}}}}]"#
        );
        let report = read(&text).remove(0).report;
        assert_eq!((report.start_priority, report.stop_priority), (5, -2));
        assert_eq!(report.child.stable_id, "x", "no volatile.uuid: the name");
        report.autostart
    };
    assert!(with("true", "STOPPED") && with("1", "") && with("", "RUNNING"));
    assert!(!with("false", "RUNNING") && !with("", "STOPPED") && !with("", ""));
}

#[test]
fn every_status_has_a_meaning_and_an_unknown_one_blocks() {
    let seen = |code| {
        let listed = read(&with_c2(code, "?")).remove(1);
        (listed.report.status, listed.passing)
    };
    assert_eq!(seen(113), (ChildStatus::Running, false));
    assert_eq!(seen(111), (ChildStatus::Running, true));
    assert_eq!(seen(107), (ChildStatus::Running, true));
    assert_eq!(seen(109), (ChildStatus::Frozen, true));
    assert_eq!(seen(106), (ChildStatus::Creating, true));
    assert_eq!(seen(112), (ChildStatus::Error, false));
    assert_eq!(seen(999), (ChildStatus::Error, false));
}

#[test]
fn a_broken_listing_is_never_a_list() {
    for bad in broken(THREE) {
        assert!(lxd().read_list(&bad).is_err(), "{bad:?}");
    }
    for bad in [DOWN, NOT_INSTALLED] {
        assert!(lxd().read_list(&recorded(bad)).is_err());
    }
    for key in ["name", "status_code", "config", "expanded_config"] {
        let mut all: Vec<serde_json::Map<String, serde_json::Value>> = serde_json::from_str(THREE).unwrap();
        all[1].remove(key);
        let text = serde_json::to_string(&all).unwrap();
        assert!(lxd().read_list(&said(&text)).is_err(), "without {key}");
    }
}

#[test]
fn a_clean_stop_is_confirmed_by_looking() {
    let (story, verdict) = run(&stop(c2(), Millis::secs(30), false), &[said(THREE), said(THREE), said(ONE)], &[said("")]);
    assert_eq!(verdict, completed(ChildStatus::Stopped, false));
    assert_eq!(
        story,
        "0 s: lxc list --format json -> 0\n\
         200 ms: lxc stop c2 --timeout 30 -> 0\n\
         400 ms: lxc list --format json -> 0\n\
         600 ms: wait 1 s\n\
         1600 ms: lxc list --format json -> 0\n\
         1800 ms: Completed { observed: Some(Child(Stopped)), already: false }\n"
    );
}

#[test]
fn stopped_already_is_a_success_without_any_act() {
    let (story, verdict) = run(&stop(c2(), Millis::secs(30), false), &[said(ONE)], &[]);
    assert_eq!(verdict, completed(ChildStatus::Stopped, true));
    assert!(!story.contains("stop c2"));
    // It went down between looking and asking.
    let (_, verdict) = run(&stop(c2(), Millis::secs(30), false), &[said(THREE), said(ONE)], &[recorded(ALREADY_STOPPED)]);
    assert_eq!(verdict, completed(ChildStatus::Stopped, false));
}

#[test]
fn a_frozen_child_is_stopped_as_it_is_and_an_exit_code_of_0_is_not_enough() {
    let (story, verdict) = run(&stop(c2(), Millis::secs(2), false), &[said(FROZEN)], &[said("")]);
    let (code, message) = failed(&verdict);
    assert_eq!((code, message), (ErrorCode::NotObserved, "c2 is still frozen after 2 s"));
    assert_eq!(story.matches("lxc stop c2 --timeout 2").count(), 1, "{story}");
}

#[test]
fn a_child_that_traps_its_stop_fails_at_its_grace_with_the_tools_words() {
    let slow = Output { exit: Some(1), ..recorded(STOP_TIMEOUT) };
    let mut asked = 0;
    let (_, verdict) =
        drive(perform(&HostKind::Systemd, host(), crate::HOOKS_DIR, &stop(c2(), Millis::secs(3), false)), |line, _| {
            if line.contains("list") {
                return (said(STOPPING), Millis(100));
            }
            asked += 1;
            (slow.clone(), Millis(3050))
        });
    let (code, message) = failed(&verdict);
    assert_eq!((code, asked), (ErrorCode::NotObserved, 1));
    assert!(message.starts_with("c2 is still running after 3 s: Error: Failed shutting down instance"), "{message}");
}

#[test]
fn force_cuts_off() {
    let (story, verdict) = run(&stop(c2(), Millis::secs(10), true), &[said(THREE), said(ONE)], &[said("")]);
    assert_eq!(verdict, completed(ChildStatus::Stopped, false));
    assert!(story.contains("lxc stop c2 --force -> 0\n"), "{story}");
}

#[test]
fn a_tool_that_says_no_is_tried_three_times() {
    let no = Output { exit: Some(1), stderr: "Error: not authorized\n".into(), ..Output::default() };
    let (story, verdict) = run(&stop(c2(), Millis::secs(60), false), &[said(THREE)], &[no]);
    let (code, message) = failed(&verdict);
    assert_eq!(code, ErrorCode::ToolFailed);
    assert_eq!(message, "c2 is still running: Error: not authorized (exit 1)");
    assert_eq!(story.matches("lxc stop").count(), 3, "{story}");
}

#[test]
fn a_start_is_confirmed_by_looking_and_running_already_is_a_success() {
    let (story, verdict) = run(&start(c2(), false), &[said(ONE), said(THREE)], &[said("")]);
    assert_eq!(verdict, completed(ChildStatus::Running, false));
    assert!(story.contains("lxc start c2 -> 0\n"));
    assert_eq!(run(&start(c2(), false), &[said(THREE)], &[]).1, completed(ChildStatus::Running, true));
    // LXD's own autostart was faster.
    let (_, verdict) = run(&start(c2(), false), &[said(ONE), said(THREE)], &[recorded(ALREADY_RUNNING)]);
    assert_eq!(verdict, completed(ChildStatus::Running, false));
    // A frozen one is thawed.
    let (story, _) = run(&start(c2(), false), &[said(FROZEN), said(THREE)], &[said("")]);
    assert!(story.contains("lxc start c2"));
}

#[test]
fn a_child_that_was_frozen_is_frozen_again() {
    let (story, verdict) = run(&start(c2(), true), &[said(ONE), said(THREE), said(FROZEN)], &[said("")]);
    assert_eq!(verdict, completed(ChildStatus::Frozen, false));
    assert!(story.contains("lxc start c2 -> 0\n") && story.contains("lxc pause c2 -> 0\n"), "{story}");
    assert_eq!(run(&start(c2(), true), &[said(FROZEN)], &[]).1, completed(ChildStatus::Frozen, true));
}

#[test]
fn a_child_on_its_way_is_not_there_yet() {
    let (story, verdict) = run(&start(c2(), false), &[said(&with_c2(106, "Starting")), said(THREE)], &[]);
    assert_eq!(verdict, completed(ChildStatus::Running, true));
    assert!(story.contains("wait 1 s"));
    let (_, verdict) = run(&start(c2(), false), &[said(&with_c2(107, "Stopping")), said(ONE), said(THREE)], &[said("")]);
    assert_eq!(verdict, completed(ChildStatus::Running, false));
}

#[test]
fn an_engine_that_is_not_up_yet_is_asked_again_and_unknown_is_never_stopped() {
    let (_, verdict) = run(&start(c2(), false), &[recorded(DOWN), recorded(DOWN), said(THREE)], &[]);
    assert_eq!(verdict, completed(ChildStatus::Running, true));
    let (_, verdict) = run(&stop(c2(), Millis::secs(5), false), &[recorded(DOWN)], &[]);
    let (code, message) = failed(&verdict);
    assert_eq!(code, ErrorCode::NotObserved);
    assert!(message.contains("could not be listed") && message.contains("connection refused"), "{message}");
}

#[test]
fn a_child_made_anew_under_the_old_name_is_another_and_a_renamed_one_the_same() {
    let old = child("c2", "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11");
    let (_, verdict) = run(&stop(old, Millis::secs(60), false), &[said(THREE)], &[]);
    assert_eq!(failed(&verdict).0, ErrorCode::NotFound);
    assert!(failed(&verdict).1.contains("another child"));
    let (story, _) = run(&stop(child("before", C2), Millis::secs(60), false), &[said(THREE), said(ONE)], &[said("")]);
    assert!(story.contains("lxc stop c2 "), "{story}");
}

#[test]
fn missing_is_said_after_a_grace_and_for_an_empty_listing_only_at_the_limit() {
    let gone = child("gone", "gone");
    let (story, verdict) = run(&start(gone.clone(), false), &[said(THREE)], &[]);
    assert_eq!(failed(&verdict), (ErrorCode::NotFound, "no child gone"));
    assert!(story.contains("\n11 s: Failed"), "{story}");
    let (_, verdict) = run(&start(gone.clone(), false), &[said("[]")], &[]);
    assert_eq!(failed(&verdict), (ErrorCode::NotFound, "no child gone after 60 s"));
    let (_, verdict) = run(&start(c2(), false), &[said("[]"), said("[]"), said(THREE)], &[]);
    assert_eq!(verdict, completed(ChildStatus::Running, true));
}

#[test]
fn a_name_that_could_be_an_option_a_remote_or_a_snapshot_is_never_an_argument() {
    for name in ["-f", "--all", "other:c1", "c1/snap", "", "c1-", "c 1", "é"] {
        assert!(lxd().act(Act::Start, name).is_err(), "{name:?}");
    }
    let evil = THREE.replace(r#""name":"c2""#, r#""name":"--all""#);
    let (_, verdict) = run(&stop(c2(), Millis::secs(5), true), &[said(&evil)], &[]);
    assert_eq!(failed(&verdict).0, ErrorCode::Malformed);
}
