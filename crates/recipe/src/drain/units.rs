//! systemd units: stopped in order, started in reverse. One `systemctl show` tells of all.

use std::collections::BTreeMap;

use model::{ErrorCode, ItemState, Millis};

use super::{Goal, LOOK, Look, Service, Trouble, Wish};
use crate::answer;
use crate::{Invocation, Output};

pub(crate) struct Units {
    units: Vec<String>,
}

/// What systemd says of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) properties: BTreeMap<String, String>,
}

impl Unit {
    pub(crate) fn get(&self, name: &str) -> &str {
        self.properties.get(name).map_or("", String::as_str)
    }

    /// `active/running`, `inactive/dead`, …
    pub(crate) fn state(&self) -> String {
        format!("{}/{}", self.get("ActiveState"), self.get("SubState"))
    }

    pub(crate) fn is_down(&self) -> bool {
        is_down(self.get("ActiveState"))
    }

    /// It does not exist, and nothing of it runs.
    pub(crate) fn is_missing(&self) -> bool {
        self.get("LoadState") == "not-found" && self.is_down()
    }
}

/// In these words nothing of the unit runs or is about to.
fn is_down(active: &str) -> bool {
    matches!(active, "inactive" | "failed")
}

/// systemd's own rule for names, without patterns; with a suffix.
fn safe(name: &str) -> bool {
    (3..=255).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b":-_.\\@".contains(&b))
        && !name.starts_with(['-', '.'])
        && name.rsplit_once('.').is_some_and(|(_, suffix)| !suffix.is_empty())
}

/// Asks for these units, which must have safe names.
pub(crate) fn show(units: &[String], more: &[&str], limit: Millis) -> Result<Invocation, Trouble> {
    if let Some(bad) = units.iter().find(|name| !safe(name)) {
        return Err(Trouble::new(
            ErrorCode::Malformed,
            format!("{bad:?} is no name of a unit (it needs its suffix: web.service)"),
        ));
    }
    // Without a name it would tell of systemd itself.
    if units.is_empty() {
        return Err(Trouble::new(ErrorCode::Malformed, "no unit is named"));
    }
    let properties = ["LoadState", "ActiveState", "SubState"].iter().chain(more).copied().collect::<Vec<_>>().join(",");
    let words = ["systemctl".to_owned(), "show".to_owned(), format!("--property={properties}"), "--".to_owned()];
    Ok(Invocation::new(words.into_iter().chain(units.iter().cloned()), limit))
}

/// One block for each unit that was asked for, in that order.
pub(crate) fn read_units(asked: usize, output: &Output) -> Result<Vec<Unit>, String> {
    let units = read_all_units(output)?;
    if units.len() == asked {
        Ok(units)
    } else {
        Err(format!("systemctl show: unreadable answer: {} units, not {asked}", units.len()))
    }
}

/// One block for each unit that there is, at least one.
pub(crate) fn read_all_units(output: &Output) -> Result<Vec<Unit>, String> {
    let text = answer::stdout("systemctl show", output)?;
    let unreadable = |what: &str| format!("systemctl show: unreadable answer: {what}");
    if !text.ends_with('\n') {
        return Err(unreadable("it is not whole"));
    }
    let mut units = Vec::new();
    for block in text.trim_matches('\n').split("\n\n") {
        let properties: Option<BTreeMap<String, String>> =
            block.lines().map(|line| line.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()))).collect();
        let unit = Unit { properties: properties.ok_or_else(|| unreadable(block))? };
        let known = ["active", "reloading", "inactive", "failed", "activating", "deactivating", "maintenance", "refreshing"];
        if !known.contains(&unit.get("ActiveState")) || unit.get("SubState").is_empty() || unit.get("LoadState").is_empty() {
            return Err(unreadable(block));
        }
        units.push(unit);
    }
    Ok(units)
}

impl Units {
    pub(super) fn new(units: &[String]) -> Result<Self, Trouble> {
        show(units, &[], LOOK)?;
        Ok(Self { units: units.to_vec() })
    }

    fn run(words: &[&str], unit: &str, limit: Millis) -> Invocation {
        Invocation::new(["systemctl"].iter().chain(words).chain(&["--", unit]).copied(), limit)
    }
}

impl Service for Units {
    fn look(&mut self, so_far: &[Output]) -> Result<Look, Trouble> {
        let Some(output) = so_far.first() else { return Ok(Look::Run(show(&self.units, &[], LOOK)?)) };
        let units = read_units(self.units.len(), output).map_err(Trouble::unread)?;
        let named = self.units.iter().zip(units);
        let items = named.map(|(name, unit)| {
            if unit.is_missing() {
                return Err(Trouble::new(ErrorCode::NotFound, format!("this host has no unit {name}")));
            }
            Ok(ItemState { name: name.clone(), state: unit.state(), in_service: !unit.is_down() })
        });
        Ok(Look::Seen(items.collect::<Result<_, _>>()?))
    }

    fn reached(&self, now: &ItemState, wish: Wish<'_>) -> bool {
        match wish {
            Wish::Out { .. } => !now.in_service,
            // Up means up: not on its way to it or from it.
            Wish::As(prior) if prior.in_service => now.state.starts_with("active/") || now.state.starts_with("reloading/"),
            Wish::As(_) => !now.in_service,
        }
    }

    fn act(&self, now: &ItemState, wish: Wish<'_>, _: &Goal, left: Millis) -> Vec<Invocation> {
        match wish {
            // The stop is asked for first, so that nothing starts it again; then all its processes are ended.
            Wish::Out { force: true } => vec![
                Self::run(&["stop", "--no-block"], &now.name, left),
                Self::run(&["kill", "--signal=SIGKILL"], &now.name, left),
            ],
            _ if now.state.starts_with("deactivating/") => Vec::new(),
            Wish::As(prior) if prior.in_service => match now.in_service {
                true => Vec::new(),
                false => vec![Self::run(&["start"], &now.name, left)],
            },
            Wish::Out { .. } | Wish::As(_) => vec![Self::run(&["stop"], &now.name, left)],
        }
    }
}
