//! A real `HAProxy` in the sandbox, and its own word about its servers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::{now, web};
use crate::daemon::Daemon;
use crate::lab::{Host, SANDBOX_IP};
use crate::wait;
use crate::world::World;

/// How often its servers are looked at.
const LOOK: Duration = Duration::from_millis(50);

/// A check of a server is made each 200 ms and has as long; after this, none is under way that was begun before.
const STALE: Duration = Duration::from_secs(1);

/// No answer of its runtime API takes longer.
const LIMIT: Duration = Duration::from_secs(10);

/// The one backend.
pub const BACKEND: &str = "web";

/// An `HAProxy` that gives every request to a server once and never again: what fails there fails for whoever asked.
#[derive(Debug)]
pub struct Balancer {
    daemon: Daemon,
    /// Where it takes requests.
    pub front: String,
    /// Its runtime API, `HOST:PORT`.
    pub admin: String,
    watch: Option<Watch>,
}

#[derive(Debug)]
struct Watch {
    over: Arc<AtomicBool>,
    seen: Arc<Mutex<Vec<Look>>>,
    thread: JoinHandle<()>,
}

/// Its servers at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    /// Unix seconds.
    pub at: f64,
    /// Name and `HAProxy`'s word: `UP`, `DOWN`, `DRAIN`, `MAINT`, `UP 1/2` …
    pub servers: Vec<(String, String)>,
}

impl Look {
    fn word(&self, server: &str) -> Option<&str> {
        self.servers.iter().find(|(name, _)| name == server).map(|(_, word)| word.as_str())
    }
}

impl Balancer {
    /// Starts it in front of the web services of these hosts; its servers have the hosts' names. Waits until all are up.
    ///
    /// # Errors
    ///
    /// When it does not start or a host's service is not up.
    pub fn start(world: &World, hosts: &[&Host]) -> anyhow::Result<Self> {
        let (front, admin) = (format!("{SANDBOX_IP}:{}", world.port()), format!("{SANDBOX_IP}:{}", world.port()));
        let servers: String =
            hosts.iter().map(|host| format!("  server {} {}:{} check\n", host.name(), host.ip(), web::LISTENS_ON)).collect();
        let config = format!(
            "global\n  stats socket ipv4@{admin} level admin\n\
             defaults\n  mode http\n  retries 0\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
             frontend front\n  bind {front}\n  default_backend {BACKEND}\n\
             backend {BACKEND}\n  balance roundrobin\n  option httpchk GET {}\n  \
             default-server inter 200ms fall 2 rise 2\n{servers}",
            web::HEALTH
        );
        let file = world.dir.join("haproxy.cfg");
        std::fs::write(&file, config)?;
        let arguments = ["-db".into(), "-f".into(), file.into_os_string()];
        let mut daemon = Daemon::new(Path::new("/usr/sbin/haproxy"), arguments, &world.dir.join("haproxy.log"));
        daemon.start()?;
        let mut balancer = Self { daemon, front, admin, watch: None };
        let up = wait::until_true("all servers to be up", Duration::from_mins(1), || {
            let look = look(&balancer.admin)?;
            ensure!(look.servers.iter().all(|(_, word)| word == "UP"), "{look:?}");
            Ok(true)
        });
        up.with_context(|| format!("it wrote:\n{}", balancer.daemon.log_tail()))?;
        balancer.watch = Some(Watch::start(&balancer.admin));
        Ok(balancer)
    }

    /// What a person would type at its runtime API.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn say(&self, line: &str) -> anyhow::Result<String> {
        say(&self.admin, line)
    }

    /// Its word about a server, now.
    ///
    /// # Errors
    ///
    /// When it does not answer or has no such server.
    pub fn word(&self, server: &str) -> anyhow::Result<String> {
        Ok(look(&self.admin)?.word(server).context("no such server")?.to_owned())
    }

    /// Waits until it finds a drained server well by checks that were begun from now on. One that was begun before may fail still:
    /// made ready in the middle of that, a server would go down once more.
    ///
    /// # Errors
    ///
    /// When it does not within `patience`.
    pub fn wait_drained(&self, server: &str, patience: Duration) -> anyhow::Result<()> {
        std::thread::sleep(STALE);
        wait::until_true("the balancer to find a drained server well", patience, || Ok(self.word(server)? == "DRAIN"))
    }

    /// Ends the watch over its servers and tells what was seen.
    ///
    /// # Errors
    ///
    /// When that was done already.
    pub fn seen(&mut self) -> anyhow::Result<Vec<Look>> {
        let watch = self.watch.take().context("the watch has ended already")?;
        watch.over.store(true, Ordering::SeqCst);
        ensure!(watch.thread.join().is_ok(), "the watch panicked");
        Ok(watch.seen.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Watch {
    fn start(admin: &str) -> Self {
        let (over, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::<Look>::new())));
        let (admin, ended, list) = (admin.to_owned(), Arc::clone(&over), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::SeqCst) {
                if let Ok(look) = look(&admin) {
                    list.lock().unwrap_or_else(PoisonError::into_inner).push(look);
                }
                std::thread::sleep(LOOK);
            }
        });
        Self { over, seen, thread }
    }
}

/// When a server was out of use, as `HAProxy` was seen to say: from the first look that found it so to the last one.
#[must_use]
pub fn outages(seen: &[Look], server: &str) -> Vec<(f64, f64)> {
    let mut outages: Vec<(f64, f64)> = Vec::new();
    let mut out = false;
    for look in seen {
        let up = look.word(server).is_some_and(|word| word.starts_with("UP"));
        match outages.last_mut() {
            Some((_, until)) if out && !up => *until = look.at,
            _ if !up => outages.push((look.at, look.at)),
            _ => {}
        }
        out = !up;
    }
    outages
}

fn look(admin: &str) -> anyhow::Result<Look> {
    let said = say(admin, "show stat -1 4 -1")?;
    Ok(Look { at: now(), servers: parse(&said)? })
}

fn say(admin: &str, line: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect_timeout(&admin.parse()?, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    Ok(said)
}

fn parse(said: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut lines = said.lines();
    let heading: Vec<&str> =
        lines.next().and_then(|line| line.strip_prefix("# ")).with_context(|| said.to_owned())?.split(',').collect();
    let place = |name: &str| heading.iter().position(|column| *column == name).with_context(|| format!("no column {name}"));
    let (name, status) = (place("svname")?, place("status")?);
    let row = |line: &str| {
        let words: Vec<&str> = line.split(',').collect();
        Some(((*words.get(name)?).to_owned(), (*words.get(status)?).to_owned()))
    };
    Ok(lines.filter(|line| !line.is_empty()).filter_map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_are_found() {
        let look = |at: f64, word: &str| Look { at, servers: vec![("a".to_owned(), word.to_owned())] };
        let seen = [
            look(1.0, "UP"),
            look(2.0, "DRAIN"),
            look(3.0, "DOWN"),
            look(4.0, "UP 1/2"),
            look(5.0, "UP"),
            look(6.0, "MAINT"),
            look(7.0, "UP"),
        ];
        assert_eq!(outages(&seen, "a"), [(2.0, 3.0), (6.0, 6.0)]);
        assert_eq!(outages(&seen, "b").len(), 1, "a server that is not there is out");
    }

    #[test]
    fn servers_are_read() {
        let said = "# pxname,svname,qcur,status\nweb,a,0,UP\nweb,b,0,DRAIN\n\n";
        let servers = parse(said).unwrap();
        assert_eq!(servers, [("a".to_owned(), "UP".to_owned()), ("b".to_owned(), "DRAIN".to_owned())]);
        assert!(parse("Unknown command\n").is_err());
    }
}
