//! What a person needs to see of a service that did not come back (S3-85, S3-95 to S3-98).

use model::{ByHand, Millis, OrchestrationId, Readable, is_unit_name};

use super::Places;
use super::deploy::trimmed;
use crate::answer;
use crate::drain::{Unit, read_all_units, show};
use crate::{Invocation, Next, Output, Script, Steps};

const LIMIT: Millis = Millis(10_000);
/// So many lines of its journal.
const LINES: &str = "20";
/// Dependencies that are looked at in one answer.
const MOST: usize = 200;

/// What was found. Each part is read for itself, and says why when it could not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceHelp {
    /// The end of its journal, oldest first.
    pub journal: Readable<Vec<String>>,
    /// Who listens on its port; `None` when no port was asked for.
    pub listening: Option<Readable<Vec<String>>>,
    /// What it needs and what has failed, or does not exist: `NAME: STATE`.
    pub failed_dependencies: Readable<Vec<String>>,
    /// The names of what is set in its environment. Values may be secrets: they are never told.
    pub environment: Readable<Vec<String>>,
    /// The files that its environment is read from.
    pub environment_files: Readable<Vec<String>>,
    /// Its backup, with its date; `None`: there is none.
    pub backup: Readable<Option<String>>,
}

/// Reads all of it. `port` is the one that the service should listen on.
pub fn service_help(unit: &str, port: Option<u16>) -> Script<ServiceHelp> {
    in_places(&Places::default(), unit, port)
}

pub(super) fn in_places(places: &Places, unit: &str, port: Option<u16>) -> Script<ServiceHelp> {
    let unread = |why: &str| Readable::Unknown(why.to_owned());
    let help = ServiceHelp {
        journal: unread("not read"),
        listening: None,
        failed_dependencies: Readable::Unknown("not read".to_owned()),
        environment: Readable::Unknown("not read".to_owned()),
        environment_files: Readable::Unknown("not read".to_owned()),
        backup: Readable::Unknown("not read".to_owned()),
    };
    if !is_unit_name(unit) {
        let why = format!("{unit:?} is no name of a unit");
        return Script::ended(ServiceHelp {
            journal: Readable::Unknown(why.clone()),
            listening: None,
            failed_dependencies: Readable::Unknown(why.clone()),
            environment: Readable::Unknown(why.clone()),
            environment_files: Readable::Unknown(why.clone()),
            backup: Readable::Unknown(why),
        });
    }
    Script::new(Ask { unit: unit.to_owned(), backup: format!("{}/{unit}.backup", places.units), port, help, at: At::Start })
}

/// The commands of a rollback by hand, in their order (S3-85). Each can be typed whatever the run came to: those of a deploy look at
/// what it noted, and do nothing where there is nothing to put back.
pub fn manual_rollback(by_hand: &ByHand) -> Vec<String> {
    let quoted = |text: &str| crate::far::quoted(text);
    let units = Places::default().units;
    let unit = &by_hand.unit;
    let (file, name) = (format!("{units}/{unit}"), quoted(unit));
    let mut commands = vec![format!("sudo systemctl stop {name}")];
    commands.extend(by_hand.deploy.iter().flat_map(|(key, deploy)| old_tree(*key, &deploy.destination)));
    let own = |path: &&String| path.rsplit_once('/').is_none_or(|(folder, _)| folder == units);
    match &by_hand.unit_file {
        // A package's own file is never written to; one that a deploy has put over it goes away.
        Some(path) if !own(&path) => {
            let over = by_hand.deploy.iter().any(|(_, deploy)| deploy.unit_file.is_some());
            commands.extend(over.then(|| format!("sudo rm -f {}  # {path} counts again", quoted(&file))));
        }
        known => {
            let file = known.clone().unwrap_or_else(|| file.clone());
            commands.push(format!("sudo cp {} {}", quoted(&format!("{units}/{unit}.backup")), quoted(&file)));
        }
    }
    if by_hand.deploy.is_some() {
        let drops = format!("{file}.d");
        let (drops, backup) = (quoted(&drops), quoted(&format!("{drops}.backup")));
        commands.push(format!("sudo test -d {backup} && sudo rm -rf {drops} && sudo cp -a {backup} {drops}"));
    }
    commands.push("sudo systemctl daemon-reload".to_owned());
    commands.push(format!("sudo systemctl start {name}"));
    commands.push(format!("sudo systemctl status {name}"));
    commands
}

/// What `deploy.sh` notes in `before` says of which kind the destination was, and by their inodes which tree is which: the old one
/// lies at `old`, and for a moment at `new`.
const TREE: &str = r#"cd "$1" && grep -qx "kind tree" before && was=$(sed -n "s/^was //p" before) && for t in old new; do [ "$(stat -c %i $t 2> /dev/null)" != "$was" ] || { mv -T "$2" failed; mv -nT $t "$2"; }; done"#;
const LINK: &str = r#"cd "$1" && grep -qx "kind link" before && [ -L "$2" ] && ln -sfnT "$(sed -n "s/^was //p" before)" "$2""#;
const NONE: &str = r#"cd "$1" && grep -qx "kind none" before && [ "$(stat -c %i "$2")" = "$(sed -n "s/^new //p" before)" ] && mv -T "$2" failed"#;

/// One for each kind of destination.
pub(super) fn old_tree(key: OrchestrationId, destination: &str) -> [String; 3] {
    let quoted = |text: &str| crate::far::quoted(text);
    let destination = trimmed(destination);
    let (at, to) = (quoted(&format!("{destination}.reveille/{key}")), quoted(&destination));
    let kinds = [(TREE, "was a folder"), (LINK, "was a link"), (NONE, "was not there")];
    kinds.map(|(script, kind)| format!("sudo sh -c {} sh {at} {to}  # if {destination} {kind}", quoted(script)))
}

/// What to look at by hand, where nobody can look from here (S3-95, S3-96).
pub fn manual_look(unit: &str, port: Option<u16>) -> Vec<String> {
    let name = crate::far::quoted(unit);
    let port = port.map(|port| format!("sudo ss -tlnp 'sport = :{port}'"));
    let usual = ["systemctl status", "journalctl -n 50 -u", "systemctl list-dependencies"];
    usual.iter().map(|words| format!("sudo {words} {name}")).chain(port).collect()
}

#[derive(Clone, Copy)]
enum At {
    Start,
    Journal,
    Port,
    Needed,
    States,
    Environment,
    Backup,
}

struct Ask {
    unit: String,
    backup: String,
    port: Option<u16>,
    help: ServiceHelp,
    at: At,
}

fn readable<T>(read: Result<T, String>) -> Readable<T> {
    read.map_or_else(Readable::Unknown, Readable::Known)
}

impl Ask {
    fn go(&mut self, at: At) -> Next<ServiceHelp> {
        let run = |words: &[&str]| Next::Run(Invocation::new(words.iter().copied(), LIMIT));
        self.at = at;
        let unit = self.unit.as_str();
        match at {
            At::Start | At::Journal => {
                self.at = At::Journal;
                run(&["journalctl", "--quiet", "--no-pager", "--output=short-iso", "--lines", LINES, "--unit", unit])
            }
            At::Port if self.port.is_some() => run(&["ss", "-H", "-t", "-l", "-n", "-p"]),
            At::Port | At::Needed | At::States => {
                self.at = At::Needed;
                run(&["systemctl", "list-dependencies", "--plain", "--no-pager", "--", unit])
            }
            At::Environment => run(&["systemctl", "show", "--property=Environment,EnvironmentFiles,LoadState", "--", unit]),
            At::Backup => run(&["stat", "-c", "%y", "--", &self.backup]),
        }
    }

    fn needed(&mut self, output: &Output) -> Next<ServiceHelp> {
        let units = answer::stdout("systemctl list-dependencies", output).map(|text| needed(&self.unit, text));
        let asked = units.and_then(|units| match &units[..] {
            [] => Ok(None),
            some => show(some, &["Id", "Result"], LIMIT)
                .map(Some)
                .map_err(|trouble| trouble.why)
                .map(|run| run.map(|run| (run, some.len()))),
        });
        match asked {
            Ok(Some((run, _))) => {
                self.at = At::States;
                Next::Run(run)
            }
            Ok(None) => {
                self.help.failed_dependencies = Readable::Known(Vec::new());
                self.go(At::Environment)
            }
            Err(why) => {
                self.help.failed_dependencies = Readable::Unknown(why);
                self.go(At::Environment)
            }
        }
    }
}

impl Steps<ServiceHelp> for Ask {
    fn next(&mut self, last: Option<&Output>, _: Millis) -> Next<ServiceHelp> {
        let silent = Output::default();
        let output = last.unwrap_or(&silent);
        match self.at {
            At::Start => self.go(At::Journal),
            At::Journal => {
                let lines = answer::stdout("journalctl", output).map(|text| text.lines().map(str::to_owned).collect());
                self.help.journal = readable(lines);
                self.go(At::Port)
            }
            At::Port => {
                self.help.listening =
                    self.port.map(|port| readable(answer::stdout("ss", output).and_then(|text| listening(text, port))));
                self.go(At::Needed)
            }
            At::Needed => self.needed(output),
            At::States => {
                self.help.failed_dependencies = readable(states(output));
                self.go(At::Environment)
            }
            At::Environment => {
                let text = answer::stdout("systemctl show", output);
                self.help.environment = readable(text.clone().and_then(environment));
                self.help.environment_files = readable(text.and_then(environment_files));
                self.go(At::Backup)
            }
            At::Backup => {
                self.help.backup = if output.succeeded() {
                    let date = output.stdout.trim().split('.').next().unwrap_or_default();
                    Readable::Known(Some(format!("{} of {date}", self.backup)))
                } else if output.exit == Some(1) && output.stderr.contains("No such file") {
                    Readable::Known(None)
                } else {
                    Readable::Unknown(answer::why_not("stat", output))
                };
                Next::Done(self.help.clone())
            }
        }
    }
}

/// Names of units, one a line, behind what is drawn for people; the first is the unit itself.
fn needed(unit: &str, text: &str) -> Vec<String> {
    let name = |line: &str| line.trim_start_matches(|c: char| !c.is_ascii_alphanumeric()).trim_end().to_owned();
    let names = text.lines().map(name).filter(|name| is_unit_name(name) && name != unit);
    let all: std::collections::BTreeSet<String> = names.collect();
    all.into_iter().take(MOST).collect()
}

fn states(output: &Output) -> Result<Vec<String>, String> {
    // How many there are is not compared: two names may be of one unit.
    let units = read_all_units(output)?;
    let bad = |unit: &&Unit| unit.get("ActiveState") == "failed" || unit.is_missing();
    let told = |unit: &Unit| {
        let state = if unit.is_missing() { "not-found".to_owned() } else { unit.state() };
        format!("{}: {state}", unit.get("Id"))
    };
    Ok(units.iter().filter(bad).map(told).collect())
}

/// `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(…)`: the lines whose own address ends with the port.
fn listening(text: &str, port: u16) -> Result<Vec<String>, String> {
    let end = format!(":{port}");
    let mut found = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let own = words.get(3).ok_or_else(|| format!("ss: unreadable line {line:?}"))?;
        if own.ends_with(&end) {
            found.push(words.join(" "));
        }
    }
    Ok(found)
}

/// The names in `Environment=A=1 "B=two words"`; what is not understood is not told at all, as it may be a value.
fn environment(text: &str) -> Result<Vec<String>, String> {
    let unreadable = || "systemctl show: the environment cannot be read".to_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("Environment="));
    let Some(line) = line else {
        return if text.contains("LoadState=") { Ok(Vec::new()) } else { Err(unreadable()) };
    };
    let mut names = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (word, after) = word(rest).ok_or_else(unreadable)?;
        let (name, _) = word.split_once('=').ok_or_else(unreadable)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(unreadable());
        }
        names.push(name.to_owned());
        rest = after.trim_start();
    }
    Ok(names)
}

/// The first word, without its quotes, and what comes after it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('$').filter(|text| text.starts_with('\'')).unwrap_or(text);
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
        return Some(text.split_once(' ').unwrap_or((text, "")));
    };
    let inner = text.get(1..)?;
    let mut escaped = false;
    for (at, c) in inner.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return Some((inner.get(..at)?, inner.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

/// `EnvironmentFiles=/etc/default/web (ignore_errors=no)`, one line for each.
fn environment_files(text: &str) -> Result<Vec<String>, String> {
    if !text.contains("LoadState=") {
        return Err("systemctl show: the answer is not whole".to_owned());
    }
    let files = text.lines().filter_map(|line| line.strip_prefix("EnvironmentFiles=")).filter(|file| !file.is_empty());
    Ok(files.map(|file| file.split(" (").next().unwrap_or(file).to_owned()).collect())
}

#[cfg(test)]
mod tests;
