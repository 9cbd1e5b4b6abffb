//! The site where the engine itself runs ([`TargetId::CONTROLLER`]): drains and checks that need no one on the host.
//!
//! Every drain looks first, does what is left to do, and is confirmed by looking again (E7): a command may be performed as often
//! as one likes. What cannot be read is an error and never "nothing" (G5).

mod check;
mod drain;
mod haproxy;
mod hook;
mod lines;
mod tool;
mod web;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{
    Ack, AckError, AckStatus, Action, BootIdentity, Check, CheckResult, Command, ErrorCode, ItemState, Millis, Observed, TargetId,
};
use tokio::sync::mpsc;

use crate::deadline::Deadline;

/// What a message to people may hold, in characters; see [`AckError`].
const MESSAGE_MAX: usize = 4000;

/// Looking at the state may take so long, whoever is asked.
const LOOK_LIMIT: Duration = Duration::from_secs(30);

/// How often a state that is waited for is looked at.
const POLL: Duration = Duration::from_millis(250);

/// What the site must know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The boot of the machine that it runs on; every ack carries it.
    pub boot: BootIdentity,
    /// Certificates in PEM that `https` is trusted with, besides the system's own.
    pub roots_pem: Vec<u8>,
}

/// Performs the commands for [`TargetId::CONTROLLER`]. Shared by all tasks of a process.
#[derive(Debug)]
pub struct OwnSite {
    boot: BootIdentity,
    web: web::Web,
    /// Two changes of one host's service never run at once: the older one ends first.
    changing: Mutex<HashMap<TargetId, Arc<tokio::sync::Mutex<()>>>>,
}

/// Why a command failed.
#[derive(Debug)]
struct Trouble {
    code: ErrorCode,
    message: String,
    /// What was seen last.
    items: Vec<ItemState>,
}

impl Trouble {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), items: Vec::new() }
    }
}

/// What was done.
#[derive(Debug)]
struct Done {
    items: Vec<ItemState>,
    already: bool,
}

impl OwnSite {
    /// Reads nothing and connects to nobody yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self { boot: settings.boot, web: web::Web::new(settings.roots_pem), changing: Mutex::default() }
    }

    /// [`OwnSite::perform_within`] of a command whose expiry is in the time of this machine's own clock.
    pub async fn perform(&self, command: &Command, say: mpsc::Sender<Ack>) {
        self.perform_by(command, Deadline::by_wall(command), say).await;
    }

    /// Performs a command to its end, begun within `left`; every ack goes into `say` when it is true, the last one is final. It
    /// always ends: every look has a limit, and the command brings the limit of what is waited for. Dropping the future gives up:
    /// no program that it started goes on.
    pub async fn perform_within(&self, command: &Command, left: Millis, say: mpsc::Sender<Ack>) {
        self.perform_by(command, Deadline::within(left), say).await;
    }

    async fn perform_by(&self, command: &Command, begin_by: Deadline, say: mpsc::Sender<Ack>) {
        let ack = |status| Ack {
            command: command.id,
            status,
            error: None,
            boot: self.boot,
            observed: None,
            already: false,
            report: None,
        };
        if command.target != TargetId::CONTROLLER {
            let trouble =
                Trouble::new(ErrorCode::WrongTarget, "this command is for a host; it was brought to the engine's own site");
            return tell(&say, failed(ack(AckStatus::Failed), trouble)).await;
        }
        let expired = || {
            let message = format!("it was to be begun by {}; nothing was done", command.expires_at);
            failed(ack(AckStatus::Failed), Trouble::new(ErrorCode::Expired, message))
        };
        if begin_by.has_passed() {
            return tell(&say, expired()).await;
        }
        let lock = command.action.kind().is_disruptive().then(|| self.lock_of(command.subject));
        let _changing = match &lock {
            Some(lock) => {
                tell(&say, ack(AckStatus::Accepted)).await;
                let held = lock.lock().await;
                // It may have waited long.
                if begin_by.has_passed() {
                    return tell(&say, expired()).await;
                }
                tell(&say, ack(AckStatus::ExecutionStarted)).await;
                Some(held)
            }
            None => None,
        };
        let last = match self.act(&command.action).await {
            Ok((observed, already)) => Ack { observed: Some(observed), already, ..ack(AckStatus::Completed) },
            Err(trouble) => failed(ack(AckStatus::Failed), trouble),
        };
        tell(&say, last).await;
    }

    /// Makes checks, all at once; one result for each, in their order.
    pub async fn check(&self, checks: &[Check]) -> Vec<CheckResult> {
        check::all(&self.web, checks).await
    }

    async fn act(&self, action: &Action) -> Result<(Observed, bool), Trouble> {
        match action {
            Action::Check { checks } => Ok((Observed::Checks(self.check(checks).await), false)),
            Action::Observe { drain } => {
                let items = drain::observe(&self.web, drain).await?;
                recipe::check_state(&items).map_err(|why| Trouble::new(ErrorCode::Unsupported, why))?;
                Ok((Observed::Items(items), false))
            }
            Action::Drain { drain, grace, force } => {
                let done = drain::drain(&self.web, drain, grace.duration(), *force).await?;
                Ok((Observed::Items(done.items), done.already))
            }
            Action::Undrain { drain, prior, limit, forced } => {
                let done = drain::undrain(&self.web, drain, prior, limit.duration(), *forced).await?;
                Ok((Observed::Items(done.items), done.already))
            }
            Action::Probe { .. }
            | Action::StopChild { .. }
            | Action::StartChild { .. }
            | Action::Reboot { .. }
            | Action::Shutdown { .. }
            | Action::Run { .. }
            | Action::Service { .. } => {
                let message = format!("{} is performed on a host, not where the engine runs", action.kind());
                Err(Trouble::new(ErrorCode::Unsupported, message))
            }
        }
    }

    fn lock_of(&self, subject: TargetId) -> Arc<tokio::sync::Mutex<()>> {
        let mut changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that nobody holds any more.
        changing.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(changing.entry(subject).or_default())
    }
}

fn failed(ack: Ack, trouble: Trouble) -> Ack {
    let Trouble { code, message, items } = trouble;
    let error = AckError { code, message: message.chars().take(MESSAGE_MAX).collect() };
    let observed = (!items.is_empty()).then_some(Observed::Items(items));
    Ack { error: Some(error), observed, ..ack }
}

async fn tell(say: &mpsc::Sender<Ack>, ack: Ack) {
    if say.send(ack).await.is_err() {
        // Whoever asked does not want to know any more; the engine asks again if it does.
        tracing::debug!("an ack of the own site is not wanted any more");
    }
}
