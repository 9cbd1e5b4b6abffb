//! The processes of a demonstration. Each is bound to the life of this one ([`crate::sandbox::bound`]), so that nothing is
//! left of it, however it ends. All are spawned from one thread, which lives until the end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use protocol::rest::access::LoginRequest;
use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::failed;
use super::hosts::HostSpec;
use super::place::{Place, free_ports};
use crate::client::Client;
use crate::error::CliError;
use crate::session::{Session, read_ca};

/// How long a process may take to start, to enrol, or to end.
const LIMIT: Duration = Duration::from_secs(60);
/// How long what is asked to end may take before it is killed.
const END_LIMIT: Duration = Duration::from_secs(10);

/// All that runs. Dropped, it kills the processes, then removes their directory.
pub(super) struct Stage {
    controller: Option<(Child, ChildStdout)>,
    hosts: Vec<Child>,
    place: Place,
    ports: (u16, u16),
    password: String,
}

impl Stage {
    /// Nothing runs yet.
    pub(super) fn new(place: Place) -> Result<Self, CliError> {
        let stage = Self { controller: None, hosts: Vec::new(), ports: free_ports()?, password: password(), place };
        let (api, mqtt) = stage.ports;
        let state = serde_json::Value::from(stage.path().join("controller").to_string_lossy());
        // What is not here is as in every server. The pace is that of a stage, and the limits are those of hosts that boot
        // in a second.
        write(
            &stage.config(),
            &format!(
                "state_dir = {state}\n\n[api]\nlisten = [\"127.0.0.1:{api}\"]\n\n[mqtt]\nlisten = [\"127.0.0.1:{mqtt}\"]\n\n\
                 [tls]\nnames = [\"127.0.0.1\", \"localhost\"]\n\n[commands]\nresend = 500\n\n\
                 [engine]\nheartbeat = 1000\nactive_limit = 10000\nprobe_limit = 20000\nretry_pause = 500\nforce_limit = 10000\n\
                 begin_within = 20000\nback_within = 60000\nstart_limit = 20000\nhealth_gate = 30000\nhealth_hold = 1000\n\
                 settling = 2000\nwait_limit = 60000\n"
            ),
        )?;
        Ok(stage)
    }

    pub(super) fn path(&self) -> &Path {
        self.place.path()
    }

    pub(super) fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.0)
    }

    pub(super) fn mqtt_port(&self) -> u16 {
        self.ports.1
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    pub(super) fn ca_file(&self) -> PathBuf {
        self.path().join("controller/tls/ca-certificate.pem")
    }

    fn config(&self) -> PathBuf {
        self.path().join("server.toml")
    }

    /// This program again, with these arguments.
    fn ourselves<'a>(&self, arguments: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = crate::sandbox::bound(["/proc/self/exe"].into_iter().chain(arguments));
        // What the user has set for a server of their own must not reach this one.
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("REVEILLE_") && name != "REVEILLE_LOG") {
                command.env_remove(name);
            }
        }
        command.kill_on_drop(true);
        command
    }

    fn log(&self, name: &str) -> Result<Stdio, CliError> {
        let path = self.path().join(name);
        let file = fs::OpenOptions::new().create(true).append(true).open(&path);
        file.map(Stdio::from).map_err(|error| failed(format!("cannot write {}: {error}", path.display())))
    }

    /// Starts the controller and waits until it serves. Gives its process id.
    pub(super) async fn start_controller(&mut self) -> Result<u32, CliError> {
        let config = self.config();
        let mut command = self.ourselves(["server", "--config", &config.to_string_lossy(), "--output", "json"]);
        command.stdout(Stdio::piped()).stderr(self.log("controller.log")?);
        let mut child = spawn("the controller", &mut command)?;
        let (pid, stdout) = (child.id().unwrap_or_default(), child.stdout.take());
        let mut lines = BufReader::new(stdout.ok_or_else(|| failed("the controller has no output"))?).lines();
        // It says where it serves once it does.
        let serves = async {
            while lines.next_line().await?.ok_or(std::io::ErrorKind::UnexpectedEof)? != "}" {}
            Ok::<_, std::io::Error>(())
        };
        match timeout(LIMIT, serves).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(failed(format!("the controller did not start: {}", self.last_words("controller.log")))),
            Err(_) => return Err(failed(format!("the controller did not start within {} s", LIMIT.as_secs()))),
        }
        self.controller = Some((child, lines.into_inner().into_inner()));
        Ok(pid)
    }

    fn last_words(&self, log: &str) -> String {
        let text = fs::read_to_string(self.path().join(log)).unwrap_or_default();
        text.lines().next_back().unwrap_or("it said nothing").to_owned()
    }

    /// SIGKILL; returns once it has ended.
    pub(super) async fn kill_controller(&mut self) -> Result<ExitStatus, CliError> {
        let (mut child, _) = self.controller.take().ok_or_else(|| failed("there is no controller"))?;
        child.start_kill().map_err(|error| failed(format!("the controller could not be killed: {error}")))?;
        ended("the controller", &mut child).await
    }

    /// Waits until the controller ends.
    pub(super) async fn controller_ended(&mut self) -> String {
        let Some((child, _)) = &mut self.controller else { return std::future::pending().await };
        let how = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        self.controller = None;
        how
    }

    /// The first login, with a new password in the place of the one-time one.
    pub(super) async fn login(&self) -> Result<Client, CliError> {
        let one_time = self.path().join("controller/admin-password");
        let one_time =
            fs::read_to_string(&one_time).map_err(|error| failed(format!("cannot read {}: {error}", one_time.display())))?;
        let ca_pem = read_ca(&self.ca_file())?;
        let request = LoginRequest {
            user: "admin".to_owned(),
            password: one_time.trim().to_owned(),
            new_password: Some(self.password.clone()),
        };
        let server = self.url();
        let opened = Client::anonymous(&server, &ca_pem)?.login(&request).await?;
        Client::new(&Session { server, ca_pem, user: opened.user.clone(), token: opened.token.clone() })
    }

    /// Makes the directory of a host and lets its agent enrol. Gives the fingerprint of the key that it made, as it shows it.
    pub(super) async fn enrol(&self, host: &HostSpec, token: &str) -> Result<String, CliError> {
        let config = host.agent_config(self.path());
        let dir = host.dir(self.path());
        host.sandbox(self.path()).write(&dir).map_err(|error| failed(error.to_string()))?;
        write(&config, &host.agent(self.path()))?;
        write(&dir.join("machine-id"), &format!("{:032x}\n", rand::random::<u128>()))?;
        let mut command = self.ourselves(["agent", "--config", &config.to_string_lossy(), "enrol", "--token-file", "-"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn("the agent", &mut command)?;
        let cannot = |error: std::io::Error| failed(format!("{} did not enrol: {error}", host.name));
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(token.as_bytes()).await.map_err(cannot)?;
        }
        let late = |_| failed(format!("{} did not enrol within {} s", host.name, LIMIT.as_secs()));
        let output = timeout(LIMIT, child.wait_with_output()).await.map_err(late)?.map_err(cannot)?;
        let said = String::from_utf8_lossy(&output.stdout);
        let fingerprint = said.lines().find_map(|line| line.strip_prefix("key fingerprint "));
        fingerprint.map(str::to_owned).ok_or_else(|| {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            failed(format!("{} did not enrol: {why}", host.name))
        })
    }

    /// Switches a host on.
    pub(super) fn power_on(&mut self, host: &HostSpec) -> Result<(), CliError> {
        let dir = host.dir(self.path());
        let mut command = self.ourselves(["sandbox-host", "--name", host.name, "--dir", &dir.to_string_lossy()]);
        command.stdout(self.log("hosts.log")?).stderr(self.log("hosts.log")?);
        self.hosts.push(spawn(host.name, &mut command)?);
        Ok(())
    }

    /// Ends all of it in order, by force where that takes long, and removes the directory.
    pub(super) async fn end(mut self) {
        let mut all: Vec<Child> = std::mem::take(&mut self.hosts);
        all.extend(self.controller.take().map(|(child, _)| child));
        for child in &all {
            let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            // One that has ended already is as good.
            let _ = pid.map(|pid| rustix::process::kill_process(pid, Signal::TERM));
        }
        let end = async {
            for child in &mut all {
                drop(child.wait().await);
            }
        };
        if timeout(END_LIMIT, end).await.is_err() {
            for child in &mut all {
                drop(child.start_kill());
                drop(timeout(END_LIMIT, child.wait()).await);
            }
        }
    }
}

fn spawn(what: &str, command: &mut Command) -> Result<Child, CliError> {
    command.spawn().map_err(|error| failed(format!("{what} could not be started: {error}")))
}

async fn ended(what: &str, child: &mut Child) -> Result<ExitStatus, CliError> {
    let late = |_| failed(format!("{what} did not end within {} s", END_LIMIT.as_secs()));
    let status = timeout(END_LIMIT, child.wait()).await.map_err(late)?;
    status.map_err(|error| failed(format!("nobody knows how {what} ended: {error}")))
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    fs::write(path, text).map_err(|error| failed(format!("cannot write {}: {error}", path.display())))
}

/// Twenty letters and digits that are not taken for each other, about 98 bits.
fn password() -> String {
    const LETTERS: &[u8] = b"abcdefghjkmnpqrstuvwxyz23456789";
    (0..20).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect()
}
