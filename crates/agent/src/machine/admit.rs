//! Whether a command is obeyed (G9), rule by rule.

use model::broken::{self, Rule};
use model::{Action, ActionKind, CheckKind, Command, CommandId, ErrorCode, Migrate, Run, ServiceVerb};
use protocol::native::{ControllerBody, Refused};

use super::clock::Anchor;
use super::core::{Flow, Held, Looking, Machine, Then, Turn};
use super::{Effect, Reading, Refusal, Token};
use crate::ledger::{Moment, Record};

/// Refusals that are not in the ledger; the oldest are forgotten.
const REMEMBERED: usize = 64;
/// Commands that wait for the controller's time; the broker has no more than this many under way.
const MOST_HELD: usize = 16;
/// Commands that only look, answered at the same time.
const MOST_LOOKS: usize = 64;
/// A time that took longer than this to come is asked for again, in milliseconds.
const TIME_TOO_OLD: u64 = 30_000;

impl Machine {
    pub(super) fn deliver(
        &mut self,
        token: Token,
        retained: bool,
        opened: Result<Box<ControllerBody>, Refused>,
        now: &Moment,
        turn: &mut Turn,
    ) {
        match opened.map(|body| *body) {
            Ok(ControllerBody::Time { nonce, now: time }) => {
                turn.after.push(Effect::AckDelivery(token));
                self.learn_time(&nonce, time, now);
            }
            Ok(ControllerBody::Command { command }) => self.command(token, retained, command, now, turn),
            Err(refused) => {
                turn.after.push(Effect::AckDelivery(token));
                // Not proven to be the controller's word: it must not touch what is known of that command.
                let fresh = |id: &CommandId| !self.knows(*id);
                if let Some(id) = refused.command.filter(fresh) {
                    self.refuse_in_memory(id, (refused.error.code(), refused.error.to_string()), turn);
                }
            }
        }
    }

    fn knows(&self, id: CommandId) -> bool {
        self.state.open.contains_key(&id) || self.state.outcome(id).is_some() || self.looks.contains_key(&id)
    }

    fn learn_time(&mut self, nonce: &str, time: model::Timestamp, now: &Moment) {
        let Some((asked, at)) = &self.asked else { return };
        let took = now.boottime.0.saturating_sub(at.0);
        if asked != nonce || took > TIME_TOO_OLD {
            return;
        }
        // The controller's clock stood at `time` at some instant since the question: the whole way is added, so that
        // nothing expired is taken for fresh.
        self.anchor = Some(Anchor { time: time + model::Millis(took), boottime: now.boottime });
        self.asked = None;
        self.time_heard = true;
    }

    pub(super) fn command(&mut self, token: Token, retained: bool, command: Command, now: &Moment, turn: &mut Turn) {
        if !command.action.kind().is_disruptive() {
            return self.look(token, retained, &command, now, turn);
        }
        if let Some(last) = self.last_word(command.id).filter(|_| !broken::is(Rule::ForgetOutcome)) {
            turn.after.push(Effect::AckDelivery(token));
            return self.say_ack(turn, last);
        }
        let may_wait = self.connected && !retained && now.boottime < self.time_until && self.held.len() < MOST_HELD;
        if now.trusted().is_none() && may_wait {
            self.held.push_back(Held { token, retained, command, until: self.time_until });
            return;
        }
        self.judge(token, retained, command, now, turn);
    }

    /// The same answer as before for a command that was seen before.
    fn last_word(&self, id: CommandId) -> Option<model::Ack> {
        if let Some(ended) = self.state.outcome(id) {
            return Some(ended.ack.clone());
        }
        if self.state.open.contains_key(&id) {
            return Some(self.progress(id));
        }
        self.refused.iter().find(|ack| ack.command == id).cloned()
    }

    /// What only looks is answered at once, in no order and from no ledger.
    fn look(&mut self, token: Token, retained: bool, command: &Command, now: &Moment, turn: &mut Turn) {
        turn.after.push(Effect::AckDelivery(token));
        let late = now.trusted().is_some() && self.expired(command, now);
        let refusal = if retained && !broken::is(Rule::ObeyRetained) {
            Some((ErrorCode::Retained, RETAINED.to_owned()))
        } else {
            late.then(|| (ErrorCode::Expired, expired(command))).or_else(|| self.unsupported(&command.action))
        };
        match refusal {
            Some(refusal) => self.say_ack(turn, self.failed(command.id, refusal)),
            // Being looked at already.
            None if self.looks.contains_key(&command.id) => {}
            None if self.looks.len() >= MOST_LOOKS => {
                let words = "too many questions at once; ask again in a while".to_owned();
                self.say_ack(turn, self.failed(command.id, (ErrorCode::Refused, words)));
            }
            None => {
                let (looking, effect) = match &command.action {
                    Action::Probe { checks } if checks.is_empty() => {
                        (Looking::Probe(None), Effect::Read(Reading::Probe(command.id)))
                    }
                    Action::Probe { checks } => {
                        let action = Box::new(Action::Check { checks: checks.clone() });
                        (Looking::Probe(None), Effect::Look { command: command.id, action })
                    }
                    action => (Looking::Plain, Effect::Look { command: command.id, action: Box::new(action.clone()) }),
                };
                self.looks.insert(command.id, looking);
                turn.after.push(effect);
            }
        }
    }

    /// What this host cannot do, or no agent does.
    fn unsupported(&self, action: &Action) -> Option<Refusal> {
        let kind = action.kind();
        if !self.config.actions.contains(&kind) {
            return Some((ErrorCode::Unsupported, format!("this host cannot {kind}")));
        }
        let of_service = matches!(action, Action::Service { .. });
        let checks = match action {
            Action::Probe { checks } | Action::Check { checks } => checks.as_slice(),
            Action::Service { verb: ServiceVerb::Inspect { checks } | ServiceVerb::Watch { checks, .. }, .. } => {
                checks.as_slice()
            }
            Action::Service { verb: ServiceVerb::Migrate { migrate: Migrate::Command { .. }, .. }, .. } => {
                let words = "agents run no commands that others name; put the migration into a named command on the host";
                return Some((ErrorCode::Unsupported, words.to_owned()));
            }
            _ => &[],
        };
        if !of_service && !checks.is_empty() && !self.config.actions.contains(&ActionKind::Check) {
            return Some((ErrorCode::Unsupported, "this host cannot check".to_owned()));
        }
        let free = checks.iter().find(|check| matches!(check.kind, CheckKind::Command { .. }))?;
        let words = format!("check {}: agents run no commands that others name; put it into a hook on the host", free.name);
        Some((ErrorCode::Unsupported, words))
    }

    fn judge(&mut self, token: Token, retained: bool, command: Command, now: &Moment, turn: &mut Turn) {
        match self.refusal(retained, &command, now) {
            None => self.claim(token, command, now, turn),
            Some(refusal) if self.corrupt.is_some() => {
                turn.after.push(Effect::AckDelivery(token));
                self.refuse_in_memory(command.id, refusal, turn);
            }
            Some(refusal) => {
                // On disk before it is said: a refusal is final, also for a copy of the command that comes after a restart.
                let ack = self.failed(command.id, refusal);
                let record = Record::Ended { ack: Box::new(ack.clone()), expires_at: command.expires_at, at: *now };
                self.write(record, Then::Refused { ack: Box::new(ack.clone()), token }, turn);
                turn.after.push(Effect::AckDelivery(token));
                self.say_ack(turn, ack);
            }
        }
    }

    /// Why this command is not obeyed, if so.
    fn refusal(&self, retained: bool, command: &Command, now: &Moment) -> Option<Refusal> {
        let kind = command.action.kind();
        if let Some(reason) = &self.corrupt {
            // Whether it had begun an end of this boot, or a command, is not known any more: that is no refusal.
            let code = if kind.is_done_once() { ErrorCode::OutcomeUnknown } else { ErrorCode::LedgerFailed };
            return Some((code, reason.clone()));
        }
        if command.target != self.config.host {
            return Some((ErrorCode::WrongTarget, format!("this host is {}, not {}", self.config.host, command.target)));
        }
        if let Some(refusal) = self.unsupported(&command.action) {
            return Some(refusal);
        }
        if retained && !broken::is(Rule::ObeyRetained) {
            return Some((ErrorCode::Retained, RETAINED.to_owned()));
        }
        if now.trusted().is_none() {
            let hint = "this host's clock was never set, and the controller's time did not come";
            return Some((ErrorCode::ClockUnset, hint.to_owned()));
        }
        if self.expired(command, now) {
            return Some((ErrorCode::Expired, expired(command)));
        }
        if self.under_fence(command) {
            return Some((ErrorCode::UnderFence, under(command, self.state.fence_for(command))));
        }
        if let Some(refusal) = self.not_run(&command.action) {
            return Some(refusal);
        }
        if let Some(expected) = command.action.expect_boot() {
            if expected != self.boot && !broken::is(Rule::IgnoreExpectBoot) {
                let words = format!("this host is on boot {}, not on {expected}: there is nothing to end", self.boot);
                return Some((ErrorCode::BootDiffers, words));
            }
            let open = self.state.open.values().find(|claim| claim.command.action.kind().ends_boot());
            if let Some(open) = open {
                let words = format!("command {} to {} is still open on this host", open.command.id, open.command.action.kind());
                return Some((ErrorCode::Refused, words));
            }
            let rate = self.state.rate(now, &self.config);
            if let Some(left) = rate.opens_in_ms.filter(|_| !broken::is(Rule::IgnoreRateLimit)) {
                let window = self.config.rate_window.as_secs() / 60;
                let words = format!(
                    "{} commanded reboots in {window} min, at most {} are allowed; one more in {} s",
                    rate.counted,
                    rate.limit,
                    left.div_ceil(1000)
                );
                return Some((ErrorCode::RateLimited, words));
            }
        }
        None
    }

    /// Why a command is not run here: by nobody's word but that of the users who are configured, and on no other boot than the
    /// one on which it was admitted.
    fn not_run(&self, action: &Action) -> Option<Refusal> {
        if let Action::Service { verb: ServiceVerb::Migrate { expect_boot, .. }, .. } = action {
            return (*expect_boot != self.boot && !broken::is(Rule::IgnoreExpectBoot)).then(|| self.other_boot(*expect_boot));
        }
        let Action::Run { run, expect_boot, .. } = action else { return None };
        if let Run::Free { by, .. } = run
            && !self.config.free_users.contains(by)
        {
            let words = format!("this host runs no free commands of user {by}: name them under [free] in its agent.toml");
            return Some((ErrorCode::Refused, words));
        }
        (*expect_boot != self.boot && !broken::is(Rule::IgnoreExpectBoot)).then(|| self.other_boot(*expect_boot))
    }

    /// A command is not run on another boot than the one on which it was admitted.
    pub(super) fn other_boot(&self, expected: model::BootIdentity) -> Refusal {
        let words = format!("this host is on boot {}, not on {expected}: the command was not run", self.boot);
        (ErrorCode::BootDiffers, words)
    }

    /// Whether its time has passed. Without any trusted time: no; the caller sees to that.
    pub(super) fn expired(&self, command: &Command, now: &Moment) -> bool {
        !broken::is(Rule::IgnoreExpiry) && now.trusted().is_some_and(|time| time > command.expires_at)
    }

    /// Whether a newer command for the same subject, or for the whole host, was claimed before.
    pub(super) fn under_fence(&self, command: &Command) -> bool {
        !broken::is(Rule::IgnoreFence) && command.fence < self.state.fence_for(command)
    }

    fn claim(&mut self, token: Token, command: Command, now: &Moment, turn: &mut Turn) {
        let id = command.id;
        let early = broken::is(Rule::ActBeforeClaim);
        if early {
            turn.before.push(Effect::Perform(Box::new(command.clone())));
        }
        let record = Record::Claimed { command: Box::new(command.clone()), at: *now };
        self.write(record, Then::Claimed { command: id, token }, turn);
        self.flows.insert(id, if early { Flow::Running } else { Flow::Queued { recovered: false } });
        self.say_ack(turn, self.ack(id, model::AckStatus::Accepted));
        turn.after.push(Effect::AckDelivery(token));
    }

    pub(super) fn refuse_in_memory(&mut self, id: CommandId, refusal: Refusal, turn: &mut Turn) {
        let ack = self.failed(id, refusal);
        self.refused.retain(|known| known.command != id);
        if self.refused.len() == REMEMBERED {
            self.refused.pop_front();
        }
        self.refused.push_back(ack.clone());
        self.say_ack(turn, ack);
    }
}

const RETAINED: &str = "it came as a stored message; commands are never stored";

pub(super) fn expired(command: &Command) -> String {
    format!("it was to be begun by {}", command.expires_at)
}

pub(super) fn under(command: &Command, fence: model::Fence) -> String {
    format!("its fence is {}; {fence} was seen before", command.fence)
}
