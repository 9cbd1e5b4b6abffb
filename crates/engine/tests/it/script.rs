//! Scripts in the words of an operator: inputs, and under each what the engine decided (`|` facts, `>` commands wanted).
//!
//! `UPDATE_SCRIPTS=1` writes the answers anew; read the difference before you commit it.

use std::fmt::Write as _;

use engine::{Config, Engine, Entry, Fact, FleetEntry, Input, Record, Refusal, Reply};
use model::{
    AckStatus, Actor, ChildStatus, ErrorCode, Force, Millis, Operation, Options, OrchestrationId, Request, TimeoutPolicy,
    Timestamp,
};
use uuid::Uuid;

use crate::world::{Host, host_id};

pub(crate) struct Shell {
    pub(crate) engine: Engine,
    pub(crate) config: Config,
    pub(crate) hosts: Vec<Host>,
    pub(crate) now: Timestamp,
    pub(crate) fleet: Vec<Record<FleetEntry>>,
    pub(crate) journals: Vec<(OrchestrationId, Vec<Record<Entry>>)>,
    pub(crate) last: Option<OrchestrationId>,
    pub(crate) all: Vec<Fact>,
    quiet: bool,
    lease: u64,
    out: String,
}

pub(crate) fn user() -> Actor {
    Actor::User("anna".into())
}

impl Shell {
    pub(crate) fn new(config: Config) -> Self {
        let engine = Engine::restore(config.clone(), Vec::new(), Vec::new()).expect("empty journals");
        let mut shell = Self {
            engine,
            config,
            hosts: Vec::new(),
            now: Timestamp::from_millis(1_800_000_000_000),
            fleet: Vec::new(),
            journals: Vec::new(),
            last: None,
            all: Vec::new(),
            quiet: false,
            lease: 0,
            out: String::new(),
        };
        shell.start();
        shell
    }

    pub(crate) fn start(&mut self) {
        self.lease += 1;
        self.input(Input::Started { epoch: 1, lease: self.lease });
    }

    /// Throw the engine away and restore it from the journals, as after a crash.
    pub(crate) fn restart(&mut self) {
        let open = self.journals.iter().map(|(id, j)| (*id, Ok(j.clone()))).collect();
        self.engine = Engine::restore(self.config.clone(), self.fleet.clone(), open).expect("own journals");
        self.start();
    }

    pub(crate) fn input(&mut self, input: Input) -> Reply {
        let turn = self.engine.handle(input, self.now);
        for fact in turn.facts {
            if !self.quiet {
                let sentence = engine::tell(&fact, &|id| self.name_of(id));
                writeln!(self.out, "| {sentence}").expect("a string");
            }
            self.keep(fact);
        }
        turn.reply
    }

    fn name_of(&self, id: model::TargetId) -> Option<String> {
        let host = self.hosts.iter().find(|h| h.id == id).map(|h| h.name.clone());
        let child =
            || self.hosts.iter().flat_map(|h| h.children.keys().map(|c| h.child_ref(c))).find(|c| c.id == id).map(|c| c.name);
        host.or_else(child)
    }

    pub(crate) fn keep(&mut self, fact: Fact) {
        self.all.push(fact.clone());
        match fact {
            Fact::Fleet(r) => self.fleet.push(r),
            Fact::Orchestration(id, r) => match self.journals.iter_mut().find(|(o, _)| *o == id) {
                Some((_, j)) => j.push(r),
                None => self.journals.push((id, vec![r])),
            },
        }
    }

    fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.iter_mut().find(|h| h.name == name).expect("a host of the script")
    }

    pub(crate) fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["host", name, children @ ..] => self.add_host(name, children),
            ["world", name, changes @ ..] => changes.iter().for_each(|c| self.change(name, c)),
            ["report", name] => self.report(name),
            ["gone", name] => {
                let instance = model::InstanceId(Uuid::from_u128(self.host(name).instance));
                self.input(Input::Gone { host: host_id(name), instance });
            }
            ["submit", operation, name, options @ ..] => self.submit(operation, name, options),
            ["cancel"] => {
                let id = self.last.expect("something was submitted");
                let reply = self.input(Input::Cancel { id, by: user() });
                self.say(&reply);
            }
            ["acknowledge", name] => {
                let reply = self.input(Input::Acknowledge { target: host_id(name), by: user() });
                self.say(&reply);
            }
            ["ack", kind, subject, status, code @ ..] => self.ack(kind, subject, status, code.first().copied()),
            ["late", kind, status, code @ ..] => self.late(kind, status, code.first().copied()),
            ["restart"] => self.restart(),
            ["clock", seconds] => {
                let back: u64 = seconds.trim_start_matches('-').parse().expect("seconds");
                self.now = self.now - Millis::secs(back);
            }
            [wait] if wait.starts_with('+') => {
                self.wait(wait.trim_start_matches('+').trim_end_matches('s').parse().expect("seconds"))
            }
            _ => panic!("no such line: {line}"),
        }
        for command in self.engine.wanted() {
            let who = self.name_of(command.subject).unwrap_or_default();
            writeln!(self.out, "> {} {who}", command.action.kind()).expect("a string");
        }
    }

    fn add_host(&mut self, name: &str, children: &[&str]) {
        let mut host = Host::new(name);
        for child in children {
            let (child, rest) = child.split_once('=').expect("NAME=STATUS");
            let (rest, priority) = rest.split_once('^').unwrap_or((rest, "0"));
            host.priorities.insert((*child).to_owned(), priority.parse().expect("a priority"));
            let (status, autostart) = (rest.trim_end_matches("+auto"), rest.ends_with("+auto"));
            host.children.insert(child.into(), (status_of(status), autostart));
        }
        let id = host.id;
        self.hosts.push(host);
        self.quiet = true;
        let labels = model::Labels::from([("role".to_owned(), "web".to_owned())]);
        self.input(Input::Enrol { host: id, name: name.into(), machine_id: name.into(), public_key: "key".into(), labels });
        self.input(Input::Approve { host: id, by: user() });
        self.report(name);
        self.quiet = false;
    }

    fn change(&mut self, name: &str, change: &str) {
        let (key, value) = change.split_once('=').expect("KEY=VALUE");
        let host = self.host(name);
        match key {
            "listing" => host.listing_broken = value == "broken",
            "pending" => host.pending = (value != "none").then(|| value.to_owned()),
            "inhibitor" => host.inhibitor = (value != "none").then(|| value.to_owned()),
            "rate-opens" => host.rate_opens_in_ms = value.parse().ok().map(|s: u64| s * 1000),
            "boot" if value == "earlier" => {
                host.boot -= 1;
                host.instance += 100;
            }
            "boot" => host.reboot(),
            "run" => {
                // Runs number their reports each by itself.
                host.instance = value.parse().expect("a number");
                host.sequence += 10;
            }
            child => host.set(child, status_of(value)),
        }
    }

    pub(crate) fn report(&mut self, name: &str) {
        let now = self.now;
        let host = self.host(name);
        let (id, report) = (host.id, host.report(now));
        self.input(Input::Reported { host: id, report: Box::new(report) });
    }

    fn submit(&mut self, operation: &str, name: &str, words: &[&str]) {
        let mut options = options();
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("strict", _) => options.strict = true,
                ("force", reason) => options.force = Some(Force { reason: reason.into() }),
                ("on_timeout", "abort") => options.on_timeout = TimeoutPolicy::Abort,
                ("on_timeout", "force-stop") => options.on_timeout = TimeoutPolicy::ForceStop,
                other => panic!("no such option: {other:?}"),
            }
        }
        let operation = match operation {
            "orchestrated" => Operation::OrchestratedReboot,
            "reboot" => Operation::Reboot,
            "shutdown" => Operation::Shutdown,
            other => panic!("no such operation: {other}"),
        };
        let id = OrchestrationId(Uuid::from_u128(self.journals.len() as u128 + 100));
        let request = Request { targets: vec![host_id(name)], operation, options, rollout: None, by: user() };
        let reply = self.input(Input::Submit { id, request });
        if let Reply::Accepted { id, .. } = reply {
            self.last = Some(id);
        }
        self.say(&reply);
    }

    fn say(&mut self, reply: &Reply) {
        match reply {
            Reply::Noted => {}
            Reply::Accepted { child_count, .. } => writeln!(self.out, "= accepted, {child_count} children").expect("a string"),
            Reply::Refused(Refusal::Blocked { blockers }) => {
                for b in blockers {
                    writeln!(self.out, "= blocked: {}", b.why).expect("a string");
                }
            }
            Reply::Refused(other) => writeln!(self.out, "= refused: {other:?}").expect("a string"),
        }
    }

    fn ack(&mut self, kind: &str, subject: &str, status: &str, code: Option<&str>) {
        let status = match status {
            "accepted" => AckStatus::Accepted,
            "started" => AckStatus::ExecutionStarted,
            "completed" => AckStatus::Completed,
            "failed" => AckStatus::Failed,
            other => panic!("no such status: {other}"),
        };
        let code = code.map(|c| serde_json::from_value::<ErrorCode>(c.into()).expect("an error code"));
        let wanted = self.engine.wanted();
        let command = wanted
            .iter()
            .find(|c| c.action.kind().to_string() == kind && self.name_of(c.subject).as_deref() == Some(subject))
            .unwrap_or_else(|| panic!("nobody wants {kind} {subject}"));
        let now = self.now;
        let host = self.hosts.iter_mut().find(|h| h.id == command.target).expect("its host");
        let ack = host.answer(command, status, code, now);
        let id = host.id;
        self.input(Input::Acked { host: id, ack: Box::new(ack) });
    }

    /// A word on a command that nobody waits for any more.
    fn late(&mut self, kind: &str, status: &str, code: Option<&str>) {
        let issued = self.all.iter().rev().find_map(|fact| match fact {
            Fact::Orchestration(_, Record { entry: Entry::CommandIssued { command, .. }, .. })
                if command.action.kind().to_string() == kind =>
            {
                Some((**command).clone())
            }
            _ => None,
        });
        let command = issued.unwrap_or_else(|| panic!("no {kind} was ever commanded"));
        let status = if status == "completed" { AckStatus::Completed } else { AckStatus::Failed };
        let code = code.map(|c| serde_json::from_value::<ErrorCode>(c.into()).expect("an error code"));
        let now = self.now;
        let host = self.hosts.iter_mut().find(|h| h.id == command.target).expect("its host");
        let ack = Box::new(model::Ack { report: None, ..host.answer(&command, status, code, now) });
        self.input(Input::Acked { host: command.target, ack });
    }

    /// Time passes in the steps that the engine itself asks for. Hosts keep silent unless the script says otherwise.
    pub(crate) fn wait(&mut self, seconds: u64) {
        let end = self.now + Millis::secs(seconds);
        while let Some(due) = self.engine.poll_timeout().filter(|d| *d <= end) {
            self.now = self.now.max(due);
            let before = self.all.len();
            self.input(Input::Tick);
            if self.all.len() == before && self.engine.poll_timeout().is_some_and(|d| d <= self.now) {
                break;
            }
        }
        self.now = end;
        self.input(Input::Tick);
    }
}

pub(crate) fn options() -> Options {
    Options { shutdown_timeout: Millis::secs(120), on_timeout: TimeoutPolicy::Proceed, strict: false, force: None }
}

fn status_of(word: &str) -> ChildStatus {
    serde_json::from_value(word.into()).expect("a child status")
}

fn play(script: &str, config: &Config) -> String {
    let mut shell = Shell::new(config.clone());
    shell.out.clear();
    for line in script.lines().filter(|l| !l.starts_with(['|', '>', '='])) {
        writeln!(shell.out, "{line}").expect("a string");
        if !line.is_empty() && !line.starts_with('#') {
            shell.line(line);
        }
    }
    shell.out.replace(&shell.now.to_string()[..10], "DAY")
}

/// The defaults, with what the head of a script asks for. Scripts stay short with two attempts, unless they are about them.
pub(crate) fn config_of(script: &str) -> Config {
    let attempts = if script.contains("# all attempts") { Config::default().attempts } else { 2 };
    let mut config = Config { attempts, ..Config::default() };
    if script.contains("# limit role=web 1") {
        config.limit_groups.push(engine::LimitGroup {
            name: "web".into(),
            on: Some("role=web".parse().expect("a selector")),
            per: None,
            children: Vec::new(),
            max_unavailable: model::Amount::Count(1),
        });
    }
    config
}

#[test]
fn scripts_play_as_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut played = 0;
    let mut paths: Vec<_> = std::fs::read_dir(folder).expect("the scripts").map(|e| e.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        println!("{}", path.display());
        let script = std::fs::read_to_string(&path).expect("a script");
        let config = config_of(&script);
        let told = play(&script, &config);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &told).expect("a writable script");
        } else {
            assert_eq!(told, script, "{}", path.display());
        }
        played += 1;
    }
    assert!(played > 0);
}
