//! Every rule is seen to fail on a tree that breaks it, and to pass on one that does not.

use super::*;

fn file(path: &str, text: &str) -> Tree {
    Tree { files: vec![File { path: path.to_owned(), text: text.to_owned() }], packages: Vec::new() }
}

fn package(name: &str, own: bool, needs: &[&str]) -> Package {
    Package { name: name.to_owned(), own, needs: needs.iter().map(|need| (*need).to_owned()).collect() }
}

fn needs(packages: &[Package]) -> Tree {
    Tree { files: Vec::new(), packages: packages.to_vec() }
}

#[test]
fn dependencies_go_down_only() {
    let broken = |tree: &Tree| packages::floors(tree).len();
    assert_eq!(broken(&needs(&[package("engine", true, &["model", "serde"])])), 0);
    assert_eq!(broken(&needs(&[package("engine", true, &["protocol"])])), 1, "strangers on one floor");
    assert_eq!(broken(&needs(&[package("model", true, &["driver"])])), 1);
    assert_eq!(broken(&needs(&[package("agent", true, &["controller"])])), 1);
    assert_eq!(broken(&needs(&[package("sim", true, &["agent", "driver"])])), 0);
    assert_eq!(broken(&needs(&[package("cli", true, &["e2e"])])), 1);
    assert_eq!(broken(&needs(&[package("attic", true, &[])])), 1);
}

#[test]
fn runtimes_and_foreign_builds_are_found_however_deep() {
    let deep = needs(&[package("engine", true, &["a"]), package("a", false, &["b"]), package("b", false, &["tokio", "cmake"])]);
    assert_eq!(packages::no_runtime_below(&deep), ["engine builds tokio"]);
    assert_eq!(packages::no_foreign_builds(&deep), ["cmake is in the tree"]);
    let fine = needs(&[package("agent", true, &["tokio"])]);
    assert!(packages::no_runtime_below(&fine).is_empty() && packages::no_foreign_builds(&fine).is_empty());
}

#[test]
fn rules_about_text_find_what_they_forbid() {
    type Case = (Rule, &'static str, String, usize);
    let halves = |one: &str, other: &str| [one, other].concat();
    let cases: Vec<Case> = vec![
        (text::lints, "crates/a/Cargo.toml", "[package]".into(), 1),
        (text::lints, "crates/a/Cargo.toml", "[lints]\nworkspace = true\n".into(), 0),
        (text::purity, "crates/engine/src/a.rs", "let now = SystemTime::now();".into(), 1),
        (text::purity, "crates/engine/src/a.rs", "/// No SystemTime here.\nlet a = 1; // nor std::fs".into(), 0),
        (text::purity, "crates/engine/src/a.rs", "let a = 1;\n#[cfg(test)]\nmod tests { use std::fs; }".into(), 0),
        (text::purity, "crates/engine/src/tests/a.rs", "use std::fs;".into(), 0),
        (text::purity, "crates/agent/src/a.rs", "use std::fs;".into(), 0),
        (text::foreign_tools, "crates/agent/src/a.rs", "run([\"lxc\", \"list\"])".into(), 1),
        (text::foreign_tools, "crates/recipe/src/a.rs", "run([\"lxc\", \"list\"])".into(), 0),
        (text::thin_edge_topics, "crates/agent/src/a.rs", "let topic = \"te/device\";".into(), 1),
        (text::thin_edge_topics, "crates/protocol/src/thin_edge.rs", "let topic = \"te/device\";".into(), 0),
        (text::simulator, "crates/sim/src/a.rs", "use engine::Engine; use driver::turn;".into(), 1),
        (text::controller_walls, "crates/controller/src/api/a.rs", "use crate::store::Store;".into(), 1),
        (text::controller_walls, "crates/controller/src/control.rs", "link.publish(x)".into(), 1),
        (text::controller_walls, "crates/controller/src/transport.rs", "link.publish(x)".into(), 0),
        (text::length, "crates/a/src/a.rs", "a\n".repeat(601), 1),
        (text::length, "crates/a/src/a.rs", ["a\n".repeat(600), "#[cfg(test)]\n".into(), "a\n".repeat(600)].concat(), 0),
        (text::put_off, "crates/a/src/a.rs", halves("// TO", "DO"), 1),
        (text::put_off, "crates/a/src/a.rs", halves("#[al", "low(dead_code)]"), 1),
        (text::alone, "README.md", halves("see /wo", "rk/main"), 1),
        (text::mission, "docs/mission.md", "| 7 | reboots | done | `a::no_such_test` |".into(), 1),
        (text::mission, "docs/mission.md", "| 7 | reboots | done | |".into(), 1),
        (text::mission, "docs/mission.md", "| 7 | reboots | open | |".into(), 0),
    ];
    for (number, (rule, path, text, expected)) in cases.into_iter().enumerate() {
        let found = rule(&file(path, &text));
        assert_eq!(found.len(), expected, "case {number}, {path}: {found:?}");
    }
}

#[test]
fn the_mission_finds_tests_and_scenarios() {
    let mut tree = file("docs/mission.md", "| 7 | reboots | done | `engine::tests::it_reboots`, `lab_it_reboots` |");
    tree.files.extend(file("crates/a/src/a.rs", "    fn it_reboots() {\n  name: \"lab_it_reboots\",\n").files);
    assert!(text::mission(&tree).is_empty(), "{:?}", text::mission(&tree));
}
