//! Commands: which program is run for one, once it is certain that nobody but root could have put it there.

use model::{ErrorCode, Millis, Run};

use crate::drain::{ask_safe, safe_as};
use crate::{Invocation, Next, Output, Script, Steps, Verdict};

/// Where named commands are unless a host is configured otherwise.
pub const COMMANDS_DIR: &str = "/etc/reveille/commands.d";

/// The question who owns a file.
const LOOK: Millis = Millis::secs(10);

/// What is to be run for a command, or why nothing is. `commands` is the folder of named commands; free ones are run as the user
/// `run_as`, and not at all without one. The performer runs it once, and keeps what it says.
pub fn command(commands: &str, run_as: Option<&str>, run: &Run, limit: Millis) -> Script<Result<Invocation, Verdict>> {
    let refused = |code, why: String| Script::ended(Err(Verdict::failed(code, why)));
    if let Err(why) = run.check() {
        return refused(ErrorCode::Malformed, why);
    }
    match run {
        Run::Named { .. } if !commands.starts_with('/') => {
            refused(ErrorCode::Malformed, format!("the folder of commands, {commands:?}, is no absolute path"))
        }
        Run::Named { name } => {
            Script::new(Named { path: format!("{}/{name}", commands.trim_end_matches('/')), limit, asked: false })
        }
        Run::Free { line, .. } => match run_as {
            None => refused(ErrorCode::Refused, "this host runs no free commands".to_owned()),
            Some("root") => Script::ended(Ok(Invocation::new(["sh", "-c", line], limit))),
            Some(user) => Script::ended(Ok(Invocation::new(["runuser", "-u", user, "--", "sh", "-c", line], limit))),
        },
    }
}

struct Named {
    path: String,
    limit: Millis,
    asked: bool,
}

impl Steps<Result<Invocation, Verdict>> for Named {
    fn next(&mut self, last: Option<&Output>, _: Millis) -> Next<Result<Invocation, Verdict>> {
        match last {
            Some(owners) if self.asked => Next::Done(match safe_as("command", &self.path, owners) {
                Ok(()) => Ok(Invocation::new([self.path.as_str()], self.limit)),
                Err(trouble) => Err(Verdict::failed(trouble.code, trouble.why)),
            }),
            _ => {
                self.asked = true;
                Next::Run(ask_safe(&self.path, LOOK))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Run {
        Run::Named { name: name.to_owned() }
    }

    fn free(line: &str) -> Run {
        Run::Free { line: line.to_owned(), by: "alice".to_owned() }
    }

    fn code(script: &mut Script<Result<Invocation, Verdict>>) -> ErrorCode {
        match script.next(None, Millis(0)) {
            Next::Done(Err(Verdict::Failed { code, .. })) => code,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_named_command_is_run_only_when_root_alone_can_have_put_it_there() {
        let limit = Millis::secs(60);
        let stat = |first: &str| Output {
            exit: Some(0),
            stdout: format!("{first}\n0 41ed\n0 41ed\n0 41ed\n0 41ed\n"),
            ..Output::default()
        };
        let after = |answer: Output| {
            let mut script = command(COMMANDS_DIR, None, &named("rotate"), limit);
            let Next::Run(asked) = script.next(None, Millis(0)) else { panic!("it asks first") };
            assert_eq!(asked.argv[..4], ["stat", "-c", "%u %f", "--"]);
            assert_eq!(asked.argv[4], "/etc/reveille/commands.d/rotate");
            match script.next(Some(&answer), Millis(0)) {
                Next::Done(done) => done,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(after(stat("0 81ed")).unwrap().argv, ["/etc/reveille/commands.d/rotate"]);
        for bad in ["1000 81ed", "0 81ff", "0 a1ff", "0 41ed"] {
            let Err(Verdict::Failed { code, message }) = after(stat(bad)) else { panic!("{bad} was run") };
            assert_eq!(code, ErrorCode::Refused, "{bad}");
            assert!(message.contains("commands and the folders above them must belong to root"), "{message}");
        }
        let missing =
            Output { exit: Some(1), stderr: "stat: cannot stat: No such file or directory".to_owned(), ..Output::default() };
        assert!(matches!(after(missing), Err(Verdict::Failed { code: ErrorCode::NotFound, .. })));
    }

    #[test]
    fn what_is_no_command_runs_nothing() {
        for bad in ["../x", "a/b", "-x", ""] {
            assert_eq!(code(&mut command(COMMANDS_DIR, Some("root"), &named(bad), Millis(1))), ErrorCode::Malformed);
        }
        assert_eq!(code(&mut command("commands.d", None, &named("x"), Millis(1))), ErrorCode::Malformed);
        assert_eq!(code(&mut command(COMMANDS_DIR, None, &free("id"), Millis(1))), ErrorCode::Refused);
        let run = |user| match command(COMMANDS_DIR, Some(user), &free("id; ls"), Millis(1)).next(None, Millis(0)) {
            Next::Done(Ok(invocation)) => invocation.argv,
            other => panic!("{other:?}"),
        };
        assert_eq!(run("root"), ["sh", "-c", "id; ls"]);
        assert_eq!(run("deploy"), ["runuser", "-u", "deploy", "--", "sh", "-c", "id; ls"]);
    }
}
