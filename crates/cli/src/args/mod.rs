//! The command line.

mod events;
mod fleet;
#[cfg(test)]
mod guide_tests;
mod services;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use model::OrchestrationId;
use protocol::rest::orchestrations::OnTimeout;

pub(crate) use events::Events;
pub(crate) use fleet::{Adopt, HealthCheck, Reboot, Resume, Retry, RunCommand, Sync};
pub(crate) use services::{Check, Init, Listed, MANIFEST, Restart, Services, THIS_MACHINE, Units};

const GLOBAL: &str = "Server and output";
const HERE: &str = "Without a server";

/// Takes things down safely, brings them back, and proves that they came back.
#[derive(Debug, Parser)]
#[command(name = "reveille", version, after_help = crate::exit::help(), max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that say who is asked and how: their ids, and how they are written.
const AIMING: [(&str, &str); 8] = [
    ("server", "--server"),
    ("ca", "--ca"),
    ("inventory", "--inventory"),
    ("state_dir", "--state-dir"),
    ("ssh_config", "--ssh-config"),
    ("accept_new_keys", "--accept-new-keys"),
    ("ask_sudo_password", "--ask-sudo-password"),
    ("sudo_password_file", "--sudo-password-file"),
];

impl Cli {
    /// What was typed, and what stands in the environment.
    ///
    /// # Errors
    /// It is no command, or its help was asked for.
    pub(crate) fn read(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut matches = Self::command().try_get_matches_from(args)?;
        let typed = |(id, _): &(&str, &str)| matches.value_source(id) == Some(ValueSource::CommandLine);
        let typed = AIMING.into_iter().filter(typed).map(|(_, option)| option).collect();
        let mut cli = Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Self::command()))?;
        cli.global.typed = typed;
        Ok(cli)
    }
}

/// What every client command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Those of [`AIMING`] that stand on the command line itself: somebody means them now.
    #[arg(skip)]
    pub(crate) typed: Vec<&'static str>,
    /// Address of the server, https://HOST:PORT (default: the one of the last login)
    #[arg(long, global = true, env = "REVEILLE_SERVER", hide_env_values = true, value_name = "URL", help_heading = GLOBAL)]
    pub(crate) server: Option<String>,
    /// CA certificate of the server, PEM (default: the one of the last login)
    #[arg(long, global = true, env = "REVEILLE_CA", hide_env_values = true, value_name = "FILE", help_heading = GLOBAL)]
    pub(crate) ca: Option<PathBuf>,
    /// How to print answers
    #[arg(long, short, global = true, value_enum, default_value_t = Output::Text, help_heading = GLOBAL)]
    pub(crate) output: Output,
    /// Log to standard error at this level, or at those of MODULE=LEVEL,…
    #[arg(long, global = true, env = "REVEILLE_LOG", hide_env_values = true, value_name = "LEVEL", value_parser = log_filter,
        help_heading = GLOBAL)]
    pub(crate) log: Option<String>,
    #[command(flatten)]
    pub(crate) here: Here,
}

/// What an engine in this process needs to know.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Here {
    /// Work without a server on the hosts of this file: fleet.toml, or an Ansible inventory; may be repeated
    #[arg(long, short, global = true, value_name = "FILE", help_heading = HERE)]
    pub(crate) inventory: Vec<PathBuf>,
    /// Where journal and output of runs are kept (default: $XDG_STATE_HOME/reveille)
    #[arg(long, global = true, value_name = "DIR", help_heading = HERE)]
    pub(crate) state_dir: Option<PathBuf>,
    /// Use this instead of ~/.ssh/config
    #[arg(long, global = true, value_name = "FILE", help_heading = HERE)]
    pub(crate) ssh_config: Option<PathBuf>,
    /// Take down the keys of hosts that are not known yet; a key that changed stays an error
    #[arg(long, global = true, help_heading = HERE)]
    pub(crate) accept_new_keys: bool,
    /// Ask once for the password that sudo wants on the hosts
    #[arg(long, global = true, help_heading = HERE)]
    pub(crate) ask_sudo_password: bool,
    /// Read that password from this file, `-` for standard input
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "ask_sudo_password", help_heading = HERE)]
    pub(crate) sudo_password_file: Option<PathBuf>,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// One JSON document on standard output
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See it work on sandbox hosts (process trees, not real machines), with its controller killed
    Demo(DemoArgs),
    /// Run the server: API, broker and engine in this process
    Server(ServerArgs),
    #[command(flatten)]
    Client(ClientCommand),
    /// Run the agent of a sandbox host; real hosts run reveille-agent
    #[command(hide = true)]
    Agent(AgentArgs),
    #[command(flatten)]
    Sandbox(crate::sandbox::SandboxCommand),
}

/// Of `reveille demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// End after the story, instead of staying up for exploring
    #[arg(long)]
    pub(crate) exit: bool,
    /// Use this directory, which must not exist yet, instead of a temporary one; it is removed at the end
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

/// Of `reveille server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// Configuration, TOML (default: built-in values); REVEILLE_SERVER_… variables go over it
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Give the administrator a new one-time password, while the server does not run, and end
    #[arg(long)]
    pub(crate) reset_admin_password: bool,
}

/// Of `reveille agent`.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Its configuration, TOML
    #[arg(long, default_value = agent::config::PATH)]
    pub(crate) config: PathBuf,
    #[command(subcommand)]
    pub(crate) task: AgentTask,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AgentTask {
    /// Run until SIGTERM
    Run,
    /// Make this host known to a controller
    Enrol {
        /// File with the token, `-` for standard input
        #[arg(long)]
        token_file: PathBuf,
    },
}

/// What asks a server.
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Log in and keep the token for later commands
    Login(Login),
    /// End the token of the last login and forget it
    Logout,
    /// List hosts and their children
    Hosts {
        /// An id, a name, or label=value,… (default: all)
        selector: Option<String>,
    },
    /// Approve a host after comparing the fingerprint of its key
    Approve {
        /// An id, a name, or label=value,…
        host: String,
        /// Approve without asking, if the fingerprint is this one
        #[arg(long, value_name = "FINGERPRINT")]
        fingerprint: Option<String>,
    },
    /// Make a token with which one host can enrol once
    EnrolToken {
        /// The name that the host will have
        name: String,
        /// A label that the host will have; may be repeated
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
        labels: Vec<(String, String)>,
        /// Seconds until the token expires (default: one hour)
        #[arg(long, value_name = "SECONDS")]
        expires_in_secs: Option<u64>,
    },
    /// Reboot hosts safely, one or a whole fleet: drain, stop, reboot, prove it, start, check, undrain
    Reboot(Reboot),
    /// Restart systemd services in the order of their dependencies; what does not come back well is rolled back
    Restart(Restart),
    /// Show how services are: their units, and their health as their manifest says
    Services(Services),
    /// Look for everything that would go wrong with a restart of services, and do nothing
    Check(Check),
    /// Write a first reveille.toml from the units of this machine
    Init(Init),
    /// Print or write systemd unit files for the services that say in reveille.toml how they are run
    Units(Units),
    /// Print the JSON Schema of reveille.toml, for editors
    Schema,
    /// Shut down a host that has no running children
    Shutdown(Shutdown),
    /// List orchestrations
    Orchestrations {
        /// Only those of this host
        #[arg(long, value_name = "TARGET")]
        host: Option<String>,
        /// Only those that are not over
        #[arg(long)]
        active: bool,
    },
    /// Follow an orchestration until it is over
    Watch {
        /// Its id
        id: OrchestrationId,
    },
    /// Cancel an orchestration: what was drained or stopped is put back
    Cancel {
        /// Its id
        id: OrchestrationId,
    },
    /// Start nothing new in a rollout or a restart of services; what has begun is finished
    Pause {
        /// Its id
        id: OrchestrationId,
        /// Why
        #[arg(long, default_value = "paused by hand")]
        reason: String,
    },
    /// Go on with what was paused or interrupted, the failures so far accepted; or unwind it
    Resume(Resume),
    /// Agree that the waiting wave of a rollout starts
    Agree {
        /// Its id
        id: OrchestrationId,
    },
    /// Take up the hosts that a rollout left undone, and only those
    Retry(Retry),
    /// Say why a target would not start now
    Explain {
        /// An id, a name, or label=value,…
        target: String,
        /// What would be done (default: whichever reboot fits)
        #[arg(long, value_enum)]
        operation: Option<OperationArg>,
    },
    /// Show the audit log, the newest entry first
    Audit(Audit),
    /// Say that a stranded host or child is fine, and that its alarm was seen
    Acknowledge {
        /// The host: an id, a name, or label=value,…
        target: String,
        /// Only this child of it, by name or id
        #[arg(long)]
        child: Option<String>,
    },
    /// List what keeps hosts from starting: orchestrations, marks of people, slots, stranded hosts
    Locks {
        #[command(subcommand)]
        command: Option<Locks>,
    },
    /// Mark a host as out of use: rollouts leave it alone, and it counts as unavailable
    Disable {
        /// An id, a name, or label=value,…
        host: String,
        /// Why, for everybody who finds it so
        #[arg(long)]
        reason: String,
    },
    /// Take that mark away
    Enable {
        /// An id, a name, or label=value,…
        host: String,
    },
    /// Let nothing start anywhere
    Freeze {
        /// Why, for everybody who finds it so
        #[arg(long)]
        reason: String,
    },
    /// Let things start again
    Thaw,
    /// Make hosts that SSH reaches known to a server, without an agent on them
    Adopt(Adopt),
    /// Take a host out of the inventory of a server; without one, forget a host that left the inventory
    Remove {
        /// An id, a name, or label=value,…
        host: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Run a command on hosts over SSH, in batches; its output is shown and kept
    Run(RunCommand),
    /// Ask the configured checks
    #[command(visible_alias = "health_check")]
    HealthCheck(HealthCheck),
    /// Bring back what should run on hosts and does not, the configuration first
    Sync(Sync),
    /// Show what happened to services, one JSON object per line
    Events(Events),
    /// Manage API tokens
    #[command(subcommand)]
    Tokens(Tokens),
}

/// Of `reveille locks`.
#[derive(Debug, Subcommand)]
pub(crate) enum Locks {
    /// Take a slot away from a machine that does not come back (FleetLock)
    Release {
        /// The limit group
        group: String,
        /// Who has it, as `reveille locks` shows it
        holder: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Login {
    /// Address of the server, https://HOST:PORT
    pub(crate) url: String,
    /// User name
    #[arg(long, default_value = "admin")]
    pub(crate) user: String,
    /// Fingerprint of the server's CA, as the server shows it at its start (sha256:…)
    #[arg(long, value_name = "FINGERPRINT", conflicts_with = "ca")]
    pub(crate) ca_fingerprint: Option<String>,
    /// Read the password from this file, `-` for standard input (default: ask for it)
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Replace the password by the one in this file; asked for when the password is good for one login only
    #[arg(long, value_name = "FILE")]
    pub(crate) new_password_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Shutdown {
    /// An id, a name, or label=value,…
    pub(crate) target: String,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// What reboot and shutdown share.
#[derive(Clone, Debug, Args)]
pub(crate) struct Run {
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Show the plan and what blocks it, and do nothing; ends as the start would: 3 if that would be refused
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Start it and do not follow it
    #[arg(long)]
    pub(crate) detach: bool,
    /// Override what can be overridden, for this reason; audited
    #[arg(long, value_name = "REASON")]
    pub(crate) force: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnTimeoutArg {
    /// Reboot all the same
    Proceed,
    /// Cut them off
    ForceStop,
    /// Start again what was stopped, and give up
    Abort,
}

impl OnTimeoutArg {
    /// In a document.
    pub(crate) fn word(self) -> OnTimeout {
        match self {
            Self::Proceed => OnTimeout::Proceed,
            Self::ForceStop => OnTimeout::ForceStop,
            Self::Abort => OnTimeout::Abort,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OperationArg {
    /// Stop the running children, reboot, start them again
    OrchestratedReboot,
    /// Reboot a host without running children
    Reboot,
    /// Shut down a host without running children
    Shutdown,
}

#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Only what this user or host did, or `system`
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// Only this kind of entry, such as `refused`
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// Only what belongs to this orchestration
    #[arg(long, value_name = "ID")]
    pub(crate) orchestration: Option<OrchestrationId>,
    /// How many entries, 1 to 500
    #[arg(long, default_value_t = 50)]
    pub(crate) limit: u32,
    /// Read on before this entry
    #[arg(long, value_name = "NUMBER")]
    pub(crate) before: Option<i64>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tokens {
    /// List tokens
    List,
    /// Make a token; its secret is shown once
    Create {
        /// What to call it
        name: String,
        /// Its role: viewer, operator or admin; node for a machine that asks for slots (FleetLock)
        #[arg(long)]
        role: String,
        /// It may override what can be overridden
        #[arg(long)]
        may_force: bool,
        /// Labels that hosts must carry to be within its reach, label=value,… (default: as for you)
        #[arg(long)]
        scope: Option<String>,
        /// Seconds until it expires (default: 90 days)
        #[arg(long, value_name = "SECONDS")]
        expires_in_secs: Option<u64>,
    },
    /// Make a token useless at once
    Revoke {
        /// Its number, as the list shows it
        id: i64,
    },
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{error}; give a level such as debug, or MODULE=LEVEL,…")),
    }
}

fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound_and_its_help_is_as_it_was() {
        let mut command = Cli::command().term_width(100);
        command.clone().debug_assert();
        command.build();
        let mut text = command.render_help().to_string();
        for sub in command.get_subcommands_mut().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            let name = sub.get_name().to_owned();
            text.push_str(&format!("\n===== {name}\n{}", sub.render_help()));
        }
        // Hidden commands are not for operators: none of them may show.
        assert!(!text.contains("sandbox-"), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_password_is_never_an_argument() {
        let mut command = Cli::command();
        command.build();
        let subcommands = command.get_subcommands().flat_map(clap::Command::get_arguments);
        for argument in command.get_arguments().chain(subcommands) {
            let name = argument.get_id().as_str();
            let told = argument.get_action().takes_values();
            assert!(!name.contains("password") || name.ends_with("_file") || !told, "{name}");
        }
    }

    #[test]
    fn s2_19_20_a_target_is_never_left_out() {
        for line in ["reboot", "run true", "sync"] {
            let error = Cli::try_parse_from(["reveille"].into_iter().chain(line.split(' '))).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::MissingRequiredArgument, "{line}");
        }
    }

    #[test]
    fn labels_are_key_and_value() {
        assert_eq!(key_value("a=b=c").unwrap(), ("a".to_owned(), "b=c".to_owned()));
        assert!(key_value("a").is_err() && key_value("=b").is_err());
    }
}
