use model::{PendingShutdown, Readable};
use uuid::Uuid;

use super::*;
use crate::testing::{drive, recorded, said};
use crate::{Before, HostReading, read_host};

const THREE: &str = include_str!("../../recorded/lxd/list-three.json");
const DOWN: &str = include_str!("../../recorded/lxd/list-daemon-down.txt");
const NOT_INSTALLED: &str = include_str!("../../recorded/lxd/list-not-installed.txt");
const ROOT_ONLY: &str = include_str!("../../recorded/systemd/list-sessions-root-only.txt");
const NOT_HELD: &str = include_str!("../../recorded/systemd/list-inhibitors-bus-none.txt");
const NONE: &str = include_str!("../../recorded/systemd/scheduled-none.txt");
const NOT_PREPARING: &str = include_str!("../../recorded/systemd/preparing-for-shutdown-no.txt");

fn host() -> TargetId {
    TargetId(Uuid::from_u128(7))
}

fn systemd(list: &Output, expected: &[ChildKind]) -> HostReading {
    having("systemd 0 lxd\n", Some(list), expected)
}

fn having(has: &str, list: Option<&Output>, expected: &[ChildKind]) -> HostReading {
    let expected = expected.iter().copied().collect();
    let (_, reading) =
        drive(read_host(&HostKind::Systemd, host(), &Before { engines: expected, needs_restarting: None }), |line, _| {
            let output = match line {
                "lxc list --format json" => list.expect("lxc is not to be run").clone(),
                l if l.starts_with("sh -c s=none l=none") => said(has),
                "systemctl is-system-running" => said("running\n"),
                "systemctl list-jobs --no-legend" => said(""),
                l if l.ends_with("PreparingForShutdown") => recorded(NOT_PREPARING),
                l if l.ends_with("ScheduledShutdown") => recorded(NONE),
                l if l.ends_with("ListInhibitors") => recorded(NOT_HELD),
                l if l.ends_with("ListSessions") => recorded(ROOT_ONLY),
                "cat /run/reboot-required" => said("*** System restart required ***\n"),
                "cat /run/reboot-required.pkgs" => said("libc6\n"),
                l => panic!("unexpected: {l}"),
            };
            (output, Millis(1))
        });
    reading
}

#[test]
fn a_systemd_host_is_read_whole() {
    let reading = systemd(&said(THREE), &[]);
    assert_eq!(reading.engines, [ChildKind::Lxd].into());
    assert_eq!(reading.children.known().map(Vec::len), Some(3));
    assert_eq!(reading.pending_shutdown, Readable::Known(None));
    assert_eq!(reading.inhibitors, Readable::Known(vec![]));
    assert_eq!(reading.reboot_required, Readable::Known(Some("/run/reboot-required: libc6".to_owned())));
}

#[test]
fn a_host_without_lxd_has_no_children_but_one_that_lost_it_is_unknown() {
    let reading = systemd(&recorded(NOT_INSTALLED), &[]);
    assert_eq!((reading.engines, reading.children), ([].into(), Readable::Known(vec![])));
    let reading = systemd(&recorded(NOT_INSTALLED), &[ChildKind::Lxd]);
    assert!(matches!(reading.children, Readable::Unknown(_)));
    assert_eq!(reading.pending_shutdown, Readable::Known(None), "the rest is read all the same");
    assert!(matches!(systemd(&recorded(DOWN), &[]).children, Readable::Unknown(_)));
}

/// On a stock Ubuntu the program `lxc` is one that installs LXD.
#[test]
fn lxc_is_not_run_to_find_out_whether_a_host_has_lxd() {
    let reading = having("systemd 0 none\n", None, &[]);
    assert_eq!((reading.engines, reading.children), ([].into(), Readable::Known(vec![])));
    for (has, expected) in [("systemd 0 none\n", &[ChildKind::Lxd][..]), ("systemd 0 down\n", &[]), ("systemd", &[])] {
        let reading = having(has, None, expected);
        assert!(matches!(reading.children, Readable::Unknown(_)), "{has:?}");
        assert_eq!((reading.engines, reading.pending_shutdown), ([ChildKind::Lxd].into(), Readable::Known(None)));
    }
}

#[test]
fn pain_14_what_holds_a_host_stands_with_its_inhibitors_and_an_answer_that_cannot_be_read_blocks() {
    let reading = having("systemd 0 none\nhold /etc/reveille/hold.d/backup nightly dump\n", None, &[]);
    assert_eq!(reading.inhibitors, Readable::Known(vec!["/etc/reveille/hold.d/backup: nightly dump".to_owned()]));
    let reading = having("systemd 0 none\nsomething else\n", None, &[]);
    assert!(matches!(reading.inhibitors, Readable::Unknown(_)), "{:?}", reading.inhibitors);
}

fn sandbox() -> HostKind {
    HostKind::Sandbox { ctl: ["reveille", "sandbox-ctl", "--dir", "/d"].map(str::to_owned).into() }
}

const LIST: &str = r#"{"children":[
    {"name":"web","status":"running","autostart":true,"start_priority":1,"stop_priority":2},
    {"name":"db","status":"stopped","autostart":false,"start_priority":0,"stop_priority":0}]}"#;

#[test]
fn a_sandbox_is_read_and_an_unreadable_one_is_unknown() {
    let read = |list: Output, pending: Output| {
        let (story, reading) = drive(read_host(&sandbox(), host(), &Before::default()), |line, _| {
            (if line.ends_with("list") { list.clone() } else { pending.clone() }, Millis(1))
        });
        assert!(
            story.starts_with("0 s: reveille sandbox-ctl --dir /d list -> 0\n1 ms: reveille sandbox-ctl --dir /d pending -> 0\n")
        );
        reading
    };
    let reading = read(said(LIST), said(r#"{"pending":null}"#));
    assert_eq!(reading.engines, [ChildKind::Sandbox].into());
    let children = reading.children.known().unwrap();
    assert_eq!((children[0].status, children[1].autostart), (model::ChildStatus::Running, false));
    assert_eq!(reading.pending_shutdown, Readable::Known(None));
    let reading = read(said(LIST), said(r#"{"pending":"reboot"}"#));
    let pending = PendingShutdown { kind: "reboot".into(), at: None };
    assert_eq!(reading.pending_shutdown, Readable::Known(Some(pending)));
    let reading = read(said("{}"), said(""));
    assert!(matches!((reading.children, reading.pending_shutdown), (Readable::Unknown(_), Readable::Unknown(_))));
}

#[test]
fn a_sandbox_child_is_stopped_and_started_by_its_control_program() {
    let child = |name: &str| model::ChildRef {
        id: TargetId::of_child(host(), ChildKind::Sandbox, name),
        kind: ChildKind::Sandbox,
        name: name.into(),
        stable_id: name.into(),
    };
    let story = |action: &Action| {
        drive(perform(&sandbox(), host(), HOOKS_DIR, action), |line, _| {
            (said(if line.ends_with("list") { LIST } else { "{}" }), Millis(900))
        })
        .0
    };
    let stop = |force| story(&Action::StopChild { child: child("web"), grace: Millis::secs(2), force });
    assert!(stop(false).contains("/d stop web --grace-ms 1100 -> 0"), "{}", stop(false));
    assert!(stop(true).contains("/d stop web --grace-ms 0 --force -> 0"));
    let start = |frozen| story(&Action::StartChild { child: child("db"), frozen, limit: Millis::secs(2) });
    assert!(start(false).contains("/d start db -> 0"));
    let freeze = story(&Action::StartChild { child: child("web"), frozen: true, limit: Millis::secs(2) });
    assert!(freeze.contains("/d start web --frozen -> 0"));
}

#[test]
fn a_sandbox_reboot_is_ordered_and_a_refused_one_failed() {
    let boot = model::BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 3).unwrap();
    let reboot = Action::Reboot { expect_boot: boot, begin_within: Millis::secs(1), ignore_inhibitors: false };
    let off = Action::Shutdown { expect_boot: boot, begin_within: Millis::secs(1), ignore_inhibitors: false };
    let run = |action: &Action, output: Output| {
        drive(perform(&sandbox(), host(), HOOKS_DIR, action), |_, _| (output.clone(), Millis(1)))
    };
    let (story, verdict) = run(&reboot, said("{}"));
    assert_eq!(story, "0 s: reveille sandbox-ctl --dir /d reboot -> 0\n1 ms: Ordered\n");
    assert_eq!(verdict, Verdict::Ordered);
    assert!(run(&off, said("{}")).0.contains("/d shutdown -> 0"));
    assert_eq!(run(&reboot, Output::default()).1, Verdict::Ordered, "cut off: it may have been heard");
    let no = Output { exit: Some(1), stderr: "no such socket".into(), ..Output::default() };
    assert!(matches!(run(&reboot, no).1, Verdict::Failed { code: ErrorCode::ToolFailed, .. }));
}

#[test]
fn what_a_host_cannot_do_is_unsupported_and_a_script_that_ended_says_the_same_again() {
    let child = model::ChildRef { id: host(), kind: ChildKind::Lxd, name: "c".into(), stable_id: "c".into() };
    let action = Action::StopChild { child, grace: Millis::secs(1), force: false };
    let mut script = perform(&sandbox(), host(), HOOKS_DIR, &action);
    let first = script.next(None, Millis(0));
    assert!(matches!(&first, Next::Done(Verdict::Failed { code: ErrorCode::Unsupported, .. })));
    assert_eq!(script.next(None, Millis(1)), first);
}

#[test]
fn services_are_driven_on_hosts_with_systemd_and_not_in_a_sandbox() {
    use ActionKind::{BackUp, Deploy, Inspect, Migrate, Restart, Restore, Revert, StopUnit, Watch};
    let services = BTreeSet::from([Inspect, Watch, BackUp, Deploy, Migrate, Restart, StopUnit, Revert, Restore]);
    for kind in [HostKind::Systemd, HostKind::Shell] {
        assert!(supported_actions(&kind).is_superset(&services), "{kind:?}");
    }
    assert!(supported_actions(&sandbox()).is_disjoint(&services));
    let stop = Action::Service { unit: "web.service".into(), verb: model::ServiceVerb::Stop { grace: Millis::secs(1) } };
    let first = |kind: &HostKind| perform(kind, host(), HOOKS_DIR, &stop).next(None, Millis(0));
    assert!(
        matches!(first(&HostKind::Shell), Next::Run(run) if run.argv.join(" ").starts_with("systemctl show --property=LoadState"))
    );
    assert!(matches!(first(&sandbox()), Next::Done(Verdict::Failed { code: ErrorCode::Unsupported, .. })));
}
