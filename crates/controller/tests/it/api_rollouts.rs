//! Rollouts through the API: hosts without an agent, played by a performer in this process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use controller::control::{Performer, Reached};
use controller::transport::BoxFuture;
use model::{
    Ack, AckStatus, Action, ActionKind, BootIdentity, Command, InstanceId, Millis, Observed, RateState, Readable, Report,
    TargetId, Timestamp,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::api_stage::{LIMIT, Stage};

/// Hosts that are reached over nothing at all.
#[derive(Default)]
pub(crate) struct Played(Mutex<State>);

#[derive(Default)]
struct State {
    boots: BTreeMap<TargetId, u128>,
    /// Names of hosts that do not answer.
    away: BTreeSet<String>,
    /// Commands that were done: a repeat does nothing more (G2).
    rebooted: BTreeMap<model::CommandId, u128>,
    reboots: Vec<String>,
}

impl Played {
    pub(crate) fn away(&self, name: &str, away: bool) {
        let mut state = self.0.lock().unwrap();
        if away {
            state.away.insert(name.to_owned())
        } else {
            state.away.remove(name)
        };
    }

    /// Names of hosts in the order of their reboots.
    pub(crate) fn reboots(&self) -> Vec<String> {
        self.0.lock().unwrap().reboots.clone()
    }

    fn boot(&self, host: TargetId) -> BootIdentity {
        let number = *self.0.lock().unwrap().boots.entry(host).or_insert(1);
        BootIdentity::new(&Uuid::from_u128(host.0.as_u128() ^ (number << 64)).to_string(), 3).unwrap()
    }

    fn report(&self, host: TargetId) -> Report {
        let kinds = [ActionKind::Probe, ActionKind::Check, ActionKind::Reboot, ActionKind::Shutdown];
        let more = [ActionKind::Observe, ActionKind::Drain, ActionKind::Undrain, ActionKind::StopChild, ActionKind::StartChild];
        Report {
            boot: self.boot(host),
            instance: InstanceId(Uuid::new_v5(&host.0, b"instance")),
            sequence: 0,
            taken_at: Timestamp::from_millis(1_800_000_000_000),
            agent_version: "ssh".to_owned(),
            protocol_version: 1,
            actions: kinds.into_iter().chain(more).collect(),
            engines: BTreeSet::new(),
            children: Readable::Known(Vec::new()),
            pending_shutdown: Readable::Known(None),
            inhibitors: Readable::Known(Vec::new()),
            rate: RateState { counted: 0, limit: 3, opens_in_ms: None },
            reboot_required: Readable::Known(None),
        }
    }
}

impl Performer for Played {
    fn perform<'a>(&'a self, host: &'a Reached, command: &'a Command, _: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if self.0.lock().unwrap().away.contains(&host.name) {
                return;
            }
            let ack = |status| Ack {
                command: command.id,
                status,
                error: None,
                boot: self.boot(host.id),
                observed: None,
                already: false,
                report: None,
            };
            if command.action.kind().ends_boot() {
                drop(say.send(ack(AckStatus::Accepted)).await);
                drop(say.send(ack(AckStatus::ExecutionStarted)).await);
                let mut state = self.0.lock().unwrap();
                let number = state.boots.get(&host.id).copied().unwrap_or(1);
                if state.rebooted.insert(command.id, number).is_none() {
                    state.boots.insert(host.id, number + 1);
                    state.reboots.push(host.name.clone());
                }
            }
            let mut last = ack(AckStatus::Completed);
            if matches!(command.action, Action::Probe { .. } | Action::Reboot { .. }) {
                last.report = Some(self.report(host.id));
            }
            if let Action::Check { .. } = command.action {
                last.observed = Some(Observed::Checks(Vec::new()));
            }
            drop(say.send(last).await);
        })
    }

    fn perform_here<'a>(&'a self, _: &'a Command, _: Millis, _: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn survey<'a>(&'a self, host: &'a Reached) -> BoxFuture<'a, Result<Report, String>> {
        Box::pin(async move {
            let away = self.0.lock().unwrap().away.contains(&host.name);
            if away { Err("connection refused: is sshd running there?".to_owned()) } else { Ok(self.report(host.id)) }
        })
    }
}

/// Hosts of two roles, adopted and heard.
pub(crate) async fn fleet(names: &[&str]) -> (Stage, Arc<Played>) {
    let played = Arc::new(Played::default());
    let stage = Stage::reaching(Arc::clone(&played) as _).await;
    for name in names {
        let role = if name.starts_with("web") { "web" } else { "db" };
        let body = json!({ "name": name, "address": format!("root@{name}.example:22"), "labels": { "role": role } });
        let host = stage.post("/api/v1/hosts", &body).await.expect(200);
        assert_eq!((host["route"].as_str(), host["approved"].as_bool()), (Some("ssh"), Some(true)), "{host}");
        eventually(async || {
            stage.get(&format!("/api/v1/hosts/{}", host["id"].as_str().unwrap())).await.expect(200)["state"] == "active"
        })
        .await;
    }
    (stage, played)
}

pub(crate) async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let asked = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, asked).await.is_ok(), "it did not come");
}

async fn over(stage: &Stage, id: &str) -> Value {
    eventually(async || !stage.get(&format!("/api/v1/rollouts/{id}")).await.expect(200)["outcome"].is_null()).await;
    stage.get(&format!("/api/v1/rollouts/{id}")).await.expect(200)
}

fn quick() -> Value {
    json!({ "soak": 0, "canary": 1, "concurrency": 1 })
}

/// S2-1, S2-2, S2-20: one request takes every host through a proven reboot, one at a time, without an agent.
#[tokio::test]
async fn s2_1_a_fleet_without_agents_goes_through_a_rolling_reboot() {
    let (stage, played) = fleet(&["web1", "web2", "web3", "db1"]).await;
    let body = json!({ "targets": ["role=web"], "options": quick(), "dry_run": true });
    let plan = stage.post("/api/v1/rollouts", &body).await.expect(200);
    assert_eq!((plan["targets"].as_u64(), plan["waves"].as_array().unwrap().len()), (Some(3), 2), "{plan}");
    assert!(played.reboots().is_empty(), "a dry run does nothing");

    let started = stage.post("/api/v1/rollouts", &json!({ "targets": ["role=web"], "options": quick() })).await.expect(201);
    let id = started["id"].as_str().unwrap();
    let ended = over(&stage, id).await;
    assert_eq!(ended["outcome"], "completed", "{ended}");
    assert_eq!(played.reboots().into_iter().collect::<BTreeSet<_>>(), ["web1", "web2", "web3"].map(str::to_owned).into());
    assert_eq!(played.reboots().len(), 3, "nobody twice (G2)");

    let page = stage.get(&format!("/api/v1/orchestrations/{id}/tracks?limit=2")).await.expect(200);
    assert_eq!((page["total"].as_u64(), page["next"].as_u64(), page["tracks"].as_array().unwrap().len()), (Some(3), Some(2), 2));
    let rest = stage.get(&format!("/api/v1/orchestrations/{id}/tracks?offset=2&outcome=completed")).await.expect(200);
    assert_eq!((rest["tracks"][0]["index"].as_u64(), rest["next"].is_null()), (Some(2), true));
    assert_ne!(rest["tracks"][0]["boot_before"], rest["tracks"][0]["boot_after"]);
    let one = stage.get(&format!("/api/v1/orchestrations/{id}/tracks/0")).await.expect(200);
    assert!(one["waiting_for"].as_array().unwrap().is_empty() && !one["steps_begun"].as_array().unwrap().is_empty(), "{one}");
    stage.get(&format!("/api/v1/orchestrations/{id}/tracks/3")).await.expect(404);
    stage.get(&format!("/api/v1/orchestrations/{id}/tracks?outcome=wrong")).await.expect(400);
    let list = stage.get("/api/v1/rollouts").await.expect(200);
    assert_eq!(list["orchestrations"][0]["rollout"]["ended"], json!([{ "outcome": "completed", "count": 3 }]));
}

/// Pain 9 of the list: nothing by omission, nothing by a slip.
#[tokio::test]
async fn s2_19_who_is_meant_is_said_and_slips_are_refused_with_a_hint() {
    let (stage, played) = fleet(&["web1", "web2"]).await;
    let web1 = TargetId::of_ssh("web1").to_string();
    for (targets, status, word) in [
        (json!([]), 400, "no host is named"),
        (json!([" "]), 400, "no host is named"),
        (json!(["rack=7"]), 404, "rack"),
        (json!(["rack!=7"]), 404, "rack"),
        (json!(["web9"]), 404, "web9"),
        (json!(["web1", "web9"]), 404, "web9"),
        (json!(["role=none"]), 404, "role=none"),
        (json!(["web1", web1]), 400, "named twice"),
        (json!(["web1", "web1"]), 400, "named twice"),
    ] {
        let refused = stage.post("/api/v1/rollouts", &json!({ "targets": targets, "options": quick() })).await.expect(status);
        assert!(refused["detail"].as_str().unwrap().contains(word), "{targets}: {refused}");
    }
    let unknown = json!({ "targets": ["*"], "options": { "checks": ["nothing"] } });
    let refused = stage.post("/api/v1/rollouts", &unknown).await.expect(400);
    assert!(refused["detail"].as_str().unwrap().contains("nothing"), "{refused}");
    stage.post("/api/v1/rollouts", &json!({ "targets": ["*"], "options": { "concurency": 3 } })).await.expect(400);
    assert!(played.reboots().is_empty());
}

/// G4: at the first failure nothing new starts; a person repairs and takes up what is left.
#[tokio::test]
async fn s2_a_failure_pauses_the_rest_and_a_retry_finishes_it() {
    let (stage, played) = fleet(&["web1", "web2", "web3"]).await;
    // Its survey has been heard; then it goes away before its turn.
    played.away("web1", true);
    played.away("web2", true);
    played.away("web3", true);
    let started = stage.post("/api/v1/rollouts", &json!({ "targets": ["*"], "options": quick() })).await.expect(201);
    let id = started["id"].as_str().unwrap().to_owned();
    let shown = format!("/api/v1/rollouts/{id}");
    eventually(async || !stage.get(&shown).await.expect(200)["rollout"]["paused"].is_null()).await;
    let paused = stage.get(&shown).await.expect(200);
    assert_eq!((&paused["rollout"]["failures"], &paused["rollout"]["paused"]["by"]), (&json!(1), &json!("system")), "{paused}");
    assert!(played.reboots().is_empty());
    for name in ["web1", "web2", "web3"] {
        played.away(name, false);
    }
    // A look at it is the plan of the retry, and changes nothing.
    let preview = stage.post(&format!("/api/v1/rollouts/{id}/retry"), &json!({ "dry_run": true })).await.expect(200);
    assert_eq!((&preview["targets"], &preview["options"]["retry_of"]), (&json!(3), &json!(id)), "{preview}");
    let still = stage.get(&shown).await.expect(200);
    assert!(still["outcome"].is_null() && played.reboots().is_empty(), "{still}");
    let again = stage.post(&format!("/api/v1/rollouts/{id}/retry"), &json!({})).await.expect(201);
    assert_eq!(again["targets"], 3);
    let ended = over(&stage, again["id"].as_str().unwrap()).await;
    assert_eq!((&ended["outcome"], &ended["rollout"]["options"]["retry_of"]), (&json!("completed"), &json!(id)), "{ended}");
    assert_eq!(played.reboots().len(), 3);
    assert!(!stage.get(&shown).await.expect(200)["outcome"].is_null(), "the paused one has ended");
    // Neither the retry nor the first one has anything left: nobody is rebooted once more.
    for done in [again["id"].as_str().unwrap(), id.as_str()] {
        stage.post(&format!("/api/v1/rollouts/{done}/retry"), &json!({})).await.expect(409);
    }
    let refused = stage.post(&format!("/api/v1/rollouts/{}/retry", again["id"].as_str().unwrap()), &json!({})).await.expect(409);
    assert!(refused["detail"].as_str().unwrap().contains("nothing undone"), "{refused}");
}

#[tokio::test]
async fn a_rollout_is_paused_resumed_and_cancelled_by_people() {
    let (stage, played) = fleet(&["web1", "web2"]).await;
    stage.post("/api/v1/freeze", &json!({ "reason": "quarter end" })).await.expect(200);
    let started = stage.post("/api/v1/rollouts", &json!({ "targets": ["*"], "options": quick() })).await.expect(201);
    let at = |word: &str| format!("/api/v1/rollouts/{}/{word}", started["id"].as_str().unwrap());
    let waiting = stage.get(&format!("/api/v1/orchestrations/{}/tracks/0", started["id"].as_str().unwrap())).await.expect(200);
    assert!(waiting["waiting_for"].as_array().unwrap().iter().any(|why| why["blocker"] == "frozen"), "{waiting}");
    let locks = stage.get("/api/v1/locks").await.expect(200);
    assert!(
        locks["locks"].as_array().unwrap().iter().any(|lock| lock["kind"] == "freeze" && lock["reason"] == "quarter end"),
        "{locks}"
    );

    stage.post(&at("pause"), &json!({ "reason": " " })).await.expect(400);
    let paused = stage.post(&at("pause"), &json!({ "reason": "lunch" })).await.expect(200);
    assert_eq!(paused["rollout"]["paused"]["reason"], "lunch");
    stage.post(&at("pause"), &json!({ "reason": "lunch" })).await.expect(409);
    stage.post(&at("resume"), &json!({})).await.expect(200);
    stage.post(&at("resume"), &json!({})).await.expect(409);
    stage.post(&at("agree"), &json!({})).await.expect(409);
    let cancelled = stage.post(&at("cancel"), &json!({})).await.expect(200);
    assert_eq!(cancelled["outcome"], "cancelled", "{cancelled}");
    stage.post("/api/v1/thaw", &json!({})).await.expect(200);
    stage.post("/api/v1/thaw", &json!({})).await.expect(409);
    assert!(played.reboots().is_empty());
    for action in ["frozen", "paused", "resumed", "thawed"] {
        stage.audited(|entry| entry["action"] == action).await;
    }
}

/// G10: a rollout needs the right for every one of its hosts.
#[tokio::test]
async fn a_scope_limits_who_is_meant_and_which_rollouts_are_seen() {
    let (stage, played) = fleet(&["web1", "db1"]).await;
    let token = stage.token("operator", Some("role=web")).await;
    let only = stage
        .call("POST", "/api/v1/rollouts", Some(&token), Some(&json!({ "targets": ["*"], "dry_run": true })))
        .await
        .expect(200);
    assert_eq!(only["waves"][0]["tracks"][0]["name"], "web1");
    assert_eq!(only["targets"], 1);
    stage.call("POST", "/api/v1/rollouts", Some(&token), Some(&json!({ "targets": ["db1"] }))).await.expect(404);
    stage.call("POST", "/api/v1/freeze", Some(&token), Some(&json!({ "reason": "x" }))).await.expect(403);
    let forced = json!({ "targets": ["web1"], "force": { "reason": "because" } });
    assert_eq!(stage.call("POST", "/api/v1/rollouts", Some(&token), Some(&forced)).await.expect(403)["permission"], "FORCE");
    stage.post("/api/v1/freeze", &json!({ "reason": "so that it stands" })).await.expect(200);
    let both = stage.post("/api/v1/rollouts", &json!({ "targets": ["*"], "options": quick() })).await.expect(201);
    let id = both["id"].as_str().unwrap();
    stage.call("GET", &format!("/api/v1/rollouts/{id}"), Some(&token), None).await.expect(404);
    stage.call("POST", &format!("/api/v1/rollouts/{id}/cancel"), Some(&token), None).await.expect(404);
    let seen = stage.call("GET", "/api/v1/rollouts", Some(&token), None).await.expect(200);
    assert!(seen["orchestrations"].as_array().unwrap().is_empty(), "{seen}");
    let db1 = TargetId::of_ssh("db1");
    stage.call("POST", &format!("/api/v1/hosts/{db1}/hold"), Some(&token), Some(&json!({ "reason": "x" }))).await.expect(403);
    assert!(played.reboots().is_empty());
}

#[tokio::test]
async fn a_host_is_held_released_and_removed() {
    let (stage, _) = fleet(&["web1"]).await;
    let at = format!("/api/v1/hosts/{}", TargetId::of_ssh("web1"));
    let held = stage.post(&format!("{at}/hold"), &json!({ "reason": "new disk" })).await.expect(200);
    assert_eq!(held["held"]["reason"], "new disk");
    let locks = stage.get("/api/v1/locks").await.expect(200);
    assert_eq!((&locks["locks"][0]["kind"], &locks["locks"][0]["name"]), (&json!("hold"), &json!("web1")), "{locks}");
    assert!(stage.post(&format!("{at}/release"), &json!({})).await.expect(200)["held"].is_null());
    stage.post(&format!("{at}/release"), &json!({})).await.expect(409);
    stage.call("DELETE", &at, Some(&stage.admin), None).await.expect(204);
    stage.get(&at).await.expect(404);
    let bad = json!({ "name": "web 1", "address": "web1" });
    stage.post("/api/v1/hosts", &bad).await.expect(400);
    let bad = json!({ "name": "web1", "address": "-oProxyCommand=x" });
    stage.post("/api/v1/hosts", &bad).await.expect(400);
}

/// The exchange of a Zincati client, word for word: no kind of body is said, the token comes from its base URL.
#[tokio::test]
async fn fleet_lock_clients_take_slots_under_the_same_limits() {
    let (stage, _) = fleet(&["web1", "web2"]).await;
    let token = stage.token("node", Some("fleetlock.group=web")).await;
    let ask = async |path: &str, group: &str, id: &str, token: &str, header: bool| {
        let basic = base64::engine::general_purpose::STANDARD.encode(format!("zincati:{token}"));
        let mut request =
            axum::http::Request::builder().method("POST").uri(path).header("authorization", format!("Basic {basic}"));
        if header {
            request = request.header("fleet-lock-protocol", "true");
        }
        let body = json!({ "client_params": { "id": id, "group": group } });
        stage.send(request.body(axum::body::Body::from(body.to_string())).unwrap()).await
    };
    let (lock, unlock) = ("/v1/pre-reboot", "/v1/steady-state");
    ask(unlock, "web", "c988", &token, true).await.expect(200);
    ask(lock, "web", "c988", &token, true).await.expect(200);
    ask(lock, "web", "c988", &token, true).await.expect(200);
    let full = ask(lock, "web", "d099", &token, true).await.expect(409);
    assert_eq!(full["kind"], "no_slot", "{full}");
    assert!(full["value"].as_str().unwrap().contains("web"), "{full}");
    // The slot counts for everything else that reboots.
    let plan = stage.post("/api/v1/rollouts", &json!({ "targets": ["web1"], "dry_run": true })).await.expect(200);
    let blockers = plan["waves"][0]["tracks"][0]["blockers"].as_array().unwrap().clone();
    assert!(blockers.iter().any(|why| why["blocker"] == "limit_group"), "{blockers:?}");
    let locks = stage.get("/api/v1/locks").await.expect(200);
    assert_eq!((&locks["locks"][0]["kind"], &locks["locks"][0]["holder"]), (&json!("slot"), &json!("c988")), "{locks}");
    ask(unlock, "web", "c988", &token, true).await.expect(200);
    ask(lock, "web", "d099", &token, true).await.expect(200);
    // A person lets go of what a dead machine holds (pain 1).
    stage.post("/api/v1/slots/release", &json!({ "group": "web", "holder": "d099" })).await.expect(200);
    ask(lock, "web", "c988", &token, true).await.expect(200);

    assert_eq!(ask(lock, "web", "c988", &token, false).await.expect(400)["kind"], "invalid");
    assert_eq!(ask(lock, "db", "c988", &token, true).await.expect(403)["kind"], "forbidden");
    assert_eq!(ask(lock, "web", "c988", "rvlt_wrong", true).await.expect(401)["kind"], "unauthenticated");
    let any = stage.token("node", None).await;
    assert_eq!(ask(lock, "nothing", "c988", &any, true).await.expect(404)["kind"], "unknown_group");
    let viewer = stage.token("viewer", None).await;
    assert_eq!(ask(lock, "web", "c988", &viewer, true).await.expect(403)["kind"], "forbidden");
    stage.call("GET", "/api/v1/hosts", Some(&any), None).await.expect(403);
    stage.audited(|entry| entry["action"] == "slot_taken").await;
}
