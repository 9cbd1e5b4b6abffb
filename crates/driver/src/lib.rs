//! One turn: handle, append, dispatch; over two small traits. No tokio, no SQL, no MQTT.
//!
//! Order is the whole point: every fact is durable before its effect leaves (design, section 5). A failed append throws the
//! engine in memory away; the caller starts again from the store (crash-only).

mod batch;
mod turn;

pub use batch::{Append, AuditRow, Batch, Loaded};
pub use turn::{Driver, SendError, StartError, Store, StoreError, Transport, TurnError};
