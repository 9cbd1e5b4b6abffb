//! The journal in words: one sentence per fact, for people and for the audit log.

use crate::journal::Fact;

/// The name of a fact's kind, as it stands in the audit log: `step_started`.
pub fn action_of(_fact: &Fact) -> &'static str {
    ""
}

/// One sentence that tells what happened. `name` gives the name of a target, where it is known.
pub fn tell(_fact: &Fact, _name: &dyn Fn(model::TargetId) -> Option<String>) -> String {
    String::new()
}

/// Whether the fact tells of something done, rather than of something refused or failed.
pub fn is_good(_fact: &Fact) -> bool {
    true
}
