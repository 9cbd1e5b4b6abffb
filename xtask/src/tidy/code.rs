//! Rules about how code is written.

use std::collections::BTreeSet;

use super::{File, Tree};

/// Marks the files of modules that are declared under `#[cfg(test)]`.
pub(super) fn mark_tests(files: &mut [File]) {
    let mut for_tests = BTreeSet::new();
    for file in files.iter().filter(|file| file.is_rust()) {
        let Some((dir, name)) = file.path.rsplit_once('/') else { continue };
        let stem = name.trim_end_matches(".rs");
        let inside = if ["lib", "main", "mod"].contains(&stem) { dir.to_owned() } else { format!("{dir}/{stem}") };
        let lines: Vec<&str> = file.text.lines().map(str::trim).collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            if let Some(module) = pair[1].strip_suffix(';').and_then(|line| line.rsplit_once("mod ")).map(|(_, module)| module) {
                for_tests.insert(format!("{inside}/{module}"));
            }
        }
    }
    for file in files {
        let stem = file.path.trim_end_matches(".rs");
        file.for_tests = for_tests.iter().any(|module| stem == module || stem.starts_with(&format!("{module}/")));
    }
}

/// A name that says what is in it.
pub(super) fn names(tree: &Tree) -> Vec<String> {
    let nothing = ["util", "utils", "helper", "helpers", "misc", "common", "stuff"];
    let code = tree.files.iter().filter(|file| file.is_rust());
    code.filter(|file| file.path.split(['/', '.']).any(|part| nothing.contains(&part))).map(|file| file.path.clone()).collect()
}

/// The lint forbids it in our own crates; this looks whether the lint is there, and at what the lint does not see.
pub(super) fn no_unsafe(tree: &Tree) -> Vec<String> {
    let word = ["uns", "afe "].concat();
    let mut places: Vec<String> =
        tree.files.iter().filter(|file| file.is_rust()).flat_map(|file| file.mentions(&[word.as_str()])).collect();
    let root = tree.files.iter().filter(|file| file.path == "Cargo.toml");
    places.extend(root.filter(|file| !file.text.contains("unsafe_code = \"forbid\"")).map(|file| file.path.clone()));
    places
}

/// What a user, a network or a disk can reach must not end the program. One that cannot be reached says so in an
/// `#[expect(clippy::…, reason = …)]` right above it.
pub(super) fn no_unwrap(tree: &Tree) -> Vec<String> {
    let mut places = Vec::new();
    for file in tree.files.iter().filter(|file| file.product_crate().is_some()) {
        let mut excused = 0;
        for (number, line) in file.code() {
            if line.contains("expect(clippy::expect_used") || line.contains("expect(clippy::unwrap_used") {
                excused = number;
            }
            let breaks = [".unwrap()", ".expect(\"", ".unwrap_err()", ".expect_err("].iter().any(|word| line.contains(word));
            if breaks && (excused == 0 || number > excused + EXCUSED_LINES) {
                places.push(file.place(number, line.trim()));
            }
        }
    }
    places
}

/// How far below its excuse the excused line may stand.
const EXCUSED_LINES: usize = 12;
