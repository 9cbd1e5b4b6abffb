//! Running foreign programs with a limit on everything.

use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::Pid;
pub use rustix::process::Signal;

/// What a program said.
#[derive(Debug, Clone)]
pub struct Said {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub out: String,
    /// Standard error, likewise.
    pub err: String,
}

impl Said {
    /// True for exit status 0.
    #[must_use]
    pub fn ok(&self) -> bool {
        self.status.success()
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A read error ends the text where it is.
        let _ = pipe.read_to_end(&mut bytes);
        let _ = tell.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    told
}

/// Runs `command` without standard input and collects what it says; kills it after `limit`.
///
/// # Errors
///
/// When it cannot be started or does not end in time. An exit status other than 0 is not an error here: see [`check`].
pub fn output(command: &mut Command, limit: Duration) -> anyhow::Result<Said> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    let out = child.stdout.take().map(drain).context("no standard output")?;
    let err = child.stderr.take().map(drain).context("no standard error")?;
    let status = wait(&mut child, limit).with_context(|| format!("{command:?}"))?;
    // A grandchild may hold the pipe for ever: it does not get to hold us.
    let patience = Duration::from_secs(5);
    let out = out.recv_timeout(patience).unwrap_or_default();
    let err = err.recv_timeout(patience).unwrap_or_default();
    Ok(Said { status, out, err })
}

/// Like [`output`], and demands exit status 0.
///
/// # Errors
///
/// As [`output`], and when the program fails: with what it wrote to standard error.
pub fn check(command: &mut Command, limit: Duration) -> anyhow::Result<String> {
    let said = output(command, limit)?;
    if !said.ok() {
        bail!("{command:?} failed ({}): {}", said.status, said.err.trim());
    }
    Ok(said.out)
}

/// Waits for a child for at most `limit`, then kills it.
///
/// # Errors
///
/// When the limit passed.
pub fn wait(child: &mut std::process::Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let start = Instant::now();
    let mut nap = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if start.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            bail!("killed: it had not ended after {} s", limit.as_secs_f32());
        }
        std::thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(20));
    }
}

/// A command line from words: `command(["ip", "link"])`.
#[must_use]
pub fn command<S: AsRef<std::ffi::OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut words = words.into_iter();
    let mut command = match words.next() {
        Some(program) => Command::new(program),
        None => Command::new("true"),
    };
    command.args(words);
    command
}

/// Sends a signal to one process.
///
/// # Errors
///
/// When there is no such process.
pub fn signal(pid: i32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(pid).context("process number 0")?;
    rustix::process::kill_process(pid, signal).with_context(|| format!("cannot signal process {}", pid.as_raw_nonzero()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_heard_and_limited() {
        let said = output(&mut command(["sh", "-c", "echo a; echo b >&2; exit 3"]), Duration::from_secs(30)).unwrap();
        assert_eq!((said.out.as_str(), said.err.as_str(), said.status.code()), ("a\n", "b\n", Some(3)));
        let error = output(&mut command(["sleep", "600"]), Duration::from_millis(20)).unwrap_err();
        assert!(format!("{error:#}").contains("killed"), "{error:#}");
    }

    #[test]
    fn a_failure_carries_the_reason() {
        let error = check(&mut command(["sh", "-c", "echo why >&2; exit 1"]), Duration::from_secs(30)).unwrap_err();
        assert!(format!("{error:#}").contains("why"));
    }
}
