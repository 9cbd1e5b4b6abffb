//! This very machine: what a host without an agent is given, without a connection, and for looks without a shell. Nothing is lost
//! when this process is killed: what was begun goes on to its limit, and is waited for, as behind a connection that ended.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use model::BootIdentity;
use recipe::far::{Guard, Line, Rights};
use recipe::{Invocation, Output};
use rustix::fs::{Access, access};
use rustix::io::Errno;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::access::Sudo;
use super::error::SshError;
use super::exec::Collected;
use super::far::said;
use crate::process;

/// How errors name it.
const NAME: &str = "this machine";
/// No recipe reads more than this; a tool that says more is broken.
const MOST_SAID: u64 = 4 * 1024 * 1024;

/// Runs a tool here.
pub(super) async fn run(invocation: &Invocation, sudo: &Sudo, guard: Option<&Guard>) -> Result<Collected, SshError> {
    let is_root = rustix::process::geteuid().is_root();
    let (rights, line, stdin) = said(invocation, is_root, sudo, guard);
    let lost = |why: String| SshError::Lost { host: NAME.to_owned(), why };
    // A look with our own rights needs neither a shell nor the mark of one: what is run is what answers.
    let is_plain = rights == Rights::Own && guard.is_none();
    let path = recipe::far::path_here(std::env::var("PATH").ok().as_deref());
    let words = if is_plain { &invocation.argv } else { &line.words };
    let (tool, words) = words.split_first().ok_or_else(|| lost("nothing to run".to_owned()))?;
    let told = |output: Output| if is_plain { Ok(Collected { output, lost: None }) } else { answer(&line, output, rights) };
    // As a shell says it: without sudo there is an advice.
    let not_begun = |exit: i32, why: String| Output { exit: Some(exit), stderr: format!("{tool}: {why}"), ..Output::default() };
    // By its path a process is spawned without a copy of this one being made first.
    let Some(program) = found(tool, &path) else { return told(not_begun(127, "not found".to_owned())) };
    let spawn = |program: &Path, script: Option<&Path>| {
        let mut command = Command::new(program);
        command.arg0(if script.is_some() { "sh" } else { tool }).args(script).args(words);
        if is_plain {
            command.env("PATH", &path).envs(invocation.env.iter().map(|(name, value)| (name, value)));
        }
        // A process group of its own: Ctrl-C is for us, and not for what is under way.
        command.process_group(0).kill_on_drop(false);
        command.stdin(if is_plain { Stdio::null() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
    };
    let spawned = match (spawn(&program, None), found("sh", &path)) {
        // A script that does not say by what it is run, as a shell takes it.
        (Err(error), Some(sh)) if error.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) => spawn(&sh, Some(&program)),
        (spawned, _) => spawned,
    };
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return told(not_begun(127, "not found".to_owned())),
        Err(error) if is_of_program(&error) => return told(not_begun(126, error.to_string())),
        Err(error) => return Err(lost(format!("no {tool}: {error}"))),
    };
    if let Some(mut input) = child.stdin.take() {
        // One that does not read it has ended already.
        drop(input.write_all(stdin.as_bytes()).await);
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let out = async {
        match invocation.first.filter(|_| is_plain) {
            Some(bytes) => process::first(stdout, bytes).await,
            None => process::said(stdout, MOST_SAID).await,
        }
    };
    let all = async { tokio::join!(out, process::said(stderr, MOST_SAID), child.wait()) };
    let output = match timeout(invocation.limit.duration(), all).await {
        Ok((stdout, stderr, ended)) => {
            let exit = ended.map_err(|error| lost(error.to_string()))?.code();
            Output { exit, stdout: stdout.map_err(lost)?, stderr: stderr.map_err(lost)?, timed_out: false }
        }
        Err(_) => {
            // What changes something has a watchdog of its own; the rest ends here.
            process::kill(process::group(&child));
            Output { timed_out: true, ..Output::default() }
        }
    };
    told(output)
}

/// Whether it is the program that cannot be run; anything else may pass.
fn is_of_program(error: &std::io::Error) -> bool {
    let errors =
        [Errno::ACCESS, Errno::PERM, Errno::NOEXEC, Errno::TOOBIG, Errno::LOOP, Errno::NOTDIR, Errno::ISDIR, Errno::TXTBSY];
    errors.iter().any(|of_program| error.raw_os_error() == Some(of_program.raw_os_error()))
}

/// Where a tool is, by this `PATH`; one that this user may not run only where there is no other.
fn found(tool: &str, path: &str) -> Option<PathBuf> {
    let mut others = None;
    for file in std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|folder| folder.join(tool)) {
        if file.is_file() && access(&file, Access::EXEC_OK).is_ok() {
            return Some(file);
        }
        others = others.or(file.exists().then_some(file));
    }
    others
}

fn answer(line: &Line, output: Output, rights: Rights) -> Result<Collected, SshError> {
    let output = line.answer(output, rights).map_err(|denial| {
        let user = std::env::var("USER").unwrap_or_default();
        SshError::NothingRun { host: NAME.to_owned(), user, denial }
    })?;
    Ok(Collected { output, lost: None })
}

/// Whether nobody is at work any more for this guard, where that is plain from its note alone: there is none, or its process is gone.
/// Only root sees every process.
pub(super) fn is_plainly_free(guard: &Guard) -> bool {
    if !rustix::process::geteuid().is_root() {
        return false;
    }
    match std::fs::read_to_string(guard.file()) {
        Ok(note) => Guard::noted(&note).is_some_and(|process| !std::path::Path::new(&format!("/proc/{process}")).exists()),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Reads the boot identity; nobody needs rights for it.
pub(super) fn boot() -> Result<BootIdentity, SshError> {
    let file = |path: &str| std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    recipe::far::boot_here(file).map_err(|why| SshError::Unreadable { host: NAME.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::{Millis, TargetId};
    use uuid::Uuid;

    use super::*;

    fn tool(script: &str, limit: Millis) -> Invocation {
        let argv = ["sh", "-c", script].map(str::to_owned).into();
        Invocation { argv, env: vec![("WORD".to_owned(), "it's".to_owned())], limit, first: None }
    }

    fn guard(folder: &std::path::Path) -> Guard {
        Guard { run: folder.display().to_string(), subject: TargetId(Uuid::from_u128(7)) }
    }

    /// With the guard and without it, so with shells around it and without them.
    #[tokio::test]
    async fn a_tool_here_says_and_ends_the_same_with_a_guard_and_without() {
        let folder = tempfile::tempdir().unwrap();
        let guard = guard(folder.path());
        for guard in [None, Some(&guard)] {
            let run = async |invocation: &Invocation| run(invocation, &Sudo::Never, guard).await.unwrap().output;
            let output = run(&tool("echo \"$WORD\"; cat; echo no >&2; exit 3", Millis::secs(60))).await;
            let said = (output.exit, output.stdout.as_str(), output.stderr.as_str(), output.timed_out);
            assert_eq!(said, (Some(3), "it's\n", "no\n", false), "{guard:?}");
            let first = Invocation {
                first: Some(5),
                ..tool("trap '' PIPE; while echo more; do :; done 2> /dev/null; exit 23", Millis::secs(60))
            };
            let output = run(&first).await;
            assert_eq!((output.stdout.as_str(), output.exit), ("more\n", Some(23)), "{guard:?}");
            // Where a login does not look.
            let output = run(&tool("printf %s \"$PATH\"", Millis::secs(60))).await;
            assert!(output.stdout.ends_with(":/usr/local/sbin:/usr/sbin:/sbin:/snap/bin"), "{output:?}");
            let script = folder.path().join("script");
            std::fs::write(&script, "echo \"run: $1\"\n").unwrap();
            let by_path =
                Invocation { argv: vec![script.display().to_string(), "word".to_owned()], ..tool("", Millis::secs(60)) };
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o644)).unwrap();
            let output = run(&by_path).await;
            assert!(output.exit == Some(126) && output.stderr.contains("ermission denied"), "{guard:?}: {output:?}");
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
            assert_eq!(run(&by_path).await.stdout, "run: word\n", "{guard:?}: it does not say by what it is run");
            let missing = Invocation { argv: vec!["no-such-tool".to_owned()], ..tool("", Millis::secs(60)) };
            assert_eq!(run(&missing).await.exit, Some(127));
            let hangs = run(&tool("sleep 1000 & wait", Millis(200))).await;
            assert!(hangs.timed_out && hangs.exit.is_none(), "{hangs:?}");
        }
    }

    #[test]
    fn a_tool_that_may_not_be_run_hides_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).join("tool");
        let path = ["none", "data", "program"].map(|name| folder.path().join(name).display().to_string()).join(":");
        assert_eq!(found("tool", &path), None);
        for (name, mode) in [("data", 0o644), ("program", 0o755)] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(file(name), "").unwrap();
            std::fs::set_permissions(file(name), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(found("tool", &path), Some(file(name)), "the one that may be run, else any");
        }
        assert_eq!(found(&file("data").display().to_string(), &path), Some(file("data")), "by its own path");
    }

    /// What may pass is no answer of the tool: it is looked at again.
    #[test]
    fn only_errors_of_the_program_say_that_it_cannot_be_run() {
        let is = |errno: Errno| is_of_program(&std::io::Error::from_raw_os_error(errno.raw_os_error()));
        assert!([Errno::ACCESS, Errno::NOEXEC, Errno::TOOBIG].into_iter().all(is));
        assert!(![Errno::AGAIN, Errno::NOMEM, Errno::MFILE].into_iter().any(is));
    }

    #[test]
    fn without_sudo_the_answer_says_so() {
        let missing = Output { exit: Some(127), stderr: "sudo: not found".to_owned(), ..Output::default() };
        let line = recipe::far::line(&tool("", Millis(1)), Rights::Sudo);
        assert!(matches!(
            answer(&line, missing, Rights::Sudo),
            Err(SshError::NothingRun { denial: recipe::far::Denial::NoSudo, .. })
        ));
    }

    #[test]
    fn only_a_note_of_a_process_that_is_gone_says_plainly_that_the_way_is_free() {
        // Others may not see who is at work, and always ask the script.
        let is_root = rustix::process::geteuid().is_root();
        let folder = tempfile::tempdir().unwrap();
        let guard = guard(folder.path());
        assert_eq!(is_plainly_free(&guard), is_root, "there is no note");
        let own = std::process::id();
        for (note, free) in [(format!("{own} 1 99999999 -\n"), false), ("4194305 1 99999999 -\n".to_owned(), true)] {
            std::fs::write(guard.file(), &note).unwrap();
            assert_eq!(is_plainly_free(&guard), free && is_root, "{note}");
        }
        // Not whole: the script on the host judges it.
        std::fs::write(guard.file(), "4194305").unwrap();
        assert!(!is_plainly_free(&guard));
    }

    #[tokio::test]
    async fn the_boot_is_the_one_that_a_host_without_an_agent_would_tell() {
        let mut script = recipe::far::boot();
        let recipe::Next::Run(invocation) = script.next(None, Millis(0)) else { panic!("it asks") };
        let output = run(&invocation, &Sudo::Never, None).await.unwrap().output;
        let recipe::Next::Done(told) = script.next(Some(&output), Millis(0)) else { panic!("it answers") };
        assert_eq!(boot().unwrap(), told.unwrap());
    }
}
