//! One host, and running things on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{BootIdentity, Millis};
use recipe::far::Rights;
use recipe::{Invocation, Next, Output, Script};

use super::access::{Access, Session, Sudo};
use super::destination::Destination;
use super::error::SshError;
use super::settings::Settings;

/// Between two tries to reach a host in the middle of a recipe.
const AGAIN: Duration = Duration::from_secs(1);

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
        let kept = self.is_connected();
        match self.session().await?.boot().await {
            Err(error) if kept && error.may_pass() => {
                self.let_go();
                self.session().await?.boot().await
            }
            done => done,
        }
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
        let kept = self.is_connected();
        let sudo = self.access.options.sudo.clone();
        match self.session().await?.run(invocation, &sudo).await {
            // The kept connection was dead, and nothing was run over it.
            Err(error) if kept && error.may_pass() && !matches!(error, SshError::Lost { .. }) => {
                self.let_go();
                self.session().await?.run(invocation, &sudo).await
            }
            done => done,
        }
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
    /// Runs a tool; with root's rights unless `sudo` says otherwise.
    async fn run(&self, invocation: &Invocation, sudo: &Sudo) -> Result<Output, SshError> {
        let rights = match sudo {
            _ if self.settings.user == "root" => Rights::Own,
            Sudo::Never => Rights::Own,
            Sudo::Plain => Rights::Sudo,
            Sudo::Password(_) => Rights::SudoPassword,
        };
        let line = recipe::far::line(invocation, rights);
        let stdin = match sudo {
            Sudo::Password(secret) if line.wants_password => format!("{}\n", secret.text()),
            _ => String::new(),
        };
        let output = self.collect(&line.text, stdin, invocation.limit.duration()).await?;
        recipe::far::answer(output, rights).map_err(|denial| {
            let (host, user) = (self.settings.name.clone(), self.settings.user.clone());
            SshError::NothingRun { host, user, denial }
        })
    }

    /// Reads the boot identity, which needs no rights.
    pub(crate) async fn boot(&self) -> Result<BootIdentity, SshError> {
        let mut script = recipe::far::boot();
        let mut last = None;
        let read = loop {
            match script.next(last.as_ref(), Millis(0)) {
                Next::Run(invocation) => last = Some(self.run(&invocation, &Sudo::Never).await?),
                Next::Wait(time) => tokio::time::sleep(time.duration().max(Duration::from_millis(1))).await,
                Next::Done(read) => break read,
            }
        };
        read.map_err(|why| SshError::Unreadable { host: self.settings.name.clone(), why })
    }
}
