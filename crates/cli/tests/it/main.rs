//! Tests of the program as a whole: real processes, no root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod demo;
mod far;
mod farm;
mod inventories;
mod library;
mod local;
mod run;
mod run_over_agents;
mod sandbox;
mod server;
mod services;
mod sync;
