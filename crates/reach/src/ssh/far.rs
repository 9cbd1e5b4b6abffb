//! One host, and running things on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::{BootIdentity, Millis};
use recipe::{Invocation, Next, Output, Script};
use russh::{ChannelMsg, Sig};
use tokio::time::timeout;

use super::access::{Access, Session, Sudo, in_words};
use super::destination::Destination;
use super::error::SshError;
use super::script;
use super::settings::Settings;

/// No recipe reads more than this; a tool that says more is broken.
const MOST_SAID: usize = 4 * 1024 * 1024;
/// Between two tries to reach a host in the middle of a recipe.
const AGAIN: Duration = Duration::from_secs(1);
/// A tool that was killed at its limit may still say how it ended.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After a tool has ended, something that it left behind may still hold its output open; it is waited for so long without a word.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// And for so long in all.
const LAST_OUTPUT: Duration = Duration::from_secs(60);

/// One destination. Steps share one connection for as long as it stands; [`Far::let_go`] ends it, and the next step makes a
/// new one.
#[derive(Debug)]
pub struct Far {
    access: Arc<Access>,
    to: Destination,
    settings: Option<Arc<Settings>>,
    session: Option<Session>,
    /// Instead of the usual limit for connecting.
    hurry: Option<Duration>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Session")
    }
}

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

impl Access {
    /// A host; nothing is connected yet.
    pub fn far(self: &Arc<Self>, to: Destination) -> Far {
        Far { access: self.clone(), to, settings: None, session: None, hurry: None }
    }
}

impl Far {
    /// Which host this is.
    pub fn destination(&self) -> &Destination {
        &self.to
    }

    /// Ends the connection, if there is one: what is done next is done over a new one.
    pub fn let_go(&mut self) {
        self.session = None;
    }

    /// From now on connecting takes at most so long, and never longer than usual.
    pub(crate) fn hurry(&mut self, limit: Duration) {
        self.hurry = Some(limit);
    }

    /// Reads the boot identity.
    ///
    /// # Errors
    /// As [`Far::run`]; and anything broken, short or empty is [`SshError::Unreadable`], never an identity.
    pub async fn boot(&mut self) -> Result<BootIdentity, SshError> {
        let output = self.run(&script::boot()).await?;
        script::read_boot(&output).map_err(|why| SshError::Unreadable { host: self.to.host.clone(), why })
    }

    /// Whether a connection stands.
    pub fn is_connected(&self) -> bool {
        self.session.as_ref().is_some_and(|session| !session.handle.is_closed())
    }

    /// The connection that stands, or a new one.
    pub(crate) async fn session(&mut self) -> Result<&mut Session, SshError> {
        let stands = self.session.take_if(|session| session.handle.is_closed()).is_none() && self.session.is_some();
        if !stands {
            let settings = match &self.settings {
                Some(settings) => settings.clone(),
                None => self.settings.insert(Arc::new(self.access.settings(&self.to).await?)).clone(),
            };
            self.session = Some(self.access.connect(settings, self.hurry).await?);
        }
        self.session.as_mut().ok_or_else(|| SshError::Lost { host: self.to.host.clone(), why: "no connection".to_owned() })
    }

    /// Runs a tool with root's rights, over the connection that stands or a new one.
    ///
    /// # Errors
    /// [`SshError::Lost`] when the connection ends in the middle: whether the tool did its work is not known then. Everything
    /// else means that it was not run. A tool that fails, or does not end within its limit, is an [`Output`].
    pub async fn run(&mut self, invocation: &Invocation) -> Result<Output, SshError> {
        let sudo = self.access.options.sudo.clone();
        let session = self.session().await?;
        let root = session.settings.user == "root" || sudo == Sudo::Never;
        let (line, stdin) = match &sudo {
            _ if root => (script::line(invocation), String::new()),
            Sudo::Password(secret) => (script::sudo(invocation, true), format!("{}\n", secret.text())),
            Sudo::Plain | Sudo::Never => (script::sudo(invocation, false), String::new()),
        };
        let output = session.collect(&line, stdin, invocation.limit.duration()).await?;
        if !root && let Some(why) = script::sudo_refuses(&output, matches!(sudo, Sudo::Password(_))) {
            let (host, user) = (session.settings.name.clone(), session.settings.user.clone());
            return Err(SshError::Sudo { host, user, why });
        }
        Ok(output)
    }

    /// Performs a recipe to its end. A connection that ends in the middle of a tool is an answer to the recipe (an end that was
    /// not seen), which goes on over a new connection; that is tried again for as long as `patience`.
    ///
    /// # Errors
    /// The host cannot be reached, or does not let us in.
    pub async fn perform<T: Clone>(&mut self, mut script: Script<T>, patience: Duration) -> Result<T, SshError> {
        let begun = Instant::now();
        let elapsed = || Millis(u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX));
        let mut last = None;
        loop {
            match script.next(last.as_ref(), elapsed()) {
                Next::Run(invocation) => {
                    let asked = Instant::now();
                    last = Some(loop {
                        match self.run(&invocation).await {
                            Ok(output) => break output,
                            Err(SshError::Lost { why, .. }) => {
                                self.let_go();
                                break Output { stderr: format!("the connection was lost: {why}"), ..Output::default() };
                            }
                            // It was not run.
                            Err(error) if error.may_pass() && asked.elapsed() < patience => {
                                self.let_go();
                                tokio::time::sleep(AGAIN).await;
                            }
                            Err(error) => return Err(error),
                        }
                    });
                }
                Next::Wait(time) => {
                    tokio::time::sleep(time.duration().max(Duration::from_millis(1))).await;
                    last = None;
                }
                Next::Done(done) => return Ok(done),
            }
        }
    }
}

impl Session {
    /// Runs one line by the login's shell and keeps what it says.
    pub(crate) async fn collect(&mut self, line: &str, stdin: String, limit: Duration) -> Result<Output, SshError> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let ended = self.exec(line, stdin, Some(limit), |is_error, bytes| {
            let to = if is_error { &mut stderr } else { &mut stdout };
            to.extend_from_slice(bytes);
            to.len() <= MOST_SAID
        });
        let ended = ended.await?;
        let exit = match ended {
            Ended::Exit(code) => Some(code),
            Ended::Signal | Ended::Limit => None,
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Output { exit, stdout: text(stdout), stderr: text(stderr), timed_out: ended == Ended::Limit })
    }

    /// Runs one line by the login's shell. `said` gets what it says (`true` for standard error) and answers whether there may be
    /// more of it; without `limit` the host's signs of life are the limit.
    pub(crate) async fn exec(
        &mut self,
        line: &str,
        stdin: String,
        limit: Option<Duration>,
        mut said: impl FnMut(bool, &[u8]) -> bool,
    ) -> Result<Ended, SshError> {
        let host = self.settings.name.clone();
        let lost = |why: String| SshError::Lost { host: host.clone(), why };
        let opening = timeout(self.channel_limit, self.handle.channel_open_session()).await;
        let mut channel = match opening {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(SshError::Unreachable { host, at: "no channel".to_owned(), why: in_words(&error) }),
            Err(_) => return Err(SshError::Silent { host, during: "opening a channel", secs: self.channel_limit.as_secs() }),
        };
        let until = limit.map(|limit| tokio::time::Instant::now() + limit);
        channel.exec(false, line).await.map_err(|error| lost(in_words(&error)))?;
        if !stdin.is_empty() {
            channel.data_bytes(Bytes::from(stdin)).await.map_err(|error| lost(in_words(&error)))?;
        }
        channel.eof().await.map_err(|error| lost(in_words(&error)))?;
        let mut ended: Option<(Ended, tokio::time::Instant)> = None;
        let mut killed = false;
        let mut until = until;
        loop {
            if let Some((_, at)) = ended {
                until = Some((tokio::time::Instant::now() + STRAGGLERS).min(at + LAST_OUTPUT));
            }
            let message = match until {
                None => channel.wait().await,
                Some(at) => match tokio::time::timeout_at(at, channel.wait()).await {
                    Ok(message) => message,
                    Err(_) if killed || ended.is_some() => break,
                    Err(_) => {
                        killed = true;
                        until = Some(tokio::time::Instant::now() + LAST_WORDS);
                        // Nobody answers these; the far end's own limits are what remains if they are not heard.
                        drop(timeout(LAST_WORDS, channel.signal(Sig::KILL)).await);
                        drop(timeout(LAST_WORDS, channel.close()).await);
                        continue;
                    }
                },
            };
            match message {
                Some(ChannelMsg::Data { data }) => {
                    if !said(false, &data) {
                        return Err(SshError::Unreadable { host, why: format!("it said more than {MOST_SAID} bytes") });
                    }
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    if !said(true, &data) {
                        return Err(SshError::Unreadable { host, why: format!("it said more than {MOST_SAID} bytes") });
                    }
                }
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    let code = i32::try_from(exit_status).unwrap_or(i32::MAX);
                    ended = Some((Ended::Exit(code), tokio::time::Instant::now()));
                }
                Some(ChannelMsg::ExitSignal { .. }) => ended = Some((Ended::Signal, tokio::time::Instant::now())),
                Some(ChannelMsg::Close) | None => break,
                Some(_) => {}
            }
        }
        match (killed, ended) {
            (true, _) => Ok(Ended::Limit),
            (false, Some((ended, _))) => Ok(ended),
            (false, None) => Err(lost("it ended before the command did".to_owned())),
        }
    }
}
