//! What goes wrong on the way to a host and on it.

use model::{AckError, ErrorCode};
use recipe::far::Denial;

use super::known::KeyError;
use super::settings::SettingsError;

/// Why something over SSH could not be done.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SshError {
    /// The configuration.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The host's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// No connection.
    #[error("cannot reach {host} ({at}): {why}")]
    Unreachable {
        /// As it was named.
        host: String,
        /// Address and port, or the way there.
        at: String,
        /// In the system's words.
        why: String,
    },
    /// It does not answer.
    #[error("{host} did not answer in {secs} s ({during})")]
    Silent {
        /// As it was named.
        host: String,
        /// During what.
        during: &'static str,
        /// How long it was waited for.
        secs: u64,
    },
    /// It does not let us in.
    #[error("{host} does not let {user} in: {why}")]
    Denied {
        /// As it was named.
        host: String,
        /// As whom.
        user: String,
        /// What was tried, and what to do.
        why: String,
    },
    /// It lets us in and runs nothing.
    #[error("{host} as {user}: {denial}")]
    NothingRun {
        /// As it was named.
        host: String,
        /// As whom.
        user: String,
        /// Why.
        denial: Denial,
    },
    /// The connection ended in the middle.
    #[error("the connection to {host} was lost: {why}")]
    Lost {
        /// As it was named.
        host: String,
        /// How.
        why: String,
    },
    /// Too late to begin.
    #[error("it was to be begun by {0}")]
    Expired(model::Timestamp),
    /// The host answered something that is no answer.
    #[error("{host}: {why}")]
    Unreadable {
        /// As it was named.
        host: String,
        /// What it said instead.
        why: String,
    },
}

impl SshError {
    /// For programs.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Key(KeyError::Changed { .. } | KeyError::Revoked { .. }) => ErrorCode::HostKeyChanged,
            Self::Key(KeyError::Unknown { .. } | KeyError::NotNoted { .. } | KeyError::File { .. })
            | Self::Denied { .. }
            | Self::NothingRun { .. } => ErrorCode::Denied,
            Self::Settings(_) | Self::Unreachable { .. } | Self::Silent { .. } | Self::Lost { .. } => ErrorCode::Unreachable,
            Self::Expired(_) => ErrorCode::Expired,
            Self::Unreadable { .. } => ErrorCode::ToolFailed,
        }
    }

    /// Whether trying again without anybody's help may go better: a host on its way down or up looks like this.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. } | Self::Lost { .. } | Self::Unreadable { .. })
    }

    /// Whether the same may be run again at once: nothing of it can have been run, for there was not even a channel.
    pub(crate) fn ran_nothing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. })
    }
}

impl From<&SshError> for AckError {
    fn from(error: &SshError) -> Self {
        Self { code: error.code(), message: error.to_string().chars().take(4000).collect() }
    }
}
