//! Why there is no plan.

use model::{Amount, Millis, Operation, TargetId};

use crate::config::RolloutError;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Another planner's work.
    #[error("{0} is no rollout")]
    NoRollout(Operation),
    /// Nobody is meant.
    #[error("no target is given: name hosts, or select them by label")]
    NoTargets,
    /// Not a host of this fleet.
    #[error("no host has the id {0}: it was removed, or never enrolled or adopted")]
    UnknownTarget(TargetId),
    /// The same host, asked for twice.
    #[error("{name} is given twice: name each host once")]
    Twice {
        /// Whose.
        name: String,
    },
    /// One machine under two names.
    #[error(
        "{one} and {other} are one machine: they show the same address, or the same boot; remove one of them, or leave it out"
    )]
    TwoNames {
        /// A name.
        one: String,
        /// The other.
        other: String,
    },
    /// A host and what stands on it (E14).
    #[error(
        "{child} stands on {parent}, and both are targets: leave {child} out, it is stopped and started with {parent}; or take it in a rollout of its own"
    )]
    Nested {
        /// The host.
        parent: String,
        /// What stands on it.
        child: String,
    },
    /// The request itself.
    #[error(transparent)]
    Rollout(#[from] RolloutError),
    /// A percentage that allows nobody (ruling 15).
    #[error(
        "the limit group {group} allows {amount} of its {members} members, which rounds down to 0: give a higher percentage, or a number"
    )]
    LimitRoundsToNothing {
        /// Which.
        group: String,
        /// As configured.
        amount: Amount,
        /// How many it has.
        members: usize,
    },
    /// One target is already too much (G1).
    #[error(
        "{host} alone takes {count} members of the limit group {group} down, which allows {limit} at once: raise max_unavailable, move what stands on the host, or leave it out"
    )]
    TooManyAtOnce {
        /// The group.
        group: String,
        /// The target.
        host: String,
        /// How many members go down with it.
        count: u32,
        /// How many may.
        limit: u32,
    },
    /// A `{…}` that the host has nothing for.
    #[error(
        "{host} has no value for {{{variable}}}, which {rule} asks for: give it that label or address, or narrow the rule's selector"
    )]
    Variable {
        /// The target.
        host: String,
        /// Such as `drain balancer`.
        rule: String,
        /// Without braces.
        variable: String,
    },
    /// What stands for a `{…}` leads out of the folder of hooks.
    #[error(
        "{rule} would run the hook {hook:?} on {host}: a hook is the name of a file, letters, digits, '-', '_' and '.'; look at the host's labels"
    )]
    Hook {
        /// The target.
        host: String,
        /// Such as `drain own`.
        rule: String,
        /// Filled in.
        hook: String,
    },
    /// Nothing to run.
    #[error("no command is given")]
    NoCommand,
    /// What cannot be a command.
    #[error("{0}")]
    BadCommand(String),
    /// How long it may take.
    #[error("a command may take from 1ms to {most} on a host, not {limit}")]
    RunLimit {
        /// As asked for.
        limit: Millis,
        /// As configured (`wait_limit`).
        most: Millis,
    },
    /// How long is waited for health.
    #[error("what does not pass is asked again for 1ms to {most}, not {limit}")]
    Wait {
        /// As asked for.
        limit: Millis,
        /// As configured (`wait_limit`).
        most: Millis,
    },
    /// The engine runs commands over agents alone.
    #[error(
        "{host} has no agent: leave it out, or run the command over SSH with an inventory (reveille run -i FILE), with your own right"
    )]
    RunWithoutAgent {
        /// The target.
        host: String,
    },
    /// Agents run no free commands.
    #[error(
        "{rule} runs a command on {host}, which has an agent, and agents run no free commands: make it a hook, a file in /etc/reveille/hooks on the host"
    )]
    CommandOverAgent {
        /// The target.
        host: String,
        /// Such as `check app`.
        rule: String,
    },
}
