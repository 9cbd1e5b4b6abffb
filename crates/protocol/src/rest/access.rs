//! Who may do what: login, tokens, enrolment tokens, the audit log; and what the server says of itself.

use std::collections::BTreeMap;

use model::Timestamp;
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
}

impl std::fmt::Debug for LoginRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoginRequest({:?}, password hidden)", self.user)
    }
}

/// Answer to the same, and to the making of a token: the only time that the secret is shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewToken {
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    /// What is known of it from now on.
    #[serde(flatten)]
    pub info: TokenInfo,
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NewToken({:?}, secret hidden)", self.info)
    }
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenInfo {
    /// Its id; not a secret.
    pub id: String,
    /// What it was called.
    pub name: String,
    /// In whose name it acts.
    pub user: String,
    /// Its role.
    pub role: String,
    /// Labels that a host must carry to be within its reach; empty: all hosts.
    pub scope: BTreeMap<String, String>,
    /// Made.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub created_at: Timestamp,
    /// Not good after this.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = "date-time", required = true))]
    pub expires_at: Option<Timestamp>,
}

/// Answer to `GET /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// The oldest first.
    pub tokens: Vec<TokenInfo>,
}

/// Body of `POST /api/v1/tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRequest {
    /// What to call it.
    pub name: String,
    /// Its role; not above that of whoever asks.
    pub role: String,
    /// Labels that a host must carry to be within its reach.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub scope: BTreeMap<String, String>,
    /// Seconds until it expires; without: 90 days, at most 366 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_seconds: Option<u64>,
}

/// Body of `POST /api/v1/password`. It ends all other sessions of the user.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PasswordChange {
    /// The password until now.
    pub old_password: String,
    /// The password from now on; at least 12 characters.
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
    /// Give it as `before` to read on; absent on the last page.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next: Option<u64>,
}

/// One entry of the audit log (S0-74, E27).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Rises by time.
    pub id: u64,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = "date-time"))]
    pub at: Timestamp,
    /// A user name, a host, or `system`.
    pub actor: String,
    /// What kind: `step_started`, `refused`.
    pub action: String,
    /// What it was about: an id, where there is one.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub target: Option<String>,
    /// The orchestration that it belongs to.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub orchestration: Option<String>,
    /// Done, rather than refused or failed.
    pub success: bool,
    /// In words.
    pub text: String,
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
