//! Rules about what is written where.

use std::collections::BTreeSet;

use super::{File, Tree};

const PURE: [&str; 5] = ["model", "protocol", "recipe", "engine", "driver"];
const LONGEST: usize = 600;

impl File {
    /// The crate in whose sources it is, if it is code that is built into a product: no test.
    fn product_crate(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once("/src/")?;
        let test = rest.ends_with("tests.rs") || rest.split('/').any(|part| part == "tests");
        (rest.ends_with(".rs") && !test).then_some(name)
    }

    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Numbered lines of code before the tests, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines_before_tests()
            .map(|(number, line)| (number, line.split_once(" //").map_or(line, |(code, _)| code)))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn lines_before_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(index, line)| (index + 1, line));
        numbered.take_while(|(_, line)| line.trim() != "#[cfg(test)]")
    }

    fn place(&self, number: usize, what: &str) -> String {
        format!("{}:{number}: {what}", self.path)
    }

    /// Places in the code where one of `words` stands.
    fn mentions(&self, words: &[&str]) -> Vec<String> {
        let hits = self.code().flat_map(|(number, line)| {
            words.iter().filter(move |word| line.contains(**word)).map(move |word| self.place(number, word))
        });
        hits.collect()
    }
}

fn in_crates<'a>(tree: &'a Tree, wanted: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a File> {
    tree.files.iter().filter(move |file| file.product_crate().is_some_and(&wanted))
}

pub(super) fn lints(tree: &Tree) -> Vec<String> {
    let manifests = tree.files.iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    manifests.filter(|file| !file.text.contains("[lints]\nworkspace = true")).map(|file| file.path.clone()).collect()
}

pub(super) fn purity(tree: &Tree) -> Vec<String> {
    let world = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "SystemTime",
        "Instant::now",
        "Timestamp::now",
        "Zoned::now",
        "rand::",
        "getrandom",
        "Uuid::new_v4",
        "Uuid::now_v7",
        "tokio::",
        "println!",
    ];
    in_crates(tree, |name| PURE.contains(&name)).flat_map(|file| file.mentions(&world)).collect()
}

/// In the form in which they would stand in an argument list. Tools that are also kinds of children (`lxd`, `docker`) cannot be
/// told from their kind by a look.
const TOOLS: [&str; 9] = [
    "\"systemctl\"",
    "\"busctl\"",
    "\"systemd-inhibit\"",
    "\"systemd-run\"",
    "\"shutdown\", \"-",
    "\"lxc\"",
    "\"virsh\"",
    "\"machinectl\"",
    "\"journalctl\"",
];

pub(super) fn foreign_tools(tree: &Tree) -> Vec<String> {
    let strangers = in_crates(tree, |name| !["recipe", "e2e"].contains(&name));
    strangers.flat_map(|file| file.mentions(&TOOLS)).collect()
}

pub(super) fn thin_edge_topics(tree: &Tree) -> Vec<String> {
    let others = in_crates(tree, |name| name != "e2e").filter(|file| file.path != "crates/protocol/src/thin_edge.rs");
    others.flat_map(|file| file.mentions(&["\"te/"])).collect()
}

pub(super) fn simulator(tree: &Tree) -> Vec<String> {
    let code: Vec<&str> = in_crates(tree, |name| name == "sim").flat_map(|file| file.code()).map(|(_, line)| line).collect();
    let calls = ["engine::", "driver::", "agent::"];
    let missing = calls.iter().filter(|call| !code.iter().any(|line| line.contains(**call)));
    missing.map(|call| format!("crates/sim nowhere calls {call}")).collect()
}

pub(super) fn controller_walls(tree: &Tree) -> Vec<String> {
    let part = |file: &File, name: &str| {
        let inside = file.path.strip_prefix("crates/controller/src/").unwrap_or_default();
        inside.starts_with(&format!("{name}/")) || inside == format!("{name}.rs")
    };
    let controller = || in_crates(tree, |name| name == "controller");
    let faces = controller().filter(|file| part(file, "api") || part(file, "ui"));
    let past_control = ["crate::store", "crate::transport", "crate::notify", "driver::", "sqlx"];
    let control = controller().filter(|file| part(file, "control"));
    let sending = [".send_command(", "Transport::send", ".publish("];
    faces.flat_map(|file| file.mentions(&past_control)).chain(control.flat_map(|file| file.mentions(&sending))).collect()
}

pub(super) fn length(tree: &Tree) -> Vec<String> {
    let rust = tree.files.iter().filter(|file| file.is_rust());
    let lengths = rust.map(|file| (file, file.lines_before_tests().count()));
    lengths.filter(|(_, lines)| *lines > LONGEST).map(|(file, lines)| file.place(lines, "too long")).collect()
}

pub(super) fn put_off(tree: &Tree) -> Vec<String> {
    // Put together here, so that this list is not one of its own finds.
    let marks = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"], ["unimple", "mented!("], ["#[al", "low("], ["mod uti", "ls;"]]
        .map(|half| half.concat());
    let mut places = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust() || file.path.ends_with(".sh")) {
        for (index, line) in file.text.lines().enumerate() {
            places.extend(marks.iter().filter(|mark| line.contains(*mark)).map(|mark| file.place(index + 1, mark)));
        }
    }
    places
}

pub(super) fn alone(tree: &Tree) -> Vec<String> {
    let outside =
        [["/wo", "rk/"], ["shared/", "design"], ["shared/", "guides"], ["shared/", "requirements"]].map(|half| half.concat());
    let mut places = Vec::new();
    for file in &tree.files {
        for (index, line) in file.text.lines().enumerate() {
            places.extend(outside.iter().filter(|word| line.contains(*word)).map(|word| file.place(index + 1, word)));
        }
    }
    places
}

/// In `docs/mission.md` a table row whose cells include `done` names its tests in its last cell, each in backquotes. The last
/// part of a name (after `::`) is that of a test function, or of a scenario of the lab.
pub(super) fn mission(tree: &Tree) -> Vec<String> {
    let mut known = BTreeSet::new();
    for line in tree.files.iter().filter(|file| file.is_rust()).flat_map(|file| file.text.lines()) {
        let after = |mark| line.split_once(mark).map(|(_, rest)| rest.split(|c: char| !c.is_alphanumeric() && c != '_'));
        known.extend(after("fn ").and_then(|mut words| words.next()));
        known.extend(after("name: \"").and_then(|mut words| words.next()));
        known.extend(after("(\"lab_").and(line.split('"').nth(1)));
    }
    let mut broken = Vec::new();
    for file in tree.files.iter().filter(|file| file.path == "docs/mission.md") {
        for (index, line) in file.text.lines().enumerate() {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
            if !line.starts_with('|') || !cells.contains(&"done") {
                continue;
            }
            let tests: Vec<&str> = cells.last().unwrap_or(&"").split('`').skip(1).step_by(2).collect();
            if tests.is_empty() {
                broken.push(file.place(index + 1, "done without a test"));
            }
            for test in tests {
                let name = test.rsplit("::").next().unwrap_or(test);
                if !known.contains(name) {
                    broken.push(file.place(index + 1, &format!("there is no test {test}")));
                }
            }
        }
    }
    broken
}
