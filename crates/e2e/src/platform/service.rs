//! A small service of a platform: it answers with what its tree says. It runs on hosts, under systemd.
//!
//! The tree is read when the service starts, and when it is asked to reload; the listening socket stays open meanwhile, so nobody is
//! turned away. `version` is what it answers with; `behaviour`, if it is there, is how it behaves: `refuse` (does not start), `sick`
//! (health says 500), `odd` (200 with another body), `hang` (health does not answer), `flap` (healthy for four seconds), `die` (ends
//! after four seconds), `never` (starts and never listens).

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// Whoever says nothing for longer is let go.
const SILENCE: Duration = Duration::from_mins(2);

/// After so long one that flaps or dies does.
const GOOD_FOR: Duration = Duration::from_secs(4);

#[derive(Debug, Clone)]
struct Code {
    version: String,
    behaviour: String,
    since: Instant,
}

fn read(tree: &Path) -> anyhow::Result<Code> {
    let version = std::fs::read_to_string(tree.join("version")).context("its tree has no version")?;
    let behaviour = std::fs::read_to_string(tree.join("behaviour")).unwrap_or_default();
    Ok(Code { version: version.trim().to_owned(), behaviour: behaviour.trim().to_owned(), since: Instant::now() })
}

/// The service itself: until it is killed.
///
/// # Errors
///
/// When it cannot listen, or its tree cannot be read.
pub fn serve(port: u16, tree: &Path) -> anyhow::Result<()> {
    let code = read(tree)?;
    match code.behaviour.as_str() {
        "refuse" => bail!("{}: this version does not start", code.version),
        "never" => loop {
            std::thread::sleep(SILENCE);
        },
        "die" => drop(std::thread::spawn(|| {
            std::thread::sleep(GOOD_FOR);
            std::process::exit(3);
        })),
        _ => {}
    }
    let code = Arc::new(Mutex::new(code));
    let listener = TcpListener::bind(("0.0.0.0", port))?;
    for stream in listener.incoming() {
        let (stream, code, tree) = (stream?, Arc::clone(&code), tree.to_owned());
        std::thread::spawn(move || {
            // Whoever asks sees what is wrong.
            let _ = connection(stream, &code, &tree);
        });
    }
    Ok(())
}

fn connection(stream: TcpStream, code: &Mutex<Code>, tree: &Path) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut close = false;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            close |= line.trim().eq_ignore_ascii_case("connection: close");
            if line.trim().is_empty() {
                break;
            }
        }
        let path = request.split(' ').nth(1).context("no request")?;
        let (status, body) = answer(path, code, tree);
        let last = if close { "connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{last}\r\n", body.len());
        writer.write_all(format!("{head}{body}").as_bytes())?;
        if close {
            return Ok(());
        }
    }
}

fn answer(path: &str, code: &Mutex<Code>, tree: &Path) -> (&'static str, String) {
    const OK: &str = "200 OK";
    const ERROR: &str = "500 Internal Server Error";
    if path == "/reload" {
        return match read(tree) {
            Ok(fresh) => {
                *code.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
                (OK, "reloaded".to_owned())
            }
            Err(error) => (ERROR, format!("{error:#}")),
        };
    }
    let now = code.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if path != "/health" {
        return (OK, now.version);
    }
    let healthy = || (OK, r#"{ "status": "healthy" }"#.to_owned());
    match now.behaviour.as_str() {
        "sick" => (ERROR, r#"{"status":"ill"}"#.to_owned()),
        "odd" => (OK, r#"{"status":"starting"}"#.to_owned()),
        "hang" => {
            std::thread::sleep(SILENCE);
            healthy()
        }
        "flap" if now.since.elapsed() > GOOD_FOR => (ERROR, r#"{"status":"ill"}"#.to_owned()),
        _ => healthy(),
    }
}

/// Lets the service on this port read its tree anew.
///
/// # Errors
///
/// When it does not say that it did.
pub fn reload(port: u16) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /reload HTTP/1.1\r\nconnection: close\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    if status.contains(" 200 ") { Ok(()) } else { bail!("it said {}", status.trim()) }
}
