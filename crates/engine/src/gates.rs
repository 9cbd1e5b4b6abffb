//! What keeps tracks from starting, and those that have only looked from going on: freeze, holds and maintenance windows (G5).

use model::broken::{self, Rule};
use model::{Millis, TargetId, Timestamp};

use crate::decision::View;
use crate::explain::{Blocker, Why};
use crate::fleet::Host;
use crate::guard::{List, soft};
use crate::window::{Look, Schedule};

/// What holds a track of a rollout back that runs and must not take anything down yet; empty when nothing does. Whether the
/// window still has room is asked after an outage: before it, the track began in time.
pub(crate) fn shut(view: &View<'_>, host: TargetId, was_away: bool) -> Vec<Blocker> {
    let mut list = List::first(&view.orchestration.request);
    let request = &view.orchestration.request;
    if request.rollout.is_none() && request.services.is_none() || broken::is(Rule::GatesOnce) {
        return list.found;
    }
    view.guard().frozen(&mut list);
    view.guard().held(host, &mut list);
    let windows = Windows::of(view);
    windows.blocks(&mut list);
    let expected = expected(view, host);
    if let Windows::Open { until: Some(closes), .. } = windows
        && was_away
        && view.now + expected > closes
    {
        list.push(soft(Why::DoesNotFit { expected, closes }));
    }
    list.found
}

/// How long a track of this host is expected to take. A command that takes as long as it may must be over before a window shuts.
pub(crate) fn expected(view: &View<'_>, host: TargetId) -> Millis {
    let known = || view.fleet.hosts.get(&host).and_then(Host::expected);
    let expected = view.orchestration.request.run.as_ref().map(|run| run.limit).or_else(known);
    expected.unwrap_or(view.config.rollout.expected)
}

/// The maintenance windows of a request, looked at once.
pub(crate) enum Windows<'a> {
    /// They allow.
    Open { since: Option<Timestamp>, until: Option<Timestamp> },
    /// One of them does not; or nobody knows any more what is meant by its name: it fails closed.
    Shut { name: &'a str, until: Option<Timestamp> },
}

/// The next opening is looked for so far ahead.
pub(crate) const LOOKED_AHEAD: Millis = Millis::secs(35 * 86_400);

impl<'a> Windows<'a> {
    pub(crate) fn blocks(&self, list: &mut List) {
        if let Self::Shut { name, until } = self {
            list.push(Blocker { until: *until, ..soft(Why::Window { name: (*name).to_owned() }) });
        }
    }

    pub(crate) fn of(view: &View<'a>) -> Self {
        let names = view.orchestration.request.rollout.as_ref().map(|r| r.windows.as_slice()).unwrap_or_default();
        if names.is_empty() || broken::is(Rule::WindowIgnored) {
            return Self::Open { since: None, until: None };
        }
        if let Some(name) = names.iter().find(|name| !view.config.windows.contains_key(*name)) {
            return Self::Shut { name, until: None };
        }
        match calendar(view).look(view.now, LOOKED_AHEAD) {
            Look::Open { since, until } => Self::Open { since, until },
            Look::Shut { window, until } => Self::Shut { name: window, until },
        }
    }
}

pub(crate) fn calendar<'a>(view: &View<'a>) -> Schedule<'a> {
    let names = view.orchestration.request.rollout.as_ref().map(|r| r.windows.as_slice()).unwrap_or_default();
    Schedule::new(names.iter().filter_map(|name| Some((name.as_str(), view.config.windows.get(name)?))))
}
