//! Hosts that no inventory lists any more: they count nowhere, and are as they were when they are listed again.

use engine::{Input, LimitGroup, Outcome, Refusal, Reply, Why};
use model::{Amount, Labels, TargetId};

use crate::fleet::{ID, World, config, said};
use crate::script::user;

const ADDRESS: &str = "root@10.0.0.1";

/// Two hosts in one limit group, and a third that SSH reaches and nobody hears.
fn world() -> (World, TargetId) {
    let mut config = config();
    let on = Some("*".parse().expect("a selector"));
    let max_unavailable = Amount::Count(1);
    config.limit_groups.push(LimitGroup { name: "all".into(), on, per: None, children: Vec::new(), max_unavailable });
    let mut world = World::of(2, config);
    let gone = TargetId::of_ssh("gone");
    world.shell.input(adopt(gone));
    (world, gone)
}

fn adopt(host: TargetId) -> Input {
    Input::Adopt { host, name: "gone".into(), address: ADDRESS.into(), labels: Labels::new(), by: crate::script::user() }
}

#[test]
fn a_host_that_left_the_inventory_fills_no_limit_group() {
    let (mut world, gone) = world();
    world.submit(&said());
    assert!(world.started().is_empty() && matches!(world.why(0)[0], Why::LimitGroup { unavailable: 1, limit: 1, .. }));
    assert_eq!(world.shell.input(Input::Unlist { host: gone, by: user() }), Reply::Noted);
    assert_eq!(world.shell.input(Input::Unlist { host: gone, by: user() }), Reply::Refused(Refusal::UnknownTarget));
    world.rest();
    assert_eq!(world.outcome(ID), Some(Outcome::Completed));
}

#[test]
fn a_renamed_host_is_not_one_machine_under_two_names() {
    let (mut world, gone) = world();
    let now = world.shell.now;
    let mut report = world.shell.hosts[0].report(now);
    report.instance = model::InstanceId(uuid::Uuid::from_u128(4711));
    world.shell.input(Input::Reported { host: gone, report: Box::new(report) });
    let refused = world.submit(&said());
    assert!(matches!(refused, Reply::Refused(Refusal::TargetsBlocked { .. })), "{refused:?}");
    world.shell.input(Input::Unlist { host: gone, by: user() });
    assert!(matches!(world.submit(&said()), Reply::Accepted { .. }));
    // Listed again, it counts again.
    world.shell.input(adopt(gone));
    assert!(world.why(1).iter().any(|why| matches!(why, Why::LimitGroup { unavailable: 2, .. })), "{:?}", world.why(1));
}

#[test]
fn a_persons_mark_waits_for_the_host_and_comes_back_with_it() {
    let (mut world, gone) = world();
    let held = |world: &World| {
        let now = world.shell.now;
        world.shell.engine.hosts(now).into_iter().find(|h| h.id == gone).map(|h| h.held.is_some())
    };
    world.shell.input(Input::Hold { host: gone, by: user(), reason: "new disk".into() });
    world.shell.input(Input::Unlist { host: gone, by: user() });
    assert_eq!(held(&world), None);
    world.shell.input(adopt(gone));
    assert_eq!(held(&world), Some(true));
}

#[test]
fn what_is_open_on_a_host_keeps_it() {
    let (mut world, gone) = world();
    world.shell.input(Input::Unlist { host: gone, by: user() });
    world.submit(&said());
    // One runs, the other waits: both are needed for what is under way.
    for host in [0, 1] {
        let host = world.shell.hosts[host].id;
        assert_eq!(world.shell.input(Input::Unlist { host, by: user() }), Reply::Refused(Refusal::NothingToDo));
    }
    world.rest();
    let host = world.shell.hosts[0].id;
    assert_eq!(world.shell.input(Input::Unlist { host, by: user() }), Reply::Noted);
}
