//! What people do to a rollout, knowingly or not.

use std::time::Duration;

use anyhow::{Context, ensure};

use super::rolling_faults::{failed, reboot, workers};
use crate::fleet::Fleet;
use crate::fleet::local::Local;
use crate::product::{self, PATIENCE};
use crate::traffic::load::Load;
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "rolling_a_persons_server_stays_drained",
        about: "a server that a person took out of the balancer is out afterwards; the others come back",
        limit: Duration::from_mins(5),
        machines: 3,
        run: persons_server_stays_drained,
    },
    Scenario {
        name: "rolling_interrupted_and_locked_out",
        about: "plain ssh: Ctrl-C and resume; passwords that nobody gave; another host key; no target at all",
        limit: Duration::from_mins(5),
        machines: 2,
        run: interrupted_and_locked_out,
    },
];

fn persons_server_stays_drained(world: &World) -> anyhow::Result<()> {
    let fleet = Fleet::make(world, 3, 0)?;
    fleet.power_on()?;
    let balancer = fleet.balancer(world)?;
    // All three may be down: what is out of use already must not stand in the way.
    let tables = Fleet::tables(Some(&balancer), "").replace("max_unavailable = 1", "max_unavailable = 3");
    let local = Local::new(world, &fleet, &format!("{}{tables}", product::pace(&[])))?;
    let [first, second, third] = fleet.members.as_slice() else { anyhow::bail!("three fronts") };
    balancer.say(&format!("set server web/{} state maint", first.host.name()))?;
    balancer.say(&format!("set server web/{} state drain", second.host.name()))?;

    let load = Load::start(&balancer.front);
    for member in [first, second] {
        let said = reboot(&local, member, &[])?;
        ensure!(said.ok(), "it ended with {}:\n{}{}", said.status, said.out, said.err);
    }
    let tally = load.end()?;
    ensure!(tally.failed.is_empty(), "{}: {:?}", tally.words(), tally.failed);
    let words = [balancer.word(first.host.name())?, balancer.word(second.host.name())?, balancer.word(third.host.name())?];
    ensure!(words == ["MAINT", "DRAIN", "UP"], "{words:?}");
    fleet.rebooted(1, &[(third.host.name(), 0)])?;
    world.shown(format!("in maintenance and drained by a person, both rebooted: {}; {}", words.join(", "), tally.words()));
    Ok(())
}

fn interrupted_and_locked_out(world: &World) -> anyhow::Result<()> {
    let (fleet, local) = workers(world, &[], 2)?;
    let [first, second] = fleet.members.as_slice() else { anyhow::bail!("two workers") };

    let bare = local.run(&["reboot", "--yes"], PATIENCE)?;
    ensure!(bare.status.code() == Some(2), "without a target it ended with {}: {}{}", bare.status, bare.out, bare.err);
    let nobody = local.run(&["reboot", "role=nobody", "--yes"], PATIENCE)?;
    world.shown(format!("no such target: {}", failed(&nobody, &["nobody"])?));

    let mut running = local.daemon(&["reboot", "*", "--yes", "--soak", "1s"]);
    running.start()?;
    wait::until_true("the first reboot", PATIENCE, || Ok(first.reboots()? + second.reboots()? == 1))?;
    running.interrupt()?;
    let (code, log) = running.wait(PATIENCE)?;
    ensure!(code == Some(130), "Ctrl-C ended it with {code:?}:\n{log}");
    let resumed = local.run(&["resume"], PATIENCE)?;
    ensure!(resumed.ok(), "resume ended with {}: {}{}", resumed.status, resumed.out, resumed.err);
    fleet.restored(None, &[])?;
    world.shown(format!("Ctrl-C: exit 130; resume: {}; {}", resumed.status, fleet.rebooted(1, &[])?));

    // A user who may do everything by sudo, with a password.
    let user = "useradd -m -s /bin/sh op && echo op:secret | chpasswd && echo 'op ALL=(ALL) ALL' > /etc/sudoers.d/op && \
                install -d -m700 -o op /home/op/.ssh && install -m600 -o op /root/.ssh/authorized_keys /home/op/.ssh/";
    first.host.sh(user)?;
    let file = std::fs::read_to_string(local.file())?;
    let root = format!("root@{}\"", first.host.ip());
    std::fs::write(local.file(), file.replace(&root, &format!("op@{}\"", first.host.ip())))?;
    let said = reboot(&local, first, &[])?;
    world.shown(format!("sudo asks and nobody answers: {}", failed(&said, &["sudo", "password"])?));
    let password = world.dir.join("password");
    std::fs::write(&password, "secret\n")?;
    std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let with = ["--sudo-password-file", password.to_str().context("no text")?];
    let said = reboot(&local, first, &with)?;
    ensure!(said.ok(), "with its password it ended with {}:\n{}{}", said.status, said.out, said.err);
    // No key of ours opens it, and nobody is there to type.
    first.host.sh("rm /home/op/.ssh/authorized_keys")?;
    let said = reboot(&local, first, &with)?;
    world.shown(format!("ssh asks and nobody answers: {}", failed(&said, &[first.host.name()])?));
    fleet.rebooted(2, &[(second.host.name(), 1)])?;

    second.host.sh(
        "rm /etc/ssh/ssh_host_ed25519_key* && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key && systemctl restart ssh",
    )?;
    let said = reboot(&local, second, &[])?;
    world.shown(format!("another host key: {}", failed(&said, &["key"])?));
    fleet.rebooted(2, &[(second.host.name(), 1)])?;
    Ok(())
}
