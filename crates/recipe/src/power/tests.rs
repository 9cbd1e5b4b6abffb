use super::*;
use crate::Script;
use crate::testing::{drive, recorded, said};

const ACCEPTED: &str = include_str!("../../recorded/systemd/reboot-accepted.txt");
const AGAIN: &str = include_str!("../../recorded/systemd/reboot-again-stopping.txt");
const BLOCKED: &str = include_str!("../../recorded/systemd/reboot-blocked.txt");
const BLOCKED_SESSION: &str = include_str!("../../recorded/systemd/reboot-blocked-session.txt");
const POWEROFF_BLOCKED: &str = include_str!("../../recorded/systemd/poweroff-blocked.txt");

fn order(verb: &'static str, force: bool, answer: &Output, state: &str) -> (String, Verdict) {
    drive(Script::new(Power::new(verb, force)), |line, _| {
        let output = match line {
            l if l.starts_with("systemctl reboot") || l.starts_with("systemctl poweroff") => answer.clone(),
            l if l.contains("is-system-running") => said(state),
            l if l.contains("list-jobs") => said(""),
            l if l.contains("PreparingForShutdown") => said(r#"{"type":"b","data":false}"#),
            l if l.contains("ScheduledShutdown") => said(r#"{"type":"(st)","data":["",18446744073709551615]}"#),
            l => panic!("unexpected: {l}"),
        };
        (output, Millis(0))
    })
}

fn failed(verdict: &Verdict) -> (ErrorCode, &str) {
    match verdict {
        Verdict::Failed { code, message } => (*code, message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_accepted_order_is_ordered_and_no_more() {
    let (story, verdict) = order("reboot", false, &recorded(ACCEPTED), "running");
    assert_eq!(verdict, Verdict::Ordered);
    assert_eq!(story, "0 s: systemctl reboot --check-inhibitors=yes --no-ask-password -> 0\n0 s: Ordered\n");
    let (story, _) = order("poweroff", true, &said(""), "running");
    assert_eq!(story, "0 s: systemctl poweroff --check-inhibitors=no --no-ask-password -> 0\n0 s: Ordered\n");
    // Recorded: exit 0 and "Call to Reboot failed" on a host that is going down already.
    assert_eq!(order("reboot", false, &recorded(AGAIN), "stopping").1, Verdict::Ordered);
}

#[test]
fn an_inhibitor_or_a_logged_in_user_makes_the_tool_refuse() {
    for (recording, verb, words) in [
        (BLOCKED, "reboot", "Operation inhibited by \"backup job\""),
        (POWEROFF_BLOCKED, "poweroff", "reason is \"copying the database\""),
        (BLOCKED_SESSION, "reboot", "User alice is logged in on sshd."),
    ] {
        let (_, verdict) = order(verb, false, &recorded(recording), "running");
        let (code, message) = failed(&verdict);
        assert_eq!(code, ErrorCode::Refused);
        assert!(message.contains(words) && message.contains("(exit 1)"), "{message}");
    }
}

#[test]
fn a_failed_order_is_failed_only_when_the_host_says_that_nothing_is_pending() {
    let lost = Output { exit: Some(1), stderr: "Call to Reboot failed: Connection reset by peer\n".into(), ..Output::default() };
    let (_, verdict) = order("reboot", false, &lost, "running");
    assert_eq!(failed(&verdict).0, ErrorCode::ToolFailed);
    assert_eq!(order("reboot", false, &lost, "stopping").1, Verdict::Ordered);
    assert_eq!(order("reboot", false, &lost, "").1, Verdict::Ordered, "unreadable: it may happen");
}

#[test]
fn an_order_whose_answer_was_cut_off_may_happen() {
    for cut in [Output::default(), Output { exit: Some(1), timed_out: true, ..Output::default() }] {
        assert_eq!(order("reboot", false, &cut, "running").1, Verdict::Ordered);
    }
}
