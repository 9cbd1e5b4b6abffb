//! One planner per dialect; each turns a request into a plan.

pub(crate) mod host;
pub(crate) mod rollout;
pub(crate) mod services;
