//! All services of a host, with their states (S3-94).

use model::{Millis, UnitSeen};

use super::look::{PROPERTIES, seen};
use crate::drain::read_all_units;
use crate::{Invocation, Next, Output, Script, Steps};

const LIMIT: Millis = Millis(30_000);

/// One service that systemd knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedUnit {
    /// Its name, with its suffix.
    pub name: String,
    /// In words.
    pub description: String,
    /// Its state and its unit file.
    pub unit: UnitSeen,
    /// What is started before it.
    pub after: Vec<String>,
    /// What it cannot be without.
    pub requires: Vec<String>,
}

/// All services that systemd has loaded and that fit one of the patterns (`lilith-*`), all of them without a pattern; or why
/// that cannot be told. By name.
pub fn list_units(patterns: &[String]) -> Script<Result<Vec<ListedUnit>, String>> {
    let mut wanted = Vec::new();
    for pattern in patterns {
        let good = |b: u8| b.is_ascii_alphanumeric() || b":-_.\\@*?[]!^".contains(&b);
        if pattern.is_empty() || pattern.starts_with(['-', '.']) || !pattern.bytes().all(good) {
            return Script::ended(Err(format!("{pattern:?} is no pattern for names of units")));
        }
        let whole = pattern.ends_with(".service");
        // A trailing star would take in sockets and timers, too.
        wanted.push(if whole { pattern.clone() } else { format!("{pattern}.service") });
    }
    let some = !wanted.is_empty();
    if !some {
        wanted.push("*.service".to_owned());
    }
    let more = ["Id", "Description", "LoadState", "ActiveState", "SubState", "After", "Requires"];
    let properties: Vec<&str> = more.into_iter().chain(PROPERTIES).collect();
    let properties = format!("--property={}", properties.join(","));
    let words = ["systemctl".to_owned(), "show".to_owned(), "--all".to_owned(), properties, "--".to_owned()];
    Script::new(List { run: Invocation::new(words.into_iter().chain(wanted), LIMIT), some, asked: false })
}

struct List {
    run: Invocation,
    /// Patterns were given, so that it may be that nothing fits.
    some: bool,
    asked: bool,
}

impl Steps<Result<Vec<ListedUnit>, String>> for List {
    fn next(&mut self, last: Option<&Output>, _: Millis) -> Next<Result<Vec<ListedUnit>, String>> {
        match last {
            Some(output) if self.asked => Next::Done(read(output, self.some)),
            _ => {
                self.asked = true;
                Next::Run(self.run.clone())
            }
        }
    }
}

fn read(output: &Output, some: bool) -> Result<Vec<ListedUnit>, String> {
    if some && output.succeeded() && output.stdout.is_empty() && output.stderr.is_empty() {
        return Ok(Vec::new());
    }
    let mut listed = Vec::new();
    for found in read_all_units(output)? {
        let name = found.get("Id").to_owned();
        if !model::is_unit_name(&name) {
            return Err(format!("systemctl show: {name:?} is no name of a unit"));
        }
        let unit = seen(&name, &found)?;
        // A pattern without a star names one that may not be there.
        if unit.load == "not-found" && found.is_down() {
            continue;
        }
        let names = |property: &str| found.get(property).split_whitespace().map(str::to_owned).collect();
        listed.push(ListedUnit {
            description: found.get("Description").to_owned(),
            after: names("After"),
            requires: names("Requires"),
            unit,
            name,
        });
    }
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

#[cfg(test)]
mod tests;
