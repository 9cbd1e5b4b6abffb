//! `docs/reference.md` says what the code says: names, ports, paths, limits, codes and payloads, one table for each.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::docs::{find, table};
use super::text::in_crates;
use super::{File, Tree};

const REFERENCE: &str = "docs/reference.md";
const ENGINE: &str = "crates/engine/src/config.rs";
const EXITS: &str = "crates/cli/src/exit.rs";
const TOPICS: &str = "crates/protocol/src/native/topic.rs";
const ROUTES: &str = "crates/controller/src/api/";

/// Tells of what stands on one side only. `what` says what kind of thing it is.
fn compare(what: &str, code: &BTreeSet<String>, page: &BTreeSet<String>) -> Vec<String> {
    let mut broken: Vec<String> = code.difference(page).map(|one| format!("{REFERENCE}: no {what} {one}")).collect();
    broken.extend(page.difference(code).map(|one| format!("{REFERENCE}: the code has no {what} {one}")));
    if code.is_empty() {
        broken.push(format!("no {what} was found in the code"));
    }
    broken
}

/// First and second cell of each row under a heading, without backquotes.
fn pairs(tree: &Tree, heading: &str) -> Vec<(String, String)> {
    let rows = find(tree, REFERENCE).map(|file| table(file, heading)).unwrap_or_default();
    let plain = |cell: Option<&&str>| cell.map(|cell| cell.replace('`', "")).unwrap_or_default();
    rows.iter().map(|(_, cells)| (plain(cells.first()), plain(cells.get(1)))).collect()
}

fn text<'a>(tree: &'a Tree, path: &str) -> &'a str {
    find(tree, path).map_or("", |file| file.text.as_str())
}

/// What stands between the first `open` and the next `close` after it.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(open)?;
    rest.split_once(close).map(|(inner, _)| inner)
}

/// The strings in a line of code.
fn literals(line: &str) -> impl Iterator<Item = &str> {
    line.split('"').skip(1).step_by(2)
}

pub(super) fn engine(tree: &Tree) -> Vec<String> {
    let body = between(text(tree, ENGINE), "fn default() -> Self {", "\n    }").unwrap_or_default();
    let code = body.lines().filter_map(|line| {
        let (key, value) = line.trim().trim_end_matches(',').split_once(": ")?;
        Some(format!("{key} = {}", spoken(value)?))
    });
    let page = pairs(tree, "Durations and limits").into_iter().map(|(key, value)| {
        let value = value.split(" (").next().unwrap_or_default().to_owned();
        format!("{key} = {value}")
    });
    compare("engine default", &code.collect(), &page.collect())
}

/// A default as the reference writes it: `30 s`, `4`. What is a table of its own is none.
fn spoken(value: &str) -> Option<String> {
    let (product, unit) = match (value.strip_prefix("Millis::secs("), value.strip_prefix("Millis(")) {
        (Some(inner), _) => (inner.trim_end_matches(')'), " s"),
        (None, Some(inner)) => (inner.trim_end_matches(')'), " ms"),
        (None, None) => (value, ""),
    };
    let factors: Option<Vec<u64>> = product.split('*').map(|factor| factor.trim().replace('_', "").parse().ok()).collect();
    Some(format!("{}{unit}", factors?.iter().product::<u64>()))
}

pub(super) fn exit_codes(tree: &Tree) -> Vec<String> {
    let rows = between(text(tree, EXITS), "TABLE: &[(Exit, u8, &str)] = &[", "];").unwrap_or_default();
    let code = rows.split("Exit::").filter_map(|row| {
        let number = row.split(',').nth(1)?.trim();
        Some(format!("{number} {}", literals(row).next()?))
    });
    let page = pairs(tree, "Exit codes").into_iter().map(|(number, meaning)| format!("{number} {meaning}"));
    compare("exit code", &code.collect(), &page.collect())
}

pub(super) fn variables(tree: &Tree) -> Vec<String> {
    let mut code = BTreeSet::new();
    for file in tree.files.iter().filter(|file| file.product_crate().is_some()) {
        for (_, line) in file.code() {
            let names = line
                .split(|c: char| !c.is_ascii_uppercase() && c != '_')
                .filter(|word| word.len() > 9 && word.starts_with("REVEILLE_"));
            code.extend(names.map(str::to_owned));
        }
    }
    let page = pairs(tree, "Environment variables").into_iter().map(|(name, _)| name.trim_end_matches('…').to_owned());
    compare("variable", &code, &page.filter(|name| name.starts_with("REVEILLE_")).collect())
}

pub(super) fn topics(tree: &Tree) -> Vec<String> {
    let body = between(text(tree, TOPICS), "fn as_str(self)", "\n    }").unwrap_or_default();
    let code = body.lines().flat_map(literals).map(|kind| format!("reveille/v1/{{host_id}}/{kind}"));
    let page = pairs(tree, "Topics").into_iter().map(|(topic, _)| topic);
    compare("topic", &code.collect(), &page.collect())
}

/// Closed lists of the code that have a table of their own: what they are, where, the type, the heading, and what stands between
/// the words of a name.
pub(super) const LISTS: [(&str, &str, &str, &str, char); 8] = [
    ("command", "crates/cli/src/args/mod.rs", "enum ClientCommand", "Commands", '-'),
    ("drain", "crates/model/src/drain.rs", "enum Drain", "Drains", '_'),
    ("check", "crates/model/src/check.rs", "enum CheckKind", "Checks", '_'),
    ("rollout key", "crates/engine/src/config/rollout.rs", "struct RolloutDefaults", "Rollouts", '_'),
    ("limit group key", "crates/engine/src/config/group.rs", "struct LimitGroup", "Limit groups", '_'),
    ("blocker", "crates/engine/src/explain.rs", "enum Why", "Blockers", '_'),
    ("error code", "crates/model/src/command.rs", "enum ErrorCode", "Error codes", '_'),
    ("journal entry", "crates/engine/src/journal.rs", "enum FleetEntry, enum Entry", "Journal entries", '_'),
];

/// Each variant or field has its row, and each row is one.
pub(super) fn lists(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (what, path, types, heading, between_words) in LISTS {
        let Some(file) = find(tree, path) else { continue };
        let mut code = BTreeSet::new();
        for body in types.split(", ").filter_map(|name| between(&file.text, &format!("{name} {{\n"), "\n}")) {
            let members =
                body.lines().filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with([' ', '#', '/']));
            let word = |line: &str| line.trim_start_matches("pub ").split(['(', ',', ':', ' ']).next().map(str::to_owned);
            let names = members.filter_map(word).filter(|name| name.starts_with(char::is_alphabetic));
            code.extend(names.map(|name| spelt(&name, between_words)));
        }
        let cells = pairs(tree, heading).into_iter().map(|(names, _)| names);
        let page: BTreeSet<String> = cells.flat_map(|names| names.split(", ").map(str::to_owned).collect::<Vec<_>>()).collect();
        broken.extend(compare(what, &code, &page));
    }
    broken
}

/// `HostSeen` as `host_seen`.
fn spelt(name: &str, between_words: char) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push(between_words);
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Method, path and right of each operation, from the annotations that the router itself is made of.
pub(super) fn routes(tree: &Tree) -> Vec<String> {
    let mut code = BTreeSet::new();
    for file in in_crates(tree, |name| name == "controller").filter(|file| file.path.starts_with(ROUTES)) {
        for operation in file.text.split("#[utoipa::path(").skip(1) {
            let head = operation.split(")]").next().unwrap_or_default();
            let (Some(method), Some(path)) = (head.split(',').next(), between(head, "path = \"", "\"")) else { continue };
            let right = match between(operation, "security(", "fn ") {
                Some(rest) if rest.starts_with("())") => "anybody",
                Some(rest) => {
                    between(rest, "[\"", "\"]").filter(|_| !rest.starts_with("(\"bearer\" = [])")).unwrap_or("any token")
                }
                None => "unknown",
            };
            code.insert(format!("{} {} ({right})", method.trim().to_uppercase(), below_api(path)));
        }
    }
    let rows = find(tree, REFERENCE).map(|file| table(file, "Routes")).unwrap_or_default();
    let page = rows.iter().filter_map(|(_, cells)| {
        let [method, path, right, ..] = cells[..] else { return None };
        Some(format!("{method} {} ({})", below_api(path.trim_matches('`')), right.trim_matches('`')))
    });
    compare("route", &code, &page.collect())
}

fn below_api(path: &str) -> &str {
    let path = path.strip_prefix("/api").unwrap_or(path);
    path.strip_prefix("/v1").unwrap_or(path)
}

/// A block of JSON under `<!-- sample: PATH -->` is that file; each sample of the API is shown.
pub(super) fn payloads(tree: &Tree) -> Vec<String> {
    let samples = |file: &&File| file.path.starts_with("crates/protocol/samples/rest/") && file.path.ends_with(".json");
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let wanted: BTreeMap<&str, Option<Value>> =
        tree.files.iter().filter(samples).map(|file| (file.path.as_str(), parse(&file.text))).collect();
    let mut shown = BTreeMap::new();
    for block in text(tree, REFERENCE).split("<!-- sample: ").skip(1) {
        let Some((path, rest)) = block.split_once(" -->") else { continue };
        shown.insert(path, between(rest, "```json\n", "\n```").and_then(parse));
    }
    let mut broken = Vec::new();
    for (path, value) in &wanted {
        match shown.get(path) {
            None => broken.push(format!("{REFERENCE}: {path} is not shown")),
            Some(text) if text.is_none() || text != value => broken.push(format!("{REFERENCE}: {path} is another")),
            Some(_) => {}
        }
    }
    broken
        .extend(shown.keys().filter(|path| !wanted.contains_key(**path)).map(|path| format!("{REFERENCE}: there is no {path}")));
    broken
}

/// Every key of every `config.rs` of agent and controller; the engine's have a table of their own.
pub(super) fn keys(tree: &Tree) -> Vec<String> {
    let mut code = BTreeSet::new();
    let configs = in_crates(tree, |name| ["agent", "controller"].contains(&name));
    for file in configs.filter(|file| file.path.ends_with("/config.rs") || file.path.contains("/config/")) {
        let mut reads = false;
        let mut inside = false;
        let mut renamed = None;
        for (_, line) in file.code() {
            let words = line.trim();
            reads = reads && !words.starts_with("impl ") || words.contains("deny_unknown_fields");
            inside = inside && line != "}" || reads && words.contains("struct ") && words.ends_with('{');
            if words.starts_with("#[serde(") {
                renamed = between(words, "rename = \"", "\"").or(renamed);
            }
            if inside && let Some((key, _)) = words.strip_prefix("pub ").unwrap_or(words).split_once(": ") {
                let key = key.strip_prefix("pub(crate) ").or_else(|| key.strip_prefix("pub(super) ")).unwrap_or(key);
                if key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
                    code.insert(renamed.take().unwrap_or(key).to_owned());
                }
            }
            if line == "}" {
                reads = false;
            }
        }
    }
    let page =
        pairs(tree, "Configuration").into_iter().map(|(key, _)| key.rsplit(['.', ' ']).next().unwrap_or_default().to_owned());
    compare("configuration key", &code, &page.collect())
}

/// Ports that are listened on by default, and places in the file system that are the product's own.
pub(super) fn places(tree: &Tree) -> Vec<String> {
    let own = ["/etc/reveille", "/var/lib/reveille", "/run/reveille", "/var/cache/reveille"];
    let mut code = BTreeSet::new();
    for file in in_crates(tree, |name| ["agent", "controller", "cli", "e2e", "recipe"].contains(&name)) {
        for (_, line) in file.code() {
            code.extend(literals(line).filter(|text| own.iter().any(|own| text.starts_with(own))).map(str::to_owned));
            if line.contains("const ") && line.contains("PORT") && line.contains("u16") {
                let number = |port: &String| port.parse::<u16>().is_ok();
                code.extend(between(line, "= ", ";").map(|port| port.replace('_', "")).filter(number));
            }
            code.extend(between(line, "SocketAddr::from(([0, 0, 0, 0], ", ")").map(str::to_owned));
        }
    }
    let page = pairs(tree, "Ports and paths").into_iter().map(|(place, _)| place);
    let is_part = |place: &str| own.iter().any(|own| place.starts_with(own)) || place.parse::<u16>().is_ok();
    compare("port or path", &code, &page.filter(|place| is_part(place)).collect())
}
