//! One command on many hosts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use model::BootIdentity;
use recipe::ends_boot;
use tokio::sync::mpsc;

use super::access::{Access, Session};
use super::destination::Destination;
use super::error::SshError;
use super::exec::{Ended, Heard};
use super::far::Far;

/// A longer line is shown in pieces.
const LONGEST_LINE: usize = 64 * 1024;
/// Between two tries to reach a host that went down.
const AGAIN: Duration = Duration::from_secs(1);
/// A try to reach it takes at most so long.
const TRY: Duration = Duration::from_secs(4);
/// Between the two readings that prove a boot (pain 3).
const APART: Duration = Duration::from_secs(2);

/// A host for a free command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTarget {
    /// For people.
    pub name: String,
    /// Where it is.
    pub at: Destination,
}

/// Whether a host is expected to go down by the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Down {
    /// If the command line runs a tool that does it, see [`recipe::ends_boot`].
    #[default]
    ByWords,
    /// Yes: a host that stays up is waited for until [`RunOptions::down_within`].
    Expected,
    /// No, whatever the command line looks like.
    Never,
}

/// How a free command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunOptions {
    /// Hosts at the same time, from 1. A host that went down counts until it is back.
    pub concurrency: usize,
    /// How long the command may take on each host; without it, for as long as the host gives signs of life.
    pub limit: Option<Duration>,
    /// Whether hosts are expected to go down.
    pub down: Down,
    /// After a command that ends boots, a host that is still up after so long stays up.
    pub down_within: Duration,
    /// A host that went down has so long to come back.
    pub back_within: Duration,
    /// After more failures than this nothing new is begun.
    pub failures: Option<usize>,
    /// A command that still runs after so long may be one that ends the boot, whatever it is called: the boot is read then. Not
    /// sooner, since many short commands at once would each pay for a second one.
    pub learn_after: Duration,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            concurrency: 1,
            limit: None,
            down: Down::ByWords,
            down_within: Duration::from_secs(60),
            back_within: Duration::from_secs(600),
            failures: None,
            learn_after: Duration::from_secs(10),
        }
    }
}

/// News of one host.
#[derive(Clone, Debug)]
pub struct RunEvent {
    /// Its place in the list of targets.
    pub host: usize,
    /// What happened.
    pub news: RunNews,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum RunNews {
    /// It is being connected to.
    Begun,
    /// A line of output, without its end.
    Said {
        /// On standard error.
        error: bool,
        /// What is not UTF-8 is replaced.
        line: String,
    },
    /// It went down, or the connection did: it is waited for.
    Down {
        /// How that was noticed.
        why: String,
    },
    /// It is back, on another boot, read twice over new connections.
    Back {
        /// The boot before, where it was read.
        before: Option<BootIdentity>,
        /// The boot now.
        after: BootIdentity,
        /// Since it went down.
        took: Duration,
    },
    /// Nothing more comes.
    Ended(RunEnd),
}

/// How it ended on one host.
#[derive(Clone, Debug)]
pub enum RunEnd {
    /// With this exit code.
    Exit(i32),
    /// By a signal.
    Signal,
    /// It was killed at its limit.
    Limit,
    /// The host went down and came back.
    Rebooted {
        /// The command's exit code, where it was heard.
        exit: Option<i32>,
    },
    /// The command was to end the boot, and the host is still on it.
    StayedUp {
        /// Its exit code.
        exit: i32,
    },
    /// It went down and did not come back in time.
    Gone {
        /// What is heard of it, with advice.
        why: String,
    },
    /// Not run, or how it ended was not heard.
    Failed(SshError),
    /// Not begun, because of too many failures before.
    NotBegun,
}

impl RunEnd {
    /// Whether all is well.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Exit(0) | Self::Rebooted { exit: Some(0) | None })
    }
}

/// Runs a command line by the login's shell of each host, in this order, so many at a time, and tells the news as it comes. A
/// host that goes down is waited for before its place is given to the next. Gives how it ended on each.
///
/// News are held back while the receiver is slow. When it is closed or dropped, no further host is begun; what has begun goes on.
pub async fn run_many(
    access: &Arc<Access>,
    targets: &[RunTarget],
    command: &str,
    options: RunOptions,
    news: mpsc::Sender<RunEvent>,
) -> Vec<RunEnd> {
    let ends_boot = match options.down {
        Down::ByWords => ends_boot(command),
        Down::Expected => true,
        Down::Never => false,
    };
    let failures = std::cell::Cell::new(0_usize);
    let (failures, news) = (&failures, &news);
    let runs = targets.iter().enumerate().map(|(host, target)| async move {
        let tell = Teller { host, news };
        // Whoever stops listening wants nothing new to begin.
        let end = if options.failures.is_some_and(|most| failures.get() > most) || news.is_closed() {
            RunEnd::NotBegun
        } else {
            tell.tell(RunNews::Begun).await;
            let run = Run { access, target, command, options, ends_boot, tell: &tell };
            run.go().await
        };
        if !end.is_good() {
            failures.set(failures.get() + 1);
        }
        tell.tell(RunNews::Ended(end.clone())).await;
        (host, end)
    });
    let mut ends: Vec<(usize, RunEnd)> = stream::iter(runs).buffer_unordered(options.concurrency.max(1)).collect().await;
    ends.sort_by_key(|(host, _)| *host);
    ends.into_iter().map(|(_, end)| end).collect()
}

struct Teller<'a> {
    host: usize,
    news: &'a mpsc::Sender<RunEvent>,
}

impl Teller<'_> {
    async fn tell(&self, news: RunNews) {
        // Nobody listens: the command goes on all the same.
        drop(self.news.send(RunEvent { host: self.host, news }).await);
    }
}

struct Run<'a> {
    access: &'a Arc<Access>,
    target: &'a RunTarget,
    command: &'a str,
    options: RunOptions,
    ends_boot: bool,
    tell: &'a Teller<'a>,
}

impl Run<'_> {
    async fn go(&self) -> RunEnd {
        let mut far = self.access.far(self.target.at.clone());
        let session = match far.session().await {
            Ok(session) => session,
            Err(error) => return RunEnd::Failed(error),
        };
        let mut before = None;
        if self.ends_boot {
            match session.boot().await {
                Ok(boot) => before = Some(boot),
                // Nothing was run yet, so nothing is lost.
                Err(error) => return RunEnd::Failed(error),
            }
        }
        let ended = self.stream(session, &mut before).await;
        let since = Instant::now();
        match ended {
            Ok(Ended::Exit(code)) if self.ends_boot && code == 0 => self.end_of_boot(&mut far, before, Some(code), since).await,
            Ok(Ended::Signal) if self.ends_boot => self.end_of_boot(&mut far, before, None, since).await,
            // The shell says that a signal ended it: the end of its boot, perhaps.
            Ok(Ended::Exit(code)) if self.options.down == Down::Expected && code > 128 => {
                self.end_of_boot(&mut far, before, None, since).await
            }
            Ok(Ended::Exit(code)) => RunEnd::Exit(code),
            Ok(Ended::Signal) => RunEnd::Signal,
            Ok(Ended::Limit) => RunEnd::Limit,
            Err(lost @ SshError::Lost { .. }) => {
                self.tell.tell(RunNews::Down { why: lost.to_string() }).await;
                self.come_back(&mut far, before, None, since, Some(lost)).await
            }
            Err(error) => RunEnd::Failed(error),
        }
    }

    /// Runs the command and tells what it says, line by line.
    async fn stream(&self, session: &Session, before: &mut Option<BootIdentity>) -> Result<Ended, SshError> {
        let mut running = session.start(self.command, String::new(), self.options.limit).await?;
        let mut lines = [Lines::default(), Lines::default()];
        let mut learning = std::pin::pin!(async {
            tokio::time::sleep(self.options.learn_after).await;
            session.boot().await
        });
        let mut learns = before.is_none();
        let ended = loop {
            let heard = tokio::select! {
                // First: a command that never stops talking would otherwise have the word for ever.
                biased;
                boot = &mut learning, if learns => {
                    learns = false;
                    // Without it a boot is not recognised as another one, and that is said then.
                    *before = boot.ok();
                    continue;
                }
                heard = running.next() => heard,
            };
            let (error, bytes) = match heard {
                Ok(Heard::Stdout(bytes)) => (false, bytes),
                Ok(Heard::Stderr(bytes)) => (true, bytes),
                Ok(Heard::Ended(ended)) => break Ok(ended),
                Err(error) => break Err(error),
            };
            for line in lines[usize::from(error)].take(&bytes) {
                self.tell.tell(RunNews::Said { error, line }).await;
            }
        };
        for (stream, lines) in lines.iter_mut().enumerate() {
            let error = stream == 1;
            if let Some(line) = lines.rest() {
                self.tell.tell(RunNews::Said { error, line }).await;
            }
        }
        ended
    }

    /// The command has ended and should take the host down: waits until it does.
    async fn end_of_boot(&self, far: &mut Far, before: Option<BootIdentity>, exit: Option<i32>, since: Instant) -> RunEnd {
        while since.elapsed() < self.options.down_within {
            far.let_go();
            far.hurry(TRY);
            match far.boot().await {
                Ok(boot) if Some(boot) == before => tokio::time::sleep(AGAIN).await,
                // So fast that it was never seen down (E37).
                Ok(_) => return self.come_back(far, before, exit, since, None).await,
                Err(error) => {
                    self.tell.tell(RunNews::Down { why: error.to_string() }).await;
                    return self.come_back(far, before, exit, since, None).await;
                }
            }
        }
        exit.map_or(RunEnd::Signal, |exit| RunEnd::StayedUp { exit })
    }

    /// Waits for the host, always over new connections.
    async fn come_back(
        &self,
        far: &mut Far,
        before: Option<BootIdentity>,
        exit: Option<i32>,
        since: Instant,
        lost: Option<SshError>,
    ) -> RunEnd {
        let mut first = None;
        let mut last = "it does not answer".to_owned();
        while since.elapsed() < self.options.back_within {
            far.let_go();
            far.hurry(TRY);
            match far.boot().await {
                Ok(boot) if first == Some(boot) && before != Some(boot) => {
                    // Without the boot before nobody can say that this is another one.
                    let (Some(_), took) = (before, since.elapsed()) else {
                        return RunEnd::Failed(lost.unwrap_or_else(|| self.unknown()));
                    };
                    self.tell.tell(RunNews::Back { before, after: boot, took }).await;
                    return RunEnd::Rebooted { exit };
                }
                // The wire broke, and the host did not: how the command ended is not known.
                Ok(boot) if first == Some(boot) && lost.is_some() && self.would_be_down(since) => {
                    return RunEnd::Failed(lost.unwrap_or_else(|| self.unknown()));
                }
                Ok(boot) => {
                    // On the boot that is to end: refused connections may come before the end.
                    last = format!("it is still on boot {boot}");
                    first = Some(boot);
                    tokio::time::sleep(APART).await;
                }
                Err(error) => {
                    last = error.to_string();
                    first = None;
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
        let why = format!(
            "it went down and was not back after {} s: look at its console. The last that was heard: {last}",
            self.options.back_within.as_secs()
        );
        RunEnd::Gone { why }
    }

    /// Whether a host that was to go down would have done so by now.
    fn would_be_down(&self, since: Instant) -> bool {
        !self.ends_boot || since.elapsed() > self.options.down_within
    }

    fn unknown(&self) -> SshError {
        SshError::Lost { host: self.target.name.clone(), why: "how the command ended was not heard".to_owned() }
    }
}

/// Cuts a stream into lines.
#[derive(Default)]
struct Lines {
    open: Vec<u8>,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.open.len() >= LONGEST_LINE {
                lines.extend(self.rest());
            }
        }
        lines
    }

    fn rest(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.open);
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        (!bytes.is_empty()).then(|| String::from_utf8_lossy(line).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_comes_in_whole_lines_however_it_is_cut() {
        let text = b"one\ntwo\r\n\nend";
        for cut in 0..text.len() {
            let mut lines = Lines::default();
            let mut all = lines.take(&text[..cut]);
            all.extend(lines.take(&text[cut..]));
            all.extend(lines.rest());
            assert_eq!(all, ["one", "two", "", "end"]);
        }
        let mut lines = Lines::default();
        assert_eq!(lines.take(&vec![b'x'; 2 * LONGEST_LINE]).len(), 1, "a line without end is not kept without end");
    }
}
