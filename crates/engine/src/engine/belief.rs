//! What is believed of what devices say.

use std::collections::BTreeSet;

use model::broken::{self, Rule};
use model::{Ack, AckStatus, ActionKind, ChildReport, Command, ErrorCode, Readable, Report, TargetId, Timestamp};

use crate::track::{Standing, SubjectRun, is_of_the_way, is_remark};

/// A device speaks for itself and for what stands on it (G10): a listing that names anything else, or one child twice, tells
/// nothing.
pub(super) fn own_children(host: TargetId, mut report: Report) -> Report {
    let mut seen = BTreeSet::new();
    let is_wrong =
        |c: &&ChildReport| c.child.id != TargetId::of_child(host, c.child.kind, &c.child.stable_id) || !seen.insert(c.child.id);
    if let Some(name) = report.children().unwrap_or_default().iter().find(is_wrong).map(|c| c.child.name.clone()) {
        report.children = Readable::Unknown(format!("child {name} is listed twice, or under an id that is not its own"));
    }
    report
}

/// Whether two reports differ in nothing but their place in the row.
pub(super) fn says_the_same(a: &Report, b: &Report) -> bool {
    fn told(report: &Report) -> impl PartialEq + '_ {
        let Report {
            boot,
            instance,
            sequence: _,
            taken_at: _,
            agent_version,
            protocol_version,
            actions,
            engines,
            children,
            pending_shutdown,
            inhibitors,
            rate,
            reboot_required,
        } = report;
        let itself = (boot, instance, agent_version, protocol_version, actions, engines);
        (itself, children, pending_shutdown, inhibitors, rate, reboot_required)
    }
    told(a) == told(b)
}

/// Whether an ack may change anything. A boot's end is completed by another boot identity alone (G3); and once a command
/// was accepted, refusals of a repeated or mangled copy say nothing about it.
pub(super) fn is_credible(command: &Command, accepted: bool, ack: &Ack, now: Timestamp) -> bool {
    let code = ack.error.as_ref().map(|e| e.code);
    let Some(expect_boot) = command.action.expect_boot() else {
        // A command is handed over once: what is said of a copy ends nothing that may be running.
        return match code.filter(|_| command.action.kind().is_done_once() && ack.status == AckStatus::Failed) {
            Some(code) if is_forgotten(code) => !accepted && now > command.expires_at,
            Some(code) if is_said_of_a_copy(code) => !accepted,
            _ => true,
        };
    };
    match (ack.status, code) {
        (AckStatus::Completed, _) => ack.boot != expect_boot || broken::is(Rule::ProofIgnoresBoot),
        // Kept in memory only: until the command has expired, another copy of it may still be obeyed.
        (AckStatus::Failed, Some(code)) if is_forgotten(code) => !accepted && now > command.expires_at,
        (AckStatus::Failed, Some(code)) if is_said_of_a_copy(code) => !accepted,
        // Kept for people; it decides nothing.
        (AckStatus::Failed, Some(code)) if is_of_the_way(code) => true,
        (AckStatus::Failed, Some(ErrorCode::BootDiffers)) => ack.boot != expect_boot,
        // The performer lost what it knew: on the same boot the command may still be at work.
        (AckStatus::Failed, Some(ErrorCode::OutcomeUnknown)) => ack.boot != expect_boot,
        (AckStatus::Failed, _) => ack.error.is_some(),
        (AckStatus::Accepted | AckStatus::ExecutionStarted, _) => true,
    }
}

/// Whether an ack tells more than the last one. What is left in service may change while a host drains.
pub(super) fn is_news(command: &Command, subject: &SubjectRun, ack: &Ack) -> bool {
    if is_remark(&command.action, ack) {
        let open = matches!(subject.standing(), Standing::Open);
        return open && subject.last_error.as_ref().map(|e| e.code) != ack.error.as_ref().map(|e| e.code);
    }
    let Some(last) = subject.late.as_ref().or(subject.last_ack.as_ref().map(|(_, ack)| ack)) else { return true };
    let goes_on = command.action.kind() == ActionKind::Drain
        && ack.status == AckStatus::ExecutionStarted
        && last.status == ack.status
        && last.observed != ack.observed;
    !last.status.is_final() && (ack.status > last.status || goes_on)
}

/// Refusals that are not on the performer's disk: a restart of it forgets them.
pub(super) fn is_forgotten(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::BadSignature | ErrorCode::Malformed | ErrorCode::LedgerFailed)
}

/// Refusals by a performer that may know nothing of the first copy: its claim is lost, or it was installed anew.
pub(super) fn is_said_of_a_copy(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Retained | ErrorCode::WrongTarget | ErrorCode::ClockUnset | ErrorCode::RateLimited | ErrorCode::Unsupported
    )
}
