//! Engine scripts and every-cut tests.

mod cuts;
mod phases;
mod script;
mod world;
