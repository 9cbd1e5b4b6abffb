//! Hosts that come back late, fall silent for a moment, or stand on one another.

use engine::{Fact, FleetEntry, Input, LimitGroup, Outcome, Reply, Why};
use model::{Amount, ChildStatus, Drain, Millis, RolloutOptions, TargetId, Timestamp};

use crate::fleet::{ID, Ill, RETRY, World, config, name, said};
use crate::script::user;

/// The number of the host whose turn comes first.
fn first(world: &World) -> usize {
    let target = world.shell.engine.tracks(ID)[0].target;
    world.shell.hosts.iter().position(|h| h.id == target).expect("a host")
}

fn with_a_drain() -> engine::Config {
    let mut config = config();
    let drain = Drain::Units { units: vec!["app.service".into()] };
    config.drains.insert("app".into(), engine::DrainRule { on: "*".parse().expect("a selector"), drain });
    config
}

/// Reboots that were ordered of a host.
fn ordered(world: &World, host: TargetId) -> usize {
    let is = |fact: &&Fact| matches!(fact, Fact::Fleet(r) if matches!(r.entry, FleetEntry::BootEndCommanded { host: of, .. } if of == host));
    world.shell.all.iter().filter(is).count()
}

/// Finding of a review: stranded at its deadline, back on another boot without a word, and rebooted once more by the retry.
#[test]
fn a_host_that_comes_back_late_is_not_rebooted_again_by_a_retry() {
    for drained in [false, true] {
        for back in ["before the retry", "while the retry waits", "not at all", "on the same boot"] {
            let told = format!("drained: {drained}, back {back}");
            let mut world = World::of(3, if drained { with_a_drain() } else { config() });
            for host in &mut world.shell.hosts {
                host.items.insert("app.service".into(), ("active".into(), true));
            }
            world.submit(&said());
            let number = first(&world);
            let host = world.shell.hosts[number].id;
            world.falls_ill(number, Ill::Vanishes);
            world.rest();
            assert_eq!(world.shell.engine.track(ID, 0).expect("its track").outcome, Some(Outcome::Failed), "{told}");
            if back == "before the retry" {
                world.comes_back(number, true);
                world.step();
            }
            if back == "on the same boot" {
                world.comes_back(number, false);
                world.step();
            }
            let request = world.retry(&said());
            let late = back == "while the retry waits";
            let reply = world.shell.input(Input::Submit { id: RETRY, request });
            assert!(matches!(reply, Reply::Accepted { .. }), "{told}: {reply:?}");
            if late {
                world.step();
                assert!(world.shell.engine.track(RETRY, 0).expect("its track").started_at.is_none(), "{told}: it is away");
                world.comes_back(number, true);
            }
            world.rest();
            let track = world.shell.engine.tracks(RETRY).into_iter().find(|t| t.target == host).expect("its track");
            let done = matches!(back, "before the retry" | "while the retry waits");
            assert_eq!(track.outcome == Some(Outcome::Completed), done, "{told}: {track:?}");
            assert_eq!(ordered(&world, host), 1, "{told}: its reboot was ordered once");
            assert_eq!(world.shell.hosts[number].boot, if done { 2 } else { 1 }, "{told}");
            let in_service = world.shell.hosts[number].items["app.service"].1;
            assert_eq!(in_service, done || !drained, "{told}: put back as it was");
            let view = world.shell.engine.host(host, world.shell.now).expect("known");
            assert_eq!(view.stranded.is_none(), done, "{told}: {:?}", view.stranded);
        }
    }
}

/// G5: what only finishes an earlier orchestration ends nobody's boot; windows, freeze and pace do not hold it back.
#[test]
fn g5_the_second_half_of_a_rollout_waits_for_no_window_freeze_or_pace() {
    let mut config = config();
    config.windows.insert("never".into(), toml::from_str("kind = \"allow\"\ncron = \"0 0 29 feb *\"\nlasts = \"1m\"").expect("a window"));
    let mut world = World::of(3, config);
    world.submit(&said());
    let number = first(&world);
    let host = world.shell.hosts[number].id;
    world.falls_ill(number, Ill::Unhealthy);
    world.rest();
    world.shell.hosts[number].failing.clear();
    world.step();
    world.shell.input(Input::Freeze { by: user(), reason: "launch".into() });
    let slow = RolloutOptions {
        windows: vec!["never".into()],
        stagger: Some(Millis::secs(3600)),
        jitter: Some(Millis::secs(3600)),
        ..said()
    };
    let request = world.retry(&slow);
    let preview = world.shell.engine.preview(&request, world.shell.now).expect("it can be planned");
    assert_eq!(preview.waves[0].tracks[0].blockers, [], "nothing keeps the second half back");
    assert!(preview.waves[0].tracks[1].blockers.iter().any(|b| matches!(b.why, Why::Frozen { .. })), "all else waits");
    world.shell.input(Input::Submit { id: RETRY, request });
    for _ in 0..60 {
        world.step();
    }
    let tracks = world.shell.engine.tracks(RETRY);
    let done = |t: &engine::TrackView| t.outcome == Some(Outcome::Completed);
    assert!(tracks.iter().all(|t| done(t) == (t.target == host)), "it alone is finished: {tracks:?}");
    assert_eq!(ordered(&world, host), 1);
    world.shell.input(Input::Thaw { by: user() });
    world.step();
    assert!(world.shell.engine.tracks(RETRY).iter().all(|t| done(t) || t.started_at.is_none()), "the window is shut");
}

/// Pain 6 counts who cannot be reached; a moment of silence just when its turn comes is not that.
#[test]
fn a_host_that_is_silent_for_a_moment_when_its_turn_comes_is_waited_for() {
    let mut world = World::of(2, config());
    world.submit(&RolloutOptions { soak: Some(Millis::secs(150)), ..said() });
    let second = world.shell.engine.tracks(ID)[1].target;
    let number = world.shell.hosts.iter().position(|h| h.id == second).expect("a host");
    // Silent long before its turn, and heard again within the limit after it.
    world.falls_ill(number, Ill::Silent);
    let turn = |world: &World| world.shell.engine.track(ID, 0).and_then(|t| t.ended_at);
    for _ in 0..200 {
        if turn(&world).is_some() {
            break;
        }
        world.step();
    }
    let came: Timestamp = turn(&world).expect("the first one ends");
    assert!(world.why(1).iter().any(|w| matches!(w, Why::NotActive)), "{:?}", world.why(1));
    while world.shell.now < came + Millis::secs(60) {
        world.step();
    }
    assert_eq!(world.shell.engine.track(ID, 1).expect("its track").outcome, None, "not judged yet");
    world.comes_back(number, false);
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));

    // Nobody waits for the dead one after the other: all whose turn has come are judged together.
    let mut world = World::of(6, config());
    world.submit(&RolloutOptions { failure_budget: Some(Amount::Count(9)), ..said() });
    let began = world.shell.now;
    (0..6).for_each(|number| world.falls_ill(number, Ill::Silent));
    world.rest();
    let view = world.shell.engine.view(ID).expect("known");
    assert_eq!(view.counts.failed, 6);
    let limit = world.shell.config.active_limit;
    let started = world.started().len() as u64;
    let last = view.ended_at.expect("over");
    assert!(last <= began + Millis(limit.0 * (2 + 6 * started)), "{began} to {last}, {started} were begun");
}

/// G1: a container that is a host of its own goes down with its parent, and its groups count that.
#[test]
fn g1_a_host_that_stands_on_another_is_counted_in_its_own_groups() {
    let mut config = config();
    config.limit_groups.push(LimitGroup {
        name: "web".into(),
        on: Some("rack=r1".parse().expect("a selector")),
        per: None,
        children: Vec::new(),
        max_unavailable: Amount::Count(1),
    });
    let of_web = |world: &World, number: usize| {
        let track = world.shell.engine.tracks(ID).into_iter().find(|t| t.name == name(number)).expect("its track");
        track.started_at.is_some() && track.ended_at.is_none()
    };
    let everybody = RolloutOptions { concurrency: Some(Amount::Count(9)), ..said() };
    // Host 1 is a container on host 0; hosts 1 and 3 are of one group, which allows one of them.
    let mut world = World::of(4, config.clone());
    world.shell.hosts[0].set("host-01", ChildStatus::Running);
    world.step();
    let mut request = world.request(&everybody, None);
    request.targets.remove(1);
    world.shell.input(Input::Submit { id: ID, request });
    assert!(of_web(&world, 0) != of_web(&world, 3), "one of them at a time: {:?}", world.started());
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
    // A person took host 3 out of use: host 1 must stay up, and with it what it stands on.
    let mut world = World::of(4, config);
    world.shell.hosts[0].set("host-01", ChildStatus::Running);
    world.step();
    world.shell.input(Input::Hold { host: world.shell.hosts[3].id, by: user(), reason: "disk".into() });
    let mut request = world.request(&everybody, None);
    request.targets.truncate(1);
    world.shell.input(Input::Submit { id: ID, request });
    let why = world.why(0);
    assert!(matches!(&why[..], [Why::LimitGroup { group, unavailable: 1, adds: 1, limit: 1 }] if group == "web"), "{why:?}");
}
