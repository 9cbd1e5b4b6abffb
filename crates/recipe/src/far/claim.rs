//! Rebooting and shutting down a host without an agent: compare, claim, order, in one script on the far end (G2).

use model::{BootIdentity, CommandId, ErrorCode, Millis, Readable};

use crate::pending::Pending;
use crate::power::REFUSALS;
use crate::{Invocation, Next, Output, Script, Steps};

const CLAIM: &str = include_str!("claim.sh");
const CLOSE: &str = include_str!("close.sh");
/// `systemctl` may wait for logind's delay inhibitors, and the disk for its sync.
const LIMIT: Millis = Millis(120_000);
const CLOSE_LIMIT: Millis = Millis(30_000);

/// Where the far end keeps what; the default is right everywhere, tests have their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// What ends with the boot: `/run/reveille`.
    pub run: String,
    /// Claims, which must outlive the boot: `/var/lib/reveille/claims`. Each is kept for 90 days.
    pub claims: String,
    /// `/proc`.
    pub proc: String,
    /// Is there when systemd runs: `/run/systemd/system`.
    pub systemd: String,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            run: "/run/reveille".into(),
            claims: "/var/lib/reveille/claims".into(),
            proc: "/proc".into(),
            systemd: "/run/systemd/system".into(),
        }
    }
}

/// A reboot or a shutdown of a host without an agent. Needs root's rights.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The command that is claimed.
    pub command: CommandId,
    /// The boot that it is meant to end.
    pub expect: BootIdentity,
    /// Power off instead of rebooting.
    pub power_off: bool,
    /// Go past block inhibitors and logged-in users (G5). Hosts without systemd know neither.
    pub ignore_inhibitors: bool,
    /// Where things are.
    pub places: Places,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Claimed now, and ordered, or it may have been: the end is another boot identity, or the same with nothing pending.
    Ordered,
    /// Claimed by this command before, on this same boot: nothing was done now; to be watched as before.
    Open,
    /// Claimed by this command before, and the host is on another boot. Still to be proven by two readings over new connections.
    Ended {
        /// The boot that answered.
        boot: BootIdentity,
    },
    /// Never claimed, and nothing was done nor will be: the answer to [`Order::look`] alone.
    Absent,
    /// Nothing will happen because of this command; a repeat is told the same.
    Failed {
        /// For programs.
        code: ErrorCode,
        /// For people.
        message: String,
    },
    /// No answer that can be read: it may have been claimed and ordered, or not. Asking again over a new connection is safe.
    Unclear(String),
}

/// What came of closing a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// On disk: no order of this command happens after this, and a repeat is told this end.
    Closed,
    /// It was never claimed, and on this boot it cannot be any more.
    NeverClaimed,
    /// Not closed, or not known: no last word may be said.
    Unclear(String),
}

impl Order {
    fn verb(&self) -> &'static str {
        if self.power_off { "poweroff" } else { "reboot" }
    }

    /// Compares, claims and orders; safe to repeat. Where the order's own answer is a doubtful no, the host is asked whether
    /// something is pending, and the claim is closed when nothing is.
    pub fn give(&self) -> Script<Answer> {
        Script::new(Give { order: self.clone(), at: At::Start, pending: Pending::new(), look: false })
    }

    /// Asks what became of an earlier [`Order::give`]: for a command that has expired meanwhile. After "absent" a copy that is
    /// late on the far end orders nothing any more.
    pub fn look(&self) -> Script<Answer> {
        Script::new(Give { order: self.clone(), at: At::Start, pending: Pending::new(), look: true })
    }

    /// Closes the claim, with what is told from then on: for when the order did not lead to anything in time and nothing is
    /// pending.
    pub fn close(&self, code: ErrorCode, words: &str) -> Script<Closed> {
        Script::new(Close { run: self.closing(code, words), asked: false })
    }

    fn claiming(&self, look: bool) -> Invocation {
        let Places { run, claims, proc, systemd } = &self.places;
        let (command, expect) = (self.command.to_string(), self.expect.to_string());
        let ignore = if self.ignore_inhibitors { "yes" } else { "no" };
        let verb = if look { "look" } else { self.verb() };
        let arguments = [&command, &expect, verb, ignore, run, claims, proc, systemd];
        Invocation::new(["sh", "-c", CLAIM, "reveille"].into_iter().chain(arguments), LIMIT)
    }

    fn closing(&self, code: ErrorCode, words: &str) -> Invocation {
        let words: String = words.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ").chars().take(1000).collect();
        let text = format!("{code} {words}");
        let arguments = [&self.command.to_string(), text.trim_end(), &self.places.run, &self.places.claims];
        Invocation::new(["sh", "-c", CLOSE, "reveille"].into_iter().chain(arguments), CLOSE_LIMIT)
    }
}

enum At {
    Start,
    Claiming,
    /// The order said no, in these words.
    Doubting(String),
    Closing(ErrorCode, String),
}

struct Give {
    order: Order,
    at: At,
    pending: Pending,
    look: bool,
}

impl Give {
    fn doubt(&mut self, last: Option<&Output>, elapsed: Millis, words: String) -> Next<Answer> {
        match self.pending.next(last, elapsed) {
            Next::Run(run) => {
                self.at = At::Doubting(words);
                Next::Run(run)
            }
            Next::Wait(time) => {
                self.at = At::Doubting(words);
                Next::Wait(time)
            }
            Next::Done(Readable::Known(None)) => self.close(ErrorCode::ToolFailed, words),
            Next::Done(Readable::Known(Some(_)) | Readable::Unknown(_)) => Next::Done(Answer::Ordered),
        }
    }

    fn close(&mut self, code: ErrorCode, words: String) -> Next<Answer> {
        let run = self.order.closing(code, &words);
        self.at = At::Closing(code, words);
        Next::Run(run)
    }

    fn claimed(&mut self, output: &Output, elapsed: Millis) -> Next<Answer> {
        let said = match Said::read(output) {
            Ok(said) => said,
            Err(why) => return Next::Done(Answer::Unclear(why)),
        };
        let failed = |code, message: String| Next::Done(Answer::Failed { code, message });
        let expect = self.order.expect;
        let words = output.words();
        match (said.claim.as_str(), said.boot) {
            ("won", Some(boot)) if boot == expect => match said.order {
                // Cut off after the claim: it may have been heard.
                None | Some(0) => Next::Done(Answer::Ordered),
                Some(_) => {
                    let (verb, words) = (self.order.verb(), said_no(output));
                    if REFUSALS.iter().any(|refusal| output.stderr.contains(refusal)) {
                        self.close(ErrorCode::Refused, format!("{} {verb}: {words}", said.with))
                    } else {
                        self.doubt(None, elapsed, format!("{} {verb}: {words}", said.with))
                    }
                }
            },
            ("open", Some(boot)) if boot == expect => Next::Done(Answer::Open),
            ("absent", Some(boot)) if boot == expect && self.look => Next::Done(Answer::Absent),
            ("ended", Some(boot)) if boot != expect => Next::Done(Answer::Ended { boot }),
            ("differs", Some(boot)) if boot != expect => {
                let words = format!("this host is on boot {boot}, not on {expect}: there is nothing to end");
                failed(ErrorCode::BootDiffers, words)
            }
            ("closed", Some(_)) => match read_end(&output.stderr) {
                Some((code, message)) => failed(code, message),
                None => Next::Done(Answer::Unclear(format!("the end of this claim cannot be read: {words}"))),
            },
            ("unwritable", Some(_)) => {
                failed(ErrorCode::LedgerFailed, format!("the claim cannot be written on this host; nothing was done: {words}"))
            }
            ("toolless", Some(_)) => {
                let verb = self.order.verb();
                failed(ErrorCode::Unsupported, format!("this host has no systemctl, no shutdown and no {verb}"))
            }
            ("damaged", Some(_)) => {
                let hint = format!("look at {}/{}", self.order.places.claims, self.order.command);
                failed(ErrorCode::OutcomeUnknown, format!("the claim of this command is damaged; {hint}"))
            }
            // Before anything was done.
            ("unreadable", _) => failed(ErrorCode::ToolFailed, format!("its boot identity cannot be read: {words}")),
            (claim, boot) => Next::Done(Answer::Unclear(format!("claim {claim:?} on boot {boot:?} when {expect} was expected"))),
        }
    }
}

impl Steps<Answer> for Give {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Answer> {
        match (std::mem::replace(&mut self.at, At::Claiming), last) {
            (At::Start, _) => Next::Run(self.order.claiming(self.look)),
            (At::Claiming, Some(output)) => self.claimed(output, elapsed),
            (At::Claiming, None) => Next::Done(Answer::Unclear("no answer was brought".to_owned())),
            (At::Doubting(words), last) => self.doubt(last, elapsed, words),
            (At::Closing(code, message), Some(output)) => Next::Done(match read_close(output) {
                Closed::Closed => Answer::Failed { code, message },
                // Claimed and not closed: watched like any other, and closed at the end of that.
                Closed::NeverClaimed | Closed::Unclear(_) => Answer::Ordered,
            }),
            (At::Closing(..), None) => Next::Done(Answer::Ordered),
        }
    }
}

struct Close {
    run: Invocation,
    asked: bool,
}

impl Steps<Closed> for Close {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Closed> {
        match last {
            Some(output) if self.asked => Next::Done(read_close(output)),
            _ => {
                self.asked = true;
                Next::Run(self.run.clone())
            }
        }
    }
}

/// The lines of the claim script.
struct Said {
    claim: String,
    boot: Option<BootIdentity>,
    with: String,
    order: Option<i32>,
}

impl Said {
    /// Whole lines in the right number and order, or nothing.
    fn read(output: &Output) -> Result<Self, String> {
        let unread = || format!("the claim's answer cannot be read: {}", output.words());
        let whole = output.stdout.lines().zip(output.stdout.split_inclusive('\n'));
        let mut lines = whole.filter(|(_, raw)| raw.ends_with(" .\n")).filter_map(|(line, _)| line.strip_prefix("REVEILLE "));
        let first: Vec<&str> = lines.next().ok_or_else(unread)?.split(' ').collect();
        let [claim, boot, with, "."] = first[..] else { return Err(unread()) };
        let field = |text: &str, name: &str| text.strip_prefix(name).map(str::to_owned).ok_or_else(unread);
        let (claim, boot, with) = (field(claim, "claim=")?, field(boot, "boot=")?, field(with, "with=")?);
        let boot = if boot == "-" { None } else { Some(boot.parse().map_err(|_| unread())?) };
        let order = match lines.next() {
            None => None,
            Some(line) => {
                let code = line.strip_prefix("order=").and_then(|l| l.strip_suffix(" .")).and_then(|code| code.parse().ok());
                Some(code.ok_or_else(unread)?)
            }
        };
        // Only a won claim goes on to an order, and every other answer is the script's last word.
        if claim != "won" && (order.is_some() || !output.succeeded()) {
            return Err(unread());
        }
        Ok(Self { claim, boot, with, order })
    }
}

/// What the ordering tool said, without our own lines.
fn said_no(output: &Output) -> String {
    let stdout = output.stdout.lines().filter(|line| !line.starts_with("REVEILLE ")).collect::<Vec<_>>().join("\n");
    Output { stdout, stderr: output.stderr.clone(), exit: Some(0), timed_out: false }.words()
}

fn read_end(text: &str) -> Option<(ErrorCode, String)> {
    let (code, words) = text.trim().split_once(' ')?;
    let code = serde_json::from_value(serde_json::Value::String(code.to_owned())).ok()?;
    Some((code, words.to_owned()))
}

fn read_close(output: &Output) -> Closed {
    match output.stdout.as_str() {
        "REVEILLE close=done .\n" if output.succeeded() => Closed::Closed,
        "REVEILLE close=none .\n" if output.succeeded() => Closed::NeverClaimed,
        "REVEILLE close=ordering .\n" => Closed::Unclear("the order is still being given on the host".to_owned()),
        _ => Closed::Unclear(output.words()),
    }
}

#[cfg(test)]
mod tests;
