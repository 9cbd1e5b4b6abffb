//! Our own routes: conflicts, plain reboot, cancel, live progress, hosts, explain.

use axum::body::Body;
use axum::http::Request;
use model::ChildStatus;
use serde_json::{Value, json};

use crate::api_stage::Stage;

const ONE: [(&str, ChildStatus); 1] = [("web", ChildStatus::Running)];

async fn held(stage: &Stage, name: &str) -> (model::TargetId, String) {
    let host = stage.host(name, &ONE).await;
    host.manners(|manners| manners.hang_stops = true);
    let body = json!({ "on_timeout": "abort", "shutdown_timeout_seconds": 600 });
    let started = stage.post(&format!("/api/v1/host/{}/reboot/orchestrated", host.id), &body).await.expect(200);
    let id = started["orchestration_id"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/orchestrations/{id}");
    stage.until(&path, |one| one["children"][0]["stop_status"] == "stopping").await;
    (host.id, id)
}

/// Ruling 5: every way down goes through the guard, and a conflict names the orchestration that is active.
#[tokio::test]
async fn a_host_that_is_taken_answers_409_with_the_id() {
    let stage = Stage::new().await;
    let (host, id) = held(&stage, "north-1").await;
    for place in ["reboot/orchestrated", "reboot", "shutdown"] {
        let refused = stage.post(&format!("/api/v1/host/{host}/{place}"), &json!({})).await.expect(409);
        assert_eq!(refused["orchestration_id"], id.as_str(), "{place}: {refused}");
        assert_eq!(refused["blockers"][0]["blocker"], "locked");
    }
    let seen = stage.get(&format!("/api/v1/hosts/{host}")).await.expect(200);
    assert_eq!(seen["active_orchestration"], id.as_str());
    let explained = stage.get(&format!("/api/v1/hosts/{host}/explain")).await.expect(200);
    assert_eq!(explained["would_start"], false);
    assert_eq!(explained["blockers"][0]["orchestration"], id.as_str());
    let list = stage.get(&format!("/api/v1/orchestrations?active=true&host={host}")).await.expect(200);
    assert_eq!(list["orchestrations"][0]["id"], id.as_str());
}

#[tokio::test]
async fn a_cancelled_orchestration_brings_back_what_it_stopped() {
    let stage = Stage::new().await;
    let (_, id) = held(&stage, "north-1").await;
    let path = format!("/api/v1/orchestrations/{id}");
    let operator = stage.token("operator", Some("site=south")).await;
    stage.call("POST", &format!("{path}/cancel"), Some(&operator), None).await.expect(404);
    stage.call("POST", &format!("{path}/cancel"), Some(&stage.admin), None).await.expect(200);
    let over = stage.until(&path, |one| !one["outcome"].is_null()).await;
    assert_eq!(over["outcome"], "cancelled", "{over:#}");
    stage.call("POST", &format!("{path}/cancel"), Some(&stage.admin), None).await.expect(409);
}

/// Ruling 24.
#[tokio::test]
async fn a_reboot_that_was_issued_cannot_be_cancelled() {
    let stage = Stage::new().await;
    let host = stage.host("north-1", &ONE).await;
    host.manners(|manners| manners.stay_away = true);
    let started = stage.post(&format!("/api/v1/host/{}/reboot/orchestrated", host.id), &json!({})).await.expect(200);
    let path = format!("/api/v1/orchestrations/{}", started["orchestration_id"].as_str().unwrap());
    stage.until(&path, |one| one["status"] == "rebooting" || one["status"] == "pending_restart").await;
    let refused = stage.call("POST", &format!("{path}/cancel"), Some(&stage.admin), None).await.expect(409);
    assert_eq!(refused["detail"], "reboot already issued");
}

/// Ruling 26, and ruling 10 for the lockout.
#[tokio::test]
async fn a_plain_reboot_has_the_same_status_document_and_the_same_guard() {
    let stage = Stage::new().await;
    let parent = stage.host("north-1", &ONE).await;
    let refused = stage.post(&format!("/api/v1/host/{}/reboot", parent.id), &json!({})).await.expect(409);
    assert_eq!(refused["blockers"][0]["blocker"], "children_running");
    let host = stage.host("north-2", &[]).await;
    for _ in 0..3 {
        let started = stage.post(&format!("/api/v1/host/{}/reboot", host.id), &json!({})).await.expect(200);
        assert_eq!(started["child_count"], 0);
        let id = started["orchestration_id"].as_str().unwrap();
        let path = format!("/api/v1/host/{}/reboot/orchestration/{id}", host.id);
        stage.until(&path, |status| status["status"] == "completed").await;
    }
    let locked = stage.post(&format!("/api/v1/host/{}/reboot", host.id), &json!({})).await.expect(409);
    assert_eq!(locked["error"], "blocked_safety", "{locked}");
    assert!(locked["retry_at"].as_str().unwrap().parse::<model::Timestamp>().unwrap() > stage.control.now());
}

async fn stream(stage: &Stage, id: &str, after: Option<&str>) -> Vec<(String, String, Value)> {
    stream_of(stage, &stage.admin, id, after).await
}

async fn stream_of(stage: &Stage, token: &str, id: &str, after: Option<&str>) -> Vec<(String, String, Value)> {
    let mut request =
        Request::get(format!("/api/v1/orchestrations/{id}/events")).header("authorization", format!("Bearer {token}"));
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let text = stage.send(request.body(Body::empty()).unwrap()).await.expect(200);
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap_or_default().to_owned()
    };
    let events = text.as_str().unwrap().split("\n\n").filter(|event| event.contains("data:"));
    events.map(|e| (field(e, "event"), field(e, "id"), serde_json::from_str(&field(e, "data")).unwrap())).collect()
}

#[tokio::test]
async fn progress_is_streamed_and_resumed_without_repeating() {
    let stage = Stage::new().await;
    let host = stage.host("north-1", &ONE).await;
    let started = stage.post(&format!("/api/v1/host/{}/reboot/orchestrated", host.id), &json!({})).await.expect(200);
    let id = started["orchestration_id"].as_str().unwrap();
    // The stream ends by itself, when the orchestration is over.
    let events = stream(&stage, id, None).await;
    let (name, last, end) = events.last().unwrap();
    assert_eq!((name.as_str(), &end["orchestration"]["outcome"]), ("ended", &json!("completed")));
    let lines: Vec<&Value> = events.iter().flat_map(|(_, _, data)| data["lines"].as_array().unwrap()).collect();
    let whole = stage.get(&format!("/api/v1/orchestrations/{id}")).await.expect(200);
    let journal: Vec<&Value> = whole["journal"].as_array().unwrap().iter().collect();
    assert_eq!(lines, journal, "every line once, in order");
    assert!(journal.iter().all(|line| !line["text"].as_str().unwrap().is_empty()));

    let resumed = stream(&stage, id, Some("3")).await;
    let first = resumed.iter().find_map(|(_, _, data)| data["lines"].get(0)).unwrap();
    assert_eq!(first["position"], 3);
    let nothing = stream(&stage, id, Some(last)).await;
    assert_eq!(nothing.len(), 1, "only the end is said again");
    assert!(nothing[0].2["lines"].as_array().unwrap().is_empty());
    let bad = Request::get(format!("/api/v1/orchestrations/{id}/events"))
        .header("authorization", format!("Bearer {}", stage.admin))
        .header("last-event-id", "x");
    stage.send(bad.body(Body::empty()).unwrap()).await.expect(400);
}

/// G10: whoever was let in once does not go on listening when its token has ended.
#[tokio::test]
async fn a_stream_of_a_revoked_token_tells_nothing_more() {
    let stage = Stage::new().await;
    let host = stage.host("north-1", &ONE).await;
    host.manners(|manners| manners.hang_stops = true);
    let started = stage.post(&format!("/api/v1/host/{}/reboot/orchestrated", host.id), &json!({})).await.expect(200);
    let id = started["orchestration_id"].as_str().unwrap();
    let token = stage.token("viewer", None).await;
    let revoked = async {
        let tokens = stage.get("/api/v1/tokens").await.expect(200);
        let of_viewer =
            tokens["tokens"].as_array().unwrap().iter().find(|token| token["role"] == "viewer").unwrap()["id"].clone();
        stage.until(&format!("/api/v1/orchestrations/{id}"), |it| !it["journal"].as_array().unwrap().is_empty()).await;
        stage.call("DELETE", &format!("/api/v1/tokens/{of_viewer}"), Some(&stage.admin), None).await.expect(204);
        stage.post(&format!("/api/v1/orchestrations/{id}/cancel"), &json!({})).await.expect(200);
        stage.until(&format!("/api/v1/orchestrations/{id}"), |it| it["outcome"] != Value::Null).await;
    };
    let (events, ()) = tokio::join!(stream_of(&stage, &token, id, None), revoked);
    let told = |word: &str| events.iter().any(|(_, _, data)| data.to_string().contains(word));
    assert!(!events.iter().any(|(name, ..)| name == "ended") && !told("cancelled"), "{events:?}");
}

#[tokio::test]
async fn a_host_is_approved_with_the_key_that_was_seen() {
    let stage = Stage::new().await;
    let host = stage.enrolled("north-1", &ONE).await;
    let path = format!("/api/v1/hosts/{}", host.id);
    let seen = stage.get(&path).await.expect(200);
    assert_eq!(seen["approved"], false);
    stage.post(&format!("{path}/approve"), &json!({ "fingerprint": "0000" })).await.expect(409);
    stage.post(&format!("{path}/approve"), &json!({})).await.expect(400);
    let body = json!({ "fingerprint": seen["key_fingerprint"] });
    assert_eq!(stage.post(&format!("{path}/approve"), &body).await.expect(200)["approved"], true);
    stage.post(&format!("{path}/approve"), &body).await.expect(409);
    stage.post(&format!("{path}/acknowledge"), &json!({})).await.expect(409);
}

/// Ruling 25.
#[tokio::test]
async fn hosts_are_selected_by_id_name_or_labels() {
    let stage = Stage::new().await;
    let one = stage.enrolled("north-1", &[]).await;
    stage.enrolled("north-2", &[]).await;
    stage.enrolled("south-1", &[]).await;
    for (selector, names) in
        [("north-1".to_owned(), 1), (one.id.to_string(), 1), ("site=north".to_owned(), 2), ("site=south".to_owned(), 1)]
    {
        let list = stage.get(&format!("/api/v1/hosts?selector={}", selector.replace('=', "%3D"))).await.expect(200);
        assert_eq!(list["hosts"].as_array().unwrap().len(), names, "{selector}");
    }
    assert_eq!(stage.get("/api/v1/hosts").await.expect(200)["hosts"].as_array().unwrap().len(), 3);
    stage.get("/api/v1/hosts?selector=nobody").await.expect(404);
    stage.get("/api/v1/hosts?selector=").await.expect(400);
    stage.get("/api/v1/hosts?selectr=north-1").await.expect(400);
}
