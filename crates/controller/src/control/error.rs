//! What can go wrong between a person and the engine.

use engine::Refusal;
use model::Millis;

use super::access::Permission;

/// Why something was not done. The API maps each to one status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No token, or one that is unknown, revoked or expired; wrong name or password (401).
    #[error("{0}")]
    Unauthenticated(String),
    /// The one-time password is right and must be replaced: log in again with a new password (403).
    #[error("this password is good for one thing only: log in once more and give a new password with it")]
    PasswordChangeRequired,
    /// The role or the scope does not allow it (403); audited.
    #[error("this needs the permission {permission}{}; ask an administrator", scope_hint(.outside_scope))]
    Forbidden {
        /// What is missing.
        permission: Permission,
        /// The role would do, the scope does not.
        outside_scope: bool,
    },
    /// No such thing (404). Says what, and how to find the right one.
    #[error("{0}")]
    NotFound(String),
    /// The license does not grant it (402, ruling 3).
    #[error("the module {module} is not licensed: {reason}")]
    NotEntitled {
        /// Which module.
        module: &'static str,
        /// Why, and what to do.
        reason: String,
    },
    /// The engine refused it (400 or 409 by its content). Nothing happened.
    #[error("{0}")]
    Refused(Refusal),
    /// What was sent makes no sense (400).
    #[error("{0}")]
    Invalid(String),
    /// It is there already, or was used already (409).
    #[error("{0}")]
    Conflict(String),
    /// Too many failed attempts (429).
    #[error("too many failed attempts: try again in {retry_after}")]
    TooManyAttempts {
        /// Wait so long.
        retry_after: Millis,
    },
    /// The controller cannot do it now; the same request may work in a moment (503).
    #[error("{0}")]
    Unavailable(String),
}

fn scope_hint(outside_scope: &bool) -> &'static str {
    if *outside_scope { " for this host, which is outside your scope" } else { "" }
}
