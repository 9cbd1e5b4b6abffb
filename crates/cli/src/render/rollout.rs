//! A rollout: before it runs, while it runs, and when it is over.

use std::fmt::Write as _;

use model::{Approval, Millis, Operation};
use protocol::rest::orchestrations::{Orchestration, Outcome};
use protocol::rest::rollouts::{LockList, PlannedTrack, RolloutPreview, RolloutProgress, Track};

use crate::exit::Exit;

/// More hosts of one wave are counted and not named; `--output json` names all.
const NAMED: usize = 40;

/// What would be done.
pub(crate) fn preview(preview: &RolloutPreview) -> String {
    let (options, mut text) = (&preview.options, String::new());
    let _ = writeln!(
        text,
        "Rolling reboot of {}, {} at a time; {} may fail",
        hosts(preview.targets),
        preview.concurrency,
        preview.failure_budget
    );
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    let list = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let drains = match options.drains.is_empty() {
        true => "none".to_owned(),
        false => {
            let limit = span(options.drain_limit_seconds);
            format!("{}; each within {limit}, then {}", list(&options.drains), options.on_drain_timeout)
        }
    };
    row("drains", drains);
    row("checks", list(&options.checks));
    row("soak", span(options.soak_seconds));
    row("windows", list(&options.windows));
    if options.stagger_seconds + options.jitter_seconds > 0 {
        let (stagger, jitter) = (span(options.stagger_seconds), span(options.jitter_seconds));
        row("starts", format!("at least {stagger} apart, spread over {jitter}"));
    }
    match options.approval {
        Approval::Never => {}
        Approval::AfterCanary => row("approval", "after the canary".to_owned()),
        Approval::EachWave => row("approval", "before each wave but the first".to_owned()),
    }
    if options.only_if_required {
        row("only", "hosts that say they need a reboot".to_owned());
    }
    if let Some(id) = options.retry_of {
        row("retry of", id.to_string());
    }
    for (number, list) in preview.lists.iter().enumerate() {
        let which = if preview.lists.len() > 1 { format!(" ({})", letter(number)) } else { String::new() };
        let _ = writeln!(text, "\nWhat is done to a host{which}");
        for (number, step) in (1..).zip(list) {
            let _ = writeln!(text, "  {number}. {step}");
        }
    }
    for wave in &preview.waves {
        let agreed = if wave.approval { ", after a person agrees" } else { "" };
        let many = u32::try_from(wave.tracks.len()).unwrap_or(u32::MAX);
        let _ = writeln!(text, "\nWave {}: {}{agreed}", wave.index + 1, hosts(many));
        for track in wave.tracks.iter().take(NAMED) {
            text.push_str(&planned_track(track, preview.lists.len() > 1));
        }
        if wave.tracks.len() > NAMED {
            let _ = writeln!(text, "  … and {} more; --output json names them all", wave.tracks.len() - NAMED);
        }
    }
    if !preview.irreversible.is_empty() {
        let _ = writeln!(text, "\nCannot be taken back: {}", preview.irreversible.join("; "));
    }
    let _ = writeln!(text, "\nExpected to take at least {}.", span(preview.expected_seconds));
    if preview.waves.iter().flat_map(|wave| &wave.tracks).any(|track| !track.blockers.is_empty()) {
        text.push_str("What blocks a host keeps it waiting, not the others.\n");
    } else {
        text.push_str("Nothing blocks it.\n");
    }
    text
}

fn planned_track(track: &PlannedTrack, several_lists: bool) -> String {
    let list = if several_lists { format!("  ({})", letter(usize::try_from(track.list).unwrap_or(0))) } else { String::new() };
    let unfinished = if track.unfinished { "  takes up what was left undone" } else { "" };
    let expected = span(track.expected_seconds);
    let mut text = format!("  {}  over {}  about {expected}{list}{unfinished}\n", track.name, track.route);
    for line in super::blockers(&track.blockers).lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

fn letter(number: usize) -> char {
    u8::try_from(number).ok().and_then(|n| n.checked_add(b'A')).filter(u8::is_ascii_uppercase).map_or('+', char::from)
}

/// `1 host`, `2 hosts`.
fn hosts(many: u32) -> String {
    if many == 1 { "1 host".to_owned() } else { format!("{many} hosts") }
}

/// A time for people: `90 s` is `1 min 30 s`.
pub(super) fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => Millis::secs(seconds).to_string(),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{hours} h"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Counters in one line.
pub(crate) fn counters(progress: &RolloutProgress) -> String {
    let mut parts = vec![format!("wave {} of {}", progress.wave + 1, progress.waves)];
    parts.push(format!("{} waiting", progress.waiting));
    parts.push(format!("{} running", progress.running));
    parts.extend(progress.ended.iter().filter(|ended| ended.count > 0).map(|ended| format!("{} {}", ended.count, ended.outcome)));
    parts.push(format!("{} may fail", progress.failure_budget));
    parts.join(" · ")
}

/// Why nothing new starts, if so.
pub(crate) fn standing(progress: &RolloutProgress) -> Option<String> {
    match (&progress.paused, progress.waits_for_approval) {
        (Some(paused), _) => Some(format!("paused by {} since {}: {}", paused.by, super::clock(paused.since), paused.reason)),
        (None, true) => Some(format!("wave {} waits for a person to agree", progress.wave + 1)),
        (None, false) => None,
    }
}

/// One line for a host that is worked on: what, how far, since when.
pub(crate) fn running(track: &Track) -> String {
    let step = track.step.clone().unwrap_or_else(|| "begins".to_owned());
    let since = track.started_at.map(|at| format!("  since {}", super::clock(at))).unwrap_or_default();
    let mark = if track.state == protocol::rest::rollouts::TrackState::Undoing { "◂" } else { "▸" };
    format!("{mark} {}  {step} ({} of {}){since}", track.name, track.steps_done + 1, track.steps)
}

/// How it ended, or how it stands: counts, then every host that is not well with its reason.
pub(crate) fn verdict(orchestration: &Orchestration, progress: &RolloutProgress, unwell: &[Track]) -> String {
    let summary = &orchestration.summary;
    let state = summary.outcome.map_or_else(|| "goes on".to_owned(), |outcome| outcome.to_string());
    let what = match summary.operation {
        Operation::Run => "Command on",
        Operation::HealthCheck => "Health check of",
        _ => "Rolling reboot of",
    };
    let mut text = format!("{what} {}: {state}\n", hosts(progress.targets));
    let mut counts: Vec<String> =
        progress.ended.iter().filter(|ended| ended.count > 0).map(|ended| format!("{} {}", ended.count, ended.outcome)).collect();
    for (count, word) in [(progress.running, "running"), (progress.waiting, "not begun")] {
        counts.extend((count > 0).then(|| format!("{count} {word}")));
    }
    let _ = writeln!(text, "  {}", counts.join(", "));
    if let Some(standing) = summary.outcome.is_none().then(|| standing(progress)).flatten() {
        let _ = writeln!(text, "  {standing}");
    }
    if let Some(error) = &summary.error_message {
        let _ = writeln!(text, "  {error}");
    }
    for track in unwell {
        let outcome = track.outcome.map_or_else(|| "open".to_owned(), |outcome| outcome.to_string());
        let reason = track.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
        let _ = writeln!(text, "  ! {} {outcome}{reason}", track.name);
    }
    text
}

/// What a person can do now.
pub(crate) fn next(orchestration: &Orchestration, progress: &RolloutProgress) -> String {
    let (id, operation) = (orchestration.summary.id, orchestration.summary.operation);
    let row = |word: &str, what: &str| format!("  {}   {what}\n", crate::again::command(&format!("{word:<7} {id}")));
    match (orchestration.summary.outcome, progress.paused.is_some(), progress.waits_for_approval) {
        (Some(Outcome::Completed | Outcome::Skipped), ..) => String::new(),
        (Some(_), ..) if operation.ends_boot() => row("retry", "takes up the hosts that were left undone"),
        (Some(_), ..) => String::new(),
        (None, true, _) => {
            [row("resume", "goes on, the failures so far accepted"), row("cancel", "begins no further host and ends")].concat()
        }
        (None, false, true) => [row("agree", "lets the wave start"), row("cancel", "begins no further host and ends")].concat(),
        (None, false, false) => String::new(),
    }
}

/// Nothing goes on until a person says so.
pub(crate) fn needs_a_person(progress: &RolloutProgress) -> bool {
    progress.running == 0 && (progress.paused.is_some() || progress.waits_for_approval)
}

/// The exit code of one that is left as it stands.
pub(crate) fn exit(orchestration: &Orchestration, progress: &RolloutProgress) -> Exit {
    match orchestration.summary.outcome {
        None if needs_a_person(progress) => Exit::Paused,
        _ => super::orchestration::exit(orchestration),
    }
}

/// Everything that keeps something from starting.
pub(crate) fn locks(list: &LockList) -> String {
    if list.locks.is_empty() {
        return "Nothing is held.\n".to_owned();
    }
    let rows = list.locks.iter().map(|lock| {
        let reason = lock.reason.clone().unwrap_or_else(|| "-".to_owned());
        vec![super::words(&lock.kind), lock.name.clone(), lock.holder.clone(), super::time(lock.since), reason]
    });
    super::tables::table(&["KIND", "WHAT", "HOLDER", "SINCE", "WHY"], rows)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::samples;

    fn options() -> Value {
        json!({
            "canary": "1", "stages": [], "concurrency": "2", "failure_budget": "1", "approval": "after_canary", "drains": ["balancer"],
            "drain_limit_seconds": 120, "on_drain_timeout": "abort", "checks": ["front"], "soak_seconds": 60, "windows": ["night"],
            "stagger_seconds": 5, "jitter_seconds": 0, "only_if_required": true, "retry_of": null
        })
    }

    fn planned(index: u32, name: &str, blockers: &Value) -> Value {
        json!({
            "index": index, "target": uuid::Uuid::from_u128(u128::from(index)), "name": name, "route": "ssh", "list": 0,
            "expected_seconds": 600, "unfinished": false, "blockers": blockers
        })
    }

    fn sample() -> RolloutPreview {
        let blocked = json!([{ "blocker": "window", "message": "the window night is shut", "since": null,
            "until": "2025-01-15T22:00:00.000Z", "forceable": true }]);
        serde_json::from_value(json!({
            "targets": 3, "concurrency": 2, "failure_budget": 1, "options": options(),
            "lists": [["check the host", "drain balancer", "reboot the host", "soak for 60 s"]],
            "waves": [
                { "index": 0, "approval": false, "tracks": [planned(0, "web1", &json!([]))] },
                { "index": 1, "approval": true, "tracks": [planned(1, "web2", &blocked), planned(2, "web3", &json!([]))] },
            ],
            "irreversible": ["reboot the host"], "expected_seconds": 1200
        }))
        .unwrap()
    }

    fn progress(paused: bool) -> RolloutProgress {
        let paused = paused
            .then(|| json!({ "by": "system", "reason": "the failure budget is spent", "since": "2025-01-15T10:30:00.000Z" }));
        serde_json::from_value(json!({
            "targets": 8, "waiting": 3, "running": 0, "ended": [{ "outcome": "completed", "count": 4 }, { "outcome": "failed", "count": 1 }],
            "wave": 1, "waves": 2, "failures": 1, "failure_budget": 0, "paused": paused, "waits_for_approval": false, "options": options()
        }))
        .unwrap()
    }

    fn track(name: &str, outcome: Option<&str>, reason: Option<&str>) -> Track {
        serde_json::from_value(json!({
            "index": 4, "wave": 1, "target": uuid::Uuid::from_u128(4), "name": name, "route": "ssh",
            "state": if outcome.is_some() { "ended" } else { "running" }, "outcome": outcome, "reason": reason, "step": "drain balancer",
            "steps_done": 2, "steps": 12, "started_at": "2025-01-15T10:30:00.000Z", "ended_at": null, "boot_before": null, "boot_after": null
        }))
        .unwrap()
    }

    #[test]
    fn a_dry_run_shows_waves_order_durations_blockers_and_what_cannot_be_taken_back() {
        insta::assert_snapshot!(preview(&sample()));
    }

    #[test]
    fn live_progress_has_counters_and_a_line_for_each_host_at_work() {
        insta::assert_snapshot!(format!("{}\n{}", counters(&progress(false)), running(&track("web3", None, None))));
    }

    #[test]
    fn a_paused_rollout_names_who_failed_and_what_a_person_can_do() {
        let open = samples::orchestration(None);
        let progress = progress(true);
        let unwell = [track("web5", Some("failed"), Some("not back within 600 s"))];
        insta::assert_snapshot!(format!("{}{}", verdict(&open, &progress, &unwell), next(&open, &progress)));
        assert_eq!(exit(&open, &progress), Exit::Paused);
    }

    #[test]
    fn a_command_is_no_reboot() {
        let mut open = samples::orchestration(None);
        open.summary.operation = Operation::Run;
        assert!(verdict(&open, &progress(false), &[]).starts_with("Command on 8 hosts: goes on\n"));
        open.summary.operation = Operation::HealthCheck;
        open.summary.outcome = Some(Outcome::Failed);
        assert!(verdict(&open, &progress(false), &[]).starts_with("Health check of 8 hosts: failed\n"));
        assert_eq!(next(&open, &progress(false)), "", "nothing is left undone");
    }

    #[test]
    fn times_are_said_as_people_say_them() {
        for (seconds, text) in [(0, "0 s"), (59, "59 s"), (60, "1 min"), (90, "1 min 30 s"), (3600, "1 h"), (5400, "1 h 30 min")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
