use model::ServiceVerb;

use super::super::tests::{Host, key, why};
use super::*;

fn restore(n: u128, start: bool) -> ServiceVerb {
    ServiceVerb::Restore { key: key(n), start, grace: Millis::secs(5) }
}

fn backed_up() -> Host {
    let host = Host::new();
    host.write("units/web.service.d/a.conf", "a");
    host.seen(&ServiceVerb::BackUp { key: key(1) });
    host
}

#[test]
fn s3_23_24_what_was_changed_is_put_back_and_the_unit_started() {
    let host = backed_up();
    let before = host.tree("units").replace("web.service.backup.restored", "");
    host.write("units/web.service", "new");
    host.write("units/web.service.d/b.conf", "b");
    host.state("active", "failed");
    let seen = host.seen(&restore(1, true));
    assert!(seen.changed && seen.unit.is_up(), "{seen:?}");
    assert_eq!(
        host.asked(),
        ["systemctl daemon-reload", "systemctl reset-failed -- web.service", "systemctl start -- web.service"]
    );
    std::fs::remove_file(host.at("units/web.service.backup.restored")).ok();
    assert_eq!(host.tree("units"), before);
}

#[test]
fn what_is_as_it_was_is_left_alone_and_a_repeat_knows_that_it_was_changed() {
    let host = backed_up();
    let seen = host.seen(&restore(1, true));
    assert!(!seen.changed, "{seen:?}");
    assert!(host.asked().is_empty(), "{:?}", host.asked());
    host.write("units/web.service", "new");
    assert!(host.seen(&restore(1, false)).changed);
    assert!(host.seen(&restore(1, false)).changed, "a repeat tells the same");
    assert_eq!(host.read("units/web.service"), "[Service]\nExecStart=/old\n");
}

#[test]
fn without_a_backup_of_this_run_it_is_only_started() {
    let host = backed_up();
    host.write("units/web.service", "new");
    host.state("active", "inactive");
    let seen = host.seen(&restore(2, true));
    assert!(seen.unit.is_up() && seen.detail.contains("no backup of this run"), "{seen:?}");
    assert_eq!(host.read("units/web.service"), "new");
    // Files that systemd has not read yet are read.
    host.state("needs", "yes");
    host.seen(&restore(2, true));
    assert_eq!(host.asked().last().map(String::as_str), Some("systemctl daemon-reload"));
}

#[test]
fn a_unit_file_of_a_package_counts_again_when_ours_is_taken_away() {
    let host = Host::new();
    std::fs::rename(host.at("units/web.service"), host.at("package.service")).unwrap();
    host.state("fragment", &host.path("package.service"));
    host.seen(&ServiceVerb::BackUp { key: key(1) });
    host.write("units/web.service", "new");
    let seen = host.seen(&restore(1, false));
    assert!(seen.changed && seen.detail.contains("counts again"), "{}", seen.detail);
    assert!(!host.at("units/web.service").exists());
    assert_eq!(host.read("package.service"), "[Service]\nExecStart=/old\n");
}

#[test]
fn killed_anywhere_it_is_put_back_by_the_next() {
    let mut faults = 0;
    for stop in 1..60 {
        let struck = {
            let host = backed_up();
            host.write("units/web.service", "new");
            host.write("units/web.service.d/a.conf", "b");
            let struck = host.killed(&restore(1, false), stop);
            faults += u32::from(struck);
            let seen = host.seen(&restore(1, false));
            assert!(seen.changed, "{stop}");
            assert_eq!(host.read("units/web.service"), "[Service]\nExecStart=/old\n", "{stop}");
            assert_eq!(host.tree("units/web.service.d"), "a.conf:644=a", "{stop}");
            assert!(!host.tree("units").contains("reveille"), "{stop}: {}", host.tree("units"));
            struck
        };
        if !struck {
            break;
        }
    }
    assert!(faults > 10, "{faults}");
}

#[test]
fn a_start_that_fails_says_how() {
    let host = backed_up();
    host.state("active", "failed");
    host.state("result", "exit-code");
    host.state("script", "case $1 in start) echo 'Job for web.service failed' >&2; exit 1;; esac");
    let (code, words) = why(&host.perform(&restore(1, true)));
    assert_eq!(code, ErrorCode::ToolFailed);
    assert!(words.contains("exit-code") && words.contains("Job for web.service failed"), "{words}");
    host.state("active", "activating");
    host.state("sub", "start");
    let (code, words) = why(&host.perform(&restore(1, true)));
    assert!(code == ErrorCode::NotObserved && words.contains("activating (start)"), "{words}");
}
