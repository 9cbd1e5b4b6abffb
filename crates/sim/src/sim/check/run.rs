//! Runs: a command is executed once at most, nothing is told of its end that nobody saw, and it leaves nobody out of service.

use engine::Outcome;
use model::{Action, Command, Operation, OrchestrationId, Recheck, StepAction, TargetId, Timestamp};

use super::{Guarantee, TrackId, Watch};
use crate::fault::End;
use crate::sim::Sim;
use crate::sim::commands::{Execution, Fate};
use crate::sim::net::short;

impl Sim {
    /// A host begins to execute a command: for the first time, on the boot that it was meant for, and for a track that waits for
    /// it (G2).
    pub(crate) fn check_execution(&mut self, host: usize, command: &Command) {
        if let Err((guarantee, words)) = self.judge_execution(host, command) {
            let words = format!("{} executes command {}: {words}", self.hosts[host].name, short(command.id));
            self.fail(guarantee, words);
        }
    }

    fn judge_execution(&self, host: usize, command: &Command) -> Result<(), (Guarantee, String)> {
        let it = &self.hosts[host];
        if let Some(before) = self.executions.get(&command.id).and_then(|all| all.last()) {
            let how = before.ended.map_or_else(|| "it still runs".to_owned(), |fate| format!("it ended: {fate:?}"));
            return Err((Guarantee::G2, format!("once more; {how}")));
        }
        // Another attempt is another command, and the same thing done twice.
        let same = |e: &&Execution| e.host == host && e.orchestration == command.orchestration;
        if self.executions.values().flatten().any(|e| same(&e)) {
            return Err((Guarantee::G2, format!("orchestration {} had one executed there before", command.orchestration)));
        }
        if let Action::Run { expect_boot, .. } = command.action
            && expect_boot != it.boot().identity
        {
            return Err((Guarantee::G2, format!("on boot {}, and it was for {expect_boot}", it.boot().identity)));
        }
        let place = self.checks.issued.get(&command.id).and_then(|issued| issued.place);
        let watch = place.and_then(|place| self.checks.watched.get(&TrackId(command.orchestration, place.track)));
        // With clocks that were stepped it may come after the deadline of its track; what was told of it stays true.
        let may_be_late = it.clock_stepped_at.is_some() || self.checks.controller_clock_stepped;
        match watch.and_then(|w| w.ended) {
            None => Ok(()),
            Some(Outcome::Unknown) if may_be_late => Ok(()),
            Some(Outcome::Unknown) => Err((Guarantee::G2, "its track has let go of the host already".to_owned())),
            Some(outcome) => Err((Guarantee::G3, format!("its track was ended as {outcome} before"))),
        }
    }

    /// A track of a run journals a command: one that runs something, once, and nothing else that changes anything.
    pub(super) fn check_run_command(&mut self, id: TrackId, command: &Command) {
        let Some(watch) = self.checks.watched.get(&id).filter(|w| w.operation == Operation::Run) else { return };
        let kind = command.action.kind();
        let host = &self.hosts[watch.host].name;
        if watch.run_commands.len() > 1 {
            let words = format!("{id} hands a command over to {host} for the second time");
            return self.fail(Guarantee::G2, words);
        }
        if kind.is_disruptive() && !watch.run_commands.contains(&command.id) {
            self.fail(Guarantee::G7, format!("{id} is to run a command on {host}, and orders: {kind}"));
        }
    }

    /// G1: what is stranded is out of service, and no place for a command.
    pub(super) fn run_on_stranded(&self, id: TrackId) -> Option<String> {
        let watch = self.checks.watched.get(&id).filter(|w| w.operation == Operation::Run)?;
        let host = &self.hosts[watch.host];
        self.checks.stranded.contains_key(&host.id).then(|| format!("{id} begins on {}, which is stranded", host.name))
    }

    /// G7: a run takes nothing out of service, so that nothing of it is stranded.
    pub(super) fn check_run_strands_nobody(&mut self, target: TargetId, by: OrchestrationId) {
        if self.checks.runs.get(&by).is_some_and(|run| run.request.operation == Operation::Run) {
            let name = self.name_of(target).unwrap_or_default();
            self.fail(Guarantee::G7, format!("{by} ran a command and strands {name}"));
        }
    }

    /// What the probes after a command found: good as long as every check passes.
    pub(super) fn note_health_after_run(&mut self, id: TrackId, step: Option<&StepAction>, at: Timestamp) {
        let Some(watch) = self.checks.watched.get_mut(&id).filter(|w| w.operation == Operation::Run) else { return };
        if let Some(StepAction::Probe { recheck: Recheck::Restored, .. }) = step
            && !watch.service.results.is_empty()
        {
            let good = watch.service.results.values().all(|passed| *passed);
            watch.healthy = good.then(|| (watch.healthy.map_or(at, |(since, _)| since), at));
        }
    }

    /// G3: what is told of the end of a command is what really happened, and somebody saw it. G1: a host on which it still runs
    /// is not let go of.
    pub(super) fn check_ran(&mut self, id: TrackId, outcome: Outcome) {
        let Some(watch) = self.checks.watched.get(&id) else { return };
        let executed = watch.run_commands.iter().filter_map(|c| self.executions.get(c)).flatten().next_back().cloned();
        let host = self.hosts[watch.host].name.clone();
        let issued = !watch.run_commands.is_empty();
        let checks = asks_for_health(watch);
        let fate = executed.as_ref().and_then(|e| e.ended);
        let seen = executed.as_ref().is_some_and(|e| e.seen);
        let truth = match &executed {
            None => "it was never begun".to_owned(),
            Some(e) => {
                let how = e.ended.map_or_else(|| "it still runs".to_owned(), |fate| format!("its end: {fate:?}"));
                format!("{how}, {}", if e.seen { "seen" } else { "unseen" })
            }
        };
        let is_true = match outcome {
            Outcome::Completed => fate == Some(Fate::Exit(0)) && seen,
            Outcome::Failed if executed.is_none() => true,
            Outcome::Failed => seen && (fate != Some(Fate::Exit(0)) || checks),
            Outcome::Unknown => issued,
            Outcome::Cancelled | Outcome::Skipped | Outcome::NotNeeded => executed.is_none(),
            Outcome::Partial => false,
        };
        if !is_true {
            return self.fail(Guarantee::G3, format!("{id} ends {outcome}, and of the command on {host} the truth is: {truth}"));
        }
        let hold = self.scenario.config.health_hold;
        if outcome == Outcome::Completed && checks && watch.healthy.is_none_or(|(since, until)| until < since + hold) {
            let words = format!("{id} is completed, and {host} did not hold its health gate after the command");
            return self.fail(Guarantee::G3, words);
        }
        let clocks_hold = self.hosts[watch.host].clock_stepped_at.is_none() && !self.checks.controller_clock_stepped;
        if clocks_hold && executed.as_ref().is_some_and(|e| e.ended.is_none() && !e.alone) {
            return self.fail(Guarantee::G1, format!("{id} lets go of {host}, and its command still runs there"));
        }
        self.count_ran(outcome, issued, executed.as_ref());
    }

    fn count_ran(&mut self, outcome: Outcome, issued: bool, executed: Option<&Execution>) {
        let end = match (outcome, executed.map(|e| e.ended)) {
            (Outcome::Completed, _) => End::RunDone,
            (Outcome::Failed, Some(Some(Fate::Exit(0)))) => End::RunUnhealthy,
            (Outcome::Failed, _) if issued => End::RunFailed,
            (Outcome::Unknown, None) => End::UnknownNotBegun,
            (Outcome::Unknown, Some(None)) => End::UnknownGoesOn,
            (Outcome::Unknown, Some(Some(Fate::Exit(0)))) => End::UnknownDone,
            (Outcome::Unknown, Some(Some(_))) => End::UnknownCut,
            _ => return,
        };
        self.counts.end(end);
    }
}

/// Whether a host must be well after its command.
fn asks_for_health(watch: &Watch) -> bool {
    watch.steps.iter().any(|s| matches!(s, StepAction::Probe { recheck: Recheck::Restored, .. }))
}
