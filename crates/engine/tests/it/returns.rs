//! Hosts that come back late, fall silent for a moment, or stand on one another.

use engine::{Fact, FleetEntry, Input, Outcome, Reply, Why};
use model::{Amount, BootIdentity, ChildStatus, Drain, Millis, OrchestrationId, RolloutOptions, TargetId, Timestamp};
use uuid::Uuid;

use crate::fleet::{ID, Ill, RETRY, World, config, group, name, said};
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
    config
        .windows
        .insert("never".into(), toml::from_str("kind = \"allow\"\ncron = \"0 0 29 feb *\"\nlasts = \"1m\"").expect("a window"));
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

/// G7, found by the simulator: the host was stranded before, and the end of the retry did not say so.
#[test]
fn g7_a_second_half_that_cannot_begin_names_the_host_that_stays_stranded() {
    let mut world = World::of(2, config());
    world.submit(&said());
    let number = first(&world);
    let host = world.shell.hosts[number].id;
    world.falls_ill(number, Ill::Unhealthy);
    world.rest();
    let request = world.retry(&said());
    world.shell.input(Input::Submit { id: RETRY, request });
    // Nobody answers its first probe.
    world.shell.wait(300);
    let track = world.shell.engine.tracks(RETRY).into_iter().find(|t| t.target == host).expect("its track");
    assert_eq!(track.outcome, Some(Outcome::Failed));
    let reason = track.reason.expect("a reason");
    assert!(reason.starts_with(&format!("host {} stays stranded: ", name(number))), "{reason}");
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
    config.limit_groups.push(group("web", "rack=r1", 1));
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

/// The controller is away for so long after each number of steps; all that is open has expired when it is back.
fn with_an_outage(after: usize, away: Millis) -> (World, usize) {
    let mut world = World::of(2, with_a_drain());
    for host in &mut world.shell.hosts {
        host.items.insert("app.service".into(), ("active".into(), true));
        host.set("db", ChildStatus::Running);
    }
    world.step();
    world.submit(&said());
    let mut steps = 0;
    while world.outcome(ID).is_none() && steps < 4000 {
        if steps == after {
            world.shell.now = world.shell.now + away;
            world.shell.restart();
        }
        world.step();
        steps += 1;
    }
    (world, steps)
}

/// Pain 9, G7: an outage of the controller, however long, is no failure of a host, and no time in which it was seen healthy.
#[test]
fn pain_9_an_outage_of_the_controller_strands_nobody_and_is_no_part_of_a_soak() {
    let (_, whole) = with_an_outage(usize::MAX, Millis(0));
    assert!(whole > 20, "{whole} steps");
    for away in [Millis::secs(90), Millis::secs(600), Millis::secs(7200)] {
        for after in 0..whole {
            let (world, _) = with_an_outage(after, away);
            let told = format!("away for {away} after {after} steps");
            let view = world.shell.engine.view(ID).expect("known");
            assert_eq!(view.outcome, Some(Outcome::Completed), "{told}: {:?}", view.error_message);
            for host in &world.shell.hosts {
                assert_eq!(host.boot, 2, "{told}: {} was rebooted once", host.name);
                assert!(host.items["app.service"].1 && host.children["db"].0 == ChildStatus::Running, "{told}: as before");
                let track = world.shell.engine.tracks(ID).into_iter().find(|t| t.target == host.id).expect("its track");
                let soak = track.steps.last().expect("the soak");
                let started = world.shell.engine.settle_until() - world.shell.config.settling;
                let from = soak.started_at.expect("begun").max(started.min(soak.ended_at.expect("over")));
                let seen = soak.ended_at.expect("over").since(from);
                assert!(seen >= Millis::secs(10) || soak.ended_at.expect("over") <= started, "{told}: seen healthy for {seen}");
            }
        }
    }
}

/// Pain 7, found by the simulator on seed 17007: the clock is set forward while a soak has begun anew after a restart.
#[test]
fn pain_7_answers_from_before_an_outage_do_not_make_up_for_a_soak_that_its_deadline_ended() {
    let mut world = World::of(1, config());
    world.submit(&said());
    let soaks = |world: &World| {
        let track = world.shell.engine.track(ID, 0).expect("its track");
        track.steps.last().is_some_and(|step| step.title == "watch it" && step.ended_at.is_none())
    };
    while !soaks(&world) {
        world.step();
    }
    (0..4).for_each(|_| world.step());
    assert!(soaks(&world), "eight seconds of ten are over");
    world.shell.restart();
    (0..3).for_each(|_| world.step());
    assert!(soaks(&world), "it has begun anew, though good answers are more than ten seconds apart");
    world.shell.now = world.shell.now + Millis::secs(600);
    world.shell.input(Input::Tick);
    world.rest();
    let track = world.shell.engine.track(ID, 0).expect("its track");
    assert_eq!(track.outcome, Some(Outcome::Failed), "{track:?}");
    assert!(track.reason.expect("a reason").contains("soaked"));
}

/// G5: a track that has only looked is put off when a gate has shut meanwhile, and begins anew when it opens.
#[test]
fn g5_what_has_taken_nothing_down_yet_is_put_off_when_a_gate_shuts() {
    for gate in ["freeze", "hold"] {
        let mut world = World::of(2, with_a_drain());
        for host in &mut world.shell.hosts {
            host.items.insert("app.service".into(), ("active".into(), true));
        }
        world.submit(&said());
        let host = world.shell.engine.tracks(ID)[0].target;
        assert_eq!(world.started().len(), 1);
        let (shut, open) = match gate {
            "freeze" => (Input::Freeze { by: user(), reason: "launch".into() }, Input::Thaw { by: user() }),
            _ => (Input::Hold { host, by: user(), reason: "disk".into() }, Input::Release { host, by: user() }),
        };
        world.shell.input(shut);
        world.step();
        world.step();
        let track = world.shell.engine.track(ID, 0).expect("its track");
        if gate == "freeze" {
            assert!(track.started_at.is_none() && track.outcome.is_none(), "{gate}: {track:?}");
            assert!(world.shell.engine.locks().is_empty(), "{gate}: it lets go of its host");
        } else {
            assert_eq!(track.outcome, Some(Outcome::Skipped), "{gate}: as a host that is held when its turn comes");
        }
        let first = world.shell.hosts.iter().find(|h| h.id == host).expect("a host");
        assert!(first.items["app.service"].1 && first.boot == 1, "{gate}: nothing was done");
        world.shell.input(open);
        world.rest();
        let done = world.shell.engine.view(ID).expect("known").counts.completed;
        assert_eq!(done, if gate == "freeze" { 2 } else { 1 }, "{gate}");
        assert!(world.shell.hosts.iter().all(|h| h.boot <= 2), "{gate}: nobody was rebooted twice");
    }
}

/// After an outage the window may be shut, or shut too soon: what was drained is put back, and the host is left alone.
#[test]
fn g5_a_reboot_that_an_outage_moved_out_of_its_window_is_taken_back() {
    let mut config = with_a_drain();
    let morning = "kind = \"allow\"\ncron = \"0 8 * * *\"\nlasts = \"2h\"";
    config.windows.insert("morning".into(), toml::from_str(morning).expect("a window"));
    let drained = |world: &World| !world.shell.hosts[0].items["app.service"].1;
    for (back, told) in [("16:00:00", "morning"), ("09:57:00", "expected to take")] {
        let mut world = World::of(1, config.clone());
        world.shell.hosts[0].items.insert("app.service".into(), ("active".into(), true));
        world.submit(&RolloutOptions { windows: vec!["morning".into()], ..said() });
        while !drained(&world) {
            world.step();
        }
        let day = world.shell.now.to_string();
        world.shell.now = format!("{}T{back}Z", &day[..10]).parse().expect("a time");
        world.shell.restart();
        world.rest();
        let track = world.shell.engine.track(ID, 0).expect("its track");
        assert_eq!(track.outcome, Some(Outcome::Skipped), "{told}: {track:?}");
        let reason = track.reason.expect("a reason");
        assert!(reason.contains(told), "{reason}");
        assert!(!drained(&world) && world.shell.hosts[0].boot == 1, "as it was");
    }
}

/// A child that the plan stopped and that does not start by itself is started by the retry (pain 15).
#[test]
fn pain_15_a_retry_starts_what_the_first_run_stopped() {
    for drained in [false, true] {
        let mut world = World::of(1, if drained { with_a_drain() } else { config() });
        world.shell.hosts[0].items.insert("app.service".into(), ("active".into(), true));
        world.shell.hosts[0].set("db", ChildStatus::Running);
        world.shell.hosts[0].set("old", ChildStatus::Stopped);
        world.step();
        world.submit(&said());
        world.falls_ill(0, Ill::Vanishes);
        world.rest();
        world.comes_back(0, true);
        world.step();
        assert_eq!(world.shell.hosts[0].children["db"].0, ChildStatus::Stopped);
        let request = world.retry(&said());
        world.shell.input(Input::Submit { id: RETRY, request });
        world.rest();
        assert_eq!(world.outcome(RETRY), Some(Outcome::Completed), "{:?}", world.shell.engine.view(RETRY));
        let host = &world.shell.hosts[0];
        assert_eq!((host.boot, host.children["db"].0, host.children["old"].0), (2, ChildStatus::Running, ChildStatus::Stopped));
        assert!(host.items["app.service"].1);
    }
}

/// The performer's word that comes while the rollout is still open (paused by its budget) counts as one that comes later.
#[test]
fn a_late_word_counts_also_while_its_rollout_is_open() {
    let mut world = World::of(2, config());
    world.submit(&said());
    let number = first(&world);
    world.falls_ill(number, Ill::Vanishes);
    world.rest();
    assert!(world.shell.engine.view(ID).expect("known").paused.is_some());
    let late = |fact: &Fact| matches!(fact, Fact::Fleet(r) if matches!(r.entry, FleetEntry::LateAck { done: false, .. }));
    let command = world.shell.all.iter().rev().find_map(|fact| match fact {
        Fact::Orchestration(_, r) => match &r.entry {
            engine::Entry::CommandIssued { command, .. } if command.action.kind().ends_boot() => Some((**command).clone()),
            _ => None,
        },
        Fact::Fleet(_) => None,
    });
    let command = command.expect("a reboot");
    world.comes_back(number, false);
    world.step();
    let now = world.shell.now;
    let host = &mut world.shell.hosts[number];
    let ack = host.answer(&command, model::AckStatus::Failed, Some(model::ErrorCode::NotBegun), now);
    world.shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
    assert!(world.shell.all.iter().any(late), "it did not happen, and that is known");
    let request = world.retry(&said());
    world.shell.input(Input::Submit { id: RETRY, request });
    world.rest();
    assert_eq!(world.outcome(RETRY), Some(Outcome::Completed));
    assert!(world.shell.hosts.iter().all(|h| h.boot == 2), "now it is rebooted, once");
}

/// G3: what another rollout proved long ago is no proof for this one; and what a retry has brought through is done.
#[test]
fn g3_a_proof_counts_for_its_own_row_of_retries_alone() {
    let other = OrchestrationId(Uuid::from_u128(900));
    let mut world = World::of(1, config());
    world.falls_ill(0, Ill::Unhealthy);
    let request = world.request(&said(), None);
    world.shell.input(Input::Submit { id: other, request });
    world.rest();
    assert_eq!(world.outcome(other), Some(Outcome::Failed));
    world.submit(&said());
    world.rest();
    world.shell.hosts[0].failing.clear();
    world.step();
    let boot: BootIdentity = world.shell.hosts[0].boot();
    let request = world.retry(&said());
    world.shell.input(Input::Submit { id: RETRY, request });
    world.rest();
    assert_eq!(world.outcome(RETRY), Some(Outcome::Completed), "{:?}", world.shell.engine.view(RETRY));
    assert_ne!(world.shell.hosts[0].boot(), boot, "rebooted for this rollout");
    let host = world.shell.hosts[0].id;
    assert!(world.shell.engine.is_done_by(ID, host) && !world.shell.engine.is_done_by(other, host));
}

/// G1: who has a slot takes down what stands on it; its own groups count that.
#[test]
fn g1_a_slot_counts_the_hosts_that_stand_on_its_holder() {
    let mut config = config();
    config.limit_groups = vec![group("db", "rack=r1", 1), group("machines", "rack=r0", 1)];
    let mut world = World::of(4, config);
    world.submit(&RolloutOptions { approval: Some(model::Approval::Never), ..said() });
    world.shell.input(Input::Cancel { id: ID, by: user() });
    world.rest();
    // Host 1 is a container on host 0; hosts 1 and 3 are of one group, which allows one of them.
    world.shell.hosts[0].set("host-01", ChildStatus::Running);
    world.step();
    let take = |group: &str, holder: &str| Input::TakeSlot { group: group.into(), holder: holder.into(), by: user() };
    assert_eq!(world.shell.input(take("machines", "host-00")), Reply::Noted);
    let refused = world.shell.input(take("db", "host-03"));
    assert!(matches!(refused, Reply::Refused(engine::Refusal::Blocked { .. })), "{refused:?}");
    let mut request = world.request(&said(), None);
    request.targets = vec![world.shell.hosts[3].id];
    world.shell.input(Input::Submit { id: RETRY, request });
    let why = world.shell.engine.explain_track(RETRY, 0, world.shell.now);
    assert!(why.iter().any(|b| matches!(&b.why, Why::LimitGroup { group, .. } if group == "db")), "{why:?}");
    world.shell.input(Input::GiveSlot { group: "machines".into(), holder: "host-00".into(), by: user() });
    world.rest();
    assert_eq!(world.outcome(RETRY), Some(Outcome::Completed));
}

/// One group of all, with room for all.
fn with_a_group() -> engine::Config {
    let mut config = config();
    config.limit_groups.push(group("fleet", "*", 9));
    config
}

/// E14: nobody begins on a host while another works on a container of it that is a host of its own, nor the other way round;
/// whoever waits begins when the other is through.
#[test]
fn e14_two_orchestrations_never_work_on_a_host_and_on_what_stands_on_it_at_once() {
    let runs = |world: &World, id| {
        let track = world.shell.engine.track(id, 0).expect("its track");
        track.started_at.is_some() && track.ended_at.is_none()
    };
    for (first, second) in [(0, 1), (1, 0)] {
        let mut world = World::of(4, with_a_group());
        world.shell.hosts[0].set("host-01", ChildStatus::Running);
        world.step();
        for (id, number) in [(ID, first), (RETRY, second)] {
            let mut request = world.request(&said(), None);
            request.targets = vec![world.shell.hosts[number].id];
            world.shell.input(Input::Submit { id, request });
        }
        assert!(runs(&world, ID) && !runs(&world, RETRY));
        let why = world.shell.engine.explain_track(RETRY, 0, world.shell.now);
        let told = |b: &engine::Blocker| matches!(&b.why, Why::Locked { orchestration: ID, on: Some(on) } if *on == name(first));
        assert!(why.iter().any(told), "{why:?}");
        let slot = Input::TakeSlot { group: "fleet".into(), holder: name(second), by: user() };
        let refused = world.shell.input(slot);
        let Reply::Refused(engine::Refusal::Blocked { blockers }) = &refused else { panic!("{refused:?}") };
        assert!(blockers.iter().any(told), "{blockers:?}");
        while runs(&world, ID) {
            assert!(!runs(&world, RETRY), "{}: both at once", world.shell.now);
            world.step();
        }
        world.rest();
        assert_eq!((world.outcome(ID), world.outcome(RETRY)), (Some(Outcome::Completed), Some(Outcome::Completed)));
    }
}

/// E14 within one rollout: what was not known to stand on a target when it was planned is not worked on beside it either.
#[test]
fn e14_a_container_that_moves_to_another_target_of_its_rollout_waits_for_it() {
    let mut world = World::of(2, with_a_group());
    world.submit(&RolloutOptions { concurrency: Some(Amount::Count(2)), canary: None, ..said() });
    assert_eq!(world.started().len(), 2, "nothing stands on another yet, and both began");
    world.shell.input(Input::Cancel { id: ID, by: user() });
    world.rest();

    let mut world = World::of(3, with_a_group());
    world.submit(&RolloutOptions { concurrency: Some(Amount::Count(2)), ..said() });
    let runs = |world: &World| -> Vec<String> {
        let tracks = world.shell.engine.tracks(ID);
        tracks.iter().filter(|t| t.started_at.is_some() && t.ended_at.is_none()).map(|t| t.name.clone()).collect()
    };
    let begun = runs(&world);
    assert_eq!(begun.len(), 2);
    // The third one is found on the first while that is worked on; the second ends meanwhile.
    let waits = (0..3).map(name).find(|name| !begun.contains(name)).expect("the third");
    let parent = (0..3).find(|number| name(*number) == begun[0]).expect("a host");
    world.shell.hosts[parent].set(&waits, ChildStatus::Running);
    while runs(&world).contains(&begun[0]) {
        assert!(!runs(&world).contains(&waits), "{}: {:?}", world.shell.now, runs(&world));
        world.step();
    }
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

/// E14: a host that may restart by itself any moment takes what stands on it along, and cuts off what rebooted beside it.
#[test]
fn e14_a_slot_keeps_others_from_what_stands_on_its_holder_and_from_what_it_stands_on() {
    for (holder, target) in [(0, 1), (1, 0)] {
        let mut world = World::of(4, with_a_group());
        world.shell.hosts[0].set("host-01", ChildStatus::Running);
        world.step();
        let group = "fleet".to_owned();
        let slot = |number| Input::TakeSlot { group: group.clone(), holder: name(number), by: user() };
        assert_eq!(world.shell.input(slot(holder)), Reply::Noted);
        let refused = world.shell.input(slot(target));
        assert!(matches!(refused, Reply::Refused(engine::Refusal::Blocked { .. })), "{refused:?}");
        assert_eq!(world.shell.input(slot(2)), Reply::Noted, "nothing stands there");
        let mut request = world.request(&said(), None);
        request.targets = vec![world.shell.hosts[target].id];
        world.shell.input(Input::Submit { id: ID, request });
        let why = world.why(0);
        assert!(why.iter().any(|why| matches!(why, Why::HasSlot { .. })), "{why:?}");
        world.shell.input(Input::GiveSlot { group, holder: name(holder), by: user() });
        world.rest();
        assert_eq!(world.outcome(ID), Some(Outcome::Completed));
    }
}
