//! Typed ids. All are UUIDs; those that must be the same on both sides of a crash are computed (version 5).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

typed_id!(
    /// A target: a host, a child of a host, later a device or a service.
    TargetId
);
typed_id!(
    /// One orchestration: a plan and its journal.
    OrchestrationId
);
typed_id!(
    /// One command attempt; see [`CommandId::of`].
    CommandId
);
typed_id!(
    /// One run of an agent process: made anew at each start, so that stored messages of an earlier run are told apart (E2).
    InstanceId
);

/// The namespace of all ids that Reveille computes.
pub(crate) const NAMESPACE: Uuid = Uuid::from_u128(0x5f0c_7e6a_2b1d_5c43_9a51_7265_7665_696c);

/// Do, or take back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The step forwards.
    Do,
    /// The step taken back, in an unwind.
    Undo,
}

/// A place in a plan: which step of which track, in which direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Index over all tracks of the plan, waves laid end to end.
    pub track: u32,
    /// Index in the track's list of steps.
    pub step: u32,
    /// Forwards or unwinding.
    pub direction: Direction,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let undo = if self.direction == Direction::Undo { " (undo)" } else { "" };
        write!(f, "track {} step {}{undo}", self.track, self.step)
    }
}

impl CommandId {
    /// Place in the plan + subject + direction + attempt (design, section 5): a controller that lost its memory computes
    /// the same id again, so a repeat is recognised and an attempt runs at most once (G2).
    pub fn of(orchestration: OrchestrationId, place: Place, subject: TargetId, attempt: u32) -> Self {
        let direction = match place.direction {
            Direction::Do => "do",
            Direction::Undo => "undo",
        };
        let text = format!("command/{orchestration}/{}/{}/{direction}/{subject}/{attempt}", place.track, place.step);
        Self(Uuid::new_v5(&NAMESPACE, text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_and_direction_has_an_id_of_its_own() {
        let (o, s) = (OrchestrationId(Uuid::from_u128(1)), TargetId(Uuid::from_u128(2)));
        let place = |direction| Place { track: 0, step: 1, direction };
        let first = CommandId::of(o, place(Direction::Do), s, 1);
        assert_ne!(first, CommandId::of(o, place(Direction::Do), s, 2));
        assert_ne!(first, CommandId::of(o, place(Direction::Undo), s, 1));
    }
}
