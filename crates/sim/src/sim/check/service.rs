//! Services: what is restarted comes after what it depends on, once, and well; what did not go well is as it was, or named; and
//! nobody touches anything else.

use std::collections::BTreeMap;

use engine::Outcome;
use model::{Action, Command, CommandId, Direction, InvocationId, Moment, Observed, Operation, Place, ServiceVerb, StepAction};

use super::{Guarantee, TrackId, Watch};
use crate::fault::End;
use crate::sim::Sim;
use crate::units::What;
use crate::world::Time;

/// How a service truly was when it was looked at.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    at: Time,
    up: bool,
    healthy: bool,
    run: Option<InvocationId>,
    tree: String,
    runs: String,
}

/// What the checks know of the service of a track.
#[derive(Default)]
pub(crate) struct OfService {
    /// Which of the units of its host.
    unit: Option<usize>,
    /// What it waits for.
    after: Vec<u32>,
    looks: BTreeMap<CommandId, Vec<Look>>,
    before: Option<Look>,
    last: Option<Look>,
    back: Option<Look>,
    restart_issued: bool,
}

impl OfService {
    pub(super) fn of(unit: Option<usize>, after: &[u32]) -> Self {
        Self { unit, after: after.to_vec(), ..Self::default() }
    }
}

impl Watch {
    pub(super) fn is_of_service(&self) -> bool {
        self.operation == Operation::RestartServices
    }
}

impl Sim {
    /// Whether a track takes a host down, or something on it.
    pub(crate) fn checks_takes_down(&self, host: usize) -> bool {
        let is_it = |w: &Watch| w.host == host && w.started_at.is_some() && w.ended.is_none() && !w.is_of_service();
        self.checks.watched.values().any(is_it)
    }

    fn track_of(&self, command: CommandId) -> Option<TrackId> {
        let issued = self.checks.issued.get(&command)?;
        Some(TrackId(issued.command.orchestration, issued.place?.track))
    }

    pub(crate) fn check_unit_looked_at(&mut self, host: usize, unit: usize, id: CommandId) {
        let it = &self.hosts[host].units[unit];
        let (tree, runs) = (it.tree.clone(), it.runs.clone());
        let look = Look { at: self.now, up: it.is_up(), healthy: it.is_healthy(), run: it.run, tree, runs };
        if let Some(watch) = self.track_of(id).and_then(|id| self.checks.watched.get_mut(&id)) {
            watch.of_service.looks.entry(id).or_default().push(look);
        }
    }

    /// A tool is run on a service: on one that was asked for, by a track that runs, under the lock of its host, and after all that
    /// the service depends on.
    pub(crate) fn check_unit_touched(&mut self, host: usize, unit: usize, command: &Command) {
        if let Err((guarantee, words)) = self.judge_touch(host, unit, command) {
            let it = &self.hosts[host];
            let words = format!("{} of {} on {}: {words}", command.action.kind(), it.units[unit].name, it.name);
            self.fail(guarantee, words);
        }
    }

    fn judge_touch(&self, host: usize, unit: usize, command: &Command) -> Result<(), (Guarantee, String)> {
        let Some((id, watch)) = self.track_of(command.id).and_then(|id| Some((id, self.checks.watched.get(&id)?))) else {
            return Ok(());
        };
        if watch.host != host || watch.of_service.unit != Some(unit) {
            return Err((Guarantee::G7, format!("{id} is not about it")));
        }
        let Action::Service { verb, .. } = &command.action else { return Ok(()) };
        let clocks_hold = self.hosts[host].clock_stepped_at.is_none() && !self.checks.controller_clock_stepped;
        let harmless = matches!(verb, ServiceVerb::BackUp { .. } | ServiceVerb::Migrate { .. });
        if let Some(outcome) = watch.ended {
            return if harmless || !clocks_hold { Ok(()) } else { Err((Guarantee::G7, format!("{id} was ended as {outcome}"))) };
        }
        if self.checks.locked.get(&self.hosts[host].id) != Some(&id.0) {
            return Err((Guarantee::G5, format!("{id} has not the lock of the host")));
        }
        if matches!(verb, ServiceVerb::Stop { .. }) && !watch.of_service.restart_issued {
            return Err((Guarantee::G7, format!("{id} has not restarted it")));
        }
        Ok(())
    }

    /// G2: the run that a request found is ended once for it.
    pub(crate) fn check_unit_restarted(&mut self, host: usize, unit: usize, by: CommandId) {
        let of = |id: &CommandId| self.checks.issued.get(id).map(|i| i.command.orchestration);
        let mine = of(&by);
        let done = self.hosts[host].units[unit].done.iter();
        let times = done.filter(|d| d.what == What::Restarted && of(&d.by) == mine).count();
        if mine.is_some() && times > 1 {
            let words = format!("{} is restarted {times} times for one request", self.hosts[host].units[unit].name);
            self.fail(Guarantee::G2, words);
        }
    }

    /// A track of services begins: its dependencies are through, nothing has failed unless that is accepted, and there is room.
    pub(super) fn check_service_gate(&self, id: TrackId) -> Option<(Guarantee, String)> {
        let run = self.checks.runs.get(&id.0)?;
        let asked = run.request.services.as_ref()?;
        let own: Vec<(&TrackId, &Watch)> = self.checks.watched.iter().filter(|(t, _)| t.0 == id.0).collect();
        let watch = self.checks.watched.get(&id)?;
        for (t, w) in own.iter().filter(|(t, _)| watch.of_service.after.contains(&t.1)) {
            if w.ended != Some(Outcome::Completed) {
                return Some((Guarantee::G5, format!("it depends on {t}, which has not ended well")));
            }
        }
        let failed = |w: &Watch| matches!(w.ended, Some(Outcome::Failed | Outcome::Unknown));
        if !asked.keep_going && own.iter().any(|(_, w)| failed(w)) {
            return Some((Guarantee::G4, "another one failed, and nothing new is to start then".to_owned()));
        }
        let runs = own.iter().filter(|(t, w)| **t != id && w.started_at.is_some() && w.ended.is_none()).count();
        if asked.parallel > 0 && runs >= asked.parallel as usize {
            return Some((Guarantee::G5, format!("{runs} are worked on, and {} may be", asked.parallel)));
        }
        let forced = run.request.options.force.is_some();
        if self.checks.frozen && !forced {
            return Some((Guarantee::G5, "the fleet is frozen".to_owned()));
        }
        if self.checks.held.contains(&self.hosts[watch.host].id) && !forced {
            return Some((Guarantee::G5, "a person holds the host".to_owned()));
        }
        run.paused.then(|| (Guarantee::G5, "it is paused".to_owned()))
    }

    /// The first command that the service may feel.
    pub(super) fn check_first_touch(&mut self, id: TrackId, command: &Command) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let healthy = watch.of_service.before.as_ref().is_some_and(|look| look.up && (look.healthy || !has_checks(watch)));
        let (held, frozen) = (self.checks.held.contains(&self.hosts[watch.host].id), self.checks.frozen);
        let why = match (watch.forced, &watch.of_service.before) {
            (_, None) => "nobody has looked at it",
            (false, _) if !healthy => "it was not healthy",
            (false, _) if held => "a person holds its host",
            (false, _) if frozen => "the fleet is frozen",
            _ => return,
        };
        self.fail(Guarantee::G5, format!("{id} begins with {}, and {why}", command.action.kind()));
    }

    pub(super) fn note_unit_command(&mut self, id: TrackId, command: &Command) {
        if let (Some(watch), Action::Service { verb: ServiceVerb::Restart { .. }, .. }) =
            (self.checks.watched.get_mut(&id), &command.action)
        {
            watch.of_service.restart_issued = true;
        }
    }

    /// What was told of a look, with the truth of when it was taken.
    pub(super) fn note_unit(&mut self, id: TrackId, place: Place, ack: &model::Ack) {
        let Some(watch) = self.checks.watched.get_mut(&id).filter(|w| w.is_of_service()) else { return };
        let (Some(StepAction::Inspect { moment, .. }), Some(Observed::Service(seen))) =
            (watch.step(place.step).cloned(), &ack.observed)
        else {
            return;
        };
        let it = &mut watch.of_service;
        let looks = it.looks.get(&ack.command).map(Vec::as_slice).unwrap_or_default();
        let is_it = |look: &&Look| look.run == seen.unit.invocation && look.up == seen.unit.is_up();
        let healthy = |look: &&Look| is_it(look) && (look.healthy == seen.is_healthy() || seen.checks.is_empty());
        let found = looks.iter().rev().find(healthy).or_else(|| looks.iter().rev().find(is_it)).cloned();
        match (place.direction, moment) {
            (Direction::Undo, _) => it.back = found,
            (Direction::Do, Moment::Before) => it.before = found,
            (Direction::Do, Moment::Final) => it.last = found,
            (Direction::Do, Moment::After) => {}
        }
    }

    /// G3 and G7: the end of a track is true.
    pub(super) fn check_unit_end(&mut self, id: TrackId, outcome: Outcome, message: &str) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let (Some(unit), true) = (watch.of_service.unit, watch.started_at.is_some()) else {
            if outcome == Outcome::Skipped {
                self.counts.end(End::ServiceSkipped);
            }
            return;
        };
        let it = &self.hosts[watch.host].units[unit];
        let name = format!("{} on {}", it.service, self.hosts[watch.host].name);
        let judged = if outcome == Outcome::Completed { self.judge_done(id, watch) } else { self.judge_back(id, watch, message) };
        match judged {
            Ok(end) => self.counts.end(if outcome == Outcome::Unknown { End::ServiceUnknown } else { end }),
            Err((guarantee, words)) => self.fail(guarantee, format!("{id} ends {outcome}, and {name} {words} ({message})")),
        }
    }

    fn judge_done(&self, id: TrackId, watch: &Watch) -> Result<End, (Guarantee, String)> {
        let it = &watch.of_service;
        let wrong = |words: &str| Err((Guarantee::G3, words.to_owned()));
        let (Some(unit), Some(last)) = (it.unit, &it.last) else { return wrong("was not looked at in the end") };
        if !last.up || !last.healthy && !watch.forced && has_checks(watch) {
            return wrong("was not healthy at the last look");
        }
        let of = |id: &CommandId| self.checks.issued.get(id).map(|i| i.command.orchestration);
        let done = self.hosts[watch.host].units[unit].done.iter().rev();
        let ours = done.into_iter().find(|d| of(&d.by) == Some(id.0) && matches!(d.what, What::Restarted | What::Reloaded));
        let Some(ours) = ours else { return wrong("was never restarted") };
        if ours.run != last.run {
            return wrong("is in another run than the one that was begun");
        }
        let hold = watch.steps.iter().find_map(|s| match s {
            StepAction::Watch { hold, .. } => Some(hold.0 as i64),
            _ => None,
        });
        if last.at < ours.at + hold.unwrap_or(0) {
            return wrong("did not soak");
        }
        Ok(if ours.what == What::Reloaded { End::ServiceReloaded } else { End::ServiceDone })
    }

    fn judge_back(&self, id: TrackId, watch: &Watch, message: &str) -> Result<End, (Guarantee, String)> {
        let it = &watch.of_service;
        let wrong = |words: &str| Err((Guarantee::G7, words.to_owned()));
        let Some(unit) = it.unit.map(|unit| &self.hosts[watch.host].units[unit]) else { return Ok(End::ServiceUntouched) };
        let of = |id: &CommandId| self.checks.issued.get(id).map(|i| i.command.orchestration);
        let touches = |what| !matches!(what, What::Reverted | What::Restored);
        if !unit.done.iter().any(|d| of(&d.by) == Some(id.0) && touches(d.what)) {
            return Ok(End::ServiceUntouched);
        }
        // One that an earlier request has stranded is as that left it.
        if message.contains("the rollback failed") {
            let stranded = self.checks.stranded.contains_key(&unit.id);
            return if stranded { Ok(End::ServiceStranded) } else { wrong("is named, and not stranded") };
        }
        let (Some(before), Some(back)) = (&it.before, &it.back) else { return wrong("was not looked at again") };
        if back.tree != before.tree {
            return wrong("has another tree than before");
        }
        if back.up != before.up {
            return wrong("does not run as before");
        }
        if back.up && back.runs != before.runs {
            return wrong("runs from another tree than before");
        }
        if back.up && !back.healthy && !watch.forced && has_checks(watch) {
            return wrong("is not healthy");
        }
        Ok(End::ServiceBack)
    }
}

fn has_checks(watch: &Watch) -> bool {
    watch.steps.iter().any(|s| matches!(s, StepAction::Inspect { moment: Moment::Final, checks, .. } if !checks.is_empty()))
}
