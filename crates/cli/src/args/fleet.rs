//! Options of what goes through a fleet.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use model::{Amount, Approval, DrainPolicy, Millis, OrchestrationId, RolloutOptions};

use super::{OnTimeoutArg, Run, key_value};

const ROLLING: &str = "Rolling over several hosts";

/// Of `reveille reboot`.
#[derive(Debug, Args)]
pub(crate) struct Reboot {
    /// Hosts: names (web1, web*), or label=value,… such as role=web,site!=fra; '*' for every host
    #[arg(required = true, value_name = "SELECTOR")]
    pub(crate) targets: Vec<String>,
    #[command(flatten)]
    pub(crate) run: Run,
    /// How long the children of a host have to stop, in seconds (default: 120)
    #[arg(long, value_name = "SECONDS")]
    pub(crate) timeout_secs: Option<u64>,
    /// What happens when they do not stop (default: proceed for one host without drains, checks and windows; else abort)
    #[arg(long, value_enum)]
    pub(crate) on_timeout: Option<OnTimeoutArg>,
    /// Any child that does not come back makes its host fail
    #[arg(long)]
    pub(crate) strict: bool,
    #[command(flatten)]
    pub(crate) rolling: Rolling,
}

/// How a fleet is gone through; what is not said is as configured.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Rolling {
    /// Size of the first wave, 1 or 5%; the rest waits for it (default: none)
    #[arg(long, value_name = "N|%", help_heading = ROLLING)]
    pub(crate) canary: Option<Amount>,
    /// Further waves, each as the part of all hosts that is done when it ends: 10%,50%
    #[arg(long, value_name = "N|%,…", value_delimiter = ',', help_heading = ROLLING)]
    pub(crate) stages: Option<Vec<Amount>>,
    /// How many hosts are worked on at once, 2 or 10% (default: 1)
    #[arg(long, value_name = "N|%", help_heading = ROLLING)]
    pub(crate) concurrency: Option<Amount>,
    /// So many hosts may fail; one more, and nothing new starts (default: 0)
    #[arg(long, value_name = "N|%", help_heading = ROLLING)]
    pub(crate) failure_budget: Option<Amount>,
    /// So many of the canary may fail, 5% of it alone (default: as all)
    #[arg(long, value_name = "N|%", help_heading = ROLLING)]
    pub(crate) canary_failure_budget: Option<Amount>,
    /// How long a host must stay healthy before the next one starts (default: 60s)
    #[arg(long, value_name = "TIME", help_heading = ROLLING)]
    pub(crate) soak: Option<Millis>,
    /// Only these of the configured drains (default: as configured)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = ROLLING)]
    pub(crate) drain: Option<Vec<String>>,
    /// Take nothing out of service before the reboot
    #[arg(long, conflicts_with = "drain", help_heading = ROLLING)]
    pub(crate) no_drain: bool,
    /// How long each drain may take (default: 120s)
    #[arg(long, value_name = "TIME", help_heading = ROLLING)]
    pub(crate) drain_limit: Option<Millis>,
    /// What happens to a host that does not drain in time (default: abort)
    #[arg(long, value_enum, help_heading = ROLLING)]
    pub(crate) on_drain_timeout: Option<DrainPolicyArg>,
    /// Only these of the configured checks (default: as configured)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', help_heading = ROLLING)]
    pub(crate) check: Option<Vec<String>>,
    /// Start only in this maintenance window too, beside those that are configured; may be repeated
    #[arg(long, value_name = "NAME", help_heading = ROLLING)]
    pub(crate) window: Vec<String>,
    /// Two starts are never closer than this
    #[arg(long, value_name = "TIME", help_heading = ROLLING)]
    pub(crate) stagger: Option<Millis>,
    /// Spread the starts over this
    #[arg(long, value_name = "TIME", help_heading = ROLLING)]
    pub(crate) jitter: Option<Millis>,
    /// Wait for a person's word: after the canary, or before each wave but the first
    #[arg(long, value_enum, help_heading = ROLLING)]
    pub(crate) approve: Option<ApproveArg>,
    /// Only hosts that say they need a reboot; one that cannot tell is left alone
    #[arg(long, help_heading = ROLLING)]
    pub(crate) only_if_required: bool,
}

impl Rolling {
    /// As a document.
    pub(crate) fn options(&self) -> RolloutOptions {
        RolloutOptions {
            canary: self.canary,
            stages: self.stages.clone(),
            concurrency: self.concurrency,
            failure_budget: self.failure_budget,
            canary_failure_budget: self.canary_failure_budget,
            approval: self.approve.map(|word| match word {
                ApproveArg::Never => Approval::Never,
                ApproveArg::Canary => Approval::AfterCanary,
                ApproveArg::Each => Approval::EachWave,
            }),
            drains: if self.no_drain { Some(Vec::new()) } else { self.drain.clone() },
            drain_limit: self.drain_limit,
            on_drain_timeout: self.on_drain_timeout.map(|word| match word {
                DrainPolicyArg::Abort => DrainPolicy::Abort,
                DrainPolicyArg::Skip => DrainPolicy::Skip,
                DrainPolicyArg::Force => DrainPolicy::Force,
            }),
            checks: self.check.clone(),
            soak: self.soak,
            windows: self.window.clone(),
            stagger: self.stagger,
            jitter: self.jitter,
            only_if_required: self.only_if_required.then_some(true),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DrainPolicyArg {
    /// Put it back into service; it counts as failed
    Abort,
    /// Put it back into service; it counts as skipped
    Skip,
    /// Cut off what is left
    Force,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApproveArg {
    /// Not at all
    Never,
    /// Once, after the canary
    Canary,
    /// Before each wave but the first
    Each,
}

/// Of `reveille resume`.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Its id (default: the only one that is not over)
    pub(crate) id: Option<OrchestrationId>,
    /// Do not follow it
    #[arg(long, conflicts_with = "unwind")]
    pub(crate) detach: bool,
    /// Do not go on, but take back what is half done: nothing new starts, and it ends as cancelled
    #[arg(long)]
    pub(crate) unwind: bool,
}

/// Of `reveille retry`.
#[derive(Debug, Args)]
pub(crate) struct Retry {
    /// Id of the one that left hosts undone
    pub(crate) id: OrchestrationId,
    #[command(flatten)]
    pub(crate) run: Run,
    #[command(flatten)]
    pub(crate) rolling: Rolling,
}

/// Of `reveille adopt`.
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    /// The name that the host will have
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub(crate) name: Option<String>,
    /// How SSH reaches it, user@host:port (default: its name)
    #[arg(conflicts_with = "from")]
    pub(crate) address: Option<String>,
    /// A label that it will have; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value, conflicts_with = "from")]
    pub(crate) labels: Vec<(String, String)>,
    /// All hosts of this inventory; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,
}

/// Of `reveille run`.
#[derive(Debug, Args)]
pub(crate) struct RunCommand {
    /// With a server: the name of a command of the hosts, a file of root in /etc/reveille/commands.d there. Without one, or with -i:
    /// a command for the shell of each host, over SSH
    pub(crate) command: String,
    /// With a server: it is a line for the shell of each host, where the host allows that to you
    #[arg(long)]
    pub(crate) free: bool,
    /// Hosts: names, or label=value,…; '*' for every host; may be repeated
    #[arg(long, required = true, value_name = "SELECTOR")]
    pub(crate) targets: Vec<String>,
    /// How many hosts at once, 2 or 10%
    #[arg(long, value_name = "N|%", default_value = "1")]
    pub(crate) concurrency: Amount,
    /// After each batch wait for hosts that went down, and ask the checks of its hosts before the next batch
    #[arg(long, visible_alias = "health_check")]
    pub(crate) health_check: bool,
    /// Only these of the configured checks
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', requires = "health_check")]
    pub(crate) check: Option<Vec<String>>,
    /// So many hosts may fail; one more, and no further batch starts
    #[arg(long, value_name = "N|%", default_value = "0")]
    pub(crate) failure_budget: Amount,
    /// How long it may take on one host
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(crate) limit: Millis,
    /// Without a server: it takes its hosts down, and each is waited for (default: judged by the tools that the command runs)
    #[arg(long)]
    pub(crate) reboots: bool,
    /// Without a server: it takes nobody down, whatever it looks like
    #[arg(long, conflicts_with = "reboots")]
    pub(crate) no_reboots: bool,
}

/// Of `reveille health-check`.
#[derive(Debug, Args)]
pub(crate) struct HealthCheck {
    /// Only these of the configured checks (default: all)
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    pub(crate) jobs: Option<Vec<String>>,
    /// Hosts: names, or label=value,…; may be repeated (default: every host, since nothing is changed)
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) targets: Vec<String>,
    /// Ask again until all of them pass
    #[arg(long)]
    pub(crate) wait: bool,
    /// Give up waiting after this
    #[arg(long, value_name = "TIME", default_value = "5m", requires = "wait")]
    pub(crate) timeout: Millis,
}

/// Of `reveille sync`.
#[derive(Debug, Args)]
pub(crate) struct Sync {
    /// Hosts: names, or label=value,…; '*' for every host; may be repeated
    #[arg(long, required_unless_present = "dry_run", value_name = "SELECTOR")]
    pub(crate) targets: Vec<String>,
    /// Only show what should run and does not, and what is of another generation
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// So many hosts may fail; one more, and no further host is begun
    #[arg(long, value_name = "N|%", default_value = "0")]
    pub(crate) failure_budget: Amount,
    /// How long the start of one thing may take
    #[arg(long, value_name = "TIME", default_value = "120s")]
    pub(crate) limit: Millis,
}
