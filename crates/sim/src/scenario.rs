//! What a seed means: the fleet, its configuration, which faults are enabled and how often, and what people ask for.
//!
//! Each seed enables a random part of the faults: rare combinations come up that a mix of everything would drown.

use std::collections::BTreeMap;

use engine::{CheckRule, Config, DrainRule, LimitGroup};
use model::{
    Amount, Approval, Check, CheckKind, Deploy, DeployFrom, Drain, DrainPolicy, Labels, Migrate, MigrateOn, Millis, Reload,
    Rollout, Run, RunRequest, Service, ServiceKind, ServicesRequest, TimeoutPolicy, Timings,
};

use crate::fault::Fault;
use crate::rng::Rng;
use crate::world::Time;

/// True time at which every run begins: 2026-03-01T00:00:00Z.
pub(crate) const START: Time = 1_772_323_200_000;

/// One minute in milliseconds.
pub(crate) const MINUTE: i64 = 60_000;

/// One host as the seed makes it.
#[derive(Clone, Debug)]
pub struct HostPlan {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Names of its children.
    pub children: Vec<String>,
    /// It has no agent and is reached over SSH.
    pub ssh: bool,
    /// Jobs run on it that a drain knows.
    pub jobs: bool,
}

/// A rollout as somebody asks for it.
#[derive(Clone, Debug)]
pub struct RolloutPlan {
    /// Which hosts, by index.
    pub hosts: Vec<usize>,
    /// How.
    pub rollout: Rollout,
    /// How long children have to stop.
    pub timeout: Millis,
    /// What happens then.
    pub policy: TimeoutPolicy,
    /// Forced.
    pub force: bool,
    /// It runs this command, and reboots nothing.
    pub run: Option<RunRequest>,
}

/// A restart of services as somebody asks for it.
#[derive(Clone, Debug)]
pub struct ServicesPlan {
    /// Which hosts, by index.
    pub hosts: Vec<usize>,
    /// What is asked of which services.
    pub asked: ServicesRequest,
    /// Forced.
    pub force: bool,
}

/// One thing that a person does.
#[derive(Clone, Debug)]
pub struct Ask {
    /// When.
    pub at: Time,
    /// On which host, by index.
    pub host: usize,
    /// What.
    pub what: What,
}

/// What a person can ask.
#[derive(Clone, Debug)]
pub enum What {
    /// A reboot, with children or without, whatever fits (or a shutdown).
    Submit {
        /// Ask for a shutdown.
        shutdown: bool,
        /// How long children have to stop.
        timeout: Millis,
        /// What happens then.
        policy: TimeoutPolicy,
        /// Any failed child makes all failed.
        strict: bool,
        /// Forced.
        force: bool,
    },
    /// A rollout, or a command on a fleet.
    Rollout(Box<RolloutPlan>),
    /// A restart of services.
    Services(Box<ServicesPlan>),
    /// Cancel what is open on the host.
    Cancel,
    /// Acknowledge every alarm of the host.
    Acknowledge,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The seed.
    pub seed: u64,
    /// The engine's configuration.
    pub config: Config,
    /// First pause before an unanswered command is sent again.
    pub resend: Millis,
    /// The hosts.
    pub hosts: Vec<HostPlan>,
    /// Services that run on the hosts.
    pub services: Vec<Service>,
    /// What people do.
    pub asks: Vec<Ask>,
    /// Which faults this seed enables.
    enabled: Vec<bool>,
    /// Chance of each per-message and per-call fault, of a thousand.
    pub per_mille: u32,
    /// Chance of a crash at each crash point, of a thousand.
    pub crash_per_mille: u32,
    /// Faults stop here.
    pub faults_end: Time,
    /// Every message is sealed, signed and opened by the production protocol.
    pub sealed: bool,
    /// The broker lives in the controller's process.
    pub broker_embedded: bool,
    /// The maintenance window that there is: minutes of the day, in UTC.
    pub window: Option<(i64, i64)>,
    /// A fleet, with rollouts.
    pub fleet: bool,
    /// Nothing goes wrong at all: then everything must end well.
    pub healthy: bool,
    /// One request in a healthy world, and the run is over when it is.
    pub calm: bool,
}

impl Scenario {
    /// The scenario of a seed.
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed_0000);
        let healthy = rng.per_mille(40);
        let fleet = rng.per_mille(300);
        let heat = rng.pick(&[150, 300, 500]);
        let mut apart = Rng::new(seed ^ 0xc033_a4d5);
        // On which seeds there are services was chosen so that those of `kept.rs` mean what they did without them.
        let mut units = Rng::new(seed ^ 0x0053_63bb);
        let has_services = units.per_mille(300);
        let mut draw = |f: &Fault| match f {
            f if f.is_of_services() => units.per_mille(heat) && has_services,
            f if f.is_drawn_apart() => apart.per_mille(heat),
            _ => rng.per_mille(heat),
        };
        let enabled = Fault::ALL.iter().map(|f| draw(f) && !healthy).collect();
        let mut it = Self {
            seed,
            config: config(&mut rng),
            resend: Millis::secs(rng.pick(&[2, 5, 10])),
            hosts: Vec::new(),
            services: Vec::new(),
            asks: Vec::new(),
            enabled,
            per_mille: if healthy { 0 } else { rng.pick(&[5, 20, 60, 200]) },
            crash_per_mille: rng.pick(&[1, 3, 10, 30]),
            faults_end: START + rng.between(8, 45) as i64 * MINUTE,
            sealed: rng.per_mille(30),
            broker_embedded: rng.per_mille(500),
            window: None,
            fleet,
            healthy,
            calm: false,
        };
        it.make_hosts(&mut rng);
        it.make_groups(&mut rng);
        if it.fleet {
            it.make_tables(&mut rng);
            it.make_rollouts(&mut rng);
        }
        it.make_asks(&mut rng);
        it.make_runs(&mut apart);
        if has_services {
            it.make_services(&mut units);
        }
        it
    }

    /// Whether this seed enables a fault.
    pub fn has(&self, fault: Fault) -> bool {
        self.enabled[fault as usize]
    }

    /// What it is about, in words.
    pub fn words(&self) -> String {
        let hosts: Vec<String> = self
            .hosts
            .iter()
            .map(|h| if h.children.is_empty() { h.name.clone() } else { format!("{}[{}]", h.name, h.children.join(" ")) })
            .collect();
        let faults: Vec<&str> = Fault::ALL.iter().filter(|f| self.has(**f)).map(|f| f.words()).collect();
        let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
        format!("{}; faults: {faults}", hosts.join(", "))
    }

    /// The same fleet with one request and no fault but the one that the every-cut runs make.
    pub fn calm(mut self) -> Self {
        self.enabled.fill(false);
        self.per_mille = 0;
        self.crash_per_mille = 0;
        self.healthy = true;
        self.calm = true;
        self.faults_end = START + 1;
        self.asks.retain(|a| matches!(a.what, What::Submit { shutdown: false, .. }));
        self.asks.truncate(1);
        for ask in &mut self.asks {
            ask.at = START + 2 * MINUTE;
        }
        self
    }

    /// The same, with one command on all hosts that have an agent.
    pub fn calm_run(self) -> Self {
        let mut it = self.calm();
        let hosts: Vec<usize> = (0..it.hosts.len()).filter(|host| !it.hosts[*host].ssh).collect();
        let mut plan = it.run_on(hosts, Millis::secs(60));
        plan.rollout.concurrency = Amount::Count(2);
        plan.rollout.failure_budget = Amount::Percent(100);
        it.asks = vec![Ask { at: START + 2 * MINUTE, host: 0, what: What::Rollout(Box::new(plan)) }];
        it
    }

    fn make_hosts(&mut self, rng: &mut Rng) {
        let count = if self.fleet {
            if rng.per_mille(20) { rng.pick(&[60, 120, 200]) } else { rng.pick(&[5, 5, 6, 8, 12, 20]) }
        } else {
            rng.pick(&[1, 2, 2, 3, 3, 4, 5, 6])
        };
        for i in 0..count {
            let mut labels = BTreeMap::from([("site".to_owned(), rng.pick(&["north", "south"]).to_owned())]);
            if rng.per_mille(600) {
                labels.insert("role".to_owned(), "web".to_owned());
            }
            let children = (0..rng.pick(&[0, 0, 1, 2, 2, 3, 4])).map(|c| format!("c{}{}", i + 1, (b'a' + c) as char)).collect();
            let children: Vec<String> = if self.fleet && rng.per_mille(700) { Vec::new() } else { children };
            let ssh = self.fleet && rng.per_mille(500);
            labels.insert("route".to_owned(), if ssh { "ssh" } else { "agent" }.to_owned());
            let jobs = self.fleet && rng.per_mille(500);
            if jobs {
                labels.insert("jobs".to_owned(), "yes".to_owned());
            }
            self.hosts.push(HostPlan { name: format!("host-{}", i + 1), labels, children, ssh, jobs });
        }
    }

    fn make_groups(&mut self, rng: &mut Rng) {
        if self.hosts.len() > 1 && rng.per_mille(700) {
            let on = match rng.below(3) {
                0 => "site=north",
                1 => "role=web",
                _ => "site=south,role=web",
            };
            self.config.limit_groups.push(LimitGroup {
                name: "hosts".to_owned(),
                on: on.parse().ok(),
                per: None,
                children: Vec::new(),
                max_unavailable: Amount::Count(rng.pick(&[1, 1, 2])),
            });
        }
        if rng.per_mille(400) {
            let all: Vec<String> =
                self.hosts.iter().flat_map(|h| h.children.iter().map(move |c| format!("{}/{c}", h.name))).collect();
            let children: Vec<String> = all.into_iter().filter(|_| rng.per_mille(500)).collect();
            if !children.is_empty() {
                let max_unavailable = rng.pick(&[1, 2, 2, 3]);
                self.config.limit_groups.push(LimitGroup {
                    name: "quorum".to_owned(),
                    on: None,
                    per: None,
                    children,
                    max_unavailable: Amount::Count(max_unavailable),
                });
            }
        }
    }

    /// Drains, checks and a window for a fleet.
    fn make_tables(&mut self, rng: &mut Rng) {
        let on = |text: &str| text.parse().unwrap_or_else(|error| unreachable!("{text:?}: {error}"));
        let drains = &mut self.config.drains;
        drains.insert(
            "jobs".to_owned(),
            DrainRule { on: on("jobs=yes"), drain: Drain::Units { units: vec!["jobs.service".to_owned()] } },
        );
        let servers = vec!["web/{name}".to_owned()];
        drains.insert(
            "place".to_owned(),
            DrainRule { on: on("role=web"), drain: Drain::Haproxy { address: "lb:9999".to_owned(), servers } },
        );
        let limit = Millis::secs(10);
        let unit = CheckKind::Unit { unit: "jobs.service".to_owned() };
        let page = CheckKind::Http { url: "http://{name}/".to_owned(), status: 200, contains: None };
        self.config.checks.insert("jobs".to_owned(), CheckRule { on: on("jobs=yes"), limit, kind: unit });
        self.config.checks.insert("page".to_owned(), CheckRule { on: on("role=web"), limit, kind: page });
        if rng.per_mille(200) {
            let (from, to) = (rng.between(0, 20) as i64, rng.between(40, 150) as i64);
            let text = |minute: i64| format!("{:02}:{:02}", minute / 60, minute % 60);
            let window = format!("{{\"from\": \"{}\", \"to\": \"{}\"}}", text(from), text(to));
            if let Ok(window) = serde_json::from_str(&window) {
                self.config.windows.insert("night".to_owned(), window);
                self.window = Some((from, to));
            }
        }
        if rng.per_mille(700) {
            let max_unavailable = rng.pick(&[Amount::Count(1), Amount::Count(2), Amount::Percent(50)]);
            let per = Some("site".to_owned());
            self.config.limit_groups.push(LimitGroup {
                name: "sites".to_owned(),
                on: None,
                per,
                children: Vec::new(),
                max_unavailable,
            });
        }
    }

    fn make_rollouts(&mut self, rng: &mut Rng) {
        for _ in 0..rng.pick(&[1, 1, 2, 3]) {
            let some = rng.pick(&[1000, 1000, 600, 400]);
            let hosts: Vec<usize> = (0..self.hosts.len()).filter(|_| rng.per_mille(some)).collect();
            if hosts.is_empty() {
                continue;
            }
            let names =
                |list: &[&str], rng: &mut Rng| list.iter().filter(|_| rng.per_mille(700)).map(|n| (*n).to_owned()).collect();
            let mut rollout = self.config.rollout_of(&model::RolloutOptions::default(), None);
            rollout.canary = Amount::Count(rng.pick(&[0, 0, 1, 2]));
            rollout.stages = if rng.per_mille(500) { vec![Amount::Percent(50)] } else { Vec::new() };
            rollout.concurrency = rng.pick(&[Amount::Count(1), Amount::Count(2), Amount::Count(4), Amount::Percent(50)]);
            rollout.failure_budget = rng.pick(&[Amount::Count(0), Amount::Count(1), Amount::Count(3), Amount::Percent(30)]);
            rollout.approval = rng.pick(&[Approval::Never, Approval::Never, Approval::AfterCanary, Approval::EachWave]);
            rollout.drains = names(&["jobs", "place"], rng);
            rollout.checks = names(&["jobs", "page"], rng);
            rollout.on_drain_timeout = rng.pick(&[DrainPolicy::Abort, DrainPolicy::Skip, DrainPolicy::Force]);
            rollout.soak = Millis::secs(rng.pick(&[0, 30, 60]));
            rollout.stagger = Millis::secs(rng.pick(&[0, 0, 20]));
            rollout.jitter = Millis::secs(rng.pick(&[0, 0, 60]));
            rollout.only_if_required = rng.per_mille(200);
            if self.window.is_some() && rng.per_mille(700) {
                rollout.windows = vec!["night".to_owned()];
            }
            let plan = RolloutPlan {
                hosts,
                rollout,
                timeout: Millis::secs(rng.pick(&[30, 60])),
                policy: rng.pick(&[TimeoutPolicy::Abort, TimeoutPolicy::Proceed, TimeoutPolicy::ForceStop]),
                force: self.has(Fault::Forced) && rng.per_mille(200),
                run: None,
            };
            let at = START + MINUTE + rng.below(6 * 60_000) as i64;
            self.asks.push(Ask { at, host: 0, what: What::Rollout(Box::new(plan)) });
        }
    }

    /// Commands on hosts that have an agent; on some seeds, and from chance of their own, so that all other seeds mean what they
    /// did without them.
    fn make_runs(&mut self, rng: &mut Rng) {
        if !rng.per_mille(if self.fleet { 350 } else { 150 }) {
            return;
        }
        for _ in 0..rng.pick(&[1, 1, 2, 3]) {
            // Over SSH nobody runs commands with an engine: that is refused whole.
            let (some, odd) = (rng.pick(&[1000, 1000, 600, 300]), rng.per_mille(60));
            let hosts: Vec<usize> =
                (0..self.hosts.len()).filter(|host| (!self.hosts[*host].ssh || odd) && rng.per_mille(some)).collect();
            if hosts.is_empty() {
                continue;
            }
            let host = hosts[rng.index(hosts.len())];
            let mut plan = self.run_on(hosts, Millis::secs(rng.pick(&[20, 60, 300])));
            let rollout = &mut plan.rollout;
            rollout.canary = Amount::Count(rng.pick(&[0, 0, 1, 2]));
            rollout.stages = if rng.per_mille(300) { vec![Amount::Percent(50)] } else { Vec::new() };
            rollout.concurrency = rng.pick(&[Amount::Count(1), Amount::Count(2), Amount::Count(4), Amount::Percent(50)]);
            rollout.failure_budget = rng.pick(&[Amount::Count(0), Amount::Count(1), Amount::Count(3), Amount::Percent(50)]);
            rollout.approval = rng.pick(&[Approval::Never, Approval::Never, Approval::Never, Approval::EachWave]);
            rollout.checks = self.config.checks.keys().filter(|_| rng.per_mille(400)).cloned().collect();
            rollout.soak = Millis::secs(rng.pick(&[0, 0, 30]));
            rollout.stagger = Millis::secs(rng.pick(&[0, 0, 20]));
            if self.window.is_some() && rng.per_mille(400) {
                rollout.windows = vec!["night".to_owned()];
            }
            plan.force = self.has(Fault::Forced) && rng.per_mille(200);
            let late = rng.per_mille(150);
            let from = if late { self.faults_end } else { START + MINUTE };
            let at = from + rng.below(10 * 60_000) as i64;
            self.asks.push(Ask { at, host, what: What::Rollout(Box::new(plan)) });
            if self.has(Fault::Cancel) && rng.per_mille(600) {
                let spread = rng.pick(&[5_000, 60_000, 300_000]);
                self.asks.push(Ask { at: at + 1 + rng.below(spread) as i64, host, what: What::Cancel });
            }
        }
        self.asks.sort_by_key(|a| a.at);
    }

    /// Services and their restarts, on some seeds.
    fn make_services(&mut self, rng: &mut Rng) {
        let count = rng.between(1, 5) as usize;
        for number in 0..count {
            let service = self.service(number, rng);
            self.services.push(service);
        }
        for _ in 0..rng.pick(&[1, 1, 2, 3]) {
            let some = rng.pick(&[1000, 600, 300]);
            let mut hosts: Vec<usize> = (0..self.hosts.len()).filter(|_| rng.per_mille(some)).collect();
            hosts.truncate(rng.pick(&[2, 4, 8]));
            let Some(host) = hosts.first().copied() else { continue };
            let mut names: Vec<String> = self.services.iter().map(|s| s.name.clone()).collect();
            names.retain(|_| rng.per_mille(700));
            let all = rng.per_mille(600);
            let asked = ServicesRequest {
                services: self.services.clone(),
                only: if all { std::collections::BTreeSet::new() } else { names.into_iter().collect() },
                parallel: rng.pick(&[1, 1, 2, 0]),
                keep_going: rng.per_mille(400),
                skip_migrations: rng.per_mille(200),
                deploy: rng.per_mille(500).then(|| DeployFrom { path: Some(format!("/new/{}", rng.below(1_000))) }),
            };
            let force = rng.per_mille(150) && !self.healthy;
            let from = if rng.per_mille(150) { self.faults_end } else { START + MINUTE };
            let at = from + rng.below(12 * 60_000) as i64;
            let plan = ServicesPlan { hosts, asked, force };
            if rng.per_mille(300) {
                // Another one wants the same.
                let again = Ask { at: at + rng.below(60_000) as i64, host, what: What::Services(Box::new(plan.clone())) };
                self.asks.push(again);
            }
            self.asks.push(Ask { at, host, what: What::Services(Box::new(plan)) });
            if !self.healthy && rng.per_mille(250) {
                self.asks.push(Ask { at: at + 1 + rng.below(120_000) as i64, host, what: What::Cancel });
            }
        }
        self.asks.sort_by_key(|a| a.at);
    }

    fn service(&self, number: usize, rng: &mut Rng) -> Service {
        let dependencies = (0..number).filter(|_| rng.per_mille(400)).map(|n| format!("s{n}")).collect();
        let kind = CheckKind::Hook { name: "health".to_owned() };
        let check = rng.per_mille(800).then(|| Check { name: "health".to_owned(), kind, limit: Millis::secs(5) });
        let tree = |name: &str| Deploy {
            source: name.to_owned(),
            destination: format!("/srv/{name}"),
            exclude: Vec::new(),
            keep: Vec::new(),
            unit_file: None,
        };
        let timings = Timings {
            health_check_timeout: Millis::secs(5),
            stabilization_period: Millis::secs(rng.pick(&[0, 10, 30, 60])),
            systemd_grace_period: Millis::secs(rng.pick(&[10, 30])),
            migrate_timeout: Millis::secs(rng.pick(&[60, 300])),
            ..Timings::default()
        };
        let name = format!("s{number}");
        Service {
            unit: format!("{name}.service"),
            kind: rng.pick(&[ServiceKind::Infrastructure, ServiceKind::Api, ServiceKind::Other]),
            host: rng.per_mille(300).then(|| self.hosts[rng.index(self.hosts.len())].name.clone()),
            dependencies,
            check,
            interval: Millis::secs(30),
            deploy: rng.per_mille(800).then(|| tree(&name)),
            migrate: rng.per_mille(400).then(|| Migrate::Named { name: "migrate".to_owned() }),
            // Both are met, without another draw.
            migrate_on: if number.is_multiple_of(2) { MigrateOn::First } else { MigrateOn::Every },
            reload: rng.pick(&[Reload::Never, Reload::Config, Reload::Code]),
            timings,
            name,
        }
    }

    /// A named command on these hosts, one after the other.
    fn run_on(&self, hosts: Vec<usize>, limit: Millis) -> RolloutPlan {
        let mut rollout = self.config.rollout_of(&model::RolloutOptions::default(), None);
        (rollout.drains, rollout.checks, rollout.only_if_required) = (Vec::new(), Vec::new(), false);
        rollout.soak = Millis(0);
        let run = Some(RunRequest { run: Run::Named { name: "rotate".to_owned() }, limit });
        RolloutPlan { hosts, rollout, timeout: Millis::secs(30), policy: TimeoutPolicy::Proceed, force: false, run }
    }

    fn make_asks(&mut self, rng: &mut Rng) {
        let count = rng.pick(&[1, 1, 2, 3, 4, 6]);
        let busy = self.has(Fault::SecondRequest) || self.has(Fault::ManyRequests);
        for _ in 0..count {
            let host = rng.index(self.hosts.len());
            let at = START + 2 * MINUTE + rng.below(15 * 60_000) as i64;
            self.submit(rng, host, at);
            if busy && rng.per_mille(500) {
                for _ in 0..rng.between(1, 5) {
                    let later = rng.below(14 * 60_000) as i64;
                    self.submit(rng, host, at + later);
                }
            }
            if self.has(Fault::Cancel) && rng.per_mille(600) {
                let spread = rng.pick(&[5_000, 60_000, 300_000, 1_200_000]);
                self.asks.push(Ask { at: at + 1 + rng.below(spread) as i64, host, what: What::Cancel });
            }
        }
        // Some come when all faults are over: then nothing stands in their way but what is left behind.
        for _ in 0..rng.pick(&[0, 0, 1, 2]) {
            let host = rng.index(self.hosts.len());
            if rng.per_mille(500) {
                let at = self.faults_end + rng.below(5 * 60_000) as i64;
                self.asks.push(Ask { at, host, what: What::Acknowledge });
            }
            let later = rng.below(20 * 60_000) as i64;
            self.submit(rng, host, self.faults_end + 5 * MINUTE + later);
        }
        self.asks.sort_by_key(|a| a.at);
    }

    fn submit(&mut self, rng: &mut Rng, host: usize, at: Time) {
        let what = What::Submit {
            shutdown: rng.per_mille(120),
            timeout: Millis::secs(rng.pick(&[30, 60, 120])),
            policy: rng.pick(&[TimeoutPolicy::Proceed, TimeoutPolicy::ForceStop, TimeoutPolicy::Abort]),
            strict: rng.per_mille(200),
            force: self.has(Fault::Forced) && rng.per_mille(400),
        };
        self.asks.push(Ask { at, host, what });
    }
}

/// The defaults of ruling 23, but for the wait of 72 hours, which would be heartbeats and nothing else.
fn config(rng: &mut Rng) -> Config {
    let minutes = rng.pick(&[10, 20, 40, 60, 120]);
    Config { wait_limit: Millis::secs(minutes * 60), ..Config::default() }
}
