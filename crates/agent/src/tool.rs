//! Running the tools of a recipe.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use model::{ErrorCode, Millis, Observed, Ran, Said};
use recipe::{Invocation, Next, Output, Script, Verdict};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};

/// No recipe reads more than this; a tool that says more is broken.
const MOST_SAID: u64 = 4 * 1024 * 1024;
/// After a tool has ended, something that it left behind may still hold its output open; that is not waited for longer.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// Performs a recipe to its end. It always ends, since each run has a limit and the recipe's waiting does.
pub async fn perform<T: Clone>(mut script: Script<T>) -> T {
    let begun = Instant::now();
    let elapsed = || Millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
    let mut last = None;
    loop {
        match script.next(last.as_ref(), elapsed()) {
            Next::Run(invocation) => last = Some(run(&invocation).await),
            Next::Wait(time) => {
                // A recipe that asks again at once must not starve the rest.
                tokio::time::sleep(time.duration().max(Duration::from_millis(1))).await;
                last = None;
            }
            Next::Done(done) => return done,
        }
    }
}

/// Runs one tool in a process group of its own, which is killed at the limit.
pub async fn run(invocation: &Invocation) -> Output {
    let (mut child, stdout, stderr) = match spawn(invocation) {
        Ok(spawned) => spawned,
        Err((exit, stderr)) => return Output { exit: Some(exit), stderr, ..Output::default() },
    };
    let stdout = tokio::spawn(said(stdout, invocation.first));
    let stderr = tokio::spawn(said(stderr, None));
    let (exit, timed_out) = end(&mut child, invocation.limit).await;
    let (stdout, stderr) = (collect(stdout).await, collect(stderr).await);
    match (stdout, stderr) {
        (Ok(stdout), Ok(stderr)) => Output { exit, stdout, stderr, timed_out },
        (Err(why), _) | (_, Err(why)) => Output { exit: None, stdout: String::new(), stderr: why, timed_out },
    }
}

/// Runs the program of a command; however much it says, its end and the last of what it said are kept.
pub async fn run_kept(invocation: &Invocation) -> Verdict {
    let (mut child, stdout, stderr) = match spawn(invocation) {
        Ok(spawned) => spawned,
        // Nothing was begun.
        Err((_, message)) => return Verdict::Failed { code: ErrorCode::ToolFailed, message },
    };
    let (out, err) = (Tail::default(), Tail::default());
    let mut reading = tokio::spawn({
        let (out, err) = (out.clone(), err.clone());
        async move { tokio::join!(keep(stdout, out), keep(stderr, err)) }
    });
    let (exit, timed_out) = end(&mut child, invocation.limit).await;
    // What it left behind may say more; what was said so far is kept.
    if tokio::time::timeout(STRAGGLERS, &mut reading).await.is_err() {
        reading.abort();
    }
    let ran = Ran { exit, timed_out, out: out.said(), err: err.said() };
    Verdict::Completed { observed: Some(Observed::Ran(ran)), already: false }
}

type Spawned = (Child, Option<ChildStdout>, Option<ChildStderr>);

/// Begins a tool; or the exit code that a shell would give, with the reason.
fn spawn(invocation: &Invocation) -> Result<Spawned, (i32, String)> {
    let Some((program, arguments)) = invocation.argv.split_first() else {
        return Err((127, "no program is named".to_owned()));
    };
    let mut command = Command::new(program);
    command.args(arguments).envs(invocation.env.iter().map(|(k, v)| (k, v)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err((127, format!("{program}: no such program"))),
        Err(error) => return Err((126, format!("{program}: {error}"))),
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    Ok((child, stdout, stderr))
}

/// Its exit code, and whether it was killed at its limit.
async fn end(child: &mut Child, limit: Millis) -> (Option<i32>, bool) {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    match tokio::time::timeout(limit.duration(), child.wait()).await {
        Ok(Ok(status)) => (status.code(), false),
        Ok(Err(_)) => (None, false),
        Err(_) => {
            if let Some(group) = group {
                // It may have ended at this very moment; then there is nothing left to kill.
                let _ = kill_process_group(group, Signal::KILL);
            }
            drop(tokio::time::timeout(STRAGGLERS, child.wait()).await);
            (None, true)
        }
    }
}

/// The last of what a stream said, and how much that was in all.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<(u64, VecDeque<u8>)>>);

impl Tail {
    fn add(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.0 += bytes.len() as u64;
        kept.1.extend(bytes);
        let excess = kept.1.len().saturating_sub(Said::MOST);
        kept.1.drain(..excess);
    }

    fn said(&self) -> Said {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.1.iter().copied().collect();
        // A cut within a character shows as a replacement at the very beginning.
        let tail = String::from_utf8_lossy(&bytes);
        let tail = if kept.0 > bytes.len() as u64 { tail.trim_start_matches(char::REPLACEMENT_CHARACTER) } else { &tail };
        Said { bytes: kept.0, tail: tail.to_owned() }
    }
}

async fn keep(stream: Option<impl AsyncRead + Unpin>, tail: Tail) {
    let Some(mut stream) = stream else { return };
    let mut bytes = vec![0; 8 * 1024];
    while let Ok(read) = stream.read(&mut bytes).await {
        match bytes.get(..read) {
            Some(said) if !said.is_empty() => tail.add(said),
            _ => return,
        }
    }
}

/// All that it says, or so many bytes of it; then the stream is closed to it.
async fn said(stream: Option<impl AsyncRead + Unpin>, first: Option<u32>) -> Result<String, String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let read = stream.take(first.map_or(MOST_SAID + 1, u64::from)).read_to_end(&mut bytes).await;
        read.map_err(|e| format!("its output cannot be read: {e}"))?;
    }
    if bytes.len() as u64 > MOST_SAID {
        return Err(format!("it said more than {MOST_SAID} bytes"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn collect(mut reader: tokio::task::JoinHandle<Result<String, String>>) -> Result<String, String> {
    match tokio::time::timeout(STRAGGLERS, &mut reader).await {
        Ok(Ok(said)) => said,
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => {
            reader.abort();
            Err("something that it started still holds its output open".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Millis) -> Invocation {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        Invocation { argv, env: vec![("WORD".to_owned(), "yes".to_owned())], limit, first: None }
    }

    #[tokio::test]
    async fn exit_output_and_environment_are_brought() {
        let output = run(&sh("echo $WORD; echo no >&2; exit 3", Millis::secs(60))).await;
        assert_eq!(output, Output { exit: Some(3), stdout: "yes\n".into(), stderr: "no\n".into(), timed_out: false });
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_127() {
        let argv = vec!["/nonexistent/tool".to_owned()];
        let output = run(&Invocation { argv, env: Vec::new(), limit: Millis::secs(60), first: None }).await;
        assert_eq!(output.exit, Some(127));
        assert!(output.stderr.contains("no such program"));
    }

    #[tokio::test]
    async fn at_its_limit_the_whole_group_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", pid.display());
        let output = run(&sh(&script, Millis(700))).await;
        assert!(output.timed_out && output.exit.is_none(), "{output:?}");
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        let gone = || !std::path::Path::new(&format!("/proc/{pid}/stat")).exists() || zombie(pid);
        for _ in 0..600 {
            if gone() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("its child is still there");
    }

    fn zombie(pid: i32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
    }

    async fn kept(script: &str, limit: Millis) -> Ran {
        match run_kept(&sh(script, limit)).await {
            Verdict::Completed { observed: Some(Observed::Ran(ran)), .. } => ran,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn of_a_command_the_end_is_kept_and_the_last_of_what_it_said() {
        let ran = kept("echo out; echo err >&2; exit 3", Millis::secs(60)).await;
        let said = |text: &str| Said { bytes: text.len() as u64, tail: text.to_owned() };
        assert_eq!(ran, Ran { exit: Some(3), timed_out: false, out: said("out\n"), err: said("err\n") });
        let ran = kept("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done", Millis::secs(120)).await;
        assert_eq!(ran.exit, Some(0));
        assert!(ran.out.is_cut() && ran.out.tail.len() <= Said::MOST && ran.out.tail.ends_with("line 19999\n"));
        let ran = kept("echo begun; exec sleep 1000", Millis(700)).await;
        assert!(ran.timed_out && ran.exit.is_none() && ran.out.tail == "begun\n", "{ran:?}");
        // What it leaves behind holds its output open: its exit code is known all the same.
        let ran = kept("sleep 20 & echo done; exit 4", Millis::secs(600)).await;
        assert_eq!((ran.exit, ran.out.tail.as_str()), (Some(4), "done\n"));
        let nothing =
            Invocation { argv: vec!["/nonexistent/command".to_owned()], env: Vec::new(), limit: Millis::secs(1), first: None };
        assert!(matches!(run_kept(&nothing).await, Verdict::Failed { .. }));
    }

    #[tokio::test]
    async fn endless_output_is_no_answer_unless_only_its_first_part_is_wanted() {
        let argv = ["sh", "-c", "trap '' PIPE; while echo more; do :; done 2> /dev/null; exit 23"].map(str::to_owned).into();
        let output = run(&Invocation { argv, env: Vec::new(), limit: Millis::secs(60), first: Some(5) }).await;
        assert_eq!((output.stdout.as_str(), output.exit), ("more\n", Some(23)));
        let output = run(&sh("yes", Millis::secs(2))).await;
        assert_eq!(output.exit, None);
        assert!(output.stderr.contains("more than"), "{}", output.stderr);
    }

    #[tokio::test]
    async fn what_a_tool_leaves_behind_is_not_waited_for() {
        let begun = Instant::now();
        let output = run(&sh("sleep 20 & echo done", Millis::secs(600))).await;
        assert!(begun.elapsed() < Duration::from_secs(120));
        assert!(output.exit.is_none() && output.stderr.contains("open"));
    }
}
