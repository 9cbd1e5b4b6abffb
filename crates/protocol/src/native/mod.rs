//! The native dialect: what our own agent and the controller say to each other over MQTT.
//!
//! Each message is an envelope: a body as JSON text and an Ed25519 signature over the direction, the id of the host it
//! is meant for (or comes from) and that very text. The text travels as it was signed, so no canonical form is needed.

mod body;
mod envelope;
mod key;
mod topic;

pub use body::{ControllerBody, DeviceBody};
pub use envelope::{MAX_PAYLOAD, OpenError, Refused, open_controller, open_device, seal_controller, seal_device};
pub use key::{ControllerKey, DeviceKey, KeyError, PublicKey};
pub use topic::{Topic, TopicKind, filter_all, filter_commands};

/// Version of the dialect, in topics and envelopes.
pub const VERSION: u32 = 1;

#[cfg(test)]
mod tests;
