//! How a track ends that was not taken back, and what is stranded with it.

use model::broken::{self, Rule};
use model::{ChildReport, Drained, OrchestrationId, Planner, StepAction, TargetId, Unfinished};

use super::{Cursor, is_healthy};
use crate::child::ChildState;
use crate::decision::{Out, ended, leaves_down};
use crate::drained::in_service;
use crate::journal::{Entry, FleetEntry, OpenBoot, Outcome};
use crate::track::TrackState;

impl Cursor<'_> {
    /// The host did not come back by its deadline: it and what ran on it are stranded, and named (G7).
    pub(super) fn strand_host(&self, what: &str, last_word: Option<String>) -> Vec<Out> {
        let reason = match last_word {
            Some(word) => format!("no new boot identity by the deadline of the {what} (last word: {word})"),
            None => format!("no word on the {what} by its deadline"),
        };
        let left = self.track.drains.left();
        let reason = format!("{reason}{}", still_out(&left));
        let mut out = vec![self.strand(&reason, self.track.open_boot(), self.unfinished(left))];
        let down: Vec<TargetId> = self.track.children.iter().filter(|(_, c)| c.before.is_up()).map(|(id, _)| *id).collect();
        let names: Vec<String> = down.iter().map(|id| self.name(*id)).collect();
        out.extend(down.iter().map(|id| self.strand_child(*id, true, "its host did not come back")));
        let children = if names.is_empty() { String::new() } else { format!("; not back with it: {}", names.join(", ")) };
        out.push(ended(self.number, Outcome::Failed, format!("host {} is stranded: {reason}{children}", self.host_name())));
        out
    }

    /// The host is back and not well: it stays as it is, out of service or not, and is named (G7, decision 14).
    pub(super) fn strand_unhealthy(&self, reason: String) -> Vec<Out> {
        let (mut out, _) = self.account();
        let left = self.track.drains.left();
        let reason = format!("{reason}{}", still_out(&left));
        out.push(self.strand(&reason, None, self.unfinished(left)));
        out.push(ended(self.number, Outcome::Failed, format!("host {} is stranded: {reason}", self.host_name())));
        out
    }

    /// The second half of what an earlier orchestration began was not even begun: what it left stays as it is.
    pub(super) fn give_up(&self, reason: String) -> Vec<Out> {
        // Named, as at its first end: whoever reads this one need not look for that (G7).
        let stays = self.view.fleet.stranded_now(self.plan.target).map(|_| format!("host {} stays stranded: ", self.host_name()));
        vec![ended(self.number, Outcome::Failed, stays.unwrap_or_default() + &reason)]
    }

    /// What a retry has to finish; `None` when that is nothing: the state then ends by proof alone.
    pub(super) fn unfinished(&self, drained: Vec<Drained>) -> Option<Unfinished> {
        let proven = match self.track.boot_proven_at {
            Some(_) => self.track.boot_after,
            None if self.is_second_half() => self.plan.unfinished.as_ref().and_then(|u| u.proven).or(self.track.boot_before),
            None => None,
        };
        let it = self.view.orchestration;
        let is_left = |c: &ChildState| !self.track.known().is_some_and(|report| c.is_as_before(report, c.child.id));
        let children: Vec<ChildReport> = self.track.children.values().filter(|c| is_left(c)).map(ChildState::before).collect();
        // No report tells that checks pass.
        let is_checked = |s: &model::Step| matches!(&s.action, StepAction::Probe { checks, .. } if !checks.is_empty());
        let is_checked = self.plan.steps.iter().any(is_checked);
        let is_left = proven.is_some() || !drained.is_empty() || is_checked || children.iter().any(|c| c.status.is_up());
        let root = Some(it.request.rollout.as_ref()?.root(it.id));
        is_left.then_some(Unfinished { proven, drained, open_boot: None, children, root })
    }

    fn root(&self) -> Option<OrchestrationId> {
        let it = self.view.orchestration;
        it.request.rollout.as_ref().map(|r| r.root(it.id)).filter(|root| *root != it.id)
    }

    pub(super) fn strand(&self, reason: &str, open_boot: Option<OpenBoot>, unfinished: Option<Unfinished>) -> Out {
        Out::Fleet(FleetEntry::Stranded {
            target: self.plan.target,
            host: self.plan.target,
            name: self.host_name(),
            orchestration: self.view.orchestration.id,
            root: self.root(),
            reason: reason.to_owned(),
            expected_up: true,
            open_boot,
            unfinished,
            service: false,
        })
    }

    fn strand_child(&self, id: TargetId, expected_up: bool, reason: &str) -> Out {
        Out::Fleet(FleetEntry::Stranded {
            target: id,
            host: self.plan.target,
            name: self.name(id),
            orchestration: self.view.orchestration.id,
            root: self.root(),
            reason: reason.to_owned(),
            expected_up,
            open_boot: None,
            unfinished: None,
            service: false,
        })
    }

    pub(super) fn host_name(&self) -> String {
        self.plan.name.clone()
    }

    /// The end of a track that was not taken back.
    pub(super) fn finish(&self) -> Vec<Out> {
        let it = self.view.orchestration;
        if let Some(out) = self.finish_service() {
            return out;
        }
        if let Some(out) = self.finish_run() {
            return out;
        }
        if leaves_down(it.request.operation) {
            return vec![Out::Own(Entry::TrackEnded { track: self.number, outcome: Outcome::Completed, reason: None })];
        }
        let again =
            (self.track.boots_after > 0).then(|| format!("boots after the proven one, by itself: {}", self.track.boots_after));
        if it.plan.planner == Planner::Rollout {
            return self.finish_healthy(again);
        }
        let (mut out, troubles) = self.account();
        let up_before = self.track.children.values().filter(|c| c.before.is_up()).count();
        let failed = troubles.len();
        let none_came_up =
            up_before > 0 && self.track.children.values().filter(|c| c.before.is_up()).all(|c| self.is_down(c.child.id));
        let (outcome, reason) = if failed == 0 && self.ended_healthy() {
            (Outcome::Completed, again)
        } else if failed == 0 {
            (Outcome::Failed, Some("the host rebooted but was not seen healthy in time".to_owned()))
        } else if it.request.options.strict || none_came_up || !self.is_known() {
            (Outcome::Failed, Some(troubles.join("; ")))
        } else {
            (Outcome::Partial, Some(troubles.join("; ")))
        };
        out.push(Out::Own(Entry::TrackEnded { track: self.number, outcome, reason }));
        out
    }

    /// The last step of a rollout's track ended well: nothing may be left out of service.
    fn finish_healthy(&self, reason: Option<String>) -> Vec<Out> {
        let troubles = self.troubles();
        if !troubles.is_empty() || !self.track.drains.left().is_empty() && !broken::is(Rule::UndrainForgotten) {
            return self.strand_unhealthy(format!("not as it was: {}", troubles.join("; ")));
        }
        let mut out: Vec<Out> = self.no_longer_stranded().into_iter().collect();
        let reason: Vec<String> = reason.into_iter().chain(self.track.drains.kept_out()).collect();
        let reason = (!reason.is_empty()).then(|| reason.join("; "));
        out.push(Out::Own(Entry::TrackEnded { track: self.number, outcome: Outcome::Completed, reason }));
        out
    }

    /// The end of the stranded state that this track was to end.
    pub(super) fn no_longer_stranded(&self) -> Option<Out> {
        self.view.fleet.stranded_now(self.plan.target)?;
        let boot = self.track.report.as_ref().map(|(_, r)| r.boot);
        Some(Out::Fleet(FleetEntry::StrandedEnded { target: self.plan.target, proven: true, boot }))
    }

    fn ended_healthy(&self) -> bool {
        let found =
            self.track.last.and_then(|last| Some((last, self.plan.steps.get(last.step as usize)?, self.track.run(last)?)));
        found.is_some_and(|(last, step, run)| is_healthy(self.view, step, last, self.track, run))
    }

    fn is_known(&self) -> bool {
        self.track.known().is_some()
    }

    fn is_down(&self, id: TargetId) -> bool {
        let seen = self.track.known().and_then(|r| r.child(id));
        !seen.is_some_and(|c| c.status.is_up())
    }

    /// What is not as it was, in words.
    pub(super) fn troubles(&self) -> Vec<String> {
        self.account().1
    }

    /// Every child that is not as it was: stranded, and named with its reason (G7, E28).
    pub(super) fn account(&self) -> (Vec<Out>, Vec<String>) {
        let mut out = Vec::new();
        let mut troubles = Vec::new();
        for (id, child) in &self.track.children {
            let known = self.track.known();
            let now = known.and_then(|r| r.child(*id)).map(|c| c.status);
            let unwinding = self.track.unwinding.is_some();
            let wrong = if child.before.is_up() {
                // Taken back on the same boot, only what this plan stopped is its business.
                now != Some(child.before) && (!unwinding || child.stop_asked)
            } else {
                let may_be_up = known.is_none() || now.is_some_and(|s| s.is_up() || s == model::ChildStatus::Creating);
                !unwinding && child.autostart && may_be_up && !broken::is(Rule::BootStartedStayUp)
            };
            if !wrong {
                continue;
            }
            let expected_up = child.before.is_up();
            let failure = if expected_up { &child.start_failed } else { &child.stop_failed };
            let why = match (failure, now) {
                (Some(failure), _) => failure.clone(),
                (None, None) if known.is_none() => {
                    format!("is not known to be as before ({}): the host has not told since", child.before)
                }
                (None, Some(now)) => format!("is {now}, was {}", child.before),
                (None, None) => "is missing from the list of children".to_owned(),
            };
            troubles.push(format!("{}: {why}", child.child.name));
            out.push(self.strand_child(*id, expected_up, &why));
        }
        (out, troubles)
    }
}

/// Names what was in service before and is not now, for the end of a sentence.
pub(super) fn still_out(left: &[Drained]) -> String {
    let names: Vec<String> = left.iter().flat_map(|d| in_service(&d.prior)).collect();
    if names.is_empty() { String::new() } else { format!("; still out of service: {}", names.join(", ")) }
}

/// What a track that is broken off leaves behind, for the end of a sentence; empty when it left all as it was.
pub(crate) fn left_behind(track: &TrackState) -> String {
    let stopped = track.children.values().filter(|c| c.stop_asked && c.before.is_up());
    let stopped: Vec<&str> = stopped.map(|c| c.child.name.as_str()).collect();
    let stopped = if stopped.is_empty() { String::new() } else { format!("; it had stopped: {}", stopped.join(", ")) };
    let service = if track.service.has_begun() { "; its service may not be as it was" } else { "" };
    still_out(&track.drains.left()) + &stopped + service
}
