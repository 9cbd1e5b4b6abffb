//! Connections to real ssh servers, one process of `sshd` for each connection, and to a small one where a real one cannot be
//! had (passwords need an account).

mod bench;
mod checks;
mod connect;
mod hooks;
mod own;
mod proxy;
