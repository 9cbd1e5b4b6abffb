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
mod checks;
mod children;
mod drain;
pub mod far;
mod inhibit;
mod lxd;
mod pending;
mod power;
mod reading;
mod required;
mod run;
mod sandbox;
mod script;
mod service;
mod sync;
#[cfg(test)]
mod testing;
mod there;
mod words;

pub use catalog::{HOOKS_DIR, HostKind, perform, supported_actions};
pub use checks::checks;
pub use drain::check_state;
pub use reading::{Before, HostReading, read_host};
pub use run::{COMMANDS_DIR, command};
pub use script::{Invocation, Next, Output, Script, Steps, Verdict};
pub use service::{ListedUnit, ServiceHelp, list_units, manual_look, manual_rollback, replaced_unit, service_help};
pub use sync::{Missing, missing};
pub use there::{There, there};
pub use words::ends_boot;
