//! What is read outside the product before and after it has done something.

use anyhow::{Context, ensure};

use crate::lab::Host;
use crate::traffic::balancer::{self, Look};
use crate::traffic::web;

/// How a power supply calls a reboot.
const REBOOTED: i32 = 133;

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
        ensure!(offs == vec![REBOOTED; times], "the power supply saw {offs:?} and not {times} reboots");
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

/// What was in flight when its server was drained may still be answered for so long, in seconds.
const IN_FLIGHT: f64 = 1.0;

/// A host behind the balancer rebooted once, while its server was out of use; its access log has requests before and after that,
/// and none in between. In words.
pub(super) fn served_around_its_reboot(host: &Host, seen: &[Look]) -> anyhow::Result<String> {
    let name = host.name();
    let outages = balancer::outages(seen, name);
    ensure!(outages.len() == 1, "{name} was out of use {} times: {outages:?}", outages.len());
    let (from, until) = outages[0];
    let reboots: Vec<f64> =
        host.power_log()?.into_iter().filter(|event| event.off == Some(REBOOTED)).map(|event| event.at).collect();
    ensure!(reboots.len() == 1, "{name} rebooted at {reboots:?}");
    ensure!(
        reboots[0] > from && reboots[0] < until,
        "{name} rebooted at {} and was out of use from {from} to {until}",
        reboots[0]
    );
    let accesses = web::accesses(host)?;
    let before = accesses.iter().filter(|access| access.at <= from).count();
    let after = accesses.iter().filter(|access| access.at >= until).count();
    let between: Vec<_> = accesses.iter().filter(|access| access.at > from + IN_FLIGHT && access.at < until).collect();
    ensure!(between.is_empty(), "{name} served {between:?} while out of use from {from} to {until}");
    ensure!(before > 0 && after > 0, "{name} served {before} requests before and {after} after it was out of use");
    Ok(format!("{name}: {before} requests before, none in {:.1} s out of use with one reboot, {after} after", until - from))
}

fn offs(host: &Host) -> anyhow::Result<Vec<i32>> {
    Ok(host.power_log()?.into_iter().filter_map(|event| event.off).collect())
}

fn short(boot: &str) -> &str {
    boot.get(..8).unwrap_or(boot)
}
