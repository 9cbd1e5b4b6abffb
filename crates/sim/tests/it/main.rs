//! The simulator's own tests: determinism, a few hundred seeds, kept seeds, every cut.

mod cuts;
mod seeds;
