//! The store against its contract: what was appended is there, whole, in order, or nothing of it.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test, like the tests themselves")]

mod contract;
mod damage;
mod full;
mod single;
mod stage;
