//! Rules about documents.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, Tree};

/// How many items each of the five documents of the mission has.
const ITEMS: [(&str, usize); 5] = [("S0", 78), ("S1", 94), ("S2", 39), ("S3", 151), ("S4", 34)];

/// The cells of a table's row, without backquotes round a whole cell; none for what is no row.
pub(super) fn cells(line: &str) -> Vec<&str> {
    let Some(row) = line.trim().strip_prefix('|').and_then(|row| row.strip_suffix('|')) else { return Vec::new() };
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    if cells.iter().all(|cell| cell.starts_with("---") || cell.starts_with(":--")) { Vec::new() } else { cells }
}

/// The rows of the tables between the heading `## heading` and the next one, without their head rows.
pub(super) fn table<'a>(file: &'a File, heading: &str) -> Vec<(usize, Vec<&'a str>)> {
    let lines: Vec<&str> = file.text.lines().collect();
    let start = lines.iter().position(|line| line.strip_prefix("## ") == Some(heading));
    let Some(start) = start else { return Vec::new() };
    let mut rows = Vec::new();
    for (index, line) in lines.iter().enumerate().skip(start + 1).take_while(|(_, line)| !line.starts_with("## ")) {
        let is_head = lines.get(index + 1).is_some_and(|next| next.trim_start().starts_with("|---"));
        let cells = cells(line);
        if !cells.is_empty() && !is_head {
            rows.push((index + 1, cells));
        }
    }
    rows
}

pub(super) fn find<'a>(tree: &'a Tree, path: &str) -> Option<&'a File> {
    tree.files.iter().find(|file| file.path == path)
}

/// What people read. Other products' words stand in the mission, and the words that are not used in their own list.
fn is_public(file: &File) -> bool {
    let page = file.path.ends_with(".md");
    let root = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"].contains(&file.path.as_str());
    let excepted = ["docs/mission.md", "docs/words.md"].contains(&file.path.as_str());
    page && (root || file.path.starts_with("docs/")) && !excepted
}

/// `docs/words.md` lists words that are not used, under a heading of their own.
pub(super) fn words(tree: &Tree) -> Vec<String> {
    let Some(list) = find(tree, "docs/words.md") else { return vec!["docs/words.md is missing".to_owned()] };
    let unused: BTreeSet<String> =
        table(list, "Words not used").iter().filter_map(|(_, cells)| cells.first()).map(|word| word.to_lowercase()).collect();
    let mut places = Vec::new();
    if unused.is_empty() {
        places.push(list.place(1, "no table of words not used"));
    }
    for file in tree.files.iter().filter(|file| is_public(file)) {
        for (index, line) in file.text.lines().enumerate() {
            let plain = without_code(line);
            let words = plain.split(|c: char| !c.is_alphanumeric() && c != '-').map(str::to_lowercase);
            places.extend(words.filter(|word| is_listed(&unused, word)).map(|word| file.place(index + 1, &word)));
        }
    }
    places
}

fn is_listed(unused: &BTreeSet<String>, word: &str) -> bool {
    unused.contains(word) || word.strip_suffix('s').is_some_and(|one| unused.contains(one))
}

/// What stands in backquotes is somebody's literal text.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

/// In `docs/mission.md` each item has one row: item, text, status, tests. A `done` item names its tests in its last cell, each in
/// backquotes; the last part of a name (after `::`) is that of a test function, of a script of the engine, or of a scenario of
/// the lab.
pub(super) fn mission(tree: &Tree) -> Vec<String> {
    let Some(file) = find(tree, "docs/mission.md") else { return vec!["docs/mission.md is missing".to_owned()] };
    let known = tests(tree);
    let mut broken = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (index, line) in file.text.lines().enumerate().filter(|(_, line)| line.starts_with("| S")) {
        let [item, _, status, named] = cells(line)[..] else {
            broken.push(file.place(index + 1, "not four cells"));
            continue;
        };
        *seen.entry(item.to_owned()).or_default() += 1;
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        match status {
            "done" if named.is_empty() => broken.push(file.place(index + 1, "done without a test")),
            "done" => {}
            "open" if named.is_empty() => {}
            "open" => broken.push(file.place(index + 1, "open, with a test")),
            other => broken.push(file.place(index + 1, &format!("neither done nor open: {other}"))),
        }
        for test in named {
            let name = test.rsplit("::").next().unwrap_or(test);
            if !known.contains(name) {
                broken.push(file.place(index + 1, &format!("there is no test {test}")));
            }
        }
    }
    for (document, count) in ITEMS {
        let wanted = (1..=count).map(|number| format!("{document}-{number}"));
        broken.extend(wanted.filter_map(|item| {
            let times = seen.remove(&item).unwrap_or(0);
            (times != 1).then(|| format!("{}: {item} stands there {times} times", file.path))
        }));
    }
    broken.extend(seen.keys().map(|item| format!("{}: there is no item {item}", file.path)));
    broken
}

/// Everything that is run as a test, by name.
fn tests(tree: &Tree) -> BTreeSet<&str> {
    let mut known = BTreeSet::new();
    for file in &tree.files {
        if let Some(script) = file.path.strip_prefix("crates/engine/tests/scripts/") {
            known.extend(script.strip_suffix(".txt"));
        }
        if !file.is_rust() {
            continue;
        }
        let mut is_test = false;
        for line in file.text.lines().map(str::trim) {
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            let word = |rest: &'_ str| -> usize { rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()) };
            if let Some((_, rest)) = line.split_once("fn ") {
                if is_test {
                    known.insert(&rest[..word(rest)]);
                }
                is_test = false;
            }
            if file.path.starts_with("crates/e2e/src/scenarios/")
                && let Some((_, rest)) = line.split_once("name: \"")
            {
                known.insert(&rest[..word(rest)]);
            }
        }
    }
    known
}

/// `docs/decisions/NNNN-what.md` says in its head when, and whether it holds.
pub(super) fn decisions(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    let mut numbers = BTreeSet::new();
    for file in tree.files.iter().filter(|file| file.path.starts_with("docs/decisions/") && file.path.ends_with(".md")) {
        let name = file.path.trim_start_matches("docs/decisions/");
        let number = name.split('-').next().unwrap_or_default();
        if number.len() != 4 || number.parse::<u16>().is_err() || !numbers.insert(number.to_owned()) {
            broken.push(file.place(1, "needs a number of four digits, which no other record has"));
        }
        let value = |key: &str| file.text.lines().take(8).find_map(|line| line.strip_prefix(key)).map(str::trim);
        let is_date = |date: &str| {
            date.len() == 10
                && date.char_indices().all(|(at, c)| if [4, 7].contains(&at) { c == '-' } else { c.is_ascii_digit() })
        };
        if !value("- Date:").is_some_and(is_date) {
            broken.push(file.place(1, "no line `- Date: YYYY-MM-DD` in its head"));
        }
        let holds = |status: &str| ["proposed", "accepted", "rejected"].contains(&status) || status.starts_with("superseded by ");
        if !value("- Status:").is_some_and(holds) {
            broken.push(file.place(1, "no line `- Status:` (proposed, accepted, rejected, superseded by NNNN) in its head"));
        }
    }
    if numbers.is_empty() && broken.is_empty() {
        broken.push("docs/decisions is empty".to_owned());
    }
    broken
}

pub(super) fn changelog(tree: &Tree) -> Vec<String> {
    match find(tree, "CHANGELOG.md") {
        None => vec!["CHANGELOG.md is missing".to_owned()],
        Some(file) if !file.text.lines().any(|line| line == "## Unreleased") => vec![file.place(1, "no `## Unreleased`")],
        Some(_) => Vec::new(),
    }
}

/// Links of the documents into the repository.
pub(super) fn links(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        let dir = file.path.rsplit_once('/').map_or("", |(dir, _)| dir);
        for (index, line) in file.text.lines().enumerate() {
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let target = link.split('#').next().unwrap_or_default();
                if target.is_empty() || target.contains("://") {
                    continue;
                }
                let path = joined(dir, target);
                let is_dir = || tree.files.iter().any(|other| other.path.starts_with(&format!("{path}/")));
                if find(tree, &path).is_none() && !is_dir() {
                    broken.push(file.place(index + 1, &format!("leads nowhere: {link}")));
                }
            }
        }
    }
    broken
}

fn joined(dir: &str, target: &str) -> String {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Options of our own programs that the documents name: in what stands in backquotes or in a block of commands.
pub(super) fn options(tree: &Tree) -> Vec<String> {
    let code: Vec<&File> = tree.files.iter().filter(|file| file.is_rust()).collect();
    let exists = |option: &str| {
        let (written, field) = (format!("\"{option}\""), format!("{}:", option.trim_start_matches('-').replace('-', "_")));
        let long = format!("long = \"{}\"", option.trim_start_matches('-'));
        let is_field = |line: &str| line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ").starts_with(&field);
        code.iter().any(|file| file.text.contains(&written) || file.text.contains(&long) || file.text.lines().any(is_field))
    };
    let mut broken = Vec::new();
    for file in tree.files.iter().filter(|file| is_public(file)) {
        let mut block = false;
        for (index, line) in file.text.lines().enumerate() {
            if line.starts_with("```") {
                block = !block;
                continue;
            }
            let spans: Vec<&str> = if block { vec![line] } else { line.split('`').skip(1).step_by(2).collect() };
            for span in spans.iter().map(|span| span.trim().trim_start_matches("sudo ")) {
                let ours = span.starts_with("reveille") || span.starts_with("--") || span.starts_with("cargo xtask");
                let words = span.split_whitespace().filter(|word| ours && word.starts_with("--") && word.len() > 2);
                let missing = words.map(|word| word.split('=').next().unwrap_or(word)).filter(|word| !exists(word));
                broken.extend(missing.map(|word| file.place(index + 1, &format!("no such option: {word}"))));
            }
        }
    }
    broken
}
