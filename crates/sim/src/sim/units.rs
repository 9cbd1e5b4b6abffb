//! What is done to services, on a host with an agent and over SSH alike. What a recipe does happens at once; what is said of it
//! comes later, or never.

use model::{
    Check, CheckKind, CheckResult, Command, CommandId, ErrorCode, InvocationId, Millis, Observed, Ran, Said, ServiceSeen,
    ServiceVerb,
};
use recipe::Verdict;

use crate::fault::Fault;
use crate::sim::tools::Done;
use crate::sim::{Event, Sim};
use crate::units::{Migration, State, UnitClaim, What};
use crate::world::{Cause, Time};

/// Who waits for the end of a watch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asker {
    Agent { run: u64 },
    Remote { controller: usize, run: u64 },
}

/// A watch that goes on.
#[derive(Debug)]
pub(crate) struct Watching {
    pub(crate) command: Box<Command>,
    pub(crate) asker: Asker,
    pub(crate) until: Time,
}

/// A watch looks so often.
const EVERY: i64 = 2_000;

fn failed(code: ErrorCode, message: &str) -> Verdict {
    Verdict::Failed { code, message: message.to_owned() }
}

impl Sim {
    pub(crate) fn unit_at(&self, host: usize, name: &str) -> Option<usize> {
        self.hosts[host].units.iter().position(|unit| unit.name == name)
    }

    fn strikes_unit(&mut self, fault: Fault, chance: u32) -> bool {
        let strikes = !self.faults_over && self.scenario.has(fault) && self.rng.per_mille(chance);
        if strikes {
            self.counts.fault(fault);
        }
        strikes
    }

    fn health(&self, host: usize, unit: usize, checks: &[Check]) -> Vec<CheckResult> {
        let units = &self.hosts[host].units;
        let passes = |check: &Check| match &check.kind {
            CheckKind::Unit { unit } => units.iter().find(|u| u.name == *unit).is_some_and(|u| u.is_up()),
            _ => units[unit].is_healthy(),
        };
        let result = |check: &Check| {
            let passed = passes(check);
            let detail = if passed { "fine" } else { "it does not answer" };
            CheckResult { name: check.name.clone(), passed, detail: detail.to_owned() }
        };
        checks.iter().map(result).collect()
    }

    /// A look at a service: how it truly is is noted with what is told.
    pub(crate) fn inspect_unit(&mut self, host: usize, id: CommandId, name: &str, checks: &[Check]) -> Verdict {
        let Some(unit) = self.unit_at(host, name) else { return failed(ErrorCode::NotFound, "no such unit") };
        self.check_unit_looked_at(host, unit, id);
        let checks = self.health(host, unit, checks);
        let seen = ServiceSeen { checks, ..ServiceSeen::of(self.hosts[host].units[unit].seen()) };
        Verdict::Completed { observed: Some(Observed::Service(Box::new(seen))), already: false }
    }

    /// The soak begins.
    pub(crate) fn watch_unit(&mut self, host: usize, command: &Command, hold: Millis, asker: Asker) {
        let until = self.now + hold.0 as i64;
        let boot = self.hosts[host].boots.len() - 1;
        let watching = Box::new(Watching { command: Box::new(command.clone()), asker, until });
        self.after(50, Event::UnitWatched { host, boot, watching });
    }

    /// One look of a soak.
    pub(crate) fn unit_watched(&mut self, host: usize, boot: usize, watching: Watching) {
        let model::Action::Service { unit: name, verb: ServiceVerb::Watch { invocation, restarts, checks, .. } } =
            &watching.command.action
        else {
            return;
        };
        // With its host, or who asked, it is gone.
        let there = self.hosts[host].is_up() && self.hosts[host].boots.len() == boot + 1;
        let Some(unit) = self.unit_at(host, name).filter(|_| there) else { return };
        let results = self.health(host, unit, checks);
        let it = &self.hosts[host].units[unit];
        let trouble = if !it.is_up() || it.run != *invocation || it.restarts != *restarts {
            Some("it crashed".to_owned())
        } else {
            results.iter().any(|r| !r.passed).then(|| "it is sick".to_owned())
        };
        if trouble.is_none() && self.now < watching.until {
            let delay = EVERY.min(watching.until - self.now);
            return self.after(delay, Event::UnitWatched { host, boot, watching: Box::new(watching) });
        }
        let seen = ServiceSeen { checks: results, trouble, ..ServiceSeen::of(it.seen()) };
        let verdict = Verdict::Completed { observed: Some(Observed::Service(Box::new(seen))), already: false };
        self.unit_answered(host, &watching, verdict);
    }

    fn unit_answered(&mut self, host: usize, watching: &Watching, verdict: Verdict) {
        match watching.asker {
            Asker::Agent { run } => {
                let done = Done::Looked { command: watching.command.id, verdict };
                self.agent_done(host, run, done);
            }
            Asker::Remote { controller, run } => {
                if self.controllers[controller].run == run {
                    self.say_verdict(controller, host, 20, &watching.command, verdict);
                }
            }
        }
    }

    /// What a tool does to a service: how long until it is told, and what.
    pub(crate) fn change_unit(&mut self, host: usize, command: &Command, name: &str, verb: &ServiceVerb) -> (u64, Verdict) {
        let Some(unit) = self.unit_at(host, name) else { return (50, failed(ErrorCode::NotFound, "no such unit")) };
        let id = command.id;
        self.check_unit_touched(host, unit, command);
        let takes = self.rng.between(50, 3_000);
        match verb {
            ServiceVerb::Inspect { .. } | ServiceVerb::Watch { .. } => (takes, failed(ErrorCode::Malformed, "a look is no tool")),
            ServiceVerb::BackUp { .. } => (takes, self.saw(host, unit, false, true)),
            ServiceVerb::Deploy { key, deploy, .. } => {
                if self.strikes_unit(Fault::DeployFails, 150) {
                    return (takes, failed(ErrorCode::ToolFailed, "rsync said no"));
                }
                let (now, bad) = (self.now, self.strikes_unit(Fault::UnitDies, 200));
                let it = &mut self.hosts[host].units[unit];
                if bad {
                    it.bad.insert(deploy.source.clone());
                }
                let changed = it.tree != deploy.source;
                if changed && !it.kept.contains_key(key) {
                    let old = std::mem::replace(&mut it.tree, deploy.source.clone());
                    it.kept.insert(*key, old);
                    it.did(What::Deployed, id, now);
                }
                let changed = it.kept.contains_key(key);
                if self.strikes_unit(Fault::DeployUnseen, 100) {
                    return (takes, failed(ErrorCode::NotObserved, "it took too long"));
                }
                (takes, self.saw(host, unit, false, changed))
            }
            ServiceVerb::Revert { key, .. } => {
                if self.strikes_unit(Fault::RollbackFails, 300) {
                    return (takes, failed(ErrorCode::ToolFailed, "the old tree is gone"));
                }
                let now = self.now;
                let it = &mut self.hosts[host].units[unit];
                if let Some(old) = it.kept.remove(key) {
                    it.tree = old;
                    it.did(What::Reverted, id, now);
                }
                (takes, self.saw(host, unit, false, true))
            }
            ServiceVerb::Migrate { key, limit, .. } => self.migrate_unit(host, unit, *key, *limit),
            ServiceVerb::Restart { key, expect, reload, grace } => {
                self.restart_unit(host, unit, id, (*key, *expect), *reload, *grace)
            }
            ServiceVerb::Stop { grace } => {
                if self.strikes_unit(Fault::RollbackFails, 100) {
                    return (grace.0, failed(ErrorCode::NotObserved, "it is still there after SIGKILL"));
                }
                let now = self.now;
                let it = &mut self.hosts[host].units[unit];
                if it.state != State::Down {
                    (it.state, it.cause) = (State::Down, Cause::Command(id));
                    it.did(What::Stopped, id, now);
                }
                (takes, self.saw(host, unit, false, true))
            }
            ServiceVerb::Restore { start, grace, .. } => {
                if self.strikes_unit(Fault::RollbackFails, 200) {
                    return (takes, failed(ErrorCode::ToolFailed, "the backup cannot be read"));
                }
                let now = self.now;
                if *start && !self.hosts[host].units[unit].is_up() {
                    self.start_unit(host, unit, Cause::Command(id));
                }
                let it = &mut self.hosts[host].units[unit];
                it.did(What::Restored, id, now);
                if *start && !it.is_up() {
                    return (grace.0, failed(ErrorCode::ToolFailed, "it does not start"));
                }
                (takes, self.saw(host, unit, false, true))
            }
        }
    }

    fn saw(&self, host: usize, unit: usize, reloaded: bool, changed: bool) -> Verdict {
        let seen = ServiceSeen { reloaded, changed, ..ServiceSeen::of(self.hosts[host].units[unit].seen()) };
        Verdict::Completed { observed: Some(Observed::Service(Box::new(seen))), already: false }
    }

    /// Another run of a unit; it may not come up, or not do what it is for.
    fn start_unit(&mut self, host: usize, unit: usize, cause: Cause) {
        let dies = self.hosts[host].units[unit].bad.contains(&self.hosts[host].units[unit].tree);
        let hangs = !dies && self.strikes_unit(Fault::UnitHangs, 60);
        let sick = self.strikes_unit(Fault::UnitSick, 150);
        let state = match (dies, hangs) {
            (true, _) => State::Failed,
            (_, true) => State::Activating,
            _ => State::Up,
        };
        let it = &mut self.hosts[host].units[unit];
        it.start(state, cause, &mut self.rng);
        it.sick = sick;
        let run = it.run;
        let boot = self.hosts[host].boots.len() - 1;
        if hangs && self.rng.per_mille(500) {
            let delay = self.rng.between(5_000, 90_000) as i64;
            self.after(delay, Event::UnitChanges { host, boot, unit, run, crash: false });
        }
        if state == State::Up && !self.faults_over && self.scenario.has(Fault::UnitCrashes) && self.rng.per_mille(150) {
            let delay = self.rng.between(500, 70_000) as i64;
            self.after(delay, Event::UnitChanges { host, boot, unit, run, crash: true });
        }
        self.note(|s| {
            let it = &s.hosts[host].units[unit];
            format!(
                "{}: {} is {:?} from tree {}{}",
                s.hosts[host].name,
                it.name,
                it.state,
                it.runs,
                if sick { ", sick" } else { "" }
            )
        });
    }

    /// The host has started, and its services with it.
    pub(crate) fn units_start(&mut self, host: usize) {
        for unit in 0..self.hosts[host].units.len() {
            self.hosts[host].units[unit].restarts = 0;
            self.start_unit(host, unit, Cause::Boot);
        }
    }

    /// It crashes, or comes up at last.
    pub(crate) fn unit_changes(&mut self, host: usize, boot: usize, unit: usize, run: Option<InvocationId>, crash: bool) {
        let there = self.hosts[host].is_up() && self.hosts[host].boots.len() == boot + 1;
        let it = &mut self.hosts[host].units[unit];
        if !there || it.run != run {
            return;
        }
        if crash && it.state == State::Up {
            it.restarts += 1;
            self.counts.fault(Fault::UnitCrashes);
            self.note(|s| format!("{}: {} crashes", s.hosts[host].name, s.hosts[host].units[unit].name));
            self.start_unit(host, unit, Cause::Itself);
        } else if !crash && it.state == State::Activating {
            it.state = State::Up;
        }
    }

    fn restart_unit(
        &mut self,
        host: usize,
        unit: usize,
        id: CommandId,
        claim: UnitClaim,
        reload: bool,
        grace: Millis,
    ) -> (u64, Verdict) {
        let (now, (_, expect)) = (self.now, claim);
        let takes = self.rng.between(50, 3_000);
        let it = &mut self.hosts[host].units[unit];
        let is_it = if expect.is_some() { it.run == expect && it.state != State::Down } else { !it.is_up() };
        let mut reloaded = false;
        // As long as it is the run that is to end, it is done, also for another request: a claim only tells whose work the next is.
        if is_it {
            if reload && it.can_reload && it.is_up() {
                it.runs.clone_from(&it.tree);
                it.did(What::Reloaded, id, now);
                it.claims.insert(claim, it.run);
                reloaded = true;
            } else {
                self.start_unit(host, unit, Cause::Command(id));
                let it = &mut self.hosts[host].units[unit];
                it.claims.insert(claim, it.run);
                it.did(What::Restarted, id, now);
                if expect.is_some() {
                    self.check_unit_restarted(host, unit, id);
                }
            }
        } else {
            let ours = it.claims.get(&claim).copied();
            reloaded = ours.is_some() && ours == Some(expect) && it.run == expect;
            if ours != Some(it.run) {
                return (takes, failed(ErrorCode::InvocationDiffers, "it is in another run"));
            }
        }
        match self.hosts[host].units[unit].state {
            State::Up => (takes, self.saw(host, unit, reloaded, true)),
            State::Activating => (grace.0, failed(ErrorCode::NotObserved, "it is activating")),
            State::Down | State::Failed => (takes, failed(ErrorCode::ToolFailed, "it is failed after the restart")),
        }
    }

    fn migrate_unit(&mut self, host: usize, unit: usize, key: model::OrchestrationId, limit: Millis) -> (u64, Verdict) {
        let boot = self.hosts[host].boots.len() - 1;
        let known = self.hosts[host].units[unit].migrations.get(&key).copied();
        let it = match known {
            Some(it) if it.boot == boot => it,
            // The claim ended with its boot: whoever asks for it on this one does not run it.
            Some(_) => return (50, failed(ErrorCode::OutcomeUnknown, "it was begun on an earlier boot")),
            None => {
                let hangs = self.strikes_unit(Fault::MigrateHangs, 100);
                let fails = self.strikes_unit(Fault::MigrateFails, 200);
                let lost = self.strikes_unit(Fault::MigrateLost, 100);
                let most = self.slowest(limit.0 * 9 / 10);
                let takes = if hangs { limit.0 } else { self.rng.between(50, most) };
                let exit = (!hangs).then_some(i32::from(fails));
                Migration { boot, ends: self.now + takes as i64, exit, lost }
            }
        };
        if known.is_none() {
            self.hosts[host].units[unit].migrations.insert(key, it);
            self.note(|s| format!("{}: a migration of {} runs", s.hosts[host].name, s.hosts[host].units[unit].name));
            if self.strikes_unit(Fault::RunCrash, 150) {
                let delay = self.rng.below((it.ends - self.now).max(1) as u64) as i64;
                self.after(delay, Event::Strike { fault: Fault::AgentCrash, host });
            }
        }
        let left = u64::try_from(it.ends - self.now).unwrap_or(0) + 20;
        if it.lost {
            return (left, failed(ErrorCode::OutcomeUnknown, "its end cannot be read"));
        }
        let ran = Ran { exit: it.exit, timed_out: it.exit.is_none(), out: Said::default(), err: Said::default() };
        (left, Verdict::Completed { observed: Some(Observed::Ran(ran)), already: false })
    }
}
