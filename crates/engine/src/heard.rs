//! What was only heard: reports and connections. Never needed to replay; decisions that rest on it become entries.

use std::collections::{BTreeMap, VecDeque};

use model::{InstanceId, Report, TargetId, Timestamp};

/// All hosts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    hosts: BTreeMap<TargetId, HeardHost>,
}

/// One host.
#[derive(Clone, Debug, Default)]
pub(crate) struct HeardHost {
    pub(crate) last: Option<Timestamp>,
    pub(crate) report: Option<Report>,
    /// Its connection broke after it was last heard.
    pub(crate) gone_at: Option<Timestamp>,
    /// Highest sequence heard of each run of its agent, the latest run last.
    runs: VecDeque<(InstanceId, u64)>,
}

/// So many runs of an agent are remembered, to tell stored messages of theirs (E2).
const RUNS_MAX: usize = 16;

impl Heard {
    pub(crate) fn host(&self, id: TargetId) -> Option<&HeardHost> {
        self.hosts.get(&id)
    }

    /// Take a report in; `false` when it is older than what is known (E2).
    pub(crate) fn take(&mut self, id: TargetId, report: &Report, now: Timestamp) -> bool {
        let host = self.hosts.entry(id).or_default();
        // News is what its own run has not said yet: a repetition stays out, and a live run that was mistaken for an earlier one
        // comes back with its next heartbeat.
        match host.runs.iter().position(|(run, _)| *run == report.instance) {
            Some(i) if host.runs.get(i).is_some_and(|(_, highest)| report.sequence <= *highest) => return false,
            Some(i) => drop(host.runs.remove(i)),
            None if host.runs.len() >= RUNS_MAX => drop(host.runs.pop_front()),
            None => {}
        }
        host.runs.push_back((report.instance, report.sequence));
        host.last = Some(now);
        host.gone_at = None;
        host.report = Some(report.clone());
        true
    }

    /// It left the fleet.
    pub(crate) fn forget(&mut self, id: TargetId) {
        self.hosts.remove(&id);
    }

    /// It answered a command: it is there, though nothing new is known of it.
    pub(crate) fn touch(&mut self, id: TargetId, now: Timestamp) {
        if let Some(host) = self.hosts.get_mut(&id).filter(|h| h.report.is_some()) {
            host.last = Some(now);
        }
    }

    /// Its connection broke; the word of an earlier run of its agent says nothing.
    pub(crate) fn gone(&mut self, id: TargetId, instance: InstanceId, now: Timestamp) {
        if let Some(host) = self.hosts.get_mut(&id)
            && host.report.as_ref().is_some_and(|r| r.instance == instance)
        {
            host.gone_at = Some(now);
        }
    }
}
