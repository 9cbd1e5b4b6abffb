//! The planner `host` (S0): stop the running children, reboot the parent, start the same children.

use model::{Millis, Operation, Plan, Planner, Recheck, Request, Route, Step, StepAction, Subjects, Track, Vars, Wave};

use crate::config::Config;

/// The plan for one host.
pub(crate) fn plan(config: &Config, request: &Request, name: String, route: Route) -> Plan {
    let steps = match request.operation {
        Operation::OrchestratedReboot | Operation::Reboot => reboot_steps(config, request),
        Operation::Shutdown => shutdown_steps(config),
        Operation::RollingReboot | Operation::Run | Operation::HealthCheck | Operation::RestartServices => Vec::new(),
    };
    let track = Track {
        target: request.target(),
        name,
        route,
        after: Vec::new(),
        list: 0,
        vars: Vars::new(),
        unfinished: None,
        service: None,
    };
    Plan { planner: Planner::Host, lists: vec![steps], waves: vec![Wave { approval: false, tracks: vec![track] }] }
}

fn probe(recheck: Recheck, limit: Millis, hold: Millis) -> Step {
    Step { action: StepAction::Probe { recheck, checks: Vec::new(), hold }, subjects: Subjects::Target, limit, parallel: 0 }
}

/// The same list for a host with and without running children: stopping nobody is a step without subjects.
fn reboot_steps(config: &Config, request: &Request) -> Vec<Step> {
    let options = &request.options;
    let back = config.command_expiry.0 + config.begin_within.0 + config.back_within.0;
    vec![
        probe(Recheck::Admission, config.probe_limit, Millis(0)),
        Step {
            action: StepAction::Stop { on_timeout: options.on_timeout, force_limit: config.force_limit },
            subjects: Subjects::RunningChildren,
            limit: options.shutdown_timeout,
            parallel: 0,
        },
        probe(Recheck::ChildrenDown, config.probe_limit, Millis(0)),
        Step {
            action: StepAction::Reboot { begin_within: config.begin_within },
            subjects: Subjects::Target,
            limit: Millis(back),
            parallel: 0,
        },
        Step {
            action: StepAction::Start,
            subjects: Subjects::ChildrenUpBefore,
            limit: config.start_limit,
            parallel: config.parallel_starts,
        },
        Step {
            action: StepAction::StopAgain,
            subjects: Subjects::ChildrenStartedByBoot,
            limit: options.shutdown_timeout,
            parallel: 0,
        },
        probe(Recheck::Restored, config.health_gate, config.health_hold),
    ]
}

fn shutdown_steps(config: &Config) -> Vec<Step> {
    let silence = Millis(config.heartbeat.0 * 2);
    vec![
        probe(Recheck::Admission, config.probe_limit, Millis(0)),
        Step {
            action: StepAction::Shutdown { begin_within: config.begin_within, silence },
            subjects: Subjects::Target,
            limit: Millis(config.command_expiry.0 + config.begin_within.0 + config.back_within.0),
            parallel: 0,
        },
    ]
}
