//! Argument lists as lines for the far end's shell.

use recipe::{Invocation, Output};

/// One word for any shell: nothing in it is looked at.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// An argument list with its environment.
pub(crate) fn line(invocation: &Invocation) -> String {
    let env = invocation.env.iter().map(|(name, value)| quoted(&format!("{name}={value}")));
    let words: Vec<String> = env.chain(invocation.argv.iter().map(|word| quoted(word))).collect();
    format!("env {}", words.join(" "))
}

/// The same with root's rights.
pub(crate) fn sudo(invocation: &Invocation, password: bool) -> String {
    let how = if password { "-S -p ''" } else { "-n" };
    format!("sudo {how} -- {}", line(invocation))
}

/// Why sudo did not run it, if so.
pub(crate) fn sudo_refuses(output: &Output, password: bool) -> Option<String> {
    if output.exit == Some(0) {
        return None;
    }
    let has = |words: &str| output.stderr.contains(words);
    if has("sudo: a password is required") || has("sudo: a terminal is required") || has("sudo: no password was provided") {
        return Some(if password {
            "it does not take the password that was given".to_owned()
        } else {
            "it asks for a password and none was given: give one (a file or file descriptor), or allow NOPASSWD".to_owned()
        });
    }
    if has("incorrect password attempt") || has("Sorry, try again") {
        return Some("it does not take the password that was given".to_owned());
    }
    if has("is not in the sudoers file") || has("may not run sudo") || has("is not allowed to execute") {
        return Some("it does not allow this user what is needed".to_owned());
    }
    (output.exit == Some(127) && has("sudo")).then(|| "there is no sudo: log in as root, or install it".to_owned())
}
