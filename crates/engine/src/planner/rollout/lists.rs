//! What is done to each target: lists of steps that tracks with the same drains and checks share.

use std::collections::{BTreeSet, HashMap};

use model::{
    Check, CheckKind, Drain, Millis, Operation, Recheck, Request, Rollout, Route, Step, StepAction, Subjects, Track, UnknownVar,
    Vars,
};

use super::{Candidate, PlanError, host_of};
use crate::config::{CheckRule, Config, DrainRule, is_hook, used};

/// The lists of a plan in the making.
pub(super) struct Lists<'a> {
    config: &'a Config,
    request: &'a Request,
    rollout: &'a Rollout,
    drains: Vec<Rule<'a, DrainRule>>,
    checks: Vec<Rule<'a, CheckRule>>,
    lists: Vec<Vec<Step>>,
    /// Lists of the rules that apply, by their places; the flag: nothing but the end is left to do.
    shared: HashMap<(Vec<u32>, Vec<u32>, bool), u32>,
}

/// A drain or a check with the variables that it asks for.
struct Rule<'a, T> {
    name: &'a str,
    rule: &'a T,
    variables: BTreeSet<String>,
}

impl<'a> Lists<'a> {
    pub(super) fn new(config: &'a Config, request: &'a Request, rollout: &'a Rollout) -> Self {
        let drains = rollout.drains.iter().filter_map(|name| config.drains.get_key_value(name));
        let checks = rollout.checks.iter().filter_map(|name| config.checks.get_key_value(name));
        Self {
            config,
            request,
            rollout,
            drains: drains
                .map(|(name, rule)| Rule { name, rule, variables: variables(|v| rule.drain.filled(v).map(drop)) })
                .collect(),
            checks: checks
                .map(|(name, rule)| Rule { name, rule, variables: variables(|v| rule.check(name).filled(v).map(drop)) })
                .collect(),
            lists: Vec::new(),
            shared: HashMap::new(),
        }
    }

    pub(super) fn done(self) -> Vec<Vec<Step>> {
        self.lists
    }

    /// The track of a target, with its list.
    pub(super) fn track(&mut self, target: &Candidate<'_>) -> Result<Track, PlanError> {
        let applies = |on: &model::Selector| on.matches(target.id, target.name, target.labels);
        let drains: Vec<u32> = (0..).zip(&self.drains).filter(|(_, r)| applies(&r.rule.on)).map(|(place, _)| place).collect();
        let checks: Vec<u32> = (0..).zip(&self.checks).filter(|(_, r)| applies(&r.rule.on)).map(|(place, _)| place).collect();
        let vars = self.vars(target, &drains, &checks)?;
        let finish = target.is_second_half();
        let list = match self.left_over(target, &drains, &vars) {
            Some(left) => self.add(self.steps(&left, &checks, finish)),
            None => match self.shared.get(&(drains.clone(), checks.clone(), finish)) {
                Some(list) => *list,
                None => {
                    let list = self.add(self.steps(&self.drains_at(&drains), &checks, finish));
                    self.shared.insert((drains, checks, finish), list);
                    list
                }
            },
        };
        Ok(Track {
            target: target.id,
            name: target.name.to_owned(),
            route: target.route,
            after: Vec::new(),
            list,
            vars,
            unfinished: target.unfinished.clone(),
            service: None,
        })
    }

    fn add(&mut self, steps: Vec<Step>) -> u32 {
        let known = self.lists.iter().position(|list| *list == steps);
        let place = known.unwrap_or_else(|| {
            self.lists.push(steps);
            self.lists.len() - 1
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }

    fn drains_at(&self, places: &[u32]) -> Vec<Drain> {
        places.iter().filter_map(|place| self.drains.get(*place as usize)).map(|r| r.rule.drain.clone()).collect()
    }

    /// The drains of a track whose target was left drained otherwise than the present rules say: what stands in the journal must
    /// be put back as it was taken (G7). `None`: just the present rules.
    fn left_over(&self, target: &Candidate<'_>, places: &[u32], vars: &Vars) -> Option<Vec<Drain>> {
        let left = target.unfinished.as_ref()?;
        let present: Vec<(Drain, Drain)> =
            self.drains_at(places).into_iter().filter_map(|drain| Some((drain.filled(vars).ok()?, drain))).collect();
        let recorded = left.drained.iter().map(|drained| &drained.drain);
        if target.is_second_half() {
            let same = recorded.clone().eq(present.iter().map(|(filled, _)| filled));
            return (!same).then(|| recorded.map(literal).collect());
        }
        let gone: Vec<&Drain> = recorded.filter(|drain| !present.iter().any(|(filled, _)| filled == *drain)).collect();
        if gone.is_empty() {
            return None;
        }
        Some(gone.into_iter().map(literal).chain(present.into_iter().map(|(_, drain)| drain)).collect())
    }

    /// What the variables of these rules stand for.
    fn vars(&self, target: &Candidate<'_>, drains: &[u32], checks: &[u32]) -> Result<Vars, PlanError> {
        let mut vars = Vars::new();
        let mut take = |what: &str, name: &str, variables: &BTreeSet<String>| {
            for variable in variables.iter().filter(|variable| !vars.contains_key(*variable)).cloned().collect::<Vec<_>>() {
                let value = match variable.as_str() {
                    "name" => Some(target.name),
                    "address" => target.address.map(host_of),
                    other => other.strip_prefix("label.").and_then(|key| target.labels.get(key)).map(String::as_str),
                };
                let Some(value) = value else {
                    return Err(PlanError::Variable { host: target.name.to_owned(), rule: format!("{what} {name}"), variable });
                };
                vars.insert(variable, value.to_owned());
            }
            Ok(())
        };
        for rule in drains.iter().filter_map(|place| self.drains.get(*place as usize)) {
            take("drain", rule.name, &rule.variables)?;
        }
        for rule in checks.iter().filter_map(|place| self.checks.get(*place as usize)) {
            take("check", rule.name, &rule.variables)?;
        }
        for rule in drains.iter().filter_map(|place| self.drains.get(*place as usize)) {
            if let Drain::Hook { name } = &rule.rule.drain {
                sound_hook(target, &format!("drain {}", rule.name), name, &vars)?;
            }
        }
        for rule in checks.iter().filter_map(|place| self.checks.get(*place as usize)) {
            let told = || format!("check {}", rule.name);
            match &rule.rule.kind {
                CheckKind::Hook { name } => sound_hook(target, &told(), name, &vars)?,
                CheckKind::Command { .. } if target.route == Route::Agent => {
                    return Err(PlanError::CommandOverAgent { host: target.name.to_owned(), rule: told() });
                }
                _ => {}
            }
        }
        Ok(vars)
    }

    fn steps(&self, drains: &[Drain], checks: &[u32], finish: bool) -> Vec<Step> {
        let (config, rollout, options) = (self.config, self.rollout, &self.request.options);
        let checks: Vec<Check> =
            checks.iter().filter_map(|place| self.checks.get(*place as usize)).map(|r| r.rule.check(r.name)).collect();
        let on_target = |action, limit| Step { action, subjects: Subjects::Target, limit, parallel: 0 };
        let probe = |recheck, limit, checks: &[Check], hold| {
            on_target(StepAction::Probe { recheck, checks: checks.to_vec(), hold }, limit)
        };
        // Who waits for health waits for an answer, too.
        let admission = config.probe_limit.max(self.request.wait.unwrap_or_default());
        let mut steps = vec![probe(Recheck::Admission, admission, &[], Millis(0))];
        // A probe that fails begins the soak anew, for as long as a host may take to get healthy.
        let soak = Millis(rollout.soak.0.saturating_add(config.health_gate.0));
        if self.request.operation == Operation::HealthCheck {
            steps.push(probe(Recheck::Asked, self.request.wait.unwrap_or(config.probe_limit), &checks, Millis(0)));
            return steps;
        }
        if let Some(asked) = &self.request.run {
            // Handed over, run, and its end told by a host that may be away for a moment.
            let limit = config.command_expiry.0.saturating_add(asked.limit.0).saturating_add(config.active_limit.0);
            steps.push(on_target(StepAction::Run { run: asked.run.clone(), limit: asked.limit }, Millis(limit)));
            if !checks.is_empty() {
                steps.push(probe(Recheck::Restored, config.health_gate, &checks, config.health_hold));
                if rollout.soak.0 > 0 {
                    steps.push(probe(Recheck::Soak, soak, &checks, rollout.soak));
                }
            }
            return steps;
        }
        if !finish {
            steps.extend(drains.iter().map(|drain| on_target(StepAction::Observe { drain: drain.clone() }, config.probe_limit)));
            steps.extend(drains.iter().map(|drain| {
                let (drain, on_timeout) = (drain.clone(), rollout.on_drain_timeout);
                on_target(StepAction::Drain { drain, on_timeout, force_limit: config.force_limit }, rollout.drain_limit)
            }));
            steps.push(Step {
                action: StepAction::Stop { on_timeout: options.on_timeout, force_limit: config.force_limit },
                subjects: Subjects::RunningChildren,
                limit: options.shutdown_timeout,
                parallel: 0,
            });
            steps.push(probe(Recheck::ChildrenDown, config.probe_limit, &[], Millis(0)));
            let back = Millis(config.command_expiry.0 + config.begin_within.0 + config.back_within.0);
            steps.push(on_target(StepAction::Reboot { begin_within: config.begin_within }, back));
        }
        steps.push(Step {
            action: StepAction::Start,
            subjects: Subjects::ChildrenUpBefore,
            limit: config.start_limit,
            parallel: config.parallel_starts,
        });
        steps.push(Step {
            action: StepAction::StopAgain,
            subjects: Subjects::ChildrenStartedByBoot,
            limit: options.shutdown_timeout,
            parallel: 0,
        });
        // What was stopped on the host runs again before the host is asked whether it is healthy; only then does it get work.
        let undrain = |drain: &Drain| on_target(StepAction::Undrain { drain: drain.clone() }, rollout.drain_limit);
        let (own, others): (Vec<&Drain>, Vec<&Drain>) = drains.iter().rev().partition(|drain| drain.stops_work());
        steps.extend(own.into_iter().map(undrain));
        steps.push(probe(Recheck::Restored, config.health_gate, &checks, config.health_hold));
        steps.extend(others.into_iter().map(undrain));
        steps.push(probe(Recheck::Soak, soak, &checks, rollout.soak));
        steps
    }
}

/// Braces that do not fit together are told when the configuration is checked.
fn variables(filled: impl Fn(&Vars) -> Result<(), UnknownVar>) -> BTreeSet<String> {
    used(filled).unwrap_or_else(|part| BTreeSet::from([part]))
}

fn sound_hook(target: &Candidate<'_>, rule: &str, name: &str, vars: &Vars) -> Result<(), PlanError> {
    let hook = model::fill(name, vars).unwrap_or_default();
    if is_hook(&hook) { Ok(()) } else { Err(PlanError::Hook { host: target.name.to_owned(), rule: rule.to_owned(), hook }) }
}

/// A drain that was filled in, so that filling it in once more gives it again.
fn literal(drain: &Drain) -> Drain {
    let text = |text: &String| text.replace('{', "{{").replace('}', "}}");
    let all = |list: &[String]| list.iter().map(text).collect();
    match drain {
        Drain::Units { units } => Drain::Units { units: all(units) },
        Drain::Containers { engine, names } => Drain::Containers { engine: *engine, names: all(names) },
        Drain::Hook { name } => Drain::Hook { name: text(name) },
        Drain::Haproxy { address, servers } => Drain::Haproxy { address: text(address), servers: all(servers) },
        Drain::Command { state, drain, undrain } => {
            Drain::Command { state: all(state), drain: all(drain), undrain: all(undrain) }
        }
        Drain::Http { url } => Drain::Http { url: text(url) },
    }
}
