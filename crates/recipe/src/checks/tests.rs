use model::ContainerEngine;

use super::*;
use crate::testing::{broken, drive, recorded, said};

const SHOW: &str = include_str!("../../recorded/units/show-web-stopped.txt");
const FAILED: &str = include_str!("../../recorded/units/show-unit-failed.txt");
const UNKNOWN: &str = include_str!("../../recorded/units/show-unit-unknown.txt");
const HEALTH: &str = include_str!("../../recorded/docker/inspect-health.txt");
const PODMAN: &str = include_str!("../../recorded/podman/inspect-web.txt");
const PODMAN_SICK: &str = include_str!("../../recorded/podman/inspect-health.txt");
const STAT: &str = include_str!("../../recorded/hook/stat-hook.txt");

fn check(kind: CheckKind) -> Check {
    Check { name: "it".to_owned(), kind, limit: Millis::secs(5) }
}

fn one(kind: CheckKind, answer: impl FnMut(&str, Millis) -> (Output, Millis)) -> (bool, String) {
    let (_, results) = drive(checks("/etc", &[check(kind)]), answer);
    let [CheckResult { name, passed, detail }] = &results[..] else { panic!("{results:?}") };
    assert_eq!(name, "it");
    (*passed, detail.clone())
}

fn of(kind: &CheckKind, output: &Output) -> (bool, String) {
    one(kind.clone(), |_, _| (output.clone(), Millis(1)))
}

#[test]
fn a_unit_must_be_active() {
    let kind = CheckKind::Unit { unit: "web.service".into() };
    let up = "Result=success\nLoadState=loaded\nActiveState=active\nSubState=running\n";
    assert_eq!(of(&kind, &said(up)), (true, "web.service is active/running".into()));
    assert_eq!(of(&kind, &recorded(SHOW)), (false, "web.service is inactive/dead".into()));
    assert_eq!(of(&kind, &recorded(FAILED)), (false, "web.service is failed/failed, result exit-code".into()));
    assert_eq!(of(&kind, &recorded(UNKNOWN)), (false, "this host has no unit web.service".into()));
    assert!(!of(&kind, &said(&up.replace("=active", "=activating"))).0);
    for bad in broken(up) {
        assert!(!of(&kind, &bad).0, "{bad:?}");
    }
}

#[test]
fn a_container_must_run_and_be_healthy_where_it_says() {
    let all: Vec<serde_json::Value> = serde_json::from_str(&recorded(HEALTH).stdout).unwrap();
    let sick = format!("[{}]", all[0]);
    let kind = |engine| CheckKind::Container { engine, name: "sick".into() };
    let docker = kind(ContainerEngine::Docker);
    assert_eq!(of(&docker, &said(&sick)), (false, "sick is running, unhealthy".into()));
    let well = sick.replacen("unhealthy", "healthy", 1);
    assert_eq!(of(&docker, &said(&well)), (true, "sick is running, healthy".into()));
    assert!(!of(&docker, &said(&sick.replacen("unhealthy", "starting", 1))).0);
    assert!(!of(&docker, &said(&well.replacen("\"running\"", "\"restarting\"", 1))).0);
    for bad in broken(&well) {
        assert!(!of(&docker, &bad).0, "{bad:?}");
    }
    let podman = kind(ContainerEngine::Podman);
    assert_eq!(of(&podman, &recorded(PODMAN)), (true, "sick is running".into()), "no health check is no sickness");
    assert!(!of(&podman, &recorded(PODMAN_SICK)).0);
}

#[test]
fn a_hook_is_checked_for_its_owner_before_it_is_run() {
    let hook = CheckKind::Hook { name: "passwd".into() };
    let mut ran = 0;
    let mut run = |stat: Output, output: Output| {
        one(hook.clone(), |line, _| {
            ran += usize::from(line == "/etc/passwd check");
            (if line.starts_with("stat ") { stat.clone() } else { output.clone() }, Millis(1))
        })
    };
    assert_eq!(run(recorded(STAT), said("3 of 3 up\n")), (true, "/etc/passwd check: 3 of 3 up".into()));
    let no = Output { exit: Some(1), ..said("1 of 3 up\n") };
    assert_eq!(run(recorded(STAT), no), (false, "/etc/passwd check: 1 of 3 up (exit 1)".into()));
    let others = said(&recorded(STAT).stdout.replacen("0 81a4", "1000 81a4", 1));
    assert!(!run(others, said("")).0);
    assert_eq!(ran, 2);
}

#[test]
fn s2_36_a_generation_that_differs_is_named_with_the_expected_one() {
    let kind = |key: Option<&str>| CheckKind::Generation {
        path: "/opt/worker.json".into(),
        key: key.map(str::to_owned),
        expected: "42".into(),
    };
    let json = r#"{"bucket": "b1", "worker": "10.0.0.4", "update_seq": 42, "tags": []}"#;
    let seq = kind(Some("update_seq"));
    assert_eq!(of(&seq, &said(json)), (true, "/opt/worker.json is of generation 42".into()));
    let older = of(&seq, &said(&json.replace("42", "41")));
    assert_eq!(older, (false, "/opt/worker.json is of generation 41, expected 42".into()));
    assert!(of(&kind(None), &said("42\n")).0 && !of(&kind(None), &said("421\n")).0);
    assert!(of(&seq, &said(&json.replace("42", "\"42\""))).0);
    for (key, text) in [(Some("seq"), json), (Some("tags"), json), (Some("update_seq"), "42"), (None, " \n")] {
        assert!(!of(&kind(key), &said(text)).0, "{key:?} {text}");
    }
    for bad in broken(json) {
        assert!(!of(&seq, &bad).0, "{bad:?}");
    }
    let secret = of(&kind(None), &said("root:$y$j9T$abc:19000:0:99999:7:::\n"));
    assert!(!secret.0 && !secret.1.contains("y$j9T"), "{secret:?}");
    let relative = CheckKind::Generation { path: "worker.json".into(), key: None, expected: "42".into() };
    assert!(!one(relative, |_, _| panic!("nothing is read")).0);
}

#[test]
fn each_check_has_its_own_limit_and_one_result() {
    let command = |word: &str| check(CheckKind::Command { argv: vec![word.into()] });
    let tcp = check(CheckKind::Tcp { address: "h:1".into() });
    let empty = check(CheckKind::Command { argv: vec![] });
    let all = [command("slow"), command("good"), tcp, empty, command("bad")];
    let (story, results) = drive(checks("/etc", &all), |line, _| match line {
        "slow" => (Output { exit: None, timed_out: true, ..Output::default() }, Millis::secs(5)),
        "good" => (said("fine"), Millis(1)),
        _ => (Output { exit: Some(3), stderr: "no".into(), ..Output::default() }, Millis(1)),
    });
    let said: Vec<(bool, &str)> = results.iter().map(|r| (r.passed, r.detail.as_str())).collect();
    let elsewhere = "this check is made where the engine runs, not on the host";
    let expected = [
        (false, "no answer within 5 s"),
        (true, "fine"),
        (false, elsewhere),
        (false, "no program is named"),
        (false, "no (exit 3)"),
    ];
    assert_eq!(said, expected, "{story}");
}
