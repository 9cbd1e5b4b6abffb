//! What is done to one systemd unit: looked at, backed up, deployed, migrated, restarted, and put back (S3).
//!
//! Every verb looks first, does only what is left, and tells what it saw afterwards: no exit code is a success by itself (E7).
//! What must not be left half-done, or be done twice, is done by scripts on the host (`*.sh` beside these modules) that find out
//! what an earlier, killed copy of them has done. They need a POSIX shell and the tools of coreutils, a deploy needs rsync.

mod backup;
mod deploy;
mod help;
mod inspect;
mod list;
mod look;
mod migrate;
mod restart;
mod restore;
mod said;
mod stop;
mod watch;

use model::{ErrorCode, Millis, Observed, ServiceSeen, ServiceVerb, UnitSeen, is_unit_name};

use crate::drain::Trouble;
use crate::{COMMANDS_DIR, Next, Output, Script, Steps, Verdict};
use look::{LOOK, Looked, PAUSE};

pub use backup::replaced_unit;
pub use help::{ServiceHelp, manual_look, manual_rollback, service_help};
pub use list::{ListedUnit, list_units};

/// Words about what was done, at most.
const DETAIL: usize = 1000;
/// A unit that cannot be looked at for so long is not known.
const BLIND: Millis = Millis(5000);

/// Where a host keeps what; the default is right everywhere, tests have their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Unit files of the administrator, and their backups.
    pub(crate) units: String,
    /// What ends with the boot.
    pub(crate) run: String,
    /// Named commands.
    pub(crate) commands: String,
}

impl Default for Places {
    fn default() -> Self {
        Self { units: "/etc/systemd/system".into(), run: "/run/reveille".into(), commands: COMMANDS_DIR.into() }
    }
}

/// The recipe for one verb. `hooks` is the folder of named hooks.
pub(crate) fn script(places: &Places, unit: &str, verb: &ServiceVerb, hooks: &str) -> Script<Verdict> {
    if !is_unit_name(unit) {
        let why = format!("{unit:?} is no name of a unit (it needs its suffix: web.service)");
        return failed(Trouble::new(ErrorCode::Malformed, why));
    }
    let looks = matches!(verb, ServiceVerb::Inspect { .. } | ServiceVerb::Watch { .. });
    if let Err(why) = model::restartable(unit)
        && !looks
    {
        return failed(Trouble::new(ErrorCode::Refused, why));
    }
    let (name, places) = (unit.to_owned(), places.clone());
    match verb.clone() {
        ServiceVerb::Inspect { checks } => Script::new(inspect::Inspect::new(name, &checks, hooks)),
        ServiceVerb::Watch { invocation, restarts, checks, hold, every } => {
            let asked = watch::Asked { invocation, restarts, checks, hold, every, hooks: hooks.to_owned() };
            Script::new(watch::Watch::new(name, asked))
        }
        ServiceVerb::BackUp { key } => first(unit, move |looked| backup::script(&places, &name, key, looked)),
        ServiceVerb::Deploy { key, deploy, limit } => match deploy::check(&deploy) {
            Ok(()) => first(unit, move |looked| deploy::script(&places, &name, key, &deploy, limit, looked)),
            Err(trouble) => failed(trouble),
        },
        ServiceVerb::Revert { key, deploy, limit } => match deploy::check(&deploy) {
            Ok(()) => first(unit, move |_| deploy::revert(&name, key, &deploy, limit)),
            Err(trouble) => failed(trouble),
        },
        ServiceVerb::Migrate { migrate, key, expect_boot: _, limit } => {
            first(unit, move |_| migrate::script(&places, &name, key, &migrate, limit))
        }
        ServiceVerb::Restart { key, expect, reload, grace } => first(unit, move |looked| {
            let asked = restart::Asked { key, expect, reload, grace };
            Script::new(restart::Restart::new(&places, name, asked, looked.unit))
        }),
        ServiceVerb::Stop { grace } => first(unit, move |looked| Script::new(stop::Stop::new(name, grace, looked.unit))),
        ServiceVerb::Restore { key, start, grace } => Script::new(restore::Restore::new(&places, name, key, start, grace)),
    }
}

fn failed(trouble: Trouble) -> Script<Verdict> {
    Script::ended(Verdict::failed(trouble.code, trouble.why))
}

fn over(trouble: Trouble) -> Next<Verdict> {
    Next::Done(Verdict::failed(trouble.code, trouble.why))
}

/// With what was seen.
fn completed(mut seen: ServiceSeen, already: bool) -> Verdict {
    seen.detail = seen.detail.chars().take(DETAIL).collect();
    seen.trouble = seen.trouble.map(|trouble| trouble.chars().take(DETAIL).collect());
    Verdict::Completed { observed: Some(Observed::Service(Box::new(seen))), already }
}

/// Another look at one that is on its way.
fn ask(unit: &str) -> Next<Verdict> {
    look::ask(unit, LOOK).map_or_else(over, Next::Run)
}

/// How long is left of a time, for a tool: at least a second, so that the last look can be made.
fn left(of: Millis, elapsed: Millis) -> Millis {
    Millis(of.0.saturating_sub(elapsed.0).max(1000))
}

/// Until the next look; not past the end, after which there is one more.
fn pause(until: Millis, elapsed: Millis) -> Millis {
    Millis(PAUSE.0.min(until.0.saturating_sub(elapsed.0)).max(1))
}

type Then = Box<dyn FnOnce(Looked) -> Script<Verdict> + Send>;

/// Looks, and goes on only with a unit to which something can be done.
fn first(unit: &str, then: impl FnOnce(Looked) -> Script<Verdict> + Send + 'static) -> Script<Verdict> {
    Script::new(First { unit: unit.to_owned(), then: Some(Box::new(then)), rest: None, asked: false })
}

struct First {
    unit: String,
    then: Option<Then>,
    rest: Option<Script<Verdict>>,
    asked: bool,
}

impl Steps<Verdict> for First {
    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Next<Verdict> {
        if let Some(rest) = &mut self.rest {
            return rest.next(last, elapsed);
        }
        let Some(output) = last.filter(|_| self.asked) else {
            self.asked = true;
            return ask(&self.unit);
        };
        let looked = look::read(&self.unit, output).map_err(Trouble::unread);
        let looked = looked.and_then(|looked| look::usable(&self.unit, &looked.unit).map(|()| looked));
        match (looked, self.then.take()) {
            (Ok(looked), Some(then)) => self.rest.insert(then(looked)).next(None, elapsed),
            (Err(trouble), _) => over(trouble),
            (Ok(_), None) => over(Trouble::unread("the unit was looked at twice")),
        }
    }
}

/// Looks until an answer can be read, for a while: what was done is to be told with what is seen after it.
struct Afterwards {
    unit: String,
    since: Option<Millis>,
    asked: bool,
}

impl Afterwards {
    fn new(unit: &str) -> Self {
        Self { unit: unit.to_owned(), since: None, asked: false }
    }

    fn next(&mut self, last: Option<&Output>, elapsed: Millis) -> Result<UnitSeen, Next<Verdict>> {
        let since = *self.since.get_or_insert(elapsed);
        match last.filter(|_| self.asked).map(|output| look::read(&self.unit, output)) {
            Some(Ok(looked)) => Ok(looked.unit),
            Some(Err(why)) => {
                self.asked = false;
                if elapsed.0.saturating_sub(since.0) >= BLIND.0 {
                    return Err(over(Trouble::unread(why)));
                }
                Err(Next::Wait(PAUSE))
            }
            None => {
                self.asked = true;
                Err(ask(&self.unit))
            }
        }
    }
}

#[cfg(test)]
mod tests;
