//! The native transport: an embedded MQTT broker that speaks TLS under a built-in CA.
//!
//! The broker holds no truth: sessions are clean and live in memory only. What is due is computed from the journals and
//! published again when a device says hello. What a device publishes is handed to [`Inbound`] and acknowledged only after
//! its verdict, so that "acknowledged" can mean "committed".

pub mod acl;
pub mod auth;
pub mod broker;
mod connection;
pub mod tls;

pub use auth::{Authenticator, Login, LoginVerdict};
pub use broker::{Broker, BrokerConfig, BrokerError, Delivery, Hooks, Stats};
pub use connection::{Inbound, InboundMessage, InboundVerdict, Refusal, Refused};
pub use tls::{Identity, TlsError, install_crypto_provider};

/// A boxed future, for the traits here that are used as trait objects.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;
