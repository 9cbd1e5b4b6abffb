//! The identity of one boot of a host.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What tells one boot of a host from another (G3): the kernel's boot id and, because some containers show the outer
/// machine's boot id, the start time of process 1 in clock ticks after boot (field 22 of `/proc/1/stat`).
/// Written `BOOT_ID/TICKS`. Two boots differ when either part differs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootIdentity {
    boot_id: Uuid,
    init_start_ticks: u64,
}

/// Why a text is no boot identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a boot identity: {0:?} (expected BOOT_ID/TICKS with a boot id that is not all zeros)")]
pub struct BootIdentityError(String);

impl BootIdentity {
    /// From the kernel's boot id as read (with or without line end) and the start of process 1.
    ///
    /// # Errors
    /// An empty, short, malformed or all-zero boot id is never an identity (pain 3).
    pub fn new(boot_id: &str, init_start_ticks: u64) -> Result<Self, BootIdentityError> {
        match Uuid::parse_str(boot_id.trim_end()) {
            Ok(id) if !id.is_nil() => Ok(Self { boot_id: id, init_start_ticks }),
            _ => Err(BootIdentityError(boot_id.to_owned())),
        }
    }

    /// The kernel's boot id.
    pub fn boot_id(&self) -> Uuid {
        self.boot_id
    }

    /// The start of process 1, in clock ticks after the start of the machine's clock since boot.
    pub fn init_start_ticks(&self) -> u64 {
        self.init_start_ticks
    }
}

impl fmt::Display for BootIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.boot_id, self.init_start_ticks)
    }
}

impl fmt::Debug for BootIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for BootIdentity {
    type Err = BootIdentityError;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let wrong = || BootIdentityError(s.to_owned());
        let (id, ticks) = s.split_once('/').ok_or_else(wrong)?;
        Self::new(id, ticks.parse().map_err(|_| wrong())?)
    }
}

impl Serialize for BootIdentity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BootIdentity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<'de, str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_boot_ids_are_no_identity() {
        for bad in ["", "ffff", "00000000-0000-0000-0000-000000000000", "Connection closed"] {
            assert!(BootIdentity::new(bad, 1).is_err(), "{bad:?}");
        }
        let id = BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11\n", 3).unwrap();
        assert_eq!(id.to_string().parse::<BootIdentity>().unwrap(), id);
    }

    #[test]
    fn the_start_of_process_1_is_part_of_the_identity() {
        let a = BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 3).unwrap();
        let b = BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 4).unwrap();
        assert_ne!(a, b);
    }
}
