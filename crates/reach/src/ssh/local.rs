//! This very machine: the same lines that a host without an agent is given, to a shell here, without a connection. Nothing is lost
//! when this process is killed: what was begun goes on to its limit, and is waited for, as behind a connection that ended.

use std::process::Stdio;

use recipe::far::Guard;
use recipe::{Invocation, Output};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;
use tokio::time::timeout;

use super::access::Sudo;
use super::error::SshError;
use super::exec::Collected;
use super::far::said;

/// How errors name it.
const NAME: &str = "this machine";
/// No recipe reads more than this; a tool that says more is broken.
const MOST_SAID: u64 = 4 * 1024 * 1024;

/// Runs a tool here.
pub(super) async fn run(invocation: &Invocation, sudo: &Sudo, guard: Option<&Guard>) -> Result<Collected, SshError> {
    let is_root = rustix::process::geteuid().is_root();
    let (rights, line, stdin) = said(invocation, is_root, sudo, guard);
    let lost = |why: String| SshError::Lost { host: NAME.to_owned(), why };
    let mut command = Command::new("sh");
    // A process group of its own: Ctrl-C is for us, and not for what is under way.
    command.args(["-c", &line.text]).process_group(0).kill_on_drop(false);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| lost(format!("no shell: {error}")))?;
    if let Some(mut input) = child.stdin.take() {
        // One that does not read it has ended already.
        drop(input.write_all(stdin.as_bytes()).await);
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let all = async { tokio::join!(read(stdout), read(stderr), child.wait()) };
    let output = match timeout(invocation.limit.duration(), all).await {
        Ok((stdout, stderr, ended)) => {
            let exit = ended.map_err(|error| lost(error.to_string()))?.code();
            Output { exit, stdout: stdout.map_err(lost)?, stderr: stderr.map_err(lost)?, timed_out: false }
        }
        Err(_) => {
            end(child.id());
            Output { timed_out: true, ..Output::default() }
        }
    };
    let answer = recipe::far::answer(output, rights).map_err(|denial| {
        let user = std::env::var("USER").unwrap_or_default();
        SshError::NothingRun { host: NAME.to_owned(), user, denial }
    })?;
    Ok(Collected { output: answer, lost: None })
}

/// What changes something has a watchdog of its own; the rest ends here.
fn end(process: Option<u32>) {
    let group = process.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended at this very moment.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> Result<String, String> {
    let mut bytes = Vec::new();
    if let Some(stream) = stream {
        let read = stream.take(MOST_SAID + 1).read_to_end(&mut bytes).await;
        read.map_err(|error| format!("its output cannot be read: {error}"))?;
    }
    if bytes.len() as u64 > MOST_SAID {
        return Err(format!("it said more than {MOST_SAID} bytes"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
