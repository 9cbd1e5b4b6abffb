//! What is taken out of service before a host goes down, and put back as it was (G7).

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Values that `{name}`, `{address}` or `{label.KEY}` in a drain or a check stand for; one map per track.
pub type Vars = BTreeMap<String, String>;

/// A container engine whose containers can be drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContainerEngine {
    /// Docker.
    Docker,
    /// Podman, of root.
    Podman,
}

/// Where a command is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Site {
    /// On the host itself, over its route.
    Target,
    /// Where the engine runs: [`crate::TargetId::CONTROLLER`].
    Controller,
}

/// A way to take a host out of service. Every kind can be observed, so a repeated drain or undrain is safe: the performer looks
/// first and does only what is left to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Drain {
    /// systemd units or targets on the host: stopped in this order, started in reverse.
    Units {
        /// Unit names, with their suffix.
        units: Vec<String>,
    },
    /// Containers on the host: stopped in this order, started in reverse.
    Containers {
        /// Whose.
        engine: ContainerEngine,
        /// Their names.
        names: Vec<String>,
    },
    /// A root-owned program on the host, `/etc/reveille/hooks/NAME`, called with `state`, `drain` or `undrain`.
    Hook {
        /// Its file name: letters, digits, `-`, `_`, `.`; never a path.
        name: String,
    },
    /// Servers behind an `HAProxy`, through its runtime socket, from where the engine runs.
    Haproxy {
        /// `HOST:PORT`, or the path of a socket.
        address: String,
        /// `BACKEND/SERVER`; `{name}` stands for the host's name.
        servers: Vec<String>,
    },
    /// Argument lists run where the engine runs, with the operator's own right. `state` prints one word a line for each item:
    /// `NAME STATE in|out`.
    Command {
        /// Prints the state.
        state: Vec<String>,
        /// Takes out of service; ends when that is done.
        drain: Vec<String>,
        /// Puts back; the state before is in the environment as `REVEILLE_PRIOR`, in the format of `state`.
        undrain: Vec<String>,
    },
    /// The same over HTTP, from where the engine runs: `GET URL/state` (the same lines), `POST URL/drain`, `POST URL/undrain`
    /// with the state before as its body.
    Http {
        /// Without the last part.
        url: String,
    },
}

impl Drain {
    /// Where it is performed.
    pub fn site(&self) -> Site {
        match self {
            Self::Units { .. } | Self::Containers { .. } | Self::Hook { .. } => Site::Target,
            Self::Haproxy { .. } | Self::Command { .. } | Self::Http { .. } => Site::Controller,
        }
    }

    /// Whether it stops what runs on the host. That must run again before the host can be healthy; all other kinds only keep work
    /// away from it, and are undrained when it is healthy (G7).
    pub fn stops_work(&self) -> bool {
        matches!(self, Self::Units { .. } | Self::Containers { .. })
    }

    /// With every `{…}` filled in.
    ///
    /// # Errors
    /// Names the first variable that the host does not have.
    pub fn filled(&self, vars: &Vars) -> Result<Self, UnknownVar> {
        let all = |list: &[String]| list.iter().map(|text| fill(text, vars)).collect::<Result<Vec<_>, _>>();
        Ok(match self {
            Self::Units { units } => Self::Units { units: all(units)? },
            Self::Containers { engine, names } => Self::Containers { engine: *engine, names: all(names)? },
            Self::Hook { name } => Self::Hook { name: fill(name, vars)? },
            Self::Haproxy { address, servers } => Self::Haproxy { address: fill(address, vars)?, servers: all(servers)? },
            Self::Command { state, drain, undrain } => {
                Self::Command { state: all(state)?, drain: all(drain)?, undrain: all(undrain)? }
            }
            Self::Http { url } => Self::Http { url: fill(url, vars)? },
        })
    }
}

impl fmt::Display for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Units { units } => f.write_str(&units.join(", ")),
            Self::Containers { engine, names } => write!(f, "{engine} {}", names.join(", ")),
            Self::Hook { name } => write!(f, "hook {name}"),
            Self::Haproxy { address, servers } => write!(f, "{} at {address}", servers.join(", ")),
            Self::Command { drain, .. } => write!(f, "command {}", drain.first().map_or("", String::as_str)),
            Self::Http { url } => f.write_str(shown(url)),
        }
    }
}

impl fmt::Display for ContainerEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

/// A URL as sentences name it: what follows the path may be a secret.
pub fn shown(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// A `{…}` that nothing is known for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the host has no value for {{{0}}}: give it that label, or take the variable out")]
pub struct UnknownVar(pub String);

/// The text with every `{NAME}` replaced; `{{` and `}}` stand for the braces themselves.
///
/// # Errors
/// Names the first variable that is not in the map.
pub fn fill(text: &str, vars: &Vars) -> Result<String, UnknownVar> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = from.strip_prefix("{{") {
            out.push('{');
            rest = after;
        } else if let Some(after) = from.strip_prefix("}}") {
            out.push('}');
            rest = after;
        } else if let Some((name, after)) = from.strip_prefix('{').and_then(|f| f.split_once('}')) {
            out.push_str(vars.get(name).ok_or_else(|| UnknownVar(name.to_owned()))?);
            rest = after;
        } else {
            return Err(UnknownVar(from.to_owned()));
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// One drained thing as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// Its name: a unit, a container, `BACKEND/SERVER`.
    pub name: String,
    /// Its state in the tool's own word; undrain brings back exactly this.
    pub state: String,
    /// It takes work in this state.
    pub in_service: bool,
}

/// A drain with what was found before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drained {
    /// Filled in.
    pub drain: Drain,
    /// As it was; this is what undrain restores.
    pub prior: Vec<ItemState>,
    /// What did not end by itself was cut off.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forced: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_not_shown() {
        let drain = Drain::Http { url: "https://lb/hosts/web1?token=s3cret".to_owned() };
        assert_eq!(drain.to_string(), "https://lb/hosts/web1");
    }

    #[test]
    fn variables_are_filled_in_and_unknown_ones_are_named() {
        let vars = Vars::from([("name".to_owned(), "web1".to_owned())]);
        assert_eq!(fill("web/{name}", &vars).unwrap(), "web/web1");
        assert_eq!(fill("{{{name}}}", &vars).unwrap(), "{web1}");
        assert_eq!(fill("{label.rack}", &vars), Err(UnknownVar("label.rack".to_owned())));
        assert!(fill("{name", &vars).is_err() && fill("name}", &vars).is_err());
    }
}
