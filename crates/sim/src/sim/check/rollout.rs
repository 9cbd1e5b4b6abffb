//! What holds for rollouts: gates and budgets at each start, restoration of what was drained, and no host put back into
//! service that is not healthy.

use std::collections::BTreeMap;

use engine::Outcome;
use model::{
    AckStatus, Action, Command, Direction, Drain, ItemState, Observed, OrchestrationId, Readable, Recheck, Site, StepAction,
    TargetId, Timestamp,
};

use super::{Guarantee, TrackId};
use crate::fault::End;
use crate::sim::Sim;
use crate::world::{Cause, Time};

/// What the checks remember of a track's drains and probes.
#[derive(Default)]
pub(crate) struct Service {
    /// Whether jobs and place took work when the track began, by the truth.
    pub(crate) before: Option<(bool, bool)>,
    /// What the first observation of each drain told.
    pub(crate) observed: BTreeMap<String, Vec<ItemState>>,
    /// Last result of the checks at each place, in the present step.
    pub(crate) results: BTreeMap<TargetId, bool>,
    /// Since when, and until when, the soak saw only good answers.
    pub(crate) soak: Option<(Timestamp, Timestamp)>,
    /// When it was last looked whether anybody is up before the reboot.
    pub(crate) looked_at: Option<Time>,
    /// Something was drained by it.
    pub(crate) drained: bool,
    /// A step is open.
    pub(crate) open: bool,
}

impl super::Checks {
    /// Hosts of a run whose tracks did not end well, or did not begin.
    pub(crate) fn left_undone(&self, id: OrchestrationId) -> Vec<usize> {
        let tracks = self.watched.iter().filter(|(TrackId(run, _), _)| *run == id);
        let undone = |o: Option<Outcome>| !matches!(o, Some(Outcome::Completed | Outcome::NotNeeded));
        tracks.filter(|(_, w)| undone(w.ended)).map(|(_, w)| w.host).collect()
    }
}

fn key(drain: &Drain) -> String {
    format!("{drain:?}")
}

impl Sim {
    /// A track of a rollout begins: every gate is open (G4, G5).
    pub(super) fn check_gates(&mut self, id: TrackId, at: Timestamp) {
        if let Some(words) = self.shut_gate(id, at) {
            self.fail(words.0, format!("{id} begins on {}: {}", self.host_of(id), words.1));
        }
        let host = self.checks.watched.get(&id).map(|w| w.host);
        if let Some(host) = host {
            let it = &self.hosts[host];
            let before = (it.jobs.as_ref().is_none_or(|s| s.in_service), it.place.in_service);
            if let Some(watch) = self.checks.watched.get_mut(&id) {
                watch.service.before = Some(before);
            }
        }
        if let Some(run) = self.checks.runs.get_mut(&id.0) {
            run.last_start = Some(at);
        }
    }

    /// G6: a track that is over holds its host no more.
    pub(super) fn check_let_go(&mut self, id: TrackId) {
        let Some(host) = self.checks.watched.get(&id).map(|w| w.host) else { return };
        // Services of one host share its lock.
        if self.checks.watched.iter().any(|(other, w)| other.0 == id.0 && w.host == host && w.ended.is_none()) {
            return;
        }
        if self.checks.locked.get(&self.hosts[host].id) == Some(&id.0) {
            self.fail(Guarantee::G6, format!("{id} is over and still holds {}", self.hosts[host].name));
        }
    }

    /// G7: what is left to finish on a stranded host is finished by a retry, or a person says so.
    pub(super) fn check_finished(&mut self, target: TargetId) {
        let Some(host) = self.host_index(target) else { return };
        let mut tracks = self.checks.watched.values().filter(|w| w.host == host && w.started_at.is_some() && w.ended.is_none());
        if !tracks.any(|w| w.unfinished.is_some()) {
            let words = format!("{} is called back, and what was drained on it was never put back", self.hosts[host].name);
            self.fail(Guarantee::G7, words);
        }
    }

    /// G1: a slot is one unavailable member more.
    pub(super) fn check_slot(&mut self, name: &str) {
        let Some(group) = self.checks.groups.iter().find(|g| g.name == name) else { return };
        let working = group.members.iter().filter(|(host, _)| self.checks_takes_down(*host)).count() as u32;
        let stranded = group.members.iter().filter(|(host, child)| {
            child.is_none() && !self.checks_takes_down(*host) && self.checks.stranded.contains_key(&self.hosts[*host].id)
        });
        let down = working + stranded.count() as u32 + self.checks.slots.get(name).copied().unwrap_or_default();
        if down > group.limit {
            let words =
                format!("a slot of group {name} is given away: {down} are unavailable then, and its limit is {}", group.limit);
            self.fail(Guarantee::G1, words);
        }
    }

    fn host_of(&self, id: TrackId) -> String {
        self.checks.watched.get(&id).map_or_else(String::new, |w| self.hosts[w.host].name.clone())
    }

    fn shut_gate(&self, id: TrackId, at: Timestamp) -> Option<(Guarantee, String)> {
        let run = self.checks.runs.get(&id.0)?;
        if run.request.services.is_some() {
            return self.check_service_gate(id);
        }
        let rollout = run.request.rollout.as_ref()?;
        let total = u32::try_from(run.request.targets.len()).unwrap_or(u32::MAX);
        let own: Vec<(&TrackId, &super::Watch)> = self.checks.watched.iter().filter(|(t, _)| t.0 == id.0).collect();
        let failures =
            own.iter().filter(|(_, w)| matches!(w.ended, Some(Outcome::Failed | Outcome::Partial | Outcome::Unknown))).count()
                as u32;
        let budget = rollout.failure_budget.of(total).max(run.accepted_failures);
        let host = self.checks.watched.get(&id)?.host;
        let second_half = self.only_brings_back(self.checks.watched.get(&id)?);
        if failures > budget && !second_half {
            return Some((Guarantee::G4, format!("{failures} have failed, and the budget is {budget}")));
        }
        let running = own.iter().filter(|(t, w)| **t != id && w.started_at.is_some() && w.ended.is_none()).count() as u32;
        let limit = rollout.concurrency.of(total).max(1);
        if running >= limit {
            return Some((Guarantee::G5, format!("{running} are worked on, and the concurrency is {limit}")));
        }
        if run.paused && !second_half {
            return Some((Guarantee::G5, "the rollout is paused".to_owned()));
        }
        let wave_of = |track: u32| run.waves.get(track as usize).copied().unwrap_or_default();
        let wave = wave_of(id.1);
        if own.iter().any(|(t, w)| wave_of(t.1) < wave && w.ended.is_none()) {
            return Some((Guarantee::G5, "an earlier wave is not over".to_owned()));
        }
        if run.plan.waves.get(wave).is_some_and(|w| w.approval) && !run.agreed.contains(&wave) {
            return Some((Guarantee::G5, format!("nobody agreed to wave {wave}")));
        }
        if second_half {
            return None;
        }
        if run.last_start.is_some_and(|last| at < last + rollout.stagger) {
            return Some((Guarantee::G5, "closer to the last start than the stagger".to_owned()));
        }
        let forced = run.request.options.force.is_some();
        if self.checks.frozen && !forced {
            return Some((Guarantee::G5, "the fleet is frozen".to_owned()));
        }
        if self.checks.held.contains(&self.hosts[host].id) && !forced {
            return Some((Guarantee::G5, "a person holds the host".to_owned()));
        }
        self.shut_window(run, at)
    }

    /// What ends no boot only brings back what was begun before: that is held back by people alone.
    pub(super) fn only_brings_back(&self, watch: &super::Watch) -> bool {
        let boot = self.hosts[watch.host].boots.last().map(|boot| boot.identity);
        watch.unfinished.as_ref().is_some_and(|left| left.is_second_half(boot))
    }

    fn shut_window(&self, run: &super::Run, at: Timestamp) -> Option<(Guarantee, String)> {
        let rollout = run.request.rollout.as_ref()?;
        let forced = run.request.options.force.is_some();
        let (from, to) = self.scenario.window.filter(|_| !rollout.windows.is_empty() && !forced)?;
        let minute = at.millis().rem_euclid(24 * 3_600_000) / 60_000;
        let words = || format!("the window is from minute {from} to {to}, and it is minute {minute}");
        (minute < from || minute >= to).then(|| (Guarantee::G5, words()))
    }

    /// G5: between the start of a track and its first disruption the gates may have shut again.
    pub(super) fn check_gates_again(&mut self, id: TrackId, at: Timestamp) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let Some(run) = self.checks.runs.get(&id.0) else { return };
        if run.request.rollout.is_none() || run.request.options.force.is_some() || self.only_brings_back(watch) {
            return;
        }
        let held = self.checks.held.contains(&self.hosts[watch.host].id).then(|| "a person holds the host".to_owned());
        let frozen = self.checks.frozen.then(|| "the fleet is frozen".to_owned());
        let words = held.or(frozen).or_else(|| self.shut_window(run, at).map(|(_, words)| words));
        if let Some(words) = words {
            let host = self.hosts[watch.host].name.clone();
            self.fail(Guarantee::G5, format!("{id} takes the first thing on {host} down: {words}"));
        }
    }

    /// What was not looked at, since no controller was there, was not good.
    pub(super) fn soaks_begin_anew(&mut self) {
        for watch in self.checks.watched.values_mut().filter(|w| w.service.open) {
            watch.service.soak = None;
        }
    }

    /// A command of a rollout's own kinds was journaled.
    pub(super) fn check_service_command(&mut self, id: TrackId, direction: Direction, command: &Command) {
        let Some(watch) = self.checks.watched.get_mut(&id) else { return };
        let host = self.hosts[watch.host].name.clone();
        match &command.action {
            Action::Drain { drain, .. } => {
                watch.service.drained = true;
                if !watch.service.observed.contains_key(&key(drain)) && watch.unfinished.is_none() {
                    self.fail(Guarantee::G7, format!("{id} drains {host} before it knows what is in service there"));
                }
            }
            Action::Undrain { drain, prior, .. } => {
                let known = watch.service.observed.get(&key(drain));
                let left = watch.unfinished.as_ref().and_then(|u| u.drained.iter().find(|d| d.drain == *drain)).map(|d| &d.prior);
                if left.or(known) != Some(prior) {
                    return self.fail(Guarantee::G7, format!("{id} puts {host} back to something else than it was"));
                }
                let came_back = watch.reboot_done || watch.is_second_half();
                let healthy = watch.healthy.is_some() && watch.service.results.values().all(|passed| *passed);
                if direction == Direction::Do && came_back && !healthy && !drain.stops_work() {
                    self.fail(Guarantee::G3, format!("{id} puts {host} back into service, and it was not seen healthy"));
                }
            }
            Action::Reboot { .. } => {
                let it = &self.hosts[watch.host];
                let drains =
                    |site| watch.steps.iter().any(|s| matches!(s, StepAction::Drain { drain, .. } if drain.site() == site));
                let open = [(Site::Target, it.jobs.as_ref()), (Site::Controller, Some(&it.place))];
                let looked_at = watch.service.looked_at.unwrap_or(0);
                let still = open
                    .into_iter()
                    .filter_map(|(site, s)| s.filter(|s| drains(site) && s.in_service && s.changed.1 < looked_at));
                if still.count() > 0 {
                    return self.fail(Guarantee::G7, format!("{id} reboots {host}, which is in service"));
                }
                let root = self.checks.runs.get(&id.0).and_then(|run| run.request.rollout.as_ref()).map(|r| r.root(id.0));
                let late = self.checks.open_boots.get(&it.id).filter(|(of, _)| Some(*of) == root);
                if let Some((_, open)) = late
                    && command.action.expect_boot() != Some(open.expect_boot)
                {
                    let words = format!("{id} reboots {host} once more, which came back late from {}", open.command);
                    return self.fail(Guarantee::G2, words);
                }
                let required = watch.admission.as_ref().is_some_and(|r| matches!(r.reboot_required, Readable::Known(Some(_))));
                // A retry finishes what was begun: what it needs was said then.
                if watch.only_if_required && !required && watch.unfinished.is_none() {
                    self.fail(Guarantee::G5, format!("{id} reboots {host}, which did not say that it needs it"));
                }
            }
            _ => {}
        }
    }

    /// What a performer answered, beside its report.
    pub(super) fn note_service(
        &mut self,
        id: TrackId,
        step: Option<&StepAction>,
        subject: TargetId,
        ack: &model::Ack,
        at: Timestamp,
    ) {
        let Some(watch) = self.checks.watched.get_mut(&id) else { return };
        let done = ack.status == AckStatus::Completed;
        match step {
            Some(StepAction::Observe { .. }) => {
                let drain = self.checks.issued.get(&ack.command).and_then(|i| match &i.command.action {
                    Action::Observe { drain } => Some(key(drain)),
                    _ => None,
                });
                if let (Some(drain), Some(Observed::Items(items)), true) = (drain, &ack.observed, done) {
                    watch.service.observed.entry(drain).or_insert_with(|| items.clone());
                }
            }
            Some(StepAction::Probe { recheck: recheck @ (Recheck::Restored | Recheck::Soak), checks, .. })
                if ack.status.is_final() =>
            {
                let results = match &ack.observed {
                    Some(Observed::Checks(results)) => results.iter().all(|r| r.passed),
                    _ => {
                        checks.is_empty()
                            || subject != TargetId::CONTROLLER && !checks.iter().any(|c| c.site() == model::Site::Target)
                    }
                };
                let good = done && results;
                watch.service.results.insert(subject, good);
                if *recheck == Recheck::Soak {
                    let all = watch.service.results.values().all(|passed| *passed);
                    let since = watch.service.soak.map_or(at, |(since, _)| since);
                    watch.service.soak = (good && all).then_some((since, at));
                }
            }
            _ => {}
        }
    }

    /// A track of a rollout is over: what it took out of service is back, as it was, or the host is stranded (G7).
    pub(super) fn check_service_end(&mut self, id: TrackId, outcome: Outcome) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        match outcome {
            Outcome::NotNeeded => self.counts.end(End::NotNeeded),
            Outcome::Skipped if watch.started_at.is_some() => self.counts.end(End::Skipped),
            _ => {}
        }
        let host = &self.hosts[watch.host];
        let Some((jobs, place)) = watch.service.before.filter(|_| watch.service.drained) else { return };
        if self.checks.stranded.contains_key(&host.id) {
            return;
        }
        let is_ours = |cause: Cause| matches!(cause, Cause::Command(c) if self.checks.issued.get(&c).is_some_and(|i| i.command.orchestration == id.0));
        let mut wrong = Vec::new();
        let pairs = [("jobs", host.jobs.as_ref(), jobs), ("place behind the balancer", Some(&host.place), place)];
        for (what, service, before) in pairs {
            if let Some(service) = service
                && service.in_service != before
                && is_ours(service.changed.0)
                && watch.unfinished.is_none()
            {
                wrong.push(format!("its {what} is {}", service.state));
            }
        }
        if !wrong.is_empty() {
            let words = format!("{id} ends {outcome}, and {} is not as it was: {}", host.name, wrong.join(", "));
            return self.fail(Guarantee::G7, words);
        }
        if outcome == Outcome::Completed
            && let Some(hold) = watch.soak
            && watch.service.soak.is_none_or(|(since, until)| until < since + hold)
        {
            let words = format!("{id} is completed, and {} was not seen healthy for the whole soak", host.name);
            self.fail(Guarantee::G3, words);
        }
    }
}
