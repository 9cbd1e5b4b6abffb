//! What the lab needs from Debian.

use std::time::Duration;

use anyhow::{Context, bail};

use crate::process::{check, command, output};

/// The packages that the lab installs on the machine that runs it. Nothing else is changed there.
pub const NEEDED: &[&str] = &[
    "mmdebstrap",
    "systemd-container",
    "squashfs-tools",
    "openssh-client",
    "openssh-server",
    "iproute2",
    "procps",
    "util-linux",
    "curl",
    "haproxy",
    "rsync",
];

/// Both `apt-get update` and `apt-get install` of everything fit many times over.
const APT_LIMIT: Duration = Duration::from_mins(10);

/// Installs what is missing of [`NEEDED`] and returns it, each with its version. No package starts a service.
///
/// # Errors
///
/// When not root, not on Debian, or apt fails (its words are in the error).
pub fn ensure() -> anyhow::Result<Vec<String>> {
    if !rustix::process::getuid().is_root() {
        bail!("the lab needs root: it makes namespaces, mounts and containers");
    }
    let missing: Vec<&str> = NEEDED.iter().copied().filter(|package| version(package).is_none()).collect();
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let install = || {
        // RUNLEVEL=1: invoke-rc.d then starts nothing.
        let mut apt = command(["apt-get", "-qq", "-y", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300", "install"]);
        apt.args(&missing).env("RUNLEVEL", "1").env("DEBIAN_FRONTEND", "noninteractive");
        check(&mut apt, APT_LIMIT)
    };
    if install().is_err() {
        // A fresh machine has no package lists, an old one stale ones.
        check(&mut command(["apt-get", "-qq", "update"]), APT_LIMIT)?;
        install().with_context(|| format!("cannot install {}", missing.join(" ")))?;
    }
    missing
        .into_iter()
        .map(|package| {
            let version = version(package).with_context(|| format!("{package} is not there after its installation"))?;
            Ok(format!("{package} {version}"))
        })
        .collect()
}

fn version(package: &str) -> Option<String> {
    let mut query = command(["dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", package]);
    let said = output(&mut query, Duration::from_mins(1)).ok()?;
    said.out.strip_prefix("installed ").map(str::to_owned)
}
