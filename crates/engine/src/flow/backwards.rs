//! Taking back what was done, before the boot was ended: the list of steps is walked backwards (G7).

use model::broken::{self, Rule};
use model::{Direction, Place, StepAction, TargetId};

use super::Cursor;
use super::end::still_out;
use crate::decision::{Out, ended};
use crate::journal::Outcome;

impl Cursor<'_> {
    /// What was stopped is started again, what was drained (even half of it) is put back, and all is looked at once more; then
    /// the track ends.
    pub(super) fn backwards(&self) -> Option<Vec<Out>> {
        if broken::is(Rule::NoUnwind) {
            return Some(self.finish_unwound());
        }
        let undone = self.track.last.filter(|p| p.direction == Direction::Undo);
        let is_probe =
            |place: Place| self.plan.steps.get(place.step as usize).is_some_and(|s| matches!(s.action, StepAction::Probe { .. }));
        if undone.is_some_and(is_probe) {
            return self.another_round(Direction::Undo).or_else(|| Some(self.finish_unwound()));
        }
        let below = undone.map_or(self.plan.steps.len(), |last| last.step as usize);
        for (index, step) in self.plan.steps.iter().enumerate().take(below).rev() {
            let subjects = self.to_undo(index, &step.action);
            if !subjects.is_empty() {
                let place = Place { track: self.number, step: u32::try_from(index).ok()?, direction: Direction::Undo };
                return self.begin(place, subjects);
            }
        }
        // Nothing was done, or nothing is left to take back: in the second case that is proven.
        let proof = self.find(|a| matches!(a, StepAction::Probe { .. })).filter(|_| undone.is_some());
        let Some(step) = proof else { return Some(self.finish_unwound()) };
        self.begin(Place { track: self.number, step, direction: Direction::Undo }, vec![self.plan.target])
    }

    /// On whom the step is taken back; nobody when it was not begun.
    fn to_undo(&self, index: usize, action: &StepAction) -> Vec<TargetId> {
        match action {
            StepAction::Stop { .. } => {
                let stopped = self.track.children.iter().filter(|(_, c)| c.stop_asked && c.before.is_up());
                stopped.map(|(id, _)| *id).collect()
            }
            StepAction::Drain { drain, .. } if !broken::is(Rule::UndrainForgotten) => {
                let is_left = drain.filled(&self.plan.vars).is_ok_and(|d| self.track.drains.is_left(&d));
                if is_left && self.may_undrain(index) { vec![self.plan.target] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    /// What stands behind it must be there again: no work for a host whose children or units did not come back.
    fn may_undrain(&self, index: usize) -> bool {
        let children = self.track.children.values().all(|c| !c.stop_asked || c.start_failed.is_none());
        let inner = self.plan.steps.iter().zip(&self.track.undo).skip(index + 1);
        let failed = |run: &crate::track::StepRun| run.subjects.values().any(|s| s.failure().is_some());
        children && !inner.filter(|(s, _)| matches!(s.action, StepAction::Drain { .. })).any(|(_, run)| failed(run))
    }

    fn finish_unwound(&self) -> Vec<Out> {
        let reason = self.track.unwinding.clone().unwrap_or_default();
        let (mut out, mut troubles) = if broken::is(Rule::NoUnwind) { (Vec::new(), Vec::new()) } else { self.account() };
        let left = if broken::is(Rule::UndrainForgotten) { Vec::new() } else { self.track.drains.left() };
        if !left.is_empty() {
            let what = self.why_not_undrained();
            troubles.push(format!("{}: {what}", self.host_name()));
            let reason = format!("taken back ({reason}), and {what}{}", still_out(&left));
            out.push(self.strand(&reason, None, self.unfinished(left)));
        } else if self.plan.unfinished.is_some() && troubles.is_empty() && self.track.known().is_some() {
            // A retry that does not reboot the host has at least put it back as it was.
            out.extend(self.no_longer_stranded());
        }
        let cancelled = self.view.orchestration.cancelled_by.is_some() && !self.track.boot_end_issued();
        let outcome = match (troubles.is_empty(), self.track.skips) {
            (true, true) => Outcome::Skipped,
            (true, false) if cancelled => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        let reason = if troubles.is_empty() { reason } else { format!("{reason}; not restored: {}", troubles.join("; ")) };
        let kept_out = self.track.drains.kept_out().map(|why| format!("; {why}")).unwrap_or_default();
        let reason = format!("{reason}{kept_out}");
        out.push(ended(self.number, outcome, reason));
        out
    }

    /// Why it is still out of service, in words.
    fn why_not_undrained(&self) -> String {
        let mut failures = Vec::new();
        for (step, run) in self.plan.steps.iter().zip(&self.track.undo) {
            if let StepAction::Drain { drain, .. } = &step.action {
                let drain = drain.filled(&self.plan.vars).unwrap_or_else(|_| drain.clone());
                failures.extend(run.subjects.values().filter_map(|s| s.failure()).map(|f| format!("{drain}: {f}")));
            }
        }
        if failures.is_empty() {
            return "not put back into service, since what runs on it did not come back".to_owned();
        }
        format!("could not be put back into service: {}", failures.join("; "))
    }
}
