//! How a fleet is to be gone through, as far as somebody has said it.

use model::{Amount, Approval, DrainPolicy, Millis};
use serde::{Deserialize, Serialize};

/// When a person must agree, in the words of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approve {
    /// Never.
    Never,
    /// Once, after the canary.
    Canary,
    /// Before each wave but the first.
    Each,
}

impl From<Approve> for Approval {
    fn from(word: Approve) -> Self {
        match word {
            Approve::Never => Self::Never,
            Approve::Canary => Self::AfterCanary,
            Approve::Each => Self::EachWave,
        }
    }
}

/// What somebody has said; the table `[rollout]` of a fleet file, and the options of `reveille reboot` over it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wishes {
    /// Size of the first wave; 0 = no canary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Amount>,
    /// Further waves, each as the part of all targets that is done when it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stages: Option<Vec<Amount>>,
    /// How many at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Amount>,
    /// So many may fail.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_budget: Option<Amount>,
    /// When a person must agree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve: Option<Approve>,
    /// Names of drains; an empty list: none. Not said: all that are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain: Option<Vec<String>>,
    /// How long each drain may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_limit: Option<Millis>,
    /// What happens then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_drain_timeout: Option<DrainPolicy>,
    /// Names of checks; an empty list: none. Not said: all that are configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<Vec<String>>,
    /// How long every probe must pass before the slot is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub soak: Option<Millis>,
    /// Names of windows. Not said: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Vec<String>>,
    /// Between two starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stagger: Option<Millis>,
    /// Starts are spread over this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter: Option<Millis>,
    /// Only hosts that say they need it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only_if_required: Option<bool>,
}

impl Wishes {
    /// These, and where they are silent, the others.
    #[must_use]
    pub fn over(self, others: &Self) -> Self {
        let list = |own: Option<Vec<String>>, other: &Option<Vec<String>>| own.or_else(|| other.clone());
        Self {
            canary: self.canary.or(others.canary),
            stages: self.stages.or_else(|| others.stages.clone()),
            concurrency: self.concurrency.or(others.concurrency),
            failure_budget: self.failure_budget.or(others.failure_budget),
            approve: self.approve.or(others.approve),
            drain: list(self.drain, &others.drain),
            drain_limit: self.drain_limit.or(others.drain_limit),
            on_drain_timeout: self.on_drain_timeout.or(others.on_drain_timeout),
            check: list(self.check, &others.check),
            soak: self.soak.or(others.soak),
            window: list(self.window, &others.window),
            stagger: self.stagger.or(others.stagger),
            jitter: self.jitter.or(others.jitter),
            only_if_required: self.only_if_required.or(others.only_if_required),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_goes_over_what_is_usual() {
        let usual: Wishes =
            toml::from_str("canary = 1\nconcurrency = \"10%\"\ndrain = [\"a\"]\nsoak = \"5m\"\napprove = \"each\"").unwrap();
        let said = Wishes { canary: Some(Amount::Count(2)), drain: Some(Vec::new()), ..Wishes::default() };
        let all = said.over(&usual);
        assert_eq!((all.canary, all.concurrency), (Some(Amount::Count(2)), Some(Amount::Percent(10))));
        assert_eq!((all.drain, all.soak, all.approve), (Some(Vec::new()), Some(Millis::secs(300)), Some(Approve::Each)));
        assert!(toml::from_str::<Wishes>("canery = 1").is_err());
    }
}
