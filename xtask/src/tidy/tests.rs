//! Every rule is seen to fail on a tree that breaks it, and to pass on one that does not.

use super::*;

fn file(path: &str, text: &str) -> Tree {
    Tree { files: vec![File { path: path.to_owned(), text: text.to_owned(), for_tests: false }], packages: Vec::new() }
}

fn package(name: &str, own: bool, needs: &[&str]) -> Package {
    Package { name: name.to_owned(), own, needs: needs.iter().map(|need| (*need).to_owned()).collect(), ..Package::default() }
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
    assert_eq!(broken(&needs(&[package("controller", true, &["reach", "driver"])])), 0);
    assert_eq!(broken(&needs(&[package("reach", true, &["controller"])])), 1, "it knows nobody of its floor");
    assert_eq!(broken(&needs(&[package("agent", true, &["reach"])])), 1, "nobody else builds on it");
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
fn tests_do_not_reach_up_or_round() {
    let tests = |name: &str, tests_need: &[&str]| Package {
        tests_need: tests_need.iter().map(|need| (*need).to_owned()).collect(),
        ..package(name, true, &[])
    };
    assert_eq!(packages::floors_of_tests(&needs(&[tests("controller", &["agent", "tempfile"])])).len(), 0);
    assert_eq!(packages::floors_of_tests(&needs(&[tests("engine", &["driver"])])).len(), 1);
    let round = needs(&[tests("controller", &["agent"]), package("agent", true, &["controller"])]);
    assert_eq!(packages::floors_of_tests(&round).len(), 1);
}

#[test]
fn only_the_simulator_breaks_rules_and_nothing_pauses_by_itself() {
    let asks = |name: &str| Package { asks: vec!["model/mutations".to_owned()], ..package(name, true, &[]) };
    assert_eq!(packages::mutations(&needs(&[asks("sim")])).len(), 0);
    assert_eq!(packages::mutations(&needs(&[asks("engine")])).len(), 1);
    let paused = Package { defaults: vec!["pause-points".to_owned()], ..package("agent", true, &[]) };
    assert_eq!(packages::defaults(&needs(&[paused])).len(), 1);
    let linked = Package { defaults: vec!["link".to_owned()], ..package("agent", true, &[]) };
    assert_eq!(packages::defaults(&needs(&[linked])).len(), 0);
}

const CALLS: &str = "Driver::start(); driver.turn(); Machine::start(); machine.handle(); ledger::decode();";

#[test]
fn rules_about_text_find_what_they_forbid() {
    type Case = (Rule, &'static str, String, usize);
    let halves = |one: &str, other: &str| [one, other].concat();
    let engine = "crates/engine/src/a.rs";
    let cases: Vec<Case> = vec![
        (text::lints, "crates/a/Cargo.toml", "[package]".into(), 1),
        (text::lints, "crates/a/Cargo.toml", "[lints]\nworkspace = true\n".into(), 0),
        (text::purity, engine, "let now = SystemTime::now();".into(), 1),
        (text::purity, engine, "/// No SystemTime here.\nlet a = 1; // nor std::fs".into(), 0),
        (text::purity, engine, "let a = 1;\n#[cfg(test)]\nmod tests {\n    use std::fs;\n}".into(), 0),
        (text::purity, engine, "#[cfg(test)]\nmod tests;\nuse std::fs;".into(), 1),
        (text::purity, engine, "#[cfg(test)]\n#[path = \"a\"]\nmod tests {\n    fn a() {\n    }\n}\nuse std::fs;".into(), 1),
        (text::purity, "crates/engine/src/tests/a.rs", "use std::fs;".into(), 0),
        (text::purity, "crates/agent/src/a.rs", "use std::fs;".into(), 0),
        (text::foreign_tools, "crates/agent/src/a.rs", "run([\"lxc\", \"list\"])".into(), 1),
        (text::foreign_tools, "crates/recipe/src/a.rs", "run([\"lxc\", \"list\"])".into(), 0),
        (text::thin_edge_topics, "crates/agent/src/a.rs", "let topic = \"te/device\";".into(), 1),
        (text::thin_edge_topics, "crates/protocol/src/thin_edge.rs", "let topic = \"te/device\";".into(), 0),
        (text::wire, "crates/agent/src/a.rs", "format!(\"reveille/v1/{id}\")".into(), 1),
        (text::wire, "crates/agent/src/a.rs", "json!({\"expect_boot\": 1})".into(), 1),
        (text::wire, "crates/protocol/src/a.rs", "format!(\"reveille/v1/{id}\")".into(), 0),
        (text::simulator, "crates/sim/src/a.rs", CALLS.into(), 0),
        (text::simulator, "crates/sim/src/a.rs", CALLS.replace("machine.handle", "decide").to_owned(), 1),
        (text::simulator_decides, "crates/sim/src/a.rs", "if let StepAction::Start = action {".into(), 1),
        (text::simulator_decides, "crates/sim/src/check.rs", "if let StepAction::Start = action {".into(), 0),
        (modules::controller, "crates/controller/src/api/a.rs", "use sqlx::Pool;".into(), 1),
        (modules::control_sends_nothing, "crates/controller/src/control.rs", "link.publish(x)".into(), 1),
        (modules::control_sends_nothing, "crates/controller/src/control/courier.rs", "link.publish(x)".into(), 0),
        (modules::control_sends_nothing, "crates/controller/src/control/dispatch.rs", "impl driver::Transport for D {".into(), 0),
        (modules::control_sends_nothing, "crates/controller/src/control/dispatch.rs", "link.publish(x)".into(), 1),
        (modules::control_sends_nothing, "crates/controller/src/control/a.rs", "impl driver::Transport for D {".into(), 1),
        (modules::control_sends_nothing, "crates/controller/src/transport.rs", "link.publish(x)".into(), 0),
        (text::length, "crates/a/src/a.rs", "a\n".repeat(601), 1),
        (text::length, "crates/a/src/a.rs", ["a\n".repeat(600), "#[cfg(test)]\n".into(), " a\n".repeat(600)].concat(), 0),
        (text::put_off, "crates/a/src/a.rs", halves("// TO", "DO"), 1),
        (text::put_off, "crates/a/src/a.rs", halves("#[al", "low(dead_code)]"), 1),
        (text::put_off, "crates/a/src/a.rs", halves("#[ig", "nore]"), 1),
        (text::put_off, "crates/a/src/a.rs", halves("unimple", "mented!()"), 1),
        (text::alone, "README.md", halves("see /wo", "rk/main"), 1),
        (text::alone, "README.md", halves("see crates", ".io"), 1),
        (text::alone, "Cargo.lock", halves("see crates", ".io"), 0),
        (code::names, "crates/a/src/utils.rs", String::new(), 1),
        (code::names, "crates/a/src/helpers/a.rs", String::new(), 1),
        (code::names, "crates/a/src/helpful.rs", String::new(), 0),
        (code::no_unsafe, "crates/a/src/a.rs", halves("uns", "afe { a() }"), 1),
        (code::no_unsafe, "Cargo.toml", "unsafe_code = \"warn\"".into(), 1),
        (code::no_unsafe, "Cargo.toml", "unsafe_code = \"forbid\"".into(), 0),
        (code::no_unwrap, "crates/a/src/a.rs", "a.unwrap();\nb.expect(\"b\");".into(), 2),
        (code::no_unwrap, "crates/a/src/a.rs", "#[cfg(test)]\nmod tests {\n    fn a() { b.unwrap() }\n}\n".into(), 0),
        (code::no_unwrap, "crates/a/src/a.rs", "#[expect(clippy::expect_used, reason = \"x\")]\nb.expect(\"b\");".into(), 0),
        (code::no_unwrap, "crates/a/tests/it/a.rs", "a.unwrap();".into(), 0),
    ];
    for (number, (rule, path, text, expected)) in cases.into_iter().enumerate() {
        let found = rule(&file(path, &text));
        assert_eq!(found.len(), expected, "case {number}, {path}: {found:?}");
    }
}

fn files(files: &[(&str, &str)]) -> Tree {
    let files = files.iter().flat_map(|(path, text)| file(path, text).files).collect();
    Tree { files, packages: Vec::new() }
}

#[test]
fn modules_declared_for_tests_are_no_product() {
    let mut tree = files(&[
        ("crates/a/src/b/mod.rs", "#[cfg(test)]\npub(crate) mod samples;\nmod real;\n"),
        ("crates/a/src/b/samples.rs", "a.unwrap();"),
        ("crates/a/src/b/samples/c.rs", "a.unwrap();"),
        ("crates/a/src/b/real.rs", "a.unwrap();"),
    ]);
    code::mark_tests(&mut tree.files);
    let found = code::no_unwrap(&tree);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("real.rs"));
}

#[test]
fn circles_of_imports_are_found() {
    let tree = |b: &str| {
        files(&[
            ("crates/a/src/lib.rs", "mod b;\nmod c;\nmod d;\npub use c::{\n    Word,\n};\n"),
            ("crates/a/src/b.rs", b),
            ("crates/a/src/c/mod.rs", "mod inner;"),
            ("crates/a/src/c/inner.rs", "use super::super::d::D;"),
            ("crates/a/src/d.rs", "use crate::b::B;"),
        ])
    };
    assert!(modules::circles(&tree("use std::fmt;")).is_empty());
    for circle in [
        "use crate::c::C;",
        "use crate::{\n    d::{D, E},\n};",
        "fn a() -> super::d::D {}",
        "use crate::Word;",
        "use crate::{x::Y, c::C};",
    ] {
        assert_eq!(modules::circles(&tree(circle)).len(), 1, "{circle}");
    }
}

#[test]
fn the_controller_is_used_downwards() {
    let with = |path: &str, text: &str| {
        let mut all = vec![("crates/controller/src/store/mod.rs", ""), ("crates/controller/src/transport/mod.rs", "")];
        all.extend([("crates/controller/src/config.rs", ""), ("crates/controller/src/control/mod.rs", ""), (path, text)]);
        modules::controller(&files(&all)).len()
    };
    assert_eq!(with("crates/controller/src/api/a.rs", "use crate::control::Control;"), 0);
    assert_eq!(with("crates/controller/src/api/a.rs", "use crate::store::Store;"), 1);
    assert_eq!(with("crates/controller/src/control/a.rs", "use crate::store::Store;"), 0);
    assert_eq!(with("crates/controller/src/control/a.rs", "use crate::config::Config;"), 1);
    assert_eq!(with("crates/controller/src/store/a.rs", "use crate::control::Control;"), 1);
    assert_eq!(with("crates/controller/src/app.rs", "use crate::{config::Config, store::Store};"), 0);
}

fn mission_with(row: &str) -> Vec<String> {
    let others = [("S0", 78), ("S1", 94), ("S2", 39), ("S3", 151), ("S4", 34)]
        .into_iter()
        .flat_map(|(document, count)| (1..=count).map(move |number| format!("| {document}-{number} | text | open | |\n")))
        .filter(|line| !line.starts_with("| S0-7 |"));
    let text: String = std::iter::once(format!("{row}\n")).chain(others).collect();
    let code = "    #[test]\n    fn it_reboots() {\n}\nfn no_test() {}\n";
    docs::mission(&files(&[
        ("docs/mission.md", &text),
        ("crates/a/src/a.rs", code),
        ("crates/e2e/src/scenarios/a.rs", "name: \"lab_it_reboots\","),
        ("crates/engine/tests/scripts/host_reboots.txt", ""),
    ]))
}

#[test]
fn the_mission_is_whole_and_its_tests_exist() {
    for fine in [
        "| S0-7 | reboots | open | |",
        "| S0-7 | reboots | done | `engine::tests::it_reboots`, `lab_it_reboots`, `host_reboots` |",
    ] {
        assert_eq!(mission_with(fine), Vec::<String>::new(), "{fine}");
    }
    for (wrong, said) in [
        ("| S0-7 | reboots | done | `a::no_such_test` |", "there is no test a::no_such_test"),
        ("| S0-7 | reboots | done | `no_test` |", "there is no test no_test"),
        ("| S0-7 | reboots | done | |", "done without a test"),
        ("| S0-7 | reboots | open | `it_reboots` |", "open, with a test"),
        ("| S0-7 | reboots | nearly | |", "neither done nor open"),
        ("| S0-7 | reboots | open |", "not four cells"),
        ("", "S0-7 stands there 0 times"),
        ("| S0-7 | a | open | |\n| S0-7 | a | open | |", "S0-7 stands there 2 times"),
        ("| S0-7 | a | open | |\n| S0-79 | a | open | |", "there is no item S0-79"),
    ] {
        let found = mission_with(wrong);
        assert!(found.iter().any(|place| place.contains(said)), "{wrong}: {found:?}");
    }
}

#[test]
fn rules_about_documents_find_what_they_forbid() {
    let decision = |text: &str| docs::decisions(&file("docs/decisions/0001-a.md", text)).len();
    assert_eq!(decision("# A\n\n- Date: 2026-01-02\n- Status: accepted\n"), 0);
    assert_eq!(decision("# A\n\n- Status: accepted\n"), 1);
    assert_eq!(decision("# A\n\n- Date: soon\n- Status: accepted\n"), 1);
    assert_eq!(decision("# A\n\n- Date: 2026-01-02\n- Status: perhaps\n"), 1);
    assert_eq!(docs::decisions(&file("docs/decisions/first.md", "- Date: 2026-01-02\n- Status: accepted")).len(), 1);

    assert_eq!(docs::changelog(&file("CHANGELOG.md", "# Changelog\n\n## Unreleased\n")).len(), 0);
    assert_eq!(docs::changelog(&file("CHANGELOG.md", "# Changelog\n\n## 0.1.0\n")).len(), 1);

    let words = "## Words not used\n\n| word | instead |\n|---|---|\n| node | host |\n";
    let said = |text: &str| docs::words(&files(&[("docs/words.md", words), ("README.md", text)])).len();
    assert_eq!(said("A Node, and nodes."), 2);
    assert_eq!(said("`node` is what others say; an anode is none."), 0);
    assert_eq!(docs::words(&file("docs/words.md", "# Words")).len(), 1);

    let code = "struct Run {\n    /// Do not ask\n    pub(crate) dry_run: bool,\n}\nconst A: &str = \"--token-file\";\n#[arg(long = \"scope\")]";
    let option = |text: &str| docs::options(&files(&[("README.md", text), ("crates/cli/src/args.rs", code)])).len();
    assert_eq!(option("```sh\nreveille reboot a --dry-run --scope=x\nreveille-agent enrol --token-file b\n```"), 0);
    assert_eq!(option("`cargo run --release`, `journalctl --list-boots`, --prose"), 0);
    assert_eq!(option("```sh\nsudo reveille reboot a --dry\n```\n`--wet`"), 2);

    let link = |text: &str| docs::links(&files(&[("docs/a.md", text), ("docs/b/c.md", "")])).len();
    assert_eq!(link("[b](b/c.md#there), [d](b), [e](https://e.example/), [f](#here)"), 0);
    assert_eq!(link("[b](../b/c.md)"), 1);
}

/// Each rule of the reference: the code, a page that fits, and a page that does not.
#[test]
fn the_reference_is_held_against_the_code() {
    type Case = (Rule, &'static str, &'static str, &'static str, &'static str);
    let cases: [Case; 9] = [
        (
            reference::engine,
            "crates/engine/src/config.rs",
            "fn default() -> Self {\n        Self {\n            wait: Millis::secs(72 * 3600),\n            count: 3,\n        }\n    }",
            "## Durations and limits\n\n| key | default |\n|---|---|\n| `wait` | 259200 s (72 h) |\n| `count` | 3 |\n",
            "## Durations and limits\n\n| key | default |\n|---|---|\n| `wait` | 259200 s |\n| `count` | 4 |\n",
        ),
        (
            reference::exit_codes,
            "crates/cli/src/exit.rs",
            "TABLE: &[(Exit, u8, &str)] = &[\n    (Exit::Done, 0, \"done\"),\n];",
            "## Exit codes\n\n| code | meaning |\n|---|---|\n| 0 | done |\n",
            "## Exit codes\n\n| code | meaning |\n|---|---|\n| 1 | done |\n",
        ),
        (
            reference::variables,
            "crates/cli/src/args.rs",
            "env = \"REVEILLE_SERVER\"",
            "## Environment variables\n\n| name | what |\n|---|---|\n| `REVEILLE_SERVER` | address |\n",
            "## Environment variables\n\n| name | what |\n|---|---|\n| `REVEILLE_OTHER` | address |\n",
        ),
        (
            reference::topics,
            "crates/protocol/src/native/topic.rs",
            "fn as_str(self) {\n            Self::Ack => \"ack\",\n    }",
            "## Topics\n\n| topic | what |\n|---|---|\n| `reveille/v1/{host_id}/ack` | a |\n",
            "## Topics\n\n| topic | what |\n|---|---|\n| `reveille/v1/{host_id}/nack` | a |\n",
        ),
        (
            reference::routes,
            "crates/controller/src/api/a.rs",
            "#[utoipa::path(get, path = \"/hosts\", tag = \"hosts\",\n security((\"bearer\" = [\"VIEW\"])))]\nfn a() {}\n\
             #[utoipa::path(post, path = \"/login\", security(()), body = X)]\nfn b() {}\n\
             #[utoipa::path(post, path = \"/logout\", security((\"bearer\" = [])))]\nfn c() {}",
            "## Routes\n\n| a | b | c |\n|---|---|---|\n| GET | `/api/v1/hosts` | `VIEW` |\n| POST | `/api/v1/login` | anybody |\n\
             | POST | `/api/v1/logout` | any token |\n",
            "## Routes\n\n| a | b | c |\n|---|---|---|\n| GET | `/api/v1/hosts` | anybody |\n| POST | `/api/v1/login` | anybody |\n",
        ),
        (
            reference::lists,
            "crates/engine/src/explain.rs",
            "pub enum Why {\n    /// A.\n    EarlierWave {\n        /// Which.\n        wave: u32,\n    },\n    #[serde(other)]\n    Off,\n}\n",
            "## Blockers\n\n| blocker | a |\n|---|---|\n| `earlier_wave`, `off` | a |\n",
            "## Blockers\n\n| blocker | a |\n|---|---|\n| `earlier_wave` | a |\n",
        ),
        (
            reference::payloads,
            "crates/protocol/samples/rest/a.json",
            "{\"a\":1}",
            "<!-- sample: crates/protocol/samples/rest/a.json -->\n```json\n{ \"a\": 1 }\n```\n",
            "<!-- sample: crates/protocol/samples/rest/a.json -->\n```json\n{ \"a\": 2 }\n```\n",
        ),
        (
            reference::keys,
            "crates/agent/src/config.rs",
            "#[serde(deny_unknown_fields)]\npub struct Config {\n    /// What.\n    pub state_dir: PathBuf,\n}\nstruct Other {\n    x: u8,\n}",
            "## Configuration\n\n| key | default |\n|---|---|\n| `state_dir` | x |\n",
            "## Configuration\n\n| key | default |\n|---|---|\n| `state` | x |\n",
        ),
        (
            reference::places,
            "crates/agent/src/config.rs",
            "pub const PATH: &str = \"/etc/reveille/agent.toml\";\nlet listen = SocketAddr::from(([0, 0, 0, 0], 8883));",
            "## Ports and paths\n\n| what | a |\n|---|---|\n| `/etc/reveille/agent.toml` | a |\n| 8883 | MQTT |\n",
            "## Ports and paths\n\n| what | a |\n|---|---|\n| `/etc/reveille/agent.toml` | a |\n| 8884 | MQTT |\n",
        ),
    ];
    for (rule, path, code, fits, does_not) in cases {
        let broken = |page: &str| rule(&files(&[(path, code), ("docs/reference.md", page)]));
        assert_eq!(broken(fits), Vec::<String>::new(), "{path}");
        assert!(!broken(does_not).is_empty(), "{path}");
    }
}

/// What the rules go by is really found: a reader that found nothing would let everything pass.
#[test]
fn the_real_tree_is_read() {
    let tree = read().unwrap();
    let package = |name: &str| tree.packages.iter().find(|package| package.name == name && package.own).unwrap();
    let has = |list: &[String], one: &str| list.iter().any(|other| other == one);
    assert!(has(&package("engine").needs, "model"));
    assert!(has(&package("controller").tests_need, "agent"));
    assert!(has(&package("sim").asks, "model/mutations"));
    let samples = tree.files.iter().find(|file| file.path == "crates/cli/src/render/samples.rs").unwrap();
    assert!(samples.for_tests, "it is declared under cfg(test)");
    let guard = tree.files.iter().find(|file| file.path == "crates/engine/src/guard.rs").unwrap();
    assert!(guard.product_crate() == Some("engine") && guard.code().count() > 50);
    let there = |path: &str| tree.files.iter().any(|file| file.path == path);
    assert!(reference::LISTS.iter().all(|list| there(list.1)));
    let drawn = modules::drawn(&tree, "controller");
    assert!(drawn.iter().any(|one| one == "api -> control") && drawn.iter().any(|one| one == "control -> store"), "{drawn:?}");
}
