//! How long every answer to a probe has been good: the hold of the health gate, and the soak (pain 7).

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{Ack, AckStatus, Check, Observed, TargetId, Timestamp};

/// The answers to one probe, by subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// Those whose last answer was good: the good ones in a row, without some in the middle where there are many.
    good: BTreeMap<TargetId, Vec<Timestamp>>,
    /// What was wrong with the last answer.
    bad: BTreeMap<TargetId, Vec<String>>,
}

/// So many good answers in a row are kept.
const ANSWERS_KEPT: usize = 64;

impl Health {
    /// A final answer. One good answer after the other makes a hold; any other begins it anew. `stays`: the report in it shows
    /// all as before.
    pub(crate) fn told(&mut self, subject: TargetId, checks: &[Check], ack: &Ack, stays: bool, soaks: bool, at: Timestamp) {
        let wrong = wrong_with(checks, ack);
        let passed = wrong.is_empty() || broken::is(Rule::CheckIgnored);
        let ignored = broken::is(Rule::SoakIgnoresFailure) && soaks && self.good.contains_key(&subject);
        if ack.status == AckStatus::Completed && passed && stays || ignored {
            let row = self.good.entry(subject).or_default();
            if row.len() >= ANSWERS_KEPT {
                row.remove(1);
            }
            row.push(at);
            self.bad.remove(&subject);
        } else {
            self.good.remove(&subject);
            self.bad.insert(subject, wrong);
        }
    }

    /// It was asked and did not answer in time.
    pub(crate) fn unanswered(&mut self, subject: TargetId) {
        if !broken::is(Rule::SoakIgnoresFailure) {
            self.good.remove(&subject);
            self.bad.insert(subject, vec!["no answer".to_owned()]);
        }
    }

    /// Something changed that no answer tells.
    pub(crate) fn begin_anew(&mut self, subject: TargetId) {
        self.good.remove(&subject);
    }

    /// Whether its last answer was good.
    pub(crate) fn is_good(&self, subject: TargetId) -> bool {
        self.good.contains_key(&subject)
    }

    /// The first answers from this instant on, since which every answer of all these subjects was good, and until when all have
    /// answered.
    pub(crate) fn good_between(&self, subjects: &[TargetId], from: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let between = |id: &TargetId| {
            let row = self.good.get(id)?;
            Some((*row.iter().find(|at| **at >= from)?, *row.last()?))
        };
        let answers: Option<Vec<_>> = subjects.iter().map(between).collect();
        let answers = answers?;
        let since = answers.iter().map(|(since, _)| *since).max()?;
        Some((since, answers.iter().map(|(_, last)| *last).min()?))
    }

    /// What was wrong with the last answers, in words.
    pub(crate) fn wrong(&self) -> Vec<String> {
        self.bad.values().flatten().cloned().collect()
    }
}

/// What an answer says against health: its error, and every check that did not pass. A check without a result has not passed.
fn wrong_with(checks: &[Check], ack: &Ack) -> Vec<String> {
    if let Some(error) = &ack.error {
        return vec![format!("{}: {}", error.code, error.message)];
    }
    let results = match &ack.observed {
        Some(Observed::Checks(results)) => results.as_slice(),
        _ => &[],
    };
    let wrong = |check: &Check| match results.iter().find(|r| r.name == check.name) {
        Some(result) if result.passed => None,
        Some(result) => Some(format!("check {}: {}", check.name, result.detail)),
        None => Some(format!("check {}: no result", check.name)),
    };
    checks.iter().filter_map(wrong).collect()
}
