//! The lab proves itself before anything of the product is judged by it: its hosts reboot as machines do.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::evidence;
use crate::fleet::pulse::Pulse;
use crate::fleet::{self, Fleet, Role};
use crate::lab::{Host, Kind};
use crate::traffic::balancer::Balancer;
use crate::traffic::load::Load;
use crate::traffic::web;
use crate::wait;
use crate::world::{Scenario, World};

const LIMIT: Duration = Duration::from_mins(5);
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "lab_plain_host_reboots",
        about: "a reboot changes the boot id once and is in the host's own journal",
        limit: LIMIT,
        machines: 1,
        run: plain_host_reboots,
    },
    Scenario {
        name: "lab_host_held_down",
        about: "a held host stays down and comes back when released; a power cut keeps the disk",
        limit: LIMIT,
        machines: 1,
        run: host_held_down,
    },
    Scenario {
        name: "lab_children_over_a_bare_reboot",
        about: "what LXD itself does with running, stopped and paused children when their host reboots",
        limit: LIMIT,
        machines: 4,
        run: children_over_a_bare_reboot,
    },
    Scenario {
        name: "lab_fleet_of_eight",
        about: "eight hosts at once; a reboot of all of them is seen from outside, and what it does not bring back is, too",
        limit: LIMIT,
        machines: 8,
        run: fleet_of_eight,
    },
    Scenario {
        name: "lab_load_sees_a_careless_reboot",
        about: "by hand: a drained server's reboot fails no request, one that is not drained fails some, and both are seen",
        limit: LIMIT,
        machines: 2,
        run: load_sees_a_careless_reboot,
    },
];

/// Asks for a reboot. The connection may break before the answer: only a new boot id proves anything.
fn ask_for_reboot(host: &Host) -> anyhow::Result<()> {
    host.ssh("systemctl reboot", PATIENCE).map(drop)
}

fn plain_host_reboots(world: &World) -> anyhow::Result<()> {
    let host = world.boot("plain", Kind::Plain)?;
    let before = host.boot_id().context("no boot id")?;
    let uptime = |host: &Host| anyhow::Ok(host.sh("cut -d. -f1 /proc/uptime")?.trim().parse::<u64>()?);
    ensure!(uptime(&host)? < 120, "a fresh host has an uptime of its own");

    ask_for_reboot(&host)?;
    let after = host.wait_new_boot(&before, PATIENCE)?;

    let boots = host.journal_boots()?;
    let expected = [before.replace('-', ""), after.replace('-', "")];
    ensure!(boots == expected, "the journal tells of {boots:?} and not of {expected:?}");
    let offs: Vec<_> = host.power_log()?.into_iter().filter_map(|event| event.off).collect();
    ensure!(offs == [133], "the power supply saw {offs:?} and not one reboot");
    ensure!(host.boot_id() == Some(after), "the boot id changed again");
    Ok(())
}

fn host_held_down(world: &World) -> anyhow::Result<()> {
    let host = world.boot("held", Kind::Plain)?;
    let first = host.boot_id().context("no boot id")?;

    host.hold()?;
    ask_for_reboot(&host)?;
    host.wait_down(PATIENCE)?;
    wait::stays_true("it is down while held", Duration::from_secs(3), || Ok(host.leader().is_none()))?;
    ensure!(!host.ssh("true", PATIENCE)?.ok(), "it answers while it is down");
    host.release()?;
    let second = host.wait_new_boot(&first, PATIENCE)?;

    host.sh("echo kept > /root/kept && sync")?;
    host.power_cut()?;
    let third = host.wait_new_boot(&second, PATIENCE)?;
    ensure!(host.sh("cat /root/kept")?.trim() == "kept", "its disk is another");
    let offs: Vec<_> = host.power_log()?.into_iter().filter_map(|event| event.off).collect();
    ensure!(offs == [133, 1], "the power supply saw {offs:?} and not a reboot and a cut");

    host.freeze(true)?;
    ensure!(!host.ssh("true", PATIENCE)?.ok(), "a frozen host answers");
    host.freeze(false)?;
    host.cable(false)?;
    ensure!(!host.ssh("true", PATIENCE)?.ok(), "a host without a cable answers");
    host.cable(true)?;
    wait::until_true("an answer by the old cable", PATIENCE, || Ok(host.ssh("true", PATIENCE)?.ok()))?;
    ensure!(host.boot_id() == Some(third), "neither is a reboot");
    Ok(())
}

fn children_over_a_bare_reboot(world: &World) -> anyhow::Result<()> {
    let host = world.boot("bare", Kind::Parent)?;
    world.three_children(&host)?;
    let statuses = || -> anyhow::Result<Vec<String>> {
        Ok(host.children()?.into_iter().map(|child| format!("{} {}", child.name, child.status)).collect())
    };
    ensure!(statuses()? == ["c1 Running", "c2 Running", "c3 Stopped"], "{:?}", statuses()?);
    let one = host.child_boot_id("c1")?.context("c1 has no boot id")?;
    let two = host.child_boot_id("c2")?.context("c2 has no boot id")?;
    host.sh("lxc pause c2")?;
    ensure!(statuses()? == ["c1 Running", "c2 Frozen", "c3 Stopped"], "{:?}", statuses()?);

    let before = host.boot_id().context("no boot id")?;
    ask_for_reboot(&host)?;
    host.wait_new_boot(&before, PATIENCE)?;

    // LXD restores c1, and starts c2 and also c3, which was stopped: why the product has to look after it.
    let expected = ["c1 Running", "c2 Running", "c3 Running"];
    wait::until_true("LXD to start its children", PATIENCE, || Ok(statuses()? == expected))?;
    for (name, old) in [("c1", one), ("c2", two)] {
        host.child_wait_running(name, PATIENCE)?;
        let new = host.child_boot_id(name)?.with_context(|| format!("{name} has no boot id"))?;
        ensure!(new != old, "{name} runs on its old boot");
    }
    Ok(())
}

fn load_sees_a_careless_reboot(world: &World) -> anyhow::Result<()> {
    let hosts = [world.host("front", Kind::Plain)?, world.host("front", Kind::Plain)?];
    for host in &hosts {
        web::install(host)?;
        host.power_on()?;
    }
    for host in &hosts {
        host.wait_running(PATIENCE)?;
        web::wait_up(host, PATIENCE)?;
    }
    let mut balancer = Balancer::start(world, &[&hosts[0], &hosts[1]])?;
    let load = Load::start(&balancer.front);
    std::thread::sleep(Duration::from_secs(2));
    for host in &hosts {
        let boot = host.boot_id().context("no boot id")?;
        balancer.say(&format!("set server web/{} state drain", host.name()))?;
        // Longer than any request takes.
        std::thread::sleep(Duration::from_secs(1));
        ask_for_reboot(host)?;
        host.wait_new_boot(&boot, PATIENCE)?;
        web::wait_up(host, PATIENCE)?;
        balancer.wait_drained(host.name(), PATIENCE)?;
        balancer.say(&format!("set server web/{} state ready", host.name()))?;
        wait::until_true("its server to be up", PATIENCE, || Ok(balancer.word(host.name())? == "UP"))?;
        std::thread::sleep(Duration::from_secs(1));
    }
    let careful = load.end()?;
    ensure!(careful.failed.is_empty(), "{:?}", careful.failed);
    world.shown(format!("drained by hand: {}", careful.words()));
    let seen = balancer.seen()?;
    for host in &hosts {
        world.shown(evidence::served_around_its_reboot(host, &seen)?);
    }

    let load = Load::start(&balancer.front);
    std::thread::sleep(Duration::from_secs(1));
    let boot = hosts[0].boot_id().context("no boot id")?;
    ask_for_reboot(&hosts[0])?;
    hosts[0].wait_new_boot(&boot, PATIENCE)?;
    let careless = load.end()?;
    ensure!(!careless.failed.is_empty(), "the load sees nothing: {}", careless.words());
    let (_, reason) = careless.failed.first().context("no failure")?;
    world.shown(format!("not drained: {}; the first: {reason}", careless.words()));
    ensure!(evidence::served_around_its_reboot(&hosts[0], &seen).is_err(), "two reboots pass for one");
    Ok(())
}

fn fleet_of_eight(world: &World) -> anyhow::Result<()> {
    let fleet = Fleet::make(world, 2, 6)?;
    let begun = Instant::now();
    fleet.power_on()?;
    world.shown(format!("eight hosts and their services up after {:.1} s", begun.elapsed().as_secs_f32()));
    let balancer = fleet.balancer(world)?;
    fleet.restored(Some(&balancer), &[])?;
    ensure!(fleet.rebooted(0, &[])?.contains('8') && fleet.rebooted(1, &[]).is_err(), "reboots are miscounted");

    let pulse = Pulse::start(&fleet);
    let worker = fleet.of(Role::Worker).next().context("no worker")?;
    worker.break_web()?;
    let boots: Vec<_> = fleet.members.iter().map(|member| member.host.boot_id()).collect();
    fleet.members.iter().try_for_each(|member| ask_for_reboot(&member.host))?;
    for (member, boot) in fleet.members.iter().zip(boots) {
        member.host.wait_new_boot(&boot.context("no boot id")?, PATIENCE)?;
    }
    fleet.rebooted(1, &[])?;
    wait::until_true("the servers to be up", PATIENCE, || {
        let fronts = fleet.of(Role::Front).map(|front| balancer.word(front.host.name()));
        Ok(fronts.collect::<anyhow::Result<Vec<_>>>()?.iter().all(|word| word == "UP"))
    })?;
    let broken = format!("{:#}", fleet.restored(Some(&balancer), &[]).err().context("a broken service passes for well")?);
    ensure!(broken.contains(&format!("the web service of {}", worker.host.name())), "{broken}");
    worker.repair_web()?;
    let down = format!("{:#}", fleet.restored(Some(&balancer), &[]).err().context("units that do not run pass for restored")?);
    ensure!(down.contains(fleet::WORK), "{down}");
    for member in fleet.of(Role::Worker) {
        member.host.sh(&format!("systemctl start {}", fleet::WORK))?;
    }
    fleet.restored(Some(&balancer), &[])?;
    worker.host.sh(&format!("systemctl start {}", fleet::IDLE))?;
    ensure!(fleet.restored(Some(&balancer), &[]).is_err(), "a unit that stood still and runs passes for restored");
    let outages = pulse.end()?;
    let (most, racks) = (outages.most(|_| true), outages.most(|member| member.rack == "a"));
    ensure!(most >= 3 && racks >= 2, "a reboot of all at once was seen as {most} down at once: {outages:?}");
    world.shown(format!("rebooted all at once: {most} seen down at once, {racks} of rack a; then {broken}; then {down}"));
    Ok(())
}
