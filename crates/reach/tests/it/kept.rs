//! One connection for what is done on a host one after the other, and never one from before a boot after it.

use std::sync::Arc;
use std::time::Duration;

use model::{Ack, AckStatus, Action, Check, CheckKind, Command, Drain, Millis, TargetId};
use reach::ssh::{Access, Host, Options, Performer};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::bench::PATIENCE;
use crate::world::{World, command, reboot, wait};

/// A host with one unit whose stops are counted.
const SYSTEMCTL: &str = "case $1 in show) s=active/running; [ ! -e $FARM/down ] || s=inactive/dead; \
                         echo LoadState=loaded; echo ActiveState=${s%/*}; echo SubState=${s#*/};; \
                         stop) echo stop >> $FARM/stops; touch $FARM/down;; start) rm -f $FARM/down;; \
                         --help) echo '  --check-inhibitors=MODE';; is-system-running) echo running;; list-jobs) ;; \
                         reboot) echo reboot >> $FARM/orders;; esac";

fn world() -> World {
    let world = World::new();
    world.server.stub("systemctl", SYSTEMCTL);
    world
}

fn web() -> Drain {
    Drain::Units { units: vec!["web.service".to_owned()] }
}

fn out() -> Action {
    Action::Drain { drain: web(), grace: Millis::secs(60), force: false }
}

fn probe() -> Action {
    Action::Probe { checks: Vec::new() }
}

async fn perform(performer: &Performer, host: &Host, command: &Command) -> Ack {
    let (say, mut said) = mpsc::channel(8);
    tokio::time::timeout(PATIENCE, performer.perform(host, command, say)).await.expect("it waits without a limit");
    let mut last = None;
    while let Some(ack) = said.recv().await {
        last = Some(ack);
    }
    last.expect("nothing is said")
}

/// Its steps one after the other, each of which is well.
async fn steps(performer: &Performer, host: &Host, first: u128, actions: Vec<Action>) {
    for (n, action) in (first..).zip(actions) {
        let ack = perform(performer, host, &command(n, action)).await;
        assert_eq!(ack.status, AckStatus::Completed, "{ack:?}");
    }
}

fn limited(world: &World, idle: Duration, most_idle: usize) -> Performer {
    let mut options: Options = world.options();
    (options.limits.idle, options.limits.most_idle) = (idle, most_idle);
    Performer::new(Access::new(options).unwrap())
}

#[tokio::test]
async fn the_steps_before_a_reboot_share_one_connection_and_what_follows_has_one_from_after_the_proof() {
    let world = world();
    let (performer, host) = (world.performer(), world.host());
    performer.survey(&host).await.unwrap();
    let before = vec![probe(), Action::Observe { drain: web() }, out(), probe(), Action::Observe { drain: web() }];
    steps(&performer, &host, 10, before).await;
    performer.survey(&host).await.unwrap();
    // Whoever only looks may use that of the steps. A step never goes over one that was made to look: a host that lets nobody
    // in any more is found out before anything is taken down.
    assert_eq!(world.server.connections(), 2, "one login for all steps");
    wait("the one that was made to look is left", || world.server.open() == 1).await;
    let first = world.reads(0).last().unwrap().1.clone();

    let rebooting = {
        let (performer, host) = (Arc::clone(&performer), host.clone());
        tokio::spawn(async move { perform(&performer, &host, &reboot(1, Millis::secs(120))).await })
    };
    wait("no order", || world.orders() == 1).await;
    // Whoever looks meanwhile has a connection of its own, too. Nothing is cut: what is kept wrongly would work.
    performer.survey(&host).await.unwrap();
    let looked: Vec<String> = world.reads(0).into_iter().map(|(_, connection)| connection).collect();
    assert_ne!(looked.last(), Some(&first), "not the one that it was ordered over");
    world.boot(1);
    let ack = rebooting.await.unwrap();
    assert_eq!((ack.status, ack.boot), (AckStatus::Completed, World::identity(1)), "{ack:?}");

    let (proven, logins) = (world.reads(1).len(), world.server.connections());
    let prior = vec![model::ItemState { name: "web.service".into(), state: "active/running".into(), in_service: true }];
    let back = Action::Undrain { drain: web(), prior, limit: Millis::secs(60), forced: false };
    steps(&performer, &host, 20, vec![probe(), back, probe()]).await;
    performer.survey(&host).await.unwrap();
    assert_eq!(world.server.connections(), logins + 1, "one login for all that follows");
    let (reads, of_before) = (world.reads(1), world.reads(0));
    let (proof, after) = reads.split_at(proven);
    assert!(after.iter().all(|(_, over)| proof.iter().chain(&of_before).all(|(_, other)| over != other)), "{reads:?}");
    wait("connections from before the proof are left", || world.server.open() == 1).await;
    assert_eq!(world.orders(), 1);
}

#[tokio::test]
async fn another_boot_is_never_believed_over_a_connection_from_before_it() {
    let world = world();
    let (performer, host) = (world.performer(), world.host());
    assert_eq!(performer.survey(&host).await.unwrap().boot, World::identity(0));
    // By itself, and so that the connection outlives it: a host in between may do that.
    world.boot(1);
    assert_eq!(performer.survey(&host).await.unwrap().boot, World::identity(1));
    let before = world.reads(0)[0].1.clone();
    assert_ne!(world.reads(1).last().unwrap().1, before, "read again over a new connection");
    assert_eq!(world.server.connections(), 2);
    for _ in 0..3 {
        performer.survey(&host).await.unwrap();
    }
    assert_eq!(world.server.connections(), 3, "and from then on there is one again");
    wait("the old ones are left", || world.server.open() == 1).await;
}

#[tokio::test]
async fn g2_a_connection_that_died_between_two_steps_is_replaced_and_the_step_is_done_once() {
    for pause in [0, 300] {
        let world = world();
        let (performer, host) = (world.performer(), world.host());
        steps(&performer, &host, 10, vec![Action::Observe { drain: web() }]).await;
        world.server.cut();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        steps(&performer, &host, 20, vec![out()]).await;
        assert_eq!(std::fs::read_to_string(world.at("stops")).unwrap(), "stop\n");
        assert_eq!(world.server.connections(), 2);
        // Right before the order it is the same.
        world.server.cut();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let ordered = async {
            wait("no order", || world.orders() == 1).await;
            world.boot(1);
        };
        let command = reboot(1, Millis::secs(120));
        let (ack, ()) = tokio::join!(perform(&performer, &host, &command), ordered);
        assert_eq!((ack.status, world.orders()), (AckStatus::Completed, 1), "{ack:?}");
    }
}

#[tokio::test]
async fn two_at_once_on_one_host_have_a_connection_each_and_one_is_kept() {
    let world = world();
    let (performer, host) = (world.performer(), world.host());
    steps(&performer, &host, 5, vec![probe()]).await;
    // Each ends only when the other one has begun.
    let meet = |own: &str, other: &str| {
        let script = format!("touch $FARM/{own}; while [ ! -e $FARM/{other} ]; do sleep 0.1; done");
        let kind = CheckKind::Command { argv: ["sh", "-c", &script].map(str::to_owned).to_vec() };
        Action::Check { checks: vec![Check { name: own.to_owned(), kind, limit: Millis::secs(60) }] }
    };
    let (one, two) = (command(1, meet("one", "two")), command(2, meet("two", "one")));
    let (one, two) = tokio::join!(perform(&performer, &host, &one), perform(&performer, &host, &two));
    assert_eq!((one.status, two.status), (AckStatus::Completed, AckStatus::Completed));
    assert_eq!(world.server.connections(), 2);
    wait("more than one is kept", || world.server.open() == 1).await;
    steps(&performer, &host, 10, vec![probe(), probe()]).await;
    assert_eq!(world.server.connections(), 2);
}

#[tokio::test]
async fn a_connection_that_nobody_uses_is_closed_after_its_time() {
    let world = world();
    let performer = limited(&world, Duration::from_secs(1), 8);
    performer.survey(&world.host()).await.unwrap();
    assert_eq!(world.server.open(), 1);
    wait("it is kept for ever", || world.server.open() == 0).await;
    performer.survey(&world.host()).await.unwrap();
    assert_eq!(world.server.connections(), 2);
    drop(performer);
    wait("it outlives its performer", || world.server.open() == 0).await;
}

#[tokio::test]
async fn so_many_are_kept_over_all_hosts_and_those_of_steps_first() {
    let (one, two) = (world(), world());
    one.person.knows(&two.server);
    std::fs::copy(one.person.ssh("id_ed25519.pub"), two.at("authorized_keys")).unwrap();
    let performer = limited(&one, PATIENCE, 1);
    let other = Host { id: TargetId(Uuid::from_u128(77)), at: two.server.destination() };
    performer.survey(&one.host()).await.unwrap();
    performer.survey(&other).await.unwrap();
    wait("the one that was not used for longer is kept", || (one.server.open(), two.server.open()) == (0, 1)).await;
    steps(&performer, &one.host(), 10, vec![probe()]).await;
    wait("that of a survey is kept", || (one.server.open(), two.server.open()) == (1, 0)).await;
    performer.survey(&other).await.unwrap();
    wait("that of a step makes room for a survey", || two.server.open() == 0).await;
    assert_eq!(one.server.open(), 1);
}

#[tokio::test]
async fn a_host_that_is_elsewhere_or_was_removed_is_not_reached_over_what_was_kept() {
    let (here, there) = (world(), world());
    here.person.knows(&there.server);
    std::fs::copy(here.person.ssh("id_ed25519.pub"), there.at("authorized_keys")).unwrap();
    let (performer, host) = (here.performer(), here.host());
    performer.survey(&host).await.unwrap();
    let moved = Host { at: there.server.destination(), ..host.clone() };
    performer.survey(&moved).await.unwrap();
    assert_eq!((here.server.connections(), there.server.connections()), (1, 1));
    wait("the old address is still connected to", || here.server.open() == 0).await;
    performer.forget(host.id);
    wait("a host that was removed is still connected to", || there.server.open() == 0).await;
}
