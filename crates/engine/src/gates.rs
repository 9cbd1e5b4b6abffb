//! What keeps tracks from starting, and those that have only looked from going on: freeze, holds and maintenance windows (G5).

use model::broken::{self, Rule};
use model::{Millis, TargetId, Timestamp};

use crate::decision::View;
use crate::explain::{Blocker, Why};
use crate::guard::{List, soft};
use crate::window::{Look, Schedule};

/// What holds a track of a rollout back that runs and must not take anything down yet; empty when nothing does.
pub(crate) fn shut(view: &View<'_>, host: TargetId) -> Vec<Blocker> {
    let mut list = List::first(&view.orchestration.request);
    if view.orchestration.request.rollout.is_none() || broken::is(Rule::GatesOnce) {
        return list.found;
    }
    view.guard().frozen(&mut list);
    view.guard().held(host, &mut list);
    Windows::of(view).blocks(&mut list);
    list.found
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
