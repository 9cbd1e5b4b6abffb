//! The unit file and its drop-ins back as they were, and the unit up (S3-23, S3-24).

use model::{ErrorCode, Millis, OrchestrationId, ServiceSeen, UnitSeen};

use super::look::{is_down, usable};
use super::said::{Said, script as sh};
use super::{Places, ask, completed, left, look, over, pause};
use crate::drain::Trouble;
use crate::{Invocation, Next, Output, Steps, Verdict};

const RESTORE: &str = concat!(include_str!("put.sh"), include_str!("restore.sh"));
const LIMIT: Millis = Millis(60_000);

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    PuttingBack,
    Rereading,
    Looking,
    Resting,
    /// The counter of failed starts would keep it from starting.
    Resetting,
    Starting,
}

pub(super) struct Restore {
    name: String,
    run: Invocation,
    start: bool,
    grace: Millis,
    at: At,
    /// Files were put back, now or the first time.
    changed: bool,
    reread: bool,
    started: bool,
    words: Option<String>,
    notes: Vec<String>,
    /// When the waiting for systemd began: putting back takes nothing from its time.
    since: Option<Millis>,
}

impl Restore {
    pub(super) fn new(places: &Places, name: String, key: OrchestrationId, start: bool, grace: Millis) -> Self {
        let run = sh(RESTORE, [key.to_string().as_str(), &name, &places.units], LIMIT);
        Self {
            name,
            run,
            start,
            grace,
            at: At::Start,
            changed: false,
            reread: false,
            started: false,
            words: None,
            notes: Vec::new(),
            since: None,
        }
    }

    fn until(&self, elapsed: Millis) -> Millis {
        Millis(self.since.unwrap_or(elapsed).0.saturating_add(self.grace.0))
    }

    fn go(&mut self, at: At, words: &[&str], elapsed: Millis) -> Next<Verdict> {
        self.at = at;
        Next::Run(Invocation::new(["systemctl"].iter().chain(words).copied(), left(self.until(elapsed), elapsed)))
    }

    fn put_back(&mut self, output: &Output, elapsed: Millis) -> Next<Verdict> {
        self.since = Some(elapsed);
        let said = match Said::read("restore", output) {
            Ok(said) => said,
            Err(trouble) => return over(trouble),
        };
        self.changed = match (said.word.as_str(), said.yes("changed")) {
            ("done", Ok(changed)) => changed,
            ("none", Ok(false)) => {
                self.notes.push("there is no backup of this run".to_owned());
                false
            }
            ("failed" | "damaged", Ok(_)) => {
                return over(Trouble::new(ErrorCode::ToolFailed, format!("restore: {}", output.words())));
            }
            (_, Err(trouble)) => return over(trouble),
            (word, Ok(_)) => return over(Trouble::unread(format!("the restore ended as {word:?}"))),
        };
        self.notes.extend(said.notes);
        if self.changed { self.reread(elapsed) } else { self.look() }
    }

    fn reread(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.reread = true;
        self.go(At::Rereading, &["daemon-reload"], elapsed)
    }

    fn look(&mut self) -> Next<Verdict> {
        self.at = At::Looking;
        ask(&self.name)
    }

    fn wait(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.at = At::Resting;
        Next::Wait(pause(self.until(elapsed), elapsed))
    }

    fn judge(&mut self, unit: UnitSeen, elapsed: Millis) -> Next<Verdict> {
        if unit.needs_daemon_reload && !self.reread {
            return self.reread(elapsed);
        }
        if let Err(trouble) = usable(&self.name, &unit) {
            return over(trouble);
        }
        if !self.start || unit.is_up() {
            if self.started {
                self.notes.push("started".to_owned());
            }
            let changed = self.changed || self.started;
            let detail = self.notes.join("; ");
            return Next::Done(completed(ServiceSeen { changed, detail, ..ServiceSeen::of(unit) }, !changed));
        }
        let over_time = elapsed >= self.until(elapsed);
        if self.started && (unit.active == "failed" || over_time) || over_time && !is_down(&unit) {
            let words = self.words.as_ref().map(|words| format!("; {words}")).unwrap_or_default();
            let code = if unit.active == "failed" { ErrorCode::ToolFailed } else { ErrorCode::NotObserved };
            let why = format!("{} is {unit} after its start (result {}){words}", self.name, unit.result);
            return over(Trouble::new(code, why));
        }
        if self.started || !is_down(&unit) && unit.sub != "auto-restart" {
            return self.wait(elapsed);
        }
        self.go(At::Resetting, &["reset-failed", "--", &self.name.clone()], elapsed)
    }
}

impl Steps<Verdict> for Restore {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (self.at, last) {
            (At::Start, _) => {
                self.at = At::PuttingBack;
                Next::Run(self.run.clone())
            }
            (At::PuttingBack, Some(output)) => self.put_back(output, elapsed),
            (At::Rereading, Some(output)) => {
                if !output.succeeded() {
                    let why = format!("systemctl daemon-reload: {}", output.words());
                    return over(Trouble::new(ErrorCode::ToolFailed, why));
                }
                self.look()
            }
            // One that has not failed has nothing to reset: the start decides.
            (At::Resetting, Some(_)) => {
                self.started = true;
                self.go(At::Starting, &["start", "--", &self.name.clone()], elapsed)
            }
            (At::Starting, Some(output)) => {
                self.words = (!output.succeeded()).then(|| output.words());
                self.look()
            }
            (At::Looking, Some(output)) => match look::read(&self.name, output) {
                Ok(looked) => self.judge(looked.unit, elapsed),
                Err(why) if elapsed >= self.until(elapsed) => over(Trouble::unread(why)),
                Err(_) => self.wait(elapsed),
            },
            (At::Resting, _) => self.look(),
            (_, None) => over(Trouble::unread("no answer was brought")),
        }
    }
}

#[cfg(test)]
mod tests;
