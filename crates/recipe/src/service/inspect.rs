//! One look at a unit and its health.

use model::{Check, CheckResult, Millis, ServiceSeen, UnitSeen};

use super::{ask, completed, look, over};
use crate::checks::checks_here;
use crate::drain::Trouble;
use crate::{Next, Output, Script, Steps, Verdict};

pub(super) struct Inspect {
    name: String,
    checks: Script<Vec<CheckResult>>,
    asked: bool,
    unit: Option<UnitSeen>,
}

impl Inspect {
    pub(super) fn new(name: String, checks: &[Check], hooks: &str) -> Self {
        Self { name, checks: checks_here(hooks, checks), asked: false, unit: None }
    }
}

impl Steps<Verdict> for Inspect {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        if let Some(unit) = &self.unit {
            return match self.checks.next(last, elapsed) {
                Next::Run(run) => Next::Run(run),
                Next::Wait(time) => Next::Wait(time),
                Next::Done(checks) => Next::Done(completed(ServiceSeen { checks, ..ServiceSeen::of(unit.clone()) }, false)),
            };
        }
        let Some(output) = last.filter(|_| self.asked) else {
            self.asked = true;
            return ask(&self.name);
        };
        match look::read(&self.name, output) {
            Ok(looked) => {
                self.unit = Some(looked.unit);
                self.next(None, elapsed)
            }
            Err(why) => over(Trouble::unread(why)),
        }
    }
}
