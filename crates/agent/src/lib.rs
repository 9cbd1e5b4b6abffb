//! The agent: a pure machine, its ledger, the performer and the link.
//!
//! [`machine`] decides and is pure; [`performer`] has the rights and does; [`network`] and [`link`] carry. The simulator runs
//! [`machine`] and [`ledger`] as they are.

#[cfg(feature = "net")]
pub mod boot;
#[cfg(feature = "net")]
pub mod check;
#[cfg(feature = "net")]
pub mod config;
#[cfg(feature = "net")]
pub mod enrol;
#[cfg(feature = "net")]
pub mod files;
#[cfg(feature = "net")]
pub mod identity;
pub mod ledger;
#[cfg(feature = "net")]
pub mod link;
pub mod machine;
#[cfg(feature = "net")]
pub mod network;
#[cfg(feature = "net")]
pub mod performer;
#[cfg(feature = "net")]
mod run;
#[cfg(feature = "net")]
pub mod tool;

#[cfg(feature = "net")]
pub use run::{RunError, run, run_until};
