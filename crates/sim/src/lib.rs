//! A deterministic simulator of a fleet: controllers, agents, hosts with children, network, disks and clocks on a seed, around
//! the production engine, driver turn and agent machine.
//!
//! It contains no decision of its own: controllers run [`driver::Driver::turn`], agents run `Machine::handle` over a ledger
//! read by `ledger::decode`, and the world only does what it is told, what the seed lets go wrong, and nothing else. The
//! checks look at the truth of that world and at the journals.

mod backend;
mod cause;
mod disk;
mod fault;
pub mod kept;
mod rng;
mod scenario;
mod sim;
pub mod sweep;
mod units;
mod world;

pub use fault::{Counts, CrashPoint, End, Fault};
pub use scenario::Scenario;
pub use sim::check::{Guarantee, Violation};
pub use sim::{Mode, Outcome, run};
pub use sweep::Sweep;
