//! Hosts with services under systemd: what their units would do, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Config, Entry, Fact, FleetEntry, Input, Outcome, Reply, TrackView};
use model::{
    Ack, AckError, AckStatus, Action, ActionKind, Check, CheckKind, CheckResult, Command, CommandId, Deploy, DeployFrom,
    ErrorCode, Force, InvocationId, Labels, Migrate, MigrateOn, Millis, Observed, Operation, OrchestrationId, Ran, Reload,
    Request, Said, Service, ServiceKind, ServiceSeen, ServiceVerb, ServicesRequest, TargetId, Timestamp, Timings, UnitSeen,
};
use uuid::Uuid;

use crate::script::{Shell, options, user};
use crate::world::{Host, host_id};

pub(crate) const FIRST: OrchestrationId = OrchestrationId(Uuid::from_u128(100));
pub(crate) const SECOND: OrchestrationId = OrchestrationId(Uuid::from_u128(101));

/// When its check fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sick {
    #[default]
    Never,
    Always,
    /// While it runs from a tree that was deployed.
    WithNew,
    /// Since it was restarted.
    Restarted,
}

/// One systemd unit.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) load: &'static str,
    pub(crate) active: &'static str,
    /// 0: it has never run.
    pub(crate) invocation: u128,
    pub(crate) restarts: u32,
    pub(crate) can_reload: bool,
    pub(crate) stale: bool,
    /// Where its tree came from, and what it was started with.
    pub(crate) tree: String,
    pub(crate) runs: String,
    kept: Option<String>,
    pub(crate) sick: Sick,
    /// It ends right after a start from a tree that was deployed; or after any.
    pub(crate) dies: Option<Sick>,
    /// So many times it crashes while it is watched, and is started again by systemd.
    pub(crate) crashes: u32,
    /// It crashes after the watch, right before the last look.
    pub(crate) crashes_late: bool,
    pub(crate) fails: BTreeMap<ActionKind, ErrorCode>,
    pub(crate) silent: BTreeSet<ActionKind>,
    /// Ends of runs that were asked for by us, each with the orchestration that asked.
    claims: BTreeSet<(Option<OrchestrationId>, Option<InvocationId>)>,
    /// How its migration ends, and which were run.
    pub(crate) exit: i32,
    migrated: BTreeMap<OrchestrationId, i32>,
}

impl Unit {
    fn new() -> Self {
        Self {
            load: "loaded",
            active: "active",
            invocation: 1,
            restarts: 0,
            can_reload: true,
            stale: false,
            tree: "old".to_owned(),
            runs: "old".to_owned(),
            kept: None,
            sick: Sick::Never,
            dies: None,
            crashes: 0,
            crashes_late: false,
            fails: BTreeMap::new(),
            silent: BTreeSet::new(),
            claims: BTreeSet::new(),
            exit: 0,
            migrated: BTreeMap::new(),
        }
    }

    fn id(&self) -> Option<InvocationId> {
        (self.invocation > 0).then(|| format!("{:032x}", self.invocation).parse().expect("an id"))
    }

    pub(crate) fn is_up(&self) -> bool {
        self.active == "active"
    }

    fn is(&self, sick: Sick) -> bool {
        match sick {
            Sick::Never => false,
            Sick::Always => true,
            Sick::WithNew => self.runs != "old",
            Sick::Restarted => self.invocation > 1,
        }
    }

    fn seen(&self) -> UnitSeen {
        UnitSeen {
            load: self.load.to_owned(),
            active: self.active.to_owned(),
            sub: if self.is_up() { "running" } else { "dead" }.to_owned(),
            invocation: self.id(),
            restarts: self.restarts,
            result: if self.active == "failed" { "exit-code" } else { "success" }.to_owned(),
            can_reload: self.can_reload,
            needs_daemon_reload: self.stale,
            fragment: "/etc/systemd/system/x.service".to_owned(),
        }
    }

    fn start(&mut self) {
        self.runs.clone_from(&self.tree);
        self.invocation += 1;
        self.active = if self.dies.is_some_and(|dies| self.is(dies)) { "failed" } else { "active" };
    }

    pub(crate) fn crash(&mut self) {
        self.restarts += 1;
        self.start();
    }
}

pub(crate) struct Services {
    pub(crate) shell: Shell,
    pub(crate) services: Vec<Service>,
    pub(crate) units: BTreeMap<(TargetId, String), Unit>,
    /// What was done, in order.
    pub(crate) log: Vec<String>,
    /// Hosts that are not heard.
    pub(crate) silent: BTreeSet<TargetId>,
    /// Watches that are under way, and since when.
    watches: BTreeMap<CommandId, Timestamp>,
    /// Answers that were given already: they are given again.
    answers: BTreeMap<CommandId, Ack>,
    /// Restart the engine when there are so many facts.
    pub(crate) cut: Option<usize>,
}

/// One service a line: `NAME [on=HOST] [needs=A,B] [reload|reload-config] [deploys] [migrates [every]] [unchecked]`.
fn service(line: &str) -> Service {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a name").to_owned();
    let kind = CheckKind::Hook { name: "health".to_owned() };
    let timings = Timings { stabilization_period: Millis::secs(10), ..Timings::default() };
    let mut service = Service {
        unit: format!("{name}.service"),
        kind: ServiceKind::Other,
        host: None,
        dependencies: Vec::new(),
        check: Some(Check { name: "answers".to_owned(), kind, limit: Millis::secs(30) }),
        interval: Millis::secs(30),
        deploy: None,
        migrate: None,
        migrate_on: MigrateOn::First,
        reload: Reload::Never,
        timings,
        name,
    };
    for word in words {
        match word.split_once('=').unwrap_or((word, "")) {
            ("on", host) => service.host = Some(host.to_owned()),
            ("needs", names) => service.dependencies = names.split(',').map(str::to_owned).collect(),
            ("reload", _) => service.reload = Reload::Code,
            ("reload-config", _) => service.reload = Reload::Config,
            ("migrates", _) => service.migrate = Some(Migrate::Named { name: "migrate".to_owned() }),
            ("every", _) => service.migrate_on = MigrateOn::Every,
            ("unchecked", _) => service.check = None,
            ("deploys", _) => {
                let (source, destination) = ("/new/tree".to_owned(), format!("/srv/{}", service.name));
                service.deploy = Some(Deploy { source, destination, exclude: Vec::new(), keep: Vec::new(), unit_file: None });
            }
            other => panic!("{other:?}"),
        }
    }
    service
}

impl Services {
    /// Hosts, separated by spaces, and services, by lines.
    pub(crate) fn of(hosts: &str, services: &str) -> Self {
        Self::with(Config::default(), hosts, services)
    }

    pub(crate) fn with(config: Config, hosts: &str, services: &str) -> Self {
        let mut shell = Shell::new(config);
        for name in hosts.split_whitespace() {
            let (name, host) = (name.to_owned(), Host::new(name));
            let (id, labels) = (host.id, Labels::from([("role".to_owned(), "web".to_owned())]));
            shell.hosts.push(host);
            shell.input(Input::Enrol { host: id, name: name.clone(), machine_id: name.clone(), public_key: "k".into(), labels });
            shell.input(Input::Approve { host: id, by: user() });
            shell.report(&name);
        }
        let services: Vec<Service> = services.lines().filter(|l| !l.trim().is_empty()).map(service).collect();
        let mut units = BTreeMap::new();
        for service in &services {
            let on = shell.hosts.iter().filter(|h| service.host.as_ref().is_none_or(|name| *name == h.name));
            units.extend(on.map(|host| ((host.id, service.unit.clone()), Unit::new())));
        }
        let (log, silent, watches, answers) = (Vec::new(), BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Self { shell, services, units, log, silent, watches, answers, cut: None }
    }

    /// `NAME` on the first host that has it, or `NAME@HOST`.
    pub(crate) fn unit(&mut self, name: &str) -> &mut Unit {
        let (name, host) = name.split_once('@').unwrap_or((name, ""));
        let unit = format!("{name}.service");
        let is_it = |(id, of): &(TargetId, String)| *of == unit && (host.is_empty() || *id == host_id(host));
        self.units.iter_mut().find(|(key, _)| is_it(key)).expect("a unit").1
    }

    /// What is asked: `only=A,B`, `parallel=N`, `keep-going`, `deploy`, `force`, `skip-migrations`.
    pub(crate) fn request(&self, words: &str) -> Request {
        let mut asked = ServicesRequest {
            services: self.services.clone(),
            only: BTreeSet::new(),
            parallel: 1,
            keep_going: false,
            skip_migrations: false,
            deploy: None,
        };
        let mut options = options();
        for word in words.split_whitespace() {
            match word.split_once('=').unwrap_or((word, "")) {
                ("only", names) => asked.only = names.split(',').map(str::to_owned).collect(),
                ("parallel", count) => asked.parallel = count.parse().expect("a number"),
                ("keep-going", _) => asked.keep_going = true,
                ("deploy", _) => asked.deploy = Some(DeployFrom { path: None }),
                ("skip-migrations", _) => asked.skip_migrations = true,
                ("force", _) => options.force = Some(Force { reason: "it is down".to_owned() }),
                other => panic!("{other:?}"),
            }
        }
        Request {
            targets: self.shell.hosts.iter().map(|h| h.id).collect(),
            operation: Operation::RestartServices,
            options,
            rollout: None,
            run: None,
            wait: None,
            services: Some(Box::new(asked)),
            by: user(),
        }
    }

    pub(crate) fn submit(&mut self, words: &str) -> Reply {
        let request = self.request(words);
        self.shell.input(Input::Submit { id: FIRST, request })
    }

    pub(crate) fn accepted(&mut self, words: &str) {
        let reply = self.submit(words);
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    }

    /// All of it, to its end.
    pub(crate) fn run(&mut self, words: &str) -> Option<Outcome> {
        self.accepted(words);
        self.rest();
        self.outcome(FIRST)
    }

    /// Everybody reports, what is commanded is done, and a second passes.
    pub(crate) fn step(&mut self) {
        let alive: Vec<String> =
            self.shell.hosts.iter().filter(|h| !self.silent.contains(&h.id)).map(|h| h.name.clone()).collect();
        alive.iter().for_each(|name| self.shell.report(name));
        for command in self.shell.engine.wanted() {
            if self.silent.contains(&command.target) {
                continue;
            }
            if let Some(ack) = self.answer(&command) {
                self.shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
            }
            self.restart_at_cut();
        }
        self.shell.wait(1);
        self.restart_at_cut();
    }

    fn restart_at_cut(&mut self) {
        if self.cut.is_some_and(|cut| self.shell.all.len() >= cut) {
            self.cut = None;
            self.shell.restart();
        }
    }

    pub(crate) fn rest(&mut self) {
        for _ in 0..8000 {
            if self.shell.engine.open().count() == 0 {
                return;
            }
            self.step();
        }
        panic!("it does not come to an end: {:?}", self.shell.engine.tracks(FIRST));
    }

    /// Until a command of this kind is wanted for this service.
    pub(crate) fn until(&mut self, kind: ActionKind, name: &str) -> Command {
        let unit = format!("{name}.service");
        let is_it = |c: &Command| c.action.kind() == kind && matches!(&c.action, Action::Service { unit: of, .. } if *of == unit);
        for _ in 0..500 {
            if let Some(command) = self.shell.engine.wanted().into_iter().find(is_it) {
                return command;
            }
            self.step();
        }
        panic!("{kind} of {name} is never asked for: {:?}", self.log);
    }

    pub(crate) fn outcome(&self, id: OrchestrationId) -> Option<Outcome> {
        self.shell.engine.view(id).and_then(|v| v.outcome)
    }

    pub(crate) fn track(&self, name: &str) -> TrackView {
        self.shell.engine.tracks(FIRST).into_iter().find(|t| t.name == name).expect("a track")
    }

    pub(crate) fn reason(&self, name: &str) -> String {
        self.track(name).reason.unwrap_or_default()
    }

    /// How each ended, in the order of the plan.
    pub(crate) fn ends(&self) -> Vec<Outcome> {
        self.shell.engine.tracks(FIRST).iter().map(|t| t.outcome.expect("it is over")).collect()
    }

    /// What was done, without looks.
    pub(crate) fn done(&self) -> String {
        self.log.join(", ")
    }

    pub(crate) fn stranded(&self) -> Vec<String> {
        let mut names = Vec::new();
        for fact in &self.shell.all {
            match fact {
                Fact::Fleet(r) => match &r.entry {
                    FleetEntry::Stranded { name, service, .. } if *service => names.push(name.clone()),
                    FleetEntry::StrandedEnded { .. } => drop(names.pop()),
                    _ => {}
                },
                Fact::Orchestration(..) => {}
            }
        }
        names
    }

    fn results(&self, host: TargetId, unit: &Unit, checks: &[Check]) -> Vec<CheckResult> {
        let passes = |check: &Check| match &check.kind {
            CheckKind::Unit { unit } => self.units.get(&(host, unit.clone())).is_none_or(Unit::is_up),
            _ => unit.is_up() && !unit.is(unit.sick),
        };
        let result = |check: &Check| {
            let (passed, name) = (passes(check), check.name.clone());
            CheckResult { name, passed, detail: if passed { "as it should be" } else { "connection refused" }.to_owned() }
        };
        checks.iter().map(result).collect()
    }

    /// What the host says; nothing while it is still at it, or for ever.
    pub(crate) fn answer(&mut self, command: &Command) -> Option<Ack> {
        let Action::Service { unit: name, verb } = &command.action else { return self.answer_of_host(command) };
        if let Some(ack) = self.answers.get(&command.id) {
            return Some(ack.clone());
        }
        let (now, kind, key) = (self.shell.now, command.action.kind(), (command.target, name.clone()));
        let mut unit = self.units.get(&key).expect("a unit that is there").clone();
        if unit.silent.contains(&kind) {
            return None;
        }
        let plain = name.trim_end_matches(".service").to_owned();
        let late = kind.is_disruptive() && now >= command.expires_at;
        let failure = if late { Some(ErrorCode::Expired) } else { unit.fails.get(&kind).copied() };
        let mut seen = None;
        let mut done: Vec<String> = Vec::new();
        let (mut observed, mut failed) = (None, failure);
        if failure.is_none() {
            match verb {
                ServiceVerb::Inspect { checks } => {
                    if unit.crashes_late && unit.invocation > 1 {
                        unit.crashes_late = false;
                        unit.crash();
                    }
                    let results = self.results(command.target, &unit, checks);
                    seen = Some(ServiceSeen { checks: results, ..ServiceSeen::of(unit.seen()) });
                }
                ServiceVerb::Watch { invocation, restarts, checks, hold, .. } => {
                    let since = *self.watches.entry(command.id).or_insert(now);
                    if unit.crashes > 0 && now > since + Millis::secs(3) {
                        unit.crashes -= 1;
                        unit.crash();
                    }
                    let crashed = (unit.id(), unit.restarts) != (*invocation, *restarts);
                    let results = self.results(command.target, &unit, checks);
                    let sick = results.iter().any(|r| !r.passed);
                    let trouble = (crashed || sick || !unit.is_up()).then(|| "it is not what it was".to_owned());
                    self.units.insert(key.clone(), unit.clone());
                    if trouble.is_none() && now < since + *hold {
                        return None;
                    }
                    seen = Some(ServiceSeen { checks: results, trouble, ..ServiceSeen::of(unit.seen()) });
                }
                ServiceVerb::BackUp { .. } => done.push("back up".into()),
                ServiceVerb::Deploy { deploy, .. } => {
                    let changed = unit.tree != deploy.source;
                    if changed {
                        unit.kept = Some(std::mem::replace(&mut unit.tree, deploy.source.clone()));
                    }
                    done.push("deploy".into());
                    seen = Some(ServiceSeen { changed: unit.kept.is_some(), ..ServiceSeen::of(unit.seen()) });
                }
                ServiceVerb::Migrate { key: claim, .. } => {
                    if !unit.migrated.contains_key(claim) {
                        unit.migrated.insert(*claim, unit.exit);
                        done.push("migrate".into());
                    }
                    let say = |text: &str| Said { bytes: text.len() as u64, tail: text.to_owned() };
                    let exit = unit.migrated.get(claim).copied();
                    observed =
                        Some(Observed::Ran(Ran { exit, timed_out: false, out: say("out\n"), err: say("no such table\n") }));
                }
                ServiceVerb::Restart { key, expect, reload, .. } => {
                    let claim = (*key, *expect);
                    let is_it = if expect.is_some() { unit.id() == *expect } else { !unit.is_up() };
                    if is_it && unit.claims.insert(claim) {
                        let reloads = *reload && unit.can_reload && !unit.stale && unit.is_up();
                        done.push(if reloads { "reload" } else { "restart" }.into());
                        if reloads {
                            unit.runs.clone_from(&unit.tree);
                        } else {
                            unit.start();
                        }
                    } else if !unit.claims.contains(&claim) {
                        failed = Some(ErrorCode::InvocationDiffers);
                    }
                    if !unit.is_up() {
                        failed = Some(ErrorCode::ToolFailed);
                    }
                    let reloaded = unit.id() == *expect;
                    seen = Some(ServiceSeen { changed: true, reloaded, ..ServiceSeen::of(unit.seen()) });
                }
                ServiceVerb::Stop { .. } => {
                    unit.active = "inactive";
                    done.push("stop".into());
                }
                ServiceVerb::Revert { .. } => {
                    if let Some(old) = unit.kept.take() {
                        unit.tree = old;
                    }
                    done.push("revert".into());
                }
                ServiceVerb::Restore { start, .. } => {
                    done.push("restore".into());
                    if *start && !unit.is_up() {
                        unit.start();
                    }
                    if *start && !unit.is_up() {
                        failed = Some(ErrorCode::ToolFailed);
                    }
                }
            }
        }
        self.log.extend(done.iter().map(|what| format!("{what} {plain}")));
        let observed =
            observed.or_else(|| Some(Observed::Service(Box::new(seen.unwrap_or_else(|| ServiceSeen::of(unit.seen()))))));
        self.units.insert(key, unit);
        let boot = self.shell.hosts.iter().find(|h| h.id == command.target).expect("a host").boot();
        let ack = Ack {
            command: command.id,
            status: if failed.is_some() { AckStatus::Failed } else { AckStatus::Completed },
            error: failed.map(|code| AckError { code, message: "as the world says".into() }),
            boot,
            observed: observed.filter(|_| failed.is_none()),
            already: false,
            report: None,
        };
        self.answers.insert(command.id, ack.clone());
        Some(ack)
    }

    fn answer_of_host(&mut self, command: &Command) -> Option<Ack> {
        let now = self.shell.now;
        let host = self.shell.hosts.iter_mut().find(|h| h.id == command.target)?;
        Some(host.answer(command, AckStatus::Completed, None, now))
    }
}

/// All facts of the orchestration, by a word each.
pub(crate) fn count(world: &Services, is: impl Fn(&Entry) -> bool) -> usize {
    let own = world.shell.all.iter().filter(|fact| match fact {
        Fact::Orchestration(FIRST, record) => is(&record.entry),
        _ => false,
    });
    own.count()
}

pub(crate) fn issued(world: &Services, kind: ActionKind) -> usize {
    count(world, |entry| matches!(entry, Entry::CommandIssued { command, .. } if command.action.kind() == kind))
}
