//! G2 and G9: what an agent does, judged by the truth about the command that it does it for.

use agent::ledger::{self, Record};
use model::{Ack, AckStatus, BootIdentity, Command, CommandId, Place};
use protocol::native::{ControllerBody, Refused};

use super::{Claim, Guarantee, Issued};
use crate::sim::Sim;
use crate::sim::net::short;
use crate::world::Cause;

/// Clocks of two controllers, and the way of a message.
const SLACK: i64 = 3_500;
/// Ruling 23, and its owner's promise: so many commanded reboots in so long, in milliseconds.
const RATE: (usize, i64) = (3, 900_000);

impl Sim {
    pub(crate) fn checks_delivered(&mut self, host: usize, opened: &Result<Box<ControllerBody>, Refused>, retained: bool) {
        if let Ok(body) = opened
            && let ControllerBody::Command { command } = &**body
            && command.target == self.hosts[host].id
        {
            *self.checks.delivered.entry(command.id).or_default() |= !retained;
        }
    }

    /// A controller signed a command.
    pub(crate) fn checks_issued(&mut self, command: &Command, controller: usize, place: Option<Place>) {
        let expires = command.expires_at.millis() - self.controllers[controller].clock_offset;
        self.checks
            .issued
            .insert(command.id, Issued { command: command.clone(), expires, number: self.checks.issued.len(), place });
    }

    /// An agent calls a boot ended: then it is (G3).
    pub(crate) fn checks_said(&mut self, host: usize, ack: &Ack) {
        let expected = self.checks.issued.get(&ack.command).and_then(|i| i.command.action.expect_boot());
        if ack.status == AckStatus::Completed && expected.is_some_and(|boot| boot == ack.boot) {
            let words = format!(
                "{} says that {} is completed, on the boot that it was to end",
                self.hosts[host].name,
                short(ack.command)
            );
            self.fail(Guarantee::G3, words);
        }
    }

    /// A claim was written; it counts once it is flushed.
    pub(crate) fn checks_written(&mut self, host: usize, record: &Record) {
        if let Record::Claimed { command, .. } = record {
            let claim = Claim {
                host,
                boot: self.hosts[host].boots.len() - 1,
                at: self.now,
                ends_boot: command.action.kind().ends_boot(),
                subject: command.subject,
                fence: command.fence,
            };
            self.checks.unflushed.push((command.id, claim));
        }
    }

    pub(crate) fn checks_ledger_flushed(&mut self, host: usize) {
        let (own, others) = std::mem::take(&mut self.checks.unflushed).into_iter().partition(|(_, c)| c.host == host);
        self.checks.unflushed = others;
        for (id, claim) in own {
            self.checks.claims.entry(id).or_insert(claim);
        }
    }

    /// What was written and not flushed is gone.
    pub(crate) fn checks_ledger_lost(&mut self, host: usize) {
        self.checks.unflushed.retain(|(_, c)| c.host != host);
    }

    /// An agent runs a tool for a command.
    pub(crate) fn checks_performs(&mut self, host: usize, command: &Command) {
        if let Err((guarantee, words)) = self.judge_performance(host, command) {
            let words = format!("{} runs {} ({}): {words}", self.hosts[host].name, command.action.kind(), short(command.id));
            self.fail(guarantee, words);
        }
    }

    fn judge_performance(&self, host: usize, command: &Command) -> Result<(), (Guarantee, String)> {
        let it = &self.hosts[host];
        let Some(issued) = self.checks.issued.get(&command.id) else {
            return Err((Guarantee::G9, "no controller ever journaled this command".to_owned()));
        };
        if issued.command != *command || command.target != it.id {
            return Err((Guarantee::G9, "it is not what was journaled, or meant for another host".to_owned()));
        }
        if self.checks.delivered.get(&command.id) != Some(&true) {
            return Err((Guarantee::G9, "it came only as a retained message".to_owned()));
        }
        self.judge_claim(host, command)?;
        let set = self.hosts[host].clock_stepped_at.is_none() && !self.checks.controller_clock_stepped;
        if set && self.now > issued.expires + SLACK {
            let late = (self.now - issued.expires) / 1000;
            return Err((Guarantee::G9, format!("it had expired {late} s ago")));
        }
        let ends_boot = command.action.kind().ends_boot();
        if let Some(expected) = command.action.expect_boot()
            && expected != it.boot().identity
        {
            return Err((Guarantee::G2, format!("it was to end boot {expected}, and the host is on {}", it.boot().identity)));
        }
        // A boot's end cannot be superseded once it is claimed; everything else can, until its tool runs.
        let claimed_at = self.checks.claims.get(&command.id).map_or(self.now, |c| c.at);
        let newer = self.checks.claims.iter().find(|(id, c)| {
            let same = c.host == host && **id != command.id && c.fence > command.fence && !(ends_boot && c.at >= claimed_at);
            same && (c.ends_boot || ends_boot || c.subject == command.subject)
        });
        if let Some((id, claim)) = newer {
            return Err((Guarantee::G9, format!("fence {} is under {} of {}", command.fence, claim.fence, short(*id))));
        }
        // The same by the order of the journals: a step that was superseded does not act on its child any more.
        let successor = self.checks.claims.keys().find(|id| {
            let Some(other) = self.checks.issued.get(id).filter(|o| o.place.is_some() && issued.place.is_some()) else {
                return false;
            };
            let same = other.command.orchestration == command.orchestration && other.command.subject == command.subject;
            same && other.place != issued.place && other.number > issued.number
        });
        if let Some(id) = successor.filter(|_| !ends_boot) {
            return Err((Guarantee::G7, format!("{} of a later step was claimed before it", short(*id))));
        }
        if ends_boot && !(self.checks.controller_clock_stepped && it.clock_stepped_at.is_some()) {
            let recent = |c: &Claim| c.host == host && c.ends_boot && self.now - c.at < RATE.1;
            let counted = self.checks.claims.iter().filter(|(id, c)| **id != command.id && recent(c)).count();
            if counted >= RATE.0 {
                return Err((Guarantee::G9, format!("{counted} commanded reboots came before it within 15 min")));
            }
        }
        Ok(())
    }

    /// The claim is on disk before anything is done, and nothing is done again that is known to be over (G2, G8).
    fn judge_claim(&self, host: usize, command: &Command) -> Result<(), (Guarantee, String)> {
        let records = match ledger::decode(self.hosts[host].disk.durable()) {
            Ok(decoded) => decoded.records,
            Err(error) => return Err((Guarantee::G8, format!("its ledger does not read: {error}"))),
        };
        let (mut claimed, mut begun) = (false, false);
        for record in &records {
            match record {
                Record::Claimed { command: c, .. } if c.id == command.id => claimed = true,
                Record::Executing { command: c, .. } if *c == command.id => begun = true,
                Record::Ended { ack, .. } if ack.command == command.id => {
                    return Err((Guarantee::G2, format!("its outcome was known already: {}", ack.status)));
                }
                _ => {}
            }
        }
        if !claimed {
            return Err((Guarantee::G2, "its claim is not safe on disk".to_owned()));
        }
        // What is never done again must be known to have begun.
        if command.action.kind().is_done_once() && !begun {
            return Err((Guarantee::G2, "its begin is not safe on disk".to_owned()));
        }
        Ok(())
    }

    /// A boot ends.
    pub(crate) fn checks_boot_ends(&mut self, host: usize, cause: Cause) {
        let (Cause::Command(id) | Cause::Rogue(id)) = cause else { return };
        let count = {
            let count = self.checks.boots_ended.entry(id).or_default();
            *count += 1;
            *count
        };
        if count > 1 {
            let words = format!("command {} ended {count} boots of {}", short(id), self.hosts[host].name);
            return self.fail(Guarantee::G2, words);
        }
        let expected: Option<BootIdentity> = self.checks.issued.get(&id).and_then(|i| i.command.action.expect_boot());
        if expected != Some(self.hosts[host].boot().identity) {
            let words = format!("command {} ended another boot of {} than it was meant to", short(id), self.hosts[host].name);
            self.fail(Guarantee::G2, words);
        }
    }

    /// The reading for a probe begins.
    pub(crate) fn checks_probe_taken(&mut self, host: usize, command: CommandId) {
        self.mix(host as u64 ^ command.0.as_u128() as u64);
    }
}
