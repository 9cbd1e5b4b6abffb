//! A restart in a process without a server: the same file, and the same events from the API inside.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use controller::api::{Inside, Question};
use controller::control::{Adopt, NewServiceRestart, Performer, Reached};
use controller::local::{Local, LocalOptions, State};
use controller::transport::BoxFuture;
use futures_util::StreamExt as _;
use model::{
    Ack, AckStatus, Action, ActionKind, BootIdentity, Command, InstanceId, Labels, Millis, Observed, RateState, Readable, Reload,
    Report, Service, ServiceKind, ServiceSeen, ServiceVerb, Timestamp, Timings, UnitSeen,
};
use serde_json::Value;
use tokio::sync::mpsc;
use uuid::Uuid;

/// A host with one service; its run, and whether it comes back from a restart.
struct Host(Mutex<(u128, bool)>);

fn boot() -> BootIdentity {
    BootIdentity::new("0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", 3).unwrap()
}

impl Performer for Host {
    fn perform<'a>(&'a self, _: &'a Reached, command: &'a Command, _: Millis, say: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let Action::Service { verb, .. } = &command.action else { return };
            let seen = {
                let mut state = self.0.lock().unwrap();
                state.0 += u128::from(matches!(verb, ServiceVerb::Restart { .. } | ServiceVerb::Restore { .. }));
                ServiceSeen::of(UnitSeen {
                    load: "loaded".to_owned(),
                    active: "active".to_owned(),
                    sub: "running".to_owned(),
                    invocation: format!("{:032x}", state.0).parse().ok(),
                    restarts: 0,
                    result: "success".to_owned(),
                    can_reload: false,
                    needs_daemon_reload: false,
                    fragment: String::new(),
                })
            };
            for status in [AckStatus::Accepted, AckStatus::ExecutionStarted, AckStatus::Completed] {
                let observed = (status == AckStatus::Completed).then(|| Observed::Service(Box::new(seen.clone())));
                let ack = Ack { command: command.id, status, error: None, boot: boot(), observed, already: false, report: None };
                drop(say.send(ack).await);
            }
        })
    }

    fn perform_here<'a>(&'a self, _: &'a Command, _: Millis, _: mpsc::Sender<Ack>) -> BoxFuture<'a, ()> {
        Box::pin(async {})
    }

    fn survey<'a>(&'a self, host: &'a Reached) -> BoxFuture<'a, Result<Report, String>> {
        use ActionKind::{BackUp, Check, Inspect, Probe, Restart, Restore, StopUnit, Watch};
        let report = Report {
            boot: boot(),
            instance: InstanceId(Uuid::new_v5(&host.id.0, b"instance")),
            sequence: 0,
            taken_at: Timestamp::from_millis(1_800_000_000_000),
            agent_version: "ssh".to_owned(),
            protocol_version: 1,
            actions: [BackUp, Check, Inspect, Probe, Restart, Restore, StopUnit, Watch].into(),
            engines: BTreeSet::new(),
            children: Readable::Known(Vec::new()),
            pending_shutdown: Readable::Known(None),
            inhibitors: Readable::Known(Vec::new()),
            rate: RateState { counted: 0, limit: 3, opens_in_ms: None },
            reboot_required: Readable::Known(None),
        };
        Box::pin(async { Ok(report) })
    }
}

async fn ask(local: &Local, path: &str, last_event_id: Option<&str>) -> controller::api::Answer {
    let inside = Inside::new(local.control().clone(), local.who().clone());
    inside.ask(Question { method: "GET", path, body: None, last_event_id }).await.unwrap()
}

#[tokio::test]
async fn s3_71_a_restart_without_a_server_writes_the_same_file_and_the_api_tells_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    let options = LocalOptions {
        engine: engine::Config { probe_limit: Millis::secs(2), ..engine::Config::default() },
        performer: Arc::new(Host(Mutex::new((1, true)))),
        resend: Millis(200),
        user: "ann".to_owned(),
        events: Some(file.clone()),
    };
    let local = State::open(dir.path().join("state")).await.unwrap().start(options).await.unwrap();
    let adopt = Adopt { name: "a".to_owned(), address: "root@a".to_owned(), labels: Labels::new() };
    let (ids, _) = local.adopt(&[adopt]).await.unwrap();
    assert!(local.survey(&ids).await.unwrap().is_empty());
    let service = Service {
        name: "sso.api".to_owned(),
        unit: "sso.api.service".to_owned(),
        kind: ServiceKind::Api,
        host: None,
        dependencies: Vec::new(),
        check: None,
        interval: Millis::secs(10),
        deploy: None,
        migrate: None,
        migrate_on: model::MigrateOn::First,
        reload: Reload::Never,
        timings: Timings { stabilization_period: Millis(100), retry_delay: Millis(100), ..Timings::default() },
    };
    let new = NewServiceRestart {
        targets: vec!["*".to_owned()],
        services: vec![service],
        only: BTreeSet::new(),
        parallel: 1,
        keep_going: false,
        skip_migrations: false,
        deploy: None,
        force: None,
    };
    let live = ask(&local, "/api/v1/events/services/live?service=sso.api", Some("0")).await;
    let started = local.control().start_service_restart(local.who(), new).await.unwrap();
    let over = async {
        while local.control().orchestration(local.who(), started.id).await.unwrap().outcome.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), over).await.unwrap();

    let list = ask(&local, "/api/v1/events/services", None).await;
    assert_eq!(list.status, 200);
    let bytes: Vec<Vec<u8>> = list.body.map(Result::unwrap).collect().await;
    let list: Value = serde_json::from_slice(&bytes.concat()).unwrap();
    let types: Vec<&str> = list["events"].as_array().unwrap().iter().filter_map(|e| e["event"]["type"].as_str()).collect();
    assert_eq!(types, ["SERVICE_RESTART_START", "SERVICE_RESTART_SUCCESS"], "{list}");
    assert_eq!(list["next"], 2);

    let mut text = String::new();
    let mut body = live.body;
    while text.matches("id: ").count() < 2 {
        let piece = tokio::time::timeout(Duration::from_secs(30), body.next()).await.unwrap().unwrap().unwrap();
        text.push_str(&String::from_utf8(piece).unwrap());
    }
    drop(body);
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();

    local.close().await.unwrap();
    let written = std::fs::read_to_string(&file).unwrap();
    let written: Vec<&str> = written.lines().collect();
    assert_eq!(written, data, "live, it is the line of the file");
    assert!(written[1].contains("SERVICE_RESTART_SUCCESS") && written[1].contains("\"durationMs\":"), "{written:?}");
}
