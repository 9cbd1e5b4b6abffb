//! What systemd says of one unit.

use model::{ErrorCode, InvocationId, Millis, UnitSeen};

use crate::drain::{Trouble, Unit, read_units, show};
use crate::{Invocation, Output};

/// One look.
pub(super) const LOOK: Millis = Millis(20_000);
/// Between two looks at one that is on its way.
pub(super) const PAUSE: Millis = Millis(500);

/// What is asked besides the states.
pub(super) const PROPERTIES: [&str; 7] =
    ["InvocationID", "NRestarts", "Result", "CanReload", "NeedDaemonReload", "FragmentPath", "DropInPaths"];

/// One unit, with what only recipes need to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) unit: UnitSeen,
    pub(super) drop_ins: Vec<String>,
}

/// Asks for one unit.
pub(super) fn ask(unit: &str, limit: Millis) -> Result<Invocation, Trouble> {
    show(&[unit.to_owned()], &PROPERTIES, limit)
}

/// Reads the answer to [`ask`].
pub(super) fn read(unit: &str, output: &Output) -> Result<Looked, String> {
    let units = read_units(1, output)?;
    let Some(found) = units.first() else { return Err("systemctl show: no unit".to_owned()) };
    let drop_ins = found.get("DropInPaths").split(' ').filter(|path| path.starts_with('/')).map(str::to_owned).collect();
    Ok(Looked { unit: seen(unit, found)?, drop_ins })
}

/// One block of an answer. A property that is missing is an error: it would be read as "nothing".
pub(super) fn seen(name: &str, found: &Unit) -> Result<UnitSeen, String> {
    let unreadable = |property: &str| format!("systemctl show: {name}: unreadable {property}: {:?}", found.get(property));
    let told = |property: &str| match found.properties.get(property) {
        Some(text) => Ok(text.as_str()),
        None => Err(format!("systemctl show: {name}: nothing is said of {property}")),
    };
    let yes = |property: &str| match told(property)? {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(unreadable(property)),
    };
    let invocation = match told("InvocationID")? {
        "" => None,
        zeros if zeros.len() == 32 && zeros.bytes().all(|b| b == b'0') => None,
        text => Some(text.parse::<InvocationId>().map_err(|_| unreadable("InvocationID"))?),
    };
    // Only services are started again by systemd, and only what runs something has a result.
    let restarts = match found.properties.get("NRestarts") {
        Some(text) => text.parse().map_err(|_| unreadable("NRestarts"))?,
        None if name.ends_with(".service") => return Err(told("NRestarts").err().unwrap_or_default()),
        None => 0,
    };
    let result = if name.ends_with(".service") { told("Result")? } else { found.get("Result") };
    let fragment = told("FragmentPath")?;
    if !(fragment.is_empty() || fragment.starts_with('/')) {
        return Err(unreadable("FragmentPath"));
    }
    Ok(UnitSeen {
        load: found.get("LoadState").to_owned(),
        active: found.get("ActiveState").to_owned(),
        sub: found.get("SubState").to_owned(),
        invocation,
        restarts,
        result: result.to_owned(),
        can_reload: yes("CanReload")?,
        needs_daemon_reload: yes("NeedDaemonReload")?,
        fragment: fragment.to_owned(),
    })
}

/// Whether anything can be done to it.
pub(super) fn usable(name: &str, unit: &UnitSeen) -> Result<(), Trouble> {
    match unit.load.as_str() {
        "not-found" => Err(Trouble::new(ErrorCode::NotFound, format!("this host has no unit {name}"))),
        "masked" => Err(Trouble::new(ErrorCode::Refused, format!("{name} is masked: systemctl unmask {name}"))),
        _ => Ok(()),
    }
}

/// Nothing of it runs or is about to.
pub(super) fn is_down(unit: &UnitSeen) -> bool {
    matches!(unit.active.as_str(), "inactive" | "failed")
}

#[cfg(test)]
mod tests;
