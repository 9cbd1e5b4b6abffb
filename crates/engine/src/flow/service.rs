//! What follows for a service: forwards as S3 says (S3-11 to S3-20), and backwards as its rollback does (S3-21 to S3-26).

use model::broken::{self, Rule};
use model::{Direction, ErrorCode, Moment, Observed, Place, Ran, Route, ServiceRef, ServiceSeen, StepAction, TargetId};

use super::Cursor;
use crate::decision::{Out, ended, unwind};
use crate::journal::{Entry, FleetEntry, Outcome};
use crate::track::{Standing, StepRun, SubjectRun, TrackState};

impl Cursor<'_> {
    fn service(&self) -> Option<&ServiceRef> {
        self.plan.service.as_deref()
    }

    fn subject_of<'r>(&self, run: &'r StepRun) -> Option<&'r SubjectRun> {
        run.subjects.get(&self.service()?.id)
    }

    /// What the last step of a service means for its track.
    pub(super) fn after_service(&self, last: Place, action: &StepAction, run: &StepRun) -> Option<Vec<Out>> {
        let subject = self.subject_of(run)?;
        let why = match action {
            StepAction::Inspect { moment, .. } => self.after_inspect(*moment, subject),
            StepAction::BackUp { .. } => not_done("the unit file could not be backed up", subject),
            StepAction::Deploy { .. } => not_done("the deploy failed", subject),
            StepAction::Migrate { .. } => after_migrate(subject),
            StepAction::Restart { .. } => self.after_restart(subject),
            StepAction::Watch { .. } => self.while_it_soaked(subject),
            _ => None,
        };
        match why {
            Some(reason) => Some(unwind(self.number, self.track, reason, false)),
            None => self.go_on(last),
        }
    }

    /// Why not to go on after a look.
    fn after_inspect(&self, moment: Moment, subject: &SubjectRun) -> Option<String> {
        let Some(seen) = seen(subject) else {
            return not_done("the service could not be looked at", subject)
                .or(Some("nothing is known of the service".to_owned()));
        };
        let forced = self.view.orchestration.request.options.force.is_some();
        if moment == Moment::Before {
            let unit = self.service().map(|s| s.unit.as_str()).unwrap_or_default();
            if !seen.unit.is_loaded() {
                return Some(format!("not begun: {unit} is {}", seen.unit.load));
            }
            let healthy = forced || seen.is_healthy() || broken::is(Rule::UnhealthyRestarted);
            return (!healthy).then(|| format!("not begun: not healthy before the restart: {}", seen.wrong().join("; ")));
        }
        let when = if moment == Moment::After { "after the restart" } else { "at the end of the soak" };
        self.wrong_now(when, seen)
    }

    /// Why the service is not the one that was restarted, or not well.
    fn wrong_now(&self, when: &str, seen: &ServiceSeen) -> Option<String> {
        if broken::is(Rule::ServiceProofIgnored) {
            return None;
        }
        if !seen.is_healthy() {
            return Some(format!("not healthy {when}: {}", seen.wrong().join("; ")));
        }
        (!self.track.service.is_proven(&seen.unit)).then(|| format!("{when}: it crashed, and systemd has started it again"))
    }

    fn after_restart(&self, subject: &SubjectRun) -> Option<String> {
        if let Some(why) = not_done("the restart failed", subject) {
            return Some(why);
        }
        let Some(seen) = seen(subject) else { return Some("the restart is not proven: nothing was seen of the unit".to_owned()) };
        (!self.track.service.is_proven(&seen.unit) && !broken::is(Rule::ServiceProofIgnored))
            .then(|| "the restart is not proven: the unit shows no other invocation id than before".to_owned())
    }

    fn while_it_soaked(&self, subject: &SubjectRun) -> Option<String> {
        let Some(seen) = seen(subject) else {
            return not_done("it could not be watched", subject).or(Some("nothing is known of the service".to_owned()));
        };
        self.wrong_now("while it soaked", seen)
    }

    /// The rollback: what was restarted is stopped, the tree and the unit file are put back, the service is started, and that it is
    /// as it was is proven (S3-22 to S3-25). A migration is not undone (ruling 12).
    pub(super) fn service_backwards(&self) -> Option<Vec<Out>> {
        if broken::is(Rule::NoUnwind) {
            return Some(self.finish_rolled_back(false));
        }
        let undone = self.track.last.filter(|p| p.direction == Direction::Undo);
        let below = undone.map_or(self.plan.steps.len(), |last| last.step as usize);
        let it = &self.track.service;
        let is_restarted = it.restart_issued && !self.is_restart_refused() || broken::is(Rule::StopsUntouched);
        let subject = self.service()?.id;
        for (index, step) in self.plan.steps.iter().enumerate().take(below).rev() {
            let is_due = match &step.action {
                StepAction::Restart { .. } => is_restarted,
                StepAction::Deploy { .. } => it.deploy_issued && !broken::is(Rule::TreeNotReverted),
                StepAction::BackUp { .. } => is_restarted || it.deploy_issued,
                StepAction::Inspect { moment: Moment::Before, .. } => undone.is_some(),
                _ => false,
            };
            if is_due {
                let place = Place { track: self.number, step: u32::try_from(index).ok()?, direction: Direction::Undo };
                return self.begin(place, vec![subject]);
            }
        }
        Some(self.finish_rolled_back(undone.is_some()))
    }

    /// Whether its only restart was not even begun: what runs is what ran, and is left alone.
    fn is_restart_refused(&self) -> bool {
        let mut runs = self.plan.steps.iter().zip(&self.track.steps);
        let restart = runs.find(|(step, _)| matches!(step.action, StepAction::Restart { .. }));
        let subject = restart.and_then(|(_, run)| self.subject_of(run));
        // Without an agent nobody remembers what an earlier copy did that is too old now.
        let remembers = |code| code != ErrorCode::Expired || self.plan.route == Route::Agent;
        let refuses = |code| is_refusal(code) && remembers(code);
        subject.is_some_and(|s| s.attempt == 1 && matches!(s.standing(), Standing::Failed(error, _) if refuses(error.code)))
    }

    fn finish_rolled_back(&self, undone: bool) -> Vec<Out> {
        let mut reason = self.track.unwinding.clone().unwrap_or_default();
        let troubles = if undone { self.not_rolled_back() } else { Vec::new() };
        let mut out = Vec::new();
        if let Some(migration) = self.migration() {
            // A cancel that waited for its end says nothing of it.
            let failed = after_migrate(migration).filter(|why| !reason.contains(why.as_str()));
            reason.extend(failed.into_iter().flat_map(|why| ["; ".to_owned(), why]));
            reason.push_str("; its migration is not undone");
        }
        // What it was past taking back, and failed by itself, no cancel has ended.
        let cancelled = self.view.orchestration.cancelled_by.is_some() && !self.track.service.is_past_return();
        let outcome = match (troubles.is_empty(), cancelled) {
            _ if self.migration().is_some_and(is_unknown) => Outcome::Unknown,
            (true, true) => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        if undone && troubles.is_empty() {
            reason.push_str("; rolled back");
        }
        if !troubles.is_empty() {
            reason = format!("{reason}; the rollback failed: {}", troubles.join("; "));
            out.extend(self.strand_service(&reason));
        }
        out.push(ended(self.number, outcome, reason));
        out
    }

    /// What of the rollback did not work; empty when the service is proven to be as it was.
    pub(crate) fn not_rolled_back(&self) -> Vec<String> {
        rollback_troubles(&self.plan, self.track)
    }

    /// Its migration, where it was handed over.
    fn migration(&self) -> Option<&SubjectRun> {
        let mut runs = self.plan.steps.iter().zip(&self.track.steps);
        let (_, run) = runs.find(|(step, _)| matches!(step.action, StepAction::Migrate { .. }))?;
        self.subject_of(run).filter(|_| self.track.service.migrate_issued)
    }

    fn strand_service(&self, reason: &str) -> Option<Out> {
        let service = self.service()?;
        Some(Out::Fleet(FleetEntry::Stranded {
            target: service.id,
            host: self.plan.target,
            name: self.plan.name.clone(),
            orchestration: self.view.orchestration.id,
            root: None,
            reason: reason.to_owned(),
            expected_up: self.track.service.was_up(),
            open_boot: None,
            unfinished: None,
            service: true,
        }))
    }

    /// The end of a service that was brought through: nothing but proof gets here.
    pub(super) fn finish_service(&self) -> Option<Vec<Out>> {
        let service = self.service()?;
        let again = self.view.fleet.stranded_now(service.id);
        let back = again.map(|_| Out::Fleet(FleetEntry::StrandedEnded { target: service.id, proven: true, boot: None }));
        let end = Entry::TrackEnded { track: self.number, outcome: Outcome::Completed, reason: None };
        Some(back.into_iter().chain([Out::Own(end)]).collect())
    }
}

/// What of the rollback of a track did not work.
pub(crate) fn rollback_troubles(plan: &crate::track::TrackPlan<'_>, track: &crate::track::TrackState) -> Vec<String> {
    let Some(service) = plan.service.as_deref() else { return Vec::new() };
    let it = &track.service;
    let is_new = it.deploy_issued && it.tree_changed && it.was_up();
    let mut troubles = Vec::new();
    let (mut proven, mut is_stopped) = (false, false);
    for (step, run) in plan.steps.iter().zip(&track.undo).rev() {
        let Some(subject) = run.subjects.get(&service.id) else { continue };
        match &step.action {
            // Between the deploy and its end something else has started it, and with what was there then.
            StepAction::Inspect { .. }
                if is_new && !is_stopped && seen(subject).is_some_and(|seen| it.is_another(&seen.unit)) =>
            {
                troubles.push("it was started while the new tree was there, and may run from that".to_owned());
            }
            StepAction::Inspect { .. } => match seen(subject) {
                Some(seen) if track.service.was_up() && !seen.is_healthy() => troubles.extend(seen.wrong()),
                Some(seen) if !track.service.was_up() && seen.unit.is_up() => {
                    troubles.push("it runs, and did not before".to_owned());
                }
                Some(_) => proven = true,
                None => {}
            },
            StepAction::Restart { .. } => {
                is_stopped = true;
                // Where nothing was deployed, what was not stopped is what it was.
                troubles.extend(not_done("it could not be stopped, and may run from the new tree", subject).filter(|_| is_new));
            }
            StepAction::Deploy { .. } => troubles.extend(not_done("the old tree could not be put back", subject)),
            StepAction::BackUp { .. } => troubles.extend(not_done("the unit could not be put back", subject)),
            _ => {}
        }
    }
    if troubles.is_empty() && !proven {
        troubles.push("nobody has seen it as it was before".to_owned());
    }
    troubles
}

/// Errors that say that nothing was begun.
fn is_refusal(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Expired
            | ErrorCode::UnderFence
            | ErrorCode::ClockUnset
            | ErrorCode::LedgerFailed
            | ErrorCode::Unsupported
            | ErrorCode::WrongTarget
            | ErrorCode::InvocationDiffers
    )
}

/// What an answered command has seen.
fn seen(subject: &SubjectRun) -> Option<&ServiceSeen> {
    let ack = match subject.standing() {
        Standing::Done(ack) => ack,
        _ => return None,
    };
    match &ack.observed {
        Some(Observed::Service(seen)) => Some(seen),
        _ => None,
    }
}

/// Why a step is not done, if it is not.
fn not_done(what: &str, subject: &SubjectRun) -> Option<String> {
    if matches!(subject.standing(), Standing::Done(_)) {
        return None;
    }
    let why = subject.last_error.as_ref().map(|e| format!("{}: {}", e.code, e.message)).or_else(|| subject.failure());
    Some(format!("{what}: {}", why.unwrap_or_else(|| "no answer".to_owned())))
}

/// Why not to go on after a migration; also when nobody knows how it ended.
fn after_migrate(subject: &SubjectRun) -> Option<String> {
    let ran = match subject.standing() {
        Standing::Done(ack) => match &ack.observed {
            Some(Observed::Ran(ran)) => ran,
            _ => return Some("the migration was run, and how it ended cannot be read: look at the host".to_owned()),
        },
        _ if is_unknown(subject) => {
            return not_done("whether the migration was run, and how it ended, is not known", subject)
                .map(|why| format!("{why}: look at the host"));
        }
        _ => return not_done("the migration failed", subject),
    };
    if ran.is_good() {
        return None;
    }
    Some(format!("the migration failed: {ran}{}", last_word(ran).unwrap_or_default()))
}

/// The last line that a command printed.
fn last_word(ran: &Ran) -> Option<String> {
    let said = if ran.err.tail.trim().is_empty() { &ran.out.tail } else { &ran.err.tail };
    let word = said.lines().rev().map(str::trim).find(|line| !line.is_empty());
    word.map(|word| format!(": {}", super::run::short(word)))
}

/// A reason without what a migration printed: that may hold secrets, and the reason is told outside.
pub(crate) fn without_output(plan: &crate::track::TrackPlan<'_>, track: &crate::track::TrackState, reason: String) -> String {
    let migrations = plan.steps.iter().zip(&track.steps).filter(|(step, _)| matches!(step.action, StepAction::Migrate { .. }));
    let printed = migrations.flat_map(|(_, run)| run.subjects.values()).filter_map(|subject| match subject.standing() {
        Standing::Done(ack) => match &ack.observed {
            Some(Observed::Ran(ran)) if !ran.is_good() => last_word(ran),
            _ => None,
        },
        _ => None,
    });
    printed.fold(reason, |reason, printed| reason.replacen(&printed, "", 1))
}

/// Whether nobody knows how a migration that was handed over has ended.
fn is_unknown(subject: &SubjectRun) -> bool {
    match subject.standing() {
        Standing::Done(ack) => !matches!(ack.observed, Some(Observed::Ran(_))),
        Standing::Failed(error, _) => error.code == ErrorCode::OutcomeUnknown,
        Standing::TimedOut | Standing::Open => subject.command.is_some(),
        Standing::Idle => false,
    }
}

/// Whether this answer to a look ends it: it is healthy, or down as before, or what was found stays so.
pub(crate) fn is_answered(track: &TrackState, place: Place, subject: &SubjectRun, attempts: u32) -> bool {
    let down_before = place.direction == Direction::Undo && !track.service.was_up();
    let is_good = |seen: &ServiceSeen| if down_before { !seen.unit.is_up() } else { seen.is_healthy() };
    subject.tries >= attempts || seen(subject).is_some_and(is_good)
}

/// The subject of a service's steps.
pub(crate) fn subjects(service: Option<&ServiceRef>) -> Vec<TargetId> {
    service.map(|service| service.id).into_iter().collect()
}
