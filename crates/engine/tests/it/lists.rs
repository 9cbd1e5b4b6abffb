//! Rollout plans for one host, written by hand: the flow must walk any list.

use engine::{Entry, Fact, Input, Record};
use model::{
    Amount, Approval, Check, CheckKind, Drain, DrainPolicy, Millis, Operation, OrchestrationId, Plan, Planner, Recheck, Request,
    Rollout, Route, Step, StepAction, Subjects, TimeoutPolicy, Track, Unfinished, Vars, Wave,
};
use uuid::Uuid;

use crate::script::{Shell, options, user};
use crate::world::host_id;

/// What a script asks for.
pub(crate) struct List {
    pub(crate) drains: Vec<Drain>,
    pub(crate) checks: Vec<Check>,
    pub(crate) policy: DrainPolicy,
    pub(crate) soak: Millis,
    /// Seconds in which a host must be healthy: short, so that scripts are.
    pub(crate) gate: u64,
    pub(crate) only_if_required: bool,
    pub(crate) vars: Vars,
    pub(crate) unfinished: Option<Unfinished>,
}

impl List {
    pub(crate) fn of(host: &str) -> Self {
        Self {
            drains: Vec::new(),
            checks: Vec::new(),
            policy: DrainPolicy::Abort,
            soak: Millis::secs(60),
            gate: 10,
            only_if_required: false,
            vars: Vars::from([("name".to_owned(), host.to_owned())]),
            unfinished: None,
        }
    }

    pub(crate) fn plan(&self, host: &str) -> Plan {
        let steps = if self.unfinished.as_ref().is_some_and(|u| u.proven.is_some()) { self.second_half() } else { self.whole() };
        let track = Track {
            target: host_id(host),
            name: host.to_owned(),
            route: Route::Agent,
            after: Vec::new(),
            list: 0,
            vars: self.vars.clone(),
            unfinished: self.unfinished.clone(),
            service: None,
        };
        Plan { planner: Planner::Rollout, lists: vec![steps], waves: vec![Wave { approval: false, tracks: vec![track] }] }
    }

    fn whole(&self) -> Vec<Step> {
        let minute = Millis::secs(60);
        let mut steps = vec![probe(Recheck::Admission, Vec::new(), 60, Millis(0))];
        steps.extend(self.drains.iter().map(|d| step(StepAction::Observe { drain: d.clone() }, Subjects::Target, 60)));
        steps.extend(self.drains.iter().map(|d| {
            let drain = StepAction::Drain { drain: d.clone(), on_timeout: self.policy, force_limit: Millis::secs(30) };
            step(drain, Subjects::Target, 60)
        }));
        let stop = StepAction::Stop { on_timeout: TimeoutPolicy::Abort, force_limit: Millis::secs(30) };
        steps.push(step(stop, Subjects::RunningChildren, 120));
        steps.push(probe(Recheck::ChildrenDown, Vec::new(), 60, Millis(0)));
        steps.push(step(StepAction::Reboot { begin_within: minute }, Subjects::Target, 600));
        steps.push(step(StepAction::Start, Subjects::ChildrenUpBefore, 120));
        steps.push(step(StepAction::StopAgain, Subjects::ChildrenStartedByBoot, 120));
        steps.extend(self.proof());
        steps
    }

    fn second_half(&self) -> Vec<Step> {
        let mut steps = vec![probe(Recheck::Admission, Vec::new(), 60, Millis(0))];
        steps.push(step(StepAction::Start, Subjects::ChildrenUpBefore, 120));
        steps.push(step(StepAction::StopAgain, Subjects::ChildrenStartedByBoot, 120));
        steps.extend(self.proof());
        steps
    }

    fn proof(&self) -> Vec<Step> {
        let mut steps = vec![probe(Recheck::Restored, self.checks.clone(), self.gate, Millis::secs(5))];
        let back = self.drains.iter().rev();
        steps.extend(back.map(|d| step(StepAction::Undrain { drain: d.clone() }, Subjects::Target, 60)));
        steps.push(probe(Recheck::Soak, self.checks.clone(), self.soak.0 / 1000 + self.gate, self.soak));
        steps
    }

    /// Put an orchestration with this list into the journals, and let the engine take it up.
    pub(crate) fn accept(self, shell: &mut Shell, host: &str) {
        let id = OrchestrationId(Uuid::from_u128(shell.journals.len() as u128 + 100));
        let plan = self.plan(host);
        let rollout = Rollout {
            root: None,
            canary: Amount::Count(0),
            stages: Vec::new(),
            concurrency: Amount::Count(1),
            failure_budget: Amount::Count(0),
            canary_failure_budget: None,
            approval: Approval::Never,
            drains: Vec::new(),
            drain_limit: Millis::secs(60),
            on_drain_timeout: self.policy,
            checks: Vec::new(),
            soak: self.soak,
            windows: Vec::new(),
            stagger: Millis(0),
            jitter: Millis(0),
            only_if_required: self.only_if_required,
            retry_of: None,
        };
        let request = Request {
            targets: vec![host_id(host)],
            operation: Operation::RollingReboot,
            options: options(),
            rollout: Some(rollout),
            run: None,
            wait: None,
            services: None,
            by: user(),
        };
        let report = Box::new(shell.hosts.iter_mut().find(|h| h.name == host).expect("a host").report(shell.now));
        let wait_until = shell.now + Millis::secs(300);
        let entry = Entry::Accepted { request, plan, host_name: String::new(), report: Some(report), wait_until };
        shell.keep(Fact::Orchestration(id, Record { at: shell.now, by: user(), entry }));
        shell.last = Some(id);
        shell.take_up();
        shell.input(Input::Tick);
    }
}

fn step(action: StepAction, subjects: Subjects, limit: u64) -> Step {
    Step { action, subjects, limit: Millis::secs(limit), parallel: 0 }
}

fn probe(recheck: Recheck, checks: Vec<Check>, limit: u64, hold: Millis) -> Step {
    step(StepAction::Probe { recheck, checks, hold }, Subjects::Target, limit)
}

/// A drain by its word in a script.
pub(crate) fn drain(word: &str) -> Drain {
    match word {
        "haproxy" => Drain::Haproxy { address: "127.0.0.1:9999".into(), servers: vec!["web/{name}".into()] },
        "units" => Drain::Units { units: vec!["app.service".into(), "worker.service".into()] },
        other => panic!("no such drain: {other}"),
    }
}

/// A check by its word in a script.
pub(crate) fn check(word: &str) -> Check {
    let kind = match word {
        "http" => CheckKind::Http { url: "http://{name}/health".into(), status: 200, contains: None },
        "unit" => CheckKind::Unit { unit: "app.service".into() },
        other => panic!("no such check: {other}"),
    };
    Check { name: word.to_owned(), kind, limit: Millis::secs(5) }
}
