//! Exit codes: one table, shown by `reveille --help` and in the reference.

use std::process::ExitCode;

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, and proven where there was something to prove.
    Done,
    /// The orchestration failed or was cancelled, or the program met an error that has no code of its own.
    Failed,
    /// The command line, an option or a file is wrong, or the target is not exactly one host.
    Usage,
    /// Refused: something blocks it, it is in conflict, or the answer to a question was no.
    Refused,
    /// The host is back and proven, some of its children are not; of several hosts, some failed within the budget.
    Partial,
    /// No such host, orchestration or token.
    NotFound,
    /// Not logged in, the token is no longer good, or the right is missing.
    Unauthorised,
    /// The server cannot be reached, is not ready, or is not the one that was trusted.
    Unavailable,
    /// Nothing new starts until a person says so: the failure budget is spent, a wave waits for approval, or somebody paused it.
    Paused,
    /// Ctrl-C: detached from a server, where what was started goes on; or left an engine in this process.
    Detached,
}

/// Every code with its meaning, in order.
pub(crate) const TABLE: &[(Exit, u8, &str)] = &[
    (Exit::Done, 0, "done, and proven where there was something to prove"),
    (Exit::Failed, 1, "the orchestration failed or was cancelled, or an error without a code of its own"),
    (Exit::Usage, 2, "wrong command line, option or file, or the target is not exactly one host"),
    (Exit::Refused, 3, "refused: something blocks it, a conflict, or the answer to a question was no"),
    (Exit::Partial, 4, "partial: proven, but not all children are back; of several hosts, some failed within the budget"),
    (Exit::NotFound, 5, "no such host, orchestration or token"),
    (Exit::Unauthorised, 6, "not logged in, the token is no longer good, or the right is missing"),
    (Exit::Unavailable, 7, "the server cannot be reached, is not ready, or is not the one that was trusted"),
    (Exit::Paused, 8, "paused: nothing new starts until a person says so (resume, agree, retry, cancel)"),
    (Exit::Detached, 130, "Ctrl-C: a server goes on with what was started; without a server, resume does"),
];

impl Exit {
    /// The number.
    pub(crate) fn code(self) -> u8 {
        TABLE.iter().find(|(exit, ..)| *exit == self).map_or(1, |(_, code, _)| *code)
    }
}

/// Of several hosts, of which so many are well: all of them; some failed, within the budget; or more than that, or none is well.
pub(crate) fn of_hosts(good: usize, all: usize, failures: usize, budget: u32) -> Exit {
    let within = good > 0 && failures <= usize::try_from(budget).unwrap_or(usize::MAX);
    match (good == all, within) {
        (true, _) => Exit::Done,
        (false, true) => Exit::Partial,
        (false, false) => Exit::Failed,
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// The table as the end of the help text.
pub(crate) fn help() -> String {
    TABLE.iter().fold("Exit codes:\n".to_owned(), |text, (_, code, meaning)| format!("{text}  {code:>3}  {meaning}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_has_one_code_of_its_own() {
        let mut codes: Vec<u8> = TABLE.iter().map(|row| row.1).collect();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
        assert_eq!(Exit::Detached.code(), 130);
        assert_eq!(Exit::Failed.code(), 1);
    }

    #[test]
    fn some_failures_within_the_budget_are_partial() {
        let all =
            [(3, 0, 0), (2, 1, 1), (2, 1, 0), (0, 1, 1)].map(|(good, failures, budget)| of_hosts(good, 3, failures, budget));
        assert_eq!(all, [Exit::Done, Exit::Partial, Exit::Failed, Exit::Failed]);
    }
}
