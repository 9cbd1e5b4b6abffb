//! The engine in the program's own process. What really reboots is shown by the lab; here nothing is ever told to go down.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::farm::Farm;

/// Hosts under a systemd with nothing going on. The stub notes every order to go down.
pub(crate) fn fleet(names: &[&str]) -> Farm {
    let farm = Farm::new(names);
    farm.stub("systemctl", "case $1 in is-system-running) echo running;; reboot|poweroff) echo \"$1\" >> $FARM/orders;; esac");
    // Without a systemd at its place the real ones would be asked.
    for tool in ["shutdown", "reboot", "poweroff", "halt"] {
        farm.stub(tool, &format!("echo {tool} \"$*\" >> $FARM/orders"));
    }
    farm.stub(
        "busctl",
        "case $* in *Preparing*) echo '{\"type\":\"b\",\"data\":false}';; \
         *ScheduledShutdown*) echo '{\"type\":\"(st)\",\"data\":[\"\",18446744073709551615]}';; \
         *ListInhibitors*) echo '{\"type\":\"a(ssssuu)\",\"data\":[[]]}';; \
         *ListSessions*) echo '{\"type\":\"a(susso)\",\"data\":[[]]}';; esac",
    );
    // Each host shows a boot of its own: one machine under two names would be refused.
    farm.stub(
        "cat",
        "for file; do case $file in /proc/sys/kernel/random/boot_id) printf '%08d-5c1d-4a39-8ad5-5e0f5f1f9a11\\n' $(cksum < $FARM/host_key | cut -c1-8);; \
         /etc/machine-id) cksum < $FARM/host_key | cut -c1-8;; *) /bin/cat \"$file\" || exit 1;; esac; done; [ $# -gt 0 ] || exec /bin/cat",
    );
    farm.fleet("");
    farm
}

pub(crate) fn nobody_went_down(farm: &Farm, names: &[&str]) {
    for name in names {
        assert!(!farm.at(name).join("orders").exists(), "{name} was told to go down");
    }
}

#[test]
fn a_dry_run_shows_the_waves_and_does_nothing() {
    let farm = fleet(&["a", "b", "c"]);
    let (code, out, err) = farm.says(&["reboot", "*", "--canary", "1", "--soak", "1s", "--dry-run"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(
        out.contains("Rolling reboot of 3 hosts") && out.contains("Wave 1: 1 host\n") && out.contains("Wave 2: 2 hosts"),
        "{out}"
    );
    assert!(out.contains("Cannot be taken back"), "{out}");
    let (code, out, err) = farm.says(&["reboot", "a,b", "--dry-run", "--output", "json"]);
    let preview: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, preview["targets"].as_u64()), (0, Some(2)));
    nobody_went_down(&farm, &["a", "b", "c"]);
}

#[test]
fn nothing_is_begun_without_a_yes_or_for_nobody() {
    let farm = fleet(&["a"]);
    let (code, _, err) = farm.says(&["reboot", "a"]);
    assert!(code == 2 && err.contains("--yes"), "{err}");
    let (code, _, err) = farm.says(&["reboot", "b", "--yes"]);
    assert!(code == 5 && err.contains("hosts: a; labels: n, role"), "{err}");
    let (code, _, err) = farm.says(&["reboot", "rack!=7", "--yes"]);
    assert!(code == 2 && err.contains("rack"), "{err}");
    let (code, _, err) = farm.says(&["resume"]);
    assert!(code == 5 && err.contains("nothing to go on with"), "{err}");
    nobody_went_down(&farm, &["a"]);
}

#[test]
fn hosts_of_the_inventory_are_listed_as_they_are() {
    let farm = fleet(&["a", "b"]);
    let (code, out, err) = farm.says(&["hosts"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("active") && out.lines().filter(|line| line.contains("role=web")).count() == 2, "{out}{err}");
}

#[test]
fn a_mark_of_a_person_stays_until_it_is_taken_away() {
    let farm = fleet(&["a"]);
    assert_eq!(farm.says(&["disable", "a", "--reason", "new disk"]).0, 0);
    let (code, out, _) = farm.says(&["locks"]);
    assert!(code == 0 && out.contains("hold") && out.contains("new disk"), "{out}");
    assert_eq!(farm.says(&["enable", "a"]).0, 0);
    assert!(farm.says(&["locks"]).1.contains("Nothing is held"));
}

#[test]
fn two_processes_never_decide_at_once() {
    let farm = fleet(&["a"]);
    assert_eq!(farm.says(&["hosts"]).0, 0);
    let lock = farm.at(".local/state/reveille/reveille.db.lock");
    let mut flock = Command::new("flock");
    let holder = flock.arg(&lock).args(["-c", "echo held; read end"]);
    let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut held = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(holder.stdout.as_mut().unwrap()), &mut held).unwrap();
    let (code, _, err) = farm.says(&["hosts"]);
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert!(code == 3 && err.contains("--state-dir"), "{err}");
    assert_eq!(farm.says(&["hosts"]).0, 0);
}

#[test]
fn what_is_for_a_server_says_so() {
    let farm = fleet(&["a"]);
    let (code, _, err) = farm.says(&["adopt", "b", "-i", "fleet.toml"]);
    assert!(code == 2 && err.contains("for a server"), "{err}");
    // Nothing would go on when this process has ended.
    for command in [&["reboot", "a"][..], &["shutdown", "a"]] {
        let (code, out, err) = farm.says(&[command, &["--yes", "--detach"]].concat());
        assert!(code == 2 && err.contains("--detach needs a server"), "{command:?}: {out}{err}");
    }
    nobody_went_down(&farm, &["a"]);
}

#[test]
fn a_dry_run_ends_as_the_start_would() {
    let farm = fleet(&["a"]);
    assert_eq!(farm.says(&["freeze", "--reason", "launch day"]).0, 0);
    // A rollout is accepted and waits.
    let (code, out, err) = farm.says(&["reboot", "a", "--dry-run"]);
    assert!(code == 0 && out.contains("launch day"), "{code} {out}{err}");
    // The shutdown of one host would be refused.
    let (code, out, err) = farm.says(&["shutdown", "a", "--dry-run"]);
    assert!(code == 3 && out.contains("launch day"), "{code} {out}{err}");
}
