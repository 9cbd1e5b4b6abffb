//! A far end that can be rebooted: its `/proc`, claims and tools are in a folder.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::{Ack, AckStatus, Action, BootIdentity, Command, CommandId, Fence, Millis, OrchestrationId, TargetId, Timestamp};
use reach::ssh::{Access, Host, Options, Performer};
use recipe::far::Places;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::bench::{PATIENCE, Person, Server};

const BOOTS: [&str; 3] =
    ["0d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", "1d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11", "2d4f3a52-5c1d-4a39-8ad5-5e0f5f1f9a11"];

pub(crate) struct World {
    pub(crate) person: Person,
    pub(crate) server: Server,
}

/// What a host under systemd says with nothing going on; a reboot is noted.
const SYSTEMCTL: &str = "case $1 in --help) echo '  --check-inhibitors=MODE';; is-system-running) echo running;; list-jobs) ;; \
                         reboot|poweroff) echo \"$1\" >> $FARM/orders; [ ! -e $FARM/refuse ] || { cat $FARM/refuse >&2; exit 1; };; esac";
const BUSCTL: &str = "case $* in *Preparing*) echo '{\"type\":\"b\",\"data\":false}';; \
                      *ScheduledShutdown*) echo '{\"type\":\"(st)\",\"data\":[\"\",18446744073709551615]}';; \
                      *ListInhibitors*) echo '{\"type\":\"a(ssssuu)\",\"data\":[[]]}';; \
                      *ListSessions*) echo '{\"type\":\"a(susso)\",\"data\":[[]]}';; esac";
/// Shows the far end's own `/proc`; the boot id changes as soon as the one in `until` was read.
const CAT: &str = "for file; do case $file in /proc/*) /bin/cat \"$FARM$file\" || exit 1; id=$FARM/proc/sys/kernel/random/boot_id; \
                   [ \"$file\" != /proc/sys/kernel/random/boot_id ] || echo \"$(date +%s%3N) ${SSH_CONNECTION:--} $(/bin/cat $id)\" >> $FARM/reads; \
                   [ ! -e $FARM/until ] || ! cmp -s $FARM/until $id || mv $FARM/next $id 2> /dev/null;; *) /bin/cat \"$file\" || exit 1;; esac; done; \
                   [ $# -gt 0 ] || exec /bin/cat";

impl World {
    pub(crate) fn new() -> Self {
        let person = Person::new();
        let server = Server::start(&person);
        person.knows(&server);
        let world = Self { person, server };
        for name in ["proc/1", "proc/sys/kernel/random", "systemd"] {
            std::fs::create_dir_all(world.at(name)).unwrap();
        }
        let fields: Vec<String> = (3..=52).map(|field| if field == 22 { "53".to_owned() } else { "0".to_owned() }).collect();
        std::fs::write(world.at("proc/1/stat"), format!("1 (systemd) {}\n", fields.join(" "))).unwrap();
        world.boot(0);
        for (name, script) in [("systemctl", SYSTEMCTL), ("busctl", BUSCTL), ("cat", CAT), ("lxc", "exit 127")] {
            world.server.stub(name, script);
        }
        world
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.server.folder.path().join(name)
    }

    pub(crate) fn boot(&self, nth: usize) {
        let path = self.at("proc/sys/kernel/random/boot_id");
        std::fs::write(path, format!("{}\n", BOOTS[nth])).unwrap();
    }

    /// After this boot was read once, the host is on another one.
    pub(crate) fn boot_changes(&self, until: usize, next: usize) {
        std::fs::write(self.at("next"), format!("{}\n", BOOTS[next])).unwrap();
        std::fs::write(self.at("until"), format!("{}\n", BOOTS[until])).unwrap();
    }

    /// When, and over which connection, this boot was read.
    pub(crate) fn reads(&self, nth: usize) -> Vec<(u64, String)> {
        let reads = std::fs::read_to_string(self.at("reads")).unwrap_or_default();
        let of_boot = reads.lines().filter_map(|line| line.strip_suffix(BOOTS[nth])?.trim_end().split_once(' '));
        of_boot.map(|(at, connection)| (at.parse().unwrap(), connection.to_owned())).collect()
    }

    pub(crate) fn identity(nth: usize) -> BootIdentity {
        BootIdentity::new(BOOTS[nth], 53).unwrap()
    }

    /// How often the host was told to go down.
    pub(crate) fn orders(&self) -> usize {
        std::fs::read_to_string(self.at("orders")).unwrap_or_default().lines().count()
    }

    pub(crate) fn options(&self) -> Options {
        let text = |name: &str| self.at(name).display().to_string();
        let places = Places { run: text("run"), claims: text("claims"), proc: text("proc"), systemd: text("systemd") };
        Options { places, ..self.person.options() }
    }

    pub(crate) fn performer(&self) -> Arc<Performer> {
        Arc::new(Performer::new(Access::new(self.options()).unwrap()))
    }

    pub(crate) fn host(&self) -> Host {
        Host { id: host_id(), at: self.server.destination() }
    }

    /// Begins a command as its own performer would after a start of the program.
    pub(crate) fn begin(&self, command: &Command) -> Begun {
        let (performer, host, command) = (self.performer(), self.host(), command.clone());
        let (say, said) = mpsc::channel(8);
        let task = tokio::spawn(async move { performer.perform(&host, &command, say).await });
        Begun { said, task }
    }
}

pub(crate) struct Begun {
    said: mpsc::Receiver<Ack>,
    task: tokio::task::JoinHandle<()>,
}

impl Begun {
    pub(crate) async fn next(&mut self) -> Option<Ack> {
        tokio::time::timeout(PATIENCE, self.said.recv()).await.expect("nothing is said")
    }

    /// The last word; everything before it is progress.
    pub(crate) async fn last(&mut self) -> Ack {
        let mut last = None;
        while let Some(ack) = self.next().await {
            assert!(
                last.as_ref().is_none_or(|last: &Ack| !last.status.is_final() && last.status < ack.status),
                "{last:?} then {ack:?}"
            );
            last = Some(ack);
        }
        last.filter(|last| last.status.is_final()).expect("no last word")
    }

    /// Waits for this word.
    pub(crate) async fn until(&mut self, status: AckStatus) -> Ack {
        loop {
            let ack = self.next().await.expect("it ended before that");
            if ack.status == status {
                return ack;
            }
        }
    }

    /// As a `kill -9` of the program does.
    pub(crate) async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }
}

pub(crate) fn host_id() -> TargetId {
    TargetId(Uuid::from_u128(1))
}

pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

pub(crate) fn command(n: u128, action: Action) -> Command {
    Command {
        id: CommandId(Uuid::from_u128(100 + n)),
        target: host_id(),
        subject: host_id(),
        action,
        orchestration: OrchestrationId(Uuid::from_u128(2)),
        attempt: 1,
        fence: Fence { epoch: 1, position: 1 },
        issued_at: now(),
        expires_at: now() + Millis::secs(240),
    }
}

pub(crate) fn reboot(n: u128, begin_within: Millis) -> Command {
    command(n, Action::Reboot { expect_boot: World::identity(0), begin_within, ignore_inhibitors: false })
}

/// Until it is so.
pub(crate) async fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let begun = std::time::Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
