//! Whether a claim could be written, asked without writing anything: a full disk is to be told before anything is taken out of
//! service, not after it.

use model::Millis;

use super::Places;
use crate::{Invocation, Next, Output, Script, Steps};

const ROOM: &str = include_str!("room.sh");
const LIMIT: Millis = Millis(10_000);

/// Why no claim could be written on this host, if that is so. What cannot be told is no reason: the claim itself decides.
pub fn room(places: &Places) -> Script<Option<String>> {
    let words = ["sh", "-c", ROOM, "reveille", &places.run, &places.claims];
    Script::new(Ask { run: Invocation::new(words, LIMIT), asked: false })
}

struct Ask {
    run: Invocation,
    asked: bool,
}

impl Steps<Option<String>> for Ask {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Option<String>> {
        match last {
            Some(output) if self.asked => Next::Done(read(output)),
            _ => {
                self.asked = true;
                Next::Run(self.run.clone())
            }
        }
    }
}

fn read(output: &Output) -> Option<String> {
    let line = output.stdout.strip_suffix(" .\n").filter(|_| output.succeeded())?;
    line.strip_prefix("REVEILLE room=no ").map(|why| format!("no reboot can be claimed on this host: {why}"))
}

#[cfg(test)]
mod tests;
