//! What follows from how a command ended. It is never run again, and nothing of it is taken back.

use model::broken::{self, Rule};
use model::{ErrorCode, Observed, Operation, Place, Step, StepAction};

use super::{Cursor, is_healthy};
use crate::decision::{Out, ended};
use crate::journal::{Entry, Outcome};
use crate::track::{Standing, StepRun};

impl Cursor<'_> {
    pub(super) fn after_run(&self, last: Place, run: &StepRun) -> Option<Vec<Out>> {
        let subject = run.subjects.get(&self.plan.target)?;
        let (outcome, reason) = match subject.standing() {
            Standing::Done(ack) => match &ack.observed {
                Some(Observed::Ran(ran)) if ran.is_good() || broken::is(Rule::ExitIgnored) => return self.go_on(last),
                Some(Observed::Ran(ran)) => {
                    let said = if ran.err.tail.trim().is_empty() { &ran.out.tail } else { &ran.err.tail };
                    let word = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
                    (Outcome::Failed, word.map_or_else(|| ran.to_string(), |word| format!("{ran}: {}", short(word))))
                }
                _ => (Outcome::Unknown, "it was run, and how it ended cannot be read".to_owned()),
            },
            Standing::Failed(error, _) if error.code == ErrorCode::OutcomeUnknown && broken::is(Rule::UnknownIsCompleted) => {
                return self.go_on(last);
            }
            Standing::Failed(error, _) => {
                let lost = error.code == ErrorCode::OutcomeUnknown;
                (if lost { Outcome::Unknown } else { Outcome::Failed }, format!("{}: {}", error.code, error.message))
            }
            // Its time went by while no controller was there, or one settled: it was never handed over, and nobody ran it.
            Standing::Open | Standing::Idle | Standing::TimedOut if subject.command.is_none() => {
                (Outcome::Failed, "it was not handed over by its deadline, and not run".to_owned())
            }
            // Handed over: nobody has said.
            Standing::Open | Standing::Idle | Standing::TimedOut => {
                let word = subject.failure().unwrap_or_else(|| "no answer".to_owned());
                (Outcome::Unknown, format!("whether it was run, and how it ended, is not known ({word}): look at the host"))
            }
        };
        Some(vec![ended(self.number, outcome, reason)])
    }

    /// The host must be well after it, where that was asked for; nothing was taken out of service, so nobody is stranded.
    pub(super) fn after_health_of_a_run(&self, last: Place, step: &Step, run: &StepRun) -> Option<Vec<Out>> {
        let mut why = self.track.health.wrong();
        if !self.is_check() {
            why.extend(self.not_as_before());
        }
        if is_healthy(self.view, step, last, self.track, run) && why.is_empty() {
            return self.go_on(last);
        }
        let why = if why.is_empty() { "it was not well without a break".to_owned() } else { why.join("; ") };
        let when = if self.is_check() { "not healthy" } else { "not healthy after the command" };
        Some(vec![ended(self.number, Outcome::Failed, format!("{when}: {why}"))])
    }

    fn not_as_before(&self) -> Vec<String> {
        let Some((_, report)) = &self.track.report else { return Vec::new() };
        let list = self.track.unrestored(report).unwrap_or_default();
        list.iter().map(|(id, up)| format!("{} is {} now", self.name(*id), if *up { "down" } else { "up" })).collect()
    }

    /// The end of a track that ran its command, or was well: nothing was stopped or drained that would have to be as before.
    pub(super) fn finish_run(&self) -> Option<Vec<Out>> {
        let has_checks = |step: &Step| matches!(&step.action, StepAction::Probe { checks, .. } if !checks.is_empty());
        // Green is not to be taken for more than it is.
        let unchecked = self.is_check() && !self.plan.steps.iter().any(has_checks);
        let reason = unchecked.then(|| "it answers; no check is configured for it".to_owned());
        let end = Entry::TrackEnded { track: self.number, outcome: Outcome::Completed, reason };
        (!self.view.orchestration.request.operation.ends_boot()).then(|| vec![Out::Own(end)])
    }

    fn is_check(&self) -> bool {
        self.view.orchestration.request.operation == Operation::HealthCheck
    }
}

/// One line of a reason.
pub(super) fn short(word: &str) -> String {
    word.chars().filter(|c| !c.is_control()).take(200).collect()
}
