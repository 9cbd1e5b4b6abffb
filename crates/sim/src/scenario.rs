//! What a seed means: the fleet, its configuration, which faults are enabled and how often, and what people ask for.
//!
//! Each seed enables a random part of the faults: rare combinations come up that a mix of everything would drown.

use std::collections::BTreeMap;

use engine::{Config, LimitGroup};
use model::{Amount, Labels, Millis, TimeoutPolicy};

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
        let heat = rng.pick(&[150, 300, 500]);
        let enabled = Fault::ALL.iter().map(|_| rng.per_mille(heat) && !healthy).collect();
        let mut it = Self {
            seed,
            config: config(&mut rng),
            resend: Millis::secs(rng.pick(&[2, 5, 10])),
            hosts: Vec::new(),
            asks: Vec::new(),
            enabled,
            per_mille: if healthy { 0 } else { rng.pick(&[5, 20, 60, 200]) },
            crash_per_mille: rng.pick(&[1, 3, 10, 30]),
            faults_end: START + rng.between(8, 45) as i64 * MINUTE,
            sealed: rng.per_mille(30),
            broker_embedded: rng.per_mille(500),
            healthy,
            calm: false,
        };
        it.make_hosts(&mut rng);
        it.make_groups(&mut rng);
        it.make_asks(&mut rng);
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

    fn make_hosts(&mut self, rng: &mut Rng) {
        let count = rng.pick(&[1, 2, 2, 3, 3, 4, 5, 6]);
        for i in 0..count {
            let mut labels = BTreeMap::from([("site".to_owned(), rng.pick(&["north", "south"]).to_owned())]);
            if rng.per_mille(600) {
                labels.insert("role".to_owned(), "web".to_owned());
            }
            let children = (0..rng.pick(&[0, 0, 1, 2, 2, 3, 4])).map(|c| format!("c{}{}", i + 1, (b'a' + c) as char)).collect();
            self.hosts.push(HostPlan { name: format!("host-{}", i + 1), labels, children });
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
