//! Integration tests of the controller: one binary.

mod broker;
