//! Connections to real ssh servers, one process of `sshd` for each connection, and to a small one where a real one cannot be
//! had (passwords need an account); and what is done where the engine itself runs.

mod bench;
mod checks;
mod connect;
mod hooks;
mod many;
mod own;
mod perform;
mod proxy;
mod small;
mod world;
