//! Somebody who asks all the time, and counts every request that fails.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use super::now;

/// Lanes that keep one connection for all of their requests, and as many that take a new one for each.
const LANES: u32 = 4;

/// Of each lane: eight of them make 200 requests a second.
const PERIOD: Duration = Duration::from_millis(40);

/// A lane that was kept waiting for the machine does not make up for more than this.
const BEHIND: Duration = Duration::from_secs(2);

/// A slower answer is a failed one.
const LIMIT: Duration = Duration::from_secs(5);

/// A load that is on until it is ended.
#[derive(Debug)]
pub struct Load {
    over: Arc<AtomicBool>,
    begun: Instant,
    lanes: Vec<JoinHandle<Tally>>,
}

/// What became of it.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Requests that were answered as they should be.
    pub good: usize,
    /// Those that were not: when, in Unix seconds, and why.
    pub failed: Vec<(f64, String)>,
    /// Who answered, and how often.
    pub by: BTreeMap<String, usize>,
    /// The slowest answer.
    pub slowest: Duration,
    /// How long it all took.
    pub span: Duration,
}

impl Load {
    /// Begins to ask `HOST:PORT`.
    #[must_use]
    pub fn start(address: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let lane = |number: u32| {
            let (over, address) = (Arc::clone(&over), address.to_owned());
            std::thread::spawn(move || lane(&address, number < LANES, &over))
        };
        Self { lanes: (0..2 * LANES).map(lane).collect(), over, begun: Instant::now() }
    }

    /// Ends it and counts.
    ///
    /// # Errors
    ///
    /// When it was not what it should be: fewer than 100 requests a second.
    pub fn end(self) -> anyhow::Result<Tally> {
        self.over.store(true, Ordering::SeqCst);
        let span = self.begun.elapsed();
        let mut total = Tally { span, ..Tally::default() };
        for lane in self.lanes {
            let tally = lane.join().map_err(|_| anyhow::anyhow!("a lane of the load panicked"))?;
            total.good += tally.good;
            total.failed.extend(tally.failed);
            total.slowest = total.slowest.max(tally.slowest);
            for (name, count) in tally.by {
                *total.by.entry(name).or_default() += count;
            }
        }
        total.failed.sort_by(|one, other| one.0.total_cmp(&other.0));
        ensure!(total.per_second() >= 100.0, "only {:.0} requests a second: {total:?}", total.per_second());
        Ok(total)
    }
}

impl Tally {
    /// Requests a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let requests = u32::try_from(self.good + self.failed.len()).unwrap_or(u32::MAX);
        f64::from(requests) / self.span.as_secs_f64().max(0.001)
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        let by: Vec<String> = self.by.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!(
            "{} requests in {:.1} s ({:.0} a second), {} failed; slowest {} ms; {}",
            self.good + self.failed.len(),
            self.span.as_secs_f64(),
            self.per_second(),
            self.failed.len(),
            self.slowest.as_millis(),
            by.join(", ")
        )
    }
}

fn lane(address: &str, keep: bool, over: &AtomicBool) -> Tally {
    let mut tally = Tally::default();
    let mut connection = None;
    let mut due = Instant::now();
    while !over.load(Ordering::SeqCst) {
        let begun = Instant::now();
        match ask(address, keep, &mut connection) {
            Ok(name) => {
                tally.good += 1;
                *tally.by.entry(name).or_default() += 1;
            }
            Err(error) => {
                connection = None;
                tally.failed.push((now(), format!("{error:#}{}", if keep { " (kept connection)" } else { "" })));
            }
        }
        tally.slowest = tally.slowest.max(begun.elapsed());
        due = (due + PERIOD).max(Instant::now().checked_sub(BEHIND).unwrap_or(due));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    tally
}

/// One request. Nothing is tried again: a kept connection that the other side has closed is a failure, too.
fn ask(address: &str, keep: bool, connection: &mut Option<BufReader<TcpStream>>) -> anyhow::Result<String> {
    let reader = match connection {
        Some(reader) => reader,
        None => {
            let stream = TcpStream::connect_timeout(&address.parse()?, LIMIT).context("connecting")?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            stream.set_nodelay(true)?;
            connection.insert(BufReader::new(stream))
        }
    };
    let word = if keep { "keep-alive" } else { "close" };
    reader
        .get_mut()
        .write_all(format!("GET / HTTP/1.1\r\nhost: web\r\nconnection: {word}\r\n\r\n").as_bytes())
        .context("asking")?;
    let mut line = String::new();
    reader.read_line(&mut line).context("reading the status")?;
    let status = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        ensure!(reader.read_line(&mut line).context("reading the head")? > 0, "the connection ended after {status:?}");
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).context("reading the body")?;
    if status != "200" {
        bail!("answered {status}");
    }
    if !keep {
        *connection = None;
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn every_request_that_fails_is_counted_with_its_reason() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let _ = stream.read(&mut [0; 512]);
                let answer: &[u8] = match number {
                    0 => b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nweb",
                    1 => b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n",
                    2 => b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nweb",
                    _ => b"",
                };
                let _ = stream.write_all(answer);
            }
        });
        let once = || ask(&address, false, &mut None);
        assert_eq!(once().unwrap(), "web");
        for reason in ["answered 503", "reading the body", "the connection ended"] {
            let error = format!("{:#}", once().unwrap_err());
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}
