//! Faults that come by time: when they strike, what they do, how they end.

use model::{Action, ChildStatus, Command, CommandId, Millis, OrchestrationId};
use protocol::native::ControllerBody;

use crate::fault::Fault;
use crate::scenario::START;
use crate::sim::{Event, Sim};
use crate::world::{Cause, Time};

/// The faults that come by time, with how often at most in a run.
const TIMED: &[(Fault, u64)] = &[
    (Fault::Partition, 3),
    (Fault::BrokerRestart, 3),
    (Fault::RetainedReplay, 4),
    (Fault::OldCommandReplay, 4),
    (Fault::ForgedCommand, 3),
    (Fault::RogueController, 1),
    (Fault::ControllerCrash, 2),
    (Fault::TwoLeaders, 2),
    (Fault::ControllerDiskFull, 2),
    (Fault::DatabaseReplaced, 1),
    (Fault::JournalUnreadable, 1),
    (Fault::AgentCrash, 3),
    (Fault::AgentDiskFull, 2),
    (Fault::PowerCut, 2),
    (Fault::ForeignReboot, 2),
    (Fault::Inhibitor, 2),
    (Fault::ListingFails, 2),
    (Fault::ChildHangs, 3),
    (Fault::ChildUnstoppable, 2),
    (Fault::ChildFails, 3),
    (Fault::ChildVanishes, 1),
    (Fault::ChildAppears, 2),
    (Fault::ChildDies, 2),
    (Fault::ChildStarts, 2),
    (Fault::DrainHangs, 8),
    (Fault::DrainUndone, 5),
    (Fault::DrainedBefore, 2),
    (Fault::ServiceFlaps, 12),
    (Fault::Freeze, 1),
    (Fault::Hold, 2),
    (Fault::Slot, 3),
    (Fault::ControllerClockStep, 1),
    (Fault::HostClockStep, 2),
    (Fault::UnitSickBefore, 4),
];

impl Sim {
    pub(crate) fn schedule_strikes(&mut self) {
        for (fault, most) in TIMED {
            if !self.scenario.has(*fault) {
                continue;
            }
            for _ in 0..self.rng.between(1, *most) {
                let (at, host) = self.strike_time(*fault);
                self.at(at, Event::Strike { fault: *fault, host });
            }
        }
    }

    /// Mostly soon after somebody asked for something, where it hurts.
    fn strike_time(&mut self, fault: Fault) -> (Time, usize) {
        let any_host = self.rng.index(self.hosts.len());
        let anywhere = START + self.rng.below((self.scenario.faults_end - START) as u64) as i64;
        if self.scenario.asks.is_empty() || self.rng.per_mille(200) {
            return (anywhere, any_host);
        }
        let ask = self.rng.index(self.scenario.asks.len());
        let (at, host) = (self.scenario.asks[ask].at, self.scenario.asks[ask].host);
        // A rollout goes on for long, on all its hosts.
        if self.scenario.fleet
            && matches!(fault, Fault::ServiceFlaps | Fault::DrainUndone | Fault::DrainHangs | Fault::DrainedBefore)
        {
            let at = self.scenario.asks[0].at + self.rng.below(25 * 60_000) as i64;
            return (at.min(self.scenario.faults_end - 1), any_host);
        }
        let early = matches!(fault, Fault::ChildHangs | Fault::ChildUnstoppable | Fault::ChildFails);
        let offset = if early { -(self.rng.below(60_000) as i64) } else { self.rng.pick(&[5_000, 40_000, 120_000, 400_000]) };
        let spread = if offset > 0 { self.rng.below(offset as u64) as i64 } else { offset };
        let at = (at + spread).clamp(START, self.scenario.faults_end - 1);
        (at, host)
    }

    pub(crate) fn strike(&mut self, fault: Fault, host: usize) {
        if self.faults_over {
            return;
        }
        match fault {
            Fault::Partition => {
                self.counts.fault(fault);
                let until = self.now + self.rng.between(5_000, 400_000) as i64;
                self.cut_off.insert(host, until);
                self.note(|s| format!("{} is cut off from the broker", s.hosts[host].name));
                self.agent_disconnected(host, true);
            }
            Fault::BrokerRestart => {
                self.counts.fault(fault);
                self.broker_restarts();
            }
            Fault::RetainedReplay | Fault::OldCommandReplay => self.replay_old(fault),
            Fault::ForgedCommand => self.forge(host),
            Fault::RogueController => {
                self.rogue_reboot(host);
                for _ in 0..self.rng.between(2, 5) {
                    let delay = self.rng.between(60_000, 400_000) as i64;
                    self.after(delay, Event::Heal { fault, host });
                }
            }
            Fault::ControllerCrash => {
                self.counts.fault(fault);
                self.controller_dies(self.rng_controller());
            }
            Fault::TwoLeaders => self.second_leader(),
            Fault::ControllerDiskFull => {
                self.backend.lock().full = true;
                self.note(|_| "the disk under the controller is full".to_owned());
                let delay = self.rng.between(1_000, 180_000) as i64;
                self.after(delay, Event::Heal { fault, host });
            }
            Fault::DatabaseReplaced => self.replace_database(),
            Fault::JournalUnreadable => self.spoil_journal(),
            Fault::AgentCrash => self.agent_crash(host),
            Fault::AgentDiskFull => {
                self.hosts[host].disk.full = true;
                self.note(|s| format!("{}: the disk is full", s.hosts[host].name));
                let delay = self.rng.between(1_000, 300_000) as i64;
                self.after(delay, Event::Heal { fault, host });
            }
            Fault::PowerCut => {
                if self.hosts[host].is_up() {
                    self.counts.fault(fault);
                    self.host_falls(host, Cause::PowerCut, false);
                }
            }
            Fault::ForeignReboot => self.foreign_reboot(host),
            Fault::Inhibitor => {
                self.counts.fault(fault);
                self.hosts[host].inhibitors = vec!["apt is upgrading".to_owned()];
                self.note(|s| format!("{}: shutdown is inhibited", s.hosts[host].name));
                let delay = self.rng.between(10_000, 600_000) as i64;
                self.after(delay, Event::Heal { fault, host });
            }
            Fault::ListingFails => {
                self.counts.fault(fault);
                let until = self.now + self.rng.between(2_000, 150_000) as i64;
                self.hosts[host].listing_bad = Some((until, self.rng.per_mille(500)));
                self.note(|s| format!("{}: the children cannot be listed for a while", s.hosts[host].name));
            }
            Fault::ControllerClockStep => {
                self.counts.fault(fault);
                let step = self.rng.pick(&[-3_600_000, -60_000, 30_000, 600_000, 7_200_000]);
                self.controllers.iter_mut().for_each(|c| c.clock_offset += step);
                self.checks.controller_clock_stepped = true;
                self.note(|_| format!("the controller's clock is stepped by {} s", step / 1000));
            }
            Fault::HostClockStep => {
                self.counts.fault(fault);
                let step = self.rng.pick(&[-86_400_000, -600_000, -20_000, 20_000, 600_000, 86_400_000]);
                self.hosts[host].clock_offset += step;
                self.hosts[host].clock_stepped_at = Some(self.now);
                self.note(|s| format!("{}: the clock is stepped by {} s", s.hosts[host].name, step / 1000));
            }
            Fault::UnitSickBefore => {
                let count = self.hosts[host].units.len();
                if count > 0 {
                    self.counts.fault(fault);
                    let unit = self.rng.index(count);
                    self.hosts[host].units[unit].sick = true;
                    self.note(|s| format!("{}: {} is sick", s.hosts[host].name, s.hosts[host].units[unit].name));
                    let delay = self.rng.between(2_000, 300_000) as i64;
                    self.after(delay, Event::Heal { fault, host });
                }
            }
            Fault::DrainHangs | Fault::DrainUndone | Fault::DrainedBefore | Fault::ServiceFlaps => {
                self.strike_service(fault, host)
            }
            Fault::Freeze | Fault::Hold | Fault::Slot => {
                self.people_hold(fault, host, true);
                let delay = self.rng.between(30_000, 900_000) as i64;
                self.after(delay, Event::Heal { fault, host });
            }
            _ => self.strike_child(fault, host),
        }
    }

    fn strike_service(&mut self, fault: Fault, host: usize) {
        let now = self.now;
        let jobs = self.rng.per_mille(500) && self.hosts[host].jobs.is_some();
        let busy = self.checks_working_on(host);
        let it = &mut self.hosts[host];
        let service = if jobs { it.jobs.as_mut() } else { None }.unwrap_or(&mut it.place);
        match fault {
            // Counted when a tool meets it.
            Fault::DrainHangs => service.hangs = true,
            Fault::DrainUndone if service.state == "drained" => {
                service.set("ready", true, Cause::Foreign, now);
                self.counts.fault(fault);
            }
            // A person takes it out, and not in the middle of our work: then nobody could tell whose it is.
            Fault::DrainedBefore if service.in_service && !busy => {
                service.set("maint", false, Cause::Foreign, now);
                self.counts.fault(fault);
            }
            Fault::ServiceFlaps => {
                it.sick = true;
                self.counts.fault(fault);
                let delay = self.rng.between(1_000, 60_000) as i64;
                self.after(delay, Event::Heal { fault, host });
            }
            _ => return,
        }
        self.note(|s| format!("{}: {}", s.hosts[host].name, fault.words()));
    }

    fn strike_child(&mut self, fault: Fault, host: usize) {
        let now = self.now;
        if fault == Fault::ChildAppears {
            let name = format!("new{}", self.hosts[host].children.len());
            let child = self.hosts[host].new_child(&name, &mut self.rng);
            self.counts.fault(fault);
            self.note(|s| format!("{}/{name} appears, {}", s.hosts[host].name, child.status));
            let up = self.hosts[host].is_up();
            self.hosts[host].children.push(child);
            if !up && let Some(child) = self.hosts[host].children.last_mut() {
                child.status = ChildStatus::Stopped;
            }
            return;
        }
        let count = self.hosts[host].children.len();
        if count == 0 {
            return;
        }
        let index = self.rng.index(count);
        let host_up = self.hosts[host].is_up();
        let child = &mut self.hosts[host].children[index];
        let name = child.who.name.clone();
        match fault {
            Fault::ChildHangs => child.hangs = true,
            Fault::ChildUnstoppable => child.unstoppable = true,
            Fault::ChildFails => child.fails = true,
            Fault::ChildVanishes if child.exists => {
                child.set(ChildStatus::Stopped, Cause::Foreign, now);
                child.exists = false;
                self.counts.fault(fault);
                self.note(|s| format!("{}/{name} vanishes", s.hosts[host].name));
                return;
            }
            Fault::ChildDies if child.is_up() => {
                child.set(ChildStatus::Stopped, Cause::Itself, now);
                self.counts.fault(fault);
                self.note(|s| format!("{}/{name} dies", s.hosts[host].name));
                return;
            }
            Fault::ChildStarts if child.exists && !child.is_up() && host_up => {
                child.set(ChildStatus::Running, Cause::Itself, now);
                self.counts.fault(fault);
                self.note(|s| format!("{}/{name} starts by itself", s.hosts[host].name));
                return;
            }
            _ => return,
        }
        // Counted when a tool meets it. Some heal by themselves, the others when all faults end.
        self.note(|s| format!("{}/{name}: from now on, {}", s.hosts[host].name, fault.words()));
        if self.rng.per_mille(400) {
            let delay = self.rng.between(30_000, 300_000) as i64;
            self.after(delay, Event::Heal { fault, host });
        }
    }

    pub(crate) fn heal(&mut self, fault: Fault, host: usize) {
        match fault {
            // One more of a series.
            Fault::RogueController => return self.rogue_reboot(host),
            Fault::ControllerDiskFull => self.backend.lock().full = false,
            Fault::AgentDiskFull => self.hosts[host].disk.full = false,
            Fault::Inhibitor => self.hosts[host].inhibitors.clear(),
            Fault::ServiceFlaps => self.hosts[host].sick = false,
            Fault::Freeze | Fault::Hold | Fault::Slot => return self.people_hold(fault, host, false),
            Fault::UnitSickBefore => self.hosts[host].units.iter_mut().for_each(|unit| unit.sick = false),
            Fault::ChildHangs => self.hosts[host].children.iter_mut().for_each(|c| c.hangs = false),
            Fault::ChildUnstoppable => self.hosts[host].children.iter_mut().for_each(|c| c.unstoppable = false),
            Fault::ChildFails => self.hosts[host].children.iter_mut().for_each(|c| c.fails = false),
            _ => {}
        }
        self.note(|_| format!("over: {}", fault.words()));
    }

    /// From here on nothing new goes wrong; what is broken for good stays so.
    pub(crate) fn faults_end(&mut self) {
        self.faults_over = true;
        self.note(|_| "all faults stop here".to_owned());
        {
            let mut backend = self.backend.lock();
            backend.full = false;
            backend.plan.per_mille = 0;
            backend.plan.ack_lost_per_mille = 0;
        }
        self.cut_off.clear();
        for host in &mut self.hosts {
            host.disk.full = false;
            host.inhibitors.clear();
            host.sick = false;
            host.place.hangs = false;
            host.jobs.iter_mut().for_each(|s| s.hangs = false);
            for child in &mut host.children {
                child.hangs = false;
                child.unstoppable = false;
                child.fails = false;
            }
            if host.listing_bad.is_some_and(|(until, _)| until > self.now) {
                host.listing_bad = Some((self.now, false));
            }
            if !host.clock_set {
                host.clock_set = true;
                host.clock_offset = 0;
            }
        }
        self.one_controller_stays();
    }

    fn foreign_reboot(&mut self, host: usize) {
        if !self.hosts[host].is_up() || self.hosts[host].pending.is_some() {
            return;
        }
        let when = self.checks_phase_of(host);
        self.counts.fault(when);
        self.note(|s| format!("{}: someone else reboots it", s.hosts[host].name));
        self.order_shutdown(host, Cause::Foreign, false);
    }

    /// An old command comes once more, as a broker or an attacker could make it.
    fn replay_old(&mut self, fault: Fault) {
        if self.old_commands.is_empty() {
            return;
        }
        let pick = self.rng.index(self.old_commands.len());
        let (host, command) = self.old_commands[pick].clone();
        self.counts.fault(fault);
        let retained = fault == Fault::RetainedReplay;
        self.send_down(host, ControllerBody::Command { command }, retained);
    }

    fn reboot_command(&mut self, host: usize) -> Command {
        let it = &self.hosts[host];
        let fence = self.checks.claims.values().filter(|c| c.host == host).map(|c| c.fence).max().unwrap_or_default();
        let issued_at = self.wall(0);
        let action = Action::Reboot { expect_boot: it.boot().identity, begin_within: Millis::secs(120), ignore_inhibitors: true };
        Command {
            id: CommandId(self.rng.uuid()),
            target: it.id,
            subject: it.id,
            action,
            orchestration: OrchestrationId(self.rng.uuid()),
            attempt: 1,
            fence,
            issued_at,
            expires_at: issued_at + self.scenario.config.command_expiry,
        }
    }

    fn forge(&mut self, host: usize) {
        self.counts.fault(Fault::ForgedCommand);
        let command = self.reboot_command(host);
        self.note(|s| format!("somebody forges a reboot of {}", s.hosts[host].name));
        self.send_forged(host, command);
    }

    /// A controller that asks nobody and counts nothing, but has the key.
    fn rogue_reboot(&mut self, host: usize) {
        if self.faults_over {
            return;
        }
        self.counts.fault(Fault::RogueController);
        let command = self.reboot_command(host);
        self.note(|s| format!("a controller without limits reboots {}", s.hosts[host].name));
        self.checks.rogue.insert(command.id);
        self.checks_issued(&command, 0, None);
        self.send_down(host, ControllerBody::Command { command }, false);
    }

    pub(crate) fn broker_restarts(&mut self) {
        self.broker_life += 1;
        self.note(|_| "the broker restarts; everything under way is lost".to_owned());
        for host in 0..self.agents.len() {
            self.agent_disconnected(host, false);
        }
    }
}
