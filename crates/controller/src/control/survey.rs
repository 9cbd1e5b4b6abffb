//! Hosts without an agent do not tell of themselves: they are asked, each at its pace.

mod queue;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine::Input;
use futures_util::{StreamExt as _, stream};
use model::{Millis, Report, TargetId, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::dispatch::Reach;
use super::performer::Reached;
use super::worker::{Message, stopped};
use super::{Control, ControlError, Shared};
use queue::Queue;

/// Hosts that are asked at the same time.
const WIDTH: usize = 64;
/// One host has so long to answer, its connection included.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Which hosts are asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watchful {
    /// All that have no agent.
    All,
    /// These.
    Only(BTreeSet<TargetId>),
}

impl Watchful {
    fn includes(&self, host: TargetId) -> bool {
        match self {
            Self::All => true,
            Self::Only(hosts) => hosts.contains(&host),
        }
    }
}

/// Why a host could not be read when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// Since when it is so.
    pub since: Timestamp,
    /// In words.
    pub reason: String,
}

/// Asks, hands on what is answered, and remembers what was not.
#[derive(Clone)]
pub(super) struct Surveyor {
    pub(super) shared: Arc<Shared>,
    pub(super) reach: Arc<Reach>,
    pub(super) messages: mpsc::WeakSender<Message>,
}

impl Surveyor {
    /// Until all is to end. A host is asked at once when it is new, and then so long after each answer.
    pub(super) async fn run(self, pace: Millis, mut stop: watch::Receiver<bool>) {
        let mut known = self.shared.known.subscribe();
        let mut wanted = self.shared.watchful.subscribe();
        let mut asked: JoinSet<(TargetId, bool)> = JoinSet::new();
        let mut queue = Queue::new(pace.duration());
        let mut changed = true;
        loop {
            if std::mem::take(&mut changed) {
                // Marked as seen before it is read: a change meanwhile wakes the loop once more.
                drop(known.borrow_and_update());
                let watchful = wanted.borrow_and_update().clone();
                let gone = queue.be(self.hosts(&watchful), Instant::now());
                // Those that are only not watched any more may be worked on.
                for host in gone.into_iter().filter(|host| self.shared.reached(host.id).as_ref() != Some(host)) {
                    self.reach.performer().forget(host.id);
                }
            }
            for host in std::mem::take(&mut *self.shared.back.0.lock().unwrap_or_else(PoisonError::into_inner)) {
                queue.back(host, Instant::now());
            }
            while let Some(host) = queue.take(Instant::now()) {
                let surveyor = self.clone();
                asked.spawn(async move {
                    // Why not is remembered; there is nobody to tell it to here.
                    let answered = surveyor.ask(&host).await.is_ok();
                    (host.id, answered)
                });
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                _ = known.changed() => changed = true,
                _ = wanted.changed() => changed = true,
                () = self.shared.back.1.notified() => {}
                Some(ended) = asked.join_next() => match ended {
                    Ok((host, answered)) => queue.ended(host, answered, Instant::now()),
                    // One of those that were given up below.
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        tracing::error!("a survey failed: {error}");
                        // Which one it was is not said: all are asked again.
                        asked.abort_all();
                        queue.again(Instant::now());
                    }
                },
                () = tokio::time::sleep_until(queue.next(Instant::now())) => {}
            }
        }
    }

    fn hosts(&self, watchful: &Watchful) -> BTreeMap<TargetId, Reached> {
        let directory = self.shared.directory.read().unwrap_or_else(PoisonError::into_inner).clone();
        let hosts = directory.iter().flat_map(|directory| directory.hosts.iter());
        hosts.filter(|(id, _)| watchful.includes(**id)).filter_map(|(id, known)| Some((*id, known.reached(*id)?))).collect()
    }

    /// Asks once.
    async fn ask(&self, host: &Reached) -> Result<(), String> {
        // What a command's answer says later is newer than what is read from now on.
        let number = self.shared.next_report();
        let asked = tokio::time::timeout(ANSWER_LIMIT, self.reach.performer().survey(host)).await;
        let read = asked.unwrap_or_else(|_| Err(format!("no answer within {} s", ANSWER_LIMIT.as_secs())));
        self.remember(host.id, read.as_ref().err());
        let report = self.shared.own_report(read?, number);
        let stopping = || "the controller is stopping".to_owned();
        let messages = self.messages.upgrade().ok_or_else(stopping)?;
        let input = Input::Reported { host: host.id, report: Box::new(report) };
        messages.send(Message::Input { input, check: None, answer: None }).await.map_err(|_| stopping())
    }
}

impl Surveyor {
    fn remember(&self, host: TargetId, failed: Option<&String>) {
        let Some(reason) = failed else { return self.shared.answered(host) };
        let mut unread = self.shared.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.shared.clock.now();
        let entry = unread.entry(host).or_insert_with(|| Unread { since: now, reason: String::new() });
        reason.clone_into(&mut entry.reason);
    }
}

impl Shared {
    /// A host was read, by whomever: one that did not answer before is asked at its usual pace again.
    pub(super) fn answered(&self, host: TargetId) {
        if self.unread.lock().unwrap_or_else(PoisonError::into_inner).remove(&host).is_some() {
            self.back.0.lock().unwrap_or_else(PoisonError::into_inner).push(host);
            self.back.1.notify_one();
        }
    }

    /// A number for a report that is read from now on.
    pub(super) fn next_report(&self) -> u64 {
        self.reports.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// What is read by this process is judged by the order of the reading, like the reports of one agent. Whose machine it was
    /// is for the performer to say.
    pub(super) fn own_report(&self, report: Report, sequence: u64) -> Report {
        Report { sequence, ..report }
    }

    /// How a host is reached, if it has no agent.
    pub(super) fn reached(&self, host: TargetId) -> Option<Reached> {
        let directory = self.directory.read().unwrap_or_else(PoisonError::into_inner).clone();
        directory?.hosts.get(&host)?.reached(host)
    }
}

impl Control {
    /// Asks these hosts at once, those without an agent among them, and returns when each has answered or could not. What they
    /// say is known to the engine for everything that is asked of it later. Gives why some could not be read.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`] before the first start, or without a performer.
    pub async fn survey(&self, hosts: &[TargetId]) -> Result<BTreeMap<TargetId, String>, ControlError> {
        let surveyor = self.surveyor.clone();
        let surveyor =
            surveyor.ok_or_else(|| ControlError::Unavailable("hosts without an agent cannot be reached from here".to_owned()))?;
        let reached = hosts.iter().filter_map(|id| self.shared.reached(*id)).collect::<Vec<_>>();
        let answers = stream::iter(reached).map(|host| {
            let surveyor = surveyor.clone();
            async move { (host.id, surveyor.ask(&host).await) }
        });
        let answers: Vec<_> = answers.buffer_unordered(WIDTH).collect().await;
        Ok(answers.into_iter().filter_map(|(id, answer)| Some((id, answer.err()?))).collect())
    }

    /// From now on these hosts are asked again and again.
    pub fn watch_over(&self, hosts: Watchful) {
        self.shared.watchful.send_if_modified(|now| {
            let changed = *now != hosts;
            *now = hosts;
            changed
        });
    }

    /// Why hosts without an agent could not be read when they were last asked.
    pub fn unread(&self) -> BTreeMap<TargetId, Unread> {
        self.shared.unread.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
