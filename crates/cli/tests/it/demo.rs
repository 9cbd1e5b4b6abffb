//! The demonstration, as whoever tries it first sees it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const REVEILLE: &str = env!("CARGO_BIN_EXE_reveille");
const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md");
/// Set to write the transcript into the README instead of comparing it.
const UPDATE: &str = "UPDATE_README";
/// Generous: no test depends on the speed of the machine.
const DEADLINE: Duration = Duration::from_secs(300);
/// Marks every process of one demonstration, through the environment that all of them inherit.
const MARK: &str = "DEMO_TEST";

struct Demo {
    /// The directory for temporary files, of its own.
    temp: tempfile::TempDir,
    process: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Demo {
    fn begin(arguments: &[&str]) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let mut command = Command::new(REVEILLE);
        command.arg("demo").args(arguments).env("TMPDIR", temp.path()).env(MARK, temp.path()).env("NO_COLOR", "1");
        // What a user has set for another server does not matter.
        command.env("REVEILLE_SERVER_STATE_DIR", "/nonexistent").env("REVEILLE_TOKEN", "of another server");
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { temp, process, lines }
    }

    /// Reads on up to a line that contains this; gives it.
    fn line(&mut self, part: &str) -> String {
        let found = self.lines.by_ref().map(Result::unwrap).find(|line| line.contains(part));
        found.unwrap_or_else(|| panic!("the demonstration ended before it said {part:?}"))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap(), signal).unwrap();
    }

    /// Ends, and leaves no process. Gives the exit code, the rest of what it said, and what it left of files.
    fn end(&mut self) -> (Option<i32>, String, Vec<PathBuf>) {
        let mut rest = String::new();
        self.lines.by_ref().map(Result::unwrap).for_each(|line| rest.extend([&line, "\n"]));
        let status = self.process.wait().unwrap();
        until("no process is left", || marked(self.temp.path()).is_empty());
        (status.code(), rest, left_in(self.temp.path()))
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Of a test that failed; the rest ends with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Every living process of the demonstration with this mark.
fn marked(mark: &Path) -> Vec<i32> {
    let mark = format!("{MARK}={}\0", mark.display());
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    // Those that have ended show no environment.
    let marked = all.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let environment = std::fs::read(entry.path().join("environ")).ok()?;
        environment.windows(mark.len()).any(|window| window == mark.as_bytes()).then_some(pid)
    });
    marked.collect()
}

fn left_in(temp: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(temp).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn demo_tells_the_readme() {
    let (code, told, left) = Demo::begin(&["--exit"]).end();
    assert_eq!((code, left), (Some(0), Vec::new()), "{told}");
    let wide = told.lines().find(|line| line.chars().count() > 80);
    assert_eq!(wide, None, "every line fits on any terminal");

    let (begin, end) = ("<!-- demo -->\n```text\n", "```\n<!-- /demo -->");
    let readme = std::fs::read_to_string(README).unwrap();
    if std::env::var_os(UPDATE).is_some() {
        let (head, rest) = readme.split_once("<!-- demo -->").unwrap();
        let (_, tail) = rest.split_once("<!-- /demo -->").unwrap();
        std::fs::write(README, format!("{head}{begin}{told}{end}{tail}")).unwrap();
        return;
    }
    let shown = readme.split_once(begin).and_then(|(_, rest)| rest.split_once(end)).map(|(shown, _)| shown).unwrap();
    let hint = format!("the README shows another story; if this one is right: {UPDATE}=1 cargo nextest run -p cli demo_tells");
    assert_eq!(normal(&told), normal(shown), "{hint}");
}

/// The text without what differs from run to run: times, ids, keys, ports, processes, durations.
fn normal(text: &str) -> String {
    text.lines().map(normal_line).collect::<Vec<_>>().join("\n")
}

fn normal_line(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let plain = |index: usize| words.get(index).map_or("", |word| word.trim_end_matches([',', '.', ':', ';', ')']));
    let changed = words.iter().enumerate().map(|(index, word)| {
        let bare = plain(index);
        let (before, after) = (index.checked_sub(1).map_or("", plain), plain(index + 1));
        let digits = !bare.is_empty() && bare.bytes().all(|byte| byte.is_ascii_digit());
        let counted = ["process", "processes", "port", "(epoch"].contains(&before)
            || (before == "and" && line.contains("processes "))
            || after == "journal";
        let shape: String = bare.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let uuid = bare.len() == 36 && bare.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        match bare {
            _ if uuid => word.replace(bare, "UUID"),
            _ if shape == "00:00:00Z" => word.replace(bare, "TIME"),
            _ if bare.ends_with('…') => word.replace(bare, "KEY"),
            _ if bare.starts_with("https://127.0.0.1:") => word.replace(bare, "ADDRESS"),
            _ if after == "s" && bare.contains('.') && bare.parse::<f64>().is_ok() => word.replace(bare, "SECONDS"),
            _ if digits && counted => word.replace(bare, "NUMBER"),
            _ => (*word).to_owned(),
        }
    });
    changed.collect::<Vec<_>>().join(" ")
}

#[test]
fn what_is_normalised_is_what_differs() {
    let line = "  controller  process 553\n  https://127.0.0.1:25709, MQTT with TLS on port 25134";
    assert_eq!(normal(line), "  controller  process NUMBER\n  ADDRESS, MQTT with TLS on port NUMBER");
    let line = "03:41:29Z  accepted: 2 running children, 7 steps, boot cc1329ce-301f-4519-8373-16db14d74cb6";
    assert_eq!(normal(line), "TIME  accepted: 2 running children, 7 steps, boot UUID");
    assert_eq!(
        normal("in 3.3 s, 53 journal entries; processes 1 and 2"),
        "in SECONDS s, NUMBER journal entries; processes NUMBER and NUMBER"
    );
}

#[test]
fn a_killed_demo_leaves_no_process_and_the_next_one_no_directory() {
    let mut demo = Demo::begin(&[]);
    demo.line("reboot of apollo began");
    demo.signal(Signal::KILL);
    let (code, _, left) = demo.end();
    assert_eq!((code, left.len()), (None, 1));
    // The next one, in the same place, refused before it begins: it still sweeps.
    let refused =
        Command::new(REVEILLE).args(["demo", "--exit", "--dir", "/proc/no"]).env("TMPDIR", demo.temp.path()).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(left_in(demo.temp.path()).is_empty());
}

#[test]
fn an_interrupted_demo_leaves_nothing_and_says_so() {
    let mut demo = Demo::begin(&["--exit"]);
    demo.line("killed");
    demo.signal(Signal::TERM);
    let (code, _, left) = demo.end();
    assert_eq!((code, left), (Some(1), Vec::new()));
}

#[test]
fn a_demo_stays_up_for_exploring_as_it_says() {
    let mut demo = Demo::begin(&[]);
    demo.line("Now try it yourself");
    // The command goes on over lines that end as a shell expects it.
    let mut login = demo.line(" login https://");
    while let Some(first) = login.strip_suffix('\\') {
        login = format!("{first} {}", demo.line(""));
    }
    let config = tempfile::tempdir().unwrap();
    let reveille = |arguments: &[&str]| {
        let output = Command::new(REVEILLE).args(arguments).env("XDG_CONFIG_HOME", config.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code(), text + &String::from_utf8_lossy(&output.stderr))
    };
    let login: Vec<&str> = login.split_whitespace().skip(1).collect();
    let (code, said) = reveille(&login);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = reveille(&["hosts"]);
    assert!(code == Some(0) && ["apollo", "borealis", "calypso"].iter().all(|name| said.contains(name)), "{said}");
    demo.line("Ctrl-C stops everything");

    // Somebody tries what the story tells of.
    let server = marked(demo.temp.path()).into_iter().find(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).nth(1) == Some(b"server")
    });
    kill_process(Pid::from_raw(server.unwrap()).unwrap(), Signal::KILL).unwrap();
    demo.line("it is started again");
    until("calypso is heard again", || reveille(&["explain", "calypso"]).0 == Some(0));
    let (code, said) = reveille(&["reboot", "calypso", "--yes"]);
    assert_eq!(code, Some(0), "{said}");

    demo.signal(Signal::INT);
    let (code, rest, left) = demo.end();
    assert_eq!((code, left), (Some(0), Vec::new()), "{rest}");
}
