//! Running one line on a connection.

use std::time::Duration;

use bytes::Bytes;
use recipe::Output;
use russh::{Channel, ChannelMsg, Sig, client::Msg};
use tokio::time::{Instant, timeout, timeout_at};

use super::access::{Session, in_words};
use super::error::SshError;

/// No recipe reads more than this; a tool that says more is broken.
const MOST_SAID: usize = 4 * 1024 * 1024;
/// A tool that was killed at its limit may still say how it ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After a tool has ended, something that it left behind may still hold its output open; it is waited for so long without a word…
const STRAGGLERS: Duration = Duration::from_secs(2);
/// …and for so long in all.
const LAST_OUTPUT: Duration = Duration::from_secs(60);

/// How a command ended on the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// With this exit code.
    Exit(i32),
    /// By a signal.
    Signal,
    /// It was still at work at its limit, and was killed.
    Limit,
}

/// What is heard of a running command.
pub(crate) enum Heard {
    Stdout(Bytes),
    Stderr(Bytes),
    Ended(Ended),
}

/// What a command said, as far as it was heard.
pub(crate) struct Collected {
    pub(crate) output: Output,
    /// Why its end was not heard: the connection ended first.
    pub(crate) lost: Option<String>,
}

/// A command under way.
pub(crate) struct Running {
    host: String,
    channel: Channel<Msg>,
    /// When it is to be over.
    until: Option<Instant>,
    ended: Option<(Ended, Instant)>,
    killed: bool,
}

impl Session {
    /// Runs one line by the login's shell and keeps what it says.
    pub(crate) async fn collect(&self, line: &str, stdin: String, limit: Duration) -> Result<Collected, SshError> {
        let mut running = self.start(line, stdin, Some(limit)).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut lost = None;
        let ended = loop {
            match running.next().await {
                Ok(Heard::Stdout(bytes)) => stdout.extend_from_slice(&bytes),
                Ok(Heard::Stderr(bytes)) => stderr.extend_from_slice(&bytes),
                Ok(Heard::Ended(ended)) => break Some(ended),
                Err(SshError::Lost { why, .. }) => {
                    lost = Some(why);
                    break None;
                }
                Err(error) => return Err(error),
            }
            if stdout.len().max(stderr.len()) > MOST_SAID {
                let why = format!("it said more than {MOST_SAID} bytes");
                return Err(SshError::Unreadable { host: self.settings.name.clone(), why });
            }
        };
        let exit = match ended {
            Some(Ended::Exit(code)) => Some(code),
            Some(Ended::Signal | Ended::Limit) | None => None,
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let timed_out = ended == Some(Ended::Limit);
        Ok(Collected { output: Output { exit, stdout: text(stdout), stderr: text(stderr), timed_out }, lost })
    }

    /// Begins one line by the login's shell, with this on its standard input. Without `limit` the host's signs of life are the
    /// limit.
    pub(crate) async fn start(&self, line: &str, stdin: String, limit: Option<Duration>) -> Result<Running, SshError> {
        let host = self.settings.name.clone();
        let channel = match timeout(self.channel_limit, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(SshError::Unreachable { host, at: "no channel".to_owned(), why: in_words(&error) }),
            Err(_) => return Err(SshError::Silent { host, during: "opening a channel", secs: self.channel_limit.as_secs() }),
        };
        let begin = async {
            channel.exec(false, line).await?;
            if !stdin.is_empty() {
                channel.data_bytes(Bytes::from(stdin)).await?;
            }
            channel.eof().await
        };
        begin.await.map_err(|error| SshError::Lost { host: host.clone(), why: in_words(&error) })?;
        let until = limit.map(|limit| Instant::now() + limit);
        Ok(Running { host, channel, until, ended: None, killed: false })
    }
}

impl Running {
    /// The next thing that is heard; nothing comes after [`Heard::Ended`]. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Result<Heard, SshError> {
        loop {
            let until = match self.ended {
                Some((_, at)) => Some((Instant::now() + STRAGGLERS).min(at + LAST_OUTPUT)),
                None => self.until,
            };
            let message = match until {
                None => self.channel.wait().await,
                Some(at) => match timeout_at(at, self.channel.wait()).await {
                    Ok(message) => message,
                    Err(_) if self.killed || self.ended.is_some() => {
                        // A connection that is kept has only so many channels.
                        drop(timeout(LAST_WORDS, self.channel.close()).await);
                        return self.end();
                    }
                    Err(_) => {
                        self.killed = true;
                        self.until = Some(Instant::now() + LAST_WORDS);
                        // Nobody answers these, and what runs under sudo does not hear them: what changes something has a watchdog
                        // on the far end.
                        drop(timeout(LAST_WORDS, self.channel.signal(Sig::KILL)).await);
                        drop(timeout(LAST_WORDS, self.channel.close()).await);
                        continue;
                    }
                },
            };
            match message {
                Some(ChannelMsg::Data { data }) => return Ok(Heard::Stdout(data)),
                Some(ChannelMsg::ExtendedData { data, .. }) => return Ok(Heard::Stderr(data)),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    self.ended = Some((Ended::Exit(i32::try_from(exit_status).unwrap_or(i32::MAX)), Instant::now()));
                }
                Some(ChannelMsg::ExitSignal { .. }) => self.ended = Some((Ended::Signal, Instant::now())),
                Some(ChannelMsg::Close) | None => return self.end(),
                Some(_) => {}
            }
        }
    }

    fn end(&self) -> Result<Heard, SshError> {
        match (self.killed, self.ended) {
            (true, _) => Ok(Heard::Ended(Ended::Limit)),
            (false, Some((ended, _))) => Ok(Heard::Ended(ended)),
            (false, None) => Err(SshError::Lost { host: self.host.clone(), why: "it ended before the command did".to_owned() }),
        }
    }
}
