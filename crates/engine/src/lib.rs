//! All decisions, sans-IO.
