//! Integration tests of the controller: one binary.

mod api_document;
mod api_native;
mod api_rights;
mod api_s0;
mod api_stage;
mod app;
mod broker;
mod control;
mod store;
