//! What should run is brought back, the configuration first, and only on the hosts that are named.

use crate::farm::Farm;

const TABLES: &str = r#"
[check.generation]
on = "*"
kind = "generation"
path = "HOME/{name}/worker.json"
key = "update_seq"
expected = "42"

[deploy]
command = ["sh", "-c", "echo deploy >> HOME/{name}/log; sed -i s/41/42/ HOME/{name}/worker.json"]
"#;

fn farm() -> Farm {
    let farm = Farm::new(&["a", "b"]);
    let show = "for name in Type=simple Result=success TriggeredBy= LoadState=loaded ConditionResult=yes ConditionTimestampMonotonic=7; \
                do echo $name; done; if [ -e $FARM/running ]; then echo ActiveState=active; echo SubState=running; \
                else echo ActiveState=inactive; echo SubState=dead; fi";
    farm.stub(
        "systemctl",
        &format!(
            "case $1 in list-unit-files) echo 'web.service enabled enabled';; show) {show};; \
             start) echo \"$*\" >> $FARM/log; touch $FARM/running;; esac"
        ),
    );
    for engine in ["docker", "podman"] {
        farm.stub(engine, "exit 127");
    }
    for host in ["a", "b"] {
        std::fs::write(farm.at(host).join("worker.json"), "{\"update_seq\": 41}\n").unwrap();
    }
    farm.fleet(&TABLES.replace("HOME", farm.at("").to_str().unwrap().trim_end_matches('/')));
    farm
}

fn log(farm: &Farm, host: &str) -> String {
    std::fs::read_to_string(farm.at(host).join("log")).unwrap_or_default()
}

#[test]
fn s2_31_s2_34_s2_37_what_should_run_is_started_after_the_deploy_and_only_where_it_is_asked() {
    let farm = farm();
    let (code, out, err) = farm.says(&["sync", "--targets", "a", "--dry-run"]);
    assert!(code == 1 && out.contains("web.service") && out.contains("42"), "{out}{err}");
    assert_eq!(log(&farm, "a"), "", "a dry run does nothing");
    let (code, out, err) = farm.says(&["sync", "--targets", "a"]);
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(log(&farm, "a"), "deploy\nstart -- web.service\n");
    assert_eq!(log(&farm, "b"), "", "nobody asked for it");
    let (code, out, err) = farm.says(&["sync", "--targets", "a"]);
    assert_eq!((code, log(&farm, "a").lines().count()), (0, 2), "nothing is done twice: {out}{err}");
}

#[test]
fn s2_37_without_a_deploy_command_nothing_is_started_on_an_old_configuration() {
    let farm = farm();
    let fleet = std::fs::read_to_string(farm.at("fleet.toml")).unwrap();
    std::fs::write(farm.at("fleet.toml"), fleet.split_once("[deploy]").unwrap().0).unwrap();
    let (code, out, err) = farm.says(&["sync", "--targets", "b"]);
    assert!(code == 1 && out.contains("deploy it first"), "{out}{err}");
    assert_eq!(log(&farm, "b"), "");
}

#[test]
fn what_is_written_wrongly_is_told_before_the_first_host_is_touched() {
    let farm = farm();
    let fleet = std::fs::read_to_string(farm.at("fleet.toml")).unwrap();
    let labelled = fleet.replace("\"42\"", "\"{label.g}\"").replace("{ n = 1,", "{ n = 1, g = 42,");
    std::fs::write(farm.at("fleet.toml"), labelled).unwrap();
    let (code, out, err) = farm.says(&["sync", "--targets", "*"]);
    assert!(code == 2 && err.contains("check generation for b") && err.contains("label.g"), "{code} {out}{err}");
    assert_eq!(log(&farm, "a"), "", "{out}{err}");
}

#[test]
fn the_first_host_that_fails_stops_the_rest_unless_more_may_fail() {
    let farm = farm();
    let fleet = std::fs::read_to_string(farm.at("fleet.toml")).unwrap();
    std::fs::write(farm.at("fleet.toml"), fleet.replace("echo deploy", "[ {name} != a ] || exit 9; echo deploy")).unwrap();
    let (code, out, err) = farm.says(&["sync", "--targets", "*"]);
    assert!(code == 1 && out.contains("a: NOT as it should be") && out.contains("b: not begun"), "{code} {out}{err}");
    assert!(out.contains("1 were not begun: 1 failed, and 0 may (--failure-budget)"), "{out}");
    assert_eq!(log(&farm, "b"), "");
    let (code, out, err) = farm.says(&["sync", "--targets", "*", "--failure-budget", "1", "--output", "json"]);
    let synced: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let row = |n: usize| (synced["hosts"][n]["begun"].as_bool().unwrap(), synced["hosts"][n]["good"].as_bool().unwrap());
    assert_eq!((code, row(0), row(1)), (4, (true, false), (true, true)), "{synced}");
    assert_eq!(log(&farm, "b"), "deploy\nstart -- web.service\n");
}
