//! Events of services (S3-64 to S3-70), over whole journeys.

use engine::{Config, EventKind, Fact, Input, JournalId, Method, Outcome, Reply, ServiceEvent, service_events};
use model::{
    Ack, AckStatus, Action, ActionKind, Command, Force, Labels, Migrate, MigrateOn, Millis, Observed, Operation, OrchestrationId,
    Ran, Reload, Request, Said, Service, ServiceKind, ServiceSeen, ServiceVerb, ServicesRequest, Timings, UnitSeen,
};
use uuid::Uuid;

use crate::script::{Shell, options, user};
use crate::world::Host;

const ID: OrchestrationId = OrchestrationId(Uuid::from_u128(7));

/// A host with services that do as they are told, but for what goes wrong.
struct World {
    shell: Shell,
    run: u128,
    up: bool,
    healthy: bool,
    /// Restarted, it is not healthy.
    breaks: bool,
    /// And does not come back.
    stays_broken: bool,
    migration_fails: bool,
    /// It is cancelled while its old run is looked at.
    cancelled: bool,
    events: Vec<ServiceEvent>,
}

fn service(name: &str, dependencies: &[&str]) -> Service {
    Service {
        name: name.to_owned(),
        unit: format!("{name}.service"),
        kind: ServiceKind::Api,
        host: None,
        dependencies: dependencies.iter().map(|name| (*name).to_owned()).collect(),
        check: None,
        interval: Millis::secs(10),
        deploy: None,
        migrate: None,
        migrate_on: MigrateOn::First,
        reload: Reload::Never,
        timings: Timings { max_retry_attempts: 1, ..Timings::default() },
    }
}

impl World {
    fn new() -> Self {
        let mut shell = Shell::new(Config::default());
        let host = Host::new("web");
        let (id, name) = (host.id, host.name.clone());
        shell.hosts.push(host);
        let labels = Labels::new();
        shell.input(Input::Enrol { host: id, name: name.clone(), machine_id: name, public_key: "k".into(), labels });
        shell.input(Input::Approve { host: id, by: user() });
        let mut world = Self {
            shell,
            run: 1,
            up: true,
            healthy: true,
            breaks: false,
            stays_broken: false,
            migration_fails: false,
            cancelled: false,
            events: Vec::new(),
        };
        world.report();
        world
    }

    fn input(&mut self, input: Input) -> Reply {
        let turn = self.shell.engine.handle(input, self.shell.now);
        turn.facts.into_iter().for_each(|fact| self.shell.keep(fact));
        self.events.extend(turn.events);
        turn.reply
    }

    fn report(&mut self) {
        use ActionKind::{BackUp, Deploy, Inspect, Migrate, Restart, Restore, Revert, StopUnit, Watch};
        let host = &mut self.shell.hosts[0];
        let mut report = host.report(self.shell.now);
        report.actions.extend([Inspect, BackUp, Deploy, Migrate, Restart, Restore, Revert, StopUnit, Watch]);
        let host = host.id;
        self.input(Input::Reported { host, report: Box::new(report) });
    }

    fn request(&self, services: Vec<Service>, force: Option<Force>) -> Request {
        let services =
            ServicesRequest { services, only: [].into(), parallel: 1, keep_going: false, skip_migrations: false, deploy: None };
        Request {
            targets: vec![self.shell.hosts[0].id],
            operation: Operation::RestartServices,
            options: model::Options { shutdown_timeout: Millis(0), force, ..options() },
            rollout: None,
            run: None,
            wait: None,
            services: Some(Box::new(services)),
            by: user(),
        }
    }

    fn seen(&self) -> ServiceSeen {
        let state = if self.up && self.healthy { ("active", "running") } else { ("failed", "failed") };
        ServiceSeen::of(UnitSeen {
            load: "loaded".into(),
            active: state.0.into(),
            sub: state.1.into(),
            invocation: format!("{:032x}", self.run).parse().ok(),
            restarts: 0,
            result: "success".into(),
            can_reload: true,
            needs_daemon_reload: false,
            fragment: String::new(),
        })
    }

    fn answer(&mut self, command: &Command) {
        let Action::Service { verb, .. } = &command.action else { panic!("{command:?}") };
        let mut seen = self.seen();
        match verb {
            ServiceVerb::Restart { reload: true, .. } => seen.reloaded = true,
            ServiceVerb::Restart { .. } => {
                self.run += 1;
                self.healthy = !self.breaks;
                self.up = true;
                seen = self.seen();
                seen.unit.active = "active".into();
            }
            ServiceVerb::Stop { .. } => {
                self.up = false;
                seen = self.seen();
            }
            ServiceVerb::Restore { .. } => {
                self.run += 1;
                (self.up, self.healthy) = (true, !self.stays_broken);
                seen = self.seen();
            }
            _ => {}
        }
        let ran = Ran {
            exit: Some(i32::from(self.migration_fails)),
            timed_out: false,
            out: Said::default(),
            err: Said { tail: "no route to postgres://api:hunter2@db\n".into(), ..Said::default() },
        };
        let observed = match verb {
            ServiceVerb::Migrate { .. } => Observed::Ran(ran),
            _ => Observed::Service(Box::new(seen)),
        };
        let boot = self.shell.hosts[0].boot();
        let ack =
            |status, observed| Ack { command: command.id, status, error: None, boot, observed, already: false, report: None };
        let host = command.target;
        for status in [AckStatus::Accepted, AckStatus::ExecutionStarted] {
            self.input(Input::Acked { host, ack: Box::new(ack(status, None)) });
        }
        self.input(Input::Acked { host, ack: Box::new(ack(AckStatus::Completed, Some(observed))) });
    }

    /// Until it is over.
    fn play(&mut self, services: Vec<Service>, force: Option<Force>) -> Vec<ServiceEvent> {
        let request = self.request(services, force);
        let reply = self.input(Input::Submit { id: ID, request });
        assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
        for _ in 0..300 {
            if self.shell.engine.view(ID).is_some_and(|view| view.outcome.is_some()) {
                break;
            }
            if let Some(command) = self.shell.engine.wanted().first().cloned() {
                if std::mem::take(&mut self.cancelled) {
                    self.input(Input::Cancel { id: ID, by: user() });
                    continue;
                }
                self.answer(&command);
            }
            self.shell.now = self.shell.now + Millis::secs(2);
            self.report();
        }
        let outcome = self.shell.engine.view(ID).and_then(|view| view.outcome);
        assert!(outcome.is_some(), "it does not end");
        // The journal alone says the same.
        let journal = self.shell.all.iter().filter_map(|fact| match fact {
            Fact::Orchestration(_, record) if fact.journal() == JournalId::Orchestration(ID) => Some(record.clone()),
            _ => None,
        });
        let journal = journal.collect::<Vec<_>>();
        assert_eq!(service_events(ID, &journal).expect("an own journal"), self.events);
        self.events.clone()
    }
}

fn kinds(events: &[ServiceEvent]) -> Vec<(&str, EventKind)> {
    events.iter().map(|event| (event.service.as_str(), event.kind)).collect()
}

#[test]
fn s3_64_to_67_a_restart_tells_its_start_and_its_end() {
    let mut world = World::new();
    let events = world.play(vec![service("sso.api", &[]), service("web.api", &["sso.api"])], None);
    use EventKind::{ServiceRestartStart as Start, ServiceRestartSuccess as Success};
    assert_eq!(kinds(&events), [("sso.api", Start), ("sso.api", Success), ("web.api", Start), ("web.api", Success)]);
    let end = &events[1].metadata;
    assert_eq!(
        (end.method, end.outcome, end.unit.as_str()),
        (Some(Method::Restart), Some(Outcome::Completed), "sso.api.service")
    );
    assert!(end.invocation_before.is_some() && end.invocation_after.is_some() && end.invocation_before != end.invocation_after);
    assert_eq!(end.duration_ms, Some(events[1].timestamp.since(events[0].timestamp)));
    assert!(end.duration_ms > Some(Millis(0)));
    assert_eq!(end.event_id, format!("{ID}/0/SERVICE_RESTART_SUCCESS"));
    let line = serde_json::to_string(&events[0]).expect("JSON");
    let begin =
        format!("{{\"type\":\"SERVICE_RESTART_START\",\"serviceId\":\"sso.api\",\"timestamp\":\"{}\"", events[0].timestamp);
    assert!(line.starts_with(&begin) && line.contains("\"metadata\":{\"eventId\":"), "{line}");
}

#[test]
fn s3_67_one_that_is_not_healthy_before_has_failed_and_nothing_is_rolled_back() {
    let mut world = World::new();
    world.healthy = false;
    let events = world.play(vec![service("sso.api", &[]), service("web.api", &["sso.api"])], None);
    use EventKind::{ServiceRestartFailed as Failed, ServiceRestartStart as Start};
    assert_eq!(kinds(&events), [("sso.api", Start), ("sso.api", Failed)], "what never started tells nothing");
    assert!(events[1].metadata.reason.as_deref().is_some_and(|why| why.contains("not healthy before")));
    assert_eq!(events[1].metadata.method, None);
}

#[test]
fn s3_68_and_69_a_rollback_tells_its_start_and_that_it_worked() {
    let mut world = World::new();
    world.breaks = true;
    let force = Some(Force { reason: "it burns".into() });
    let events = world.play(vec![service("sso.api", &[])], force);
    use EventKind::{RollbackStart, RollbackSuccess, ServiceRestartFailed as Failed, ServiceRestartStart as Start};
    let all = [Start, RollbackStart, RollbackSuccess, Failed];
    assert_eq!(kinds(&events), all.map(|kind| ("sso.api", kind)), "the rollback has several steps, and one start");
    assert!(events.iter().all(|event| event.metadata.forced.as_deref() == Some("it burns")));
    assert!(events[3].metadata.reason.as_deref().is_some_and(|why| why.contains("rolled back")));
    let ids: std::collections::BTreeSet<_> = events.iter().map(|event| &event.metadata.event_id).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn s3_70_a_rollback_that_does_not_work_says_so() {
    let mut world = World::new();
    (world.breaks, world.stays_broken) = (true, true);
    let events = world.play(vec![service("sso.api", &[])], None);
    use EventKind::{RollbackFailed, RollbackStart, ServiceRestartFailed as Failed, ServiceRestartStart as Start};
    assert_eq!(kinds(&events), [Start, RollbackStart, RollbackFailed, Failed].map(|kind| ("sso.api", kind)));
    assert!(events[2].metadata.reason.as_deref().is_some_and(|why| why.contains("the rollback failed")));
}

#[test]
fn s3_67_one_that_is_cancelled_has_failed() {
    let mut world = World::new();
    world.cancelled = true;
    let events = world.play(vec![service("sso.api", &[])], None);
    use EventKind::{ServiceRestartFailed as Failed, ServiceRestartStart as Start};
    assert_eq!(kinds(&events), [("sso.api", Start), ("sso.api", Failed)]);
    assert_eq!(events[1].metadata.outcome, Some(Outcome::Cancelled));
}

#[test]
fn s3_64_what_a_migration_printed_is_told_to_nobody() {
    let mut world = World::new();
    world.migration_fails = true;
    let mut service = service("sso.api", &[]);
    service.migrate = Some(Migrate::Named { name: "sso".into() });
    let events = world.play(vec![service], None);
    let last = events.last().expect("an end");
    assert_eq!(last.kind, EventKind::ServiceRestartFailed);
    assert!(last.metadata.reason.as_deref().is_some_and(|why| why.contains("the migration failed: exit 1")), "{last:?}");
    assert!(!format!("{events:?}").contains("hunter2"), "{events:?}");
    let reason = world.shell.engine.tracks(ID)[0].reason.clone();
    assert!(reason.is_some_and(|why| why.contains("hunter2")), "the journal has all of it");
}

#[test]
fn s3_16_and_66_a_reload_is_told_as_one() {
    let mut world = World::new();
    let events = world.play(vec![Service { reload: Reload::Config, ..service("sso.api", &[]) }], None);
    assert_eq!(
        events.last().map(|event| (event.kind, event.metadata.method)),
        Some((EventKind::ServiceRestartSuccess, Some(Method::Reload)))
    );
}
