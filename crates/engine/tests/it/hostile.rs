//! What people, programs and time do to a rollout at the worst moment.

use engine::{Config, DrainRule, Entry, Fact, Input, LimitGroup, Outcome, Refusal, Reply, Why};
use model::{ActionKind, Amount, Drain, Millis, RolloutOptions};

use crate::fleet::{ID, Ill, RETRY, World, config, name, said};
use crate::script::user;
use crate::world::host_id;

fn group(name: &str, per: Option<&str>) -> LimitGroup {
    let on = Some("*".parse().expect("a selector"));
    LimitGroup { name: name.into(), on, per: per.map(str::to_owned), children: Vec::new(), max_unavailable: Amount::Count(1) }
}

/// Each host is drained by a hook of one item, which is in service: it gets no work before it is healthy.
fn drained(hosts: usize) -> World {
    let mut config = config();
    let drain = Drain::Hook { name: "app".into() };
    let rule = DrainRule { on: "*".parse().expect("a selector"), drain };
    config.drains.insert("app".into(), rule);
    let mut world = World::of(hosts, config);
    for host in &mut world.shell.hosts {
        host.items.insert("app.service".into(), ("active".into(), true));
    }
    world
}

fn until(world: &mut World, is: impl Fn(&World) -> bool) {
    for _ in 0..500 {
        if is(world) {
            return;
        }
        world.step();
    }
    panic!("it does not come to that");
}

#[test]
fn g1_a_host_that_takes_a_slot_goes_down_in_all_of_its_groups() {
    let mut config = config();
    config.limit_groups.extend([group("web", None), group("rack", Some("rack"))]);
    if let Some(web) = config.limit_groups.first_mut() {
        web.max_unavailable = Amount::Count(3);
    }
    let mut world = World::of(4, config);
    let take = |number: usize| Input::TakeSlot { group: "web".into(), holder: name(number), by: user() };
    world.shell.input(Input::Hold { host: host_id(&name(2)), by: user(), reason: "spare parts".into() });
    let Reply::Refused(Refusal::Blocked { blockers }) = world.shell.input(take(0)) else { panic!("its rack has no room") };
    assert!(matches!(&blockers[0].why, Why::LimitGroup { group, .. } if group == "rack/r0"), "{blockers:?}");
    world.shell.input(Input::Release { host: host_id(&name(2)), by: user() });
    assert_eq!(world.shell.input(take(0)), Reply::Noted);
    assert!(matches!(world.shell.input(take(2)), Reply::Refused(Refusal::Blocked { .. })), "one of its rack will go down");
    // A rollout neither begins with the host that restarts by itself, nor with the other one of its rack.
    world.submit(&RolloutOptions { concurrency: Some(Amount::Count(4)), ..said() });
    let tracks = world.shell.engine.tracks(ID);
    let why = |number: usize| world.why(tracks.iter().find(|t| t.name == name(number)).expect("its track").index);
    assert!(why(0).iter().any(|w| matches!(w, Why::HasSlot { .. })), "{:?}", why(0));
    assert!(why(2).iter().any(|w| matches!(w, Why::LimitGroup { group, .. } if group == "rack/r0")), "{:?}", why(2));
    assert_eq!(world.started().len(), 1, "one of the other rack");
    // Nobody restarts a host by itself that a rollout works on.
    let busy = tracks.iter().find(|t| t.started_at.is_some()).expect("one began").name.clone();
    let take = Input::TakeSlot { group: "web".into(), holder: busy, by: user() };
    let Reply::Refused(Refusal::Blocked { blockers }) = world.shell.input(take) else { panic!("it is worked on") };
    assert!(blockers.iter().any(|b| matches!(b.why, Why::Locked { .. })), "{blockers:?}");
    world.shell.input(Input::GiveSlot { group: "web".into(), holder: name(0), by: user() });
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

#[test]
fn a_check_that_fails_is_asked_at_the_usual_pace_also_where_nothing_has_to_hold() {
    let mut world = World::of(1, Config { health_hold: Millis(0), ..config() });
    world.falls_ill(0, Ill::Unhealthy);
    world.submit(&RolloutOptions { soak: Some(Millis(0)), ..said() });
    for _ in 0..600 {
        // Everybody answers at once, whenever something is due.
        let commands = world.shell.engine.wanted();
        for command in commands {
            let now = world.shell.now;
            let host = &mut world.shell.hosts[0];
            let ack = host.answer(&command, model::AckStatus::Completed, None, now);
            world.shell.input(Input::Acked { host: command.target, ack: Box::new(ack) });
        }
        let Some(due) = world.shell.engine.poll_timeout() else { break };
        world.shell.now = world.shell.now.max(due);
        world.shell.input(Input::Tick);
    }
    assert_eq!(world.outcome(ID), Some(Outcome::Failed), "{:?}", world.shell.engine.view(ID));
    let is_probe = |f: &&Fact| match f {
        Fact::Orchestration(_, r) => {
            matches!(&r.entry, Entry::CommandIssued { command, .. } if command.action.kind() == ActionKind::Probe)
        }
        Fact::Fleet(_) => false,
    };
    let probes = world.shell.all.iter().filter(is_probe).count();
    assert!(probes < 20, "{probes} probes in 20 seconds with a pause of 2");
}

#[test]
fn g4_whoever_ends_the_pause_of_a_person_accepts_no_failure() {
    let mut world = World::of(3, config());
    (0..3).for_each(|number| world.falls_ill(number, Ill::Refuses));
    world.submit(&said());
    world.shell.input(Input::Pause { id: ID, by: user(), reason: "lunch".into() });
    world.rest();
    assert_eq!(world.shell.engine.view(ID).expect("open").failures, 1);
    assert_eq!(world.shell.input(Input::Resume { id: ID, by: user() }), Reply::Noted);
    world.rest();
    let view = world.shell.engine.view(ID).expect("open");
    assert_eq!((view.failures, world.started().len()), (1, 1), "nothing starts after the failure that breaks the budget");
    assert!(view.paused.expect("paused again").reason.contains("failure budget spent"));
    assert_eq!(world.shell.input(Input::Resume { id: ID, by: user() }), Reply::Noted);
    assert_eq!(world.started().len(), 2, "that one accepts it");
}

#[test]
fn g7_a_host_that_is_removed_while_it_is_drained_is_named_with_what_it_left() {
    let mut world = drained(2);
    world.submit(&said());
    until(&mut world, |w| w.shell.engine.wanted().iter().any(|c| c.action.kind() == ActionKind::Reboot));
    let host = world.shell.engine.wanted()[0].target;
    world.shell.input(Input::Remove { host, by: user() });
    let track = world.shell.engine.tracks(ID).into_iter().find(|t| t.target == host).expect("its track");
    let reason = track.reason.expect("a reason");
    assert!(reason.contains("still out of service: app.service"), "{reason}");
}

#[test]
fn a_person_who_ends_a_stranded_state_does_not_make_a_retry_reboot_it_again() {
    let mut world = drained(2);
    (0..2).for_each(|number| world.falls_ill(number, Ill::Unhealthy));
    world.submit(&said());
    world.rest();
    let host = world.shell.engine.tracks(ID)[0].target;
    let number = world.shell.hosts.iter().position(|h| h.id == host).expect("a host");
    assert!(!world.shell.hosts[number].items["app.service"].1, "it stays drained");
    world.shell.hosts.iter_mut().for_each(|h| h.failing.clear());
    assert_eq!(world.shell.input(Input::Acknowledge { target: host, by: user() }), Reply::Noted);
    world.step();
    let request = world.request(&said(), Some(ID));
    let reply = world.shell.input(Input::Submit { id: RETRY, request });
    assert!(matches!(reply, Reply::Accepted { .. }), "{reply:?}");
    world.rest();
    assert_eq!(world.outcome(RETRY), Some(Outcome::Completed), "{:?}", world.shell.engine.view(RETRY));
    assert_eq!(world.shell.hosts[number].boot, 2, "one reboot");
    assert!(world.shell.hosts[number].items["app.service"].1, "what the first one drained is in service again");
}

#[test]
fn g1_that_nobody_gets_through_to_a_host_is_no_word_of_it() {
    let mut world = World::of(2, config());
    let host = host_id(&name(0));
    let last = |world: &World| world.shell.engine.host(host, world.shell.now).and_then(|h| h.last_heard);
    let before = last(&world);
    world.shell.now = world.shell.now + Millis::secs(60);
    let say = |world: &mut World, code| {
        let error = Some(model::AckError { code, message: "no connection".into() });
        let boot = world.shell.engine.host(host, world.shell.now).and_then(|h| h.report).expect("it was heard").boot;
        let command = model::CommandId(host.0);
        let status = model::AckStatus::Failed;
        let ack = model::Ack { command, status, error, boot, observed: None, already: false, report: None };
        world.shell.input(Input::Acked { host, ack: Box::new(ack) });
    };
    say(&mut world, model::ErrorCode::Unreachable);
    assert_eq!(last(&world), before);
    say(&mut world, model::ErrorCode::ToolFailed);
    assert!(last(&world) > before, "what it says itself is heard");
}
