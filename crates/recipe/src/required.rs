//! Whether a host says that it needs a reboot: yes, no, or not known (pain 8).
//!
//! Yes: the file that Debian's tools leave (the same that kured looks for), or `needs-restarting -r` in its own words. No: the
//! file is not there where a program is installed that would leave it, or `needs-restarting -r` ends with 0. All else is not known.

use model::{Millis, Readable};

use crate::{Invocation, Next, Output, Steps};

/// A file.
const LIMIT: Millis = Millis(10_000);
/// It reads the whole package database.
const SLOW_LIMIT: Millis = Millis(60_000);
const SENTINEL: &str = "/run/reboot-required";
const PACKAGES: &str = "/run/reboot-required.pkgs";
/// Programs that leave the sentinel.
const WRITERS: [&str; 2] = ["/usr/share/update-notifier/notify-reboot-required", "/etc/kernel/postinst.d/unattended-upgrades"];
/// Names in a reason.
const MOST: usize = 20;

/// The reason, or `None` when it needs none.
pub(crate) type Required = Readable<Option<String>>;

enum At {
    Start,
    Sentinel,
    Packages,
    Writers,
    Tool,
    Plugin,
}

/// See the module.
pub(crate) struct ReadRequired {
    at: At,
    /// What the package tool said lately; it is not asked again then.
    lately: Option<Required>,
    asked_tool: bool,
}

impl ReadRequired {
    pub(crate) fn new(lately: Option<Required>) -> Self {
        Self { at: At::Start, lately, asked_tool: false }
    }

    /// Whether the answer is the package tool's, which is slow and may be kept for a while.
    pub(crate) fn asked_tool(&self) -> bool {
        self.asked_tool
    }
}

impl Steps<Required> for ReadRequired {
    fn next(&mut self, last: Option<&Output>, _elapsed: Millis) -> Next<Required> {
        let done = |required: Required| Next::Done(required);
        let unknown = |why: String| Next::Done(Readable::Unknown(why));
        let Some(output) = last.filter(|_| !matches!(self.at, At::Start)) else {
            if !matches!(self.at, At::Start) {
                return unknown("no answer was brought".to_owned());
            }
            self.at = At::Sentinel;
            return Next::Run(Invocation::new(["cat", SENTINEL], LIMIT));
        };
        match self.at {
            At::Start | At::Sentinel if output.succeeded() => {
                self.at = At::Packages;
                Next::Run(Invocation::new(["cat", PACKAGES], LIMIT))
            }
            At::Start | At::Sentinel if absent(output) => {
                self.at = At::Writers;
                Next::Run(Invocation::new(["ls", "-d", "--"].into_iter().chain(WRITERS), LIMIT))
            }
            At::Start | At::Sentinel => unknown(format!("{SENTINEL}: {}", output.words())),
            // That it is needed is known; the packages are for people.
            At::Packages => done(Readable::Known(Some(packages(output)))),
            At::Writers if output.exit.is_some() && !output.timed_out && output.stdout.lines().any(|l| WRITERS.contains(&l)) => {
                done(Readable::Known(None))
            }
            At::Writers => match self.lately.take() {
                Some(lately) => done(lately),
                None => {
                    self.at = At::Tool;
                    self.asked_tool = true;
                    Next::Run(Invocation::new(["needs-restarting", "-r"], SLOW_LIMIT))
                }
            },
            At::Tool if output.exit == Some(127) && !output.timed_out => {
                self.at = At::Plugin;
                Next::Run(Invocation::new(["dnf", "needs-restarting", "-r"], SLOW_LIMIT))
            }
            At::Plugin if output.exit == Some(127) && !output.timed_out => {
                let hint = "install unattended-upgrades, update-notifier-common or needs-restarting";
                unknown(format!("nothing on this host tells whether it needs a reboot ({hint})"))
            }
            At::Tool | At::Plugin => done(tool(output)),
        }
    }
}

/// `cat` of a file that is not there.
fn absent(output: &Output) -> bool {
    output.exit == Some(1) && !output.timed_out && output.stderr.contains("No such file")
}

fn packages(output: &Output) -> String {
    let mut names: Vec<&str> = output.stdout.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    if !output.succeeded() || names.is_empty() {
        return SENTINEL.to_owned();
    }
    let more = if names.len() > MOST { format!(" and {} more", names.len() - MOST) } else { String::new() };
    names.truncate(MOST);
    format!("{SENTINEL}: {}{more}", names.join(", ")).chars().take(1000).collect()
}

/// 0: no. 1: yes, but only in the tool's own words: a missing plugin and a crash end with 1, too.
fn tool(output: &Output) -> Required {
    match output.exit {
        _ if output.timed_out => {}
        Some(0) => return Readable::Known(None),
        Some(1) if output.stdout.contains("Reboot is required") => {
            return Readable::Known(Some("needs-restarting: core libraries or services have been updated".to_owned()));
        }
        _ => {}
    }
    Readable::Unknown(format!("needs-restarting: {}", output.words()))
}

#[cfg(test)]
mod tests;
