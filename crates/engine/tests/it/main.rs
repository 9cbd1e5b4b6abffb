//! Engine scripts and every-cut tests.

mod cuts;
mod phases;
mod samples;
mod script;
mod world;
