//! Plans in journals of version 1 hold the steps inside their track. They are read into the lists of today.

use serde::Deserialize;

use super::{Plan, Planner, Step, Track, Wave};
use crate::{Millis, Route, ServiceRef, TargetId, Unfinished, Vars};

/// The hold of probes in plans that name none: the default of their time.
pub(super) fn hold() -> Millis {
    Millis::secs(5)
}

#[derive(Deserialize)]
pub(super) struct WrittenPlan {
    planner: Planner,
    #[serde(default)]
    lists: Vec<Vec<Step>>,
    waves: Vec<WrittenWave>,
}

#[derive(Deserialize)]
struct WrittenWave {
    #[serde(default)]
    approval: bool,
    tracks: Vec<WrittenTrack>,
}

#[derive(Deserialize)]
struct WrittenTrack {
    target: TargetId,
    #[serde(default)]
    name: String,
    route: Route,
    #[serde(default)]
    after: Vec<u32>,
    #[serde(default)]
    list: u32,
    /// Of version 1.
    steps: Option<Vec<Step>>,
    #[serde(default)]
    vars: Vars,
    #[serde(default)]
    unfinished: Option<Unfinished>,
    #[serde(default)]
    service: Option<Box<ServiceRef>>,
}

impl From<WrittenPlan> for Plan {
    fn from(written: WrittenPlan) -> Self {
        let mut lists = written.lists;
        let mut track = |t: WrittenTrack| {
            let list = t.steps.map_or(t.list, |steps| {
                lists.push(steps);
                u32::try_from(lists.len() - 1).unwrap_or(u32::MAX)
            });
            Track {
                target: t.target,
                name: t.name,
                route: t.route,
                after: t.after,
                list,
                vars: t.vars,
                unfinished: t.unfinished,
                service: t.service,
            }
        };
        let waves = written.waves.into_iter();
        let waves =
            waves.map(|w| Wave { approval: w.approval, tracks: w.tracks.into_iter().map(&mut track).collect() }).collect();
        Self { planner: written.planner, lists, waves }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_of_version_1_and_of_today_are_both_read() {
        let old = r#"{"planner":"host","waves":[{"tracks":[{"target":"f72400a4-a35a-5d17-b5ce-25036ebf0bbc","route":"agent",
            "after":[],"steps":[{"action":{"kind":"probe","recheck":"restored"},"subjects":"target","limit":1,"parallel":0}]}]}]}"#;
        let plan: Plan = serde_json::from_str(old).unwrap();
        let track = plan.tracks().next().unwrap();
        assert_eq!(plan.steps(track).len(), 1);
        assert!(matches!(plan.steps(track)[0].action, crate::StepAction::Probe { hold: Millis(5000), .. }));
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);
    }
}
