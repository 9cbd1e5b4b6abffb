//! When a stranded target is no longer stranded: fresh proof and health (ruling 9).

use model::broken::{self, Rule};
use model::{Report, TargetId};

use crate::fleet::{Fleet, Stranded};
use crate::journal::FleetEntry;

/// What a fresh report of this host ends.
pub(crate) fn ends(fleet: &Fleet, host: TargetId, report: &Report) -> Vec<FleetEntry> {
    // While an orchestration works on the host, its children are down on purpose.
    if report.children().is_none() || fleet.locks.contains_key(&host) {
        return Vec::new();
    }
    let open = || fleet.stranded.iter().filter(|(_, s)| s.host == host && s.ended_at.is_none() && !s.service);
    let healthy = |id: TargetId, s: &Stranded| {
        let up = report.child(id).is_some_and(|c| c.status.is_up());
        if s.expected_up { up } else { !up }
    };
    let children: Vec<TargetId> = open().filter(|(id, s)| **id != host && healthy(**id, s)).map(|(id, _)| *id).collect();
    let left = open().filter(|(id, _)| **id != host && !children.contains(id)).count();
    let mut out: Vec<FleetEntry> =
        children.into_iter().map(|target| FleetEntry::StrandedEnded { target, proven: true, boot: None }).collect();
    if let Some((_, stranded)) = open().find(|(id, _)| **id == host)
        && left == 0
        // No report tells that it is in service again, or that its checks pass.
        && (stranded.unfinished.is_none() || broken::is(Rule::UnfinishedForgotten))
        && is_proven(fleet, stranded, report)
    {
        out.push(FleetEntry::StrandedEnded { target: host, proven: true, boot: Some(report.boot) });
    }
    out
}

/// Whether a host that we shut down is on after all: its own word says so. A report from the same boot does not: it may be old.
pub(crate) fn is_still_on(fleet: &Fleet, host: TargetId) -> bool {
    let off = fleet.hosts.get(&host).and_then(|h| h.off);
    off.is_some_and(|off| fleet.did_not_happen(host, off))
}

/// Another boot than the one that was to end; or the same one, when the performer has said that it did not happen.
pub(crate) fn is_proven(fleet: &Fleet, stranded: &Stranded, report: &Report) -> bool {
    let Some(open_boot) = stranded.open_boot else { return true };
    report.boot != open_boot.expect_boot || fleet.did_not_happen(stranded.host, open_boot)
}
