//! Health checks of a fleet: they change nothing, and nothing but work on the host itself keeps them back.

use engine::{CheckRule, Input, Outcome, Refusal, Reply, Why};
use model::{Amount, CheckKind, ChildStatus, Millis, Operation, OrchestrationId, Request, RolloutOptions};

use crate::fleet::{ID, Ill, RETRY, World, config, group, said};
use crate::script::user;

fn check(world: &World, wait: Option<Millis>) -> Request {
    let said = RolloutOptions {
        canary: Some(Amount::Count(0)),
        concurrency: Some(Amount::Percent(100)),
        failure_budget: Some(Amount::Percent(100)),
        soak: Some(Millis(0)),
        ..said()
    };
    Request { operation: Operation::HealthCheck, wait, ..world.request(&said, None) }
}

fn submit(world: &mut World, wait: Option<Millis>) {
    let request = check(world, wait);
    let reply = world.shell.input(Input::Submit { id: ID, request });
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
}

fn outcomes(world: &World) -> Vec<Option<Outcome>> {
    world.shell.engine.tracks(ID).into_iter().map(|t| t.outcome).collect()
}

/// S2-12, S2-21: all at once, with nobody rebooted and nothing stopped; who is not well is named with what it failed.
#[test]
fn s2_12_a_health_check_asks_all_hosts_at_once_and_changes_nothing() {
    let mut world = World::of(4, config());
    world.shell.hosts[2].failing.insert("app".into());
    world.shell.hosts[1].set("db", ChildStatus::Running);
    world.step();
    let asked = world.shell.now;
    submit(&mut world, None);
    assert_eq!(world.started().len(), 4, "all at once");
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Failed));
    let track = world.shell.engine.tracks(ID).into_iter().find(|t| t.target == world.shell.hosts[2].id).expect("its track");
    let reason = track.reason.expect("why");
    assert!(reason.starts_with("not healthy: ") && reason.contains("app"), "{reason}");
    let good = outcomes(&world).iter().filter(|o| **o == Some(Outcome::Completed)).count();
    assert_eq!(good, 3);
    let ended = world.shell.engine.view(ID).expect("known").ended_at.expect("over");
    assert!(ended.since(asked) < Millis::secs(10), "asked once: {} later", ended.since(asked));
    assert!(world.shell.hosts.iter().all(|h| h.boot == 1) && world.shell.engine.locks().is_empty());
}

/// S2-14: with a limit, what does not pass is asked again until it passes or the limit is over.
#[test]
fn s2_14_with_a_limit_a_health_check_asks_again() {
    for heals in [true, false] {
        let mut world = World::of(2, config());
        world.shell.hosts[0].failing.insert("app".into());
        world.step();
        let asked = world.shell.now;
        submit(&mut world, Some(Millis::secs(60)));
        while world.shell.now < asked + Millis::secs(30) {
            world.step();
        }
        assert_eq!(world.outcome(ID), None, "it is asked on");
        if heals {
            world.shell.hosts[0].failing.clear();
        }
        world.rest();
        let told: Vec<_> = world.shell.engine.tracks(ID).into_iter().map(|t| (t.outcome, t.reason)).collect();
        assert_eq!(world.outcome(ID), Some(if heals { Outcome::Completed } else { Outcome::Failed }), "{told:?}");
        let took = world.shell.engine.view(ID).expect("known").ended_at.expect("over").since(asked);
        assert!(took >= Millis::secs(30) && took < Millis::secs(80), "{took}");
    }
}

/// G5 is for what goes down: freeze, marks, lockout and limit groups keep nobody from being asked. Work on the host does.
#[test]
fn a_health_check_waits_for_work_on_its_host_and_for_nothing_else() {
    let mut config = config();
    config.limit_groups.push(group("web", "*", 0));
    let mut world = World::of(2, config);
    world.step();
    world.shell.input(Input::Freeze { by: user(), reason: "launch".into() });
    world.shell.input(Input::Hold { host: world.shell.hosts[0].id, by: user(), reason: "disk".into() });
    submit(&mut world, None);
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));

    let mut world = World::of(2, crate::fleet::config());
    world.step();
    let request = world.request(&said(), None);
    world.shell.input(Input::Submit { id: RETRY, request });
    submit(&mut world, None);
    let busy = world.shell.engine.tracks(RETRY)[0].target;
    let of = |world: &World| world.shell.engine.tracks(ID).into_iter().position(|t| t.target == busy).expect("its track");
    let track = u32::try_from(of(&world)).expect("few");
    let why = world.shell.engine.explain_track(ID, track, world.shell.now);
    assert!(why.iter().any(|b| matches!(b.why, Why::Locked { .. })), "{why:?}");
    world.rest();
    assert_eq!((world.outcome(ID), world.outcome(RETRY)), (Some(Outcome::Completed), Some(Outcome::Completed)));
}

/// What the controller asks itself (http, tcp) answers apart from the host, and later.
#[test]
fn a_health_check_waits_for_all_of_its_answers() {
    for passes in [true, false] {
        let mut config = config();
        let kind = CheckKind::Tcp { address: "127.0.0.1:1".into() };
        config.checks.insert("port".into(), CheckRule { on: "*".parse().expect("a selector"), limit: Millis::secs(5), kind });
        let mut world = World::of(2, config);
        world.step();
        if !passes {
            world.shell.hosts[0].failing.insert("port".into());
        }
        let mut request = check(&world, None);
        let rollout = request.rollout.as_mut().expect("a rollout");
        rollout.checks = vec!["app".into(), "port".into()];
        world.shell.input(Input::Submit { id: ID, request });
        world.rest();
        let tracks = world.shell.engine.tracks(ID);
        assert!(!world.late.is_empty(), "the controller was asked");
        let wanted = if passes { Outcome::Completed } else { Outcome::Failed };
        assert!(tracks.iter().all(|t| t.outcome == Some(wanted)), "{tracks:?}");
    }
}

/// Its lock is no work: while it waits for one that is not well, others are rebooted, and limit groups count only what is down.
#[test]
fn g1_a_host_that_is_only_asked_counts_nowhere_as_worked_on() {
    let mut config = config();
    config.limit_groups.push(group("web", "*", 1));
    let mut world = World::of(3, config);
    world.shell.hosts[2].failing.insert("app".into());
    world.step();
    submit(&mut world, Some(Millis::secs(3600)));
    world.step();
    world.step();
    assert_eq!(world.shell.engine.locks().len(), 1, "it waits for one of them");
    let mut request = world.request(&said(), None);
    request.targets.truncate(2);
    let reply = world.shell.input(Input::Submit { id: RETRY, request });
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    let take = |holder: &str| Input::TakeSlot { group: "web".into(), holder: holder.into(), by: user() };
    let begun = world.shell.now;
    while world.outcome(RETRY).is_none() && world.shell.now < begun + Millis::secs(1800) {
        world.step();
    }
    assert_eq!((world.outcome(RETRY), world.outcome(ID)), (Some(Outcome::Completed), None));
    assert_eq!(world.shell.input(take("outside")), Reply::Noted, "and there is room for others");
    // A rollout of the host itself is accepted, and its turn comes when the health check lets go of it.
    world.shell.input(Input::GiveSlot { group: "web".into(), holder: "outside".into(), by: user() });
    let mut request = world.request(&said(), None);
    request.targets = vec![world.shell.hosts[2].id];
    let other = OrchestrationId(uuid::Uuid::from_u128(77));
    let reply = world.shell.input(Input::Submit { id: other, request });
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    world.shell.input(Input::Cancel { id: ID, by: user() });
    world.shell.hosts[2].failing.clear();
    world.rest();
    assert_eq!((world.outcome(ID), world.outcome(other)), (Some(Outcome::Cancelled), Some(Outcome::Completed)));
}

/// What is green for want of checks says so; one that is away for a while is waited for as long as was said.
#[test]
fn a_health_check_without_checks_says_so_and_one_that_waits_waits_for_who_is_away() {
    let mut world = World::of(1, config());
    world.step();
    let mut request = check(&world, None);
    request.rollout.as_mut().expect("a rollout").checks.clear();
    world.shell.input(Input::Submit { id: ID, request });
    world.rest();
    let track = &world.shell.engine.tracks(ID)[0];
    assert!(
        track.outcome == Some(Outcome::Completed) && track.reason.as_deref().is_some_and(|r| r.contains("no check")),
        "{track:?}"
    );

    let mut world = World::of(1, config());
    world.step();
    world.falls_ill(0, Ill::Silent);
    let begun = world.shell.now;
    submit(&mut world, Some(Millis::secs(600)));
    while world.shell.now < begun + Millis::secs(300) {
        world.step();
    }
    assert_eq!(world.outcome(ID), None, "it may be on its way back");
    world.comes_back(0, true);
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

/// Who is silent is not well, and is told within the limit for silence; one that is away hides nobody.
#[test]
fn a_host_that_is_silent_fails_its_health_check() {
    let mut world = World::of(3, config());
    world.step();
    world.falls_ill(1, Ill::Silent);
    submit(&mut world, None);
    world.rest();
    let bad = world.shell.engine.tracks(ID).into_iter().filter(|t| t.outcome != Some(Outcome::Completed)).collect::<Vec<_>>();
    assert_eq!(bad.len(), 1);
    assert_eq!(bad[0].target, world.shell.hosts[1].id);
}

/// Bad input: a limit beyond what anybody waits, and a check that there is not.
#[test]
fn a_health_check_that_makes_no_sense_is_refused_with_the_reason() {
    let mut world = World::of(1, config());
    for wait in [Millis(0), Millis::secs(100 * 3600)] {
        let request = check(&world, Some(wait));
        let reply = world.shell.input(Input::Submit { id: ID, request });
        let Reply::Refused(Refusal::BadPlan { reason }) = reply else { panic!("{reply:?}") };
        assert!(reason.contains("asked again for 1ms to"), "{reason}");
    }
}
