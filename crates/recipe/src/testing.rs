//! Driving scripts in tests: recorded outputs in, a transcript out.

use std::fmt::Debug;
use std::io::Read as _;
use std::process::{Command, Stdio};

use model::Millis;

use crate::{Next, Output, Script};

/// An output from the text of a recording (`recorded/README.md`).
pub(crate) fn recorded(text: &str) -> Output {
    let (head, rest) = text.split_once("--- stdout\n").expect("a recording has its standard output");
    let (stdout, stderr) = rest.split_once("--- stderr\n").unwrap_or((rest, ""));
    let code = head.lines().next().and_then(|l| l.strip_prefix("exit ")).expect("a recording begins with its exit code");
    Output { exit: Some(code.parse().expect("a number")), stdout: stdout.into(), stderr: stderr.into(), timed_out: false }
}

/// A good answer.
pub(crate) fn said(stdout: &str) -> Output {
    Output { exit: Some(0), stdout: stdout.into(), ..Output::default() }
}

/// Every way in which an answer can be broken, made from a good one.
pub(crate) fn broken(good: &str) -> Vec<Output> {
    let text = |s: &str| said(s);
    let mut all = vec![
        text(""),
        text("\n"),
        text("null"),
        text("{}"),
        text("Connection closed by remote host"),
        text(&good[..good.trim_end().len() - 1]),
        text(&good[..good.len() / 2]),
        Output { exit: None, stdout: good.into(), ..Output::default() },
        Output { exit: Some(0), stdout: good.into(), timed_out: true, ..Output::default() },
    ];
    all.extend([1, 126, 127, 255].map(|code| Output { exit: Some(code), stdout: good.into(), ..Output::default() }));
    all
}

/// Performs a script: `answer` is asked for the output of each run, given the argument list and the time, and how long the run
/// took. Gives the transcript, one line a step, and the end.
pub(crate) fn drive<T: Clone + Debug>(
    mut script: Script<T>,
    mut answer: impl FnMut(&str, Millis) -> (Output, Millis),
) -> (String, T) {
    let mut now = Millis(0);
    let mut last: Option<Output> = None;
    let mut story = String::new();
    for _ in 0..1000 {
        match script.next(last.take().as_ref(), now) {
            Next::Run(invocation) => {
                assert_eq!(invocation.env, [("LC_ALL".to_owned(), "C".to_owned())]);
                assert!(invocation.limit > Millis(0) && invocation.limit <= Millis::secs(200));
                let line = invocation.argv.join(" ");
                let (output, took) = answer(&line, now);
                story.push_str(&format!("{now}: {line} -> {}\n", output.exit.map_or("signal".into(), |c| c.to_string())));
                now = Millis(now.0 + took.0);
                last = Some(output);
            }
            Next::Wait(time) => {
                assert!(time > Millis(0), "a wait of nothing would spin");
                story.push_str(&format!("{now}: wait {time}\n"));
                now = Millis(now.0 + time.0);
            }
            Next::Done(end) => {
                story.push_str(&format!("{now}: {end:?}\n"));
                return (story, end);
            }
        }
    }
    panic!("no end:\n{story}");
}

/// Performs a script for real, with this shell in the place of `sh` and these folders before `PATH`; waits are skipped.
pub(crate) fn really<T: Clone>(script: Script<T>, shell: &[String], path: &str) -> T {
    really_with(script, |invocation| run(invocation, shell, path))
}

/// As [`really`], with something done round each run.
pub(crate) fn really_with<T: Clone>(mut script: Script<T>, mut run: impl FnMut(&crate::Invocation) -> Output) -> T {
    let (mut now, mut last) = (Millis(0), None);
    for _ in 0..1000 {
        match script.next(last.take().as_ref(), now) {
            Next::Run(invocation) => last = Some(run(&invocation)),
            Next::Wait(time) => now = Millis(now.0 + time.0),
            Next::Done(end) => return end,
        }
    }
    panic!("no end");
}

/// Runs one tool.
pub(crate) fn run(invocation: &crate::Invocation, shell: &[String], path: &str) -> Output {
    let mut argv = invocation.argv.clone();
    if argv[0] == "sh" {
        argv.splice(0..1, shell.iter().cloned());
    }
    let path = format!("{path}:{}", std::env::var("PATH").unwrap());
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]).env("PATH", path).envs(invocation.env.iter().map(|(k, v)| (k, v))).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = command.spawn().and_then(|mut child| {
        let mut first = Vec::new();
        if let (Some(bytes), Some(stdout)) = (invocation.first, child.stdout.take_if(|_| invocation.first.is_some())) {
            stdout.take(bytes.into()).read_to_end(&mut first)?;
        }
        let output = child.wait_with_output()?;
        Ok(if invocation.first.is_some() { std::process::Output { stdout: first, ..output } } else { output })
    });
    match ended {
        Ok(output) => Output {
            exit: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            timed_out: false,
        },
        Err(error) => Output { exit: Some(127), stderr: error.to_string(), ..Output::default() },
    }
}

/// The shells that are here: `sh` always, and others that hosts may have.
pub(crate) fn shells() -> Vec<Vec<String>> {
    let candidates: [&[&str]; 4] = [&["sh"], &["dash"], &["busybox", "sh"], &["bash", "--posix"]];
    let here = |words: &&[&str]| {
        let tried = Command::new(words[0]).args(&words[1..]).args(["-c", "exit 7"]).output();
        tried.is_ok_and(|output| output.status.code() == Some(7))
    };
    candidates.into_iter().filter(here).map(|words| words.iter().map(|&w| w.to_owned()).collect()).collect()
}
