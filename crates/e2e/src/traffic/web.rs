//! A small web service: answers with its name and keeps an access log. It runs on hosts, under systemd.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use anyhow::Context;

use super::now;
use crate::lab::Host;
use crate::wait;

/// Where it answers, on every host that has it.
pub const LISTENS_ON: u16 = 8080;

/// Its unit.
pub const UNIT: &str = "web.service";

/// Asked for by whoever only wants to know whether it is well; not in the access log.
pub const HEALTH: &str = "/health";

const PROGRAM: &str = "/usr/local/bin/lab-web";
const LOG: &str = "/var/log/web.log";

/// Nobody says nothing for longer on an open connection.
const SILENCE: Duration = Duration::from_mins(2);

/// One line of the access log: when, in Unix seconds, and which path.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    /// When the request was read.
    pub at: f64,
    /// What was asked for.
    pub path: String,
}

/// The service itself: until it is killed.
///
/// # Errors
///
/// When it cannot listen or log.
pub fn serve(name: &str) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("0.0.0.0", LISTENS_ON))?;
    for stream in listener.incoming() {
        let (stream, name) = (stream?, name.to_owned());
        std::thread::spawn(move || {
            // Whoever asks sees what is wrong.
            let _ = connection(stream, &name);
        });
    }
    Ok(())
}

fn connection(stream: TcpStream, name: &str) -> anyhow::Result<()> {
    stream.set_read_timeout(Some(SILENCE))?;
    stream.set_nodelay(true)?;
    let mut log = File::options().create(true).append(true).open(LOG)?;
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
        if path != HEALTH {
            log.write_all(format!("{:.3} {path}\n", now()).as_bytes())?;
        }
        let last = if close { "connection: close\r\n" } else { "" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{last}\r\n", name.len());
        writer.write_all(format!("{head}{name}").as_bytes())?;
        if close {
            return Ok(());
        }
    }
}

/// Puts the service on the disk of a host that is off; it starts at each boot and answers with the host's name.
///
/// # Errors
///
/// When the disk refuses.
pub fn install(host: &Host) -> anyhow::Result<()> {
    // This very program: the hosts run what the machine runs.
    host.put_program(&std::env::current_exe()?, PROGRAM)?;
    let unit = format!(
        "[Unit]\nAfter=network.target\n[Service]\nExecStart={PROGRAM} lab-inner web {}\nRestart=always\n\
         [Install]\nWantedBy=multi-user.target\n",
        host.name()
    );
    host.put_unit(UNIT, &unit)
}

/// Waits until it answers.
///
/// # Errors
///
/// When it does not in time.
pub fn wait_up(host: &Host, limit: Duration) -> anyhow::Result<()> {
    wait::until_true(&format!("the web service of {}", host.name()), limit, || {
        Ok(TcpStream::connect_timeout(&format!("{}:{LISTENS_ON}", host.ip()).parse()?, Duration::from_secs(2)).is_ok())
    })
}

/// Its access log, over all boots.
///
/// # Errors
///
/// When nobody has asked it yet.
pub fn accesses(host: &Host) -> anyhow::Result<Vec<Access>> {
    Ok(parse(&host.read_file(LOG)?))
}

fn parse(text: &str) -> Vec<Access> {
    let line = |line: &str| {
        let (at, path) = line.split_once(' ')?;
        Some(Access { at: at.parse().ok()?, path: path.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_log_is_read_and_a_torn_line_is_not() {
        let log = parse("10.500 /\n11.250 /x\n12.");
        assert_eq!(log, [Access { at: 10.5, path: "/".to_owned() }, Access { at: 11.25, path: "/x".to_owned() }]);
    }
}
