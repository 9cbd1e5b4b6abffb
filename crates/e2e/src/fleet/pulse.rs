//! Which hosts were out of use when, as somebody outside saw it: their web services are asked for a connection all the time.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::{Fleet, Member};
use crate::traffic::{now, web};

const PAUSE: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_millis(500);

/// A span in Unix seconds.
pub type Span = (f64, f64);

/// Watches until it is ended.
#[derive(Debug)]
pub struct Pulse {
    over: Arc<AtomicBool>,
    watches: Vec<(Member, JoinHandle<Vec<Span>>)>,
}

/// When each host was out of use.
#[derive(Debug, Clone)]
pub struct Outages(Vec<(Member, Vec<Span>)>);

impl Pulse {
    /// Begins.
    #[must_use]
    pub fn start(fleet: &Fleet) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let watch = |member: &Member| {
            let (ended, address) = (Arc::clone(&over), format!("{}:{}", member.host.ip(), web::LISTENS_ON));
            (member.clone(), std::thread::spawn(move || watch(&address, &ended)))
        };
        Self { watches: fleet.members.iter().map(watch).collect(), over }
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// When a watch panicked.
    pub fn end(self) -> anyhow::Result<Outages> {
        self.over.store(true, Ordering::SeqCst);
        let watched = |(member, watch): (Member, JoinHandle<Vec<Span>>)| {
            Ok((member, watch.join().map_err(|_| anyhow::anyhow!("a watch panicked"))?))
        };
        Ok(Outages(self.watches.into_iter().map(watched).collect::<anyhow::Result<_>>()?))
    }
}

fn watch(address: &str, over: &AtomicBool) -> Vec<Span> {
    let mut outages: Vec<Span> = Vec::new();
    let mut out = false;
    while !over.load(Ordering::SeqCst) {
        let at = now();
        let up = address.parse().is_ok_and(|address| TcpStream::connect_timeout(&address, LIMIT).is_ok());
        match outages.last_mut() {
            Some(last) if out && !up => last.1 = now(),
            _ if !up => outages.push((at, now())),
            _ => {}
        }
        out = !up;
        std::thread::sleep(PAUSE);
    }
    outages
}

impl Outages {
    /// Of all hosts, by when they began; with the name of the host.
    #[must_use]
    pub fn in_order(&self) -> Vec<(&str, Span)> {
        let mut all: Vec<(&str, Span)> =
            self.0.iter().flat_map(|(member, spans)| spans.iter().map(|span| (member.host.name(), *span))).collect();
        all.sort_by(|one, other| one.1.0.total_cmp(&other.1.0));
        all
    }

    /// How many of those that `of` names were out of use at once, at most.
    #[must_use]
    pub fn most(&self, of: impl Fn(&Member) -> bool) -> usize {
        let spans: Vec<Span> = self.0.iter().filter(|(member, _)| of(member)).flat_map(|(_, spans)| spans.clone()).collect();
        most(&spans)
    }
}

/// The most spans that hold one moment.
fn most(spans: &[Span]) -> usize {
    let at = |moment: f64| spans.iter().filter(|(from, until)| *from <= moment && moment <= *until).count();
    spans.iter().map(|(from, _)| at(*from)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_at_once_are_counted() {
        assert_eq!(most(&[]), 0);
        assert_eq!(most(&[(1.0, 2.0), (3.0, 4.0)]), 1);
        assert_eq!(most(&[(1.0, 5.0), (2.0, 3.0), (4.0, 6.0), (4.5, 4.6)]), 3);
    }
}
