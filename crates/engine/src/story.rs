//! The journal in words: one sentence per fact, for people and for the audit log.

use model::{Action, Actor, Check, Command, Direction, Millis, ServiceVerb, TargetId};

use crate::journal::{Entry, Fact, FleetEntry, Outcome};
use crate::show;
use crate::track::is_of_the_way;

/// The name of a fact's kind, as it stands in the audit log: `step_started`.
pub fn action_of(fact: &Fact) -> &'static str {
    match fact {
        Fact::Fleet(r) => match r.entry {
            FleetEntry::ControllerStarted { .. } => "controller_started",
            FleetEntry::HostEnrolled { .. } => "host_enrolled",
            FleetEntry::HostApproved { .. } => "host_approved",
            FleetEntry::HostAdopted { .. } => "host_adopted",
            FleetEntry::HostRemoved { .. } => "host_removed",
            FleetEntry::HostUnlisted { .. } => "host_unlisted",
            FleetEntry::Held { .. } => "held",
            FleetEntry::Released { .. } => "released",
            FleetEntry::Frozen { .. } => "frozen",
            FleetEntry::Thawed => "thawed",
            FleetEntry::SlotTaken { .. } => "slot_taken",
            FleetEntry::SlotGiven { .. } => "slot_given",
            FleetEntry::HostWorked { .. } => "host_worked",
            FleetEntry::HostSeen { .. } => "host_seen",
            FleetEntry::HostSilent { .. } => "host_silent",
            FleetEntry::HostOff { .. } => "host_off",
            FleetEntry::HostStillOn { .. } => "host_still_on",
            FleetEntry::LateAck { .. } => "late_ack",
            FleetEntry::Locked { .. } => "locked",
            FleetEntry::Unlocked { .. } => "unlocked",
            FleetEntry::BootEndCommanded { .. } => "boot_end_commanded",
            FleetEntry::Stranded { .. } => "stranded",
            FleetEntry::StrandedEnded { .. } => "stranded_ended",
            FleetEntry::AlarmAcknowledged { .. } => "alarm_acknowledged",
        },
        Fact::Orchestration(_, r) => match r.entry {
            Entry::Accepted { .. } => "accepted",
            Entry::Paused { .. } => "paused",
            Entry::Resumed { .. } => "resumed",
            Entry::Agreed { .. } => "agreed",
            Entry::TrackStarted { .. } => "track_started",
            Entry::TrackPutOff { .. } => "track_put_off",
            Entry::StepStarted { .. } => "step_started",
            Entry::CommandIssued { .. } => "command_issued",
            Entry::Acked { .. } => "acked",
            Entry::HostGone { .. } => "host_gone",
            Entry::DeadlinePassed { .. } => "deadline_passed",
            Entry::ForceStarted { .. } => "force_started",
            Entry::StepEnded { .. } => "step_ended",
            Entry::CancelRequested => "cancel_requested",
            Entry::UnwindStarted { .. } => "unwind_started",
            Entry::TrackEnded { .. } => "track_ended",
            Entry::Ended { .. } => "ended",
        },
    }
}

/// Whether the fact tells of something done, rather than of something refused or failed.
pub fn is_good(fact: &Fact) -> bool {
    match fact {
        Fact::Fleet(r) => {
            !matches!(r.entry, FleetEntry::Stranded { .. } | FleetEntry::HostSilent { .. } | FleetEntry::HostStillOn { .. })
        }
        Fact::Orchestration(_, r) => match &r.entry {
            Entry::Acked { ack, .. } => ack.error.is_none(),
            Entry::DeadlinePassed { .. } | Entry::UnwindStarted { .. } => false,
            Entry::Paused { .. } => r.by != Actor::System,
            Entry::TrackEnded { outcome, .. } | Entry::Ended { outcome, .. } => {
                matches!(outcome, Outcome::Completed | Outcome::Partial | Outcome::NotNeeded)
            }
            _ => true,
        },
    }
}

/// One sentence that tells what happened. `name` gives the name of a target, where it is known; `host` is the one that the fact is
/// about, if it is about one: what is done from where the engine runs is done for a host.
pub fn tell(fact: &Fact, host: Option<TargetId>, name: &dyn Fn(TargetId) -> Option<String>) -> String {
    let plain = |id: TargetId| name(id).unwrap_or_else(|| id.to_string());
    let named = |id: &TargetId| match host {
        _ if *id != TargetId::CONTROLLER => plain(*id),
        Some(host) => format!("{} from the controller", plain(host)),
        None => "the controller".to_owned(),
    };
    match fact {
        Fact::Fleet(r) => tell_fleet(&r.entry, &named),
        Fact::Orchestration(_, r) => tell_own(&r.entry, &named),
    }
}

fn tell_fleet(entry: &FleetEntry, named: &dyn Fn(&TargetId) -> String) -> String {
    match entry {
        FleetEntry::ControllerStarted { epoch, lease, settle_until, .. } => {
            format!("controller started (epoch {epoch}, lease {lease}); settling until {settle_until}")
        }
        FleetEntry::HostEnrolled { name, machine_id, .. } => {
            format!("host {name} enrolled (machine {machine_id}); it waits for approval")
        }
        FleetEntry::HostApproved { host } => format!("host {} approved", named(host)),
        FleetEntry::HostAdopted { name, address, .. } => format!("host {name} is reached over SSH at {address}"),
        FleetEntry::HostRemoved { host } => format!("host {} was removed from the fleet", named(host)),
        FleetEntry::HostUnlisted { host } => format!("host {} is in the inventory no more", named(host)),
        FleetEntry::Held { host, reason } => format!("host {} is out of use: {reason}", named(host)),
        FleetEntry::Released { host } => format!("host {} may be used again", named(host)),
        FleetEntry::Frozen { reason } => format!("the fleet is frozen: {reason}"),
        FleetEntry::Thawed => "the fleet is no longer frozen".to_owned(),
        FleetEntry::SlotTaken { group, holder } => format!("{holder} has a slot of limit group {group}"),
        FleetEntry::SlotGiven { group, holder } => format!("the slot of {holder} in limit group {group} is free"),
        FleetEntry::HostWorked { host, outcome, took, .. } => {
            format!("work on host {} {outcome} after {}", named(host), Millis(took.0.next_multiple_of(1000)))
        }
        FleetEntry::HostSeen { host, boot, .. } => format!("host {} is heard, on boot {}", named(host), boot.boot_id()),
        FleetEntry::HostSilent { host } => format!("host {} is silent", named(host)),
        FleetEntry::HostOff { host, .. } => format!("host {} is off", named(host)),
        FleetEntry::LateAck { host, detail, .. } => format!("too late for its orchestration, {} says: {detail}", named(host)),
        FleetEntry::HostStillOn { host } => format!("host {} is on after all: its shutdown did not happen", named(host)),
        FleetEntry::Locked { host, orchestration, .. } => format!("host {} is held by {orchestration}", named(host)),
        FleetEntry::Unlocked { host, orchestration, .. } => format!("{orchestration} lets go of host {}", named(host)),
        FleetEntry::BootEndCommanded { host, .. } => {
            format!("a commanded end of the boot of {} counts for its lockout", named(host))
        }
        FleetEntry::Stranded { name, reason, .. } => format!("{name} is stranded: {reason}"),
        FleetEntry::StrandedEnded { target, proven: true, .. } => {
            format!("{} is back, with proof; its alarm stays", named(target))
        }
        FleetEntry::StrandedEnded { target, proven: false, .. } => {
            format!("a person ended the stranded state of {}", named(target))
        }
        FleetEntry::AlarmAcknowledged { target } => format!("the alarm of {} is acknowledged", named(target)),
    }
}

fn tell_own(entry: &Entry, named: &dyn Fn(&TargetId) -> String) -> String {
    match entry {
        Entry::Accepted { request, plan, host_name, report, .. } => {
            let forced = request.options.force.as_ref().map(|f| format!("; forced: {}", f.reason)).unwrap_or_default();
            let Some(report) = report else {
                let (targets, waves) = (plan.tracks().count(), plan.waves.len());
                if request.services.is_some() {
                    let many = if targets == 1 { "" } else { "s" };
                    return format!("{} accepted: {targets} service{many}{forced}", request.operation);
                }
                let run = request.run.as_ref().map(|r| format!(" of {}", r.run)).unwrap_or_default();
                return format!("{}{run} accepted: {targets} targets in {waves} waves{forced}", request.operation);
            };
            let up = report.children().unwrap_or_default().iter().filter(|c| c.status.is_up()).count();
            let steps: usize = plan.tracks().map(|t| plan.steps(t).len()).sum();
            let name = plan.tracks().map(|t| t.name.as_str()).find(|name| !name.is_empty()).unwrap_or(host_name);
            format!("{} of {name} accepted: {up} running children, {steps} steps{forced}", request.operation)
        }
        Entry::Paused { reason } => format!("paused: {reason}"),
        Entry::Resumed { accepted: 0 } => "resumed".to_owned(),
        Entry::Resumed { accepted } => format!("resumed; {accepted} failures are accepted"),
        Entry::Agreed { wave } => format!("wave {} may start", wave + 1),
        Entry::TrackStarted { .. } => "admitted; the host is held".to_owned(),
        Entry::TrackPutOff { reason, .. } => format!("put off before anything was done: {reason}"),
        Entry::StepStarted { place, round, subjects, deadline, .. } => {
            let back = if place.direction == Direction::Undo { " backwards" } else { "" };
            let again = if *round > 1 { format!(", round {round}") } else { String::new() };
            let here = |id: &TargetId| *id == TargetId::CONTROLLER;
            let who: Vec<String> =
                subjects.iter().map(|id| if here(id) { "the controller".to_owned() } else { named(id) }).collect();
            let who = if who.is_empty() { "nobody".to_owned() } else { who.join(", ") };
            format!("step {}{back}{again} on {who}, until {deadline}", place.step + 1)
        }
        Entry::CommandIssued { command, .. } => issued(command, named),
        Entry::Acked { subject, action, ack, .. } => {
            let error = ack.error.as_ref().map(|e| format!(": {}: {}", e.code, e.message)).unwrap_or_default();
            let already = if ack.already { " (was so already)" } else { "" };
            let found = ack.observed.as_ref().and_then(show::found).map(|f| format!("; {f}")).unwrap_or_default();
            if action.ends_boot() && ack.error.as_ref().is_some_and(|e| is_of_the_way(e.code)) {
                return format!("no word on the {action} of {}{error}", named(subject));
            }
            format!("{action} of {} {}{already}{error}{found}", named(subject), show::word(ack.status))
        }
        Entry::HostGone { .. } => "the host went away".to_owned(),
        Entry::DeadlinePassed { place } => format!("the deadline of step {} passed", place.step + 1),
        Entry::ForceStarted { place, .. } => format!("step {}: those that did not stop are cut off", place.step + 1),
        Entry::StepEnded { place } => format!("step {} ended", place.step + 1),
        Entry::CancelRequested => "cancel requested".to_owned(),
        Entry::UnwindStarted { reason, .. } => format!("taking back what was done: {reason}"),
        Entry::TrackEnded { track, outcome, .. } => format!("track {} ended: {outcome}", track + 1),
        Entry::Ended { outcome, error_message: Some(reason) } => format!("{outcome}: {reason}"),
        Entry::Ended { outcome, error_message: None } => outcome.to_string(),
    }
}

fn issued(command: &Command, named: &dyn Fn(&TargetId) -> String) -> String {
    let who = named(&command.subject);
    let attempt = if command.attempt > 1 { format!(" (attempt {})", command.attempt) } else { String::new() };
    match &command.action {
        Action::Probe { checks } if checks.is_empty() => format!("probe {who}{attempt}"),
        Action::Probe { checks } => format!("probe {who} and check {}{attempt}", names(checks)),
        Action::Check { checks } => format!("check {} of {who}{attempt}", names(checks)),
        Action::Observe { drain } => format!("see what is in service of {who}: {drain}{attempt}"),
        Action::Drain { drain, force: true, .. } => format!("cut off what is in service of {who}: {drain}{attempt}"),
        Action::Drain { drain, .. } => format!("take {who} out of service: {drain}{attempt}"),
        Action::Undrain { drain, .. } => format!("put {who} back into service: {drain}{attempt}"),
        Action::StopChild { force: true, .. } => format!("cut off {who}{attempt}"),
        // What is left of the time for all children, to the second.
        Action::StopChild { grace, .. } => format!("stop {who} within {}{attempt}", Millis(grace.0.next_multiple_of(1000))),
        Action::StartChild { .. } => format!("start {who}{attempt}"),
        Action::Reboot { expect_boot, .. } => format!("reboot {who}, to end boot {}{attempt}", expect_boot.boot_id()),
        // In full: what was run on whose word is what the audit log is for.
        Action::Run { run: run @ model::Run::Free { by, .. }, .. } => format!("run on {who} for {by}: {run}"),
        Action::Run { run, .. } => format!("run on {who}: {run}"),
        Action::Service { unit, verb } => format!("{}{attempt}", verb_on(&who, unit, verb)),
        Action::Shutdown { expect_boot, .. } => format!("shut {who} down, to end boot {}{attempt}", expect_boot.boot_id()),
    }
}

fn verb_on(who: &str, unit: &str, verb: &ServiceVerb) -> String {
    match verb {
        ServiceVerb::Inspect { checks } if checks.is_empty() => format!("look at {who} ({unit})"),
        ServiceVerb::Inspect { checks } => format!("look at {who} ({unit}) and check {}", names(checks)),
        ServiceVerb::Watch { hold, .. } => format!("watch {who} ({unit}) for {hold}"),
        ServiceVerb::BackUp { .. } => format!("back up the unit file of {who} ({unit})"),
        ServiceVerb::Deploy { deploy, .. } => format!("deploy {} to {} for {who}", deploy.source, deploy.destination),
        ServiceVerb::Migrate { migrate, .. } => format!("run the migration of {who}: {migrate}"),
        ServiceVerb::Restart { reload: true, .. } => format!("reload {who} ({unit}), else restart it"),
        ServiceVerb::Restart { .. } => format!("restart {who} ({unit})"),
        ServiceVerb::Stop { .. } => format!("stop {who} ({unit})"),
        ServiceVerb::Revert { deploy, .. } => format!("put the old tree back to {} for {who}", deploy.destination),
        ServiceVerb::Restore { start: true, .. } => format!("put the unit file of {who} ({unit}) back, and start it"),
        ServiceVerb::Restore { .. } => format!("put the unit file of {who} ({unit}) back"),
    }
}

fn names(checks: &[Check]) -> String {
    checks.iter().map(|check| check.name.as_str()).collect::<Vec<_>>().join(", ")
}
