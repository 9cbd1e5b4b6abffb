//! The one error that commands return: what happened, what to do next, and the exit code.

use protocol::rest::Problem;
use protocol::rest::hosts::Blocker;

use crate::exit::Exit;

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct CliError {
    /// For scripts.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) message: String,
    /// What to do next.
    pub(crate) hint: Option<String>,
    /// What blocks, when something does.
    pub(crate) blockers: Vec<Blocker>,
    /// The server's word for it, when it came from there.
    pub(crate) code: Option<String>,
}

impl CliError {
    /// Without a hint.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), hint: None, blockers: Vec::new(), code: None }
    }

    /// The same with what to do next.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A wrong use.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// What a server answered.
    pub(crate) fn from_problem(problem: Problem) -> Self {
        let exit = match problem.status {
            401 | 403 => Exit::Unauthorised,
            402 | 409 | 429 => Exit::Refused,
            404 => Exit::NotFound,
            400 | 413 | 415 | 422 => Exit::Usage,
            502..=504 => Exit::Unavailable,
            _ => Exit::Failed,
        };
        let text = if problem.detail.is_empty() { problem.title.clone() } else { problem.detail.clone() };
        let member = |name: &str| problem.extensions.get(name).and_then(|v| v.as_str()).map(str::to_owned);
        let blockers: Vec<Blocker> =
            problem.extensions.get("blockers").and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default();
        // S0 answers 400 for a host that is not active or has no running children: blocked, not misused.
        let exit = if blockers.is_empty() { exit } else { Exit::Refused };
        let code = member("error");
        let hint = match (problem.status, member("orchestration_id"), member("retry_at")) {
            (403, ..) if code.as_deref() == Some("password_change_required") => {
                Some("log in again; you will be asked for a new one (or give --new-password-file)".to_owned())
            }
            (401, ..) => Some("log in with `reveille login SERVER`, or set REVEILLE_TOKEN".to_owned()),
            (403, ..) => Some("ask an administrator for a role or token that allows it".to_owned()),
            (409, Some(id), _) => Some(format!("follow it with `{}`", crate::again::command(&format!("watch {id}")))),
            (409 | 429, None, Some(at)) => Some(format!("try again after {at}")),
            (503, ..) => Some("the server is starting or its disk is full; try again shortly and look at its log".to_owned()),
            _ => None,
        };
        Self { exit, message: text, hint, blockers, code }
    }

    /// The same as a document, for `--output json`.
    pub(crate) fn document(&self) -> serde_json::Value {
        serde_json::json!({
            "error": self.message, "hint": self.hint, "blockers": self.blockers, "exit_code": self.exit.code(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_of_a_problem_decides_the_exit_code() {
        for (status, exit) in [
            (400, Exit::Usage),
            (401, Exit::Unauthorised),
            (402, Exit::Refused),
            (403, Exit::Unauthorised),
            (404, Exit::NotFound),
            (409, Exit::Refused),
            (429, Exit::Refused),
            (500, Exit::Failed),
            (503, Exit::Unavailable),
        ] {
            assert_eq!(CliError::from_problem(Problem::new(status, "T", "d")).exit, exit, "{status}");
        }
    }

    #[test]
    fn a_conflict_says_how_to_follow_the_other_one() {
        let error = CliError::from_problem(Problem::new(409, "Conflict", "host is taken").with("orchestration_id", "abc"));
        assert_eq!(error.hint.unwrap(), "follow it with `reveille watch abc`");
        let blockers = serde_json::json!([{
            "blocker": "not_active", "message": "host is not active", "since": null, "until": null, "forceable": false
        }]);
        let blocked = CliError::from_problem(Problem::new(400, "Bad Request", "Host is not active").with("blockers", blockers));
        assert_eq!((blocked.exit, blocked.blockers.len()), (Exit::Refused, 1));
    }
}
