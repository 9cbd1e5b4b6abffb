//! A restart of exactly one run of a unit, or a reload of it (S3-16, S3-17).
//!
//! The claim `KEY/UNIT.RUN` says that the end of this run was asked for by this orchestration: a repeat that finds another run
//! knows by it whether that is its own work. A claim of another orchestration says nothing: what it asked for may have failed, and
//! a person may have done the rest. A claim on a unit that did not run also holds the run that came of it.

use model::{ErrorCode, InvocationId, Millis, OrchestrationId, ServiceSeen, UnitSeen};

use super::look::{LOOK, is_down, usable};
use super::said::{Said, script as sh};
use super::{Places, ask, completed, left, look, over, pause};
use crate::drain::Trouble;
use crate::power::REFUSALS;
use crate::{Invocation, Next, Output, Steps, Verdict};

const CLAIM: &str = include_str!("claim.sh");

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    /// Asking whether another run is our own work.
    Asking,
    Rereading,
    Reloading,
    Restarting,
    Looking,
    Resting,
    /// Noting which run came of it.
    Noting,
}

/// What is asked for.
pub(super) struct Asked {
    pub(super) key: Option<OrchestrationId>,
    pub(super) expect: Option<InvocationId>,
    pub(super) reload: bool,
    pub(super) grace: Millis,
}

pub(super) struct Restart {
    claims: String,
    name: String,
    expect: Option<InvocationId>,
    reload: bool,
    grace: Millis,
    at: At,
    /// It is known to be claimed.
    claimed: bool,
    /// Something was begun of which neither the claim nor the end was heard. What an earlier copy began the script tells: there is
    /// a claim from before.
    unheard: bool,
    seen: UnitSeen,
    /// It was done by an earlier copy.
    already: bool,
    reloaded: bool,
    /// What systemctl said, when it was no.
    words: Option<String>,
    /// Whether systemctl itself has ended, and said so.
    refused: bool,
    notes: Vec<String>,
    /// The last look that could not be read.
    unread: Option<String>,
}

impl Restart {
    pub(super) fn new(places: &Places, name: String, asked: Asked, seen: UnitSeen) -> Self {
        let Asked { key, expect, reload, grace } = asked;
        let all = format!("{}/restarts", places.run);
        let claims = key.map_or_else(|| all.clone(), |key| format!("{all}/{key}"));
        Self {
            claims,
            name,
            expect,
            reload,
            grace,
            at: At::Start,
            claimed: false,
            unheard: false,
            seen,
            already: false,
            reloaded: false,
            words: None,
            refused: false,
            notes: Vec::new(),
            unread: None,
        }
    }

    fn claim(&self, verb: &str, run: &str, tool: &[&str], limit: Millis) -> Invocation {
        let expect = self.expect.map_or_else(|| "none".to_owned(), |expect| expect.to_string());
        let name = format!("{}.{expect}", self.name);
        sh(CLAIM, [verb, &self.claims, &name, run].into_iter().chain(tool.iter().copied()), limit)
    }

    /// The first one goes with the claim: it is what the script that claims goes on as.
    fn systemctl(&self, words: &[&str], elapsed: Millis) -> Next<Verdict> {
        let (words, limit) = ([&["systemctl"], words].concat(), left(self.grace, elapsed));
        Next::Run(if self.claimed { Invocation::new(words, limit) } else { self.claim("claim", "-", &words, limit) })
    }

    /// What systemctl itself gave. One whose claim was not heard of may have done its work: what is seen decides, and what
    /// comes next claims again.
    fn of_systemctl(&mut self, output: &Output) -> Result<Output, Next<Verdict>> {
        if self.claimed {
            return Ok(output.clone());
        }
        match Said::first("claim", output) {
            Some((said, rest)) if said.word == "made" => {
                self.claimed = true;
                Ok(rest)
            }
            Some((said, _)) if self.unheard || said.word == "before" => {
                let why = format!("the claim on this restart cannot be written any more: {}", output.words());
                Err(over(Trouble::new(ErrorCode::ToolFailed, why)))
            }
            Some(_) => {
                let why = format!("the claim on this restart cannot be written; nothing was done: {}", output.words());
                Err(over(Trouble::new(ErrorCode::LedgerFailed, why)))
            }
            None => {
                self.unheard = true;
                Ok(output.clone())
            }
        }
    }

    /// It is the run that is to end, or it does not run, as it was expected.
    fn is_expected(&self) -> bool {
        match self.expect {
            Some(expect) => self.seen.invocation == Some(expect),
            None => !self.seen.is_up(),
        }
    }

    fn start(&mut self, elapsed: Millis) -> Next<Verdict> {
        if !self.is_expected() {
            self.at = At::Asking;
            return Next::Run(self.claim("look", "-", &[], LOOK));
        }
        if self.seen.needs_daemon_reload {
            // A reload would run by the old file what the new one describes.
            if self.reload {
                self.notes.push("it was restarted, as its unit file has changed".to_owned());
            }
            self.at = At::Rereading;
            return self.systemctl(&["daemon-reload"], elapsed);
        }
        if self.reload && self.seen.can_reload && self.seen.is_up() {
            self.at = At::Reloading;
            return self.systemctl(&["reload", "--", &self.name], elapsed);
        }
        self.restart(elapsed)
    }

    fn asked(&mut self, output: &Output, elapsed: Millis) -> Next<Verdict> {
        let said = match Said::read("claim", output) {
            Ok(said) => said,
            Err(trouble) => return over(trouble),
        };
        // A claim on a unit that did not run is found by every later request of that kind: only the run that came of it counts.
        let run = said.fields.get("run").and_then(|run| run.parse::<InvocationId>().ok());
        let others = self.expect.is_none() && run.is_some() && run != self.seen.invocation;
        match said.word.as_str() {
            "made" if !others => {
                self.already = true;
                self.judge(elapsed)
            }
            "made" | "none" => {
                let found = self.seen.invocation.filter(|_| !is_down(&self.seen));
                let now = found
                    .map_or_else(|| format!("{} is {}", self.name, self.seen), |run| format!("{} is in run {run}", self.name));
                let why = match self.expect {
                    Some(expect) => format!("{now}, not in {expect} any more: it restarted by itself, or somebody else did it"),
                    None => format!("{now}, and it did not run when this was asked for: somebody else has started it"),
                };
                over(Trouble::new(ErrorCode::InvocationDiffers, why))
            }
            _ => over(Trouble::new(ErrorCode::ToolFailed, format!("the claims on restarts cannot be read: {}", output.words()))),
        }
    }

    fn restart(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.reloaded = false;
        self.at = At::Restarting;
        self.systemctl(&["restart", "--", &self.name], elapsed)
    }

    fn done_by_systemctl(&mut self, output: &Output, elapsed: Millis) -> Next<Verdict> {
        match self.at {
            At::Rereading if !output.succeeded() => {
                return over(Trouble::new(ErrorCode::ToolFailed, format!("systemctl daemon-reload: {}", output.words())));
            }
            At::Rereading => return self.restart(elapsed),
            At::Reloading if !output.succeeded() => {
                self.notes.push(format!("it could not be reloaded: {}", output.words()));
                return self.restart(elapsed);
            }
            At::Reloading => self.reloaded = true,
            _ => {}
        }
        self.words = (!output.succeeded()).then(|| output.words());
        self.refused = output.exit.is_some_and(|code| code != 0) && !output.timed_out;
        self.look()
    }

    fn look(&mut self) -> Next<Verdict> {
        self.at = At::Looking;
        ask(&self.name)
    }

    fn wait(&mut self, elapsed: Millis) -> Next<Verdict> {
        self.at = At::Resting;
        Next::Wait(pause(self.grace, elapsed))
    }

    fn fail(&self, code: ErrorCode, what: &str) -> Next<Verdict> {
        let mut why = format!("{} {what}", self.name);
        for words in self.words.iter().chain(&self.unread) {
            why.push_str(&format!("; {words}"));
        }
        over(Trouble::new(code, why))
    }

    /// Whether what was seen is what was wanted.
    fn judge(&mut self, elapsed: Millis) -> Next<Verdict> {
        if let Err(trouble) = usable(&self.name, &self.seen) {
            return over(trouble);
        }
        let same = self.is_expected();
        if self.seen.is_up() && self.reloaded {
            if same {
                return self.done();
            }
            return self.fail(ErrorCode::ToolFailed, "did not outlive its reload: it is in another run");
        }
        if self.seen.is_up() && !same {
            if self.expect.is_none() && !self.already {
                self.at = At::Noting;
                let run = self.seen.invocation.map_or_else(|| "-".to_owned(), |run| run.to_string());
                return Next::Run(self.claim("end", &run, &[], LOOK));
            }
            return self.done();
        }
        if self.reloaded && is_down(&self.seen) {
            self.notes.push("it ended at its reload, and was restarted".to_owned());
            return self.restart(elapsed);
        }
        // A start that is on its way is waited for; one that was refused leaves everything as it was.
        let denied = self.words.as_ref().filter(|words| REFUSALS.iter().any(|refusal| words.contains(refusal)));
        if self.refused && denied.is_some() {
            return self.fail(ErrorCode::Refused, "was not restarted");
        }
        if self.seen.active == "failed" {
            return self.fail(ErrorCode::ToolFailed, &format!("is {} after the restart", self.seen));
        }
        if self.refused && (same && self.seen.is_up() || is_down(&self.seen)) {
            return self.fail(ErrorCode::ToolFailed, &format!("is {}, and was not restarted", self.seen));
        }
        if elapsed >= self.grace {
            let again = if same && self.seen.is_up() { " still in the run that was to end," } else { "" };
            let what = format!("is{again} {} after {} (result {})", self.seen, self.grace, self.seen.result);
            return self.fail(ErrorCode::NotObserved, &what);
        }
        self.wait(elapsed)
    }

    fn done(&self) -> Next<Verdict> {
        let mut notes = self.notes.clone();
        notes.push(match (self.already, self.reloaded) {
            (true, _) => "it was restarted already".to_owned(),
            (false, true) => "reloaded".to_owned(),
            (false, false) => "restarted".to_owned(),
        });
        let seen = ServiceSeen {
            changed: true,
            reloaded: self.reloaded,
            detail: notes.join("; "),
            ..ServiceSeen::of(self.seen.clone())
        };
        Next::Done(completed(seen, self.already))
    }
}

impl Steps<Verdict> for Restart {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (self.at, last) {
            (At::Start, _) => self.start(elapsed),
            (At::Asking, Some(output)) => self.asked(output, elapsed),
            (At::Rereading | At::Reloading | At::Restarting, Some(output)) => match self.of_systemctl(output) {
                Ok(output) => self.done_by_systemctl(&output, elapsed),
                Err(next) => next,
            },
            (At::Looking, Some(output)) => match look::read(&self.name, output) {
                Ok(looked) => {
                    (self.seen, self.unread) = (looked.unit, None);
                    self.judge(elapsed)
                }
                Err(why) if elapsed >= self.grace => over(Trouble::unread(why)),
                Err(why) => {
                    self.unread = Some(why);
                    self.wait(elapsed)
                }
            },
            (At::Resting, _) => self.look(),
            // It is up in its new run; that this could not be noted takes nothing from it.
            (At::Noting, Some(_)) => self.done(),
            (_, None) => over(Trouble::unread("no answer was brought")),
        }
    }
}

#[cfg(test)]
mod tests;
