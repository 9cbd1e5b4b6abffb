//! Events of services are given on: to a file, over HTTP, and on the broker (S3-71 to S3-73).
//!
//! The store has them from the same transaction as the facts. Each place that they are given on to has a task and a place in the
//! store up to which it has them: in order, at least once, also over a `kill -9`. What can tell a duplicate is the id of an event;
//! the file looks by itself whether it has a line already.

mod cloud;
mod file;
mod http;
mod mqtt;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use driver::StoreError;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use cloud::cloud_event;
pub use file::{EVENTS_FILE, FileSettings, FileSink};
pub use http::{HttpSettings, HttpSink, HttpSinkError};
pub use mqtt::{Announcer, MqttSink};

use crate::store::{Database, EventFilter, StoredEvent};

/// Events that are given on together.
const BATCH: u32 = 100;
/// What cannot be given on is tried again after this, doubled up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// What a place took.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// So many of them, from the first on, need not be given to it again.
    pub count: usize,
    /// Why not all.
    pub trouble: Option<String>,
}

impl Taken {
    fn all(count: usize) -> Self {
        Self { count, trouble: None }
    }

    fn only(count: usize, trouble: impl Into<String>) -> Self {
        Self { count, trouble: Some(trouble.into()) }
    }
}

/// A place that events are given on to.
pub trait Sink: Send {
    /// Its name in the store. What has another name is another place.
    fn name(&self) -> String;
    /// Takes these, in order. `again`: it may have some of them already.
    fn take<'a>(&'a mut self, events: &'a [StoredEvent], again: bool) -> Pin<Box<dyn Future<Output = Taken> + Send + 'a>>;
}

/// The tasks.
#[derive(Debug)]
pub struct Notifier {
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

/// Where each of the places with these names begins; to be called before anything can happen, so that a new one misses nothing.
///
/// # Errors
/// [`StoreError`].
pub async fn prepare(database: &Database, names: &[String]) -> Result<(), StoreError> {
    database.event_sinks(names).await.map(drop)
}

impl Notifier {
    /// Starts giving on. Must be called in a runtime.
    pub fn start(database: &Database, sinks: Vec<Box<dyn Sink>>) -> Self {
        let stop = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        for sink in sinks {
            tasks.spawn(give_on(database.clone(), sink, stop.subscribe()));
        }
        Self { tasks, stop }
    }

    /// Gives on what there is, once, in this time at most; the next start goes on with the rest.
    pub async fn finish(mut self, limit: Duration) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(limit, all).await.is_err() {
            tracing::warn!("events of services wait for the next start");
            self.tasks.shutdown().await;
        }
    }
}

async fn give_on(database: Database, mut sink: Box<dyn Sink>, mut stop: watch::Receiver<bool>) {
    let name = sink.name();
    let mut told = database.events_told();
    let (mut pause, mut again, mut complained) = (PAUSE.0, true, None);
    let mut known: Option<i64> = None;
    loop {
        told.borrow_and_update();
        let last = *stop.borrow();
        let trouble = match next(&database, &name, &mut known).await {
            Ok(events) if events.is_empty() => {
                again = false;
                if last {
                    return;
                }
                tokio::select! {
                    _ = told.changed() => {}
                    _ = stop.changed() => {}
                }
                continue;
            }
            Ok(events) => {
                let taken = sink.take(&events, again).await;
                let trouble = match taken.count.checked_sub(1).and_then(|place| events.get(place)) {
                    Some(StoredEvent { position, .. }) => {
                        known = Some(*position);
                        database.event_sink_has(&name, *position).await.err().map(|error| error.to_string())
                    }
                    None => None,
                };
                taken.trouble.or(trouble)
            }
            Err(error) => Some(error.to_string()),
        };
        again = trouble.is_some();
        let Some(trouble) = trouble else {
            (pause, complained) = (PAUSE.0, None);
            continue;
        };
        if complained.as_ref() != Some(&trouble) {
            tracing::warn!("events of services wait: {trouble}; tried again");
            complained = Some(trouble);
        }
        if last {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.changed() => {}
        }
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// A place in words: of an address its host alone, since the rest of it may be secret.
fn told(name: &str) -> &str {
    let Some(from) = name.find("://").map(|at| at + 3) else { return name };
    name.get(from..).and_then(|rest| rest.find(['/', '?', '#'])).and_then(|end| name.get(..from + end)).unwrap_or(name)
}

/// The next ones for this place.
async fn next(database: &Database, name: &str, known: &mut Option<i64>) -> Result<Vec<StoredEvent>, StoreError> {
    let after = match *known {
        Some(after) => after,
        None => *known.insert(database.event_sink(name).await?),
    };
    let filter = EventFilter { after: Some(after), service: None, limit: BATCH };
    let events = database.service_events(&filter, None).await?;
    if let Some(first) = events.first().filter(|first| after > 0 && first.position > after + 1) {
        tracing::error!(
            missed = first.position - after - 1,
            "a place that events are given on to was away for too long: {}",
            told(name)
        );
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log is read by more people than the configuration is.
    #[test]
    fn what_is_told_of_a_place_holds_no_secret_of_its_address() {
        for (name, shown) in [
            ("http https://hooks.example/T0/B0/secret", "http https://hooks.example"),
            ("http http://[::1]:8080/?key=secret", "http http://[::1]:8080"),
            ("http https://hooks.example?key=secret", "http https://hooks.example"),
            ("http https://hooks.example", "http https://hooks.example"),
            ("file /var/log/reveille/events.jsonl", "file /var/log/reveille/events.jsonl"),
            (MqttSink::NAME, MqttSink::NAME),
        ] {
            assert_eq!(told(name), shown);
        }
    }
}
