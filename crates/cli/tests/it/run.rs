//! `reveille run`, and checks that are waited for: what it is told, what it keeps, and when it ends.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::farm::{Farm, told};
use crate::local::fleet;

fn result(farm: &Farm) -> Value {
    let runs: Vec<_> = std::fs::read_dir(farm.at(".local/state/reveille/runs")).unwrap().map(|run| run.unwrap().path()).collect();
    assert_eq!(runs.len(), 1, "{runs:?}");
    serde_json::from_slice(&std::fs::read(runs[0].join("result.json")).unwrap()).unwrap()
}

fn row(result: &Value, host: &str) -> (Option<i64>, bool) {
    let rows = result["hosts"].as_array().unwrap();
    let row = rows.iter().find(|row| row["host"] == host).unwrap_or_else(|| panic!("no {host}: {result}"));
    (row["exit"].as_i64(), row["begun"].as_bool().unwrap())
}

#[test]
fn words_are_no_proof_that_a_command_reboots() {
    let farm = fleet(&["a"]);
    farm.stub("last", "echo reboot system boot");
    farm.stub("reboot", "echo going down");
    let begun = Instant::now();
    for args in [&["run", "last reboot", "--targets", "a"][..], &["run", "reboot", "--no-reboots", "--targets", "a"]] {
        let (code, out, err) = farm.says(args);
        assert_eq!(code, 0, "{out}{err}");
    }
    // Waiting for a host that does not go down takes a minute for each.
    assert!(begun.elapsed() < Duration::from_secs(55), "{:?}", begun.elapsed());
    // And the other way round: nothing in its words says that this one ends the boot.
    farm.stub(
        "cat",
        "for file; do case $file in /proc/sys/kernel/random/boot_id) printf '%08d-5c1d-4a39-8ad5-5e0f5f1f9a1%d\\n' \
         $(cksum < $FARM/host_key | cut -c1-8) $([ -e $FARM/again ]; echo $?);; *) /bin/cat \"$file\" || exit 1;; esac; done; \
         [ $# -gt 0 ] || exec /bin/cat",
    );
    let (code, out, err) = farm.says(&["run", "touch $FARM/again", "--reboots", "--targets", "a"]);
    assert!(code == 0 && out.contains("back on another boot"), "{out}{err}");
}

#[test]
fn ctrl_c_keeps_what_is_known_of_every_host() {
    let farm = Farm::new(&["a", "b", "c"]);
    farm.fleet("");
    let command = "case $FARM in */a) echo done;; *) echo at it; exec sleep 600;; esac";
    let mut run = farm.command(&["run", command, "--targets", "*", "--concurrency", "2"]);
    let mut run = run.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(run.stdout.take().unwrap()).lines().map_while(Result::ok);
    // The third is begun when the first has ended.
    let mut seen: Vec<String> = Vec::new();
    while ["a | done", "b | at it", "c | at it"].iter().any(|line| !seen.iter().any(|seen| seen == line)) {
        seen.push(out.next().unwrap_or_else(|| panic!("it ended: {seen:?}")));
    }
    Command::new("kill").args(["-INT", &run.id().to_string()]).status().unwrap();
    let rest: Vec<String> = out.collect();
    let (code, _, err) = told(run.wait_with_output().unwrap());
    assert_eq!(code, 130, "{rest:?}{err}");
    let result = result(&farm);
    assert_eq!(
        (row(&result, "a"), row(&result, "b"), row(&result, "c")),
        ((Some(0), true), (None, true), (None, true)),
        "{result}"
    );
    assert!(rest.iter().any(|line| line.contains("under way")), "{rest:?}");
}

#[test]
fn a_full_local_disk_begins_no_further_host_and_tells_of_those_before() {
    let farm = Farm::new(&["a", "b", "c"]);
    farm.fleet("");
    // The first says more than a file may hold; its end leaves time to notice that.
    let command = "touch $FARM/ran; head -c 30000 /dev/zero | tr '\\0' x | fold -w 99; echo; sleep 2";
    let reveille = farm.command(&[]);
    let mut limited = farm.command(&["run", command, "--targets", "*"]);
    let args: Vec<_> = limited.get_args().map(ToOwned::to_owned).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$@\"", "sh"]).arg(reveille.get_program()).args(args);
    shell.current_dir(limited.get_current_dir().unwrap()).stdin(Stdio::null());
    for (name, value) in limited.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    limited = shell;
    let (code, out, err) = told(limited.output().unwrap());
    assert!(code == 1 && err.contains("cannot keep output"), "{out}{err}");
    assert!(farm.at("a/ran").exists() && !farm.at("b/ran").exists() && !farm.at("c/ran").exists(), "{out}{err}");
    let result = result(&farm);
    assert_eq!((row(&result, "a"), row(&result, "b")), ((Some(0), true), (None, false)), "{result}");
}

#[test]
fn waiting_for_checks_ends_in_time_also_when_nobody_answers() {
    let farm = Farm::new(&["a"]);
    farm.fleet("[host.dead]\naddress = \"root@127.0.0.1:1\"\n\n[check.up]\non = \"*\"\nkind = \"command\"\nargv = [\"true\"]\n");
    let begun = Instant::now();
    let (code, out, err) = farm.says(&["health-check", "--wait", "--timeout", "3s"]);
    assert!(code == 1 && out.contains("dead") && out.contains("no answer before the time was over"), "{out}{err}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn a_server_is_named_when_it_is_not_the_one_to_ask() {
    let farm = Farm::new(&["a"]);
    let sync = ["sync", "--targets", "a", "--server", "https://10.0.0.1:7443"];
    let (code, _, err) = farm.says(&sync);
    assert!(code == 2 && err.contains("not through https://10.0.0.1:7443") && err.contains("-i FILE"), "{err}");
    // The hosts are known, and still this does not go through the server that was named.
    farm.fleet("");
    let (code, _, err) = farm.says(&sync);
    assert!(code == 2 && err.contains("not through https://10.0.0.1:7443"), "{err}");
}

#[test]
fn options_that_mean_nothing_where_a_command_goes_are_told() {
    let farm = Farm::new(&["a"]);
    farm.fleet("");
    let server = ["--server", "https://10.0.0.1:7443"];
    for (args, told) in [
        (&["run", "x", "--targets", "a", "--reboots"][..], "`reveille reboot`"),
        (&["run", "x", "--targets", "a", "--no-reboots"], "`reveille reboot`"),
        (&["run", "x", "--targets", "a", "--ssh-config", "x"], "-i FILE"),
        (&["reboot", "a", "--accept-new-keys"], "-i FILE"),
        (&["hosts", "-i", "fleet.toml"], "do not go together"),
        (&["hosts", "--state-dir", "x"], "do not go together"),
    ] {
        let (code, _, err) = farm.says(&[args, &server].concat());
        assert!(code == 2 && err.contains(told), "{args:?}: {code} {err}");
    }
    assert!(!farm.at(".local/state").exists(), "nothing was begun");
    // What stands in the environment is not typed: -i says more.
    let output = farm.command(&["hosts", "-i", "fleet.toml"]).env("REVEILLE_SERVER", "https://10.0.0.1:7443").output().unwrap();
    assert_eq!(told(output).0, 0);
}
