//! Running a program of the operator, with a limit on its time and on what it says.

use std::process::Stdio;
use std::time::Duration;

use model::ErrorCode;
use rustix::process::Pid;
use tokio::process::{Child, Command};

use super::Trouble;
use crate::process;

/// A tool that says more is broken.
const MOST_SAID: u64 = 1024 * 1024;
/// After a tool has ended, something that it left behind may still hold its output open; that is not waited for longer.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// So much of what it wrote to standard error goes into a message, in characters.
const TAIL: usize = 600;

/// A child in a process group of its own, which is killed when this value goes, however that happens: a drain that was given up
/// must not go on behind an undrain.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        process::kill(self.id);
    }
}

/// Runs `argv` to its end, at most for `limit`, and returns its standard output.
pub(super) async fn run(argv: &[String], env: &[(&str, String)], limit: Duration) -> Result<String, Trouble> {
    let (program, arguments) = argv
        .split_first()
        .ok_or_else(|| Trouble::new(ErrorCode::Malformed, "no program is named: the argument list is empty"))?;
    let mut command = Command::new(program);
    command.args(arguments).envs(env.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let child = command.spawn().map_err(|error| {
        Trouble::new(ErrorCode::ToolFailed, format!("cannot start {program}: {error}; is it installed where the engine runs?"))
    })?;
    let id = process::group(&child);
    let mut group = Group { child, id };
    // Read while it runs: a full pipe would stop it. The readers end with their handles.
    let mut out = Reader(tokio::spawn(process::said(group.child.stdout.take(), MOST_SAID)));
    let mut err = Reader(tokio::spawn(process::said(group.child.stderr.take(), MOST_SAID)));
    let ended = tokio::time::timeout(limit, group.child.wait()).await;
    let ended = ended.map_err(|_| {
        Trouble::new(ErrorCode::ToolFailed, format!("{program} had not ended after {} s and was killed", limit.as_secs_f32()))
    })?;
    let failed = |why: String| Trouble::new(ErrorCode::ToolFailed, format!("{program}: {why}"));
    let status = ended.map_err(|error| failed(error.to_string()))?;
    let (out, err) = (out.collect().await.map_err(&failed)?, err.collect().await.map_err(&failed)?);
    if !status.success() {
        let tail: Vec<char> = err.trim().chars().collect();
        let tail: String = tail[tail.len().saturating_sub(TAIL)..].iter().collect();
        let silent = if tail.is_empty() { "it wrote nothing to standard error".to_owned() } else { tail };
        return Err(failed(format!("{status}: {silent}")));
    }
    Ok(out)
}

struct Reader(tokio::task::JoinHandle<Result<String, String>>);

impl Reader {
    async fn collect(&mut self) -> Result<String, String> {
        match tokio::time::timeout(STRAGGLERS, &mut self.0).await {
            Ok(Ok(said)) => said,
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("something that it started still holds its output open".to_owned()),
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["sh", "-c", script].map(str::to_owned).to_vec()
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn output_and_environment_are_brought_and_a_failure_tells_why() {
        let env = [("WORD", "yes".to_owned())];
        assert_eq!(run(&sh("echo $WORD"), &env, LONG).await.unwrap(), "yes\n");
        let trouble = run(&sh("echo half; echo no >&2; exit 3"), &env, LONG).await.unwrap_err();
        assert!(trouble.message.contains("exit status: 3") && trouble.message.ends_with("no"), "{}", trouble.message);
        let trouble = run(&["/nonexistent/tool".to_owned()], &env, LONG).await.unwrap_err();
        assert!(trouble.message.contains("cannot start"), "{}", trouble.message);
        assert_eq!(run(&[], &env, LONG).await.unwrap_err().code, ErrorCode::Malformed);
    }

    #[tokio::test]
    async fn endless_output_and_what_is_left_behind_are_no_answer() {
        assert!(run(&sh("yes"), &[], Duration::from_secs(10)).await.is_err());
        let begun = std::time::Instant::now();
        let trouble = run(&sh("sleep 300 & echo done"), &[], LONG * 10).await.unwrap_err();
        assert!(trouble.message.contains("open") && begun.elapsed() < LONG, "{}", trouble.message);
    }

    /// Neither running nor a zombie that nobody has buried yet.
    async fn gone(pid: &std::path::Path) {
        let pid: i32 = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
        for _ in 0..600 {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z')) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("process {pid} is still there");
    }

    #[tokio::test]
    async fn the_whole_group_goes_at_the_limit_and_when_it_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let pid = folder.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait", pid.display());
        let trouble = run(&sh(&script), &[], Duration::from_secs(1)).await.unwrap_err();
        assert!(trouble.message.contains("killed"), "{}", trouble.message);
        gone(&pid).await;

        std::fs::remove_file(&pid).unwrap();
        let task = tokio::spawn(async move { run(&sh(&script), &[], LONG * 10).await.map(drop) });
        while !pid.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        task.abort();
        gone(&pid).await;
    }
}
