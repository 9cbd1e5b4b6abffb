//! What the machine says: acknowledgements and reports.

use model::{Ack, AckError, AckStatus, CommandId, Millis, Observed, Report};
use protocol::native::{DeviceBody, VERSION};
use recipe::HostReading;

use super::core::{Flow, Machine, Turn};
use super::state::Claim;
use super::{Effect, Refusal};
use crate::ledger::Moment;

/// Last words are said again at a connect until this long after their end: a controller that has given up by then still
/// learns from them what became of the host.
const SAID_AGAIN: Millis = Millis::secs(24 * 3600);
/// And not more than this many, so that a connect stays short.
const MOST_AGAIN: usize = 32;
/// Longest message of an error, in characters.
const MESSAGE: usize = 4000;

impl Machine {
    pub(super) fn ack(&self, command: CommandId, status: AckStatus) -> Ack {
        Ack { command, status, error: None, boot: self.boot, observed: None, already: false, report: None }
    }

    pub(super) fn failed(&self, command: CommandId, (code, message): Refusal) -> Ack {
        let message = message.chars().take(MESSAGE).collect();
        Ack { error: Some(AckError { code, message }), ..self.ack(command, AckStatus::Failed) }
    }

    pub(super) fn completed(&self, command: CommandId, observed: Option<Observed>, already: bool) -> Ack {
        Ack { observed, already, ..self.ack(command, AckStatus::Completed) }
    }

    pub(super) fn report(&mut self, host: HostReading, now: &Moment, wall: model::Timestamp) -> Report {
        self.sequence += 1;
        Report {
            boot: self.boot,
            instance: self.config.instance,
            sequence: self.sequence,
            taken_at: wall,
            agent_version: self.config.agent_version.clone(),
            protocol_version: VERSION,
            // On a ledger that is not believed nothing is done: known before anything is stopped (G5).
            actions: self.config.actions.iter().copied().filter(|a| self.corrupt.is_none() || !a.is_disruptive()).collect(),
            engines: host.engines,
            children: host.children,
            pending_shutdown: host.pending_shutdown,
            inhibitors: host.inhibitors,
            rate: self.state.rate(now, &self.config),
            reboot_required: host.reboot_required,
        }
    }

    /// Says it if somebody can hear it; else it is said at the next connect, from the ledger.
    pub(super) fn say(&self, turn: &mut Turn, body: DeviceBody) {
        if self.connected {
            turn.after.push(Effect::Publish(Box::new(body)));
        }
    }

    pub(super) fn say_ack(&self, turn: &mut Turn, ack: Ack) {
        self.say(turn, DeviceBody::Ack { ack });
    }

    /// How far an open command is.
    pub(super) fn progress(&self, id: CommandId) -> Ack {
        let status = match self.flows.get(&id) {
            None | Some(Flow::Queued { .. }) => AckStatus::Accepted,
            Some(Flow::Ending(ack)) if self.harmless(ack) => return (**ack).clone(),
            Some(_) => AckStatus::ExecutionStarted,
        };
        self.ack(id, status)
    }

    /// Whether this last word may be said before it is on disk: what was seen stays true, and what is safe may run again.
    /// That a reboot failed, or a command, may not: a claim still open on disk could yet perform it.
    pub(super) fn harmless(&self, ack: &Ack) -> bool {
        let once = |claim: &Claim| claim.command.action.kind().is_done_once();
        ack.status == AckStatus::Completed || !self.state.open.get(&ack.command).is_some_and(once)
    }

    /// Says the last word on every recent command again.
    pub(super) fn say_all_again(&mut self, turn: &mut Turn, now: &Moment) {
        self.say_again_at = None;
        let time = now.trusted();
        let first = !std::mem::replace(&mut self.said_all, true);
        let fresh = |e: &&std::sync::Arc<super::state::Ended>| {
            // At the first connect of a run all are said: nobody knows what was heard before.
            let (Some(now), Some(then)) = (time, e.at.trusted()) else { return true };
            first || e.expires_at.max(then) + SAID_AGAIN > now
        };
        let ended: Vec<Ack> = self.state.ended.iter().rev().take(MOST_AGAIN).filter(fresh).map(|e| e.ack.clone()).collect();
        for ack in ended.into_iter().rev() {
            self.say_ack(turn, ack);
        }
        let open: Vec<CommandId> = self.state.open.keys().copied().collect();
        for id in open {
            self.say_ack(turn, self.progress(id));
        }
    }
}
