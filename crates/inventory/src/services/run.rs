//! `[service."NAME".run]`: how systemd is to run a service whose unit file is written from the manifest.

use model::{Deploy, paths};

use super::error::{Problem, Wrong};
use super::written::{Fields, Said, Spot};

/// How a service is run. [`super::unit_file`] says it in systemd's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program, an absolute path or a name that systemd finds, and its arguments.
    pub command: Vec<String>,
    /// What makes it read its configuration anew. The word `$MAINPID` stands for its main process.
    pub reload_command: Option<Vec<String>>,
    /// As whom it runs; root without one.
    pub user: Option<String>,
    /// With whose rights; those of the user's own group without one.
    pub group: Option<String>,
    /// Where it runs, absolute; `/` without one.
    pub directory: Option<String>,
    /// Variables, by name, in the order of their names.
    pub environment: Vec<(String, String)>,
    /// A file with further variables, absolute.
    pub environment_file: Option<String>,
    /// When systemd starts it again by itself: its own words `no`, `on-failure`, `always`.
    pub restart: String,
    /// What it may use of memory before the kernel ends it, as systemd writes it.
    pub memory_max: Option<String>,
}

/// What of `reload_command` systemd puts in.
pub(super) const MAIN_PROCESS: &str = "$MAINPID";

/// `unit` is that of the service, `deploy` what is deployed; each with where it is written, of a deploy its destination.
pub(super) fn read(
    fields: &mut Fields,
    unit: (&str, &Spot),
    deploy: Option<(&Deploy, &Spot)>,
    problems: &mut Vec<Problem>,
) -> Option<Run> {
    let command = fields.words("command");
    let spot = command.as_ref().map(|said| said.spot.clone());
    let mut checked = |said: Option<Said<Vec<String>>>| {
        let Said { spot, value } = said?;
        let told = |wrong| problems.push(spot.problem(Wrong::Value(wrong)));
        program(&value).map_err(told).ok().map(|()| value)
    };
    let command = checked(command);
    let reload_command = checked(fields.words("reload_command"));
    let mut text = |key: &'static str, check: fn(&str) -> Result<String, String>| {
        let Said { spot, value } = fields.text(key)?;
        check(&value).map_err(|wrong| problems.push(spot.problem(Wrong::Value(wrong)))).ok()
    };
    let user = text("user", account);
    let group = text("group", account);
    let environment_file = text("environment_file", place);
    let memory_max = text("memory_max", memory);
    let environment = fields.variables("environment");
    let restart = fields.text("restart").map_or_else(|| "on-failure".to_owned(), |said| said.value);
    if !unit.0.ends_with(".service") {
        let detail = format!("{} is run by systemd itself: only a unit that ends with .service has a command", unit.0);
        problems.push(spot.as_ref().unwrap_or(unit.1).problem(Wrong::Together(detail)));
    }
    if let (Some(spot), Some(file)) = (&spot, deploy.and_then(|(deploy, _)| deploy.unit_file.as_ref())) {
        let detail = format!("a deploy brings the unit file, {file} (deploy.unit_file): keep run, or that");
        problems.push(spot.problem(Wrong::Together(detail)));
    }
    let directory = match (fields.text("directory"), deploy) {
        (Some(said), _) => place(&said.value).map_err(|wrong| problems.push(said.spot.problem(Wrong::Value(wrong)))).ok(),
        (None, Some((deploy, spot))) => {
            let told = |wrong| problems.push(spot.problem(Wrong::Together(format!("{wrong}; or write run.directory"))));
            place(&deploy.destination).map_err(told).ok()
        }
        (None, None) => None,
    };
    Some(Run { command: command?, reload_command, user, group, directory, environment, environment_file, restart, memory_max })
}

/// systemd reads some characters before a program as orders of its own, and puts no variable into its path.
fn program(words: &[String]) -> Result<(), String> {
    if let Some(c) = words.iter().flat_map(|word| word.chars()).find(|c| c.is_control()) {
        return Err(format!("holds {c:?}: a unit file has one line for a command; put it into a script"));
    }
    let program = words.first().map_or("", String::as_str);
    let found = !program.contains('/') && program.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    match program {
        _ if program.contains('$') => Err(format!("{program:?} holds a $, which systemd puts nothing in for there")),
        _ if found => Ok(()),
        _ if program.starts_with('/') => paths::absolute(program).map(drop),
        _ => Err(format!("{program:?} is no program that systemd finds: write its whole path, or its name alone")),
    }
}

fn account(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let sound = name.len() <= 31 && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && name.chars().all(fits);
    let wrong = || format!("{name:?} is no name or number of an account: up to 31 letters, digits, '_', '-' and '.'");
    sound.then(|| name.to_owned()).ok_or_else(wrong)
}

/// systemd takes patterns in some of these, and joins a line that ends with \ to the next.
fn place(path: &str) -> Result<String, String> {
    if path.contains(['*', '?', '[', '\\', '"', '\'']) || path.trim_end() != path {
        return Err(format!("{path:?} would be read otherwise in a unit file: no * ? [ \\ or quotes, and no blank at its end"));
    }
    paths::absolute(path)
}

fn memory(text: &str) -> Result<String, String> {
    let number = |digits: &str| !digits.is_empty() && digits.len() <= 15 && digits.bytes().all(|b| b.is_ascii_digit());
    let digits = text.strip_suffix(['K', 'M', 'G', 'T', '%']).unwrap_or(text);
    let most = if text.ends_with('%') { 100 } else { u64::MAX };
    let sound = number(digits) && digits.parse::<u64>().is_ok_and(|amount| (1..=most).contains(&amount));
    let wrong = || format!("{text:?} is no amount of memory: write bytes, or \"512M\", \"2G\", or a part of all, \"25%\"");
    sound.then(|| text.to_owned()).ok_or_else(wrong)
}
