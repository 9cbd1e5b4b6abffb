//! The far end of hosts without an agent: the script that compares, claims and orders (`recipe/src/far/claim.sh`), step by step. A
//! copy of it may come late or hang between two steps, also when nobody waits for it any more; it ends with its boot.

use model::{Action, ActionKind, Command, CommandId, ErrorCode};

use crate::fault::Fault;
use crate::sim::check::{Claim, Guarantee};
use crate::sim::net::short;
use crate::sim::{Event, Sim};
use crate::world::{Go, Time};

/// An order of which nothing came in so long is over, when somebody else asks.
const OVER_AFTER: Time = 30 * 60_000;

/// One copy of the script.
#[derive(Clone, Debug)]
pub(crate) struct ScriptCopy {
    command: Command,
    /// It only asks, and sees to it that no copy orders anything after it has answered that nothing was claimed.
    look: bool,
    at: At,
    /// Somebody waits for its answer.
    heard: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Compare,
    Lock,
    Go,
    Order,
}

/// What a copy answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Ordered,
    Open,
    Ended,
    Differs,
    Absent,
    Failed(ErrorCode),
}

/// What came of closing a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    Closed,
    /// A copy is about to order.
    Ordering,
}

impl Sim {
    /// A copy of the script begins on the far end; its answer, unless it hangs.
    pub(crate) fn far_begins(&mut self, host: usize, command: &Command, look: bool) -> Option<Answer> {
        let copy = ScriptCopy { command: command.clone(), look, at: At::Compare, heard: true };
        if self.hangs(host, &copy) {
            return None;
        }
        self.far_runs(host, copy)
    }

    /// A copy that was late goes on, if its boot is still there. Nobody hears what it answers.
    pub(crate) fn far_wakes(&mut self, host: usize, boot: usize, copy: ScriptCopy) {
        if self.hosts[host].boots.len() == boot + 1 && self.hosts[host].is_up() {
            self.note(|s| format!("{}: a late copy of {} goes on at {:?}", s.hosts[host].name, short(copy.command.id), copy.at));
            self.far_runs(host, copy);
        }
    }

    /// The copy is late from here on; its connection is lost.
    fn hangs(&mut self, host: usize, copy: &ScriptCopy) -> bool {
        let may = !self.faults_over && self.scenario.has(Fault::FarLate);
        let begins = copy.at == At::Compare && !copy.look;
        let slow = may && begins && self.now < self.hosts[host].far.slow_until;
        let strikes = slow || may && self.rng.per_mille(250);
        if strikes {
            self.counts.fault(Fault::FarLate);
            let most = self.rng.pick(&[20_000, 120_000, 600_000, 2_400_000]);
            let mut delay = self.rng.between(3_000, most) as i64;
            if slow {
                delay += self.hosts[host].far.slow_until - self.now;
            } else if begins && self.rng.per_mille(400) {
                self.hosts[host].far.slow_until = self.now + self.rng.between(60_000, 900_000) as i64;
            }
            let boot = self.hosts[host].boots.len() - 1;
            self.note(|s| format!("{}: a copy of {} hangs at {:?}", s.hosts[host].name, short(copy.command.id), copy.at));
            let copy = Box::new(ScriptCopy { heard: false, ..copy.clone() });
            self.after(delay, Event::Far { host, boot, copy });
        }
        strikes
    }

    fn far_runs(&mut self, host: usize, mut copy: ScriptCopy) -> Option<Answer> {
        loop {
            match self.far_step(host, &copy) {
                Ok(next) => copy.at = next,
                Err(answer) => {
                    self.far_answers(host, &copy, answer);
                    return copy.heard.then_some(answer);
                }
            }
            if self.hangs(host, &copy) {
                return None;
            }
        }
    }

    /// One step: the next one, or the answer.
    fn far_step(&mut self, host: usize, copy: &ScriptCopy) -> Result<At, Answer> {
        let now = self.now;
        let id = copy.command.id;
        match copy.at {
            At::Compare => self.far_compare(host, copy),
            At::Lock => {
                if let Some((other, since)) = self.hosts[host].far.lock.filter(|(holder, _)| *holder != id) {
                    let falls = self.hosts[host].pending.is_some();
                    let far = &mut self.hosts[host].far;
                    if now - since <= OVER_AFTER || falls || far.go.get(&other) == Some(&Go::Ordering) {
                        far.ends.insert(id, ErrorCode::Refused);
                        return Err(Answer::Failed(ErrorCode::Refused));
                    }
                    far.go.entry(other).or_insert(Go::Closed);
                    far.ends.entry(other).or_insert(ErrorCode::NotBegun);
                    self.told_final(other);
                    self.counts.fault(Fault::FarOvertaken);
                }
                self.hosts[host].far.lock = Some((id, now));
                Ok(At::Go)
            }
            At::Go => {
                let inhibited = !ignores_inhibitors(&copy.command.action) && !self.hosts[host].inhibitors.is_empty();
                if inhibited {
                    self.far_close(host, id, ErrorCode::Refused);
                    return Err(Answer::Failed(ErrorCode::Refused));
                }
                if self.hosts[host].far.go.contains_key(&id) {
                    return Err(self.known(host, &copy.command));
                }
                self.hosts[host].far.go.insert(id, Go::Ordering);
                Ok(At::Order)
            }
            At::Order => {
                self.hosts[host].far.go.insert(id, Go::Ordered);
                self.check_far_order(host, id);
                let off = copy.command.action.kind() == ActionKind::Shutdown;
                let _ = self.end_boot(host, id, off, ignores_inhibitors(&copy.command.action));
                Err(Answer::Ordered)
            }
        }
    }

    fn far_compare(&mut self, host: usize, copy: &ScriptCopy) -> Result<At, Answer> {
        let id = copy.command.id;
        let it = &mut self.hosts[host];
        if it.far.claims.contains(&id) {
            return Err(self.known(host, &copy.command));
        }
        if copy.command.action.expect_boot() != Some(it.boot().identity) {
            return Err(Answer::Differs);
        }
        if copy.look {
            it.far.go.entry(id).or_insert(Go::Closed);
            return Err(Answer::Absent);
        }
        if it.far.go.contains_key(&id) {
            self.counts.fault(Fault::FarClosed);
            return Err(Answer::Failed(ErrorCode::Expired));
        }
        if it.disk.full {
            self.counts.fault(Fault::AgentDiskFull);
            return Err(Answer::Failed(ErrorCode::LedgerFailed));
        }
        it.far.claims.insert(id);
        let claim = Claim {
            host,
            boot: it.boots.len() - 1,
            at: self.now,
            ends_boot: true,
            subject: copy.command.subject,
            fence: copy.command.fence,
        };
        self.checks.claims.entry(id).or_insert(claim);
        Ok(At::Lock)
    }

    /// What is known of a claim.
    fn known(&self, host: usize, command: &Command) -> Answer {
        let it = &self.hosts[host];
        match it.far.ends.get(&command.id) {
            Some(code) => Answer::Failed(*code),
            None if command.action.expect_boot() == Some(it.boot().identity) => Answer::Open,
            None => Answer::Ended,
        }
    }

    /// Closes a claim: no order of the command is given after this (`recipe/src/far/close.sh`).
    pub(crate) fn far_close(&mut self, host: usize, id: CommandId, code: ErrorCode) -> Closed {
        let far = &mut self.hosts[host].far;
        if *far.go.entry(id).or_insert(Go::Closed) == Go::Ordering {
            return Closed::Ordering;
        }
        far.ends.entry(id).or_insert(code);
        if far.lock.is_some_and(|(holder, _)| holder == id) {
            far.lock = None;
        }
        self.told_final(id);
        Closed::Closed
    }

    /// What a copy answered that somebody hears; after some answers nothing may come of the command any more.
    fn far_answers(&mut self, host: usize, copy: &ScriptCopy, answer: Answer) {
        self.note(|s| format!("{}: the script of {} answers {answer:?}", s.hosts[host].name, short(copy.command.id)));
        if copy.heard && answer == Answer::Absent {
            self.told_final(copy.command.id);
        }
    }

    fn told_final(&mut self, id: CommandId) {
        self.checks.far_over.insert(id);
    }

    /// G2: at most one order for one command, and none after it was said that none comes.
    fn check_far_order(&mut self, host: usize, id: CommandId) {
        let name = self.hosts[host].name.clone();
        if self.checks.far_over.contains(&id) {
            return self.fail(Guarantee::G2, format!("{name} is ordered down by {}, which was said to be over", short(id)));
        }
        if !self.checks.far_ordered.insert(id) {
            self.fail(Guarantee::G2, format!("{name} is ordered down by {} for the second time", short(id)));
        }
    }
}

fn ignores_inhibitors(action: &Action) -> bool {
    matches!(action, Action::Reboot { ignore_inhibitors: true, .. } | Action::Shutdown { ignore_inhibitors: true, .. })
}
