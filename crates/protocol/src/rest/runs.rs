//! Commands that are run on hosts with an agent.

use model::{Millis, RolloutOptions};
use serde::{Deserialize, Serialize};

use super::orchestrations::ForceOption;

/// Body of `POST /api/v1/runs`: a named command, or a free one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewRun {
    /// Which hosts: words of a selector (`web1`, `web*`, `role=web,site!=fra`), of which each must name somebody; `*` for all of
    /// them. Nothing is ever meant by leaving it out.
    #[cfg_attr(feature = "openapi", schema(example = json!(["role=web"])))]
    pub targets: Vec<String>,
    /// The name of a root-owned file in `/etc/reveille/commands.d` of each host.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "rotate-logs"))]
    pub name: Option<String>,
    /// Instead of a name, a line for the shell of each host: needs `RUN_FREE`, and is refused by every host that does not name the
    /// user in its own configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<String>,
    /// How long it may take on one host, as milliseconds or a text like `90s`; then it is killed. Default 10 min.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "10m"))]
    pub limit: Option<Millis>,
    /// After it, the configured checks of a host must pass before the next one starts. Those of `options.checks` alone, if given.
    #[serde(skip_serializing_if = "is_false")]
    pub health_check: bool,
    /// How the fleet is gone through, as for a rollout; nothing is drained. Without `soak` there is none.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub options: RolloutOptions,
    /// Override what can be overridden; needs its own permission, and is audited (G5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force: Option<ForceOption>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Body of `POST /api/v1/health-checks`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct NewHealthCheck {
    /// Which hosts, as for a run; `*` for all of them. Nothing is ever meant by leaving it out.
    #[cfg_attr(feature = "openapi", schema(example = json!(["*"])))]
    pub targets: Vec<String>,
    /// Only these of the configured checks; without it all that a host has.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = json!(["web"])))]
    pub checks: Option<Vec<String>>,
    /// What does not pass is asked again for so long, as milliseconds or a text like `90s`. Without it each host is asked once.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, example = "2m"))]
    pub wait: Option<Millis>,
}

/// How a command ended on a host, and the last of what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RanDocument {
    /// Its exit code; `null`: a signal ended it, or it was killed at its limit.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub exit: Option<i32>,
    /// It was killed at its limit.
    pub timed_out: bool,
    /// Standard output.
    pub out: SaidDocument,
    /// Standard error.
    pub err: SaidDocument,
}

/// What a command said on one stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SaidDocument {
    /// How many bytes in all.
    pub bytes: u64,
    /// The last of them, at most 8 KiB; what is not UTF-8 is replaced.
    pub tail: String,
    /// Something before the tail is missing.
    pub is_cut: bool,
}
