//! Whether a command line runs a tool that ends the boot. A guess, by the first word of each simple command: that a line talks of a
//! reboot (`last reboot`, `git init`, `grep shutdown log`) is no proof that it does one.

/// Before the command that they run.
const BEFORE: [&str; 14] =
    ["sudo", "doas", "env", "exec", "command", "nohup", "setsid", "time", "nice", "ionice", "then", "do", "else", "!"];
const SHELLS: [&str; 5] = ["sh", "bash", "dash", "ksh", "zsh"];
/// Commands within commands within commands: nobody writes more.
const DEEPEST: u8 = 4;

/// Whether the line runs such a tool.
pub fn ends_boot(line: &str) -> bool {
    within(line, 0)
}

fn within(line: &str, depth: u8) -> bool {
    depth < DEEPEST && commands(line).iter().any(|words| ends(words, depth))
}

fn ends(words: &[String], depth: u8) -> bool {
    let mut words = words.iter().map(String::as_str).peekable();
    // `DEBIAN_FRONTEND=x sudo -u root -- reboot` runs `reboot`.
    let mut after = "";
    while let Some(word) = words.peek().copied() {
        let assigns = word.split_once('=').is_some_and(|(name, _)| !name.is_empty() && !name.contains('/'));
        let option = !after.is_empty() && word.starts_with('-');
        if !assigns && !option && !BEFORE.contains(&name(word)) {
            break;
        }
        words.next();
        if option && takes_value(after, word) {
            words.next();
        } else if !assigns && !option {
            after = name(word);
        }
    }
    let Some(tool) = words.next() else { return false };
    let rest: Vec<&str> = words.collect();
    let says = |options: &[&str]| rest.iter().any(|word| options.contains(word));
    let plain = rest.iter().find(|word| !word.starts_with('-')).copied();
    match name(tool) {
        "reboot" | "poweroff" | "halt" => !says(&["--help", "-w", "--wtmp-only"]),
        "shutdown" => !says(&["-c", "-k", "--help", "--show"]),
        "init" | "telinit" => matches!(plain, Some("0" | "6")),
        "kexec" => says(&["-e", "--exec"]),
        "systemctl" => matches!(plain, Some("reboot" | "poweroff" | "halt" | "kexec" | "soft-reboot")),
        shell if SHELLS.contains(&shell) => {
            let option = rest.iter().position(|word| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c'));
            option.and_then(|at| rest.get(at + 1)).is_some_and(|line| within(line, depth + 1))
        }
        _ => false,
    }
}

/// Whether the next word belongs to this option of a tool that stands before a command.
fn takes_value(tool: &str, option: &str) -> bool {
    match tool {
        "sudo" | "doas" => matches!(option, "-u" | "-g" | "-h" | "-p" | "-C" | "-r" | "-t" | "-U" | "-D" | "-R" | "-T"),
        "env" => matches!(option, "-u" | "-C"),
        "nice" => option == "-n",
        "ionice" => matches!(option, "-c" | "-n"),
        "exec" => option == "-a",
        _ => false,
    }
}

/// Without its folder.
fn name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The simple commands of a line, each as words without their quotes.
fn commands(line: &str) -> Vec<Vec<String>> {
    let (mut all, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => word.get_or_insert_default().extend(chars.next()),
            (None, ';' | '&' | '|' | '\n' | '(' | ')' | '{' | '}' | '`') => {
                words.extend(word.take());
                all.push(std::mem::take(&mut words));
            }
            // The rest of the line is a comment.
            (None, '#') if word.is_none() => {
                for c in chars.by_ref() {
                    if c == '\n' {
                        break;
                    }
                }
                all.push(std::mem::take(&mut words));
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    all.push(words);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_run_ends_a_boot_and_not_what_is_spoken_of() {
        for line in [
            "reboot",
            "sudo reboot",
            "sudo -n /sbin/shutdown -r now",
            "sudo -u root -- reboot",
            "nice -n 10 reboot",
            "systemctl --no-block reboot",
            "apt-get -y upgrade && DEBIAN_FRONTEND=x sudo systemctl reboot",
            "sleep 5; shutdown -r +1",
            "init 6",
            "if true; then reboot; fi",
            "sudo sh -c 'sync && reboot'",
            "nohup bash -lc \"sleep 1; reboot\" &",
            "(sleep 2 && reboot) &",
            "kexec -e",
        ] {
            assert!(ends_boot(line), "{line}");
        }
        for line in [
            "last reboot",
            "git init",
            "grep shutdown /var/log/syslog",
            "systemctl status halt",
            "systemctl list-units reboot.target",
            "terraform init",
            "echo reboot",
            "echo 'now; reboot'",
            "true # reboot",
            "shutdown -c",
            "sudo journalctl -u reboot",
            "init --version",
            "test -e /run/reboot-required",
            "",
        ] {
            assert!(!ends_boot(line), "{line}");
        }
    }
}
