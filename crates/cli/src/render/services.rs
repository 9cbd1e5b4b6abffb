//! Services: before they are restarted, while they are, and when it is over; and as they stand.

use std::fmt::Write as _;

use model::{Service, TargetId, Timestamp};
use protocol::rest::orchestrations::{JournalLine, Orchestration, Outcome};
use protocol::rest::rollouts::{Track, TrackState};
use protocol::rest::services::{PlannedService, ServiceRestartPreview, ServicesProgress};

use super::plain;
use super::rollout::span;
use crate::exit::Exit;
use crate::results::{Checked, Help, Restarted, RestartedService, ServicesSeen, UnitFiles, Written};

/// `1 service`, `2 services`.
pub(crate) fn services(many: usize) -> String {
    if many == 1 { "1 service".to_owned() } else { format!("{many} services") }
}

/// What would be done, the order first (S3-30, S3-60).
pub(crate) fn preview(preview: &ServiceRestartPreview, listed: &[Service], force: Option<&str>) -> String {
    let kind = |name: &str| listed.iter().find(|service| service.name == name).map(|service| service.kind.to_string());
    let kinds: Vec<String> = preview.services.iter().map(|one| kind(&one.service).unwrap_or_default()).collect();
    let mut hosts: Vec<&str> = preview.services.iter().map(|one| one.host.as_str()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let pace = match preview.parallel {
        0 => "as many at once as the dependencies allow".to_owned(),
        1 => "one after the other".to_owned(),
        many => format!("at most {many} at once"),
    };
    let place = if let [one] = hosts[..] { format!(" on {one}") } else { format!(" on {} hosts", hosts.len()) };
    let mut text = format!("Rolling restart of {}{place}, {pace}\n\nOrder:\n", services(preview.services.len()));
    let several = hosts.len() > 1;
    let name = |one: &PlannedService| if several { format!("{} on {}", one.service, one.host) } else { one.service.clone() };
    let wide = preview.services.iter().map(|one| name(one).chars().count()).max().unwrap_or(0);
    let digits = preview.services.len().to_string().len();
    for (one, kind) in preview.services.iter().zip(&kinds) {
        let after = one.after.iter().filter_map(|index| preview.services.get(usize::try_from(*index).ok()?)).map(name);
        let after: Vec<String> = after.collect();
        let after = if after.is_empty() { String::new() } else { format!("; after {}", after.join(", ")) };
        let takes = about(one.expected_seconds, one.expected_seconds_most).map(|takes| format!("; {takes}")).unwrap_or_default();
        let _ = writeln!(text, "  {:>digits$}. {:<wide$}  {} ({kind}{after}{takes})", one.index + 1, name(one), one.unit);
        for line in super::blockers(&one.blockers).lines() {
            let _ = writeln!(text, "  {:digits$}{line}", "");
        }
    }
    text.push_str(&steps(&preview.services, name));
    if !preview.irreversible.is_empty() {
        text.push_str("\nCannot be taken back:\n");
        for one in &preview.irreversible {
            let _ = writeln!(text, "  - {one}");
        }
    }
    text.push_str("\nAnything else that goes wrong is rolled back: unit file, tree, and the service started as it was.\n");
    if let Some(takes) = about(preview.expected_seconds, preview.expected_seconds_most) {
        let _ = writeln!(text, "Expected to take {takes}, in all, of which soaks {}.", span(preview.soak_seconds));
    }
    if let Some(reason) = force {
        let _ = writeln!(text, "\n{}", warning(reason));
    }
    match preview.services.iter().any(|one| !one.blockers.is_empty()) {
        true => text.push_str("\nNothing is begun while something blocks it.\n"),
        false => text.push_str("\nNothing blocks it.\n"),
    }
    text
}

/// `about 36 s, usually at most 49 s`; none from a server that does not say it.
fn about(least: u64, most: u64) -> Option<String> {
    let most = if least < most { format!(", usually at most {}", span(most)) } else { String::new() };
    (least > 0).then(|| format!("about {}{most}", span(least)))
}

/// The steps, once for all services that have the same; what differs stands below its step.
fn steps(planned: &[PlannedService], name: impl Fn(&PlannedService) -> String) -> String {
    let mut lists: Vec<(Vec<&str>, Vec<&PlannedService>)> = Vec::new();
    for one in planned {
        let steps: Vec<&str> = one.steps.iter().map(|step| own(step).0).collect();
        match lists.iter_mut().find(|(known, _)| *known == steps) {
            Some((_, of)) => of.push(one),
            None => lists.push((steps, vec![one])),
        }
    }
    let (alone, mut text) = (lists.len() == 1, String::new());
    for (steps, of) in lists {
        let names: Vec<String> = of.iter().map(|one| name(one)).collect();
        let _ = writeln!(
            text,
            "\nWhat is done to {}:",
            if alone && planned.len() > 1 { "each service".to_owned() } else { names.join(", ") }
        );
        for (place, step) in steps.iter().enumerate() {
            if let [one] = &of[..] {
                let _ = writeln!(text, "  {}. {}", place + 1, one.steps.get(place).map_or(*step, String::as_str));
                continue;
            }
            let _ = writeln!(text, "  {}. {step}", place + 1);
            let details = of.iter().filter_map(|one| Some((name(one), own(one.steps.get(place)?).1?)));
            for (name, detail) in details {
                let _ = writeln!(text, "     {name}: {detail}");
            }
        }
    }
    text
}

/// A step, and what of it is a service's own.
fn own(step: &str) -> (&str, Option<&str>) {
    match (step.strip_prefix("run the migration: "), step.strip_prefix("deploy ")) {
        (Some(migration), _) => ("run the migration", Some(migration)),
        (None, Some(tree)) => ("deploy the new tree", Some(tree)),
        (None, None) => (step, None),
    }
}

/// What `--force` means, whoever reads it (S3-111).
pub(crate) fn warning(reason: &str) -> String {
    format!(
        "WARNING: forced ({reason}). No health check is made, before the restart or after it, and dependencies are not looked at: \
         only systemd's own word counts. For emergencies alone: a service that is down anyway, checks that are broken while the \
         service works, or a patch that cannot wait."
    )
}

/// How far it is, in one line.
pub(crate) fn counters(progress: &ServicesProgress) -> String {
    let over: u32 = progress.ended.iter().map(|ended| ended.count).sum();
    let mut parts = vec![format!("{over} of {} over", services(progress.services as usize))];
    let ended = progress.ended.iter().filter(|ended| ended.count > 0 && ended.outcome != Outcome::Completed);
    parts.extend(ended.map(|ended| format!("{} {}", ended.count, ended.outcome)));
    parts.push(format!("{} running", progress.running));
    parts.push(format!("{} waiting", progress.waiting));
    parts.join(" · ")
}

/// A line for each service that has begun, in the order of the plan, as it stands now.
pub(crate) fn live(tracks: &[Track], now: Timestamp, most: usize) -> Vec<String> {
    let begun: Vec<&Track> = tracks.iter().filter(|track| track.state != TrackState::Waiting).collect();
    let lines = begun.iter().skip(begun.len().saturating_sub(most)).map(|track| live_line(track, now));
    lines.collect()
}

/// The line of one that is over, for whoever reads what was said.
pub(crate) fn over(track: &Track) -> String {
    let at = track.ended_at.map(|at| format!("{}  ", super::clock(at))).unwrap_or_default();
    format!("{at}{}\n", live_line(track, track.ended_at.unwrap_or(Timestamp::from_millis(0))))
}

/// Whether a line of the journal tells more than that all goes as planned: what is done, and what goes wrong.
pub(crate) fn is_worth_a_line(line: &JournalLine) -> bool {
    match line.action.as_str() {
        "track_started" | "step_started" | "step_ended" | "track_ended" => false,
        "acked" => !line.good,
        _ => true,
    }
}

fn live_line(track: &Track, now: Timestamp) -> String {
    let Some(service) = &track.service else { return format!("▸ {}", track.name) };
    let took = |end: Timestamp| track.started_at.map(|at| span(end.since(at).as_secs())).unwrap_or_default();
    if let Some(outcome) = track.outcome {
        let row = row(track, "");
        let mark = if matches!(outcome, Outcome::Completed | Outcome::NotNeeded) { "✓" } else { "✗" };
        let why = row.reason.map(|reason| format!(": {}", plain(&reason))).unwrap_or_default();
        return format!("{mark} {}  {}{why}  {}", track.name, row.result, track.ended_at.map(took).unwrap_or_default());
    }
    let mark = if track.state == TrackState::Undoing { "◂" } else { "▸" };
    let mut notes = Vec::new();
    if let (Some(attempt), Some(attempts)) = (service.attempt, service.attempts)
        && attempts > 1
    {
        notes.push(format!("attempt {attempt} of {attempts}"));
    }
    if let Some(until) = service.soaks_until {
        let left = until.since(now).as_secs();
        notes.push(if left > 0 { format!("{} to go", span(left)) } else { "the last look".to_owned() });
    }
    let notes = if notes.is_empty() { String::new() } else { format!(", {}", notes.join(", ")) };
    let step = track.step.clone().unwrap_or_else(|| "begins".to_owned());
    format!("{mark} {}  {step} ({} of {}{notes})  {}", track.name, track.steps_done + 1, track.steps, took(now))
}

/// One row of the result.
fn row(track: &Track, host: &str) -> RestartedService {
    let service = track.service.as_deref();
    let name = service.map_or(track.name.as_str(), |service| service.name.as_str());
    let rolled_back = service.and_then(|service| service.rolled_back);
    let touched = service.is_some_and(|service| service.invocation_after.is_some() || service.deployed || service.migrated);
    let result = match (track.outcome, rolled_back) {
        (Some(Outcome::Completed), _) if service.is_some_and(|service| service.reloaded) => "reloaded",
        (Some(Outcome::Completed | Outcome::NotNeeded), _) => "restarted",
        (Some(Outcome::Failed | Outcome::Partial), Some(true)) => "failed, rolled back",
        (Some(Outcome::Failed | Outcome::Partial), Some(false)) => "failed, ROLLBACK FAILED",
        (Some(Outcome::Failed | Outcome::Partial), None) if !touched => "failed, not touched",
        (Some(Outcome::Failed | Outcome::Partial), None) => "failed",
        (Some(Outcome::Cancelled), Some(true)) => "cancelled, rolled back",
        (Some(Outcome::Cancelled), Some(false)) => "cancelled, ROLLBACK FAILED",
        (Some(Outcome::Cancelled), None) => "cancelled",
        (Some(Outcome::Skipped), _) => "not begun",
        (Some(Outcome::Unknown), _) => "unknown",
        (None, _) if track.state == TrackState::Waiting => "not begun",
        (None, _) => "under way",
    };
    let seconds = track.started_at.zip(track.ended_at).map(|(from, to)| {
        let millis = to.since(from).0;
        f64::from(u32::try_from(millis / 100).unwrap_or(u32::MAX)) / 10.0
    });
    RestartedService {
        name: name.to_owned(),
        unit: service.map(|service| service.unit.clone()).unwrap_or_default(),
        host: host.to_owned(),
        outcome: track.outcome,
        result: result.to_owned(),
        reason: track.reason.clone(),
        reloaded: service.is_some_and(|service| service.reloaded),
        deployed: service.is_some_and(|service| service.deployed),
        migrated: service.is_some_and(|service| service.migrated),
        rolled_back,
        invocation_before: service.and_then(|service| service.invocation_before),
        invocation_after: service.and_then(|service| service.invocation_after),
        seconds,
        help: None,
    }
}

/// The whole result (S3-38 to S3-40); rows are filled with help by whoever can look. `host` gives the name of a host.
pub(crate) fn result(orchestration: &Orchestration, tracks: &[Track], host: impl Fn(TargetId) -> String) -> Restarted {
    let summary = &orchestration.summary;
    let named = |fits: fn(Option<Outcome>) -> bool| {
        tracks.iter().filter(|track| fits(track.outcome)).map(|track| track.name.clone()).collect::<Vec<_>>()
    };
    let paused = summary.services.as_ref().and_then(|progress| progress.paused.as_ref());
    Restarted {
        success: matches!(summary.outcome, Some(Outcome::Completed | Outcome::NotNeeded)),
        services_restarted: named(|outcome| matches!(outcome, Some(Outcome::Completed | Outcome::NotNeeded))),
        services_failed: named(|outcome| matches!(outcome, Some(Outcome::Failed | Outcome::Partial | Outcome::Unknown))),
        services_skipped: named(|outcome| matches!(outcome, None | Some(Outcome::Skipped | Outcome::Cancelled))),
        orchestration_id: summary.id,
        outcome: summary.outcome,
        error: summary.error_message.clone(),
        paused: paused.filter(|_| summary.outcome.is_none()).map(|paused| format!("{}: {}", paused.by, paused.reason)),
        services: tracks.iter().map(|track| row(track, &host(track.target))).collect(),
    }
}

/// The result as a table, then what helps with what failed.
pub(crate) fn verdict(result: &Restarted) -> String {
    let state = match (&result.outcome, &result.paused) {
        (Some(outcome), _) => outcome.to_string(),
        (None, Some(paused)) => format!("paused by {paused}"),
        (None, None) => "goes on".to_owned(),
    };
    let mut text = format!("Rolling restart of {}: {state}\n\n", services(result.services.len()));
    let hosts = result.services.iter().any(|row| Some(&row.host) != result.services.first().map(|first| &first.host));
    let rows = result.services.iter().map(|row| {
        let short = |id: &model::InvocationId| id.to_string().chars().take(8).collect::<String>();
        let proof = match (&row.invocation_before, &row.invocation_after) {
            (Some(before), Some(after)) if before == after => format!("{} kept", short(after)),
            (Some(before), Some(after)) => format!("{} -> {}", short(before), short(after)),
            (None, Some(after)) => format!("down -> {}", short(after)),
            (Some(before), None) if row.rolled_back == Some(false) => format!("{} -> not up", short(before)),
            (_, None) => "-".to_owned(),
        };
        let mut done = row.result.clone();
        for (also, word) in [(row.deployed && row.rolled_back.is_none(), "deployed"), (row.migrated, "migrated")] {
            if also {
                done.push_str(&format!(", {word}"));
            }
        }
        let name = if hosts { format!("{} on {}", row.name, row.host) } else { row.name.clone() };
        let took = row.seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
        vec![name, done, proof, took]
    });
    for line in super::tables::table(&["SERVICE", "RESULT", "RUN OF THE UNIT", "TOOK"], rows).lines() {
        let _ = writeln!(text, "  {line}");
    }
    let whole = result.error.as_ref().filter(|error| !result.services.iter().any(|row| row.reason.as_ref() == Some(*error)));
    if let Some(error) = whole {
        let _ = writeln!(text, "\n{}", plain(error));
    }
    for row in &result.services {
        let good = matches!(row.outcome, None | Some(Outcome::Completed | Outcome::NotNeeded));
        if let (false, Some(reason)) = (good, &row.reason) {
            let _ = writeln!(text, "\n! {} ({}): {}", row.name, row.unit, plain(reason));
        }
        if let Some(help) = &row.help {
            text.push_str(&helped(row, help));
        }
    }
    text
}

/// What was seen of a service that failed, and what to do by hand (S3-85, S3-95 to S3-98).
fn helped(row: &RestartedService, help: &Help) -> String {
    let mut text = String::new();
    let mut list = |head: String, lines: &[String]| {
        let _ = writeln!(text, "  {head}");
        for line in lines {
            let _ = writeln!(text, "    {}", plain(line));
        }
    };
    if !help.journal.is_empty() {
        list(format!("last lines of the journal of {}:", row.unit), &help.journal);
    }
    if let (Some(listening), Some(port)) = (&help.listening, help.port) {
        match listening.is_empty() {
            true => list(format!("nobody listens on port {port}"), &[]),
            false => list(format!("on port {port} listens:"), listening),
        }
    }
    if !help.failed_dependencies.is_empty() {
        list("what it needs and is not up:".to_owned(), &help.failed_dependencies);
    }
    if !help.environment.is_empty() {
        list(format!("variables in its environment (values are not shown): {}", help.environment.join(", ")), &[]);
    }
    if !help.environment_files.is_empty() {
        list(format!("files of its environment: {}", help.environment_files.join(", ")), &[]);
    }
    if help.read {
        let backup = help.backup.clone();
        list(format!("backup of its unit file: {}", backup.unwrap_or_else(|| "there is none".to_owned())), &[]);
    }
    for why in &help.unread {
        list(format!("could not be read: {}", plain(why)), &[]);
    }
    if let Some(migration) = &help.migration {
        list(
            "its migration is not undone; look at what it did before you run it again by hand:".to_owned(),
            std::slice::from_ref(migration),
        );
    }
    if !help.look.is_empty() {
        list(format!("look at it on {}:", row.host), &help.look);
    }
    let rolled_back = row.rolled_back == Some(true);
    if !rolled_back && row.rolled_back.is_some() {
        list(format!("THE ROLLBACK FAILED; by hand, on {}:", row.host), &help.rollback);
    } else if !rolled_back && row.outcome == Some(Outcome::Unknown) {
        list(format!("to roll it back by hand, on {}:", row.host), &help.rollback);
    } else if help.backup.is_some() {
        list(format!("if it must be rolled back by hand, on {}:", row.host), &help.rollback);
    }
    text
}

/// How it stands, in a few words: for lists.
pub(crate) fn state(progress: &ServicesProgress) -> String {
    let over: u32 = progress.ended.iter().map(|ended| ended.count).sum();
    let paused = if progress.paused.is_some() { ", paused" } else { "" };
    format!("{over} of {} over{paused}", progress.services)
}

/// Why nothing new starts, if so.
pub(crate) fn standing(progress: &ServicesProgress) -> Option<String> {
    let paused = progress.paused.as_ref()?;
    Some(format!("paused by {} since {}: {}", paused.by, super::clock(paused.since), paused.reason))
}

/// What a person can do now.
pub(crate) fn next(orchestration: &Orchestration, progress: &ServicesProgress, here: bool) -> String {
    let id = orchestration.summary.id;
    if orchestration.summary.outcome.is_some() || progress.paused.is_none() {
        return String::new();
    }
    let undo = if here { format!("resume {id} --unwind") } else { format!("cancel {id}") };
    let rows = [(format!("resume {id}"), "goes on with the next service"), (undo, "begins no further service and ends")];
    let rows = rows.map(|(words, what)| (crate::again::command(&words), what));
    let wide = rows.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
    rows.iter().fold("\n".to_owned(), |text, (command, what)| format!("{text}  {command:<wide$}   {what}\n"))
}

/// Nothing goes on until a person says so.
pub(crate) fn needs_a_person(progress: &ServicesProgress) -> bool {
    progress.running == 0 && progress.paused.is_some()
}

/// The exit code of one that is left as it stands.
pub(crate) fn exit(orchestration: &Orchestration, progress: &ServicesProgress) -> Exit {
    match orchestration.summary.outcome {
        None if needs_a_person(progress) => Exit::Paused,
        _ => super::orchestration::exit(orchestration),
    }
}

/// Services as they stand (S3-94).
pub(crate) fn seen(seen: &ServicesSeen) -> String {
    if seen.services.is_empty() {
        return "No services.\n".to_owned();
    }
    let hosts = seen.services.iter().any(|one| Some(&one.host) != seen.services.first().map(|first| &first.host));
    let listed = seen.services.iter().any(|one| one.service.is_some());
    let mut head = Vec::new();
    head.extend(hosts.then_some("HOST"));
    head.extend(listed.then_some("SERVICE"));
    head.extend(["UNIT", "STATE", "HEALTH", "RESTARTS", "RUN"]);
    let rows = seen.services.iter().map(|one| {
        let mut row = Vec::new();
        row.extend(hosts.then(|| one.host.clone()));
        row.extend(listed.then(|| one.service.clone().unwrap_or_else(|| "-".to_owned())));
        let unit = one.seen.as_ref();
        let health = match (&one.error, &one.check) {
            (Some(_), _) => "?".to_owned(),
            (None, Some(check)) if check.passed => "healthy".to_owned(),
            (None, Some(check)) => format!("NOT HEALTHY: {}", plain(&check.detail)),
            (None, None) if !listed => "-".to_owned(),
            (None, None) if one.healthy => "up".to_owned(),
            (None, None) => "NOT UP".to_owned(),
        };
        row.push(one.unit.clone());
        row.push(unit.map_or_else(|| "?".to_owned(), ToString::to_string));
        row.push(health);
        row.push(unit.map_or_else(|| "-".to_owned(), |unit| unit.restarts.to_string()));
        let run = unit.and_then(|unit| unit.invocation).map(|id| id.to_string().chars().take(8).collect::<String>());
        row.push(run.unwrap_or_else(|| "-".to_owned()));
        row
    });
    let mut text = super::tables::table(&head, rows);
    let mut told: Vec<String> = Vec::new();
    for one in &seen.services {
        let line = one.error.as_ref().map(|error| format!("! {} could not be asked: {}\n", one.host, plain(error)));
        told.extend(line.filter(|line| !told.contains(line)));
    }
    if !told.is_empty() {
        text.push_str(&format!("\n{}", told.concat()));
    }
    text
}

/// What would go wrong.
pub(crate) fn checked(checked: &Checked) -> String {
    let mut text = format!("{}\n", checked.manifest.display());
    if !checked.order.is_empty() {
        let _ = writeln!(text, "  order     {}", checked.order.join(", "));
    }
    let looked = if checked.hosts.is_empty() { "no host".to_owned() } else { checked.hosts.join(", ") };
    let _ = writeln!(text, "  looked at {looked}");
    for trouble in &checked.problems {
        let on = trouble.host.as_ref().map(|host| format!(" (on {host})")).unwrap_or_default();
        let place = if trouble.place.is_empty() { String::new() } else { format!("{}: ", trouble.place) };
        let _ = writeln!(text, "  ! {place}{}{on}", plain(&trouble.problem));
    }
    let _ = match checked.problems.len() {
        0 => writeln!(text, "Nothing is wrong with {}.", services(checked.order.len())),
        1 => writeln!(text, "1 problem."),
        many => writeln!(text, "{many} problems."),
    };
    text
}

/// Unit files as they are; or where they were written, and what comes next.
pub(crate) fn unit_files(files: &UnitFiles) -> String {
    let Some(to) = &files.to else {
        let several = files.units.len() > 1;
        let text = |file: &crate::results::UnitFile| match several {
            true => format!("# ----- {}\n{}", file.unit, file.text),
            false => file.text.clone(),
        };
        return files.units.iter().map(text).collect::<Vec<_>>().join("\n");
    };
    let mut text = String::new();
    for file in &files.units {
        let word = match file.written {
            Some(Written::Made) => "made",
            Some(Written::Replaced) => "replaced",
            Some(Written::Unchanged) | None => "is so already",
        };
        let _ = writeln!(text, "{:14} {}", word, to.join(&file.unit).display());
        if let Some(kept) = &file.kept {
            let _ = writeln!(text, "{:14} {}", "kept the old", kept.display());
        }
    }
    let of = |written| files.units.iter().filter(move |file| file.written == Some(written));
    let names = |written| of(written).map(|file| recipe::far::quoted(&file.unit)).collect::<Vec<_>>().join(" ");
    if of(Written::Made).chain(of(Written::Replaced)).next().is_some() {
        text += "\nNext, where they are to run:\n  sudo systemctl daemon-reload\n";
    }
    if of(Written::Made).next().is_some() {
        let _ = writeln!(text, "  sudo systemctl enable --now {}", names(Written::Made));
    }
    if of(Written::Replaced).next().is_some() {
        let named: String = of(Written::Replaced).map(|file| format!(" --service {}", file.service)).collect();
        let _ = writeln!(text, "  {}", crate::again::command(&format!("restart{named}")));
    }
    text
}

#[cfg(test)]
mod tests;
