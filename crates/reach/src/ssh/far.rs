//! One host, and running things on it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use model::{BootIdentity, Millis};
use recipe::far::{Guard, Line, Rights};
use recipe::{Invocation, Next, Output, Script};

use super::access::{Access, Session, Sudo};
use super::destination::Destination;
use super::error::SshError;
use super::exec::Collected;
use super::local;
use super::settings::Settings;

/// Between two tries to reach a host in the middle of a recipe.
const AGAIN: Duration = Duration::from_secs(1);
/// The far end's own limit comes a little after ours.
const AFTER_LIMIT: Duration = Duration::from_secs(5);

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
    /// What is run changes this.
    guard: Option<Guard>,
}

impl Access {
    /// A host; nothing is connected yet.
    pub fn far(self: &Arc<Self>, to: Destination) -> Far {
        Far { access: self.clone(), to, settings: None, session: None, hurry: None, guard: None }
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

    /// Goes on over a connection that was kept, unless the configuration says something else by now.
    pub(crate) async fn resume(&mut self, session: Session) {
        if self.access.settings(&self.to).await.is_ok_and(|settings| settings == *session.settings) {
            self.settings = Some(session.settings.clone());
            self.session = Some(session);
        }
    }

    /// Gives the connection away, if one stands.
    pub(crate) fn give_up(&mut self) -> Option<Session> {
        self.session.take()
    }

    /// From now on connecting takes at most so long, and never longer than usual.
    pub(crate) fn hurry(&mut self, limit: Duration) {
        self.hurry = Some(limit);
    }

    /// From now on what is run ends at its limit whatever becomes of the connection, and is noted on the far end.
    pub(crate) fn guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// Whether nothing is at work any more that an earlier connection has begun for the same guard.
    pub(crate) async fn is_free(&mut self) -> Result<bool, SshError> {
        let Some(guard) = &self.guard else { return Ok(true) };
        if self.to.is_local() && local::is_plainly_free(guard) {
            return Ok(true);
        }
        let (mut script, mut last) = (guard.is_free(), None);
        let answer = loop {
            match script.next(last.as_ref(), Millis(0)) {
                Next::Run(invocation) => last = Some(self.heard(&invocation, None).await?.output),
                Next::Wait(time) => tokio::time::sleep(time.duration().max(Duration::from_millis(1))).await,
                Next::Done(answer) => break answer,
            }
        };
        answer.map_err(|why| SshError::Unreadable { host: self.to.host.clone(), why })
    }

    /// A tool whose connection was lost goes on; nothing is looked at or done before it has ended, at the latest at its limit.
    async fn settle(&mut self, limit: Duration, patience: Duration) {
        if self.guard.is_none() {
            return;
        }
        let begun = Instant::now();
        let mut answered = begun;
        while begun.elapsed() < limit + AFTER_LIMIT {
            match self.is_free().await {
                Ok(true) => return,
                Ok(false) => answered = Instant::now(),
                Err(error) if error.may_pass() && answered.elapsed() < patience => self.let_go(),
                // What is done next says it.
                Err(_) => return,
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Reads the boot identity. Another one than was read before over the same connection is read again over a new one.
    ///
    /// # Errors
    /// As [`Far::run`]; and anything broken, short or empty is [`SshError::Unreadable`], never an identity.
    pub async fn boot(&mut self) -> Result<BootIdentity, SshError> {
        let kept = self.is_connected();
        let before = self.session.as_ref().and_then(|session| session.on);
        match self.boot_once().await {
            Err(error) if kept && error.may_pass() => {
                self.let_go();
                self.boot_once().await
            }
            Ok(boot) if before.is_some_and(|before| before != boot) => {
                self.let_go();
                self.boot_once().await
            }
            done => done,
        }
    }

    /// Nobody needs rights for it, unless `/proc` is mounted so that it hides what is not one's own.
    async fn boot_once(&mut self) -> Result<BootIdentity, SshError> {
        if self.to.is_local() {
            return local::boot();
        }
        let sudo = self.access.options.sudo.clone();
        let session = self.session().await?;
        let read = match session.boot().await {
            Err(unreadable @ SshError::Unreadable { .. }) if sudo != Sudo::Never && session.settings.user != "root" => {
                session.boot_by(&sudo).await.map_err(|_| unreadable)
            }
            done => done,
        };
        session.on = session.on.or(read.as_ref().ok().copied());
        read
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
        let guard = self.guard.clone();
        match self.heard(invocation, guard.as_ref()).await? {
            Collected { output, lost: None } => Ok(output),
            Collected { lost: Some(why), .. } => Err(SshError::Lost { host: self.to.host.clone(), why }),
        }
    }

    /// The same, with what was heard before the connection was lost.
    async fn heard(&mut self, invocation: &Invocation, guard: Option<&Guard>) -> Result<Collected, SshError> {
        let sudo = self.access.options.sudo.clone();
        if self.to.is_local() {
            return local::run(invocation, &sudo, guard).await;
        }
        let kept = self.is_connected();
        match self.session().await?.run(invocation, &sudo, guard).await {
            // The kept connection was dead, and nothing was run over it.
            Err(error) if kept && error.ran_nothing() => {
                self.let_go();
                self.session().await?.run(invocation, &sudo, guard).await
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
                    let guard = self.guard.clone().filter(|_| !invocation.only_looks());
                    last = Some(loop {
                        let lost = |why: &str| format!("the connection was lost: {why}");
                        match self.heard(&invocation, guard.as_ref()).await {
                            Ok(Collected { output, lost: None }) => break output,
                            Ok(Collected { mut output, lost: Some(why) }) => {
                                output.stderr.push_str(&lost(&why));
                                self.let_go();
                                self.settle(invocation.limit.duration().saturating_sub(asked.elapsed()), patience).await;
                                break output;
                            }
                            // Whether it was begun is not known.
                            Err(SshError::Lost { why, .. }) => {
                                self.let_go();
                                self.settle(invocation.limit.duration(), patience).await;
                                break Output { stderr: lost(&why), ..Output::default() };
                            }
                            // It was not run.
                            Err(error) if error.ran_nothing() && asked.elapsed() < patience => {
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
    async fn run(&self, invocation: &Invocation, sudo: &Sudo, guard: Option<&Guard>) -> Result<Collected, SshError> {
        let (rights, line, stdin) = said(invocation, self.settings.user == "root", sudo, guard);
        let Collected { output, lost } = self.collect(&line.text, stdin, invocation.limit.duration()).await?;
        let answer = line.answer(output, rights).map_err(|denial| {
            let (host, user) = (self.settings.name.clone(), self.settings.user.clone());
            SshError::NothingRun { host, user, denial }
        });
        answer.map(|output| Collected { output, lost })
    }

    /// Reads the boot identity, which needs no rights.
    pub(crate) async fn boot(&self) -> Result<BootIdentity, SshError> {
        self.boot_by(&Sudo::Never).await
    }

    /// The same with these rights.
    async fn boot_by(&self, sudo: &Sudo) -> Result<BootIdentity, SshError> {
        let mut script = recipe::far::boot();
        let mut last = None;
        let read = loop {
            match script.next(last.as_ref(), Millis(0)) {
                Next::Run(invocation) => match self.run(&invocation, sudo, None).await? {
                    Collected { output, lost: None } => last = Some(output),
                    Collected { lost: Some(why), .. } => {
                        return Err(SshError::Lost { host: self.settings.name.clone(), why });
                    }
                },
                Next::Wait(time) => tokio::time::sleep(time.duration().max(Duration::from_millis(1))).await,
                Next::Done(read) => break read,
            }
        };
        read.map_err(|why| SshError::Unreadable { host: self.settings.name.clone(), why })
    }
}

/// With whose rights a tool is run, the line for it, and what is written to its standard input.
pub(super) fn said(invocation: &Invocation, is_root: bool, sudo: &Sudo, guard: Option<&Guard>) -> (Rights, Line, String) {
    let rights = match sudo {
        _ if is_root => Rights::Own,
        Sudo::Never => Rights::Own,
        Sudo::Plain => Rights::Sudo,
        Sudo::Password(_) => Rights::SudoPassword,
    };
    let line = match guard {
        Some(guard) => recipe::far::guarded(invocation, rights, guard),
        None => recipe::far::line(invocation, rights),
    };
    let stdin = match sudo {
        Sudo::Password(secret) if line.wants_password => format!("{}\n", secret.text()),
        _ => String::new(),
    };
    (rights, line, stdin)
}
