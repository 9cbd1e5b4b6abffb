//! Real traffic: a small web service on hosts, a real `HAProxy` in front of them, and somebody who asks it all the time.

pub mod balancer;
pub mod load;
pub mod web;

use std::time::{SystemTime, UNIX_EPOCH};

/// Unix time in seconds; hosts and sandbox have one clock.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64()).unwrap_or_default()
}
