use super::*;
use crate::Script;
use crate::testing::{broken, drive, recorded, said};

const RUNNING: &str = include_str!("../../recorded/systemd/is-system-running.txt");
const STOPPING: &str = include_str!("../../recorded/systemd/is-system-running-stopping.txt");
const NO_JOBS: &str = include_str!("../../recorded/systemd/list-jobs-none.txt");
const NO_JOBS_PLAIN: &str = include_str!("../../recorded/systemd/list-jobs-none-plain.txt");
const JOBS_STOPPING: &str = include_str!("../../recorded/systemd/list-jobs-stopping.txt");
const NOT_PREPARING: &str = include_str!("../../recorded/systemd/preparing-for-shutdown-no.txt");
const BUS_GONE: &str = include_str!("../../recorded/systemd/preparing-for-shutdown-stopping.txt");
const SCHEDULED_GONE: &str = include_str!("../../recorded/systemd/scheduled-stopping.txt");
const NONE: &str = include_str!("../../recorded/systemd/scheduled-none.txt");
const AFTER_CANCEL: &str = include_str!("../../recorded/systemd/scheduled-after-cancel.txt");
const REBOOT: &str = include_str!("../../recorded/systemd/scheduled-reboot.txt");
const POWEROFF: &str = include_str!("../../recorded/systemd/scheduled-poweroff.txt");
const HALT: &str = include_str!("../../recorded/systemd/scheduled-halt.txt");

type Found = Readable<Option<PendingShutdown>>;

fn read(state: &Output, jobs: &Output, preparing: &Output, scheduled: &Output) -> (String, Found) {
    drive(Script::new(Pending::new()), |line, _| {
        let output = match line {
            l if l.contains("is-system-running") => state,
            l if l.contains("list-jobs") => jobs,
            l if l.contains("PreparingForShutdown") => preparing,
            l if l.contains("ScheduledShutdown") => scheduled,
            l => panic!("unexpected: {l}"),
        };
        (output.clone(), Millis(5))
    })
}

fn with_schedule(scheduled: &str) -> Found {
    read(&recorded(RUNNING), &recorded(NO_JOBS), &recorded(NOT_PREPARING), &recorded(scheduled)).1
}

fn some(kind: &str, at: Option<i64>) -> Found {
    Readable::Known(Some(PendingShutdown { kind: kind.into(), at: at.map(Timestamp::from_millis) }))
}

#[test]
fn nothing_is_pending_only_after_four_good_answers() {
    let (story, found) = read(&recorded(RUNNING), &recorded(NO_JOBS), &recorded(NOT_PREPARING), &recorded(NONE));
    assert_eq!(found, Readable::Known(None));
    assert_eq!(
        story,
        "0 s: systemctl is-system-running -> 0\n\
         5 ms: systemctl list-jobs --no-legend -> 0\n\
         10 ms: busctl --json=short get-property org.freedesktop.login1 /org/freedesktop/login1 \
         org.freedesktop.login1.Manager PreparingForShutdown -> 0\n\
         15 ms: busctl --json=short get-property org.freedesktop.login1 /org/freedesktop/login1 \
         org.freedesktop.login1.Manager ScheduledShutdown -> 0\n\
         20 ms: Known(None)\n"
    );
    assert_eq!(with_schedule(AFTER_CANCEL), Readable::Known(None));
    let plain = read(&recorded(RUNNING), &recorded(NO_JOBS_PLAIN), &recorded(NOT_PREPARING), &recorded(NONE)).1;
    assert_eq!(plain, Readable::Known(None));
}

#[test]
fn a_scheduled_shutdown_is_pending_with_its_time() {
    assert_eq!(with_schedule(REBOOT), some("reboot", Some(1_795_314_722_346)));
    assert_eq!(with_schedule(POWEROFF), some("poweroff", Some(1_795_314_723_487)));
    assert_eq!(with_schedule(HALT), some("halt", Some(1_795_314_724_142)));
}

#[test]
fn a_host_on_its_way_down_is_pending_although_the_bus_is_gone() {
    let (_, found) = read(&recorded(STOPPING), &recorded(JOBS_STOPPING), &recorded(BUS_GONE), &recorded(SCHEDULED_GONE));
    assert_eq!(found, some("reboot", None));
    // The jobs cannot be read any more: still pending, only the word is missing.
    let (_, found) = read(&recorded(STOPPING), &Output::default(), &recorded(BUS_GONE), &recorded(SCHEDULED_GONE));
    assert_eq!(found, some("shutdown", None));
}

#[test]
fn a_shutdown_during_boot_and_the_delay_phase_are_pending() {
    let starting = Output { exit: Some(1), ..said("starting\n") };
    let (_, found) = read(&starting, &recorded(JOBS_STOPPING), &recorded(BUS_GONE), &recorded(SCHEDULED_GONE));
    assert_eq!(found, some("reboot", None));
    let preparing = said(r#"{"type":"b","data":true}"#);
    let (_, found) = read(&recorded(RUNNING), &recorded(NO_JOBS), &preparing, &recorded(NONE));
    assert_eq!(found, some("shutdown", None));
}

#[test]
fn a_warning_only_is_not_pending() {
    let dry = said(r#"{"type":"(st)","data":["dry-reboot",1795314722346787]}"#);
    let (_, found) = read(&recorded(RUNNING), &recorded(NO_JOBS), &recorded(NOT_PREPARING), &dry);
    assert_eq!(found, Readable::Known(None));
}

#[test]
fn a_degraded_host_answers_with_exit_1_and_is_read() {
    let degraded = Output { exit: Some(1), ..said("degraded\n") };
    let (_, found) = read(&degraded, &recorded(NO_JOBS), &recorded(NOT_PREPARING), &recorded(NONE));
    assert_eq!(found, Readable::Known(None));
}

#[test]
fn what_cannot_be_read_is_unknown_never_nothing() {
    let (state, jobs, preparing, scheduled) = (recorded(RUNNING), recorded(NO_JOBS), recorded(NOT_PREPARING), recorded(NONE));
    let unknown = |found: Found| assert!(matches!(found, Readable::Unknown(_)), "{found:?}");
    for bad in broken(&scheduled.stdout) {
        unknown(read(&state, &jobs, &preparing, &bad).1);
    }
    for bad in broken(&preparing.stdout) {
        unknown(read(&state, &jobs, &bad, &scheduled).1);
    }
    unknown(read(&state, &jobs, &said(r#"{"type":"v","data":false}"#), &scheduled).1);
    unknown(read(&state, &jobs, &recorded(BUS_GONE), &scheduled).1);
    unknown(read(&state, &jobs, &preparing, &recorded(SCHEDULED_GONE)).1);
    unknown(read(&state, &said("2306 reboot.tar"), &preparing, &scheduled).1);
    unknown(read(&state, &Output { exit: Some(1), ..Output::default() }, &preparing, &scheduled).1);
    for word in ["", "offline", "unknown", "runn"] {
        unknown(read(&said(word), &jobs, &preparing, &scheduled).1);
    }
}

#[test]
fn pain_14_a_file_in_a_folder_of_holds_keeps_its_host_up_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (there, gone) = (folder.path().join("hold.d"), folder.path().join("none"));
    let ask = || {
        let output = std::process::Command::new("sh").args(["-c", HAS, "reveille"]).args([&there, &gone]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let (stdout, exit) = (String::from_utf8(output.stdout).unwrap(), output.status.code());
        read_has(&Output { stdout, stderr: String::new(), exit, timed_out: false })
    };
    assert!(ask().unwrap().held.is_empty());
    std::fs::create_dir(&there).unwrap();
    assert!(ask().unwrap().held.is_empty(), "an empty folder holds nobody");
    std::fs::write(there.join("backup"), "nightly dump until 04:00\nmore\n").unwrap();
    std::fs::write(there.join("empty"), "").unwrap();
    std::os::unix::fs::symlink("/nowhere", there.join("link")).unwrap();
    std::fs::write(there.join(".hidden"), "a\\nb\n").unwrap();
    let held = ask().unwrap().held;
    let at = there.display();
    assert_eq!(
        held,
        [
            format!("{at}/backup: nightly dump until 04:00"),
            format!("{at}/empty"),
            format!("{at}/link"),
            format!("{at}/.hidden: a\\nb")
        ]
    );
    // A name that makes a line of its own is no answer that can be read, and what cannot be read blocks.
    std::fs::write(there.join("a\nb"), "").unwrap();
    assert_eq!(ask(), None);
    std::fs::remove_dir_all(&there).unwrap();
    std::fs::write(&there, "").unwrap();
    assert_eq!(ask().unwrap().held, [format!("{at} is no folder")].map(|text| text.replacen(' ', ": ", 1)));
}
