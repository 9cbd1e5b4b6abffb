//! The product as it stands in the lab: a controller in the sandbox, agents on hosts, and what is asked of them by `curl`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::api::Api;
use crate::daemon::Daemon;
use crate::lab::{Host, Kind, SANDBOX_IP};
use crate::points::Points;
use crate::wait;
use crate::world::World;

/// Deadlines of tests, not of the product: generous, since the machine may be slow.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Where the agent keeps what must outlive it.
pub const AGENT_STATE: &str = "/var/lib/reveille-agent";

const UNIT: &str = include_str!("../../agent/units/reveille-agent.service");
const UNIT_NAME: &str = "reveille-agent.service";
const PASSWORD: &str = "correct horse battery staple";

/// The lab's pace, in milliseconds: what the product waits for on purpose is short, what limits a slow machine is long.
const PACE: [(&str, u64); 11] = [
    ("heartbeat", 1_000),
    ("active_limit", 8_000),
    ("settling", 1_500),
    ("retry_pause", 300),
    ("health_hold", 1_000),
    ("probe_limit", 90_000),
    ("begin_within", 90_000),
    ("back_within", 120_000),
    ("start_limit", 90_000),
    ("health_gate", 90_000),
    ("force_limit", 30_000),
];

/// The lab's pace, in lines of TOML; `other` are keys that differ.
#[must_use]
pub fn pace(other: &[(&str, u64)]) -> String {
    let kept = PACE.iter().filter(|(key, _)| other.iter().all(|(name, _)| name != key));
    kept.chain(other).map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// A controller with everything that it keeps.
#[derive(Debug)]
pub struct Server {
    /// Asks it, as its administrator.
    pub api: Api,
    daemon: Daemon,
    state: PathBuf,
}

impl Server {
    /// Starts a new one. `engine` are keys of its configuration that differ from the lab's [`PACE`].
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start(world: &World, engine: &[(&str, u64)]) -> anyhow::Result<Self> {
        Self::start_with(world, engine, "", &world.dir)
    }

    /// The same with more tables of the engine's configuration (as they stand in the server's), and a home directory from which
    /// its ssh goes out.
    ///
    /// # Errors
    ///
    /// When it does not come up.
    pub fn start_with(world: &World, engine: &[(&str, u64)], tables: &str, home: &Path) -> anyhow::Result<Self> {
        let (api, mqtt) = (world.port(), world.port());
        let state = world.dir.join("controller");
        let pace = pace(engine);
        let config = format!(
            "state_dir = {state:?}\n[api]\nlisten = [\"{SANDBOX_IP}:{api}\"]\n[mqtt]\nlisten = [\"{SANDBOX_IP}:{mqtt}\"]\n\
             [tls]\nnames = [\"{SANDBOX_IP}\"]\n[engine]\n{pace}{tables}"
        );
        let file = world.dir.join("controller.toml");
        std::fs::write(&file, config)?;
        let arguments = ["server".into(), "--config".into(), file.into_os_string()];
        let daemon =
            Daemon::new(&world.program("reveille")?, arguments, &world.dir.join("controller.log")).with_env("HOME", home);
        let ca = state.join("tls/ca-certificate.pem");
        let api = Api { base: format!("https://{SANDBOX_IP}:{api}"), token: None, ca: Some(ca) };
        let mut server = Self { api, daemon, state };
        server.start_again()?;
        server.log_in()?;
        Ok(server)
    }

    /// Starts it (again), and waits until it says that it is ready.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        self.daemon.start()?;
        let (api, daemon) = (&self.api, &mut self.daemon);
        let ready = wait::until_true("the controller to be ready", PATIENCE, || {
            if !daemon.alive() {
                return Ok(true); // said below
            }
            Ok(api.get("/readyz")?.status == 200)
        });
        ready.with_context(|| format!("it wrote:\n{}", self.daemon.log_tail()))?;
        ensure!(self.daemon.alive(), "the controller ended; it wrote:\n{}", self.daemon.log_tail());
        Ok(())
    }

    /// Logs the administrator in for the first time.
    fn log_in(&mut self) -> anyhow::Result<()> {
        let file = self.state.join("admin-password");
        let once = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        first_login(&mut self.api, &once)?;
        ensure!(!file.exists(), "the one-time password is still there after its use");
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    ///
    /// When it did not run.
    pub fn kill_9(&mut self) -> anyhow::Result<()> {
        self.daemon.kill_9()
    }

    /// Puts a new, empty database in the place of the old one, as after a loss without a backup.
    ///
    /// # Errors
    ///
    /// When it does not stop or does not start.
    pub fn replace_database(&mut self) -> anyhow::Result<()> {
        self.daemon.stop()?;
        let mut removed = 0;
        for entry in std::fs::read_dir(&self.state)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("reveille.db")) {
                std::fs::remove_file(path)?;
                removed += 1;
            }
        }
        ensure!(removed > 0, "no database in {}", self.state.display());
        self.start_again()?;
        self.log_in()
    }

    /// Points at which it stops: `after_append` and `before_append` of an entry.
    #[must_use]
    pub fn points(&self) -> Points {
        Points::of(&self.state)
    }

    /// The end of its log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.daemon.log_tail()
    }

    /// Whatever the API says to `path`.
    ///
    /// # Errors
    ///
    /// When the answer is not 200.
    pub fn look(&self, path: &str) -> anyhow::Result<Value> {
        self.api.get(path)?.expect(200).with_context(|| path.to_owned())
    }
}

/// Uses the one-time password of a new server's administrator; `api` has their token from then on.
///
/// # Errors
///
/// When it is refused.
pub fn first_login(api: &mut Api, once: &str) -> anyhow::Result<()> {
    let body = json!({"user": "admin", "password": once.trim(), "new_password": PASSWORD});
    api.token = None;
    let session = api.post("/api/v1/login", &body)?.expect(200)?;
    api.token = Some(text(&session, "token")?);
    Ok(())
}

/// A host that is enrolled and approved.
#[derive(Debug)]
pub struct Managed {
    /// The machine.
    pub host: Host,
    /// Its id in the product.
    pub id: String,
}

impl Managed {
    /// Makes a host with an agent on it, boots it, and enrols it.
    ///
    /// # Errors
    ///
    /// When the lab or the product refuses.
    pub fn make(world: &World, server: &Server, prefix: &str, kind: Kind, units: &[(&str, &str)]) -> anyhow::Result<Self> {
        let host = world.host(prefix, kind)?;
        install_agent(world, &host)?;
        for (name, text) in units {
            host.put_unit(name, text)?;
        }
        host.boot()?;
        let id = enrol(server, &host)?;
        Ok(Self { host, id })
    }

    /// A parent with the three children of the first journey.
    ///
    /// # Errors
    ///
    /// When the lab or the product refuses.
    pub fn parent(world: &World, server: &Server, prefix: &str, units: &[(&str, &str)]) -> anyhow::Result<Self> {
        let managed = Self::make(world, server, prefix, Kind::Parent, units)?;
        world.three_children(&managed.host)?;
        Ok(managed)
    }

    /// A path of the API about this host.
    #[must_use]
    pub fn path(&self, rest: &str) -> String {
        format!("/api/v1/hosts/{}{rest}", self.id)
    }

    /// The product's view of it.
    ///
    /// # Errors
    ///
    /// When it is not told.
    pub fn view(&self, server: &Server) -> anyhow::Result<Value> {
        server.look(&self.path(""))
    }

    /// Waits until the product says that this operation would start.
    ///
    /// # Errors
    ///
    /// When it does not; with what it says instead.
    pub fn wait_ready(&self, server: &Server, operation: &str) -> anyhow::Result<()> {
        wait::until_true(&format!("{operation} of {} to be allowed", self.host.name()), PATIENCE, || {
            let said = server.look(&self.path(&format!("/explain?operation={operation}")))?;
            ensure!(said["would_start"] == true, "{said}");
            Ok(true)
        })
    }

    /// Asks for an orchestrated reboot, which must be accepted.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn reboot(&self, server: &Server, options: &Value) -> anyhow::Result<Run> {
        let path = format!("/api/host/{}/reboot/orchestrated", self.id);
        let started = server.api.post(&path, options)?.expect(200)?;
        Ok(Run { started: started.clone(), ..self.run(&text(&started, "orchestration_id")?) })
    }

    /// An orchestration of this host that was started.
    #[must_use]
    pub fn run(&self, id: &str) -> Run {
        Run { id: id.to_owned(), host: self.id.clone(), started: Value::Null }
    }

    /// Kills the agent (SIGKILL); systemd starts it again.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn kill_agent(&self) -> anyhow::Result<()> {
        let pid: u32 = self.host.sh("systemctl show -P MainPID reveille-agent")?.trim().parse()?;
        ensure!(pid > 0, "no agent runs on {}", self.host.name());
        self.host.sh(&format!("kill -9 {pid}")).map(drop)
    }

    /// Points at which its agent stops.
    #[must_use]
    pub fn points(&self) -> Points {
        Points::of(&self.host.disk().join(AGENT_STATE.trim_start_matches('/')))
    }
}

/// Puts the agent on the disk of a host that is off; it starts at each boot.
///
/// # Errors
///
/// When it is not built or the disk refuses.
pub fn install_agent(world: &World, host: &Host) -> anyhow::Result<()> {
    host.put_program(&world.program("reveille-agent")?, "/usr/bin/reveille-agent")?;
    host.put_file("/etc/reveille/agent.toml", "heartbeat_secs = 1\n", 0o644)?;
    host.put_unit(UNIT_NAME, UNIT)
}

/// Makes a host known without labels: see [`enrol_as`].
///
/// # Errors
///
/// When the lab or the product refuses.
pub fn enrol(server: &Server, host: &Host) -> anyhow::Result<String> {
    enrol_as(server, host, &json!({}))
}

/// Makes a host known: token, enrolment on the device, comparison of the key, approval, start of the agent.
///
/// # Errors
///
/// When one of them fails.
pub fn enrol_as(server: &Server, host: &Host, labels: &Value) -> anyhow::Result<String> {
    let made = server.api.post("/api/v1/enrolment-tokens", &json!({"name": host.name(), "labels": labels}))?.expect(200)?;
    host.put_file("/root/token", text(&made, "token")?, 0o600)?;
    let said = host.sh("reveille-agent enrol --token-file - < /root/token; rm /root/token")?;
    let id = said.lines().find_map(|line| line.strip_prefix("enrolled as host ")).context(said.clone())?.trim().to_owned();
    let view = server.look(&format!("/api/v1/hosts/{id}"))?;
    let fingerprint = text(&view, "key_fingerprint")?;
    ensure!(said.contains(&fingerprint), "the device and the controller show different keys: {said} {fingerprint}");
    ensure!(view["approved"] == false, "a host is approved before anybody has looked");
    let approved = server.api.post(&format!("/api/v1/hosts/{id}/approve"), &json!({"fingerprint": fingerprint}))?.expect(200)?;
    ensure!(approved["approved"] == true, "{approved}");
    host.sh("systemctl restart reveille-agent")?;
    Ok(id)
}

/// An orchestration.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its id.
    pub id: String,
    /// What was answered at its start.
    pub started: Value,
    host: String,
}

impl Run {
    /// S0's status document.
    ///
    /// # Errors
    ///
    /// When it is not told.
    pub fn status(&self, server: &Server) -> anyhow::Result<Value> {
        server.look(&format!("/api/host/{}/reboot/orchestration/{}", self.host, self.id))
    }

    /// All of it, with its journal in words.
    ///
    /// # Errors
    ///
    /// When it is not told.
    pub fn story(&self, server: &Server) -> anyhow::Result<Value> {
        server.look(&format!("/api/v1/orchestrations/{}", self.id))
    }

    /// Waits for a phase.
    ///
    /// # Errors
    ///
    /// When it is not seen.
    pub fn wait_phase(&self, server: &Server, phase: &str) -> anyhow::Result<()> {
        wait::until_true(&format!("the phase {phase}"), PATIENCE, || {
            let status = self.status(server)?;
            ensure!(status["status"] == phase, "{status}");
            Ok(true)
        })
    }

    /// Asks for the status again and again until the orchestration is over; `at` hears of each phase when it is first
    /// seen. Returns the phases in the order in which they were seen, and the last document.
    ///
    /// # Errors
    ///
    /// When it does not end within `limit` (with its journal), or `at` fails.
    pub fn follow(
        &self,
        server: &Server,
        limit: Duration,
        mut at: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<(Vec<String>, Value)> {
        let mut phases: Vec<String> = Vec::new();
        let mut trouble = None;
        let over = wait::until("the end of the orchestration", limit, || {
            let status = self.status(server)?;
            let phase = text(&status, "status")?;
            if phases.last() != Some(&phase) {
                trouble = trouble.take().or_else(|| at(&phase).err());
                phases.push(phase.clone());
            }
            Ok((matches!(phase.as_str(), "completed" | "failed") || trouble.is_some()).then_some(status))
        });
        let over = over.with_context(|| format!("seen: {phases:?}\n{}", self.tell(server)))?;
        match trouble {
            Some(error) => Err(error),
            None => Ok((phases, over)),
        }
    }

    /// Its journal, one line each, for a failing test.
    #[must_use]
    pub fn tell(&self, server: &Server) -> String {
        let journal = match self.story(server) {
            Ok(story) => story["journal"].clone(),
            Err(error) => return format!("no journal: {error:#}\n{}", server.log_tail()),
        };
        let lines = journal.as_array().into_iter().flatten();
        lines.map(|line| format!("{} {} {}\n", line["at"], line["action"], line["text"])).collect()
    }
}

/// A text member of a document.
///
/// # Errors
///
/// When there is none.
pub fn text(document: &Value, key: &str) -> anyhow::Result<String> {
    document[key].as_str().map(str::to_owned).with_context(|| format!("no text {key:?} in {document}"))
}
