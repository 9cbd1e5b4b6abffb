//! What should run on a host and does not (S2-30, S2-33): enabled services of systemd, and containers whose restart policy
//! wants them up.
//!
//! A service is not missed when it is of the kind that runs once and ends well, when its condition keeps it from this host, or
//! when something else starts it on demand.

use std::fmt;
use std::str::FromStr;

use model::{Action, ContainerEngine, Drain, ItemState, Millis};

use crate::answer;
use crate::drain::{Trouble, Unit, inspect, program, read_inspected, read_units, show};
use crate::{Invocation, Next, Output, Script, Steps};

/// One question.
const LIMIT: Millis = Millis(30_000);
/// A host with more of either is not looked at in one answer.
const MOST: usize = 2000;
const ENGINES: [ContainerEngine; 2] = [ContainerEngine::Docker, ContainerEngine::Podman];
const TOLD: &str = "not running: ";

/// One thing that should run and does not. Written `unit NAME STATE` or `docker NAME STATE`, and read back from that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whose container; `None` for a unit of systemd.
    pub engine: Option<ContainerEngine>,
    /// Its name.
    pub name: String,
    /// In its tool's word: `failed/failed`, `exited`.
    pub state: String,
}

/// What should run on this host and does not, or why that cannot be told.
pub fn missing() -> Script<Result<Vec<Missing>, String>> {
    Script::new(ReadMissing { said: Vec::new(), asked: false })
}

impl Missing {
    /// From the detail of a failed [`model::CheckKind::Running`]; empty when it failed for another reason. What did not fit
    /// into the detail is found by the next check.
    pub fn in_detail(detail: &str) -> Vec<Self> {
        let list = detail.strip_prefix(TOLD).unwrap_or_default();
        list.split("; ").filter_map(|one| one.parse().ok()).collect()
    }

    pub(crate) fn told(missing: &[Self]) -> String {
        let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
        format!("{TOLD}{}", list.join("; "))
    }

    /// The commands that bring these up: undrains to "in service", which are safe to repeat and confirmed by looking.
    pub fn restore(missing: &[Self], limit: Millis) -> Vec<Action> {
        let kinds = [None].into_iter().chain(ENGINES.map(Some));
        let of = |kind: Option<ContainerEngine>| missing.iter().filter(move |m| m.engine == kind).map(|m| m.name.clone());
        kinds
            .filter_map(|kind| {
                let names: Vec<String> = of(kind).collect();
                if names.is_empty() {
                    return None;
                }
                let up = if kind.is_some() { "running" } else { "active/running" };
                let wanted = |name: &String| ItemState { name: name.clone(), state: up.to_owned(), in_service: true };
                let prior = names.iter().map(wanted).collect();
                let drain = match kind {
                    None => Drain::Units { units: names },
                    Some(engine) => Drain::Containers { engine, names },
                };
                Some(Action::Undrain { drain, prior, limit, forced: false })
            })
            .collect()
    }

    /// The next question, given the answers so far.
    pub(crate) fn look(said: &[Output], left: Millis) -> Result<Look, Trouble> {
        let limit = left.min(LIMIT);
        let mut answers = said.iter();
        let mut missing = Vec::new();
        let Some(list) = answers.next() else {
            let words = ["systemctl", "list-unit-files", "--type=service", "--state=enabled", "--no-legend", "--no-pager"];
            return Ok(Look::Run(Invocation::new(words, limit)));
        };
        let enabled = enabled(list).map_err(Trouble::unread)?;
        if !enabled.is_empty() {
            let Some(shown) = answers.next() else { return Ok(Look::Run(show(&enabled, &PROPERTIES, limit)?)) };
            let units = read_units(enabled.len(), shown).map_err(Trouble::unread)?;
            let down = enabled.into_iter().zip(&units).filter(|(_, unit)| is_missed(unit));
            missing.extend(down.map(|(name, unit)| Self { engine: None, name, state: unit.state() }));
        }
        for engine in ENGINES {
            let Some(list) = answers.next() else {
                let words = [program(engine), "ps", "--all", "--quiet", "--no-trunc"];
                return Ok(Look::Run(Invocation::new(words, limit)));
            };
            let ids = containers(engine, list).map_err(Trouble::unread)?;
            if ids.is_empty() {
                continue;
            }
            let Some(inspected) = answers.next() else { return Ok(Look::Run(inspect(engine, &ids, limit)?)) };
            // One may have been removed since it was listed.
            for found in read_inspected(engine, ids.len(), inspected)? {
                if found.should_run() && found.is_down() {
                    let name = found.name.trim_start_matches('/').to_owned();
                    missing.push(Self { engine: Some(engine), name, state: found.state().to_owned() });
                }
            }
        }
        Ok(Look::Seen(missing))
    }
}

/// A part of the look.
pub(crate) enum Look {
    Run(Invocation),
    Seen(Vec<Missing>),
}

const PROPERTIES: [&str; 5] = ["Type", "Result", "ConditionResult", "ConditionTimestampMonotonic", "TriggeredBy"];

/// Names of enabled services; templates are none by themselves.
fn enabled(output: &Output) -> Result<Vec<String>, String> {
    let text = answer::stdout("systemctl list-unit-files", output)?;
    let mut names = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        match words[..] {
            // The third word is what a vendor's preset says, and not there in older versions.
            [name, "enabled"] | [name, "enabled", _] if name.ends_with(".service") => {
                if !name.contains("@.") {
                    names.push(name.to_owned());
                }
            }
            _ => return Err(format!("systemctl list-unit-files: unreadable line {line:?}")),
        }
    }
    // Every host has one: an empty answer is none.
    if text.trim().is_empty() {
        return Err(answer::why_not("systemctl list-unit-files", output));
    }
    if names.len() > MOST {
        return Err(format!("systemctl list-unit-files: more than {MOST} services"));
    }
    Ok(names)
}

fn is_missed(unit: &Unit) -> bool {
    let failed = unit.get("ActiveState") == "failed";
    // Also `no` when it was never tested: what it needs has failed, and so its own start was not even tried.
    let tested = !matches!(unit.get("ConditionTimestampMonotonic"), "" | "0");
    let kept_away = unit.get("ConditionResult") == "no" && tested;
    let by_itself = unit.get("Type") == "oneshot" || kept_away || !unit.get("TriggeredBy").is_empty();
    unit.is_down() && (failed || !by_itself)
}

/// The ids of all containers; none when there is no such engine.
fn containers(engine: ContainerEngine, output: &Output) -> Result<Vec<String>, String> {
    if output.exit == Some(127) {
        return Ok(Vec::new());
    }
    let tool = format!("{} ps", program(engine));
    let ids: Vec<String> = answer::stdout(&tool, output)?.lines().map(str::to_owned).collect();
    if let Some(bad) = ids.iter().find(|id| id.len() != 64 || !id.bytes().all(|b| b.is_ascii_hexdigit())) {
        return Err(format!("{tool}: unreadable line {bad:?}"));
    }
    if ids.len() > MOST { Err(format!("{tool}: more than {MOST} containers")) } else { Ok(ids) }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.engine.map_or("unit", program), self.name, self.state)
    }
}

impl FromStr for Missing {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let [kind, name, state] = words[..] else { return Err(format!("{text:?} is not KIND NAME STATE")) };
        let engine = match kind {
            "unit" => None,
            "docker" => Some(ContainerEngine::Docker),
            "podman" => Some(ContainerEngine::Podman),
            _ => return Err(format!("{kind:?} is no kind of thing that runs")),
        };
        Ok(Self { engine, name: name.to_owned(), state: state.to_owned() })
    }
}

struct ReadMissing {
    said: Vec<Output>,
    asked: bool,
}

impl Steps<Result<Vec<Missing>, String>> for ReadMissing {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Result<Vec<Missing>, String>> {
        if self.asked {
            self.said.push(last.cloned().unwrap_or_default());
        }
        self.asked = true;
        match Missing::look(&self.said, LIMIT) {
            Ok(Look::Run(invocation)) => Next::Run(invocation),
            Ok(Look::Seen(missing)) => Next::Done(Ok(missing)),
            Err(trouble) => Next::Done(Err(trouble.why)),
        }
    }
}

#[cfg(test)]
mod tests;
