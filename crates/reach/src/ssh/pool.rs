//! Connections that are kept for what is done next.
//!
//! One for each host, and only while nobody uses it: whoever needs one takes it out, and a second one at the same time makes
//! its own. None outlives the boot on which it was made, and whoever does not come back for it finds it closed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use model::TargetId;
use tokio::time::Instant;

use super::access::{Limits, Session};
use super::destination::Destination;

/// One that was made so long ago is not kept any more: keys, groups and rights are looked at anew.
const OLDEST: Duration = Duration::from_secs(3600);

/// Kept connections to all hosts.
#[derive(Debug)]
pub(crate) struct Pool {
    idle: Duration,
    most: usize,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    free: BTreeMap<TargetId, Free>,
    /// What was made up to then is not used any more, nor kept by those who use it now.
    ended: BTreeMap<TargetId, Instant>,
    /// Somebody sees to it that they end.
    is_watched: bool,
}

/// A connection that nobody uses.
#[derive(Debug)]
struct Free {
    to: Destination,
    session: Session,
    since: Instant,
}

impl Pool {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self { idle: limits.idle, most: limits.most_idle, kept: Arc::default() }
    }

    /// The connection that is kept to this host at this place. A step goes over one of steps alone: before a host is taken
    /// down, it has let somebody log in.
    pub(crate) fn take(&self, host: TargetId, at: &Destination, for_step: bool) -> Option<Session> {
        let free = lock(&self.kept).free.remove(&host)?;
        let is_fit = free.to == *at && free.is_good(self.idle) && (free.session.worked.is_some() || !for_step);
        is_fit.then_some(free.session)
    }

    /// Keeps it for what is done next. For a step of a track it is kept rather than for whoever only looks.
    pub(crate) fn keep(&self, host: TargetId, at: &Destination, mut session: Session, for_step: bool) {
        if for_step {
            session.worked = Some(Instant::now());
        }
        let free = Free { to: at.clone(), session, since: Instant::now() };
        let mut kept = lock(&self.kept);
        let is_over = kept.ended.get(&host).is_some_and(|ended| free.session.made <= *ended);
        let has_newer =
            kept.free.get(&host).is_some_and(|other| other.session.made > free.session.made && other.is_good(self.idle));
        if is_over || has_newer || free.session.made.elapsed() >= OLDEST || !free.is_good(self.idle) {
            return;
        }
        kept.free.insert(host, free);
        if kept.free.len() > self.most {
            let order = |(_, free): &(&TargetId, &Free)| (free.session.worked, free.since);
            if let Some(least) = kept.free.iter().min_by_key(order).map(|(host, _)| *host) {
                kept.free.remove(&least);
            }
        }
        if !kept.is_watched && !kept.free.is_empty() {
            kept.is_watched = true;
            tokio::spawn(watch(Arc::downgrade(&self.kept), self.idle));
        }
    }

    /// From now on this host is reached over connections that are made from now on.
    pub(crate) fn end(&self, host: TargetId) {
        let mut kept = lock(&self.kept);
        kept.free.remove(&host);
        // Older ones are not kept in any case.
        kept.ended.retain(|_, at| at.elapsed() < OLDEST);
        kept.ended.insert(host, Instant::now());
    }
}

impl Free {
    fn is_good(&self, idle: Duration) -> bool {
        self.since.elapsed() < idle && !self.session.handle.is_closed()
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends what nobody has used for too long, until nothing is left.
async fn watch(kept: std::sync::Weak<Mutex<Kept>>, idle: Duration) {
    let mut next = Instant::now() + idle;
    loop {
        tokio::time::sleep_until(next).await;
        let Some(kept) = kept.upgrade() else { return };
        let mut kept = lock(&kept);
        kept.free.retain(|_, free| free.is_good(idle));
        let Some(oldest) = kept.free.values().map(|free| free.since).min() else {
            kept.is_watched = false;
            return;
        };
        next = oldest + idle;
    }
}
