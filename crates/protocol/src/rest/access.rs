//! Who may do what: login, tokens, enrolment tokens, the audit log; and what the server says of itself.

use std::collections::BTreeMap;

use model::{OrchestrationId, TargetId, Timestamp};
use serde::{Deserialize, Serialize};

/// Body of `POST /api/v1/login`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoginRequest {
    /// User name.
    pub user: String,
    /// Password.
    pub password: String,
    /// Replaces the password at once; asked for when the password is good for one login only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_password: Option<String>,
}

impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginRequest({:?}, password hidden)", self.user)
    }
}

/// Answer to the same: a session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Session {
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    /// User name.
    pub user: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// What the session may do: `REBOOT_HOST`, …
    pub permissions: Vec<String>,
    /// Ends then.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({:?}, {}, token hidden)", self.user, self.role)
    }
}

/// Answer to `GET /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// One's own; all of them for somebody who manages access. Sessions are among them.
    pub tokens: Vec<TokenInfo>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenInfo {
    /// Names it; not a secret.
    pub id: i64,
    /// In whose name it acts.
    pub user: String,
    /// What it was called; nothing for a session.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub name: Option<String>,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// May override what can be overridden.
    pub may_force: bool,
    /// Labels that a host must carry to be within its reach, `label=value,…`; `*` for all hosts.
    pub scope: String,
    /// Made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: Timestamp,
    /// Ends then.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub expires_at: Timestamp,
    /// Last shown, to the minute.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub last_used_at: Option<Timestamp>,
}

/// Body of `POST /api/v1/tokens`. A token can do at most what its maker can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// What to call it; unique among one's tokens.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// May override what can be overridden.
    #[serde(default)]
    pub may_force: bool,
    /// Labels that a host must carry to be within its reach, `label=value,…`; without: the maker's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Seconds until it ends; without: 90 days, at most 366 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// Answer to the same: the only time that the secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// Names it from now on.
    pub id: i64,
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    /// Ends then.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewToken({}, secret hidden)", self.id)
    }
}

/// Answer to `GET /api/v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserList {
    /// All of them.
    pub users: Vec<UserInfo>,
}

/// One user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserInfo {
    /// The name.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// May override what can be overridden, beyond the role.
    pub may_force: bool,
    /// Labels that a host must carry to be within reach, or `*`.
    pub scope: String,
    /// Has a one-time password that was not replaced yet.
    pub must_change_password: bool,
    /// Made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: Timestamp,
}

/// Body of `POST /api/v1/users`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UserRequest {
    /// 1 to 64 of letters, digits, `-`, `_`, `.`, `@`.
    pub name: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// May override what can be overridden, beyond the role.
    #[serde(default)]
    pub may_force: bool,
    /// Labels that a host must carry to be within reach, `label=value,…`; without: all hosts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// Answer to the same: the only time that the password is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewUser {
    /// The name.
    pub name: String,
    /// Good for one login, at which it is replaced.
    pub one_time_password: String,
}

impl std::fmt::Debug for NewUser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewUser({:?}, password hidden)", self.name)
    }
}

/// Body of `POST /api/v1/password`; the answer is a new session.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PasswordChange {
    /// The password until now.
    pub old_password: String,
    /// The password from now on.
    pub new_password: String,
}

impl std::fmt::Debug for PasswordChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordChange(hidden)")
    }
}

/// Body of `POST /api/v1/enrolment-tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EnrolmentTokenRequest {
    /// The intended name of the host.
    pub name: String,
    /// Labels that it will have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Seconds until it expires; without: one hour, at most 7 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// Answer to the same: the only time that the token is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewEnrolmentToken {
    /// What the operator carries to the device; good once.
    pub token: String,
    /// The intended name of the host.
    pub name: String,
    /// Not good after this.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for NewEnrolmentToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewEnrolmentToken({:?}, secret hidden)", self.name)
    }
}

/// Answer to `GET /api/v1/audit`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The newest first.
    pub entries: Vec<AuditEntry>,
    /// Give it as `before` to read on; null on the last page.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next: Option<i64>,
}

/// One entry of the audit log (S0-74, E27).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Rises.
    pub id: i64,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub at: Timestamp,
    /// A user, a host, or `system`.
    pub actor: String,
    /// What kind: `step_started`, `login`, …
    pub action: String,
    /// On which host or child.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "uuid", required = true))]
    pub target: Option<TargetId>,
    /// In which orchestration.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "uuid", required = true))]
    pub orchestration: Option<OrchestrationId>,
    /// Done, rather than refused or failed.
    pub success: bool,
    /// In words.
    pub detail: String,
}

/// Answer to `GET /api/v1/version`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Version {
    /// Of the controller program.
    pub version: String,
    /// Of the API.
    pub api: String,
}

/// Answer to `GET /healthz` and `GET /readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Health {
    /// `ok`, or `ready`.
    pub status: String,
}
