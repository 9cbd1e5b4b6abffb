//! Rules broken on purpose, each with a seed on which a named guarantee fails because of it.

use model::broken::Rule;

use crate::check::Guarantee;

/// All rules that can be broken.
pub const ALL: &[Rule] = &[
    Rule::ProofIgnoresBoot,
    Rule::ProofWithoutClaim,
    Rule::NoSupersede,
    Rule::StrandedIsAvailable,
    Rule::SilentIsAvailable,
    Rule::ChildrenNotCounted,
    Rule::NoSettling,
    Rule::NoLock,
    Rule::NoLockout,
    Rule::DeviceLimitNotAsked,
    Rule::NoDeadline,
    Rule::NoUnwind,
    Rule::BootStartedStayUp,
    Rule::UnwindPastReboot,
    Rule::AttemptNotCounted,
    Rule::NoLateChild,
    Rule::BlockersIgnored,
    Rule::NoHealthGate,
    Rule::SendBeforeAppend,
    Rule::KeepAfterConflict,
    Rule::ActBeforeClaim,
    Rule::ClaimNotFlushed,
    Rule::IgnoreExpectBoot,
    Rule::ForgetOutcome,
    Rule::IgnoreFence,
    Rule::IgnoreExpiry,
    Rule::ObeyRetained,
    Rule::IgnoreRateLimit,
    Rule::TrustUnsetClock,
    Rule::StartProvesReboot,
    Rule::TornTailFatal,
];

/// A rule by its name, in any spelling of case and dashes.
pub fn rule_of(name: &str) -> Option<Rule> {
    let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    ALL.iter().copied().find(|rule| plain(&format!("{rule:?}")) == plain(name))
}

/// A rule, the guarantee that fails when it is broken, and a seed on which it does.
pub const KEPT: &[(Rule, Guarantee, u64)] = &[];
