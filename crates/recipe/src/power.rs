//! Rebooting and shutting down a systemd host.

use model::{ErrorCode, Millis, PendingShutdown, Readable};

use crate::pending::Pending;
use crate::{Invocation, Next, Output, Steps, Verdict};

/// `systemctl` may wait for logind's delay inhibitors.
const LIMIT: Millis = Millis(60_000);

/// Answers after which nothing was begun.
pub(crate) const REFUSALS: [&str; 4] =
    ["Operation inhibited by", "Access denied", "Interactive authentication required", "Please retry operation after closing"];

enum At {
    Start,
    Ordering,
    Doubting { words: String },
}

/// Orders a reboot or a shutdown.
pub(crate) struct Power {
    verb: &'static str,
    ignore_inhibitors: bool,
    at: At,
    pending: Pending,
}

impl Power {
    pub(crate) fn new(verb: &'static str, ignore_inhibitors: bool) -> Self {
        Self { verb, ignore_inhibitors, at: At::Start, pending: Pending::new() }
    }

    fn order(&self) -> Invocation {
        // Said in full: without it, and without a terminal, systemctl ignores inhibitors.
        let check = if self.ignore_inhibitors { "--check-inhibitors=no" } else { "--check-inhibitors=yes" };
        Invocation::new(["systemctl", self.verb, check, "--no-ask-password"], LIMIT)
    }

    /// The order failed. That nothing happens is claimed only when the host itself says that nothing is pending: the answer
    /// may have been lost because the host is going down.
    fn doubt(&mut self, last: Option<&Output>, elapsed: Millis, words: String) -> Next<Verdict> {
        match self.pending.next(last, elapsed) {
            Next::Run(invocation) => {
                self.at = At::Doubting { words };
                Next::Run(invocation)
            }
            Next::Wait(time) => {
                self.at = At::Doubting { words };
                Next::Wait(time)
            }
            Next::Done(Readable::Known(None)) => {
                Next::Done(Verdict::failed(ErrorCode::ToolFailed, format!("systemctl {}: {words}", self.verb)))
            }
            Next::Done(Readable::Known(Some(PendingShutdown { .. })) | Readable::Unknown(_)) => Next::Done(Verdict::Ordered),
        }
    }
}

impl Steps<Verdict> for Power {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        match (std::mem::replace(&mut self.at, At::Ordering), last) {
            (At::Start, _) => Next::Run(self.order()),
            (At::Ordering, Some(output)) if output.succeeded() => Next::Done(Verdict::Ordered),
            (At::Ordering, Some(output)) if output.exit.is_some() && REFUSALS.iter().any(|r| output.stderr.contains(r)) => {
                Next::Done(Verdict::failed(ErrorCode::Refused, format!("systemctl {}: {}", self.verb, output.words())))
            }
            (At::Ordering, Some(output)) if output.exit.is_some() && !output.timed_out => {
                self.doubt(None, elapsed, output.words())
            }
            // Ended by a signal or at its limit, as happens when the host goes down under it.
            (At::Ordering, _) => Next::Done(Verdict::Ordered),
            (At::Doubting { words }, last) => self.doubt(last, elapsed, words),
        }
    }
}

#[cfg(test)]
mod tests;
