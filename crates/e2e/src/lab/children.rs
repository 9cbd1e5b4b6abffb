//! Children of a parent host: real containers of its own LXD.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::NETWORK;
use super::host::Host;
use crate::wait;

/// A child as `lxc list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Its name.
    pub name: String,
    /// LXD's word: `Running`, `Stopped`, `Frozen`.
    pub status: String,
    /// Its first process as its host numbers it; `None` when it is not running.
    pub pid: Option<i64>,
}

/// Whether LXD starts a child when LXD itself starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Autostart {
    /// `boot.autostart=true`.
    Yes,
    /// `boot.autostart=false`.
    No,
    /// Not set: LXD restores the state that it saw last.
    Restore,
}

impl Host {
    /// Sets its LXD up: storage, profile, image. Once per host, after its first boot.
    ///
    /// # Errors
    ///
    /// When LXD refuses or the host is no parent.
    pub fn lxd_init(&self) -> anyhow::Result<()> {
        ensure!(self.is_parent(), "{} is not a parent: it has no LXD", self.name());
        self.sh("lxd waitready --timeout=30 && lxd init --preseed < /srv/lab/lxd-preseed.yaml")?;
        self.sh("lxc image import -q /srv/lab/lxd-meta.tar /srv/lab/lxd-root.squashfs --alias base")?;
        Ok(())
    }

    /// Makes a child with the address `10.77.0.NUMBER`. It is stopped.
    ///
    /// # Errors
    ///
    /// When LXD refuses.
    pub fn child_create(&self, name: &str, number: u8, autostart: Autostart) -> anyhow::Result<()> {
        let set = match autostart {
            Autostart::Yes => "-c boot.autostart=true",
            Autostart::No => "-c boot.autostart=false",
            Autostart::Restore => "",
        };
        self.sh(&format!(
            "lxc init -q base {name} {set} && echo {NETWORK}.{number} > /run/ip-{name} && \
             lxc file push -q /run/ip-{name} {name}/etc/lab/ip"
        ))?;
        Ok(())
    }

    /// Starts a child and waits until its systemd says that its boot is over.
    ///
    /// # Errors
    ///
    /// When LXD refuses or the child does not come up.
    pub fn child_start(&self, name: &str) -> anyhow::Result<()> {
        self.sh(&format!("lxc start {name}"))?;
        self.child_wait_running(name, Duration::from_mins(1))
    }

    /// Waits until a child's systemd says `running` or `degraded`.
    ///
    /// # Errors
    ///
    /// When the limit passes.
    pub fn child_wait_running(&self, name: &str, limit: Duration) -> anyhow::Result<()> {
        wait::until_true(&format!("{name} on {} to run", self.name()), limit, || {
            let said = self.ssh(&format!("lxc exec {name} -- systemctl is-system-running"), limit)?;
            Ok(matches!(said.out.trim(), "running" | "degraded"))
        })
    }

    /// The three of the first journey: c1 (autostart not set) and c2 (autostart) running, c3 stopped with autostart on.
    /// Their addresses are `10.77.0.NUMBER`.
    ///
    /// # Errors
    ///
    /// When LXD refuses.
    pub fn three_children(&self, numbers: [u8; 3]) -> anyhow::Result<()> {
        self.lxd_init()?;
        self.child_create("c1", numbers[0], Autostart::Restore)?;
        self.child_create("c2", numbers[1], Autostart::Yes)?;
        self.child_create("c3", numbers[2], Autostart::Yes)?;
        self.child_start("c1")?;
        self.child_start("c2")
    }

    /// All children, by name.
    ///
    /// # Errors
    ///
    /// When the host or its LXD does not answer.
    pub fn children(&self) -> anyhow::Result<Vec<Child>> {
        parse_children(&self.sh("lxc list --format json")?)
    }

    /// One child.
    ///
    /// # Errors
    ///
    /// When the host or its LXD does not answer, or it has no such child.
    pub fn child(&self, name: &str) -> anyhow::Result<Child> {
        let children = self.children()?;
        children.into_iter().find(|child| child.name == name).with_context(|| format!("no child {name}"))
    }

    /// The boot id of a running child; `None` when it is not running.
    ///
    /// # Errors
    ///
    /// When the host or its LXD does not answer.
    pub fn child_boot_id(&self, name: &str) -> anyhow::Result<Option<String>> {
        let (Some(leader), Some(pid)) = (self.leader(), self.child(name)?.pid) else {
            return Ok(None);
        };
        let place = format!("/proc/{leader}/root/proc/{pid}/root/proc/sys/kernel/random/boot_id");
        Ok(std::fs::read_to_string(place).ok().map(|text| text.trim().to_owned()))
    }

    /// Makes a running child trap its stop: a service that ignores TERM for `span`. It writes "asked to stop" to the
    /// child's journal (unit `stubborn`).
    ///
    /// # Errors
    ///
    /// When LXD or the child refuses.
    pub fn child_trap_stop(&self, name: &str, span: Duration) -> anyhow::Result<()> {
        let unit = format!(
            "[Service]\nExecStart=/bin/sh -c 'trap \"echo asked to stop, staying\" TERM; while :; do sleep 1; done'\n\
             KillMode=mixed\nTimeoutStopSec={}\n[Install]\nWantedBy=multi-user.target\n",
            span.as_secs()
        );
        self.put_file("/root/stubborn.service", unit, 0o644)?;
        self.sh(&format!(
            "lxc file push -q /root/stubborn.service {name}/etc/systemd/system/stubborn.service && \
             lxc exec {name} -- systemctl daemon-reload && lxc exec {name} -- systemctl enable -q --now stubborn"
        ))?;
        Ok(())
    }

    /// The journal of a running child over all its boots, e.g. `-u stubborn`.
    ///
    /// # Errors
    ///
    /// When the host, its LXD or the child does not answer.
    pub fn child_journal(&self, name: &str, arguments: &str) -> anyhow::Result<String> {
        self.sh(&format!("lxc exec {name} -- journalctl --no-pager -o short-unix {arguments}"))
    }
}

fn parse_children(json: &str) -> anyhow::Result<Vec<Child>> {
    let list: Value = serde_json::from_str(json).context("what `lxc list` said is not JSON")?;
    let list = list.as_array().context("what `lxc list` said is no list")?;
    let mut children = list
        .iter()
        .map(|one| {
            let text = |key: &str| one[key].as_str().map(str::to_owned).with_context(|| format!("no {key}"));
            let pid = one["state"]["pid"].as_i64().filter(|pid| *pid != 0);
            Ok(Child { name: text("name")?, status: text("status")?, pid })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    children.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(children)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_read_from_what_lxd_says() {
        let children = parse_children(include_str!("../../../recipe/recorded/lxd/list-frozen.json")).unwrap();
        let short: Vec<_> = children.iter().map(|one| (one.name.as_str(), one.status.as_str(), one.pid)).collect();
        assert_eq!(short, [("c1", "Running", Some(250)), ("c2", "Frozen", Some(618)), ("c3", "Stopped", None)]);
    }
}
