//! Commands on hosts with an agent, through the API: who may, what is refused, and how they end.

use std::sync::Arc;

use model::ActionKind;
use serde_json::{Value, json};

use crate::api_stage::{Device, Stage};

/// Hosts that run commands.
async fn fleet(names: &[&str]) -> (Stage, Vec<Arc<Device>>) {
    let stage = Stage::new().await;
    let mut devices = Vec::new();
    for name in names {
        let device = stage.host(name, &[]).await;
        device.change(|report| report.actions.extend([ActionKind::Run])).await;
        devices.push(device);
    }
    (stage, devices)
}

async fn over(stage: &Stage, started: &Value) -> Value {
    let path = format!("/api/v1/orchestrations/{}", started["id"].as_str().unwrap());
    stage.until(&path, |shown| !shown["outcome"].is_null()).await
}

async fn track(stage: &Stage, started: &Value, index: u32) -> Value {
    stage.get(&format!("/api/v1/orchestrations/{}/tracks/{index}", started["id"].as_str().unwrap())).await.expect(200)
}

#[tokio::test]
async fn s2_18_a_named_command_is_run_on_each_host_and_its_end_is_shown_and_audited() {
    let (stage, _devices) = fleet(&["north-1", "south-1"]).await;
    let body = json!({ "targets": ["*"], "name": "rotate-logs", "options": { "concurrency": 2 } });
    let started = stage.post("/api/v1/runs", &body).await.expect(201);
    assert_eq!(started["targets"], 2);
    let ended = over(&stage, &started).await;
    assert_eq!((&ended["outcome"], &ended["operation"]), (&json!("completed"), &json!("run")), "{ended}");
    for index in 0..2 {
        let ran = track(&stage, &started, index).await["ran"].clone();
        assert_eq!((&ran["exit"], &ran["out"]["tail"]), (&json!(0), &json!("rotate-logs was run\n")), "{ran}");
    }
    let told = |entry: &Value, word: &str| entry["detail"].as_str().unwrap().contains(word);
    stage.audited(|entry| told(entry, "run of command rotate-logs accepted: 2 targets") && entry["actor"] == "admin").await;
    stage.audited(|entry| told(entry, "run on north-1: command rotate-logs")).await;
    // It is no rollout that could be taken up, and is not run again.
    let again = format!("/api/v1/rollouts/{}/retry", started["id"].as_str().unwrap());
    let refused = stage.post(&again, &json!({})).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains("run it anew"), "{refused}");
}

#[tokio::test]
async fn an_exit_code_stops_the_rest_and_a_lost_end_is_unknown() {
    let (stage, devices) = fleet(&["north-1", "south-1"]).await;
    devices.iter().for_each(|device| device.manners(|manners| manners.exit = 3));
    let body = json!({ "targets": ["*"], "name": "check" });
    let started = stage.post("/api/v1/runs", &body).await.expect(201);
    let path = format!("/api/v1/orchestrations/{}", started["id"].as_str().unwrap());
    let paused = stage.until(&path, |shown| !shown["rollout"]["paused"].is_null()).await;
    assert_eq!((&paused["rollout"]["failures"], &paused["rollout"]["waiting"]), (&json!(1), &json!(1)), "{paused}");
    stage.post(&format!("{path}/cancel"), &json!({})).await.expect(200);
    let failed = track(&stage, &started, 0).await;
    assert_eq!((&failed["outcome"], &failed["ran"]["exit"]), (&json!("failed"), &json!(3)), "{failed}");

    devices.iter().for_each(|device| device.manners(|manners| manners.dies = true));
    let started = stage.post("/api/v1/runs", &json!({ "targets": ["north-1"], "name": "check" })).await.expect(201);
    let ended = over(&stage, &started).await;
    assert_eq!((&ended["outcome"], &ended["status"]), (&json!("unknown"), &json!("failed")), "{ended}");
    assert_eq!(ended["rollout"]["ended"], json!([{ "outcome": "unknown", "count": 1 }]));
}

#[tokio::test]
async fn who_may_run_what_is_judged_by_role_scope_and_the_host() {
    let (stage, _devices) = fleet(&["north-1", "south-1"]).await;
    let named = |target: &str| json!({ "targets": [target], "name": "a" });
    let free = json!({ "targets": ["north-1"], "line": "uptime" });
    let viewer = stage.token("viewer", None).await;
    let denied = stage.call("POST", "/api/v1/runs", Some(&viewer), Some(&named("north-1"))).await.expect(403);
    assert_eq!(denied["permission"], "RUN_COMMAND");
    let operator = stage.token("operator", Some("site=north")).await;
    let started = stage.call("POST", "/api/v1/runs", Some(&operator), Some(&named("north-1"))).await.expect(201);
    over(&stage, &started).await;
    let status = stage.call("POST", "/api/v1/runs", Some(&operator), Some(&named("south-1"))).await.status;
    assert!([403, 404].contains(&status), "outside its scope: {status}");
    let denied = stage.call("POST", "/api/v1/runs", Some(&operator), Some(&free)).await.expect(403);
    assert_eq!(denied["permission"], "RUN_FREE");
    stage.audited(|entry| entry["success"] == false && entry["action"] == "RUN_FREE").await;
    // A token acts for its user, and the host is told the user.
    let admin = stage.token("admin", None).await;
    let started = stage.call("POST", "/api/v1/runs", Some(&admin), Some(&free)).await.expect(201);
    over(&stage, &started).await;
    assert_eq!(track(&stage, &started, 0).await["ran"]["out"]["tail"], "uptime was run for admin\n");
    stage.audited(|entry| entry["detail"].as_str().unwrap().contains("for admin: free command \"uptime\"")).await;
}

#[tokio::test]
async fn what_is_no_run_is_refused_with_a_hint() {
    let (stage, _devices) = fleet(&["north-1"]).await;
    stage.host("south-1", &[]).await;
    for (body, status, word) in [
        (json!({ "targets": ["north-1"] }), 400, "either name"),
        (json!({ "targets": ["north-1"], "name": "a", "line": "b" }), 400, "either name"),
        (json!({ "targets": ["north-1"], "name": "../../bin/sh" }), 400, "no name of a command"),
        (json!({ "targets": ["north-1"], "line": " " }), 400, "empty"),
        (json!({ "name": "a" }), 400, "no host is named"),
        (json!({ "targets": ["north-9"], "name": "a" }), 404, "north-9"),
        (json!({ "targets": ["north-1"], "name": "a", "limit": 0 }), 400, "may take from"),
        (json!({ "targets": ["north-1"], "name": "a", "options": { "only_if_required": true } }), 400, "asks for no reboot"),
        (json!({ "targets": ["north-1"], "name": "a", "options": { "checks": ["nothing"] } }), 400, "nothing"),
        (json!({ "targets": ["north-1"], "name": "a", "shell": true }), 400, "shell"),
        // An agent that knows no commands: nothing is run on the others either.
        (json!({ "targets": ["*"], "name": "a" }), 409, "south-1"),
    ] {
        let refused = stage.post("/api/v1/runs", &body).await.expect(status);
        assert!(refused.to_string().contains(word), "{body}: {refused}");
    }
    stage.audited(|entry| entry["success"] == false && entry["action"] == "submit").await;
    assert!(stage.get("/api/v1/orchestrations").await.expect(200)["orchestrations"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn ten_thousand_hosts_may_be_named_one_by_one_and_more_are_named_otherwise() {
    let (stage, _devices) = fleet(&["north-1"]).await;
    let words = |many: usize| (0..many).map(|n| format!("{n:0>64}")).collect::<Vec<_>>();
    for (path, name) in [("/api/v1/rollouts", None), ("/api/v1/runs", Some("a"))] {
        let body = |many| {
            let mut body = json!({ "targets": words(many) });
            if let Some(name) = name {
                body["name"] = name.into();
            }
            body
        };
        // Read, and nobody is called so.
        stage.post(path, &body(10_000)).await.expect(404);
        let refused = stage.post(path, &body(40_000)).await.expect(413);
        assert!(refused["detail"].as_str().unwrap().contains("by a label or a pattern"), "{refused}");
    }
}
