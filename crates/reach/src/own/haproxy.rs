//! Servers behind an `HAProxy`, through its runtime API.
//!
//! `drain` keeps the load balancing away from a server and goes on checking its health, so that it is known to be up before it is
//! put back. A client that is bound to a server by a cookie still reaches it then, unless the backend has `ignore-persist` for it:
//! such a server never drains by itself, and the policy decides.

use std::time::Duration;

use model::{ErrorCode, ItemState};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use super::{Done, POLL, Trouble};

/// One question and its answer, connection included.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// Thousands of servers fit in.
const ANSWER_MAX: u64 = 16 * 1024 * 1024;

/// An `HAProxy` and those of its servers that are meant.
#[derive(Debug)]
pub(super) struct Haproxy<'a> {
    address: &'a str,
    servers: Vec<Server<'a>>,
}

/// `BACKEND/SERVER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Server<'a> {
    backend: &'a str,
    name: &'a str,
}

impl std::fmt::Display for Server<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.backend, self.name)
    }
}

impl<'a> Haproxy<'a> {
    pub(super) fn new(address: &'a str, servers: &'a [String]) -> Result<Self, Trouble> {
        let wrong = |text: &str| {
            let message = format!("{text:?} is no server of HAProxy: write BACKEND/SERVER, of letters, digits and . _ : -");
            Trouble::new(ErrorCode::Malformed, message)
        };
        // Whatever else stands in a name would be read as another command.
        let word =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte));
        let servers = servers.iter().map(|text| match text.split_once('/') {
            Some((backend, name)) if word(backend) && word(name) => Ok(Server { backend, name }),
            _ => Err(wrong(text)),
        });
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(Trouble::new(ErrorCode::Malformed, "the drain names no server of HAProxy"));
        }
        Ok(Self { address, servers })
    }

    /// The servers as they are now.
    pub(super) async fn state(&self) -> Result<Vec<ItemState>, Trouble> {
        let said = self.ask("show servers state").await?;
        let all = read_state(&said).map_err(|why| self.unreadable(&why))?;
        let of = |server: &Server<'_>| {
            all.iter().find(|item| item.name == server.to_string()).cloned().ok_or_else(|| {
                let near: Vec<&str> = all
                    .iter()
                    .map(|item| item.name.as_str())
                    .filter(|name| name.starts_with(&format!("{}/", server.backend)))
                    .collect();
                let known =
                    if near.is_empty() { "it has no such backend".to_owned() } else { format!("it knows {}", near.join(", ")) };
                Trouble::new(ErrorCode::NotFound, format!("HAProxy at {} has no server {server}; {known}", self.address))
            })
        };
        self.servers.iter().map(of).collect()
    }

    /// Sessions that each of the servers still has, those that wait for it included.
    async fn sessions(&self) -> Result<Vec<(Server<'a>, u64)>, Trouble> {
        // -1 4 -1: of all proxies the servers only.
        let said = self.ask("show stat -1 4 -1").await?;
        let all = read_sessions(&said).map_err(|why| self.unreadable(&why))?;
        let of = |server: &Server<'a>| {
            let found = all.iter().find(|(name, _)| *name == server.to_string());
            let none = || Trouble::new(ErrorCode::NotFound, format!("HAProxy at {} has no server {server}", self.address));
            found.map(|(_, sessions)| (*server, *sessions)).ok_or_else(none)
        };
        self.servers.iter().map(of).collect()
    }

    /// Takes the servers out, and waits until they have nothing to do any more. With `force`, what is left is cut off.
    pub(super) async fn drain(&self, grace: Duration, force: bool) -> Result<Done, Trouble> {
        let until = Instant::now() + grace;
        let before = self.state().await?;
        for (server, _) in self.servers.iter().zip(&before).filter(|(_, item)| item.state == READY) {
            self.set(*server, DRAIN).await?;
        }
        let mut already = before.iter().all(|item| item.state != READY);
        let mut quiet = 0;
        loop {
            let items = self.state().await?;
            let busy: Vec<_> = self.sessions().await?.into_iter().filter(|(_, sessions)| *sessions > 0).collect();
            let back = self.servers.iter().zip(&items).filter(|(_, item)| item.state == READY).map(|(server, _)| *server);
            let back: Vec<_> = back.collect();
            quiet = if busy.is_empty() && back.is_empty() { quiet + 1 } else { 0 };
            // Twice: between the choice of a server and the count of its session there is a moment.
            if quiet >= 2 || (quiet == 1 && already) {
                return Ok(Done { items, already });
            }
            if Instant::now() >= until {
                let left = busy.iter().map(|(server, sessions)| format!("{server} has {sessions} sessions"));
                let left = left.chain(back.iter().map(|server| format!("{server} was made ready by someone else")));
                let left: Vec<String> = left.collect();
                let left = if left.is_empty() { "its sessions ended only just now".to_owned() } else { left.join(", ") };
                let message = format!("still in service behind HAProxy at {}: {left}", self.address);
                return Err(Trouble { code: ErrorCode::NotDrained, message, items });
            }
            already &= quiet > 0;
            if force {
                for (server, _) in &busy {
                    self.set(*server, MAINT).await?;
                    self.order(&format!("shutdown sessions server {server}")).await?;
                }
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Brings each server that we changed back to what it was, and waits until one that took work takes it again: until its health
    /// check, if it has one, says that it is up. One that somebody else has put into maintenance meanwhile stays there, and what is
    /// told shows it.
    pub(super) async fn undrain(&self, prior: &[ItemState], limit: Duration, forced: bool) -> Result<Done, Trouble> {
        let until = Instant::now() + limit;
        let mut items = self.state().await?;
        let mut already = true;
        for before in prior {
            let server = self.servers.iter().find(|server| server.to_string() == before.name);
            let (Some(server), READY | DRAIN | MAINT) = (server, before.state.as_str()) else {
                let message = format!("{} {} is no state of a server of this drain", before.name, before.state);
                return Err(Trouble::new(ErrorCode::Malformed, message));
            };
            if items.iter().any(|now| now.name == before.name && is_ours(before, now, forced)) {
                already = false;
                self.set(*server, &before.state).await?;
            }
        }
        loop {
            items = self.state().await?;
            let before = |now: &ItemState| prior.iter().find(|before| before.name == now.name);
            let waits = |now: &&ItemState| {
                let is_down = |before: &ItemState| before.in_service && !now.in_service && now.state == READY;
                before(now).is_some_and(|before| is_ours(before, now, forced) || is_down(before))
            };
            let left: Vec<String> = items.iter().filter(waits).map(|now| told(before(now), now)).collect();
            if left.is_empty() {
                return Ok(Done { items, already });
            }
            if Instant::now() >= until {
                let message = format!("not as it was behind HAProxy at {}: {}", self.address, left.join(", "));
                return Err(Trouble { code: ErrorCode::NotObserved, message, items });
            }
            already = false;
            tokio::time::sleep(POLL).await;
        }
    }

    async fn set(&self, server: Server<'_>, state: &str) -> Result<(), Trouble> {
        self.order(&format!("set server {server} state {state}")).await
    }

    /// An order that is answered with silence when it is obeyed.
    async fn order(&self, order: &str) -> Result<(), Trouble> {
        let said = self.ask(order).await?;
        match said.trim() {
            "" => Ok(()),
            refusal => Err(Trouble::new(ErrorCode::Refused, format!("HAProxy at {} refused `{order}`: {refusal}", self.address))),
        }
    }

    /// One question on a connection of its own.
    async fn ask(&self, question: &str) -> Result<String, Trouble> {
        let unreachable = |why: String| {
            let hint = "is the runtime API configured there: stats socket … level admin?";
            Trouble::new(ErrorCode::Unreachable, format!("HAProxy at {} does not answer: {why}; {hint}", self.address))
        };
        let exchange = async {
            if self.address.starts_with('/') {
                converse(UnixStream::connect(self.address).await?, question).await
            } else {
                converse(TcpStream::connect(self.address).await?, question).await
            }
        };
        let said = tokio::time::timeout(ANSWER_LIMIT, exchange).await;
        let said = said.map_err(|_| unreachable(format!("nothing within {} s", ANSWER_LIMIT.as_secs())))?;
        let said = said.map_err(|error| unreachable(error.to_string()))?;
        if said.trim_start().starts_with("Permission denied") {
            let message = format!("HAProxy at {} denies `{question}`: the socket needs `level admin`", self.address);
            return Err(Trouble::new(ErrorCode::Denied, message));
        }
        Ok(said)
    }

    fn unreadable(&self, why: &str) -> Trouble {
        Trouble::new(ErrorCode::Malformed, format!("what HAProxy at {} says cannot be read: {why}", self.address))
    }
}

async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, question: &str) -> std::io::Result<String> {
    stream.write_all(format!("{question}\n").as_bytes()).await?;
    let mut bytes = Vec::new();
    // It closes after the answer.
    (&mut stream).take(ANSWER_MAX + 1).read_to_end(&mut bytes).await?;
    if bytes.len() as u64 > ANSWER_MAX {
        return Err(std::io::Error::other(format!("it said more than {ANSWER_MAX} bytes")));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

const READY: &str = "ready";
const DRAIN: &str = "drain";
const MAINT: &str = "maint";

/// Whether what is there now can be our work: a drain takes a server that is ready and leaves alone what is in maintenance; only
/// where it was `forced`, it puts a server that still has sessions into maintenance. What somebody else changed meanwhile stays.
fn is_ours(before: &ItemState, now: &ItemState, forced: bool) -> bool {
    match (before.state.as_str(), now.state.as_str()) {
        (READY, DRAIN) => true,
        (READY | DRAIN, MAINT) => forced,
        _ => false,
    }
}

fn told(before: Option<&ItemState>, now: &ItemState) -> String {
    let was = before.map(|before| before.state.as_str()).unwrap_or_default();
    let down = if now.state == READY { ", but down for HAProxy's own check" } else { "" };
    format!("{} was {was} and is {}{down}", now.name, now.state)
}

/// Administrative state, as bits: set by a person or by us, inherited, from the configuration, by a failed look-up of the name.
const MAINT_BITS: u32 = 0x01 | 0x02 | 0x20 | 0x40;
const DRAIN_BITS: u32 = 0x08 | 0x10;

/// `show servers state`: a version, a heading that begins with `#`, one line for each server.
fn read_state(said: &str) -> Result<Vec<ItemState>, String> {
    let mut lines = said.lines().skip_while(|line| !line.starts_with('#'));
    let heading: Vec<&str> = lines.next().ok_or_else(|| shown(said))?.trim_start_matches('#').split_whitespace().collect();
    let place = |column: &str| {
        let found = heading.iter().position(|name| *name == column);
        found.ok_or_else(|| format!("there is no column {column}"))
    };
    let (backend, name) = (place("be_name")?, place("srv_name")?);
    let (operational, administrative, weight) = (place("srv_op_state")?, place("srv_admin_state")?, place("srv_uweight")?);
    let mut items = Vec::new();
    for line in lines.filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |place: usize| words.get(place).copied().ok_or_else(|| shown(line));
        let number = |place: usize| word(place)?.parse::<u32>().map_err(|_| shown(line));
        let bits = number(administrative)?;
        let state = match () {
            () if bits & MAINT_BITS != 0 => MAINT,
            () if bits & DRAIN_BITS != 0 => DRAIN,
            () => READY,
        };
        // 0 is down and 3 is going down, for HAProxy's own check; nothing new goes to a server of weight 0.
        let up = matches!(number(operational)?, 1 | 2) && number(weight)? > 0;
        let name = format!("{}/{}", word(backend)?, word(name)?);
        items.push(ItemState { name, state: state.to_owned(), in_service: state == READY && up });
    }
    Ok(items)
}

/// `show stat`: a heading that begins with `# `, then lines of comma-separated values.
fn read_sessions(said: &str) -> Result<Vec<(String, u64)>, String> {
    let mut lines = said.lines();
    let heading: Vec<&str> =
        lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(|| shown(said))?.split(',').collect();
    let place = |column: &str| {
        let found = heading.iter().position(|name| *name == column);
        found.ok_or_else(|| format!("there is no column {column}"))
    };
    let (backend, name, sessions, queue) = (place("pxname")?, place("svname")?, place("scur")?, place("qcur")?);
    let rows = lines.filter(|line| !line.trim().is_empty()).map(|line| {
        let words: Vec<&str> = line.split(',').collect();
        let word = |place: usize| words.get(place).copied().ok_or_else(|| shown(line));
        let number = |place: usize| word(place)?.parse::<u64>().map_err(|_| shown(line));
        // The queue's column is empty where there is none.
        let waiting = if word(queue)?.is_empty() { 0 } else { number(queue)? };
        Ok((format!("{}/{}", word(backend)?, word(name)?), number(sessions)? + waiting))
    });
    rows.collect()
}

fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(200).collect::<String>())
}
