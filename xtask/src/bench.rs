//! `cargo xtask bench`: figures beside peers, in one run, as ratios. Never part of the tests.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Subcommand;

use crate::lab::{cargo, finish};
use crate::{loading, planning, restarting, rolling};

#[derive(Subcommand)]
pub(crate) enum Order {
    /// `true` on 20 and 100 real sshd, beside xargs and ssh, parallel-ssh, asyncssh, pyinfra and Ansible (needs sshd, python3, PyPI)
    Ssh {
        /// For the script: --hosts 20,100 --concurrency 1,5,20 --runs 5 --json FILE
        #[arg(allow_hyphen_values = true, trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Planning 200,000 targets under limit groups, and list scheduling of 200 hosts by hand
    Plan,
    /// Reading inventories of 10,000 hosts (build with `--release`)
    Inventory,
    /// A rolling reboot of simulated hosts through the real engine in virtual time: its makespan beside list scheduling, and
    /// what the engine costs (build with `--release`)
    Rollout {
        /// So many targets for the cost; of fewer than 200, 5 % of a site are nobody
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..))]
        targets: u32,
        /// So many of them at once, a number or a percentage
        #[arg(long, default_value = "5%")]
        concurrency: String,
    },
    /// S3's 19 services on a real host of the lab: one after the other and in parallel, beside the longest chain of dependencies
    /// and beside what `systemctl` itself takes (needs root; about a quarter of an hour)
    Services {
        /// The soak of each service, in seconds
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=600))]
        soak: u16,
    },
}

/// The versions that the published figures were measured beside.
const PEERS: [&str; 4] = ["parallel-ssh==2.16.0.post1", "asyncssh==2.24.1", "pyinfra==3.10.0", "ansible-core==2.19.14"];

pub(crate) fn run(order: Order) -> anyhow::Result<()> {
    match order {
        Order::Ssh { words } => ssh(&words),
        Order::Plan => planning::run(),
        Order::Inventory => loading::run(),
        Order::Rollout { targets, concurrency } => rolling::run(targets, &concurrency),
        Order::Services { soak } => restarting::run(soak),
    }
}

/// Processor time of this thread: other work on the machine does not count.
pub(crate) fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

fn ssh(words: &[String]) -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("xtask stands in the project")?;
    ensure!(Path::new("/usr/sbin/sshd").exists(), "there is no /usr/sbin/sshd: install openssh-server");
    finish(cargo(&["build", "--release", "-p", "cli"]))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let python = peers(&target.join("bench/peers"))?;
    let mut script = Command::new(&python);
    script.arg(root.join("bench/ssh.py")).arg("--python").arg(&python);
    script.arg("--reveille").arg(target.join("release/reveille")).args(words);
    finish(script)
}

/// A Python with the peers in it; installed once.
fn peers(place: &Path) -> anyhow::Result<PathBuf> {
    let python = place.join("bin/python");
    let mark = place.join("installed");
    let wanted = PEERS.join("\n");
    if std::fs::read_to_string(&mark).is_ok_and(|found| found == wanted) {
        return Ok(python);
    }
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(place);
    finish(make)?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "-q"]).args(PEERS);
    finish(install)?;
    std::fs::write(&mark, wanted)?;
    Ok(python)
}
