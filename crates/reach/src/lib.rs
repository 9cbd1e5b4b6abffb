//! What is done without an agent: on hosts over SSH ([`ssh`]), and where the engine itself runs ([`own`]).

mod deadline;
pub mod own;
mod process;
pub mod ssh;
