//! A program of the product that runs beside the test, in the sandbox: the controller above all.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use rustix::process::Signal;

use crate::process::{command, signal, wait};

/// A shutdown that was asked for may take this long.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// A program with its arguments, running or not. It is killed when its test ends, however that ends: the kernel does it at the
/// end of the thread that started it, so start it from the main one.
#[derive(Debug)]
pub struct Daemon {
    program: PathBuf,
    arguments: Vec<OsString>,
    environment: Vec<(String, OsString)>,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// A program that is not running yet; what it writes is appended to `log`.
    pub fn new<S: Into<OsString>>(program: &Path, arguments: impl IntoIterator<Item = S>, log: &Path) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self { program: program.to_owned(), arguments, environment: Vec::new(), log: log.to_owned(), child: None }
    }

    /// Adds a variable to its environment, from the next start on.
    #[must_use]
    pub fn with_env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Starts it (again).
    ///
    /// # Errors
    ///
    /// When it runs already or cannot be started.
    pub fn start(&mut self) -> anyhow::Result<()> {
        ensure!(!self.alive(), "{} runs already", self.program.display());
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut start = command(["setpriv", "--pdeathsig", "KILL"]);
        start.arg(&self.program).args(&self.arguments).envs(self.environment.iter().cloned());
        start.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(start.spawn().with_context(|| format!("cannot start {}", self.program.display()))?);
        Ok(())
    }

    /// Whether it runs.
    pub fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Kills it as a power cut would: SIGKILL.
    ///
    /// # Errors
    ///
    /// When it did not run.
    pub fn kill_9(&mut self) -> anyhow::Result<()> {
        self.end(Signal::KILL)
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    ///
    /// When it did not run, or does not stop in time.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.end(Signal::TERM)
    }

    /// What Ctrl-C does: SIGINT. See [`Daemon::wait`].
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn interrupt(&mut self) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("never started")?;
        signal(i32::try_from(child.id())?, Signal::INT)
    }

    /// Waits until it ends by itself; its exit code, and all that it wrote.
    ///
    /// # Errors
    ///
    /// When it does not end in time; it is killed then.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<(Option<i32>, String)> {
        let mut child = self.child.take().context("never started")?;
        let status = wait(&mut child, limit).with_context(|| self.log_tail())?;
        Ok((status.code(), self.log()))
    }

    fn end(&mut self, how: Signal) -> anyhow::Result<()> {
        ensure!(self.alive(), "{} has ended by itself; it wrote:\n{}", self.program.display(), self.log_tail());
        let mut child = self.child.take().context("never started")?;
        signal(i32::try_from(child.id())?, how)?;
        wait(&mut child, STOP_LIMIT).with_context(|| self.program.display().to_string())?;
        Ok(())
    }

    /// Everything it wrote, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines of [`Daemon::log`].
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_started_killed_and_started_again() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo born; exec sleep 600";
        let mut daemon = Daemon::new(Path::new("sh"), ["-c", script], &dir.path().join("log"));
        assert!(daemon.kill_9().is_err());
        for births in 1..=2 {
            daemon.start().unwrap();
            assert!(daemon.start().is_err(), "one at a time");
            let written = || Ok(daemon.log().lines().count() == births);
            crate::wait::until_true("its first words", Duration::from_secs(60), written).unwrap();
            daemon.kill_9().unwrap();
            assert!(!daemon.alive());
        }
    }
}
