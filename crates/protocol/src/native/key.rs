//! Ed25519 keys of both sides.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// Why a text or some bytes are no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 32 bytes in base64.
    #[error("not an Ed25519 public key (expected 32 bytes as base64)")]
    NotAPublicKey,
    /// The cryptographic library refused the seed.
    #[error("this seed makes no Ed25519 key")]
    BadSeed,
}

/// The public half of a key: 32 bytes, written as base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From raw bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The raw bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// What a person compares before approving a device: the first 16 bytes of the SHA-256 of the key, in hex, in
    /// groups of four.
    pub fn fingerprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, &self.0);
        let hex: Vec<String> = digest.as_ref()[..16].chunks(2).map(|pair| format!("{:02x}{:02x}", pair[0], pair[1])).collect();
        hex.join("-")
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::NotAPublicKey)?;
        Ok(Self(bytes.try_into().map_err(|_| KeyError::NotAPublicKey)?))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! signing_key {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Ed25519KeyPair);

        impl $name {
            /// The key of this seed; the caller brings the chance.
            ///
            /// # Errors
            /// [`KeyError::BadSeed`] when the library refuses the seed.
            pub fn from_seed(seed: &[u8; 32]) -> Result<Self, KeyError> {
                Ed25519KeyPair::from_seed_unchecked(seed).map(Self).map_err(|_| KeyError::BadSeed)
            }

            /// The half that may be shown.
            pub fn public(&self) -> PublicKey {
                let mut bytes = [0; 32];
                bytes.copy_from_slice(self.0.public_key().as_ref());
                PublicKey(bytes)
            }

            pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
                self.0.sign(message).as_ref().to_vec()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.public())
            }
        }
    };
}

signing_key!(
    /// The key that a controller signs commands with; devices pin its public half at enrolment.
    ControllerKey
);
signing_key!(
    /// The key that a device makes for itself and signs with; it never leaves the device.
    DeviceKey
);
