//! Containers of Docker and Podman, which understand the same words.

use std::collections::BTreeMap;

use model::{ContainerEngine, ErrorCode, ItemState, Millis};
use serde::Deserialize;

use super::{Goal, LOOK, Look, Service, Trouble, Wish};
use crate::{Invocation, Output};

/// A signal, or a start: the engine's own work is not waited for.
const ACT: Millis = Millis(60_000);
/// Seconds; a day is longer than any drain.
const NEVER: &str = "86400";

pub(crate) struct Containers {
    engine: ContainerEngine,
    names: Vec<String>,
    /// What stops each of them, as seen last.
    signals: BTreeMap<String, String>,
}

/// One entry of `container inspect`, with the fields that are used.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Container {
    pub(crate) name: String,
    state: State,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    host_config: HostConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    status: String,
    /// Podman calls it so before version 4.
    #[serde(default, alias = "Healthcheck")]
    health: Option<Health>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Health {
    #[serde(default)]
    status: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    /// A name with Docker and with Podman from 5 on, before that a number.
    #[serde(default)]
    stop_signal: serde_json::Value,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    #[serde(default)]
    restart_policy: RestartPolicy,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    #[serde(default)]
    name: String,
}

impl Container {
    /// The engine's word.
    pub(crate) fn state(&self) -> &str {
        &self.state.status
    }

    /// What its health check says, where it has one.
    pub(crate) fn health(&self) -> Option<&str> {
        self.state.health.as_ref().map(|h| h.status.as_str()).filter(|s| !s.is_empty() && *s != "none")
    }

    /// Its restart policy wants it up.
    pub(crate) fn should_run(&self) -> bool {
        matches!(self.host_config.restart_policy.name.as_str(), "always" | "unless-stopped")
    }

    /// It is neither up nor on its way.
    pub(crate) fn is_down(&self) -> bool {
        matches!(self.state(), "exited" | "created" | "dead" | "configured" | "stopped" | "removing")
    }
}

/// The name of the engine's program.
pub(crate) fn program(engine: ContainerEngine) -> &'static str {
    match engine {
        ContainerEngine::Docker => "docker",
        ContainerEngine::Podman => "podman",
    }
}

/// The engines' own rule for names.
fn safe(name: &str) -> bool {
    (1..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// Asks for these containers, which must have safe names.
pub(crate) fn inspect(engine: ContainerEngine, names: &[String], limit: Millis) -> Result<Invocation, Trouble> {
    if let Some(bad) = names.iter().find(|name| !safe(name)) {
        return Err(Trouble::new(ErrorCode::Malformed, format!("{bad:?} is no name of a container")));
    }
    if names.is_empty() {
        return Err(Trouble::new(ErrorCode::Malformed, "no container is named"));
    }
    let words = [program(engine), "container", "inspect"].map(str::to_owned);
    Ok(Invocation::new(words.into_iter().chain(names.iter().cloned()), limit))
}

/// One entry for each that was asked for, in that order.
pub(crate) fn read_inspected(engine: ContainerEngine, asked: usize, output: &Output) -> Result<Vec<Container>, Trouble> {
    let tool = format!("{} container inspect", program(engine));
    if output.exit.is_some_and(|code| code != 0) && !output.timed_out {
        let said = output.stderr.to_ascii_lowercase();
        if said.contains("no such container") || said.contains("no container with name") {
            return Err(Trouble::new(ErrorCode::NotFound, format!("{tool}: {}", output.words())));
        }
    }
    let text = crate::answer::stdout(&tool, output).map_err(Trouble::unread)?;
    let read: Vec<Container> =
        serde_json::from_str(text).map_err(|e| Trouble::unread(format!("{tool}: unreadable answer: {e}")))?;
    if read.len() != asked {
        return Err(Trouble::unread(format!("{tool}: {} containers, not {asked}", read.len())));
    }
    Ok(read)
}

impl Containers {
    pub(super) fn new(engine: ContainerEngine, names: &[String]) -> Result<Self, Trouble> {
        inspect(engine, names, LOOK)?;
        Ok(Self { engine, names: names.to_vec(), signals: BTreeMap::new() })
    }

    fn run(&self, words: &[&str], name: &str) -> Invocation {
        Invocation::new([program(self.engine)].iter().chain(words).chain(&[name]).copied(), ACT)
    }

    /// How long it may take is the drain's to say, so neither engine's habit of killing after a while is used.
    ///
    /// Docker: the container's own stop signal; its restart policy leaves one alone that was signalled so (recorded: after-term).
    /// Podman restarts such a one, so it is asked to stop, with a time that never comes: it waits by itself, without a server,
    /// and is ended before it would kill.
    fn stop(&self, name: &str, left: Millis) -> Invocation {
        let signal = self.signals.get(name).map_or("TERM", String::as_str);
        match self.engine {
            ContainerEngine::Docker => self.run(&["kill", &format!("--signal={signal}")], name),
            ContainerEngine::Podman => {
                let seconds = left.0.div_ceil(1000).max(1).to_string();
                let words = ["timeout", "-s", "KILL", &seconds, "podman", "stop", "--time", NEVER, name];
                Invocation::new(words, Millis(left.0.saturating_add(ACT.0)))
            }
        }
    }

    /// At once. With Podman a stop: a kill alone would be followed by a restart.
    fn cut_off(&self, name: &str) -> Invocation {
        match self.engine {
            ContainerEngine::Docker => self.run(&["kill"], name),
            ContainerEngine::Podman => self.run(&["stop", "--time", "0"], name),
        }
    }
}

impl Container {
    fn stop_signal(&self) -> Option<String> {
        match &self.config.stop_signal {
            serde_json::Value::String(name) if !name.is_empty() => Some(name.clone()),
            serde_json::Value::Number(number) if number.as_u64().is_some_and(|n| n > 0) => Some(number.to_string()),
            _ => None,
        }
    }

    fn item(&self, name: &str) -> ItemState {
        let state = self.state();
        // A paused one does no work; what is neither up nor down yet counts as up.
        ItemState { name: name.to_owned(), state: state.to_owned(), in_service: !self.is_down() && state != "paused" }
    }
}

impl Service for Containers {
    fn look(&mut self, so_far: &[Output]) -> Result<Look, Trouble> {
        let Some(output) = so_far.first() else { return Ok(Look::Run(inspect(self.engine, &self.names, LOOK)?)) };
        let read = read_inspected(self.engine, self.names.len(), output)?;
        let named = || self.names.iter().zip(&read);
        self.signals = named().filter_map(|(name, container)| Some((name.clone(), container.stop_signal()?))).collect();
        Ok(Look::Seen(named().map(|(name, container)| container.item(name)).collect()))
    }

    fn reached(&self, now: &ItemState, wish: Wish<'_>) -> bool {
        match wish {
            Wish::Out { .. } => !now.in_service,
            Wish::As(prior) if prior.in_service => now.state == "running",
            Wish::As(prior) if prior.state == "paused" => now.state == "paused",
            Wish::As(_) => !now.in_service && now.state != "paused",
        }
    }

    fn act(&self, now: &ItemState, wish: Wish<'_>, _: &Goal, left: Millis) -> Vec<Invocation> {
        match wish {
            Wish::Out { force: true } => vec![self.cut_off(&now.name)],
            Wish::Out { force: false } => vec![self.stop(&now.name, left)],
            Wish::As(prior) if prior.in_service || prior.state == "paused" => match now.state.as_str() {
                "running" => vec![self.run(&["pause"], &now.name)],
                "paused" => vec![self.run(&["unpause"], &now.name)],
                _ if now.in_service => Vec::new(),
                _ => vec![self.run(&["start"], &now.name)],
            },
            // It was down, and something has started it.
            Wish::As(_) => vec![self.stop(&now.name, left)],
        }
    }
}
