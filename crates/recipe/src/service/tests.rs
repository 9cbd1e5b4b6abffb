//! A host in a folder, with a `systemctl` that remembers.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use model::{BootIdentity, OrchestrationId};
use uuid::Uuid;

use super::*;
use crate::testing::{really_with, run};
use crate::{HOOKS_DIR, Invocation};

pub(super) const UNIT: &str = "web.service";
pub(super) const RUN_1: &str = "4f9c0a6f3a1d4a3f8a52d0f0b1c2d301";

/// Keeps the unit in files; each start is another run.
const SYSTEMCTL: &str = r#"
get() { cat "$state/$1" 2> /dev/null || echo "$2"; }
[ -e "$state/script" ] && . "$state/script"
case $1 in
  show)
    printf 'LoadState=%s\nActiveState=%s\nSubState=%s\n' "$(get load loaded)" "$(get active active)" "$(get sub running)"
    printf 'InvocationID=%s\nNRestarts=%s\nResult=%s\n' "$(get run '')" "$(get restarts 0)" "$(get result success)"
    printf 'CanReload=%s\nNeedDaemonReload=%s\n' "$(get can_reload yes)" "$(get needs no)"
    printf 'FragmentPath=%s\nDropInPaths=%s\n' "$(get fragment '')" "$(get drop_ins '')"
    ;;
  daemon-reload) echo no > "$state/needs" ;;
  restart | start)
    echo active > "$state/active"; echo running > "$state/sub"
    n=$(($(get count 1) + 1)); echo $n > "$state/count"; printf '4f9c0a6f3a1d4a3f8a52d0f0b1c2d3%02d\n' $n > "$state/run"
    ;;
  stop | kill) echo inactive > "$state/active"; echo dead > "$state/sub" ;;
esac
"#;

pub(super) struct Host {
    folder: tempfile::TempDir,
    pub(super) shell: Vec<String>,
    pub(super) places: Places,
}

impl Host {
    pub(super) fn new() -> Self {
        Self::with(&["sh".to_owned()])
    }

    pub(super) fn with(shell: &[String]) -> Self {
        // In memory, where there is such a place: killing at each step writes much to disk.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let text = |name: &str| folder.path().join(name).display().to_string();
        let places = Places { units: text("units"), run: text("run"), commands: text("commands") };
        let host = Self { places, shell: shell.to_vec(), folder };
        for name in ["units", "run", "bin", "state"] {
            std::fs::create_dir_all(host.at(name)).unwrap();
        }
        host.tool("systemctl", &format!("state={}\n{SYSTEMCTL}", host.at("state").display()));
        host.write("units/web.service", "[Service]\nExecStart=/old\n");
        host.state("fragment", &host.path("units/web.service"));
        host.state("run", RUN_1);
        host
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.at(name).display().to_string()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        std::fs::create_dir_all(self.at(name).parent().unwrap()).unwrap();
        std::fs::write(self.at(name), text).unwrap();
    }

    pub(super) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(name)).unwrap_or_else(|error| format!("{name}: {error}"))
    }

    pub(super) fn state(&self, name: &str, text: &str) {
        self.write(&format!("state/{name}"), &format!("{text}\n"));
    }

    /// A tool that notes what it was asked for.
    pub(super) fn tool(&self, name: &str, script: &str) {
        let asked = self.path("asked");
        self.write(&format!("bin/{name}"), &format!("#!/bin/sh\necho \"{name} $*\" >> {asked}\n{script}\n"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.at("bin").join(name), mode).unwrap();
    }

    /// What systemctl was asked for, without looks.
    pub(super) fn asked(&self) -> Vec<String> {
        let asked = self.read("asked");
        asked.lines().filter(|line| line.starts_with("systemctl ") && !line.contains(" show ")).map(str::to_owned).collect()
    }

    pub(super) fn script(&self, verb: &ServiceVerb) -> Script<Verdict> {
        script(&self.places, UNIT, verb, HOOKS_DIR)
    }

    pub(super) fn run(&self, invocation: &Invocation) -> Output {
        run(invocation, &self.shell, &self.path("bin"))
    }

    pub(super) fn perform(&self, verb: &ServiceVerb) -> Verdict {
        really_with(self.script(verb), |invocation| self.run(invocation))
    }

    pub(super) fn seen(&self, verb: &ServiceVerb) -> ServiceSeen {
        seen(&self.perform(verb))
    }

    /// What a folder holds, in one text.
    pub(super) fn tree(&self, name: &str) -> String {
        tree(&self.at(name))
    }

    /// Performs it with tools of which the one that is called as number `stop` kills the whole group of processes after its
    /// work. Whether that happened.
    pub(super) fn killed(&self, verb: &ServiceVerb, stop: u32) -> bool {
        self.killed_with(verb, stop, "")
    }

    /// As [`Self::killed`], with tools of this folder before those that kill.
    pub(super) fn killed_with(&self, verb: &ServiceVerb, stop: u32, first: &str) -> bool {
        let tools = ["mv", "cp", "rm", "mkdir", "ln", "sync", "rsync", "perl", "stat", "cmp", "chmod", "cat", "systemctl"];
        let (count, folder) = (self.path("count"), self.at("killing"));
        drop(std::fs::remove_file(&count));
        std::fs::create_dir_all(&folder).unwrap();
        for tool in tools {
            let real = if tool == "systemctl" { self.path("bin/systemctl") } else { real(tool) };
            let text = format!(
                "#!/bin/sh\necho x >> {count}\nn=$(wc -l < {count})\n[ $n -eq {stop} ] || exec {real} \"$@\"\n\
                 {real} \"$@\" > /dev/null 2>&1\nkill -KILL 0\n"
            );
            std::fs::write(folder.join(tool), text).unwrap();
            std::fs::set_permissions(folder.join(tool), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut script = self.script(verb);
        let mut last = None;
        for _ in 0..100 {
            match script.next(last.take().as_ref(), Millis(0)) {
                Next::Run(invocation) if invocation.argv.first().is_some_and(|word| word == "sh") => {
                    let path = format!("{first}:{}:{}", folder.display(), std::env::var("PATH").unwrap());
                    let status = Command::new("sh")
                        .args(&invocation.argv[1..])
                        .env("PATH", path)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null())
                        .process_group(0)
                        .status()
                        .unwrap();
                    return status.code().is_none();
                }
                Next::Run(invocation) => last = Some(self.run(&invocation)),
                other => panic!("{other:?}"),
            }
        }
        panic!("no script was run");
    }
}

fn real(tool: &str) -> String {
    let path = std::env::var("PATH").unwrap();
    let found = path.split(':').map(|folder| format!("{folder}/{tool}")).find(|path| Path::new(path).exists());
    found.unwrap_or_else(|| tool.to_owned())
}

pub(super) fn tree(folder: &Path) -> String {
    let Ok(entries) = std::fs::read_dir(folder) else { return "none".to_owned() };
    let mut lines: Vec<String> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            let mode = meta.permissions().mode() & 0o7777;
            if meta.is_dir() {
                format!("{name}/{mode:o}({})", tree(&path))
            } else if meta.is_symlink() {
                format!("{name}->{}", std::fs::read_link(&path).unwrap().display())
            } else {
                format!("{name}:{mode:o}={}", std::fs::read_to_string(&path).unwrap().trim())
            }
        })
        .collect();
    lines.sort();
    lines.join(" ")
}

pub(super) fn seen(verdict: &Verdict) -> ServiceSeen {
    match verdict {
        Verdict::Completed { observed: Some(Observed::Service(seen)), .. } => (**seen).clone(),
        other => panic!("{other:?}"),
    }
}

pub(super) fn why(verdict: &Verdict) -> (ErrorCode, String) {
    match verdict {
        Verdict::Failed { code, message } => (*code, message.clone()),
        other => panic!("{other:?}"),
    }
}

pub(super) fn key(n: u128) -> OrchestrationId {
    OrchestrationId(Uuid::from_u128(n))
}

/// A small file system of its own, where this user may make one.
pub(super) struct Mounted(PathBuf);

impl Mounted {
    pub(super) fn at(path: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(path))
    }

    pub(super) fn remount(&self, options: &str) {
        let done = Command::new("mount").args(["-o", options]).arg(&self.0).status().unwrap();
        assert!(done.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

/// All verbs, each as it could be asked.
fn verbs(host: &Host) -> Vec<ServiceVerb> {
    let deploy = model::Deploy {
        source: host.path("source"),
        destination: host.path("app/web"),
        exclude: vec![],
        keep: vec![],
        unit_file: None,
    };
    let limit = Millis::secs(5);
    let migrate = model::Migrate::Command { argv: vec!["true".into()], directory: "/".into() };
    let expect_boot = BootIdentity::new("acc35e4d-d43e-4d08-b999-d55965f1cce1", 53).unwrap();
    vec![
        ServiceVerb::Inspect { checks: vec![] },
        ServiceVerb::Watch { invocation: None, restarts: 0, checks: vec![], hold: limit, every: limit },
        ServiceVerb::BackUp { key: key(1) },
        ServiceVerb::Deploy { key: key(1), deploy: deploy.clone(), limit },
        ServiceVerb::Migrate { migrate, key: key(1), expect_boot, limit },
        ServiceVerb::Restart { key: Some(key(1)), expect: RUN_1.parse().ok(), reload: false, grace: limit },
        ServiceVerb::Stop { grace: limit },
        ServiceVerb::Revert { key: key(1), deploy, limit },
        ServiceVerb::Restore { key: key(1), start: true, grace: limit },
    ]
}

#[test]
fn a_unit_that_is_not_there_is_told_by_a_look_and_an_error_for_everything_else() {
    let host = Host::new();
    host.state("active", "inactive");
    host.state("run", "");
    for (load, code) in [("not-found", ErrorCode::NotFound), ("masked", ErrorCode::Refused)] {
        host.state("load", load);
        for verb in verbs(&host) {
            let verdict = host.perform(&verb);
            match verb {
                ServiceVerb::Inspect { .. } => assert_eq!(seen(&verdict).unit.load, load),
                verb => assert_eq!(why(&verdict).0, code, "{verb:?}"),
            }
        }
    }
    assert_eq!(host.asked(), [""; 0], "nothing is done to it");
}

#[test]
fn no_verb_takes_a_name_that_is_none() {
    let host = Host::new();
    for name in ["", "web", "-H.service", "a/b.service", "*.service", "a b.service"] {
        for verb in verbs(&host) {
            let verdict = really_with(script(&host.places, name, &verb, HOOKS_DIR), |run| panic!("{run:?}"));
            assert_eq!(why(&verdict).0, ErrorCode::Malformed, "{name} {verb:?}");
        }
    }
}

/// G5: whatever is wrong with the answers, nothing is a success, and everything ends.
#[test]
fn broken_answers_are_never_a_success() {
    let host = Host::new();
    let good = host.run(&look::ask(UNIT, LOOK).unwrap()).stdout;
    for verb in verbs(&host) {
        for bad in crate::testing::broken(&good) {
            let mut runs = 0;
            let (story, verdict) = crate::testing::drive(host.script(&verb), |_, _| {
                runs += 1;
                (bad.clone(), Millis(10))
            });
            assert!(matches!(verdict, Verdict::Failed { .. }), "{verb:?}: {story}");
            assert!(runs < 50, "{story}");
        }
    }
}

/// The unit is there, and everything else goes wrong in every way.
#[test]
fn broken_answers_of_the_scripts_are_never_a_success() {
    let host = Host::new();
    let good = host.run(&look::ask(UNIT, LOOK).unwrap());
    let answer = "REVEILLE backup=done changed=yes exit=0 late=no out=0 err=0 .\n\nREVEILLE end .\n";
    let looks = |verb: &ServiceVerb| matches!(verb, ServiceVerb::Inspect { .. } | ServiceVerb::Watch { .. });
    // A unit that is up needs no start, so what is to be restored does not run.
    let down = Output { stdout: good.stdout.replace("ActiveState=active", "ActiveState=inactive"), ..good.clone() };
    for verb in verbs(&host).into_iter().filter(|verb| !looks(verb)) {
        let seen = if matches!(verb, ServiceVerb::Restore { .. }) { &down } else { &good };
        for bad in crate::testing::broken(answer) {
            let (story, verdict) = crate::testing::drive(host.script(&verb), |line, _| {
                (if line.starts_with("systemctl show") { seen.clone() } else { bad.clone() }, Millis(10))
            });
            assert!(matches!(verdict, Verdict::Failed { .. }), "{verb:?}: {story}");
        }
    }
}

#[test]
fn a_look_at_a_service_makes_its_checks_on_the_host() {
    let host = Host::new();
    let checks = vec![
        model::Check { name: "odd".into(), kind: model::CheckKind::Tcp { address: "nowhere".into() }, limit: Millis::secs(5) },
        model::Check { name: "ok".into(), kind: model::CheckKind::Command { argv: vec!["true".into()] }, limit: Millis::secs(5) },
    ];
    let seen = host.seen(&ServiceVerb::Inspect { checks });
    assert_eq!(seen.unit.invocation, RUN_1.parse().ok());
    assert_eq!(seen.checks.iter().map(|check| check.passed).collect::<Vec<_>>(), [false, true]);
    assert!(seen.checks[0].detail.contains("no HOST:PORT"), "{:?}", seen.checks);
    assert!(!seen.is_healthy() && !seen.changed);
}
