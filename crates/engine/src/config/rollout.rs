//! How a fleet is gone through, unless a request says otherwise.

use model::{
    Amount, Approval, DrainPolicy, Labels, Millis, OrchestrationId, Rollout, RolloutOptions, Site, TargetId, TimeoutPolicy,
};
use serde::{Deserialize, Serialize};

use super::Config;

/// The configured part of every rollout (rulings 6, 17, 23).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutDefaults {
    /// Size of the first wave; 0 = no canary. A percentage is at least 1.
    pub canary: Amount,
    /// Further waves, each as the part of all targets that is done when it ends.
    pub stages: Vec<Amount>,
    /// How many targets are worked on at once; a percentage is at least 1.
    pub concurrency: Amount,
    /// So many may fail.
    pub failure_budget: Amount,
    /// So many of the canary may fail, a percentage of it alone; without it the budget of all is that of the canary too.
    pub canary_failure_budget: Option<Amount>,
    /// A person must agree.
    pub approval: Approval,
    /// Names of drains, in the order in which they are done. Without it all configured ones, each on the hosts of its own
    /// selector: first those performed where the engine runs, which take traffic and jobs away, then those on the host; in each
    /// half by name.
    pub drains: Option<Vec<String>>,
    /// How long each drain may take.
    pub drain_limit: Millis,
    /// What happens then.
    pub on_drain_timeout: DrainPolicy,
    /// Names of checks; without it all configured ones.
    pub checks: Option<Vec<String>>,
    /// How long after the undrain every probe must pass.
    pub soak: Millis,
    /// Names of maintenance windows; a request may name more of them and leave out none.
    pub windows: Vec<String>,
    /// Two starts are never closer than this.
    pub stagger: Millis,
    /// Each start is put off by a part of this that depends on the target alone.
    pub jitter: Millis,
    /// Only hosts that say they need a reboot.
    pub only_if_required: bool,
    /// How long the children have to stop.
    pub shutdown_timeout: Millis,
    /// What happens when they do not.
    pub on_timeout: TimeoutPolicy,
    /// What a target is expected to take from drain to soak, while nothing is known of its earlier runs.
    pub expected: Millis,
}

impl Default for RolloutDefaults {
    fn default() -> Self {
        Self {
            canary: Amount::Count(0),
            stages: Vec::new(),
            concurrency: Amount::Count(1),
            failure_budget: Amount::Count(0),
            canary_failure_budget: None,
            approval: Approval::Never,
            drains: None,
            drain_limit: Millis::secs(120),
            on_drain_timeout: DrainPolicy::Abort,
            checks: None,
            soak: Millis::secs(60),
            windows: Vec::new(),
            stagger: Millis(0),
            jitter: Millis(0),
            only_if_required: false,
            shutdown_timeout: Millis::secs(120),
            on_timeout: TimeoutPolicy::Abort,
            expected: Millis::secs(600),
        }
    }
}

/// A step of a rollout that somebody waits for takes at most so long.
const LONGEST: Millis = Millis::secs(72 * 3600);

impl Config {
    /// The whole rollout, from what was said of it: everything else is as configured.
    pub fn rollout_of(&self, said: &RolloutOptions, retry_of: Option<OrchestrationId>) -> Rollout {
        let defaults = &self.rollout;
        let mut windows = defaults.windows.clone();
        windows.extend(said.windows.iter().cloned());
        let drains = said.drains.clone().or_else(|| defaults.drains.clone());
        let checks = said.checks.clone().or_else(|| defaults.checks.clone());
        let mut rollout = Rollout {
            canary: said.canary.unwrap_or(defaults.canary),
            stages: said.stages.clone().unwrap_or_else(|| defaults.stages.clone()),
            concurrency: said.concurrency.unwrap_or(defaults.concurrency),
            failure_budget: said.failure_budget.unwrap_or(defaults.failure_budget),
            canary_failure_budget: said.canary_failure_budget.or(defaults.canary_failure_budget),
            approval: said.approval.unwrap_or(defaults.approval),
            drains: drains.unwrap_or_else(|| self.all_drains()),
            drain_limit: said.drain_limit.unwrap_or(defaults.drain_limit),
            on_drain_timeout: said.on_drain_timeout.unwrap_or(defaults.on_drain_timeout),
            checks: checks.unwrap_or_else(|| self.checks.keys().cloned().collect()),
            soak: said.soak.unwrap_or(defaults.soak),
            windows,
            stagger: said.stagger.unwrap_or(defaults.stagger),
            jitter: said.jitter.unwrap_or(defaults.jitter),
            only_if_required: said.only_if_required.unwrap_or(defaults.only_if_required),
            retry_of,
            root: None,
        };
        for names in [&mut rollout.drains, &mut rollout.checks, &mut rollout.windows] {
            keep_first(names);
        }
        rollout
    }
}

impl Config {
    /// The drains, checks and windows, by name, that a rollout uses for this host when nothing else is said.
    pub fn used_for(&self, id: TargetId, name: &str, labels: &Labels) -> (Vec<String>, Vec<String>, Vec<String>) {
        let Rollout { mut drains, mut checks, windows, .. } = self.rollout_of(&RolloutOptions::default(), None);
        drains.retain(|drain| self.drains.get(drain).is_some_and(|rule| rule.on.matches(id, name, labels)));
        checks.retain(|check| self.checks.get(check).is_some_and(|rule| rule.on.matches(id, name, labels)));
        (drains, checks, windows)
    }

    fn all_drains(&self) -> Vec<String> {
        let mut names: Vec<&String> = self.drains.keys().collect();
        names.sort_by_key(|name| self.drains.get(*name).is_some_and(|rule| rule.drain.site() == Site::Target));
        names.into_iter().cloned().collect()
    }
}

/// What is named twice is meant once.
fn keep_first(names: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
}

/// What is wrong with a rollout, whoever its targets are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolloutError {
    /// A name that is not in the configuration.
    #[error("no {what} is called {name:?}; known are: {}", listed(.known))]
    Unknown {
        /// `drain`, `check` or `window`.
        what: &'static str,
        /// As asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// Nothing could ever start.
    #[error("concurrency is {0}, so that nothing could ever start: at least 1, or 1%")]
    NoConcurrency(Amount),
    /// A stage does not end after the one before it.
    #[error("the stage {stage} does not end after {before}: give stages in rising order, as 10%, 50%")]
    Stages {
        /// The one.
        stage: Amount,
        /// The stage, or the canary, before it.
        before: Amount,
    },
    /// A time that nobody means.
    #[error("{name} is {span}: {hint}")]
    Span {
        /// Of the option.
        name: &'static str,
        /// As asked for.
        span: Millis,
        /// What fits.
        hint: String,
    },
    /// An approval that could never be asked for.
    #[error("approval after the canary, but there is no canary: give a canary of at least 1, or ask before each wave")]
    NoCanary,
}

impl Config {
    /// Whether a rollout makes sense, and names only what is configured.
    ///
    /// # Errors
    /// [`RolloutError`].
    pub fn check_rollout(&self, rollout: &Rollout) -> Result<(), RolloutError> {
        known("drain", &rollout.drains, self.drains.keys())?;
        known("check", &rollout.checks, self.checks.keys())?;
        known("window", &rollout.windows, self.windows.keys())?;
        if matches!(rollout.concurrency, Amount::Count(0) | Amount::Percent(0)) {
            return Err(RolloutError::NoConcurrency(rollout.concurrency));
        }
        let Rollout { drain_limit, soak, stagger, jitter, .. } = *rollout;
        if drain_limit == Millis(0) {
            let hint = "nothing drains in no time; leave the drains out instead".to_owned();
            return Err(RolloutError::Span { name: "drain_limit", span: drain_limit, hint });
        }
        // Who waits for longer than anybody waits is cancelled (G6).
        for (name, span) in [("stagger", stagger), ("jitter", jitter)] {
            if span > self.wait_limit {
                let hint = format!("at most {}, which is how long a host waits for its turn (wait_limit)", self.wait_limit);
                return Err(RolloutError::Span { name, span, hint });
            }
        }
        // A host that drains or soaks keeps its place from all others.
        for (name, span) in [("drain_limit", drain_limit), ("soak", soak)] {
            if span > LONGEST {
                return Err(RolloutError::Span { name, span, hint: format!("at most {LONGEST}") });
            }
        }
        if rollout.approval == Approval::AfterCanary && is_none(rollout.canary) {
            return Err(RolloutError::NoCanary);
        }
        let mut before = rollout.canary;
        for (index, stage) in rollout.stages.iter().enumerate() {
            // A count and a percentage compare only once the targets are known.
            let comparable = std::mem::discriminant(stage) == std::mem::discriminant(&before);
            let must_rise = comparable && (index > 0 || !is_none(before));
            if is_none(*stage) || must_rise && *stage <= before {
                return Err(RolloutError::Stages { stage: *stage, before });
            }
            before = *stage;
        }
        Ok(())
    }
}

fn is_none(amount: Amount) -> bool {
    matches!(amount, Amount::Count(0) | Amount::Percent(0))
}

fn known<'a>(what: &'static str, asked: &[String], there: impl Iterator<Item = &'a String> + Clone) -> Result<(), RolloutError> {
    match asked.iter().find(|name| !there.clone().any(|known| known == *name)) {
        Some(name) => Err(RolloutError::Unknown { what, name: name.clone(), known: there.cloned().collect() }),
        None => Ok(()),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_comes_from_the_configuration() {
        let rollout = Config::default().rollout_of(&RolloutOptions::default(), None);
        assert_eq!((rollout.concurrency, rollout.failure_budget), (Amount::Count(1), Amount::Count(0)), "ruling 17, G4");
        assert_eq!((rollout.drain_limit, rollout.soak), (Millis::secs(120), Millis::secs(60)), "ruling 23");
        assert_eq!((rollout.on_drain_timeout, rollout.stagger, rollout.jitter), (DrainPolicy::Abort, Millis(0), Millis(0)));

        let defaults: RolloutDefaults =
            toml::from_str("concurrency = \"10%\"\ndrains = [\"lb\"]\nwindows = [\"night\"]\nsoak = 5000").unwrap();
        let said: RolloutOptions =
            toml::from_str("soak = 1000\ndrains = []\nwindows = [\"sunday\", \"night\"]\nonly_if_required = true").unwrap();
        let config = Config { rollout: defaults, ..Config::default() };
        let rollout = config.rollout_of(&said, None);
        assert_eq!((rollout.concurrency, rollout.soak, rollout.only_if_required), (Amount::Percent(10), Millis(1000), true));
        assert_eq!(rollout.drains, Vec::<String>::new(), "S2-24: no drain, when that is said");
        assert_eq!(rollout.windows, ["night", "sunday"], "a request leaves out no configured window");
        assert!(
            toml::from_str::<RolloutOptions>("soakk = 1").is_err() && toml::from_str::<RolloutDefaults>("soakk = 1").is_err()
        );
    }

    #[test]
    fn what_is_configured_is_used_unless_something_else_is_said() {
        let text = "[drain.apps]\non = \"*\"\nkind = \"units\"\nunits = [\"a.service\"]\n\
                    [drain.lb]\non = \"*\"\nkind = \"http\"\nurl = \"http://lb/{name}\"\n\
                    [check.up]\non = \"*\"\nkind = \"unit\"\nunit = \"a.service\"";
        let mut config: Config = toml::from_str(text).unwrap();
        let rollout = config.rollout_of(&RolloutOptions::default(), None);
        assert_eq!(rollout.drains, ["lb", "apps"], "traffic is taken away before anything is stopped");
        assert_eq!(rollout.checks, ["up"]);
        if let Some(rule) = config.drains.get_mut("apps") {
            rule.on = "role=app".parse().unwrap();
        }
        let used = |labels: &[(&str, &str)]| {
            let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            config.used_for(TargetId::CONTROLLER, "h", &labels).0
        };
        assert_eq!((used(&[]), used(&[("role", "app")])), (vec!["lb".to_owned()], vec!["lb".to_owned(), "apps".to_owned()]));
        config.rollout.drains = Some(vec!["apps".into()]);
        assert_eq!(config.rollout_of(&RolloutOptions::default(), None).drains, ["apps"]);
    }

    #[test]
    fn a_rollout_that_makes_no_sense_is_told_with_what_there_is() {
        let config: Config = toml::from_str("[drain.lb]\non = \"*\"\nkind = \"hook\"\nname = \"lb\"").unwrap();
        let check = |text: &str| {
            let said: RolloutOptions = toml::from_str(text).unwrap();
            config.check_rollout(&config.rollout_of(&said, None)).map_err(|e| e.to_string())
        };
        for (text, parts) in [
            ("drains = [\"lp\"]", ["\"lp\"", "lb"]),
            ("checks = [\"up\"]", ["check", "none"]),
            ("windows = [\"night\"]", ["window", "night"]),
            ("concurrency = 0", ["concurrency", "at least 1"]),
            ("concurrency = \"0%\"", ["0%", "at least 1"]),
            ("approval = \"after_canary\"", ["canary", "at least 1"]),
            ("stages = [\"50%\", \"10%\"]", ["10%", "rising"]),
            ("stages = [\"10%\", \"10%\"]", ["10%", "rising"]),
            ("canary = 5\nstages = [3]", ["3", "5"]),
            ("stages = [0]", ["0", "rising"]),
            ("drain_limit = 0", ["drain_limit", "no time"]),
            ("drain_limit = \"73h\"", ["drain_limit", "259200 s"]),
            ("soak = \"400d\"", ["soak", "259200 s"]),
            ("stagger = \"73h\"", ["stagger", "259200 s"]),
            ("jitter = \"73h\"", ["jitter", "259200 s"]),
        ] {
            let error = check(text).expect_err(text);
            assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
        }
        for text in [
            "drains = [\"lb\"]",
            "canary = 1\nstages = [\"10%\", \"50%\"]\napproval = \"after_canary\"",
            "canary = \"5%\"",
            "stages = [3, \"50%\"]",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }
}
