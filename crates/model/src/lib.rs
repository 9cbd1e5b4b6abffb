//! Words only: ids, time, target, action, command, plan, report. No IO, no async, no policy.
//!
//! Everything here is data that outlives a process or crosses a wall between crates. Times are UTC milliseconds
//! ([`Timestamp`]), durations are milliseconds ([`Millis`]), ids are typed.

mod action;
mod boot;
pub mod broken;
mod check;
mod command;
mod drain;
mod id;
mod lenient;
pub mod paths;
mod plan;
mod report;
mod request;
mod rollout;
mod run;
mod selector;
mod service;
mod target;
mod time;

pub use action::{Action, ActionKind, LOCAL_ADDRESS, Proof, Repeat, Route};
pub use boot::{BootIdentity, BootIdentityError};
pub use check::{Check, CheckKind, CheckResult};
pub use command::{Ack, AckError, AckStatus, Command, ErrorCode, Fence, Observed};
pub use drain::{ContainerEngine, Drain, Drained, ItemState, Site, UnknownVar, Vars, fill, shown};
pub use id::{CommandId, Direction, InstanceId, OrchestrationId, Place, TargetId};
pub use plan::{Moment, Plan, Planner, Recheck, Step, StepAction, Subjects, TimeoutPolicy, Track, Wave};
pub use report::{ChildReport, Listing, PendingShutdown, RateState, Readable, Report};
pub use request::{Actor, Force, Operation, Options, Request};
pub use rollout::{Amount, AmountError, Approval, DrainPolicy, Rollout, RolloutOptions, Unfinished};
pub use run::{LONGEST_LINE, Ran, Run, RunRequest, Said, is_file_name};
pub use selector::{SelectionError, Selector, SelectorError};
pub use service::{
    ByHand, Deploy, DeployFrom, InvocationId, InvocationIdError, Migrate, MigrateOn, Reload, Service, ServiceKind, ServiceRef,
    ServiceSeen, ServiceVerb, ServicesRequest, Timings, UnitSeen, is_service_name, is_unit_name, restartable,
};
pub use target::{ChildKind, ChildRef, ChildStatus, Labels};
pub use time::{Millis, MillisError, Timestamp};
