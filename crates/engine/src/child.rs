//! What a track knows of one child of its host.

use model::{ChildRef, ChildReport, ChildStatus, Report, TargetId};

/// As it was when the track began, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChildState {
    pub(crate) child: ChildRef,
    pub(crate) before: ChildStatus,
    pub(crate) autostart: bool,
    pub(crate) start_priority: i64,
    pub(crate) stop_priority: i64,
    /// A stop was issued: it must be up again at every end (G7).
    pub(crate) stop_asked: bool,
    /// Attempts to start it are used up.
    pub(crate) start_failed: Option<String>,
    /// Attempts to stop it (again) are used up.
    pub(crate) stop_failed: Option<String>,
    /// It was cut off.
    pub(crate) forced: bool,
}

impl ChildState {
    /// As it was before.
    pub(crate) fn before(&self) -> ChildReport {
        ChildReport {
            child: self.child.clone(),
            status: self.before,
            autostart: self.autostart,
            start_priority: self.start_priority,
            stop_priority: self.stop_priority,
        }
    }

    pub(crate) fn of(report: &ChildReport) -> Self {
        Self {
            child: report.child.clone(),
            before: report.status,
            autostart: report.autostart,
            start_priority: report.start_priority,
            stop_priority: report.stop_priority,
            stop_asked: false,
            start_failed: None,
            stop_failed: None,
            forced: false,
        }
    }

    pub(crate) fn is_given_up(&self) -> bool {
        if self.before.is_up() { self.start_failed.is_some() } else { self.stop_failed.is_some() }
    }

    pub(crate) fn is_as_before(&self, report: &Report, id: TargetId) -> bool {
        let now = report.child(id).map(|c| c.status);
        if self.before.is_up() { now == Some(self.before) } else { !now.is_some_and(ChildStatus::is_up) }
    }
}
