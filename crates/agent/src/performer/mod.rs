//! The performer: the part with the rights. It owns the keys, verifies every signature, owns the ledger and the machine, and
//! runs the recipes.
//!
//! It speaks with the network part ([`crate::network`]) in sealed bytes over two channels and in nothing else, so that the
//! two can become two processes: the network part can withhold and repeat what the controller says, but not invent it.

mod host;
#[cfg(feature = "pause-points")]
mod pause;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use model::{Millis, Readable, TargetId};
use protocol::native::{DeviceBody, DeviceKey, MAX_PAYLOAD, OpenError, PublicKey, TopicKind, open_controller, seal_device};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{debug, error, info, warn};

use crate::boot::Clocks;
use crate::ledger::Ledger;
use crate::machine::{Effect, Input, Machine, Token};

pub use host::Host;

/// Room for topic and packet header beside a payload.
const PACKET: usize = 512;
/// The machine is asked at least this often, whatever it says.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// From the network part.
#[derive(Debug)]
pub enum FromNetwork {
    /// Connected and subscribed.
    Connected,
    /// Not connected any more; tokens of before mean nothing.
    Disconnected,
    /// A payload of the command topic.
    Delivery {
        /// For its acknowledgement.
        token: Token,
        /// The broker had stored it.
        retained: bool,
        /// As it came.
        payload: Vec<u8>,
    },
    /// Something was not acknowledged although the link stands.
    Unheard,
}

/// To the network part, performed in this order.
#[derive(Debug)]
pub enum ToNetwork {
    /// Publish it.
    Publish {
        /// On which topic of this host.
        kind: TopicKind,
        /// Sealed.
        payload: Vec<u8>,
        /// Told whether the broker acknowledged it.
        heard: Option<oneshot::Sender<bool>>,
    },
    /// Acknowledge a delivery.
    Ack(Token),
}

/// What the performer is made of.
pub struct Performer<L> {
    /// This host.
    pub host_id: TargetId,
    /// Its own key.
    pub key: DeviceKey,
    /// The controller's, pinned at enrolment.
    pub controller: PublicKey,
    /// The ledger, already loaded.
    pub ledger: L,
    /// What was loaded, or why it cannot be believed.
    pub records: Result<Vec<crate::ledger::Record>, String>,
    /// The present boot.
    pub boot: model::BootIdentity,
    /// The clocks of this boot.
    pub clocks: Clocks,
    /// The tools of this host.
    pub host: Host,
    /// Where pause files of tests are looked for.
    pub state_dir: PathBuf,
}

impl<L: Ledger> Performer<L> {
    /// Runs until `stop` is true, or the network part is gone. `alive` is called at every turn.
    pub async fn run(
        mut self,
        config: crate::machine::Config,
        mut from: mpsc::Receiver<FromNetwork>,
        to: mpsc::Sender<ToNetwork>,
        mut stop: watch::Receiver<bool>,
        alive: impl Fn(),
    ) {
        let records = std::mem::replace(&mut self.records, Ok(Vec::new()));
        let (mut machine, effects) = Machine::start(config, self.boot, records, self.clocks.now());
        #[cfg(feature = "pause-points")]
        if machine.woke_with_claim() {
            pause::at(&self.state_dir, "after_boot").await;
        }
        for command in machine.open() {
            info!(command = %command.id, action = %command.action.kind(), "still open from an earlier run");
        }
        // Answers of tools; each task sends exactly one.
        let (answers, mut answered) = mpsc::unbounded_channel();
        self.perform(&mut machine, effects, &to, &answers).await;
        while !*stop.borrow() {
            alive();
            let input = tokio::select! {
                biased;
                _ = stop.changed() => continue,
                input = answered.recv() => input,
                input = from.recv() => match input {
                    Some(input) => Some(self.open(input)),
                    None => return,
                },
                () = tokio::time::sleep(self.nap(&machine)) => Some(Input::Tick),
            };
            if let Some(input) = input {
                let effects = machine.handle(input, self.clocks.now());
                self.perform(&mut machine, effects, &to, &answers).await;
            }
        }
    }

    fn nap(&self, machine: &Machine) -> Duration {
        let now = self.clocks.now().boottime;
        let nap = machine.poll_timeout().map(|at| Millis(at.0.saturating_sub(now.0)).duration());
        nap.unwrap_or(LONGEST_NAP).min(LONGEST_NAP)
    }

    /// The signature is verified here, before anything is decided.
    fn open(&self, input: FromNetwork) -> Input {
        match input {
            FromNetwork::Connected => Input::Connected,
            FromNetwork::Disconnected => Input::Disconnected,
            FromNetwork::Unheard => Input::Unheard,
            FromNetwork::Delivery { token, retained, payload } => {
                let opened = open_controller(&payload, &self.controller, self.host_id).map(Box::new);
                if let Err(refused) = &opened {
                    warn!(error = %refused.error, command = ?refused.command, "a message on the command topic is refused");
                }
                Input::Delivery { token, retained, opened }
            }
        }
    }

    /// Performs the effects strictly in order, and what follows from them.
    async fn perform(
        &mut self,
        machine: &mut Machine,
        effects: Vec<Effect>,
        to: &mpsc::Sender<ToNetwork>,
        answers: &mpsc::UnboundedSender<Input>,
    ) {
        let mut next = VecDeque::from([effects]);
        while let Some(effects) = next.pop_front() {
            for effect in effects {
                let outcome = match effect {
                    Effect::Append(record) => {
                        #[cfg(feature = "pause-points")]
                        pause::before_append(&self.state_dir, &record).await;
                        self.ledger.append(&record)
                    }
                    Effect::Flush => self.ledger.flush(),
                    Effect::Compact(records) => self.ledger.replace(&records),
                    Effect::Publish(body) => {
                        self.publish(*body, None, to).await;
                        Ok(())
                    }
                    Effect::PublishAwait { command, body, limit } => {
                        let (heard, acknowledged) = oneshot::channel();
                        self.publish(*body, Some(heard), to).await;
                        let heard = matches!(tokio::time::timeout(limit.duration(), acknowledged).await, Ok(Ok(true)));
                        if !heard {
                            warn!(%command, "the broker did not acknowledge execution_started in time; going on");
                        }
                        next.push_back(machine.handle(Input::Said { command, heard }, self.clocks.now()));
                        Ok(())
                    }
                    Effect::Perform(command) => {
                        #[cfg(feature = "pause-points")]
                        pause::before_perform(&self.state_dir, &command).await;
                        info!(command = %command.id, action = %command.action.kind(), orchestration = %command.orchestration, "begins");
                        self.host.perform(&command, answers.clone());
                        Ok(())
                    }
                    Effect::Look { command, action } => {
                        debug!(%command, action = %action.kind(), "looks");
                        self.host.look(command, *action, answers.clone());
                        Ok(())
                    }
                    Effect::Read(reading) => {
                        self.host.read(reading, answers.clone());
                        Ok(())
                    }
                    Effect::AckDelivery(token) => {
                        // Without a network part this run ends soon.
                        drop(to.send(ToNetwork::Ack(token)).await);
                        Ok(())
                    }
                };
                if let Err(failed) = outcome {
                    error!(reason = %failed.reason, undone = failed.undone, "the ledger cannot be written");
                    let input = Input::LedgerFailed { reason: failed.to_string(), undone: failed.undone };
                    next.push_back(machine.handle(input, self.clocks.now()));
                    break;
                }
            }
        }
    }

    async fn publish(&self, mut body: DeviceBody, heard: Option<oneshot::Sender<bool>>, to: &mpsc::Sender<ToNetwork>) {
        let kind = body.topic();
        if let DeviceBody::Ack { ack } = &body {
            info!(command = %ack.command, status = %ack.status, error = ?ack.error, "says");
        } else {
            debug!(topic = kind.as_str(), "says");
        }
        let fits = |sealed: &Result<Vec<u8>, OpenError>| sealed.as_ref().is_ok_and(|p| p.len() <= MAX_PAYLOAD - PACKET);
        let mut sealed = seal_device(&self.key, self.host_id, &body);
        if !fits(&sealed) && shorten(&mut body) {
            sealed = seal_device(&self.key, self.host_id, &body);
        }
        match sealed {
            Ok(payload) => drop(to.send(ToNetwork::Publish { kind, payload, heard }).await),
            Err(error) => error!(topic = kind.as_str(), %error, "cannot be said"),
        }
    }
}

/// Takes the list of children out of a message that is too large; "unknown" is the honest rest of it (G5).
fn shorten(body: &mut DeviceBody) -> bool {
    let report = match body {
        DeviceBody::Ack { ack } => ack.report.as_mut(),
        DeviceBody::Report { report } | DeviceBody::Hello { report, .. } => Some(report),
        DeviceBody::Gone { .. } => None,
    };
    let Some(report) = report else { return false };
    report.children = Readable::Unknown("the list of children is too long to be sent".to_owned());
    true
}

#[cfg(test)]
mod tests;
