//! A controller's process: runs the production driver, hears devices and people, dies and starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use driver::{Driver, StartError, StoreError};
use engine::{Input, Refusal, Reply, RestoreError, Why};
use model::{
    Ack, Actor, CommandId, ErrorCode, Force, InstanceId, Operation, Options, OrchestrationId, Report, Request, TargetId,
    Timestamp,
};
use protocol::native::{ControllerBody, DeviceBody};

use crate::backend::{Db, SimStore, SimTransport};
use crate::fault::{End, Fault};
use crate::scenario::What;
use crate::sim::check::Guarantee;
use crate::sim::net::{Up, short, words_of};
use crate::sim::{Event, Sim};
use crate::world::Time;

/// One controller's process, or its absence.
#[derive(Default)]
pub(crate) struct Controller {
    pub(crate) driver: Option<Driver<SimStore, SimTransport>>,
    /// Number of this run.
    pub(crate) run: u64,
    /// Its clock minus true time.
    pub(crate) clock_offset: i64,
    inbox: Vec<Input>,
    wake_at: Option<Time>,
    /// It does not hear devices any more, and does not know it.
    pub(crate) deaf: bool,
    /// When it last was given a message of a host: truth for the checks.
    pub(crate) heard: BTreeMap<TargetId, Time>,
    /// The newest report that it was given.
    pub(crate) reports: BTreeMap<TargetId, Report>,
    /// The run of the performers in its process, and how many reports they gave.
    pub(crate) instance: Option<InstanceId>,
    pub(crate) said: u64,
    /// Commands that those performers are at work on.
    pub(crate) taken: BTreeSet<CommandId>,
    /// It is meant to run.
    pub(crate) wanted: bool,
    spins: u32,
}

/// One poll is enough: store and transport are always ready, or the process has died in them.
fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

impl Sim {
    pub(crate) fn start_controller_in(&mut self, controller: usize, delay: i64) {
        self.controllers[controller].wanted = true;
        let run = self.controllers[controller].run;
        self.after(delay, Event::ControllerStart { controller, run });
    }

    pub(crate) fn controller_start(&mut self, controller: usize, run: u64) {
        let it = &self.controllers[controller];
        if it.run != run || it.driver.is_some() || !it.wanted {
            return;
        }
        self.note(|_| format!("controller {} starts", name_of(controller)));
        let wall = self.wall(controller);
        let (store, transport) = (SimStore(self.backend.clone()), SimTransport(self.backend.clone()));
        self.backend.lock().running = controller;
        let (config, resend) = (self.scenario.config.clone(), self.scenario.resend);
        let started = poll_once(Driver::start(config, store, transport, resend, None, wall));
        let it = &mut self.controllers[controller];
        it.inbox.clear();
        it.heard.clear();
        it.reports.clear();
        it.deaf = false;
        it.spins = 0;
        match started {
            Some(Ok(driver)) => {
                it.driver = Some(driver);
                self.enrol_hosts(controller);
                self.remotes_start(controller);
                self.after_turn(controller);
            }
            Some(Err(StartError::Restore(RestoreError::FleetJournal { position, reason }))) => {
                let words = format!("the fleet journal does not load: record {position}: {reason}");
                self.fail(Guarantee::G8, words);
            }
            Some(Err(error)) => {
                self.after_failed_turn(controller, &error.to_string());
            }
            None => {
                self.after_commits(controller);
                self.controller_dies(controller);
            }
        }
    }

    /// Hosts that this database does not know are enrolled and approved.
    fn enrol_hosts(&mut self, controller: usize) {
        let known: Vec<TargetId> = {
            let backend = self.backend.lock();
            let entries = backend.db.fleet.iter().filter_map(|r| match &r.entry {
                engine::FleetEntry::HostApproved { host } | engine::FleetEntry::HostAdopted { host, .. } => Some(*host),
                _ => None,
            });
            entries.collect()
        };
        for (host, key) in self.hosts.iter().zip(&self.device_keys) {
            if !known.contains(&host.id) {
                let inbox = &mut self.controllers[controller].inbox;
                if host.ssh {
                    inbox.push(Input::Adopt {
                        host: host.id,
                        name: host.name.clone(),
                        address: host.name.clone(),
                        labels: host.labels.clone(),
                        by: Actor::User("ann".to_owned()),
                    });
                    continue;
                }
                inbox.push(Input::Enrol {
                    host: host.id,
                    name: host.name.clone(),
                    machine_id: format!("machine-{}", host.id.0.simple()),
                    public_key: key.public().to_string(),
                    labels: host.labels.clone(),
                });
                inbox.push(Input::Approve { host: host.id, by: Actor::User("admin".to_owned()) });
            }
        }
        self.wake_controller(controller, 0);
    }

    pub(crate) fn wall(&self, controller: usize) -> Timestamp {
        Timestamp::from_millis(self.now + self.controllers[controller].clock_offset)
    }

    /// The process ends. With an embedded broker, the broker does too.
    pub(crate) fn controller_dies(&mut self, controller: usize) {
        if self.controllers[controller].driver.is_none() && !self.controllers[controller].wanted {
            return;
        }
        self.note(|_| format!("controller {} dies", name_of(controller)));
        let it = &mut self.controllers[controller];
        it.driver = None;
        it.run += 1;
        it.wake_at = None;
        if self.scenario.broker_embedded {
            self.broker_restarts();
        }
        if self.controllers[controller].wanted {
            let delay = match self.rng.below(10) {
                _ if self.scenario.calm => 2_000,
                0..=6 => self.rng.between(500, 10_000),
                7..=8 => self.rng.between(10_000, 120_000),
                _ => self.rng.between(120_000, 900_000),
            };
            self.start_controller_in(controller, delay as i64);
        }
    }

    fn wake_controller(&mut self, controller: usize, delay: i64) {
        let at = self.now + delay;
        let it = &mut self.controllers[controller];
        if it.driver.is_some() && it.wake_at.is_none_or(|known| at < known) {
            it.wake_at = Some(at);
            let run = it.run;
            self.at(at, Event::ControllerWake { controller, run });
        }
    }

    pub(crate) fn controller_wake(&mut self, controller: usize, run: u64) {
        let now = self.now;
        let it = &mut self.controllers[controller];
        if it.run != run || it.wake_at.is_none_or(|at| at > now) {
            return;
        }
        it.wake_at = None;
        let mut inputs = std::mem::take(&mut it.inbox);
        inputs.push(Input::Tick);
        self.turn(controller, inputs);
    }

    /// One production turn; the replies, if it became durable.
    pub(crate) fn turn(&mut self, controller: usize, inputs: Vec<Input>) -> Option<Vec<Reply>> {
        let wall = self.wall(controller);
        self.backend.lock().running = controller;
        let driver = self.controllers[controller].driver.as_mut()?;
        match poll_once(driver.turn(inputs, wall)) {
            Some(Ok(replies)) => {
                self.after_turn(controller);
                Some(replies)
            }
            Some(Err(error)) => {
                self.after_failed_turn(controller, &error.to_string());
                if matches!(error.0, StoreError::Conflict(_)) {
                    self.note(|_| "two controllers wrote at once".to_owned());
                }
                None
            }
            None => {
                self.after_commits(controller);
                self.controller_dies(controller);
                None
            }
        }
    }

    fn after_turn(&mut self, controller: usize) {
        self.after_commits(controller);
        let now = self.now;
        let offset = self.controllers[controller].clock_offset;
        let Some(due) = self.controllers[controller].driver.as_ref().and_then(Driver::poll_timeout) else { return };
        let due = due.millis() - offset;
        let it = &mut self.controllers[controller];
        if due <= now {
            it.spins += 1;
            if it.spins > 500 {
                return self.fail(Guarantee::G6, "the engine's timer is always due: it spins");
            }
        } else {
            it.spins = 0;
        }
        self.wake_controller(controller, (due - now).clamp(1, 7 * 24 * 3_600_000));
    }

    /// Commits are checked, commands go out.
    fn after_commits(&mut self, controller: usize) {
        let (commits, commands, leaked) = {
            let mut backend = self.backend.lock();
            (std::mem::take(&mut backend.commits), std::mem::take(&mut backend.outbox), backend.leaked.take())
        };
        if let Some(command) = leaked {
            self.fail(Guarantee::G8, format!("command {} was sent before its entry was durable", short(command)));
        }
        for commit in commits {
            self.check_commit(controller, commit);
        }
        for command in commands {
            if self.is_remote(&command) {
                self.perform_remote(controller, command);
            } else {
                self.send_command(command);
            }
        }
    }

    fn after_failed_turn(&mut self, controller: usize, error: &str) {
        self.note(|_| format!("controller {}: {error}; it starts again from the store", name_of(controller)));
        self.after_commits(controller);
        let it = &mut self.controllers[controller];
        it.driver = None;
        it.run += 1;
        it.wake_at = None;
        let other_leads = self.controllers.iter().enumerate().any(|(i, c)| i != controller && c.driver.is_some());
        if other_leads && self.rng.per_mille(600) {
            // It stands by, and does not come back.
            self.controllers[controller].wanted = false;
        } else {
            let delay = self.rng.between(1_000, 20_000) as i64;
            self.start_controller_in(controller, delay);
        }
    }

    pub(crate) fn rng_controller(&self) -> usize {
        self.controllers.iter().position(|c| c.driver.is_some()).unwrap_or(0)
    }

    /// A second controller starts although the first one runs.
    pub(crate) fn second_leader(&mut self) {
        let Some(running) = self.controllers.iter().position(|c| c.driver.is_some()) else { return };
        let other = 1 - running;
        if self.controllers[other].driver.is_some() {
            return;
        }
        self.counts.fault(Fault::TwoLeaders);
        self.controllers[running].deaf = self.rng.per_mille(500);
        self.controllers[other].clock_offset = self.controllers[running].clock_offset + self.rng.pick(&[0, 0, 1_500, -1_500]);
        self.start_controller_in(other, 0);
    }

    /// When faults are over there is one controller, and it runs.
    pub(crate) fn one_controller_stays(&mut self) {
        // The one that holds the lease: another that has nothing to write would never learn that it leads no more.
        let leader = self.backend.lock().leader;
        for controller in 0..self.controllers.len() {
            if controller == leader {
                self.controllers[controller].deaf = false;
                if self.controllers[controller].driver.is_none() {
                    self.start_controller_in(controller, 0);
                }
            } else {
                let it = &mut self.controllers[controller];
                it.driver = None;
                it.run += 1;
                it.wake_at = None;
                it.wanted = false;
            }
        }
    }

    /// The database is lost; a new one takes its place under a higher epoch.
    pub(crate) fn replace_database(&mut self) {
        self.counts.fault(Fault::DatabaseReplaced);
        self.note(|_| "the controller's database is lost and replaced by a new one".to_owned());
        for controller in 0..self.controllers.len() {
            let it = &mut self.controllers[controller];
            it.driver = None;
            it.run += 1;
            it.wake_at = None;
        }
        {
            let mut backend = self.backend.lock();
            let (epoch, lease) = (backend.db.epoch + 1, backend.db.lease);
            self.forgotten.extend(backend.db.orchestrations.keys());
            backend.db = Db { epoch, lease, ..Db::default() };
        }
        self.checks.database_replaced();
        let keep = self.rng.index(self.controllers.len());
        for controller in 0..self.controllers.len() {
            self.controllers[controller].wanted = controller == keep;
        }
        self.start_controller_in(keep, 3_000);
    }

    /// One open orchestration's journal cannot be read at the next start.
    pub(crate) fn spoil_journal(&mut self) {
        let spoiled = {
            let mut backend = self.backend.lock();
            let open: Vec<OrchestrationId> =
                backend.db.orchestrations.iter().filter(|(_, j)| Db::is_open(j)).map(|(id, _)| *id).collect();
            if open.is_empty() || backend.db.unreadable.is_some() {
                return;
            }
            let id = open[self.rng.index(open.len())];
            backend.db.unreadable = Some(id);
            id
        };
        self.counts.fault(Fault::JournalUnreadable);
        self.forgotten.insert(spoiled);
        self.note(|_| format!("the journal of {spoiled} cannot be read any more"));
        let running = self.rng_controller();
        self.controller_dies(running);
    }

    pub(crate) fn up_arrives(&mut self, up: Up) {
        if up.life != self.broker_life {
            return;
        }
        let from = up.from;
        let Some((host, body)) = self.open_up(up) else { return };
        if let DeviceBody::Ack { .. } = &body {
            let words = words_of(&body);
            self.note(|s| format!("controller hears: {} {words}", s.hosts[from].name));
        }
        for controller in 0..self.controllers.len() {
            if self.controllers[controller].driver.is_some() && !self.controllers[controller].deaf {
                self.controller_hears(controller, host, body.clone());
            }
        }
    }

    fn controller_hears(&mut self, controller: usize, host: TargetId, body: DeviceBody) {
        let now = self.now;
        let wall = self.wall(controller);
        let unreached =
            matches!(&body, DeviceBody::Ack { ack } if ack.error.as_ref().is_some_and(|e| e.code == ErrorCode::Unreachable));
        if !matches!(body, DeviceBody::Gone { .. }) && !unreached {
            self.controllers[controller].heard.insert(host, now);
        }
        let input = match body {
            DeviceBody::Ack { ack } => {
                if let Some(report) = &ack.report {
                    self.remember_report(controller, host, report);
                }
                Input::Acked { host, ack: Box::new(ack) }
            }
            DeviceBody::Report { report } => {
                self.remember_report(controller, host, &report);
                Input::Reported { host, report: Box::new(report) }
            }
            DeviceBody::Hello { nonce, report } => {
                // Devices judge expiry by the engine's own time, which never goes back.
                let time = self.controllers[controller].driver.as_ref().map(|d| d.engine().time(wall));
                if let Some((index, now)) = self.host_index(host).zip(time) {
                    self.send_down(index, ControllerBody::Time { nonce, now }, false);
                }
                self.remember_report(controller, host, &report);
                Input::Reported { host, report: Box::new(report) }
            }
            DeviceBody::Gone { instance } => Input::Gone { host, instance },
        };
        self.controllers[controller].inbox.push(input);
        let delay = if self.rng.per_mille(800) { 0 } else { self.rng.between(1, 15) as i64 };
        self.wake_controller(controller, delay);
    }

    /// A performer in its own process has read a host.
    pub(crate) fn controller_is_told(&mut self, controller: usize, host: TargetId, report: Report) {
        self.controller_hears(controller, host, DeviceBody::Report { report });
    }

    /// A performer in its own process answers a command.
    pub(crate) fn remote_said(&mut self, controller: usize, host: usize, ack: Ack) {
        self.note(|s| format!("for {}: {}", s.hosts[host].name, words_of(&DeviceBody::Ack { ack: ack.clone() })));
        let target = self.checks.issued.get(&ack.command).map_or(self.hosts[host].id, |i| i.command.target);
        self.controller_hears(controller, target, DeviceBody::Ack { ack });
    }

    /// The newest by the truth, whatever the order of arrival.
    fn remember_report(&mut self, controller: usize, host: TargetId, report: &Report) {
        let age = |r: &Report| (self.checks.instances.get(&r.instance).copied().unwrap_or_default(), r.sequence);
        let known = self.controllers[controller].reports.get(&host);
        if known.is_none_or(|k| age(k) <= age(report)) {
            self.controllers[controller].reports.insert(host, report.clone());
        }
    }

    pub(crate) fn ask(&mut self, index: usize, tries: u32) {
        let ask = self.scenario.asks[index].clone();
        let leader = self.controllers.iter().position(|c| c.driver.is_some() && !c.deaf);
        let Some(controller) = leader else {
            if tries < 5 {
                self.after(20_000, Event::Ask { index, tries: tries + 1 });
            }
            return;
        };
        let host = ask.host;
        match ask.what {
            What::Submit { shutdown, timeout, policy, strict, force } => {
                let up = self.hosts[host].children.iter().any(|c| c.is_up());
                let odd = !self.scenario.calm && self.rng.per_mille(60);
                let operation = match (up != odd, shutdown) {
                    (true, _) => Operation::OrchestratedReboot,
                    (false, false) => Operation::Reboot,
                    (false, true) => Operation::Shutdown,
                };
                let force = force.then(|| Force { reason: "drill".to_owned() });
                let options = Options { shutdown_timeout: timeout, on_timeout: policy, strict, force };
                let by = Actor::User("anna".to_owned());
                let request = Request {
                    targets: vec![self.hosts[host].id],
                    operation,
                    options,
                    rollout: None,
                    run: None,
                    wait: None,
                    services: None,
                    by,
                };
                self.submit(controller, host, request);
            }
            What::Rollout(plan) => self.ask_rollout(controller, &plan),
            What::Services(plan) => self.ask_services(controller, &plan),
            What::Cancel => {
                let Some(id) = self.checks.active_on(host) else { return };
                self.counts.fault(Fault::Cancel);
                self.note(|s| format!("an operator cancels what is open on {}", s.hosts[host].name));
                let input = Input::Cancel { id, by: Actor::User("bert".to_owned()) };
                if let Some(Reply::Refused(refusal)) = self.turn(controller, vec![input]).and_then(|r| r.into_iter().next()) {
                    self.count_late_cancel(&refusal);
                }
            }
            What::Acknowledge => {
                let mut targets = vec![self.hosts[host].id];
                targets.extend(self.hosts[host].children.iter().map(|c| c.who.id));
                targets.extend(self.hosts[host].units.iter().map(|unit| unit.id));
                let by = Actor::User("bert".to_owned());
                let inputs = targets.into_iter().map(|target| Input::Acknowledge { target, by: by.clone() }).collect();
                self.turn(controller, inputs);
            }
        }
    }

    fn submit(&mut self, controller: usize, host: usize, request: Request) {
        let id = OrchestrationId(self.rng.uuid());
        let forced = request.options.force.is_some();
        if forced {
            self.counts.fault(Fault::Forced);
        }
        let busy = self.checks.active_on(host).is_some();
        if busy {
            self.counts.fault(Fault::SecondRequest);
        }
        self.note(|s| {
            let force = if forced { ", forced" } else { "" };
            format!("anna asks for: {} of {} ({id}{force})", request.operation, s.hosts[host].name)
        });
        let wall = self.wall(controller);
        let explained = self.controllers[controller].driver.as_ref().map(|d| d.engine().explain(&request, wall));
        self.checks.explained = explained.map(|blockers| (id, blockers));
        let replies = self.turn(controller, vec![Input::Submit { id, request }]);
        self.checks.explained = None;
        match replies.and_then(|mut r| r.pop()) {
            Some(Reply::Accepted { id, .. }) => {
                self.note(|_| "accepted".to_owned());
                if !self.accepted.contains(&id) {
                    self.accepted.push(id);
                }
            }
            Some(Reply::Refused(refusal)) => {
                self.counts.end(End::Refused);
                if let Refusal::Blocked { blockers } = &refusal {
                    let why: Vec<String> = blockers.iter().map(|b| b.why.to_string()).collect();
                    self.note(|_| format!("refused: {}", why.join("; ")));
                    if blockers.iter().any(|b| matches!(b.why, Why::Locked { .. })) {
                        self.counts.end(End::RefusedLocked);
                    }
                    if blockers.iter().any(|b| matches!(b.why, Why::Lockout { .. })) {
                        self.counts.end(End::RefusedLockout);
                        self.counts.fault(Fault::ManyRequests);
                    }
                }
            }
            Some(Reply::Noted) | None => {}
        }
    }
}

pub(crate) fn name_of(controller: usize) -> &'static str {
    if controller == 0 { "A" } else { "B" }
}
