//! Plans: waves of tracks of steps. Immutable once accepted.

mod older;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Check, Deploy, Drain, DrainPolicy, Migrate, Millis, Reload, Route, Run, ServiceRef, TargetId, Unfinished, Vars};

/// Which planner made a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Planner {
    /// One host with its children (S0).
    Host,
    /// A fleet in waves (S2).
    Rollout,
    /// A command on each host of a fleet, in waves (S2).
    Run,
    /// The checks of each host of a fleet, asked at once (S2).
    HealthCheck,
    /// Services in the order of their dependencies (S3).
    Services,
}

/// What happens when children do not stop in time (ruling 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeoutPolicy {
    /// Go on all the same: S0's default for the orchestrated reboot (S0-70).
    Proceed,
    /// Cut them off; abort if even that fails.
    ForceStop,
    /// Take back what was done and end as failed.
    Abort,
}

impl fmt::Display for TimeoutPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proceed => "proceed",
            Self::ForceStop => "force-stop",
            Self::Abort => "abort",
        })
    }
}

/// An accepted plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "older::WrittenPlan")]
pub struct Plan {
    /// Who made it.
    pub planner: Planner,
    /// The lists of steps that tracks go through; many tracks share one.
    pub lists: Vec<Vec<Step>>,
    /// One after the other.
    pub waves: Vec<Wave>,
}

impl Plan {
    /// All tracks, waves laid end to end.
    pub fn tracks(&self) -> impl Iterator<Item = &Track> {
        self.waves.iter().flat_map(|w| &w.tracks)
    }

    /// The steps of one of its tracks; none when the plan has no such list.
    pub fn steps(&self, track: &Track) -> &[Step] {
        self.lists.get(track.list as usize).map(Vec::as_slice).unwrap_or_default()
    }
}

/// Tracks that may run at the same time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// A person must agree before it starts.
    #[serde(default)]
    pub approval: bool,
    /// The tracks, in the order in which they start.
    pub tracks: Vec<Track>,
}

/// What is done to one target, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The target.
    pub target: TargetId,
    /// Its name, for people.
    pub name: String,
    /// How it is reached.
    pub route: Route,
    /// Tracks of the same wave (by index in it) that must have ended well before this one starts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<u32>,
    /// Index of its list of steps in the plan.
    pub list: u32,
    /// What stands for `{…}` in its drains and checks.
    #[serde(default, skip_serializing_if = "Vars::is_empty")]
    pub vars: Vars,
    /// What an earlier orchestration left undone here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unfinished: Option<Unfinished>,
    /// The service on the target that the track is about, where it is not about the target itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Box<ServiceRef>>,
}

/// One action on one or more subjects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What.
    pub action: StepAction,
    /// On whom.
    pub subjects: Subjects,
    /// How long the whole step may take, from its start to the judgement of its deadline.
    pub limit: Millis,
    /// How many subjects are acted on at once; 0 = all of one priority.
    pub parallel: u32,
}

/// What a step does; its parameters beyond the subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum StepAction {
    /// Read the host, and make checks.
    Probe {
        /// What the answer must show.
        recheck: Recheck,
        /// They must all pass, wherever they are performed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Check>,
        /// For [`Recheck::Restored`] and [`Recheck::Soak`]: every answer must be good for so long.
        #[serde(default = "older::hold")]
        hold: Millis,
    },
    /// Read what the drain would take out of service, to bring back exactly that (G7). A drain that cannot be read is not begun.
    Observe {
        /// Not filled in.
        drain: Drain,
    },
    /// Take out of service. Undo: put back what was found.
    Drain {
        /// Not filled in.
        drain: Drain,
        /// What happens when it takes too long.
        on_timeout: DrainPolicy,
        /// How long cutting off may take, for [`DrainPolicy::Force`].
        force_limit: Millis,
    },
    /// Put back what was found by [`StepAction::Observe`] of the same drain.
    Undrain {
        /// Not filled in.
        drain: Drain,
    },
    /// Stop children. Undo: start them again as they were.
    Stop {
        /// What happens to those that do not stop.
        on_timeout: TimeoutPolicy,
        /// How long cutting off may take, for [`TimeoutPolicy::ForceStop`].
        force_limit: Millis,
    },
    /// Start children as they were.
    Start,
    /// Stop children that the boot started and that were down before (G7).
    StopAgain,
    /// End the boot; proven by another one.
    Reboot {
        /// It must begin so long after the device accepted it.
        begin_within: Millis,
    },
    /// End the boot; completed when begun and then silent (ruling 28).
    Shutdown {
        /// As for a reboot.
        begin_within: Millis,
        /// Silence that counts as being off: two heartbeats.
        silence: Millis,
    },
    /// Run a command, once. There is no undo.
    Run {
        /// What.
        run: Run,
        /// Then it is killed.
        limit: Millis,
    },
    /// See how the service is. Undo: prove that it is as it was.
    Inspect {
        /// At which moment.
        moment: Moment,
        /// What must hold.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Check>,
        /// How often it is asked until it is healthy.
        attempts: u32,
        /// Between two attempts.
        pause: Millis,
    },
    /// Copy the unit file and its drop-ins. Undo: put them back, and start the service if it ran.
    BackUp {
        /// How long systemd may take.
        grace: Millis,
    },
    /// Bring a new tree. Undo: put the old one back.
    Deploy {
        /// From where to where.
        deploy: Deploy,
        /// How long each attempt may take.
        limit: Millis,
    },
    /// Run the migration of the service, once. There is no undo.
    Migrate {
        /// What.
        migrate: Migrate,
        /// Then it is killed.
        limit: Millis,
    },
    /// Restart or reload the service; proven by another run of its unit. Undo: stop it.
    Restart {
        /// What a reload is good for.
        reload: Reload,
        /// How long systemd may take.
        grace: Millis,
    },
    /// Look at the service for a whole soak.
    Watch {
        /// What must hold.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        checks: Vec<Check>,
        /// For so long.
        hold: Millis,
        /// Health is asked so often.
        every: Millis,
    },
}

/// At which moment a service is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Before anything is done (S3-11).
    Before,
    /// After the restart (S3-18).
    After,
    /// At the end of the soak (S3-19).
    Final,
}

/// What a probe must show for its track to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recheck {
    /// A fresh and complete report: admission is judged once more on it, and it fixes what ran before. Where only required
    /// reboots were asked for, a host that needs none, or cannot tell, ends its track well here.
    Admission,
    /// No child is up that the plan meant to stop; a late one gets one more stop round, then the policy (E12).
    ChildrenDown,
    /// The children are as they were before, and the checks pass; asked again until they do, or the limit (the health gate, G3).
    Restored,
    /// Whatever the answers are, they are told; with a wait, they are asked for again until all are good.
    Asked,
    /// Still so, without a single failed probe for the whole hold; a failed one starts it anew (pain 7).
    Soak,
}

/// On whom a step acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subjects {
    /// The track's target itself.
    Target,
    /// The service of the track.
    Service,
    /// Children that are up by the last probe; fixed by an entry when the step starts.
    RunningChildren,
    /// Children that were up at the first probe, and late ones that this plan stopped.
    ChildrenUpBefore,
    /// Children that were down at the first probe, start by themselves, and are up by the last probe.
    ChildrenStartedByBoot,
}
