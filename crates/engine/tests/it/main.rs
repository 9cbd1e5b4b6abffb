//! Engine scripts and every-cut tests.

#![expect(clippy::expect_used, reason = "a test that cannot go on panics with the reason")]

mod cuts;
mod fleet;
mod fleet_at_random;
mod health_checks;
mod hostile;
mod kept;
mod lists;
mod marks;
mod phases;
mod returns;
mod runs;
mod samples;
mod script;
mod service_events;
mod service_world;
mod services;
mod services_at_random;
mod services_beside;
mod services_timing;
mod unlisted;
mod world;
