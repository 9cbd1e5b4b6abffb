use super::*;
use crate::testing::{broken, drive, recorded, said};

const ENABLED: &str = include_str!("../../recorded/units/list-enabled.txt");
const SHOWN: &str = include_str!("../../recorded/units/show-enabled.txt");
const PS: &str = include_str!("../../recorded/docker/ps.txt");
const INSPECTED: &str = include_str!("../../recorded/docker/inspect-all.txt");
const NO_TOOL: &str = include_str!("../../recorded/required/needs-restarting-missing.txt");
const DOCKER_DOWN: &str = include_str!("../../recorded/docker/ps-down.txt");

/// The recording was asked for one name too many, which is not there: its first block. When conditions were tested was not asked
/// for.
fn shown() -> String {
    let units = recorded(SHOWN).stdout.split_once("\n\n").unwrap().1.to_owned();
    units.replace("\nConditionResult=", "\nConditionTimestampMonotonic=12345678\nConditionResult=")
}

fn look(units: &str, ps: &Output) -> Result<Vec<Missing>, String> {
    drive(missing(), |line, _| {
        let output = match line {
            l if l.starts_with("systemctl list-unit-files --type=service --state=enabled") => recorded(ENABLED),
            l if l.starts_with("systemctl show ") => said(units),
            "docker ps --all --quiet --no-trunc" => ps.clone(),
            "podman ps --all --quiet --no-trunc" => recorded(NO_TOOL),
            l if l.starts_with("docker container inspect ") => recorded(INSPECTED),
            l => panic!("unexpected: {l}"),
        };
        (output, Millis(1))
    })
    .1
}

fn text(missing: &[Missing]) -> Vec<String> {
    missing.iter().map(ToString::to_string).collect()
}

#[test]
fn s2_30_what_is_enabled_and_does_not_run_is_named() {
    let found = look(&shown(), &recorded(PS)).unwrap();
    let names = text(&found);
    // Stopped by a person, and one that cannot start; not those that ran once, have a condition or wait for a socket.
    for name in ["unit broken.service failed/failed", "unit web.service inactive/dead"] {
        assert!(names.contains(&name.to_owned()), "{names:?}");
    }
    for quiet in ["once", "cond", "podman.service", "ssh.service", "pstore", "slow"] {
        assert!(!names.iter().any(|n| n.contains(quiet)), "{quiet}: {names:?}");
    }
    let containers: Vec<_> = names.iter().filter(|n| n.starts_with("docker ")).collect();
    assert_eq!(containers, ["docker stubborn exited"].iter().collect::<Vec<_>>().as_slice(), "{names:?}");
    assert_eq!(Missing::in_detail(&Missing::told(&found)), found, "read back from a check's detail");
    assert!(Missing::in_detail("systemctl: not there").is_empty());
}

#[test]
fn s2_30_a_unit_whose_dependency_failed_was_never_tested_and_is_missed() {
    let untested = shown().replace("ConditionTimestampMonotonic=12345678", "ConditionTimestampMonotonic=0");
    let names = text(&look(&untested, &recorded(PS)).unwrap());
    assert!(names.contains(&"unit cond.service inactive/dead".to_owned()), "{names:?}");
}

#[test]
fn s2_31_what_is_missing_is_brought_back_by_undrains() {
    let found: Vec<Missing> = ["unit web.service inactive/dead", "docker cache exited", "unit a.service failed/failed"]
        .map(|t| t.parse().unwrap())
        .into();
    let actions = Missing::restore(&found, Millis::secs(60));
    let Action::Undrain { drain: Drain::Units { units }, prior, .. } = &actions[0] else { panic!("{actions:?}") };
    assert_eq!(units, &["web.service", "a.service"]);
    assert!(prior.iter().all(|item| item.in_service));
    assert!(matches!(&actions[1], Action::Undrain { drain: Drain::Containers { .. }, .. }) && actions.len() == 2);
    assert!(Missing::restore(&[], Millis(1)).is_empty());
}

#[test]
fn what_cannot_be_looked_at_is_not_said_to_run() {
    assert!(look(&shown(), &recorded(DOCKER_DOWN)).is_err());
    for bad in broken(&shown()) {
        assert!(look(&bad.stdout, &recorded(PS)).is_err() || bad.stdout == shown(), "{bad:?}");
    }
    assert!(look(&shown(), &said("short\n")).is_err());
    for bad in broken(&recorded(ENABLED).stdout) {
        // A cut at a line's end cannot be told from a shorter list.
        let (_, found) = drive(missing(), |_, _| (bad.clone(), Millis(1)));
        assert!(found.is_err(), "{bad:?}");
    }
}
