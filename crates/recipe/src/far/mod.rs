//! What a host without an agent runs: argument lists as one line for a shell, and the scripts for which no tool exists.
//!
//! The far end needs nothing but a POSIX shell (as login shell, too) with the usual `cat`, `env`, `head`, `ln`, `mkdir` and `rm`; dash and
//! busybox are tried. Everything here is an [`Invocation`], so whoever can run one over its connection can do all of it.

mod boot;
mod claim;
mod guard;
mod room;

use crate::{Invocation, Output};

pub use boot::{boot, boot_here};
pub use claim::{Answer, Closed, Order, Places};
pub use guard::{Guard, guarded};
pub use room::room;

/// With whose rights a line is run at the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rights {
    /// Of the user who logs in: root, or for what needs no rights.
    Own,
    /// Of root, by `sudo` without a password.
    Sudo,
    /// Of root, by `sudo`, which reads the password on standard input.
    SudoPassword,
}

/// One line for the far end's shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// For one exec request.
    pub text: String,
    /// The same as an argument list, for whoever needs no shell to hand it over: on this machine.
    pub words: Vec<String>,
    /// The password and a line end are written to standard input, and then it is closed: sudo would ask again. Otherwise it is
    /// closed at once. What is run never reads it: its own standard input is `/dev/null`.
    pub wants_password: bool,
    /// How the tool ended is told on its other stream, since not all that it says is read.
    tells_end: bool,
}

impl Line {
    /// As [`answer`], of what this line gave.
    ///
    /// # Errors
    /// As [`answer`].
    pub fn answer(&self, output: Output, rights: Rights) -> Result<Output, Denial> {
        let output = answer(output, rights)?;
        if !self.tells_end {
            return Ok(output);
        }
        let told = output.stderr.strip_suffix(" .\n").and_then(|text| text.rsplit_once("REVEILLE end="));
        let (stderr, exit) = match told.map(|(before, end)| (before, end.parse::<i32>().ok())) {
            Some((before, exit)) => (before.to_owned(), output.exit.and(exit)),
            None => (output.stderr.clone(), None),
        };
        Ok(Output { exit, stderr, ..output })
    }
}

/// The mark before everything that the tool itself says.
const MARK: &str = "REVEILLE BEGINS\n";

/// Where administrators' tools are, besides what a login has.
const MORE_PATH: &str = "/usr/local/sbin:/usr/sbin:/sbin:/snap/bin";

/// Runs its arguments, after the mark on both streams. `env` takes leading `NAME=value` and answers 127 for what is not there.
const WRAPPER: &str = "PATH=${PATH:-/usr/bin:/bin}:/usr/local/sbin:/usr/sbin:/sbin:/snap/bin; export PATH; \
                       echo REVEILLE BEGINS; echo REVEILLE BEGINS >&2; exec env \"$@\" </dev/null";

/// A word as one argument of any POSIX shell.
pub fn quoted(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An argument list as a line. The limit of the invocation stays with the caller; see [`guarded`].
pub fn line(invocation: &Invocation, rights: Rights) -> Line {
    wrapped(invocation, rights, WRAPPER, &[])
}

fn wrapped(invocation: &Invocation, rights: Rights, wrapper: &str, first: &[String]) -> Line {
    let sudo: &[&str] = match rights {
        Rights::Own => &[],
        Rights::Sudo => &["sudo", "-n", "-H", "--"],
        Rights::SudoPassword => &["sudo", "-S", "-p", "", "-H", "--"],
    };
    let wrapper = match invocation.first {
        Some(bytes) => format!("{{ ({wrapper}); echo \"REVEILLE end=$? .\" >&2; }} | head -c {}", MARK.len() + bytes as usize),
        None => wrapper.to_owned(),
    };
    let words = sudo.iter().copied().chain(["sh", "-c", &wrapper, "reveille"]).map(str::to_owned);
    let words: Vec<String> = words.chain(first.iter().cloned()).chain(for_env(invocation)).collect();
    let text = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Line { text, words, wants_password: rights == Rights::SudoPassword, tells_end: invocation.first.is_some() }
}

/// What `env` takes, and the guard as well: leading `NAME=value`, and the tool.
fn for_env(invocation: &Invocation) -> impl Iterator<Item = String> {
    let env = invocation.env.iter().map(|(name, value)| format!("{name}={value}"));
    env.chain(invocation.argv.iter().cloned())
}

/// The `PATH` for what is run on this machine without a shell; `path` is the one of this process.
pub fn path_here(path: Option<&str>) -> String {
    let path = path.filter(|path| !path.is_empty()).unwrap_or("/usr/bin:/bin");
    format!("{path}:{MORE_PATH}")
}

/// The far end did not let it begin: nothing was run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// sudo wants a password, and none was given.
    #[error(
        "sudo asks for a password: let it be asked for (--ask-sudo-password; for a server the file ssh.sudo_password_file), or allow this user NOPASSWD"
    )]
    PasswordNeeded,
    /// The password is wrong.
    #[error("sudo does not take the password")]
    PasswordWrong,
    /// sudo is there, and this user may not.
    #[error("sudo refuses this user: {0}")]
    NotAllowed(String),
    /// There is no sudo.
    #[error("there is no sudo on the host: log in as root, or install it")]
    NoSudo,
    /// sudo is set up to want a terminal.
    #[error("sudo wants a terminal (requiretty): take that setting away for this user")]
    TerminalNeeded,
    /// The login itself gave no shell.
    #[error("the host ran nothing: {0}")]
    NothingRun(String),
}

/// The tool's own answer: without what the login said before it. One whose end was not seen is no answer for any reader.
///
/// # Errors
/// [`Denial`] when it ended without the mark, so that nothing was run. For programs that is [`model::ErrorCode::Denied`].
pub fn answer(output: Output, rights: Rights) -> Result<Output, Denial> {
    let after = |text: &str| text.split_once(MARK).map(|(_, rest)| rest.to_owned());
    let ended = output.exit.is_some() && !output.timed_out;
    match after(&output.stdout) {
        None if ended => Err(denial(&output, rights)),
        stdout => {
            let stderr = after(&output.stderr).unwrap_or_else(|| output.stderr.clone());
            Ok(Output { stdout: stdout.unwrap_or_default(), stderr, ..output })
        }
    }
}

fn denial(output: &Output, rights: Rights) -> Denial {
    let words = output.words();
    if rights == Rights::Own {
        return Denial::NothingRun(words);
    }
    let said = |part: &str| output.stderr.contains(part);
    if output.exit == Some(127) || said("sudo: command not found") || said("sudo: not found") {
        Denial::NoSudo
    } else if said("must have a tty") {
        Denial::TerminalNeeded
    } else if said("incorrect password") || said("Sorry, try again") {
        Denial::PasswordWrong
    } else if said("password is required")
        || said("no password was provided")
        || said("terminal is required to read the password")
    {
        Denial::PasswordNeeded
    } else if said("sudoers") || said("not allowed") || said("may not run") {
        Denial::NotAllowed(words)
    } else {
        Denial::NothingRun(words)
    }
}

#[cfg(test)]
mod tests;
