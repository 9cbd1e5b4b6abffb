//! Whether what something names is on a host: looked at before anything is done.

use std::collections::VecDeque;

use model::Millis;

use crate::{Invocation, Next, Output, Script, Steps};

const LIMIT: Millis = Millis(10_000);

/// What should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum There {
    /// A file that can be read.
    File(String),
    /// A folder.
    Folder(String),
    /// A program: a path, one below a folder, or a name that is looked for as a shell does.
    Program {
        /// As it is written.
        name: String,
        /// Where it is run, for one that begins with `./`.
        folder: Option<String>,
    },
    /// A path, there or not, that nobody but root can put something else at, as a deploy asks for.
    Guarded(String),
}

const ABOVE: &str = concat!("set -fu\n", include_str!("service/above.sh"), "above \"$1\" || printf '%s\\n' \"$why\"");

impl There {
    /// The answer is its exit code: 0 it is there, 1 (127 for a name) it is not. What else is wrong is said in words.
    fn asked(&self) -> Invocation {
        let run = |words: &[&str]| Invocation::new(words.iter().copied(), LIMIT);
        match self {
            Self::File(path) => run(&["test", "-f", path, "-a", "-r", path]),
            Self::Folder(path) => run(&["test", "-d", path]),
            Self::Program { name, folder } if name.contains('/') => {
                let below = |folder: &String| format!("{}/{name}", folder.trim_end_matches('/'));
                let path = folder.as_ref().filter(|_| !name.starts_with('/')).map_or_else(|| name.clone(), below);
                run(&["test", "-x", &path])
            }
            Self::Guarded(path) => run(&["sh", "-c", ABOVE, "sh", path]),
            Self::Program { name, .. } => run(&["sh", "-c", "command -v -- \"$1\" > /dev/null", "sh", name]),
        }
    }
}

/// For each of them whether it is there, in their order; or why that cannot be told.
pub fn there(wanted: &[There]) -> Script<Vec<Result<bool, String>>> {
    Script::new(Ask { wanted: wanted.iter().cloned().collect(), asked: false, found: Vec::new() })
}

struct Ask {
    wanted: VecDeque<There>,
    asked: bool,
    found: Vec<Result<bool, String>>,
}

impl Steps<Vec<Result<bool, String>>> for Ask {
    fn next(&mut self, last: Option<&Output>, _: Millis) -> Next<Vec<Result<bool, String>>> {
        if let Some(output) = last.filter(|_| self.asked) {
            self.found.push(match output.exit {
                _ if output.timed_out => Err(output.words()),
                Some(0) if output.stdout.is_empty() => Ok(true),
                Some(1 | 127) => Ok(false),
                _ => Err(output.words()),
            });
        }
        self.asked = true;
        match self.wanted.pop_front() {
            Some(wanted) => Next::Run(wanted.asked()),
            None => Next::Done(std::mem::take(&mut self.found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_could_replace_is_told_in_words() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("open").join("web").display().to_string();
        let ask = || {
            let found = crate::testing::really_with(there(&[There::Guarded(path.clone())]), |run| {
                crate::testing::run(run, &["sh".to_owned()], "/nowhere")
            });
            found.into_iter().next().unwrap()
        };
        assert_eq!(ask(), Ok(true), "what is not there yet is made by root");
        std::fs::create_dir(folder.path().join("open")).unwrap();
        std::fs::set_permissions(folder.path().join("open"), std::fs::Permissions::from_mode(0o777)).unwrap();
        let why = ask().unwrap_err();
        assert!(why.contains("open can be written to by others than root") && why.contains("chmod go-w"), "{why}");
    }

    fn ended(exit: Option<i32>) -> Output {
        Output { exit, ..Output::default() }
    }

    #[test]
    fn what_is_not_answered_is_not_there_and_not_missing_either() {
        let program = |name: &str| There::Program { name: name.to_owned(), folder: Some("/srv/api/".to_owned()) };
        let wanted = [There::Folder("/srv".into()), program("./migrate"), program("pg_isready"), program("/bin/x")];
        let mut script = there(&wanted);
        let (mut last, mut runs) = (None, Vec::new());
        let answers = [Some(0), Some(1), Some(127), None];
        let found = loop {
            match script.next(last.as_ref(), Millis(0)) {
                Next::Run(run) => {
                    last = Some(ended(answers[runs.len()]));
                    runs.push(run.argv.join(" "));
                }
                Next::Wait(_) => {}
                Next::Done(found) => break found,
            }
        };
        assert_eq!(runs[..2], ["test -d /srv", "test -x /srv/api/./migrate"]);
        assert!(runs[2].ends_with("sh pg_isready") && runs[3] == "test -x /bin/x", "{runs:?}");
        assert!(matches!(&found[..], [Ok(true), Ok(false), Ok(false), Err(_)]), "{found:?}");
    }
}
