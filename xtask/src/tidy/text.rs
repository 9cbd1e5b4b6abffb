//! Rules about what is written where.

use super::{File, Tree};

const PURE: [&str; 6] = ["model", "protocol", "recipe", "engine", "driver", "inventory"];
const LONGEST: usize = 600;

impl File {
    /// The crate in whose sources it is, if it is code that is built into a product: no test.
    pub(super) fn product_crate(&self) -> Option<&str> {
        let (name, rest) = self.path.strip_prefix("crates/")?.split_once("/src/")?;
        let test = self.for_tests || rest.ends_with("tests.rs") || rest.split('/').any(|part| part == "tests");
        (rest.ends_with(".rs") && !test).then_some(name)
    }

    pub(super) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Numbered lines of code that are built into a product, without comments.
    pub(super) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines_without_tests()
            .map(|(number, line)| (number, line.split_once(" //").map_or(line, |(code, _)| code)))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// Without the items that are marked `#[cfg(test)]`. Goes by the indentation that the formatter keeps.
    pub(super) fn lines_without_tests(&self) -> impl Iterator<Item = (usize, &str)> {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut skipped: Option<usize> = None;
        self.text.lines().enumerate().filter_map(move |(index, line)| {
            let words = line.trim();
            match skipped {
                None if words == "#[cfg(test)]" => skipped = Some(indent(line)),
                None => return Some((index + 1, line)),
                Some(depth) => {
                    let ends = words.ends_with([';', ',']) || words.ends_with('}');
                    if indent(line) == depth && ends && !words.starts_with("#[") {
                        skipped = None;
                    }
                }
            }
            None
        })
    }

    pub(super) fn place(&self, number: usize, what: &str) -> String {
        format!("{}:{number}: {what}", self.path)
    }

    /// Places in the code where one of `words` stands.
    pub(super) fn mentions(&self, words: &[&str]) -> Vec<String> {
        let hits = self.code().flat_map(|(number, line)| {
            words.iter().filter(move |word| line.contains(**word)).map(move |word| self.place(number, word))
        });
        hits.collect()
    }
}

pub(super) fn in_crates<'a>(tree: &'a Tree, wanted: impl Fn(&str) -> bool + 'a) -> impl Iterator<Item = &'a File> {
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

/// Topics of the native dialect, and the words of a command as they stand in its JSON.
pub(super) fn wire(tree: &Tree) -> Vec<String> {
    let words = ["reveille/v1", "\"expect_boot\"", "\"begin_within\"", "\"fence\""];
    in_crates(tree, |name| !["protocol", "e2e"].contains(&name)).flat_map(|file| file.mentions(&words)).collect()
}

pub(super) fn simulator(tree: &Tree) -> Vec<String> {
    let code: Vec<&str> = in_crates(tree, |name| name == "sim").flat_map(|file| file.code()).map(|(_, line)| line).collect();
    let calls = ["Driver::start(", "driver.turn(", "Machine::start(", "machine.handle(", "ledger::decode("];
    let missing = calls.iter().filter(|call| !code.iter().any(|line| line.contains(**call)));
    missing.map(|call| format!("crates/sim nowhere calls {call}")).collect()
}

/// Words of plans and of the engine's own journal entries. The simulator may count replies, but not go by the plan.
pub(super) fn simulator_decides(tree: &Tree) -> Vec<String> {
    let deciding = ["Blocker {", "StepAction::", "Recheck::", "FleetEntry::Locked", "Entry::StepStarted {"];
    let in_simulator = in_crates(tree, |name| name == "sim");
    // What checks the guarantees reads the journals, and has to know their words.
    in_simulator.filter(|file| !file.path.contains("/check")).flat_map(|file| file.mentions(&deciding)).collect()
}

pub(super) fn length(tree: &Tree) -> Vec<String> {
    let rust = tree.files.iter().filter(|file| file.is_rust());
    let lengths = rust.map(|file| (file, file.lines_without_tests().count()));
    lengths.filter(|(_, lines)| *lines > LONGEST).map(|(file, lines)| file.place(lines, "too long")).collect()
}

pub(super) fn put_off(tree: &Tree) -> Vec<String> {
    // Put together here, so that this list is not one of its own finds.
    let marks = [
        ["TO", "DO"],
        ["FIX", "ME"],
        ["XX", "X"],
        ["unimple", "mented!("],
        ["to", "do!("],
        ["db", "g!("],
        ["#[ig", "nore"],
        ["#[al", "low("],
    ]
    .map(|half| half.concat());
    let mut places = Vec::new();
    for file in tree.files.iter().filter(|file| file.is_rust() || file.path.ends_with(".sh")) {
        for (index, line) in file.text.lines().enumerate() {
            places.extend(marks.iter().filter(|mark| line.contains(*mark)).map(|mark| file.place(index + 1, mark)));
        }
    }
    places
}

/// No path of one machine, no registry, nobody's tools: whoever has only this repository can read all of it.
pub(super) fn alone(tree: &Tree) -> Vec<String> {
    let outside = [
        ["/wo", "rk/"],
        ["shared/", "design"],
        ["shared/", "guides"],
        ["shared/", "requirements"],
        ["shared/", "reference"],
        ["crates", ".io"],
        ["docs", ".rs/"],
        ["Clau", "de"],
        ["Anthro", "pic"],
        ["Chat", "GPT"],
        ["Copi", "lot"],
        ["language ", "model"],
    ]
    .map(|half| half.concat());
    let mut places = Vec::new();
    // Cargo writes the address of its index into the lock file.
    for file in tree.files.iter().filter(|file| file.path != "Cargo.lock") {
        for (index, line) in file.text.lines().enumerate() {
            places.extend(outside.iter().filter(|word| line.contains(*word)).map(|word| file.place(index + 1, word)));
        }
    }
    places
}
