//! What a restart of a service is expected to take, by S3's own table (S3-115 to S3-122): people are told before it runs.

use model::{Millis, Moment, Step, StepAction};

/// From so long, with everything good at the first look, to so long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expected {
    /// At least.
    pub(crate) least: Millis,
    /// Usually no longer; a service that is healthy only at the last attempt is among them.
    pub(crate) most: Millis,
}

const LOOK: Millis = Millis(2_000);
const BACK_UP: Millis = Millis(100);
const DEPLOY: (Millis, Millis) = (Millis(5_000), Millis(30_000));
const MIGRATE: (Millis, Millis) = (Millis(1_000), Millis(60_000));
const RESTART: (Millis, Millis) = (Millis(2_000), Millis(5_000));

/// The sum over these steps.
pub(crate) fn expected(steps: &[Step]) -> Expected {
    let add = |one: Millis, other: Millis| Millis(one.0.saturating_add(other.0));
    steps
        .iter()
        .map(of_step)
        .fold(Expected::default(), |sum, (least, most)| Expected { least: add(sum.least, least), most: add(sum.most, most) })
}

fn of_step(step: &Step) -> (Millis, Millis) {
    match &step.action {
        StepAction::Inspect { moment: Moment::Before, .. } => (LOOK, LOOK),
        StepAction::Inspect { moment: Moment::After, attempts, pause, .. } => {
            let pauses = pause.0.saturating_mul(u64::from(attempts.saturating_sub(1)));
            (LOOK, Millis(LOOK.0.saturating_add(pauses)))
        }
        StepAction::BackUp { .. } => (BACK_UP, BACK_UP),
        StepAction::Deploy { .. } => DEPLOY,
        StepAction::Migrate { .. } => MIGRATE,
        StepAction::Restart { .. } => RESTART,
        // The last look belongs to the soak.
        StepAction::Watch { hold, .. } => (*hold, *hold),
        _ => (Millis(0), Millis(0)),
    }
}
