//! Limits and timeouts, all of them configuration, with the defaults of ruling 23.

mod group;
mod rollout;
mod rule;
mod validate;

use std::collections::BTreeMap;

use model::Millis;
use serde::{Deserialize, Serialize};

use crate::window::Window;

pub use group::{Group, LimitGroup, Member};
pub use rollout::{RolloutDefaults, RolloutError};
pub use rule::{CheckRule, DrainRule};
pub use validate::ConfigError;
pub(crate) use validate::{is_hook, used};

/// What the engine needs to know of the world's pace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often agents report.
    pub heartbeat: Millis,
    /// A host is active while its last report is at most so old.
    pub active_limit: Millis,
    /// A performer begins nothing that is older.
    pub command_expiry: Millis,
    /// How long a probe may take until it is answered.
    pub probe_limit: Millis,
    /// Pause between two probes, or two attempts of one action.
    pub retry_pause: Millis,
    /// Attempts of one action on one child in one round; the pause between them doubles each time.
    pub attempts: u32,
    /// How long cutting off a child may take.
    pub force_limit: Millis,
    /// A reboot must begin so long after its acceptance.
    pub begin_within: Millis,
    /// The new boot identity must be seen so long after the reboot began.
    pub back_within: Millis,
    /// How long the start of one child may take.
    pub start_limit: Millis,
    /// Parallel starts of children; 0 = all of one priority.
    pub parallel_starts: u32,
    /// The host must be healthy so long after the last start.
    pub health_gate: Millis,
    /// Two healthy probes must lie so far apart.
    pub health_hold: Millis,
    /// After a controller's start: facts are heard, no deadline is judged, no disruption starts.
    pub settling: Millis,
    /// Longest wait for admission, windows or people; it ends in cancelling (G6).
    pub wait_limit: Millis,
    /// Commanded reboots and shutdowns per host in the window.
    pub lockout_count: u32,
    /// The window of the lockout.
    pub lockout_window: Millis,
    /// Limit groups (G1).
    #[serde(rename = "limit_group")]
    pub limit_groups: Vec<LimitGroup>,
    /// Ways to take hosts out of service, by name. Requests name them; what they do comes from here alone.
    #[serde(rename = "drain")]
    pub drains: BTreeMap<String, DrainRule>,
    /// What must hold for a host to count as healthy, by name.
    #[serde(rename = "check")]
    pub checks: BTreeMap<String, CheckRule>,
    /// Maintenance windows, by name.
    #[serde(rename = "window")]
    pub windows: BTreeMap<String, Window>,
    /// How a fleet is gone through, unless a request says otherwise.
    pub rollout: RolloutDefaults,
    /// Name of the host on which the engine itself runs, where its boot identity does not show it. Rollouts reboot it last.
    pub own_host: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat: Millis::secs(30),
            active_limit: Millis::secs(90),
            command_expiry: Millis::secs(240),
            probe_limit: Millis::secs(60),
            retry_pause: Millis::secs(2),
            attempts: 5,
            force_limit: Millis::secs(30),
            begin_within: Millis::secs(120),
            back_within: Millis::secs(600),
            start_limit: Millis::secs(120),
            parallel_starts: 4,
            health_gate: Millis::secs(120),
            health_hold: Millis::secs(5),
            settling: Millis::secs(40),
            wait_limit: Millis::secs(72 * 3600),
            lockout_count: 3,
            lockout_window: Millis::secs(900),
            limit_groups: Vec::new(),
            drains: BTreeMap::new(),
            checks: BTreeMap::new(),
            windows: BTreeMap::new(),
            rollout: RolloutDefaults::default(),
            own_host: None,
        }
    }
}
