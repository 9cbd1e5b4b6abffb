//! Deliberately broken rules, for the simulator's proof that each guarantee can fail.
//!
//! Without the feature `mutations` every call is `false` and compiles away; no shipped binary carries the feature
//! (`cargo xtask tidy` checks that only the simulator asks for it).

/// A rule that can be broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Engine: a completed ack proves a reboot whatever boot it names.
    ProofIgnoresBoot,
    /// Engine: a report with a new boot proves the reboot without the performer's claim.
    ProofWithoutClaim,
    /// Engine: a finished step does not supersede what is still open on its target.
    NoSupersede,
    /// Engine: a stranded target counts as available.
    StrandedIsAvailable,
    /// Engine: a silent target counts as available.
    SilentIsAvailable,
    /// Engine: what stands on a target is not counted.
    ChildrenNotCounted,
    /// Engine: nothing waits for settling after a start.
    NoSettling,
    /// Engine: locks are not looked at.
    NoLock,
    /// Engine: the lockout is not looked at.
    NoLockout,
    /// Engine: the device's own rate limit is not looked at before children are stopped.
    DeviceLimitNotAsked,
    /// Engine: the deadline of a step is never judged.
    NoDeadline,
    /// Engine: an unwind forgets what it stopped.
    NoUnwind,
    /// Engine: children that were down before are left up when the boot started them.
    BootStartedStayUp,
    /// Engine: an unwind goes past an open reboot.
    UnwindPastReboot,
    /// Engine: the attempt is not raised after a failed one.
    AttemptNotCounted,
    /// Engine: a late child is not looked for before the reboot.
    NoLateChild,
    /// Engine: an inhibitor or a failed check does not block.
    BlockersIgnored,
    /// Engine: the health gate after a reboot is skipped.
    NoHealthGate,
    /// Engine: a host that is not healthy after its reboot is put back into service.
    UndrainUnhealthy,
    /// Engine: what was found before the drain is overwritten by what is found after it.
    PriorForgotten,
    /// Engine: a failed probe does not start the soak anew.
    SoakIgnoresFailure,
    /// Engine: nobody looks again right before the reboot whether the host is still drained.
    DrainNotRechecked,
    /// Engine: what checks find is not looked at.
    CheckIgnored,
    /// Engine: a host whose drain failed is rebooted all the same.
    DrainFailureIgnored,
    /// Engine: an unwind leaves what it drained out of service, and tells nobody.
    UndrainForgotten,
    /// Engine: a report ends a stranded state although something is left to finish.
    UnfinishedForgotten,
    /// Engine: failures spend no budget.
    BudgetNotCounted,
    /// Engine: more targets are worked on at once than may be.
    ConcurrencyIgnored,
    /// Engine: a wave does not wait for the end of the one before it.
    GateIgnored,
    /// Engine: a wave does not wait until a person agrees.
    ApprovalIgnored,
    /// Engine: the time in which no controller was there counts for deadlines.
    OutageCounts,
    /// Engine: gates are not looked at again before the first disruption.
    GatesOnce,
    /// Engine: maintenance windows are not looked at.
    WindowIgnored,
    /// Engine: a frozen fleet is not looked at.
    FreezeIgnored,
    /// Engine: a host that a person took out of use is worked on.
    HoldIgnored,
    /// Engine: starts follow one another at once.
    StaggerIgnored,
    /// Engine: slots that were taken from outside count nothing.
    SlotNotCounted,
    /// Engine: a track ends without letting go of its host.
    LockKept,
    /// Engine: a command whose end is not known is called completed.
    UnknownIsCompleted,
    /// Engine: a command that failed is handed over once more.
    RunRetried,
    /// Engine: the exit code of a command is not looked at.
    ExitIgnored,
    /// Engine: a command whose end is not known spends no budget.
    UnknownNotCounted,
    /// Engine: a service that is not healthy before its restart is restarted.
    UnhealthyRestarted,
    /// Engine: a service is called restarted without another invocation id, and well without its health.
    ServiceProofIgnored,
    /// Engine: a rollback leaves the new tree where it is.
    TreeNotReverted,
    /// Engine: what depends on a failed service is restarted.
    DependentsStarted,
    /// Engine: a restarted service is not watched for its soak.
    SoakSkipped,
    /// Engine: a rollback stops a service that was not restarted.
    StopsUntouched,
    /// Engine: the lock of a host is dropped with the first of its services.
    ServiceLockDropped,
    /// Driver: commands leave before the entries are durable.
    SendBeforeAppend,
    /// Driver: the engine in memory is kept after a failed append.
    KeepAfterConflict,
    /// Agent: the tool is run before the claim is on disk.
    ActBeforeClaim,
    /// Agent: the claim is written and not flushed.
    ClaimNotFlushed,
    /// Agent: the expected boot is not compared.
    IgnoreExpectBoot,
    /// Agent: a command seen before is run again.
    ForgetOutcome,
    /// Agent: the fence is not compared.
    IgnoreFence,
    /// Agent: expiry is not judged.
    IgnoreExpiry,
    /// Agent: retained commands are obeyed.
    ObeyRetained,
    /// Agent: the own rate limit is not kept.
    IgnoreRateLimit,
    /// Agent: a clock that was never set is trusted.
    TrustUnsetClock,
    /// Agent: an open reboot is called completed at the next start without comparing boots.
    StartProvesReboot,
    /// Agent: a command that had begun when the agent ended is run again.
    RunAgainAfterCrash,
    /// Agent: a torn last record of the ledger stops the start instead of being dropped.
    TornTailFatal,
}

#[cfg(feature = "mutations")]
mod hook {
    use std::cell::Cell;

    use super::Rule;

    thread_local! {
        static BROKEN: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Break one rule on this thread, or none.
    pub fn set(rule: Option<Rule>) {
        BROKEN.with(|b| b.set(rule));
    }

    /// Whether this rule is broken on this thread.
    pub fn is(rule: Rule) -> bool {
        BROKEN.with(|b| b.get() == Some(rule))
    }
}

#[cfg(feature = "mutations")]
pub use hook::{is, set};

/// Whether this rule is broken: never, in this build.
#[cfg(not(feature = "mutations"))]
#[inline(always)]
pub fn is(_rule: Rule) -> bool {
    false
}
