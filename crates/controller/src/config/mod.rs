//! The server's configuration: a TOML file, and over it environment variables. Every key has a default; unknown keys are
//! errors. All durations are milliseconds.

mod env;
mod events;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::Millis;
use serde::{Deserialize, Serialize};

use crate::notify::HttpSettings;

pub use env::PREFIX;
pub use events::{EventsConfig, EventsHttpConfig};

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where everything that must outlive the process stands: database, keys, certificates. Made with mode 0700.
    pub state_dir: PathBuf,
    /// The HTTPS API.
    pub api: ApiConfig,
    /// The MQTT broker.
    pub mqtt: MqttConfig,
    /// The server's certificate.
    pub tls: TlsConfig,
    /// How commands leave.
    pub commands: CommandsConfig,
    /// The engine's pace and limits.
    pub engine: engine::Config,
    /// Licensing (ruling 3).
    pub licensing: LicensingConfig,
    /// How hosts without an agent are reached.
    pub ssh: SshConfig,
    /// Where events of services are given on to.
    pub events: EventsConfig,
    /// A list of hosts without an agent (`fleet.toml`, or an Ansible inventory): adopted at the start; those that it named before
    /// and does not name any more are removed.
    pub fleet: Option<PathBuf>,
    /// Also when they are many: more than one, and more than a tenth of all.
    pub fleet_may_shrink: bool,
}

/// How hosts without an agent are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SshConfig {
    /// The `ssh_config` that counts, known hosts and all. Without it: that of the user who runs the server, and the system's.
    pub config: Option<PathBuf>,
    /// Key files that are tried before those of the configuration.
    pub identity_files: Vec<PathBuf>,
    /// The password for `sudo`; its first line, and nobody else may read it. Without it `sudo` must ask for none.
    pub sudo_password_file: Option<PathBuf>,
    /// How often each host is asked how it is. Without it: `engine.heartbeat`.
    pub survey: Option<Millis>,
}

/// The HTTPS API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ApiConfig {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// How devices and people reach it, `https://HOST:PORT`. Without it: the first name of the certificate and the first port.
    pub url: Option<String>,
    /// Most connections at a time.
    pub max_connections: usize,
}

/// The MQTT broker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MqttConfig {
    /// Addresses to listen on; port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// How devices reach it. Without it: the first name of the certificate.
    pub host: Option<String>,
    /// Without it: the first port that is listened on.
    pub port: Option<u16>,
    /// Most connections at a time.
    pub max_connections: usize,
}

/// The server's certificate, which the built-in CA makes and renews.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Host names and IP addresses under which devices and people reach the server. Without any: the host's name,
    /// `localhost`, `127.0.0.1` and `::1`.
    pub names: Vec<String>,
}

/// How commands leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommandsConfig {
    /// First pause before a command that nobody answered is sent again; doubled up to sixteen times it.
    pub resend: Millis,
}

/// Licensing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LicensingConfig {
    /// Modules must be granted by a license; without it everything is enabled.
    pub required: bool,
    /// The license.
    pub license_file: Option<PathBuf>,
    /// Public key (Ed25519, base64) that licenses must be signed with.
    pub issuer_key: Option<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("/var/lib/reveille"),
            api: ApiConfig::default(),
            mqtt: MqttConfig::default(),
            tls: TlsConfig::default(),
            commands: CommandsConfig::default(),
            engine: engine::Config::default(),
            licensing: LicensingConfig::default(),
            ssh: SshConfig::default(),
            events: EventsConfig::default(),
            fleet: None,
            fleet_may_shrink: false,
        }
    }
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::from(([0, 0, 0, 0], 8443))], url: None, max_connections: 1024 }
    }
}

impl Default for MqttConfig {
    fn default() -> Self {
        Self { listen: vec![SocketAddr::from(([0, 0, 0, 0], 8883))], host: None, port: None, max_connections: 16 * 1024 }
    }
}

impl Default for CommandsConfig {
    fn default() -> Self {
        Self { resend: Millis::secs(2) }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not understood; shows line, key, and what is allowed.
    #[error("in the configuration {}:\n{detail}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Where and what.
        detail: String,
    },
    /// An environment variable is not understood.
    #[error("environment variable {name}: {detail}")]
    Variable {
        /// Which.
        name: String,
        /// What.
        detail: String,
    },
    /// A value that makes no sense.
    #[error("configuration key `{key}`: {detail}")]
    Value {
        /// Which.
        key: String,
        /// What is wrong and what is allowed.
        detail: String,
    },
}

impl ServerConfig {
    /// Reads the file, if there is one to be read, and what the environment says over it, and checks the values.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn load(file: Option<&Path>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let text = match file {
            Some(path) => {
                Some((path, std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?))
            }
            None => None,
        };
        Self::read(text.as_ref().map(|(path, text)| (*path, text.as_str())), variables)
    }

    fn read(file: Option<(&Path, &str)>, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut table = toml::Table::new();
        if let Some((path, text)) = file {
            // The text first, as it stands: its errors show the line.
            let wrong = |error: toml::de::Error| ConfigError::File { path: path.to_owned(), detail: error.to_string() };
            toml::from_str::<Self>(text).map_err(wrong)?;
            table = toml::from_str(text).map_err(wrong)?;
        }
        env::put_over(&mut table, variables)?;
        let config: Self = table
            .try_into()
            .map_err(|error: toml::de::Error| ConfigError::Value { key: "(all)".to_owned(), detail: error.to_string() })?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let must = |fits: bool, key: &str, detail: &str| {
            if fits { Ok(()) } else { Err(ConfigError::Value { key: key.to_owned(), detail: detail.to_owned() }) }
        };
        let engine = &self.engine;
        must(self.state_dir.is_absolute(), "state_dir", "must be an absolute path")?;
        must(!self.api.listen.is_empty(), "api.listen", "needs at least one address, \"0.0.0.0:8443\" for one")?;
        must(!self.mqtt.listen.is_empty(), "mqtt.listen", "needs at least one address, \"0.0.0.0:8883\" for one")?;
        must(self.api.max_connections > 0, "api.max_connections", "must be at least 1")?;
        must(self.mqtt.max_connections > 0, "mqtt.max_connections", "must be at least 1")?;
        let https = self.api.url.as_deref().is_none_or(|url| url.strip_prefix("https://").is_some_and(|host| !host.is_empty()));
        must(https, "api.url", "must begin with https:// and name a host")?;
        must(self.commands.resend >= Millis(100), "commands.resend", "must be at least 100 ms")?;
        engine.check().map_err(|error| ConfigError::Value { key: format!("engine.{}", error.key), detail: error.detail })?;
        let survey = self.ssh.survey.unwrap_or(engine.heartbeat);
        must(survey >= Millis(100), "ssh.survey", "must be at least 100 ms")?;
        let detail = "must be shorter than engine.active_limit, or every host is silent between two surveys";
        must(survey < engine.active_limit, "ssh.survey", detail)?;
        let events = &self.events;
        let file = events.file.as_os_str().is_empty() || events.file.is_absolute() && events.file.file_name().is_some();
        must(file, "events.file", "must be the absolute path of a file, or empty for none")?;
        must(events.rotate_size >= 4096, "events.rotate_size", "must be at least 4096 bytes")?;
        must((1..=1000).contains(&events.keep), "events.keep", "must be 1 to 1000")?;
        let mut urls = std::collections::BTreeSet::new();
        for http in &events.http {
            let HttpSettings { url, .. } = http.settings();
            http.settings()
                .check()
                .map_err(|error| ConfigError::Value { key: "events.http.url".to_owned(), detail: error.to_string() })?;
            must(urls.insert(url), "events.http.url", "is there twice")?;
        }
        let license = &self.licensing;
        let complete = !license.required || (license.license_file.is_some() && license.issuer_key.is_some());
        must(complete, "licensing.required", "needs licensing.license_file and licensing.issuer_key beside it")?;
        let key = license.issuer_key.as_deref().is_none_or(|key| key.parse::<protocol::native::PublicKey>().is_ok());
        must(key, "licensing.issuer_key", "must be an Ed25519 public key, 32 bytes in base64")
    }
}

#[cfg(test)]
mod tests;
