//! When a stranded target is no longer stranded: fresh proof and health (ruling 9).

use model::{Readable, Report, TargetId, Timestamp};

use crate::fleet::{Fleet, Stranded};
use crate::journal::{FleetEntry, OpenBoot};

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

/// Whether a host that we shut down is on after all, on the same boot.
pub(crate) fn is_still_on(fleet: &Fleet, host: TargetId, report: &Report, now: Timestamp) -> bool {
    let off = fleet.hosts.get(&host).and_then(|h| h.off);
    off.is_some_and(|off| off.expect_boot == report.boot && did_not_happen(off, report, now))
}

/// Nothing is pending, and the command can no longer be begun.
fn did_not_happen(open_boot: OpenBoot, report: &Report, now: Timestamp) -> bool {
    now > open_boot.dead_after && report.pending_shutdown == Readable::Known(None)
}

/// Another boot than the one that was to end; or the same one, when nothing is pending and the command is certainly dead.
fn is_proven(stranded: &Stranded, report: &Report, now: Timestamp) -> bool {
    let Some(open_boot) = stranded.open_boot else { return true };
    report.boot != open_boot.expect_boot || did_not_happen(open_boot, report, now)
}
