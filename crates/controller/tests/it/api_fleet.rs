//! Who may take hosts into the fleet, what is told of it, and what is left of a host that was removed.

use model::TargetId;
use serde_json::json;

use crate::api_rollouts::fleet;

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
    let body = json!({ "client_params": { "id": "web1", "group": "web" } });
    for path in ["/v1/pre-reboot", "/v1/steady-state"] {
        let request = axum::http::Request::builder().method("POST").uri(path).header("authorization", format!("Bearer {node}"));
        let request = request.header("fleet-lock-protocol", "true");
        stage.send(request.body(axum::body::Body::from(body.to_string())).unwrap()).await.expect(200);
    }
    for action in ["slot_taken", "slot_given"] {
        stage.audited(|entry| entry["action"] == action && entry["target"] == web1.to_string()).await;
    }
    stage.call("DELETE", &format!("/api/v1/hosts/{web1}"), Some(&stage.admin), None).await.expect(204);
    stage.audited(|entry| entry["action"] == "host_removed" && entry["detail"].as_str().unwrap().contains("host web1 ")).await;
}
