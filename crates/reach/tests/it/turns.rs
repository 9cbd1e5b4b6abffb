//! Who changes something on a host, and until when: one after the other, whatever becomes of connections.

use std::time::Duration;

use model::{AckStatus, Action, Drain, ErrorCode, ItemState, Millis, Observed, Readable};
use reach::ssh::{Access, Host, Options, Performer, Sudo};
use tokio::sync::mpsc;

use crate::bench::{PATIENCE, Person, Server, keygen};
use crate::small::Small;
use crate::world::{World, command, host_id, now, reboot, wait};

/// A unit whose stop takes as long as the test wants.
const SYSTEMCTL: &str = "case $1 in show) s=active/running; [ ! -e $FARM/down ] || s=inactive/dead; \
                         echo LoadState=loaded; echo ActiveState=${s%/*}; echo SubState=${s#*/};; \
                         stop) touch $FARM/stopping; while [ ! -e $FARM/let ]; do sleep 0.1; done; touch $FARM/down; touch $FARM/stopped;; \
                         start) rm -f $FARM/down;; --help) echo '  --check-inhibitors=MODE';; \
                         reboot) echo reboot >> $FARM/orders; while [ ! -e $FARM/let ]; do sleep 0.1; done;; \
                         is-system-running) echo running;; esac";

fn web() -> Drain {
    Drain::Units { units: vec!["web.service".to_owned()] }
}

fn prior() -> Vec<ItemState> {
    vec![ItemState { name: "web.service".into(), state: "active/running".into(), in_service: true }]
}

fn out(grace: Millis) -> Action {
    Action::Drain { drain: web(), grace, force: false }
}

#[tokio::test]
async fn g7_an_undrain_after_a_kill_waits_for_the_drain_that_goes_on_at_the_far_end() {
    let world = World::new();
    world.server.stub("systemctl", SYSTEMCTL);
    let mut drain = world.begin(&command(1, out(Millis::secs(100))));
    drain.until(AckStatus::ExecutionStarted).await;
    wait("nothing is stopped", || world.at("stopping").exists()).await;
    drain.kill().await;
    let back = Action::Undrain { drain: web(), prior: prior(), limit: Millis::secs(100), forced: false };
    let mut undrain = world.begin(&command(2, back));
    undrain.until(AckStatus::Accepted).await;
    let early = tokio::time::timeout(Duration::from_secs(3), undrain.next()).await;
    assert!(early.is_err(), "it did not wait: {early:?}");
    assert!(!world.at("stopped").exists());
    std::fs::write(world.at("let"), "").unwrap();
    let ack = undrain.last().await;
    assert_eq!((ack.status, ack.already), (AckStatus::Completed, false), "{ack:?}");
    assert_eq!(ack.observed, Some(Observed::Items(prior())));
    assert!(world.at("stopped").exists() && !world.at("down").exists());
}

#[tokio::test]
async fn g7_a_tool_that_outlives_its_connection_is_killed_at_its_limit_and_ended_before_it_is_looked_at_again() {
    let world = World::new();
    world.server.stub("systemctl", SYSTEMCTL);
    let mut drain = world.begin(&command(1, out(Millis::secs(6))));
    drain.until(AckStatus::ExecutionStarted).await;
    wait("nothing is stopped", || world.at("stopping").exists()).await;
    world.server.cut();
    let ack = drain.last().await;
    assert_eq!(ack.error.as_ref().map(|error| error.code), Some(ErrorCode::NotDrained), "{ack:?}");
    // It hears of nothing any more.
    std::fs::write(world.at("let"), "").unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!world.at("stopped").exists(), "it went on behind its limit");
}

#[tokio::test]
async fn what_is_left_is_told_and_the_wall_clock_does_not_count() {
    let world = World::new();
    let perform = async |left: Millis, expires_at: model::Timestamp| {
        let (say, mut said) = mpsc::channel(8);
        let mut probe = command(1, Action::Probe { checks: Vec::new() });
        probe.expires_at = expires_at;
        world.performer().perform_within(&world.host(), &probe, left, say).await;
        let mut last = None;
        while let Some(ack) = said.recv().await {
            last = Some(ack);
        }
        last.unwrap()
    };
    // The engine's time is an hour ahead of this machine's clock, or behind it.
    let ack = perform(Millis(0), now() + Millis::secs(3600)).await;
    assert_eq!(ack.error.map(|error| error.code), Some(ErrorCode::Expired));
    let ack = perform(Millis::secs(240), model::Timestamp::from_millis(0)).await;
    assert_eq!(ack.status, AckStatus::Completed, "{ack:?}");
}

#[tokio::test]
async fn g2_an_order_that_was_heard_before_the_connection_was_lost_is_an_order() {
    let world = World::new();
    world.server.stub("systemctl", SYSTEMCTL);
    let mut begun = world.begin(&reboot(1, Millis::secs(120)));
    wait("no order", || world.orders() == 1).await;
    // Long enough for what was said to arrive.
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.server.shut(true);
    world.server.cut();
    begun.until(AckStatus::ExecutionStarted).await;
    world.server.shut(false);
    world.boot(1);
    assert_eq!(begun.last().await.status, AckStatus::Completed);
    std::fs::write(world.at("let"), "").unwrap();
    assert_eq!(world.orders(), 1);
}

#[tokio::test]
async fn a_disk_without_room_for_a_claim_blocks_before_anything_is_done() {
    let world = World::new();
    std::fs::write(world.at("file"), "").unwrap();
    let mut options = world.options();
    options.places.claims = world.at("file/claims").display().to_string();
    let report = Performer::new(Access::new(options).unwrap()).survey(&world.host()).await.unwrap();
    let Readable::Known(who) = &report.inhibitors else { panic!("{report:?}") };
    assert!(who.len() == 1 && who[0].contains("no reboot can be claimed"), "{who:?}");
}

#[tokio::test]
async fn lxc_is_not_run_on_a_host_where_no_lxd_listens() {
    let world = World::new();
    world.server.stub("lxc", "echo installed > $FARM/installed; echo '[]'");
    let report = world.performer().survey(&world.host()).await.unwrap();
    let here = ["/var/lib/lxd", "/var/snap/lxd/common/lxd"].iter().any(|path| std::path::Path::new(path).exists());
    if !here {
        assert_eq!(report.children, Readable::Known(Vec::new()));
        assert!(!world.at("installed").exists());
    }
}

#[tokio::test]
async fn a_busy_sshd_that_closes_the_door_for_a_moment_is_tried_again() {
    let world = World::new();
    world.server.busy(3);
    let survey = tokio::time::timeout(PATIENCE, async { world.performer().survey(&world.host()).await }).await.unwrap();
    assert!(survey.is_ok(), "{survey:?}");
    world.server.busy(1000);
    let survey = tokio::time::timeout(PATIENCE, async { world.performer().survey(&world.host()).await }).await.unwrap();
    assert_eq!(survey.unwrap_err().code, ErrorCode::Unreachable);
}

#[tokio::test]
async fn where_processes_of_others_are_hidden_the_boot_is_read_with_roots_rights() {
    let world = World::new();
    world.server.stub("sudo", "while [ \"$1\" != -- ]; do shift; done; shift; ROOT=yes exec \"$@\"");
    let cat = std::fs::read_to_string(world.at("bin/cat")).unwrap();
    let hidden = "for file; do [ \"$file$ROOT\" != /proc/1/stat ] || { echo \"cat: $file: No such file or directory\" >&2; exit 1; }; done";
    world.server.stub("cat", &format!("{hidden}\n{cat}"));
    let small = Small::start(&world.person, world.server.folder.path()).await;
    let survey = async |sudo: Sudo| {
        let access = Access::new(Options { sudo, ..world.options() }).unwrap();
        Performer::new(access).survey(&Host { id: host_id(), at: small.destination() }).await
    };
    assert_eq!(survey(Sudo::Plain).await.unwrap().boot, World::identity(0));
    assert_eq!(survey(Sudo::Never).await.unwrap_err().code, ErrorCode::ToolFailed);
}

#[tokio::test]
async fn the_key_of_a_host_is_tried_first_and_with_no_other_host() {
    let mut person = Person::new();
    let server = Server::with(&person, "MaxAuthTries 2", &[]);
    person.knows(&server);
    std::fs::rename(person.ssh("id_ed25519"), person.ssh("own")).unwrap();
    for name in ["a", "b", "c"] {
        keygen(&person.ssh(name), "");
        person.config.push_str(&format!("IdentityFile {}\n", person.ssh(name).display()));
    }
    let at = server.destination();
    let others = ["d", "e", "f"].map(|name| {
        keygen(&person.ssh(name), "");
        (format!("root@{name}").parse().unwrap(), person.ssh(name))
    });
    let mut options = Options { identity_of: others.into(), identity_files: vec![person.ssh("a")], ..person.options() };
    options.identity_of.insert(at.clone(), person.ssh("own"));
    assert!(Access::new(options.clone()).unwrap().far(at.clone()).boot().await.is_ok());
    let tried = Access::new(options).unwrap().settings(&at).await.unwrap().identity_files;
    assert_eq!(tried.first(), Some(&person.ssh("own")));
    assert!(!tried.contains(&person.ssh("d")), "{tried:?}");
}
