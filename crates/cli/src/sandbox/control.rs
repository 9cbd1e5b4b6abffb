//! Control of a sandbox host: one line of JSON each way over a unix socket that only its owner can use.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::SandboxError;

/// Name of the socket in the directory.
pub(super) const SOCKET: &str = "control.sock";
/// Longest line either way.
pub(super) const LINE_MAX: u64 = 1 << 20;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Request {
    /// Answer: `{"children":[{name, status, autostart, start_priority, stop_priority}]}`.
    List,
    /// Answer: `{"status":"stopped","already":BOOL}`.
    Stop {
        /// Which child.
        name: String,
        /// How long it may take.
        grace_ms: u64,
        /// Kill it instead.
        force: bool,
    },
    /// Answer: `{"status":"running"|"frozen","already":BOOL}`.
    Start {
        /// Which child.
        name: String,
        /// Leave it frozen.
        frozen: bool,
    },
    /// Answer, before anything happens: `{"ordered":"reboot"}`.
    Reboot,
    /// Answer, before anything happens: `{"ordered":"shutdown"}`.
    Shutdown,
    /// Answer: `{"pending":null|"reboot"|"shutdown"}`.
    Pending,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Ok(Value),
    Error(String),
}

/// Asks the sandbox host in `dir` and waits for its answer, at most the grace of a stop and 30 s.
///
/// # Errors
/// Nobody answers, or the answer is an error.
pub(crate) fn ask(dir: &Path, request: &Request) -> Result<Value, SandboxError> {
    let path = dir.join(SOCKET);
    let no_host = |source| SandboxError::NoHost { path: path.clone(), source };
    let grace = match request {
        Request::Stop { grace_ms, .. } => Duration::from_millis(*grace_ms),
        _ => Duration::ZERO,
    };
    let mut stream = UnixStream::connect(&path).map_err(no_host)?;
    stream.set_write_timeout(Some(Duration::from_secs(30))).map_err(no_host)?;
    stream.set_read_timeout(Some(grace + Duration::from_secs(30))).map_err(no_host)?;
    let mut line = serde_json::to_string(request).map_err(|e| SandboxError::Answer(e.to_string()))?;
    line.push('\n');
    stream.write_all(line.as_bytes()).map_err(no_host)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut answer).map_err(no_host)?;
    if !answer.ends_with('\n') {
        return Err(SandboxError::Answer(format!("cut off after {} bytes", answer.len())));
    }
    match serde_json::from_str(&answer).map_err(|e| SandboxError::Answer(e.to_string()))? {
        Answer::Ok(value) => Ok(value),
        Answer::Error(why) => Err(SandboxError::Refused(why)),
    }
}
