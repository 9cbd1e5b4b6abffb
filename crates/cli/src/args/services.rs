//! Options of what is about services under systemd (S3).

use std::path::PathBuf;

use clap::Args;

/// The name of the machine that it is typed on.
pub(crate) const THIS_MACHINE: &str = "localhost";
/// Where services are listed, in the folder that one stands in.
pub(crate) const MANIFEST: &str = "reveille.toml";

/// Which services, and where they run.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Listed {
    /// Where services are listed (default: ./reveille.toml, else /etc/reveille/reveille.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Hosts: names (app1, app*), or label=value,…; `localhost` is this machine; may be repeated (default: this machine, or with a
    /// server or -i the hosts that the services name)
    #[arg(long = "host", value_name = "SELECTOR")]
    pub(crate) hosts: Vec<String>,
}

impl Listed {
    /// This machine is meant by its name, whatever else is known.
    pub(crate) fn names_this_machine(&self) -> bool {
        matches!(&self.hosts[..], [one] if one == THIS_MACHINE)
    }
}

/// Of `reveille restart`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    pub(crate) listed: Listed,
    /// Only this service; may be repeated (default: all that are listed)
    #[arg(long = "service", value_name = "NAME")]
    pub(crate) services: Vec<String>,
    /// Show the order, the steps and what blocks it, and do nothing; ends as the start would: 3 if that would be refused
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// EMERGENCY ONLY: make no health check, and override what else can be overridden, for this reason; audited
    #[arg(long, value_name = "REASON")]
    pub(crate) force: Option<String>,
    /// Run no migration
    #[arg(long)]
    pub(crate) skip_migrations: bool,
    /// Bring a new tree to each service that says where its own goes, before it is restarted
    #[arg(long)]
    pub(crate) deploy: bool,
    /// With --deploy: the new tree of the one service that is named, or of several the folder that holds a folder for each; on the
    /// hosts
    #[arg(long, value_name = "PATH")]
    pub(crate) deploy_path: Option<PathBuf>,
    /// So many services at once; without a number as many as the dependencies allow (default: one after the other)
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    pub(crate) parallel: Option<u32>,
    /// After a failure go on with what does not depend on the failed service
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Start it and do not follow it; needs a server
    #[arg(long)]
    pub(crate) detach: bool,
}

/// Of `reveille services`.
#[derive(Debug, Args)]
pub(crate) struct Services {
    #[command(flatten)]
    pub(crate) listed: Listed,
    /// All services that systemd knows on the host, listed or not; their health is not asked
    #[arg(long, conflicts_with_all = ["manifest", "watch"])]
    pub(crate) all: bool,
    /// Ask again and again, each service as often as it says, until Ctrl-C
    #[arg(long)]
    pub(crate) watch: bool,
}

/// Of `reveille check`.
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) listed: Listed,
    /// Only the file itself: look at no host
    #[arg(long, conflicts_with = "hosts")]
    pub(crate) offline: bool,
}

/// Of `reveille units`.
#[derive(Debug, Args)]
pub(crate) struct Units {
    /// Where services are listed (default: ./reveille.toml, else /etc/reveille/reveille.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Only that of this service; may be repeated (default: those of this machine that say how they are run)
    #[arg(long = "service", value_name = "NAME")]
    pub(crate) services: Vec<String>,
    /// Write them to this folder, such as /etc/systemd/system, instead of printing them
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
    /// With --to: replace files that are there and differ
    #[arg(long, requires = "to")]
    pub(crate) replace: bool,
}

/// Of `reveille init`.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Write it here
    #[arg(long, value_name = "FILE", default_value = MANIFEST)]
    pub(crate) to: PathBuf,
    /// Only units that are called so (lilith-*); may be repeated (default: units of this machine that its administrator made)
    #[arg(long = "unit", value_name = "PATTERN")]
    pub(crate) units: Vec<String>,
    /// Replace the file that is there
    #[arg(long)]
    pub(crate) force: bool,
}
