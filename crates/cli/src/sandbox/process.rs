//! Processes that end with their supervisor, and finding what is left of a tree.
//!
//! Every process of a sandbox host asks the kernel to kill it when its supervisor ends (PR_SET_PDEATHSIG), which also
//! reaches frozen ones. It does so itself, first thing: ours in [`super::child`], foreign ones through [`exec`]. The
//! supervisor adopts what they leave behind (PR_SET_CHILD_SUBREAPER), so that all of a boot can be found and killed.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, WaitOptions, getppid, set_child_subreaper, set_parent_process_death_signal, waitpid};

use super::{ExecArgs, SandboxError};

/// End with the supervisor whose process id is `parent`; fails when it has ended already.
pub(super) fn end_with(parent: u32) -> Result<(), SandboxError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|e| SandboxError::system("cannot bind to the supervisor's life")(e.into()))?;
    // It may have ended before that took hold.
    match getppid() {
        Some(now) if now.as_raw_nonzero().get().cast_unsigned() == parent => Ok(()),
        _ => Err(SandboxError::Orphan),
    }
}

/// Becomes another program that ends with the supervisor. Does not return when it works.
pub(super) fn exec(args: &ExecArgs) -> Result<(), SandboxError> {
    end_with(args.parent)?;
    let Some((program, rest)) = args.argv.split_first() else {
        return Err(SandboxError::Refused("no program".to_owned()));
    };
    Err(SandboxError::file("cannot run", program)(std::process::Command::new(program).args(rest).exec()))
}

/// This program again, as another of its hidden commands, in a process group of its own.
pub(super) fn ourselves(command: &str) -> tokio::process::Command {
    let mut again = tokio::process::Command::new("/proc/self/exe");
    again.arg0("reveille").arg(command).process_group(0).stdin(Stdio::null());
    again
}

/// Another program, in a process group of its own, that ends when the calling thread does. `/proc/self/exe` is this one again.
pub(crate) fn bound<S: AsRef<OsStr>>(argv: impl IntoIterator<Item = S>) -> tokio::process::Command {
    let mut command = ourselves("sandbox-exec");
    command.args(["--parent", &std::process::id().to_string(), "--"]).args(argv);
    command
}

/// Opens a log for appending; one that has grown beyond 1 MiB is begun anew.
pub(super) fn open_log(path: &Path) -> Result<std::fs::File, SandboxError> {
    let wrong = || SandboxError::file("cannot write", path);
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(wrong())?;
    if file.metadata().map_err(wrong())?.len() > 1 << 20 {
        file.set_len(0).map_err(wrong())?;
    }
    Ok(file)
}

/// Adopt orphans of the whole tree.
pub(super) fn adopt() -> Result<(), SandboxError> {
    set_child_subreaper(Some(rustix::process::getpid())).map_err(|e| SandboxError::system("cannot adopt orphans")(e.into()))
}

/// A process below us.
struct Below {
    pid: Pid,
    /// Ended, and not yet collected by its parent.
    ended: bool,
    /// Our own child, not a grandchild.
    ours: bool,
}

/// Every process below this one. What cannot be read has ended meanwhile.
fn below() -> Vec<Below> {
    let mut all: Vec<(i32, i32, bool)> = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        // After the bracketed name: state, parent.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_ascii_whitespace();
        let (Some(state), Some(Ok(parent))) = (fields.next(), fields.next().map(str::parse)) else { continue };
        all.push((pid, parent, state == "Z" || state == "X"));
    }
    let me = rustix::process::getpid().as_raw_nonzero().get();
    let (mut found, mut parents) = (Vec::new(), vec![me]);
    while let Some(parent) = parents.pop() {
        for &(pid, _, ended) in all.iter().filter(|(_, p, _)| *p == parent) {
            parents.push(pid);
            if let Some(pid) = Pid::from_raw(pid) {
                found.push(Below { pid, ended, ours: parent == me });
            }
        }
    }
    found
}

/// Collects adopted orphans that have ended. `known` are collected by whoever started them.
pub(super) fn collect(known: &[u32]) {
    for orphan in below().into_iter().filter(|b| b.ended && b.ours && !known.contains(&number(b.pid))) {
        // Already gone is as good.
        let _ = waitpid(Some(orphan.pid), WaitOptions::NOHANG);
    }
}

/// Kills everything below this process. Gives what still lives.
pub(super) fn kill_below() -> Vec<u32> {
    let alive: Vec<Pid> = below().into_iter().filter(|b| !b.ended).map(|b| b.pid).collect();
    for pid in &alive {
        let _ = rustix::process::kill_process(*pid, Signal::KILL);
    }
    alive.into_iter().map(number).collect()
}

fn number(pid: Pid) -> u32 {
    pid.as_raw_nonzero().get().cast_unsigned()
}

/// Signals a whole process group; one that is gone is as good.
pub(super) fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}
