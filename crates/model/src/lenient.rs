//! Reading what a newer program may have written: a word that is not known here costs itself, never the whole message.

use std::collections::BTreeSet;

use serde::de::{Deserialize, Deserializer, IgnoredAny};

/// A value, or something that this program cannot read.
#[derive(serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum Maybe<T> {
    Read(T),
    Other(IgnoredAny),
}

impl<T> Maybe<T> {
    pub(crate) fn read(self) -> Option<T> {
        match self {
            Self::Read(value) => Some(value),
            Self::Other(_) => None,
        }
    }
}

/// A part that may be missing: what cannot be read counts as missing.
pub(crate) fn part<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Option::<Maybe<T>>::deserialize(deserializer)?.and_then(Maybe::read))
}

/// A set of words: those that are not known are left out.
pub(crate) fn words<'de, D: Deserializer<'de>, T: Deserialize<'de> + Ord>(deserializer: D) -> Result<BTreeSet<T>, D::Error> {
    Ok(Vec::<Maybe<T>>::deserialize(deserializer)?.into_iter().filter_map(Maybe::read).collect())
}
