//! `cargo xtask tidy`: the walls of the house, as far as a look at its text and its dependencies can keep them.
//!
//! Each rule takes the tree and tells of every place that breaks it. To add one: a function here, a line in [`RULES`], and a
//! tree that breaks it in the tests.

mod code;
mod docs;
mod modules;
mod packages;
mod reference;
mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

pub(crate) use packages::Package;

/// A text file of the repository.
#[derive(Debug, Clone)]
pub(crate) struct File {
    /// From the root of the repository, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Rust code of a module that is declared for tests only.
    pub(crate) for_tests: bool,
}

/// What the rules look at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    pub(crate) packages: Vec<Package>,
}

type Rule = fn(&Tree) -> Vec<String>;

/// All rules. The name says what holds.
pub(crate) const RULES: &[(&str, Rule)] = &[
    ("a crate depends only on lower floors", packages::floors),
    ("tests reach down or sideways, never in a circle", packages::floors_of_tests),
    ("floors 1 to 3 build no async runtime", packages::no_runtime_below),
    ("nothing builds cmake, OpenSSL or aws-lc", packages::no_foreign_builds),
    ("only the simulator asks for broken rules", packages::mutations),
    ("no build pauses or breaks a rule unless asked to", packages::defaults),
    ("every crate obeys the workspace's lints", text::lints),
    ("floors 1 to 3 read no clock, file, socket, variable or chance", text::purity),
    ("only recipes know foreign tools", text::foreign_tools),
    ("only thin_edge.rs knows a te/ topic", text::thin_edge_topics),
    ("only protocol knows topics and the JSON of a command", text::wire),
    ("the simulator calls the production engine, driver and agent", text::simulator),
    ("the simulator decides nothing", text::simulator_decides),
    ("the controller's modules use each other downwards only", modules::controller),
    ("only the courier of the driver publishes", modules::control_sends_nothing),
    ("no circle of imports inside a crate", modules::circles),
    ("no file is longer than 600 lines before its tests", text::length),
    ("no file is named after nothing", code::names),
    ("nothing is put off or stubbed", text::put_off),
    ("nothing is unsafe", code::no_unsafe),
    ("no unwrap or expect outside tests", code::no_unwrap),
    ("text stands on its own", text::alone),
    ("one word has one meaning", docs::words),
    ("the mission has every item once, and each done item a test", docs::mission),
    ("every decision has a date and a status", docs::decisions),
    ("the changelog has a place for what is not released", docs::changelog),
    ("links in the documents lead somewhere", docs::links),
    ("options that the documents name exist", docs::options),
    ("the reference tells the durations and limits of the engine", reference::engine),
    ("the reference tells the exit codes", reference::exit_codes),
    ("the reference tells the environment variables", reference::variables),
    ("the reference tells the topics", reference::topics),
    ("the reference tells the routes", reference::routes),
    ("the reference tells the closed lists of the code", reference::lists),
    ("the reference shows payloads as the samples have them", reference::payloads),
    ("the reference tells the configuration keys", reference::keys),
    ("the reference tells the ports and paths", reference::places),
];

/// Checks all rules and prints every place that breaks one. Returns how many hold and how many do not.
pub(crate) fn check() -> anyhow::Result<(usize, usize)> {
    let tree = read()?;
    let mut held = 0;
    for (name, rule) in RULES {
        let broken = rule(&tree);
        if broken.is_empty() {
            held += 1;
        }
        for place in broken {
            println!("FAILED {name}: {place}");
        }
    }
    println!("tidy: {held} of {} rules hold in {} files", RULES.len(), tree.files.len());
    Ok((held, RULES.len() - held))
}

/// [`check`], for the command line.
pub(crate) fn run() -> anyhow::Result<()> {
    let (_, broken) = check()?;
    ensure!(broken == 0, "rules broken: {broken}");
    Ok(())
}

fn read() -> anyhow::Result<Tree> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no repository round this program")?;
    let mut files = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(root.join(&dir))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = dir.join(&name);
            let kind = entry.file_type()?;
            if kind.is_dir() && ![".git", "target"].contains(&name.as_str()) {
                waiting.push(path);
            } else if kind.is_file()
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                files.push(File { path: path.to_string_lossy().into_owned(), text, for_tests: false });
            }
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    code::mark_tests(&mut files);
    Ok(Tree { files, packages: packages::read()? })
}

#[cfg(test)]
mod tests;
