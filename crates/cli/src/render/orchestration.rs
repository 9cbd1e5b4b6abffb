//! An orchestration: live, ended, whole.

use std::fmt::Write as _;

use protocol::rest::RestartStatus;
use protocol::rest::orchestrations::{JournalLine, Orchestration, Outcome, Step, StepState};

use crate::exit::Exit;

/// The exit code of an outcome.
pub(crate) fn exit(orchestration: &Orchestration) -> Exit {
    match orchestration.summary.outcome {
        Some(Outcome::Completed | Outcome::NotNeeded) => Exit::Done,
        Some(Outcome::Partial) => Exit::Partial,
        Some(Outcome::Failed | Outcome::Cancelled | Outcome::Skipped | Outcome::Unknown) => Exit::Failed,
        // It is still open: nothing went wrong with looking at it.
        None => Exit::Done,
    }
}

/// One line per step, as it stands: mark, title, subjects.
pub(crate) fn step_lines(orchestration: &Orchestration) -> Vec<String> {
    orchestration.steps.iter().map(step_line).collect()
}

fn step_line(step: &Step) -> String {
    let mark = match step.state {
        StepState::Pending => "·",
        StepState::Running => "▸",
        StepState::Done => "✓",
        StepState::Undoing => "◂",
        StepState::Undone => "↶",
    };
    let subjects: Vec<String> = step
        .subjects
        .iter()
        .map(|subject| {
            let state = subject.result.clone().or_else(|| subject.status.as_ref().map(|word| word.replace('_', " ")));
            let again = if subject.attempt > 1 { format!(", attempt {}", subject.attempt) } else { String::new() };
            match state {
                Some(state) => format!("{}: {state}{again}", subject.name),
                None => format!("{}{again}", subject.name),
            }
        })
        .collect();
    let subjects = if subjects.is_empty() { String::new() } else { format!("  ({})", subjects.join("; ")) };
    let until = step.deadline.map(|at| format!("  until {}", super::clock(at))).unwrap_or_default();
    format!("{mark} {}{subjects}{until}", step.title)
}

/// One line of the journal.
pub(crate) fn journal_line(line: &JournalLine) -> String {
    format!("{}  {}{}", super::clock(line.at), if line.good { "" } else { "! " }, line.text)
}

/// How it ended, or how it stands, in a few lines.
pub(crate) fn verdict(orchestration: &Orchestration) -> String {
    let summary = &orchestration.summary;
    let mut text = String::new();
    let state = match (summary.outcome, &summary.services) {
        (Some(outcome), _) => outcome.to_string(),
        (None, Some(progress)) => super::services::state(progress),
        (None, None) => super::words(&summary.status),
    };
    let what = if summary.services.is_some() { "rolling restart".to_owned() } else { summary.operation.to_string() };
    let _ = writeln!(text, "{} of {}: {state}", capital(&what), summary.host_name);
    if let Some(error) = &summary.error_message {
        let _ = writeln!(text, "  {error}");
    }
    if let (Some(before), Some(after)) = (orchestration.boot_before, orchestration.boot_after) {
        let _ =
            writeln!(text, "  boot {} -> {} (proof: {})", before.boot_id(), after.boot_id(), super::words(&orchestration.proof));
    }
    for child in &orchestration.children {
        let error = child.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        let _ = match (summary.outcome, child.restart_status) {
            (Some(_), RestartStatus::Running) => writeln!(text, "  {} is {} again", child.name, child.pre_reboot_status),
            (_, status) => writeln!(
                text,
                "  {}: stop {}, start {}{error}",
                child.name,
                super::words(&child.stop_status),
                super::words(&status)
            ),
        };
    }
    text
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// What somebody who does not follow it any more is told.
pub(crate) fn detached(orchestration: model::OrchestrationId) -> String {
    let [watch, cancel] = ["watch", "cancel"].map(|word| crate::again::command(&format!("{word} {orchestration}")));
    format!("Detached: orchestration {orchestration} goes on.\n  follow it   {watch}\n  cancel it   {cancel}\n")
}

/// All of it, for `orchestrations` and `cancel`.
pub(crate) fn whole(orchestration: &Orchestration) -> String {
    let mut text = verdict(orchestration);
    if let Some(reason) = &orchestration.unwinding
        && orchestration.summary.outcome.is_none()
    {
        let _ = writeln!(text, "  being taken back: {reason}");
    }
    if !orchestration.waiting_for.is_empty() {
        let _ = write!(text, "Waits for:\n{}", super::blockers(&orchestration.waiting_for));
    }
    for line in step_lines(orchestration) {
        let _ = writeln!(text, "  {line}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn live_progress_names_every_step_and_child() {
        let live = samples::orchestration(None);
        insta::assert_snapshot!(whole(&live));
        assert_eq!(exit(&live), Exit::Done);
    }

    #[test]
    fn a_partial_outcome_names_what_is_missing() {
        let partial = samples::orchestration(Some(Outcome::Partial));
        insta::assert_snapshot!(verdict(&partial));
        assert_eq!(exit(&partial), Exit::Partial);
        assert_eq!(exit(&samples::orchestration(Some(Outcome::Completed))), Exit::Done);
        assert_eq!(exit(&samples::orchestration(Some(Outcome::Cancelled))), Exit::Failed);
    }

    #[test]
    fn whoever_detaches_is_told_how_to_come_back() {
        insta::assert_snapshot!(detached(samples::orchestration(None).summary.id));
    }

    #[test]
    fn a_journal_line_has_a_time_and_marks_what_went_wrong() {
        let lines: Vec<String> = samples::journal().iter().map(journal_line).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
