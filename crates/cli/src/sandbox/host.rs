//! The supervisor of a sandbox host: firmware and init in one process.

use std::cell::RefCell;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use model::{BootIdentity, ChildStatus, Timestamp};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::control::{Answer, LINE_MAX, Request, SOCKET};
use super::table::{Reached, Table};
use super::{AgentConfig, BOOT_ID_FILE, HostArgs, HostConfig, SandboxError, config, on_own_thread, process};

/// Name of the agent in the table of processes; no child can have it.
const AGENT: &str = "(agent)";
/// Before an agent that ended by itself is started again.
const AGENT_PAUSE: Duration = Duration::from_millis(500);
/// A caller that sends nothing for so long is let go.
const CALLER_LIMIT: Duration = Duration::from_secs(10);

/// What the host is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Reboot,
    Shutdown,
}

impl Order {
    fn word(self) -> &'static str {
        match self {
            Self::Reboot => "reboot",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What the host is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Power {
    Off,
    On(String),
    GoingDown(Order),
}

struct Host {
    name: String,
    dir: PathBuf,
    table: Rc<Table>,
    power: RefCell<Power>,
    orders: mpsc::Sender<Order>,
}

/// Now, by the machine's clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Runs a sandbox host until it is shut down, or this process is told to end (SIGTERM, SIGINT). Either way nothing of it is
/// left. A SIGKILL of this process takes everything with it too.
pub(super) fn run(args: &HostArgs) -> Result<(), SandboxError> {
    let config = HostConfig::read(&args.dir)?;
    config::make_private(&args.dir)?;
    let _lock = lock(&args.dir)?;
    process::adopt()?;
    on_own_thread(async || live(args, config).await)
}

/// Held for as long as this supervisor lives.
fn lock(dir: &Path) -> Result<std::fs::File, SandboxError> {
    let path = dir.join("lock");
    let file = std::fs::File::create(&path).map_err(SandboxError::file("cannot make", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(SandboxError::Taken(dir.to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(SandboxError::file("cannot lock", &path)(source)),
    }
}

async fn live(args: &HostArgs, config: HostConfig) -> Result<(), SandboxError> {
    let logs = args.dir.join("children");
    std::fs::create_dir_all(&logs).map_err(SandboxError::file("cannot make", &logs))?;
    let (orders, mut ordered) = mpsc::channel(1);
    let table = Table::new(logs, config.children.clone());
    let power = RefCell::new(Power::Off);
    let host = Rc::new(Host { name: args.name.clone(), dir: args.dir.clone(), table, power, orders });
    host.forget_boot();
    let mut term = signal(SignalKind::terminate()).map_err(SandboxError::system("no signals"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(SandboxError::system("no signals"))?;
    let listener = listen(&args.dir)?;
    let server = tokio::task::spawn_local(serve(host.clone(), listener));
    loop {
        let boot = host.boot()?;
        let init = tokio::task::spawn_local(init(host.clone(), config.agent.clone(), boot));
        let order = tokio::select! {
            order = ordered.recv() => order.unwrap_or(Order::Shutdown),
            _ = term.recv() => Order::Shutdown,
            _ = int.recv() => Order::Shutdown,
        };
        host.note(&format!("going down ({})", order.word()));
        host.power.replace(Power::GoingDown(order));
        init.abort();
        let down = host.table.end_all(Duration::from_millis(config.stop_grace_ms)).await;
        host.forget_boot();
        host.power.replace(Power::Off);
        host.note("down");
        down?;
        let pause = tokio::time::sleep(Duration::from_millis(config.boot_delay_ms));
        let off =
            order == Order::Shutdown || tokio::select! { () = pause => false, _ = term.recv() => true, _ = int.recv() => true };
        if off {
            server.abort();
            let _ = std::fs::remove_file(args.dir.join(SOCKET));
            return Ok(());
        }
    }
}

impl Host {
    /// A line in the host's log; a full disk does not stop a host.
    fn note(&self, text: &str) {
        if let Ok(mut log) = process::open_log(&self.dir.join("host.log")) {
            let _ = writeln!(log, "{} {} {text}", now(), self.name);
        }
    }

    fn forget_boot(&self) {
        let _ = std::fs::remove_file(self.dir.join(BOOT_ID_FILE));
    }

    /// A new boot with an identity of its own, shown in a file. Gives the boot id.
    fn boot(&self) -> Result<String, SandboxError> {
        let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string();
        let identity = BootIdentity::new(&id, 0).map_err(|e| SandboxError::Answer(e.to_string()))?;
        let (path, new) = (self.dir.join(BOOT_ID_FILE), self.dir.join("boot_id.new"));
        std::fs::write(&new, format!("{identity}\n")).map_err(SandboxError::file("cannot write", &new))?;
        std::fs::rename(&new, &path).map_err(SandboxError::file("cannot write", &path))?;
        self.power.replace(Power::On(id.clone()));
        self.note(&format!("boot {id}"));
        Ok(id)
    }

    fn up(&self) -> Result<String, SandboxError> {
        match &*self.power.borrow() {
            Power::On(boot) => Ok(boot.clone()),
            Power::GoingDown(order) => Err(SandboxError::Refused(format!("the host is going down ({})", order.word()))),
            Power::Off => Err(SandboxError::Refused("the host is down".to_owned())),
        }
    }

    async fn answer(&self, request: &Request) -> Result<Value, SandboxError> {
        let reached = |r: Reached| json!({"status": r.status, "already": r.already});
        match request {
            Request::Pending => match &*self.power.borrow() {
                Power::On(_) => Ok(json!({"pending": null})),
                Power::GoingDown(order) => Ok(json!({"pending": order.word()})),
                Power::Off => Err(SandboxError::Refused("the host is down".to_owned())),
            },
            Request::List => self.up().map(|_| json!({"children": self.table.list()})),
            Request::Stop { name, grace_ms, force } => {
                self.up()?;
                self.note(&format!("stop {name}{}", if *force { " by force" } else { "" }));
                self.table.stop(name, Duration::from_millis(*grace_ms), *force).await.map(reached)
            }
            Request::Start { name, frozen } => {
                let boot = self.up()?;
                self.note(&format!("start {name}{}", if *frozen { " frozen" } else { "" }));
                self.table.start(name, *frozen, &boot).await.map(reached)
            }
            Request::Reboot => self.accept(Order::Reboot),
            Request::Shutdown => self.accept(Order::Shutdown),
        }
    }

    /// From here on it is pending and nothing else is begun, so one boot is ended by one order.
    fn accept(&self, order: Order) -> Result<Value, SandboxError> {
        self.up()?;
        self.power.replace(Power::GoingDown(order));
        Ok(json!({"ordered": order.word()}))
    }
}

/// What init does in one boot: the agent, started again when it ends; the children that start by themselves.
async fn init(host: Rc<Host>, agent: Option<AgentConfig>, boot: String) {
    let children = async {
        for name in host.table.autostart() {
            if let Err(error) = host.table.start(&name, false, &boot).await {
                host.note(&format!("{error}"));
            }
        }
    };
    let agent = async {
        while let Some(agent) = &agent {
            match start_agent(&host, agent) {
                Ok(mut ended) => {
                    let _ = ended.wait_for(|e| *e).await;
                    process::collect(&host.table.pids());
                    host.note("the agent ended; it is started again");
                }
                Err(error) => host.note(&format!("{error}")),
            }
            tokio::time::sleep(AGENT_PAUSE).await;
        }
    };
    tokio::join!(agent, children);
}

fn start_agent(host: &Rc<Host>, agent: &AgentConfig) -> Result<tokio::sync::watch::Receiver<bool>, SandboxError> {
    let log = process::open_log(&host.dir.join("agent.log"))?;
    let errors = log.try_clone().map_err(SandboxError::system("cannot open the agent's log twice"))?;
    let mut command = process::bound(&agent.argv);
    let child =
        command.stdout(Stdio::from(log)).stderr(errors).spawn().map_err(SandboxError::system("cannot start the agent"))?;
    Ok(host.table.watch(AGENT, child, ChildStatus::Running))
}

fn listen(dir: &Path) -> Result<UnixListener, SandboxError> {
    let path = dir.join(SOCKET);
    let _ = std::fs::remove_file(&path); // ours by the lock: left by a supervisor that was killed
    let listener = UnixListener::bind(&path).map_err(SandboxError::file("cannot listen on", &path))?;
    // The directory is closed to others already.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .map_err(SandboxError::file("cannot set the mode of", &path))?;
    Ok(listener)
}

async fn serve(host: Rc<Host>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(caller(host.clone(), stream));
            }
            // Too many open files: give the callers time to leave.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// One question of one caller.
async fn caller(host: Rc<Host>, mut stream: UnixStream) {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LINE_MAX));
    let Ok(Ok(1..)) = tokio::time::timeout(CALLER_LIMIT, read.read_line(&mut line)).await else { return };
    let (request, answer) = match serde_json::from_str::<Request>(&line) {
        Ok(request) => {
            let answer = host.answer(&request).await;
            (Some(request), answer)
        }
        Err(error) => (None, Err(SandboxError::Refused(format!("unreadable request: {error}")))),
    };
    let order = match (&request, &answer) {
        (Some(Request::Reboot), Ok(_)) => Some(Order::Reboot),
        (Some(Request::Shutdown), Ok(_)) => Some(Order::Shutdown),
        _ => None,
    };
    let answer = match answer {
        Ok(value) => Answer::Ok(value),
        Err(error) => Answer::Error(error.to_string()),
    };
    if let Ok(mut text) = serde_json::to_string(&answer) {
        text.push('\n');
        let _ = tokio::time::timeout(CALLER_LIMIT, write.write_all(text.as_bytes())).await;
    }
    if let Some(order) = order {
        // One order a boot: there is room, unless the supervisor itself is ending.
        let _ = host.orders.try_send(order);
    }
}
