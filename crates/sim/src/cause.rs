//! Who did something in the world, and when.

use model::CommandId;

/// Milliseconds of true time since 1970.
pub(crate) type Time = i64;

/// Who ended a boot or started a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A command of an orchestration.
    Command(CommandId),
    /// A command of a controller without limits: no plan of ours.
    Rogue(CommandId),
    /// Someone else on the host.
    Foreign,
    /// The power failed.
    PowerCut,
    /// The host's start.
    Boot,
    /// Itself.
    Itself,
}
