//! Who is at the other end: one secret per device, checked by an [`Authenticator`] over the store.

use std::net::SocketAddr;

use model::TargetId;
use ring::digest::{SHA256, digest};

use super::BoxFuture;

/// What a client says of itself at login.
#[derive(Clone, Copy)]
pub struct Login<'a> {
    /// User name: the device.
    pub device: TargetId,
    /// Password: the device's secret.
    pub password: &'a [u8],
    /// Where the connection comes from.
    pub peer: SocketAddr,
}

/// The answer to a [`Login`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginVerdict {
    /// The user is who it says it is.
    Accept,
    /// Unknown user, wrong secret or not approved: the client is told "bad user name or password".
    Refuse,
    /// The check could not be made (store unreadable): the client is told "server unavailable" and tries again.
    Unavailable,
}

/// Checks logins. Asked once per connection; must answer within the broker's 10 s limit for a login.
pub trait Authenticator: Send + Sync {
    /// Judges one login.
    fn authenticate<'a>(&'a self, login: Login<'a>) -> BoxFuture<'a, LoginVerdict>;
    /// Whether whoever shows this token may listen to events of services, now. Asked at login, and before each event.
    fn may_watch<'a>(&'a self, token: &'a [u8]) -> BoxFuture<'a, LoginVerdict>;
}

/// What is stored of a device secret. Secrets are 32 random bytes, so one fast hash suffices: a slow one protects only
/// what can be guessed.
pub fn secret_hash(secret: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret).as_ref());
    hash
}

/// Whether `secret` hashes to `stored`, in a time that does not depend on where they differ.
pub fn secret_matches(secret: &[u8], stored: &[u8; 32]) -> bool {
    let hash = secret_hash(secret);
    let difference = hash.iter().zip(stored).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
    std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_matches_its_own_hash_only() {
        let stored = secret_hash(b"correct");
        assert!(secret_matches(b"correct", &stored));
        for wrong in [&b"correcT"[..], b"", b"correct "] {
            assert!(!secret_matches(wrong, &stored));
        }
        // The first and the last byte both count.
        for index in [0, 31] {
            let mut other = stored;
            other[index] ^= 1;
            assert!(!secret_matches(b"correct", &other));
        }
    }
}
