//! The embedded broker from outside: the agent's own link, and hand-made packets for what an honest client does not do.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests stop the test, like the tests themselves")]

mod events;
mod link;
mod rights;
mod serving;
mod stage;
mod wire;
