//! This very machine: the same lines that a host without an agent is given, to a shell here, without a connection. Nothing is lost
//! when this process is killed: what was begun goes on to its limit, and is waited for, as behind a connection that ended.

use std::process::Stdio;

use recipe::far::Guard;
use recipe::{Invocation, Output};
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
    let all = async { tokio::join!(process::said(stdout, MOST_SAID), process::said(stderr, MOST_SAID), child.wait()) };
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
    let answer = recipe::far::answer(output, rights).map_err(|denial| {
        let user = std::env::var("USER").unwrap_or_default();
        SshError::NothingRun { host: NAME.to_owned(), user, denial }
    })?;
    Ok(Collected { output: answer, lost: None })
}
