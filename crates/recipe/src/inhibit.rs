//! Who blocks a shutdown of a systemd host (pain 14).

use model::{Millis, Readable};

use crate::answer;
use crate::pending::logind;
use crate::{Next, Output, Steps};

/// Asks logind for its inhibitors. systemd 252's own `systemd-inhibit --list` has no machine-readable form.
pub(crate) struct Inhibitors {
    asked: bool,
}

impl Inhibitors {
    pub(crate) fn new() -> Self {
        Self { asked: false }
    }
}

impl Steps<Readable<Vec<String>>> for Inhibitors {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Readable<Vec<String>>> {
        match last {
            Some(output) if self.asked => Next::Done(match inhibitors(output) {
                Ok(who) => Readable::Known(who),
                Err(why) => Readable::Unknown(why),
            }),
            _ => {
                self.asked = true;
                Next::Run(logind("call", "ListInhibitors"))
            }
        }
    }
}

/// Those that block a shutdown, in words. One that only delays does not; a mode that we do not know does.
fn inhibitors(output: &Output) -> Result<Vec<String>, String> {
    type Row = (String, String, String, String, u32, u32);
    let (rows,): (Vec<Row>,) = answer::bus("busctl ListInhibitors", "a(ssssuu)", output)?;
    let blocks = rows.into_iter().filter(|(what, _, _, mode, ..)| mode != "delay" && what.split(':').any(|w| w == "shutdown"));
    Ok(blocks.map(|(_, who, why, _, _, pid)| format!("{who} (process {pid}): {why}")).collect())
}

#[cfg(test)]
mod tests;
