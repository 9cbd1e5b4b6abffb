//! Checks that are made on the host itself. One that cannot be made does not hold, and says why (G5).

mod network;

use std::collections::VecDeque;

use model::{Check, CheckKind, CheckResult, ErrorCode, Millis};

use crate::drain::{Hook, Trouble, ask_safe, inspect, read_inspected, read_units, safe, show};
use crate::sync::Missing;
use crate::{Invocation, Next, Output, Script, Steps, answer};

/// Longest text of one result, in characters.
const DETAIL: usize = 1000;
/// A longer text is no generation, and is not shown.
const GENERATION: usize = 64;

/// Makes these checks, one after the other; one result for each, in their order. Those of another site do not hold.
/// `hooks` is the folder of named hooks.
pub fn checks(hooks: &str, checks: &[Check]) -> Script<Vec<CheckResult>> {
    make(hooks, checks, false)
}

/// As [`checks()`], with all of them made on the host, those over the network, too: a service may answer to its own host only.
pub(crate) fn checks_here(hooks: &str, checks: &[Check]) -> Script<Vec<CheckResult>> {
    make(hooks, checks, true)
}

fn make(hooks: &str, checks: &[Check], here: bool) -> Script<Vec<CheckResult>> {
    Script::new(Make {
        hooks: hooks.to_owned(),
        here,
        checks: checks.iter().cloned().collect(),
        said: Vec::new(),
        begun: None,
        results: Vec::new(),
    })
}

/// What one check needs next: a run, or it has its answer.
enum Step {
    Run(Invocation),
    Holds(String),
    Fails(String),
}

struct Make {
    hooks: String,
    /// Checks over the network are made on the host.
    here: bool,
    checks: VecDeque<Check>,
    /// What the runs of the first check have said so far.
    said: Vec<Output>,
    begun: Option<Millis>,
    results: Vec<CheckResult>,
}

impl Steps<Vec<CheckResult>> for Make {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Vec<CheckResult>> {
        if self.begun.is_some() {
            self.said.extend(last.cloned());
        }
        loop {
            let Some(check) = self.checks.front() else { return Next::Done(std::mem::take(&mut self.results)) };
            let begun = *self.begun.get_or_insert(elapsed);
            let left = Millis((begun.0.saturating_add(check.limit.0)).saturating_sub(elapsed.0));
            let cut_off = self.said.last().is_some_and(|output| output.timed_out);
            let step = if cut_off || (left == Millis(0) && self.said.is_empty()) {
                Step::Fails(format!("no answer within {}", check.limit))
            } else {
                let (kind, left) = (&check.kind, left.max(Millis(1)));
                let made = match self.here.then(|| network::step(kind, &self.said, left)).flatten() {
                    Some(made) => made,
                    None => step(kind, &self.hooks, &self.said, left),
                };
                made.unwrap_or_else(|t| Step::Fails(t.why))
            };
            let (passed, detail) = match step {
                Step::Run(_) if left == Millis(0) => (false, format!("no answer within {}", check.limit)),
                Step::Run(invocation) => return Next::Run(invocation),
                Step::Holds(detail) => (true, detail),
                Step::Fails(detail) => (false, detail),
            };
            let detail = detail.chars().take(DETAIL).collect();
            self.results.push(CheckResult { name: check.name.clone(), passed, detail });
            self.checks.pop_front();
            self.said.clear();
            self.begun = None;
        }
    }
}

fn holds(yes: bool, detail: String) -> Step {
    if yes { Step::Holds(detail) } else { Step::Fails(detail) }
}

fn step(kind: &CheckKind, hooks: &str, said: &[Output], left: Millis) -> Result<Step, Trouble> {
    match kind {
        CheckKind::Unit { unit } => {
            let Some(output) = said.first() else { return Ok(Step::Run(show(std::slice::from_ref(unit), &["Result"], left)?)) };
            let units = read_units(1, output).map_err(Trouble::unread)?;
            let Some(found) = units.first() else { return Err(Trouble::unread("systemctl show: no unit")) };
            if found.is_missing() {
                return Ok(Step::Fails(format!("this host has no unit {unit}")));
            }
            let up = matches!(found.get("ActiveState"), "active" | "reloading");
            let why = match found.get("Result") {
                "" | "success" => String::new(),
                result => format!(", result {result}"),
            };
            Ok(holds(up, format!("{unit} is {}{why}", found.state())))
        }
        CheckKind::Container { engine, name } => {
            let Some(output) = said.first() else {
                return Ok(Step::Run(inspect(*engine, std::slice::from_ref(name), left)?));
            };
            let read = read_inspected(*engine, 1, output)?;
            let Some(found) = read.first() else { return Err(Trouble::unread("container inspect: no container")) };
            let health = found.health();
            let detail = format!("{name} is {}{}", found.state(), health.map(|h| format!(", {h}")).unwrap_or_default());
            Ok(holds(found.state() == "running" && health.is_none_or(|h| h == "healthy"), detail))
        }
        CheckKind::Hook { name } => {
            let hook = Hook::new(hooks, name)?;
            Ok(match said {
                [] => Step::Run(ask_safe(hook.path(), left)),
                [owners] => {
                    safe(hook.path(), owners)?;
                    Step::Run(hook.run("check", left))
                }
                [.., output] => holds(output.succeeded(), format!("{} check: {}", hook.path(), output.words())),
            })
        }
        CheckKind::Command { argv } => {
            if argv.is_empty() {
                return Err(Trouble::new(ErrorCode::Malformed, "no program is named"));
            }
            Ok(match said.first() {
                None => Step::Run(Invocation::new(argv.iter().cloned(), left)),
                Some(output) => holds(output.succeeded(), output.words()),
            })
        }
        CheckKind::Generation { path, key, expected } => {
            if !path.starts_with('/') {
                return Err(Trouble::new(ErrorCode::Malformed, format!("{path:?} is no absolute path")));
            }
            let Some(output) = said.first() else { return Ok(Step::Run(Invocation::new(["cat", "--", path], left))) };
            let text = answer::stdout(path, output).map_err(Trouble::unread)?;
            let found = generation(path, key.as_deref(), text).map_err(Trouble::unread)?;
            let expected = expected.trim();
            Ok(if found == expected {
                Step::Holds(format!("{path} is of generation {expected}"))
            } else {
                Step::Fails(format!("{path} is of generation {}, expected {expected}", shown(&found)))
            })
        }
        CheckKind::Running {} => Missing::look(said, left).map(|look| match look {
            crate::sync::Look::Run(invocation) => Step::Run(invocation),
            crate::sync::Look::Seen(missing) if missing.is_empty() => Step::Holds("everything enabled runs".to_owned()),
            crate::sync::Look::Seen(missing) => Step::Fails(Missing::told(&missing)),
        }),
        CheckKind::Tcp { .. } | CheckKind::Http { .. } => {
            Err(Trouble::new(ErrorCode::Unsupported, "this check is made where the engine runs, not on the host"))
        }
    }
}

/// The whole text, or one member of the object that it is.
fn generation(path: &str, key: Option<&str>, text: &str) -> Result<String, String> {
    let Some(key) = key else {
        let text = text.trim();
        return if text.is_empty() { Err(format!("{path} is empty")) } else { Ok(text.to_owned()) };
    };
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("{path} is no JSON: {e}"))?;
    match value.get(key) {
        Some(serde_json::Value::String(text)) => Ok(text.trim().to_owned()),
        Some(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) => Ok(value.to_string()),
        Some(_) => Err(format!("{path}: {key:?} is no text and no number")),
        None => Err(format!("{path} has no member {key:?}")),
    }
}

/// What does not look like a generation is not shown: the file may be another one than meant, and nobody's business.
fn shown(found: &str) -> String {
    let plain = found.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:+/@".contains(c));
    if plain && found.len() <= GENERATION { found.to_owned() } else { "another kind (not shown)".to_owned() }
}

#[cfg(test)]
mod tests;
