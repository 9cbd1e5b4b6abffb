//! Looking: what the store and the engine know, limited to what one may see.

use std::collections::BTreeMap;

use async_stream::stream;
use engine::{Entry, Fact, HostView, View};
use futures_util::stream::BoxStream;
use model::{OrchestrationId, TargetId};
use tokio::sync::broadcast::error::RecvError;

use super::access::{Principal, parse_labels};
use super::records::{JournalLine, Watched};
use super::worker::stopped;
use super::{Control, ControlError, unavailable};
use crate::store::{AuditFilter, AuditLine, OrchestrationFilter, Page};

/// Looking. Of rights only the scope is checked here; call [`Control::authorize`] for the rest.
impl Control {
    /// The hosts that a selector means: an id, a name, or `label=value,…` (ruling 25), of those in scope; `None` is all in
    /// scope. Sorted by name.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] when a selector matches nothing; [`ControlError::Invalid`] when it cannot be read.
    pub async fn select(&self, who: &Principal, selector: Option<&str>) -> Result<Vec<HostView>, ControlError> {
        let wanted = selector.map(Selector::read).transpose()?;
        let scope = who.scope.clone();
        let look = move |engine: &engine::Engine, now| {
            let hosts = engine.hosts(now).into_iter();
            let hosts =
                hosts.filter(|host| scope.covers(&host.labels) && wanted.as_ref().is_none_or(|wanted| wanted.means(host)));
            hosts.collect::<Vec<_>>()
        };
        let mut hosts = self.query(look).await?;
        hosts.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        match selector {
            Some(selector) if hosts.is_empty() => Err(ControlError::NotFound(format!(
                "no host matches {selector:?}; `reveille hosts` lists those that you may see"
            ))),
            _ => Ok(hosts),
        }
    }

    /// Orchestrations on hosts in scope, newest first.
    ///
    /// # Errors
    /// [`ControlError::Unavailable`].
    pub async fn orchestrations(&self, who: &Principal, filter: OrchestrationFilter) -> Result<Page<View>, ControlError> {
        let hosts = self.hosts_of(who)?;
        self.shared.database.orchestrations(&filter, hosts.as_deref()).await.map_err(unavailable)
    }

    /// One orchestration, open or ended. One on a host outside the scope is not found.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Unavailable`].
    pub async fn orchestration(&self, who: &Principal, id: OrchestrationId) -> Result<View, ControlError> {
        Ok(self.orchestration_at(who, id).await?.1)
    }

    async fn orchestration_at(&self, who: &Principal, id: OrchestrationId) -> Result<(u64, View), ControlError> {
        let found = self.shared.database.orchestration(id).await.map_err(unavailable)?;
        let seen = match found {
            Some((sequence, view)) if who.scope.is_all() || self.directory()?.is_in(&who.scope, view.host) => {
                Some((sequence, view))
            }
            _ => None,
        };
        seen.ok_or_else(|| {
            ControlError::NotFound(format!("there is no orchestration {id}; `reveille orchestrations` lists them"))
        })
    }

    /// The journal of an orchestration in words, oldest first.
    ///
    /// # Errors
    /// As [`Control::orchestration`]; [`ControlError::Unavailable`] with the reason when the journal cannot be read.
    pub async fn journal(&self, who: &Principal, id: OrchestrationId) -> Result<Vec<JournalLine>, ControlError> {
        let view = self.orchestration(who, id).await?;
        let records = self.shared.database.journal(id).await.map_err(unavailable)?;
        let records = records.map_err(|error| ControlError::Unavailable(format!("the journal of {id} is damaged: {error}")))?;
        let mut names: BTreeMap<TargetId, String> =
            view.children.iter().map(|child| (child.child.id, child.child.name.clone())).collect();
        names.insert(view.host, view.host_name);
        // Those that did not run are not taken into it, but the boot may start them, so that they are stopped again.
        for record in &records {
            if let Entry::Accepted { report, .. } = &record.entry {
                names
                    .extend(report.children().unwrap_or_default().iter().map(|child| (child.child.id, child.child.name.clone())));
            }
        }
        let lines = records.into_iter().zip(0..).map(|(record, position)| {
            let (at, by) = (record.at, record.by.to_string());
            let fact = Fact::Orchestration(id, record);
            let text = engine::tell(&fact, &|target| names.get(&target).cloned());
            JournalLine { position, at, by, entry: engine::action_of(&fact).to_owned(), good: engine::is_good(&fact), text }
        });
        Ok(lines.collect())
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
    fn hosts_of(&self, who: &Principal) -> Result<Option<Vec<TargetId>>, ControlError> {
        if who.scope.is_all() {
            return Ok(None);
        }
        let directory = self.directory()?;
        Ok(Some(directory.hosts.keys().copied().filter(|host| directory.is_in(&who.scope, *host)).collect()))
    }
}

/// What a target argument means (ruling 25).
enum Selector {
    Id(TargetId),
    Name(String),
    Labels(model::Labels),
}

impl Selector {
    fn read(text: &str) -> Result<Self, ControlError> {
        let text = text.trim();
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        if text.contains('=') {
            return parse_labels(text).map(Self::Labels).ok_or_else(|| {
                ControlError::Invalid(format!("{text:?} is no selector: expected label=value,label=value with every label once"))
            });
        }
        if text.is_empty() {
            return Err(ControlError::Invalid("an empty selector: give an id, a name, or label=value".to_owned()));
        }
        Ok(Self::Name(text.to_owned()))
    }

    fn means(&self, host: &HostView) -> bool {
        match self {
            Self::Id(id) => host.id == *id,
            Self::Name(name) => host.name == *name,
            Self::Labels(labels) => labels.iter().all(|(key, value)| host.labels.get(key) == Some(value)),
        }
    }
}
