//! What is done to hosts from here: over SSH where no agent runs.

pub mod ssh;
