//! Who may take hosts into the fleet, what is told of it, and what is left of a host that was removed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::http::Request;
use controller::control::{Performer, Reached};
use controller::transport::BoxFuture;
use model::{Ack, Command, Millis, Report, TargetId};
use serde_json::json;
use tokio::sync::mpsc;

use crate::api_rollouts::{Played, eventually, fleet};
use crate::api_stage::{Answer, Stage, config};

/// One request of a `FleetLock` client.
async fn fleet_lock(stage: &Stage, path: &str, token: Option<&str>, id: &str) -> Answer {
    let body = json!({ "client_params": { "id": id, "group": "web" } });
    let mut request = Request::builder().method("POST").uri(path).header("fleet-lock-protocol", "true");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    stage.send(request.body(Body::from(body.to_string())).unwrap()).await
}

/// G10: naming an address is using the controller's own key on it. Whoever manages only some hosts may say what they are like,
/// not where they are.
#[tokio::test]
async fn whoever_manages_some_hosts_names_no_address() {
    let (stage, _) = fleet(&["web1", "db1"]).await;
    let token = stage.token("admin", Some("role=web")).await;
    let adopt = async |name: &str, address: &str| {
        let body = json!({ "name": name, "address": address, "labels": { "role": "web", "rack": "7" } });
        stage.call("POST", "/api/v1/hosts", Some(&token), Some(&body)).await
    };
    assert_eq!(adopt("mine", "root@db1.example").await.expect(403)["outside_scope"], true);
    adopt("mine", "root@elsewhere.example").await.expect(403);
    adopt("web1", "root@db1.example:22").await.expect(403);
    stage.audited(|entry| entry["action"] == "adopt" && entry["success"] == false).await;
    assert_eq!(adopt("web1", "root@web1.example:22").await.expect(200)["labels"]["rack"], "7");

    // Nor has a machine two names.
    let twin = json!({ "name": "twin", "address": "ops@DB1.example", "labels": {} });
    let refused = stage.post("/api/v1/hosts", &twin).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains("db1"), "{refused}");
}

/// The audit log says who adopted, what was removed, and whose slot it is.
#[tokio::test]
async fn the_audit_log_names_people_and_hosts() {
    let (stage, _) = fleet(&["web1"]).await;
    let web1 = TargetId::of_ssh("web1");
    stage.audited(|entry| entry["action"] == "host_adopted" && entry["actor"] == "admin").await;
    let node = stage.token("node", None).await;
    for path in ["/v1/pre-reboot", "/v1/steady-state"] {
        fleet_lock(&stage, path, Some(&node), "web1").await.expect(200);
    }
    for action in ["slot_taken", "slot_given"] {
        stage.audited(|entry| entry["action"] == action && entry["target"] == web1.to_string()).await;
    }
    stage.call("DELETE", &format!("/api/v1/hosts/{web1}"), Some(&stage.admin), None).await.expect(204);
    stage.audited(|entry| entry["action"] == "host_removed" && entry["detail"].as_str().unwrap().contains("host web1 ")).await;
}

#[tokio::test]
async fn a_client_is_asked_for_basic_and_a_slot_is_taken_away_from_whoever_has_it() {
    let (stage, _) = fleet(&["web1"]).await;
    let refused = fleet_lock(&stage, "/v1/pre-reboot", None, "c988").await;
    assert!(refused.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "), "{:?}", refused.headers);
    refused.expect(401);
    let other = stage.call("GET", "/api/v1/hosts", None, None).await;
    assert_eq!(other.headers["www-authenticate"], "Bearer");

    let scoped = stage.token("node", Some("fleetlock.group=db")).await;
    fleet_lock(&stage, "/v1/steady-state", Some(&scoped), "c988").await.expect(403);
    stage.audited(|entry| entry["action"] == "give_slot" && entry["success"] == false).await;

    let node = stage.token("node", None).await;
    fleet_lock(&stage, "/v1/pre-reboot", Some(&node), "c988").await.expect(200);
    let release = |holder: &str| json!({ "group": "web", "holder": holder });
    let nobody = stage.post("/api/v1/slots/release", &release("c989")).await.expect(404);
    assert!(nobody["detail"].as_str().unwrap().contains("c989"), "{nobody}");
    let locks = stage.post("/api/v1/slots/release", &release("c988")).await.expect(200);
    assert_eq!(locks["locks"], json!([]));
    stage.audited(|entry| entry["action"] == "slot_given" && entry["actor"] == "admin").await;
}

#[tokio::test]
async fn a_mark_of_another_stays_and_says_whose_it_is() {
    let (stage, _) = fleet(&["web1"]).await;
    let hold = format!("/api/v1/hosts/{}/hold", TargetId::of_ssh("web1"));
    stage.post(&hold, &json!({ "reason": "new disk" })).await.expect(200);
    let other = stage.token("operator", None).await;
    let refused = stage.call("POST", &hold, Some(&other), Some(&json!({ "reason": "test" }))).await.expect(409);
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("admin") && detail.contains("new disk"), "{refused}");
}

/// G10: a refused attempt is audited, by whatever route it was made.
#[tokio::test]
async fn naming_hosts_outside_the_scope_is_audited() {
    let (stage, _) = fleet(&["web1", "db1"]).await;
    let db1 = TargetId::of_ssh("db1");
    let token = stage.token("operator", Some("role=web")).await;
    let body = json!({ "targets": ["web1 db1"], "dry_run": true });
    stage.call("POST", "/api/v1/rollouts", Some(&token), Some(&body)).await.expect(404);
    stage.audited(|entry| entry["action"] == "submit" && entry["success"] == false && entry["target"] == db1.to_string()).await;
}

/// It would be an option to the program that a drain runs with it.
#[tokio::test]
async fn a_label_does_not_begin_with_a_dash() {
    let (stage, _) = fleet(&[]).await;
    let body = json!({ "name": "web1", "address": "web1", "labels": { "node": "--selector=" } });
    assert!(stage.post("/api/v1/hosts", &body).await.expect(400)["detail"].as_str().unwrap().contains("beginning with -"));
}

/// A journal of ten thousand hosts is no answer to "pause".
#[tokio::test]
async fn what_is_said_to_a_rollout_is_answered_without_its_journal() {
    let (stage, _) = fleet(&["web1"]).await;
    stage.post("/api/v1/freeze", &json!({ "reason": "so that it stands" })).await.expect(200);
    let started = stage.post("/api/v1/rollouts", &json!({ "targets": ["web1"] })).await.expect(201);
    let at = format!("/api/v1/rollouts/{}", started["id"].as_str().unwrap());
    let paused = stage.post(&format!("{at}/pause"), &json!({ "reason": "lunch" })).await.expect(200);
    assert_eq!((&paused["journal"], &paused["rollout"]["paused"]["reason"]), (&json!([]), &json!("lunch")));
    assert!(!stage.get(&at).await.expect(200)["journal"].as_array().unwrap().is_empty());
}

/// Performs a reboot for ever, until somebody ends that.
#[derive(Default)]
struct Hanging {
    played: Played,
    begun: AtomicBool,
    ended: Arc<AtomicBool>,
}

struct Ended(Arc<AtomicBool>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Performer for Hanging {
    fn perform<'a>(&'a self, host: &'a Reached, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        if !command.action.kind().ends_boot() {
            return self.played.perform(host, command, left, say);
        }
        Box::pin(async move {
            let _ended = Ended(Arc::clone(&self.ended));
            self.begun.store(true, Ordering::Relaxed);
            std::future::pending::<()>().await;
        })
    }

    fn perform_here<'a>(&'a self, command: &'a Command, left: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        self.played.perform_here(command, left, say)
    }

    fn survey<'a>(&'a self, host: &'a Reached) -> BoxFuture<'a, Result<Report, String>> {
        self.played.survey(host)
    }
}

/// Nothing is done to a machine that was taken out of the fleet, also not what had begun.
#[tokio::test]
async fn what_is_under_way_ends_when_its_host_is_removed() {
    let hanging = Arc::new(Hanging::default());
    let stage = Stage::reaching(Arc::clone(&hanging) as _).await;
    stage.post("/api/v1/hosts", &json!({ "name": "web1", "address": "web1", "labels": {} })).await.expect(200);
    let at = format!("/api/v1/hosts/{}", TargetId::of_ssh("web1"));
    stage.until(&at, |host| host["state"] == "active").await;
    stage.post("/api/v1/rollouts", &json!({ "targets": ["web1"], "options": { "soak": 0 } })).await.expect(201);
    eventually(async || hanging.begun.load(Ordering::Relaxed)).await;
    stage.call("DELETE", &at, Some(&stage.admin), None).await.expect(204);
    eventually(async || hanging.ended.load(Ordering::Relaxed)).await;
}

/// Whoever reboots one host learns what only rollouts use for it.
#[tokio::test]
async fn explain_names_what_a_rollout_of_the_host_would_use() {
    let mut engine = config();
    let parsed: engine::Config = serde_json::from_value(json!({
        "drain": { "lb": { "on": "role=web", "kind": "http", "url": "http://lb/{name}" } },
        "check": { "up": { "on": "*", "kind": "tcp", "address": "{address}:80" } },
        "window": { "night": { "from": "01:00", "to": "04:00" } },
        "rollout": { "windows": ["night"] },
    }))
    .unwrap();
    engine.drains = parsed.drains;
    engine.checks = parsed.checks;
    engine.windows = parsed.windows;
    engine.rollout = parsed.rollout;
    let stage = Stage::configured(Arc::new(Played::default()), engine).await;
    for (name, drains) in [("web", json!(["lb"])), ("db", json!([]))] {
        let body = json!({ "name": name, "address": name, "labels": { "role": name } });
        stage.post("/api/v1/hosts", &body).await.expect(200);
        let explained = stage.get(&format!("/api/v1/hosts/{}/explain", TargetId::of_ssh(name))).await.expect(200);
        assert_eq!(explained["rollouts_use"], json!({ "drains": drains, "checks": ["up"], "windows": ["night"] }));
    }
}
