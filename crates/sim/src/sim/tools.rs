//! What a tool does to the world, and how long it takes. The recipes themselves are tested against recorded outputs; here
//! only their contract is kept: a verdict that was observed, or a failure.

use agent::machine::Reading;
use model::{Action, ChildRef, ChildStatus, Command, CommandId, ErrorCode, Millis, Observed, Readable};
use recipe::{HostReading, Verdict};

use crate::fault::Fault;
use crate::sim::net::short;
use crate::sim::{Event, Sim};
use crate::world::{Cause, Pending};

/// What an agent waits for.
#[derive(Debug)]
pub(crate) enum Done {
    Performed { command: CommandId, verdict: Verdict },
    Looked { command: CommandId, verdict: Verdict },
    Read { reading: Reading },
    Said { command: CommandId, heard: bool },
    Unheard,
}

fn failed(code: ErrorCode, message: &str) -> Verdict {
    Verdict::Failed { code, message: message.to_owned() }
}

impl Sim {
    /// What a reading of the host gives now.
    pub(crate) fn read_host(&self, host: usize) -> HostReading {
        let h = &self.hosts[host];
        HostReading {
            engines: h.children.iter().map(|c| c.who.kind).collect(),
            children: h.list(self.now),
            pending_shutdown: h.pending_shutdown(),
            inhibitors: Readable::Known(h.inhibitors.clone()),
            reboot_required: crate::sim::remote::required(h),
            needs_restarting: None,
        }
    }

    /// A tool is run for a command; the answer comes later, the effect comes even if nobody waits for it any more. What a
    /// command of a run does is in `commands`.
    pub(crate) fn run_tool(&mut self, host: usize, command: &Command) {
        self.note(|s| format!("{}: tool runs: {} ({})", s.hosts[host].name, command.action.kind(), short(command.id)));
        let boot = self.hosts[host].boots.len() - 1;
        self.tools_run.entry(command.id).or_default().push((host, boot, self.now));
        let (delay, verdict) = match &command.action {
            Action::Probe { .. } | Action::Check { .. } | Action::Observe { .. } => return,
            Action::Drain { .. } | Action::Undrain { .. } => self.serve(host, false, command.id, &command.action),
            Action::StopChild { child, grace, force } => self.stop_child(host, command.id, child, *grace, *force),
            Action::StartChild { child, frozen, limit } => self.start_child(host, command.id, child, *frozen, *limit),
            Action::Reboot { ignore_inhibitors, .. } => self.end_boot(host, command.id, false, *ignore_inhibitors),
            Action::Shutdown { ignore_inhibitors, .. } => self.end_boot(host, command.id, true, *ignore_inhibitors),
            Action::Run { limit, .. } => self.run_command(host, command, *limit),
            Action::Service { unit, verb } => self.change_unit(host, command, unit, verb),
        };
        let run = self.agents[host].run_number();
        let done = Box::new(Done::Performed { command: command.id, verdict });
        self.after(delay as i64, Event::AgentDone { host, run, done });
    }

    /// How long until the child engine answers, if it does within the limit.
    fn listing_wait(&self, host: usize, limit: Millis) -> Result<u64, (u64, Verdict)> {
        match self.hosts[host].listing_bad {
            Some((until, _)) if until > self.now => {
                let wait = u64::try_from(until - self.now).unwrap_or(0);
                if wait >= limit.0 {
                    Err((limit.0, failed(ErrorCode::NotObserved, "the children could not be listed")))
                } else {
                    Ok(wait)
                }
            }
            _ => Ok(0),
        }
    }

    pub(crate) fn stop_child(
        &mut self,
        host: usize,
        id: CommandId,
        child: &ChildRef,
        grace: Millis,
        force: bool,
    ) -> (u64, Verdict) {
        let wait = match self.listing_wait(host, grace) {
            Ok(wait) => wait,
            Err(answer) => return answer,
        };
        let Some(it) = self.hosts[host].child(child.id).filter(|c| c.exists).cloned() else {
            return (wait + 10_000, failed(ErrorCode::NotFound, "no such child"));
        };
        if it.status == ChildStatus::Stopped {
            return (wait + 60, Verdict::Completed { observed: Some(Observed::Child(ChildStatus::Stopped)), already: true });
        }
        let hangs = if force { it.unstoppable } else { it.hangs || it.unstoppable };
        if hangs {
            self.counts.fault(if force { Fault::ChildUnstoppable } else { Fault::ChildHangs });
            return (grace.0.max(wait), failed(ErrorCode::NotObserved, "the child is still running"));
        }
        let takes = if force { self.rng.between(100, 2_000) } else { self.rng.between(300, self.slowest(20_000)) };
        self.child_op(host, id, child, ChildStatus::Stopped, wait + takes, grace)
    }

    pub(crate) fn start_child(
        &mut self,
        host: usize,
        id: CommandId,
        child: &ChildRef,
        frozen: bool,
        limit: Millis,
    ) -> (u64, Verdict) {
        let wait = match self.listing_wait(host, limit) {
            Ok(wait) => wait,
            Err(answer) => return answer,
        };
        let wanted = if frozen { ChildStatus::Frozen } else { ChildStatus::Running };
        let Some(it) = self.hosts[host].child(child.id).filter(|c| c.exists).cloned() else {
            return (wait + 10_000, failed(ErrorCode::NotFound, "no such child"));
        };
        if it.status == wanted {
            return (wait + 60, Verdict::Completed { observed: Some(Observed::Child(wanted)), already: true });
        }
        if it.fails || self.strikes_now(Fault::ChildFails) {
            self.counts.fault(Fault::ChildFails);
            let takes = self.rng.between(500, 9_000);
            return (wait + takes, failed(ErrorCode::ToolFailed, "the child did not start"));
        }
        let takes = self.rng.between(300, self.slowest(25_000));
        self.child_op(host, id, child, wanted, wait + takes, limit)
    }

    /// Where nothing goes wrong, tools are fast enough for every limit.
    pub(crate) fn slowest(&self, most: u64) -> u64 {
        if self.scenario.healthy { 3_000 } else { most }
    }

    fn child_op(
        &mut self,
        host: usize,
        id: CommandId,
        child: &ChildRef,
        status: ChildStatus,
        takes: u64,
        limit: Millis,
    ) -> (u64, Verdict) {
        let boot = self.hosts[host].boots.len() - 1;
        let event = Event::ChildChanges { host, boot, child: child.id, status, cause: Cause::Command(id) };
        self.after(takes as i64, event);
        if takes > limit.0 {
            // It will happen all the same, later.
            return (limit.0, failed(ErrorCode::NotObserved, "not seen within the limit"));
        }
        (takes + 30, Verdict::Completed { observed: Some(Observed::Child(status)), already: false })
    }

    pub(crate) fn end_boot(&mut self, host: usize, id: CommandId, off: bool, ignore_inhibitors: bool) -> (u64, Verdict) {
        let answer = self.rng.between(50, 1_500);
        if !ignore_inhibitors && !self.hosts[host].inhibitors.is_empty() {
            return (answer, failed(ErrorCode::Refused, "operation inhibited"));
        }
        if !self.faults_over && self.scenario.has(Fault::RebootDoesNothing) && self.rng.per_mille(400) {
            self.counts.fault(Fault::RebootDoesNothing);
            self.note(|s| format!("{}: the command did nothing", s.hosts[host].name));
            return (answer, Verdict::Ordered);
        }
        let rogue = self.checks.rogue.contains(&id);
        self.order_shutdown(host, if rogue { Cause::Rogue(id) } else { Cause::Command(id) }, off);
        (answer, Verdict::Ordered)
    }

    /// A shutdown is under way from now on. The first one stands.
    pub(crate) fn order_shutdown(&mut self, host: usize, cause: Cause, off: bool) {
        if self.hosts[host].pending.is_some() || !self.hosts[host].is_up() {
            return;
        }
        let taken_back = !self.faults_over && self.scenario.has(Fault::ShutdownTakenBack) && self.rng.per_mille(200);
        let hangs = !self.faults_over && self.scenario.has(Fault::ShutdownHangs) && self.rng.per_mille(350);
        let delay = if hangs {
            self.counts.fault(Fault::ShutdownHangs);
            self.rng.between(60_000, 1_800_000)
        } else {
            self.rng.between(300, 15_000)
        };
        let number = self.rng.bits();
        let at = self.now + delay as i64;
        self.hosts[host].pending = Some(Pending { cause, off, number });
        if taken_back {
            self.after((delay / 2) as i64, Event::PendingDropped { host, number });
        } else {
            self.at(at, Event::HostFalls { host, number });
        }
    }
}
