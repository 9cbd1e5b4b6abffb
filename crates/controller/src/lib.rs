//! The controller: store, broker, control and API.
