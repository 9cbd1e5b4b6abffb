//! Why a services file cannot be used.

use std::fmt;

use crate::Place;

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServicesError {
    /// More than can be meant.
    #[error("{file} is larger than 4 MiB: that is no list of services")]
    TooLarge {
        /// Which.
        file: String,
    },
    /// All problems, never none.
    #[error("{}", each(.0))]
    Problems(Vec<Problem>),
}

fn each(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// One thing that is wrong, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// The key, from the top of the file, as TOML writes it: `service."sso.api".health_check.url`. Empty for the file itself.
    pub key: String,
    /// What.
    pub wrong: Wrong,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        self.wrong.fmt(f)
    }
}

/// What is wrong. Reads on after the name of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The file is no TOML.
    #[error("{0}")]
    Syntax(String),
    /// Nobody reads this key.
    #[error("unknown key{}; known here: {known}", meant(.near.as_deref()))]
    UnknownKey {
        /// What was probably meant.
        near: Option<String>,
        /// All that could stand here.
        known: String,
    },
    /// Another kind of value is wanted.
    #[error("is {found}, and must be {wanted}")]
    Type {
        /// What can stand here.
        wanted: String,
        /// What stands here.
        found: String,
    },
    /// Of the right kind, and still not to be used.
    #[error("{0}")]
    Value(String),
    /// Keys that do not fit together, or one that is missing.
    #[error("{0}")]
    Together(String),
    /// A dependency that is no service of the file, and no unit.
    #[error(
        "{name:?} is no service of this file{}; name a service, or a unit with its suffix, as in \"network.target\"",
        meant(.near.as_deref())
    )]
    UnknownDependency {
        /// As written.
        name: String,
        /// The service that was probably meant.
        near: Option<String>,
    },
    /// A service that waits for itself.
    #[error("a service cannot depend on itself: take {0:?} out")]
    Itself(String),
    /// Services that wait for each other.
    #[error("these wait for each other, so that none could be first: {}; take one of these dependencies out", .0.join(" → "))]
    Cycle(Vec<String>),
    /// One unit under two names.
    #[error("{unit} is the unit of {other} ({place}), too, on the same host; keep one of them, or give each its host")]
    UnitTwice {
        /// Which.
        unit: String,
        /// The service that is listed first.
        other: String,
        /// Where.
        place: Place,
    },
    /// Two trees of which one lies in the other.
    #[error(
        "{path:?} and {theirs:?} of {other} ({place}) lie in each other, and a deploy replaces all of it; give each its own folder"
    )]
    DestinationTwice {
        /// Ours.
        path: String,
        /// Theirs.
        theirs: String,
        /// The service that is listed first.
        other: String,
        /// Where.
        place: Place,
    },
    /// More services than are taken.
    #[error("more than {} services; split the file", super::SERVICES_MAX)]
    TooMany,
}

fn meant(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean {near:?}?)")).unwrap_or_default()
}
