//! All decisions, sans-IO: planner, guard, journal, orchestration, phase, explain.
//!
//! [`Engine::handle`] takes an input and the time, and gives the facts that follow; the driver makes them durable, and only
//! then acts on [`Engine::wanted`]. The state is a pure function of the journals, so a restart is the ordinary path entered
//! with an empty memory. What is only heard (reports, connections) lives beside it and is never needed to replay.

mod advance;
mod agenda;
mod child;
mod config;
mod decision;
mod drained;
mod engine;
mod event;
mod explain;
mod fleet;
mod flow;
mod gates;
mod guard;
mod health;
mod heard;
mod input;
mod journal;
mod limits;
mod orchestration;
mod outside;
mod parked;
mod planner;
mod recount;
mod returned;
mod schedule;
mod service;
mod show;
mod silences;
mod story;
mod tally;
mod track;
mod view;
mod window;

pub use config::{CheckRule, Config, ConfigError, DrainRule, Group, LimitGroup, Member, RolloutDefaults, RolloutError};
pub use engine::{Engine, OpenJournal, RestoreError, Turn};
pub use event::{EventKind, EventMetadata, Method, ServiceEvent, service_events};
pub use explain::{Blocker, Why};
pub use input::{Input, Refusal, Reply, TargetBlockers};
pub use journal::{Entry, Fact, FleetEntry, JOURNAL_VERSION, JournalId, OpenBoot, Outcome, Record};
pub use planner::rollout::{Candidate, Durations, Pace, PlanError, groups as limit_groups, makespan, plan as plan_rollout};
pub use planner::services::{OrderError, ServicesError, order as service_order, plan as plan_services};
pub use show::titles;
pub use story::{action_of, is_good, tell};
pub use view::{
    Alarm, ChildView, Counts, Holder, HostState, HostView, LockView, MarkView, Phase, Preview, PreviewTrack, PreviewWave,
    RestartStatus, ServiceView, StepState, StepView, StopStatus, SubjectView, TrackPhase, TrackView, View,
};
pub use window::{CronError, Look, Schedule, Window, WindowError, WindowKind, put_off};
