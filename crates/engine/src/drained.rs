//! What a track has taken out of service, and how it was before (G7).

use model::broken::{self, Rule};
use model::{Ack, AckStatus, Action, Drain, Drained, ItemState, Observed, Unfinished};

/// Everything that one track drains, in the order in which it was first looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drains(Vec<DrainState>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct DrainState {
    drained: Drained,
    /// An earlier orchestration left it so.
    taken_up: bool,
    /// A drain was issued: from then on it counts as drained, also when only half of it was done.
    commanded: bool,
    /// It was put back.
    restored: bool,
    /// In service by the last word.
    in_service: Vec<String>,
}

impl Drains {
    /// With what an earlier orchestration left out of service.
    pub(crate) fn of(unfinished: Option<&Unfinished>) -> Self {
        let left = unfinished.map(|u| u.drained.as_slice()).unwrap_or_default();
        let state = |drained: &Drained| DrainState {
            drained: drained.clone(),
            taken_up: true,
            commanded: false,
            restored: false,
            in_service: Vec::new(),
        };
        Self(left.iter().map(state).collect())
    }

    /// A drain or undrain was issued.
    pub(crate) fn issued(&mut self, action: &Action) {
        if let Action::Drain { drain, .. } = action
            && let Some(state) = self.0.iter_mut().find(|s| s.drained.drain == *drain)
        {
            state.commanded = true;
            state.restored = false;
        }
    }

    /// What a performer said of its observe, drain or undrain.
    pub(crate) fn told(&mut self, action: &Action, ack: &Ack) {
        let items = match &ack.observed {
            Some(Observed::Items(items)) => Some(items),
            _ => None,
        };
        match action {
            Action::Observe { drain } if ack.status == AckStatus::Completed => {
                if let Some(items) = items {
                    self.found(drain, items);
                }
            }
            Action::Drain { drain, .. } => {
                if let (Some(state), Some(items)) = (self.find_mut(drain), items) {
                    state.in_service = in_service(items);
                }
            }
            Action::Undrain { drain, .. } if ack.status == AckStatus::Completed => {
                if let Some(state) = self.find_mut(drain) {
                    state.restored = true;
                }
            }
            _ => {}
        }
    }

    /// What was found first is what is restored: once a drain was issued, only items that nobody had seen are added.
    fn found(&mut self, drain: &Drain, items: &[ItemState]) {
        let in_service = in_service(items);
        let Some(state) = self.find_mut(drain) else {
            let drained = Drained { drain: drain.clone(), prior: items.to_vec() };
            return self.0.push(DrainState { drained, taken_up: false, commanded: false, restored: false, in_service });
        };
        state.in_service = in_service;
        if !(state.commanded || state.taken_up) || broken::is(Rule::PriorForgotten) {
            state.drained.prior = items.to_vec();
            return;
        }
        for item in items {
            if !state.drained.prior.iter().any(|known| known.name == item.name) {
                state.drained.prior.push(item.clone());
            }
        }
    }

    fn find_mut(&mut self, drain: &Drain) -> Option<&mut DrainState> {
        self.0.iter_mut().find(|s| s.drained.drain == *drain)
    }

    /// As it was found before this drain; `None` while nobody has looked.
    pub(crate) fn prior(&self, drain: &Drain) -> Option<&[ItemState]> {
        self.0.iter().find(|s| s.drained.drain == *drain).map(|s| s.drained.prior.as_slice())
    }

    /// What was in service when somebody last looked.
    pub(crate) fn in_service(&self, drain: &Drain) -> &[String] {
        self.0.iter().find(|s| s.drained.drain == *drain).map(|s| s.in_service.as_slice()).unwrap_or_default()
    }

    /// Whether a drain was issued, and what was there before is not back.
    pub(crate) fn is_left(&self, drain: &Drain) -> bool {
        self.0.iter().any(|s| s.drained.drain == *drain && s.is_left())
    }

    /// Drained and not put back.
    pub(crate) fn left(&self) -> Vec<Drained> {
        self.0.iter().filter(|s| s.is_left()).map(|s| s.drained.clone()).collect()
    }

    /// Whether this track issued any drain.
    pub(crate) fn any_commanded(&self) -> bool {
        self.0.iter().any(|s| s.commanded)
    }
}

impl DrainState {
    fn is_left(&self) -> bool {
        (self.commanded || self.taken_up) && !self.restored
    }
}

/// Names of those that take work.
pub(crate) fn in_service(items: &[ItemState]) -> Vec<String> {
    items.iter().filter(|i| i.in_service).map(|i| i.name.clone()).collect()
}
