//! Rules about what depends on what.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use serde_json::Value;

use super::Tree;
use crate::lab::cargo;

/// A package of the dependency tree.
#[derive(Debug, Clone, Default)]
pub(crate) struct Package {
    pub(crate) name: String,
    /// Whether it is one of ours.
    pub(crate) own: bool,
    /// Names of what it needs to run (not to test), as resolved for this platform.
    pub(crate) needs: Vec<String>,
    /// Names of what its tests need; of our own packages only.
    pub(crate) tests_need: Vec<String>,
    /// What it asks of others, as `package/feature`; of our own packages only.
    pub(crate) asks: Vec<String>,
    /// Its features that are on by themselves.
    pub(crate) defaults: Vec<String>,
}

/// Our crates by floor. `xtask` and `e2e` stand beside the house.
const FLOORS: &[(&str, u8)] = &[
    ("model", 1),
    ("recipe", 2),
    ("engine", 2),
    ("protocol", 2),
    ("driver", 3),
    ("inventory", 3),
    ("agent", 4),
    ("reach", 4),
    ("controller", 4),
    ("sim", 4),
    ("cli", 5),
];

/// Who may build on a crate of its own floor, and on which: the simulator runs the agent's machine, and the controller hands
/// commands for hosts without an agent to the one crate that reaches them.
const NEIGHBOURS: [(&str, &str); 2] = [("sim", "agent"), ("controller", "reach")];

fn floor(name: &str) -> Option<u8> {
    FLOORS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, floor)| *floor)
}

pub(super) fn read() -> anyhow::Result<Vec<Package>> {
    let output = cargo(&["metadata", "--format-version", "1", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .context("cannot start cargo")?;
    anyhow::ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let members: BTreeSet<String> = list(&metadata["workspace_members"]).iter().map(&text).collect();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).iter().map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let name = |id: &Value| names.get(&text(id)).cloned().unwrap_or_default();
    let manifests: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let packages = list(&metadata["resolve"]["nodes"]).into_iter().map(|node| {
        let of_kind = |test: bool| {
            let wanted = |dependency: &&Value| list(&dependency["dep_kinds"]).iter().any(|kind| (kind["kind"] == "dev") == test);
            list(&node["deps"]).iter().filter(wanted).map(|dependency| name(&dependency["pkg"])).collect::<Vec<_>>()
        };
        let own = members.contains(&text(&node["id"]));
        let manifest = manifests.get(&text(&node["id"])).cloned().unwrap_or_default();
        let asks = list(&manifest["dependencies"]).into_iter().flat_map(|dependency| {
            let features = list(&dependency["features"]);
            let whom = text(&dependency["name"]);
            features.into_iter().map(move |feature| format!("{whom}/{}", feature.as_str().unwrap_or_default()))
        });
        Package {
            name: name(&node["id"]),
            own,
            needs: of_kind(false),
            tests_need: if own { of_kind(true) } else { Vec::new() },
            asks: if own { asks.collect() } else { Vec::new() },
            defaults: list(&manifest["features"]["default"]).iter().map(text).collect(),
        }
    });
    Ok(packages.collect())
}

pub(super) fn floors(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for package in tree.packages.iter().filter(|package| package.own) {
        let Some(own) = floor(&package.name) else {
            if !["xtask", "e2e"].contains(&package.name.as_str()) {
                broken.push(format!("{} stands on no floor", package.name));
            }
            continue;
        };
        for need in &package.needs {
            let allowed = match (floor(need), need.as_str()) {
                (Some(_), need) if NEIGHBOURS.contains(&(package.name.as_str(), need)) => true,
                (Some(other), _) => other < own,
                (None, "xtask" | "e2e") => false,
                (None, _) => true,
            };
            if !allowed {
                broken.push(format!("{} (floor {own}) needs {need}", package.name));
            }
        }
    }
    broken
}

fn reached<'a>(tree: &'a Tree, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&str> = vec![from];
    while let Some(name) = waiting.pop() {
        for package in tree.packages.iter().filter(|package| package.name == name) {
            waiting.extend(package.needs.iter().map(String::as_str).filter(|need| reached.insert(*need)));
        }
    }
    reached
}

pub(super) fn no_runtime_below(tree: &Tree) -> Vec<String> {
    let runtimes = ["tokio", "mio", "async-std", "smol", "async-io"];
    let low = FLOORS.iter().filter(|(_, floor)| *floor <= 3);
    low.flat_map(|(name, _)| {
        let reached = reached(tree, name);
        runtimes.iter().filter(move |runtime| reached.contains(**runtime)).map(move |runtime| format!("{name} builds {runtime}"))
    })
    .collect()
}

pub(super) fn no_foreign_builds(tree: &Tree) -> Vec<String> {
    let banned = ["cmake", "openssl", "openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys", "aws-lc-fips-sys"];
    let used: BTreeSet<&str> =
        tree.packages.iter().filter(|package| package.own).flat_map(|package| reached(tree, &package.name)).collect();
    banned.iter().filter(|name| used.contains(**name)).map(|name| format!("{name} is in the tree")).collect()
}

/// Tests may use crates of their own floor (the controller's speak with a real agent), as long as nothing leads back.
pub(super) fn floors_of_tests(tree: &Tree) -> Vec<String> {
    let mut broken = Vec::new();
    for package in tree.packages.iter().filter(|package| package.own) {
        let Some(own) = floor(&package.name) else { continue };
        for need in &package.tests_need {
            let up = floor(need).is_some_and(|other| other > own) || ["xtask", "e2e"].contains(&need.as_str());
            if up || (floor(need).is_some() && reached(tree, need).contains(package.name.as_str())) {
                broken.push(format!("the tests of {} (floor {own}) need {need}", package.name));
            }
        }
    }
    broken
}

/// The hook that breaks a rule on purpose is for the simulator alone (and for crates that pass the wish on to a lower one).
pub(super) fn mutations(tree: &Tree) -> Vec<String> {
    let others = tree.packages.iter().filter(|package| package.own && package.name != "sim");
    others.filter(|package| package.asks.iter().any(|ask| ask.ends_with("/mutations"))).map(|p| p.name.clone()).collect()
}

pub(super) fn defaults(tree: &Tree) -> Vec<String> {
    let only_asked_for = ["pause-points", "mutations"];
    let own = tree.packages.iter().filter(|package| package.own);
    own.filter(|package| package.defaults.iter().any(|feature| only_asked_for.contains(&feature.as_str())))
        .map(|package| format!("{} is built with {} by itself", package.name, package.defaults.join(", ")))
        .collect()
}
