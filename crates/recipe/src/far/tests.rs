use std::io::Write as _;
use std::process::{Command, Stdio};

use model::Millis;

use super::*;
use crate::testing::shells;

fn run_line(shell: &[String], line: &Line, input: &str) -> Output {
    let mut child = Command::new(&shell[0])
        .args(&shell[1..])
        .args(["-c", &format!("echo welcome; echo noise >&2; {}", line.text)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may have ended without reading.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    Output {
        exit: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        timed_out: false,
    }
}

#[test]
fn every_word_arrives_as_it_is_in_every_shell() {
    let odd = ["", " ", "a b", "it's", "\"$HOME\" `id` \\ \\n", "*", "-n", "a\nb", "é", "~", "a;b|c&d", "$(id)", "{a,b}", "#"];
    for shell in shells() {
        let argv = ["printf", "%s|"].into_iter().chain(odd);
        let mut invocation = Invocation::new(argv, Millis(1));
        invocation.env.push(("REVEILLE_PRIOR".to_owned(), "a b in\n'c'".to_owned()));
        let output = answer(run_line(&shell, &line(&invocation, Rights::Own), ""), Rights::Own).unwrap();
        assert_eq!(output.stdout, odd.map(|word| format!("{word}|")).concat(), "{shell:?}");
        assert_eq!((output.exit, output.stderr.as_str()), (Some(0), ""));
        let show =
            Invocation { argv: ["sh", "-c", "printf %s \"$REVEILLE_PRIOR$LC_ALL\""].map(str::to_owned).into(), ..invocation };
        let output = answer(run_line(&shell, &line(&show, Rights::Own), ""), Rights::Own).unwrap();
        assert_eq!(output.stdout, "a b in\n'c'C");
    }
}

#[test]
fn a_tool_that_is_not_there_is_127_and_standard_input_is_empty() {
    for shell in shells() {
        let run = |argv: &[&str], input| {
            let invocation = Invocation::new(argv.iter().copied(), Millis(1));
            answer(run_line(&shell, &line(&invocation, Rights::Own), input), Rights::Own).unwrap()
        };
        assert_eq!(run(&["no-such-tool"], "").exit, Some(127));
        assert_eq!(run(&["sh", "-c", "exit 3"], "").exit, Some(3));
        assert_eq!(run(&["cat"], "secret\n").stdout, "");
    }
}

/// The end of the tool is told, whether it was cut off or not; its last words are its own.
#[test]
fn of_what_a_tool_says_only_the_first_bytes_may_be_wanted() {
    for shell in shells() {
        let run = |script: &str| {
            let invocation = Invocation::new(["sh", "-c", script], Millis(1)).first(5);
            let line = line(&invocation, Rights::Own);
            line.answer(run_line(&shell, &line, ""), Rights::Own).unwrap()
        };
        let output = run("printf 123456789; echo 'no REVEILLE end=7 .' >&2; exit 3");
        let said = (output.exit, output.stdout.as_str(), output.stderr.as_str());
        assert_eq!(said, (Some(3), "12345", "no REVEILLE end=7 .\n"), "{shell:?}");
        assert_eq!(run("printf 123").stdout, "123");
        let endless = run("trap '' PIPE; while echo more; do :; done 2> /dev/null; exit 23");
        assert_eq!((endless.stdout.as_str(), endless.exit), ("more\n", Some(23)), "{shell:?}");
    }
    let line = line(&Invocation::new(["true"], Millis(1)).first(5), Rights::Own);
    let whole = "REVEILLE end=0 .\n";
    for (exit, stderr) in
        [(Some(0), ""), (Some(0), &whole[..14]), (Some(0), "REVEILLE end= .\n"), (Some(0), "end=0 .\n"), (None, whole)]
    {
        let output = Output { exit, stdout: MARK.into(), stderr: format!("{MARK}{stderr}"), timed_out: false };
        let answer = line.answer(output, Rights::Own).unwrap();
        assert!(answer.exit.is_none() && !answer.succeeded(), "its end was not told: {stderr}");
    }
}

/// A `sudo` that keeps the rules of the real one for `-n`, `-S` and `-p`.
const SUDO: &str = r#"#!/bin/sh
while [ "$1" != -- ]; do
  case $1 in -n) n=1;; -S) s=1;; -p) shift;; esac
  shift
done
shift
case $MODE in
  open) exec "$@";;
  never) echo 'alice is not in the sudoers file.' >&2; exit 1;;
  tty) echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1;;
esac
[ -z "$n" ] || { echo 'sudo: a password is required' >&2; exit 1; }
read -r word || { echo 'sudo: no password was provided' >&2; exit 1; }
[ "$word" = right ] && exec "$@"
echo 'Sorry, try again.' >&2
echo 'sudo: 1 incorrect password attempt' >&2
exit 1
"#;

#[test]
fn sudo_is_asked_without_a_terminal_and_its_no_is_told_from_the_tools() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sudo");
    std::fs::write(&path, SUDO).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    for (shell, first) in shells().into_iter().flat_map(|shell| [None, Some(64)].map(|first| (shell.clone(), first))) {
        let ask = |mode: &str, rights: Rights, input: &str, argv: &[&str]| {
            let mut line = line(&Invocation { first, ..Invocation::new(argv.iter().copied(), Millis(1)) }, rights);
            assert_eq!(line.wants_password, rights == Rights::SudoPassword);
            assert!(!line.text.contains("right"), "the password is in no argument");
            line.text = format!("export MODE={mode} PATH={}:$PATH; {}", folder.path().display(), line.text);
            line.answer(run_line(&shell, &line, input), rights)
        };
        let (sudo, with) = (Rights::Sudo, Rights::SudoPassword);
        assert_eq!(ask("open", sudo, "", &["echo", "yes"]).unwrap().stdout, "yes\n");
        assert_eq!(ask("ask", with, "right\n", &["echo", "yes"]).unwrap().stdout, "yes\n");
        // It was not asked for: the tool does not get it.
        assert_eq!(ask("open", with, "right\n", &["cat"]).unwrap().stdout, "");
        assert_eq!(ask("ask", sudo, "", &["echo"]), Err(Denial::PasswordNeeded));
        assert_eq!(ask("ask", with, "", &["echo"]), Err(Denial::PasswordNeeded));
        assert_eq!(ask("ask", with, "wrong\n", &["echo"]), Err(Denial::PasswordWrong));
        assert_eq!(ask("tty", sudo, "", &["echo"]), Err(Denial::TerminalNeeded));
        assert!(matches!(ask("never", sudo, "", &["echo"]), Err(Denial::NotAllowed(_))));
        // The tool's own words about sudo are the tool's.
        let own = ask("open", sudo, "", &["sh", "-c", "echo 'sudo: a password is required' >&2; exit 1"]).unwrap();
        assert_eq!(own.exit, Some(1));
    }
}

#[test]
fn without_the_mark_nothing_was_run_unless_its_end_was_not_seen() {
    let said = |exit, stderr: &str| Output { exit, stderr: stderr.into(), ..Output::default() };
    let nologin = answer(said(Some(1), "This account is currently not available."), Rights::Own);
    assert!(matches!(nologin, Err(Denial::NothingRun(words)) if words.contains("not available")));
    assert_eq!(answer(said(Some(127), "sh: 1: sudo: not found"), Rights::Sudo), Err(Denial::NoSudo));
    let cut = answer(said(None, "Connection reset"), Rights::Sudo).unwrap();
    assert!(cut.exit.is_none() && !cut.succeeded());
}

#[test]
fn the_words_of_a_line_are_the_line() {
    let invocation = Invocation { env: vec![("WORD".into(), "it's".into())], ..Invocation::new(["echo", "a b"], Millis(1000)) };
    for rights in [Rights::Own, Rights::Sudo, Rights::SudoPassword] {
        let line = line(&invocation, rights);
        assert_eq!(line.words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "), line.text);
    }
    for (path, bins) in [(None, "/usr/bin:/bin"), (Some(""), "/usr/bin:/bin"), (Some("/own"), "/own")] {
        assert_eq!(path_here(path), format!("{bins}:/usr/local/sbin:/usr/sbin:/sbin:/snap/bin"));
    }
    assert!(WRAPPER.contains(MORE_PATH), "the same as behind a login");
}

#[test]
fn only_what_asks_systemd_changes_nothing() {
    let looks = |words: &[&str]| Invocation::new(words.iter().copied(), Millis(1000)).only_looks();
    assert!(looks(&["systemctl", "show", "--property=ActiveState", "--", "a.service"]));
    for words in [&["systemctl", "restart", "--", "show"][..], &["systemctl", "daemon-reload"], &["sh", "-c", "systemctl show"]] {
        assert!(!looks(words), "{words:?}");
    }
}
