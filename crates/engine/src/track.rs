//! The state of one track: its steps, their subjects, and what is known of the children.

use std::collections::BTreeMap;

use model::broken::{self, Rule};
use model::{
    Ack, AckError, AckStatus, Action, ActionKind, BootIdentity, Check, ChildReport, ChildStatus, Command, Direction, ErrorCode,
    Place, Plan, Recheck, Report, ServiceRef, Step, StepAction, TargetId, Timestamp, Track, Unfinished,
};

use crate::child::ChildState;
use crate::drained::Drains;
use crate::health::Health;
use crate::journal::{OpenBoot, Outcome};
use crate::service::ServiceState;

/// The plan of one track, with its steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrackPlan<'a> {
    track: &'a Track,
    pub(crate) steps: &'a [Step],
}

impl<'a> TrackPlan<'a> {
    pub(crate) fn at(plan: &'a Plan, wave: u32, index: u32) -> Option<Self> {
        let track = plan.waves.get(wave as usize)?.tracks.get(index as usize)?;
        Some(Self { track, steps: plan.steps(track) })
    }

    /// The service that it is about.
    pub(crate) fn service(&self) -> Option<&'a ServiceRef> {
        self.track.service.as_deref()
    }
}

impl std::ops::Deref for TrackPlan<'_> {
    type Target = Track;
    fn deref(&self) -> &Track {
        self.track
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrackState {
    pub(crate) started_at: Option<Timestamp>,
    /// Forwards, by index in the plan.
    pub(crate) steps: Vec<StepRun>,
    /// Backwards, by index in the plan.
    pub(crate) undo: Vec<StepRun>,
    /// The open step.
    pub(crate) current: Option<Place>,
    /// The step that ended last.
    pub(crate) last: Option<Place>,
    pub(crate) unwinding: Option<String>,
    /// Taken back because its drain's policy is to skip the host.
    pub(crate) skips: bool,
    /// Children as they were at the admission probe, and late ones that were then stopped too.
    pub(crate) children: BTreeMap<TargetId, ChildState>,
    /// What the host last told in answer to this track.
    pub(crate) report: Option<(Timestamp, Report)>,
    /// It answers the last probe, and nothing was done to the host or a child since.
    undisturbed: bool,
    /// How the answers to the open probe were.
    pub(crate) health: Health,
    /// What it took out of service.
    pub(crate) drains: Drains,
    /// What is known of its service, where it is about one.
    pub(crate) service: ServiceState,
    /// The boot of the last report.
    seen_on: Option<BootIdentity>,
    /// Further boots that were seen after the proven one (E38).
    pub(crate) boots_after: u32,
    /// Children that were given up and that the last probe found as before.
    recovered: Vec<TargetId>,
    pub(crate) gone_at: Option<Timestamp>,
    pub(crate) boot_before: Option<BootIdentity>,
    pub(crate) boot_after: Option<BootIdentity>,
    pub(crate) boot_end_issued_at: Option<Timestamp>,
    /// The command that it is about was handed over: what it does is not taken back.
    pub(crate) run_issued: bool,
    pub(crate) boot_proven_at: Option<Timestamp>,
    pub(crate) ended: Option<(Outcome, Option<String>, Timestamp)>,
}

/// One step in one direction; rounds of it follow one another here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StepRun {
    pub(crate) round: u32,
    pub(crate) position: u64,
    pub(crate) deadline: Timestamp,
    pub(crate) first_started_at: Option<Timestamp>,
    pub(crate) started_at: Timestamp,
    pub(crate) ended_at: Option<Timestamp>,
    pub(crate) force: bool,
    /// In the order in which they are acted on.
    pub(crate) order: Vec<TargetId>,
    pub(crate) subjects: BTreeMap<TargetId, SubjectRun>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SubjectRun {
    /// Over all rounds; part of the command's id.
    pub(crate) attempt: u32,
    /// In this round.
    pub(crate) tries: u32,
    /// Attempts that failed in a row.
    pub(crate) fails: u32,
    pub(crate) command: Option<Command>,
    pub(crate) issued_at: Timestamp,
    pub(crate) last_ack: Option<(Timestamp, Ack)>,
    pub(crate) timed_out: bool,
    /// Why the last attempt that failed did, also while another one is under way.
    pub(crate) last_error: Option<AckError>,
    /// What was said after it had timed out: recorded and shown, it reopens nothing (ruling 9).
    pub(crate) late: Option<Ack>,
}

/// How a subject stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// Nothing issued in this round.
    Idle,
    /// Issued and not answered finally.
    Open,
    /// Completed.
    Done(&'a Ack),
    /// Failed, at this time.
    Failed(&'a AckError, Timestamp),
    /// The deadline passed first.
    TimedOut,
}

impl SubjectRun {
    pub(crate) fn standing(&self) -> Standing<'_> {
        if let Some((at, ack)) = &self.last_ack {
            match (ack.status, &ack.error) {
                (AckStatus::Completed, _) => return Standing::Done(ack),
                (AckStatus::Failed, Some(error)) if !self.timed_out => return Standing::Failed(error, *at),
                _ => {}
            }
        }
        if self.timed_out {
            Standing::TimedOut
        } else if self.command.is_some() {
            Standing::Open
        } else {
            Standing::Idle
        }
    }

    pub(crate) fn status(&self) -> Option<AckStatus> {
        self.last_ack.as_ref().map(|(_, a)| a.status)
    }

    /// Why it is not done, in words.
    pub(crate) fn failure(&self) -> Option<String> {
        match self.standing() {
            Standing::Failed(error, _) => Some(format!("{}: {}", error.code, error.message)),
            Standing::TimedOut => Some(match &self.last_ack {
                Some((_, Ack { error: Some(e), .. })) => format!("{}: {}", e.code, e.message),
                Some((_, ack)) => format!("timed out ({} was the last word)", ack.status),
                None => "timed out: no answer".to_owned(),
            }),
            Standing::Idle | Standing::Open | Standing::Done(_) => None,
        }
    }
}

impl StepRun {
    /// The report that answered the last probe of this round; an answer to any other question is none to this.
    pub(crate) fn answer(&self, target: TargetId) -> Option<&Report> {
        match self.subjects.get(&target)?.standing() {
            Standing::Done(ack) => ack.report.as_ref(),
            _ => None,
        }
    }
}

impl TrackState {
    pub(crate) fn new(steps: usize) -> Self {
        Self {
            started_at: None,
            steps: vec![StepRun::default(); steps],
            undo: vec![StepRun::default(); steps],
            current: None,
            last: None,
            unwinding: None,
            skips: false,
            children: BTreeMap::new(),
            report: None,
            undisturbed: false,
            health: Health::default(),
            drains: Drains::default(),
            service: ServiceState::default(),
            seen_on: None,
            boots_after: 0,
            recovered: Vec::new(),
            gone_at: None,
            boot_before: None,
            boot_after: None,
            boot_end_issued_at: None,
            run_issued: false,
            boot_proven_at: None,
            ended: None,
        }
    }

    /// Whether the track only finishes what an earlier orchestration has rebooted: it ends no boot.
    pub(crate) fn is_second_half(&self, plan: &Track) -> bool {
        plan.unfinished.as_ref().is_some_and(|left| left.is_second_half(self.boot_before))
    }

    /// Begins with what an earlier orchestration left undone on its target.
    pub(crate) fn taking_up(self, unfinished: Option<&Unfinished>) -> Self {
        let children = unfinished.map(|left| left.children.as_slice()).unwrap_or_default();
        // What was up then is down because of what was begun: it must be up again at every end (G7).
        let seed = |c: &ChildReport| (c.child.id, ChildState { stop_asked: c.status.is_up(), ..ChildState::of(c) });
        Self { drains: Drains::of(unfinished), children: children.iter().map(seed).collect(), ..self }
    }

    /// As if it had not begun; but what was sent keeps its number, so that no command has the id of another.
    pub(crate) fn put_off(&mut self, unfinished: Option<&Unfinished>) {
        let fresh = Self::new(self.steps.len()).taking_up(unfinished);
        let old = std::mem::replace(self, fresh);
        for (new, old) in self.steps.iter_mut().zip(old.steps) {
            let sent =
                |(id, subject): (&TargetId, &SubjectRun)| (*id, SubjectRun { attempt: subject.attempt, ..SubjectRun::default() });
            new.subjects = old.subjects.iter().map(sent).collect();
        }
    }

    pub(crate) fn run(&self, place: Place) -> Option<&StepRun> {
        let list = if place.direction == Direction::Do { &self.steps } else { &self.undo };
        list.get(place.step as usize)
    }

    fn run_mut(&mut self, place: Place) -> Result<&mut StepRun, String> {
        let list = if place.direction == Direction::Do { &mut self.steps } else { &mut self.undo };
        list.get_mut(place.step as usize).ok_or_else(|| format!("the plan has no {place}"))
    }

    fn open_run(&mut self, place: Place) -> Result<&mut StepRun, String> {
        if self.current != Some(place) {
            return Err(format!("{place} is not open"));
        }
        self.run_mut(place)
    }

    /// The open step with its state.
    pub(crate) fn open(&self) -> Option<(Place, &StepRun)> {
        let place = self.current?;
        Some((place, self.run(place)?))
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one journal entry")]
    pub(crate) fn start_step(
        &mut self,
        plan: &TrackPlan<'_>,
        place: Place,
        round: u32,
        position: u64,
        subjects: &[TargetId],
        deadline: Timestamp,
        at: Timestamp,
    ) -> Result<(), String> {
        if let Some(open) = self.current {
            return Err(format!("{place} begins while {open} is open"));
        }
        let action = plan.steps.get(place.step as usize).map(|s| &s.action);
        if let Some(StepAction::Stop { .. }) = action
            && place.direction == Direction::Do
        {
            self.take_in_late_children(subjects);
        }
        self.health = Health::default();
        self.current = Some(place);
        let run = self.run_mut(place)?;
        run.round = round;
        run.position = position;
        run.deadline = deadline;
        run.first_started_at.get_or_insert(at);
        run.started_at = at;
        run.ended_at = None;
        run.force = false;
        run.order = subjects.to_vec();
        for id in subjects {
            let subject = run.subjects.entry(*id).or_default();
            *subject = SubjectRun { attempt: subject.attempt, ..SubjectRun::default() };
        }
        Ok(())
    }

    /// A child that appeared after the first probe, or was down then, and is stopped now, was up before (E12).
    fn take_in_late_children(&mut self, subjects: &[TargetId]) {
        let Some((_, report)) = &self.report else { return };
        for id in subjects {
            let known_up = self.children.get(id).is_some_and(|c| c.before.is_up());
            if !known_up && let Some(child) = report.child(*id) {
                self.children.insert(*id, ChildState::of(child));
            }
        }
    }

    pub(crate) fn issue(&mut self, place: Place, command: &Command, at: Timestamp) -> Result<(), String> {
        let subject_id = command.subject;
        let run = self.open_run(place)?;
        let subject = run.subjects.entry(subject_id).or_default();
        let unanswered = matches!(subject.standing(), Standing::Open);
        subject.attempt = command.attempt;
        subject.tries += 1;
        subject.command = Some(command.clone());
        subject.issued_at = at;
        subject.last_ack = None;
        subject.timed_out = false;
        // Asked again because nobody answered: that breaks the row of good answers.
        if unanswered {
            self.health.unanswered(subject_id);
        }
        // From here on only the answer to this, or to a later probe, tells how things are.
        let kind = command.action.kind();
        if kind.is_disruptive() || kind == ActionKind::Probe {
            self.undisturbed = false;
        }
        self.drains.issued(&command.action);
        match &command.action {
            Action::StopChild { force, .. } => {
                if let Some(child) = self.children.get_mut(&subject_id) {
                    child.stop_asked = true;
                    child.forced |= *force;
                }
            }
            Action::Reboot { expect_boot, .. } | Action::Shutdown { expect_boot, .. } => {
                self.boot_before = Some(*expect_boot);
                self.boot_end_issued_at = Some(at);
            }
            Action::Run { .. } => self.run_issued = true,
            Action::Service { verb, .. } => self.service.issued(verb),
            _ => {}
        }
        Ok(())
    }

    pub(crate) fn ack(
        &mut self,
        plan: &TrackPlan<'_>,
        place: Place,
        subject: TargetId,
        ack: &Ack,
        deadline: Option<Timestamp>,
        at: Timestamp,
    ) -> Result<(), String> {
        let open = self.current == Some(place);
        let run = self.run_mut(place)?;
        let Some(state) = run.subjects.get_mut(&subject) else {
            return Err(format!("{place} has no subject {subject}"));
        };
        if state.command.as_ref().is_some_and(|c| is_remark(&c.action, ack)) {
            state.last_error.clone_from(&ack.error);
            return Ok(());
        }
        if state.timed_out {
            state.late = Some(ack.clone());
        } else {
            state.last_ack = Some((at, ack.clone()));
            match ack.status {
                AckStatus::Failed => state.fails += 1,
                AckStatus::Completed => state.fails = 0,
                AckStatus::Accepted | AckStatus::ExecutionStarted => {}
            }
            if ack.error.is_some() {
                state.last_error.clone_from(&ack.error);
            }
        }
        let timed_out = state.timed_out;
        let action = state.command.as_ref().map(|c| c.action.clone());
        if action.as_ref().is_some_and(|a| a.kind().is_disruptive()) {
            self.undisturbed = false;
        }
        if !open {
            return Ok(()); // late: recorded and shown, it reopens nothing (ruling 9)
        }
        if let Some(deadline) = deadline {
            self.run_mut(place)?.deadline = deadline;
        }
        if let Some(action) = action.filter(|_| !timed_out) {
            self.drains.told(&action, ack);
            if let Action::Service { verb, .. } = &action {
                self.service.told(verb, place.direction, ack);
            }
            if ack.status == AckStatus::Completed {
                self.take_in_report(plan, place, ack, at);
            }
            if let Some(checks) = checks_of(&action).filter(|_| ack.status.is_final()) {
                self.judge(plan, place, subject, checks, ack, at);
            }
        }
        Ok(())
    }

    /// What this answer says of health.
    fn judge(&mut self, plan: &TrackPlan<'_>, place: Place, subject: TargetId, checks: &[Check], ack: &Ack, at: Timestamp) {
        let step = plan.steps.get(place.step as usize).map(|s| &s.action);
        let soaks = matches!(step, Some(StepAction::Probe { recheck: Recheck::Soak, .. }));
        let stays = subject != plan.target || ack.report.as_ref().is_some_and(|report| self.is_as_before(report));
        self.health.told(subject, checks, ack, stays, soaks, at);
    }

    /// Nothing is left to put right, on the boot of the last report, and nobody given up has turned up since.
    fn is_as_before(&self, report: &Report) -> bool {
        // A child that is on its way up is not as it was yet, whatever it was.
        let between = report.children().unwrap_or_default().iter().any(|c| c.status == ChildStatus::Creating);
        !between && self.unrestored(report).is_some_and(|list| list.is_empty())
    }

    fn take_in_report(&mut self, plan: &TrackPlan<'_>, place: Place, ack: &Ack, at: Timestamp) {
        let action = plan.steps.get(place.step as usize).map(|s| &s.action);
        if let Some(StepAction::Reboot { .. } | StepAction::Shutdown { .. }) = action {
            self.boot_after = Some(ack.boot);
            self.boot_proven_at = Some(at);
            self.seen_on = Some(ack.boot);
        }
        let Some(report) = &ack.report else { return };
        self.report = Some((at, report.clone()));
        self.undisturbed = matches!(action, Some(StepAction::Probe { .. }));
        if let Some(StepAction::Probe { recheck: Recheck::Admission, .. }) = action
            && place.direction == Direction::Do
        {
            self.boot_before = Some(report.boot);
            if let Some(children) = report.children() {
                let left = plan.unfinished.as_ref().map(|left| left.children.as_slice()).unwrap_or_default();
                self.children.retain(|id, _| left.iter().any(|c| c.child.id == *id));
                for child in children {
                    self.children.entry(child.child.id).or_insert_with(|| ChildState::of(child));
                }
            }
        }
        let same_boot = self.seen_on.replace(report.boot).is_none_or(|boot| boot == report.boot);
        if self.boot_proven_at.is_some() && !same_boot {
            self.boots_after += 1;
            self.boot_after = Some(report.boot);
        }
        // A child that was given up and turns up all the same begins the hold anew.
        let recovered: Vec<TargetId> =
            self.children.iter().filter(|(id, c)| c.is_given_up() && c.is_as_before(report, **id)).map(|(id, _)| *id).collect();
        let same = std::mem::replace(&mut self.recovered, recovered) == self.recovered;
        if !(same && same_boot) {
            self.health.begin_anew(plan.target);
        }
    }

    pub(crate) fn deadline_passed(&mut self, place: Place) -> Result<(), String> {
        for subject in self.open_run(place)?.subjects.values_mut() {
            let looks = |action: &Action| checks_of(action).is_some() || action.kind() == ActionKind::Inspect;
            let is_probe = subject.command.as_ref().is_some_and(|c| looks(&c.action));
            // A look that was answered and did not show what it must has timed out too.
            subject.timed_out |= is_probe || !matches!(subject.standing(), Standing::Done(_));
        }
        Ok(())
    }

    pub(crate) fn force(&mut self, place: Place, deadline: Timestamp) -> Result<(), String> {
        let run = self.open_run(place)?;
        run.force = true;
        run.deadline = deadline;
        for subject in run.subjects.values_mut() {
            if !matches!(subject.standing(), Standing::Done(_)) {
                *subject = SubjectRun { attempt: subject.attempt, ..SubjectRun::default() };
            }
        }
        Ok(())
    }

    pub(crate) fn end_step(&mut self, place: Place, at: Timestamp) -> Result<(), String> {
        let run = self.open_run(place)?;
        run.ended_at = Some(at);
        let mut failures = Vec::new();
        for id in &run.order {
            if let Some(subject) = run.subjects.get_mut(id) {
                let started_child = subject.command.as_ref().map(|c| c.action.kind());
                if let Some(failure) = subject.failure() {
                    failures.push((*id, started_child, failure));
                }
            }
        }
        for (id, kind, failure) in failures {
            if let Some(child) = self.children.get_mut(&id) {
                match kind {
                    Some(ActionKind::StartChild) => child.start_failed = Some(failure),
                    _ => child.stop_failed = Some(failure),
                }
            }
        }
        self.service.migration_over();
        self.current = None;
        self.last = Some(place);
        Ok(())
    }

    /// Children that are not as they were before, of those that are not given up; `None` when the report does not tell.
    /// Taken back, only what this plan stopped is its business. `true` for those that should be up.
    pub(crate) fn unrestored(&self, report: &Report) -> Option<Vec<(TargetId, bool)>> {
        report.children()?;
        let mut list = Vec::new();
        let ours = |child: &ChildState| self.unwinding.is_none() || child.stop_asked;
        for (id, child) in self.children.iter().filter(|(_, c)| ours(c)) {
            let now = report.child(*id).map(|c| c.status);
            if child.before.is_up() {
                if child.start_failed.is_none() && now != Some(child.before) {
                    list.push((*id, true));
                }
            } else if child.autostart
                && child.stop_failed.is_none()
                && now.is_some_and(ChildStatus::is_up)
                && !broken::is(Rule::BootStartedStayUp)
            {
                list.push((*id, false));
            }
        }
        Some(list)
    }

    /// What the last probe found, if it was answered and nothing was done after it; `None`: it is not known how the children
    /// are.
    pub(crate) fn known(&self) -> Option<&Report> {
        let (_, report) = self.report.as_ref()?;
        (self.undisturbed && report.children().is_some()).then_some(report)
    }

    /// The end of a boot that this track commanded.
    pub(crate) fn open_boot(&self) -> Option<OpenBoot> {
        let commands = self.steps.iter().flat_map(|s| s.subjects.values()).filter_map(|s| s.command.as_ref());
        commands.filter_map(|c| Some(OpenBoot { command: c.id, expect_boot: c.action.expect_boot()? })).next_back()
    }

    /// Whether the command that ends the boot was handed over (ruling 24).
    pub(crate) fn boot_end_issued(&self) -> bool {
        self.boot_end_issued_at.is_some()
    }
}

/// The checks of what is asked to see whether all is well; `None` for anything else.
fn checks_of(action: &Action) -> Option<&[Check]> {
    match action {
        Action::Probe { checks } | Action::Check { checks } => Some(checks),
        _ => None,
    }
}

/// Errors after which another attempt is of no use.
pub(crate) fn is_hopeless(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotFound | ErrorCode::Unsupported | ErrorCode::WrongTarget) || is_barred(code)
}

/// Whether an ack only says that nobody could ask. Once the end of a boot was ordered that is no answer: an earlier copy may have
/// arrived, and the host be down, or not up yet, because of it.
pub(crate) fn is_remark(action: &Action, ack: &Ack) -> bool {
    let code = ack.error.as_ref().map(|e| e.code);
    action.kind().ends_boot() && ack.status == AckStatus::Failed && code.is_some_and(is_of_the_way)
}

/// Errors of the way to the host.
pub(crate) fn is_of_the_way(code: ErrorCode) -> bool {
    code == ErrorCode::Unreachable || is_barred(code)
}

/// The host does not let us in, or is not the one that we know: a person has to look. Behind the end of a boot it may still be
/// on its way up.
pub(crate) fn is_barred(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Denied | ErrorCode::HostKeyChanged)
}
