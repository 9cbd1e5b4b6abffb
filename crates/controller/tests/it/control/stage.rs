//! A control on a database of its own, with a broker that only writes down what it is given.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use controller::control::{
    ADMINISTRATOR, Addresses, AuditFilter, AuditLine, Control, ControlConfig, ControlTask, Licensing, NewEnrolment, NewUser,
    Principal, Publisher, Role, Scope, ensure_administrator,
};
use controller::store::{Database, OpenOptions};
use controller::transport::{BoxFuture, Inbound as _, InboundMessage, InboundVerdict};
use model::{
    ActionKind, BootIdentity, ChildKind, ChildRef, ChildReport, ChildStatus, Command, InstanceId, Labels, Millis, Operation,
    Options, RateState, Readable, Report, TargetId, TimeoutPolicy, Timestamp,
};
use protocol::enrol::{EnrolAnswer, EnrolRequest, Token};
use protocol::native::{ControllerBody, ControllerKey, DeviceBody, DeviceKey, open_controller, seal_device};
use uuid::Uuid;

/// Longest wait for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
pub(crate) const PASSWORD: &str = "a long new password";

pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) control: Control,
    pub(crate) task: ControlTask,
    pub(crate) database: Database,
    pub(crate) sent: Arc<Outbox>,
    pub(crate) key: Arc<ControllerKey>,
}

/// What was published, and who was kicked.
#[derive(Default)]
pub(crate) struct Outbox {
    messages: Mutex<Vec<(TargetId, Vec<u8>)>>,
    pub(crate) kicked: Mutex<Vec<TargetId>>,
}

impl Publisher for Outbox {
    fn publish(&self, host: TargetId, payload: Vec<u8>) -> BoxFuture<'_, Result<(), String>> {
        self.messages.lock().unwrap().push((host, payload));
        Box::pin(std::future::ready(Ok(())))
    }

    fn kick(&self, device: TargetId) {
        self.kicked.lock().unwrap().push(device);
    }
}

impl Stage {
    pub(crate) async fn new() -> Self {
        Self::with(engine::Config::default()).await
    }

    pub(crate) async fn with(engine: engine::Config) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), engine).await
    }

    pub(crate) async fn in_dir(dir: tempfile::TempDir, engine: engine::Config) -> Self {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let database = Database::open(OpenOptions::new(dir.path().join("reveille.db"), now)).await.unwrap();
        let password_file = dir.path().join("admin-password");
        let keep = |password: &str| std::fs::write(&password_file, password).map_err(|error| error.to_string());
        ensure_administrator(&database, now, false, keep).await.unwrap();
        let key = Arc::new(ControllerKey::from_seed(&[1; 32]).unwrap());
        let config = ControlConfig {
            engine,
            resend: Millis::secs(2),
            key: Arc::clone(&key),
            licensing: Licensing::default(),
            one_time_password_file: Some(password_file),
            reach: None,
        };
        let (control, task) = Control::start(config, database.clone()).await.unwrap();
        let sent = Arc::new(Outbox::default());
        let addresses = Addresses {
            url: "https://controller.example:8443".to_owned(),
            ca_fingerprint: "0".repeat(64),
            ca_pem: "PEM".to_owned(),
            mqtt_host: "controller.example".to_owned(),
            mqtt_port: 8883,
        };
        control.attach(Arc::clone(&sent) as _, addresses);
        Self { dir, control, task, database, sent, key }
    }

    /// Ends control and starts another one on the same database.
    pub(crate) async fn restart(self, engine: engine::Config) -> Self {
        let Self { dir, control, mut task, database, .. } = self;
        task.stop().await.unwrap();
        drop(control);
        task.finish().await;
        database.close().await;
        Self::in_dir(dir, engine).await
    }

    pub(crate) fn one_time_password(&self) -> Option<String> {
        std::fs::read_to_string(self.dir.path().join("admin-password")).ok()
    }

    /// The administrator, logged in with a password of its own.
    pub(crate) async fn admin(&self) -> Principal {
        let logged_in = match self.one_time_password() {
            Some(password) => self.control.login("10.0.0.1", ADMINISTRATOR, &password, Some(PASSWORD)).await,
            None => self.control.login("10.0.0.1", ADMINISTRATOR, PASSWORD, None).await,
        };
        self.control.verify(&logged_in.unwrap().token).await.unwrap()
    }

    /// A user with a password of its own, logged in.
    pub(crate) async fn user(&self, name: &str, role: Role, scope: &str) -> Principal {
        let scope: Scope = scope.parse().unwrap();
        let new = NewUser { name: name.to_owned(), role, may_force: false, scope };
        let password = self.control.create_user(&self.admin().await, new).await.unwrap();
        let logged_in = self.control.login("10.0.0.2", name, &password, Some(PASSWORD)).await.unwrap();
        self.control.verify(&logged_in.token).await.unwrap()
    }

    pub(crate) async fn token(&self, name: &str, labels: &[(&str, &str)]) -> Token {
        let labels: Labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let new = NewEnrolment { name: name.to_owned(), labels, valid_for: None };
        self.control.create_enrolment_token(&self.admin().await, new).await.unwrap().token.parse().unwrap()
    }

    /// A device that has enrolled and was approved.
    pub(crate) async fn device(&self, name: &str, labels: &[(&str, &str)]) -> Device {
        let token = self.token(name, labels).await;
        let device = Device::new(name);
        let answer = self.control.enrol("10.1.1.1", device.request(&token)).await.unwrap();
        self.control.approve(&self.admin().await, answer.host_id, None).await.unwrap();
        device.with(answer)
    }

    /// What a host was sent and can verify, oldest first.
    pub(crate) fn sent_to(&self, host: TargetId) -> Vec<ControllerBody> {
        let messages = self.sent.messages.lock().unwrap();
        let own = messages.iter().filter(|(to, _)| *to == host);
        own.map(|(_, payload)| open_controller(payload, &self.key.public(), host).unwrap()).collect()
    }

    pub(crate) fn commands_to(&self, host: TargetId) -> Vec<Command> {
        let bodies = self.sent_to(host).into_iter();
        bodies.filter_map(|body| if let ControllerBody::Command { command } = body { Some(command) } else { None }).collect()
    }

    /// Lines of the audit log with this action, newest first; waits until there is one.
    pub(crate) async fn audited(&self, action: &str) -> Vec<AuditLine> {
        let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
        eventually(async || {
            let lines = self.control.audit(&everybody(), filter.clone()).await.unwrap().items;
            (!lines.is_empty()).then_some(lines)
        })
        .await
    }

    pub(crate) async fn hear(&self, device: &Device, body: &DeviceBody) -> InboundVerdict {
        self.hear_payload(device, body, device.seal(body)).await
    }

    pub(crate) async fn hear_payload(&self, device: &Device, body: &DeviceBody, payload: Vec<u8>) -> InboundVerdict {
        let message = InboundMessage {
            device: device.host,
            peer: "10.1.1.1:4000".parse().unwrap(),
            connection: 1,
            kind: body.topic(),
            payload: Bytes::from(payload),
            will: false,
        };
        self.control.inbound(message).await
    }

    /// Says hello with this report, and waits until the engine has heard it.
    pub(crate) async fn hello(&self, device: &Device, report: Report) {
        let sequence = report.sequence;
        let verdict = self.hear(device, &DeviceBody::Hello { nonce: format!("nonce{sequence}"), report }).await;
        assert_eq!(verdict, InboundVerdict::Accept);
        let host = device.host;
        eventually(async || {
            let report =
                self.control.query(move |engine, now| engine.host(host, now).and_then(|view| view.report)).await.unwrap();
            (report.is_some_and(|report| report.sequence >= sequence)).then_some(())
        })
        .await;
    }
}

/// Somebody who sees all.
fn everybody() -> Principal {
    let expires_at = Timestamp::from_millis(i64::MAX);
    Principal { name: "test".to_owned(), role: Role::Admin, may_force: false, scope: Scope::all(), token: None, expires_at }
}

/// Asks until there is an answer.
pub(crate) async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it did not come")
}

pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) host: TargetId,
    pub(crate) key: DeviceKey,
    pub(crate) machine_id: String,
    pub(crate) mqtt_secret: String,
}

impl Device {
    pub(crate) fn new(name: &str) -> Self {
        let seed = controller::store::sha256(name.as_bytes());
        let machine_id = Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).simple().to_string();
        Self {
            name: name.to_owned(),
            host: TargetId(Uuid::nil()),
            key: DeviceKey::from_seed(&seed).unwrap(),
            machine_id,
            mqtt_secret: String::new(),
        }
    }

    /// The same machine with another key.
    pub(crate) fn reinstalled(&self) -> Self {
        Self { machine_id: self.machine_id.clone(), key: DeviceKey::from_seed(&[9; 32]).unwrap(), ..Self::new(&self.name) }
    }

    pub(crate) fn with(self, answer: EnrolAnswer) -> Self {
        Self { host: answer.host_id, mqtt_secret: answer.mqtt_secret, ..self }
    }

    pub(crate) fn request(&self, token: &Token) -> EnrolRequest {
        EnrolRequest {
            secret: token.secret.clone(),
            name: self.name.clone(),
            machine_id: self.machine_id.clone(),
            public_key: self.key.public(),
            agent_version: "1.0.0".to_owned(),
        }
    }

    pub(crate) fn seal(&self, body: &DeviceBody) -> Vec<u8> {
        seal_device(&self.key, self.host, body).unwrap()
    }

    pub(crate) fn child(&self, name: &str) -> ChildRef {
        let id = TargetId::of_child(self.host, ChildKind::Lxd, name);
        ChildRef { id, kind: ChildKind::Lxd, name: name.to_owned(), stable_id: name.to_owned() }
    }

    pub(crate) fn report(&self, sequence: u64, children: &[&str]) -> Report {
        let child = |name: &&str| ChildReport {
            child: self.child(name),
            status: ChildStatus::Running,
            autostart: false,
            start_priority: 0,
            stop_priority: 0,
        };
        let actions =
            [ActionKind::Probe, ActionKind::StopChild, ActionKind::StartChild, ActionKind::Reboot, ActionKind::Shutdown];
        Report {
            // No two hosts are on one boot.
            boot: BootIdentity::new(&Uuid::from_u128(self.host.0.as_u128() | 1).to_string(), 3).unwrap(),
            instance: InstanceId(Uuid::from_u128(5)),
            sequence,
            taken_at: Timestamp::from_millis(1_700_000_000_000),
            agent_version: "1.0.0".to_owned(),
            protocol_version: 1,
            actions: actions.into(),
            engines: [ChildKind::Lxd].into(),
            children: Readable::Known(children.iter().map(child).collect()),
            pending_shutdown: Readable::Known(None),
            inhibitors: Readable::Known(Vec::new()),
            rate: RateState { counted: 0, limit: 3, opens_in_ms: None },
            reboot_required: Readable::Known(None),
        }
    }
}

pub(crate) fn options() -> Options {
    Options { shutdown_timeout: Millis::secs(120), on_timeout: TimeoutPolicy::Proceed, strict: false, force: None }
}

pub(crate) const REBOOT: Operation = Operation::OrchestratedReboot;

/// No settling: tests need not wait for it.
pub(crate) fn quick() -> engine::Config {
    engine::Config { settling: Millis(0), ..engine::Config::default() }
}
