//! The public states of S0, read after each line of a script.

use engine::{Config, Phase};

use crate::script::Shell;

/// The phases that a script goes through, without repeats.
fn phases(script: &str) -> Vec<Phase> {
    let mut shell = Shell::new(Config::default());
    let mut seen: Vec<Phase> = Vec::new();
    for line in script.lines().filter(|line| !line.starts_with(['|', '>', '=', '#']) && !line.is_empty()) {
        shell.line(line);
        let view = shell.last.and_then(|id| shell.engine.view(id));
        if let Some(phase) = view.map(|view| view.phase).filter(|phase| seen.last() != Some(phase)) {
            seen.push(phase);
        }
    }
    seen
}

#[test]
fn s0_11_the_states_come_in_their_fixed_order() {
    use Phase::{Completed, PendingRestart, Rebooting, Restarting, ShuttingDown};
    let script = include_str!("../scripts/host_reboots.txt");
    assert_eq!(phases(script), [ShuttingDown, Rebooting, PendingRestart, Restarting, Completed]);
}

/// A fast host is never seen down (ruling 1).
#[test]
fn s0_14_a_host_that_is_never_seen_down_skips_pending_restart() {
    use Phase::{Completed, Rebooting, Restarting, ShuttingDown};
    let script: String = include_str!("../scripts/host_reboots.txt")
        .lines()
        .filter(|line| !line.starts_with("gone "))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(phases(&script), [ShuttingDown, Rebooting, Restarting, Completed]);
}

#[test]
fn s0_17_what_does_not_come_back_is_failed() {
    let script = include_str!("../scripts/never_returns.txt");
    let until_failed: Vec<Phase> = phases(script).into_iter().take(4).collect();
    assert_eq!(until_failed, [Phase::ShuttingDown, Phase::Rebooting, Phase::PendingRestart, Phase::Failed]);
}

/// Each state on what makes it: no stop, no reboot and no start goes out before its state.
#[test]
fn s0_12_to_15_each_state_sends_its_own_commands() {
    let mut shell = Shell::new(Config::default());
    let script = include_str!("../scripts/host_reboots.txt");
    let mut sent = 0;
    for line in script.lines().filter(|line| !line.starts_with(['|', '>', '=', '#']) && !line.is_empty()) {
        shell.line(line);
        let Some(view) = shell.last.and_then(|id| shell.engine.view(id)) else { continue };
        for command in shell.engine.wanted() {
            let fits: &[Phase] = match command.action.kind() {
                model::ActionKind::StopChild => &[Phase::ShuttingDown, Phase::Restarting],
                model::ActionKind::Reboot => &[Phase::Rebooting, Phase::PendingRestart],
                model::ActionKind::StartChild => &[Phase::Restarting],
                model::ActionKind::Probe | model::ActionKind::Shutdown => continue,
                other => panic!("{line}: nobody plans {other} for one host"),
            };
            assert!(fits.contains(&view.phase), "{line}: {} in {}", command.action.kind(), view.phase);
            sent += 1;
        }
    }
    assert!(sent > 5, "{sent}");
}
