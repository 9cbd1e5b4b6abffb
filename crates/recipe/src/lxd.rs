//! Containers and virtual machines of LXD, by its `lxc` client. Read and tried on LXD 5.0 (`recorded/lxd`).

use std::collections::BTreeMap;

use model::{ChildKind, ChildRef, ChildReport, ChildStatus, Millis, TargetId};
use serde::Deserialize;

use crate::answer;
use crate::children::{Act, Engine, Listed};
use crate::{Invocation, Output};

/// A listing that takes longer will not come.
const LIST_LIMIT: Millis = Millis(20_000);

/// The LXD of one host.
pub(crate) struct Lxd {
    pub(crate) host: TargetId,
}

/// One entry of `lxc list --format json`, with the fields that are used.
#[derive(Deserialize)]
struct Instance {
    name: String,
    status_code: u32,
    config: BTreeMap<String, String>,
    /// With what its profiles add.
    expanded_config: BTreeMap<String, String>,
}

impl Instance {
    /// The instance's own volatile keys are never in a profile; the expanded ones hold both.
    fn setting(&self, key: &str) -> Option<&str> {
        self.expanded_config.get(key).or_else(|| self.config.get(key)).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// LXD's own rule at its start: `boot.autostart` decides when it is set; unset, what ran when LXD last looked is started
    /// again (`volatile.last_state.power`). So a child that was stopped on purpose and has no `boot.autostart` stays down.
    fn autostart(&self) -> bool {
        match self.setting("boot.autostart") {
            Some(value) => matches!(value.to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on"),
            None => self.setting("volatile.last_state.power") == Some("RUNNING"),
        }
    }

    fn priority(&self, key: &str) -> Result<i64, String> {
        self.setting(key).map_or(Ok(0), |v| v.parse().map_err(|_| format!("{}: {key} is no number: {v:?}", self.name)))
    }
}

/// LXD's status codes. What this version does not know counts as broken, and so blocks (ruling 16).
fn status(code: u32) -> (ChildStatus, bool) {
    match code {
        102 => (ChildStatus::Stopped, false),
        // Running, and a virtual machine whose agent has answered.
        103 | 113 => (ChildStatus::Running, false),
        // Thawed; stopping and aborting: not down yet.
        111 | 107 | 108 => (ChildStatus::Running, true),
        110 => (ChildStatus::Frozen, false),
        109 => (ChildStatus::Frozen, true),
        // Created, started, pending, starting.
        100 | 101 | 105 | 106 => (ChildStatus::Creating, true),
        _ => (ChildStatus::Error, false),
    }
}

/// LXD's names are host names: letters, digits and inner hyphens, at most 63. Anything else could be read as an option
/// (`-…`), a remote (`x:`) or a snapshot (`x/y`).
fn safe(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

impl Lxd {
    fn report(&self, instance: &Instance) -> Result<Listed, String> {
        let stable_id = instance.setting("volatile.uuid").unwrap_or(&instance.name).to_owned();
        let (status, passing) = status(instance.status_code);
        let child = ChildRef {
            id: TargetId::of_child(self.host, ChildKind::Lxd, &stable_id),
            kind: ChildKind::Lxd,
            name: instance.name.clone(),
            stable_id,
        };
        let report = ChildReport {
            child,
            status,
            autostart: instance.autostart(),
            start_priority: instance.priority("boot.autostart.priority")?,
            stop_priority: instance.priority("boot.stop.priority")?,
        };
        Ok(Listed { report, passing })
    }
}

impl Engine for Lxd {
    fn list(&self) -> Invocation {
        Invocation::new(["lxc", "list", "--format", "json"], LIST_LIMIT)
    }

    fn read_list(&self, output: &Output) -> Result<Vec<Listed>, String> {
        let text = answer::stdout("lxc list", output)?;
        let instances: Vec<Instance> = serde_json::from_str(text).map_err(|e| format!("lxc list: unreadable answer: {e}"))?;
        instances.iter().map(|i| self.report(i)).collect()
    }

    fn act(&self, act: Act, name: &str) -> Result<Vec<String>, String> {
        if !safe(name) {
            return Err(format!("{name:?} is no name of an LXD instance"));
        }
        let seconds = |grace: Millis| grace.0.div_ceil(1000).max(1).to_string();
        let words: Vec<String> = match act {
            // LXD thaws a frozen instance by itself before it asks it to stop (recorded: stop-frozen).
            Act::Stop(left) => ["stop".into(), name.into(), "--timeout".into(), seconds(left)].into(),
            Act::ForceStop => ["stop".into(), name.into(), "--force".into()].into(),
            // Thaws one that is frozen (recorded: start-frozen).
            Act::Start => ["start".into(), name.into()].into(),
            Act::Pause => ["pause".into(), name.into()].into(),
        };
        Ok(std::iter::once("lxc".to_owned()).chain(words).collect())
    }
}

#[cfg(test)]
mod tests;
