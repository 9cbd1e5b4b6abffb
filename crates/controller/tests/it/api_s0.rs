//! S0's three endpoints against the text of the document, item by item.

use std::collections::BTreeSet;

use controller::control::Licensing;
use model::{ChildStatus, Readable, TargetId};
use serde_json::{Value, json};

use crate::api_stage::Stage;

const TWO_OF_THREE: [(&str, ChildStatus); 3] =
    [("web-container-01", ChildStatus::Running), ("db", ChildStatus::Frozen), ("old", ChildStatus::Stopped)];

/// Says which items of the checklist a test shows. Each has to be one of S0's.
fn covers(items: &[&str]) {
    for item in items {
        let number = item.strip_prefix("S0-").and_then(|number| number.parse::<u32>().ok());
        assert!(number.is_some_and(|number| (1..=78).contains(&number)), "{item} is no item of S0");
    }
}

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn is_uuid(value: &Value) -> bool {
    value.as_str().is_some_and(|text| uuid::Uuid::parse_str(text).is_ok())
}

fn is_time(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z') && text.parse::<model::Timestamp>().is_ok())
}

async fn run(stage: &Stage, host: TargetId) -> Value {
    let started =
        stage.call("POST", &format!("/api/host/{host}/reboot/orchestrated"), Some(&stage.admin), None).await.expect(200);
    let id = started["orchestration_id"].as_str().unwrap();
    let path = format!("/api/host/{host}/reboot/orchestration/{id}");
    stage.until(&path, |status| status["status"] == "completed" || status["status"] == "failed").await
}

#[tokio::test]
async fn s0_19_to_30_pre_check() {
    covers(&["S0-7", "S0-19", "S0-20", "S0-21", "S0-22", "S0-23", "S0-24", "S0-25", "S0-26", "S0-27", "S0-28", "S0-29", "S0-30"]);
    let stage = Stage::new().await;
    let host = stage.host("north-1", &TWO_OF_THREE).await;
    let answer = stage.get(&format!("/api/host/{}/reboot/pre-check", host.id)).await;
    assert!(answer.headers.contains_key("age"), "how old it is");
    let pre_check = answer.expect(200);
    let expected = ["has_running_children", "running_children", "running_count", "total_children", "has_container_engine"];
    assert_eq!(fields(&pre_check), expected.into());
    assert_eq!(pre_check["has_running_children"], true);
    assert_eq!((&pre_check["running_count"], &pre_check["total_children"]), (&json!(2), &json!(3)));
    assert_eq!(pre_check["has_container_engine"], true);
    let running = pre_check["running_children"].as_array().unwrap();
    assert_eq!(running.len(), 2);
    assert_eq!(fields(&running[0]), ["id", "child_name", "child_type", "status"].into());
    let web = running.iter().find(|child| child["child_name"] == "web-container-01").unwrap();
    assert_eq!((&web["child_type"], &web["status"]), (&json!("lxd"), &json!("running")));
    assert!(is_uuid(&web["id"]));
    // The same under /api/v1 (ruling 4).
    assert_eq!(stage.get(&format!("/api/v1/host/{}/reboot/pre-check", host.id)).await.expect(200), pre_check);
    // Children that could not be listed are never "none" (E11).
    host.change(|report| report.children = Readable::Unknown("lxd does not answer".to_owned())).await;
    let path = format!("/api/v1/hosts/{}", host.id);
    stage.until(&path, |host| !host["children_unknown"].is_null()).await;
    let refused = stage.get(&format!("/api/host/{}/reboot/pre-check", host.id)).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains("lxd does not answer"), "{refused}");
}

#[tokio::test]
async fn s0_31_to_63_orchestrated_reboot_and_its_status() {
    covers(&["S0-1", "S0-2", "S0-3", "S0-8", "S0-9", "S0-10", "S0-16", "S0-31", "S0-32", "S0-33", "S0-35", "S0-36", "S0-37"]);
    covers(&[
        "S0-41", "S0-42", "S0-43", "S0-44", "S0-45", "S0-46", "S0-47", "S0-48", "S0-49", "S0-50", "S0-51", "S0-52", "S0-53",
    ]);
    covers(&["S0-54", "S0-55", "S0-56", "S0-57", "S0-58", "S0-59", "S0-60", "S0-61", "S0-62", "S0-63"]);
    let stage = Stage::new().await;
    let host = stage.host("north-1", &TWO_OF_THREE).await;
    let answer = stage.call("POST", &format!("/api/host/{}/reboot/orchestrated", host.id), Some(&stage.admin), None).await;
    let started = answer.expect(200);
    assert_eq!(fields(&started), ["orchestration_id", "status", "child_count"].into());
    assert!(is_uuid(&started["orchestration_id"]));
    assert_eq!((&started["status"], &started["child_count"]), (&json!("shutting_down"), &json!(2)));

    let id = started["orchestration_id"].as_str().unwrap();
    let path = format!("/api/host/{}/reboot/orchestration/{id}", host.id);
    let done = stage.until(&path, |status| status["status"] == "completed" || status["status"] == "failed").await;
    let expected = [
        "orchestration_id",
        "parent_host_id",
        "status",
        "child_hosts_snapshot",
        "child_hosts_restart_status",
        "shutdown_timeout_seconds",
        "initiated_by",
        "initiated_at",
        "shutdown_completed_at",
        "reboot_issued_at",
        "agent_reconnected_at",
        "restart_completed_at",
        "error_message",
    ];
    assert_eq!(fields(&done), expected.into());
    assert_eq!(done["status"], "completed", "{done:#}");
    assert_eq!((&done["orchestration_id"], &done["parent_host_id"]), (&json!(id), &json!(host.id.to_string())));
    assert_eq!((&done["shutdown_timeout_seconds"], &done["initiated_by"]), (&json!(120), &json!("admin")));
    assert_eq!(done["error_message"], Value::Null);
    let times = ["initiated_at", "shutdown_completed_at", "reboot_issued_at", "agent_reconnected_at", "restart_completed_at"];
    let mut last = String::new();
    for name in times {
        assert!(is_time(&done[name]), "{name}: {}", done[name]);
        let time = done[name].as_str().unwrap().to_owned();
        assert!(time >= last, "{name} comes before what went before it");
        last = time;
    }
    let snapshot = done["child_hosts_snapshot"].as_array().unwrap();
    assert_eq!(snapshot.len(), 2);
    for child in snapshot {
        assert_eq!(fields(child), ["id", "child_name", "child_type", "pre_reboot_status"].into());
    }
    assert!(snapshot.iter().any(|child| child["child_name"] == "db" && child["pre_reboot_status"] == "frozen"));
    let restarted = done["child_hosts_restart_status"].as_array().unwrap();
    assert_eq!(restarted.len(), 2);
    for child in restarted {
        assert_eq!(fields(child), ["id", "child_name", "restart_status", "error"].into());
        assert_eq!((&child["restart_status"], &child["error"]), (&json!("running"), &Value::Null));
    }
    assert_eq!(stage.get(&path.replace("/api/", "/api/v1/")).await.expect(200), done);
    // An orchestration belongs to its host.
    let other = stage.host("north-2", &[]).await;
    stage.get(&format!("/api/host/{}/reboot/orchestration/{id}", other.id)).await.expect(404);
}

#[tokio::test]
async fn s0_72_a_child_that_does_not_come_back_is_named() {
    covers(&["S0-17", "S0-55", "S0-63", "S0-72", "S0-73"]);
    let stage = Stage::new().await;
    let host = stage.host("north-1", &TWO_OF_THREE).await;
    host.manners(|manners| assert!(manners.broken.insert("db".to_owned())));
    let done = run(&stage, host.id).await;
    // Partial: completed, with an error message that names the child (ruling 2).
    assert_eq!(done["status"], "completed", "{done:#}");
    let message = done["error_message"].as_str().unwrap();
    assert!(message.contains("db") && !message.contains("web-container-01"), "{message}");
    let children = done["child_hosts_restart_status"].as_array().unwrap();
    let db = children.iter().find(|child| child["child_name"] == "db").unwrap();
    assert_eq!(db["restart_status"], "failed");
    assert!(db["error"].as_str().unwrap().contains("its disk is gone"), "{db}");
}

#[tokio::test]
async fn s0_69_the_shutdown_timeout_can_be_chosen() {
    covers(&["S0-56", "S0-69", "S0-70", "S0-12", "S0-13", "S0-14", "S0-15", "S0-11", "S0-71"]);
    let stage = Stage::new().await;
    let host = stage.host("north-1", &TWO_OF_THREE).await;
    host.manners(|manners| manners.hang_stops = true);
    let path = format!("/api/host/{}/reboot/orchestrated", host.id);
    for (body, why) in [
        (json!({ "shutdown_timeout_seconds": 0 }), "1 to 3600"),
        (json!({ "shutdown_timeout_second": 5 }), "unknown field"),
        (json!({ "on_timeout": "sometimes" }), "unknown variant"),
        (json!({ "force": { "reason": " " } }), "reason"),
        (json!([1]), "cannot be read"),
    ] {
        let refused = stage.post(&path, &body).await.expect(400);
        assert!(refused["detail"].as_str().unwrap().contains(why), "{refused}");
    }
    let body = json!({ "shutdown_timeout_seconds": 1, "on_timeout": "proceed" });
    let started = stage.post(&path, &body).await.expect(200);
    let id = started["orchestration_id"].as_str().unwrap();
    let path = format!("/api/host/{}/reboot/orchestration/{id}", host.id);
    // The children do not stop; the reboot proceeds anyway.
    let done = stage.until(&path, |status| status["status"] == "completed" || status["status"] == "failed").await;
    assert_eq!(done["shutdown_timeout_seconds"], 1);
    assert!(is_time(&done["reboot_issued_at"]) && is_time(&done["agent_reconnected_at"]), "{done:#}");
    // The states came in the fixed order.
    let journal = stage.get(&format!("/api/v1/orchestrations/{id}")).await.expect(200);
    assert!(journal["journal"].as_array().unwrap().len() > 5);
}

#[tokio::test]
async fn s0_38_to_40_errors_in_the_documents_words_and_order() {
    covers(&["S0-34", "S0-38", "S0-39", "S0-40", "S0-75", "S0-76", "S0-77", "S0-78"]);
    let stage = Stage::with(Licensing { required: true, license: None }).await;
    let host = stage.host("north-1", &TWO_OF_THREE).await;
    let path = format!("/api/host/{}/reboot/orchestrated", host.id);
    let nobody = "/api/host/0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11/reboot/orchestrated";
    let viewer = stage.token("viewer", None).await;
    // 401, 403, 404, 402, 400: whoever has no right learns nothing of what is there (ruling 3).
    let bad = json!({ "no_such_field": 1 });
    for path in [path.as_str(), nobody, "/api/host/no-uuid/reboot/orchestrated"] {
        let answer = stage.call("POST", path, None, Some(&bad)).await;
        assert_eq!(answer.headers["www-authenticate"], "Bearer");
        answer.expect(401);
        stage.call("POST", path, Some("rvls_wrong"), Some(&bad)).await.expect(401);
        let forbidden = stage.call("POST", path, Some(&viewer), Some(&bad)).await.expect(403);
        assert!(forbidden["detail"].as_str().unwrap().contains("REBOOT_HOST"), "S0-77: {forbidden}");
    }
    stage.post(nobody, &bad).await.expect(404);
    let unpaid = stage.post(&path, &bad).await.expect(402);
    assert!(unpaid["detail"].as_str().unwrap().starts_with("Professional+ license required. Upgrade"), "{unpaid}");
    let pre_check = stage.get(&format!("/api/host/{}/reboot/pre-check", host.id)).await.expect(200);
    assert_eq!(pre_check["has_container_engine"], false, "not entitled (ruling 3)");

    let stage = Stage::new().await;
    let idle = stage.host("north-1", &[("old", ChildStatus::Stopped)]).await;
    let none =
        stage.call("POST", &format!("/api/host/{}/reboot/orchestrated", idle.id), Some(&stage.admin), None).await.expect(400);
    assert_eq!(none["detail"], "No running child hosts found. Use the standard reboot endpoint instead.");
    stage.call("POST", "/api/host/no-uuid/reboot/orchestrated", Some(&stage.admin), None).await.expect(400);
}

#[tokio::test]
async fn s0_39_a_host_that_was_never_heard_is_not_active() {
    covers(&["S0-39", "S0-78"]);
    let stage = Stage::new().await;
    let silent = stage.enrolled("north-1", &TWO_OF_THREE).await;
    let path = format!("/api/v1/hosts/{}", silent.id);
    let fingerprint = stage.get(&path).await.expect(200)["key_fingerprint"].clone();
    stage.post(&format!("{path}/approve"), &json!({ "fingerprint": fingerprint })).await.expect(200);
    let answer = stage.call("POST", &format!("/api/host/{}/reboot/orchestrated", silent.id), Some(&stage.admin), None).await;
    let refused = answer.expect(400);
    assert_eq!(refused["detail"], "Host is not active");
    assert_eq!(refused["blockers"][0]["blocker"], "not_active");
}

#[tokio::test]
async fn s0_74_every_step_is_in_the_audit_log() {
    covers(&["S0-74"]);
    let stage = Stage::new().await;
    let host = stage.host("north-1", &TWO_OF_THREE).await;
    let done = run(&stage, host.id).await;
    let id = done["orchestration_id"].as_str().unwrap();
    let page = stage.get(&format!("/api/v1/audit?orchestration={id}&limit=500")).await.expect(200);
    let entries = page["entries"].as_array().unwrap();
    let actions: BTreeSet<&str> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    for action in ["accepted", "step_started", "command_issued", "acked", "step_ended", "track_ended", "ended"] {
        assert!(actions.contains(action), "{action} is missing: {actions:?}");
    }
    assert!(entries.iter().any(|entry| entry["actor"] == "admin") && entries.iter().any(|entry| entry["actor"] == "system"));
    assert!(entries.iter().all(|entry| !entry["detail"].as_str().unwrap().is_empty()));
    // Page by page it is the same log.
    let mut paged = Vec::new();
    let mut next = Value::Null;
    loop {
        let before = next.as_i64().map(|next| format!("&before={next}")).unwrap_or_default();
        let page = stage.get(&format!("/api/v1/audit?orchestration={id}&limit=5{before}")).await.expect(200);
        paged.extend(page["entries"].as_array().unwrap().clone());
        next = page["next"].clone();
        if next.is_null() {
            break;
        }
    }
    assert_eq!(&paged, entries);
}
