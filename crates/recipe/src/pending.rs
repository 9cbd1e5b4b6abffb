//! Whether a systemd host is going down or is about to.
//!
//! Asked in this order: the manager's state (answers even when the bus is gone already), its jobs (a shutdown during boot is
//! not in the state), logind's delay phase, and logind's schedule. Any unreadable answer makes the whole unknown.

use model::{Millis, PendingShutdown, Readable, Timestamp};

use crate::answer;
use crate::{Invocation, Next, Output, Steps};

/// One question to systemd or logind.
pub(crate) const LIMIT: Millis = Millis(10_000);
const LOGIN1: [&str; 3] = ["org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"];

/// `busctl` on logind's manager object.
pub(crate) fn logind(verb: &str, member: &str) -> Invocation {
    Invocation::new([&["busctl", "--json=short", verb], &LOGIN1[..], &[member]].concat(), LIMIT)
}

/// Units whose start ends the boot, and the word for each.
const TARGETS: [(&str, &str); 6] = [
    ("reboot.target", "reboot"),
    ("poweroff.target", "poweroff"),
    ("halt.target", "halt"),
    ("kexec.target", "kexec"),
    ("soft-reboot.target", "soft-reboot"),
    ("shutdown.target", "shutdown"),
];

enum At {
    Start,
    State,
    Jobs,
    Preparing,
    Schedule,
}

/// See the module.
pub(crate) struct Pending {
    at: At,
    stopping: bool,
    preparing: bool,
}

impl Pending {
    pub(crate) fn new() -> Self {
        Self { at: At::Start, stopping: false, preparing: false }
    }

    fn step(&mut self, last: Option<&Output>) -> Result<Next<Readable<Option<PendingShutdown>>>, String> {
        let pending = |kind: &str, at| Next::Done(Readable::Known(Some(PendingShutdown { kind: kind.to_owned(), at })));
        let output = match (&self.at, last) {
            (At::Start, _) => {
                self.at = At::State;
                return Ok(Next::Run(Invocation::new(["systemctl", "is-system-running"], LIMIT)));
            }
            (_, Some(output)) => output,
            (_, None) => return Err("no answer was brought".to_owned()),
        };
        match self.at {
            At::Start | At::State => {
                self.stopping = stopping(output)?;
                self.at = At::Jobs;
                Ok(Next::Run(Invocation::new(["systemctl", "list-jobs", "--no-legend"], LIMIT)))
            }
            At::Jobs => match jobs(output) {
                Ok(Some(kind)) => Ok(pending(kind, None)),
                Ok(None) | Err(_) if self.stopping => Ok(pending("shutdown", None)),
                Ok(None) => {
                    self.at = At::Preparing;
                    Ok(Next::Run(logind("get-property", "PreparingForShutdown")))
                }
                Err(why) => Err(why),
            },
            At::Preparing => {
                self.preparing = answer::bus("busctl PreparingForShutdown", "b", output)?;
                self.at = At::Schedule;
                Ok(Next::Run(logind("get-property", "ScheduledShutdown")))
            }
            At::Schedule => {
                let scheduled = schedule(output)?;
                Ok(match scheduled {
                    _ if self.preparing => pending(scheduled.map_or("shutdown".to_owned(), |s| s.kind).as_str(), None),
                    known => Next::Done(Readable::Known(known)),
                })
            }
        }
    }
}

impl Steps<Readable<Option<PendingShutdown>>> for Pending {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Readable<Option<PendingShutdown>>> {
        self.step(last).unwrap_or_else(|why| Next::Done(Readable::Unknown(why)))
    }
}

/// What a host has, as far as a shell can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Has {
    pub(crate) systemd: bool,
    /// The user who came in by `sudo`; 0 for nobody.
    pub(crate) user: u32,
    pub(crate) lxd: HasLxd,
    /// Files by which people and programs on the host keep it from going down, with the first line of each (pain 14).
    pub(crate) held: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HasLxd {
    /// Its daemon can be asked.
    Yes,
    /// It was at work on this host, and its daemon cannot be asked now.
    Down,
    No,
}

/// Asks for [`Has`]. Nothing is asked by running `lxc`: on a stock Ubuntu a program of that name installs LXD.
pub(crate) fn ask_has() -> Invocation {
    Invocation::new(["sh", "-c", HAS, "reveille"].into_iter().chain(HOLDS), LIMIT)
}

/// Reads the answer to [`ask_has`].
pub(crate) fn read_has(output: &Output) -> Option<Has> {
    let mut lines = output.stdout.strip_suffix('\n').filter(|_| output.succeeded())?.split('\n');
    let line = lines.next()?;
    // Whatever else is said there may be a hold that nobody can read.
    let held = lines.map(|line| line.strip_prefix("hold ").map(hold)).collect::<Option<_>>()?;
    let words: Vec<&str> = line.split(' ').collect();
    let [systemd, user, lxd] = words[..] else { return None };
    let systemd = match systemd {
        "systemd" => true,
        "none" => false,
        _ => return None,
    };
    let lxd = match lxd {
        "lxd" => HasLxd::Yes,
        "down" => HasLxd::Down,
        "none" => HasLxd::No,
        _ => return None,
    };
    Some(Has { systemd, user: user.parse().ok()?, lxd, held })
}

fn hold(said: &str) -> String {
    match said.split_once(' ') {
        Some((file, why)) if !why.trim().is_empty() => format!("{file}: {}", why.trim()),
        _ => said.trim().to_owned(),
    }
}

/// Whether a host without systemd is going down: a program that does it is at work. What an init does by itself, after that
/// program has ended, cannot be seen; it takes seconds.
pub(crate) struct PlainPending {
    asked: bool,
}

/// Where a file keeps its host up: one folder for good, one that ends with the boot.
const HOLDS: [&str; 2] = ["/etc/reveille/hold.d", "/run/reveille/hold.d"];

const HAS: &str = r#"s=none l=none; [ ! -d /run/systemd/system ] || s=systemd
for d in /var/snap/lxd/common/lxd /var/lib/lxd; do
  [ ! -d $d ] || [ $l = lxd ] || l=down
  [ ! -S $d/unix.socket ] || l=lxd
done
echo "$s ${SUDO_UID:-0} $l"
for d; do
  if [ ! -d "$d" ]; then
    { [ ! -e "$d" ] && [ ! -L "$d" ]; } || printf 'hold %s is no folder\n' "$d"
    continue
  fi
  { [ -r "$d" ] && [ -x "$d" ]; } || printf 'hold %s cannot be read\n' "$d"
  for f in "$d"/* "$d"/.[!.]*; do
    [ -e "$f" ] || [ -L "$f" ] || continue
    r=
    read -r r 2> /dev/null < "$f"
    printf 'hold %s %s\n' "$f" "$r"
  done
done"#;
const PROCESSES: &str = "for f in /proc/[0-9]*/comm; do c=; read -r c 2>/dev/null <\"$f\"; \
                         case $c in shutdown|reboot|poweroff|halt|openrc-shutdown) echo \"$c\";; esac; done; echo END";

impl PlainPending {
    pub(crate) fn new() -> Self {
        Self { asked: false }
    }
}

impl Steps<Readable<Option<PendingShutdown>>> for PlainPending {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Readable<Option<PendingShutdown>>> {
        match last {
            Some(output) if self.asked => Next::Done(match processes(output) {
                Ok(kind) => Readable::Known(kind.map(|kind| PendingShutdown { kind, at: None })),
                Err(why) => Readable::Unknown(why),
            }),
            _ => {
                self.asked = true;
                Next::Run(Invocation::new(["sh", "-c", PROCESSES], LIMIT))
            }
        }
    }
}

fn processes(output: &Output) -> Result<Option<String>, String> {
    let text = answer::stdout("processes", output)?;
    let list = text.strip_suffix("END\n").ok_or_else(|| answer::why_not("processes: not the whole answer", output))?;
    Ok(list.lines().next().map(|name| name.trim_start_matches("openrc-").to_owned()))
}

/// `systemctl is-system-running`: its exit code is not 0 for most states, so only the word counts.
fn stopping(output: &Output) -> Result<bool, String> {
    match output.stdout.trim() {
        "stopping" => Ok(true),
        "initializing" | "starting" | "running" | "degraded" | "maintenance" => Ok(false),
        _ => Err(answer::why_not("systemctl is-system-running", output)),
    }
}

/// `systemctl list-jobs --no-legend`: a waiting or running start of a target that ends the boot.
fn jobs(output: &Output) -> Result<Option<&'static str>, String> {
    let text = answer::stdout("systemctl list-jobs", output)?;
    let mut started = Vec::new();
    for line in text.lines().filter(|l| !l.trim().is_empty() && l.trim() != "No jobs running.") {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [id, unit, kind, _state] if id.bytes().all(|b| b.is_ascii_digit()) => {
                if kind == "start" {
                    started.push(unit);
                }
            }
            _ => return Err(format!("systemctl list-jobs: unreadable line {line:?}")),
        }
    }
    Ok(TARGETS.iter().find(|(unit, _)| started.contains(unit)).map(|(_, word)| *word))
}

/// logind's `ScheduledShutdown`: a word and microseconds since 1970; an empty word is none. `shutdown -k` (`dry-…`) only warns.
fn schedule(output: &Output) -> Result<Option<PendingShutdown>, String> {
    let (kind, micros): (String, u64) = answer::bus("busctl ScheduledShutdown", "(st)", output)?;
    if kind.is_empty() || kind.starts_with("dry-") {
        return Ok(None);
    }
    let at = (micros != u64::MAX).then(|| i64::try_from(micros / 1000).ok()).flatten().map(Timestamp::from_millis);
    Ok(Some(PendingShutdown { kind, at }))
}

#[cfg(test)]
mod tests;
