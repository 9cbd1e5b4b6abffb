//! What the sandbox hosts themselves show, in files that the controller and its agents have no part in: boot identity, the
//! host's log, and the logs of the children. The demonstration believes the product only as far as these agree.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use model::{Millis, Timestamp};

use super::hosts::HostSpec;
use crate::sandbox::BOOT_ID_FILE;

/// A host, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The boot that it is on; none while it is down.
    pub(super) boot: Option<String>,
    /// Boots that its log tells of.
    pub(super) boots: usize,
    /// Its children by name.
    pub(super) children: BTreeMap<&'static str, ChildSeen>,
}

/// A child, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChildSeen {
    /// Its process, if that is alive.
    pub(super) pid: Option<u32>,
    /// Its life so far.
    pub(super) life: Vec<Event>,
}

/// A line of a child's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) at: Timestamp,
    pub(super) pid: u32,
    pub(super) what: What,
}

/// What a child says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// It runs, on this boot.
    Up(String),
    AskedToStop,
    Down,
}

/// The boot that a host is on.
pub(super) fn boot(dir: &Path) -> Option<String> {
    let text = fs::read_to_string(dir.join(BOOT_ID_FILE)).ok()?;
    text.trim().split('/').next().map(str::to_owned)
}

/// Looks at all of a host.
pub(super) fn look(host: &HostSpec, dir: &Path) -> Seen {
    let log = fs::read_to_string(dir.join("host.log")).unwrap_or_default();
    let booted = format!(" {} boot ", host.name);
    let children = host.children.iter().map(|child| {
        let log = fs::read_to_string(dir.join("children").join(format!("{}.log", child.name))).unwrap_or_default();
        let life: Vec<Event> = log.lines().filter_map(event).collect();
        let pid = life.last().map(|event| event.pid).filter(|pid| alive(*pid));
        (child.name, ChildSeen { pid, life })
    });
    Seen { boot: boot(dir), boots: log.lines().filter(|line| line.contains(&booted)).count(), children: children.collect() }
}

/// `TIME PID WORDS`; ticks are left out.
fn event(line: &str) -> Option<Event> {
    let mut parts = line.splitn(3, ' ');
    let (at, pid, words) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
    let what = match words {
        "asked to stop" => What::AskedToStop,
        "down" => What::Down,
        _ => What::Up(words.strip_prefix("up, ")?.rsplit(' ').next()?.to_owned()),
    };
    Some(Event { at, pid, what })
}

fn alive(pid: u32) -> bool {
    // A process that has ended has no words any more.
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == b"sandbox-child"))
}

/// What one reboot was, as the host itself shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reboot {
    pub(super) boot_before: String,
    pub(super) boot_after: String,
    /// Those that ran before, as they were asked to stop.
    pub(super) stopped: Vec<&'static str>,
    /// The same, as they were started.
    pub(super) started: Vec<&'static str>,
    /// Their processes now.
    pub(super) pids: Vec<u32>,
    /// Longest time between being asked to stop and running again.
    pub(super) away: Millis,
    /// Those that did not run before, but that the boot started.
    pub(super) stopped_again: Vec<&'static str>,
}

/// What happened between two looks, or what is not as it should be.
pub(super) fn compare(before: &Seen, after: &Seen) -> Result<Reboot, String> {
    let (Some(boot_before), Some(boot_after)) = (before.boot.clone(), after.boot.clone()) else {
        return Err("the host shows no boot id".to_owned());
    };
    if boot_before == boot_after {
        return Err(format!("the host is still on boot {boot_before}"));
    }
    if after.boots != before.boots + 1 {
        return Err(format!("the host booted {} times", after.boots.saturating_sub(before.boots)));
    }
    let (mut stops, mut starts, mut pids, mut away, mut stopped_again) =
        (Vec::new(), Vec::new(), Vec::new(), Millis(0), Vec::new());
    for (name, child) in &before.children {
        let now = after.children.get(name).ok_or_else(|| format!("{name} is gone"))?;
        let life = now.life.get(child.life.len()..).unwrap_or_default();
        match (child.pid, now.pid) {
            (None, Some(pid)) => return Err(format!("{name} was stopped before and runs now, as process {pid}")),
            (None, None) if life.is_empty() => {}
            (None, None) => stopped_again.push(*name),
            (Some(_), None) => return Err(format!("{name} ran before and does not now")),
            (Some(old), Some(new)) => {
                let (stop, start) = once(name, old, new, life, &boot_after)?;
                stops.push((stop, *name));
                starts.push((start, *name));
                pids.push((start, new));
                away = away.max(start.since(stop));
            }
        }
    }
    stops.sort();
    starts.sort();
    pids.sort();
    Ok(Reboot {
        boot_before,
        boot_after,
        stopped: stops.into_iter().map(|(_, name)| name).collect(),
        started: starts.into_iter().map(|(_, name)| name).collect(),
        pids: pids.into_iter().map(|(_, pid)| pid).collect(),
        away,
        stopped_again,
    })
}

/// Asked to stop once, down, and up once on the new boot. Gives when it was asked, and when it was up.
fn once(name: &str, old: u32, new: u32, life: &[Event], boot: &str) -> Result<(Timestamp, Timestamp), String> {
    match life {
        [asked, down, up]
            if asked.what == What::AskedToStop && down.what == What::Down && (asked.pid, down.pid, up.pid) == (old, old, new) =>
        {
            match &up.what {
                What::Up(on) if on == boot => Ok((asked.at, up.at)),
                other => Err(format!("{name} is not on the new boot: {other:?}")),
            }
        }
        other => Err(format!("{name} was not stopped once and started once: {other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(boot: &str, boots: usize, pid: Option<u32>, log: &str) -> Seen {
        let life = log.lines().filter_map(event).collect();
        Seen { boot: Some(boot.to_owned()), boots, children: BTreeMap::from([("web", ChildSeen { pid, life })]) }
    }

    const UP: &str = "2026-11-22T03:00:00.000Z 7 up, web on boot A\n2026-11-22T03:00:00.500Z 7 tick 1\n";
    const WHOLE: &str = "2026-11-22T03:00:01.000Z 7 asked to stop\n2026-11-22T03:00:01.500Z 7 down\n2026-11-22T03:00:04.000Z 9 up, web on boot B\n";

    #[test]
    fn a_reboot_that_is_as_it_should_be() {
        let whole = compare(&seen("A", 1, Some(7), UP), &seen("B", 2, Some(9), &format!("{UP}{WHOLE}"))).unwrap();
        assert_eq!((whole.boot_before.as_str(), whole.boot_after.as_str(), whole.away), ("A", "B", Millis(3000)));
        assert_eq!((whole.stopped, whole.started, whole.pids), (vec!["web"], vec!["web"], vec![9]));
        let again = compare(&seen("A", 1, None, ""), &seen("B", 2, None, WHOLE)).unwrap();
        assert_eq!(again.stopped_again, ["web"]);
    }

    #[test]
    fn everything_that_is_not_is_named() {
        let before = seen("A", 1, Some(7), UP);
        let wrong = |after: Seen| compare(&before, &after).unwrap_err();
        let log = format!("{UP}{WHOLE}");
        assert!(wrong(seen("A", 1, Some(7), UP)).contains("still on boot A"));
        assert!(wrong(seen("B", 3, Some(9), &log)).contains("booted 2 times"));
        assert!(wrong(seen("B", 2, None, &log)).contains("does not now"));
        assert!(wrong(seen("B", 2, Some(9), &log.replace("boot B", "boot C"))).contains("not on the new boot"));
        assert!(wrong(seen("B", 2, Some(9), &format!("{log}{WHOLE}"))).contains("once"));
        assert!(wrong(seen("B", 2, Some(9), &log.replace("asked to stop", "tick"))).contains("once"));
        let stopped = seen("A", 1, None, "");
        assert!(compare(&stopped, &seen("B", 2, Some(9), &log)).unwrap_err().contains("was stopped before"));
    }
}
