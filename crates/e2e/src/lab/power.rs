//! A host's power supply: a loop round `systemd-nspawn --boot`.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;

use super::host::Host;
use super::lock;
use super::sandbox::{joining, remove_empty_cgroups};

/// What nspawn exits with (under `--keep-unit`) when the guest asked for a reboot.
const REBOOTED: i32 = 133;

/// Locked while a power supply is at work.
pub(super) const PLUG: &str = "plug.lock";

/// Once this file is there the supply ends.
pub(super) const SCRAP: &str = "scrap";

/// Runs a host until it powers itself off. `hold` in its directory keeps it from starting; `cut`, made by whoever kills
/// its first process, makes the loop go on as after a reboot: the power comes back.
///
/// # Errors
///
/// When the machine cannot be started.
pub fn supply(host: &Host) -> anyhow::Result<()> {
    // The process that started us may end or be killed: the host lives on, as hosts do.
    rustix::process::setsid().context("setsid")?;
    let _plug = lock(&host.dir().join(PLUG), Duration::ZERO, "its power supply")?;
    let scrapped = || host.dir().join(SCRAP).exists();
    loop {
        while host.dir().join("hold").exists() && !scrapped() {
            std::thread::sleep(Duration::from_millis(20));
        }
        if scrapped() {
            return Ok(());
        }
        note(&host.dir(), "on")?;
        let code = boot(host)?;
        note(&host.dir(), &format!("off {code}"))?;
        remove_empty_cgroups(&host.cgroup());
        let cut = std::fs::remove_file(host.dir().join("cut")).is_ok();
        if code != REBOOTED && !cut {
            return Ok(());
        }
    }
}

fn note(dir: &Path, event: &str) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let mut log = std::fs::File::options().create(true).append(true).open(dir.join("power.log"))?;
    writeln!(log, "{}.{:03} {event}", now.as_secs(), now.subsec_millis())?;
    Ok(())
}

fn boot(host: &Host) -> anyhow::Result<i32> {
    // Each host needs a cgroup of its own: nspawn makes `payload` and `supervisor` in the one it is started in.
    std::fs::create_dir_all(host.cgroup())?;
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let uptime = uptime.split('.').next().unwrap_or("0");
    let console = std::fs::File::options().create(true).append(true).open(host.dir().join("console.log"))?;
    // A time namespace: uptime and btime start again at each boot, as on a real host.
    let mut nspawn = joining(&host.cgroup());
    nspawn
        .args(["unshare", "--time", "--boottime", &format!("-{uptime}"), "--monotonic", &format!("-{uptime}")])
        .args(["--fork", "--kill-child=KILL"])
        .args(["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--kill-signal=SIGRTMIN+3"])
        .args(["--network-bridge=br0", "--boot", "-M", host.name(), "-D"])
        .arg(host.disk())
        .args(host.extra_arguments())
        // Never `yes`: a parent's sysctl.d would then set the outer machine's kernel.
        .env("SYSTEMD_NSPAWN_API_VFS_WRITABLE", "network")
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console);
    if !host.is_parent() {
        nspawn.env_remove("SYSTEMD_NSPAWN_API_VFS_WRITABLE");
    }
    let status = nspawn.status().context("cannot start systemd-nspawn")?;
    Ok(status.code().unwrap_or(-1))
}
