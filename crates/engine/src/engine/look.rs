//! What people are told of the state, and what would come of a request.

use model::{Direction, OrchestrationId, Plan, Request, Step, StepAction, TargetId, TimeoutPolicy, Timestamp};

use super::Engine;
use crate::decision;
use crate::explain::{Blocker, Why};
use crate::fleet::Host;
use crate::guard::{Asks, Guard, Reserved, hard, lacks_checks};
use crate::input::Refusal;
use crate::journal::{Entry, Fact};
use crate::limits::{Limits, Usage};
use crate::orchestration::Orchestration;
use crate::planner::services::{Expected, expected};
use crate::schedule;
use crate::show;
use crate::view::{Holder, HostView, LockView, Preview, PreviewTrack, PreviewWave, TrackView, View};

impl Engine {
    pub(super) fn look<'a>(&'a self, it: &'a Orchestration, now: Timestamp, position: u64) -> decision::View<'a> {
        decision::View {
            config: &self.config,
            fleet: &self.fleet,
            heard: &self.heard,
            limits: self.limits(),
            orchestration: it,
            now,
            position,
            tally: None,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        self.limits.get_or_init(|| Limits::of(&self.config, &self.fleet))
    }

    pub(super) fn guard<'a>(&'a self, reserved: &'a Reserved, now: Timestamp) -> Guard<'a> {
        Guard {
            config: &self.config,
            fleet: &self.fleet,
            heard: &self.heard,
            limits: self.limits(),
            usage: Usage::default(),
            reserved,
            now,
        }
    }

    /// Hosts that open orchestrations work on or will; `but`: not those of this one.
    pub(super) fn reserved(&self, but: Option<OrchestrationId>) -> Reserved {
        // Whoever only asks keeps nobody from beginning before it.
        let open = self.open.values().filter(|o| Some(o.id) != but && !o.asks_only());
        let tracks = open.flat_map(|o| o.waiting.iter().chain(&o.running).map(move |track| (o, *track as usize)));
        tracks.filter_map(|(o, track)| Some((o.track_plan(track)?.target, (o.id, o.accepted_at)))).collect()
    }

    /// Why this request would not start now; empty exactly when it would. For one host; a rollout has [`Engine::preview`].
    pub fn explain(&self, request: &Request, now: Timestamp) -> Vec<Blocker> {
        self.blockers(request, self.time(now))
    }

    pub(super) fn blockers(&self, request: &Request, now: Timestamp) -> Vec<Blocker> {
        let reserved = self.reserved(None);
        self.guard(&reserved, now).blockers(request.target(), request, Asks::default())
    }

    /// What the first track that has not started waits for; empty when none waits.
    pub fn explain_waiting(&self, id: OrchestrationId, now: Timestamp) -> Vec<Blocker> {
        let first = self.open.get(&id).and_then(|o| o.waiting.first());
        first.map(|track| self.explain_track(id, *track, now)).unwrap_or_default()
    }

    /// What a track waits for, in order: the list that the scheduler goes by. Empty when it does not wait.
    pub fn explain_track(&self, id: OrchestrationId, track: u32, now: Timestamp) -> Vec<Blocker> {
        let Some(it) = self.open.get(&id) else { return Vec::new() };
        schedule::blockers(&self.look(it, self.time(now), self.position()), track)
    }

    /// What the request would lead to: waves, order, expected durations, what blocks each target and what cannot be taken back.
    ///
    /// # Errors
    /// What the request would be refused with.
    pub fn preview(&self, request: &Request, now: Timestamp) -> Result<Preview, Refusal> {
        let now = self.time(now);
        let plan = self.plan_for(request, now)?;
        let again = request.rollout.as_ref().and_then(|r| r.retry_of);
        let reserved = self.reserved(again);
        let guard = self.guard(&reserved, now);
        let track = |track: &model::Track| {
            let of_host = self.expected(track.target);
            let Expected { least, most } = match &track.service {
                Some(_) => expected(plan.steps(track)),
                None => Expected { least: of_host, most: of_host },
            };
            PreviewTrack {
                target: track.target,
                name: track.name.clone(),
                route: track.route,
                expected: least,
                expected_most: most,
                takes_up: track.unfinished.is_some(),
                service: track.service.clone(),
                after: track.after.clone(),
                steps: show::titles(plan.steps(track), Direction::Do),
                blockers: {
                    let mut list = guard.blockers(track.target, request, Asks::of(None, track, &self.fleet));
                    let report = self.heard.host(track.target).and_then(|heard| heard.report.as_ref());
                    let lacks = report.and_then(|report| lacks_checks(plan.steps(track), report));
                    list.extend(lacks.map(hard));
                    list
                },
            }
        };
        let wave = |wave: &model::Wave| PreviewWave { approval: wave.approval, tracks: wave.tracks.iter().map(track).collect() };
        Ok(Preview { waves: plan.waves.iter().map(wave).collect(), irreversible: irreversible(&plan) })
    }

    /// Whether a rollout of this row of retries, named by its first, has brought the host through already.
    pub fn is_done_by(&self, root: OrchestrationId, host: TargetId) -> bool {
        self.fleet.hosts.get(&host).is_some_and(|h| h.is_done_by(root))
    }

    /// What a track on this host is expected to take.
    pub(super) fn expected(&self, target: TargetId) -> model::Millis {
        self.fleet.hosts.get(&target).and_then(Host::expected).unwrap_or(self.config.rollout.expected)
    }

    /// One open orchestration, or one that ended in this process's life.
    pub fn view(&self, id: OrchestrationId) -> Option<View> {
        self.orchestration(id).map(show::orchestration)
    }

    pub(super) fn orchestration(&self, id: OrchestrationId) -> Option<&Orchestration> {
        self.open.get(&id).or_else(|| self.ended.get(&id))
    }

    /// All tracks of an orchestration that is open, or ended in this process's life.
    pub fn tracks(&self, id: OrchestrationId) -> Vec<TrackView> {
        let Some(it) = self.orchestration(id) else { return Vec::new() };
        (0..it.tracks.len()).filter_map(|index| show::track(it, index)).collect()
    }

    /// One of them.
    pub fn track(&self, id: OrchestrationId, index: u32) -> Option<TrackView> {
        show::track(self.orchestration(id)?, index as usize)
    }

    /// The host that an entry of an orchestration is about: its track's, or the only one.
    pub fn target_of(&self, id: OrchestrationId, entry: &Entry) -> Option<TargetId> {
        let it = self.orchestration(id)?;
        let track = entry.track().or((it.tracks.len() == 1).then_some(0))?;
        it.track_plan(track as usize).map(|plan| plan.target)
    }

    /// Orchestrations that are open.
    pub fn open(&self) -> impl Iterator<Item = OrchestrationId> {
        self.open.keys().copied()
    }

    /// Orchestrations whose journal could not be read, with the reason.
    pub fn unreadable(&self) -> impl Iterator<Item = (OrchestrationId, &str)> {
        self.unreadable.iter().map(|(id, why)| (*id, why.as_str()))
    }

    /// End of settling.
    pub fn settle_until(&self) -> Timestamp {
        self.fleet.settle_until
    }

    /// Who froze the fleet and why, if somebody did.
    pub fn frozen(&self) -> Option<crate::view::MarkView> {
        self.fleet.frozen.as_ref().map(show::mark)
    }

    /// Everything that is held, the longest held first (pain 1).
    pub fn locks(&self) -> Vec<LockView> {
        let host_of = |id: TargetId| (Some(id), self.fleet.hosts.get(&id).map(|h| h.name.clone()));
        let locks = self.fleet.locks.iter().map(|(id, lock)| {
            let (host, name) = host_of(*id);
            let reason = self.open.get(&lock.orchestration).map_or_else(
                || "its orchestration cannot be read: acknowledge the host to let go of it".to_owned(),
                |o| format!("{} by {}", o.request.operation, o.request.by),
            );
            LockView {
                holder: Holder::Orchestration { orchestration: lock.orchestration },
                host,
                name,
                since: lock.since,
                reason,
            }
        });
        let held = self.fleet.hosts.iter().filter_map(|(id, h)| {
            let mark = h.held.as_ref()?;
            let (host, name) = host_of(*id);
            let holder = Holder::Person { by: mark.by.clone() };
            Some(LockView { holder, host, name, since: mark.since, reason: mark.reason.clone() })
        });
        let slots = self.fleet.slots.iter().map(|((group, holder), mark)| {
            let (host, name) = self.fleet.by_id_text(holder).map_or((None, None), host_of);
            let held = Holder::Slot { group: group.clone(), holder: holder.clone() };
            LockView { holder: held, host, name, since: mark.since, reason: mark.reason.clone() }
        });
        let mut list: Vec<LockView> = locks.chain(held).chain(slots).collect();
        list.sort_by_key(|lock| lock.since);
        list
    }

    /// All hosts, by name.
    pub fn hosts(&self, now: Timestamp) -> Vec<HostView> {
        let mut list: Vec<HostView> = self.fleet.hosts.keys().filter_map(|id| self.host(*id, now)).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// The host that a client of `FleetLock` means by its id.
    pub fn host_of_holder(&self, holder: &str) -> Option<TargetId> {
        self.fleet.by_id_text(holder)
    }

    /// The name of a host or child, where it is known.
    pub fn name_of(&self, id: TargetId) -> Option<String> {
        if let Some(host) = self.fleet.hosts.get(&id) {
            return Some(host.name.clone());
        }
        let in_orchestration = || self.open.values().chain(self.ended.values()).find_map(|o| o.name_of(id)).map(str::to_owned);
        if id == TargetId::CONTROLLER {
            return Some("the controller".to_owned());
        }
        in_orchestration().or_else(|| self.fleet.stranded.get(&id).map(|s| s.name.clone()))
    }

    /// The name of a host or child in an entry: a child of its own track is found there, without looking through all of them.
    pub fn name_in(&self, fact: &Fact, id: TargetId) -> Option<String> {
        let own = match fact {
            Fact::Orchestration(of, record) => self.orchestration(*of).zip(record.entry.track()),
            Fact::Fleet(_) => None,
        };
        let child = own.and_then(|(it, track)| it.tracks.get(track as usize)?.children.get(&id));
        child.map(|child| child.child.name.clone()).or_else(|| self.name_of(id))
    }

    /// One host.
    pub fn host(&self, id: TargetId, now: Timestamp) -> Option<HostView> {
        let reserved = self.open.values().find(|o| o.is_open_on(id)).map(|o| o.id);
        let mut view = show::host(&self.config, &self.fleet, &self.heard, id, self.time(now))?;
        view.active_orchestration = view.active_orchestration.or(reserved);
        if let Some(why) = view.active_orchestration.and_then(|id| self.unreadable.get(&id)) {
            view.stranded.get_or_insert_with(|| format!("the journal of the orchestration that holds it cannot be read: {why}"));
        }
        Some(view)
    }
}

/// What cannot be taken back once it is done.
fn irreversible(plan: &Plan) -> Vec<String> {
    let steps = || plan.lists.iter().flatten();
    let has = |is: fn(&Step) -> bool| steps().any(is);
    let mut list = Vec::new();
    if has(|s| matches!(s.action, StepAction::Reboot { .. })) {
        list.push("a reboot that was handed over is not taken back; recovery goes on".to_owned());
    }
    if has(|s| matches!(s.action, StepAction::Run { .. })) {
        list.push("a command that was handed over is neither taken back nor cut off".to_owned());
    }
    for step in steps() {
        if let StepAction::Migrate { migrate, .. } = &step.action {
            list.push(format!("a migration is not undone: {migrate}"));
        }
    }
    if has(|s| matches!(s.action, StepAction::Shutdown { .. })) {
        list.push("a host that was shut down is not switched on again by itself".to_owned());
    }
    if has(|s| matches!(s.action, StepAction::Stop { on_timeout: TimeoutPolicy::ForceStop, .. })) {
        list.push("children that do not stop in time are cut off".to_owned());
    }
    if has(|s| matches!(s.action, StepAction::Stop { on_timeout: TimeoutPolicy::Proceed, .. })) {
        list.push("children that do not stop in time go down with their host".to_owned());
    }
    if has(|s| matches!(s.action, StepAction::Drain { on_timeout: model::DrainPolicy::Force, .. })) {
        list.push("work that does not drain in time is cut off".to_owned());
    }
    list
}

/// Blockers that a rollout is not accepted with: for the others its tracks wait, or end.
pub(super) fn refuses(why: &Why) -> bool {
    matches!(
        why,
        Why::UnknownTarget
            | Why::NotApproved
            | Why::Locked { on: None, .. }
            | Why::SameMachine { .. }
            | Why::LimitImpossible { .. }
    )
}
