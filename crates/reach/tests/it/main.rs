//! Connections to real ssh servers, one process of `sshd` for each connection, and to a small one where a real one cannot be
//! had (passwords need an account); and what is done where the engine itself runs.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics with the reason")]

mod bench;
mod checks;
mod connect;
mod examples;
mod hooks;
mod kept;
mod many;
mod own;
mod perform;
mod proxy;
mod small;
mod turns;
mod world;
