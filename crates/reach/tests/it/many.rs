//! One command on many hosts.

use std::time::{Duration, Instant};

use reach::ssh::{Access, Down, RunEnd, RunEvent, RunNews, RunOptions, RunTarget, SshError, run_many};
use tokio::sync::mpsc;

use crate::bench::{PATIENCE, Person, Server};
use crate::world::{World, wait};

fn targets(servers: &[&Server]) -> Vec<RunTarget> {
    let target = |(at, server): (usize, &&Server)| RunTarget { name: format!("host{at}"), at: server.destination() };
    servers.iter().enumerate().map(target).collect()
}

async fn run(
    access: &std::sync::Arc<Access>,
    servers: &[&Server],
    command: &str,
    options: RunOptions,
) -> (Vec<RunEnd>, Vec<RunEvent>) {
    let (news, mut heard) = mpsc::channel(16);
    let targets = targets(servers);
    let collect = async {
        let mut all = Vec::new();
        while let Some(event) = heard.recv().await {
            all.push(event);
        }
        all
    };
    let run = async { tokio::join!(run_many(access, &targets, command, options, news), collect) };
    tokio::time::timeout(PATIENCE, run).await.expect("it waits without a limit")
}

fn said(news: &[RunEvent], host: usize) -> Vec<(bool, String)> {
    let lines = news.iter().filter(|event| event.host == host).filter_map(|event| match &event.news {
        RunNews::Said { error, line } => Some((*error, line.clone())),
        _ => None,
    });
    lines.collect()
}

#[tokio::test]
async fn s2_22_twenty_hosts_wide_with_lines_and_exit_codes_of_each() {
    let person = Person::new();
    let servers: Vec<Server> = (0..20).map(|_| Server::start(&person)).collect();
    servers.iter().for_each(|server| person.knows(server));
    let servers: Vec<&Server> = servers.iter().collect();
    let options = RunOptions { concurrency: 20, ..RunOptions::default() };
    let (ends, news) = run(&person.access(), &servers, "echo one; echo two >&2; printf $HOME; exit 7", options).await;
    assert!(ends.iter().all(|end| matches!(end, RunEnd::Exit(7))), "{ends:?}");
    for (host, server) in servers.iter().enumerate() {
        let farm = server.folder.path().display().to_string();
        let mut lines = said(&news, host);
        lines.sort();
        let mut wanted = [(false, "one".to_owned()), (false, farm), (true, "two".to_owned())];
        wanted.sort();
        assert_eq!(lines, wanted);
        assert_eq!(server.connections(), 1);
    }
}

#[tokio::test]
async fn s2_20_so_many_at_a_time_in_this_order_and_nothing_after_too_many_failures() {
    let person = Person::new();
    let servers: Vec<Server> = (0..4).map(|_| Server::start(&person)).collect();
    servers.iter().for_each(|server| person.knows(server));
    let servers: Vec<&Server> = servers.iter().collect();
    servers[1].shut(true);
    let options = RunOptions { failures: Some(0), ..RunOptions::default() };
    let (ends, news) = run(&person.access(), &servers, "true", options).await;
    assert!(
        matches!(&ends[..], [RunEnd::Exit(0), RunEnd::Failed(SshError::Unreachable { .. }), RunEnd::NotBegun, RunEnd::NotBegun]),
        "{ends:?}"
    );
    let order: Vec<(usize, bool)> = news
        .iter()
        .filter_map(|event| match event.news {
            RunNews::Begun => Some((event.host, true)),
            RunNews::Ended(_) => Some((event.host, false)),
            _ => None,
        })
        .collect();
    assert_eq!(order, [(0, true), (0, false), (1, true), (1, false), (2, false), (3, false)], "one after the other");
}

fn rebooting() -> RunOptions {
    RunOptions {
        down_within: Duration::from_secs(5),
        back_within: Duration::from_secs(60),
        learn_after: Duration::from_secs(1),
        ..RunOptions::default()
    }
}

#[tokio::test]
async fn s2_28_a_host_that_goes_down_is_waited_for_before_the_next_begins() {
    let (world, second) = (World::new(), World::new());
    world.person.knows(&second.server);
    std::fs::copy(world.person.ssh("id_ed25519.pub"), second.at("authorized_keys")).unwrap();
    let access = Access::new(world.options()).unwrap();
    // Ordered, as systemd does it: the tool returns, and the host goes down a while later.
    world.server.stub("shutdown", "echo down >> $FARM/orders");
    second.server.stub("shutdown", "echo down >> $FARM/orders");
    let servers = [&world.server, &second.server];
    let goes_down = async {
        wait("no order", || world.orders() == 1).await;
        tokio::time::sleep(Duration::from_millis(1200)).await;
        world.server.shut(true);
        world.server.cut();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert_eq!(second.orders(), 0, "the next has begun while the first is down");
        world.boot(1);
        world.server.shut(false);
        wait("no second order", || second.orders() == 1).await;
        // So fast that it is never seen down (E37).
        second.boot(1);
    };
    let ((ends, news), ()) = tokio::join!(run(&access, &servers, "$FARM/bin/shutdown -r now", rebooting()), goes_down);
    assert!(matches!(&ends[..], [RunEnd::Rebooted { exit: Some(0) }, RunEnd::Rebooted { exit: Some(0) }]), "{ends:?}");
    let back = news
        .iter()
        .filter(|event| matches!(&event.news, RunNews::Back { before: Some(_), after, .. } if *after == World::identity(1)));
    assert_eq!(back.count(), 2);
}

#[tokio::test]
async fn a_connection_that_dies_with_the_host_is_a_reboot_and_one_that_dies_alone_is_not() {
    let world = World::new();
    let access = Access::new(world.options()).unwrap();
    let servers = [&world.server];
    let begun = |name: &'static str| format!("echo $$ > $FARM/{name}; exec sleep 600");
    let (one, two) = (begun("one"), begun("two"));
    let dies = async {
        wait("not begun", || world.at("one").exists()).await;
        // Long enough for its boot to be learnt while the command runs.
        let learnt = world.server.connections();
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(world.server.connections(), learnt, "the boot is read on the same connection");
        world.boot(1);
        world.server.cut();
    };
    let (ends, ()) = tokio::join!(run(&access, &servers, &one, rebooting()), dies);
    assert!(matches!(ends.0[..], [RunEnd::Rebooted { exit: None }]), "{:?}", ends.0);
    let cut = async {
        wait("not begun", || world.at("two").exists()).await;
        world.server.cut();
    };
    let (ends, ()) = tokio::join!(run(&access, &servers, &two, rebooting()), cut);
    assert!(matches!(ends.0[..], [RunEnd::Failed(SshError::Lost { .. })]), "{:?}", ends.0);
}

#[tokio::test]
async fn the_boot_is_learnt_beside_a_command_that_never_stops_talking() {
    let world = World::new();
    let access = Access::new(world.options()).unwrap();
    let (news, mut heard) = mpsc::channel(16);
    let targets = targets(&[&world.server]);
    // Not kept, for it is a lot.
    let listen = async { while heard.recv().await.is_some() {} };
    let dies = async {
        let read = || world.reads(0).len();
        wait("the boot is not read while it talks", || read() > 0).await;
        // What was read is on its way.
        tokio::time::sleep(Duration::from_secs(2)).await;
        world.boot(1);
        world.server.cut();
    };
    let run = async { tokio::join!(run_many(&access, &targets, "exec yes", rebooting(), news), listen, dies) };
    let (ends, (), ()) = tokio::time::timeout(PATIENCE, run).await.expect("it waits without a limit");
    assert!(matches!(ends[..], [RunEnd::Rebooted { exit: None }]), "{ends:?}");
}

#[tokio::test]
async fn a_host_that_does_not_come_back_is_a_clear_failure_and_one_that_stays_up_is_told() {
    let world = World::new();
    let access = Access::new(world.options()).unwrap();
    let options =
        RunOptions { down_within: Duration::from_secs(2), back_within: Duration::from_secs(4), ..RunOptions::default() };
    let expected = RunOptions { down: Down::Expected, ..options };
    let (ends, _) = run(&access, &[&world.server], "true", expected).await;
    assert!(matches!(ends[..], [RunEnd::StayedUp { exit: 0 }]), "{ends:?}");
    assert!(!ends[0].is_good());
    world.server.stub("reboot", "echo down >> $FARM/orders; exec sleep 600");
    let goes = async {
        wait("no order", || world.orders() == 1).await;
        world.server.shut(true);
        world.server.cut();
    };
    let begun = Instant::now();
    let servers = [&world.server];
    let ((ends, _), ()) = tokio::join!(run(&access, &servers, "$FARM/bin/reboot", options), goes);
    assert!(matches!(&ends[..], [RunEnd::Gone { why }] if why.contains("console")), "{ends:?}");
    assert!(begun.elapsed() < Duration::from_secs(60));
}
