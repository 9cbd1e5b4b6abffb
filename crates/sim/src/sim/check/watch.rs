//! What the checks know of one track.

use std::collections::BTreeSet;
use std::rc::Rc;

use engine::Outcome;
use model::{CommandId, Fence, Millis, Operation, Report, StepAction, TargetId, Timestamp, Unfinished};

use super::rollout;
use super::service::OfService;
use crate::world::Time;

/// One track of an orchestration as its journal tells it.
pub(crate) struct Watch {
    pub(crate) host: usize,
    pub(crate) operation: Operation,
    pub(crate) forced: bool,
    /// Its steps.
    pub(crate) steps: Rc<[StepAction]>,
    pub(crate) accepted_at: Time,
    pub(crate) started_at: Option<Time>,
    /// The answer of its first probe.
    pub(crate) admission: Option<Report>,
    /// Children that it ordered to stop.
    pub(crate) stopped: BTreeSet<TargetId>,
    /// Its commands that end a boot.
    pub(crate) boot_commands: Vec<CommandId>,
    /// Its commands that run something.
    pub(crate) run_commands: Vec<CommandId>,
    /// Children that a round of stopping was for.
    pub(crate) stop_subjects: BTreeSet<TargetId>,
    /// Rounds of stopping that were begun.
    pub(crate) stop_rounds: u32,
    /// A command that disrupts was issued.
    pub(crate) disrupted: bool,
    pub(crate) reboot_done: bool,
    /// Since when every probe after the reboot found everything as before, and until when; after the command of a run, since when
    /// its checks passed.
    pub(crate) healthy: Option<(Timestamp, Timestamp)>,
    pub(crate) last_probe: Option<Report>,
    pub(crate) unfinished: Option<Unfinished>,
    pub(crate) only_if_required: bool,
    /// How long the soak of its plan is.
    pub(crate) soak: Option<Millis>,
    pub(crate) service: rollout::Service,
    /// What is known of its service, where it is about one.
    pub(crate) of_service: OfService,
    pub(crate) ended: Option<Outcome>,
}

impl Watch {
    pub(super) fn step(&self, step: u32) -> Option<&StepAction> {
        self.steps.get(step as usize)
    }

    /// Whether it only finishes what an earlier one has rebooted, by what its host told it first.
    pub(crate) fn is_second_half(&self) -> bool {
        let boot = self.admission.as_ref().map(|report| report.boot);
        self.unfinished.as_ref().is_some_and(|left| left.is_second_half(boot))
    }
}

/// A claim on an agent's disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    pub(crate) host: usize,
    pub(crate) boot: usize,
    pub(crate) at: Time,
    pub(crate) ends_boot: bool,
    pub(crate) subject: TargetId,
    pub(crate) fence: Fence,
}
