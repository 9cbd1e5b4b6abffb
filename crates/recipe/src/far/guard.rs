//! Tools that change a host: none goes on behind its limit, and what comes next waits for one that outlives its connection.
//!
//! A connection that ends takes nothing along: sshd lets a tool go on, and under sudo it cannot even be killed from here. So each
//! tool is in a session of its own, a watchdog beside it kills the whole group at the limit, and a note says who is at work.

use model::{Millis, TargetId};

use super::{Line, Rights, wrapped};
use crate::{Invocation, Next, Output, Script, Steps};

const BUSY: &str = include_str!("busy.sh");
const INNER: &str = include_str!("guard.sh");
/// As the plain wrapper; the session is the one of a child that leads no group yet, so that `setsid` does not fork.
const OUTER: &str = "PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:/snap/bin; export PATH; \
                     echo REVEILLE BEGINS; echo REVEILLE BEGINS >&2; inner=$1; shift; \
                     s=setsid g=-; command -v setsid >/dev/null 2>&1 || s= g=; \
                     (exec $s sh -c \"$inner\" reveille \"$g\" \"$@\" </dev/null); exit $?";
/// One question.
const LIMIT: Millis = Millis(10_000);

/// Who changes what on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// What ends with the boot: [`Places::run`](super::Places::run).
    pub run: String,
    /// Changes of one of these come one after the other.
    pub subject: TargetId,
}

impl Guard {
    /// Where it is noted who is at work.
    pub fn file(&self) -> String {
        format!("{}/busy-{}", self.run, self.subject)
    }

    /// Who is at work by this note, as `/proc` numbers it; nobody by one that is not whole.
    pub fn noted(note: &str) -> Option<u32> {
        let words: Vec<&str> = note.split_ascii_whitespace().collect();
        match words.as_slice() {
            [pid, _, _, ..] => pid.parse().ok(),
            _ => None,
        }
    }

    /// Whether the way is free. One that is still at work at its limit is killed, so that it becomes free in any case.
    pub fn is_free(&self) -> Script<Result<bool, String>> {
        let words = ["sh", "-c", BUSY, "reveille", &self.run, &self.subject.to_string()];
        Script::new(Ask { run: Invocation::new(words, LIMIT), asked: false })
    }
}

/// As [`super::line`], with its end at the limit of the invocation made sure of on the far end.
pub fn guarded(invocation: &Invocation, rights: Rights, guard: &Guard) -> Line {
    // The caller's own limit comes first and is the one that is told.
    let limit = invocation.limit.0.div_ceil(1000).saturating_add(1);
    let first = [INNER.to_owned(), guard.run.clone(), guard.subject.to_string(), limit.to_string()];
    wrapped(invocation, rights, OUTER, &first)
}

struct Ask {
    run: Invocation,
    asked: bool,
}

impl Steps<Result<bool, String>> for Ask {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Result<bool, String>> {
        match last {
            Some(output) if self.asked => Next::Done(match output.stdout.as_str() {
                "REVEILLE busy=no .\n" if output.succeeded() => Ok(true),
                "REVEILLE busy=yes .\n" if output.succeeded() => Ok(false),
                _ => Err(format!("what is still at work cannot be told: {}", output.words())),
            }),
            _ => {
                self.asked = true;
                Next::Run(self.run.clone())
            }
        }
    }
}

#[cfg(test)]
mod tests;
