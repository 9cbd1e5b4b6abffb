//! What people do about rollouts: they ask for them, look after those that wait for somebody, and take hosts out of use.

use engine::{Input, Refusal, Reply};
use model::{Actor, Force, Millis, Operation, Options, OrchestrationId, Request, Rollout, TimeoutPolicy};

use crate::fault::{End, Fault};
use crate::scenario::{MINUTE, RolloutPlan, ServicesPlan};
use crate::sim::{Event, Sim};

fn bert() -> Actor {
    Actor::User("bert".to_owned())
}

impl Sim {
    /// Somebody asks for a rollout, or for a command on a fleet.
    pub(crate) fn ask_rollout(&mut self, controller: usize, plan: &RolloutPlan) {
        let targets = plan.hosts.iter().map(|i| self.hosts[*i].id).collect();
        let options = Options {
            shutdown_timeout: plan.timeout,
            on_timeout: plan.policy,
            strict: false,
            force: plan.force.then(|| Force { reason: "drill".to_owned() }),
        };
        let request = Request {
            targets,
            operation: if plan.run.is_some() { Operation::Run } else { Operation::RollingReboot },
            options,
            rollout: Some(plan.rollout.clone()),
            run: plan.run.clone(),
            wait: None,
            services: None,
            by: Actor::User("anna".to_owned()),
        };
        self.submit_rollout(controller, request);
    }

    /// Somebody asks for a restart of services.
    pub(crate) fn ask_services(&mut self, controller: usize, plan: &ServicesPlan) {
        let targets: Vec<_> = plan.hosts.iter().map(|i| self.hosts[*i].id).collect();
        let options = Options {
            shutdown_timeout: Millis::secs(30),
            on_timeout: TimeoutPolicy::Abort,
            strict: false,
            force: plan.force.then(|| Force { reason: "drill".to_owned() }),
        };
        let request = Request {
            targets,
            operation: Operation::RestartServices,
            options,
            rollout: None,
            run: None,
            wait: None,
            services: Some(Box::new(plan.asked.clone())),
            by: Actor::User("anna".to_owned()),
        };
        self.submit_rollout(controller, request);
    }

    fn submit_rollout(&mut self, controller: usize, request: Request) {
        let id = OrchestrationId(self.rng.uuid());
        let retry = request.rollout.as_ref().is_some_and(|r| r.retry_of.is_some());
        self.note(|_| format!("anna asks for a {} of {} hosts ({id})", request.operation, request.targets.len()));
        match self.turn(controller, vec![Input::Submit { id, request }]).and_then(|mut r| r.pop()) {
            Some(Reply::Accepted { id, .. }) => {
                if retry {
                    self.counts.end(End::Retried);
                }
                let delay = self.rng.between(1, 6) as i64 * MINUTE;
                self.after(delay, Event::Tend { id });
            }
            Some(Reply::Refused(refusal)) => {
                self.counts.end(End::Refused);
                self.note(|_| format!("refused: {refusal}"));
            }
            Some(Reply::Noted) | None => {}
        }
    }

    /// Somebody looks after a rollout, from time to time until it is over.
    pub(crate) fn tend(&mut self, id: OrchestrationId) {
        let open = self.checks.runs.get(&id).is_some_and(|run| run.ended.is_none());
        if !open || self.forgotten.contains(&id) {
            return;
        }
        let leader = self.controllers.iter().position(|c| c.driver.is_some() && !c.deaf);
        if let Some(controller) = leader {
            self.look_after(controller, id);
        }
        let delay = self.rng.between(1, 8) as i64 * MINUTE;
        self.after(delay, Event::Tend { id });
    }

    fn look_after(&mut self, controller: usize, id: OrchestrationId) {
        let view = self.controllers[controller].driver.as_ref().and_then(|d| d.engine().view(id));
        let Some(view) = view else { return };
        if view.paused.is_some() {
            return match self.rng.below(10) {
                0..=4 => self.tell_engine(controller, Input::Resume { id, by: bert() }),
                5..=7 => self.retry(controller, id),
                8 => self.tell_engine(controller, Input::Cancel { id, by: bert() }),
                _ => {}
            };
        }
        if view.waits_for_approval.is_some() {
            if self.rng.per_mille(800) {
                self.tell_engine(controller, Input::Agree { id, by: bert() });
            }
            return;
        }
        if self.faults_over {
            return;
        }
        if self.scenario.has(Fault::Pause) && self.rng.per_mille(150) {
            self.counts.fault(Fault::Pause);
            self.tell_engine(controller, Input::Pause { id, by: bert(), reason: "look first".to_owned() });
        } else if self.scenario.has(Fault::Cancel) && self.rng.per_mille(60) {
            self.counts.fault(Fault::Cancel);
            self.tell_engine(controller, Input::Cancel { id, by: bert() });
        }
    }

    /// What failed or was left out is taken up again.
    fn retry(&mut self, controller: usize, id: OrchestrationId) {
        // A command is not retried: whoever knows that it may run again runs it anew.
        let Some(run) = self.checks.runs.get(&id).filter(|run| run.request.operation != Operation::Run) else { return };
        let mut request = run.request.clone();
        let left: Vec<_> = self.checks.left_undone(id).into_iter().map(|host| self.hosts[host].id).collect();
        if left.is_empty() {
            return;
        }
        request.targets = left;
        let Some(rollout) = request.rollout.as_mut() else { return };
        *rollout = Rollout { retry_of: Some(id), root: Some(rollout.root(id)), ..rollout.clone() };
        self.submit_rollout(controller, request);
    }

    /// Something that a person says; what comes of it stands in the journal.
    pub(crate) fn tell_engine(&mut self, controller: usize, input: Input) {
        self.note(|_| format!("bert says: {input:?}"));
        if let Some(Reply::Refused(refusal)) = self.turn(controller, vec![input]).and_then(|replies| replies.into_iter().next()) {
            self.count_late_cancel(&refusal);
        }
    }

    pub(crate) fn count_late_cancel(&mut self, refusal: &Refusal) {
        match refusal {
            Refusal::RebootAlreadyIssued => self.counts.end(End::CancelRefused),
            Refusal::CommandAlreadyIssued => self.counts.end(End::CancelRefusedRun),
            _ => {}
        }
    }

    /// A person freezes the fleet or holds a host, and takes that back after a while.
    pub(crate) fn people_hold(&mut self, fault: Fault, host: usize, begin: bool) {
        let Some(controller) = self.controllers.iter().position(|c| c.driver.is_some() && !c.deaf) else { return };
        let by = bert();
        let reason = "works on it".to_owned();
        let target = self.hosts[host].id;
        let group = self.checks.groups.get(host % self.checks.groups.len().max(1)).map(|g| g.name.clone());
        let holder = "outsider".to_owned();
        let input = match (fault, begin) {
            (Fault::Slot, begin) => match group {
                Some(group) if begin => Input::TakeSlot { group, holder, by },
                Some(group) => Input::GiveSlot { group, holder, by },
                None => return,
            },
            (Fault::Freeze, true) => Input::Freeze { by, reason },
            (Fault::Freeze, false) => Input::Thaw { by },
            (_, true) => Input::Hold { host: target, by, reason },
            (_, false) => Input::Release { host: target, by },
        };
        if begin {
            self.counts.fault(fault);
        }
        self.tell_engine(controller, input);
    }
}
