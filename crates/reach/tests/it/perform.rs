//! Commands on a host without an agent.

use std::time::Duration;

use model::{AckStatus, Action, Check, CheckKind, CheckResult, ErrorCode, Millis, Observed, Readable};
use reach::ssh::{Access, Host, Options, Secret, Sudo};

use crate::small::Small;
use crate::world::{World, command, now, reboot, wait};

#[tokio::test]
async fn a_host_is_read_into_a_report_and_reports_are_counted() {
    let world = World::new();
    let performer = world.performer();
    let report = performer.survey(&world.host()).await.unwrap();
    assert_eq!((report.boot, report.sequence, report.agent_version.as_str()), (World::identity(0), 1, "ssh"));
    assert_eq!((report.pending_shutdown, report.inhibitors), (Readable::Known(None), Readable::Known(Vec::new())));
    assert!(report.rate.opens_in_ms.is_none());
    let again = performer.survey(&world.host()).await.unwrap();
    assert_eq!((again.instance, again.sequence), (report.instance, 2));
    let ack = world.begin(&command(1, Action::Probe { checks: Vec::new() })).last().await;
    assert_eq!((ack.status, ack.report.unwrap().boot), (AckStatus::Completed, World::identity(0)));
    std::fs::write(world.at("proc/sys/kernel/random/boot_id"), "0d4f\n").unwrap();
    let error = performer.survey(&world.host()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::ToolFailed, "half a boot id is none: {}", error.message);
    world.server.shut(true);
    assert_eq!(performer.survey(&world.host()).await.unwrap_err().code, ErrorCode::Unreachable);
}

#[tokio::test]
async fn pain_3_a_reboot_is_completed_by_another_boot_read_twice_over_new_connections() {
    let world = World::new();
    let command = reboot(1, Millis::secs(120));
    let mut begun = world.begin(&command);
    begun.until(AckStatus::ExecutionStarted).await;
    wait("no order", || world.orders() == 1).await;
    // The host goes down under it, and half a boot id is shown on the way up.
    world.server.shut(true);
    world.server.cut();
    std::fs::write(world.at("proc/sys/kernel/random/boot_id"), "").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.server.shut(false);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.boot(1);
    let ack = begun.last().await;
    assert_eq!((ack.status, ack.boot), (AckStatus::Completed, World::identity(1)), "{ack:?}");
    assert_eq!(ack.report.unwrap().boot, World::identity(1));
    let reads = world.reads(1);
    let [(first, over), (second, over_another), ..] = &reads[..] else { panic!("read once: {reads:?}") };
    assert!(second - first >= 2000 && over != over_another, "{reads:?}");
    let ordered = world.reads(0);
    assert!(ordered.iter().all(|(_, connection)| connection != over), "a new connection after the order: {ordered:?}");
    assert_eq!(world.orders(), 1);
}

#[tokio::test]
async fn a_boot_that_changes_between_the_readings_is_read_again() {
    let world = World::new();
    let mut begun = world.begin(&reboot(1, Millis::secs(120)));
    begun.until(AckStatus::ExecutionStarted).await;
    wait("no order", || world.orders() == 1).await;
    world.boot_changes(1, 2);
    world.boot(1);
    assert_eq!(begun.last().await.boot, World::identity(2));
}

#[tokio::test]
async fn a_repeat_after_our_own_end_watches_on_and_orders_nothing() {
    let world = World::new();
    let command = reboot(1, Millis::secs(120));
    let mut first = world.begin(&command);
    first.until(AckStatus::ExecutionStarted).await;
    wait("no order", || world.orders() == 1).await;
    first.kill().await;
    // On the same boot it is watched on, by a performer that remembers nothing; even when it has expired meanwhile.
    let mut late = command.clone();
    late.expires_at = now();
    let mut second = world.begin(&late);
    second.until(AckStatus::ExecutionStarted).await;
    second.kill().await;
    world.boot(1);
    let ack = world.begin(&late).last().await;
    assert_eq!((ack.status, ack.boot), (AckStatus::Completed, World::identity(1)));
    assert_eq!(world.orders(), 1);
}

#[tokio::test]
async fn what_is_too_late_or_for_another_boot_is_not_begun() {
    let world = World::new();
    let mut late = reboot(1, Millis::secs(120));
    late.expires_at = now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let ack = world.begin(&late).last().await;
    assert_eq!((ack.status, ack.error.unwrap().code), (AckStatus::Failed, ErrorCode::Expired));
    let mut probe = command(2, Action::Probe { checks: Vec::new() });
    probe.expires_at = now();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(world.begin(&probe).last().await.error.unwrap().code, ErrorCode::Expired);
    world.boot(1);
    let ack = world.begin(&reboot(3, Millis::secs(120))).last().await;
    assert_eq!((ack.error.unwrap().code, ack.boot), (ErrorCode::BootDiffers, World::identity(1)));
    assert_eq!(world.orders(), 0);
}

#[tokio::test]
async fn an_order_that_comes_to_nothing_is_not_begun_and_closed() {
    let world = World::new();
    let command = reboot(1, Millis(1500));
    let ack = world.begin(&command).last().await;
    assert_eq!((ack.status, ack.error.unwrap().code), (AckStatus::Failed, ErrorCode::NotBegun));
    let again = world.begin(&command).last().await;
    assert_eq!(again.error.unwrap().code, ErrorCode::NotBegun, "a repeat is told the same");
    assert_eq!(world.orders(), 1);
    std::fs::write(world.at("refuse"), "Operation inhibited by \"apt\" (PID 1 \"apt\"), reason is \"upgrade\".\n").unwrap();
    let ack = world.begin(&reboot(2, Millis::secs(120))).last().await;
    let error = ack.error.unwrap();
    assert!(error.code == ErrorCode::Refused && error.message.contains("upgrade"), "{error:?}");
}

#[tokio::test]
async fn a_full_disk_on_the_far_end_lets_nothing_be_ordered_and_is_told_when_the_command_expires() {
    let world = World::new();
    std::os::unix::fs::symlink("/dev/full", world.at("full")).unwrap();
    let mut options = world.options();
    // Folders can be made there, and nothing written into them.
    world.server.stub("mkdir", "exec /bin/mkdir -p $FARM/run $FARM/claims && exit 0");
    world.server.stub("ln", "case $2 in */claims/*) echo 'ln: No space left on device' >&2; exit 1;; esac; exec /bin/ln \"$@\"");
    options.limits.connect = Duration::from_secs(10);
    let performer = std::sync::Arc::new(reach::ssh::Performer::new(Access::new(options).unwrap()));
    let (say, mut said) = tokio::sync::mpsc::channel(8);
    let mut command = reboot(1, Millis::secs(120));
    command.expires_at = now() + Millis(4000);
    performer.perform(&world.host(), &command, say).await;
    let ack = said.recv().await.unwrap();
    let error = ack.error.unwrap();
    assert_eq!((ack.status, error.code), (AckStatus::Failed, ErrorCode::Expired));
    assert!(error.message.contains("the claim cannot be written") && error.message.contains("No space left"), "{error:?}");
    assert_eq!(world.orders(), 0);
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_fails_a_command_when_it_expires_and_says_nothing_of_a_reboot() {
    let world = World::new();
    world.server.shut(true);
    let mut probe = command(1, Action::Probe { checks: Vec::new() });
    probe.expires_at = now() + Millis(1500);
    let ack = world.begin(&probe).last().await;
    assert_eq!(ack.error.unwrap().code, ErrorCode::Unreachable);
    // An earlier copy may have rebooted it: it is asked on.
    let mut late = reboot(2, Millis::secs(120));
    late.expires_at = now();
    let mut begun = world.begin(&late);
    let silent = tokio::time::timeout(Duration::from_secs(3), begun.next()).await;
    assert!(silent.is_err(), "{silent:?}");
    world.server.shut(false);
    assert_eq!(begun.last().await.error.unwrap().code, ErrorCode::Expired);
}

/// A real sudo cannot be made to ask in a test without changing the machine: this one asks as it does.
const SUDO: &str = "ask=yes; while [ $# -gt 0 ]; do case $1 in -n) [ ! -e $FARM/asks ] || { echo 'sudo: a password is required' >&2; exit 1; }; ask=no;; \
                    -S) ;; -p) shift;; -H) ;; --) shift; break;; esac; shift; done; \
                    if [ $ask = yes ]; then read -r word; [ \"$word\" = hunter2 ] || { echo 'sudo: 1 incorrect password attempt' >&2; exit 1; }; fi; \
                    echo sudo >> $FARM/sudos; exec \"$@\"";

#[tokio::test]
async fn sudo_that_asks_for_a_password_is_told_one_or_says_what_to_do() {
    let world = World::new();
    world.server.stub("sudo", SUDO);
    let small = Small::start(&world.person, world.server.folder.path()).await;
    let sudos = || std::fs::read_to_string(world.at("sudos")).unwrap_or_default().lines().count();
    let survey = async |sudo: Sudo| {
        let access = Access::new(Options { sudo, ..world.options() }).unwrap();
        let host = Host { id: crate::world::host_id(), at: small.destination() };
        reach::ssh::Performer::new(access).survey(&host).await
    };
    assert!(survey(Sudo::Plain).await.is_ok() && sudos() > 0);
    std::fs::write(world.at("asks"), "").unwrap();
    let error = survey(Sudo::Plain).await.unwrap_err();
    assert!(error.code == ErrorCode::Denied && error.message.contains("NOPASSWD"), "{error:?}");
    assert!(survey(secret(&world, "hunter2\n")).await.is_ok());
    let error = survey(secret(&world, "wrong\n")).await.unwrap_err();
    assert!(error.code == ErrorCode::Denied && error.message.contains("does not take"), "{error:?}");
}

fn secret(world: &World, text: &str) -> Sudo {
    std::fs::write(world.at("password"), text).unwrap();
    Sudo::Password(Secret::read(&world.at("password")).unwrap())
}

#[tokio::test]
async fn a_host_that_wants_a_password_says_what_to_do_instead() {
    let world = World::new();
    // No key: the password would be all there is.
    std::fs::remove_file(world.person.ssh("id_ed25519")).unwrap();
    let small = Small::start(&world.person, world.server.folder.path()).await;
    let host = Host { id: crate::world::host_id(), at: small.destination() };
    let error = world.performer().survey(&host).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Denied);
    assert!(error.message.contains("ssh-add") && error.message.contains("authorized_keys"), "{error:?}");
}

#[tokio::test]
async fn a_probe_brings_what_its_checks_gave_and_a_report() {
    let world = World::new();
    let check = |name: &str, script: &str| Check {
        name: name.to_owned(),
        kind: CheckKind::Command { argv: ["sh", "-c", script].map(str::to_owned).to_vec() },
        limit: Millis::secs(60),
    };
    let checks = vec![check("good", "true"), check("bad", "echo no; exit 1")];
    let ack = world.begin(&command(1, Action::Probe { checks: checks.clone() })).last().await;
    assert!(ack.report.is_some(), "{ack:?}");
    let said = |observed| match observed {
        Some(Observed::Checks(results)) => results.into_iter().map(|r: CheckResult| (r.name, r.passed)).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    let wanted = [("good".to_owned(), true), ("bad".to_owned(), false)];
    assert_eq!(said(ack.observed), wanted);
    assert_eq!(said(world.begin(&command(2, Action::Check { checks })).last().await.observed), wanted);
}
