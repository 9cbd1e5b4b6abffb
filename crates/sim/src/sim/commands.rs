//! Commands of runs: what the hosts really did, whatever their disks remember and whoever saw it.

use model::{Command, CommandId, ErrorCode, Millis, Observed, OrchestrationId, Ran, Said};
use recipe::Verdict;

use crate::fault::{End, Fault};
use crate::sim::net::short;
use crate::sim::{Event, Sim};

/// How an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// By itself, with this exit code.
    Exit(i32),
    /// It was killed at its limit.
    Limit,
    /// It was cut off, with its agent or its host.
    Cut,
}

/// One execution of a command.
#[derive(Clone, Debug)]
pub(crate) struct Execution {
    pub(crate) host: usize,
    pub(crate) orchestration: OrchestrationId,
    pub(crate) ended: Option<Fate>,
    /// The agent that began it was told of its end.
    pub(crate) seen: bool,
    /// The agent that began it is gone.
    pub(crate) alone: bool,
}

impl Sim {
    /// A host executes a command: how long the agent waits for it, and what it hears then.
    pub(crate) fn run_command(&mut self, host: usize, command: &Command, limit: Millis) -> (u64, Verdict) {
        let strikes = |s: &mut Self, fault, chance| !s.faults_over && s.scenario.has(fault) && s.rng.per_mille(chance);
        if strikes(self, Fault::RunNotThere, 150) {
            self.counts.fault(Fault::RunNotThere);
            let message = "/etc/reveille/commands.d/rotate: no such file".to_owned();
            return (40, Verdict::Failed { code: ErrorCode::NotFound, message });
        }
        self.check_execution(host, command);
        self.counts.end(End::CommandRun);
        let begun = Execution { host, orchestration: command.orchestration, ended: None, seen: false, alone: false };
        self.executions.entry(command.id).or_default().push(begun);
        let (takes, fate) = if strikes(self, Fault::RunHangs, 200) {
            self.counts.fault(Fault::RunHangs);
            (limit.0, Fate::Limit)
        } else {
            let most = self.slowest(limit.0 * 9 / 10);
            let takes = if self.rng.per_mille(500) { self.rng.between(50, 3_000) } else { self.rng.between(1_000, most) };
            let fails = strikes(self, Fault::RunFails, 250);
            if fails {
                self.counts.fault(Fault::RunFails);
            }
            (takes, Fate::Exit(if fails { self.rng.pick(&[1, 2, 127]) } else { 0 }))
        };
        self.after(takes as i64, Event::CommandEnds { host, command: command.id, fate });
        for (fault, strike) in [(Fault::RunCrash, Fault::AgentCrash), (Fault::RunCut, Fault::PowerCut)] {
            if strikes(self, fault, 250) {
                let delay = self.rng.below(takes) as i64;
                self.after(delay, Event::Strike { fault: strike, host });
            }
        }
        let (exit, timed_out) = match fate {
            Fate::Exit(code) => (Some(code), false),
            Fate::Limit | Fate::Cut => (None, true),
        };
        let ran = Ran { exit, timed_out, out: Said::default(), err: Said::default() };
        (takes + 5, Verdict::Completed { observed: Some(Observed::Ran(ran)), already: false })
    }

    /// A command comes to its end, if nothing ended it before.
    pub(crate) fn command_ends(&mut self, host: usize, command: CommandId, fate: Fate) {
        let last = self.executions.get_mut(&command).and_then(|all| all.iter_mut().rfind(|e| e.host == host));
        let Some(it) = last.filter(|e| e.ended.is_none()) else { return };
        it.ended = Some(fate);
        if it.alone {
            self.counts.fault(Fault::RunAlone);
        }
        self.note(|s| format!("{}: {} ends: {fate:?}", s.hosts[host].name, short(command)));
    }

    /// The agent that began it hears of the end.
    pub(crate) fn command_seen(&mut self, command: CommandId) {
        if let Some(it) = self.executions.get_mut(&command).and_then(|all| all.last_mut()) {
            it.seen = true;
        }
    }

    /// An agent is gone: what it ran is cut off with it, or goes on alone. The real one's service takes its whole group down; a
    /// command that made itself a group of its own stays.
    pub(crate) fn commands_left_alone(&mut self, host: usize) {
        for command in self.running_on(host) {
            self.counts.fault(Fault::RunCrash);
            if self.rng.per_mille(if self.scenario.has(Fault::RunAlone) { 700 } else { 200 }) {
                self.executions.get_mut(&command).into_iter().flatten().filter(|e| e.host == host).for_each(|e| e.alone = true);
                self.note(|s| format!("{}: {} goes on without its agent", s.hosts[host].name, short(command)));
            } else {
                self.command_ends(host, command, Fate::Cut);
            }
        }
    }

    /// A host goes down, with everything that runs on it.
    pub(crate) fn commands_cut(&mut self, host: usize) {
        let all = self.executions.iter().filter(|(_, all)| all.iter().any(|e| e.host == host && e.ended.is_none()));
        for command in all.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.counts.fault(Fault::RunCut);
            self.executions.get_mut(&command).into_iter().flatten().for_each(|e| e.alone = false);
            self.command_ends(host, command, Fate::Cut);
        }
    }

    /// Commands that the agent of a host is at work on.
    fn running_on(&self, host: usize) -> Vec<CommandId> {
        let runs = |e: &Execution| e.host == host && e.ended.is_none() && !e.alone;
        self.executions.iter().filter(|(_, all)| all.iter().any(runs)).map(|(id, _)| *id).collect()
    }
}
