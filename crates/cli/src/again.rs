//! Commands that are told to a person, with the options that this one was given: without them they would ask somebody else.

use std::path::Path;
use std::sync::OnceLock;

use crate::args::{Global, Here};

static OPTIONS: OnceLock<String> = OnceLock::new();

/// What this command was given, of what the next one needs to get to the same place.
pub(crate) fn given(global: &Global, to_a_server: bool) {
    let options = if to_a_server { server(global) } else { options(&global.here) };
    // Only once in a process.
    drop(OPTIONS.set(options));
}

/// `reveille WORDS` as it has to be typed.
pub(crate) fn command(words: &str) -> String {
    format!("reveille {words}{}", OPTIONS.get().map_or("", String::as_str))
}

/// The same with what it is good for.
pub(crate) fn hint(words: &str, what: &str) -> String {
    format!("`{}` {what}", command(words))
}

/// Where a server is; what stands in the environment stands there for the next command too.
fn server(global: &Global) -> String {
    let ca = global.ca.as_ref().map(|ca| ca.display().to_string());
    let given = [("--server", &global.server), ("--ca", &ca)].into_iter().filter(|(name, _)| global.typed.contains(name));
    given.filter_map(|(name, value)| Some(format!(" {name} {}", quoted(value.as_deref()?)))).collect()
}

/// Passwords are never given here, only where they are read from.
fn options(here: &Here) -> String {
    let file = |name: &str, path: &Path| format!(" {name} {}", quoted(&path.display().to_string()));
    let mut text: String = here.inventory.iter().map(|path| file("-i", path)).collect();
    let files = [
        ("--state-dir", &here.state_dir),
        ("--ssh-config", &here.ssh_config),
        ("--sudo-password-file", &here.sudo_password_file),
    ];
    text.extend(files.into_iter().filter_map(|(name, path)| Some(file(name, path.as_deref()?))));
    for (name, given) in [("--accept-new-keys", here.accept_new_keys), ("--ask-sudo-password", here.ask_sudo_password)] {
        if given {
            text.push(' ');
            text.push_str(name);
        }
    }
    text
}

fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '-' | '_' | ':' | '@' | '=' | '+');
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_is_given_again() {
        let here = Here {
            inventory: vec!["a b.toml".into(), "c".into()],
            state_dir: Some("/s".into()),
            ask_sudo_password: true,
            ..Here::default()
        };
        assert_eq!(options(&here), " -i 'a b.toml' -i c --state-dir /s --ask-sudo-password");
        assert_eq!(options(&Here::default()), "");
        let cli = crate::args::Cli::read(["reveille", "--server", "https://a:1", "hosts", "--ca", "a b"]).unwrap();
        assert_eq!(server(&cli.global), " --server https://a:1 --ca 'a b'");
    }
}
