//! The text of a unit file. It is a format, as the manifest is, and no call of a tool: systemd's rules of quoting are here alone.

use model::{Service, is_unit_name};

use super::run::{MAIN_PROCESS, Run};
use super::together;

/// systemd gives up on one that ends at once after ten starts. More than what people and a rolling restart start by hand in a minute.
const STARTS: &str = "StartLimitIntervalSec=60\nStartLimitBurst=10\n";

/// The unit file of a service that says how it is run. `all` are the services of the manifest: those that it depends on are named by
/// their units, if they run on the same host.
pub fn unit_file(service: &Service, run: &Run, all: &[Service]) -> String {
    let mut text = format!(
        "# Written by `reveille units` from reveille.toml: change it there. More goes into a drop-in, /etc/systemd/system/{}.d/NAME.conf.\n\
         [Unit]\nDescription={} ({})\n",
        service.unit, service.name, service.kind
    );
    let units = dependencies(service, all);
    if !units.is_empty() {
        // Not Requires=: it would stop and restart this one whenever one of those is restarted.
        let units = units.join(" ");
        text += &format!("Wants={units}\nAfter={units}\n");
    }
    text += STARTS;
    text += "\n[Service]\nType=exec\n";
    let mut line = |key: &str, value: &str| text += &format!("{key}={value}\n");
    let mut given = |key: &str, value: Option<&String>| {
        if let Some(value) = value {
            line(key, &specifiers(value));
        }
    };
    given("User", run.user.as_ref());
    given("Group", run.group.as_ref());
    given("WorkingDirectory", run.directory.as_ref());
    for (name, value) in &run.environment {
        line("Environment", &quoted(&format!("{name}={value}")));
    }
    if let Some(file) = &run.environment_file {
        line("EnvironmentFile", &specifiers(file));
    }
    line("ExecStart", &command(&run.command, None));
    if let Some(words) = &run.reload_command {
        line("ExecReload", &command(words, Some(MAIN_PROCESS)));
    }
    line("Restart", &run.restart);
    line("RestartSec", "1");
    if let Some(most) = &run.memory_max {
        line("MemoryMax", most);
    }
    // Who is no root needs no way to become it. Everything else would break somebody: a drop-in is the place for it.
    if run.user.as_ref().is_some_and(|user| user != "root" && user != "0") {
        line("NoNewPrivileges", "yes");
    }
    text + "\n[Install]\nWantedBy=multi-user.target\n"
}

/// What it depends on on its own host, as units, each once.
fn dependencies(service: &Service, all: &[Service]) -> Vec<String> {
    let mut units: Vec<String> = Vec::new();
    for name in &service.dependencies {
        let unit = match all.iter().find(|other| other.name == *name) {
            Some(other) if together::share_a_host(service, other) => other.unit.clone(),
            None if is_unit_name(name) => name.clone(),
            Some(_) | None => continue,
        };
        if !units.contains(&unit) {
            units.push(unit);
        }
    }
    units
}

/// The program and arguments in which `$` is a `$`: systemd puts in nothing but this one word.
fn command(words: &[String], put_in: Option<&str>) -> String {
    let word = |word: &String| match put_in.filter(|variable| word == variable) {
        Some(variable) => variable.to_owned(),
        None => quoted(&word.replace('$', "$$")),
    };
    words.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// One word, whatever is in it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:=@,$%".contains(c);
    let text = specifiers(word);
    if !word.is_empty() && word.chars().all(plain) {
        return text;
    }
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `%` would begin one of systemd's specifiers.
fn specifiers(text: &str) -> String {
    text.replace('%', "%%")
}
