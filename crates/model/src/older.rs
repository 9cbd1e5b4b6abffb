//! What journals of version 1 hold where this program writes something else: one target in a request, the steps inside their
//! track, the bare status of a child. They are read into the words of today.

use serde::{Deserialize, Deserializer};

use crate::{
    CheckResult, ChildStatus, ItemState, Millis, Observed, Plan, Planner, Route, Step, TargetId, Track, Unfinished, Vars, Wave,
};

/// The hold of probes in plans that name none: the default of their time.
pub(crate) fn hold() -> Millis {
    Millis::secs(5)
}

/// One target, or a list of them.
pub(crate) fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TargetId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Many(Vec<TargetId>),
        One(TargetId),
    }
    Ok(match Written::deserialize(deserializer)? {
        Written::Many(targets) => targets,
        Written::One(target) => vec![target],
    })
}

#[derive(Deserialize)]
pub(crate) struct WrittenPlan {
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
}

impl From<WrittenPlan> for Plan {
    fn from(written: WrittenPlan) -> Self {
        let mut lists = written.lists;
        let mut track = |t: WrittenTrack| {
            let list = t.steps.map_or(t.list, |steps| {
                lists.push(steps);
                u32::try_from(lists.len() - 1).unwrap_or(u32::MAX)
            });
            Track { target: t.target, name: t.name, route: t.route, after: t.after, list, vars: t.vars, unfinished: t.unfinished }
        };
        let waves = written.waves.into_iter();
        let waves =
            waves.map(|w| Wave { approval: w.approval, tracks: w.tracks.into_iter().map(&mut track).collect() }).collect();
        Self { planner: written.planner, lists, waves }
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum WrittenObserved {
    Now(Told),
    Older(ChildStatus),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Told {
    Child(ChildStatus),
    Items(Vec<ItemState>),
    Checks(Vec<CheckResult>),
}

impl From<WrittenObserved> for Observed {
    fn from(written: WrittenObserved) -> Self {
        match written {
            WrittenObserved::Now(Told::Child(status)) | WrittenObserved::Older(status) => Self::Child(status),
            WrittenObserved::Now(Told::Items(items)) => Self::Items(items),
            WrittenObserved::Now(Told::Checks(results)) => Self::Checks(results),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_version_1_and_of_today_are_both_read() {
        let old = r#"{"planner":"host","waves":[{"tracks":[{"target":"f72400a4-a35a-5d17-b5ce-25036ebf0bbc","route":"agent",
            "after":[],"steps":[{"action":{"kind":"probe","recheck":"restored"},"subjects":"target","limit":1,"parallel":0}]}]}]}"#;
        let plan: Plan = serde_json::from_str(old).unwrap();
        let track = plan.tracks().next().unwrap();
        assert_eq!(plan.steps(track).len(), 1);
        assert!(matches!(plan.steps(track)[0].action, crate::StepAction::Probe { hold: Millis(5000), .. }));
        assert_eq!(serde_json::from_str::<Plan>(&serde_json::to_string(&plan).unwrap()).unwrap(), plan);

        let seen = Observed::Child(ChildStatus::Running);
        assert_eq!(serde_json::from_str::<Observed>(r#""running""#).unwrap(), seen);
        let items = Observed::Items(vec![ItemState { name: "web/web1".to_owned(), state: "ready".to_owned(), in_service: true }]);
        for today in [seen, items, Observed::Checks(Vec::new())] {
            assert_eq!(serde_json::from_str::<Observed>(&serde_json::to_string(&today).unwrap()).unwrap(), today);
        }
    }
}
