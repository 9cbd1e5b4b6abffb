//! Commands, checks and inventories over SSH, without a server and without an engine.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use serde_json::Value;

use crate::farm::{Farm, told};

const CHECKS: &str = r#"
[check.up]
on = "*"
kind = "command"
argv = ["up"]

[check.other]
on = "n=2"
kind = "command"
argv = ["true"]
"#;

fn with_checks(names: &[&str]) -> Farm {
    let farm = Farm::new(names);
    farm.stub("up", "[ -e $FARM/flag ] || { echo no flag >&2; exit 1; }");
    farm.fleet(CHECKS);
    farm
}

#[test]
fn s2_18_20_a_command_runs_on_the_hosts_that_are_named_and_its_output_is_shown_and_kept() {
    let farm = Farm::new(&["one", "two", "three"]);
    farm.fleet("");
    let (code, out, err) =
        farm.says(&["run", "echo on $(basename $FARM); echo oops >&2", "--targets", "one,three", "--concurrency", "2"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("one | on one\n") && out.contains("three | on three\n") && !out.contains("two"), "{out}");
    assert!(err.contains("one ! oops"), "{err}");
    let kept = out.lines().find_map(|line| line.split_once("kept in ")).unwrap().1;
    assert!(kept.starts_with(farm.at(".local/state/reveille/runs").to_str().unwrap()), "{kept}");
    assert_eq!(std::fs::read_to_string(format!("{kept}/three.out")).unwrap(), "on three\n");
    assert_eq!(std::fs::read_to_string(format!("{kept}/one.err")).unwrap(), "oops\n");
    let result: Value = serde_json::from_slice(&std::fs::read(format!("{kept}/result.json")).unwrap()).unwrap();
    assert_eq!(result["hosts"].as_array().unwrap().len(), 2);
}

#[test]
fn s2_22_a_failure_over_the_budget_stops_the_run_and_each_exit_code_is_told() {
    let farm = Farm::new(&["a", "b", "c"]);
    farm.fleet("");
    let fail = "[ $(basename $FARM) != a ] || exit 7; touch $FARM/ran";
    let (code, out, _) = farm.says(&["run", fail, "--targets", "*", "--output", "json"]);
    let ran: Value = serde_json::from_str(&out).unwrap();
    let row = |n: usize| (ran["hosts"][n]["exit"].as_i64(), ran["hosts"][n]["begun"].as_bool().unwrap());
    assert_eq!((code, row(0), row(1), row(2)), (1, (Some(7), true), (None, false), (None, false)), "{ran}");
    assert!(!farm.at("b/ran").exists() && !farm.at("c/ran").exists());
    // With room for one failure the others go on, and the end says that not all is well.
    let (code, out, err) = farm.says(&["run", fail, "--targets", "role=web", "--failure-budget", "1"]);
    assert_eq!(code, 4, "{out}{err}");
    assert!(farm.at("b/ran").exists() && farm.at("c/ran").exists());
    assert!(out.contains("2 of 3 hosts are well"), "{out}");
}

#[test]
fn s2_25_with_a_health_check_the_next_batch_waits_until_the_last_one_is_healthy() {
    let farm = with_checks(&["a", "b"]);
    let hosts = std::fs::read_to_string(farm.at("fleet.toml")).unwrap();
    std::fs::write(farm.at("fleet.toml"), format!("health_gate = \"4s\"\n{hosts}")).unwrap();
    // Nothing makes the first host healthy: the second is not begun.
    let (code, out, err) = farm.says(&["run", "touch $FARM/ran", "--targets", "*", "--health_check"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(farm.at("a/ran").exists() && !farm.at("b/ran").exists(), "{out}{err}");
    assert!(out.contains("check up: "), "{out}");
    // A command that makes it healthy lets the second begin.
    let (code, out, err) = farm.says(&["run", "touch $FARM/flag", "--targets", "*", "--health-check"]);
    assert_eq!(code, 0, "{out}{err}");
}

#[test]
fn s2_12_13_checks_are_asked_by_name_and_what_fails_is_told() {
    let farm = with_checks(&["a", "b"]);
    std::fs::write(farm.at("a/flag"), "").unwrap();
    let (code, out, err) = farm.says(&["health-check"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("b     up     FAILED"), "{out}");
    assert!(out.contains("1 of 3 checks do not pass."), "{out}");
    let (code, out, _) = farm.says(&["health-check", "--jobs", "up", "--targets", "a", "--output", "json"]);
    let health: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, health["passed"].as_bool(), health["checks"].as_array().unwrap().len()), (0, Some(true), 1));
    let (code, _, err) = farm.says(&["health-check", "--jobs", "up,nope"]);
    assert!(code == 2 && err.contains("known are: other, up"), "{err}");
}

#[test]
fn s2_14_27_waiting_asks_again_until_all_pass_and_gives_up_in_time() {
    let farm = with_checks(&["a"]);
    let mut asking = farm.command(&["health-check", "--wait", "--timeout", "2m"]);
    let mut asking = asking.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut err = BufReader::new(asking.stderr.take().unwrap());
    let mut line = String::new();
    err.read_line(&mut line).unwrap();
    assert!(line.contains("do not pass yet"), "{line}");
    std::fs::write(farm.at("a/flag"), "").unwrap();
    err.read_to_string(&mut line).unwrap();
    let (code, out, _) = told(asking.wait_with_output().unwrap());
    assert!(code == 0 && out.contains("The check passes, asked"), "{out}{line}");
    std::fs::remove_file(farm.at("a/flag")).unwrap();
    assert_eq!(farm.says(&["health-check", "--wait", "--timeout", "1s"]).0, 1);
}

#[test]
fn bad_targets_and_inventories_say_what_there_is() {
    let farm = Farm::new(&["a"]);
    let (code, _, err) = farm.says(&["run", "true", "--targets", "a"]);
    assert!(code == 2 && err.contains("there is no inventory"), "{err}");
    farm.fleet("");
    let (code, _, err) = farm.says(&["run", "true", "--targets", "rloe=web"]);
    assert!(code == 2 && err.contains("role"), "{err}");
    let (code, _, err) = farm.says(&["run", "true", "--targets", "web9"]);
    assert!(code == 5 && err.contains("hosts: a"), "{err}");
    assert_eq!(farm.says(&["run", "true"]).0, 2);
    std::fs::write(farm.at("bad.toml"), "[host.a]\n\nadress = \"x\"\n").unwrap();
    let (code, _, err) = farm.says(&["health-check", "-i", "bad.toml"]);
    assert!(code == 2 && err.contains("bad.toml:3: unknown field `adress`"), "{err}");
    std::fs::write(farm.at("hosts"), "[web]\na ansible_host=h\nb ansible_host=h\n").unwrap();
    let (code, _, err) = farm.says(&["health-check", "-i", "hosts"]);
    assert!(code == 2 && err.contains("a (hosts:2) and b (hosts:3)"), "{err}");
}

#[test]
fn a_password_is_asked_for_on_a_terminal_only() {
    let farm = with_checks(&["a"]);
    let (code, _, err) = farm.says(&["health-check", "--ask-sudo-password"]);
    assert!(code == 2 && err.contains("--sudo-password-file"), "{err}");
}
