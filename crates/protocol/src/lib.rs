//! Words <-> topics and bytes: the native, signed dialect and the REST documents.
//!
//! Nothing here reads a clock, a file, a socket or a random source; keys are made from seeds that the caller brings.

pub mod cloud;
pub mod enrol;
pub mod native;
pub mod rest;
