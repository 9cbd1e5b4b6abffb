//! Control from outside: people, devices and a store that fails, without broker and API.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests stop the test, like the tests themselves")]

mod accounts;
mod devices;
mod enrolment;
mod failing;
mod journey;
mod stage;
