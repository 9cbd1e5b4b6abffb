//! The children of a sandbox host: supervised processes, for demonstrations and tests only.

use model::{ChildKind, ChildRef, ChildReport, ChildStatus, Millis, TargetId};
use serde::Deserialize;

use crate::answer;
use crate::children::{Act, Engine, Listed};
use crate::{Invocation, Output};

const LIMIT: Millis = Millis(20_000);

/// The children of one sandbox host.
pub(crate) struct Sandbox {
    pub(crate) host: TargetId,
    pub(crate) ctl: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    children: Vec<Child>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Child {
    name: String,
    status: ChildStatus,
    autostart: bool,
    start_priority: i64,
    stop_priority: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pending {
    pending: Option<String>,
}

fn safe(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

/// A run of the control program.
pub(crate) fn run(ctl: &[String], words: &[&str]) -> Invocation {
    Invocation::new(ctl.iter().cloned().chain(words.iter().map(|w| (*w).to_owned())), LIMIT)
}

/// What shutdown is under way.
pub(crate) fn read_pending(output: &Output) -> Result<Option<String>, String> {
    let text = answer::stdout("sandbox pending", output)?;
    let pending: Pending = serde_json::from_str(text).map_err(|e| format!("sandbox pending: unreadable answer: {e}"))?;
    Ok(pending.pending)
}

impl Engine for Sandbox {
    fn list(&self) -> Invocation {
        run(&self.ctl, &["list"])
    }

    fn read_list(&self, output: &Output) -> Result<Vec<Listed>, String> {
        let text = answer::stdout("sandbox list", output)?;
        let answer: Answer = serde_json::from_str(text).map_err(|e| format!("sandbox list: unreadable answer: {e}"))?;
        let listed = answer.children.into_iter().map(|c| {
            let child = ChildRef {
                id: TargetId::of_child(self.host, ChildKind::Sandbox, &c.name),
                kind: ChildKind::Sandbox,
                stable_id: c.name.clone(),
                name: c.name,
            };
            let report = ChildReport {
                child,
                status: c.status,
                autostart: c.autostart,
                start_priority: c.start_priority,
                stop_priority: c.stop_priority,
            };
            Listed { report, passing: false }
        });
        Ok(listed.collect())
    }

    fn act(&self, act: Act, name: &str) -> Result<Vec<String>, String> {
        if !safe(name) {
            return Err(format!("{name:?} is no name of a sandbox child"));
        }
        let grace;
        let words: Vec<&str> = match act {
            Act::Stop(left) => {
                grace = left.0.to_string();
                vec!["stop", name, "--grace-ms", &grace]
            }
            Act::ForceStop => vec!["stop", name, "--grace-ms", "0", "--force"],
            Act::Start => vec!["start", name],
            Act::Pause => vec!["start", name, "--frozen"],
        };
        Ok(self.ctl.iter().cloned().chain(words.into_iter().map(str::to_owned)).collect())
    }
}
