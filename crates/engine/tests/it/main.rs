//! Engine scripts and every-cut tests.

mod cuts;
mod script;
mod world;
