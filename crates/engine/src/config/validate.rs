//! What configuration must hold beyond its types.

use std::collections::{BTreeMap, BTreeSet};

use model::{Amount, CheckKind, Drain, Millis, RolloutOptions, UnknownVar, Vars};

use super::Config;

/// A value that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct ConfigError {
    /// The key, with dots, below the table of the engine.
    pub key: String,
    /// What is wrong, and what to write instead.
    pub detail: String,
}

/// `{…}` of a host that can be known.
const FIXED_VARS: [&str; 2] = ["name", "address"];

type Checked = Result<(), ConfigError>;

fn must(fits: bool, key: &str, detail: &str) -> Checked {
    if fits { Ok(()) } else { Err(ConfigError { key: key.to_owned(), detail: detail.to_owned() }) }
}

/// Fields with their names.
macro_rules! named {
    ($of:expr, $($field:ident)*) => { [$((stringify!($field), $of.$field)),*] };
}

impl Config {
    /// Whether the values make sense, alone and together.
    ///
    /// # Errors
    /// The first that does not, with a hint.
    pub fn check(&self) -> Result<(), ConfigError> {
        must(self.heartbeat >= Millis(100), "heartbeat", "must be at least 100 ms")?;
        let detail = "must be longer than engine.heartbeat, or every host is silent between two reports";
        must(self.active_limit > self.heartbeat, "active_limit", detail)?;
        must(self.attempts >= 1, "attempts", "must be at least 1")?;
        must(self.lockout_count >= 1, "lockout_count", "must be at least 1, or nothing can ever be rebooted")?;
        let spans =
            named!(self, command_expiry probe_limit force_limit begin_within back_within start_limit health_gate wait_limit);
        for (key, span) in spans {
            must(span > Millis(0), key, "must be longer than 0 ms")?;
        }
        for (key, span) in named!(self.rollout, drain_limit shutdown_timeout expected) {
            must(span > Millis(0), &format!("rollout.{key}"), "must be longer than 0 ms")?;
        }
        self.check_groups()?;
        for (name, rule) in &self.drains {
            let key = format!("drain.{name}");
            must(is_word(name), &key, WORD)?;
            check_drain(&key, &rule.drain)?;
        }
        for (name, rule) in &self.checks {
            let key = format!("check.{name}");
            must(is_word(name), &key, WORD)?;
            must(rule.limit > Millis(0), &format!("{key}.limit"), "must be longer than 0 ms")?;
            check_check(&key, &rule.kind)?;
        }
        for name in self.windows.keys() {
            must(is_word(name), &format!("window.{name}"), WORD)?;
        }
        let rollout = self.rollout_of(&RolloutOptions::default(), None);
        self.check_rollout(&rollout).map_err(|error| ConfigError { key: "rollout".to_owned(), detail: error.to_string() })
    }

    fn check_groups(&self) -> Checked {
        let mut names = BTreeSet::new();
        for group in &self.limit_groups {
            let name = &group.name;
            must(is_word(name), "limit_group.name", &format!("{name:?}: {WORD}"))?;
            must(
                names.insert(name),
                "limit_group.name",
                &format!("two groups are called {name:?}: give each a name of its own"),
            )?;
            let detail = format!(
                "the group {name:?} allows 0 unavailable members, so that nothing in it could ever be rebooted; at least 1"
            );
            let nobody = matches!(group.max_unavailable, Amount::Count(0) | Amount::Percent(0));
            must(!nobody, "limit_group.max_unavailable", &detail)?;
            let detail =
                format!("the group {name:?} has no members: give on = \"SELECTOR\" (\"*\" for all hosts), per or children");
            must(group.on.is_some() || group.per.is_some() || !group.children.is_empty(), "limit_group", &detail)?;
            let mut children = BTreeSet::new();
            for path in &group.children {
                let whole = path.split_once('/').is_some_and(|(host, child)| !host.is_empty() && !child.is_empty());
                must(whole, "limit_group.children", &format!("{path:?} in the group {name:?}: write HOST/CHILD"))?;
                let detail = format!("{path:?} stands twice in the group {name:?}: leave one out");
                must(children.insert(path), "limit_group.children", &detail)?;
            }
        }
        Ok(())
    }
}

const WORD: &str = "a name is letters, digits, '-', '_' and '.', at most 64 of them";

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// Whether this is the name of a file in the folder of hooks, and nothing that leads out of it.
pub(crate) fn is_hook(name: &str) -> bool {
    is_word(name) && !name.starts_with('.')
}

fn check_drain(key: &str, drain: &Drain) -> Checked {
    let key = |field: &str| format!("{key}.{field}");
    let list = |field: &str, list: &[String]| {
        let whole = !list.is_empty() && list.iter().all(|one| !one.is_empty());
        must(whole, &key(field), "needs at least one, and none of them empty")
    };
    match drain {
        Drain::Units { units } => {
            list("units", units)?;
            for unit in units {
                unit_name(&key("units"), unit)?;
            }
        }
        Drain::Containers { names, .. } => list("names", names)?,
        Drain::Hook { name } => hook(&key("name"), name)?,
        Drain::Haproxy { address, servers } => {
            let fits = address.starts_with('/') || has_port(address);
            must(fits, &key("address"), "must be HOST:PORT, or the absolute path of a socket")?;
            list("servers", servers)?;
            let whole = |server: &String| server.split_once('/').is_some_and(|(b, s)| !b.is_empty() && !s.is_empty());
            must(servers.iter().all(whole), &key("servers"), "must each be BACKEND/SERVER, as in \"web/{name}\"")?;
        }
        Drain::Command { state, drain, undrain } => {
            for (field, argv) in [("state", state), ("drain", drain), ("undrain", undrain)] {
                program(&key(field), argv)?;
            }
        }
        Drain::Http { url } => {
            web_address(&key("url"), url)?;
            must(!url.contains(['?', '#']), &key("url"), "must have no query: /state, /drain and /undrain are put behind it")?;
        }
    }
    variables(&key(""), |vars| drain.filled(vars).map(|_| ()))
}

fn check_check(key: &str, kind: &CheckKind) -> Checked {
    let at = |field: &str| format!("{key}.{field}");
    match kind {
        CheckKind::Unit { unit } => unit_name(&at("unit"), unit)?,
        CheckKind::Container { name, .. } => must(!name.is_empty(), &at("name"), "is empty: name a container")?,
        CheckKind::Hook { name } => hook(&at("name"), name)?,
        CheckKind::Command { argv } => program(&at("argv"), argv)?,
        CheckKind::Generation { path, .. } => must(path.starts_with('/'), &at("path"), "must be an absolute path")?,
        CheckKind::Running {} => {}
        CheckKind::Tcp { address } => must(has_port(address), &at("address"), "must be HOST:PORT, as in \"{address}:80\"")?,
        CheckKind::Http { url, status, .. } => {
            web_address(&at("url"), url)?;
            must((100..600).contains(status), &at("status"), "must be an HTTP status, 100 to 599")?;
        }
    }
    let check = model::Check { name: String::new(), kind: kind.clone(), limit: Millis(0) };
    variables(&at(""), |vars| check.filled(vars).map(|_| ()))
}

fn unit_name(key: &str, unit: &str) -> Checked {
    let fits = unit.contains('.') && !unit.contains('/') && !unit.starts_with('-');
    must(fits, key, &format!("{unit:?} must be a unit with its suffix, as \"nginx.service\""))
}

fn hook(key: &str, name: &str) -> Checked {
    // What stands for a variable is looked at once a host gives it.
    let told = known_vars(name).and_then(|vars| model::fill(name, &vars).ok());
    let fits = is_hook(told.as_deref().unwrap_or(name));
    must(
        fits,
        key,
        &format!("{name:?} must be the name of a file in /etc/reveille/hooks, not a path: letters, digits, '-', '_' and '.'"),
    )
}

fn program(key: &str, argv: &[String]) -> Checked {
    must(argv.first().is_some_and(|program| !program.is_empty()), key, "is empty: write the program and its arguments as a list")
}

fn has_port(address: &str) -> bool {
    let port = |port: &str| port.contains('{') || port.parse::<u16>().is_ok_and(|p| p > 0);
    address.rsplit_once(':').is_some_and(|(host, p)| !host.is_empty() && port(p))
}

fn web_address(key: &str, url: &str) -> Checked {
    let host = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    must(
        host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')),
        key,
        "must begin with http:// or https:// and name a host",
    )?;
    let place = host.unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
    let detail = "must not hold a user or password: it stands in plans, journals and the audit log, for everybody who may look";
    must(!place.contains('@'), key, detail)
}

/// A value for each `{…}` in the text; `None`: its braces do not fit together.
fn known_vars(text: &str) -> Option<Vars> {
    used(|vars| model::fill(text, vars).map(|_| ()))
        .ok()
        .map(|names| names.into_iter().map(|name| (name, "x".to_owned())).collect())
}

fn variables(key: &str, filled: impl Fn(&Vars) -> Result<(), UnknownVar>) -> Checked {
    let key = key.trim_end_matches('.');
    let names = used(filled).map_err(|part| ConfigError {
        key: key.to_owned(),
        detail: format!("the braces in {part:?} do not fit together: {{{{ and }}}} stand for the braces themselves"),
    })?;
    for name in names {
        let known = FIXED_VARS.contains(&name.as_str()) || name.strip_prefix("label.").is_some_and(|label| !label.is_empty());
        must(known, key, &format!("{{{name}}} stands for nothing: known are {{name}}, {{address}} and {{label.KEY}}"))?;
    }
    Ok(())
}

/// The variables that a text, or whatever is filled in, asks for.
///
/// # Errors
/// The part whose braces do not fit together.
pub(crate) fn used(filled: impl Fn(&Vars) -> Result<(), UnknownVar>) -> Result<BTreeSet<String>, String> {
    let mut vars: Vars = BTreeMap::new();
    while let Err(UnknownVar(name)) = filled(&vars) {
        if name.contains(['{', '}']) || vars.insert(name.clone(), String::new()).is_some() {
            return Err(name);
        }
    }
    Ok(vars.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), ConfigError> {
        toml::from_str::<Config>(text).expect(text).check()
    }

    #[test]
    fn the_defaults_and_a_full_example_make_sense() {
        assert_eq!(Config::default().check(), Ok(()));
        let text = include_str!("example.toml");
        assert_eq!(check(text), Ok(()));
        let config: Config = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<Config>(&toml::to_string(&config).unwrap()).unwrap(), config, "written and read again");
    }

    #[test]
    fn values_that_make_no_sense_name_their_key_and_a_way_out() {
        let drain = |body: &str| format!("[drain.a]\non = \"*\"\n{body}");
        let probe = |body: &str| format!("[check.a]\non = \"*\"\n{body}");
        let group = |body: &str| format!("[[limit_group]]\nname = \"g\"\n{body}");
        for (text, key, part) in [
            ("heartbeat = 1".to_owned(), "heartbeat", "100 ms"),
            ("active_limit = 1000".to_owned(), "active_limit", "longer than"),
            ("attempts = 0".to_owned(), "attempts", "at least 1"),
            ("lockout_count = 0".to_owned(), "lockout_count", "at least 1"),
            ("wait_limit = 0".to_owned(), "wait_limit", "longer than 0"),
            ("rollout.drain_limit = 0".to_owned(), "rollout.drain_limit", "longer than 0"),
            (group("on = \"*\"\nmax_unavailable = 0"), "limit_group.max_unavailable", "at least 1"),
            (group("on = \"*\"\nmax_unavailable = \"0%\""), "limit_group.max_unavailable", "at least 1"),
            (group("max_unavailable = 1"), "limit_group", "on = "),
            (group("children = [\"a\"]\nmax_unavailable = 1"), "limit_group.children", "HOST/CHILD"),
            (group("children = [\"a/b\", \"a/b\"]\nmax_unavailable = 1"), "limit_group.children", "twice"),
            (
                group("on = \"*\"\nmax_unavailable = 1\n[[limit_group]]\nname = \"g\"\non = \"*\"\nmax_unavailable = 1"),
                "limit_group.name",
                "of its own",
            ),
            ("[[limit_group]]\nname = \"a/b\"\non = \"*\"\nmax_unavailable = 1".to_owned(), "limit_group.name", "letters"),
            (drain("kind = \"units\"\nunits = []"), "drain.a.units", "at least one"),
            (drain("kind = \"units\"\nunits = [\"nginx\"]"), "drain.a.units", "nginx.service"),
            (drain("kind = \"units\"\nunits = [\"--root=x.service\"]"), "drain.a.units", "suffix"),
            (drain("kind = \"containers\"\nengine = \"docker\"\nnames = [\"\"]"), "drain.a.names", "empty"),
            (drain("kind = \"hook\"\nname = \"../x\""), "drain.a.name", "not a path"),
            (drain("kind = \"hook\"\nname = \".x\""), "drain.a.name", "not a path"),
            (drain("kind = \"hook\"\nname = \"a/{name}\""), "drain.a.name", "not a path"),
            (drain("kind = \"haproxy\"\naddress = \"lb\"\nservers = [\"a/b\"]"), "drain.a.address", "HOST:PORT"),
            (drain("kind = \"haproxy\"\naddress = \"lb:9\"\nservers = [\"b\"]"), "drain.a.servers", "BACKEND/SERVER"),
            (drain("kind = \"command\"\nstate = [\"x\"]\ndrain = []\nundrain = [\"x\"]"), "drain.a.drain", "program"),
            (drain("kind = \"http\"\nurl = \"ftp://x\""), "drain.a.url", "http://"),
            (drain("kind = \"http\"\nurl = \"http://x/{host}\""), "drain.a", "{label.KEY}"),
            (drain("kind = \"http\"\nurl = \"http://x/{name\""), "drain.a", "fit together"),
            (probe("kind = \"unit\"\nunit = \"nginx\""), "check.a.unit", "nginx.service"),
            (probe("kind = \"hook\"\nname = \"/bin/sh\""), "check.a.name", "not a path"),
            (probe("kind = \"command\"\nargv = []"), "check.a.argv", "program"),
            (probe("kind = \"generation\"\npath = \"gen\"\nexpected = \"1\""), "check.a.path", "absolute"),
            (probe("kind = \"tcp\"\naddress = \"{address}\""), "check.a.address", "HOST:PORT"),
            (probe("kind = \"http\"\nurl = \"http:///x\""), "check.a.url", "name a host"),
            (probe("kind = \"http\"\nurl = \"http://x/\"\nstatus = 20"), "check.a.status", "100 to 599"),
            (probe("kind = \"tcp\"\naddress = \"{label.}:1\""), "check.a", "{label.KEY}"),
            (probe("kind = \"tcp\"\naddress = \"x:1\"\nlimit = 0"), "check.a.limit", "longer than 0"),
            ("[drain.\"a b\"]\non = \"*\"\nkind = \"hook\"\nname = \"x\"".to_owned(), "drain.a b", "letters"),
            ("[window.\"a b\"]\ndays = [\"sat\"]".to_owned(), "window.a b", "letters"),
            ("rollout.drains = [\"x\"]".to_owned(), "rollout", "\"x\""),
            ("rollout.windows = [\"x\"]".to_owned(), "rollout", "\"x\""),
            ("rollout.concurrency = 0".to_owned(), "rollout", "at least 1"),
        ] {
            let error = check(&text).expect_err(&text);
            assert_eq!(error.key, key, "{text}: {error}");
            assert!(error.to_string().contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn unknown_keys_and_bad_windows_are_errors_when_read() {
        for (text, part) in [
            ("[window.night]\ndays = [\"sat\"]\nzone = \"Mars/Base\"", "Europe/Berlin"),
            ("[window.night]\ndays = [\"sat\"]\nkind = \"maybe\"", "blackout"),
            ("[[limit_group]]\nname = \"a\"\nmax_unavailable = \"110%\"", "110%"),
            ("[[limit_group]]\nname = \"a\"\non = \"role=\"\nmax_unavailable = 1", "value is missing"),
            ("[[limit_group]]\nname = \"a\"\nlabels = { a = \"b\" }\nmax_unavailable = 1", "labels"),
            ("[drains.a]\non = \"*\"", "drains"),
            ("[rollout]\nconcurency = 1", "concurency"),
        ] {
            let error = toml::from_str::<Config>(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
