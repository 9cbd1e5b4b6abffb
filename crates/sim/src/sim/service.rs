//! What a host does for others: what drains take out of service and put back, and what checks find. On the host and where the
//! engine runs it is the same, but for what is drained: the jobs on the host, or its place behind a balancer.

use model::{Action, Check, CheckKind, CheckResult, CommandId, ErrorCode, ItemState, Millis, Observed};
use recipe::Verdict;

use crate::fault::Fault;
use crate::sim::Sim;
use crate::world::{Cause, Service};

fn completed(observed: Observed, already: bool) -> Verdict {
    Verdict::Completed { observed: Some(observed), already }
}

fn failed(code: ErrorCode, message: &str) -> Verdict {
    Verdict::Failed { code, message: message.to_owned() }
}

impl Sim {
    /// What such an action gives, and how long it takes.
    pub(crate) fn serve(&mut self, host: usize, here: bool, id: CommandId, action: &Action) -> (u64, Verdict) {
        match action {
            Action::Check { checks } => (60, completed(Observed::Checks(self.make_checks(host, checks)), false)),
            Action::Observe { .. } => {
                let item = self.service_of(host, here).item();
                (40, completed(Observed::Items(vec![item]), false))
            }
            Action::Drain { grace, force, .. } => self.drain(host, here, id, *grace, *force),
            Action::Undrain { prior, .. } => self.undrain(host, here, id, prior),
            _ => (10, failed(ErrorCode::Unsupported, "not here")),
        }
    }

    /// All checks of a host find the same thing: whether its service does what it is for.
    pub(crate) fn make_checks(&mut self, host: usize, checks: &[Check]) -> Vec<CheckResult> {
        let it = &self.hosts[host];
        let runs = it.is_up() && it.jobs.as_ref().is_none_or(|s| s.in_service);
        let works = it.is_up() && !it.sick;
        let result = |check: &Check| {
            let passed = works && (runs || !matches!(check.kind, CheckKind::Unit { .. }));
            let detail = if passed { "fine" } else { "it does not answer" };
            CheckResult { name: check.name.clone(), passed, detail: detail.to_owned() }
        };
        let results: Vec<CheckResult> = checks.iter().map(result).collect();
        if results.iter().any(|r| !r.passed) {
            self.counts.fault(Fault::CheckFails);
        }
        results
    }

    fn service_of(&mut self, host: usize, here: bool) -> &mut Service {
        let it = &mut self.hosts[host];
        if here { &mut it.place } else { it.jobs.get_or_insert_with(Service::new) }
    }

    fn drain(&mut self, host: usize, here: bool, id: CommandId, grace: Millis, force: bool) -> (u64, Verdict) {
        let service = self.service_of(host, here).clone();
        if !service.in_service {
            return (40, completed(Observed::Items(vec![service.item()]), true));
        }
        if service.hangs && !force {
            self.counts.fault(Fault::DrainHangs);
            return (grace.0, failed(ErrorCode::NotDrained, "1 session is left"));
        }
        let now = self.now;
        self.service_of(host, here).set("drained", false, Cause::Command(id), now);
        let takes = self.rng.between(100, self.slowest(20_000));
        (takes, completed(Observed::Items(vec![self.service_of(host, here).item()]), false))
    }

    fn undrain(&mut self, host: usize, here: bool, id: CommandId, prior: &[ItemState]) -> (u64, Verdict) {
        if self.strikes_now(Fault::UndrainFails) {
            self.counts.fault(Fault::UndrainFails);
            return (500, failed(ErrorCode::ToolFailed, "the balancer said no"));
        }
        let now = self.now;
        if let Some(before) = prior.first() {
            let service = self.service_of(host, here);
            if service.state != before.state {
                service.set(&before.state, before.in_service, Cause::Command(id), now);
            }
        }
        let takes = self.rng.between(50, 2_000);
        (takes, completed(Observed::Items(vec![self.service_of(host, here).item()]), false))
    }
}
