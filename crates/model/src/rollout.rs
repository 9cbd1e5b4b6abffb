//! How a fleet is gone through (S2).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::drain::Drained;
use crate::{BootIdentity, ChildReport, Millis};

/// A number of targets, or a percentage of them; percentages round down (ruling 15). Written `3` or `10%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Amount {
    /// So many.
    Count(u32),
    /// So many of a hundred; at most 100.
    Percent(u32),
}

impl Amount {
    /// How many of `total`, rounded down.
    pub fn of(self, total: u32) -> u32 {
        match self {
            Self::Count(count) => count,
            Self::Percent(percent) => u32::try_from(u64::from(total) * u64::from(percent) / 100).unwrap_or(u32::MAX),
        }
    }
}

/// Why a text is no amount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no amount: write a number of hosts, 3, or a percentage of them, 10%")]
pub struct AmountError(String);

impl FromStr for Amount {
    type Err = AmountError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let wrong = || AmountError(s.to_owned());
        let number = |t: &str| if t.bytes().all(|b| b.is_ascii_digit()) { t.parse().map_err(|_| wrong()) } else { Err(wrong()) };
        match s.strip_suffix('%') {
            Some(percent) => Some(number(percent)?).filter(|p| *p <= 100).map(Self::Percent).ok_or_else(wrong),
            None => Ok(Self::Count(number(s)?)),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u32),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(count) => Ok(Self::Count(count)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// What happens to a host that does not drain by its deadline (pain 11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DrainPolicy {
    /// Put it back into service; its track ends as failed.
    Abort,
    /// Put it back into service; its track ends as skipped, and spends no failure budget.
    Skip,
    /// Cut off what is left.
    Force,
}

impl fmt::Display for DrainPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Abort => "abort",
            Self::Skip => "skip",
            Self::Force => "force",
        })
    }
}

/// When a person must agree before a wave starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// Never.
    Never,
    /// Once, after the canary.
    AfterCanary,
    /// Before each wave but the first.
    EachWave,
}

/// How the fleet is gone through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Size of the first wave; 0 = no canary.
    pub canary: Amount,
    /// Further waves, each as the part of all targets that is done when it ends; the rest follows as the last wave.
    #[serde(default)]
    pub stages: Vec<Amount>,
    /// How many targets are worked on at once; a percentage is at least 1 (ruling 15). Default 1 (ruling 17).
    pub concurrency: Amount,
    /// So many may fail; one more, and nothing new starts (G4). Default 0: stop at the first.
    pub failure_budget: Amount,
    /// So many of the canary may fail, a percentage of it alone; without it the budget of all is that of the canary too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_failure_budget: Option<Amount>,
    /// A person must agree.
    pub approval: Approval,
    /// Names of configured drains; each applies to the hosts that its own selector names.
    pub drains: Vec<String>,
    /// How long each drain may take.
    pub drain_limit: Millis,
    /// What happens then.
    pub on_drain_timeout: DrainPolicy,
    /// Names of configured checks; each applies to the hosts that its own selector names.
    pub checks: Vec<String>,
    /// How long after the undrain every probe must pass before the slot is free; one that fails starts it anew (pain 7).
    pub soak: Millis,
    /// Names of configured maintenance windows; a target starts only where all of them allow.
    pub windows: Vec<String>,
    /// Two starts are never closer than this.
    pub stagger: Millis,
    /// Each start is put off by a part of this that depends on the target alone (pain 12).
    pub jitter: Millis,
    /// Only hosts that say they need a reboot; one that cannot tell is left alone (pain 8).
    pub only_if_required: bool,
    /// The orchestration whose unfinished targets this one takes up.
    #[serde(default)]
    pub retry_of: Option<crate::OrchestrationId>,
    /// The first of a row of retries, where that is not [`Rollout::retry_of`] itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<crate::OrchestrationId>,
}

impl Rollout {
    /// The first orchestration of the row of retries that `own`, which is asked for so, belongs to.
    pub fn root(&self, own: crate::OrchestrationId) -> crate::OrchestrationId {
        self.root.or(self.retry_of).unwrap_or(own)
    }
}

/// What was said of a rollout; the rest comes from the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutOptions {
    /// See [`Rollout::canary`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Amount>,
    /// See [`Rollout::stages`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<Amount>>,
    /// See [`Rollout::concurrency`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Amount>,
    /// See [`Rollout::failure_budget`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_budget: Option<Amount>,
    /// See [`Rollout::canary_failure_budget`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_failure_budget: Option<Amount>,
    /// See [`Rollout::approval`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// See [`Rollout::drains`]; an empty list means none (S2-24).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drains: Option<Vec<String>>,
    /// See [`Rollout::drain_limit`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_limit: Option<Millis>,
    /// See [`Rollout::on_drain_timeout`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_drain_timeout: Option<DrainPolicy>,
    /// See [`Rollout::checks`]; an empty list means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checks: Option<Vec<String>>,
    /// See [`Rollout::soak`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Millis>,
    /// See [`Rollout::windows`]; they come on top of the configured ones, which only force goes past (G5).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
    /// See [`Rollout::stagger`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stagger: Option<Millis>,
    /// See [`Rollout::jitter`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Millis>,
    /// See [`Rollout::only_if_required`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_if_required: Option<bool>,
}

/// What an earlier orchestration left undone on a target that it could not bring back whole: a retry begins there, and does not
/// reboot again a host whose reboot was proven.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Unfinished {
    /// The boot that was proven; `None`: the reboot itself is not done.
    pub proven: Option<BootIdentity>,
    /// Drained by it and not put back, in the order in which it was drained.
    pub drained: Vec<Drained>,
    /// The boot that its reboot was to end, where nobody said in time how that went: found on another boot, the host is not
    /// rebooted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_boot: Option<BootIdentity>,
    /// Children as they were before it, where they were not found so again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ChildReport>,
    /// The first orchestration of its row of retries: what was proven is proven for that row alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<crate::OrchestrationId>,
}

impl Unfinished {
    /// What of it is left to do for this row of retries: a reboot that another row proved is not theirs (G3).
    pub fn for_row(self, root: crate::OrchestrationId) -> Self {
        if self.root.is_none_or(|of| of == root) { self } else { Self { proven: None, open_boot: None, ..self } }
    }

    /// Whether only the second half is left to do on a host that is on this boot: its reboot is behind it.
    pub fn is_second_half(&self, boot: Option<BootIdentity>) -> bool {
        self.proven.is_some() || self.open_boot.is_some_and(|open| boot.is_some_and(|boot| boot != open))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_round_down_and_bad_ones_are_told() {
        let amount = |s: &str| s.parse::<Amount>();
        assert_eq!(amount("10%").unwrap().of(19), 1);
        assert_eq!(amount("100%").unwrap().of(7), 7);
        assert_eq!(amount("0%").unwrap().of(7), 0);
        assert_eq!(amount("3").unwrap().of(1), 3);
        for bad in ["", "%", "-1", "+1", "101%", "1.5", "ten", "5 %", "4294967296"] {
            assert!(amount(bad).is_err(), "{bad:?}");
        }
        assert_eq!(serde_json::from_str::<Amount>("7").unwrap(), Amount::Count(7));
        assert_eq!(serde_json::to_string(&Amount::Percent(5)).unwrap(), "\"5%\"");
    }
}
