//! Errors as problem documents (RFC 9457), with the texts of ruling 20.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::{Blocker, Refusal, Why};
use model::Millis;
use protocol::rest::Problem;

use super::documents;
use crate::control::ControlError;

/// What a client is told when something is not done.
#[derive(Debug)]
pub struct ApiError {
    problem: Box<Problem>,
    retry_after: Option<Millis>,
    /// How one may say who one is.
    scheme: &'static str,
}

impl ApiError {
    /// The status says what kind it is; `detail` says what to do.
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { problem: Box::new(Problem::new(status.as_u16(), title, detail)), retry_after: None, scheme: "Bearer" }
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// With a word for programs.
    fn named(status: StatusCode, error: &str, detail: impl Into<String>) -> Self {
        Self::new(status, detail).with("error", error)
    }

    #[must_use]
    pub(super) fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        *self.problem = self.problem.with(name, value);
        self
    }

    /// With the two members that clients of `FleetLock` read.
    pub(super) fn for_fleet_lock(mut self) -> Self {
        self.scheme = "Basic realm=\"reveille\"";
        let kind = self.problem.extensions.get("error").and_then(|word| word.as_str()).unwrap_or("invalid").to_owned();
        // Room may come by anything: they ask again at their own pace.
        let kind = if kind == "blocked" { "no_slot".to_owned() } else { kind };
        let value = self.problem.detail.clone();
        self.with("kind", kind).with("value", value)
    }

    fn retry_after(mut self, wait: Millis) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// From what keeps a target from starting. The first blocker decides the status; all are listed.
    pub(super) fn blocked(blockers: &[Blocker]) -> Self {
        let Some(first) = blockers.first() else {
            return Self::named(StatusCode::CONFLICT, "blocked", "refused without a reason");
        };
        let texts: Vec<String> = blockers.iter().map(|blocker| blocker.why.to_string()).collect();
        let all = texts.join("; ");
        let error = match &first.why {
            Why::UnknownTarget => Self::named(StatusCode::NOT_FOUND, "not_found", "Host not found"),
            Why::Locked { orchestration, .. } => {
                let text = format!("{}: wait for it or cancel it", first.why);
                Self::named(StatusCode::CONFLICT, "active_orchestration", text)
                    .with("orchestration_id", orchestration.to_string())
            }
            Why::NotActive | Why::Off => Self::named(StatusCode::BAD_REQUEST, "not_active", "Host is not active"),
            Why::NoRunningChildren => Self::named(
                StatusCode::BAD_REQUEST,
                "no_running_children",
                "No running child hosts found. Use the standard reboot endpoint instead.",
            ),
            Why::Lockout { .. } | Why::DeviceRateLimit => {
                let when = first.until.map_or_else(String::new, |until| format!("; it opens again at {until}"));
                let counting = match &first.why {
                    Why::Lockout { commands, .. } => commands.iter().map(ToString::to_string).collect(),
                    _ => Vec::new(),
                };
                Self::named(StatusCode::CONFLICT, "blocked_safety", format!("{all}{when}")).with("commands", counting)
            }
            _ => Self::named(StatusCode::CONFLICT, "blocked", all),
        };
        // The last one to go decides when a new attempt makes sense; it is unknown if one of them is.
        let retry_at =
            blockers.iter().map(|blocker| blocker.until).collect::<Option<Vec<_>>>().and_then(|all| all.into_iter().max());
        let error = match retry_at.or(first.until) {
            Some(at) => error.with("retry_at", at.to_string()),
            None => error,
        };
        let blockers: Vec<_> = blockers.iter().map(documents::blocker).collect();
        error.with("blockers", serde_json::to_value(blockers).unwrap_or_default())
    }
}

impl From<ControlError> for ApiError {
    fn from(error: ControlError) -> Self {
        let text = error.to_string();
        match error {
            ControlError::Unauthenticated(text) => Self::named(StatusCode::UNAUTHORIZED, "unauthenticated", text),
            ControlError::PasswordChangeRequired => Self::named(StatusCode::FORBIDDEN, "password_change_required", text),
            ControlError::Forbidden { permission, outside_scope } => Self::named(StatusCode::FORBIDDEN, "forbidden", text)
                .with("permission", permission.as_str())
                .with("outside_scope", outside_scope),
            ControlError::NotFound(text) => Self::named(StatusCode::NOT_FOUND, "not_found", text),
            ControlError::NotEntitled { module, reason } => Self::named(
                StatusCode::PAYMENT_REQUIRED,
                "license_required",
                format!("Professional+ license required. Upgrade to access orchestrated reboot. ({reason})"),
            )
            .with("module", module),
            ControlError::Refused(refusal) => refusal.into(),
            ControlError::Invalid(text) => Self::named(StatusCode::BAD_REQUEST, "invalid", text),
            ControlError::Conflict(text) => Self::named(StatusCode::CONFLICT, "conflict", text),
            ControlError::TooManyAttempts { retry_after } => {
                Self::named(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", text).retry_after(retry_after)
            }
            ControlError::Unavailable(text) => {
                Self::named(StatusCode::SERVICE_UNAVAILABLE, "unavailable", text).retry_after(Millis::secs(2))
            }
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let conflict = |error: &str, text: &str| Self::named(StatusCode::CONFLICT, error, text);
        match refusal {
            Refusal::Blocked { blockers } => Self::blocked(&blockers),
            Refusal::TargetsBlocked { ref targets } => {
                let each = targets.iter().map(|target| {
                    let blockers: Vec<_> = target.blockers.iter().map(documents::blocker).collect();
                    serde_json::json!({ "host_id": target.target, "name": target.name, "blockers": blockers })
                });
                conflict("blocked", &refusal.to_string()).with("targets", each.collect::<Vec<_>>())
            }
            Refusal::BadPlan { reason } => Self::named(StatusCode::BAD_REQUEST, "bad_plan", reason),
            Refusal::StillRunning { .. } => conflict("still_running", &refusal.to_string()),
            Refusal::MarkedBy { .. } => conflict("held", &refusal.to_string()),
            Refusal::UnknownGroup { .. } => Self::named(StatusCode::NOT_FOUND, "unknown_group", refusal.to_string()),
            Refusal::NotActive => conflict("not_active", "this orchestration is over"),
            Refusal::RebootAlreadyIssued => conflict("reboot_already_issued", "reboot already issued"),
            Refusal::CommandAlreadyIssued => conflict("command_already_issued", &refusal.to_string()),
            Refusal::UnknownTarget => Self::named(StatusCode::NOT_FOUND, "not_found", "Host not found"),
            Refusal::NothingToDo => conflict("nothing_to_do", "nothing to do: it is so already"),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(self.scheme));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.0.div_ceil(1000).max(1);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use model::{OrchestrationId, Timestamp};

    use super::*;

    fn blocker(why: Why, until: Option<i64>) -> Blocker {
        Blocker { why, since: None, until: until.map(Timestamp::from_millis), forceable: false }
    }

    #[test]
    fn the_first_blocker_decides_the_status_and_all_are_listed() {
        let id = OrchestrationId(uuid::Uuid::from_u128(7));
        let locked =
            ApiError::blocked(&[blocker(Why::Locked { orchestration: id, on: None }, None), blocker(Why::NotActive, None)])
                .problem;
        assert_eq!((locked.status, &locked.extensions["orchestration_id"]), (409, &id.to_string().into()));
        assert_eq!(locked.extensions["blockers"].as_array().unwrap().len(), 2);
        assert_eq!(locked.extensions["blockers"][0]["orchestration"], id.to_string());

        let silent = ApiError::blocked(&[blocker(Why::NotActive, None)]).problem;
        assert_eq!((silent.status, silent.detail.as_str()), (400, "Host is not active"));
        let none = ApiError::blocked(&[blocker(Why::NoRunningChildren, None)]).problem;
        assert_eq!(none.status, 400);
        assert_eq!(none.detail, "No running child hosts found. Use the standard reboot endpoint instead.");
    }

    #[test]
    fn a_lockout_says_when_it_opens() {
        let commands = vec![model::CommandId(uuid::Uuid::nil())];
        let lockout = Why::Lockout { counted: 3, limit: 3, commands };
        let one = ApiError::blocked(&[blocker(lockout.clone(), Some(1000)), blocker(Why::Settling, Some(5000))]).problem;
        assert_eq!((one.status, &one.extensions["error"]), (409, &"blocked_safety".into()));
        assert_eq!(one.extensions["retry_at"], "1970-01-01T00:00:05.000Z");
        assert_eq!(one.extensions["commands"][0], "00000000-0000-0000-0000-000000000000");
        let unknown = ApiError::blocked(&[blocker(lockout, Some(1000)), blocker(Why::NotActive, None)]).problem;
        assert_eq!(unknown.extensions["retry_at"], "1970-01-01T00:00:01.000Z");
    }
}
