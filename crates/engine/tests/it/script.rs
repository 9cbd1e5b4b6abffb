//! Scripts in the words of an operator: inputs, and under each what the engine decided (`|` facts, `>` commands wanted).
//!
//! `UPDATE_SCRIPTS=1` writes the answers anew; read the difference before you commit it.

use std::fmt::Write as _;

use engine::{Config, Engine, Entry, Fact, FleetEntry, Input, Record, Refusal, Reply};
use model::{
    AckStatus, Actor, ChildStatus, Command, ErrorCode, Force, Millis, Operation, Options, OrchestrationId, Readable, Request,
    TargetId, TimeoutPolicy, Timestamp, Unfinished,
};
use uuid::Uuid;

use crate::lists::{List, check, drain};
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
        self.input(Input::Started { epoch: 1, lease: self.lease, own_boot: None });
    }

    /// Throw the engine away and restore it from the journals, as after a crash.
    pub(crate) fn restart(&mut self) {
        let open = self.journals.iter().map(|(id, j)| (*id, Ok(j.clone()))).collect();
        self.engine = Engine::restore(self.config.clone(), self.fleet.clone(), open).expect("own journals");
        self.start();
    }

    /// The same engine, with a journal that it did not write; the hosts were heard.
    pub(crate) fn take_up(&mut self) {
        let open = self.journals.iter().map(|(id, j)| (*id, Ok(j.clone()))).collect();
        self.engine = Engine::restore(self.config.clone(), self.fleet.clone(), open).expect("own journals");
        let names: Vec<String> = self.hosts.iter().map(|h| h.name.clone()).collect();
        names.iter().for_each(|name| self.report(name));
    }

    pub(crate) fn input(&mut self, input: Input) -> Reply {
        let turn = self.engine.handle(input, self.now);
        for fact in turn.facts {
            if !self.quiet {
                let host = match &fact {
                    Fact::Orchestration(id, record) => self.engine.target_of(*id, &record.entry),
                    Fact::Fleet(_) => None,
                };
                let sentence = engine::tell(&fact, host, &|id| self.name_of(id));
                writeln!(self.out, "| {sentence}").expect("a string");
            }
            self.keep(fact);
        }
        turn.reply
    }

    fn name_of(&self, id: TargetId) -> Option<String> {
        if id == TargetId::CONTROLLER {
            return Some("controller".to_owned());
        }
        let host = self.hosts.iter().find(|h| h.id == id).map(|h| h.name.clone());
        let child =
            || self.hosts.iter().flat_map(|h| h.children.keys().map(|c| h.child_ref(c))).find(|c| c.id == id).map(|c| c.name);
        host.or_else(child)
    }

    pub(crate) fn keep(&mut self, fact: Fact) {
        assert!(self.all.len() < 200_000, "it writes for ever: {fact:?}");
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
            ["roll", name, words @ ..] => self.roll(name, words),
            ["items", name] => {
                let items = self.host(name).items.clone();
                let words: Vec<String> = items.iter().map(|(item, (state, _))| format!("{item} {state}")).collect();
                writeln!(self.out, "= {}", words.join(", ")).expect("a string");
            }
            ["go"] => self.go(None),
            ["go", "until", kind] => self.go(Some(kind)),
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
            "check" => {
                let (name, passes) = value.split_once(':').expect("NAME:ok|bad");
                if passes == "ok" {
                    host.failing.remove(name)
                } else {
                    host.failing.insert(name.to_owned())
                };
            }
            "item" => {
                let (name, state) = value.rsplit_once(':').expect("NAME:STATE, in service when the state is ready or active");
                host.items.insert(name.to_owned(), (state.to_owned(), matches!(state, "ready" | "active")));
            }
            "required" => {
                host.reboot_required = match value {
                    "yes" => Readable::Known(Some("a new kernel".into())),
                    "no" => Readable::Known(None),
                    _ => Readable::Unknown("exit 127".into()),
                }
            }
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
        let request = Request {
            targets: vec![host_id(name)],
            operation,
            options,
            rollout: None,
            run: None,
            wait: None,
            services: None,
            by: user(),
        };
        let reply = self.input(Input::Submit { id, request });
        if let Reply::Accepted { id, .. } = reply {
            self.last = Some(id);
        }
        self.say(&reply);
    }

    /// A rollout of one host, by a list written by hand.
    fn roll(&mut self, name: &str, words: &[&str]) {
        let mut list = List::of(name);
        for word in words {
            match word.split_once('=').unwrap_or((word, "")) {
                ("drain", word) => list.drains.push(drain(word)),
                ("check", word) => list.checks.push(check(word)),
                ("on_drain", policy) => list.policy = serde_json::from_value(policy.into()).expect("a policy"),
                ("soak", seconds) => list.soak = Millis::secs(seconds.parse().expect("seconds")),
                ("gate", seconds) => list.gate = seconds.parse().expect("seconds"),
                ("only-required", _) => list.only_if_required = true,
                ("nameless", _) => list.vars.clear(),
                ("retry", _) => list.unfinished = self.left_undone(name),
                other => panic!("no such word: {other:?}"),
            }
        }
        list.accept(self, name);
    }

    /// What the last stranding of the host left undone.
    pub(crate) fn left_undone(&self, name: &str) -> Option<Unfinished> {
        self.engine.host(host_id(name), self.now).expect("a host").unfinished
    }

    /// The world does all that it is told, until a command of this kind is wanted or nothing is any more.
    pub(crate) fn go(&mut self, until: Option<&str>) {
        for _ in 0..500 {
            let over = self.last.and_then(|id| self.engine.view(id)).is_some_and(|v| v.outcome.is_some());
            let wanted = self.engine.wanted();
            if over || wanted.iter().any(|c| until == Some(c.action.kind().to_string().as_str())) {
                return;
            }
            let Some(command) = wanted.first() else {
                let Some(due) = self.engine.poll_timeout() else { return };
                self.now = self.now.max(due);
                self.input(Input::Tick);
                continue;
            };
            self.answer(command, AckStatus::Completed, None);
        }
        panic!("it does not come to an end");
    }

    fn answer(&mut self, command: &Command, status: AckStatus, code: Option<ErrorCode>) {
        let now = self.now;
        // What is done where the engine runs is about the first host, unless it says otherwise.
        let found = self.hosts.iter().position(|h| h.id == command.target || h.id == command.subject).unwrap_or(0);
        let host = self.hosts.get_mut(found).expect("a host");
        let ack = host.answer(command, status, code, now);
        self.input(Input::Acked { host: command.target, ack: Box::new(ack) });
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
        self.answer(command, status, code);
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
