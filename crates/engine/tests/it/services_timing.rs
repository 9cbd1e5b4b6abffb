//! S3's table of timings, in virtual time: what services and tools take by themselves is the table's, what comes of it is ours.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Entry, Fact, Outcome};
use model::{Action, ActionKind, Command, CommandId, Direction, Millis, ServiceKind, Timestamp, Timings};

use crate::service_world::{FIRST, Services, Sick};

/// What one service takes by itself.
#[derive(Clone, Copy, Debug)]
struct Takes {
    look: Millis,
    back_up: Millis,
    deploy: Millis,
    migrate: Millis,
    restart: Millis,
}

/// The lower ends of the table, and the upper ones.
const LEAST: Takes =
    Takes { look: Millis(2_000), back_up: Millis(100), deploy: Millis(5_000), migrate: Millis(1_000), restart: Millis(2_000) };
const MOST: Takes = Takes { deploy: Millis(30_000), migrate: Millis(60_000), restart: Millis(5_000), ..LEAST };

/// A host on which everything takes what it takes, and time goes from one event to the next.
struct Clockwork {
    world: Services,
    takes: BTreeMap<String, Takes>,
    /// After its restart a service is healthy only at this look, and one that is not answers at once.
    healthy_at: u32,
    looks: BTreeMap<String, u32>,
    known: BTreeSet<CommandId>,
    due: Vec<(Timestamp, Command)>,
}

impl Clockwork {
    /// `NAME [needs=A,B] [deploys] [migrates]`, each with what it takes.
    fn of(services: &[(&str, Takes)]) -> Self {
        let text: Vec<&str> = services.iter().map(|(line, _)| *line).collect();
        let mut world = Services::of("box", &text.join("\n"));
        for service in &mut world.services {
            service.timings = Timings::default();
            service.kind = ServiceKind::Api;
        }
        let takes = world.services.iter().zip(services).map(|(service, (_, takes))| (service.unit.clone(), *takes)).collect();
        let (looks, known, due) = Default::default();
        Self { world, takes, healthy_at: 1, looks, known, due }
    }

    fn take(&mut self) {
        let now = self.world.shell.now;
        for command in self.world.shell.engine.wanted() {
            if !self.known.insert(command.id) {
                continue;
            }
            let takes = match &command.action {
                Action::Service { unit, .. } => self.takes[unit],
                _ => LEAST,
            };
            let sick = self.world.units.values().any(|unit| unit.sick != Sick::Never && unit.invocation > 1);
            let time = match command.action.kind() {
                ActionKind::Inspect if sick => Millis(0),
                ActionKind::Inspect => takes.look,
                ActionKind::BackUp => takes.back_up,
                ActionKind::Deploy => takes.deploy,
                ActionKind::Migrate => takes.migrate,
                ActionKind::Restart => takes.restart,
                // The world holds its answer back until the soak is over.
                ActionKind::Watch => {
                    assert!(self.world.answer(&command).is_none(), "a soak is not over when it begins");
                    Timings::default().stabilization_period
                }
                _ => Millis(0),
            };
            self.due.push((now + time, command));
        }
    }

    fn answer(&mut self, command: &Command) {
        if let Action::Service { unit, .. } = &command.action
            && command.action.kind() == ActionKind::Inspect
            && let Some(of) = self.world.units.get_mut(&(command.target, unit.clone()))
            && of.invocation > 1
        {
            let looks = self.looks.entry(unit.clone()).or_default();
            *looks += 1;
            of.sick = if *looks < self.healthy_at { Sick::Restarted } else { Sick::Never };
        }
        let ack = self.world.answer(command).expect("an answer in its time");
        self.world.shell.input(engine::Input::Acked { host: command.target, ack: Box::new(ack) });
    }

    /// To its end.
    fn run(mut self, words: &str) -> Ran {
        if self.healthy_at > 1 {
            self.world.units.values_mut().for_each(|unit| unit.sick = Sick::Restarted);
        }
        self.world.accepted(words);
        let heartbeat = Millis::secs(20);
        let mut report_at = self.world.shell.now + heartbeat;
        while self.world.shell.engine.open().count() > 0 {
            self.take();
            let shell = &mut self.world.shell;
            let timer = shell.engine.poll_timeout();
            let next = self.due.iter().map(|(at, _)| *at).chain(timer).chain([report_at]).min().expect("a report is due");
            shell.now = shell.now.max(next);
            if shell.now >= report_at {
                shell.report("box");
                report_at = shell.now + heartbeat;
            }
            if timer.is_some_and(|at| at <= shell.now) {
                shell.input(engine::Input::Tick);
            }
            let now = shell.now;
            let over: Vec<Command> = self.due.extract_if(.., |(at, _)| *at <= now).map(|(_, command)| command).collect();
            over.iter().for_each(|command| self.answer(command));
        }
        assert_eq!(self.world.outcome(FIRST), Some(Outcome::Completed));
        Ran(self.world)
    }
}

/// What came of it.
struct Ran(Services);

impl Ran {
    /// How long each step of a track took, with what it does.
    fn steps(&self, track: u32) -> Vec<(ActionKind, Millis)> {
        let mut started = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        let mut steps = Vec::new();
        let records = self.0.shell.all.iter().filter_map(|fact| match fact {
            Fact::Orchestration(FIRST, record) => Some(record),
            _ => None,
        });
        for record in records {
            match &record.entry {
                Entry::StepStarted { place, .. } if place.track == track && place.direction == Direction::Do => {
                    started.insert(place.step, record.at);
                }
                Entry::CommandIssued { place, command } if place.track == track => {
                    kinds.insert(place.step, command.action.kind());
                }
                Entry::StepEnded { place } if place.track == track => {
                    steps.push((kinds[&place.step], record.at.since(started[&place.step])));
                }
                _ => {}
            }
        }
        steps
    }

    /// From the start of a track to its end.
    fn track(&self, name: &str) -> Millis {
        let track = self.0.track(name);
        track.ended_at.expect("it is over").since(track.started_at.expect("it began"))
    }

    /// From the first start of these to their last end; of all when none is named.
    fn span(&self, names: &[&str]) -> Millis {
        let tracks = self.0.shell.engine.tracks(FIRST);
        let of = || tracks.iter().filter(|track| names.is_empty() || names.contains(&track.name.as_str()));
        let first = of().filter_map(|track| track.started_at).min().expect("one began");
        of().filter_map(|track| track.ended_at).max().expect("one is over").since(first)
    }
}

fn within(time: Millis, least: u64, most: u64, what: &str) {
    assert!(time >= Millis(least) && time <= Millis(most), "{what}: {time}, and not {} to {}", Millis(least), Millis(most));
}

#[test]
fn s3_115_to_122_each_step_and_the_whole_take_what_the_table_says() {
    use ActionKind::{BackUp, Deploy, Inspect, Migrate, Restart, Watch};
    for (takes, healthy_at) in [(LEAST, 1), (MOST, 1), (LEAST, 3), (MOST, 3)] {
        let mut clockwork = Clockwork::of(&[("api deploys migrates", takes)]);
        clockwork.healthy_at = healthy_at;
        let (request, now) = (clockwork.world.request("deploy"), clockwork.world.shell.now);
        let told = clockwork.world.shell.engine.preview(&request, now).expect("a plan").waves[0].tracks[0].clone();
        assert_eq!((told.expected, told.expected_most), (Millis(42_100), Millis(139_100)), "the dry run tells the table's");
        let ran = clockwork.run("deploy");
        let steps = ran.steps(0);
        let kinds: Vec<ActionKind> = steps.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Inspect, BackUp, Deploy, Migrate, Restart, Inspect, Watch, Inspect]);
        let bounds = [
            ("the look before", 2_000, 15_000),
            ("the backup", 100, 100),
            ("the deploy", 5_000, 30_000),
            ("the migration", 1_000, 60_000),
            ("the restart", 2_000, 5_000),
            ("the look after", 2_000, 15_000),
            ("the soak", 30_000, 30_000),
        ];
        for ((what, least, most), (_, took)) in bounds.into_iter().zip(&steps) {
            within(*took, least, most, what);
        }
        within(ran.track("api"), 42_000, 140_000, "the whole");
        within(ran.track("api"), told.expected.0, told.expected_most.0, "what people were told");
        // Nothing passes between two steps.
        assert_eq!(ran.track("api"), Millis(steps.iter().map(|(_, took)| took.0).sum()));
    }
}

#[test]
fn s3_115_s3_120_a_check_that_never_gets_well_ends_within_its_attempts_and_delays() {
    let mut world = Services::of("box", "api");
    world.services[0].timings = Timings::default();
    world.unit("api").sick = Sick::Always;
    world.accepted("");
    let begun = world.shell.now;
    let timings = Timings::default();
    let most = Millis(timings.retry_delay.0 * u64::from(timings.max_retry_attempts));
    assert_eq!(most, Millis::secs(15));
    while world.outcome(FIRST).is_none() {
        world.step();
        assert!(world.shell.now.since(begun) <= most, "it is still at it");
    }
    assert_eq!(world.outcome(FIRST), Some(Outcome::Failed));
}

/// S3's platform in its groups, each service with what it needs.
const PLATFORM: [(&str, &[&str]); 4] = [
    ("infrastructure", &["sso-postgresql", "sso-redis", "minio", "rabbitmq", "opensearch", "clickhouse needs=minio"]),
    (
        "core APIs",
        &[
            "sso needs=sso-postgresql,sso-redis deploys migrates",
            "merchant needs=sso deploys migrates",
            "profile needs=sso,minio deploys migrates",
            "analytics needs=sso,clickhouse,rabbitmq deploys migrates",
        ],
    ),
    (
        "ML",
        &[
            "seo-ml needs=opensearch,minio deploys",
            "cot needs=minio,sso-redis deploys",
            "rag needs=opensearch,cot deploys",
            "classifier needs=minio,rabbitmq deploys",
            "imajin needs=minio,rabbitmq deploys",
        ],
    ),
    (
        "feature APIs",
        &[
            "landing needs=sso,analytics deploys migrates",
            "marketplace needs=sso,merchant,profile deploys migrates",
            "seo needs=sso,seo-ml deploys migrates",
            "admin needs=sso,merchant,profile,analytics deploys migrates",
        ],
    ),
];

/// S3's minutes for each of its groups, and what a service of it takes: inside the bounds of S3's other table.
const GROUPS: [(u64, Takes); 4] = [
    (5, Takes { restart: Millis(5_000), ..LEAST }),
    (6, Takes { deploy: Millis(25_000), migrate: Millis(15_000), restart: Millis(4_000), ..LEAST }),
    (10, Takes { deploy: Millis(30_000), restart: Millis(5_000), ..LEAST }),
    (6, Takes { deploy: Millis(20_000), migrate: Millis(20_000), restart: Millis(4_000), ..LEAST }),
];

fn name(line: &str) -> &str {
    line.split(' ').next().expect("a name")
}

fn platform() -> Vec<(&'static str, Takes)> {
    let groups = PLATFORM.iter().zip(GROUPS);
    groups.flat_map(|((_, lines), (_, takes))| lines.iter().map(move |line| (*line, takes))).collect()
}

/// What the service takes, its looks, its soak and its last look included.
fn whole(line: &str, takes: &Takes) -> Millis {
    let only = |word: &str, time: Millis| if line.contains(word) { time.0 } else { 0 };
    let soak = Timings::default().stabilization_period.0;
    let tools = takes.back_up.0 + only(" deploys", takes.deploy) + only(" migrates", takes.migrate) + takes.restart.0;
    Millis(3 * takes.look.0 + tools + soak)
}

#[test]
fn s3_123_to_127_the_platform_takes_no_longer_than_the_table_says_and_in_parallel_its_longest_chain() {
    let services = platform();
    assert_eq!(services.len(), 19);
    let ran = Clockwork::of(&services).run("deploy");
    let mut groups = Millis(0);
    for ((group, lines), (minutes, _)) in PLATFORM.iter().zip(GROUPS) {
        let took = Millis(lines.iter().map(|line| ran.track(name(line)).0).sum());
        assert!(took <= Millis::secs(60 * minutes), "{group}: {took}, and S3 says about {minutes} min");
        groups = Millis(groups.0 + took.0);
    }
    // One after the other, and nothing passes between two of them.
    let sum = Millis(services.iter().map(|(line, takes)| whole(line, takes).0).sum());
    assert_eq!((ran.span(&[]), groups), (sum, sum));
    assert!(sum <= Millis::secs(60 * 28), "{sum}");
    let parallel = Clockwork::of(&services).run("deploy parallel=0");
    let mut chains: BTreeMap<&str, Millis> = BTreeMap::new();
    for (line, takes) in &services {
        let needs = line.split(' ').find_map(|word| word.strip_prefix("needs=")).unwrap_or_default();
        let before = needs.split(',').filter_map(|name| chains.get(name)).max().copied().unwrap_or_default();
        chains.insert(name(line), Millis(before.0 + whole(line, takes).0));
    }
    let longest = chains.values().max().copied().expect("a chain");
    assert_eq!(parallel.span(&[]), longest);
    assert!(longest.0 * 3 < sum.0, "{longest} beside {sum}");
}
