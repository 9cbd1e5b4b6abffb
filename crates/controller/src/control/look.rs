//! Looking: what the store and the engine know, limited to what one may see.

use std::collections::{BTreeMap, BTreeSet};

use async_stream::stream;
use engine::{Entry, Fact, HostView, View};
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use model::{OrchestrationId, SelectionError, Selector, TargetId};
use tokio::sync::broadcast::error::RecvError;

use super::access::Principal;
use super::records::{Followed, JournalLine, Watched};
use super::worker::stopped;
use super::{Control, ControlError, unavailable};
use crate::store::{AuditFilter, AuditLine, OrchestrationFilter, Page};

/// Looking. Of rights only the scope is checked here; call [`Control::authorize`] for the rest.
impl Control {
    /// The hosts that a [`Selector`] means, of those in scope; `None` is all in scope. Sorted by name.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when a selector names nobody, or a label that nobody carries; [`ControlError::Invalid`] when
    /// it cannot be read.
    pub async fn select(&self, who: &Principal, selector: Option<&str>) -> Result<Vec<HostView>, ControlError> {
        self.selected(who, selector.map(read_selector).transpose()?).await
    }

    pub(super) async fn selected(&self, who: &Principal, wanted: Option<Selector>) -> Result<Vec<HostView>, ControlError> {
        let scope = who.scope.clone();
        let look = move |engine: &engine::Engine, now| {
            let hosts: Vec<HostView> = engine.hosts(now).into_iter().filter(|host| scope.covers(&host.labels)).collect();
            let Some(wanted) = wanted else { return Ok(hosts) };
            let named = wanted.select(hosts.iter().map(|host| (host.id, host.name.as_str(), &host.labels)))?;
            let named: BTreeSet<TargetId> = named.into_iter().collect();
            Ok(hosts.into_iter().filter(|host| named.contains(&host.id)).collect())
        };
        let mut hosts = self.query(look).await?.map_err(|error: SelectionError| ControlError::NotFound(error.to_string()))?;
        hosts.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        Ok(hosts)
    }

    /// Orchestrations whose hosts are all in scope, newest first.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn orchestrations(&self, who: &Principal, filter: OrchestrationFilter) -> Result<Page<View>, ControlError> {
        let hosts = self.hosts_of(who)?;
        self.shared.database.orchestrations(&filter, hosts.as_deref()).await.map_err(unavailable)
    }

    /// One orchestration, open or ended. One with a host outside the scope is not found.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Unavailable`].
    pub async fn orchestration(&self, who: &Principal, id: OrchestrationId) -> Result<View, ControlError> {
        Ok(self.orchestration_at(who, id).await?.1)
    }

    async fn orchestration_at(&self, who: &Principal, id: OrchestrationId) -> Result<(u64, View), ControlError> {
        let found = self.shared.database.orchestration(id).await.map_err(unavailable)?;
        let seen = match found {
            Some((sequence, view)) if self.sees(who, &view).await? => Some((sequence, view)),
            _ => None,
        };
        seen.ok_or_else(|| {
            ControlError::NotFound(format!("there is no orchestration {id}; `reveille orchestrations` lists them"))
        })
    }

    /// An orchestration is seen by whoever may see all of its hosts.
    async fn sees(&self, who: &Principal, view: &View) -> Result<bool, ControlError> {
        if who.scope.is_all() {
            return Ok(true);
        }
        let directory = self.directory()?;
        let hosts = self.shared.database.track_hosts(view.id).await.map_err(unavailable)?;
        Ok(directory.is_in(&who.scope, view.host) && hosts.iter().all(|(host, _)| directory.is_in(&who.scope, *host)))
    }

    /// The journal of an orchestration in words, oldest first, from a position on (0: all of it).
    ///
    /// # Errors
    /// As [`Control::orchestration`]; [`ControlError::Unavailable`] with the reason when the journal cannot be read.
    pub async fn journal(&self, who: &Principal, id: OrchestrationId, from: u64) -> Result<Vec<JournalLine>, ControlError> {
        self.orchestration(who, id).await?;
        self.lines(id, from, &mut Names::default()).await
    }

    /// Names that were learnt serve for the lines that come later.
    async fn lines(&self, id: OrchestrationId, from: u64, names: &mut Names) -> Result<Vec<JournalLine>, ControlError> {
        // Whom an orchestration is about stands in its first record.
        let start = if names.targets.is_empty() { 0 } else { from };
        let records = self.shared.database.journal(id, start).await.map_err(unavailable)?;
        let records = records.map_err(|error| ControlError::Unavailable(format!("the journal of {id} is damaged: {error}")))?;
        let mut lines = Vec::with_capacity(records.len());
        for (record, position) in records.into_iter().zip(start..) {
            names.learn(&record.entry);
            if position < from {
                continue;
            }
            let (at, by) = (record.at, record.by.to_string());
            let host = names.host_of(&record.entry);
            let fact = Fact::Orchestration(id, record);
            let text = engine::tell(&fact, host, &|target| names.targets.get(&target).cloned());
            lines.push(JournalLine {
                position,
                at,
                by,
                entry: engine::action_of(&fact).to_owned(),
                good: engine::is_good(&fact),
                text,
            });
        }
        Ok(lines)
    }

    /// The orchestration now, and again after each change, until it is over; then the stream ends. With `after` (the
    /// sequence of the last one seen) nothing that was seen comes again. A watcher that falls behind skips states, never
    /// the last one. When the token of `who` ends, the stream ends with it.
    ///
    /// # Errors
    /// As [`Control::orchestration`].
    pub async fn watch(
        &self,
        who: &Principal,
        id: OrchestrationId,
        after: Option<u64>,
    ) -> Result<BoxStream<'static, Watched>, ControlError> {
        // First listen, then read: nothing falls between the two.
        let mut changes = self.shared.database.changes();
        let mut stopping = self.shared.stopping.subscribe();
        let (sequence, view) = self.orchestration_at(who, id).await?;
        let (shared, who) = (std::sync::Arc::clone(&self.shared), who.clone());
        Ok(Box::pin(stream! {
            // A number that was never given out comes from another life of the database.
            let mut seen = after.filter(|after| *after <= sequence);
            let mut next = Some((sequence, view));
            loop {
                if let Some((sequence, view)) = next.take() {
                    let over = view.outcome.is_some();
                    if !shared.is_valid(&who).await {
                        return;
                    }
                    if seen.is_none_or(|seen| sequence > seen) {
                        seen = Some(sequence);
                        yield Watched { sequence, view };
                    }
                    if over {
                        return;
                    }
                }
                let change = tokio::select! {
                    () = stopped(&mut stopping) => return,
                    change = changes.recv() => change,
                };
                match change {
                    Ok(change) if change.view.id == id => next = Some((change.sequence, (*change.view).clone())),
                    Ok(_) => {}
                    Err(RecvError::Lagged(_)) => next = shared.database.orchestration(id).await.ok().flatten(),
                    Err(RecvError::Closed) => return,
                }
            }
        }))
    }

    /// The same with what was written in the journal since the state before, in words; `after` is the number of lines that were
    /// seen. The last one is the end of it.
    ///
    /// # Errors
    /// As [`Control::orchestration`].
    pub async fn follow(
        &self,
        who: &Principal,
        id: OrchestrationId,
        after: Option<u64>,
    ) -> Result<BoxStream<'static, Followed>, ControlError> {
        let mut watched = self.watch(who, id, after).await?;
        let (control, who) = (self.clone(), who.clone());
        Ok(Box::pin(stream! {
            let mut names = Names::default();
            let (mut seen, mut first) = (after.unwrap_or(0), true);
            while let Some(state) = watched.next().await {
                // A number from another life of the database was never given out in this one. Later states may well stand
                // behind what was read of the journal, so only the first one can tell.
                if std::mem::take(&mut first) {
                    seen = seen.min(state.sequence);
                }
                // The view may be ahead of the journal that is read next, or behind it: the position that was read decides.
                if let Ok(lines) = control.lines(id, seen, &mut names).await {
                    seen = lines.last().map_or(seen, |line| line.position + 1);
                    yield Followed { seen, view: state.view, lines, over: false };
                }
            }
            // The end is said in any case, also to somebody who has seen every entry. Without it the client asks again.
            if control.is_valid(&who).await
                && let Ok(view) = control.orchestration(&who, id).await
                && view.outcome.is_some()
                && let Ok(lines) = control.lines(id, seen, &mut names).await
            {
                seen = lines.last().map_or(seen, |line| line.position + 1);
                yield Followed { seen, view, lines, over: true };
            }
        }))
    }

    /// The audit log, newest first: with a scope only what concerns its hosts, and one's own lines. Needs
    /// [`Permission::ViewAudit`](super::Permission::ViewAudit), which is not checked here.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn audit(&self, who: &Principal, filter: AuditFilter) -> Result<Page<AuditLine>, ControlError> {
        let hosts = self.hosts_of(who)?;
        let within = hosts.as_deref().map(|hosts| (hosts, who.user()));
        self.shared.database.audit(&filter, within).await.map_err(unavailable)
    }

    /// The hosts in scope; `None` is all of them.
    pub(super) fn hosts_of(&self, who: &Principal) -> Result<Option<Vec<TargetId>>, ControlError> {
        if who.scope.is_all() {
            return Ok(None);
        }
        let directory = self.directory()?;
        Ok(Some(directory.hosts.keys().copied().filter(|host| directory.is_in(&who.scope, *host)).collect()))
    }
}

/// Whom a journal tells of.
#[derive(Default)]
struct Names {
    targets: BTreeMap<TargetId, String>,
    /// By track.
    hosts: Vec<TargetId>,
}

impl Names {
    /// Those that did not run are not taken into it, but the boot may start them, so that they are stopped again: every report
    /// counts.
    fn learn(&mut self, entry: &Entry) {
        let report = match entry {
            Entry::Accepted { plan, host_name, report, request, .. } => {
                self.targets.insert(request.target(), host_name.clone());
                self.hosts = plan.tracks().map(|track| track.target).collect();
                // Of a restart of services the host is nobody's name: each service has its own.
                let service = |track: &model::Track| track.service.as_ref().map(|service| service.id);
                self.targets.extend(plan.tracks().map(|track| (service(track).unwrap_or(track.target), track.name.clone())));
                report.as_deref()
            }
            Entry::Acked { ack, .. } => ack.report.as_ref(),
            _ => None,
        };
        let children = report.and_then(|report| report.children()).unwrap_or_default();
        self.targets.extend(children.iter().map(|child| (child.child.id, child.child.name.clone())));
    }
}

impl Names {
    /// The host that an entry is about.
    fn host_of(&self, entry: &Entry) -> Option<TargetId> {
        let track = entry.track().or((self.hosts.len() == 1).then_some(0))?;
        self.hosts.get(track as usize).copied()
    }
}

/// What a target argument means (ruling 25).
pub(super) fn read_selector(text: &str) -> Result<Selector, ControlError> {
    Selector::parse([text]).map_err(|error| ControlError::Invalid(error.to_string()))
}
