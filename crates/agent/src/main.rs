//! `reveille-agent`: runs on every host that Reveille manages.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agent::config::{self, Config};
use tracing::error;
use tracing_subscriber::EnvFilter;

const HELP: &str = "\
reveille-agent - performs what its controller says, and proves it

Usage:
  reveille-agent run [--config FILE]
  reveille-agent enrol --token-file FILE|- [--config FILE]
  reveille-agent check [--config FILE]
  reveille-agent --version | --help

Commands:
  run     run until SIGTERM; logs go to standard error (REVEILLE_LOG=debug says more)
  enrol   make this host known to a controller; the token comes from a file or standard input
  check   say what would keep this host from being managed

The configuration is /etc/reveille/agent.toml unless --config names another.
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 not enrolled.
";

/// What is asked for.
enum Task {
    Run,
    Enrol { token_file: PathBuf },
    Check,
    Print(String),
}

fn main() -> ExitCode {
    let asked = parse(std::env::args().skip(1));
    let (task, path) = match asked {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("reveille-agent: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Task::Print(text) = &task {
        print!("{text}");
        return ExitCode::SUCCESS;
    }
    let filter = EnvFilter::try_from_env("REVEILLE_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // The time is systemd's to write; elsewhere it helps.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let log = log.with_ansi(std::io::stderr().is_terminal());
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        log.without_time().init()
    } else {
        log.init()
    }
    let config = match Config::read(&path) {
        Ok(config) => config,
        Err(why) => {
            eprintln!("reveille-agent: {why}");
            return ExitCode::from(2);
        }
    };
    match task {
        Task::Run => run(config),
        Task::Enrol { token_file } => enrol(&config, &token_file),
        Task::Check => check(&config),
        Task::Print(_) => ExitCode::SUCCESS,
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<(Task, PathBuf), String> {
    let command = words.next().ok_or("no command")?;
    let (mut path, mut token_file) = (None, None);
    while let Some(word) = words.next() {
        let place = match word.as_str() {
            "--config" => &mut path,
            "--token-file" if command == "enrol" => &mut token_file,
            other => return Err(format!("unknown argument {other:?}")),
        };
        let value = words.next().ok_or_else(|| format!("{word} needs a file"))?;
        if place.replace(PathBuf::from(value)).is_some() {
            return Err(format!("{word} is given twice"));
        }
    }
    let task = match command.as_str() {
        "run" => Task::Run,
        "enrol" => Task::Enrol { token_file: token_file.ok_or("enrol needs --token-file FILE, or - for standard input")? },
        "check" => Task::Check,
        "--version" | "-V" => Task::Print(format!("reveille-agent {}\n", env!("CARGO_PKG_VERSION"))),
        "--help" | "-h" | "help" => Task::Print(HELP.to_owned()),
        other => return Err(format!("unknown command {other:?}")),
    };
    Ok((task, path.unwrap_or_else(|| config::PATH.into())))
}

fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| {
        error!(%why, "no runtime");
        ExitCode::FAILURE
    })
}

fn run(config: Config) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    match runtime.block_on(agent::run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            error!("{why}");
            ExitCode::from(why.exit_code())
        }
    }
}

fn enrol(config: &Config, token_file: &Path) -> ExitCode {
    match agent::enrol::enrol(config, token_file, std::io::stdin()) {
        Ok(answer) => {
            println!("enrolled as host {}", answer.host_id);
            match agent::identity::key(&config.state_dir) {
                Ok(key) => println!("key fingerprint {} (compare it before approving the host)", key.public().fingerprint()),
                Err(why) => eprintln!("reveille-agent: {why}"),
            }
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("reveille-agent: {why}");
            ExitCode::FAILURE
        }
    }
}

fn check(config: &Config) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let findings = runtime.block_on(agent::check::check(config));
    findings.lines.iter().for_each(|line| println!("{line}"));
    if findings.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
