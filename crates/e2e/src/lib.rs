//! The lab: real systemd hosts that really reboot, in namespaces of their own, and the scenarios that run on them.
//!
//! `xtask` is the only program that links this crate. It does two jobs with one binary: outside the sandbox it installs
//! packages, builds the images, brings the sandbox up and takes it down ([`lab`]); inside it is the sandbox's first
//! process, a host's power supply and the scenario runner ([`inner`]). Nothing here is part of the product, and no
//! evidence is read through the product.

pub mod api;
pub mod bench;
pub mod daemon;
pub mod fleet;
pub mod inner;
pub mod lab;
pub mod platform;
pub mod points;
pub mod process;
pub mod product;
pub mod runner;
pub mod scenarios;
pub mod traffic;
pub mod wait;
pub mod world;
