//! G3 and G7: what an end claims is true, and everything is as it was before or named.

use engine::Outcome;
use model::{ChildStatus, Operation, TargetId};

use super::{Guarantee, TrackId};
use crate::fault::End;
use crate::sim::Sim;
use crate::world::Cause;

impl Sim {
    pub(super) fn check_end(&mut self, controller: usize, id: TrackId, outcome: Outcome, message: &str) {
        if self.checks.watched.get(&id).is_some_and(super::Watch::is_of_service) {
            self.check_unit_end(id, outcome, message);
            if self.scenario.healthy && !self.mode.is_cut() {
                self.check_journey(id, outcome, message);
            }
            return;
        }
        self.check_proof(id, outcome);
        self.check_restored(controller, id, outcome, message);
        if self.scenario.healthy && !self.mode.is_cut() {
            self.check_journey(id, outcome, message);
        }
    }

    /// G3.
    fn check_proof(&mut self, id: TrackId, outcome: Outcome) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        if watch.operation == Operation::Run {
            return self.check_ran(id, outcome);
        }
        let proven_before = watch.is_second_half();
        if !matches!(outcome, Outcome::Completed | Outcome::Partial) || proven_before {
            return;
        }
        let host = &self.hosts[watch.host];
        if watch.operation == Operation::Shutdown {
            // Ruling 28 asks no more than that it began and then was silent.
            if !watch.boot_commands.iter().any(|c| self.checks.claims.contains_key(c)) {
                let words = format!("{id} is {outcome}, and {} never claimed its shutdown", host.name);
                self.fail(Guarantee::G3, words);
            }
            return;
        }
        let proven = watch.boot_commands.iter().any(|command| {
            let (Some(claim), Some(issued)) = (self.checks.claims.get(command), self.checks.issued.get(command)) else {
                return false;
            };
            let boot = &host.boots[claim.boot];
            let expected = issued.command.action.expect_boot() == Some(boot.identity);
            expected && boot.ended.is_some_and(|(at, _)| at >= claim.at) && host.boots.len() > claim.boot + 1
        });
        if !proven {
            let words = format!("{id} is {outcome}, and {} was not rebooted under a claim of one of its commands", host.name);
            return self.fail(Guarantee::G3, words);
        }
        if outcome != Outcome::Completed {
            return;
        }
        let hold = self.scenario.config.health_hold;
        if watch.healthy.is_none_or(|(since, until)| until < since + hold) {
            let words = format!("{id} is completed, and {} did not hold its health gate after the reboot", host.name);
            return self.fail(Guarantee::G3, words);
        }
        let down = self.not_as_before(id);
        if !down.is_empty() {
            let words = format!("{id} is completed, and at its last probe {} was not as before", down.join(", "));
            self.fail(Guarantee::G3, words);
        }
    }

    /// Children that the last probe did not find as they were before.
    pub(super) fn not_as_before(&self, id: TrackId) -> Vec<String> {
        let Some(last) = self.checks.watched.get(&id).and_then(|w| w.last_probe.as_ref()) else {
            return vec!["nobody".to_owned()];
        };
        let wrong = self.baseline(id).into_iter().filter(|(child, before)| last.child(*child).map(|c| c.status) != Some(*before));
        wrong.filter_map(|(child, _)| self.name_of(child)).collect()
    }

    /// E12: a child that came late is asked to stop before the host goes down; once more, and then the policy decides.
    pub(super) fn check_late_children(&mut self, id: TrackId) {
        let Some(watch) = self
            .checks
            .watched
            .get(&id)
            .filter(|w| matches!(w.operation, Operation::OrchestratedReboot | Operation::RollingReboot))
        else {
            return;
        };
        let Some(report) = watch.last_probe.as_ref().filter(|_| watch.stop_rounds < 2) else { return };
        let late: Vec<&str> = report
            .children()
            .unwrap_or_default()
            .iter()
            .filter(|c| c.status.is_up() && !watch.stop_subjects.contains(&c.child.id))
            .map(|c| c.child.name.as_str())
            .collect();
        if !late.is_empty() {
            let words = format!(
                "{id} takes {} down under {}, which came late and was in no round of stopping",
                self.hosts[watch.host].name,
                late.join(", ")
            );
            self.fail(Guarantee::G7, words);
        }
    }

    /// What must be up again: what the plan stopped, and, once it ended a boot, what ran before.
    fn baseline(&self, id: TrackId) -> Vec<(TargetId, ChildStatus)> {
        let Some(watch) = self.checks.watched.get(&id) else { return Vec::new() };
        let ended_boot = watch.boot_commands.iter().any(|c| self.checks.boots_ended.contains_key(c));
        let before = |child: TargetId| watch.admission.as_ref().and_then(|r| r.child(child)).map(|c| c.status);
        let mut list: Vec<(TargetId, ChildStatus)> = Vec::new();
        for child in &self.hosts[watch.host].children {
            let id = child.who.id;
            let was = before(id).filter(|s| s.is_up());
            if watch.stopped.contains(&id) {
                // One that came late was running, or paused; either is as before.
                let late = if child.status == ChildStatus::Frozen { ChildStatus::Frozen } else { ChildStatus::Running };
                list.push((id, was.unwrap_or(late)));
            } else if let Some(was) = was.filter(|_| ended_boot) {
                list.push((id, was));
            }
        }
        list
    }

    /// G7.
    fn check_restored(&mut self, controller: usize, id: TrackId, outcome: Outcome, message: &str) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let host = &self.hosts[watch.host];
        if watch.started_at.is_none() {
            return;
        }
        if self.checks.stranded.contains_key(&host.id) {
            if !message.contains(&host.name) {
                let words = format!("{id} ends {outcome}: {} is stranded and not named in {message:?}", host.name);
                self.fail(Guarantee::G7, words);
            }
            return;
        }
        if watch.operation == Operation::Shutdown && outcome == Outcome::Completed {
            return;
        }
        let report = self.controllers[controller].reports.get(&host.id);
        let mut wrong = Vec::new();
        for (child, before) in self.baseline(id) {
            let Some(it) = host.child(child) else { continue };
            let truly = it.exists && it.status == before;
            let reported = report.and_then(|r| r.child(child)).is_some_and(|c| c.status == before);
            if truly || reported || it.was_brought_back(before) {
                continue;
            }
            let named = message.contains(&it.who.name) && self.checks.stranded.contains_key(&child);
            if !named {
                let now = if it.exists { it.status.to_string() } else { "gone".to_owned() };
                wrong.push(format!("{} was {before} and is {now}, neither restored nor stranded and named", it.who.name));
            }
        }
        let our_boot = watch.boot_commands.iter().any(|c| self.checks.boots_ended.contains_key(c));
        for it in host.children.iter().filter(|c| our_boot && c.is_up() && c.autostart && c.cause == Cause::Boot) {
            let before = watch.admission.as_ref().and_then(|r| r.child(it.who.id)).map(|c| c.status);
            let was_down = before == Some(ChildStatus::Stopped) && !watch.stopped.contains(&it.who.id);
            let seen = report.and_then(|r| r.child(it.who.id)).is_some_and(|c| c.status.is_up());
            if was_down && seen && !message.contains(&it.who.name) {
                wrong.push(format!("{} was down, the boot started it, and it was neither stopped again nor named", it.who.name));
            }
        }
        if !wrong.is_empty() {
            let words = format!("{id} ends {outcome} on {}: {}", host.name, wrong.join("; "));
            self.fail(Guarantee::G7, words);
        }
    }

    /// Without any fault what was begun ends well.
    fn check_journey(&mut self, id: TrackId, outcome: Outcome, message: &str) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        if watch.started_at.is_some() && !matches!(outcome, Outcome::Completed | Outcome::NotNeeded) {
            let words = format!("nothing went wrong, and {id} on {} ends {outcome}: {message}", self.hosts[watch.host].name);
            self.fail(Guarantee::Journey, words);
        }
    }

    /// A stranded target is called back by proof: then it truly is.
    pub(super) fn check_stranded_ended(&mut self, target: TargetId) {
        let gone = self.hosts.iter().find(|h| h.id == target).filter(|h| h.lost && !h.is_up());
        if let Some(host) = gone {
            let words = format!("{} never came back, and its stranding was ended as proven", host.name);
            self.fail(Guarantee::G3, words);
        }
    }
}

/// An outcome in the words of the counts.
pub(super) fn end_of(outcome: Outcome) -> End {
    match outcome {
        Outcome::Completed | Outcome::NotNeeded => End::Completed,
        Outcome::Partial => End::Partial,
        Outcome::Failed | Outcome::Skipped => End::Failed,
        Outcome::Unknown => End::Unknown,
        Outcome::Cancelled => End::Cancelled,
    }
}
