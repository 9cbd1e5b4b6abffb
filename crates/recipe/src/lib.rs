//! Words <-> argument lists and verdicts of foreign tools.
//!
//! A recipe is a [`Script`]: a pure step machine that says which argument list to run next, or how long to wait, and reads the
//! answers. Agent, ssh and local routes perform the same recipes; tests drive them without running anything. No other crate
//! knows the argument list of a foreign tool.
//!
//! Two rules hold for every reader: an answer that is broken, short, empty or an error is never a success and never a boot
//! identity, and what cannot be read is [`model::Readable::Unknown`] with the reason, never "nothing" (G5, pain 14).

mod answer;
pub mod boot;
mod catalog;
mod children;
pub mod far;
mod inhibit;
mod lxd;
mod pending;
mod power;
mod sandbox;
mod script;
#[cfg(test)]
mod testing;

pub use catalog::{HostKind, HostReading, perform, read_host, supported_actions};
pub use script::{Invocation, Next, Output, Script, Steps, Verdict};
