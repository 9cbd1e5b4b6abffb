//! `reveille.toml`: found, read, and told what is wrong with it.

use std::path::{Path, PathBuf};

use inventory::Source;
use inventory::services::{self, Manifest, ServicesError};
use model::{CheckKind, Service};

use crate::args::{MANIFEST, THIS_MACHINE};
use crate::error::CliError;

/// Where it is looked for beside the current folder.
const USUAL: &str = "/etc/reveille/reveille.toml";

/// The file that is meant: the one that is given, else `./reveille.toml`, else the one in `/etc/reveille`.
pub(crate) fn find(given: Option<&Path>) -> Result<PathBuf, CliError> {
    let found = match given {
        Some(path) => path.to_owned(),
        None => [MANIFEST, USUAL].into_iter().map(PathBuf::from).find(|path| path.is_file()).ok_or_else(|| {
            CliError::usage(format!("services are listed nowhere: there is neither ./{MANIFEST} nor {USUAL}"))
                .hint("`reveille init` writes a first one from the units of this machine; or give --manifest FILE")
        })?,
    };
    Ok(std::path::absolute(&found).unwrap_or(found))
}

/// What it says. What may surprise is told on standard error; what agents do not do only where there may be agents.
pub(crate) fn read(path: &Path, may_be_agents: bool) -> Result<Manifest, CliError> {
    let manifest = parse(path)?.map_err(|error| {
        let problems = match &error {
            ServicesError::Problems(problems) => problems.len(),
            ServicesError::TooLarge { .. } => 1,
        };
        let many = if problems == 1 { String::new() } else { format!("{problems} problems in {}:\n", path.display()) };
        CliError::usage(format!("{many}{error}")).hint("`reveille check` looks at the file and at what it names")
    })?;
    if may_be_agents || manifest.services.is_empty() {
        manifest.notes.iter().for_each(|note| eprintln!("note: {note}"));
    }
    Ok(manifest)
}

/// The same, with what is wrong as it is.
pub(crate) fn parse(path: &Path) -> Result<Result<Manifest, ServicesError>, CliError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("cannot read {name}: {error}")).hint("name it with --manifest FILE"))?;
    Ok(services::read(&Source { name, text }))
}

/// Whether these are names of services; told before anybody is asked.
pub(crate) fn known(services: &[Service], names: &[String], path: &Path) -> Result<(), CliError> {
    let listed = |name: &str| services.iter().any(|service| service.name == name);
    let Some(unknown) = names.iter().find(|name| !listed(name)) else { return Ok(()) };
    let all: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    Err(CliError::usage(format!("no service is called {unknown}; there are: {}", all.join(", ")))
        .hint(format!("they are listed in {}; --manifest names another file", path.display())))
}

/// The services as they are for this machine: one that names it by its own name runs here.
pub(crate) fn on_this_machine(mut services: Vec<Service>) -> Vec<Service> {
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim();
    for service in &mut services {
        let names_it = |host: &str| host == own || own.split('.').next() == Some(host);
        if service.host.as_deref().is_some_and(names_it) {
            service.host = Some(THIS_MACHINE.to_owned());
        }
    }
    services
}

/// The port that its health check asks, where it names one.
pub(crate) fn port(service: &Service) -> Option<u16> {
    match &service.check.as_ref()?.kind {
        CheckKind::Tcp { address } => address.rsplit_once(':')?.1.parse().ok(),
        CheckKind::Http { url, .. } => {
            let url = reqwest::Url::parse(url).ok()?;
            url.port_or_known_default()
        }
        // `pg_isready -h localhost -p 5432`.
        CheckKind::Command { argv } => argv
            .windows(2)
            .find(|pair| matches!(pair.first().map(String::as_str), Some("-p" | "--port")))
            .and_then(|pair| pair.get(1)?.parse().ok()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_told_at_once_with_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(MANIFEST);
        std::fs::write(&path, "[service.\"a.api\"]\nkind = \"apii\"\n[service.\"b.api\"]\ndependencies = [\"c.api\"]\n").unwrap();
        let error = read(&path, false).unwrap_err();
        assert!(error.exit == crate::exit::Exit::Usage && error.message.starts_with("2 problems in "), "{error}");
        assert!(error.message.contains("reveille.toml:2: ") && error.message.contains("reveille.toml:4: "), "{error}");
        assert!(read(&dir.path().join("none.toml"), false).unwrap_err().hint.unwrap().contains("--manifest"));
    }

    #[test]
    fn s3_96_the_port_of_a_service_is_that_of_its_check() {
        let text = "[service.a]\nhealth_check = { url = \"http://localhost:3001/health\" }\n[service.b]\nhealth_check = { command = \
                    \"pg_isready -h localhost -p 5432\" }\n[service.c]\nhealth_check = { tcp = \"localhost:6379\" }\n[service.d]\n";
        let manifest = services::read(&Source { name: MANIFEST.to_owned(), text: text.to_owned() }).unwrap();
        let ports: Vec<_> = manifest.services.iter().map(port).collect();
        assert_eq!(ports, [Some(3001), Some(5432), Some(6379), None]);
    }
}
