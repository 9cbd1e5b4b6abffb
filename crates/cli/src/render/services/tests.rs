use inventory::Source;
use protocol::rest::orchestrations::Outcome;
use serde_json::{Value, json};

use super::*;
use crate::render::samples;
use crate::results::UnitFile;

const BEFORE: &str = "0d4f3a525c1d4a398ad55e0f5f1f9a11";
const AFTER: &str = "1d4f3a525c1d4a398ad55e0f5f1f9a12";

fn listed() -> Vec<Service> {
    let text = "unit_prefix = \"lilith-\"\n[service.\"sso.postgresql\"]\nkind = \"infrastructure\"\n[service.\"sso.redis\"]\n\
                kind = \"infrastructure\"\n[service.\"sso.api\"]\nkind = \"api\"\ndependencies = [\"sso.postgresql\", \"sso.redis\"]\n";
    let source = Source { name: "reveille.toml".to_owned(), text: text.to_owned() };
    inventory::services::read(&source).unwrap().services
}

fn planned(index: u32, name: &str, after: &[u32], steps: &[&str], blockers: &Value) -> Value {
    json!({
        "index": index, "service": name, "unit": format!("lilith-{}.service", name.replace('.', "-")), "host": "localhost",
        "route": "local", "after": after, "steps": steps, "soak_seconds": 30, "expected_seconds": 36,
        "expected_seconds_most": 49, "blockers": blockers
    })
}

fn sample(parallel: u32, blockers: &Value) -> ServiceRestartPreview {
    let plain = [
        "check the service and what it depends on",
        "back up the unit file",
        "restart the service",
        "watch the service for 30 s",
    ];
    let migrates = [
        "check the service and what it depends on",
        "back up the unit file",
        "run the migration: ./migrate up in /srv/api",
        "reload the service, else restart it",
    ];
    serde_json::from_value(json!({
        "parallel": parallel, "soak_seconds": 90, "expected_seconds": 108, "expected_seconds_most": 147,
        "irreversible": ["a migration is not undone: ./migrate up in /srv/api"],
        "services": [
            planned(0, "sso.postgresql", &[], &plain, &json!([])),
            planned(1, "sso.redis", &[], &plain, &json!([])),
            planned(2, "sso.api", &[0, 1], &migrates, blockers),
        ]
    }))
    .unwrap()
}

fn track(index: u32, name: &str, state: &str, outcome: Option<&str>, more: &Value) -> Track {
    let mut service = json!({
        "id": uuid::Uuid::from_u128(u128::from(index)), "name": name, "unit": format!("lilith-{}.service", name.replace('.', "-")),
        "was_up": true, "invocation_before": BEFORE, "invocation_after": null, "reloaded": false, "deployed": false,
        "migrated": false, "rolled_back": null, "attempt": null, "attempts": null, "soaks_until": null, "seen": null
    });
    service.as_object_mut().unwrap().extend(more["service"].as_object().cloned().unwrap_or_default());
    serde_json::from_value(json!({
        "index": index, "wave": 0, "target": uuid::Uuid::from_u128(1), "name": name, "route": "local", "state": state,
        "outcome": outcome, "reason": more["reason"], "step": more["step"], "steps_done": 4, "steps": 6,
        "started_at": samples::at(0), "ended_at": outcome.map(|_| samples::at(36)), "boot_before": null, "boot_after": null,
        "service": service
    }))
    .unwrap()
}

fn tracks() -> Vec<Track> {
    let restarted = json!({ "service": { "invocation_after": AFTER } });
    let failed = json!({
        "service": { "invocation_after": AFTER, "rolled_back": false, "migrated": true },
        "reason": "not healthy after the restart: health: connection refused; the rollback failed: the unit is failed (failed)"
    });
    vec![
        track(0, "sso.postgresql", "ended", Some("completed"), &restarted),
        track(1, "sso.api", "ended", Some("failed"), &failed),
        track(2, "merchant.api", "ended", Some("skipped"), &json!({ "service": { "invocation_before": null } })),
    ]
}

fn progress(paused: bool) -> ServicesProgress {
    let paused = paused.then(|| json!({ "by": "admin", "reason": "lunch", "since": samples::at(0) }));
    serde_json::from_value(json!({
        "services": 5, "waiting": 2, "running": u32::from(paused.is_none()),
        "ended": [{ "outcome": "completed", "count": 1 }, { "outcome": "failed", "count": 1 }], "paused": paused, "waits_until": null
    }))
    .unwrap()
}

fn restarted() -> Restarted {
    let mut last = samples::orchestration(Some(Outcome::Failed));
    last.summary.error_message = Some("sso.api failed".to_owned());
    result(&last, &tracks(), |_| "localhost".to_owned())
}

#[test]
fn s3_30_a_dry_run_shows_the_order_the_steps_and_what_cannot_be_taken_back() {
    insta::assert_snapshot!(preview(&sample(1, &json!([])), &listed(), None));
}

/// Its answer has no such members; all else in it is shown.
#[test]
fn an_older_controller_does_not_say_how_long_it_takes() {
    let mut older = serde_json::to_value(sample(1, &json!([]))).unwrap();
    let all = older.as_object_mut().unwrap();
    let named = |key: &str| key.starts_with("expected_seconds");
    all.retain(|key, _| !named(key));
    for service in all["services"].as_array_mut().unwrap() {
        service.as_object_mut().unwrap().retain(|key, _| !named(key));
    }
    assert!(!older.to_string().contains("expected_seconds"));
    let text = preview(&serde_json::from_value(older).unwrap(), &listed(), None);
    assert!(text.contains("lilith-sso-redis.service (infrastructure)\n") && text.ends_with("Nothing blocks it.\n"), "{text}");
    assert!(!text.contains("Expected") && !text.contains("about"), "{text}");
}

#[test]
fn units_that_are_enabled_next_can_be_typed_as_they_are() {
    let file = |unit: &str| UnitFile {
        service: "a".to_owned(),
        unit: unit.to_owned(),
        written: Some(Written::Made),
        kept: None,
        text: String::new(),
    };
    let units = vec![file("lilith-a.service"), file("a\\x2db.service")];
    let text = unit_files(&UnitFiles { manifest: "reveille.toml".into(), to: Some("/etc/systemd/system".into()), units });
    assert!(text.contains("systemctl enable --now lilith-a.service 'a\\x2db.service'\n"), "{text}");
}

#[test]
fn s3_111_force_is_shown_with_a_warning() {
    let blocked = json!([{ "blocker": "held", "message": "localhost is out of use: new disk", "since": null, "until": null, "forceable": true }]);
    let text = preview(&sample(0, &blocked), &listed(), Some("sso.api is down"));
    let end = text.split("Expected to take").nth(1).unwrap();
    insta::assert_snapshot!(format!("{}\n…{end}", text.lines().take(8).collect::<Vec<_>>().join("\n")));
}

#[test]
fn s3_38_to_40_a_result_lists_what_was_restarted_and_what_failed() {
    let restarted = restarted();
    assert!(!restarted.success);
    assert_eq!(restarted.services_restarted, ["sso.postgresql"]);
    assert_eq!(restarted.services_failed, ["sso.api"]);
    assert_eq!(restarted.services_skipped, ["merchant.api"]);
    let document = serde_json::to_value(&restarted).unwrap();
    assert!(document["services"][0]["invocation_before"] != document["services"][0]["invocation_after"]);
    assert_eq!((&document["outcome"], &document["services"][1]["rolled_back"]), (&json!("failed"), &json!(false)));
}

#[test]
fn s3_85_95_to_98_what_failed_comes_with_what_helps() {
    let mut restarted = restarted();
    restarted.services[1].help = Some(Help {
        read: true,
        journal: vec!["2025-01-15T10:30:00 api[12]: bind: address in use\u{1b}[31m".to_owned()],
        port: Some(3001),
        listening: Some(vec!["LISTEN 0 128 127.0.0.1:3001 users:((\"old\",pid=7))".to_owned()]),
        failed_dependencies: vec!["lilith-cache.service: failed (failed)".to_owned()],
        environment: vec!["PORT".to_owned()],
        backup: Some("/etc/systemd/system/lilith-sso-api.service.backup of 2025-01-15 10:30:00".to_owned()),
        migration: Some("cd /srv/api && ./migrate up".to_owned()),
        rollback: recipe::manual_rollback(&model::ByHand::of("lilith-sso-api.service")),
        ..Help::default()
    });
    insta::assert_snapshot!(verdict(&restarted));
}

#[test]
fn live_progress_counts_attempts_and_the_soak_down() {
    let soaks =
        json!({ "step": "watch the service for 30 s", "service": { "soaks_until": samples::at(42), "invocation_after": AFTER } });
    let looks = json!({ "step": "check the service after the restart", "service": { "attempt": 2, "attempts": 3 } });
    let mut all = tracks();
    all.extend([
        track(3, "seo.api", "running", None, &soaks),
        track(4, "seo.ml", "running", None, &looks),
        track(5, "seo.web", "undoing", None, &json!({ "step": "stop the service" })),
        track(6, "landing.api", "waiting", None, &json!({})),
    ]);
    insta::assert_snapshot!(format!("{}\n{}", counters(&progress(false)), live(&all, samples::at(30), 40).join("\n")));
    assert_eq!(live(&all, samples::at(30), 2).len(), 2);
}

#[test]
fn a_paused_restart_says_what_a_person_can_do() {
    let open = samples::orchestration(None);
    let progress = progress(true);
    assert_eq!(exit(&open, &progress), Exit::Paused);
    insta::assert_snapshot!(format!(
        "{}\n{}{}{}",
        state(&progress),
        standing(&progress).unwrap(),
        next(&open, &progress, true),
        next(&open, &progress, false)
    ));
}

#[test]
fn s3_94_services_are_shown_with_unit_health_and_run() {
    let unit = |active: &str, sub: &str| {
        json!({ "load": "loaded", "active": active, "sub": sub, "invocation": BEFORE, "restarts": 2, "result": "success",
            "can_reload": false, "needs_daemon_reload": false, "fragment": "/etc/systemd/system/a.service" })
    };
    let one =
        |name: &str, healthy: bool, unit: Value, check: Option<(bool, &str)>, error: Option<&str>| crate::results::SeenService {
            service: Some(name.to_owned()),
            unit: format!("{name}.service"),
            host: "localhost".to_owned(),
            healthy,
            seen: serde_json::from_value(unit).unwrap(),
            check: check.map(|(passed, detail)| model::CheckResult {
                name: "health".to_owned(),
                passed,
                detail: detail.to_owned(),
            }),
            error: error.map(str::to_owned),
        };
    let services = vec![
        one("a", true, unit("active", "running"), Some((true, "well")), None),
        one("b", false, unit("active", "running"), Some((false, "connection refused")), None),
        one("c", false, unit("failed", "failed"), None, None),
        one("d", true, unit("active", "running"), None, None),
        one("e", false, Value::Null, None, Some("no route to host")),
        one("f", false, Value::Null, None, Some("no route to host")),
    ];
    insta::assert_snapshot!(seen(&ServicesSeen { healthy: false, services }));
}

#[test]
fn what_a_check_found_is_told_with_file_and_key() {
    let trouble = |place: &str, host: Option<&str>, problem: &str| crate::results::Trouble {
        place: place.to_owned(),
        host: host.map(str::to_owned),
        problem: problem.to_owned(),
    };
    let mut found = Checked {
        good: false,
        manifest: "/srv/reveille.toml".into(),
        order: vec!["a".to_owned(), "b".to_owned()],
        hosts: vec!["localhost".to_owned()],
        problems: vec![trouble("/srv/reveille.toml:4: service.\"a\".unit", Some("localhost"), "a.service is not-found")],
    };
    insta::assert_snapshot!(checked(&found));
    found.problems.clear();
    assert!(checked(&found).ends_with("Nothing is wrong with 2 services.\n"));
}
