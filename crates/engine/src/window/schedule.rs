//! Several windows at once.

use model::{Millis, Timestamp};

use super::{LOOKED_AHEAD, Window, WindowKind};

/// Windows that must all allow.
#[derive(Clone, Debug, Default)]
pub struct Schedule<'a> {
    windows: Vec<(&'a str, &'a Window)>,
}

/// What the windows say at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look<'a> {
    /// All of them allow.
    Open {
        /// Since when, where that is not long ago (a week or more).
        since: Option<Timestamp>,
        /// When the first of them shuts; `None`: not within 35 days.
        until: Option<Timestamp>,
    },
    /// One does not allow.
    Shut {
        /// The first such, by name.
        window: &'a str,
        /// When all of them allow again; `None`: not within the limit that was asked for.
        until: Option<Timestamp>,
    },
}

/// Windows that change about after so many steps never agree.
const STEPS_MAX: usize = 10_000;

impl<'a> Schedule<'a> {
    /// Of these windows, with their names. None at all always allow.
    pub fn new(windows: impl IntoIterator<Item = (&'a str, &'a Window)>) -> Self {
        Self { windows: windows.into_iter().collect() }
    }

    /// What they say now; an opening is searched for so far ahead.
    pub fn look(&self, now: Timestamp, limit: Millis) -> Look<'a> {
        let mut since: Option<Timestamp> = None;
        let mut until: Option<Timestamp> = None;
        for (name, window) in &self.windows {
            let state = State::of(window, now);
            if !state.allows {
                return Look::Shut { window: name, until: self.next_opening(now, limit) };
            }
            since = since.max(state.since);
            until = match (until, state.until) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        Look::Open { since, until: until.filter(|until| *until <= now + LOOKED_AHEAD) }
    }

    /// All of them allow now.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.windows.iter().all(|(_, window)| State::of(window, now).allows)
    }

    /// When they no longer all allow; `None`: they do not now, or do so for more than 35 days.
    pub fn closes_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.look(now, Millis(0)) {
            Look::Open { until, .. } => until,
            Look::Shut { .. } => None,
        }
    }

    /// The first time, from now on and within the limit, at which they all allow.
    pub fn next_opening(&self, now: Timestamp, limit: Millis) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..STEPS_MAX {
            if at > now + limit {
                return None;
            }
            let shut = self.windows.iter().map(|(_, window)| State::of(window, at)).find(|state| !state.allows);
            match shut {
                Some(state) => at = state.until?,
                None => return Some(at),
            }
        }
        None
    }

    /// They all allow now, and go on doing so until `now + expected`: nothing starts that would outlast them.
    pub fn fits(&self, now: Timestamp, expected: Millis) -> bool {
        match self.look(now, Millis(0)) {
            Look::Open { until, .. } => until.is_none_or(|until| now + expected <= until),
            Look::Shut { .. } => false,
        }
    }

    /// The first time, from now on and within the limit, at which something of this length fits. `None` for what is longer than
    /// the windows ever stay open.
    pub fn next_fit(&self, now: Timestamp, expected: Millis, limit: Millis) -> Option<Timestamp> {
        let mut at = now;
        for _ in 0..STEPS_MAX {
            at = self.next_opening(at, Millis(limit.0.saturating_sub(at.since(now).0)))?;
            match self.closes_at(at) {
                Some(until) if at + expected > until => at = until,
                _ => return Some(at),
            }
        }
        None
    }
}

/// One window at one time.
struct State {
    allows: bool,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

impl State {
    fn of(window: &Window, now: Timestamp) -> Self {
        let run = window.run(now);
        let open = run.is_some_and(|run| run.opens <= now);
        let (since, until) = match run {
            Some(run) if open => (Some(run.opens), Some(run.shuts)),
            Some(run) => (run.before, Some(run.opens)),
            None => (None, None),
        };
        Self { allows: open == (window.kind() == WindowKind::Allow), since, until }
    }
}
