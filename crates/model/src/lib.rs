//! Words only: ids, time, target, action, command, plan, report. No IO, no async, no policy.
