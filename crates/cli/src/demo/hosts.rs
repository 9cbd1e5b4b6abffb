//! The three sandbox hosts, and what is on them.

use std::path::{Path, PathBuf};

use crate::sandbox::{AgentConfig, ChildConfig, HostConfig, OnTerm};

/// A sandbox host of the demonstration.
pub(super) struct HostSpec {
    pub(super) name: &'static str,
    pub(super) children: &'static [ChildSpec],
}

/// A child of it.
pub(super) struct ChildSpec {
    pub(super) name: &'static str,
    /// How it is before anything happens; as opposed to what a boot does with it.
    pub(super) runs: bool,
    /// The boot starts it.
    autostart: bool,
    /// Higher starts first.
    start: i64,
    /// Higher stops first.
    stop: i64,
    stop_delay_ms: u64,
}

const WEB: ChildSpec = ChildSpec { name: "web", runs: true, autostart: false, start: 10, stop: 20, stop_delay_ms: 200 };
const DB: ChildSpec = ChildSpec { name: "db", runs: true, autostart: false, start: 20, stop: 10, stop_delay_ms: 400 };
const CACHE: ChildSpec = ChildSpec { name: "cache", runs: false, autostart: true, start: 5, stop: 5, stop_delay_ms: 100 };

pub(super) const APOLLO: HostSpec = HostSpec { name: "apollo", children: &[WEB, DB, CACHE] };
pub(super) const BOREALIS: HostSpec = HostSpec { name: "borealis", children: &[WEB, DB] };
pub(super) const CALYPSO: HostSpec = HostSpec { name: "calypso", children: &[] };
pub(super) const ALL: [&HostSpec; 3] = [&APOLLO, &BOREALIS, &CALYPSO];

impl HostSpec {
    pub(super) fn dir(&self, place: &Path) -> PathBuf {
        place.join(self.name)
    }

    pub(super) fn agent_config(&self, place: &Path) -> PathBuf {
        self.dir(place).join("agent.toml")
    }

    /// Its `sandbox.json`.
    pub(super) fn sandbox(&self, place: &Path) -> HostConfig {
        let config = self.agent_config(place).to_string_lossy().into_owned();
        let argv = ["/proc/self/exe", "agent", "--config", &config, "run"];
        let child = |child: &ChildSpec| ChildConfig {
            name: child.name.to_owned(),
            autostart: child.autostart,
            start_priority: child.start,
            stop_priority: child.stop,
            on_term: OnTerm::Exit,
            stop_delay_ms: child.stop_delay_ms,
        };
        HostConfig {
            agent: Some(AgentConfig { argv: argv.map(str::to_owned).to_vec() }),
            children: self.children.iter().map(child).collect(),
            boot_delay_ms: 1000,
            stop_grace_ms: 3000,
        }
    }

    /// Its `agent.toml`.
    pub(super) fn agent(&self, place: &Path) -> String {
        let dir = self.dir(place);
        // Text in JSON's quotes is text in TOML's.
        let quoted = |path: &Path| serde_json::Value::from(path.to_string_lossy()).to_string();
        format!(
            "host_kind = \"sandbox\"\nstate_dir = {}\nmachine_id_file = {}\nheartbeat_secs = 1\n\n[sandbox]\nboot_id_file = {}\n\
             ctl = [\"/proc/self/exe\", \"sandbox-ctl\", \"--dir\", {}]\n",
            quoted(&dir.join("agent")),
            quoted(&dir.join("machine-id")),
            quoted(&dir.join(crate::sandbox::BOOT_ID_FILE)),
            quoted(&dir),
        )
    }

    /// Its children that run, or that do not, before anything happens.
    pub(super) fn running(&self, runs: bool) -> Vec<&'static str> {
        self.children.iter().filter(|child| child.runs == runs).map(|child| child.name).collect()
    }
}
