//! The agent: a pure machine, its ledger, the performer and the link.

pub mod ledger;
pub mod link;
pub mod machine;
