//! Rules broken on purpose, each with a seed on which a named guarantee fails because of it.

use model::broken::Rule;

use crate::sim::check::Guarantee;

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
pub const KEPT: &[(Rule, Guarantee, u64)] = &[
    (Rule::ProofIgnoresBoot, Guarantee::G3, 1),
    (Rule::ProofWithoutClaim, Guarantee::G3, 145),
    (Rule::NoSupersede, Guarantee::G7, 336),
    (Rule::StrandedIsAvailable, Guarantee::G1, 2993),
    (Rule::SilentIsAvailable, Guarantee::G1, 27),
    (Rule::ChildrenNotCounted, Guarantee::G1, 26),
    (Rule::NoSettling, Guarantee::G1, 12),
    (Rule::NoLock, Guarantee::G5, 4),
    (Rule::NoLockout, Guarantee::G5, 254),
    (Rule::DeviceLimitNotAsked, Guarantee::G5, 28),
    (Rule::NoDeadline, Guarantee::G6, 5),
    (Rule::NoUnwind, Guarantee::G7, 7),
    (Rule::BootStartedStayUp, Guarantee::G7, 7),
    (Rule::UnwindPastReboot, Guarantee::G7, 23),
    (Rule::AttemptNotCounted, Guarantee::G9, 247),
    (Rule::NoLateChild, Guarantee::G7, 8),
    (Rule::BlockersIgnored, Guarantee::G5, 54),
    (Rule::NoHealthGate, Guarantee::G3, 1),
    (Rule::SendBeforeAppend, Guarantee::G8, 1),
    (Rule::KeepAfterConflict, Guarantee::G8, 12),
    (Rule::ActBeforeClaim, Guarantee::G2, 1),
    (Rule::ClaimNotFlushed, Guarantee::G2, 1),
    (Rule::IgnoreExpectBoot, Guarantee::G2, 2),
    (Rule::ForgetOutcome, Guarantee::G2, 1),
    (Rule::IgnoreFence, Guarantee::G9, 52),
    (Rule::IgnoreExpiry, Guarantee::G9, 81),
    (Rule::ObeyRetained, Guarantee::G9, 619),
    (Rule::IgnoreRateLimit, Guarantee::G9, 11),
    (Rule::TrustUnsetClock, Guarantee::G9, 515),
    (Rule::StartProvesReboot, Guarantee::G3, 60),
    (Rule::TornTailFatal, Guarantee::G8, 60),
];

/// Seeds that once broke a guarantee, with what was wrong in the product then. All hold now.
pub const FORMERLY_BROKEN: &[(u64, &str)] = &[
    (14, "a shutdown was called completed at once, because the host had been silent before it began"),
    (45, "an unwind judged the children by a report from before their stop, and left one down unnamed"),
    (4197, "explain used another clock than the decision after the controller's clock was set back"),
    (5052, "children that the boot started late were neither stopped again nor named when no probe was answered"),
    (3041, "a heartbeat of the old boot, delayed by minutes, ended the stranding of a host that never returned"),
    (6400, "a delayed heartbeat of an earlier boot was believed, and its old list of children let a start over the limit"),
    (174, "settling used up the whole time of an open stop, and the host went down under a child that was never asked"),
    (1170, "a child that came up by itself at the last probe was completed without holding the health gate"),
];
