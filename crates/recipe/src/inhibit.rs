//! Who blocks a shutdown of a systemd host (pain 14).
//!
//! The same two things for which `systemctl --check-inhibitors=yes` refuses, so that they are known before anything is
//! stopped: block inhibitors, and users who are logged in. Asked as root, whose own sessions do not count; of the user
//! who came in to ask with root's rights only those with a terminal do: ours have none, a colleague's of the same name has one.

use std::collections::BTreeMap;

use model::{Millis, Readable};
use serde::Deserialize;

use crate::answer;
use crate::pending::{LIMIT, logind};
use crate::{Invocation, Next, Output, Steps};

/// Sessions that are asked one by one; more of them count without being asked.
const MOST_SESSIONS: usize = 32;
const SESSION_PATH: &str = "/org/freedesktop/login1/session/";

enum At {
    Start,
    Inhibitors,
    Sessions,
    Session(Session),
}

/// See the module. systemd 252's own `systemd-inhibit --list` has no machine-readable form.
pub(crate) struct Inhibitors {
    at: At,
    who: Vec<String>,
    ask: Vec<Session>,
    own: u32,
}

/// One login session of somebody else.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Session {
    user: String,
    path: String,
    /// Of the user who asks.
    own: bool,
}

impl Inhibitors {
    /// `own` is the user whose login asks; 0 for root.
    pub(crate) fn new(own: u32) -> Self {
        Self { at: At::Start, who: Vec::new(), ask: Vec::new(), own }
    }

    fn step(&mut self, last: Option<&Output>) -> Result<Next<Readable<Vec<String>>>, String> {
        let no_answer = || "logind: no answer was brought".to_owned();
        match std::mem::replace(&mut self.at, At::Start) {
            At::Start => {
                self.at = At::Inhibitors;
                return Ok(Next::Run(logind("call", "ListInhibitors")));
            }
            At::Inhibitors => {
                self.who = inhibitors(last.ok_or_else(no_answer)?)?;
                self.at = At::Sessions;
                return Ok(Next::Run(logind("call", "ListSessions")));
            }
            At::Sessions => {
                self.ask = sessions(last.ok_or_else(no_answer)?, self.own)?;
                let unasked = self.ask.split_off(self.ask.len().min(MOST_SESSIONS));
                self.who.extend(unasked.into_iter().map(|s| format!("user {} is logged in", s.user)));
                self.ask.reverse();
            }
            At::Session(session) => {
                if let Some(service) = session_blocks(last.ok_or_else(no_answer)?, session.own)? {
                    self.who.push(format!("user {} is logged in ({service})", session.user));
                }
            }
        }
        Ok(match self.ask.pop() {
            Some(session) => {
                let argv = ["busctl", "--json=short", "call", "org.freedesktop.login1", &session.path];
                let get = ["org.freedesktop.DBus.Properties", "GetAll", "s", "org.freedesktop.login1.Session"];
                let run = Invocation::new([&argv[..], &get[..]].concat(), LIMIT);
                self.at = At::Session(session);
                Next::Run(run)
            }
            None => Next::Done(Readable::Known(std::mem::take(&mut self.who))),
        })
    }
}

impl Steps<Readable<Vec<String>>> for Inhibitors {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Readable<Vec<String>>> {
        self.step(last).unwrap_or_else(|why| Next::Done(Readable::Unknown(why)))
    }
}

/// Those that block a shutdown, in words. One that only delays does not; a mode that we do not know does.
fn inhibitors(output: &Output) -> Result<Vec<String>, String> {
    type Row = (String, String, String, String, u32, u32);
    let (rows,): (Vec<Row>,) = answer::bus("busctl ListInhibitors", "a(ssssuu)", output)?;
    let blocks = rows.into_iter().filter(|(what, _, _, mode, ..)| mode != "delay" && what.split(':').any(|w| w == "shutdown"));
    Ok(blocks.map(|(_, who, why, _, _, pid)| format!("{who} (process {pid}): {why}")).collect())
}

/// Sessions of users other than root.
fn sessions(output: &Output, own: u32) -> Result<Vec<Session>, String> {
    type Row = (String, u32, String, String, String);
    let (rows,): (Vec<Row>,) = answer::bus("busctl ListSessions", "a(susso)", output)?;
    let others = rows.into_iter().filter(|(_, uid, ..)| *uid != 0);
    others
        .map(|(_, uid, user, _, path)| {
            if path.starts_with(SESSION_PATH) {
                Ok(Session { user, path, own: uid == own })
            } else {
                Err(format!("busctl ListSessions: unreadable session {path:?}"))
            }
        })
        .collect()
}

/// Whether a session is a person's, by systemd's own rule (its class and type), and through which service it came.
fn session_blocks(output: &Output, own: bool) -> Result<Option<String>, String> {
    #[derive(Deserialize)]
    struct Property {
        data: serde_json::Value,
    }
    if output.exit == Some(1) && output.stderr.contains("Unknown object") {
        return Ok(None); // it has ended since
    }
    let (all,): (BTreeMap<String, Property>,) = answer::bus("busctl session", "a{sv}", output)?;
    let text = |key: &str| {
        let value = all.get(key).and_then(|p| p.data.as_str());
        value.ok_or_else(|| format!("busctl session: no {key} in the answer"))
    };
    let (class, kind) = (text("Class")?, text("Type")?);
    let person = class.starts_with("user") && ["x11", "wayland", "tty", "mir"].contains(&kind);
    let person = person && (!own || !text("TTY")?.is_empty());
    Ok(if person { Some(text("Service")?.to_owned()) } else { None })
}

#[cfg(test)]
mod tests;
