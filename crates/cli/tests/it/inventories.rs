//! One state directory, several inventories, and runs that were interrupted. Nothing is ever told to go down: what a host does for
//! others is never taken away, since the drain waits or fails.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::farm::Farm;
use crate::local::{fleet, nobody_went_down};

/// Two drains: one that works and notes what it does, and one after it that waits while there is a file `wait`, and then fails. So
/// nobody ever comes to its reboot.
fn with_drains(names: &[&str]) -> Farm {
    let farm = fleet(names);
    let script = farm.at("drain.sh");
    let text = format!(
        "#!/bin/sh\ncd {}\ncase $1.$2 in\n\
         web.state) if [ -e out-$3 ]; then echo \"$3 down out\"; else echo \"$3 up in\"; fi;;\n\
         web.drain) echo drain $3 >> calls; touch out-$3;;\n\
         web.undrain) echo undrain $3 >> calls; rm -f out-$3;;\n\
         zero.state) echo \"$3 up in\";;\n\
         zero.drain) echo wait $3 >> calls; while [ -e wait ]; do sleep 0.1; done; echo no >&2; exit 1;;\nesac\n",
        farm.at("").display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let argv = |drain: &str, word: &str| format!("{word} = [\"{}\", \"{drain}\", \"{word}\", \"{{name}}\"]\n", script.display());
    let drain = |name: &str| {
        let words: String = ["state", "drain", "undrain"].map(|word| argv(name, word)).concat();
        format!("[drain.{name}]\non = \"*\"\nkind = \"command\"\n{words}\n")
    };
    farm.fleet(&format!("{}{}[rollout]\nsoak = \"1s\"\ndrain_limit = \"10m\"\n", drain("web"), drain("zero")));
    let fleet = std::fs::read_to_string(farm.at("fleet.toml")).unwrap();
    std::fs::write(farm.at("fleet.toml"), format!("settling = \"1s\"\n{fleet}")).unwrap();
    farm
}

fn calls(farm: &Farm) -> Vec<String> {
    std::fs::read_to_string(farm.at("calls")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn wait_for(what: &str, is: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(120);
    while !is() {
        assert!(Instant::now() < until, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A rolling reboot whose first host is being drained, and its id.
fn in_the_middle(farm: &Farm, options: &[&str]) -> (Child, String) {
    std::fs::write(farm.at("wait"), "").unwrap();
    let args = [&["reboot", "a,b", "--yes", "--failure-budget", "1"], options].concat();
    let mut child = farm.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines();
    let id = out.find_map(|line| Some(line.unwrap().strip_prefix("Orchestration ")?.split(';').next()?.to_owned())).unwrap();
    std::thread::spawn(move || out.for_each(drop));
    wait_for("the drain", || calls(farm).contains(&"wait a".to_owned()));
    (child, id)
}

fn killed(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_selector_means_hosts_of_the_inventory_as_it_is_now() {
    let farm = fleet(&["a", "b", "c"]);
    let all = std::fs::read_to_string(farm.at("fleet.toml")).unwrap();
    assert_eq!(farm.says(&["hosts"]).0, 0);
    assert_eq!(farm.says(&["disable", "a", "--reason", "new disk"]).0, 0);
    // Host a is renamed, b leaves: nobody of them counts in the limit group, and nothing is one machine twice.
    let group = "[[limit_group]]\nname = \"web\"\non = \"*\"\nmax_unavailable = 1\n";
    let (head, rest) = all.split_once("[host.b]").unwrap();
    let (_, last) = rest.split_once("[host.c]").unwrap();
    let less = format!("{}[host.c]{last}{group}", head.replace("[host.a]", "[host.a-new]"));
    std::fs::write(farm.at("fleet.toml"), less).unwrap();
    let (code, out, err) = farm.says(&["reboot", "*", "--dry-run", "--output", "json"]);
    let preview: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, preview["targets"].as_u64()), (0, Some(2)), "{out}{err}");
    let tracks = preview["waves"][0]["tracks"].as_array().unwrap();
    assert!(tracks.len() == 2 && tracks.iter().all(|track| track["blockers"].as_array().unwrap().is_empty()), "{out}");
    let (_, out, _) = farm.says(&["hosts"]);
    assert!(out.contains("a-new") && !out.contains("\nb "), "{out}");
    let (code, _, err) = farm.says(&["remove", "c"]);
    assert!(code == 2 && err.contains("stands in the inventory"), "{err}");
    // What a person said of it waits for it.
    std::fs::write(farm.at("fleet.toml"), all).unwrap();
    assert!(farm.says(&["locks"]).1.contains("new disk"));
    nobody_went_down(&farm, &["a", "b", "c"]);
}

#[test]
fn an_interrupted_run_goes_on_with_resume_alone_under_its_own_inventory() {
    let farm = with_drains(&["a", "b"]);
    std::fs::rename(farm.at("fleet.toml"), farm.at("prod.toml")).unwrap();
    let (child, id) = in_the_middle(&farm, &["-i", "prod.toml"]);
    killed(child);
    // Another inventory was looked at since, and lies where the next command stands.
    std::fs::write(farm.at("fleet.toml"), "[host.other]\n").unwrap();
    let (_, out, err) = farm.says(&["hosts", "-i", "fleet.toml"]);
    assert!(out.contains("other") && err.contains("a is not in this inventory, and counts still"), "{out}{err}");
    let (code, _, err) = farm.says(&["resume", &id, "-i", "fleet.toml"]);
    assert!(code == 2 && err.contains("prod.toml"), "{err}");

    // Whoever only looks lets what has begun end, and nothing new start.
    std::fs::remove_file(farm.at("wait")).unwrap();
    let (code, out, err) = farm.says(&["watch", &id]);
    assert_eq!(code, 8, "{out}{err}");
    assert!(out.contains("interrupted") && out.contains("resume"), "{out}");
    assert!(!calls(&farm).contains(&"drain b".to_owned()), "{:?}", calls(&farm));
    assert!(calls(&farm).contains(&"undrain a".to_owned()) && !farm.at("out-a").exists(), "{:?}", calls(&farm));

    let (_, out, err) = farm.says(&["resume"]);
    assert!(calls(&farm).contains(&"drain b".to_owned()), "{out}{err}");
    assert!(!err.contains("not in this inventory"), "{err}");
    // Who is asked whether to take up what is left sees first what that is.
    let (code, out, err) = farm.says(&["retry", &id]);
    assert!(code == 2 && err.contains("--yes") && out.contains("retry of") && out.contains("Wave 1"), "{code} {out}{err}");
    nobody_went_down(&farm, &["a", "b"]);
}

#[test]
fn who_pauses_an_interrupted_run_says_why() {
    let farm = with_drains(&["a", "b"]);
    let (child, id) = in_the_middle(&farm, &[]);
    killed(child);
    let (code, out, err) = farm.says(&["pause", &id, "--reason", "the new disk comes first"]);
    std::fs::remove_file(farm.at("wait")).unwrap();
    assert_eq!(code, 0, "{out}{err}");
    let (_, out, _) = farm.says(&["orchestrations", "--active", "--output", "json"]);
    let open: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(open["orchestrations"][0]["rollout"]["paused"]["reason"], "the new disk comes first", "{open}");
}

#[test]
fn a_cancel_stays_until_everything_is_put_back() {
    let farm = with_drains(&["a", "b"]);
    let (child, id) = in_the_middle(&farm, &[]);
    killed(child);
    std::fs::remove_file(farm.at("wait")).unwrap();
    let (code, out, err) = farm.says(&["cancel", &id]);
    assert!(!farm.at("out-a").exists() && calls(&farm).contains(&"undrain a".to_owned()), "{out}{err}{:?}", calls(&farm));
    assert_eq!(code, 0, "{out}{err}");
    assert!(!calls(&farm).contains(&"drain b".to_owned()));
    let (code, _, err) = farm.says(&["resume"]);
    assert!(code == 5 && err.contains("nothing to go on with"), "{err}");
}

#[test]
fn while_a_run_goes_on_other_commands_ask_its_process() {
    let farm = with_drains(&["a", "b"]);
    let (mut child, id) = in_the_middle(&farm, &[]);
    let (code, out, err) = farm.says(&["explain", "b"]);
    assert!(code == 3 && out.contains(&format!("b waits in {id}")), "{code} {out}{err}");
    let (code, out, err) = farm.says(&["locks"]);
    assert!(code == 0 && out.contains(&id), "{out}{err}");
    assert_eq!(farm.says(&["disable", "b", "--reason", "new disk"]).0, 0);
    assert!(farm.says(&["hosts"]).1.contains("role=web"));
    // Two must never decide at once, and what is begun must not hang on another process.
    let (code, _, err) = farm.says(&["reboot", "b", "--yes"]);
    assert!(code == 3 && err.contains(&format!("process {}", child.id())) && err.contains("orchestrations --active"), "{err}");
    let (code, out, err) = farm.says(&["pause", &id]);
    assert_eq!(code, 0, "{out}{err}");
    std::fs::remove_file(farm.at("wait")).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(8), "paused by the other one");
    assert!(!calls(&farm).contains(&"drain b".to_owned()));
    assert!(!farm.at(".local/state/reveille/reveille.sock").exists());
    assert!(farm.says(&["locks"]).1.contains("new disk"));
}

#[test]
fn what_is_told_to_be_typed_next_asks_the_same_engine() {
    let farm = fleet(&["a"]);
    // A login that cannot be read is no matter for whoever wants no server.
    std::fs::create_dir_all(farm.at(".config/reveille")).unwrap();
    std::fs::write(farm.at(".config/reveille/login.json"), "{").unwrap();
    let (code, out, err) = farm.says(&["disable", "a", "--reason", "new disk", "-i", "fleet.toml", "--state-dir", "s t"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("`reveille enable a -i fleet.toml --state-dir 's t'` takes that back"), "{out}");
}

#[test]
fn what_a_person_wants_to_know_can_be_logged() {
    let farm = fleet(&["a"]);
    let quiet = farm.says(&["hosts"]).2;
    let told = farm.says(&["hosts", "--log", "debug"]).2;
    assert!(quiet.is_empty() && told.contains("DEBUG"), "{quiet}{told}");
    let (code, _, err) = farm.says(&["hosts", "--log", "a=b=c"]);
    assert!(code == 2 && err.contains("MODULE=LEVEL"), "{err}");
}
