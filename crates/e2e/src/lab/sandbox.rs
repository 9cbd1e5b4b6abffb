//! The sandbox: mount, network, pid, cgroup, ipc and uts namespaces that hold all hosts.
//!
//! Three processes make one. The *keeper*, outside, owns the cgroup and ends when the sandbox ends. `unshare`, its child,
//! dies with it. *init*, process 1 inside, dies with `unshare`, and the kernel ends everything else inside with init.
//! So any kill of any of them ends the lab; what can remain is a tree of empty cgroups and a directory, which the next
//! [`down`] or [`up`] removes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

use super::image::Image;
use super::{Paths, SANDBOX_IP, fingerprint, lock};
use crate::process::{check, command};
use crate::wait;

/// Name of the cgroup for the sandbox's own processes, beside one for each host: a cgroup with children holds none itself.
const CONTROL: &str = "_control";

/// Joins the cgroup in `$0`, then becomes the rest of the arguments.
const JOIN: &str = r#"echo $$ > "$0/cgroup.procs" && exec "$@""#;

/// A sandbox that is up, seen from outside.
#[derive(Debug)]
pub struct Sandbox {
    /// Its process 1, as the machine numbers it.
    pub init: i32,
    cgroup: PathBuf,
}

/// The lab's cgroup in the unified hierarchy: below `/sys/fs/cgroup`, or beside version 1's controllers.
fn cgroup(paths: &Paths) -> anyhow::Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let unified = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (place, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then_some(place)
        })
        .next()
        .context("no cgroup2 file system is mounted: mount one on /sys/fs/cgroup/unified")?;
    let name = fingerprint([paths.root.as_os_str().as_encoded_bytes()]);
    Ok(Path::new(unified).join(format!("reveille-lab-{}", &name[..8])))
}

/// The sandbox that is up, if one is. Rests on what the kernel says, not on a file that could be stale.
///
/// # Errors
///
/// When the machine has no cgroup2.
pub fn find(paths: &Paths) -> anyhow::Result<Option<Sandbox>> {
    let cgroup = cgroup(paths)?;
    let Ok(pids) = std::fs::read_to_string(cgroup.join(CONTROL).join("cgroup.procs")) else {
        return Ok(None);
    };
    let init = pids.lines().find(|pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
        numbers.split_whitespace().count() > 1 && numbers.split_whitespace().next_back() == Some("1")
    });
    Ok(match init {
        Some(pid) if paths.run().join("ready").exists() => Some(Sandbox { init: pid.parse()?, cgroup }),
        _ => None,
    })
}

/// Brings an empty sandbox up, after taking down whatever was there.
///
/// With `tied`, the returned pipe holds the sandbox: it ends when the pipe is dropped, also by a kill of this process.
///
/// # Errors
///
/// When it is not up in time; with what it wrote.
pub fn up(paths: &Paths, image: &Image, tied: bool) -> anyhow::Result<(Sandbox, Option<std::process::ChildStdin>)> {
    let _starter = lock(&paths.root.join("start.lock"), Duration::from_mins(2), "another start of the lab")?;
    down(paths)?;
    let run = paths.run();
    std::fs::create_dir_all(run.join("hosts"))?;
    std::fs::write(run.join("image"), image.dir.as_os_str().as_encoded_bytes())?;
    let log_path = run.join("sandbox.log");
    let log = File::create(&log_path)?;
    let mut keeper = Command::new(std::env::current_exe()?)
        .args(["lab-inner", "keep", if tied { "tied" } else { "free" }])
        .stdin(if tied { Stdio::piped() } else { Stdio::null() })
        .stdout(log.try_clone()?)
        .stderr(log)
        .current_dir("/")
        .spawn()?;
    let pipe = keeper.stdin.take();
    let sandbox = wait::until("the sandbox", Duration::from_secs(30), || find(paths)).with_context(|| {
        let said = std::fs::read_to_string(&log_path).unwrap_or_default();
        format!("the sandbox did not come up; it wrote: {said}")
    })?;
    Ok((sandbox, pipe))
}

/// Ends the sandbox, if there is one, and removes everything that a lab leaves: processes, cgroups, files. Namespaces and
/// mounts end with the processes. Images stay.
///
/// # Errors
///
/// When something does not end in time.
pub fn down(paths: &Paths) -> anyhow::Result<()> {
    let cgroup = cgroup(paths)?;
    kill(&cgroup)?;
    let keeper = lock(&paths.keeper_lock(), Duration::from_mins(1), "the keeper of a lab that is ending")?;
    remove_cgroups(&cgroup)?;
    match std::fs::remove_dir_all(paths.run()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", paths.run().display()));
        }
        _ => {}
    }
    drop(keeper);
    Ok(())
}

/// What a lab has left behind, in words; empty after [`down`].
///
/// # Errors
///
/// When the machine has no cgroup2.
pub fn leftovers(paths: &Paths) -> anyhow::Result<Vec<String>> {
    let cgroup = cgroup(paths)?;
    let mut left = Vec::new();
    if std::fs::read_to_string(cgroup.join("cgroup.events")).is_ok_and(|events| events.contains("populated 1")) {
        left.push(format!("processes in {}", cgroup.display()));
    } else if cgroup.exists() {
        left.push(format!("empty cgroups in {}", cgroup.display()));
    }
    if lock(&paths.keeper_lock(), Duration::ZERO, "a keeper").is_err() {
        left.push("a keeper".to_owned());
    }
    if paths.run().exists() {
        left.push(format!("files in {}", paths.run().display()));
    }
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let below = |line: &&str| line.split(' ').nth(1).is_some_and(|place| Path::new(place).starts_with(&paths.root));
    left.extend(mounts.lines().filter(below).map(|line| format!("the mount {line}")));
    Ok(left)
}

/// Kills every process in a cgroup and below. The kernel does it in one go (since Linux 5.14), frozen ones included.
fn kill(cgroup: &Path) -> anyhow::Result<()> {
    match std::fs::write(cgroup.join("cgroup.kill"), "1") {
        Err(error) if cgroup.exists() => Err(error).with_context(|| format!("cannot kill {}", cgroup.display())),
        _ => Ok(()),
    }
}

fn remove_cgroups(cgroup: &Path) -> anyhow::Result<()> {
    wait::until_true("the lab's cgroups to become empty", Duration::from_secs(30), || {
        remove_empty_cgroups(cgroup);
        Ok(!cgroup.exists())
    })
}

/// Removes a tree of cgroups, leaves first; those in use stay.
pub(crate) fn remove_empty_cgroups(cgroup: &Path) {
    let below = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_empty_cgroups(&entry.path());
    }
    // In use, or gone already: both are fine.
    let _ = std::fs::remove_dir(cgroup);
}

fn parent_of(pid: i32) -> anyhow::Result<i32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).context("no parent")?;
    Ok(line.trim().parse()?)
}

impl Sandbox {
    /// Its keeper, as the machine numbers it.
    ///
    /// # Errors
    ///
    /// When the sandbox has ended.
    pub fn keeper(&self) -> anyhow::Result<i32> {
        // Between the two is `unshare`.
        parent_of(parent_of(self.init)?)
    }

    /// A command that runs `words` inside, in the directory `dir`.
    #[must_use]
    pub fn enter<S: AsRef<std::ffi::OsStr>>(&self, dir: &Path, words: impl IntoIterator<Item = S>) -> Command {
        let mut inside = joining(&self.cgroup.join(CONTROL));
        inside
            .args(["nsenter", "-t", &self.init.to_string(), "-m", "-n", "-p", "-C", "-i", "-u", "--"])
            // nsenter leaves us at the root of the new mount namespace.
            .args(["sh", "-c", r#"cd "$0" && exec "$@""#])
            .arg(dir)
            .args(words);
        inside
    }
}

/// A command that starts in `cgroup`; its words are still to be added.
pub(crate) fn joining(cgroup: &Path) -> Command {
    let mut join = command(["sh", "-c", JOIN]);
    join.arg(cgroup);
    join
}

/// The keeper: runs until the sandbox ends. With `tied`, ends it when standard input does.
///
/// # Errors
///
/// When another keeper is alive or the sandbox cannot be made.
pub fn keep(paths: &Paths, tied: bool) -> anyhow::Result<()> {
    // A Ctrl-C for the program that started us must not kill half of the lab.
    rustix::process::setsid().context("setsid")?;
    let _lock = lock(&paths.keeper_lock(), Duration::ZERO, "another keeper")?;
    let cgroup = cgroup(paths)?;
    std::fs::create_dir(&cgroup).with_context(|| cgroup.display().to_string())?;
    let mut unshare = command(["setpriv", "--pdeathsig", "KILL"]);
    let mut join = joining(&cgroup);
    join.args(["unshare", "--mount", "--net", "--pid", "--cgroup", "--ipc", "--uts", "--fork", "--kill-child=KILL"])
        .args(["--mount-proc", "--propagation", "private"])
        .arg(std::env::current_exe()?)
        .args(["lab-inner", "init"]);
    unshare.arg(join.get_program()).args(join.get_args()).stdin(Stdio::null());
    let mut unshare = unshare.spawn()?;
    if tied {
        let cgroup = cgroup.clone();
        std::thread::spawn(move || {
            let mut nothing = [0];
            while matches!(std::io::stdin().read(&mut nothing), Ok(1..)) {}
            if let Err(error) = kill(&cgroup) {
                eprintln!("{error:#}");
            }
        });
    }
    let status = unshare.wait()?;
    println!("the sandbox ended: {status}");
    kill(&cgroup)?;
    remove_cgroups(&cgroup)?;
    if tied {
        std::fs::remove_dir_all(paths.run())?;
    }
    Ok(())
}

/// Process 1 inside: makes the sandbox's own view of the machine, then adopts and buries orphans until it is killed.
///
/// # Errors
///
/// When a mount or the network cannot be made.
pub fn init(paths: &Paths) -> anyhow::Result<()> {
    let limit = Duration::from_secs(20);
    let run = |line: &str| check(&mut command(line.split(' ')), limit).map(drop);
    if rustix::process::getpid().as_raw_nonzero().get() != 1 {
        bail!("this is not the first process of a sandbox");
    }
    // Version 1's controllers may be stacked below it; the lazy umount takes all of them.
    let _ = run("umount -l /sys/fs/cgroup");
    run("mount -t sysfs sysfs /sys")?; // this network namespace's devices
    run("mount -t cgroup2 cgroup2 /sys/fs/cgroup")?; // rooted at our own cgroup
    let control = Path::new("/sys/fs/cgroup").join(CONTROL);
    std::fs::create_dir(&control)?;
    std::fs::write(control.join("cgroup.procs"), "0")?;
    run("mount -t tmpfs -o mode=755 tmpfs /run")?;
    std::fs::create_dir_all("/run/lock")?;
    run("hostname lab")?;
    run("ip link set lo up")?;
    run("ip link add br0 address 02:77:00:00:00:01 type bridge")?;
    run(&format!("ip addr add {SANDBOX_IP}/24 dev br0"))?;
    run("ip link set br0 up")?;
    std::fs::write(paths.run().join("ready"), "")?;
    loop {
        if rustix::process::wait(rustix::process::WaitOptions::empty()).is_err() {
            std::thread::sleep(Duration::from_millis(100)); // no children at present
        }
    }
}
