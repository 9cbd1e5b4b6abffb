//! `restart`: show the order, ask, start, follow (S3-27 to S3-36).

use std::path::Path;

use model::Service;
use protocol::rest::orchestrations::ForceOption;
use protocol::rest::services::{NewServiceRestart, ServiceRestartPreview};

use crate::aim::Aim;
use crate::args::THIS_MACHINE;
use crate::args::{Output, Restart};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::near::Near;
use crate::render::services as text;
use crate::{again, manifest, terminal};

/// Reads the manifest, and makes the request of the options; the options then say where it was found, and which hosts are meant.
pub(crate) fn request(args: &mut Restart, aim: Aim, listed: bool) -> Result<NewServiceRestart, CliError> {
    if args.deploy_path.is_some() && !args.deploy {
        return Err(CliError::usage("--deploy-path means nothing without --deploy")
            .hint("add --deploy, or leave --deploy-path away to restart what is there"));
    }
    if args.force.as_deref().is_some_and(|reason| reason.trim().is_empty()) {
        return Err(
            CliError::usage("--force needs a reason: it is written down").hint("say why, as in --force 'sso.api is down'")
        );
    }
    let path = manifest::find(args.listed.manifest.as_deref())?;
    let mut services = manifest::read(&path, aim == Aim::Server)?.services;
    manifest::known(&services, &args.services, &path)?;
    args.listed.manifest = Some(path);
    if args.listed.hosts.is_empty() {
        let here = aim == Aim::Here && !listed;
        args.listed.hosts = if here { vec![THIS_MACHINE.to_owned()] } else { named_hosts(&services, &args.services)? };
    }
    let here = aim == Aim::Here && !listed && args.listed.names_this_machine();
    if here {
        services = manifest::on_this_machine(services);
    }
    Ok(NewServiceRestart {
        targets: args.listed.hosts.clone(),
        services,
        only: args.services.clone(),
        parallel: args.parallel,
        keep_going: args.keep_going,
        skip_migrations: args.skip_migrations,
        deploy: args.deploy,
        deploy_path: args.deploy_path.as_deref().map(|path| tree(path, here)),
        force: args.force.clone().map(|reason| ForceOption { reason }),
        dry_run: false,
    })
}

/// A path on this machine may be relative; what one on a host would be relative to, nobody knows.
fn tree(path: &Path, here: bool) -> String {
    let whole = if here { std::path::absolute(path).unwrap_or_else(|_| path.to_owned()) } else { path.to_owned() };
    whole.display().to_string()
}

/// The hosts that the services name, if each of those that are meant names one.
fn named_hosts(services: &[Service], only: &[String]) -> Result<Vec<String>, CliError> {
    let meant = services.iter().filter(|service| only.is_empty() || only.contains(&service.name));
    let mut hosts: Vec<String> = Vec::new();
    for service in meant {
        let Some(host) = &service.host else {
            let text = format!("on which hosts? {} names none, and neither does the command line", service.name);
            return Err(CliError::usage(text).hint(format!(
                "name them with --host, give the service a `host`, or say --host {THIS_MACHINE} for this machine without a server"
            )));
        };
        if !hosts.contains(host) {
            hosts.push(host.clone());
        }
    }
    Ok(hosts)
}

pub(super) async fn restart(
    client: &Client,
    near: Option<&Near>,
    output: Output,
    args: &Restart,
    request: &NewServiceRestart,
) -> Result<Exit, CliError> {
    super::rollout::attached(client, args.detach)?;
    let preview = client.preview_services(request).await?;
    let shown = || text::preview(&preview, &request.services, args.force.as_deref());
    let blocked = blocked(&preview, output);
    if args.dry_run {
        terminal::answer(output, &preview, shown)?;
        return Ok(if blocked.is_none() { Exit::Done } else { Exit::Refused });
    }
    match (output, &args.force) {
        (Output::Text, _) => terminal::print(&shown())?,
        (Output::Json, Some(reason)) => eprintln!("{}", text::warning(reason)),
        (Output::Json, None) => {}
    }
    if let Some(blocked) = blocked {
        return Err(blocked);
    }
    if !args.yes {
        let question = format!("\nRestart {} like this?", text::services(preview.services.len()));
        tokio::task::block_in_place(|| terminal::confirm(&question, "give --yes if nobody is there to be asked"))?;
    }
    let started = client.restart_services(request).await?;
    super::rollout::started_now(client, near, output, &started, args.detach).await
}

/// The refusal, if something blocks it, with what can be done about it.
pub(crate) fn blocked(preview: &ServiceRestartPreview, output: Output) -> Option<CliError> {
    let all = || preview.services.iter().flat_map(|service| &service.blockers);
    all().next()?;
    let mut error = CliError::new(Exit::Refused, "something blocks it: nothing was done");
    let active = all().find_map(|blocker| blocker.details.get("orchestration")?.as_str());
    let hint = match (active, all().all(|blocker| blocker.forceable)) {
        (Some(id), _) => format!("follow what holds it with `{}`", again::command(&format!("watch {id}"))),
        (None, true) => "all of it can be overridden with --force REASON, which is audited, and makes no health check".to_owned(),
        (None, false) => again::hint("locks", "shows what is held, and by whom"),
    };
    // In text the order above has listed them already.
    if output == Output::Json {
        for blocker in all() {
            if !error.blockers.contains(blocker) {
                error.blockers.push(blocker.clone());
            }
        }
    }
    Some(error.hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Cli, ClientCommand, Command};

    /// The options of a line, with this manifest.
    fn asked(line: &[&str], text: &str, aim: Aim) -> Result<(Restart, NewServiceRestart), CliError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("reveille.toml");
        std::fs::write(&path, text).unwrap();
        let manifest = path.display().to_string();
        let cli = Cli::read(["reveille", "restart", "--manifest", &manifest].iter().chain(line)).unwrap();
        let Command::Client(ClientCommand::Restart(mut args)) = cli.command else { panic!("{line:?}") };
        let request = request(&mut args, aim, false)?;
        Ok((args, request))
    }

    const TWO: &str = "[service.\"sso.redis\"]\n[service.\"sso.api\"]\ndependencies = [\"sso.redis\"]\n";

    #[test]
    fn s3_28_to_33_options_are_what_is_asked_for() {
        let line = ["--service", "sso.api", "--skip-migrations", "--deploy", "--keep-going", "--parallel"];
        let (args, request) = asked(&line, TWO, Aim::Here).unwrap();
        assert_eq!((&request.only, &request.targets), (&vec!["sso.api".to_owned()], &vec!["localhost".to_owned()]));
        assert!(request.skip_migrations && request.deploy && request.keep_going && !args.dry_run);
        assert_eq!((request.parallel, request.services.len()), (Some(0), 2));
        assert_eq!(asked(&["--parallel=3"], TWO, Aim::Here).unwrap().1.parallel, Some(3));
        assert_eq!(asked(&[], TWO, Aim::Here).unwrap().1.parallel, None);
    }

    #[test]
    fn s3_31_force_has_a_reason() {
        let error = asked(&["--force", " "], TWO, Aim::Here).unwrap_err();
        assert!(error.exit == Exit::Usage && error.message.contains("reason"), "{error}");
        assert_eq!(asked(&["--force", "down"], TWO, Aim::Here).unwrap().1.force.unwrap().reason, "down");
        assert!(Cli::read(["reveille", "restart", "--force"]).is_err());
    }

    #[test]
    fn s3_34_a_path_without_a_deploy_is_told_with_what_to_do() {
        let error = asked(&["--deploy-path", "/tmp/x"], TWO, Aim::Here).unwrap_err();
        assert!(error.exit == Exit::Usage && error.hint.as_deref().is_some_and(|hint| hint.contains("add --deploy")), "{error}");
        let line = ["--deploy", "--deploy-path", "trees"];
        let here = asked(&line, TWO, Aim::Here).unwrap().1.deploy_path.unwrap();
        assert!(here.starts_with('/') && here.ends_with("/trees"), "{here}");
    }

    #[test]
    fn with_a_server_hosts_are_those_that_are_named() {
        let error = asked(&[], TWO, Aim::Server).unwrap_err();
        assert!(error.hint.unwrap().contains("--host"));
        let named = "[service.a]\nhost = \"app1\"\n[service.b]\nhost = \"app2\"\n[service.c]\n";
        assert_eq!(asked(&["--service", "b"], named, Aim::Server).unwrap().1.targets, ["app2"]);
        assert_eq!(asked(&["--host", "app*"], TWO, Aim::Server).unwrap().1.targets, ["app*"]);
    }
}
