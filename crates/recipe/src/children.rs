//! Stopping and starting one child of any kind: observe, act, confirm by observing (E7, E9, E10, E11).

use model::{ChildRef, ChildReport, ChildStatus, ErrorCode, Millis, Observed};

use crate::{Invocation, Next, Output, Steps, Verdict};

/// One child in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) report: ChildReport,
    /// On its way from one status to another: not yet what it will be.
    pub(crate) passing: bool,
}

/// What can be done to a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// With the time that it still has.
    Stop(Millis),
    ForceStop,
    Start,
    Pause,
}

impl Act {
    fn same(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// A child engine: its argument lists and how to read its listing.
pub(crate) trait Engine: Send {
    fn list(&self) -> Invocation;
    fn read_list(&self, output: &Output) -> Result<Vec<Listed>, String>;
    /// `Err` when the name cannot be handed to the tool safely.
    fn act(&self, act: Act, name: &str) -> Result<Vec<String>, String>;
}

/// What the child shall be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Down { force: bool },
    Up { frozen: bool },
}

/// Between two observations.
const PAUSE: Millis = Millis(1000);
/// A child that a good listing does not show is missing only after so long (E11).
const MISSING_GRACE: Millis = Millis(10_000);
/// On top of the time that the tool itself was given, before it is ended.
const SLACK: Millis = Millis(10_000);
/// A tool that says no so often will say no again.
const TRIES: u32 = 3;

enum At {
    Rest,
    Listing,
    Acting,
}

/// What was done last.
struct Last {
    act: Act,
    /// The tool's words, when it said no.
    refused: Option<String>,
    /// There was a pause since then.
    rested: bool,
}

/// The recipe for one child.
pub(crate) struct Drive<E> {
    engine: E,
    child: ChildRef,
    want: Want,
    limit: Millis,
    at: At,
    last: Option<Last>,
    refusals: u32,
    missing_since: Option<Millis>,
}

impl<E: Engine> Drive<E> {
    pub(crate) fn new(engine: E, child: ChildRef, want: Want, limit: Millis) -> Self {
        Self { engine, child, want, limit, at: At::Rest, last: None, refusals: 0, missing_since: None }
    }

    /// Look again after a pause, or fail because the time is over.
    fn again(&mut self, elapsed: Millis, code: ErrorCode, why: &str) -> Next<Verdict> {
        if elapsed >= self.limit {
            let tool = self.last.as_ref().and_then(|l| l.refused.as_ref()).map(|w| format!(": {w}")).unwrap_or_default();
            return Next::Done(Verdict::failed(code, format!("{why} after {}{tool}", self.limit)));
        }
        self.at = At::Rest;
        if let Some(last) = &mut self.last {
            last.rested = true;
        }
        Next::Wait(Millis(PAUSE.0.min(self.limit.0 - elapsed.0)))
    }

    fn act(&mut self, act: Act, name: &str, elapsed: Millis) -> Next<Verdict> {
        match self.engine.act(act, name) {
            Ok(argv) => {
                self.at = At::Acting;
                self.last = Some(Last { act, refused: None, rested: false });
                Next::Run(Invocation::new(argv, Millis(self.left(elapsed).0.saturating_add(SLACK.0))))
            }
            Err(why) => Next::Done(Verdict::failed(ErrorCode::Malformed, why)),
        }
    }

    /// What is left of the limit; at least a second.
    fn left(&self, elapsed: Millis) -> Millis {
        Millis(self.limit.0.saturating_sub(elapsed.0).max(1000))
    }

    /// What is missing to the wanted status: `Ok(None)` when time will tell, `Err(())` when it is reached.
    fn needed(&self, listed: &Listed, elapsed: Millis) -> Result<Option<Act>, ()> {
        Ok(match (self.want, listed.report.status, listed.passing) {
            (Want::Down { .. }, ChildStatus::Stopped, false) => return Err(()),
            (Want::Down { force: true }, ..) => Some(Act::ForceStop),
            (Want::Down { force: false }, ..) => Some(Act::Stop(self.left(elapsed))),
            (Want::Up { .. }, _, true) | (Want::Up { .. }, ChildStatus::Creating, _) => None,
            (Want::Up { frozen: false }, ChildStatus::Running, _) | (Want::Up { frozen: true }, ChildStatus::Frozen, _) => {
                return Err(());
            }
            (Want::Up { frozen: true }, ChildStatus::Running, _) => Some(Act::Pause),
            (Want::Up { .. }, ..) => Some(Act::Start),
        })
    }

    fn judge(&mut self, listed: &[Listed], elapsed: Millis) -> Next<Verdict> {
        // By stable id: a renamed child is still the same, and one made anew under the old name is not (E11).
        let Some(found) = listed.iter().find(|l| l.report.child.stable_id == self.child.stable_id) else {
            return self.missing(listed, elapsed);
        };
        self.missing_since = None;
        let (status, name) = (found.report.status, found.report.child.name.as_str());
        let needed = match self.needed(found, elapsed) {
            Err(()) => {
                return Next::Done(Verdict::Completed { observed: Some(Observed::Child(status)), already: self.last.is_none() });
            }
            Ok(needed) => needed,
        };
        let still = format!("{name} is still {status}");
        match (needed, &self.last) {
            (Some(act), None) => self.act(act, name, elapsed),
            (Some(act), Some(last)) if elapsed < self.limit => match &last.refused {
                _ if !last.act.same(act) => self.act(act, name, elapsed),
                Some(words) if self.refusals >= TRIES => {
                    Next::Done(Verdict::failed(ErrorCode::ToolFailed, format!("{still}: {words}")))
                }
                Some(_) if last.rested => self.act(act, name, elapsed),
                Some(_) | None => self.again(elapsed, ErrorCode::NotObserved, &still),
            },
            (Some(_) | None, _) => self.again(elapsed, ErrorCode::NotObserved, &still),
        }
    }

    fn missing(&mut self, listed: &[Listed], elapsed: Millis) -> Next<Verdict> {
        let name = &self.child.name;
        let why = if listed.iter().any(|l| &l.report.child.name == name) {
            format!("{name} is another child than before (made anew under the same name)")
        } else {
            format!("no child {name}")
        };
        let since = *self.missing_since.get_or_insert(elapsed);
        // An empty listing may be an engine that has not read its own children yet: believed only at the very end.
        let sure = !listed.is_empty() && elapsed.0 >= since.0.saturating_add(MISSING_GRACE.0);
        if sure {
            return Next::Done(Verdict::failed(ErrorCode::NotFound, why));
        }
        self.again(elapsed, ErrorCode::NotFound, &why)
    }
}

impl<E: Engine> Steps<Verdict> for Drive<E> {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (&self.at, last) {
            (At::Listing, Some(output)) => match self.engine.read_list(output) {
                Ok(listed) => self.judge(&listed, elapsed),
                // The engine may not be up yet after a boot: unknown is neither stopped nor deleted (E11).
                Err(why) => self.again(elapsed, ErrorCode::NotObserved, &format!("the children could not be listed: {why}")),
            },
            (At::Acting, Some(output)) => {
                if !output.succeeded() {
                    self.refusals += 1;
                    if let Some(last) = &mut self.last {
                        last.refused = Some(output.words());
                    }
                }
                self.at = At::Listing;
                Next::Run(self.engine.list())
            }
            (At::Rest, _) | (At::Listing | At::Acting, None) => {
                self.at = At::Listing;
                Next::Run(self.engine.list())
            }
        }
    }
}
