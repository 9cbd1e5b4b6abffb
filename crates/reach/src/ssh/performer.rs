//! Performing commands on hosts without an agent, as an agent would.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::{
    Ack, AckError, AckStatus, Action, BootIdentity, Check, ChildKind, Command, ErrorCode, InstanceId, Millis, Observed,
    RateState, Readable, Report, ServiceVerb, TargetId,
};
use recipe::far::{Answer, Closed, Guard, Order};
use recipe::{HostKind, HostReading, Verdict};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};
use uuid::Uuid;

use super::access::Access;
use super::destination::Destination;
use super::error::SshError;
use super::far::Far;
use super::pool::Pool;
use crate::deadline::{Deadline, wall};

/// Between two tries to reach a host.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(5));
/// A host on its way down or up is asked each second for so long, and then at the longer pace.
const ASK_OFTEN: Duration = Duration::from_secs(300);
/// A connection to a host that is rebooting is given up after so long at first; each try that hears nothing gets a second more.
const FIRST_TRY: Duration = Duration::from_secs(3);
/// Between the two readings that prove a boot (pain 3).
const APART: Duration = Duration::from_secs(2);
/// Longest that the end of a boot is watched by one call. The engine's deadline is shorter, and asks again where it is not.
const LONGEST_WATCH: Duration = Duration::from_secs(30 * 60);
/// What a host's package tool said holds for so long on one boot: asking it is slow.
const SAID_HOLDS: Duration = Duration::from_secs(600);
/// What is known of a host without an agent: it has a shell.
const KIND: HostKind = HostKind::Shell;
/// Version of the words in a report.
const REPORT_VERSION: u32 = 1;

/// A host without an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its id.
    pub id: TargetId,
    /// Where it is.
    pub at: Destination,
}

/// Performs over SSH what an agent would perform itself. Shared by all hosts; what it remembers of them may be lost at any time.
///
/// What is done on a host one after the other is done over one connection, until its boot is to end; what follows is done over
/// new ones.
#[derive(Debug)]
pub struct Performer {
    access: Arc<Access>,
    pool: Pool,
    instance: InstanceId,
    remembered: Mutex<BTreeMap<TargetId, Remembered>>,
}

#[derive(Clone, Debug, Default)]
struct Remembered {
    boot: Option<BootIdentity>,
    engines: BTreeSet<ChildKind>,
    needs_restarting: Option<Said>,
    sequence: u64,
}

/// What a host's package tool said.
#[derive(Clone, Debug)]
struct Said {
    boot: BootIdentity,
    at: Instant,
    what: Readable<Option<String>>,
}

/// One command under way.
struct Task<'a> {
    performer: &'a Performer,
    host: &'a Host,
    command: &'a Command,
    /// Nothing is begun after it.
    begin_by: Deadline,
    say: mpsc::Sender<Ack>,
    far: Far,
}

impl Performer {
    /// With these rights. One for each process: its reports are judged by their order.
    pub fn new(access: Arc<Access>) -> Self {
        let instance = InstanceId(Uuid::from_u128(rand::random()));
        let pool = Pool::new(&access.options.limits);
        Self { access, pool, instance, remembered: Mutex::default() }
    }

    /// Reads a host.
    ///
    /// # Errors
    /// Why not, with advice.
    pub async fn survey(&self, host: &Host) -> Result<Report, AckError> {
        let mut far = self.reach(host, false).await;
        let report = self.report(host, &mut far).await.map_err(|error| AckError::from(&error))?;
        self.keep(host, &mut far, false);
        Ok(report)
    }

    /// Ends the connection to a host that was removed, or that is elsewhere now.
    pub fn forget(&self, host: TargetId) {
        self.pool.end(host);
    }

    /// [`Performer::perform_within`] of a command whose expiry is in the time of this machine's own clock.
    pub async fn perform(&self, host: &Host, command: &Command, say: mpsc::Sender<Ack>) {
        self.perform_by(host, command, Deadline::by_wall(command), say).await;
    }

    /// Performs a command to its end, begun within `left`. Every ack goes into `say` as soon as it is true. The last one is final,
    /// unless the host could not be asked what became of a reboot or shutdown: then it is to be sent again. Dropping the future
    /// gives up on it, which is safe at any point.
    pub async fn perform_within(&self, host: &Host, command: &Command, left: Millis, say: mpsc::Sender<Ack>) {
        self.perform_by(host, command, Deadline::within(left), say).await;
    }

    async fn perform_by(&self, host: &Host, command: &Command, begin_by: Deadline, say: mpsc::Sender<Ack>) {
        info!(command = %command.id, host = %host.at, action = %command.action.kind(), "performs over ssh");
        let far = self.reach(host, true).await;
        let mut task = Task { performer: self, host, command, begin_by, say, far };
        if command.action.kind().ends_boot() { task.end_boot().await } else { task.plain().await }
    }

    fn remember<T>(&self, host: TargetId, change: impl FnOnce(&mut Remembered) -> T) -> T {
        change(self.remembered.lock().unwrap_or_else(PoisonError::into_inner).entry(host).or_default())
    }

    /// Over the connection that is kept, if there is one that nobody else uses.
    async fn reach(&self, host: &Host, for_step: bool) -> Far {
        let mut far = self.access.far(host.at.clone());
        if let Some(session) = self.pool.take(host.id, &host.at, for_step) {
            far.resume(session).await;
        }
        far
    }

    /// All went well over this connection: it is there for what comes next.
    fn keep(&self, host: &Host, far: &mut Far, for_step: bool) {
        if let Some(session) = far.give_up() {
            self.pool.keep(host.id, &host.at, session, for_step);
        }
    }

    /// This boot was read. On another one than before, nothing is read over a connection from before.
    fn is_on(&self, host: TargetId, boot: BootIdentity) {
        if self.remember(host, |known| known.boot.replace(boot)).is_some_and(|before| before != boot) {
            self.pool.end(host);
        }
    }

    async fn report(&self, host: &Host, far: &mut Far) -> Result<Report, SshError> {
        let boot = far.boot().await?;
        self.is_on(host.id, boot);
        let before = self.remember(host.id, |known| {
            let fresh = |said: &&Said| said.boot == boot && said.at.elapsed() < SAID_HOLDS;
            let needs_restarting = known.needs_restarting.as_ref().filter(fresh).map(|said| said.what.clone());
            recipe::Before { engines: known.engines.clone(), needs_restarting }
        });
        let asked = before.needs_restarting.is_none();
        let read = far.perform(recipe::read_host(&KIND, host.id, &before), Duration::ZERO).await?;
        let HostReading { engines, children, pending_shutdown, mut inhibitors, reboot_required, needs_restarting } = read;
        // Known before anything is taken out of service for a reboot that could not be claimed.
        let room = far.perform(recipe::far::room(&self.access.options.places), Duration::ZERO).await?;
        if let Readable::Known(who) = &mut inhibitors {
            who.extend(room);
        }
        let sequence = self.remember(host.id, |known| {
            if asked {
                known.needs_restarting = needs_restarting.map(|what| Said { boot, at: Instant::now(), what });
            }
            known.engines.extend(&engines);
            known.sequence += 1;
            known.sequence
        });
        Ok(Report {
            boot,
            instance: self.instance,
            sequence,
            taken_at: wall(),
            agent_version: "ssh".to_owned(),
            protocol_version: REPORT_VERSION,
            actions: recipe::supported_actions(&KIND),
            engines,
            children,
            pending_shutdown,
            inhibitors,
            rate: RateState { counted: 0, limit: u32::MAX, opens_in_ms: None },
            reboot_required,
        })
    }
}

impl Task<'_> {
    /// Everything that leaves the host on its boot.
    async fn plain(&mut self) {
        let boot = match self.get_in().await {
            Ok(boot) => boot,
            Err(error) => return self.fail(&error).await,
        };
        self.say(AckStatus::Accepted, boot).await;
        if self.command.action.kind().is_disruptive()
            && let Err(error) = self.take_turn().await
        {
            return self.fail(&error).await;
        }
        if let Action::Service { verb: ServiceVerb::Migrate { expect_boot, .. }, .. } = &self.command.action
            && *expect_boot != boot
        {
            // Its claim is gone with that boot.
            let message = format!("the host is on boot {boot}, not on {expect_boot}: whether it was run there is not known");
            return self.send(self.failed(ErrorCode::OutcomeUnknown, message, boot)).await;
        }
        self.say(AckStatus::ExecutionStarted, boot).await;
        let done = match &self.command.action {
            Action::Probe { checks } => self.probe(checks).await,
            action => {
                let recipe = recipe::perform(&KIND, self.host.id, recipe::HOOKS_DIR, action);
                self.far.perform(recipe, TRY_AGAIN.1 * 6).await.map(|verdict| self.verdict(verdict, boot))
            }
        };
        match done {
            Ok(ack) => {
                // Before it is said: the next step may follow at once.
                self.performer.keep(self.host, &mut self.far, true);
                self.send(ack).await;
            }
            Err(error) => self.fail(&error).await,
        }
    }

    /// Waits for what an earlier command for the same subject has left at work on the host, which would undo what is done now
    /// (G7): a connection that ends, or a controller that is killed, takes nothing along.
    async fn take_turn(&mut self) -> Result<(), SshError> {
        let run = self.performer.access.options.places.run.clone();
        self.far.guard(Guard { run, subject: self.command.subject });
        // Cutting a child off does not wait for the clean stop that it hangs in.
        if matches!(self.command.action, Action::StopChild { force: true, .. }) {
            return Ok(());
        }
        loop {
            match self.far.is_free().await {
                Ok(true) => return self.not_expired(),
                Ok(false) => {}
                Err(error) if error.may_pass() => self.far.let_go(),
                Err(error) => return Err(error),
            }
            self.not_expired()?;
            tokio::time::sleep(TRY_AGAIN.0).await;
        }
    }

    /// A fresh report, and what these checks gave.
    async fn probe(&mut self, checks: &[Check]) -> Result<Ack, SshError> {
        let mut observed = None;
        if !checks.is_empty() {
            let script = recipe::checks(recipe::HOOKS_DIR, checks);
            observed = Some(Observed::Checks(self.far.perform(script, Duration::ZERO).await?));
        }
        // After the checks: they may have taken long, and the report is to be fresh.
        let report = self.performer.report(self.host, &mut self.far).await?;
        Ok(Ack { observed, report: Some(report.clone()), ..self.ack(AckStatus::Completed, report.boot) })
    }

    fn verdict(&self, verdict: Verdict, boot: BootIdentity) -> Ack {
        match verdict {
            Verdict::Completed { observed, already } => Ack { observed, already, ..self.ack(AckStatus::Completed, boot) },
            Verdict::Failed { code, message } => self.failed(code, message, boot),
            Verdict::Ordered => {
                self.failed(ErrorCode::OutcomeUnknown, "it was ordered and no end of it is known".to_owned(), boot)
            }
        }
    }

    /// Connects and reads the boot, again and again until the command expires. What will not go better by itself ends it.
    async fn get_in(&mut self) -> Result<BootIdentity, SshError> {
        let mut pause = TRY_AGAIN.0;
        loop {
            self.not_expired()?;
            match self.far.boot().await {
                Ok(boot) => {
                    self.performer.is_on(self.host.id, boot);
                    return self.not_expired().map(|()| boot);
                }
                Err(error) if error.may_pass() && pause < self.begin_by.left() => {
                    self.far.let_go();
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(TRY_AGAIN.1);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn is_expired(&self) -> bool {
        self.begin_by.has_passed()
    }

    fn not_expired(&self) -> Result<(), SshError> {
        if self.is_expired() { Err(SshError::Expired(self.command.expires_at)) } else { Ok(()) }
    }

    /// A reboot or a shutdown. The connection of the steps before it is the one that it is ordered over, and no other use is made
    /// of it, nor of any other from before.
    async fn end_boot(&mut self) {
        self.performer.pool.end(self.host.id);
        let (expect, begin_within, power_off, ignore_inhibitors) = match self.command.action {
            Action::Reboot { expect_boot, begin_within, ignore_inhibitors } => {
                (expect_boot, begin_within, false, ignore_inhibitors)
            }
            Action::Shutdown { expect_boot, begin_within, ignore_inhibitors } => {
                (expect_boot, begin_within, true, ignore_inhibitors)
            }
            _ => return,
        };
        let places = self.performer.access.options.places.clone();
        let order = Order { command: self.command.id, expect, power_off, ignore_inhibitors, places };
        match self.claim(&order).await {
            Some(Ok(())) => {}
            Some(Err(ack)) => return self.send(*ack).await,
            None => return warn!(command = %self.command.id, "could not be asked; it is to be sent again"),
        }
        self.say(AckStatus::Accepted, expect).await;
        self.say(AckStatus::ExecutionStarted, expect).await;
        self.watch(&order, begin_within.duration()).await;
    }

    /// Claims and orders, or finds that this was done before. `None`: nobody could be asked, and nothing may be said.
    async fn claim(&mut self, order: &Order) -> Option<Result<(), Box<Ack>>> {
        let begun = Instant::now();
        let mut full = None;
        while begun.elapsed() < LONGEST_WATCH {
            // Too late to begin it; but an earlier copy may have done so.
            let late = self.is_expired();
            let script = if late { order.look() } else { order.give() };
            let why = match self.far.perform(script, Duration::ZERO).await {
                Ok(Answer::Ordered | Answer::Open | Answer::Ended { .. }) => return Some(Ok(())),
                Ok(Answer::Absent) => {
                    let why = full.map(|why| format!("; {why}")).unwrap_or_default();
                    return Some(self.refuse(ErrorCode::Expired, expired(self.command) + &why, order.expect));
                }
                // Another copy may find room, as long as it is not seen to that none does; so may this one.
                Ok(Answer::Failed { code: ErrorCode::LedgerFailed, message }) => {
                    full = Some(message.clone());
                    message
                }
                Ok(Answer::Failed { code, message }) => match self.boot_of_failure(code, order.expect).await {
                    Ok(boot) => return Some(self.refuse(code, message, boot)),
                    Err(why) => why,
                },
                // It may have been claimed, and ordered: asking again says.
                Ok(Answer::Unclear(why)) => why,
                // A host that is going down or coming up denies everybody for a while.
                Err(error) if late && !error.may_pass() => {
                    let AckError { code, message } = AckError::from(&error);
                    return Some(self.refuse(code, message, order.expect));
                }
                Err(error) => error.to_string(),
            };
            warn!(command = %self.command.id, %why, "not claimed yet");
            self.far.let_go();
            tokio::time::sleep(pace(begun)).await;
        }
        None
    }

    /// That the boot differs is only believed of the boot that it is.
    async fn boot_of_failure(&mut self, code: ErrorCode, expect: BootIdentity) -> Result<BootIdentity, String> {
        if code != ErrorCode::BootDiffers {
            return Ok(expect);
        }
        self.far.boot().await.map_err(|error| error.to_string())
    }

    fn refuse(&self, code: ErrorCode, message: String, boot: BootIdentity) -> Result<(), Box<Ack>> {
        Err(Box::new(self.failed(code, message, boot)))
    }

    /// Waits for another boot, always over new connections.
    async fn watch(&mut self, order: &Order, begin_within: Duration) {
        let (begun, mut patience) = (Instant::now(), FIRST_TRY);
        while begun.elapsed() < LONGEST_WATCH {
            match self.look(patience).await {
                Ok(boot) if boot != order.expect => {
                    if let Some(ack) = self.prove(boot).await {
                        // Whoever has looked meanwhile: what follows is done over connections from after the proof.
                        self.performer.pool.end(self.host.id);
                        return self.send(ack).await;
                    }
                }
                Ok(boot) if begun.elapsed() > begin_within => {
                    if let Some(message) = self.did_not_begin(order).await {
                        return self.send(self.failed(ErrorCode::NotBegun, message, boot)).await;
                    }
                }
                Ok(_) => {}
                Err(SshError::Silent { .. }) => patience += Duration::from_secs(1),
                Err(error) => info!(command = %self.command.id, %error, "not back yet"),
            }
            self.far.let_go();
            tokio::time::sleep(pace(begun)).await;
        }
        warn!(command = %self.command.id, "no longer watched; it is to be sent again");
    }

    /// Whether it may be said that nothing comes of it: the same boot, nothing pending, and the claim closed, so that nothing can
    /// come of it any more.
    async fn did_not_begin(&mut self, order: &Order) -> Option<String> {
        let report = self.performer.report(self.host, &mut self.far).await.ok()?;
        // Something pending, or not known: it may still happen.
        if report.boot != order.expect || report.pending_shutdown != Readable::Known(None) {
            return None;
        }
        let message = "it was ordered, and the host is still on the same boot with nothing pending";
        match self.far.perform(order.close(ErrorCode::NotBegun, message), Duration::ZERO).await {
            Ok(Closed::Closed | Closed::NeverClaimed) => Some(message.to_owned()),
            Ok(Closed::Unclear(why)) => {
                warn!(command = %self.command.id, %why, "the claim is not closed yet");
                None
            }
            Err(error) => {
                warn!(command = %self.command.id, %error, "the claim is not closed yet");
                None
            }
        }
    }

    /// Reads the boot over a new connection.
    async fn look(&mut self, patience: Duration) -> Result<BootIdentity, SshError> {
        self.far.let_go();
        self.far.hurry(patience);
        self.far.boot().await
    }

    /// The second reading, over yet another connection (pain 3), and a report of that boot.
    async fn prove(&mut self, first: BootIdentity) -> Option<Ack> {
        self.far.let_go();
        tokio::time::sleep(APART).await;
        let report = self.performer.report(self.host, &mut self.far).await;
        match report {
            Ok(report) if report.boot == first => Some(Ack { report: Some(report), ..self.ack(AckStatus::Completed, first) }),
            Ok(report) => {
                info!(command = %self.command.id, first = %first, second = %report.boot, "the boot changed between two readings");
                None
            }
            Err(error) => {
                info!(command = %self.command.id, %error, "gone again between two readings");
                None
            }
        }
    }

    fn ack(&self, status: AckStatus, boot: BootIdentity) -> Ack {
        Ack { command: self.command.id, status, error: None, boot, observed: None, already: false, report: None }
    }

    fn failed(&self, code: ErrorCode, message: String, boot: BootIdentity) -> Ack {
        let message = message.chars().take(4000).collect();
        Ack { error: Some(AckError { code, message }), ..self.ack(AckStatus::Failed, boot) }
    }

    async fn say(&self, status: AckStatus, boot: BootIdentity) {
        self.send(self.ack(status, boot)).await;
    }

    async fn send(&self, ack: Ack) {
        // Nobody listens any more: the command is sent again by whoever wants it.
        drop(self.say.send(ack).await);
    }

    async fn fail(&self, error: &SshError) {
        let known = self.performer.remember(self.host.id, |known| known.boot);
        let AckError { code, message } = AckError::from(error);
        // A host that was never read is on no boot that anybody knows; what failed proves nothing either way.
        let Some(boot) = known.or(self.command.action.expect_boot()).or_else(|| BootIdentity::new(NEVER_READ, 0).ok()) else {
            return;
        };
        self.send(self.failed(code, message, boot)).await;
    }
}

/// Stands in acks about a host that was never read.
const NEVER_READ: &str = "ffffffff-ffff-ffff-ffff-ffffffffffff";

/// How long to wait before the host is asked again.
fn pace(begun: Instant) -> Duration {
    if begun.elapsed() < ASK_OFTEN { TRY_AGAIN.0 } else { TRY_AGAIN.1 }
}

fn expired(command: &Command) -> String {
    format!("it was to be begun by {}", command.expires_at)
}
