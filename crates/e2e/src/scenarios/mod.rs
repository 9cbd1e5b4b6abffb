//! The scenarios, each a named story. `cargo xtask lab test NAME` runs those whose name contains NAME.

mod lab_itself;

use crate::runner::Scenario;

/// All of them, in the order in which they run.
#[must_use]
pub fn all() -> Vec<Scenario> {
    [lab_itself::SCENARIOS].concat()
}
