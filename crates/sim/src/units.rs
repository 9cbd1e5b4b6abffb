//! The truth of services: what systemd runs, from which tree, and who began it. Nothing here decides anything.

use std::collections::{BTreeMap, BTreeSet};

use model::{CommandId, InvocationId, OrchestrationId, TargetId, UnitSeen};

use crate::cause::{Cause, Time};
use crate::rng::Rng;

/// Whether a unit runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Up,
    Down,
    Failed,
    Activating,
}

/// What was done to a unit, by whom, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) what: What,
    pub(crate) by: CommandId,
    pub(crate) at: Time,
    /// The run of the unit after it.
    pub(crate) run: Option<InvocationId>,
}

/// What can be done to a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Deployed,
    Restarted,
    Reloaded,
    Stopped,
    Reverted,
    Restored,
}

/// How the migration of an orchestration goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Migration {
    /// On which boot of the host.
    pub(crate) boot: usize,
    /// When it ends, if nothing ends it before.
    pub(crate) ends: Time,
    /// Its exit code; none when it is killed at its limit.
    pub(crate) exit: Option<i32>,
    /// Where its end is kept cannot be read.
    pub(crate) lost: bool,
}

/// Whose restart of which run: a claim that another orchestration left says nothing.
pub(crate) type UnitClaim = (Option<OrchestrationId>, Option<InvocationId>);

/// One unit of a host.
#[derive(Clone, Debug)]
pub(crate) struct Unit {
    pub(crate) id: TargetId,
    pub(crate) service: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) run: Option<InvocationId>,
    pub(crate) restarts: u32,
    /// Who began its present state.
    pub(crate) cause: Cause,
    /// Where the tree on the disk came from, and the one that it runs from.
    pub(crate) tree: String,
    pub(crate) runs: String,
    /// Old trees, by whose deploy they are.
    pub(crate) kept: BTreeMap<OrchestrationId, String>,
    pub(crate) can_reload: bool,
    pub(crate) sick: bool,
    /// Trees from which it does not come up.
    pub(crate) bad: BTreeSet<String>,
    /// Ends of runs that were asked for by us on this boot, and what came of them.
    pub(crate) claims: BTreeMap<UnitClaim, Option<InvocationId>>,
    pub(crate) migrations: BTreeMap<OrchestrationId, Migration>,
    pub(crate) done: Vec<Done>,
}

impl Unit {
    pub(crate) fn new(host: TargetId, service: &str, name: &str, rng: &mut Rng) -> Self {
        Self {
            id: TargetId::of_service(host, name),
            service: service.to_owned(),
            name: name.to_owned(),
            state: State::Up,
            run: new_run(rng),
            restarts: 0,
            cause: Cause::Itself,
            tree: "first".to_owned(),
            runs: "first".to_owned(),
            kept: BTreeMap::new(),
            can_reload: rng.per_mille(700),
            sick: false,
            bad: BTreeSet::new(),
            claims: BTreeMap::new(),
            migrations: BTreeMap::new(),
            done: Vec::new(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(crate) fn is_healthy(&self) -> bool {
        self.is_up() && !self.sick
    }

    /// Another run of it begins.
    pub(crate) fn start(&mut self, state: State, cause: Cause, rng: &mut Rng) {
        self.run = new_run(rng);
        self.runs.clone_from(&self.tree);
        (self.state, self.cause) = (state, cause);
    }

    pub(crate) fn did(&mut self, what: What, by: CommandId, at: Time) {
        self.done.push(Done { what, by, at, run: self.run });
    }

    /// The host goes down; what is kept for one boot is gone.
    pub(crate) fn boot_ends(&mut self, cause: Cause, now: Time) {
        (self.state, self.cause) = (State::Down, cause);
        self.claims.clear();
        self.migrations.values_mut().filter(|m| m.ends > now).for_each(|m| m.lost = true);
    }

    /// As systemd tells it.
    pub(crate) fn seen(&self) -> UnitSeen {
        let (active, sub) = match self.state {
            State::Up => ("active", "running"),
            State::Down => ("inactive", "dead"),
            State::Failed => ("failed", "failed"),
            State::Activating => ("activating", "start"),
        };
        UnitSeen {
            load: "loaded".to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            invocation: self.run,
            restarts: self.restarts,
            result: if self.state == State::Failed { "exit-code" } else { "success" }.to_owned(),
            can_reload: self.can_reload,
            needs_daemon_reload: false,
            fragment: format!("/etc/systemd/system/{}", self.name),
        }
    }
}

fn new_run(rng: &mut Rng) -> Option<InvocationId> {
    rng.uuid().simple().to_string().parse().ok()
}
