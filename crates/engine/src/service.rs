//! What is known of the service of a track.

use model::{Ack, AckStatus, Direction, InvocationId, Observed, ServiceSeen, ServiceVerb, UnitSeen};

/// From its first look to its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServiceState {
    /// As it was before anything was done.
    pub(crate) before: Option<UnitSeen>,
    /// As it was right after its restart.
    pub(crate) after: Option<UnitSeen>,
    /// As it was seen last.
    pub(crate) seen: Option<ServiceSeen>,
    /// A reload was enough.
    pub(crate) reloaded: bool,
    pub(crate) deploy_issued: bool,
    /// The deploy has changed something; as long as nobody has said, it has.
    pub(crate) tree_changed: bool,
    pub(crate) migrate_issued: bool,
    /// Its migration runs, as far as is known.
    migrating: bool,
    pub(crate) restart_issued: bool,
}

impl ServiceState {
    pub(crate) fn issued(&mut self, verb: &ServiceVerb) {
        match verb {
            ServiceVerb::Deploy { .. } => {
                self.deploy_issued = true;
                self.tree_changed = true;
            }
            ServiceVerb::Migrate { .. } => {
                self.migrate_issued = true;
                self.migrating = true;
            }
            ServiceVerb::Restart { .. } => self.restart_issued = true,
            ServiceVerb::Inspect { .. }
            | ServiceVerb::Watch { .. }
            | ServiceVerb::BackUp { .. }
            | ServiceVerb::Stop { .. }
            | ServiceVerb::Revert { .. }
            | ServiceVerb::Restore { .. } => {}
        }
    }

    pub(crate) fn told(&mut self, verb: &ServiceVerb, direction: Direction, ack: &Ack) {
        if ack.status.is_final() && matches!(verb, ServiceVerb::Migrate { .. }) {
            self.migrating = false;
        }
        let Some(Observed::Service(seen)) = ack.observed.as_ref().filter(|_| ack.status == AckStatus::Completed) else { return };
        self.seen = Some(seen.as_ref().clone());
        match (verb, direction) {
            (ServiceVerb::Inspect { .. }, Direction::Do) if !self.has_begun() => self.before = Some(seen.unit.clone()),
            (ServiceVerb::Deploy { .. }, _) => self.tree_changed = seen.changed,
            (ServiceVerb::Restart { .. }, _) => {
                self.after = Some(seen.unit.clone());
                self.reloaded = seen.reloaded;
            }
            _ => {}
        }
    }

    /// Nobody waits for the end of its migration any more.
    pub(crate) fn migration_over(&mut self) {
        self.migrating = false;
    }

    /// Something was done that the service may feel.
    pub(crate) fn has_begun(&self) -> bool {
        self.deploy_issued || self.migrate_issued || self.restart_issued
    }

    /// Whether it ran before.
    pub(crate) fn was_up(&self) -> bool {
        self.before.as_ref().is_some_and(UnitSeen::is_up)
    }

    /// The run of it that the restart is to end.
    pub(crate) fn expect(&self) -> Option<InvocationId> {
        self.before.as_ref().filter(|unit| unit.is_up()).and_then(|unit| unit.invocation)
    }

    /// Whether this is the run of it that the restart began, or the reload left (G3).
    pub(crate) fn is_proven(&self, now: &UnitSeen) -> bool {
        let (Some(after), Some(invocation)) = (&self.after, now.invocation) else { return false };
        // Of one that was not up, too: an id that it had before proves no start.
        let before = self.before.as_ref().and_then(|unit| unit.invocation);
        let is_new = if self.reloaded { self.expect() == Some(invocation) } else { before != Some(invocation) };
        is_new && after.invocation == Some(invocation) && after.restarts == now.restarts
    }

    /// Whether this is another run of it than before anything was done.
    pub(crate) fn is_another(&self, now: &UnitSeen) -> bool {
        self.before.as_ref().is_none_or(|before| before.invocation != now.invocation)
    }

    /// A cancel takes nothing back: its migration runs, or it was restarted with what it had before.
    pub(crate) fn goes_on(&self) -> bool {
        self.migrating || self.is_past_return()
    }

    /// It was restarted, and taking it back would be another restart with the same.
    pub(crate) fn is_past_return(&self) -> bool {
        self.restart_issued && !self.tree_changed
    }
}
