//! Hosts over SSH.

mod access;
mod config;
mod destination;
mod error;
mod exec;
mod far;
mod keys;
mod known;
mod local;
mod many;
mod pattern;
mod performer;
mod pool;
mod settings;
mod stream;

pub use access::{Access, Limits, Options, Sudo};
pub use config::ConfigFiles;
pub use destination::{Destination, DestinationError};
pub use error::SshError;
pub use far::Far;
pub use keys::Secret;
pub use known::KeyError;
pub use many::{Down, RunEnd, RunEvent, RunNews, RunOptions, RunTarget, run_many};
pub use performer::{Host, Performer};
pub use settings::{AgentSocket, Proxy, Settings, SettingsError, Strictness, Surroundings};
