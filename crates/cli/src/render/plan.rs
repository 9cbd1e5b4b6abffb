//! What is about to be done, shown before anybody is asked.

use std::fmt::Write as _;

use model::Operation;
use protocol::rest::RebootPreCheck;
use protocol::rest::hosts::{Explanation, Host};
use protocol::rest::orchestrations::{OnTimeout, RebootOptions};

/// How long children have to stop by default, in seconds (S0-69).
const DEFAULT_TIMEOUT_SECS: u64 = 120;

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
    for (index, step) in steps(host, pre_check, explanation.operation, options).iter().enumerate() {
        let _ = writeln!(text, "  {}. {step}", index + 1);
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

fn steps(host: &Host, pre_check: &RebootPreCheck, operation: Operation, options: &RebootOptions) -> Vec<String> {
    let name = &host.name;
    let names: Vec<&str> = pre_check.running_children.iter().map(|child| child.child_name.as_str()).collect();
    let names = names.join(", ");
    let mut steps = vec![format!("look at {name} again, and at what blocks it")];
    match operation {
        Operation::OrchestratedReboot => {
            let seconds = options.shutdown_timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECS);
            let then = match options.on_timeout.unwrap_or(OnTimeout::Proceed) {
                OnTimeout::Proceed => "then reboot all the same",
                OnTimeout::ForceStop => "then cut off what still runs",
                OnTimeout::Abort => "then start again what was stopped, and give up",
            };
            steps.push(format!("stop {names} (within {seconds} s, {then})"));
            steps.push(format!("reboot {name} (cannot be cancelled any more), and wait for proof of a new boot"));
            steps.push(format!("start {names} as before"));
            let strict = if options.strict { "; any child that is missing makes it fail" } else { "" };
            steps.push(format!("check that all is as it was{strict}"));
        }
        Operation::Reboot => {
            steps.push(format!("reboot {name} (cannot be cancelled any more), and wait for proof of a new boot"));
            steps.push("check that all is as it was".to_owned());
        }
        Operation::Shutdown => {
            steps.push(format!("shut {name} down (cannot be cancelled any more), and wait until it is silent"));
            steps.push(format!("{name} is off then, and counts as disrupted until it is heard again"));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
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
