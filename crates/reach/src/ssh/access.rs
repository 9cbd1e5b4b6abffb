//! Making connections.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::BootIdentity;
use recipe::far::Places;
use russh::client::{AuthResult, Handle, Handler};
use russh::keys::agent::client::AgentClient;
use russh::keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg};
use russh::{MethodKind, MethodSet};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

use super::config::{Config, ConfigFiles};
use super::destination::Destination;
use super::error::SshError;
use super::keys::{Candidate, Keys, Secret};
use super::known::{KeyError, KnownHosts};
use super::settings::{Proxy, Settings, SettingsError, Strictness, Surroundings};
use super::stream::{Both, Cuttable, Program, Through};

/// A way through more hosts than this is a circle.
const MOST_JUMPS: usize = 8;
/// A busy sshd closes connections before it says a word (MaxStartups): it is tried again so often…
const CLOSED_TRIES: u32 = 4;
/// …after a pause that grows with each try and is different for each host.
const CLOSED_PAUSE: Duration = Duration::from_millis(250);
/// So many at once log in to one host in between; what it passes on afterwards is not counted there.
const THROUGH_ONE: usize = 8;
/// A connection that is kept for the next step, and that nobody has used for so long, is ended.
const IDLE: Duration = Duration::from_secs(120);
/// So many connections are kept over all hosts while nobody uses them.
const MOST_IDLE: usize = 128;

/// How root's rights are had.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Sudo {
    /// By `sudo` that asks for no password; not at all where the login is root.
    #[default]
    Plain,
    /// By `sudo` with this password over standard input; not at all where the login is root.
    Password(Secret),
    /// The login's own rights must do.
    Never,
}

/// How long is waited for what. Nothing waits without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the way there and the key exchange, unless the configuration says otherwise.
    pub connect: Duration,
    /// For the login.
    pub login: Duration,
    /// For a channel.
    pub channel: Duration,
    /// A host that says nothing for so long is asked for a sign of life…
    pub keepalive: Duration,
    /// …and given up after so many that were not answered.
    pub keepalive_max: usize,
    /// A connection that a [`Performer`](super::Performer) keeps for the next step is ended after so long without use.
    pub idle: Duration,
    /// A performer keeps at most so many over all hosts; those of the steps before those of surveys.
    pub most_idle: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (connect, login, channel) = (Duration::from_secs(10), Duration::from_secs(20), Duration::from_secs(10));
        let keepalive = Duration::from_secs(5);
        Self { connect, login, channel, keepalive, keepalive_max: 3, idle: IDLE, most_idle: MOST_IDLE }
    }
}

/// Who we are and whom we trust.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which `ssh_config` counts.
    pub config: ConfigFiles,
    /// The person and machine that it counts for.
    pub around: Surroundings,
    /// Key files that are tried before those of the configuration.
    pub identity_files: Vec<PathBuf>,
    /// Key files that belong to one host each: tried there before all others, and nowhere else. A host closes the connection after
    /// a few keys that it does not know.
    pub identity_of: BTreeMap<Destination, PathBuf>,
    /// How root's rights are had.
    pub sudo: Sudo,
    /// Note unknown keys of hosts, whatever the configuration says.
    pub accept_new: bool,
    /// How long is waited for what.
    pub limits: Limits,
    /// Where the far end keeps claims.
    pub places: Places,
}

impl Options {
    /// As plain `ssh` would do it.
    pub fn usual() -> Self {
        Self {
            config: ConfigFiles::Usual,
            around: Surroundings::here(),
            identity_files: Vec::new(),
            identity_of: BTreeMap::new(),
            sudo: Sudo::Plain,
            accept_new: false,
            limits: Limits::default(),
            places: Places::default(),
        }
    }
}

/// Everything that connections to many hosts share: configuration, keys and known hosts, each read once.
pub struct Access {
    pub(crate) options: Options,
    config: Config,
    known: KnownHosts,
    keys: Keys,
    /// One for each order in which kinds of host key are asked for.
    protocols: Mutex<BTreeMap<Vec<String>, Arc<russh::client::Config>>>,
    /// Logins that go on at hosts in between.
    between: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Access {
    /// Reads the configuration.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn new(options: Options) -> Result<Arc<Self>, SettingsError> {
        let config = Config::read(options.config.clone(), &options.around)?;
        Ok(Arc::new(Self {
            options,
            config,
            known: KnownHosts::default(),
            keys: Keys::default(),
            protocols: Mutex::default(),
            between: Mutex::default(),
        }))
    }

    /// What the configuration says about how to connect and is not obeyed, in words.
    pub fn not_obeyed(&self) -> Vec<String> {
        self.config.not_obeyed()
    }

    /// What the configuration says about a host.
    ///
    /// # Errors
    /// It says something that cannot be.
    pub async fn settings(&self, to: &Destination) -> Result<Settings, SettingsError> {
        let mut settings = self.config.settings(to, &self.options.around).await?;
        let first: Vec<PathBuf> =
            self.options.identity_of.get(to).into_iter().chain(&self.options.identity_files).cloned().collect();
        if !first.is_empty() {
            settings.identities_named = true;
            settings.identity_files = [first, settings.identity_files].concat();
        }
        if self.options.accept_new {
            settings.strictness = Strictness::AcceptNew;
        }
        Ok(settings)
    }

    /// A new connection, logged in.
    pub(crate) async fn connect(self: &Arc<Self>, settings: Arc<Settings>, hurry: Option<Duration>) -> Result<Session, SshError> {
        self.connect_within(settings, hurry, MOST_JUMPS).await
    }

    async fn connect_within(
        self: &Arc<Self>,
        settings: Arc<Settings>,
        hurry: Option<Duration>,
        jumps: usize,
    ) -> Result<Session, SshError> {
        let usual = settings.connect_timeout.unwrap_or(self.options.limits.connect);
        let limit = hurry.map_or(usual, |hurry| hurry.min(usual));
        let silent = |during, limit: Duration| SshError::Silent { host: settings.name.clone(), during, secs: limit.as_secs() };
        let (made, mut tries) = (Instant::now(), 0);
        let (handle, hold) = loop {
            let stream = timeout(limit, self.way(&settings)).await;
            let stream = match stream {
                Ok(Ok(Some(stream))) => stream,
                Ok(Ok(None)) => Box::pin(self.jump(&settings, hurry, jumps)).await?,
                Ok(Err(error)) => return Err(unreachable(&settings, error.to_string())),
                Err(_) => return Err(silent("connecting", limit)),
            };
            let refused = Arc::new(Mutex::new(None));
            let gate = Gate { access: self.clone(), settings: settings.clone(), refused: refused.clone() };
            let (stream, hold) = Cuttable::new(stream);
            let handshake = timeout(limit, russh::client::connect_stream(self.protocol(&settings), stream, gate)).await;
            let error = match handshake {
                Ok(Ok(handle)) => break (handle, hold),
                Ok(Err(error)) => error,
                Err(_) => return Err(silent("key exchange", limit)),
            };
            if let Some(refused) = refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return Err(SshError::Key(refused));
            }
            tries += 1;
            let pause = CLOSED_PAUSE * tries + CLOSED_PAUSE.mul_f64(rand::random::<f64>());
            // Whoever is in a hurry comes again anyway.
            if !is_closed(&error) || hurry.is_some() || tries >= CLOSED_TRIES || made.elapsed() + pause >= limit {
                return Err(unreachable(&settings, in_words(&error)));
            }
            tokio::time::sleep(pause).await;
        };
        let channel_limit = self.options.limits.channel;
        let mut session =
            Session { handle, settings: settings.clone(), channel_limit, made, on: None, worked: None, _hold: hold };
        match timeout(self.options.limits.login, self.log_in(&mut session)).await {
            Ok(done) => done.map(|()| session),
            Err(_) => Err(silent("login", self.options.limits.login)),
        }
    }

    /// The bytes to the host; `None` when it is reached through others.
    async fn way(&self, settings: &Settings) -> std::io::Result<Option<Box<dyn Both>>> {
        Ok(match &settings.proxy {
            Proxy::Jump(_) => None,
            Proxy::Command(command) => Some(Box::new(Program::start(command)?)),
            Proxy::None => {
                let tcp = tokio::net::TcpStream::connect((settings.host.as_str(), settings.port)).await?;
                tcp.set_nodelay(true)?;
                Some(Box::new(tcp))
            }
        })
    }

    /// The bytes through the hosts in between, each logged in to with its own settings.
    async fn jump(
        self: &Arc<Self>,
        settings: &Settings,
        hurry: Option<Duration>,
        jumps: usize,
    ) -> Result<Box<dyn Both>, SshError> {
        let Proxy::Jump(through) = &settings.proxy else { return Err(unreachable(settings, "no way there".to_owned())) };
        let Some((last, before)) = through.split_last().filter(|_| jumps > 0) else {
            return Err(unreachable(settings, format!("more than {MOST_JUMPS} hosts in between; is there a circle?")));
        };
        let mut to_last = self.settings(last).await?;
        // In a list each host is reached through the one before it.
        if !before.is_empty() {
            to_last.proxy = Proxy::Jump(before.to_vec());
        }
        let place = {
            let mut between = self.between.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(between.entry(last.to_string()).or_insert_with(|| Arc::new(Semaphore::new(THROUGH_ONE))))
        };
        // Never closed.
        let place = place.acquire().await.ok();
        let session = Box::pin(self.connect_within(Arc::new(to_last), hurry, jumps - 1)).await?;
        drop(place);
        let open = session.handle.channel_open_direct_tcpip(settings.host.clone(), u32::from(settings.port), "127.0.0.1", 0);
        match timeout(self.options.limits.channel, open).await {
            Ok(Ok(channel)) => Ok(Box::new(Through { stream: channel.into_stream(), _keeps: session })),
            Ok(Err(error)) => Err(unreachable(settings, format!("{last} does not pass it on: {}", in_words(&error)))),
            Err(_) => Err(unreachable(settings, format!("{last} did not pass it on in time"))),
        }
    }

    /// Kinds of host key that are known come first: a host with several keys is asked for one that can be judged.
    fn protocol(&self, settings: &Settings) -> Arc<russh::client::Config> {
        let known = self.known.algorithms(settings);
        let mut order = known.clone();
        order.sort();
        order.dedup();
        let mut protocols = self.protocols.lock().unwrap_or_else(PoisonError::into_inner);
        let made = protocols.entry(order).or_insert_with(|| {
            let limits = self.options.limits;
            let mut config = russh::client::Config {
                // What a command says comes in pieces of this size, and not more of it than four pieces wait here.
                window_size: 128 * 1024,
                maximum_packet_size: 32 * 1024,
                channel_buffer_size: 4,
                keepalive_interval: Some(limits.keepalive),
                keepalive_max: limits.keepalive_max,
                // Also bounds a write that nobody reads.
                inactivity_timeout: Some(limits.keepalive * u32::try_from(limits.keepalive_max + 2).unwrap_or(8)),
                nodelay: true,
                ..russh::client::Config::default()
            };
            let is_known = |algorithm: &Algorithm| {
                let name = algorithm.as_str();
                known.iter().any(|k| k == name || k == "ssh-rsa" && name.starts_with("rsa-sha2"))
            };
            let mut kinds = config.preferred.key.to_vec();
            kinds.sort_by_key(|kind| !is_known(kind));
            config.preferred.key = kinds.into();
            Arc::new(config)
        });
        made.clone()
    }

    async fn log_in(&self, session: &mut Session) -> Result<(), SshError> {
        let settings = session.settings.clone();
        let lost = |error: &russh::Error| unreachable(&settings, format!("during the login: {}", in_words(error)));
        let candidates = self.keys.candidates(&settings).await;
        let mut tried = Vec::new();
        let mut methods = None;
        for candidate in &candidates.keys {
            let (result, name) = self.try_key(session, candidate).await.map_err(|error| lost(&error))?;
            match result {
                Some(AuthResult::Success) => {
                    self.keys.took(candidate.public());
                    return Ok(());
                }
                Some(AuthResult::Failure { remaining_methods, .. }) => {
                    methods = Some(remaining_methods.clone());
                    tried.push(name);
                    if !remaining_methods.contains(&MethodKind::PublicKey) {
                        break;
                    }
                }
                None => tried.push(format!("{name} (the agent did not sign)")),
            }
        }
        if methods.is_none() {
            // Says what the host takes; and some hosts take nothing.
            match session.handle.authenticate_none(&settings.user).await.map_err(|error| lost(&error))? {
                AuthResult::Success => return Ok(()),
                AuthResult::Failure { remaining_methods, .. } => methods = Some(remaining_methods),
            }
        }
        let methods = methods.unwrap_or_else(MethodSet::empty);
        self.keys.look_again().await;
        Err(SshError::Denied {
            host: settings.name.clone(),
            user: settings.user.clone(),
            why: denial(&tried, candidates.passed_over, &methods, session.handle.is_closed()),
        })
    }

    async fn try_key(&self, session: &mut Session, candidate: &Candidate) -> Result<(Option<AuthResult>, String), russh::Error> {
        let hash = match candidate.public().algorithm() {
            Algorithm::Rsa { .. } => session.handle.best_supported_rsa_hash().await?.flatten().or(Some(HashAlg::Sha256)),
            _ => None,
        };
        let user = session.settings.user.clone();
        match candidate {
            Candidate::File(path, key) => {
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                let result = session.handle.authenticate_publickey(user, key).await?;
                Ok((Some(result), path.display().to_string()))
            }
            Candidate::Agent(socket, key) => {
                let name = format!("{} of the agent", key.fingerprint(HashAlg::Sha256));
                let Ok(mut agent) = AgentClient::connect_uds(socket).await else { return Ok((None, name)) };
                if let Some(binding) = session.handle.agent_session_binding() {
                    // Only agents that know destinations care; the others say no to the question.
                    drop(agent.bind_session(binding, false).await);
                }
                let result = session.handle.authenticate_publickey_with(user, key.clone(), hash, &mut agent).await;
                Ok((result.ok(), name))
            }
        }
    }
}

/// A connection that is logged in. It ends when this is dropped.
pub(crate) struct Session {
    pub(crate) handle: Handle<Gate>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) channel_limit: Duration,
    /// When it was begun to be made.
    pub(crate) made: Instant,
    /// The boot that was first read over it.
    pub(crate) on: Option<BootIdentity>,
    /// When a step was last done over it.
    pub(crate) worked: Option<Instant>,
    _hold: oneshot::Sender<()>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("host", &self.settings.name).finish_non_exhaustive()
    }
}

/// Judges the host's key.
pub(crate) struct Gate {
    access: Arc<Access>,
    settings: Arc<Settings>,
    refused: Arc<Mutex<Option<KeyError>>>,
}

impl Handler for Gate {
    type Error = russh::Error;

    async fn check_server_key(&mut self, key: &russh::keys::PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        // Certificates are not asked for.
        let russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } = key else { return Ok(false) };
        match self.access.known.judge(&self.settings, key) {
            Ok(()) => Ok(true),
            Err(error) => {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Ok(false)
            }
        }
    }
}

fn unreachable(settings: &Settings, why: String) -> SshError {
    let at = match &settings.proxy {
        Proxy::None => format!("{} port {}", settings.host, settings.port),
        Proxy::Command(command) => format!("by {command}"),
        Proxy::Jump(through) => {
            let through: Vec<String> = through.iter().map(Destination::to_string).collect();
            format!("{} port {} through {}", settings.host, settings.port, through.join(", "))
        }
    };
    SshError::Unreachable { host: settings.name.clone(), at, why }
}

/// Whether the other side went away, as opposed to saying something that cannot be.
fn is_closed(error: &russh::Error) -> bool {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match error {
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError | russh::Error::RecvError => true,
        russh::Error::IO(error) => matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof),
        _ => false,
    }
}

/// An error of the protocol, with a hint where there is one.
pub(crate) fn in_words(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(error) => error.to_string(),
        russh::Error::HUP | russh::Error::Disconnect | russh::Error::SendError | russh::Error::RecvError => {
            "the other side closed the connection".to_owned()
        }
        russh::Error::KeepaliveTimeout | russh::Error::InactivityTimeout => "no sign of life".to_owned(),
        russh::Error::Version => "what answers there does not speak ssh".to_owned(),
        other => other.to_string(),
    }
}

fn denial(tried: &[String], passed_over: Vec<String>, methods: &MethodSet, closed: bool) -> String {
    let mut parts =
        vec![if tried.is_empty() { "no key could be tried".to_owned() } else { format!("tried {}", tried.join(", ")) }];
    parts.extend(passed_over);
    if closed {
        parts.push("it closed the connection; with many keys in the agent, set IdentitiesOnly and name the key".to_owned());
    }
    let takes: Vec<&str> = methods.iter().map(<&str>::from).collect();
    if !takes.is_empty() {
        parts.push(format!("it takes {}", takes.join(", ")));
    }
    if takes.contains(&"password") || takes.contains(&"keyboard-interactive") {
        let instead = "no login is made by password: load a key that it knows into an ssh-agent (ssh-add KEY), or put yours into \
                       its authorized_keys (ssh-copy-id)";
        parts.push(instead.to_owned());
    }
    parts.join("; ")
}
