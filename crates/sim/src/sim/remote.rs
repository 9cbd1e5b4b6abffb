//! What is performed without an agent: over SSH on a host, and where the engine runs. The performer lives in the controller's
//! process and dies with it; what it left on the far end stays: the claim of the compare-and-claim script.

use model::{
    Ack, AckError, AckStatus, Action, ActionKind, BootIdentity, Command, ErrorCode, InstanceId, Observed, RateState, Readable,
    Report, ServiceVerb, TargetId,
};
use recipe::Verdict;

use crate::fault::Fault;
use crate::scenario::MINUTE;
use crate::sim::check::TrackId;
use crate::sim::far::{Answer, Closed};
use crate::sim::units::Asker;
use crate::sim::{Event, Sim};
use crate::world::Time;

/// Proof over SSH is read twice, so far apart.
const TWICE: i64 = 2_000;
/// Pause between two looks at a host that is to come back.
const LOOK: i64 = 5_000;
/// A host that does not answer costs so much.
const CONNECT_LIMIT: i64 = 10_000;

/// Something that a performer in a controller's process goes on with.
#[derive(Debug)]
pub(crate) enum Remote {
    /// A command that was handed to it begins.
    Begin(Box<Command>),
    /// The ack of a command is ready.
    Say(Box<Ack>),
    /// Look whether the host is back.
    Look { command: Box<Command>, until: Time, seen: Option<(BootIdentity, Time)> },
    /// Read a host for the fleet.
    Survey,
}

impl Sim {
    /// Hands a command over to the performer in this controller's process.
    pub(crate) fn perform_remote(&mut self, controller: usize, command: Command) {
        // Checks from here name nobody: they are for the host of their track.
        let of_track =
            |place: model::Place| self.checks.watched.get(&TrackId(command.orchestration, place.track)).map(|w| w.host);
        let place = self.checks.issued.get(&command.id).and_then(|i| i.place);
        let host = self.host_index(command.subject).or_else(|| place.and_then(of_track));
        let Some(host) = host.filter(|_| self.controllers[controller].taken.insert(command.id)) else { return };
        let delay = self.rng.between(5, 400) as i64;
        self.remote_later(controller, host, delay, Remote::Begin(Box::new(command)));
    }

    pub(crate) fn remote_later(&mut self, controller: usize, host: usize, delay: i64, remote: Remote) {
        let run = self.controllers[controller].run;
        self.after(delay, Event::Remote { controller, run, host, remote: Box::new(remote) });
    }

    pub(crate) fn remote(&mut self, controller: usize, run: u64, host: usize, remote: Remote) {
        let it = &self.controllers[controller];
        if it.run != run || it.driver.is_none() {
            return;
        }
        match remote {
            Remote::Begin(command) => self.remote_begins(controller, host, &command),
            Remote::Say(ack) => {
                if ack.status.is_final() {
                    self.controllers[controller].taken.remove(&ack.command);
                }
                self.remote_said(controller, host, *ack);
            }
            Remote::Look { command, until, seen } => self.remote_looks(controller, host, command, until, seen),
            Remote::Survey => {
                if self.is_reachable(host) {
                    let report = self.remote_report(controller, host);
                    self.controller_is_told(controller, self.hosts[host].id, report);
                } else {
                    self.counts.fault(Fault::SurveyFails);
                }
                self.remote_later(controller, host, 30_000, Remote::Survey);
            }
        }
    }

    fn is_reachable(&self, host: usize) -> bool {
        self.hosts[host].is_up() && !self.is_cut_off(host)
    }

    fn remote_report(&mut self, controller: usize, host: usize) -> Report {
        let reading = self.read_host(host);
        let own = &mut self.controllers[controller];
        own.said += 1;
        let (instance, sequence) = (own.instance.unwrap_or(InstanceId(uuid::Uuid::nil())), own.said);
        Report {
            boot: self.hosts[host].boot().identity,
            instance,
            sequence,
            taken_at: self.hosts[host].wall(self.now),
            agent_version: "ssh".to_owned(),
            protocol_version: 1,
            actions: [
                ActionKind::Probe,
                ActionKind::Check,
                ActionKind::Observe,
                ActionKind::Drain,
                ActionKind::Undrain,
                ActionKind::StopChild,
                ActionKind::StartChild,
                ActionKind::Reboot,
                ActionKind::Shutdown,
                ActionKind::Inspect,
                ActionKind::Watch,
                ActionKind::BackUp,
                ActionKind::Deploy,
                ActionKind::Migrate,
                ActionKind::Restart,
                ActionKind::StopUnit,
                ActionKind::Revert,
                ActionKind::Restore,
            ]
            .into(),
            engines: reading.engines,
            children: reading.children,
            pending_shutdown: reading.pending_shutdown,
            inhibitors: reading.inhibitors,
            rate: RateState::default(),
            reboot_required: required(&self.hosts[host]),
        }
    }

    fn ack(&self, host: usize, command: &Command, status: AckStatus) -> Ack {
        Ack {
            command: command.id,
            status,
            error: None,
            boot: self.hosts[host].boot().identity,
            observed: None,
            already: false,
            report: None,
        }
    }

    fn say_later(&mut self, controller: usize, host: usize, delay: i64, ack: Ack) {
        self.remote_later(controller, host, delay, Remote::Say(Box::new(ack)));
    }

    fn say_failed(&mut self, controller: usize, host: usize, delay: i64, command: &Command, code: ErrorCode, message: &str) {
        let error = Some(AckError { code, message: message.to_owned() });
        let ack = Ack { error, ..self.ack(host, command, AckStatus::Failed) };
        self.say_later(controller, host, delay, ack);
    }

    fn remote_begins(&mut self, controller: usize, host: usize, command: &Command) {
        self.note(|s| {
            let where_ = if command.target == TargetId::CONTROLLER { "here, for" } else { "over SSH on" };
            format!("{} {where_} {}", command.action.kind(), s.hosts[host].name)
        });
        // In the engine's time, as the performers are told it: a clock that was set back does not make commands last.
        let wall = self.wall(controller);
        let time = self.controllers[controller].driver.as_ref().map_or(wall, |driver| driver.engine().time(wall));
        let late = time > command.expires_at;
        if late && !command.action.kind().ends_boot() {
            return self.say_failed(controller, host, 0, command, ErrorCode::Expired, "it had expired");
        }
        if command.target != TargetId::CONTROLLER && !self.is_reachable(host) {
            let delay = self.rng.between(500, CONNECT_LIMIT as u64) as i64;
            return self.say_failed(controller, host, delay, command, ErrorCode::Unreachable, "no connection");
        }
        match &command.action {
            Action::Probe { checks } => {
                let report = self.remote_report(controller, host);
                let observed = (!checks.is_empty()).then(|| Observed::Checks(self.make_checks(host, checks)));
                let ack = Ack { report: Some(report), observed, ..self.ack(host, command, AckStatus::Completed) };
                self.say_later(controller, host, 60, ack);
            }
            Action::Check { .. } | Action::Observe { .. } | Action::Drain { .. } | Action::Undrain { .. } => {
                let here = command.target == TargetId::CONTROLLER;
                let (delay, verdict) = self.serve(host, here, command.id, &command.action);
                self.say_verdict(controller, host, delay, command, verdict);
            }
            Action::Reboot { .. } | Action::Shutdown { .. } => self.remote_boot_end(controller, host, command, late),
            Action::Service { unit, verb: ServiceVerb::Inspect { checks } } => {
                let verdict = self.inspect_unit(host, command.id, unit, checks);
                self.say_verdict(controller, host, 80, command, verdict);
            }
            Action::Service { verb: ServiceVerb::Watch { hold, .. }, .. } => {
                let asker = Asker::Remote { controller, run: self.controllers[controller].run };
                self.watch_unit(host, command, *hold, asker);
            }
            // What was begun on another boot is not known any more.
            Action::Service { verb: ServiceVerb::Migrate { expect_boot, .. }, .. }
                if *expect_boot != self.hosts[host].boot().identity =>
            {
                self.say_failed(controller, host, 60, command, ErrorCode::OutcomeUnknown, "the host is on another boot");
            }
            Action::Service { unit, verb } => {
                let (delay, verdict) = self.change_unit(host, command, unit, verb);
                self.say_verdict(controller, host, delay, command, verdict);
            }
            Action::Run { .. } => {
                self.say_failed(controller, host, 0, command, ErrorCode::Unsupported, "nobody runs commands here");
            }
            Action::StopChild { child, grace, force } => {
                let (delay, verdict) = self.stop_child(host, command.id, child, *grace, *force);
                self.say_verdict(controller, host, delay, command, verdict);
            }
            Action::StartChild { child, frozen, limit } => {
                let (delay, verdict) = self.start_child(host, command.id, child, *frozen, *limit);
                self.say_verdict(controller, host, delay, command, verdict);
            }
        }
    }

    pub(crate) fn say_verdict(&mut self, controller: usize, host: usize, delay: u64, command: &Command, verdict: Verdict) {
        let delay = i64::try_from(delay).unwrap_or(MINUTE);
        match verdict {
            Verdict::Completed { observed, already } => {
                let ack = Ack { observed, already, ..self.ack(host, command, AckStatus::Completed) };
                self.say_later(controller, host, delay, ack);
            }
            Verdict::Failed { code, message } => self.say_failed(controller, host, delay, command, code, &message),
            Verdict::Ordered => {}
        }
    }

    /// The compare-and-claim script. What ends a boot may have been ordered by an earlier copy: that is asked even when the
    /// command has expired.
    fn remote_boot_end(&mut self, controller: usize, host: usize, command: &Command, late: bool) {
        let until = self.now + 2 * MINUTE + 10_000;
        let look = Remote::Look { command: Box::new(command.clone()), until, seen: None };
        match self.far_begins(host, command, late) {
            // It may have been claimed, and ordered: asking again says.
            None => {
                let delay = self.rng.between(2_000, 15_000) as i64;
                self.remote_later(controller, host, delay, Remote::Begin(Box::new(command.clone())));
            }
            Some(Answer::Ended) => self.remote_later(controller, host, 100, look),
            Some(Answer::Differs) => {
                self.say_failed(controller, host, 80, command, ErrorCode::BootDiffers, "the host is on another boot");
            }
            Some(Answer::Absent) => self.say_failed(controller, host, 80, command, ErrorCode::Expired, "it had expired"),
            Some(Answer::Failed(code)) => self.say_failed(controller, host, 80, command, code, "nothing comes of it"),
            Some(answer @ (Answer::Ordered | Answer::Open)) => {
                // The answer of the order is often lost with the connection.
                if answer == Answer::Ordered && self.rng.per_mille(700) {
                    self.say_later(controller, host, 50, self.ack(host, command, AckStatus::Accepted));
                }
                self.say_later(controller, host, 120, self.ack(host, command, AckStatus::ExecutionStarted));
                if command.action.kind() == ActionKind::Reboot {
                    self.remote_later(controller, host, 1_000, look);
                }
            }
        }
    }

    fn remote_looks(
        &mut self,
        controller: usize,
        host: usize,
        command: Box<Command>,
        until: Time,
        seen: Option<(BootIdentity, Time)>,
    ) {
        if !self.is_reachable(host) {
            return self.remote_later(controller, host, LOOK, Remote::Look { command, until, seen: None });
        }
        let boot = self.hosts[host].boot().identity;
        if command.action.expect_boot() == Some(boot) {
            let over = self.now > until && self.hosts[host].pending.is_none();
            // Closed on the far end: no order of this command can happen any more.
            if over && self.far_close(host, command.id, ErrorCode::NotBegun) == Closed::Closed {
                let words = "still on the same boot, and no shutdown is pending";
                return self.say_failed(controller, host, 50, &command, ErrorCode::NotBegun, words);
            }
            return self.remote_later(controller, host, LOOK, Remote::Look { command, until, seen: None });
        }
        match seen {
            Some((first, at)) if first == boot && self.now >= at + TWICE => {
                let report = self.remote_report(controller, host);
                let ack = Ack { report: Some(report), ..self.ack(host, &command, AckStatus::Completed) };
                self.say_later(controller, host, 50, ack);
            }
            _ => {
                let seen = Some((boot, self.now));
                self.remote_later(controller, host, TWICE, Remote::Look { command, until, seen });
            }
        }
    }

    /// What a controller's own performers know of is gone with it.
    pub(crate) fn remotes_start(&mut self, controller: usize) {
        let instance = InstanceId(self.rng.uuid());
        self.checks.instances.insert(instance, self.now);
        let it = &mut self.controllers[controller];
        it.instance = Some(instance);
        it.said = 0;
        it.taken.clear();
        for host in 0..self.hosts.len() {
            if self.hosts[host].ssh {
                let delay = self.rng.below(2_000) as i64;
                self.remote_later(controller, host, delay, Remote::Survey);
            }
        }
    }

    /// Whether a command is performed without an agent.
    pub(crate) fn is_remote(&self, command: &Command) -> bool {
        command.target == TargetId::CONTROLLER || self.host_index(command.target).is_some_and(|h| self.hosts[h].ssh)
    }
}

/// What a host tells that cannot say whether it needs a reboot.
pub(crate) fn required(host: &crate::world::Host) -> Readable<Option<String>> {
    match host.needs_reboot {
        Some(true) => Readable::Known(Some("a new kernel is installed".to_owned())),
        Some(false) => Readable::Known(None),
        None => Readable::Unknown("no tool tells".to_owned()),
    }
}
