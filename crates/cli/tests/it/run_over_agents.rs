//! `reveille run` over a real server and real agents: files of root, run once, with what they said.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::server::{Sandbox, Server, command, until};

/// Puts a command on the host; whether it belongs to root, so that it may be run.
fn put(host: &Sandbox, name: &str, script: &str) -> bool {
    let folder = host.dir.join("commands.d");
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::metadata(&file).unwrap().uid() == 0
}

fn lines(host: &Sandbox) -> usize {
    std::fs::read_to_string(host.dir.join("log")).map_or(0, |log| log.lines().count())
}

/// The process of the host's agent.
fn agent(host: &Sandbox) -> Option<Pid> {
    let config = host.dir.join("agent.toml").display().to_string();
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        let is = words.get(1) == Some(&"agent".as_bytes()) && words.contains(&config.as_bytes());
        is.then(|| Pid::from_raw(pid)).flatten()
    })
}

/// Whoever has let go of a run, or lost its output, watches it from the begin.
fn what_was_said_is_had_again(server: &Server, kept: &str) {
    let result: Value = serde_json::from_slice(&std::fs::read(format!("{kept}/result.json")).unwrap()).unwrap();
    let id = result["orchestration"].as_str().unwrap();
    let (code, out, err) = server.says(&["watch", id]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("shop-1 | hello\n") && err.contains("shop-1 ! careful\n") && out.contains("exit 0"), "{out}{err}");
    assert!(out.contains("run of command hello") && out.contains("Command on 1 host: completed"), "{out}");
    assert!(!out.contains("Rolling reboot"), "{out}");
    let kept = out.lines().find_map(|line| line.split_once("Output is kept in ")).unwrap().1;
    assert_eq!(std::fs::read_to_string(format!("{kept}/shop-1.out")).unwrap(), "hello\n");
    // The exit code of a run that failed is that of its watching too.
    let (code, _, err) = server.says(&["run", "fails", "--targets", "shop-1"]);
    assert_eq!(code, 1, "{err}");
    let id = err.split_whitespace().nth(1).unwrap().to_owned();
    let (code, out, err) = server.says(&["watch", &id, "--output", "json"]);
    let ran: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    assert_eq!((code, &ran["hosts"][0]["exit"]), (1, &Value::from(3)), "{ran}");
}

/// A command is begun once: where its output goes is made before, and a disk that fills up later ends nothing.
fn where_it_cannot_be_kept_nothing_begins(server: &Server, host: &Sandbox) {
    let before = lines(host);
    let (code, out, err) = server.says(&["run", "hello", "--targets", "shop-1", "--state-dir", "/dev/null/x"]);
    assert!(code == 1 && err.contains("nothing was begun") && err.contains("--state-dir"), "{code} {out}{err}");
    assert_eq!(lines(host), before);
    // It goes to the server wherever its output goes; a run that is refused leaves nothing behind.
    let state = server.path().join("else").display().to_string();
    let (code, out, err) = server.says(&["run", "hello", "--targets", "nobody", "--state-dir", &state]);
    assert!(code == 5 && std::fs::read_dir(format!("{state}/runs")).unwrap().next().is_none(), "{code} {out}{err}");
    let (code, out, err) = server.says(&["run", "hello", "--targets", "shop-1", "--state-dir", &state]);
    assert!(code == 0 && out.contains(&format!("kept in {state}")), "{code} {out}{err}");
    assert_eq!(lines(host), before + 1);
    // What is said is more than a file may hold here.
    let reveille = command(server.path());
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]).arg(reveille.get_program());
    limited.args(["run", "much", "--targets", "shop-1"]).stdin(Stdio::null());
    for (name, value) in reveille.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let output = limited.output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(output.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("shop-1 | last\n") && out.contains("1 of 1 hosts are well"), "it was followed to its end: {out}{err}");
    assert!(err.contains("cannot keep output") && err.contains("reveille watch "), "{err}");
}

#[test]
fn s2_18_commands_of_the_hosts_are_run_once_and_what_they_say_is_shown_and_kept() {
    let server = Server::start();
    server.log_in();
    let host = Sandbox::start(&server, "shop-1", r#"{"name":"web","autostart":true}"#);
    let log = host.dir.join("log").display().to_string();
    let root = put(&host, "hello", &format!("echo once >> {log}; echo hello; echo careful >&2"));
    put(&host, "fails", "echo no >&2; exit 3");
    put(&host, "much", "head -c 6000 /dev/zero | tr '\\0' x | fold -w 99; echo; echo last");
    put(&host, "slow", &format!("echo once >> {log}; exec sleep 20"));
    let (code, out, err) = server.says(&["run", "hello", "--targets", "role=web"]);
    if !root {
        assert!(code == 1 && out.contains("belongs to user"), "{code} {out}{err}");
        return;
    }
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("shop-1 | hello\n") && err.contains("shop-1 ! careful\n") && out.contains("exit 0"), "{out}{err}");
    assert_eq!(lines(&host), 1);
    let kept = out.lines().find_map(|line| line.split_once("Output is kept in ")).unwrap().1.to_owned();
    assert_eq!(std::fs::read_to_string(format!("{kept}/shop-1.out")).unwrap(), "hello\n");
    what_was_said_is_had_again(&server, &kept);
    where_it_cannot_be_kept_nothing_begins(&server, &host);

    let (code, out, err) = server.says(&["run", "fails", "--targets", "shop-1"]);
    assert!(code == 1 && out.contains("exit 3: no") && err.contains("shop-1 ! no"), "{code} {out}{err}");
    let (code, out, _) = server.says(&["run", "missing", "--targets", "shop-1"]);
    assert!(code == 1 && out.contains("not_found"), "{code} {out}");
    // A line is no name; and free ones are another right, which this host gives to this user.
    let (code, _, err) = server.says(&["run", "echo $((1+1))", "--targets", "shop-1"]);
    assert!(code != 0 && err.contains("no name of a command") && err.contains("--free"), "{code} {err}");
    let (code, out, err) = server.says(&["run", "echo free $((1+1))", "--free", "--targets", "shop-1"]);
    assert!(code == 0 && out.contains("shop-1 | free 2\n"), "{code} {out}{err}");
    // Nobody is meant by leaving it out.
    assert_eq!(server.says(&["run", "hello"]).0, 2);

    let (code, out, err) = server.says(&["health-check"]);
    assert!(code == 0 && out.contains("shop-1") && out.contains("The host is well."), "{code} {out}{err}");
    let (code, out, err) = server.says(&["health-check", "--targets", "nobody"]);
    assert!(code == 5 && out.is_empty(), "{code} {out}{err}");
    let (code, _, err) = server.says(&["health-check", "--jobs", "nope"]);
    assert!(code == 2 && err.contains("nope"), "{code} {err}");

    // The agent dies in the middle: nobody knows, and it is not run again.
    let before = lines(&host);
    let mut client = command(server.path());
    let client =
        client.args(["run", "slow", "--targets", "shop-1"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("it runs", || (lines(&host) > before).then_some(()));
    kill_process(agent(&host).unwrap(), Signal::KILL).unwrap();
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("unknown: outcome_unknown"), "{:?} {said}", output.status);
    assert_eq!(lines(&host), before + 1);
    assert_eq!(server.says(&["run", "hello", "--targets", "shop-1"]).0, 0, "the host is free again");
    assert_eq!(lines(&host), before + 2);
}
