use model::ServiceVerb;

use super::super::tests::{Host, seen, why};
use super::*;

const STOP: ServiceVerb = ServiceVerb::Stop { grace: Millis(5000) };

#[test]
fn s3_22_a_stop_is_seen_and_one_that_is_down_is_left_alone() {
    let host = Host::new();
    let seen_down = host.seen(&STOP);
    assert!(seen_down.changed && is_down(&seen_down.unit));
    assert!(matches!(host.perform(&STOP), Verdict::Completed { already: true, .. }));
    assert_eq!(host.asked(), ["systemctl stop -- web.service"]);
}

/// A database that takes its time is not cut off: systemd does that, by the unit's own limit.
#[test]
fn it_is_never_killed_by_us() {
    let host = Host::new();
    host.state("script", "case $1 in stop) echo deactivating > $state/active; exit 1;; esac");
    let (code, words) = why(&host.perform(&STOP));
    assert!(code == ErrorCode::NotObserved && words.contains("longer systemd_grace_period"), "{words}");
    assert_eq!(host.asked(), ["systemctl stop -- web.service"]);
}

#[test]
fn what_cannot_be_seen_is_not_taken_for_stopped() {
    let host = Host::new();
    let verdict = crate::testing::really_with(host.script(&STOP), |run| {
        let blind = host.asked().len() == 1 && run.argv.iter().any(|word| word == "show") && !host.at("once").exists();
        if blind {
            host.write("once", "");
            return Output::default();
        }
        host.run(run)
    });
    assert!(seen(&verdict).changed);
    assert_eq!(host.asked().len(), 1, "it is not asked for twice");
}
