use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;

use model::{Action, ContainerEngine, TargetId};
use uuid::Uuid;

use super::*;
use crate::testing::{broken, drive, really, recorded, said, shells};
use crate::{HostKind, perform};

const SHOW_TWO: &str = include_str!("../../recorded/units/show-units.txt");
const SHOW_UNKNOWN: &str = include_str!("../../recorded/units/show-unit-unknown.txt");
const STOPPING: &str = include_str!("../../recorded/units/show-slow-stopping.txt");
const START_UNKNOWN: &str = include_str!("../../recorded/units/start-unknown.txt");
const DOCKER_TWO: &str = include_str!("../../recorded/docker/inspect-web-stubborn.txt");
const DOCKER_EXITED: &str = include_str!("../../recorded/docker/inspect-after-term.txt");
const DOCKER_PAUSED: &str = include_str!("../../recorded/docker/inspect-paused.txt");
const DOCKER_UNKNOWN: &str = include_str!("../../recorded/docker/inspect-unknown.txt");
const DOCKER_DOWN: &str = include_str!("../../recorded/docker/down.txt");
const PODMAN_WEB: &str = include_str!("../../recorded/podman/inspect-web.txt");
const PODMAN_UNKNOWN: &str = include_str!("../../recorded/podman/inspect-unknown.txt");
const STAT: &str = include_str!("../../recorded/hook/stat-hook.txt");
const STAT_MISSING: &str = include_str!("../../recorded/hook/stat-hook-missing.txt");

const HOOKS: &str = "/etc/reveille/hooks";

fn action(action: &Action, answer: impl FnMut(&str, Millis) -> (Output, Millis)) -> (String, Verdict) {
    drive(perform(&HostKind::Systemd, TargetId(Uuid::from_u128(7)), HOOKS, action), answer)
}

fn units(names: &[&str]) -> Drain {
    Drain::Units { units: names.iter().map(|&n| n.to_owned()).collect() }
}

fn drain(drain: Drain, grace: u64, force: bool) -> Action {
    Action::Drain { drain, grace: Millis::secs(grace), force }
}

fn undrain(drain: Drain, prior: Vec<ItemState>, limit: u64) -> Action {
    Action::Undrain { drain, prior, limit: Millis::secs(limit), forced: false }
}

fn item(name: &str, state: &str, in_service: bool) -> ItemState {
    ItemState { name: name.into(), state: state.into(), in_service }
}

fn items(verdict: &Verdict) -> (Vec<ItemState>, bool) {
    match verdict {
        Verdict::Completed { observed: Some(Observed::Items(items)), already } => (items.clone(), *already),
        other => panic!("{other:?}"),
    }
}

fn failed(verdict: &Verdict) -> (ErrorCode, &str) {
    match verdict {
        Verdict::Failed { code, message } => (*code, message),
        other => panic!("{other:?}"),
    }
}

/// systemd in small: answers in the form of the recordings.
struct Systemd {
    states: BTreeMap<String, &'static str>,
    /// Units that do not stop when asked.
    stubborn: bool,
    asked: Vec<String>,
}

impl Systemd {
    fn new(states: &[(&str, &'static str)]) -> Self {
        Self { states: states.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect(), stubborn: false, asked: Vec::new() }
    }

    fn answer(&mut self, line: &str) -> (Output, Millis) {
        let words: Vec<&str> = line.split(' ').collect();
        if words[1] == "show" {
            let blocks = words[4..].iter().map(|name| {
                let (active, sub) = self.states[*name].split_once('/').unwrap();
                format!("LoadState=loaded\nActiveState={active}\nSubState={sub}\n")
            });
            return (said(&blocks.collect::<Vec<_>>().join("\n")), Millis(5));
        }
        let unit = words[words.len() - 1].to_owned();
        self.asked.push(line.to_owned());
        let state = match words[1] {
            "stop" if self.stubborn => "deactivating/stop-sigterm",
            "stop" => "inactive/dead",
            "kill" => "failed/failed",
            _ => "active/running",
        };
        let took = if state.starts_with("deactivating") && !line.contains("--no-block") { 60_000 } else { 300 };
        self.states.insert(unit, state);
        (said(""), Millis(took))
    }
}

#[test]
fn units_are_observed_as_systemd_says() {
    let observe = Action::Observe { drain: units(&["web.service", "slow.service"]) };
    let (story, verdict) = action(&observe, |_, _| (recorded(SHOW_TWO), Millis(1)));
    assert!(
        story.starts_with("0 s: systemctl show --property=LoadState,ActiveState,SubState -- web.service slow.service -> 0\n"),
        "{story}"
    );
    let both = vec![item("web.service", "active/running", true), item("slow.service", "active/running", true)];
    assert_eq!(items(&verdict).0, both);
    let (_, verdict) = action(&observe, |_, _| (recorded(STOPPING), Millis(1)));
    let both = vec![item("web.service", "inactive/dead", false), item("slow.service", "deactivating/stop-sigterm", true)];
    assert_eq!(items(&verdict).0, both, "what is still stopping is not out of service yet");
    let unknown = Action::Observe { drain: units(&["nosuch.service"]) };
    let (_, verdict) = action(&unknown, |_, _| (recorded(SHOW_UNKNOWN), Millis(1)));
    assert_eq!(failed(&verdict), (ErrorCode::NotFound, "this host has no unit nosuch.service"));
    for bad in broken(&recorded(SHOW_TWO).stdout) {
        let (_, verdict) = action(&observe, |_, _| (bad.clone(), Millis(1)));
        assert_eq!(failed(&verdict).0, ErrorCode::NotObserved, "{bad:?}");
    }
}

#[test]
fn units_stop_in_order_and_start_in_reverse_and_only_what_is_left_is_done() {
    let mut systemd =
        Systemd::new(&[("a.service", "active/running"), ("b.service", "inactive/dead"), ("c.target", "active/active")]);
    let what = || units(&["a.service", "b.service", "c.target"]);
    let observe = Action::Observe { drain: what() };
    let prior = items(&action(&observe, |line, _| systemd.answer(line)).1).0;
    let (_, verdict) = action(&drain(what(), 60, false), |line, _| systemd.answer(line));
    assert_eq!(systemd.asked, ["systemctl stop -- a.service", "systemctl stop -- c.target"]);
    assert!(items(&verdict).0.iter().all(|item| !item.in_service) && !items(&verdict).1);
    systemd.asked.clear();
    let (_, verdict) = action(&drain(what(), 60, false), |line, _| systemd.answer(line));
    assert!(items(&verdict).1 && systemd.asked.is_empty(), "E10: a repeat does nothing");
    // After the boot systemd has started what is enabled, also what a person had stopped before (G7).
    systemd.states.insert("b.service".into(), "active/running");
    let (_, verdict) = action(&undrain(what(), prior.clone(), 60), |line, _| systemd.answer(line));
    assert_eq!(systemd.asked, ["systemctl start -- c.target", "systemctl stop -- b.service", "systemctl start -- a.service"]);
    let now = items(&verdict).0;
    assert_eq!(now.iter().map(|i| i.in_service).collect::<Vec<_>>(), prior.iter().map(|i| i.in_service).collect::<Vec<_>>());
    systemd.asked.clear();
    let (_, verdict) = action(&undrain(what(), prior, 60), |line, _| systemd.answer(line));
    assert!(items(&verdict).1 && systemd.asked.is_empty());
}

#[test]
fn pain_11_what_does_not_stop_in_time_is_named_and_force_cuts_it_off() {
    let mut systemd = Systemd::new(&[("slow.service", "active/running"), ("web.service", "active/running")]);
    systemd.stubborn = true;
    let what = || units(&["slow.service", "web.service"]);
    let (story, verdict) = action(&drain(what(), 20, false), |line, _| systemd.answer(line));
    let (code, message) = failed(&verdict);
    assert_eq!(code, ErrorCode::NotDrained, "{story}");
    assert!(
        message.contains("slow.service is still deactivating/stop-sigterm; web.service is still active/running"),
        "{message}"
    );
    assert_eq!(systemd.asked, ["systemctl stop -- slow.service"], "the second waits for the first");
    systemd.asked.clear();
    let (_, verdict) = action(&drain(what(), 0, true), |line, _| systemd.answer(line));
    assert!(items(&verdict).0.iter().all(|item| !item.in_service));
    let force =
        |unit: &str| [format!("systemctl stop --no-block -- {unit}"), format!("systemctl kill --signal=SIGKILL -- {unit}")];
    assert_eq!(systemd.asked, [force("slow.service"), force("web.service")].concat());
}

#[test]
fn a_tool_that_says_no_is_asked_three_times_and_its_words_are_told() {
    let mut systemd = Systemd::new(&[("web.service", "inactive/dead")]);
    let prior = vec![item("web.service", "active/running", true)];
    let mut asked = 0;
    let (_, verdict) = action(&undrain(units(&["web.service"]), prior, 120), |line, _| {
        if line.contains(" start ") {
            asked += 1;
            return (recorded(START_UNKNOWN), Millis(10));
        }
        systemd.answer(line)
    });
    assert_eq!((asked, failed(&verdict).0), (3, ErrorCode::NotObserved));
    assert!(failed(&verdict).1.contains("web.service is inactive/dead, it was active/running; web.service: Failed to start"));
}

#[test]
fn names_that_a_tool_could_misread_run_nothing() {
    let podman = |name: &str| Drain::Containers { engine: ContainerEngine::Podman, names: vec![name.to_owned()] };
    let hook = |name: &str| Drain::Hook { name: name.to_owned() };
    let bad = [units(&["-H.service"]), units(&["web"]), units(&["a b.service"]), units(&["*.service"]), units(&[])];
    let more = [podman("-f"), podman("a/b"), podman(""), hook("../x"), hook("a/b"), hook("-x"), hook(".x"), hook("")];
    for drain in bad.into_iter().chain(more) {
        let (story, verdict) = action(&Action::Observe { drain: drain.clone() }, |line, _| panic!("{drain:?} runs {line}"));
        assert_eq!(failed(&verdict).0, ErrorCode::Malformed, "{story}");
    }
    let here = Drain::Http { url: "http://x".to_owned() };
    assert_eq!(failed(&action(&Action::Observe { drain: here }, |_, _| panic!()).1).0, ErrorCode::Unsupported);
}

fn docker(names: &[&str]) -> Drain {
    Drain::Containers { engine: ContainerEngine::Docker, names: names.iter().map(|&n| n.to_owned()).collect() }
}

#[test]
fn containers_are_stopped_by_their_own_signal_and_never_killed_unless_forced() {
    let mut asked = Vec::new();
    let mut state = [recorded(DOCKER_TWO).stdout, recorded(DOCKER_EXITED).stdout];
    // Both lists hold whole objects; the second recording is of web alone.
    let (running, exited): (Vec<serde_json::Value>, Vec<serde_json::Value>) =
        (serde_json::from_str(&state[0]).unwrap(), serde_json::from_str(&state[1]).unwrap());
    state[1] = serde_json::to_string(&[&exited[0], &running[1]]).unwrap();
    let (_, verdict) = action(&drain(docker(&["web", "stubborn"]), 10, false), |line, _| {
        if line.starts_with("docker container inspect web stubborn") {
            return (said(&state[usize::from(!asked.is_empty())]), Millis(5));
        }
        asked.push(line.to_owned());
        (said("ok\n"), Millis(5))
    });
    assert_eq!(asked, ["docker kill --signal=TERM web", "docker kill --signal=SIGUSR1 stubborn"]);
    assert_eq!(failed(&verdict), (ErrorCode::NotDrained, "stubborn is still running"));
    let mut asked = Vec::new();
    let (_, verdict) = action(&drain(docker(&["web"]), 10, true), |line, _| {
        if line.contains("inspect") {
            return (if asked.is_empty() { said(&format!("[{}]", running[0])) } else { recorded(DOCKER_EXITED) }, Millis(5));
        }
        asked.push(line.to_owned());
        (said("web\n"), Millis(5))
    });
    assert_eq!((asked, items(&verdict).0), (vec!["docker kill web".to_owned()], vec![item("web", "exited", false)]));
    let podman = Drain::Containers { engine: ContainerEngine::Podman, names: vec!["web".to_owned()] };
    let mut asked = Vec::new();
    let (_, verdict) = action(&drain(podman, 30, false), |line, _| {
        if line.contains("inspect") {
            let stopped = recorded(PODMAN_WEB).stdout.replacen("\"running\"", "\"exited\"", 1);
            return (if asked.is_empty() { recorded(PODMAN_WEB) } else { said(&stopped) }, Millis(5));
        }
        asked.push(line.to_owned());
        (said("web\n"), Millis(5))
    });
    assert_eq!(asked, ["timeout -s KILL 30 podman stop --time 86400 web"]);
    assert_eq!(items(&verdict).0, [item("web", "exited", false)]);
}

#[test]
fn a_paused_container_comes_back_paused_and_an_engine_that_is_not_up_yet_is_waited_for() {
    let observe = Action::Observe { drain: docker(&["idle"]) };
    let prior = items(&action(&observe, |_, _| (recorded(DOCKER_PAUSED), Millis(1))).1).0;
    assert_eq!(prior, [item("idle", "paused", false)]);
    let state = |word: &str| said(&recorded(DOCKER_PAUSED).stdout.replacen("\"paused\"", &format!("\"{word}\""), 1));
    let (mut now, mut asked) = ("down", Vec::new());
    let (_, verdict) = action(&undrain(docker(&["idle"]), prior.clone(), 60), |line, at| {
        if line.contains("inspect") {
            if at > Millis(3000) && now == "down" {
                now = "exited";
            }
            return (if now == "down" { recorded(DOCKER_DOWN) } else { state(now) }, Millis(5));
        }
        asked.push(line.to_owned());
        now = if line.contains("start") { "running" } else { "paused" };
        (said("idle\n"), Millis(5))
    });
    assert_eq!((asked, items(&verdict).0), (vec!["docker start idle".to_owned(), "docker pause idle".to_owned()], prior));
    for (unknown, engine) in [(DOCKER_UNKNOWN, ContainerEngine::Docker), (PODMAN_UNKNOWN, ContainerEngine::Podman)] {
        let gone = Drain::Containers { engine, names: vec!["web".to_owned(), "nosuch".to_owned()] };
        let (_, verdict) = action(&Action::Observe { drain: gone.clone() }, |_, _| (recorded(unknown), Millis(1)));
        assert_eq!(failed(&verdict).0, ErrorCode::NotFound);
        let (_, verdict) = action(&drain(gone, 5, false), |_, _| (recorded(unknown), Millis(1)));
        assert_eq!(failed(&verdict).0, ErrorCode::NotFound, "what is not there cannot be drained, and waiting does not help");
    }
    let (_, verdict) = action(&drain(docker(&["idle"]), 3, false), |_, _| (recorded(DOCKER_DOWN), Millis(1)));
    assert_eq!(failed(&verdict).0, ErrorCode::NotDrained);
    for bad in broken(&recorded(DOCKER_PAUSED).stdout) {
        let (_, verdict) = action(&observe, |_, _| (bad.clone(), Millis(1)));
        assert_eq!(failed(&verdict).0, ErrorCode::NotObserved, "{bad:?}");
    }
}

#[test]
fn only_root_may_have_made_a_hook() {
    let good = recorded(STAT);
    let path = "/etc/passwd";
    assert_eq!(safe(path, &good), Ok(()));
    assert_eq!(safe(path, &recorded(include_str!("../../recorded/hook/busybox-stat.txt"))), Ok(()));
    assert_eq!(safe(path, &recorded(STAT_MISSING)).unwrap_err().code, ErrorCode::NotFound);
    let with = |line: usize, text: &str| {
        let mut lines: Vec<&str> = good.stdout.lines().collect();
        lines[line] = text;
        safe(path, &said(&(lines.join("\n") + "\n"))).map_err(|t| t.code)
    };
    let refused = Err(ErrorCode::Refused);
    // Another owner, group's write, others' write, a link, a folder in its place; each place counts.
    for text in ["1000 81ed", "0 81fd", "0 81ff", "0 a1ff", "0 41ed"] {
        assert_eq!(with(0, text), refused, "{text}");
    }
    for line in [1, 2] {
        for text in ["1000 41ed", "0 41fd", "0 41ff", "0 a1ff", "0 81ed"] {
            assert_eq!(with(line, text), refused, "{text}");
        }
    }
    assert_eq!(with(1, "0 43ff"), Ok(()), "as /tmp: others cannot take over what is in it");
    assert_eq!(with(0, "0 83ff"), refused);
    for bad in broken(&good.stdout) {
        assert_ne!(safe(path, &bad), Ok(()), "{bad:?}");
    }
}

/// A service that is kept in a file, and the hook for it.
const HOOK: &str = r#"#!/bin/sh
cd "$(dirname "$0")" || exit 1
echo "$1 force=$REVEILLE_FORCE" >> asked
case $1 in
  state) cat service;;
  drain) [ -e stuck ] && [ -z "$REVEILLE_FORCE" ] && { echo "pod db-0 is left" >&2; exit 1; }
         sed -i 's/ready in/cordoned out/' service;;
  undrain) printf '%s' "$REVEILLE_PRIOR" > service;;
  *) exit 9;;
esac
"#;

#[test]
fn g7_a_real_hook_is_drained_and_put_back_exactly_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let hooks = folder.path().display().to_string();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("cluster", HOOK);
    std::fs::set_permissions(folder.path().join("cluster"), std::fs::Permissions::from_mode(0o755)).unwrap();
    put("service", "web1 ready in\nweb2 drained out\n");
    let what = Drain::Hook { name: "cluster".to_owned() };
    let shell = shells()[0].clone();
    let go = |action: &Action| really(perform(&HostKind::Systemd, TargetId(Uuid::from_u128(7)), &hooks, action), &shell, "");
    let observed = go(&Action::Observe { drain: what.clone() });
    if std::process::Command::new("id").arg("-u").output().unwrap().stdout != b"0\n" {
        assert_eq!(failed(&observed).0, ErrorCode::Refused, "made by a user, not by root");
        return;
    }
    let prior = items(&observed).0;
    put("stuck", "");
    let stuck = go(&drain(what.clone(), 5, false));
    assert_eq!(failed(&stuck).0, ErrorCode::NotDrained);
    assert!(failed(&stuck).1.contains("web1 is still ready; pod db-0 is left"), "{stuck:?}");
    let forced = items(&go(&drain(what.clone(), 5, true))).0;
    assert_eq!(forced, [item("web1", "cordoned", false), item("web2", "drained", false)]);
    assert!(items(&go(&drain(what.clone(), 5, false))).1);
    assert_eq!(items(&go(&undrain(what.clone(), prior.clone(), 5))).0, prior);
    let asked = std::fs::read_to_string(folder.path().join("asked")).unwrap();
    assert_eq!(asked.matches("drain force=1\n").count(), 1);
    std::fs::set_permissions(folder.path().join("cluster"), std::fs::Permissions::from_mode(0o757)).unwrap();
    assert_eq!(failed(&go(&Action::Observe { drain: what.clone() })).0, ErrorCode::Refused);
    assert_eq!(std::fs::read_to_string(folder.path().join("asked")).unwrap(), asked, "it was not run");
    // The same words, but not a whole answer.
    std::fs::set_permissions(folder.path().join("cluster"), std::fs::Permissions::from_mode(0o755)).unwrap();
    for bad in ["", "web1 ready\n", "web1 ready in", "web1 ready yes\n", "web1 a b in\n", "web1 ready in\nweb1 ready in\n"] {
        put("service", bad);
        assert_eq!(failed(&go(&Action::Observe { drain: what.clone() })).0, ErrorCode::NotObserved, "{bad:?}");
    }
    // More than could be handed back to the undrain is refused before anything is drained.
    let long: String = (0..1000).map(|n| format!("{n} {} in\n", "x".repeat(80))).collect();
    put("service", &long);
    let refused = go(&Action::Observe { drain: what });
    let (code, message) = failed(&refused);
    assert!(code == ErrorCode::Unsupported && message.contains("64 KiB"), "{message}");
}

/// What a drain and an undrain ever say to a tool about a unit or a container: nothing of it changes what it is made of.
#[test]
fn s2_16_what_is_drained_keeps_its_configuration_and_its_data() {
    let mut asked = std::collections::BTreeSet::new();
    let mut note = |line: &str| {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.starts_with('-')).collect();
        asked.insert(words.iter().take(if words[1] == "container" { 3 } else { 2 }).copied().collect::<Vec<_>>().join(" "));
    };
    let mut systemd = Systemd::new(&[("web.service", "active/running")]);
    let prior = vec![item("web.service", "active/running", true)];
    for what in [drain(units(&["web.service"]), 60, false), undrain(units(&["web.service"]), prior, 60)] {
        action(&what, |line, _| {
            note(line);
            systemd.answer(line)
        });
    }
    systemd.stubborn = true;
    action(&drain(units(&["web.service"]), 0, true), |line, _| {
        note(line);
        systemd.answer(line)
    });
    let (up, down) = (recorded(DOCKER_TWO).stdout, recorded(DOCKER_EXITED).stdout);
    let one = |text: &str, at: usize| {
        let all: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        said(&serde_json::to_string(&[&all[at]]).unwrap())
    };
    let web = || docker(&["web"]);
    let wishes = [
        (drain(web(), 10, false), one(&up, 0)),
        (drain(web(), 0, true), one(&up, 0)),
        (undrain(web(), vec![item("web", "running", true)], 10), one(&down, 0)),
        (undrain(web(), vec![item("web", "exited", false)], 10), one(&up, 0)),
    ];
    for (what, stands) in wishes {
        action(&what, |line, _| {
            note(line);
            (if line.contains(" inspect ") { stands.clone() } else { said("ok\n") }, Millis(5))
        });
    }
    let allowed = [
        "docker container inspect",
        "docker kill",
        "docker pause",
        "docker start",
        "docker unpause",
        "systemctl kill",
        "systemctl show",
        "systemctl start",
        "systemctl stop",
    ];
    let more: Vec<&String> = asked.iter().filter(|line| !allowed.contains(&line.as_str())).collect();
    assert!(more.is_empty() && asked.len() > 5, "{asked:?}");
}
