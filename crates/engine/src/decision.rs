//! What decisions look at, and what they write.

use model::broken::{self, Rule};
use model::{Direction, Operation, Place, Step, StepAction, Timestamp};

use crate::config::Config;
use crate::fleet::Fleet;
use crate::guard::{Guard, Reserved};
use crate::heard::Heard;
use crate::journal::{Entry, FleetEntry, Outcome};
use crate::limits::{Limits, Usage};
use crate::orchestration::Orchestration;
use crate::tally::Tally;
use crate::track::{StepRun, TrackState};

/// What a decision writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Out {
    Fleet(FleetEntry),
    Own(Entry),
}

/// What a decision looks at.
pub(crate) struct View<'a> {
    pub(crate) config: &'a Config,
    pub(crate) fleet: &'a Fleet,
    pub(crate) heard: &'a Heard,
    pub(crate) limits: &'a Limits,
    pub(crate) orchestration: &'a Orchestration,
    pub(crate) now: Timestamp,
    /// Highest position allotted anywhere.
    pub(crate) position: u64,
    /// Counts that are kept; without them each decision counts for itself.
    pub(crate) tally: Option<&'a Tally>,
}

impl View<'_> {
    pub(crate) fn guard(&self) -> Guard<'_> {
        static NOBODY: Reserved = Reserved::new();
        Guard {
            config: self.config,
            fleet: self.fleet,
            heard: self.heard,
            limits: self.limits,
            usage: self.tally.map(Usage::kept).unwrap_or_default(),
            reserved: &NOBODY,
            now: self.now,
        }
    }
}

/// Whether the step begins disruptions; those are held back while the controller settles.
pub(crate) fn is_disruptive(step: &Step, place: Place) -> bool {
    let goes_down = matches!(
        step.action,
        StepAction::Drain { .. }
            | StepAction::Stop { .. }
            | StepAction::Reboot { .. }
            | StepAction::Shutdown { .. }
            | StepAction::Run { .. }
            | StepAction::Deploy { .. }
            | StepAction::Migrate { .. }
            | StepAction::Restart { .. }
    );
    goes_down && place.direction == Direction::Do
}

/// When the step is judged. One that was open while no controller was there has its time once more after the settling: nobody
/// could use it. Of the end of a boot only the answer is waited for: the settling, and the time in which every host is heard.
pub(crate) fn deadline(view: &View<'_>, step: &Step, run: &StepRun) -> Timestamp {
    let started = view.fleet.controller_started_at;
    if run.started_at >= started || broken::is(Rule::OutageCounts) {
        return run.deadline;
    }
    let settled = view.fleet.settle_until;
    if matches!(step.action, StepAction::Reboot { .. } | StepAction::Shutdown { .. }) {
        return (run.deadline + settled.since(started)).max(settled + view.config.active_limit);
    }
    run.deadline.max(settled + run.deadline.since(run.started_at))
}

/// Close what is open, and turn back. `skips`: the policy of a drain says that the host is left alone.
pub(crate) fn unwind(number: u32, track: &TrackState, reason: String, skips: bool) -> Vec<Out> {
    let mut out = Vec::new();
    if let Some(place) = track.current {
        out.push(Out::Own(Entry::StepEnded { place }));
    }
    out.push(Out::Own(Entry::UnwindStarted { track: number, reason, skips }));
    out
}

pub(crate) fn ended(track: u32, outcome: Outcome, reason: String) -> Out {
    Out::Own(Entry::TrackEnded { track, outcome, reason: Some(reason) })
}

/// How many subjects are acted on at once; `None`: all of one priority.
pub(crate) fn parallel(config: &Config, step: &Step, place: Place) -> Option<usize> {
    let starts_again = matches!(step.action, StepAction::Stop { .. }) && place.direction == Direction::Undo;
    let parallel = if starts_again { config.parallel_starts } else { step.parallel };
    (parallel > 0).then_some(parallel as usize)
}

/// Whether the operation leaves the host down on purpose.
pub(crate) fn leaves_down(operation: Operation) -> bool {
    operation == Operation::Shutdown
}
