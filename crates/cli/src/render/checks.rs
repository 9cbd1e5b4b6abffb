//! Results of checks and of commands.

use std::fmt::Write as _;

use crate::results::{Health, Ran, ServedHealth, Synced};

/// One row for each check, what did not pass first.
pub(crate) fn health(health: &Health) -> String {
    let mut rows: Vec<_> = health.checks.iter().collect();
    rows.sort_by_key(|given| given.result.passed);
    let rows = rows.into_iter().map(|given| {
        let result = &given.result;
        let mark = if result.passed { "passed" } else { "FAILED" };
        vec![given.host.clone(), result.name.clone(), mark.to_owned(), result.detail.clone()]
    });
    let mut text = super::tables::table(&["HOST", "CHECK", "RESULT", "WHAT WAS SEEN"], rows);
    let bad = health.checks.iter().filter(|given| !given.result.passed).count();
    let rounds = if health.rounds > 1 { format!(", asked {} times", health.rounds) } else { String::new() };
    let _ = match bad {
        0 if health.checks.len() == 1 => writeln!(text, "\nThe check passes{rounds}."),
        0 => writeln!(text, "\nAll {} checks pass{rounds}.", health.checks.len()),
        bad => writeln!(text, "\n{bad} of {} checks do not pass{rounds}.", health.checks.len()),
    };
    text
}

/// Whether each host is well, those that are not first.
pub(crate) fn health_of_hosts(health: &ServedHealth) -> String {
    let mut rows: Vec<_> = health.hosts.iter().collect();
    rows.sort_by_key(|host| host.passed);
    let rows = rows.into_iter().map(|host| {
        let mark = if host.passed { "passed" } else { "FAILED" };
        vec![host.host.clone(), mark.to_owned(), host.detail.clone()]
    });
    let mut text = super::tables::table(&["HOST", "RESULT", "WHAT WAS SEEN"], rows);
    let (all, bad) = (health.hosts.len(), health.hosts.iter().filter(|host| !host.passed).count());
    let _ = match bad {
        0 if all == 1 => writeln!(text, "\nThe host is well."),
        0 => writeln!(text, "\nAll {all} hosts are well."),
        bad => writeln!(text, "\n{bad} of {all} hosts are not well."),
    };
    text
}

/// How a command went on each host.
pub(crate) fn ran(ran: &Ran) -> String {
    let rows = ran.hosts.iter().map(|host| {
        let code = host.exit.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let time = if host.begun { format!("{:.1} s", host.seconds) } else { "-".to_owned() };
        vec![host.host.clone(), code, time, host.result.clone()]
    });
    let mut text = format!("\n{}", super::tables::table(&["HOST", "EXIT", "TIME", "RESULT"], rows));
    let (all, good) = (ran.hosts.len(), ran.hosts.iter().filter(|host| host.good).count());
    let left = ran.hosts.iter().filter(|host| !host.begun).count();
    let kept = ran.kept.as_ref().map(|kept| format!(" Output is kept in {}", kept.display())).unwrap_or_default();
    let _ = writeln!(text, "\n{good} of {all} hosts are well.{kept}");
    text + &not_begun(left, ran.failures, ran.failure_budget)
}

/// Why some were left alone.
fn not_begun(left: usize, failures: usize, budget: u32) -> String {
    if left == 0 {
        return String::new();
    }
    format!("{left} were not begun: {failures} failed, and {budget} may (--failure-budget).\n")
}

/// What should run and does not, and what was done about it.
pub(crate) fn synced(synced: &Synced) -> String {
    let mut text = String::new();
    for host in &synced.hosts {
        let state = match (host.good, synced.dry_run, host.done.is_empty()) {
            (true, _, true) => "all that should run runs",
            (true, _, false) => "brought back",
            (false, true, _) => "would be brought back",
            (false, false, _) => "NOT as it should be",
        };
        // What could not be looked at would not be brought back either.
        let state = if host.error.is_some() { "NOT as it should be" } else { state };
        let state = if host.begun { state } else { "not begun" };
        let _ = writeln!(text, "{}: {state}", host.host);
        for one in &host.generation {
            let _ = writeln!(text, "  generation  {}: {}", one.name, one.detail);
        }
        for one in &host.missing {
            let _ = writeln!(text, "  not running {one}");
        }
        for one in &host.done {
            let _ = writeln!(text, "  done        {one}");
        }
        if let Some(error) = &host.error {
            let _ = writeln!(text, "  error       {error}");
        }
    }
    let left = synced.hosts.iter().filter(|host| !host.begun).count();
    text + &not_begun(left, synced.failures, synced.failure_budget)
}

#[cfg(test)]
mod tests {
    use model::CheckResult;

    use super::*;
    use crate::results::{Given, RanHost, SyncedHost};

    fn given(host: &str, name: &str, passed: bool, detail: &str) -> Given {
        let result = CheckResult { name: name.to_owned(), passed, detail: detail.to_owned() };
        Given { host: host.to_owned(), result }
    }

    #[test]
    fn what_does_not_pass_stands_first() {
        let good = given("web1", "api", true, "200");
        let bad = given("web2", "api", false, "connection refused");
        insta::assert_snapshot!(health(&Health { passed: false, rounds: 3, checks: vec![good.clone(), bad] }));
        insta::assert_snapshot!(health(&Health { passed: true, rounds: 1, checks: vec![good] }));
    }

    #[test]
    fn s2_33_36_what_does_not_run_and_another_generation_are_named() {
        let row = |host: &str| SyncedHost { host: host.to_owned(), begun: true, ..SyncedHost::default() };
        let all = |dry_run, failures, hosts| Synced { dry_run, failures, failure_budget: 0, hosts };
        let result = CheckResult { name: "config".to_owned(), passed: false, detail: "40, expected 41".to_owned() };
        let bad =
            SyncedHost { generation: vec![result], missing: vec!["unit api.service failed/failed".to_owned()], ..row("web1") };
        let good = SyncedHost { good: true, ..row("web2") };
        insta::assert_snapshot!(synced(&all(true, 1, vec![bad, good])));
        let done = SyncedHost {
            good: true,
            missing: vec!["docker app exited".to_owned()],
            done: vec!["started app".to_owned()],
            ..row("web1")
        };
        let failed = SyncedHost { error: Some("cannot reach web2".to_owned()), ..row("web2") };
        let left = SyncedHost { begun: false, ..row("web3") };
        insta::assert_snapshot!(synced(&all(false, 1, vec![done, failed, left])));
    }

    #[test]
    fn a_command_that_failed_says_where_and_who_was_not_begun() {
        let host = |name: &str, exit: Option<i32>, begun: bool, result: &str| RanHost {
            host: name.to_owned(),
            good: exit == Some(0),
            begun,
            exit,
            result: result.to_owned(),
            seconds: 1.25,
        };
        let hosts = vec![
            host("web1", Some(0), true, "exit 0"),
            host("web2", Some(7), true, "exit 7"),
            host("web3", None, false, "not begun"),
        ];
        let kept = Some("/state/runs/1".into());
        let all = Ran { command: Some("x".to_owned()), orchestration: None, kept, failures: 1, failure_budget: 0, hosts };
        insta::assert_snapshot!(ran(&all));
    }
}
