//! The soak after a restart: the same run of the unit all the time, and healthy again and again (S3-19, S3-82).

use model::{Check, CheckResult, ErrorCode, InvocationId, Millis, ServiceSeen, UnitSeen};

use super::{BLIND, PAUSE, completed, look, over};
use crate::checks::checks_here;
use crate::drain::Trouble;
use crate::{Next, Output, Script, Steps, Verdict};

/// One look; a manager that does not answer for longer is trouble.
const LOOK: Millis = BLIND;

/// What is watched for.
pub(super) struct Asked {
    pub(super) invocation: Option<InvocationId>,
    pub(super) restarts: u32,
    pub(super) checks: Vec<Check>,
    pub(super) hold: Millis,
    pub(super) every: Millis,
    pub(super) hooks: String,
}

enum At {
    Resting,
    Looking,
    Checking(Script<Vec<CheckResult>>),
}

pub(super) struct Watch {
    name: String,
    asked: Asked,
    at: At,
    /// What the last look that could be read has shown.
    seen: Option<UnitSeen>,
    /// When that was.
    seen_at: Millis,
    checks: Vec<CheckResult>,
    /// The next checks are due.
    due: Millis,
    /// The hold was over when the last look began, so it is the last one.
    ends: bool,
}

impl Watch {
    pub(super) fn new(name: String, asked: Asked) -> Self {
        let due = asked.every;
        Self { name, asked, at: At::Resting, seen: None, seen_at: Millis(0), checks: Vec::new(), due, ends: false }
    }

    fn look(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.at = At::Looking;
        self.ends = elapsed >= self.asked.hold;
        look::ask(&self.name, LOOK).map_or_else(over, Next::Run)
    }

    fn rest(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.at = At::Resting;
        Next::Wait(super::pause(self.asked.hold, elapsed))
    }

    fn end(&self, unit: UnitSeen, trouble: Option<String>) -> Next<Verdict> {
        Next::Done(completed(ServiceSeen { checks: self.checks.clone(), trouble, ..ServiceSeen::of(unit) }, false))
    }

    /// What is not as it was.
    fn trouble(&self, unit: &UnitSeen) -> Option<String> {
        if !unit.is_up() {
            return Some(format!("the unit is {unit}"));
        }
        if unit.restarts > self.asked.restarts {
            let again = unit.restarts - self.asked.restarts;
            return Some(format!("it crashed: systemd has started it again, {again} times since the restart"));
        }
        match (self.asked.invocation, unit.invocation) {
            (Some(was), Some(now)) if was != now => {
                return Some(format!("it is in another run, {now} instead of {was}: it crashed, or somebody restarted it"));
            }
            (Some(was), None) => return Some(format!("its run {was} is not known to systemd any more")),
            _ => {}
        }
        (!matches!(unit.result.as_str(), "" | "success")).then(|| format!("the unit is {unit}"))
    }

    fn looked(&mut self, output: &Output, elapsed: Millis) -> Next<Verdict> {
        let unit = match look::read(&self.name, output) {
            Ok(looked) => looked.unit,
            Err(why) if elapsed.0.saturating_sub(self.seen_at.0) >= BLIND.0 => {
                return match self.seen.clone() {
                    Some(unit) => self.end(unit, Some(format!("it could not be looked at for {BLIND}: {why}"))),
                    None => over(Trouble::unread(why)),
                };
            }
            Err(_) => {
                self.at = At::Resting;
                return Next::Wait(PAUSE);
            }
        };
        if self.seen.is_none()
            && let Err(trouble) = look::usable(&self.name, &unit)
        {
            return over(trouble);
        }
        (self.seen, self.seen_at) = (Some(unit.clone()), elapsed);
        if let Some(trouble) = self.trouble(&unit) {
            return self.end(unit, Some(trouble));
        }
        if !self.ends && elapsed < self.due {
            return self.rest(elapsed);
        }
        self.due = Millis(elapsed.0.saturating_add(self.asked.every.0));
        self.at = At::Checking(checks_here(&self.asked.hooks, &self.asked.checks));
        self.next(None, elapsed)
    }

    fn checked(&mut self, results: Vec<CheckResult>, elapsed: Millis) -> Next<Verdict> {
        let Some(unit) = self.seen.clone() else {
            return over(Trouble::new(ErrorCode::NotObserved, "the unit was not looked at"));
        };
        // The time of the checks is none in which it could not be looked at.
        self.seen_at = elapsed;
        self.checks = results;
        let failed = self.checks.iter().find(|check| !check.passed);
        match failed.map(|check| format!("{}: {}", check.name, check.detail)) {
            Some(trouble) => self.end(unit, Some(trouble)),
            None if self.ends => self.end(unit, None),
            None => self.rest(elapsed),
        }
    }
}

impl Steps<Verdict> for Watch {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (std::mem::replace(&mut self.at, At::Resting), last) {
            (At::Looking, Some(output)) => self.looked(output, elapsed),
            (At::Checking(mut checks), last) => match checks.next(last, elapsed) {
                Next::Done(results) => self.checked(results, elapsed),
                Next::Run(run) => {
                    self.at = At::Checking(checks);
                    Next::Run(run)
                }
                Next::Wait(time) => {
                    self.at = At::Checking(checks);
                    Next::Wait(time)
                }
            },
            (At::Resting | At::Looking, _) => self.look(elapsed),
        }
    }
}

#[cfg(test)]
mod tests;
