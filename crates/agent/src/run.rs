//! The agent's life: from a configuration to the signal that ends it.

use std::time::Duration;

use model::InstanceId;
use protocol::native::{DeviceBody, TopicKind, seal_device};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use crate::boot::{BootReadError, Clocks};
use crate::config::{Config, ConfigError};
use crate::files::FileError;
use crate::identity::{self, IdentityError};
use crate::ledger::{FileLedger, Ledger as _};
use crate::link::{Link, LinkConfig, LinkError};
use crate::machine;
use crate::network;
use crate::performer::{Host, Performer};

/// Messages under way between network part and performer.
const UNDER_WAY: usize = 64;
/// Longest farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Key or enrolment.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A file of the state folder.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ledger's file or lock.
    #[error("cannot use the state folder {0}: {1}")]
    State(String, std::io::Error),
    /// The boot identity.
    #[error(transparent)]
    Boot(#[from] BootReadError),
    /// The link.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The operating system.
    #[error("cannot listen for signals: {0}")]
    Signals(std::io::Error),
}

impl RunError {
    /// Exit code of the program: 2 for the configuration, 3 when the host is not enrolled, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Identity(IdentityError::NotEnrolled) => 3,
            _ => 1,
        }
    }
}

/// Runs the agent until SIGTERM or SIGINT. Needs a current-thread or other tokio runtime with IO and time.
///
/// # Errors
/// [`RunError`] when it cannot start. Once started, nothing but a signal ends it.
pub async fn run(config: Config) -> Result<(), RunError> {
    let (stop, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let agent = run_until(config, stopped);
    tokio::pin!(agent);
    tokio::select! {
        ended = &mut agent => return ended,
        _ = terminate.recv() => info!("asked to stop"),
        _ = interrupt.recv() => info!("interrupted"),
    }
    drop(sd_notify::notify(&[sd_notify::NotifyState::Stopping]));
    stop.send_replace(true);
    agent.await
}

/// Runs the agent until `stopped` turns true.
///
/// # Errors
/// As for [`run`].
pub async fn run_until(config: Config, stopped: watch::Receiver<bool>) -> Result<(), RunError> {
    config.check()?;
    let state = config.state_dir.clone();
    let enrolment = identity::enrolment(&state)?;
    let key = identity::key(&state)?;
    let host = enrolment.host_id;
    let source = config.boot_source();
    let boot = source.read()?;
    let clocks = Clocks::new(&source, boot, &state)?;
    let mut ledger = FileLedger::open(&state).map_err(|e| RunError::State(state.display().to_string(), e))?;
    let records = ledger.load().map_err(|e| e.to_string());
    if let Err(reason) = &records {
        error!(%reason, "the ledger is not believed: nothing disruptive will be obeyed");
    }

    let instance = InstanceId(uuid::Builder::from_random_bytes(rand::random()).into_uuid());
    let recipes = config.recipes();
    let actions = recipe::supported_actions(&recipes);
    let machine = machine::Config {
        heartbeat: config.heartbeat(),
        rate_limit: config.rate_limit,
        free_users: config.free.as_ref().map(|free| free.users.clone()).unwrap_or_default(),
        rate_window: model::Millis::secs(config.rate_window_secs),
        ..machine::Config::new(host, instance, enrolment.controller_public_key.to_string(), actions)
    };
    let gone = DeviceBody::Gone { instance };
    let gone = seal_device(&key, host, &gone).unwrap_or_default();
    let secret = enrolment.mqtt_secret.clone().into_bytes();
    let link = LinkConfig::new(&enrolment.mqtt_host, enrolment.mqtt_port, &enrolment.ca_pem, host, secret);
    let (link, events) = Link::connect(LinkConfig { will: gone.clone(), ..link })?;
    info!(%host, %boot, instance = %instance, "starts");

    let (to_performer, from_network) = mpsc::channel(UNDER_WAY);
    let (to_network, from_performer) = mpsc::channel(UNDER_WAY);
    // Keeps the network part, and with it the link, up for the farewell.
    let until_farewell = to_network.clone();
    let network = tokio::spawn(network::run(link.clone(), events, to_performer, from_performer));
    let performer = Performer {
        host: Host::new(recipes, host, config.engines.clone(), state.clone(), &config.hooks_dir)
            .with_commands(&config.commands_dir, config.free.as_ref().map(|free| free.run_as.as_str())),
        host_id: host,
        key,
        controller: enrolment.controller_public_key,
        ledger,
        records,
        boot,
        clocks,
        state_dir: state,
    };
    let watchdog = Watchdog::begin();
    performer.run(machine, from_network, to_network, stopped, || watchdog.alive()).await;

    // Said outright, so that nobody has to wait for the silence.
    let farewell = async {
        if let Err(error) = link.publish(TopicKind::Gone, gone).await {
            warn!(%error, "no farewell");
        }
    };
    drop(tokio::time::timeout(FAREWELL, farewell).await);
    link.stop().await;
    drop(until_farewell);
    network.abort();
    Ok(())
}

/// Tells systemd that the agent is up, and at every turn of the performer that it lives, if it asked.
struct Watchdog {
    asked: bool,
}

impl Watchdog {
    fn begin() -> Self {
        // Not under systemd: nobody asks.
        drop(sd_notify::notify(&[sd_notify::NotifyState::Ready]));
        Self { asked: sd_notify::watchdog_enabled().is_some() }
    }

    fn alive(&self) {
        if self.asked {
            drop(sd_notify::notify(&[sd_notify::NotifyState::Watchdog]));
        }
    }
}
