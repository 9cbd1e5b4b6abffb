//! What goes wrong with hosts that are reached by ssh alone, and what is left of it.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::rolling_fleet::PAUSED;
use crate::fleet::local::Local;
use crate::fleet::{Fleet, Member, WORK};
use crate::process::Said;
use crate::product::{self, PATIENCE};
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "rolling_far_ends_that_fail",
        about: "plain ssh: a reboot whose connection dies, one that is not there at the start",
        limit: Duration::from_mins(5),
        machines: 2,
        run: far_ends_that_fail,
    },
    Scenario {
        name: "rolling_on_a_full_disk",
        about: "plain ssh: nothing is done on a host that cannot write its claim down, and it is said; later it is",
        limit: Duration::from_mins(4),
        machines: 1,
        run: on_a_full_disk,
    },
    Scenario {
        name: "rolling_hosts_that_vanish",
        about: "plain ssh: one that does not come back, one that cannot be reached while it soaks",
        limit: Duration::from_mins(5),
        machines: 2,
        run: hosts_that_vanish,
    },
];

/// Workers without a balancer, and a person at a machine.
pub(super) fn workers(world: &World, pace: &[(&str, u64)], number: usize) -> anyhow::Result<(Fleet, Local)> {
    let fleet = Fleet::make(world, 0, number)?;
    fleet.power_on()?;
    let tables = format!("{}{}", product::pace(pace), Fleet::tables(None, ""));
    let local = Local::new(world, &fleet, &tables)?;
    Ok((fleet, local))
}

/// One host, by name.
pub(super) fn reboot(local: &Local, member: &Member, more: &[&str]) -> anyhow::Result<Said> {
    local.run(&[&["reboot", member.host.name(), "--yes", "--soak", "1s"], more].concat(), PATIENCE)
}

/// It ended badly, and said why.
pub(super) fn failed(said: &Said, words: &[&str]) -> anyhow::Result<String> {
    let text = format!("{}{}", said.out, said.err);
    ensure!(!said.ok(), "it ended well:\n{text}");
    for word in words {
        ensure!(text.contains(word), "no {word:?} in:\n{text}");
    }
    let line = text.lines().find(|line| words.iter().all(|word| line.contains(word))).unwrap_or_default();
    Ok(format!("exit {}: {}", said.status.code().unwrap_or(-1), line.trim()))
}

fn done(said: &Said) -> anyhow::Result<()> {
    ensure!(said.ok(), "it ended with {}:\n{}{}", said.status, said.out, said.err);
    Ok(())
}

/// Kills every ssh session of the host, its own caller's too, and then reboots all the same.
const DYING: &str = "#!/bin/sh\ncase \" $* \" in *\" reboot \"*)\n\
                     setsid sh -c 'sleep 0.5; pkill -9 -f \"^sshd: \"; sleep 0.5; exec /usr/bin/systemctl.real reboot' >/dev/null 2>&1 &\n\
                     sleep 60;;\nesac\nexec /usr/bin/systemctl.real \"$@\"\n";

const FILL: &str = "cat /dev/zero > /var/lib/reveille/filler 2>/dev/null; true";

fn on_a_full_disk(world: &World) -> anyhow::Result<()> {
    let (fleet, local) = workers(world, &[], 1)?;
    let tables = |pace: &[(&str, u64)]| format!("{}{}", product::pace(pace), Fleet::tables(None, ""));
    let full = &fleet.members[0];
    full.host.sh(&format!("mkdir -p /var/lib/reveille && mount -t tmpfs -o size=16k tmpfs /var/lib/reveille && ({FILL})"))?;
    // Nothing is taken out of service for a reboot that could not be claimed.
    let run = full.run_of(WORK)?;
    local.write(&fleet, &tables(&[("wait_limit", 8_000)]))?;
    let said = reboot(&local, full, &[])?;
    world.shown(format!("full beforehand: {}", failed(&said, &[full.host.name(), "the disk of /var/lib/reveille is full"])?));
    ensure!(full.run_of(WORK)? == run, "its service was stopped for a reboot that could not be claimed");

    // It fills up while its service stops. It is tried again until the command has expired, since there may be room soon.
    full.host.sh(&format!(
        "rm /var/lib/reveille/filler; mkdir -p /run/systemd/system/work.service.d && \
         printf '[Service]\\nExecStop=/bin/sh -c \"{FILL}\"\\n' > /run/systemd/system/work.service.d/fill.conf && systemctl daemon-reload"
    ))?;
    local.write(&fleet, &tables(&[("command_expiry", 10_000)]))?;
    let said = reboot(&local, full, &[])?;
    local.write(&fleet, &tables(&[]))?;
    world.shown(format!("full once it was drained: {}", failed(&said, &[full.host.name(), "the claim cannot be written"])?));
    ensure!(full.run_of(WORK)? != run, "its service was never stopped");
    ensure!(full.reboots()? == 0, "it rebooted without a claim");
    fleet.restored(None, &[])?;
    full.host.sh("rm -r /run/systemd/system/work.service.d && systemctl daemon-reload && umount /var/lib/reveille")?;
    done(&reboot(&local, full, &[])?).context("once there is room")?;
    ensure!(full.reboots()? == 1, "rebooted {} times", full.reboots()?);
    world.shown("not rebooted, its units run again; once there was room it rebooted once");
    Ok(())
}

fn far_ends_that_fail(world: &World) -> anyhow::Result<()> {
    let (fleet, local) = workers(world, &[], 2)?;
    let [dying, away] = fleet.members.as_slice() else { anyhow::bail!("two workers") };
    dying.host.shadow_program("/usr/bin/systemctl", DYING)?;
    let said = reboot(&local, dying, &[]);
    dying.host.unshadow_program("/usr/bin/systemctl")?;
    done(&said?)?;
    ensure!(dying.reboots()? == 1, "rebooted {} times", dying.reboots()?);
    fleet.restored(None, &[])?;
    world.shown("every ssh session killed by the reboot itself: proven all the same, rebooted once");

    // Not there when it is to begin; the others are not kept from anything.
    away.host.cable(false)?;
    let said = local.run(&["reboot", "*", "--yes", "--soak", "1s", "--failure-budget", "1"], PATIENCE)?;
    away.host.cable(true)?;
    world.shown(format!("unreachable at the start: {}", failed(&said, &[away.host.name()])?));
    ensure!(away.reboots()? == 0, "rebooted {} times", away.reboots()?);
    wait::until_true("all to be as before", PATIENCE, || fleet.restored(None, &[]).map(|()| true))
}

fn hosts_that_vanish(world: &World) -> anyhow::Result<()> {
    let (fleet, local) = workers(world, &[("command_expiry", 20_000), ("begin_within", 20_000), ("back_within", 10_000)], 2)?;
    let [held, cut] = fleet.members.as_slice() else { anyhow::bail!("two workers") };

    held.host.hold()?;
    let said = reboot(&local, held, &[])?;
    held.host.wait_down(PATIENCE)?;
    ensure!(said.status.code() == Some(PAUSED) || said.status.code() == Some(1), "it ended with {}", said.status);
    world.shown(format!("does not come back: {}", failed(&said, &[held.host.name()])?));
    held.host.release()?;
    held.host.wait_running(PATIENCE)?;
    let list = local.json(&["orchestrations"], PATIENCE)?;
    let id = list["orchestrations"][0]["id"].as_str().with_context(|| list.to_string())?.to_owned();
    done(&local.run(&["retry", &id, "--yes"], PATIENCE)?).context("retry after its late return")?;
    // It came back on another boot than the one that was to end: that is not done once more.
    ensure!(held.reboots()? == 1, "rebooted {} times", held.reboots()?);
    fleet.restored(None, &[])?;
    world.shown("came back late; `reveille retry` brought back what was drained, without another reboot");

    // It can be reached again before anybody gives it up: the soak begins anew.
    let boot = cut.host.boot_id().context("it is off")?;
    let mut running = local.daemon(&["reboot", cut.host.name(), "--yes", "--soak", "4s"]);
    running.start()?;
    cut.host.wait_new_boot(&boot, PATIENCE)?;
    cut.host.cable(false)?;
    std::thread::sleep(Duration::from_secs(3));
    cut.host.cable(true)?;
    let (code, log) = running.wait(PATIENCE)?;
    ensure!(code == Some(0), "it ended with {code:?}:\n{log}");
    ensure!(cut.reboots()? == 1, "rebooted {} times", cut.reboots()?);
    fleet.restored(None, &[])?;
    world.shown("not reachable for 3 s after its boot: proven later, rebooted once");
    Ok(())
}
