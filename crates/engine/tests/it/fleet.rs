//! Rollouts of many hosts: who starts when, and what stops them.

use std::collections::BTreeSet;

use engine::{CheckRule, Config, Entry, Fact, Input, LimitGroup, Outcome, Refusal, Reply, Why};
use model::{
    AckStatus, ActionKind, Amount, Approval, Check, CheckKind, CommandId, ErrorCode, Labels, Millis, Operation, OrchestrationId,
    Request, Rollout, RolloutOptions, TargetId, Timestamp,
};
use uuid::Uuid;

use crate::script::{Shell, options, user};
use crate::world::{Host, host_id};

pub(crate) const ID: OrchestrationId = OrchestrationId(Uuid::from_u128(100));
pub(crate) const RETRY: OrchestrationId = OrchestrationId(Uuid::from_u128(101));

/// What goes wrong with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ill {
    /// Its reboot is refused.
    Refuses,
    /// Nothing is heard of it once its reboot was commanded.
    Vanishes,
    /// Nothing is heard of it from the beginning.
    Silent,
    /// It comes back, and its check fails.
    Unhealthy,
}

pub(crate) struct World {
    pub(crate) shell: Shell,
    pub(crate) ill: Vec<(TargetId, Ill)>,
    pub(crate) vanished: BTreeSet<TargetId>,
    /// Commands to the controller itself: each is answered a step later than one to a host.
    pub(crate) late: BTreeSet<CommandId>,
}

pub(crate) fn name(number: usize) -> String {
    format!("host-{number:02}")
}

pub(crate) fn config() -> Config {
    let kind = CheckKind::Unit { unit: "app.service".into() };
    let mut config = Config { health_gate: Millis::secs(20), back_within: Millis::secs(120), ..Config::default() };
    config.checks.insert("app".into(), CheckRule { on: "*".parse().expect("a selector"), limit: Millis::secs(5), kind });
    config.rollout.soak = Millis::secs(10);
    config
}

/// A limit group of all hosts that the selector means.
pub(crate) fn group(name: &str, on: &str, most: u32) -> LimitGroup {
    LimitGroup {
        name: name.to_owned(),
        on: Some(on.parse().expect("a selector")),
        per: None,
        children: Vec::new(),
        max_unavailable: Amount::Count(most),
    }
}

pub(crate) fn said() -> RolloutOptions {
    RolloutOptions { checks: Some(vec!["app".into()]), ..RolloutOptions::default() }
}

impl World {
    pub(crate) fn of(hosts: usize, config: Config) -> Self {
        let mut shell = Shell::new(config);
        for number in 0..hosts {
            let host = Host::new(&name(number));
            let labels = Labels::from([("rack".to_owned(), format!("r{}", number % 2))]);
            let (id, name) = (host.id, host.name.clone());
            shell.hosts.push(host);
            shell.input(Input::Enrol { host: id, name: name.clone(), machine_id: name.clone(), public_key: "k".into(), labels });
            shell.input(Input::Approve { host: id, by: user() });
            shell.report(&name);
        }
        Self { shell, ill: Vec::new(), vanished: BTreeSet::new(), late: BTreeSet::new() }
    }

    pub(crate) fn falls_ill(&mut self, number: usize, ill: Ill) {
        let host = &mut self.shell.hosts[number];
        if ill == Ill::Unhealthy {
            host.failing.insert("app".into());
        }
        if ill == Ill::Silent {
            self.vanished.insert(host.id);
        }
        self.ill.push((host.id, ill));
    }

    /// It is there again, on another boot if its reboot happened after all.
    pub(crate) fn comes_back(&mut self, number: usize, rebooted: bool) {
        let host = &mut self.shell.hosts[number];
        if rebooted {
            host.reboot();
        }
        self.vanished.remove(&host.id);
        self.ill.retain(|(id, _)| *id != host.id);
    }

    /// A retry of all that did not end well.
    pub(crate) fn retry(&self, said: &RolloutOptions) -> Request {
        let mut request = self.request(said, Some(ID));
        let done = |o: Option<Outcome>| o == Some(Outcome::Completed);
        request.targets = self.shell.engine.tracks(ID).iter().filter(|t| !done(t.outcome)).map(|t| t.target).collect();
        request
    }

    pub(crate) fn request(&self, said: &RolloutOptions, retry_of: Option<OrchestrationId>) -> Request {
        let rollout: Rollout = self.shell.config.rollout_of(said, retry_of);
        let targets = self.shell.hosts.iter().map(|h| h.id).collect();
        Request {
            targets,
            operation: Operation::RollingReboot,
            options: options(),
            rollout: Some(rollout),
            run: None,
            wait: None,
            services: None,
            by: user(),
        }
    }

    pub(crate) fn submit(&mut self, said: &RolloutOptions) -> Reply {
        let request = self.request(said, None);
        self.shell.input(Input::Submit { id: ID, request })
    }

    /// Everybody reports, what is commanded is done, and two seconds pass.
    pub(crate) fn step(&mut self) {
        let alive: Vec<String> =
            self.shell.hosts.iter().filter(|h| !self.vanished.contains(&h.id)).map(|h| h.name.clone()).collect();
        alive.iter().for_each(|name| self.shell.report(name));
        for command in self.shell.engine.wanted() {
            let ill = self.ill.iter().find(|(id, _)| *id == command.target).map(|(_, ill)| *ill);
            let reboots = command.action.kind() == ActionKind::Reboot;
            if reboots && ill == Some(Ill::Vanishes) {
                self.vanished.insert(command.target);
            }
            if self.vanished.contains(&command.target) {
                continue;
            }
            let now = self.shell.now;
            let here = command.target == TargetId::CONTROLLER;
            if here && self.late.insert(command.id) {
                continue;
            }
            let host = self.shell.hosts.iter_mut().find(|h| h.id == command.target || here).expect("a host");
            let ack = if !reboots && now >= command.expires_at {
                host.answer(&command, AckStatus::Failed, Some(ErrorCode::Expired), now)
            } else if reboots && ill == Some(Ill::Refuses) {
                host.answer(&command, AckStatus::Failed, Some(ErrorCode::Refused), now)
            } else if command.action.expect_boot().is_some_and(|boot| boot != host.boot()) {
                // The claim is known: nothing is done again.
                let report = host.report(now);
                model::Ack { report: Some(report), ..host.answer(&probe_of(&command), AckStatus::Completed, None, now) }
            } else {
                host.answer(&command, AckStatus::Completed, None, now)
            };
            let ack = model::Ack { command: command.id, ..ack };
            self.shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
        }
        self.shell.wait(2);
    }

    /// Until nothing runs any more and nothing starts; at most some hours.
    pub(crate) fn rest(&mut self) {
        let mut quiet = 0;
        for _ in 0..4000 {
            let before = self.shell.all.len();
            self.step();
            quiet = if self.shell.all.len() == before { quiet + 1 } else { 0 };
            if quiet > 300 || self.shell.engine.open().count() == 0 {
                return;
            }
        }
    }

    pub(crate) fn outcome(&self, id: OrchestrationId) -> Option<Outcome> {
        self.shell.engine.view(id).and_then(|v| v.outcome)
    }

    /// In the order of their starts.
    pub(crate) fn started(&self) -> Vec<(Timestamp, u32)> {
        let started = |fact: &Fact| match fact {
            Fact::Orchestration(_, r) => match r.entry {
                Entry::TrackStarted { track } => Some((r.at, track)),
                _ => None,
            },
            Fact::Fleet(_) => None,
        };
        self.shell.all.iter().filter_map(started).collect()
    }

    pub(crate) fn why(&self, track: u32) -> Vec<Why> {
        self.shell.engine.explain_track(ID, track, self.shell.now).into_iter().map(|b| b.why).collect()
    }
}

fn probe_of(command: &model::Command) -> model::Command {
    model::Command { action: model::Action::Probe { checks: Vec::<Check>::new() }, ..command.clone() }
}

#[test]
fn g4_nothing_starts_after_the_failure_that_breaks_the_budget() {
    let budgets = [
        (Amount::Count(0), 0),
        (Amount::Count(1), 1),
        (Amount::Count(3), 3),
        (Amount::Percent(0), 0),
        (Amount::Percent(10), 1),
        (Amount::Percent(19), 1),
        (Amount::Percent(100), 10),
    ];
    for ill in [Ill::Refuses, Ill::Vanishes, Ill::Silent, Ill::Unhealthy] {
        for (budget, may_fail) in budgets {
            let mut world = World::of(10, config());
            (0..10).for_each(|number| world.falls_ill(number, ill));
            let canary = Some(Amount::Count(2));
            assert!(matches!(
                world.submit(&RolloutOptions { failure_budget: Some(budget), canary, ..said() }),
                Reply::Accepted { .. }
            ));
            world.rest();
            let view = world.shell.engine.view(ID).expect("it is known");
            let stops_at = (may_fail + 1).min(10);
            assert_eq!(view.failures, stops_at, "{ill:?}, budget {budget}: across waves, and not one more");
            let (begun, all) = (world.started().len(), stops_at as usize);
            // Of those that are not heard any more, the first were heard lately enough to be started.
            let fits = if ill == Ill::Silent { (1..=all.min(2)).contains(&begun) } else { begun == all };
            assert!(fits, "{ill:?}, budget {budget}: {begun} were begun");
            if may_fail < 10 {
                let paused = view.paused.expect("over its budget it is paused");
                assert_eq!(paused.by, model::Actor::System);
                assert!(paused.reason.contains("failure budget spent"), "{}", paused.reason);
                let last = world.why(9);
                assert!(last.iter().any(|w| matches!(w, Why::BudgetSpent { .. })), "{last:?}");
                assert!(last.iter().any(|w| matches!(w, Why::Paused { .. })), "{last:?}");
            } else {
                assert_eq!(view.outcome, Some(Outcome::Failed));
            }
        }
    }
}

#[test]
fn a_person_resumes_past_a_spent_budget_and_accepts_the_failures_so_far_and_no_more() {
    let mut world = World::of(6, config());
    world.submit(&said());
    // Whoever comes first and third in the order of the plan.
    let order: Vec<TargetId> = world.shell.engine.tracks(ID).iter().map(|t| t.target).collect();
    for ill in [order[0], order[2]] {
        let number = world.shell.hosts.iter().position(|h| h.id == ill).expect("a host");
        world.falls_ill(number, Ill::Refuses);
    }
    world.rest();
    assert_eq!(world.started().len(), 1);
    assert_eq!(world.shell.input(Input::Resume { id: ID, by: user() }), Reply::Noted);
    world.rest();
    assert_eq!(world.started().len(), 3, "one failure was accepted: it stops at the second");
    assert_eq!(world.shell.engine.view(ID).expect("known").budget, 1);
    assert_eq!(world.shell.input(Input::Resume { id: ID, by: user() }), Reply::Noted);
    assert_eq!(world.shell.input(Input::Resume { id: ID, by: user() }), Reply::Refused(Refusal::NothingToDo));
    world.rest();
    let view = world.shell.engine.view(ID).expect("known");
    assert_eq!((view.counts.completed, view.counts.failed, view.outcome), (4, 2, Some(Outcome::Failed)));
    assert!(view.error_message.expect("it names them").contains("failed: "));
}

#[test]
fn what_was_not_needed_or_was_held_by_a_person_spends_no_budget() {
    let mut world = World::of(4, config());
    for host in &mut world.shell.hosts {
        host.reboot_required = model::Readable::Known(None);
    }
    world.shell.hosts[3].reboot_required = model::Readable::Known(Some("kernel".into()));
    world.shell.input(Input::Hold { host: host_id(&name(0)), by: user(), reason: "spare parts".into() });
    world.submit(&RolloutOptions { only_if_required: Some(true), ..said() });
    world.rest();
    let view = world.shell.engine.view(ID).expect("known");
    assert_eq!((view.counts.not_needed, view.counts.skipped, view.counts.completed, view.failures), (2, 1, 1, 0));
    let held = world.shell.engine.tracks(ID).into_iter().find(|t| t.name == name(0)).expect("its track");
    assert!(held.reason.expect("a reason").contains("held by anna: spare parts"));
    let host = world.shell.engine.host(host_id(&name(0)), world.shell.now).expect("the host");
    assert!(host.held.is_some(), "a rollout never gives back what a person holds");
    assert_eq!(world.shell.hosts.iter().filter(|h| h.boot == 2).count(), 1);
}

#[test]
fn a_held_host_is_worked_on_by_force_and_stays_held() {
    let mut world = World::of(2, config());
    world.shell.input(Input::Hold { host: host_id(&name(0)), by: user(), reason: "mine".into() });
    let mut request = world.request(&said(), None);
    request.options.force = Some(model::Force { reason: "security".into() });
    world.shell.input(Input::Submit { id: ID, request });
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
    assert!(world.shell.engine.host(host_id(&name(0)), world.shell.now).expect("known").held.is_some());
    assert_eq!(world.shell.input(Input::Release { host: host_id(&name(0)), by: user() }), Reply::Noted);
}

#[test]
fn a_wave_waits_for_the_one_before_it_and_for_a_person() {
    let mut world = World::of(5, config());
    let said = RolloutOptions { canary: Some(Amount::Count(1)), approval: Some(Approval::AfterCanary), ..said() };
    world.submit(&RolloutOptions { concurrency: Some(Amount::Count(5)), ..said });
    assert_eq!(world.started().len(), 1, "the canary alone");
    assert_eq!(world.shell.input(Input::Agree { id: ID, by: user() }), Reply::Refused(Refusal::NothingToDo));
    assert_eq!(world.why(1)[0], Why::EarlierWave { wave: 0 });
    world.rest();
    assert_eq!(world.shell.engine.view(ID).expect("known").waits_for_approval, Some(1));
    assert_eq!(world.why(1), [Why::ApprovalWanted { wave: 1 }]);
    assert_eq!(world.shell.input(Input::Agree { id: ID, by: user() }), Reply::Noted);
    assert_eq!(world.started().len(), 5);
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

#[test]
fn g6_who_waits_for_a_person_is_cancelled_in_the_end() {
    let mut world = World::of(3, config());
    world.submit(&RolloutOptions { canary: Some(Amount::Count(1)), approval: Some(Approval::EachWave), ..said() });
    world.rest();
    let until = world.shell.engine.view(ID).expect("known").waits_until.expect("it waits");
    let ended = world.started()[0].0 + Millis::secs(72 * 3600);
    assert!(until >= ended && until <= ended + Millis::secs(3600), "72 h after the canary: {until}");
    world.shell.now = until - Millis(1);
    world.shell.input(Input::Tick);
    assert_eq!(world.outcome(ID), None);
    world.shell.now = until;
    world.shell.input(Input::Tick);
    assert_eq!(world.outcome(ID), Some(Outcome::Cancelled));
}

#[test]
fn nothing_starts_in_a_frozen_fleet_and_what_runs_goes_on() {
    let mut world = World::of(3, config());
    world.submit(&said());
    assert_eq!(world.started().len(), 1);
    while world.shell.engine.track(ID, 0).expect("its track").reboot_issued_at.is_none() {
        world.step();
    }
    world.shell.input(Input::Freeze { by: user(), reason: "incident".into() });
    world.rest();
    assert_eq!(world.started().len(), 1);
    assert_eq!(world.shell.engine.view(ID).expect("known").counts.completed, 1);
    let single =
        Request { targets: vec![host_id(&name(9))], operation: Operation::Reboot, rollout: None, ..world.request(&said(), None) };
    let reply = world.shell.input(Input::Submit { id: RETRY, request: single });
    assert!(
        matches!(&reply, Reply::Refused(Refusal::Blocked { blockers }) if matches!(blockers[0].why, Why::Frozen { .. })),
        "{reply:?}"
    );
    world.shell.input(Input::Thaw { by: user() });
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

#[test]
fn starts_keep_their_distance() {
    let mut world = World::of(4, config());
    let stagger = Some(Millis::secs(30));
    world.submit(&RolloutOptions { concurrency: Some(Amount::Count(4)), stagger, ..said() });
    world.rest();
    let starts = world.started();
    assert_eq!(starts.len(), 4);
    assert!(starts.windows(2).all(|w| w[1].0 == w[0].0 + Millis::secs(30)), "as soon as may be and no sooner: {starts:?}");
}

#[test]
fn a_paused_rollout_ends_what_runs_and_a_cancelled_one_takes_it_back() {
    let mut world = World::of(3, config());
    world.submit(&said());
    world.shell.input(Input::Pause { id: ID, by: user(), reason: "lunch".into() });
    world.rest();
    let view = world.shell.engine.view(ID).expect("known");
    assert_eq!((view.counts.completed, view.counts.waiting), (1, 2));
    world.shell.input(Input::Resume { id: ID, by: user() });
    world.shell.input(Input::Cancel { id: ID, by: user() });
    world.rest();
    let view = world.shell.engine.view(ID).expect("known");
    assert_eq!((view.counts.completed, view.counts.cancelled, view.outcome), (1, 2, Some(Outcome::Cancelled)));
    assert_eq!(world.shell.hosts.iter().filter(|h| h.boot == 2).count(), 1, "nothing was rebooted after the cancel");
}

#[test]
fn pain_1_a_removed_host_holds_nobody_up() {
    let mut world = World::of(3, config());
    world.submit(&said());
    let first = world.shell.engine.tracks(ID)[0].clone();
    assert_eq!(world.shell.engine.locks()[0].name.as_deref(), Some(first.name.as_str()));
    world.shell.input(Input::Remove { host: first.target, by: user() });
    assert!(world.shell.engine.locks().is_empty() && world.shell.engine.wanted().is_empty());
    let track = world.shell.engine.track(ID, 0).expect("its track");
    assert_eq!(track.outcome, Some(Outcome::Failed));
    assert!(track.reason.expect("a reason").contains("removed"));
    world.shell.hosts.retain(|h| h.id != first.target);
    world.shell.input(Input::Resume { id: ID, by: user() });
    world.rest();
    assert_eq!(world.shell.engine.view(ID).expect("known").counts.completed, 2);
}

#[test]
fn one_machine_under_two_names_is_refused() {
    let mut world = World::of(2, config());
    let twin = TargetId(Uuid::from_u128(77));
    let adopt = |address: &str| Input::Adopt {
        host: twin,
        name: "twin".into(),
        address: address.into(),
        labels: Labels::new(),
        by: user(),
    };
    world.shell.input(adopt("root@10.0.0.1"));
    let facts = world.shell.all.len();
    world.shell.input(adopt("root@10.0.0.1"));
    assert_eq!(world.shell.all.len(), facts, "saying it again changes nothing");
    let now = world.shell.now;
    let mut report = world.shell.hosts[0].report(now);
    report.instance = model::InstanceId(Uuid::from_u128(4711));
    world.shell.input(Input::Reported { host: twin, report: Box::new(report) });
    let mut request = world.request(&said(), None);
    request.targets.push(twin);
    let Reply::Refused(Refusal::TargetsBlocked { targets }) = world.shell.input(Input::Submit { id: ID, request }) else {
        panic!("it must be refused")
    };
    let names: BTreeSet<&str> = targets.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["host-00", "twin"]), "both, since nobody knows which name is right");
}

#[test]
fn s2_a_slot_taken_from_outside_counts_in_its_limit_group() {
    let mut config = config();
    config.limit_groups.push(group("web", "*", 1));
    let mut world = World::of(3, config);
    let take = |holder: &str| Input::TakeSlot { group: "web".into(), holder: holder.into(), by: user() };
    assert_eq!(world.shell.input(take("zincati-1")), Reply::Noted);
    assert_eq!(world.shell.input(take("zincati-1")), Reply::Noted, "whoever has it gets it again");
    assert!(matches!(world.shell.input(take("zincati-2")), Reply::Refused(Refusal::Blocked { .. })));
    let unknown = Input::TakeSlot { group: "none".into(), holder: "x".into(), by: user() };
    assert!(matches!(world.shell.input(unknown), Reply::Refused(Refusal::UnknownGroup { .. })));
    world.submit(&said());
    assert!(world.started().is_empty());
    assert!(matches!(world.why(0)[0], Why::LimitGroup { unavailable: 1, adds: 1, limit: 1, .. }));
    world.shell.input(Input::GiveSlot { group: "web".into(), holder: "zincati-1".into(), by: user() });
    assert_eq!(world.started().len(), 1);
    assert!(matches!(world.shell.input(take("zincati-2")), Reply::Refused(Refusal::Blocked { .. })), "and the other way round");
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

#[test]
fn a_retry_takes_what_a_spent_budget_left_and_reboots_nobody_twice() {
    let mut world = World::of(6, config());
    world.submit(&said());
    let second = world.shell.engine.tracks(ID)[1].target;
    let number = world.shell.hosts.iter().position(|h| h.id == second).expect("a host");
    world.falls_ill(number, Ill::Unhealthy);
    world.rest();
    assert_eq!(world.started().len(), 2);
    // The repair; then all that is not done is taken up.
    world.shell.hosts[number].failing.clear();
    world.step();
    let done = |o: Option<Outcome>| o == Some(Outcome::Completed);
    let mut request = world.request(&said(), Some(ID));
    request.targets = world.shell.engine.tracks(ID).iter().filter(|t| !done(t.outcome)).map(|t| t.target).collect();
    assert_eq!(request.targets.len(), 5);
    let preview = world.shell.engine.preview(&request, world.shell.now).expect("it can be planned");
    let first = &preview.waves[0].tracks[0];
    assert!(first.target == second && first.takes_up, "what was left undone comes first");
    let reply = world.shell.input(Input::Submit { id: RETRY, request });
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    assert_eq!(world.outcome(ID), Some(Outcome::Failed), "what it had not started went over to the retry");
    world.rest();
    assert_eq!(world.outcome(RETRY), Some(Outcome::Completed), "{:?}", world.shell.engine.view(RETRY));
    assert!(world.shell.hosts.iter().all(|h| h.boot == 2), "each was rebooted once");
}

#[test]
fn a_canary_that_proves_nothing_opens_no_gate() {
    // Nobody of the canary needs a reboot: as many as it was to have go first all the same.
    let mut world = World::of(6, config());
    for host in &mut world.shell.hosts {
        host.reboot_required = model::Readable::Known(Some("kernel".into()));
    }
    let first = world.shell.hosts.iter().position(|h| h.name == name(0)).expect("a host");
    world.shell.hosts[first].reboot_required = model::Readable::Known(None);
    let said = RolloutOptions {
        canary: Some(Amount::Count(1)),
        concurrency: Some(Amount::Count(6)),
        only_if_required: Some(true),
        ..said()
    };
    world.submit(&said);
    while world.started().len() < 2 {
        world.step();
    }
    world.step();
    assert_eq!(world.started().len(), 2, "one after the canary that was not needed");
    world.rest();
    let starts = world.started();
    assert!(starts[2].0 > starts[1].0 && starts[5].0 == starts[2].0, "then all others at once: {starts:?}");
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
    // Nine of ten may fail; of a canary of three 30 %, which is none.
    let mut world = World::of(10, config());
    let said = RolloutOptions {
        canary: Some(Amount::Count(3)),
        failure_budget: Some(Amount::Percent(90)),
        canary_failure_budget: Some(Amount::Percent(30)),
        ..crate::fleet::said()
    };
    world.submit(&said);
    let target = world.shell.engine.tracks(ID)[1].target;
    let number = world.shell.hosts.iter().position(|h| h.id == target).expect("a host");
    world.falls_ill(number, Ill::Refuses);
    world.rest();
    let view = world.shell.engine.view(ID).expect("known");
    assert!(view.paused.expect("paused").reason.contains("1 failed, 0 may fail"));
    world.shell.input(Input::Resume { id: ID, by: user() });
    world.rest();
    assert_eq!(world.shell.engine.view(ID).expect("known").counts.completed, 9, "a person accepted it");
}
