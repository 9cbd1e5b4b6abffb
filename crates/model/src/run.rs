//! Commands that are run on hosts: a named one is a root-owned file there, a free one is a shell line.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Millis;

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Run {
    /// `/etc/reveille/commands.d/NAME` on the host, without arguments.
    Named {
        /// Its file name: letters, digits, `-`, `_`, `.`; never a path.
        name: String,
    },
    /// A line for the shell of the host. Only where the device enables it for this user.
    Free {
        /// The line.
        line: String,
        /// The user whose word it is, as the controller knows them: part of what is signed.
        by: String,
    },
}

/// What is asked for: one command, on every target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// What is run.
    pub run: Run,
    /// How long it may take on one host; then it is killed.
    pub limit: Millis,
}

/// Longest line of a free command, in bytes.
pub const LONGEST_LINE: usize = 16 * 1024;

impl Run {
    /// Whether it can be a command at all.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Named { name } if is_file_name(name) => Ok(()),
            Self::Named { name } => Err(format!(
                "{name:?} is no name of a command: the name of a file, letters, digits, '-', '_' and '.', and no path"
            )),
            Self::Free { line, .. } if line.trim().is_empty() => Err("the command is empty".to_owned()),
            Self::Free { line, .. } if line.len() > LONGEST_LINE => {
                Err(format!("the command has {} bytes, at most {LONGEST_LINE}: put it into a file on the hosts", line.len()))
            }
            Self::Free { line, .. } if line.contains('\0') => Err("the command holds a zero byte".to_owned()),
            Self::Free { .. } => Ok(()),
        }
    }
}

/// A file name, never a path or an option.
pub fn is_file_name(name: &str) -> bool {
    (1..=100).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !name.starts_with(['-', '.'])
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named { name } => write!(f, "command {name}"),
            Self::Free { line, .. } => write!(f, "free command {line:?}"),
        }
    }
}

/// How a command ended, and the end of what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// Its exit code; `None`: a signal ended it, or it was killed at its limit.
    pub exit: Option<i32>,
    /// It was killed at its limit.
    pub timed_out: bool,
    /// Standard output.
    pub out: Said,
    /// Standard error.
    pub err: Said,
}

/// What was said on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// How many bytes in all.
    pub bytes: u64,
    /// The last of them, at most [`Said::MOST`]; what is not UTF-8 is replaced.
    pub tail: String,
}

impl Said {
    /// So many bytes of each stream are kept.
    pub const MOST: usize = 8 * 1024;

    /// Whether something before the tail is missing.
    pub fn is_cut(&self) -> bool {
        self.bytes > Self::MOST as u64
    }
}

impl Ran {
    /// It ended by itself and said yes.
    pub fn is_good(&self) -> bool {
        self.exit == Some(0) && !self.timed_out
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.timed_out, self.exit) {
            (true, _) => f.write_str("killed at its limit"),
            (false, Some(code)) => write!(f, "exit {code}"),
            (false, None) => f.write_str("ended by a signal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_file_name_and_a_line_is_a_line() {
        let named = |name: &str| Run::Named { name: name.to_owned() }.check();
        let free = |line: &str| Run::Free { line: line.to_owned(), by: "alice".to_owned() }.check();
        for good in ["rotate-logs", "a.sh", "A_1"] {
            assert_eq!(named(good), Ok(()), "{good}");
        }
        for bad in ["", "..", ".hidden", "-rf", "../x", "a/b", "/etc/passwd", "a b", "ä"] {
            assert!(named(bad).is_err(), "{bad}");
        }
        assert_eq!(free("uptime | cat"), Ok(()));
        for bad in ["", " \n", "a\0b", "x".repeat(LONGEST_LINE + 1).as_str()] {
            assert!(free(bad).is_err());
        }
    }
}
