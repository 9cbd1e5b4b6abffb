//! What people and programs ask for.

use model::broken::{self, Rule};
use model::{Actor, Millis, Operation, OrchestrationId, Plan, Request, TargetId, Timestamp};

use super::Engine;
use super::look::refuses;
use crate::explain::Why;
use crate::fleet::{Host, Mark};
use crate::flow::left_behind;
use crate::guard::{Asks, Reserved};
use crate::input::{Input, Refusal, Reply, TargetBlockers};
use crate::journal::{Entry, Fact, FleetEntry, Outcome};
use crate::planner;
use crate::planner::rollout::Candidate;
use crate::track::TrackState;

/// So many targets that can never start are named.
const REFUSED_MAX: usize = 100;

impl Engine {
    /// Inputs that do not come from devices or time.
    pub(super) fn asked(&mut self, input: Input, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        match input {
            Input::Enrol { host, name, machine_id, public_key, labels } => {
                let entry = FleetEntry::HostEnrolled { host, name, machine_id, public_key, labels };
                self.fleet_fact(entry, Actor::System, now, facts);
                Reply::Noted
            }
            Input::Approve { host, by } => match self.fleet.hosts.get(&host) {
                None => Reply::Refused(Refusal::UnknownTarget),
                Some(known) if known.approved => Reply::Refused(Refusal::NothingToDo),
                Some(_) => {
                    self.fleet_fact(FleetEntry::HostApproved { host }, by, now, facts);
                    self.seen_before(host, now, facts);
                    Reply::Noted
                }
            },
            Input::Adopt { host, name, address, labels, by } => {
                let same = |h: &Host| {
                    let said = (&h.name, h.address.as_ref(), &h.labels, h.adopted_by.as_ref());
                    said == (&name, Some(&address), &labels, Some(&by))
                };
                if !self.fleet.hosts.get(&host).is_some_and(same) {
                    let entry = FleetEntry::HostAdopted { host, name, address, labels };
                    self.fleet_fact(entry, by, now, facts);
                }
                Reply::Noted
            }
            Input::Remove { host, by } => self.remove(host, by, now, facts),
            Input::Unlist { host, by } => self.unlist(host, by, now, facts),
            Input::Submit { id, request } => self.submit(id, request, now, facts),
            Input::Cancel { id, by } => self.cancel(id, by, now, facts),
            Input::Pause { id, by, reason } => match self.open.get(&id) {
                None => Reply::Refused(Refusal::NotActive),
                Some(it) if it.paused.is_some() || it.waiting.is_empty() => Reply::Refused(Refusal::NothingToDo),
                Some(_) => {
                    self.own_fact(id, Entry::Paused { reason }, by, now, facts);
                    Reply::Noted
                }
            },
            Input::Resume { id, by } => match self.open.get(&id) {
                None => Reply::Refused(Refusal::NotActive),
                Some(it) if it.paused.is_none() => Reply::Refused(Refusal::NothingToDo),
                Some(it) => {
                    // Whoever ends the pause of a person does not thereby accept failures that nobody was told of (G4).
                    let told = it.paused.as_ref().is_some_and(|mark| mark.by == Actor::System);
                    let accepted = if told && it.is_over_budget() { it.failures } else { 0 };
                    self.own_fact(id, Entry::Resumed { accepted }, by, now, facts);
                    Reply::Noted
                }
            },
            Input::Agree { id, by } => match self.open.get(&id).map(|it| (it, it.wave_now())) {
                None => Reply::Refused(Refusal::NotActive),
                Some((it, Some(wave))) if it.wants_approval(wave) => {
                    self.own_fact(id, Entry::Agreed { wave }, by, now, facts);
                    Reply::Noted
                }
                Some(_) => Reply::Refused(Refusal::NothingToDo),
            },
            Input::Freeze { by, reason } => {
                if let Some(refusal) = marked_by_another(self.fleet.frozen.as_ref(), &by) {
                    return Reply::Refused(refusal);
                }
                self.fleet_fact(FleetEntry::Frozen { reason }, by, now, facts);
                Reply::Noted
            }
            Input::Thaw { by } => {
                if self.fleet.frozen.is_none() {
                    return Reply::Refused(Refusal::NothingToDo);
                }
                self.fleet_fact(FleetEntry::Thawed, by, now, facts);
                Reply::Noted
            }
            Input::Hold { host, by, reason } => {
                let Some(known) = self.fleet.hosts.get(&host) else { return Reply::Refused(Refusal::UnknownTarget) };
                if let Some(refusal) = marked_by_another(known.held.as_ref(), &by) {
                    return Reply::Refused(refusal);
                }
                self.fleet_fact(FleetEntry::Held { host, reason }, by, now, facts);
                Reply::Noted
            }
            Input::Release { host, by } => match self.fleet.hosts.get(&host) {
                None => Reply::Refused(Refusal::UnknownTarget),
                Some(known) if known.held.is_none() => Reply::Refused(Refusal::NothingToDo),
                Some(_) => {
                    self.fleet_fact(FleetEntry::Released { host }, by, now, facts);
                    Reply::Noted
                }
            },
            Input::TakeSlot { group, holder, by } => self.take_slot(group, holder, by, now, facts),
            Input::GiveSlot { group, holder, by } => {
                let key = (group, holder);
                if self.fleet.slots.contains_key(&key) {
                    let (group, holder) = key;
                    self.fleet_fact(FleetEntry::SlotGiven { group, holder }, by, now, facts);
                } else if self.limits().named(&key.0).is_none() {
                    return Reply::Refused(Refusal::UnknownGroup { group: key.0 });
                }
                Reply::Noted
            }
            Input::Acknowledge { target, by } => self.acknowledge(target, by, now, facts),
            // Taken where devices and time are.
            Input::Started { .. } | Input::Reported { .. } | Input::Acked { .. } | Input::Gone { .. } | Input::Tick => {
                Reply::Noted
            }
        }
    }

    fn submit(&mut self, id: OrchestrationId, request: Request, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        if self.open.contains_key(&id) || self.ended.contains_key(&id) {
            return Reply::Refused(Refusal::NothingToDo);
        }
        if request.operation.is_rolling() || request.operation == Operation::RestartServices {
            return self.submit_rollout(id, request, now, facts);
        }
        let mut blockers = self.blockers(&request, now);
        // Settling passes by itself within seconds: the plan is accepted and its track waits.
        blockers.retain(|b| b.why != Why::Settling);
        let heard = self.heard.host(request.target()).and_then(|h| h.report.clone());
        let (Some(report), true) = (heard, blockers.is_empty()) else {
            return Reply::Refused(Refusal::Blocked { blockers });
        };
        let child_count = report.children().unwrap_or_default().iter().filter(|c| c.status.is_up()).count();
        let by = request.by.clone();
        let entry = Entry::Accepted {
            plan: self.plan(&request),
            host_name: String::new(),
            report: Some(Box::new(report)),
            wait_until: now + self.patience(now),
            request,
        };
        self.own_fact(id, entry, by, now, facts);
        Reply::Accepted { id, child_count: u32::try_from(child_count).unwrap_or(u32::MAX) }
    }

    fn submit_rollout(&mut self, id: OrchestrationId, request: Request, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        let plan = match self.plan_for(&request, now) {
            Ok(plan) => plan,
            Err(refusal) => return Reply::Refused(refusal),
        };
        let by = request.by.clone();
        if let Some(old) = request.rollout.as_ref().and_then(|r| r.retry_of)
            && self.open.contains_key(&old)
        {
            // What it has not started goes over to this one.
            self.own_fact(old, Entry::CancelRequested, by.clone(), now, facts);
            self.advance(now, facts);
        }
        let entry =
            Entry::Accepted { plan, host_name: String::new(), report: None, wait_until: now + self.config.wait_limit, request };
        self.own_fact(id, entry, by, now, facts);
        Reply::Accepted { id, child_count: 0 }
    }

    /// The plan for a request, if it can be accepted.
    pub(super) fn plan_for(&self, request: &Request, now: Timestamp) -> Result<Plan, Refusal> {
        let again = request.rollout.as_ref().and_then(|r| r.retry_of);
        if let Some(old) = again.and_then(|old| self.open.get(&old))
            && !old.running.is_empty()
        {
            return Err(Refusal::StillRunning { orchestration: old.id });
        }
        let is_services = request.operation == Operation::RestartServices;
        if !request.operation.is_rolling() && !is_services {
            return Ok(self.plan(request));
        }
        let reserved: Reserved = self.reserved(again);
        let guard = self.guard(&reserved, now);
        let mut refused = Vec::new();
        for target in &request.targets {
            let mut blockers = guard.blockers(*target, request, Asks::default());
            // A command that some host can never run is refused whole, before it was run on the others.
            let is_run = request.operation == Operation::Run;
            let asks_only = request.operation == Operation::HealthCheck;
            let refused_by = |why: &Why| match why {
                Why::Unsupported { .. } => is_run || is_services,
                // Whoever only asks waits until the host is let go of, and is waited for.
                Why::Locked { .. } if asks_only || self.fleet.locks.get(target).is_some_and(|l| l.asks_only) => false,
                why => refuses(why),
            };
            blockers.retain(|b| refused_by(&b.why));
            if !blockers.is_empty() {
                let name = self.name_of(*target).unwrap_or_else(|| target.to_string());
                refused.push(TargetBlockers { target: *target, name, blockers });
            }
            if refused.len() >= REFUSED_MAX {
                break;
            }
        }
        if !refused.is_empty() {
            return Err(Refusal::TargetsBlocked { targets: refused });
        }
        let candidates = self.candidates(request);
        let bad = |reason: String| Refusal::BadPlan { reason };
        if is_services {
            return planner::services::plan(&self.config, request, &candidates).map_err(|error| bad(error.to_string()));
        }
        planner::rollout::plan(&self.config, request, &candidates).map_err(|error| bad(error.to_string()))
    }

    /// The plan that a request for one host would be accepted with; a rollout has [`Engine::preview`].
    pub fn plan(&self, request: &Request) -> Plan {
        let target = request.target();
        let route = self.fleet.hosts.get(&target).map_or(model::Route::Agent, |h| h.route);
        planner::host::plan(&self.config, request, self.name_of(target).unwrap_or_default(), route)
    }

    /// All hosts as the planner of rollouts looks at them.
    fn candidates(&self, request: &Request) -> Vec<Candidate<'_>> {
        let hosts = self.fleet.hosts.iter().filter(|(_, host)| host.was_approved);
        hosts.map(|(id, host)| self.candidate(request, *id, host)).collect()
    }

    fn candidate<'a>(&'a self, request: &Request, id: TargetId, host: &'a Host) -> Candidate<'a> {
        let report = self.heard.host(id).and_then(|heard| heard.report.as_ref());
        let again = request.rollout.as_ref().and_then(|r| r.retry_of.map(|old| r.root(old)));
        let unfinished = again.and_then(|root| match self.fleet.stranded_now(id) {
            Some(stranded) => Some(self.fleet.unfinished(stranded, host).unwrap_or_default().for_row(root)),
            None => host.left.clone().filter(|left| left.root == Some(root)),
        });
        Candidate {
            id,
            name: &host.name,
            address: host.address.as_deref(),
            labels: &host.labels,
            route: host.route,
            children: report.and_then(|r| r.children()).unwrap_or_default(),
            boot: host.boot.zip(host.instance),
            failures: host.recent_failures(),
            unfinished,
            own: self.fleet.is_own(host, self.config.own_host.as_deref()),
        }
    }

    /// How long an accepted plan for one host waits for admission. Nobody expects a reboot any more that was asked for long ago
    /// (E17): past settling, and the time in which every host is heard, the plan is given up.
    fn patience(&self, now: Timestamp) -> Millis {
        let settling = self.fleet.settle_until.since(now).0 + self.config.settling.0;
        Millis(self.config.wait_limit.0.min(settling + self.config.active_limit.0))
    }

    fn cancel(&mut self, id: OrchestrationId, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        let Some(it) = self.open.get(&id) else { return Reply::Refused(Refusal::NotActive) };
        let past = |t: &TrackState| t.boot_end_issued() && !broken::is(Rule::UnwindPastReboot);
        let left: Vec<&TrackState> = it.tracks.iter().filter(|t| t.ended.is_none() && t.unwinding.is_none()).collect();
        if it.cancelled_by.is_some() || left.is_empty() {
            return Reply::Refused(Refusal::NothingToDo);
        }
        if left.iter().all(|t| past(t)) {
            return Reply::Refused(Refusal::RebootAlreadyIssued);
        }
        if left.iter().all(|t| t.run_issued || t.service.is_past_return()) {
            return Reply::Refused(Refusal::CommandAlreadyIssued);
        }
        self.own_fact(id, Entry::CancelRequested, by, now, facts);
        Reply::Noted
    }

    /// The host leaves the fleet: its tracks end, and what held it lets go (pain 1, E35).
    fn remove(&mut self, host: TargetId, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        if !self.fleet.hosts.contains_key(&host) {
            return Reply::Refused(Refusal::UnknownTarget);
        }
        let open = self.open.values().flat_map(|o| o.tracks_on(host).iter().map(|track| (o.id, *track, o.position)));
        for (id, track, position) in open.collect::<Vec<_>>() {
            let Some(it) = self.open.get(&id) else { continue };
            let runs = it.running.contains(&track);
            if !runs && !it.waiting.contains(&track) {
                continue;
            }
            // Nobody can put it back any more: at least it is named (G7).
            let left = it.tracks.get(track as usize).map(left_behind).unwrap_or_default();
            if let Some(place) = it.tracks.get(track as usize).and_then(|t| t.current) {
                self.own_fact(id, Entry::StepEnded { place }, Actor::System, now, facts);
            }
            let outcome = if runs { Outcome::Failed } else { Outcome::Skipped };
            let reason = Some(format!("the host was removed from the fleet by {by}{left}"));
            self.own_fact(id, Entry::TrackEnded { track, outcome, reason }, Actor::System, now, facts);
            if self.fleet.locks.get(&host).is_some_and(|l| l.orchestration == id) {
                self.fleet_fact(FleetEntry::Unlocked { host, orchestration: id, position }, Actor::System, now, facts);
            }
        }
        let slots: Vec<_> = self.fleet.slots.keys().filter(|(_, holder)| self.fleet.by_id_text(holder) == Some(host)).collect();
        for (group, holder) in slots.into_iter().cloned().collect::<Vec<_>>() {
            self.fleet_fact(FleetEntry::SlotGiven { group, holder }, by.clone(), now, facts);
        }
        self.fleet_fact(FleetEntry::HostRemoved { host }, by, now, facts);
        self.heard.forget(host);
        Reply::Noted
    }

    /// It stays where it is while anything is open on it, or holds it: that must be ended first, or put back (G7).
    fn unlist(&mut self, host: TargetId, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        if !self.fleet.hosts.contains_key(&host) {
            return Reply::Refused(Refusal::UnknownTarget);
        }
        let stranded = self.fleet.stranded.values().any(|s| s.host == host && s.ended_at.is_none());
        let open = self.fleet.locks.contains_key(&host) || self.open.values().any(|it| it.is_open_on(host));
        if stranded || open {
            return Reply::Refused(Refusal::NothingToDo);
        }
        self.fleet_fact(FleetEntry::HostUnlisted { host }, by, now, facts);
        self.heard.forget(host);
        Reply::Noted
    }

    fn take_slot(&mut self, group: String, holder: String, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        if self.fleet.slots.contains_key(&(group.clone(), holder.clone())) {
            return Reply::Noted;
        }
        let reserved = Reserved::new();
        let guard = self.guard(&reserved, now);
        let Some((index, limit)) = guard.limits.named(&group) else { return Reply::Refused(Refusal::UnknownGroup { group }) };
        let blockers = guard.slot(index, limit, &holder);
        if !blockers.is_empty() {
            return Reply::Refused(Refusal::Blocked { blockers });
        }
        self.fleet_fact(FleetEntry::SlotTaken { group, holder }, by, now, facts);
        Reply::Noted
    }

    /// A person's word ends a stranded state and its alarm; it also lets go of what an unreadable orchestration holds.
    fn acknowledge(&mut self, target: TargetId, by: Actor, now: Timestamp, facts: &mut Vec<Fact>) -> Reply {
        let held = self.fleet.locks.get(&target).map(|l| l.orchestration).filter(|id| self.unreadable.contains_key(id));
        if self.fleet.hosts.get(&target).is_some_and(|h| h.off.is_some()) {
            self.fleet_fact(FleetEntry::HostStillOn { host: target }, by, now, facts);
            return Reply::Noted;
        }
        let Some(stranded) = self.fleet.stranded.get(&target) else {
            let Some(orchestration) = held else { return Reply::Refused(Refusal::NothingToDo) };
            let position = self.position();
            self.fleet_fact(FleetEntry::Unlocked { host: target, orchestration, position }, by, now, facts);
            return Reply::Noted;
        };
        let entry = if stranded.ended_at.is_some() {
            FleetEntry::AlarmAcknowledged { target }
        } else {
            let boot = self.heard.host(target).and_then(|h| h.report.as_ref()).map(|r| r.boot);
            FleetEntry::StrandedEnded { target, proven: false, boot }
        };
        self.fleet_fact(entry, by, now, facts);
        Reply::Noted
    }
}

/// A mark has one owner: whoever comes second would take away the first one's with their own.
fn marked_by_another(mark: Option<&Mark>, by: &Actor) -> Option<Refusal> {
    let mark = mark.filter(|mark| mark.by != *by)?;
    Some(Refusal::MarkedBy { by: mark.by.clone(), reason: mark.reason.clone() })
}
