//! The controller: store, broker, control and API.

pub mod api;
pub mod app;
pub mod config;
pub mod control;
pub mod hands;
pub mod local;
pub mod notify;
pub mod store;
pub mod transport;
