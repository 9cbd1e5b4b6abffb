//! The sandbox host kind, with real processes.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use model::{Action, BootIdentity, ChildKind, ChildRef, ChildStatus, Millis, Observed, Readable, TargetId};
use recipe::{HostKind, Next, Script, Verdict};
use rustix::process::{Pid, Signal, kill_process};

const REVEILLE: &str = env!("CARGO_BIN_EXE_reveille");
/// Generous: no test depends on the speed of the machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// Marks every process of one test's host, through the environment that all of them inherit.
const MARK: &str = "REVEILLE_SANDBOX_TEST";

struct Host {
    dir: tempfile::TempDir,
    supervisor: Child,
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn supervise(dir: &Path) -> Command {
    let mut command = Command::new(REVEILLE);
    command.args(["sandbox-host", "--name", "test", "--dir"]).arg(dir).env(MARK, dir).stdin(Stdio::null());
    command
}

impl Host {
    /// With this `sandbox.json`, up and with its autostart children running.
    fn up(config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("sandbox.json"), config).unwrap();
        let supervisor = supervise(dir.path()).spawn().unwrap();
        let host = Self { dir, supervisor };
        host.settled();
        host
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn ctl(&self, args: &[&str]) -> Output {
        Command::new(REVEILLE).args(["sandbox-ctl", "--dir"]).arg(self.path()).args(args).output().unwrap()
    }

    fn said(&self, args: &[&str]) -> serde_json::Value {
        let output = self.ctl(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn refused(&self, args: &[&str]) -> String {
        let output = self.ctl(args);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Name and status of each child; `None` while the host is down.
    fn children(&self) -> Option<Vec<(String, String, bool)>> {
        let output = self.ctl(&["list"]);
        if !output.status.success() {
            return None;
        }
        let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let text = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
        let line = |c: &serde_json::Value| (text(&c["name"]), text(&c["status"]), c["autostart"].as_bool().unwrap());
        Some(list["children"].as_array().unwrap().iter().map(line).collect())
    }

    fn status(&self, name: &str) -> Option<String> {
        self.children()?.into_iter().find(|c| c.0 == name).map(|c| c.1)
    }

    /// Up, and every child as a boot leaves it.
    fn settled(&self) {
        until("the autostart children run", || {
            let all = self.children()?;
            all.iter().all(|(_, status, autostart)| !autostart || status == "running").then_some(())
        });
    }

    fn boot(&self) -> Option<BootIdentity> {
        let text = std::fs::read_to_string(self.path().join("boot_id")).ok()?;
        Some(recipe::boot::of_sandbox(&text).unwrap())
    }

    /// Every living process of this host, the supervisor and whoever just asked it something included.
    fn pids(&self) -> Vec<i32> {
        marked(self.path())
    }

    /// The pid of a child, from its own log.
    fn pid_of(&self, child: &str) -> i32 {
        let log = self.log(child);
        let up = log.lines().rfind(|l| l.contains(" up, ")).unwrap();
        up.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn log(&self, child: &str) -> String {
        std::fs::read_to_string(self.path().join("children").join(format!("{child}.log"))).unwrap_or_default()
    }

    fn supervisor_pid(&self) -> i32 {
        i32::try_from(self.supervisor.id()).unwrap()
    }

    /// The supervisor has ended, and nothing of the host is left.
    fn gone(&mut self) -> std::process::ExitStatus {
        let status = until("the supervisor ends", || self.supervisor.try_wait().unwrap());
        until("nothing is left", || self.pids().is_empty().then_some(()));
        status
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
        // Of a test that failed; also what an agent has put into a session of its own.
        marked(self.path()).into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }
}

fn marked(dir: &Path) -> Vec<i32> {
    let mark = format!("{MARK}={}\0", dir.display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let marked = processes.filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        let found = environment.windows(mark.len()).any(|w| w == mark.as_bytes());
        (found && state(pid).is_some_and(|s| s != 'Z')).then_some(pid)
    });
    marked.collect()
}

fn state(pid: i32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

fn signal(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

/// An agent that ignores SIGTERM and has put something into a session of its own, with no parent in its tree.
const STUBBORN: &str = r#"{"argv": ["sh", "-c", "trap '' TERM; (setsid sleep 600 &); while :; do sleep 0.1; done"]}"#;

#[test]
fn a_reboot_kills_everything_and_boots_anew() {
    let host = Host::up(&format!(
        r#"{{"agent": {STUBBORN}, "boot_delay_ms": 300, "stop_grace_ms": 300, "children": [
            {{"name": "auto", "autostart": true}}, {{"name": "deaf", "autostart": true, "on_term": "ignore"}},
            {{"name": "cold", "autostart": true}}, {{"name": "manual"}}]}}"#
    ));
    host.said(&["start", "manual"]);
    host.said(&["start", "cold", "--frozen"]);
    until("the agent's sleeper runs", || {
        let cmdline = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        host.pids().into_iter().find(|pid| cmdline(*pid).starts_with(b"sleep\x00600"))
    });
    let (first, before) = (host.boot().unwrap(), host.pids());
    assert!(before.len() >= 7, "supervisor, agent and its two, four children: {before:?}");
    assert_eq!(host.said(&["pending"])["pending"], serde_json::Value::Null);

    assert_eq!(host.said(&["reboot"])["ordered"], "reboot");
    let second = until("another boot", || host.boot().filter(|b| *b != first));
    let survivors: Vec<i32> =
        before.into_iter().filter(|pid| *pid != host.supervisor_pid() && host.pids().contains(pid)).collect();
    assert!(survivors.is_empty(), "nothing of the old boot is left when the new one begins: {survivors:?}");
    host.settled();
    assert_eq!(host.status("auto").unwrap(), "running");
    assert_eq!(host.status("manual").unwrap(), "stopped", "not started by the boot");
    assert!(host.log("auto").contains(&format!("on boot {}", second.boot_id())));
    assert!(host.log("deaf").contains("asked to stop, goes on"));
    assert_eq!(host.boot().unwrap(), second, "one boot for one order");
}

#[test]
fn of_two_orders_at_once_one_is_taken() {
    let host = Host::up(r#"{"boot_delay_ms": 0}"#);
    let old = host.boot().unwrap();
    let mut callers: Vec<UnixStream> = (0..8).map(|_| UnixStream::connect(host.path().join("control.sock")).unwrap()).collect();
    callers.iter_mut().for_each(|c| c.write_all(b"{\"op\":\"reboot\"}\n").unwrap());
    let taken = callers.iter_mut().filter_map(|caller| {
        caller.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut answer = String::new();
        caller.read_to_string(&mut answer).unwrap();
        answer.contains("ordered").then_some(())
    });
    // A caller that came late may have met the next boot; each boot takes one.
    let (taken, log) = (taken.count(), || std::fs::read_to_string(host.path().join("host.log")).unwrap());
    until("another boot", || host.boot().filter(|b| *b != old));
    host.settled();
    assert_eq!(log().matches("going down (reboot)").count(), taken, "{}", log());
}

#[test]
fn while_it_goes_down_it_says_so_and_while_it_is_down_it_answers_nothing_else() {
    let host = Host::up(
        r#"{"boot_delay_ms": 600000, "stop_grace_ms": 1500,
            "children": [{"name": "deaf", "autostart": true, "on_term": "ignore"}]}"#,
    );
    host.said(&["reboot"]);
    assert_eq!(host.said(&["pending"])["pending"], "reboot");
    assert!(host.refused(&["reboot"]).contains("going down"));
    assert!(host.refused(&["list"]).contains("going down"));
    until("it is down", || host.boot().is_none().then_some(()));
    until("it says that it is down", || host.refused(&["list"]).contains("is down").then_some(()));
    assert!(host.refused(&["start", "deaf"]).contains("is down"));
    assert!(host.refused(&["shutdown"]).contains("is down"));
    until("only the firmware is left", || (host.pids() == [host.supervisor_pid()]).then_some(()));
}

#[test]
fn a_child_stops_when_asked_or_is_killed_by_force() {
    let host = Host::up(
        r#"{"children": [{"name": "good", "autostart": true, "stop_delay_ms": 100},
                         {"name": "deaf", "autostart": true, "on_term": "ignore"}]}"#,
    );
    let (good, deaf) = (host.pid_of("good"), host.pid_of("deaf"));
    assert_eq!(host.said(&["stop", "good", "--grace-ms", "60000"]), serde_json::json!({"status": "stopped", "already": false}));
    assert!(host.log("good").trim_end().ends_with(&format!("{good} down")));
    assert_eq!(host.said(&["stop", "good"])["already"], true);

    assert!(host.refused(&["stop", "deaf", "--grace-ms", "300"]).contains("deaf is still running after 300 ms"));
    until("it has noted the wish", || host.log("deaf").contains("asked to stop, goes on").then_some(()));
    assert_eq!(host.status("deaf").unwrap(), "running");
    assert_eq!(host.said(&["stop", "deaf", "--grace-ms", "0", "--force"])["status"], "stopped");
    assert!(state(deaf).is_none_or(|s| s == 'Z'));

    assert_eq!(host.said(&["start", "good"]), serde_json::json!({"status": "running", "already": false}));
    assert_eq!(host.said(&["start", "good"])["already"], true);
    assert!(host.refused(&["start", "nobody"]).contains("no child nobody"));
}

#[test]
fn a_frozen_child_is_a_stopped_process_and_can_be_thawed_and_stopped_cleanly() {
    let host = Host::up(r#"{"children": [{"name": "cold"}]}"#);
    assert_eq!(host.said(&["start", "cold", "--frozen"])["status"], "frozen");
    let pid = host.pid_of("cold");
    until("the kernel shows it stopped", || (state(pid) == Some('T')).then_some(()));
    assert_eq!(host.status("cold").unwrap(), "frozen");
    assert_eq!(host.said(&["start", "cold"])["status"], "running");
    until("it goes on", || (state(pid) != Some('T')).then_some(()));
    host.said(&["start", "cold", "--frozen"]);
    host.said(&["stop", "cold", "--grace-ms", "60000"]);
    assert!(host.log("cold").trim_end().ends_with(&format!("{pid} down")), "asked, not killed");
}

#[test]
fn a_sigkill_of_the_supervisor_leaves_nothing_behind() {
    let mut host = Host::up(
        r#"{"agent": {"argv": ["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]},
            "children": [{"name": "deaf", "autostart": true, "on_term": "ignore"}, {"name": "cold"}]}"#,
    );
    host.said(&["start", "cold", "--frozen"]);
    assert!(host.pids().len() >= 4);
    signal(host.supervisor_pid(), Signal::KILL);
    host.gone();
    assert!(host.refused(&["list"]).contains("is it running?"));
    // Its directory can be taken over at once, and the boot is another one.
    let old = host.boot().unwrap();
    host.supervisor = supervise(host.path()).spawn().unwrap();
    until("another boot", || host.boot().filter(|b| *b != old));
    host.settled();
}

#[test]
fn a_shutdown_and_a_sigterm_end_everything() {
    for by_signal in [false, true] {
        let mut host = Host::up(&format!(
            r#"{{"agent": {STUBBORN}, "stop_grace_ms": 200, "children": [{{"name": "web", "autostart": true}}]}}"#
        ));
        if by_signal {
            signal(host.supervisor_pid(), Signal::TERM);
        } else {
            assert_eq!(host.said(&["shutdown"])["ordered"], "shutdown");
        }
        assert_eq!(host.gone().code(), Some(0));
        assert_eq!(host.boot(), None);
        assert!(host.log("web").trim_end().ends_with("down"));
        assert!(host.refused(&["pending"]).contains("is it running?"));
    }
}

#[test]
fn an_agent_that_dies_is_started_again_on_the_same_boot() {
    let host = Host::up(r#"{"agent": {"argv": ["sleep", "601"]}}"#);
    let agent = |not: Option<i32>| {
        until("an agent", || {
            let cmdline = |pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            host.pids().into_iter().find(|pid| Some(*pid) != not && cmdline(*pid) == b"sleep\x00601\x00")
        })
    };
    let (boot, first) = (host.boot(), agent(None));
    signal(first, Signal::KILL);
    assert_ne!(agent(Some(first)), first);
    assert_eq!(host.boot(), boot);
}

#[test]
fn its_directory_and_socket_are_its_owners_alone_and_one_supervisor_holds_them() {
    let host = Host::up("{}");
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(host.path().to_owned()), 0o700);
    assert_eq!(mode(host.path().join("control.sock")), 0o600);
    let mut second = supervise(host.path()).stderr(Stdio::piped()).spawn().unwrap();
    let ended = until("the second supervisor gives up", || second.try_wait().unwrap());
    let mut said = String::new();
    second.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(said.contains("another supervisor"), "{said}");
    host.settled();
}

#[test]
fn what_is_no_request_is_answered_with_an_error_and_harms_nothing() {
    let host = Host::up("{}");
    for line in ["\n", "{}\n", "{\"op\":\"explode\"}\n", "{\"op\":\"stop\",\"name\":7}\n", "\u{0}\u{1}\n"] {
        let mut stream = UnixStream::connect(host.path().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(r#"{"error":"unreadable request"#), "{line:?}: {answer:?}");
    }
    host.settled();
}

/// Performs a recipe the way an agent does.
fn perform<T: Clone>(mut script: Script<T>) -> T {
    let begun = Instant::now();
    let mut last = None;
    loop {
        let elapsed = Millis(u64::try_from(begun.elapsed().as_millis()).unwrap());
        match script.next(last.take().as_ref(), elapsed) {
            Next::Done(end) => return end,
            Next::Wait(time) => std::thread::sleep(time.duration()),
            Next::Run(run) => {
                let output = Command::new(&run.argv[0]).args(&run.argv[1..]).envs(run.env).output().unwrap();
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                last = Some(recipe::Output {
                    exit: output.status.code(),
                    stdout: text(&output.stdout),
                    stderr: text(&output.stderr),
                    timed_out: false,
                });
            }
        }
        assert!(begun.elapsed() < DEADLINE);
    }
}

#[test]
fn the_recipes_drive_a_real_sandbox_host() {
    let host = Host::up(
        r#"{"boot_delay_ms": 100, "children": [{"name": "web", "autostart": true, "start_priority": 3, "stop_priority": 4},
            {"name": "deaf", "autostart": true, "on_term": "ignore"}, {"name": "cold"}]}"#,
    );
    let id = TargetId(uuid::Uuid::from_u128(7));
    let dir = host.path().to_str().unwrap();
    let kind = HostKind::Sandbox { ctl: [REVEILLE, "sandbox-ctl", "--dir", dir].map(str::to_owned).into() };
    let run = |action: &Action| perform(recipe::perform(&kind, id, recipe::HOOKS_DIR, action));
    let read = || perform(recipe::read_host(&kind, id, &Default::default()));
    let child = |name: &str| -> ChildRef {
        let all = read().children;
        all.known().unwrap().iter().find(|c| c.child.name == name).unwrap().child.clone()
    };
    let done = |status, already| Verdict::Completed { observed: Some(Observed::Child(status)), already };
    let stop = |name, grace, force| run(&Action::StopChild { child: child(name), grace, force });
    let start = |name, frozen| run(&Action::StartChild { child: child(name), frozen, limit: Millis::secs(30) });

    let reading = read();
    assert_eq!((reading.pending_shutdown, reading.inhibitors), (Readable::Known(None), Readable::Known(vec![])));
    let web = reading.children.known().unwrap()[0].clone();
    assert_eq!((web.status, web.autostart, web.start_priority, web.stop_priority), (ChildStatus::Running, true, 3, 4));
    assert_eq!(web.child.id, TargetId::of_child(id, ChildKind::Sandbox, "web"));

    assert_eq!(stop("web", Millis::secs(30), false), done(ChildStatus::Stopped, false));
    assert_eq!(stop("web", Millis::secs(30), false), done(ChildStatus::Stopped, true));
    assert_eq!(start("web", false), done(ChildStatus::Running, false));
    assert_eq!(start("cold", true), done(ChildStatus::Frozen, false));
    assert_eq!(stop("cold", Millis::secs(30), false), done(ChildStatus::Stopped, false));
    let Verdict::Failed { code, message } = stop("deaf", Millis(1200), false) else { panic!("it cannot stop") };
    assert_eq!(code, model::ErrorCode::NotObserved);
    assert!(message.contains("deaf is still running"), "{message}");
    assert_eq!(stop("deaf", Millis::secs(30), true), done(ChildStatus::Stopped, false));

    let old = host.boot().unwrap();
    let reboot = Action::Reboot { expect_boot: old, begin_within: Millis::secs(5), ignore_inhibitors: false };
    assert_eq!(run(&reboot), Verdict::Ordered);
    until("another boot", || host.boot().filter(|b| *b != old));
}
