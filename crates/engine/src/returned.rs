//! When a stranded target is no longer stranded: fresh proof and health (ruling 9).

use model::{Readable, Report, TargetId, Timestamp};

use crate::fleet::{Fleet, Stranded};
use crate::journal::FleetEntry;

/// What a fresh report of this host ends.
pub(crate) fn ends(fleet: &Fleet, host: TargetId, report: &Report, now: Timestamp) -> Vec<FleetEntry> {
    // While an orchestration works on the host, its children are down on purpose.
    if report.children().is_none() || fleet.locks.contains_key(&host) {
        return Vec::new();
    }
    let open = || fleet.stranded.iter().filter(|(_, s)| s.host == host && s.ended_at.is_none());
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
        && is_proven(stranded, report, now)
    {
        out.push(FleetEntry::StrandedEnded { target: host, proven: true, boot: Some(report.boot) });
    }
    out
}

/// Another boot than the one that was to end; or the same one, when nothing is pending and the command is certainly dead.
fn is_proven(stranded: &Stranded, report: &Report, now: Timestamp) -> bool {
    let Some(open_boot) = stranded.open_boot else { return true };
    if report.boot != open_boot.expect_boot {
        return true;
    }
    now > open_boot.dead_after && report.pending_shutdown == Readable::Known(None)
}
