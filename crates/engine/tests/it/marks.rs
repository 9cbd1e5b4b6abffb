//! What people and other programs hold, what is left of it when a host goes, and what a host cannot do.

use engine::{FleetEntry, Input, LimitGroup, Outcome, Refusal, Reply, Why};
use model::{ActionKind, Actor, Amount, Labels, TargetId};

use crate::fleet::{ID, World, config, said};
use crate::script::user;

fn group(name: &str, on: Option<&str>, children: &[&str], most: u32) -> LimitGroup {
    LimitGroup {
        name: name.to_owned(),
        on: on.map(|text| text.parse().expect("a selector")),
        per: None,
        children: children.iter().map(|child| (*child).to_owned()).collect(),
        max_unavailable: Amount::Count(most),
    }
}

fn take(group: &str, holder: &str) -> Input {
    Input::TakeSlot { group: group.into(), holder: holder.into(), by: user() }
}

fn adopt(host: TargetId) -> Input {
    Input::Adopt { host, name: "box".into(), address: "root@box".into(), labels: Labels::new(), by: user() }
}

/// A client that no host of ours is (Zincati alone on its machine) needs a group all the same.
#[test]
fn a_group_without_hosts_of_ours_has_slots() {
    let mut config = config();
    config.limit_groups.push(group("workers", Some("role=worker"), &[], 1));
    let mut world = World::of(1, config);
    assert_eq!(world.shell.input(take("workers", "975228d46dc94622b9bbe16671e2b58d")), Reply::Noted);
    assert!(matches!(world.shell.input(take("workers", "other")), Reply::Refused(Refusal::Blocked { .. })));
}

/// G1: a host brings all of its members with it, in the group that is asked for too.
#[test]
fn a_slot_counts_every_member_that_goes_down_with_its_host() {
    let mut config = config();
    config.limit_groups.push(group("db", None, &["host-00/a", "host-00/b", "host-01/a", "host-02/a"], 2));
    let mut world = World::of(3, config);
    for (number, children) in [(0, &["a", "b"][..]), (1, &["a"]), (2, &["a"])] {
        for child in children {
            let up = number != 1;
            let status = if up { model::ChildStatus::Running } else { model::ChildStatus::Stopped };
            world.shell.hosts[number].children.insert((*child).to_owned(), (status, false));
        }
        world.shell.report(&crate::fleet::name(number));
    }
    let Reply::Refused(Refusal::Blocked { blockers }) = world.shell.input(take("db", "host-00")) else { panic!("three of four") };
    assert!(matches!(blockers[0].why, Why::LimitGroup { unavailable: 1, adds: 2, limit: 2, .. }), "{blockers:?}");
    assert_eq!(world.shell.input(take("db", "host-02")), Reply::Noted);
}

/// One machine has several ids: whichever a client says, nobody else begins with the host, and its slots go when it goes.
#[test]
fn a_holder_is_our_host_by_any_of_its_ids_and_its_slots_go_with_it() {
    let mut config = config();
    config.limit_groups.push(group("web", Some("*"), &[], 3));
    let machine = "3d1219c7c4c5404aaa1f6d2a48adfda4";
    for id in [machine, "3D1219C7-C4C5-404A-AA1F-6D2A48ADFDA4", "975228d46dc94622b9bbe16671e2b58d", "host-00", "its id"] {
        let mut world = World::of(0, config.clone());
        let host = crate::world::Host::new("host-00");
        let target = host.id;
        world.shell.hosts.push(host);
        let (name, public_key, labels) = ("host-00".to_owned(), "k".to_owned(), Labels::new());
        world.shell.input(Input::Enrol { host: target, name, machine_id: machine.into(), public_key, labels });
        world.shell.input(Input::Approve { host: target, by: user() });
        world.shell.report("host-00");
        let id = if id == "its id" { target.to_string() } else { id.to_owned() };
        assert_eq!(world.shell.engine.host_of_holder(&id), Some(target), "{id}");
        world.shell.input(take("web", &id));
        world.submit(&said());
        assert!(world.why(0).iter().any(|why| matches!(why, Why::HasSlot { .. })), "{id}: {:?}", world.why(0));
        world.shell.input(Input::Remove { host: target, by: user() });
        assert!(world.shell.engine.locks().is_empty(), "{id}");
    }
}

#[test]
fn a_mark_has_one_owner() {
    let mut world = World::of(1, config());
    let host = world.shell.hosts[0].id;
    let bob = || Actor::User("bob".to_owned());
    let hold = |by: Actor, reason: &str| Input::Hold { host, by, reason: reason.to_owned() };
    assert_eq!(world.shell.input(hold(user(), "new disk")), Reply::Noted);
    let refused = world.shell.input(hold(bob(), "test"));
    assert_eq!(refused, Reply::Refused(Refusal::MarkedBy { by: user(), reason: "new disk".to_owned() }));
    assert_eq!(world.shell.input(hold(user(), "two new disks")), Reply::Noted, "one's own reason can be put right");
    assert_eq!(world.shell.input(Input::Release { host, by: bob() }), Reply::Noted);
    assert_eq!(world.shell.input(hold(bob(), "test")), Reply::Noted);

    let freeze = |by: Actor| Input::Freeze { by, reason: "quarter end".to_owned() };
    assert_eq!(world.shell.input(freeze(user())), Reply::Noted);
    assert!(matches!(world.shell.input(freeze(bob())), Reply::Refused(Refusal::MarkedBy { .. })));
}

/// G5: better not begun than stranded after its reboot.
#[test]
fn what_cannot_make_the_checks_of_its_plan_is_told_before_anything_is_done() {
    let mut world = World::of(1, config());
    world.shell.hosts[0].cannot_check = true;
    world.shell.report("host-00");
    let request = world.request(&said(), None);
    let preview = world.shell.engine.preview(&request, world.shell.now).expect("a plan");
    let told = &preview.waves[0].tracks[0].blockers;
    assert!(told.iter().any(|b| b.why == Why::Unsupported { action: ActionKind::Check }), "{told:?}");
    world.submit(&said());
    world.rest();
    let track = &world.shell.engine.tracks(ID)[0];
    assert_eq!(track.outcome, Some(Outcome::Failed));
    let reason = track.reason.clone().unwrap_or_default();
    assert!(reason.contains("not begun") && reason.contains("check"), "{reason}");
    assert_eq!(track.boot_after, None);
}

/// Removing and adopting a host again is no way around its lockout: nothing else counts the reboots of a host without an agent.
#[test]
fn a_lockout_survives_removal() {
    let mut world = World::of(1, config());
    let host = TargetId::of_ssh("box");
    world.shell.input(adopt(host));
    let mut fleet: Vec<_> = world.shell.all.clone();
    let command = model::CommandId(uuid::Uuid::from_u128(7));
    let record = engine::Record { at: world.shell.now, by: user(), entry: FleetEntry::BootEndCommanded { host, command } };
    fleet.push(engine::Fact::Fleet(record));
    let fleet = fleet.into_iter().filter_map(|fact| match fact {
        engine::Fact::Fleet(record) => Some(record),
        engine::Fact::Orchestration(..) => None,
    });
    let config = engine::Config { lockout_count: 1, ..world.shell.config.clone() };
    let mut engine = engine::Engine::restore(config, fleet.collect(), Vec::new()).expect("a fleet");
    let now = world.shell.now;
    drop(engine.handle(Input::Remove { host, by: user() }, now));
    drop(engine.handle(adopt(host), now));
    let request = model::Request { targets: vec![host], ..world.request(&said(), None) };
    let preview = engine.preview(&request, now).expect("a plan");
    let told = &preview.waves[0].tracks[0].blockers;
    assert!(told.iter().any(|b| matches!(b.why, Why::Lockout { .. })), "{told:?}");
}
