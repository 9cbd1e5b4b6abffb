//! Rollouts: a whole fleet at once. Rights are judged on every one of its hosts (G10).

use std::collections::{BTreeMap, BTreeSet};

use engine::{HostView, Input, Preview, Refusal, Reply, TrackView};
use model::{Operation, Options, OrchestrationId, Request, Rollout, RolloutOptions, Selector, TargetId};

use super::access::{Permission, Principal};
use super::hosts::checked_reason;
use super::records::{NewRollout, Started};
use super::secret::new_id;
use super::{Control, ControlError, unavailable};
use crate::store::{TrackFilter, TrackPage};

impl Control {
    /// Starts a rollout. Needs [`Permission::RebootHost`] for every host, and [`Permission::Force`] when forced.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] when nobody is named, or somebody twice; [`ControlError::NotFound`] for a word that names nobody;
    /// [`ControlError::Refused`] with the engine's reasons (audited); rights; [`ControlError::Unavailable`].
    pub async fn start_rollout(&self, by: &Principal, new: &NewRollout) -> Result<Started, ControlError> {
        let request = self.rollout_request(by, new).await?;
        self.submit_rollout(by, request).await
    }

    /// What it would do: the rollout as it would be, and the plan or why it would be refused. Rights as for the start.
    ///
    /// # Errors
    /// As [`Control::start_rollout`], but for what the engine refuses.
    pub async fn preview(&self, by: &Principal, new: &NewRollout) -> Result<(Request, Result<Preview, Refusal>), ControlError> {
        let request = self.rollout_request(by, new).await?;
        self.previewed(request).await
    }

    /// Takes up what an ended or a paused rollout has left: its failed, skipped, cancelled and not started hosts. The paused one
    /// ends first. Options that are not given are as they were. Rights as for the start.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] when it is neither ended nor paused, or has left nothing; else as [`Control::start_rollout`].
    pub async fn retry(
        &self,
        by: &Principal,
        id: OrchestrationId,
        said: &RolloutOptions,
        force: Option<model::Force>,
    ) -> Result<Started, ControlError> {
        let request = self.retry_request(by, id, said, force).await?;
        self.submit_rollout(by, request).await
    }

    /// What that would do, as [`Control::preview`]. A paused one stays as it is.
    ///
    /// # Errors
    /// As [`Control::retry`], but for what the engine refuses.
    pub async fn preview_retry(
        &self,
        by: &Principal,
        id: OrchestrationId,
        said: &RolloutOptions,
        force: Option<model::Force>,
    ) -> Result<(Request, Result<Preview, Refusal>), ControlError> {
        let request = self.retry_request(by, id, said, force).await?;
        self.previewed(request).await
    }

    pub(super) async fn previewed(&self, request: Request) -> Result<(Request, Result<Preview, Refusal>), ControlError> {
        let asked = request.clone();
        let preview = self.query(move |engine, now| engine.preview(&asked, now)).await?;
        Ok((request, preview))
    }

    async fn retry_request(
        &self,
        by: &Principal,
        id: OrchestrationId,
        said: &RolloutOptions,
        force: Option<model::Force>,
    ) -> Result<Request, ControlError> {
        let view = self.orchestration(by, id).await?;
        let Some(before) = view.rollout else {
            return Err(ControlError::Conflict("this is no rollout: ask for the reboot of its host again".to_owned()));
        };
        if !view.operation.ends_boot() {
            let text = match view.operation {
                Operation::HealthCheck => "a health check leaves nothing undone: ask anew",
                _ => "a command is never run again by itself: run it anew, on the hosts that you name",
            };
            return Err(ControlError::Conflict(text.to_owned()));
        }
        if view.outcome.is_none() && view.paused.is_none() {
            return Err(ControlError::Conflict("it still goes on: pause or cancel it first".to_owned()));
        }
        let left = self.shared.database.track_hosts(id).await.map_err(unavailable)?;
        let undone = |outcome: &Option<String>| !matches!(outcome.as_deref(), Some("completed" | "not_needed"));
        let known = self.directory()?;
        let targets: Vec<TargetId> = left
            .into_iter()
            .filter(|(host, outcome)| undone(outcome) && known.hosts.contains_key(host))
            .map(|(host, _)| host)
            .collect();
        let root = before.root(id);
        // What an earlier retry has brought through is not done once more.
        let targets = self
            .query(move |engine, _| {
                let left = |host: &TargetId| !engine.is_done_by(root, *host);
                targets.into_iter().filter(left).collect::<Vec<_>>()
            })
            .await?;
        if targets.is_empty() {
            return Err(ControlError::Conflict("it has left nothing undone".to_owned()));
        }
        self.authorize_all(by, &targets, force.as_ref()).await?;
        let rollout = self.shared.engine.rollout_of(&filled(said, &before), Some(id));
        let rollout = Rollout { root: Some(root), ..rollout };
        let options =
            Options { shutdown_timeout: view.shutdown_timeout, on_timeout: view.on_timeout, strict: view.strict, force };
        let operation = Operation::RollingReboot;
        Ok(Request { targets, operation, options, rollout: Some(rollout), run: None, wait: None, services: None, by: by.actor() })
    }

    /// Names of the drains, checks and windows that a rollout uses for this host.
    pub fn used_by_rollouts(&self, host: &HostView) -> (Vec<String>, Vec<String>, Vec<String>) {
        self.shared.engine.used_for(host.id, &host.name, &host.labels)
    }

    /// Nothing new starts in it; what runs goes on. Needs [`Permission::RebootHost`] for every host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when it is over or paused; [`ControlError::Invalid`] without a reason; rights; an unknown id.
    pub async fn pause(&self, by: &Principal, id: OrchestrationId, reason: &str) -> Result<(), ControlError> {
        self.authorize_on(by, id).await?;
        let reason = checked_reason(reason)?;
        self.noted(by, "pause", None, Input::Pause { id, by: by.actor(), reason }, None).await
    }

    /// It goes on; where its budget paused it, the failures so far are accepted. Needs [`Permission::RebootHost`] for every host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when it is over or not paused; rights; an unknown id.
    pub async fn resume(&self, by: &Principal, id: OrchestrationId) -> Result<(), ControlError> {
        self.authorize_on(by, id).await?;
        self.noted(by, "resume", None, Input::Resume { id, by: by.actor() }, None).await
    }

    /// Agrees to the wave that waits for it. Needs [`Permission::RebootHost`] for every host.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when none waits; rights; an unknown id.
    pub async fn agree(&self, by: &Principal, id: OrchestrationId) -> Result<(), ControlError> {
        self.authorize_on(by, id).await?;
        self.noted(by, "agree", None, Input::Agree { id, by: by.actor() }, None).await
    }

    /// Tracks of an orchestration, by index.
    ///
    /// # Errors
    /// As [`Control::orchestration`].
    pub async fn tracks(&self, who: &Principal, id: OrchestrationId, filter: &TrackFilter) -> Result<TrackPage, ControlError> {
        self.orchestration(who, id).await?;
        self.shared.database.tracks(id, filter).await.map_err(unavailable)
    }

    /// One track, with what keeps it from starting: the list that the scheduler goes by (pain 13).
    ///
    /// # Errors
    /// As [`Control::orchestration`]; [`ControlError::NotFound`].
    pub async fn track(
        &self,
        who: &Principal,
        id: OrchestrationId,
        index: u32,
    ) -> Result<(TrackView, Vec<engine::Blocker>), ControlError> {
        self.orchestration(who, id).await?;
        let track = self.shared.database.track(id, index).await.map_err(unavailable)?;
        let track = track.ok_or_else(|| ControlError::NotFound(format!("orchestration {id} has no track {index}")))?;
        let blockers = match track.outcome {
            None => self.query(move |engine, now| engine.explain_track(id, index, now)).await?,
            Some(_) => Vec::new(),
        };
        Ok((track, blockers))
    }

    /// Whether one may do something with every host of an orchestration.
    pub(super) async fn authorize_on(&self, by: &Principal, id: OrchestrationId) -> Result<engine::View, ControlError> {
        let view = self.orchestration(by, id).await?;
        let mut hosts: Vec<TargetId> =
            self.shared.database.track_hosts(id).await.map_err(unavailable)?.into_iter().map(|(host, _)| host).collect();
        if hosts.is_empty() {
            hosts.push(view.host);
        }
        // One that was removed meanwhile is nobody's any more.
        let known = self.directory()?;
        hosts.retain(|host| known.hosts.contains_key(host));
        self.authorize(by, Permission::RebootHost, None).await?;
        for host in hosts {
            self.authorize(by, Permission::RebootHost, Some(host)).await?;
        }
        Ok(view)
    }

    async fn authorize_all(
        &self,
        by: &Principal,
        targets: &[TargetId],
        force: Option<&model::Force>,
    ) -> Result<(), ControlError> {
        for target in targets {
            self.authorize(by, Permission::RebootHost, Some(*target)).await?;
        }
        if let Some(force) = force {
            self.authorize(by, Permission::Force, None).await?;
            checked_reason(&force.reason)?;
        }
        Ok(())
    }

    pub(super) async fn submit_rollout(&self, by: &Principal, request: Request) -> Result<Started, ControlError> {
        let id = OrchestrationId(new_id(self.now())?);
        match self.ask(Input::Submit { id, request }, None).await? {
            Reply::Accepted { id, .. } => {
                let view = self.orchestration(by, id).await?;
                Ok(Started { id, targets: view.counts.total, waves: view.waves })
            }
            Reply::Noted => Err(ControlError::Unavailable(
                "the engine did not say whether it accepted: look at the orchestrations".to_owned(),
            )),
            Reply::Refused(refusal) => Err(self.engine_refused(by, "submit", None, refusal)),
        }
    }

    async fn rollout_request(&self, by: &Principal, new: &NewRollout) -> Result<Request, ControlError> {
        self.authorize(by, Permission::RebootHost, None).await?;
        self.outside(by, &new.targets)?;
        let hosts = self.named(by, &new.targets).await?;
        let targets: Vec<TargetId> = hosts.iter().map(|host| host.id).collect();
        self.authorize_all(by, &targets, new.force.as_ref()).await?;
        let config = &self.shared.engine;
        let options = Options {
            shutdown_timeout: new.shutdown_timeout.unwrap_or(config.rollout.shutdown_timeout),
            on_timeout: new.on_timeout.unwrap_or(config.rollout.on_timeout),
            strict: new.strict,
            force: new.force.clone(),
        };
        let rollout = config.rollout_of(&new.options, None);
        Ok(Request {
            targets,
            operation: Operation::RollingReboot,
            options,
            rollout: Some(rollout),
            run: None,
            wait: None,
            services: None,
            by: by.actor(),
        })
    }

    /// Writes down that somebody named hosts outside their scope (G10). What they are told is that there is no such host: names
    /// are not for everybody.
    pub(super) fn outside(&self, by: &Principal, words: &[String]) -> Result<(), ControlError> {
        if by.scope.is_all() {
            return Ok(());
        }
        let words: BTreeSet<&str> = words.iter().flat_map(|words| words.split_whitespace()).collect();
        let directory = self.directory()?;
        for (host, known) in &directory.hosts {
            if (words.contains(known.name.as_str()) || words.contains(host.to_string().as_str()))
                && !by.scope.covers(&known.labels)
            {
                let error = ControlError::Forbidden { permission: Permission::RebootHost, outside_scope: true };
                self.refused(&by.name, "submit", Some(*host), &format!("host {}: {error}", known.name));
            }
        }
        Ok(())
    }

    /// The hosts that these words name, of those in scope, by name.
    ///
    /// # Errors
    /// [`ControlError::Invalid`] when there is no word, one cannot be read, or a host is named twice; [`ControlError::NotFound`]
    /// for a word that names nobody.
    pub async fn named(&self, who: &Principal, words: &[String]) -> Result<Vec<HostView>, ControlError> {
        if words.iter().all(|word| word.trim().is_empty()) {
            let text =
                "no host is named: give names, label=value, or '*' for all of them; nothing is ever meant by leaving it out";
            return Err(ControlError::Invalid(text.to_owned()));
        }
        let selector =
            Selector::parse(words.iter().map(String::as_str)).map_err(|error| ControlError::Invalid(error.to_string()))?;
        let hosts = self.selected(who, Some(selector)).await?;
        // A pattern may well meet what a name means too; two names for one host are a slip.
        let mut meant: BTreeMap<TargetId, &str> = BTreeMap::new();
        let by_id: BTreeMap<TargetId, &HostView> = hosts.iter().map(|host| (host.id, host)).collect();
        let by_name: BTreeMap<&str, &HostView> = hosts.iter().map(|host| (host.name.as_str(), host)).collect();
        for word in words.iter().flat_map(|words| words.split_whitespace()) {
            let id = word.parse::<TargetId>().ok();
            let Some(host) = by_name.get(word).or_else(|| by_id.get(&id?)) else { continue };
            if let Some(before) = meant.insert(host.id, word) {
                let text = format!("host {} is named twice, as {before:?} and {word:?}: name each host once", host.name);
                return Err(ControlError::Invalid(text));
            }
        }
        Ok(hosts)
    }
}

/// What was said, and for the rest what held before.
fn filled(said: &RolloutOptions, before: &Rollout) -> RolloutOptions {
    let mut windows = before.windows.clone();
    windows.extend(said.windows.iter().cloned());
    RolloutOptions {
        canary: Some(said.canary.unwrap_or(before.canary)),
        stages: Some(said.stages.clone().unwrap_or_else(|| before.stages.clone())),
        concurrency: Some(said.concurrency.unwrap_or(before.concurrency)),
        failure_budget: Some(said.failure_budget.unwrap_or(before.failure_budget)),
        canary_failure_budget: said.canary_failure_budget.or(before.canary_failure_budget),
        approval: Some(said.approval.unwrap_or(before.approval)),
        drains: Some(said.drains.clone().unwrap_or_else(|| before.drains.clone())),
        drain_limit: Some(said.drain_limit.unwrap_or(before.drain_limit)),
        on_drain_timeout: Some(said.on_drain_timeout.unwrap_or(before.on_drain_timeout)),
        checks: Some(said.checks.clone().unwrap_or_else(|| before.checks.clone())),
        soak: Some(said.soak.unwrap_or(before.soak)),
        windows,
        stagger: Some(said.stagger.unwrap_or(before.stagger)),
        jitter: Some(said.jitter.unwrap_or(before.jitter)),
        only_if_required: Some(said.only_if_required.unwrap_or(before.only_if_required)),
    }
}
