//! The client against a real server, and a sandbox host with a real agent between them: every process is this program.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const REVEILLE: &str = env!("CARGO_BIN_EXE_reveille");
/// Generous: no test depends on the speed of the machine.
const DEADLINE: Duration = Duration::from_secs(120);
const PASSWORD: &str = "a new and long password";

/// A server with everything in one directory; ends with the test.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    process: Child,
    started: Value,
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut process = command(dir.path())
            .args(["server", "--output", "json"])
            .env("REVEILLE_SERVER_STATE_DIR", dir.path().join("state"))
            .env("REVEILLE_SERVER_API__LISTEN", r#"["127.0.0.1:0"]"#)
            .env("REVEILLE_SERVER_MQTT__LISTEN", r#"["127.0.0.1:0"]"#)
            .env("REVEILLE_SERVER_TLS__NAMES", r#"["127.0.0.1"]"#)
            .env("REVEILLE_SERVER_ENGINE__SETTLING", "0")
            .env("REVEILLE_SERVER_ENGINE__HEALTH_HOLD", "100")
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(dir.path().join("server.log")).unwrap())
            .spawn()
            .unwrap();
        let mut document = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            document.push_str(&line.unwrap());
            if document.ends_with('}') {
                break;
            }
        }
        let started = serde_json::from_str(&document).unwrap_or_else(|error| panic!("{error}: {document}"));
        Self { dir, process, started }
    }

    fn text(&self, name: &str) -> &str {
        self.started[name].as_str().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn run(&self, args: &[&str]) -> Output {
        command(self.path()).args(args).output().unwrap()
    }

    /// The exit code, and what was said on both ways.
    pub(crate) fn says(&self, args: &[&str]) -> (i32, String, String) {
        let output = self.run(args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The document of a command that ends well.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let (code, out, err) = self.says(&[args, &["--output", "json"]].concat());
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        serde_json::from_str(&out).unwrap()
    }

    pub(crate) fn log_in(&self) {
        let (file, new) = (self.text("one_time_password_file").to_owned(), self.path().join("new"));
        std::fs::write(&new, PASSWORD).unwrap();
        let new = new.to_str().unwrap();
        let fingerprint = self.text("ca_fingerprint");
        let url = self.text("url");
        let args = ["login", url, "--ca-fingerprint", fingerprint, "--password-file", &file, "--new-password-file", new];
        let (code, out, err) = self.says(&args);
        assert_eq!(code, 0, "{out}{err}");
        assert!(out.starts_with("Logged in to"), "{out}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn end(process: &mut Child) {
    // It may have ended already.
    kill_process(Pid::from_child(process), Signal::TERM).unwrap_or_default();
    drop(process.wait());
}

pub(crate) fn command(home: &Path) -> Command {
    let mut command = Command::new(REVEILLE);
    for name in ["REVEILLE_SERVER", "REVEILLE_CA", "REVEILLE_TOKEN", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    command.env("HOME", home).env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

pub(crate) fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn nobody_is_trusted_without_a_fingerprint_and_no_password_is_sent() {
    let server = Server::start();
    let (url, password) = (server.text("url"), server.text("one_time_password_file"));
    let (code, _, err) = server.says(&["hosts"]);
    assert_eq!(code, 6, "{err}");
    assert!(err.contains("reveille login"), "{err}");
    let (code, _, err) = server.says(&["login", url, "--password-file", password]);
    assert_eq!(code, 2, "no terminal to be asked on: {err}");
    let wrong = "ab".repeat(32);
    let (code, _, err) = server.says(&["login", url, "--ca-fingerprint", &wrong, "--password-file", password]);
    assert_eq!(code, 7, "{err}");
    assert!(err.contains("do not give it a password"), "{err}");
    let (code, _, err) =
        server.says(&["login", url, "--ca-fingerprint", server.text("ca_fingerprint"), "--password-file", password]);
    assert_eq!(code, 2, "a one-time password must be replaced: {err}");
    let (code, _, _) = server.says(&["login", "https://127.0.0.1:1", "--ca-fingerprint", &wrong, "--password-file", password]);
    assert_eq!(code, 7);
}

#[test]
fn a_login_is_kept_for_its_owner_alone_and_ends_with_a_logout() {
    let server = Server::start();
    server.log_in();
    let login = server.path().join(".config/reveille/login.json");
    assert_eq!(std::fs::metadata(&login).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(server.says(&["hosts"]).1.contains("No hosts yet"));
    assert_eq!(server.says(&["reboot", "nobody", "--yes"]).0, 5);
    assert_eq!(server.says(&["watch", "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11"]).0, 5);
    assert_eq!(server.says(&["reboot"]).0, 2);
    let (code, _, err) = server.says(&["locks", "release", "web", "c988"]);
    assert!(code == 5 && err.contains("c988"), "{code}: {err}");
    // A token does less than its maker, and works from the environment.
    let made = server.json(&["tokens", "create", "look", "--role", "viewer"]);
    let viewer = |args: &[&str]| {
        let output = command(server.path()).args(args).env("REVEILLE_TOKEN", made["token"].as_str().unwrap()).output().unwrap();
        output.status.code().unwrap()
    };
    assert_eq!((viewer(&["hosts"]), viewer(&["audit"]), viewer(&["enrol-token", "x"])), (0, 6, 6));
    assert_eq!(server.says(&["tokens", "revoke", &made["id"].to_string()]).0, 0);
    assert_eq!(viewer(&["hosts"]), 6);
    // Errors as documents.
    let (code, _, err) = server.says(&["reboot", "nobody", "--yes", "-o", "json"]);
    let error: Value = serde_json::from_str(&err).unwrap();
    assert_eq!((code, &error["exit_code"]), (5, &Value::from(5)));
    assert_eq!(server.says(&["logout"]).0, 0);
    assert!(!login.exists());
    assert_eq!(server.says(&["hosts"]).0, 6);
}

/// A sandbox host with its agent; ends with the test.
pub(crate) struct Sandbox {
    pub(crate) dir: PathBuf,
    process: Child,
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

impl Sandbox {
    pub(crate) fn start(server: &Server, name: &str, children: &str) -> Self {
        let dir = server.path().join(name);
        std::fs::create_dir(&dir).unwrap();
        std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o700)).unwrap();
        let shown = dir.display().to_string();
        std::fs::write(dir.join("machine-id"), format!("{:0>32}\n", name.len())).unwrap();
        let config = dir.join("agent.toml");
        let text = format!(
            "host_kind = \"sandbox\"\nstate_dir = \"{shown}/agent\"\nmachine_id_file = \"{shown}/machine-id\"\nheartbeat_secs = 1\n\
             commands_dir = \"{shown}/commands.d\"\n[free]\nusers = [\"admin\"]\nrun_as = \"root\"\n[sandbox]\nboot_id_file = \"{shown}/boot_id\"\nctl = [\"{REVEILLE}\", \"sandbox-ctl\", \"--dir\", \"{shown}\"]\n"
        );
        std::fs::write(&config, text).unwrap();
        let config = config.to_str().unwrap();
        let token = server.json(&["enrol-token", name, "--label", "role=web"])["token"].as_str().unwrap().to_owned();
        let mut agent = command(server.path());
        agent.args(["agent", "--config", config, "enrol", "--token-file", "-"]);
        let mut agent = agent.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        agent.stdin.take().unwrap().write_all(token.as_bytes()).unwrap();
        let output = agent.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let fingerprint = said.lines().find_map(|line| line.strip_prefix("key fingerprint ")).unwrap().to_owned();
        // Only the key that was seen is approved.
        assert_eq!(server.says(&["approve", name, "--fingerprint", "0000"]).0, 3);
        assert_eq!(server.says(&["approve", name, "--fingerprint", &fingerprint]).0, 0);
        let argv = format!(r#"["{REVEILLE}", "agent", "--config", "{config}", "run"]"#);
        std::fs::write(dir.join("sandbox.json"), format!(r#"{{"agent":{{"argv":{argv}}},"children":[{children}]}}"#)).unwrap();
        let mut process = command(server.path());
        let process = process.args(["sandbox-host", "--name", name, "--dir"]).arg(&dir).spawn().unwrap();
        let sandbox = Self { dir, process };
        until("the host is active", || {
            let host = &server.json(&["hosts", name])["hosts"][0];
            (host["state"] == "active" && host["children"][0]["status"] == "running").then_some(())
        });
        sandbox
    }

    fn boot(&self) -> Option<String> {
        std::fs::read_to_string(self.dir.join("boot_id")).ok()
    }
}

#[test]
fn a_reboot_is_shown_started_and_followed_to_its_proof() {
    let server = Server::start();
    server.log_in();
    let host = Sandbox::start(&server, "shop-1", r#"{"name":"web","autostart":true}"#);
    let before = host.boot().unwrap();

    let (code, plan, err) = server.says(&["reboot", "role=web", "--dry-run"]);
    assert_eq!(code, 0, "{plan}{err}");
    assert!(plan.contains("stop running children: web (at most 120 s; then go on all the same)"), "{plan}");
    assert_eq!(server.says(&["explain", "shop-1"]).0, 0);
    let (code, _, err) = server.says(&["reboot", "shop-1"]);
    assert_eq!(code, 2, "nobody to be asked: {err}");
    assert_eq!(host.boot().unwrap(), before, "nothing was done so far");

    let (code, out, err) = server.says(&["reboot", "shop-1", "--yes", "--timeout-secs", "30"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Orchestrated reboot of shop-1: completed") && out.contains("web is running again"), "{out}");
    assert_ne!(host.boot().unwrap(), before);
    let list = server.json(&["orchestrations"]);
    let id = list["orchestrations"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(list["orchestrations"].as_array().unwrap().len(), 1);
    let (code, watched, _) = server.says(&["watch", &id]);
    assert_eq!(code, 0);
    assert!(watched.lines().count() > 10, "{watched}");
    assert_eq!(server.says(&["cancel", &id]).0, 3);
    assert!(server.says(&["audit", "--orchestration", &id]).1.contains("admin"));

    // Two hosts: one after the other.
    let other = Sandbox::start(&server, "shop-02", r#"{"name":"db","autostart":true}"#);
    let boots = [host.boot().unwrap(), other.boot().unwrap()];
    let (code, out, err) = server.says(&["reboot", "role=web", "--canary", "1", "--soak", "500ms", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("Wave 2: 1 host") && out.contains("Rolling reboot of 2 hosts: completed"), "{out}");
    assert!(host.boot().unwrap() != boots[0] && other.boot().unwrap() != boots[1]);
    // Nobody is meant by leaving it out, and a slip of the pen is not everybody.
    assert_eq!(server.says(&["reboot", "--yes"]).0, 2);
    let (code, _, err) = server.says(&["reboot", "rloe!=web", "--yes"]);
    assert!([2, 5].contains(&code) && err.contains("role"), "{code} {err}");
}

#[test]
fn ctrl_c_detaches_and_cancels_nothing() {
    let server = Server::start();
    server.log_in();
    let _host = Sandbox::start(&server, "shop-1", r#"{"name":"web","autostart":true,"on_term":"ignore"}"#);
    let reboot = ["reboot", "shop-1", "--yes", "--timeout-secs", "300", "--on-timeout", "abort"];
    let mut client = command(server.path());
    let mut client = client.args(reboot).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(client.stdout.take().unwrap()).lines().map_while(Result::ok);
    let announced = lines.find(|line| line.starts_with("Orchestration ")).unwrap();
    let id = announced.split([' ', ';']).nth(1).unwrap().to_owned();
    // The first line of the journal: it is being followed.
    assert!(lines.next().is_some());
    kill_process(Pid::from_child(&client), Signal::INT).unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("reveille watch {id}")) && said.contains(&format!("reveille cancel {id}")), "{said}");
    let open = server.json(&["orchestrations", "--active"]);
    assert_eq!(open["orchestrations"][0]["id"], id.as_str(), "it goes on");
    assert_eq!(server.says(&["cancel", &id]).0, 0);
    // It ends when the stop that is under way has ended, which this child draws out; enough is seen here.
    let shown = server.json(&["orchestrations"]);
    assert_eq!(shown["orchestrations"][0]["id"], id.as_str());
}
