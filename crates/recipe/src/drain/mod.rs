//! Taking things on a host out of service and putting them back as they were: look, do only what is left, confirm by looking
//! (E7, E10, G7).

mod containers;
mod hook;
mod units;

use std::collections::BTreeMap;

use model::{Drain, ErrorCode, ItemState, Millis, Observed};

use crate::{Invocation, Next, Output, Script, Steps, Verdict};

pub(crate) use containers::{inspect, program, read_inspected};
pub(crate) use hook::{Hook, ask_safe, safe, safe_as};
pub(crate) use units::{Unit, read_all_units, read_units, show};

/// Between two looks.
const PAUSE: Millis = Millis(1000);
/// One look.
pub(crate) const LOOK: Millis = Millis(20_000);
/// A tool that says no so often will say no again.
const TRIES: u32 = 3;
/// What is found before a drain is handed over to the undrain, to a hook in one string of its environment: Linux takes 128 KiB.
const STATE_MOST: usize = 64 * 1024;
/// What is cut off is still to be seen gone.
const FORCED: Millis = Millis(15_000);

/// Why something could not be looked at or done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) code: ErrorCode,
    pub(crate) why: String,
}

impl Trouble {
    /// A look that gave nothing: time may help.
    pub(crate) fn unread(why: impl Into<String>) -> Self {
        Self { code: ErrorCode::NotObserved, why: why.into() }
    }

    pub(crate) fn new(code: ErrorCode, why: impl Into<String>) -> Self {
        Self { code, why: why.into() }
    }
}

/// A part of a look.
pub(crate) enum Look {
    Run(Invocation),
    Seen(Vec<ItemState>),
}

/// What is wanted of one item.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish<'a> {
    Out {
        force: bool,
    },
    /// The state that it had.
    As(&'a ItemState),
}

/// Refuses, before anything is drained, a state that could not be handed over to the undrain (G7).
///
/// # Errors
/// Why, with how much it may be.
pub fn check_state(items: &[ItemState]) -> Result<(), String> {
    let size: usize = items.iter().map(|item| item.name.len() + item.state.len() + " in \n".len() + 1).sum();
    let most = STATE_MOST / 1024;
    if size <= STATE_MOST {
        return Ok(());
    }
    Err(format!(
        "the state of {} items takes {} KiB, more than the {most} KiB that can be handed back: name fewer",
        items.len(),
        size / 1024
    ))
}

/// A kind of thing that can be drained.
pub(crate) trait Service: Send {
    /// The next part of a look, given what its parts so far have said.
    fn look(&mut self, so_far: &[Output]) -> Result<Look, Trouble>;
    /// Whether the item is as wished.
    fn reached(&self, now: &ItemState, wish: Wish<'_>) -> bool {
        match wish {
            Wish::Out { .. } => !now.in_service,
            Wish::As(prior) => prior.in_service == now.in_service,
        }
    }
    /// What brings it nearer; nothing when only time does. Of several runs the first one's no counts.
    fn act(&self, now: &ItemState, wish: Wish<'_>, all: &Goal, left: Millis) -> Vec<Invocation>;
    /// All items are acted on by one run.
    fn at_once(&self) -> bool {
        false
    }
}

/// What is wanted of all.
#[derive(Clone, Debug)]
pub(crate) enum Goal {
    Look,
    Out { force: bool },
    Prior(Vec<ItemState>),
}

/// The recipe for observing, draining or undraining. `hooks` is the folder of named hooks.
pub(crate) fn script(drain: &Drain, goal: Goal, hooks: &str, limit: Millis) -> Script<Verdict> {
    let limit = if matches!(goal, Goal::Out { force: true }) { limit.max(FORCED) } else { limit };
    let ready = match drain {
        Drain::Units { units } => units::Units::new(units).map(|s| Script::new(Drive::new(s, goal, limit))),
        Drain::Containers { engine, names } => {
            containers::Containers::new(*engine, names).map(|s| Script::new(Drive::new(s, goal, limit)))
        }
        Drain::Hook { name } => Hook::new(hooks, name).map(|s| Script::new(Drive::new(s, goal, limit))),
        Drain::Haproxy { .. } | Drain::Command { .. } | Drain::Http { .. } => {
            let why = "this drain is performed where the engine runs, not on the host";
            Err(Trouble::new(ErrorCode::Unsupported, why))
        }
    };
    ready.unwrap_or_else(|trouble| Script::ended(Verdict::failed(trouble.code, trouble.why)))
}

enum At {
    Rest,
    Looking(Vec<Output>),
    Acting(Vec<Invocation>, bool),
}

/// What was asked of one item.
#[derive(Default)]
struct Asked {
    /// What it was, without the time that it was given.
    act: Vec<String>,
    refusals: u32,
    /// The tool's words, when its last answer was no.
    words: Option<String>,
    rested: bool,
}

struct Drive<S> {
    service: S,
    goal: Goal,
    limit: Millis,
    at: At,
    asked: BTreeMap<String, Asked>,
    acting_on: String,
}

impl<S: Service> Drive<S> {
    fn new(service: S, goal: Goal, limit: Millis) -> Self {
        Self { service, goal, limit, at: At::Rest, asked: BTreeMap::new(), acting_on: String::new() }
    }

    fn look(&mut self, so_far: Vec<Output>, elapsed: Millis) -> Next<Verdict> {
        match self.service.look(&so_far) {
            Ok(Look::Run(invocation)) => {
                self.at = At::Looking(so_far);
                Next::Run(invocation)
            }
            Ok(Look::Seen(items)) => self.judge(items, elapsed),
            Err(trouble) => self.trouble(trouble, elapsed),
        }
    }

    /// After a boot an engine may not be up yet, so what is to be put back is waited for; what is to be taken out is not.
    fn trouble(&mut self, trouble: Trouble, elapsed: Millis) -> Next<Verdict> {
        let may_pass = match (&self.goal, trouble.code) {
            (Goal::Look, _) => false,
            (Goal::Out { .. }, code) => code == ErrorCode::NotObserved,
            (Goal::Prior(_), code) => matches!(code, ErrorCode::NotObserved | ErrorCode::NotFound),
        };
        if !may_pass || elapsed >= self.limit {
            let code = match (&self.goal, trouble.code) {
                (Goal::Out { .. }, ErrorCode::NotObserved) => ErrorCode::NotDrained,
                (_, code) => code,
            };
            return Next::Done(Verdict::failed(code, trouble.why));
        }
        self.wait(elapsed)
    }

    fn wait(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.at = At::Rest;
        self.asked.values_mut().for_each(|asked| asked.rested = true);
        Next::Wait(Millis(PAUSE.0.min(self.limit.0.saturating_sub(elapsed.0)).max(1)))
    }

    fn judge(&mut self, items: Vec<ItemState>, elapsed: Millis) -> Next<Verdict> {
        let goal = self.goal.clone();
        if let (Goal::Look, Err(why)) = (&goal, check_state(&items)) {
            return Next::Done(Verdict::failed(ErrorCode::Unsupported, why));
        }
        let wishes: Vec<(&ItemState, Wish<'_>)> = match &goal {
            Goal::Look => Vec::new(),
            Goal::Out { force } => items.iter().map(|item| (item, Wish::Out { force: *force })).collect(),
            Goal::Prior(prior) => {
                let mut wishes = Vec::new();
                // In reverse: what was taken out last comes back first.
                for prior in prior.iter().rev() {
                    let Some(now) = items.iter().find(|item| item.name == prior.name) else {
                        let why = format!("{} is not there any more; it was {}", prior.name, prior.state);
                        return self.trouble(Trouble::new(ErrorCode::NotFound, why), elapsed);
                    };
                    wishes.push((now, Wish::As(prior)));
                }
                wishes
            }
        };
        let left: Vec<_> = wishes.into_iter().filter(|(now, wish)| !self.service.reached(now, *wish)).collect();
        let Some((first, wish)) = left.first().copied() else {
            return Next::Done(Verdict::Completed { observed: Some(Observed::Items(items)), already: self.asked.is_empty() });
        };
        if elapsed >= self.limit {
            return Next::Done(self.over(&left));
        }
        let key = if self.service.at_once() { String::new() } else { first.name.clone() };
        let time = Millis(self.limit.0.saturating_sub(elapsed.0).max(1000));
        let mut runs = self.service.act(first, wish, &self.goal, time);
        if runs.is_empty() {
            return self.wait(elapsed);
        }
        let run = runs.remove(0);
        let timeless = |word: &&String| !word.bytes().all(|b| b.is_ascii_digit());
        let act: Vec<String> = run.argv.iter().filter(timeless).cloned().collect();
        match self.asked.get(&key).map(|asked| (asked, asked.act == act)) {
            Some((asked, _)) if asked.refusals >= TRIES => return Next::Done(self.over(&left)),
            // Asked for and on its way, or refused just now.
            Some((asked, true)) if asked.words.is_none() || !asked.rested => return self.wait(elapsed),
            Some(_) | None => {}
        }
        self.asked.entry(key.clone()).or_default().act = act;
        self.acting_on = key;
        self.at = At::Acting(runs, true);
        Next::Run(run)
    }

    /// It did not work in time, or will not: names all that is left.
    fn over(&self, left: &[(&ItemState, Wish<'_>)]) -> Verdict {
        let mut parts: Vec<String> = left
            .iter()
            .map(|(now, wish)| match wish {
                Wish::Out { .. } => format!("{} is still {}", now.name, now.state),
                Wish::As(prior) => format!("{} is {}, it was {}", now.name, now.state, prior.state),
            })
            .collect();
        let said = self.asked.iter().filter_map(|(name, asked)| Some((name, asked.words.as_ref()?)));
        parts.extend(said.map(|(name, words)| if name.is_empty() { words.clone() } else { format!("{name}: {words}") }));
        let code = match self.goal {
            Goal::Out { .. } => ErrorCode::NotDrained,
            Goal::Look | Goal::Prior(_) => ErrorCode::NotObserved,
        };
        Verdict::failed(code, parts.join("; "))
    }
}

impl<S: Service> Steps<Verdict> for Drive<S> {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (std::mem::replace(&mut self.at, At::Rest), last) {
            (At::Looking(mut so_far), Some(output)) => {
                so_far.push(output.clone());
                self.look(so_far, elapsed)
            }
            (At::Acting(mut more, first), Some(output)) => {
                if first {
                    let asked = self.asked.entry(self.acting_on.clone()).or_default();
                    asked.rested = false;
                    asked.words = (!output.succeeded()).then(|| output.words());
                    asked.refusals += u32::from(!output.succeeded());
                }
                if more.is_empty() {
                    return self.look(Vec::new(), elapsed);
                }
                let run = more.remove(0);
                self.at = At::Acting(more, false);
                Next::Run(run)
            }
            (At::Rest | At::Looking(_) | At::Acting(..), _) => self.look(Vec::new(), elapsed),
        }
    }
}

#[cfg(test)]
mod tests;
