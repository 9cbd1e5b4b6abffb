//! A stop, confirmed by looking (S3-22).

use model::{ErrorCode, Millis, ServiceSeen, UnitSeen};

use super::look::is_down;
use super::{ask, completed, left, look, over, pause};
use crate::drain::Trouble;
use crate::{Invocation, Next, Output, Steps, Verdict};

enum At {
    Start,
    Acting,
    Looking,
    Resting,
}

pub(super) struct Stop {
    name: String,
    grace: Millis,
    at: At,
    seen: UnitSeen,
    asked: bool,
    words: Option<String>,
}

impl Stop {
    pub(super) fn new(name: String, grace: Millis, seen: UnitSeen) -> Self {
        Self { name, grace, at: At::Start, seen, asked: false, words: None }
    }

    fn run(&mut self, words: &[&str], limit: Millis) -> Next<Verdict> {
        self.at = At::Acting;
        Next::Run(Invocation::new(["systemctl"].iter().chain(words).chain(&["--", &self.name]).copied(), limit))
    }

    fn judge(&mut self, elapsed: Millis) -> Next<Verdict> {
        if is_down(&self.seen) {
            let detail = if self.asked { "stopped" } else { "it did not run" }.to_owned();
            let seen = ServiceSeen { changed: self.asked, detail, ..ServiceSeen::of(self.seen.clone()) };
            return Next::Done(completed(seen, !self.asked));
        }
        if !self.asked {
            self.asked = true;
            return self.run(&["stop"], left(self.grace, elapsed));
        }
        if elapsed < self.grace {
            self.at = At::Resting;
            return Next::Wait(pause(self.grace, elapsed));
        }
        let words = self.words.as_ref().map(|words| format!("; {words}")).unwrap_or_default();
        // systemd kills it by the unit's own TimeoutStopSec, and nobody before: a database may be writing.
        let why =
            format!("{} is still {} after {}: give it a longer systemd_grace_period{words}", self.name, self.seen, self.grace);
        over(Trouble::new(ErrorCode::NotObserved, why))
    }
}

impl Steps<Verdict> for Stop {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (std::mem::replace(&mut self.at, At::Looking), last) {
            (At::Start, _) => self.judge(elapsed),
            (At::Acting, Some(output)) => {
                self.words = (!output.succeeded()).then(|| output.words()).or_else(|| self.words.take());
                ask(&self.name)
            }
            (At::Looking, Some(output)) => match look::read(&self.name, output) {
                Ok(looked) => {
                    self.seen = looked.unit;
                    self.judge(elapsed)
                }
                Err(why) if elapsed >= self.grace && self.asked => over(Trouble::unread(why)),
                // What cannot be seen is not taken for stopped: the last look counts.
                Err(_) => self.judge(elapsed),
            },
            (At::Resting | At::Acting | At::Looking, _) => ask(&self.name),
        }
    }
}

#[cfg(test)]
mod tests;
