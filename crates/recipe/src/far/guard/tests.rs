use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::*;
use crate::far::answer;
use crate::testing::{really, shells};

const PATIENCE: Duration = Duration::from_secs(120);

fn guard(folder: &Path) -> Guard {
    Guard { run: folder.join("run").display().to_string(), subject: TargetId(Uuid::from_u128(7)) }
}

/// In a process group of its own, so that a mistake kills no test.
fn begin(shell: &[String], line: &Line) -> Child {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(&shell[0]);
    command.args(&shell[1..]).args(["-c", &line.text]).stdin(Stdio::null()).process_group(0);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn end(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let said = Output { exit: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr), timed_out: false };
    answer(said, Rights::Own).unwrap()
}

fn sh(script: &str, limit: Millis) -> Invocation {
    Invocation::new(["sh", "-c", script], limit)
}

fn wait(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read(path: &PathBuf) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Neither running nor a zombie that nobody has buried yet.
fn is_gone(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[test]
fn a_guarded_tool_says_and_ends_as_a_plain_one() {
    for shell in shells() {
        let folder = tempfile::tempdir().unwrap();
        let run = |invocation: &Invocation| end(begin(&shell, &guarded(invocation, Rights::Own, &guard(folder.path()))));
        let mut invocation = sh("printf '%s|' \"$WORDS\" \"$LC_ALL\"; cat; echo no >&2; exit 3", Millis::secs(60));
        invocation.env.push(("WORDS".to_owned(), "it's a b\n$HOME".to_owned()));
        let output = run(&invocation);
        assert_eq!(
            (output.exit, output.stdout.as_str(), output.stderr.as_str()),
            (Some(3), "it's a b\n$HOME|C|", "no\n"),
            "{shell:?}"
        );
        let first = sh("printf 123456789; exit 3", Millis::secs(60)).first(5);
        let line = guarded(&first, Rights::Own, &guard(folder.path()));
        let output = begin(&shell, &line).wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let (exit, stdout, stderr) = (output.status.code(), text(output.stdout), text(output.stderr));
        let output = line.answer(Output { exit, stdout, stderr, timed_out: false }, Rights::Own).unwrap();
        assert_eq!((output.exit, output.stdout.as_str()), (Some(3), "12345"), "{shell:?}");
        assert_eq!(run(&Invocation::new(["no-such-tool"], Millis::secs(60))).exit, Some(127));
        assert_eq!(really(guard(folder.path()).is_free(), &shell, ""), Ok(true), "nothing is left at work");
    }
}

#[test]
fn g7_the_whole_group_is_killed_at_the_limit_though_nobody_is_connected_any_more() {
    for shell in shells() {
        let folder = tempfile::tempdir().unwrap();
        let (pid, late) = (folder.path().join("pid"), folder.path().join("late"));
        let script =
            format!("sh -c 'echo $$ > {0}.new; mv {0}.new {0}; sleep 1000; touch {1}' & wait", pid.display(), late.display());
        let mut child = begin(&shell, &guarded(&sh(&script, Millis::secs(3)), Rights::Own, &guard(folder.path())));
        wait("it does not begin", || pid.exists());
        assert_eq!(really(guard(folder.path()).is_free(), &shell, ""), Ok(false), "{shell:?}");
        // The login's shell goes with its connection, or stays: the tool does not care.
        child.kill().unwrap();
        child.wait().unwrap();
        wait("it is not killed", || is_gone(&read(&pid)));
        assert!(!late.exists());
        wait("the way is not free", || really(guard(folder.path()).is_free(), &shell, "") == Ok(true));
    }
}

#[test]
fn what_is_noted_of_an_older_boot_or_of_a_process_that_ended_is_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let guard = guard(folder.path());
    std::fs::create_dir(folder.path().join("run")).unwrap();
    for shell in shells() {
        for (note, free) in [
            ("", true),
            ("4194305 1 99999999 -\n", true),
            // Another process has that number by now.
            (&*format!("{} 1 99999999 -\n", std::process::id()), true),
            (&*format!("{} {} 99999999999 -\n", std::process::id(), own_start()), false),
        ] {
            std::fs::write(folder.path().join("run").join(format!("busy-{}", guard.subject)), note).unwrap();
            assert_eq!(really(guard.is_free(), &shell, ""), Ok(free), "{shell:?} {note:?}");
        }
    }
}

fn own_start() -> String {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(19).unwrap().to_owned()
}
