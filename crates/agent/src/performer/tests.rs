//! The performer on real parts: signatures, the ledger's file and a tool, with a network part that is the test itself.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::{Ack, AckStatus, Action, BootIdentity, Command, CommandId, ErrorCode, Fence, Millis, OrchestrationId, TargetId};
use protocol::native::{ControllerBody, ControllerKey, open_device, seal_controller};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::boot::BootSource;
use crate::ledger::FileLedger;

const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    folder: Arc<tempfile::TempDir>,
    to: mpsc::Sender<FromNetwork>,
    from: mpsc::Receiver<ToNetwork>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    controller: ControllerKey,
    boot: BootIdentity,
    tokens: u64,
}

fn host_id() -> TargetId {
    TargetId(Uuid::from_u128(7))
}

/// A host whose control program notes what it was asked, and lists no children.
fn tools(folder: &Path) -> recipe::HostKind {
    let script = format!(
        "echo \"$1\" >> {0}/asked; case $1 in list) echo '{{\"children\":[]}}';; pending) echo '{{\"pending\":null}}';; *) echo '{{}}';; esac",
        folder.display()
    );
    recipe::HostKind::Sandbox { ctl: ["sh", "-c", &script, "ctl"].map(str::to_owned).to_vec() }
}

/// A tool of the run before that is just being started holds the lock as well, until it is itself.
async fn unlocked(folder: &Path) -> FileLedger {
    let open = async {
        loop {
            match FileLedger::open(folder) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(Duration::from_millis(10)).await
                }
                opened => return opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), open).await.unwrap()
}

impl Bench {
    async fn start(folder: Arc<tempfile::TempDir>, boot: &str) -> Self {
        let file = folder.path().join("boot_id");
        std::fs::write(&file, boot).unwrap();
        let source = BootSource::Sandbox(file);
        let boot = source.read().unwrap();
        let clocks = Clocks::new(&source, boot, folder.path()).unwrap();
        let mut ledger = unlocked(folder.path()).await;
        let records = ledger.load().map_err(|e| e.to_string());
        let kind = tools(folder.path());
        let controller = ControllerKey::from_seed(&[1; 32]).unwrap();
        let instance = model::InstanceId(Uuid::from_u128(1));
        let config = crate::machine::Config::new(host_id(), instance, "c".to_owned(), recipe::supported_actions(&kind));
        let performer = Performer {
            host_id: host_id(),
            key: DeviceKey::from_seed(&[2; 32]).unwrap(),
            controller: controller.public(),
            ledger,
            records,
            boot,
            clocks,
            host: Host::new(kind, host_id(), None, folder.path().to_owned(), &folder.path().join("hooks"))
                .with_commands(&folder.path().join("commands.d"), None),
            state_dir: folder.path().to_owned(),
        };
        let (to, from_network) = mpsc::channel(8);
        let (to_network, from) = mpsc::channel(8);
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(performer.run(config, from_network, to_network, stopped, || {}));
        let bench = Self { folder, to, from, stop, task, controller, boot, tokens: 0 };
        bench.to.send(FromNetwork::Connected).await.unwrap();
        bench
    }

    async fn stop(self) -> Arc<tempfile::TempDir> {
        self.stop.send_replace(true);
        drop(self.from);
        tokio::time::timeout(PATIENCE, self.task).await.unwrap().unwrap();
        self.folder
    }

    async fn send(&mut self, payload: Vec<u8>, retained: bool) {
        self.tokens += 1;
        self.to.send(FromNetwork::Delivery { token: Token(self.tokens), retained, payload }).await.unwrap();
    }

    fn command(&self, n: u128, action: Action) -> Command {
        let now = crate::boot::wall();
        Command {
            id: CommandId(Uuid::from_u128(100 + n)),
            target: host_id(),
            subject: host_id(),
            action,
            orchestration: OrchestrationId(Uuid::from_u128(2)),
            attempt: 1,
            fence: Fence { epoch: 1, position: n as u64 },
            issued_at: now,
            expires_at: now + Millis::secs(240),
        }
    }

    fn reboot(&self, n: u128) -> Command {
        let expect_boot = self.boot;
        self.command(n, Action::Reboot { expect_boot, begin_within: Millis::secs(120), ignore_inhibitors: false })
    }

    fn seal(&self, command: &Command) -> Vec<u8> {
        seal_controller(&self.controller, host_id(), &ControllerBody::Command { command: command.clone() }).unwrap()
    }

    /// The next acknowledgement of this status; the broker acknowledges everything meanwhile.
    async fn ack(&mut self, id: CommandId, status: AckStatus) -> Ack {
        let key = DeviceKey::from_seed(&[2; 32]).unwrap().public();
        let wait = async {
            while let Some(message) = self.from.recv().await {
                let ToNetwork::Publish { kind, payload, heard } = message else { continue };
                heard.map(|heard| heard.send(true));
                match open_device(&payload, &key, host_id(), kind).unwrap() {
                    DeviceBody::Ack { ack } if ack.command == id && ack.status == status => return Some(ack),
                    _ => {}
                }
            }
            None
        };
        let found = tokio::time::timeout(PATIENCE, wait).await;
        found.unwrap_or_else(|_| panic!("no {status} of {id}")).unwrap()
    }

    fn asked(&self, word: &str) -> usize {
        let asked = std::fs::read_to_string(self.folder.path().join("asked")).unwrap_or_default();
        asked.lines().filter(|line| *line == word).count()
    }
}

const BOOT_1: &str = "0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11/0";
const BOOT_2: &str = "1d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11/0";

#[tokio::test]
async fn a_signed_reboot_runs_the_tool_once_and_the_next_boot_proves_it() {
    let mut bench = Bench::start(Arc::new(tempfile::tempdir().unwrap()), BOOT_1).await;
    let command = bench.reboot(1);
    let sealed = bench.seal(&command);
    bench.send(sealed.clone(), false).await;
    bench.ack(command.id, AckStatus::Accepted).await;
    bench.ack(command.id, AckStatus::ExecutionStarted).await;
    let deadline = std::time::Instant::now() + PATIENCE;
    while bench.asked("reboot") == 0 {
        assert!(std::time::Instant::now() < deadline, "the tool was not run");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Killed and started on the same boot: not run again, and nothing final is said.
    let mut bench = Bench::start(bench.stop().await, BOOT_1).await;
    bench.send(sealed.clone(), false).await;
    bench.ack(command.id, AckStatus::ExecutionStarted).await;
    let mut bench = Bench::start(bench.stop().await, BOOT_2).await;
    let ack = bench.ack(command.id, AckStatus::Completed).await;
    assert_eq!((ack.boot, ack.report.unwrap().boot), (bench.boot, bench.boot));
    bench.send(sealed, false).await;
    bench.ack(command.id, AckStatus::Completed).await;
    assert_eq!(bench.asked("reboot"), 1);
    bench.stop().await;
}

#[tokio::test]
async fn what_is_not_from_the_controller_runs_no_tool() {
    let mut bench = Bench::start(Arc::new(tempfile::tempdir().unwrap()), BOOT_1).await;
    let forged = bench.reboot(1);
    let other = ControllerKey::from_seed(&[9; 32]).unwrap();
    let payload = seal_controller(&other, host_id(), &ControllerBody::Command { command: forged.clone() }).unwrap();
    bench.send(payload, false).await;
    assert_eq!(bench.ack(forged.id, AckStatus::Failed).await.error.unwrap().code, ErrorCode::BadSignature);
    let unsigned = bench.reboot(2);
    let body = serde_json::to_string(&ControllerBody::Command { command: unsigned.clone() }).unwrap();
    bench.send(serde_json::json!({"v": 1, "body": body}).to_string().into_bytes(), false).await;
    assert_eq!(bench.ack(unsigned.id, AckStatus::Failed).await.error.unwrap().code, ErrorCode::BadSignature);
    let retained = bench.reboot(3);
    let payload = bench.seal(&retained);
    bench.send(payload, true).await;
    assert_eq!(bench.ack(retained.id, AckStatus::Failed).await.error.unwrap().code, ErrorCode::Retained);
    for garbage in [vec![0xff; 10], vec![b'x'; MAX_PAYLOAD + 1], b"{\"v\":1}".to_vec(), Vec::new()] {
        bench.send(garbage, false).await;
    }
    let probe = bench.command(4, Action::Probe { checks: Vec::new() });
    let payload = bench.seal(&probe);
    bench.send(payload, false).await;
    assert!(bench.ack(probe.id, AckStatus::Completed).await.report.unwrap().children().unwrap().is_empty());
    assert_eq!(bench.asked("reboot"), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_ledger_that_cannot_be_written_lets_no_tool_run() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut bench = Bench::start(folder.clone(), BOOT_1).await;
    // A folder in the place of the temporary file, and a ledger that must be written anew: no write works.
    let first = bench.command(1, Action::Probe { checks: Vec::new() });
    let payload = bench.seal(&first);
    bench.send(payload, false).await;
    bench.ack(first.id, AckStatus::Completed).await;
    let folder = bench.stop().await;
    std::fs::remove_file(folder.path().join("ledger")).unwrap();
    std::fs::create_dir(folder.path().join("ledger.new")).unwrap();
    let mut bench = Bench::start(folder, BOOT_1).await;
    let command = bench.reboot(2);
    let payload = bench.seal(&command);
    bench.send(payload, false).await;
    assert_eq!(bench.ack(command.id, AckStatus::Failed).await.error.unwrap().code, ErrorCode::LedgerFailed);
    assert_eq!(bench.asked("reboot"), 0);
    bench.stop().await;
}

#[tokio::test]
async fn a_hook_on_the_host_is_looked_at_and_drained_by_its_own_program() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let hook = folder.path().join("queue");
    let text = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\ncase $1 in state) if [ -e off ]; then echo q stopped out; else echo q serving in; fi;; \
                drain) touch off;; undrain) rm off;; check) [ ! -e off ];; esac\n";
    std::fs::write(&hook, text).unwrap();
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
    let root = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&hook).unwrap()) == 0;
    let host = Host::new(recipe::HostKind::Systemd, host_id(), Some(Default::default()), folder.path().to_owned(), folder.path());
    let (answers, mut answered) = mpsc::unbounded_channel();
    let drain = || model::Drain::Hook { name: "queue".to_owned() };
    let limit = Millis::secs(30);
    let prior = vec![model::ItemState { name: "q".to_owned(), state: "serving".to_owned(), in_service: true }];
    let kind = model::CheckKind::Hook { name: "queue".to_owned() };
    let check = || Action::Check { checks: vec![model::Check { name: "q".to_owned(), kind: kind.clone(), limit }] };
    let actions = [
        (Action::Observe { drain: drain() }, "serving"),
        (check(), "passed: true"),
        (Action::Drain { drain: drain(), grace: limit, force: false }, "stopped"),
        (check(), "passed: false"),
        (Action::Undrain { drain: drain(), prior, limit, forced: false }, "serving"),
    ];
    for (action, said) in actions {
        host.look(CommandId(Uuid::from_u128(1)), action.clone(), answers.clone());
        let answer = tokio::time::timeout(PATIENCE, answered.recv()).await.unwrap().unwrap();
        let Input::Looked { verdict, .. } = &answer else { panic!("{answer:?}") };
        // A hook that was not made by root is not run.
        assert!(format!("{verdict:?}").contains(if root { said } else { "belongs to user" }), "{action:?}: {verdict:?}");
    }
}

#[test]
fn a_message_that_is_too_large_loses_its_children_and_not_its_word() {
    let report = |children| model::Report {
        boot: BOOT_1.parse().unwrap(),
        instance: model::InstanceId(Uuid::from_u128(1)),
        sequence: 1,
        taken_at: model::Timestamp::from_millis(0),
        agent_version: String::new(),
        protocol_version: 1,
        actions: Default::default(),
        engines: Default::default(),
        children,
        pending_shutdown: Readable::Known(None),
        inhibitors: Readable::Known(Vec::new()),
        rate: Default::default(),
        reboot_required: Readable::Known(None),
    };
    let mut body = DeviceBody::Report { report: report(Readable::Known(Vec::new())) };
    assert!(shorten(&mut body));
    assert!(matches!(body, DeviceBody::Report { report } if report.children().is_none()));
    assert!(!shorten(&mut DeviceBody::Gone { instance: model::InstanceId(Uuid::from_u128(1)) }));
}

#[tokio::test]
async fn a_named_command_is_a_file_of_root_that_is_run_once_and_whose_end_is_kept() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let commands = folder.path().join("commands.d");
    std::fs::create_dir(&commands).unwrap();
    let file = commands.join("rotate");
    let log = folder.path().join("runs");
    std::fs::write(&file, format!("#!/bin/sh\necho once >> {}\necho rotated; echo careful >&2\nexit 3\n", log.display()))
        .unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    let root = std::fs::metadata(&file).unwrap().uid() == 0;
    let mut bench = Bench::start(folder, BOOT_1).await;
    let run = |name: &str| model::Run::Named { name: name.to_owned() };
    let of = |bench: &Bench, n, run| bench.command(n, Action::Run { run, expect_boot: bench.boot, limit: Millis::secs(60) });
    let command = of(&bench, 1, run("rotate"));
    let payload = bench.seal(&command);
    bench.send(payload.clone(), false).await;
    if !root {
        let error = bench.ack(command.id, AckStatus::Failed).await.error.unwrap();
        assert!(error.message.contains("belongs to user"), "{error:?}");
        return;
    }
    let ack = bench.ack(command.id, AckStatus::Completed).await;
    let Some(model::Observed::Ran(ran)) = ack.observed else { panic!("{ack:?}") };
    assert_eq!((ran.exit, ran.out.tail.as_str(), ran.err.tail.as_str()), (Some(3), "rotated\n", "careful\n"));
    // The same once more, and after a restart: said again, and not run again.
    bench.send(payload.clone(), false).await;
    bench.ack(command.id, AckStatus::Completed).await;
    let mut bench = Bench::start(bench.stop().await, BOOT_1).await;
    bench.send(payload, false).await;
    bench.ack(command.id, AckStatus::Completed).await;
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "once\n");
    // What is not there, and what others could have written, is not run.
    let missing = of(&bench, 2, run("missing"));
    let payload = bench.seal(&missing);
    bench.send(payload, false).await;
    assert_eq!(bench.ack(missing.id, AckStatus::Failed).await.error.unwrap().code, ErrorCode::NotFound);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o777)).unwrap();
    let open = of(&bench, 3, run("rotate"));
    let payload = bench.seal(&open);
    bench.send(payload, false).await;
    assert_eq!(bench.ack(open.id, AckStatus::Failed).await.error.unwrap().code, ErrorCode::Refused);
    assert_eq!(std::fs::read_to_string(&log).unwrap(), "once\n");
    bench.stop().await;
}
