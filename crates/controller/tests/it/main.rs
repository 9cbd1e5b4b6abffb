//! Integration tests of the controller: one binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics with the reason")]

mod api_document;
mod api_fleet;
mod api_native;
mod api_rights;
mod api_rollouts;
mod api_runs;
mod api_s0;
mod api_stage;
mod app;
mod broker;
mod control;
mod local;
mod notify;
mod store;
mod turns;
