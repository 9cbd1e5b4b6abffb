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
    retired: VecDeque<InstanceId>,
}

/// So many earlier runs of an agent are remembered, to tell stored messages of theirs (E2).
const RETIRED_MAX: usize = 16;

impl Heard {
    pub(crate) fn host(&self, id: TargetId) -> Option<&HeardHost> {
        self.hosts.get(&id)
    }

    /// Take a report in; `false` when it is older than what is known (E2).
    pub(crate) fn take(&mut self, id: TargetId, report: &Report, now: Timestamp) -> bool {
        let host = self.hosts.entry(id).or_default();
        if host.retired.contains(&report.instance) {
            return false;
        }
        if let Some(known) = &host.report {
            if known.instance == report.instance {
                if report.sequence <= known.sequence {
                    return false;
                }
            } else {
                host.retired.push_back(known.instance);
                if host.retired.len() > RETIRED_MAX {
                    host.retired.pop_front();
                }
            }
        }
        host.last = Some(now);
        host.gone_at = None;
        host.report = Some(report.clone());
        true
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
