//! Rights: every route without a token, with too little right, with a token that ended; and what is no request at all.

use axum::body::Body;
use axum::http::Request;
use controller::api::{Need, document};
use controller::control::{Permission, Role};
use serde_json::json;

use crate::api_document::operations;
use crate::api_stage::{PASSWORD, Stage};

/// G10: each operation of the document, asked without a token, with a wrong one, and with one whose role is too small.
#[tokio::test]
async fn every_operation_refuses_who_has_no_right() {
    let stage = Stage::new().await;
    let viewer = stage.token("viewer", None).await;
    let operator = stage.token("operator", None).await;
    let mut checked = 0;
    for (method, path, operation) in operations(&serde_json::to_value(document()).unwrap()) {
        let need = Need::read(&operation).unwrap();
        let path = path.replace("{name}", "nobody").replace("{token_id}", "999");
        let path = path.replace("{host_id}", &uuid::Uuid::from_u128(1).to_string());
        let path = path.replace("{orchestration_id}", &uuid::Uuid::from_u128(2).to_string());
        if need == Need::Public {
            assert_ne!(stage.call(&method, &path, None, None).await.status, 401, "{method} {path}");
            continue;
        }
        stage.call(&method, &path, None, None).await.expect(401);
        stage.call(&method, &path, Some("rvlt_no_such_token"), None).await.expect(401);
        for (role, token) in [(Role::Viewer, &viewer), (Role::Operator, &operator)] {
            // Ending the token that is used for the rest would end the test.
            // And a stream that has no end of its own has none here; both roles may see it.
            if path.ends_with("/logout") || path.ends_with("/live") {
                continue;
            }
            let status = stage.call(&method, &path, Some(token), None).await.status;
            let allowed = match need {
                Need::Permission(permission) => role.grants(permission),
                Need::Token | Need::Public => true,
            };
            assert_eq!(status == 403, !allowed, "{method} {path} as {role}: {status}");
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked}");
    assert!(Permission::ALL.iter().all(|permission| Role::Admin.grants(*permission)));
    stage.audited(|entry| entry["success"] == false && entry["detail"].as_str().unwrap().contains("REBOOT_HOST")).await;
    stage.audited(|entry| entry["success"] == false && entry["detail"].as_str().unwrap().contains("no token")).await;
}

#[tokio::test]
async fn a_token_reaches_only_the_hosts_in_its_scope() {
    let stage = Stage::new().await;
    let north = stage.enrolled("north-1", &[]).await;
    let south = stage.enrolled("south-1", &[]).await;
    let token = stage.token("operator", Some("site=north")).await;
    let list = stage.call("GET", "/api/v1/hosts", Some(&token), None).await.expect(200);
    assert_eq!(list["hosts"].as_array().unwrap().len(), 1);
    stage.call("GET", &format!("/api/v1/hosts/{}", north.id), Some(&token), None).await.expect(200);
    stage.call("GET", &format!("/api/v1/hosts/{}", south.id), Some(&token), None).await.expect(403);
    let path = format!("/api/host/{}/reboot/orchestrated", south.id);
    let refused = stage.call("POST", &path, Some(&token), None).await.expect(403);
    assert_eq!(refused["outside_scope"], true);
    // Whoever may not force cannot.
    let forced = json!({ "force": { "reason": "because" } });
    let path = format!("/api/v1/host/{}/reboot", north.id);
    let refused = stage.call("POST", &path, Some(&token), Some(&forced)).await.expect(403);
    assert_eq!(refused["permission"], "FORCE");
    // Nor give away more than it has.
    let more = json!({ "name": "more", "role": "admin" });
    stage.call("POST", "/api/v1/tokens", Some(&token), Some(&more)).await.expect(403);
}

#[tokio::test]
async fn tokens_end_by_time_by_hand_and_by_logout() {
    let stage = Stage::new().await;
    let made =
        stage.post("/api/v1/tokens", &json!({ "name": "brief", "role": "viewer", "expires_in_seconds": 1 })).await.expect(200);
    let token = made["token"].as_str().unwrap().to_owned();
    stage.call("GET", "/api/v1/hosts", Some(&token), None).await.expect(200);
    let end = tokio::time::Instant::now() + crate::api_stage::LIMIT;
    while stage.call("GET", "/api/v1/hosts", Some(&token), None).await.status != 401 {
        assert!(tokio::time::Instant::now() < end, "the token never expires");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let revoked = stage.token("viewer", None).await;
    let list = stage.get("/api/v1/tokens").await.expect(200);
    assert!(!list.to_string().contains(&revoked), "a secret is shown once");
    let id = list["tokens"].as_array().unwrap().iter().find(|one| one["name"] == "viewer-all").unwrap()["id"].clone();
    assert_eq!(stage.call("DELETE", &format!("/api/v1/tokens/{id}"), Some(&stage.admin), None).await.status, 204);
    stage.call("GET", "/api/v1/hosts", Some(&revoked), None).await.expect(401);

    let login = json!({ "user": "admin", "password": PASSWORD });
    let session = stage.call("POST", "/api/v1/login", None, Some(&login)).await.expect(200)["token"].as_str().unwrap().to_owned();
    assert_eq!(stage.call("POST", "/api/v1/logout", Some(&session), None).await.status, 204);
    stage.call("GET", "/api/v1/hosts", Some(&session), None).await.expect(401);
    let change = json!({ "old_password": PASSWORD, "new_password": "another long password" });
    let session = stage.post("/api/v1/password", &change).await.expect(200);
    let token = session["token"].as_str().unwrap();
    stage.call("GET", "/api/v1/hosts", Some(token), None).await.expect(200);
    stage.call("POST", "/api/v1/login", None, Some(&login)).await.expect(401);
}

#[tokio::test]
async fn a_user_is_made_with_a_one_time_password() {
    let stage = Stage::new().await;
    let made = stage.post("/api/v1/users", &json!({ "name": "eve", "role": "viewer" })).await.expect(200);
    let first = json!({ "user": "eve", "password": made["one_time_password"], "new_password": "a password of her own" });
    let session = stage.call("POST", "/api/v1/login", None, Some(&first)).await.expect(200);
    assert_eq!((&session["role"], &session["permissions"]), (&json!("viewer"), &json!(["VIEW_HOSTS"])));
    let token = session["token"].as_str().unwrap();
    stage.call("GET", "/api/v1/users", Some(token), None).await.expect(403);
    stage.post("/api/v1/users", &json!({ "name": "bob", "role": "king" })).await.expect(400);
    stage.post("/api/v1/users", &json!({ "name": "eve", "role": "viewer" })).await.expect(409);
    assert_eq!(stage.call("DELETE", "/api/v1/users/eve", Some(&stage.admin), None).await.status, 204);
    stage.call("GET", "/api/v1/hosts", Some(token), None).await.expect(401);
}

#[tokio::test]
async fn whoever_guesses_passwords_is_slowed_down() {
    let stage = Stage::new().await;
    let wrong = json!({ "user": "admin", "password": "wrong" });
    for _ in 0..100 {
        let answer = stage.call("POST", "/api/v1/login", None, Some(&wrong)).await;
        if answer.status == 429 {
            assert!(answer.headers.contains_key("retry-after"));
            stage.audited(|entry| entry["action"] == "login" && entry["success"] == false).await;
            return;
        }
        assert_eq!(answer.status, 401);
    }
    panic!("a hundred guesses in a row were answered");
}

/// Every error is a problem document: the stage checks that for each of these.
#[tokio::test]
async fn what_is_no_request_is_answered_with_a_problem() {
    let stage = Stage::new().await;
    stage.get("/no/such/route").await.expect(404);
    stage.get("/api/v1/hosts/no-uuid").await.expect(400);
    let wrong_method = stage.call("PUT", "/api/v1/hosts", Some(&stage.admin), None).await;
    wrong_method.expect(405);
    stage.call("PUT", "/api/v1/hosts", None, None).await.expect(405);
    let request = |kind: Option<&str>, body: String| {
        let request = Request::post("/api/v1/tokens").header("authorization", format!("Bearer {}", stage.admin));
        let request = kind.map_or_else(
            || Request::post("/api/v1/tokens").header("authorization", format!("Bearer {}", stage.admin)),
            |kind| request.header("content-type", kind),
        );
        request.body(Body::from(body)).unwrap()
    };
    stage.send(request(None, "{}".to_owned())).await.expect(415);
    stage.send(request(Some("text/plain"), "{}".to_owned())).await.expect(415);
    stage.send(request(Some("application/json; charset=utf-8"), "{".to_owned())).await.expect(400);
    stage.send(request(Some("application/json"), "x".repeat(64 * 1024 + 1))).await.expect(413);
    stage.get("/api/v1/audit?since=yesterday").await.expect(400);

    assert_eq!(stage.call("GET", "/healthz", None, None).await.expect(200)["status"], "ok");
    assert_eq!(stage.call("GET", "/readyz", None, None).await.expect(200)["status"], "ready");
    assert_eq!(stage.call("GET", "/api/v1/version", None, None).await.expect(200)["api"], "v1");
    let served = stage.call("GET", "/api/openapi.json", None, None).await.expect(200);
    assert_eq!(served, serde_json::to_value(document()).unwrap());
}

#[tokio::test]
async fn whoever_runs_the_engine_asks_it_without_a_token_and_keeps_only_the_rights_that_are_theirs() {
    use controller::api::{Inside, Question};
    use controller::control::{Principal, Role};
    use futures_util::StreamExt as _;

    let stage = Stage::new().await;
    let device = stage.host("alpha", &[]).await;
    let ask = async |role: Role, method: &str, path: &str, body: Option<&str>| {
        let admin = stage.control.verify(&stage.admin).await.unwrap();
        let inside = Inside::new(stage.control.clone(), Principal { role, ..admin });
        let body = body.map(|text| text.as_bytes().to_vec());
        let answer = inside.ask(Question { method, path, body, last_event_id: None }).await.unwrap();
        let body: Vec<Vec<u8>> = answer.body.map(|piece| piece.unwrap()).collect().await;
        (answer.status, String::from_utf8(body.concat()).unwrap())
    };
    let (status, hosts) = ask(Role::Admin, "GET", "/api/v1/hosts?selector=alpha", None).await;
    assert!(status == 200 && hosts.contains("alpha"), "{status} {hosts}");
    let reboot = format!("/api/v1/host/{}/reboot", device.id);
    assert_eq!(ask(Role::Viewer, "POST", &reboot, Some("{}")).await.0, 403);
    let (status, started) = ask(Role::Operator, "POST", &reboot, Some("{}")).await;
    assert_eq!(status, 200, "{started}");
    // The event stream ends with what it tells of.
    let started: serde_json::Value = serde_json::from_str(&started).unwrap();
    let id = started["orchestration_id"].as_str().unwrap();
    let (status, events) = ask(Role::Viewer, "GET", &format!("/api/v1/orchestrations/{id}/events"), None).await;
    assert!(status == 200 && events.contains("event: ended"), "{status} {events}");
    assert_eq!(ask(Role::Admin, "GET", "/nowhere", None).await.0, 404);
}
