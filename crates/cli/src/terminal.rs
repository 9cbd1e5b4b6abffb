//! Printing and asking.

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};
use std::path::Path;

use console::{Term, style};
use serde::Serialize;

use crate::args::Output;
use crate::error::CliError;
use crate::exit::Exit;

/// A password file is not read further.
const PASSWORD_MAX: u64 = 4096;

/// Prints a text for people, or the document for programs.
pub(crate) fn answer<T: Serialize>(output: Output, document: &T, text: impl FnOnce() -> String) -> Result<(), CliError> {
    match output {
        Output::Text => print(&text()),
        Output::Json => match serde_json::to_string_pretty(document) {
            Ok(json) => print(&format!("{json}\n")),
            Err(error) => Err(CliError::new(Exit::Failed, format!("the answer cannot be written as JSON: {error}"))),
        },
    }
}

/// Prints on standard output; a reader that went away (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), CliError> {
    match io::stdout().lock().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::new(Exit::Failed, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

/// Says on standard error what went wrong and what to do next.
pub(crate) fn complain(output: Output, error: &CliError) {
    if output == Output::Json {
        eprintln!("{}", error.document());
        return;
    }
    eprintln!("{} {error}", style("error:").for_stderr().red().bold());
    eprint!("{}", crate::render::blockers(&error.blockers));
    if let Some(hint) = &error.hint {
        eprintln!("{} {hint}", style("hint:").for_stderr().cyan());
    }
}

/// Asks on the terminal; only `y` or `yes` is a yes.
pub(crate) fn confirm(question: &str, instead: &str) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("this needs an answer, and standard input is no terminal").hint(instead.to_owned()));
    }
    eprint!("{question} [y/N] ");
    let mut line = String::new();
    io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| CliError::new(Exit::Failed, format!("cannot read the answer: {error}")))?;
    if matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        Ok(())
    } else {
        Err(CliError::new(Exit::Refused, "not confirmed: nothing was done"))
    }
}

/// A password from a file (`-` is standard input), or asked for without showing it.
pub(crate) fn password(file: Option<&Path>, prompt: &str, option: &str) -> Result<String, CliError> {
    let text = match file {
        Some(path) if path == Path::new("-") => read_to_end(io::stdin().lock(), "standard input")?,
        Some(path) => {
            let shown = path.display().to_string();
            let file = fs::File::open(path).map_err(|error| CliError::usage(format!("cannot read {shown}: {error}")))?;
            read_to_end(file, &shown)?
        }
        None if io::stdin().is_terminal() => {
            eprint!("{prompt}: ");
            Term::stderr()
                .read_secure_line()
                .map_err(|e| CliError::new(Exit::Failed, format!("cannot read the password: {e}")))?
        }
        None => {
            return Err(CliError::usage("a password is needed, and standard input is no terminal")
                .hint(format!("give {option} FILE, or `{option} -` for standard input")));
        }
    };
    // The first line alone, as a server reads its files: a second one would go to whoever reads after sudo.
    let text = text.split('\n').next().unwrap_or_default().trim_end_matches('\r').to_owned();
    if text.is_empty() { Err(CliError::usage("the password is empty")) } else { Ok(text) }
}

fn read_to_end(source: impl io::Read, name: &str) -> Result<String, CliError> {
    let mut text = String::new();
    match source.take(PASSWORD_MAX).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(CliError::usage(format!("cannot read the password from {name}: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line_of_its_file_and_not_empty() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        fs::write(&path, "one two \r\n").unwrap();
        assert_eq!(password(Some(&path), "", "--password-file").unwrap(), "one two ");
        fs::write(&path, "one\ntwo\n").unwrap();
        assert_eq!(password(Some(&path), "", "--password-file").unwrap(), "one");
        fs::write(&path, "\n").unwrap();
        assert_eq!(password(Some(&path), "", "--password-file").unwrap_err().exit, Exit::Usage);
    }
}
