//! Services under systemd, and what is done to one (S3).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::NAMESPACE;
use crate::paths;
use crate::{BootIdentity, Check, CheckResult, Millis, OrchestrationId, TargetId, is_file_name};

/// Which run of a unit this is: systemd's `InvocationID`, made anew at each start. What a restart is proven by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InvocationId(Uuid);

/// Why a text is no invocation id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an invocation id: {0:?} (expected 32 hexadecimal digits that are not all zeros)")]
pub struct InvocationIdError(String);

impl FromStr for InvocationId {
    type Err = InvocationIdError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match Uuid::try_parse(s) {
            Ok(id) if !id.is_nil() => Ok(Self(id)),
            _ => Err(InvocationIdError(s.to_owned())),
        }
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for InvocationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for InvocationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a service is for. Of those that may come next, the lower kind comes first (S3-4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ServiceKind {
    /// What others stand on: databases, caches, object stores. Restarted, never reloaded, unless it is said otherwise.
    Infrastructure,
    /// An API: reloaded where that is enough (S3-8), and its migrations are run (S3-86).
    Api,
    /// A machine-learning service: reloaded where that is enough (S3-8).
    Ml,
    /// Works in the background.
    Worker,
    /// Serves pages.
    Web,
    /// Anything else.
    #[default]
    Other,
}

impl fmt::Display for ServiceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Infrastructure => "infrastructure",
            Self::Api => "api",
            Self::Ml => "ml",
            Self::Worker => "worker",
            Self::Web => "web",
            Self::Other => "other",
        })
    }
}

/// What a reload of the unit makes take effect. Anything else needs a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reload {
    /// Nothing: it is always restarted.
    Never,
    /// Its configuration; not a deployed tree.
    Config,
    /// A deployed tree, too.
    Code,
}

/// How long things take with one service, and how often they are tried. Defaults are S3's (S3-52 to S3-58).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings {
    /// One answer to a health check may take so long (`HEALTH_CHECK_TIMEOUT`).
    pub health_check_timeout: Millis,
    /// While it soaks, health is asked so often (`HEALTH_CHECK_INTERVAL`).
    pub health_check_interval: Millis,
    /// The soak after the restart: healthy all the time (`STABILIZATION_PERIOD`).
    pub stabilization_period: Millis,
    /// systemd may take so long for one start, stop or reload (`SYSTEMD_GRACE_PERIOD`).
    pub systemd_grace_period: Millis,
    /// Attempts of one health check (`MAX_RETRY_ATTEMPTS`).
    pub max_retry_attempts: u32,
    /// Between two attempts (`RETRY_DELAY`).
    pub retry_delay: Millis,
    /// A deploy may take so long.
    pub deploy_timeout: Millis,
    /// A migration may take so long; then it is killed.
    pub migrate_timeout: Millis,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            health_check_timeout: Millis::secs(30),
            health_check_interval: Millis::secs(2),
            stabilization_period: Millis::secs(30),
            systemd_grace_period: Millis::secs(10),
            max_retry_attempts: 3,
            retry_delay: Millis::secs(5),
            deploy_timeout: Millis::secs(300),
            migrate_timeout: Millis::secs(600),
        }
    }
}

/// A tree that is brought to where a service runs from; all paths are on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The new tree: an absolute path.
    pub source: String,
    /// Where the service runs from: an absolute path, replaced whole.
    pub destination: String,
    /// Not taken over from the source, and kept where the destination has it: patterns of rsync, relative to both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<String>,
    /// Kept from the old tree, whatever the source has: relative paths.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<String>,
    /// A file in the source that becomes the unit file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_file: Option<String>,
}

impl Deploy {
    /// Whether it can be meant, and may be done: absolute paths, none inside the other, a destination that belongs to one service
    /// alone, and nothing that leads out of them.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        let (source, destination) = (paths::absolute(&self.source)?, paths::absolute(&self.destination)?);
        paths::replaceable(&destination)?;
        if paths::within(&source, &destination) || paths::within(&destination, &source) {
            return Err(format!("{source:?} and {destination:?} lie in one another: a deploy needs two trees apart"));
        }
        self.exclude.iter().try_for_each(|pattern| paths::pattern(pattern).map(drop))?;
        self.keep.iter().chain(&self.unit_file).try_for_each(|path| paths::relative(path).map(drop))
    }
}

/// What changes a database before its service is restarted. It is never undone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Migrate {
    /// An argument list, run in a folder. Not over agents.
    Command {
        /// Program and arguments; a relative program is looked for in the folder.
        argv: Vec<String>,
        /// Absolute.
        directory: String,
    },
    /// `/etc/reveille/commands.d/NAME` on the host.
    Named {
        /// Its file name.
        name: String,
    },
}

impl fmt::Display for Migrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command { argv, directory } => write!(f, "{} in {directory}", argv.join(" ")),
            Self::Named { name } => write!(f, "command {name}"),
        }
    }
}

/// On which of a service's hosts its migration is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrateOn {
    /// On the first of them that is gone through; the others wait for it.
    #[default]
    First,
    /// On each of them: each has a database of its own.
    Every,
}

impl MigrateOn {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
    fn is_first(&self) -> bool {
        *self == Self::First
    }
}

/// One service, as `reveille.toml` declares it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name, `feature.role` (S3-48).
    pub name: String,
    /// Its systemd unit, with its suffix.
    pub unit: String,
    /// What it is for.
    #[serde(default)]
    pub kind: ServiceKind,
    /// The host that it runs on, by name; without one it runs on every host that is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Names of services, units or systemd targets that must be up before it, and are restarted before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<String>,
    /// What must hold for it to be healthy, made on its host; without one systemd's word counts (S3-79).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Check>,
    /// How often whoever watches the service asks (S3-51).
    pub interval: Millis,
    /// Where its code comes from and goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Deploy>,
    /// Run before its restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// Of several hosts, on which.
    #[serde(default, skip_serializing_if = "MigrateOn::is_first")]
    pub migrate_on: MigrateOn,
    /// What a reload is good for.
    pub reload: Reload,
    /// Times and attempts.
    pub timings: Timings,
}

/// What is asked of services (S3-27 to S3-46).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicesRequest {
    /// All that are declared: the order of some depends on others.
    pub services: Vec<Service>,
    /// Those that are meant; all when it is empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub only: BTreeSet<String>,
    /// So many at once; 0 = as many as the dependencies allow.
    pub parallel: u32,
    /// What does not depend on a failed service goes on (ruling 14).
    pub keep_going: bool,
    /// No migration is run (S3-32).
    pub skip_migrations: bool,
    /// Deploy, too (S3-33).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployFrom>,
}

/// Where new trees lie.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DeployFrom {
    /// Of one service that is named alone: its tree. Of several: the folder that holds a folder for each (S3-34 to S3-36). Without
    /// it the services' own `source` is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// The service of a track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRef {
    /// See [`TargetId::of_service`].
    pub id: TargetId,
    /// Its name.
    pub name: String,
    /// Its unit.
    pub unit: String,
}

impl TargetId {
    /// The id of a service: computed from its host and unit, so that it is the same in every request.
    pub fn of_service(host: Self, unit: &str) -> Self {
        Self(Uuid::new_v5(&NAMESPACE, format!("service/{host}/{unit}").as_bytes()))
    }
}

/// What is done to one unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum ServiceVerb {
    /// Read it, and make these checks on the host.
    Inspect {
        /// What must hold for it to be healthy.
        checks: Vec<Check>,
    },
    /// Look at it for a whole soak: systemd's own word all the time, its health again and again. Ends early when it is not what it
    /// was, and says so.
    Watch {
        /// The run of the unit that is watched; another one is a crash.
        invocation: Option<InvocationId>,
        /// How often systemd had started it again by itself at the beginning.
        restarts: u32,
        /// What must hold.
        checks: Vec<Check>,
        /// For so long.
        hold: Millis,
        /// Health is asked so often.
        every: Millis,
    },
    /// Copy the unit file and its drop-ins beside them (S3-12, S3-13).
    BackUp {
        /// Whose backup it is.
        key: OrchestrationId,
    },
    /// Bring a new tree to where the service runs from; the old one is kept, whole. The service is not touched.
    Deploy {
        /// Whose old tree it is.
        key: OrchestrationId,
        /// From where to where.
        deploy: Deploy,
        /// How long it may take.
        limit: Millis,
    },
    /// Run its migration, once.
    Migrate {
        /// What.
        migrate: Migrate,
        /// The claim of the command on the host: the second time it is not run, but its end is told.
        key: OrchestrationId,
        /// The boot on which it was admitted.
        expect_boot: BootIdentity,
        /// Then it is killed.
        limit: Millis,
    },
    /// Restart it if it is still this run of it; or reload it.
    Restart {
        /// Whose restart it is; `None` in commands of programs from before claims had owners.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<OrchestrationId>,
        /// The run that is to end; `None`: it does not run.
        expect: Option<InvocationId>,
        /// Try to reload it (S3-16); what cannot be reloaded is restarted (S3-17).
        reload: bool,
        /// How long systemd may take.
        grace: Millis,
    },
    /// Stop it.
    Stop {
        /// How long systemd may take.
        grace: Millis,
    },
    /// Put the old tree back.
    Revert {
        /// Whose.
        key: OrchestrationId,
        /// As it was deployed.
        deploy: Deploy,
        /// How long it may take.
        limit: Millis,
    },
    /// Put the unit file and its drop-ins back, let systemd read them, and start it if it ran.
    Restore {
        /// Whose backup.
        key: OrchestrationId,
        /// Start it.
        start: bool,
        /// How long systemd may take.
        grace: Millis,
    },
}

/// What a person has to put back who takes back a restart by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByHand {
    /// The unit.
    pub unit: String,
    /// Its unit file as it was before anything was done; `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit_file: Option<String>,
    /// Whose old tree there may be, and where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<(OrchestrationId, Deploy)>,
}

impl ByHand {
    /// Of a unit of which nothing more is known.
    pub fn of(unit: &str) -> Self {
        Self { unit: unit.to_owned(), unit_file: None, deploy: None }
    }
}

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSeen {
    /// `loaded`, `not-found`, `masked`, …
    pub load: String,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, …
    pub active: String,
    /// `running`, `dead`, `auto-restart`, …
    pub sub: String,
    /// Its last run, which may be over.
    pub invocation: Option<InvocationId>,
    /// How often systemd has started it again by itself.
    pub restarts: u32,
    /// `success`, or why its last run ended.
    pub result: String,
    /// It knows how to reload.
    pub can_reload: bool,
    /// Its files have changed since systemd read them.
    pub needs_daemon_reload: bool,
    /// Its unit file; empty when it has none.
    pub fragment: String,
}

impl UnitSeen {
    /// It is up: not on its way to it or from it.
    pub fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// systemd knows how to run it.
    pub fn is_loaded(&self) -> bool {
        self.load == "loaded"
    }
}

impl fmt::Display for UnitSeen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_loaded() {
            return f.write_str(&self.load);
        }
        write!(f, "{} ({})", self.active, self.sub)?;
        if matches!(self.result.as_str(), "" | "success") { Ok(()) } else { write!(f, ", result {}", self.result) }
    }
}

/// What was seen of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSeen {
    /// systemd's word.
    pub unit: UnitSeen,
    /// One result for each check that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
    /// The action has changed something on the host, now or the first time that it was asked for.
    #[serde(default)]
    pub changed: bool,
    /// For a restart: a reload was enough.
    #[serde(default)]
    pub reloaded: bool,
    /// For a watch: what went wrong, at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What was done, in words; at most 1000 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl ServiceSeen {
    /// Nothing but what systemd says.
    pub fn of(unit: UnitSeen) -> Self {
        Self { unit, checks: Vec::new(), changed: false, reloaded: false, trouble: None, detail: String::new() }
    }

    /// It is up, and every check passed.
    pub fn is_healthy(&self) -> bool {
        self.unit.is_up() && self.trouble.is_none() && self.checks.iter().all(|check| check.passed)
    }

    /// Why it is not healthy, in words; empty when it is.
    pub fn wrong(&self) -> Vec<String> {
        let unit = (!self.unit.is_up()).then(|| format!("the unit is {}", self.unit));
        let checks = self.checks.iter().filter(|check| !check.passed).map(|check| format!("{}: {}", check.name, check.detail));
        unit.into_iter().chain(self.trouble.clone()).chain(checks).collect()
    }
}

/// Whether a text can be the name of a service: letters, digits, `-`, `_` and `.`, as in `sso.api`.
pub fn is_service_name(name: &str) -> bool {
    is_file_name(name)
}

/// Whether a text can be the name of a unit: systemd's own rule, without patterns, with a suffix.
pub fn is_unit_name(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
        && !name.starts_with(['-', '.'])
        && name.rsplit_once('.').is_some_and(|(stem, suffix)| !stem.is_empty() && SUFFIXES.contains(&suffix))
}

/// Whether a unit may be changed as a service. Some take the host down, which only a reboot may, under its guard (ruling 5, G1, G9);
/// and some would take away what is to bring them back (G7).
///
/// # Errors
/// Why not, in words.
pub fn restartable(unit: &str) -> Result<(), String> {
    if !is_unit_name(unit) {
        return Err(format!("{unit:?} is no name of a unit (it needs its suffix: web.service)"));
    }
    let suffix = unit.rsplit_once('.').map_or("", |(_, suffix)| suffix);
    if !["service", "socket", "timer", "path"].contains(&suffix) {
        return Err(format!("{unit} is no service, socket, timer or path: no {suffix} is restarted as one"));
    }
    let own = ["reveille.service", "reveille-agent.service", "dbus.service", "dbus-broker.service", "dbus.socket"];
    if unit.starts_with("systemd-") || own.contains(&unit) {
        return Err(format!("{unit} belongs to the host itself, or brings it back: it is not restarted as a service"));
    }
    Ok(())
}

/// Kinds of units.
const SUFFIXES: [&str; 11] =
    ["service", "socket", "device", "mount", "automount", "swap", "target", "path", "timer", "slice", "scope"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invocation_id_is_as_systemd_writes_it() {
        let text = "4f9c0a6f3a1d4a3f8a52d0f0b1c2d3e4";
        assert_eq!(text.parse::<InvocationId>().unwrap().to_string(), text);
        for bad in ["", "00000000000000000000000000000000", "n/a", "4f9c"] {
            assert!(bad.parse::<InvocationId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn names_of_services_and_units_are_told_apart() {
        assert!(is_service_name("sso.api") && !is_unit_name("sso.api"));
        assert!(is_unit_name("lilith-sso-api.service") && is_unit_name("network.target") && is_unit_name("getty@tty1.service"));
        for bad in ["", "-x.service", "a b.service", "a/b.service", "*.service", "service", ".service"] {
            assert!(!is_unit_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_deploy_replaces_nothing_but_a_folder_of_its_own() {
        let deploy = |source: &str, destination: &str| Deploy {
            source: source.to_owned(),
            destination: destination.to_owned(),
            exclude: vec!["node_modules".to_owned()],
            keep: vec![".env".to_owned()],
            unit_file: None,
        };
        assert_eq!(deploy("/tmp/x", "/srv/x").check(), Ok(()));
        for (source, destination) in
            [("/tmp/x", "/"), ("/tmp/x", "/usr/bin"), ("x", "/srv/x"), ("/srv/x/new", "/srv/x"), ("/srv", "/srv/x")]
        {
            assert!(deploy(source, destination).check().is_err(), "{source} {destination}");
        }
        assert!(Deploy { keep: vec!["../x".to_owned()], ..deploy("/tmp/x", "/srv/x") }.check().is_err());
        assert!(Deploy { unit_file: Some("/etc/x".to_owned()), ..deploy("/tmp/x", "/srv/x") }.check().is_err());
    }

    #[test]
    fn what_takes_the_host_down_or_brings_it_back_is_no_service() {
        for good in ["web.service", "redis-server.service", "app.socket", "backup.timer", "getty@tty1.service"] {
            assert_eq!(restartable(good), Ok(()), "{good}");
        }
        for bad in [
            "reboot.target",
            "poweroff.target",
            "runlevel6.target",
            "ctrl-alt-del.target",
            "systemd-reboot.service",
            "systemd-logind.service",
            "reveille-agent.service",
            "reveille.service",
            "dbus.service",
            "home.mount",
            "system.slice",
            "web",
        ] {
            assert!(restartable(bad).is_err(), "{bad}");
        }
    }

    /// S3-52 to S3-58.
    #[test]
    fn s3_52_to_58_timings_are_those_of_the_document() {
        let t = Timings::default();
        assert_eq!((t.health_check_timeout, t.health_check_interval), (Millis(30_000), Millis(2_000)));
        assert_eq!((t.stabilization_period, t.systemd_grace_period), (Millis(30_000), Millis(10_000)));
        assert_eq!((t.max_retry_attempts, t.retry_delay), (3, Millis(5_000)));
    }
}
