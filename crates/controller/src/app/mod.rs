//! The whole controller: from its configuration to running tasks, and back.

mod fleet;
mod https;
mod keys;
mod notify;

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::serve::ListenerExt as _;
use protocol::native::PublicKey;
use sd_notify::NotifyState;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::api;
use crate::config::{ConfigError, ServerConfig};
use crate::control::{self, Addresses, Clock, Control, ControlConfig, ControlError, ControlTask, License, Licensing};
use crate::notify::{HttpSinkError, Notifier};
use crate::store::{Database, OpenError, OpenOptions};
use crate::transport::{Broker, BrokerConfig, BrokerError, Identity, TlsError, install_crypto_provider};

pub use fleet::FleetError;
use https::{Certificate, HttpsListener};
pub use keys::KeyFileError;

const DATABASE: &str = "reveille.db";
const KEY: &str = "controller.key";
const TLS: &str = "tls";
const ADMIN_PASSWORD: &str = "admin-password";

/// Requests that are under way at the end have so long.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// Events that were not given on yet have so long.
const NOTIFY_LIMIT: Duration = Duration::from_secs(3);
/// How often the certificate's age is looked at.
const RENEWAL_CHECK: Duration = Duration::from_secs(12 * 3600);

/// Why the controller does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A secret on disk.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The database.
    #[error(transparent)]
    Database(#[from] OpenError),
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The journals.
    #[error(transparent)]
    Start(#[from] driver::StartError),
    /// Hosts without an agent.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// An address to which events are sent.
    #[error("events.http: {0}")]
    Events(#[from] HttpSinkError),
    /// The broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The API.
    #[error("the API cannot listen on {address}: {source}; is another server running, or the port taken?")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The first administrator.
    #[error("the administrator's account could not be made: {0}")]
    Administrator(ControlError),
    /// The engine's task failed: a bug. Whoever supervises the process starts it again.
    #[error("the engine's task failed; see the log")]
    Failed,
}

/// A running controller.
pub struct Running {
    control: Control,
    task: ControlTask,
    notifier: Notifier,
    broker: Arc<Broker>,
    api: JoinSet<()>,
    api_addresses: Vec<SocketAddr>,
    stop: watch::Sender<bool>,
    database: Database,
    url: String,
    password_file: Option<PathBuf>,
    ca_certificate: PathBuf,
    ca_fingerprint: String,
}

/// Runs until `shutdown` completes. `started` hears of everything that a person must know to use it.
///
/// # Errors
/// [`AppError`].
pub async fn run(
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
    started: impl FnOnce(&Running),
) -> Result<(), AppError> {
    let mut running = Running::start(config).await?;
    started(&running);
    notify(&[NotifyState::Ready]);
    let failed = tokio::select! {
        () = shutdown => false,
        () = running.task.ended() => true,
    };
    notify(&[NotifyState::Stopping]);
    if failed {
        return Err(AppError::Failed);
    }
    running.stop().await
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager was not told: {error}");
    }
}

/// Gives the administrator a new one-time password, while the controller does not run; for one that was lost. Returns the
/// file that holds it.
///
/// # Errors
/// [`AppError`]; in particular while the controller runs.
pub async fn reset_administrator(config: &ServerConfig) -> Result<PathBuf, AppError> {
    keys::state_dir(&config.state_dir)?;
    let now = Clock::new().now();
    let database = Database::open(OpenOptions::new(config.state_dir.join(DATABASE), now)).await?;
    let file = config.state_dir.join(ADMIN_PASSWORD);
    ensure_administrator(&database, now, true, &file).await?;
    database.close().await;
    Ok(file)
}

async fn ensure_administrator(database: &Database, now: model::Timestamp, reset: bool, file: &Path) -> Result<bool, AppError> {
    let keep = |password: &str| keys::write_secret(file, &format!("{password}\n")).map_err(|error| error.to_string());
    control::ensure_administrator(database, now, reset, keep).await.map_err(AppError::Administrator)
}

impl Running {
    /// Makes what is missing in the state directory, and starts everything.
    ///
    /// # Errors
    /// [`AppError`]; whatever was started ends again.
    pub async fn start(config: ServerConfig) -> Result<Self, AppError> {
        install_crypto_provider();
        let dir = &config.state_dir;
        keys::state_dir(dir)?;
        let now = Clock::new().now();
        // First of all: a second controller must not touch anything else.
        let database = Database::open(OpenOptions::new(dir.join(DATABASE), now)).await?;
        let key = Arc::new(keys::controller_key(&dir.join(KEY))?);
        let names = names(&config);
        let identity = Identity::load_or_create(&dir.join(TLS), &names, SystemTime::now())?;
        let password_file = dir.join(ADMIN_PASSWORD);
        let first = ensure_administrator(&database, now, false, &password_file).await?;

        let control_config = ControlConfig {
            engine: config.engine.clone(),
            resend: config.commands.resend,
            key,
            licensing: licensing(&config),
            one_time_password_file: Some(password_file.clone()),
            reach: Some(fleet::reach(&config)?),
        };
        let sinks = notify::sinks(&config.events)?;
        notify::prepare(&config.events, &database, &sinks).await?;
        let (stop, _) = watch::channel(false);
        // Read before anything is started: a list that cannot be read must not take the fleet apart.
        let listed = config.fleet.as_deref().map(fleet::listed).transpose()?;
        let (control, task) = Control::start(control_config, database.clone()).await?;
        let mut serving = JoinSet::new();
        if let (Some(list), Some(hosts)) = (config.fleet.clone(), listed) {
            let may_shrink = config.fleet_may_shrink;
            match fleet::adopt(&control, &list, &hosts, may_shrink).await {
                Ok(()) => {}
                // Its store is full, say: it goes on by itself, and so does this.
                Err(ControlError::Unavailable(_)) => {
                    let adopted = fleet::adopt_later(control.clone(), list, hosts, may_shrink);
                    let mut stopping = stop.subscribe();
                    serving.spawn(async move {
                        tokio::select! {
                            _ = stopping.wait_for(|stop| *stop) => {}
                            () = adopted => {}
                        }
                    });
                }
                Err(error) => return Err(FleetError::Adopt(error).into()),
            }
        }
        let broker_config = BrokerConfig {
            listen: config.mqtt.listen.clone(),
            max_connections: config.mqtt.max_connections,
            ..BrokerConfig::default()
        };
        let broker = Arc::new(Broker::start(broker_config, identity.server_config(&[])?, control.hooks()).await?);

        let sinks = notify::with_broker(&config.events, sinks, Arc::clone(&broker) as _);
        let notifier = Notifier::start(&database, sinks);

        let certificate: Certificate = Arc::new(RwLock::new(identity.server_config(&[b"http/1.1"])?));
        let slots = Arc::new(Semaphore::new(config.api.max_connections));
        let mut api_addresses = Vec::new();
        for &address in &config.api.listen {
            let listener = HttpsListener::bind(address, Arc::clone(&certificate), Arc::clone(&slots)).await;
            let listener = listener.map_err(|source| AppError::Listen { address, source })?;
            api_addresses.push(listener.address());
            let service = api::router(control.clone()).into_make_service_with_connect_info::<SocketAddr>();
            let mut stopping = stop.subscribe();
            // The tap does nothing; it is what makes the peer's address known to the API.
            let serve = axum::serve(listener.tap_io(|_| {}), service).with_graceful_shutdown(async move {
                drop(stopping.wait_for(|stop| *stop).await);
            });
            serving.spawn(async move {
                if let Err(error) = serve.await {
                    tracing::error!("the API on {address} ended: {error}");
                }
            });
        }

        let api_port = api_addresses.first().map_or(0, SocketAddr::port);
        let mqtt_port = broker.addresses().first().map_or(0, SocketAddr::port);
        let main_name = names.first().map_or("localhost", String::as_str);
        let url = config.api.url.clone().unwrap_or_else(|| format!("https://{}:{api_port}", in_url(main_name)));
        let ca_fingerprint = identity.ca_fingerprint().to_owned();
        let addresses = Addresses {
            url: url.clone(),
            ca_fingerprint: ca_fingerprint.trim_start_matches("sha256:").to_owned(),
            ca_pem: identity.ca_pem().to_owned(),
            mqtt_host: config.mqtt.host.clone().unwrap_or_else(|| main_name.to_owned()),
            mqtt_port: config.mqtt.port.unwrap_or(mqtt_port),
        };
        control.attach(Arc::clone(&broker) as _, addresses);
        serving.spawn(renew(dir.join(TLS), names, identity.renew_at(), Arc::clone(&broker), certificate, stop.subscribe()));
        tracing::info!(url, ca = ca_fingerprint, "the controller runs");
        Ok(Self {
            control,
            task,
            notifier,
            broker,
            api: serving,
            api_addresses,
            stop,
            database,
            url,
            password_file: first.then_some(password_file),
            ca_certificate: dir.join(TLS).join("ca-certificate.pem"),
            ca_fingerprint,
        })
    }

    /// How people and devices reach the API.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where the API listens, with the real ports.
    pub fn api_addresses(&self) -> &[SocketAddr] {
        &self.api_addresses
    }

    /// Where the broker listens, with the real ports.
    pub fn mqtt_addresses(&self) -> &[SocketAddr] {
        self.broker.addresses()
    }

    /// The CA's certificate, for clients.
    pub fn ca_certificate(&self) -> &Path {
        &self.ca_certificate
    }

    /// `sha256:` and 64 hex digits, to compare.
    pub fn ca_fingerprint(&self) -> &str {
        &self.ca_fingerprint
    }

    /// The file with the administrator's one-time password, if this start has made it.
    pub fn one_time_password_file(&self) -> Option<&Path> {
        self.password_file.as_deref()
    }

    /// The handle.
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Ends everything in order: no new requests, the turn under way, the broker, the database.
    ///
    /// # Errors
    /// [`AppError::Failed`] when the engine's task had panicked.
    pub async fn stop(mut self) -> Result<(), AppError> {
        self.stop.send_replace(true);
        // Event streams end with control.
        drop(self.control);
        let ended = self.task.stop().await;
        if tokio::time::timeout(DRAIN_LIMIT, async { while self.api.join_next().await.is_some() {} }).await.is_err() {
            tracing::warn!("requests did not end in time and are cut");
            self.api.shutdown().await;
        }
        self.notifier.finish(NOTIFY_LIMIT).await;
        self.broker.stop().await;
        drop(self.broker);
        self.task.finish().await;
        self.database.close().await;
        ended.map_err(|_| AppError::Failed)
    }
}

/// Looks now and then whether the server's certificate must be renewed.
async fn renew(
    dir: PathBuf,
    names: Vec<String>,
    mut at: SystemTime,
    broker: Arc<Broker>,
    certificate: Certificate,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            () = tokio::time::sleep(RENEWAL_CHECK) => {}
        }
        if SystemTime::now() < at {
            continue;
        }
        let renewed = Identity::load_or_create(&dir, &names, SystemTime::now()).and_then(|identity| {
            let configs = (identity.server_config(&[])?, identity.server_config(&[b"http/1.1"])?);
            Ok((configs, identity.renew_at()))
        });
        match renewed {
            Ok(((mqtt, https), next)) => {
                broker.replace_tls(mqtt);
                *certificate.write().unwrap_or_else(PoisonError::into_inner) = https;
                at = next;
                tracing::info!("the server's certificate was renewed");
            }
            Err(error) => tracing::error!("the server's certificate could not be renewed, tried again in 12 h: {error}"),
        }
    }
}

/// Names for the certificate.
fn names(config: &ServerConfig) -> Vec<String> {
    if !config.tls.names.is_empty() {
        return config.tls.names.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim().to_owned();
    let usable = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-.".contains(c));
    let mut names = if usable { vec![host] } else { Vec::new() };
    for name in ["localhost", "127.0.0.1", "::1"] {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// IPv6 addresses stand in brackets.
fn in_url(name: &str) -> String {
    if name.contains(':') { format!("[{name}]") } else { name.to_owned() }
}

fn licensing(config: &ServerConfig) -> Licensing {
    let wanted = &config.licensing;
    let license = wanted.license_file.as_ref().map(|file| {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("the license file {} cannot be read: {error}", file.display()))?;
        let issuer = wanted.issuer_key.as_deref().and_then(|key| key.parse::<PublicKey>().ok());
        License::read(&text, &issuer.ok_or("licensing.issuer_key is missing")?)
    });
    Licensing { required: wanted.required, license }
}
