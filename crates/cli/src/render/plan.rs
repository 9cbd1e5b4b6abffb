//! What is about to be done, shown before anybody is asked.

use std::fmt::Write as _;

use model::Millis;
use protocol::rest::RebootPreCheck;
use protocol::rest::hosts::{Explanation, Host, PlannedStep};
use protocol::rest::orchestrations::{OnTimeout, RebootOptions};

/// The pre-check, the plan and what blocks it.
pub(crate) fn plan(host: &Host, pre_check: &RebootPreCheck, explanation: &Explanation, options: &RebootOptions) -> String {
    let mut text = String::new();
    let heard = host.last_heard.map_or_else(|| "not heard yet".to_owned(), |at| format!("last heard {}", super::time(at)));
    let _ = writeln!(text, "Host {} is {} ({heard})", host.name, host.state);
    if pre_check.total_children == 0 {
        text.push_str("It has no children.\n");
    } else {
        let _ = writeln!(text, "{} of its {} children are running:", pre_check.running_count, pre_check.total_children);
        for child in &pre_check.running_children {
            let _ = writeln!(text, "  {}  {}  {}", child.child_name, child.child_type, child.status);
        }
    }
    let _ = writeln!(text, "\nPlan: {}", explanation.operation);
    for (number, step) in (1..).zip(&explanation.steps) {
        let _ = writeln!(text, "  {number}. {}", planned(step, options));
    }
    if options.strict {
        text.push_str("  Any child that does not come back makes it fail.\n");
    }
    if let Some(force) = &options.force {
        let _ = writeln!(text, "\nForced: {}", force.reason);
    }
    if explanation.would_start {
        text.push_str("\nNothing blocks it.\n");
    } else {
        let _ = write!(text, "\nBlocked:\n{}", super::blockers(&explanation.blockers));
    }
    text
}

/// One step with whom it is done to and how long it may take.
fn planned(step: &PlannedStep, options: &RebootOptions) -> String {
    let who = if step.subjects.is_empty() { "nobody".to_owned() } else { step.subjects.join(", ") };
    let mut notes = vec![format!("at most {}", Millis::secs(step.limit_seconds))];
    if step.title.starts_with("stop running") {
        notes.push(match options.on_timeout.unwrap_or(OnTimeout::Proceed) {
            OnTimeout::Proceed => "then go on all the same".to_owned(),
            OnTimeout::ForceStop => "then cut off what still runs".to_owned(),
            OnTimeout::Abort => "then start again what was stopped, and give up".to_owned(),
        });
    }
    if step.irreversible {
        notes.push("from here on it cannot be cancelled".to_owned());
    }
    format!("{}: {who} ({})", step.title, notes.join("; "))
}

#[cfg(test)]
mod tests {
    use model::Operation;
    use protocol::rest::orchestrations::ForceOption;

    use super::*;
    use crate::render::samples;

    #[test]
    fn an_orchestrated_reboot_is_shown_step_by_step() {
        let (host, pre_check) = (samples::host(), samples::pre_check());
        let explanation = samples::explanation(Operation::OrchestratedReboot, Vec::new());
        insta::assert_snapshot!(plan(&host, &pre_check, &explanation, &RebootOptions::default()));
    }

    #[test]
    fn what_blocks_a_forced_reboot_is_listed() {
        let (host, pre_check) = (samples::host(), samples::pre_check());
        let explanation = samples::explanation(Operation::OrchestratedReboot, samples::blockers());
        let options = RebootOptions {
            shutdown_timeout_seconds: Some(30),
            on_timeout: Some(OnTimeout::ForceStop),
            strict: true,
            force: Some(ForceOption { reason: "kernel fix".to_owned() }),
        };
        insta::assert_snapshot!(plan(&host, &pre_check, &explanation, &options));
    }

    #[test]
    fn a_shutdown_says_that_the_host_stays_down() {
        let mut pre_check = samples::pre_check();
        (pre_check.running_children, pre_check.running_count, pre_check.total_children) = (Vec::new(), 0, 0);
        let explanation = samples::explanation(Operation::Shutdown, Vec::new());
        insta::assert_snapshot!(plan(&samples::host(), &pre_check, &explanation, &RebootOptions::default()));
    }
}
