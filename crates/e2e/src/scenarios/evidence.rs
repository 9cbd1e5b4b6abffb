//! What is read outside the product before and after it has done something.

use anyhow::{Context, ensure};

use crate::lab::Host;

/// A host and its running children before anything is done to them.
#[derive(Debug)]
pub(super) struct Before {
    boot: String,
    journal: usize,
    offs: usize,
    children: Vec<(String, String)>,
}

impl Before {
    pub(super) fn of(host: &Host) -> anyhow::Result<Self> {
        let boot = host.boot_id().with_context(|| format!("{} is off", host.name()))?;
        let mut children = Vec::new();
        if host.is_parent() {
            for child in host.children()?.into_iter().filter(|child| child.status == "Running") {
                let boot = host.child_boot_id(&child.name)?.with_context(|| format!("{} has no boot id", child.name))?;
                children.push((child.name, boot));
            }
        }
        Ok(Self { boot, journal: host.journal_boots()?.len(), offs: offs(host)?.len(), children })
    }

    /// The host has rebooted exactly so many times, by its power supply, its kernel and its own journal. In words.
    pub(super) fn rebooted(&self, host: &Host, times: usize) -> anyhow::Result<String> {
        let offs = offs(host)?.split_off(self.offs);
        ensure!(offs == vec![133; times], "the power supply saw {offs:?} and not {times} reboots");
        let now = host.boot_id().context("the host is off")?;
        ensure!((now != self.boot) == (times > 0), "{times} reboots, and the boot id went from {} to {now}", self.boot);
        let journal = host.journal_boots()?.len() - self.journal;
        ensure!(journal == times, "its journal tells of {journal} boots and not of {times}");
        let (old, new) = (short(&self.boot), short(&now));
        Ok(if times == 0 { format!("boot {old} as before") } else { format!("{times} reboot, boot {old} -> {new}") })
    }

    /// The children stand as the first journey wants them: `up` run, on boots of their own that are new if `fresh`; all
    /// others are stopped. In words.
    pub(super) fn children(&self, host: &Host, up: &[&str], fresh: bool) -> anyhow::Result<String> {
        let mut words = Vec::new();
        for child in host.children()? {
            let expected = if up.contains(&child.name.as_str()) { "Running" } else { "Stopped" };
            ensure!(child.status == expected, "{} is {} and not {expected}", child.name, child.status);
            if expected == "Stopped" {
                words.push(format!("{} stopped", child.name));
                continue;
            }
            let now = host.child_boot_id(&child.name)?.with_context(|| format!("{} has no boot id", child.name))?;
            let old = self.children.iter().find(|(name, _)| *name == child.name).map(|(_, boot)| boot.clone());
            let old = old.with_context(|| format!("{} did not run before", child.name))?;
            ensure!((now != old) == fresh, "{} went from boot {old} to {now}", child.name);
            words.push(format!("{} boot {} -> {}", child.name, short(&old), short(&now)));
        }
        ensure!(words.len() >= up.len(), "children are missing: {words:?}");
        Ok(words.join(", "))
    }
}

fn offs(host: &Host) -> anyhow::Result<Vec<i32>> {
    Ok(host.power_log()?.into_iter().filter_map(|event| event.off).collect())
}

fn short(boot: &str) -> &str {
    boot.get(..8).unwrap_or(boot)
}
