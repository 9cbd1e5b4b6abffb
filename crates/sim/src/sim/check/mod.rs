//! The guarantees, checked after every step against the truth of the world and the journals; the engine's own opinion
//! counts for nothing here.

mod agent;
mod budget;
mod gates;
mod outcome;
mod replay;
mod rollout;
mod run;
mod service;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use engine::{Blocker, Entry, Fact, FleetEntry, OpenBoot, Outcome, Record};
use model::{
    ActionKind, Actor, Command, CommandId, Direction, InstanceId, OrchestrationId, Place, Plan, Recheck, Request, StepAction,
    TargetId, Timestamp, Track,
};

use crate::backend::Commit;
use crate::fault::{End, Fault};
use crate::scenario::{MINUTE, Scenario};
use crate::sim::Sim;
use crate::world::{Host, Time};

pub(crate) use watch::{Claim, Watch};

/// Which guarantee (design, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guarantee {
    /// Budget.
    G1,
    /// At most once.
    G2,
    /// Proof.
    G3,
    /// Failure budget.
    G4,
    /// Gates.
    G5,
    /// End.
    G6,
    /// Restoration.
    G7,
    /// Replay.
    G8,
    /// The agent defends itself.
    G9,
    /// Nobody reaches further than their right.
    G10,
    /// When nothing goes wrong, everything ends well (the journey itself).
    Journey,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::G1 => "G1 budget",
            Self::G2 => "G2 at most once",
            Self::G3 => "G3 proof",
            Self::G4 => "G4 failure budget",
            Self::G5 => "G5 gates",
            Self::G6 => "G6 end",
            Self::G7 => "G7 restoration",
            Self::G8 => "G8 replay",
            Self::G9 => "G9 the agent defends itself",
            Self::G10 => "G10 nobody reaches further",
            Self::Journey => "journey",
        })
    }
}

/// A guarantee that did not hold.
#[derive(Clone, Debug)]
pub struct Violation {
    /// Which.
    pub guarantee: Guarantee,
    /// In words.
    pub words: String,
    /// When, in true time.
    pub at: Time,
}

/// One orchestration as its journal tells it.
pub(crate) struct Run {
    pub(crate) request: Request,
    pub(crate) plan: Plan,
    pub(crate) accepted_at: Time,
    pub(crate) ended: Option<Outcome>,
    /// The wave of each track.
    pub(crate) waves: Vec<usize>,
    pub(crate) paused: bool,
    /// Failures that a person accepted by resuming.
    pub(crate) accepted_failures: u32,
    pub(crate) agreed: BTreeSet<usize>,
    pub(crate) last_start: Option<Timestamp>,
}

/// One track: its orchestration and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TrackId(pub(crate) OrchestrationId, pub(crate) u32);

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "track {} of {}", self.1, self.0)
    }
}

/// A command as it was journaled.
pub(crate) struct Issued {
    pub(crate) command: Command,
    /// True time after which nobody may begin it.
    pub(crate) expires: Time,
    /// In which order controllers issued it.
    pub(crate) number: usize,
    /// The step that it belongs to.
    pub(crate) place: Option<Place>,
}

/// What the checks remember.
pub(crate) struct Checks {
    pub(crate) groups: Vec<budget::Group>,
    pub(crate) runs: BTreeMap<OrchestrationId, Run>,
    pub(crate) watched: BTreeMap<TrackId, Watch>,
    pub(crate) issued: BTreeMap<CommandId, Issued>,
    pub(crate) claims: BTreeMap<CommandId, Claim>,
    pub(crate) unflushed: Vec<(CommandId, Claim)>,
    /// Commands that reached their host fresh, and as retained messages only.
    pub(crate) delivered: BTreeMap<CommandId, bool>,
    pub(crate) boots_ended: BTreeMap<CommandId, u32>,
    pub(crate) stranded: BTreeMap<TargetId, String>,
    pub(crate) off: BTreeSet<TargetId>,
    pub(crate) boot_ends: BTreeMap<TargetId, Vec<Timestamp>>,
    pub(crate) settle_until: Timestamp,
    pub(crate) controller_clock_stepped: bool,
    /// Commands of a controller without limits.
    pub(crate) rogue: BTreeSet<CommandId>,
    /// Runs of agents in their true order.
    pub(crate) instances: BTreeMap<InstanceId, Time>,
    /// What FleetLock clients hold, by group.
    pub(crate) slots: BTreeMap<String, u32>,
    pub(crate) locked: BTreeMap<TargetId, OrchestrationId>,
    /// Stranded hosts on which something is left to finish.
    pub(crate) unfinished: BTreeSet<TargetId>,
    /// Ends of a boot that nobody has told the end of, with the row of retries that commanded them.
    pub(crate) open_boots: BTreeMap<TargetId, (OrchestrationId, OpenBoot)>,
    pub(crate) frozen: bool,
    pub(crate) held: BTreeSet<TargetId>,
    pub(crate) explained: Option<(OrchestrationId, Vec<Blocker>)>,
    /// Commands of which it was said, on hosts without an agent, that nothing comes of them any more.
    pub(crate) far_over: BTreeSet<CommandId>,
    /// Commands by which a host without an agent was ordered down.
    pub(crate) far_ordered: BTreeSet<CommandId>,
}

impl Checks {
    pub(crate) fn new(hosts: &[Host], scenario: &Scenario) -> Self {
        let groups = scenario.config.limit_groups.iter().flat_map(|g| budget::groups_of(g, hosts));
        Self {
            groups: groups.collect(),
            runs: BTreeMap::new(),
            watched: BTreeMap::new(),
            issued: BTreeMap::new(),
            claims: BTreeMap::new(),
            unflushed: Vec::new(),
            delivered: BTreeMap::new(),
            boots_ended: BTreeMap::new(),
            stranded: BTreeMap::new(),
            off: BTreeSet::new(),
            boot_ends: BTreeMap::new(),
            settle_until: Timestamp::from_millis(0),
            controller_clock_stepped: false,
            rogue: BTreeSet::new(),
            instances: BTreeMap::new(),
            slots: BTreeMap::new(),
            locked: BTreeMap::new(),
            unfinished: BTreeSet::new(),
            open_boots: BTreeMap::new(),
            frozen: false,
            held: BTreeSet::new(),
            explained: None,
            far_over: BTreeSet::new(),
            far_ordered: BTreeSet::new(),
        }
    }

    /// The journals are gone; what devices and people saw is not.
    pub(crate) fn database_replaced(&mut self) {
        self.runs.clear();
        self.watched.clear();
        self.stranded.clear();
        self.off.clear();
        self.boot_ends.clear();
        self.open_boots.clear();
        self.frozen = false;
        self.held.clear();
        self.slots.clear();
        self.locked.clear();
        self.unfinished.clear();
    }

    /// The orchestration that has begun or waits on a host.
    pub(crate) fn active_on(&self, host: usize) -> Option<OrchestrationId> {
        self.watched.iter().find(|(_, w)| w.ended.is_none() && w.host == host).map(|(TrackId(id, _), _)| *id)
    }
}

impl Sim {
    /// Everything that one transaction wrote, fact by fact.
    pub(crate) fn check_commit(&mut self, controller: usize, commit: Commit) {
        self.counts.records += commit.facts.len() as u64;
        let explained = self.checks.explained.take();
        let mut started = false;
        for fact in &commit.facts {
            self.mix(engine::action_of(fact).len() as u64 ^ (self.now as u64) << 8);
            self.note(|s| {
                let at =
                    if let Fact::Orchestration(id, _) = fact { format!("{}: ", &id.to_string()[..4]) } else { String::new() };
                format!("  journal: {at}{}", engine::tell(fact, None, &|id| s.name_of(id)))
            });
            match fact {
                Fact::Fleet(record) => self.check_fleet(record),
                Fact::Orchestration(id, record) => {
                    if explained.as_ref().is_some_and(|(e, _)| e == id) {
                        started |= matches!(record.entry, Entry::TrackStarted { .. });
                    }
                    self.check_entry(controller, *id, record);
                }
            }
        }
        for fact in &commit.facts {
            if let Fact::Orchestration(id, record) = fact
                && let Entry::TrackEnded { track, .. } = &record.entry
            {
                self.check_let_go(TrackId(*id, *track));
            }
        }
        if let Some((id, blockers)) = explained {
            self.check_explained(id, &blockers, started);
        }
        self.check_samples(&commit);
        self.check_replay(commit.by);
    }

    fn check_fleet(&mut self, record: &Record<FleetEntry>) {
        let checks = &mut self.checks;
        match &record.entry {
            FleetEntry::ControllerStarted { settle_until, .. } => {
                checks.settle_until = *settle_until;
                self.soaks_begin_anew();
            }
            FleetEntry::HostOff { host, .. } => {
                checks.off.insert(*host);
                self.counts.end(End::HostOff);
            }
            FleetEntry::HostSeen { host, .. } | FleetEntry::HostStillOn { host, .. } => {
                checks.off.remove(host);
            }
            FleetEntry::BootEndCommanded { host, .. } => checks.boot_ends.entry(*host).or_default().push(record.at),
            FleetEntry::Locked { host, orchestration, .. } => {
                checks.locked.insert(*host, *orchestration);
            }
            FleetEntry::SlotTaken { group, .. } => {
                *checks.slots.entry(group.clone()).or_default() += 1;
                self.check_slot(group);
            }
            FleetEntry::SlotGiven { group, .. } => {
                if let Some(taken) = checks.slots.get_mut(group) {
                    *taken = taken.saturating_sub(1);
                }
            }
            FleetEntry::Stranded { target, reason, unfinished, orchestration, root, open_boot, .. } => {
                self.check_run_strands_nobody(*target, *orchestration);
                let checks = &mut self.checks;
                if let Some(open) = open_boot {
                    checks.open_boots.insert(*target, (root.unwrap_or(*orchestration), *open));
                } else {
                    checks.open_boots.remove(target);
                }
                if unfinished.is_some() {
                    checks.unfinished.insert(*target);
                } else {
                    checks.unfinished.remove(target);
                }
                checks.stranded.insert(*target, reason.clone());
                self.counts.end(End::Stranded);
            }
            FleetEntry::StrandedEnded { target, proven, .. } => {
                checks.stranded.remove(target);
                let left = checks.unfinished.remove(target);
                if *proven && left {
                    self.check_finished(*target);
                }
                if *proven {
                    self.counts.end(End::StrandedEnded);
                    self.check_stranded_ended(*target);
                }
            }
            FleetEntry::LateAck { host, command, done: false, .. } => {
                checks.open_boots.retain(|id, (_, open)| id != host || open.command != *command);
            }
            FleetEntry::HostWorked { host, outcome: Outcome::Completed, .. } => {
                checks.open_boots.remove(host);
            }
            FleetEntry::Frozen { .. } => checks.frozen = true,
            FleetEntry::Thawed => checks.frozen = false,
            FleetEntry::Held { host, .. } => {
                checks.held.insert(*host);
            }
            FleetEntry::Released { host } => {
                checks.held.remove(host);
            }
            FleetEntry::Unlocked { host, orchestration, .. } if !self.forgotten.contains(orchestration) => {
                checks.locked.remove(host);
            }
            // A person's word let go of what an unreadable orchestration held.
            FleetEntry::Unlocked { host, orchestration, .. } => {
                checks.locked.remove(host);
                checks.runs.remove(orchestration);
                checks.watched.retain(|TrackId(id, _), _| id != orchestration);
            }
            _ => {}
        }
    }

    fn check_entry(&mut self, controller: usize, id: OrchestrationId, record: &Record<Entry>) {
        if let Entry::Accepted { request, plan, .. } = &record.entry {
            return self.watch(id, request, plan);
        }
        let now = self.now;
        if let Some(run) = self.checks.runs.get_mut(&id) {
            match &record.entry {
                Entry::Paused { .. } => {
                    run.paused = true;
                    if record.by == Actor::System {
                        self.counts.end(End::BudgetSpent);
                    }
                }
                Entry::Resumed { accepted } => {
                    run.paused = false;
                    run.accepted_failures = run.accepted_failures.max(*accepted);
                    self.counts.end(End::Resumed);
                }
                Entry::Agreed { wave } => {
                    run.agreed.insert(*wave as usize);
                    self.counts.end(End::Agreed);
                }
                _ => {}
            }
        }
        if let Entry::Ended { outcome, .. } = &record.entry {
            if let Some(run) = self.checks.runs.get_mut(&id) {
                run.ended = Some(*outcome);
                let fleet = run.plan.tracks().count() >= 5 && *outcome == Outcome::Completed;
                self.counts.end(outcome::end_of(*outcome));
                if fleet {
                    self.counts.end(End::FleetDone);
                }
            }
            return;
        }
        let Some(track) = record.entry.track() else { return };
        let id = TrackId(id, track);
        let Some(watch) = self.checks.watched.get_mut(&id) else { return };
        match &record.entry {
            Entry::TrackStarted { .. } => {
                if now > watch.accepted_at {
                    self.counts.end(End::Waited);
                }
                watch.started_at = Some(now);
                self.check_start(controller, id, record.at);
                self.check_gates(id, record.at);
            }
            Entry::CommandIssued { place, command } => {
                let kind = command.action.kind();
                if kind == ActionKind::StopChild
                    && place.direction == Direction::Do
                    && !matches!(watch.step(place.step), Some(StepAction::StopAgain))
                {
                    watch.stopped.insert(command.subject);
                }
                if kind.ends_boot() {
                    watch.boot_commands.push(command.id);
                }
                if kind == ActionKind::Run {
                    watch.run_commands.push(command.id);
                }
                // Beside a service its copy is laid, before anything is done to it.
                let first =
                    kind.is_disruptive() && kind != ActionKind::BackUp && place.direction == Direction::Do && !watch.disrupted;
                watch.disrupted |= first;
                self.checks_issued(command, controller, Some(*place));
                if kind.ends_boot() {
                    self.check_late_children(id);
                }
                self.check_service_command(id, place.direction, command);
                self.check_run_command(id, command);
                self.note_unit_command(id, command);
                if first {
                    self.check_first_disruption(id, command);
                }
            }
            Entry::Acked { place, subject, ack, .. } => {
                let steps = Rc::clone(&watch.steps);
                if let Some(StepAction::Reboot { .. }) = watch.step(place.step) {
                    watch.reboot_done |= ack.status == model::AckStatus::Completed;
                }
                if let Some(report) = &ack.report {
                    let recheck = match watch.step(place.step) {
                        Some(StepAction::Probe { recheck, .. }) if place.direction == Direction::Do => Some(*recheck),
                        _ => None,
                    };
                    if recheck == Some(Recheck::Admission) {
                        watch.admission = Some(report.clone());
                    }
                    watch.last_probe = Some(report.clone());
                    let proven = watch.is_second_half();
                    if recheck == Some(Recheck::Restored) && (watch.reboot_done || proven) {
                        self.note_health(id, record.at);
                    }
                }
                let step = steps.get(place.step as usize).filter(|_| place.direction == Direction::Do);
                self.note_service(id, step, *subject, ack, record.at);
                self.note_health_after_run(id, step, record.at);
                self.note_unit(id, *place, ack);
            }
            Entry::StepStarted { place, round, subjects, .. } => {
                let stops = matches!(watch.step(place.step), Some(StepAction::Stop { .. }));
                if let Some(StepAction::Probe { recheck: Recheck::ChildrenDown, .. }) = watch.step(place.step) {
                    watch.service.looked_at = Some(now);
                }
                watch.service.results.clear();
                watch.service.soak = None;
                watch.service.open = true;
                if stops && place.direction == Direction::Do {
                    watch.stop_rounds = watch.stop_rounds.max(*round);
                    watch.stop_subjects.extend(subjects);
                }
            }
            Entry::StepEnded { .. } => watch.service.open = false,
            Entry::TrackPutOff { .. } => {
                let disrupted = watch.disrupted;
                watch.started_at = None;
                watch.admission = None;
                watch.service = rollout::Service::default();
                self.counts.end(End::PutOff);
                if disrupted {
                    self.fail(Guarantee::G7, format!("{id} is put off, and something was taken down"));
                }
            }
            Entry::ForceStarted { .. } => self.counts.end(End::ForceStopped),
            Entry::UnwindStarted { .. } => self.counts.end(End::Unwound),
            Entry::TrackEnded { outcome, reason, .. } => {
                watch.ended = Some(*outcome);
                self.check_end(controller, id, *outcome, reason.as_deref().unwrap_or_default());
                self.check_service_end(id, *outcome);
            }
            _ => {}
        }
    }

    fn watch(&mut self, id: OrchestrationId, request: &Request, plan: &Plan) {
        let lists: Vec<Rc<[StepAction]>> =
            plan.lists.iter().map(|list| list.iter().map(|step| step.action.clone()).collect()).collect();
        let waves = (0..).zip(&plan.waves).flat_map(|(w, wave)| wave.tracks.iter().map(move |_| w)).collect();
        let run = Run {
            request: request.clone(),
            plan: plan.clone(),
            accepted_at: self.now,
            ended: None,
            waves,
            paused: false,
            accepted_failures: 0,
            agreed: BTreeSet::new(),
            last_start: None,
        };
        self.checks.runs.insert(id, run);
        for (number, track) in (0..).zip(plan.tracks()) {
            self.watch_track(TrackId(id, number), request, track, &lists);
        }
        if !self.accepted.contains(&id) {
            self.accepted.push(id);
        }
    }

    fn watch_track(&mut self, id: TrackId, request: &Request, track: &Track, lists: &[Rc<[StepAction]>]) {
        let (Some(host), Some(steps)) = (self.host_index(track.target), lists.get(track.list as usize)) else { return };
        let watch = Watch {
            host,
            operation: request.operation,
            forced: request.options.force.is_some(),
            steps: Rc::clone(steps),
            accepted_at: self.now,
            started_at: None,
            admission: None,
            stopped: BTreeSet::new(),
            boot_commands: Vec::new(),
            run_commands: Vec::new(),
            stop_subjects: BTreeSet::new(),
            stop_rounds: 0,
            disrupted: false,
            reboot_done: false,
            healthy: None,
            last_probe: None,
            unfinished: track.unfinished.clone(),
            only_if_required: request.rollout.as_ref().is_some_and(|r| r.only_if_required),
            soak: steps.iter().find_map(|s| match s {
                StepAction::Probe { recheck: Recheck::Soak, hold, .. } => Some(*hold),
                _ => None,
            }),
            service: rollout::Service::default(),
            of_service: service::OfService::of(
                track.service.as_ref().and_then(|service| self.unit_at(host, &service.unit)),
                &track.after,
            ),
            ended: None,
        };
        self.checks.watched.insert(id, watch);
    }

    fn note_health(&mut self, id: TrackId, at: Timestamp) {
        let restored = self.not_as_before(id).is_empty();
        if let Some(watch) = self.checks.watched.get_mut(&id) {
            watch.healthy = restored.then(|| (watch.healthy.map_or(at, |(since, _)| since), at));
        }
    }

    /// G6: when faults are over, whatever is open ends within its own deadlines.
    pub(crate) fn liveness(&mut self) -> bool {
        let asked_all = self.scenario.asks.last().is_none_or(|a| a.at + 5 * MINUTE < self.now);
        let mut late = None;
        let mut open = false;
        for (id, run) in &self.checks.runs {
            if run.ended.is_some() || self.forgotten.contains(id) {
                continue;
            }
            open = true;
            let limits: u64 = run.plan.tracks().flat_map(|t| run.plan.steps(t)).map(|s| s.limit.0).sum();
            let config = &self.scenario.config;
            let sum = config.wait_limit.0 + 4 * limits + 4 * config.settling.0 + 30 * MINUTE as u64;
            let from = run.accepted_at.max(self.scenario.faults_end) + self.clock_set_back();
            if self.now > from + sum as i64 {
                late = Some(*id);
            }
        }
        if let Some(id) = late {
            let words = format!("orchestration {id} is still open long after its deadlines and the end of all faults");
            self.fail(Guarantee::G6, words);
        }
        asked_all && !open
    }

    /// Deadlines are the controller's wall time: a clock set back by an hour makes them an hour later.
    fn clock_set_back(&self) -> i64 {
        if self.checks.controller_clock_stepped { 4 * 60 * MINUTE } else { 0 }
    }

    /// Where the plan on a host stands, in the words of the faults.
    pub(crate) fn checks_phase_of(&self, host: usize) -> Fault {
        let active = self.checks.watched.values().find(|w| w.ended.is_none() && w.started_at.is_some() && w.host == host);
        match active {
            None => Fault::ForeignReboot,
            Some(w) if w.reboot_done => Fault::ForeignRebootAfter,
            Some(w) if !w.boot_commands.is_empty() => Fault::ForeignRebootDuring,
            Some(_) => Fault::ForeignRebootBefore,
        }
    }

    /// Whether a track works on a host.
    pub(crate) fn checks_working_on(&self, host: usize) -> bool {
        self.checks.watched.values().any(|w| w.host == host && w.started_at.is_some() && w.ended.is_none())
    }

    /// A child that starts with the host was started by a boot.
    pub(crate) fn checks_boot_started(&mut self, host: usize, child: TargetId) {
        let active = self.checks.watched.values().find(|w| w.ended.is_none() && w.host == host && !w.boot_commands.is_empty());
        let was_down = active.and_then(|w| w.admission.as_ref()).and_then(|r| r.child(child)).is_some_and(|c| !c.status.is_up());
        if was_down {
            self.counts.fault(Fault::BootStartedDownChild);
        }
    }
}
