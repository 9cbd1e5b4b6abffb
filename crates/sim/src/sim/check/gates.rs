//! G5: nothing is disrupted while a blocker holds, unless forced; the device's own limit cannot be forced.

use engine::Blocker;
use model::{Action, ChildStatus, Command, OrchestrationId, Readable};

use super::{Guarantee, TrackId};
use crate::sim::Sim;

impl Sim {
    /// The first command of a plan that changes anything.
    pub(super) fn check_first_disruption(&mut self, id: TrackId, command: &Command) {
        if self.checks.watched.get(&id).is_some_and(super::Watch::is_of_service) {
            return self.check_first_touch(id, command);
        }
        self.check_gates_again(id, command.issued_at);
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let forced = watch.forced;
        let Some(report) = &watch.admission else {
            let words = format!("{id} disrupts with {} before its first probe was answered", command.action.kind());
            return self.fail(Guarantee::G5, words);
        };
        if let Action::Run { expect_boot, .. } = command.action {
            // It ends no boot and stops no child: what speaks against those does not speak against it.
            if expect_boot != report.boot {
                let words = format!("{id} runs a command for boot {expect_boot}, and was admitted on {}", report.boot);
                self.fail(Guarantee::G2, words);
            }
            return;
        }
        let mut held = Vec::new();
        if report.rate.opens_in_ms.is_some() {
            held.push("the device's own rate limit".to_owned());
        }
        match &report.children {
            Readable::Unknown(_) => held.push("unknown children".to_owned()),
            Readable::Known(list) => {
                let odd = list.iter().filter(|c| matches!(c.status, ChildStatus::Creating | ChildStatus::Error));
                held.extend(odd.map(|c| format!("child {} is {}", c.child.name, c.status)));
            }
        }
        if !forced {
            if report.pending_shutdown != Readable::Known(None) {
                held.push("a pending shutdown".to_owned());
            }
            if report.inhibitors != Readable::Known(Vec::new()) {
                held.push("an inhibitor".to_owned());
            }
            let from = command.issued_at - self.scenario.config.lockout_window;
            let counted =
                self.checks.boot_ends.get(&command.target).map_or(0, |ends| ends.iter().filter(|at| **at > from).count());
            // The plan's own command may have been counted in the same transaction.
            let own = usize::from(command.action.kind().ends_boot());
            if counted >= self.scenario.config.lockout_count as usize + own {
                held.push(format!("the lockout ({counted} commanded in the window)"));
            }
        }
        if !held.is_empty() {
            let words = format!("{id} disrupts with {} although there is {}", command.action.kind(), held.join(" and "));
            self.fail(Guarantee::G5, words);
        }
    }

    /// What `explain` says is empty exactly when the request starts.
    pub(super) fn check_explained(&mut self, id: OrchestrationId, blockers: &[Blocker], started: bool) {
        if blockers.is_empty() != started {
            let why: Vec<String> = blockers.iter().map(|b| b.why.to_string()).collect();
            let words =
                format!("{id}: explain said [{}], and it {}", why.join("; "), if started { "began" } else { "did not begin" });
            self.fail(Guarantee::G5, words);
        }
    }
}
