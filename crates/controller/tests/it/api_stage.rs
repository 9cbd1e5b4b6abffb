//! A controller over a real store, its API, and hosts that are played message by message: signed as a device signs, and
//! given to control by the door that the broker uses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use controller::api::router;
use controller::control::{
    Addresses, Control, ControlConfig, ControlTask, Licensing, Performer, Publisher, ReachConfig, Watchful, ensure_administrator,
};
use controller::store::{Database, OpenOptions};
use controller::transport::{BoxFuture, InboundMessage, InboundVerdict};
use engine::{Config, LimitGroup};
use model::{
    Ack, AckError, AckStatus, Action, ActionKind, BootIdentity, ChildKind, ChildRef, ChildReport, ChildStatus, Command,
    CommandId, ErrorCode, InstanceId, Millis, Observed, Ran, RateState, Readable, Report, Run, Said, TargetId, Timestamp,
};
use protocol::native::{ControllerBody, ControllerKey, DeviceBody, DeviceKey, open_controller, seal_device};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tower::ServiceExt as _;
use uuid::Uuid;

/// No test waits longer; it is far above what any step takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) struct Stage {
    _dir: tempfile::TempDir,
    _task: ControlTask,
    pub(crate) control: Control,
    router: Router,
    pub(crate) admin: String,
    devices: Arc<Mutex<BTreeMap<TargetId, Arc<Device>>>>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) json: Value,
}

impl Answer {
    /// The document, if the status is this one.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.json);
        self.json
    }
}

/// What a played host does; changed by tests as they go.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Children do not stop: the stop is begun and never answered.
    pub(crate) hang_stops: bool,
    /// The reboot is begun, and the host stays away.
    pub(crate) stay_away: bool,
    /// Names of children that cannot be started.
    pub(crate) broken: BTreeSet<String>,
    /// The exit code of each command that it runs.
    pub(crate) exit: i32,
    /// Its agent dies while a command runs.
    pub(crate) dies: bool,
}

pub(crate) struct Device {
    pub(crate) id: TargetId,
    key: DeviceKey,
    control: Control,
    state: Mutex<DeviceState>,
}

struct DeviceState {
    report: Report,
    manners: Manners,
    said: BTreeMap<CommandId, Vec<Ack>>,
    boots: u128,
}

/// Short deadlines, no settling.
pub(crate) fn config() -> Config {
    Config {
        settling: Millis(0),
        retry_pause: Millis(50),
        health_hold: Millis(50),
        attempts: 1,
        start_limit: Millis::secs(2),
        health_gate: Millis::secs(2),
        ..Config::default()
    }
}

struct Post(mpsc::UnboundedSender<(TargetId, Vec<u8>)>);

impl Publisher for Post {
    fn publish(&self, host: TargetId, payload: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.0.send((host, payload)).map_err(|error| error.to_string()) })
    }

    fn kick(&self, _: TargetId) {}
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(Licensing::default()).await
    }

    pub(crate) async fn with(licensing: Licensing) -> Self {
        Self::made(licensing, config(), None).await
    }

    /// With hosts that have no agent, and a limit group of one for those with the role `web`.
    pub(crate) async fn reaching(performer: Arc<dyn Performer>) -> Self {
        let group = LimitGroup {
            name: "web".to_owned(),
            on: Some("role=web".parse().unwrap()),
            per: None,
            children: Vec::new(),
            max_unavailable: model::Amount::Count(1),
        };
        let engine = Config { limit_groups: vec![group], probe_limit: Millis::secs(2), ..config() };
        Self::configured(performer, engine).await
    }

    /// The same with a configuration.
    pub(crate) async fn configured(performer: Arc<dyn Performer>, engine: Config) -> Self {
        let reach = ReachConfig { performer, survey: Millis::secs(1), watchful: Watchful::All };
        Self::made(Licensing::default(), engine, Some(reach)).await
    }

    async fn made(licensing: Licensing, engine: Config, reach: Option<ReachConfig>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let now = Timestamp::from_millis(i64::try_from(now.as_millis()).unwrap());
        let database = Database::open(OpenOptions::new(dir.path().join("reveille.db"), now)).await.unwrap();
        let password = Mutex::new(String::new());
        let keep = |one_time: &str| {
            one_time.clone_into(&mut password.lock().unwrap());
            Ok(())
        };
        assert!(ensure_administrator(&database, now, false, keep).await.unwrap());
        let key = Arc::new(ControllerKey::from_seed(&[7; 32]).unwrap());
        let controller_key = key.public();
        let config = ControlConfig { engine, resend: Millis(500), key, licensing, one_time_password_file: None, reach };
        let (control, task) = Control::start(config, database).await.unwrap();
        let (post, mut letters) = mpsc::unbounded_channel();
        let addresses = Addresses {
            url: "https://controller.example:8443".to_owned(),
            ca_fingerprint: "ab".repeat(32),
            ca_pem: "-----BEGIN CERTIFICATE-----".to_owned(),
            mqtt_host: "controller.example".to_owned(),
            mqtt_port: 8883,
        };
        control.attach(Arc::new(Post(post)), addresses);
        let devices = Arc::<Mutex<BTreeMap<TargetId, Arc<Device>>>>::default();
        let known = Arc::clone(&devices);
        tokio::spawn(async move {
            while let Some((host, payload)) = letters.recv().await {
                let device = known.lock().unwrap().get(&host).cloned();
                let Some(device) = device else { continue };
                if let Ok(ControllerBody::Command { command }) = open_controller(&payload, &controller_key, host) {
                    // A device works while others are spoken to.
                    tokio::spawn(async move { device.perform(command).await });
                }
            }
        });
        let router = router(control.clone());
        let mut stage = Self { _dir: dir, _task: task, control, router, admin: String::new(), devices };
        let one_time = password.into_inner().unwrap();
        let login = json!({ "user": "admin", "password": one_time });
        let refused = stage.call("POST", "/api/v1/login", None, Some(&login)).await.expect(403);
        assert_eq!(refused["error"], "password_change_required");
        let login = json!({ "user": "admin", "password": one_time, "new_password": PASSWORD });
        let session = stage.call("POST", "/api/v1/login", None, Some(&login)).await.expect(200);
        session["token"].as_str().unwrap().clone_into(&mut stage.admin);
        stage
    }

    /// One request; a JSON body if there is one.
    pub(crate) async fn call(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header("content-type", "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).unwrap()).await
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = tokio::time::timeout(LIMIT, to_bytes(response.into_body(), 1 << 22)).await.unwrap().unwrap();
        let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned()).unwrap_or_default();
        if status >= 400 {
            assert_eq!(kind, "application/problem+json", "{status}: {}", String::from_utf8_lossy(&bytes));
        }
        let json = match serde_json::from_slice(&bytes) {
            Ok(json) => json,
            Err(_) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        };
        if status >= 400 {
            assert_eq!(json["status"], status, "{json}");
            assert!(!json["detail"].as_str().unwrap_or_default().is_empty(), "{json}");
        }
        Answer { status, headers, json }
    }

    /// As the administrator.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Some(&self.admin), None).await
    }

    /// As the administrator.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, Some(&self.admin), Some(body)).await
    }

    /// A token of the administrator with less right.
    pub(crate) async fn token(&self, role: &str, scope: Option<&str>) -> String {
        let name = format!("{role}-{}", scope.unwrap_or("all").replace(['=', ','], "-"));
        let made = self.post("/api/v1/tokens", &json!({ "name": name, "role": role, "scope": scope })).await.expect(200);
        made["token"].as_str().unwrap().to_owned()
    }

    /// A host that is enrolled, and neither approved nor heard.
    pub(crate) async fn enrolled(&self, name: &str, children: &[(&str, ChildStatus)]) -> Arc<Device> {
        let labels = json!({ "site": if name.starts_with("north") { "north" } else { "south" } });
        let made = self.post("/api/v1/enrolment-tokens", &json!({ "name": name, "labels": labels })).await.expect(200);
        let token: protocol::enrol::Token = made["token"].as_str().unwrap().parse().unwrap();
        let seed = protocol::enrol::certificate_fingerprint(name.as_bytes());
        let key = DeviceKey::from_seed(seed.as_bytes()[..32].try_into().unwrap()).unwrap();
        let body = json!({
            "secret": token.secret, "name": name, "machine_id": &seed[..32], "public_key": key.public(), "agent_version": "0.1.0",
        });
        let answer = self.call("POST", "/api/v1/enrol", None, Some(&body)).await.expect(200);
        let id: TargetId = answer["host_id"].as_str().unwrap().parse().unwrap();
        let child = |(name, status): &(&str, ChildStatus)| ChildReport {
            child: ChildRef {
                id: TargetId::of_child(id, ChildKind::Lxd, name),
                kind: ChildKind::Lxd,
                name: (*name).to_owned(),
                stable_id: (*name).to_owned(),
            },
            status: *status,
            autostart: false,
            start_priority: 0,
            stop_priority: 0,
        };
        let report = Report {
            boot: boot(id, 1),
            instance: InstanceId(Uuid::from_u128(1)),
            sequence: 0,
            taken_at: self.control.now(),
            agent_version: "0.1.0".to_owned(),
            protocol_version: 1,
            actions: [ActionKind::Probe, ActionKind::StopChild, ActionKind::StartChild, ActionKind::Reboot, ActionKind::Shutdown]
                .into(),
            engines: [ChildKind::Lxd].into(),
            children: Readable::Known(children.iter().map(child).collect()),
            pending_shutdown: Readable::Known(None),
            inhibitors: Readable::Known(Vec::new()),
            rate: RateState { counted: 0, limit: 3, opens_in_ms: None },
            reboot_required: Readable::Known(None),
        };
        let state = DeviceState { report, manners: Manners::default(), said: BTreeMap::new(), boots: 1 };
        let device = Arc::new(Device { id, key, control: self.control.clone(), state: Mutex::new(state) });
        self.devices.lock().unwrap().insert(id, Arc::clone(&device));
        device
    }

    /// A host that is approved and heard.
    pub(crate) async fn host(&self, name: &str, children: &[(&str, ChildStatus)]) -> Arc<Device> {
        let device = self.enrolled(name, children).await;
        let path = format!("/api/v1/hosts/{}", device.id);
        let fingerprint = self.get(&path).await.expect(200)["key_fingerprint"].clone();
        self.post(&format!("{path}/approve"), &json!({ "fingerprint": fingerprint })).await.expect(200);
        device.hello().await;
        self.until(&path, |host| host["state"] == "active").await;
        device
    }

    /// Asks until the document is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let json = self.get(path).await.expect(200);
            if wanted(&json) {
                return json;
            }
            assert!(tokio::time::Instant::now() < end, "never as wanted: {json:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks the audit log until it has such an entry (refusals are written a moment later).
    pub(crate) async fn audited(&self, wanted: impl Fn(&Value) -> bool) {
        self.until("/api/v1/audit?limit=500", |page| page["entries"].as_array().unwrap().iter().any(&wanted)).await;
    }
}

/// No two hosts are on one boot.
fn boot(host: TargetId, number: u128) -> BootIdentity {
    BootIdentity::new(&Uuid::from_u128(host.0.as_u128() ^ (number << 64)).to_string(), 7).unwrap()
}

impl Device {
    /// Changes what the host does.
    pub(crate) fn manners(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.state.lock().unwrap().manners);
    }

    /// Changes what the host is like, and lets it say so.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut Report)) {
        change(&mut self.state.lock().unwrap().report);
        self.hello().await;
    }

    fn report(&self) -> Report {
        let mut state = self.state.lock().unwrap();
        state.report.sequence += 1;
        state.report.clone()
    }

    pub(crate) async fn hello(&self) {
        let report = self.report();
        self.say(DeviceBody::Hello { nonce: Uuid::from_u128(u128::from(report.sequence)).to_string(), report }).await;
    }

    async fn say(&self, body: DeviceBody) {
        let message = InboundMessage {
            device: self.id,
            peer: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
            connection: 1,
            kind: body.topic(),
            payload: seal_device(&self.key, self.id, &body).unwrap().into(),
            will: false,
        };
        assert_eq!(self.control.hooks().inbound.inbound(message).await, InboundVerdict::Accept);
    }

    fn ack(&self, command: &Command, status: AckStatus) -> Ack {
        let boot = self.state.lock().unwrap().report.boot;
        Ack { command: command.id, status, error: None, boot, observed: None, already: false, report: None }
    }

    fn set(&self, child: &ChildRef, status: ChildStatus) {
        let mut state = self.state.lock().unwrap();
        let Readable::Known(children) = &mut state.report.children else { panic!("this host has children that are known") };
        children.iter_mut().find(|one| one.child == *child).unwrap().status = status;
    }

    async fn perform(&self, command: Command) {
        let (manners, said) = {
            let state = self.state.lock().unwrap();
            (state.manners.clone(), state.said.get(&command.id).cloned())
        };
        if let Some(said) = said {
            for ack in said {
                self.say(DeviceBody::Ack { ack }).await;
            }
            return;
        }
        let mut acks = vec![self.ack(&command, AckStatus::Accepted), self.ack(&command, AckStatus::ExecutionStarted)];
        let mut last = self.ack(&command, AckStatus::Completed);
        match &command.action {
            Action::Probe { .. } => {
                acks.clear();
                last.report = Some(self.report());
                acks.push(last);
                // Never in a ledger: the next one reads again.
                for ack in acks {
                    self.say(DeviceBody::Ack { ack }).await;
                }
                return;
            }
            Action::StopChild { .. } if manners.hang_stops => {}
            Action::StopChild { child, .. } => {
                self.set(child, ChildStatus::Stopped);
                last.observed = Some(Observed::Child(ChildStatus::Stopped));
                acks.push(last);
            }
            Action::StartChild { child, .. } if manners.broken.contains(&child.name) => {
                let error = AckError { code: ErrorCode::ToolFailed, message: "its disk is gone".to_owned() };
                acks.push(Ack {
                    status: AckStatus::Failed,
                    error: Some(error),
                    observed: Some(Observed::Child(ChildStatus::Stopped)),
                    ..last
                });
            }
            Action::StartChild { child, frozen, .. } => {
                let status = if *frozen { ChildStatus::Frozen } else { ChildStatus::Running };
                self.set(child, status);
                last.observed = Some(Observed::Child(status));
                acks.push(last);
            }
            Action::Check { .. }
            | Action::Observe { .. }
            | Action::Drain { .. }
            | Action::Undrain { .. }
            | Action::Service { .. } => {
                let error = AckError { code: ErrorCode::Unsupported, message: "this played host has no such thing".to_owned() };
                acks.push(Ack { status: AckStatus::Failed, error: Some(error), ..last });
            }
            Action::Run { .. } if manners.dies => {
                let error = AckError { code: ErrorCode::OutcomeUnknown, message: "the agent ended while it ran".to_owned() };
                acks.push(Ack { status: AckStatus::Failed, error: Some(error), ..last });
            }
            Action::Run { run, .. } => {
                // Whose word a free one is stands in what is signed.
                let text = match run {
                    Run::Named { name } => format!("{name} was run\n"),
                    Run::Free { line, by } => format!("{line} was run for {by}\n"),
                };
                let out = Said { bytes: text.len() as u64, tail: text };
                let ran = Ran { exit: Some(manners.exit), timed_out: false, out, err: Said::default() };
                last.observed = Some(Observed::Ran(ran));
                acks.push(last);
            }
            Action::Reboot { .. } | Action::Shutdown { .. } => {}
        }
        self.state.lock().unwrap().said.insert(command.id, acks.clone());
        for ack in acks {
            self.say(DeviceBody::Ack { ack }).await;
        }
        if matches!(command.action, Action::Reboot { .. }) && !manners.stay_away {
            self.come_back(&command).await;
        }
    }

    async fn come_back(&self, command: &Command) {
        {
            let mut state = self.state.lock().unwrap();
            state.boots += 1;
            state.report.boot = boot(self.id, state.boots);
            state.report.instance = InstanceId(Uuid::from_u128(state.boots));
            state.report.sequence = 0;
            if let Readable::Known(children) = &mut state.report.children {
                children.iter_mut().for_each(|child| child.status = ChildStatus::Stopped);
            }
        }
        self.hello().await;
        let ack = Ack { report: Some(self.report()), ..self.ack(command, AckStatus::Completed) };
        self.state.lock().unwrap().said.insert(command.id, vec![ack.clone()]);
        self.say(DeviceBody::Ack { ack }).await;
    }
}
