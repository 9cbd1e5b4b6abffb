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
    /// Put back as far as it was ours: these somebody else keeps out of service, in words.
    kept_out: Vec<String>,
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
            kept_out: Vec::new(),
        };
        Self(left.iter().map(state).collect())
    }

    /// A drain or undrain was issued.
    pub(crate) fn issued(&mut self, action: &Action) {
        if let Action::Drain { drain, force, .. } = action
            && let Some(state) = self.0.iter_mut().find(|s| s.drained.drain == *drain)
        {
            // Until it is put back: what one attempt has cut off stays so for the next one.
            state.drained.forced = *force || (state.drained.forced && !state.restored);
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
                    let took_work = |now: &&ItemState| state.drained.prior.iter().any(|p| p.name == now.name && p.in_service);
                    let out = items.into_iter().flatten().filter(|now| !now.in_service).filter(took_work);
                    state.kept_out = out.map(|now| format!("{} ({})", now.name, now.state)).collect();
                }
            }
            _ => {}
        }
    }

    /// What was found first is what is restored: once a drain was issued, only items that nobody had seen are added.
    fn found(&mut self, drain: &Drain, items: &[ItemState]) {
        let in_service = in_service(items);
        let Some(state) = self.find_mut(drain) else {
            let drained = Drained { drain: drain.clone(), prior: items.to_vec(), forced: false };
            let kept_out = Vec::new();
            return self.0.push(DrainState { drained, taken_up: false, commanded: false, restored: false, in_service, kept_out });
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
    pub(crate) fn of_drain(&self, drain: &Drain) -> Option<&Drained> {
        self.0.iter().find(|s| s.drained.drain == *drain).map(|s| &s.drained)
    }

    /// What took work before, was ours to put back no more, and takes none now, in words.
    pub(crate) fn kept_out(&self) -> Option<String> {
        let names: Vec<&str> = self.0.iter().flat_map(|s| &s.kept_out).map(String::as_str).collect();
        (!names.is_empty()).then(|| format!("stays as somebody else has set it meanwhile: {}", names.join(", ")))
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

#[cfg(test)]
mod tests {
    use model::{BootIdentity, CommandId, Millis};
    use uuid::Uuid;

    use super::*;

    fn item(state: &str, in_service: bool) -> ItemState {
        ItemState { name: "web/web1".to_owned(), state: state.to_owned(), in_service }
    }

    fn completed(item: ItemState) -> Ack {
        Ack {
            command: CommandId(Uuid::from_u128(1)),
            status: AckStatus::Completed,
            error: None,
            boot: BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 3).unwrap(),
            observed: Some(Observed::Items(vec![item])),
            already: false,
            report: None,
        }
    }

    #[test]
    fn g7_whether_it_was_forced_is_kept_until_it_is_put_back_and_goes_into_a_retry() {
        let drain = Drain::Haproxy { address: "/run/haproxy.sock".to_owned(), servers: vec!["web/web1".to_owned()] };
        let out = |force| Action::Drain { drain: drain.clone(), grace: Millis::secs(1), force };
        let mut drains = Drains::default();
        drains.told(&Action::Observe { drain: drain.clone() }, &completed(item("ready", true)));
        drains.issued(&out(false));
        assert!(!drains.of_drain(&drain).unwrap().forced);
        drains.issued(&out(true));
        // A second round after it.
        drains.issued(&out(false));
        let left = drains.left();
        assert!(left.len() == 1 && left[0].forced);
        let unfinished = Unfinished { proven: None, drained: left, open_boot: None, children: Vec::new(), root: None };
        let mut retry = Drains::of(Some(&unfinished));
        let Drained { prior, forced, .. } = retry.of_drain(&drain).unwrap().clone();
        assert!(forced);
        let back = Action::Undrain { drain: drain.clone(), prior, limit: Millis::secs(1), forced };
        retry.told(&back, &completed(item("ready", true)));
        assert!(retry.left().is_empty() && retry.kept_out().is_none());
        retry.issued(&out(false));
        assert!(!retry.of_drain(&drain).unwrap().forced, "the next drain is another one");
        // A person's maintenance, which stays.
        retry.told(&back, &completed(item("maint", false)));
        assert!(retry.left().is_empty());
        assert!(retry.kept_out().unwrap().ends_with("web/web1 (maint)"), "{:?}", retry.kept_out());
    }

    #[test]
    fn what_was_written_before_there_was_the_word_is_read_as_not_forced() {
        let old = r#"{"drain":{"kind":"units","units":["a.service"]},"prior":[]}"#;
        let drained: Drained = serde_json::from_str(old).unwrap();
        assert!(!drained.forced);
        assert_eq!(serde_json::to_string(&drained).unwrap(), old, "and written as before");
    }
}
