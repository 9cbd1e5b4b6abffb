//! Evidence about hosts, read outside the product.
//!
//! Never enter a host's pid namespace for it: at a reboot such a process is stopped and holds the reboot for ever. What
//! is needed is read through `/proc/PID/root`, D-Bus or ssh.

use std::fs;
use std::time::Duration;

use anyhow::{Context, bail};

use super::host::Host;
use crate::process::{command, output};

impl Host {
    /// Its first process, as the sandbox numbers it; `None` while it is off.
    #[must_use]
    pub fn leader(&self) -> Option<i32> {
        let pids = fs::read_to_string(self.cgroup().join("payload/init.scope/cgroup.procs")).ok()?;
        pids.lines().next()?.parse().ok()
    }

    /// Its kernel's boot id; `None` while it is off.
    #[must_use]
    pub fn boot_id(&self) -> Option<String> {
        let place = format!("/proc/{}/root/proc/sys/kernel/random/boot_id", self.leader()?);
        Some(fs::read_to_string(place).ok()?.trim().to_owned())
    }

    /// What its systemd says about itself: `running`, `degraded`, `starting`, `stopping` ...
    ///
    /// # Errors
    ///
    /// When it is off or its bus does not answer.
    pub fn state(&self) -> anyhow::Result<String> {
        let manager = ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];
        let leader = self.leader().context("the host is off")?;
        let bus = format!("--address=unix:path=/proc/{leader}/root/run/dbus/system_bus_socket");
        let mut busctl = command(["busctl", &bus, "--timeout=5", "get-property"]);
        let said = output(busctl.args(manager).arg("SystemState"), Duration::from_secs(10))?;
        match said.out.split('"').nth(1) {
            Some(state) => Ok(state.to_owned()),
            None => bail!("its bus does not answer: {}", said.err.trim()),
        }
    }

    /// The boot ids in its journal, oldest first, without dashes (as journald writes them).
    ///
    /// # Errors
    ///
    /// When it cannot be asked by ssh.
    pub fn journal_boots(&self) -> anyhow::Result<Vec<String>> {
        Ok(parse_boots(&self.sh("journalctl --list-boots --no-pager")?))
    }

    /// Its journal, e.g. `-u reveille-agent -b`.
    ///
    /// # Errors
    ///
    /// When it cannot be asked by ssh.
    pub fn journal(&self, arguments: &str) -> anyhow::Result<String> {
        self.sh(&format!("journalctl --no-pager -o short-unix {arguments}"))
    }
}

fn parse_boots(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .filter(|word| word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_listed_without_the_heading() {
        let text = "IDX BOOT ID                          FIRST ENTRY LAST ENTRY\n \
                    -1 68e6b0f9495242e89bf22ab283de5df2 Sun Sun\n  0 acc35e4dd43e4d08b999d55965f1cce1 Sun Sun\n";
        assert_eq!(parse_boots(text), ["68e6b0f9495242e89bf22ab283de5df2", "acc35e4dd43e4d08b999d55965f1cce1"]);
    }
}
