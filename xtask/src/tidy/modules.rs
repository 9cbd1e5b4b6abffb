//! Rules about which module of a crate uses which.

use std::collections::{BTreeMap, BTreeSet};

use super::text::in_crates;
use super::{File, Tree};

/// Which top-level modules of a crate use which others, each with one place where it does.
type Uses = BTreeMap<String, BTreeMap<String, String>>;

/// What the controller's modules may use of each other. What stands in no row uses nothing of them.
const CONTROLLER: [(&str, &[&str]); 9] = [
    ("app", &["api", "ui", "config", "control", "hands", "store", "transport", "notify"]),
    ("local", &["api", "control", "store", "notify"]),
    ("hands", &["control", "transport"]),
    ("api", &["control"]),
    ("ui", &["control"]),
    ("control", &["store", "transport", "notify"]),
    ("config", &["store", "transport", "notify", "control"]),
    ("notify", &["store", "transport"]),
    ("store", &[]),
];

/// Nothing else in `control` hands anything to the broker: it is the driver's way to the devices.
const COURIER: &str = "crates/controller/src/control/courier.rs";
/// Chooses between the courier and those who perform without an agent: the driver's transport, and no publisher.
const DISPATCH: &str = "crates/controller/src/control/dispatch.rs";

pub(super) fn controller(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for (module, uses) in uses_of(tree, "controller") {
        let allowed = CONTROLLER.iter().find(|(name, _)| *name == module).map_or(&[][..], |(_, allowed)| *allowed);
        // Binaries and the library's root see the app; they are no modules of their own.
        if module == "main" || module == "bin" {
            continue;
        }
        broken.extend(
            uses.into_iter()
                .filter(|(used, _)| !allowed.contains(&used.as_str()))
                .map(|(used, place)| format!("{place}: {module} uses {used}")),
        );
    }
    let faces = in_crates(tree, |name| name == "controller").filter(|file| ["api", "ui"].contains(&module_of(file)));
    broken.extend(faces.flat_map(|file| file.mentions(&["driver::", "sqlx", "mqtt5"])));
    broken
}

pub(super) fn control_sends_nothing(tree: &Tree) -> Vec<String> {
    let control = in_crates(tree, |name| name == "controller").filter(|file| ["control", "api", "ui"].contains(&module_of(file)));
    let sending = [".publish(", "ControllerBody::Command", "Transport for", "Transport::send"];
    let told = |file: &File| if file.path == DISPATCH { file.mentions(&sending[..2]) } else { file.mentions(&sending) };
    control.filter(|file| file.path != COURIER).flat_map(told).collect()
}

pub(super) fn circles(tree: &Tree) -> Vec<String> {
    let crates: BTreeSet<&str> = tree.files.iter().filter_map(File::product_crate).collect();
    let mut broken = Vec::new();
    for name in crates {
        let uses = uses_of(tree, name);
        let reach: BTreeMap<&String, BTreeSet<String>> = uses.keys().map(|module| (module, reached(&uses, module))).collect();
        let mut told: BTreeSet<&String> = BTreeSet::new();
        for (module, reached) in &reach {
            if !reached.contains(*module) || told.contains(*module) {
                continue;
            }
            let circle: Vec<&String> = reach
                .iter()
                .filter(|(other, back)| reached.contains(**other) && back.contains(*module))
                .map(|(other, _)| *other)
                .collect();
            let within = |one: &String, other: &String| uses.get(one).and_then(|used| used.get(other));
            let places: Vec<String> = circle
                .iter()
                .flat_map(|one| circle.iter().filter_map(|other| Some(format!("{other} at {}", within(one, other)?))))
                .collect();
            let names: Vec<&str> = circle.iter().map(|module| module.as_str()).collect();
            broken.push(format!("crates/{name}: {} use each other: {}", names.join(", "), places.join("; ")));
            told.extend(circle);
        }
    }
    broken
}

fn reached(uses: &Uses, from: &str) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from.to_owned()];
    while let Some(module) = waiting.pop() {
        for used in uses.get(&module).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(used.clone()) {
                waiting.push(used.clone());
            }
        }
    }
    reached
}

/// The top-level module that a source file belongs to; empty for the root.
fn module_of(file: &File) -> &str {
    let inside = file.path.split_once("/src/").map_or("", |(_, inside)| inside);
    let first = inside.split('/').next().unwrap_or_default();
    match first.trim_end_matches(".rs") {
        "lib" => "",
        module => module,
    }
}

fn uses_of(tree: &Tree, name: &str) -> Uses {
    let files: Vec<&File> = in_crates(tree, |other| other == name).filter(|file| !file.path.contains("/src/bin/")).collect();
    let modules: BTreeSet<&str> = files.iter().map(|file| module_of(file)).filter(|module| !module.is_empty()).collect();
    let from_root = exports(&files, &modules);
    let mut uses = Uses::new();
    for file in files.iter().filter(|file| !module_of(file).is_empty()) {
        let own = module_of(file);
        let inside = file.path.split_once("/src/").map_or("", |(_, inside)| inside);
        // How many times `super::` leads to the root of the crate.
        let depth = inside.trim_end_matches(".rs").trim_end_matches("/mod").split('/').count();
        let roots = ["crate::".to_owned(), "super::".repeat(depth)];
        for (number, line) in whole_imports(file) {
            for word in roots.iter().flat_map(|root| after(&line, root)) {
                let module = modules.get(word).copied().or_else(|| from_root.get(word).copied());
                if let Some(module) = module.filter(|module| *module != own) {
                    let place = format!("{}:{number}", file.path);
                    uses.entry(own.to_owned()).or_default().entry(module.to_owned()).or_insert(place);
                }
            }
        }
        uses.entry(own.to_owned()).or_default();
    }
    uses
}

/// The lines of a file, with each import on one line.
fn whole_imports(file: &File) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    for (number, line) in file.code() {
        match lines.last_mut().filter(|(_, last)| last.contains("use ") && last.contains("::{") && !last.ends_with(';')) {
            Some((_, last)) => last.push_str(line.trim()),
            None => lines.push((number, line.trim_end().to_owned())),
        }
    }
    lines
}

/// The first words that follow `root` in a line: `crate::a::b`, `crate::{a::b, c}`.
fn after<'a>(line: &'a str, root: &str) -> Vec<&'a str> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find(root) {
        let whole = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '$');
        rest = &rest[at + root.len()..];
        if !whole {
            continue;
        }
        if let Some(group) = rest.strip_prefix('{') {
            let (mut deep, mut first) = (0usize, true);
            for part in group.split_inclusive([',', '{', '}']) {
                if deep == 0 && first {
                    words.push(first_word(part.trim_start()));
                }
                match part.chars().last() {
                    Some('{') => deep += 1,
                    Some('}') if deep == 0 => break,
                    Some('}') => deep -= 1,
                    _ => {}
                }
                first = part.ends_with(',');
            }
        } else {
            words.push(first_word(rest));
        }
    }
    words
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// Names that the root of the crate passes on, and the module that each comes from.
fn exports<'a>(files: &[&'a File], modules: &BTreeSet<&'a str>) -> BTreeMap<String, &'a str> {
    let mut names = BTreeMap::new();
    for file in files.iter().filter(|file| file.path.ends_with("/src/lib.rs")) {
        let text: String = file.code().map(|(_, line)| line).collect::<Vec<_>>().join(" ");
        for statement in text.split(';') {
            let Some((_, path)) = statement.split_once("use ") else { continue };
            let Some(module) = modules.get(first_word(path)).copied() else { continue };
            let words = path.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
            names.extend(words.map(|word| (word.to_owned(), module)));
        }
    }
    names
}

/// Which module uses which, for a look at the whole.
#[cfg(test)]
pub(super) fn drawn(tree: &Tree, name: &str) -> Vec<String> {
    uses_of(tree, name).iter().flat_map(|(one, others)| others.keys().map(move |other| format!("{one} -> {other}"))).collect()
}
