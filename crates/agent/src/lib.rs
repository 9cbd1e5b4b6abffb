//! The agent: a pure machine, its ledger, the performer and the link.
