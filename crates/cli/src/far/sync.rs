//! `reveille sync` (S2-30 to 37): what should run on a host and does not, and a configuration of another generation; brought back,
//! the configuration first.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use inventory::{Deploy, Host, Inventory};
use model::{Action, Check, CheckKind, CheckResult, TargetId, fill};
use reach::ssh::{Access, Destination, Far};
use recipe::{HOOKS_DIR, HostKind, Missing, Verdict};

use super::checks::{Asked, Asker, vars};
use crate::args::{Global, Output, Sync};
use crate::error::CliError;
use crate::exit::Exit;
use crate::results::{Synced, SyncedHost};
use crate::{render, terminal};

/// A recipe that gets no answer goes on over a new connection for so long.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn sync(global: &Global, args: Sync) -> Result<Exit, CliError> {
    let (inventory, _) = super::inventory(global, "sync")?;
    let hosts = super::meant(&inventory, &args.targets)?;
    let access = super::access(&global.here, &inventory)?;
    let asker = Asker::new(access.clone())?;
    let work = Work { inventory: &inventory, access: &access, asker: &asker, args: &args, output: global.output };
    let mut synced = Synced { dry_run: args.dry_run, hosts: Vec::new() };
    // One host after the other: a deploy command may not like company, and a start is a disruption.
    for (name, host) in hosts {
        synced.hosts.push(work.host(name, host).await?);
    }
    terminal::answer(global.output, &synced, || render::checks::synced(&synced))?;
    Ok(if synced.hosts.iter().all(|host| host.good) { Exit::Done } else { Exit::Failed })
}

struct Work<'a> {
    inventory: &'a Inventory,
    access: &'a Arc<Access>,
    asker: &'a Asker,
    args: &'a Sync,
    output: Output,
}

impl Work<'_> {
    async fn host(&self, name: &str, host: &Host) -> Result<SyncedHost, CliError> {
        let mut row = SyncedHost { host: name.to_owned(), ..SyncedHost::default() };
        let at: Destination = host.address.to_string().parse().map_err(|error| CliError::usage(format!("{name}: {error}")))?;
        let mut far = self.access.far(at);
        row.generation = self.generations(name, host).await?;
        let missing = match look(&mut far).await {
            Ok(missing) => missing,
            Err(why) => return Ok(SyncedHost { error: Some(why), ..row }),
        };
        row.missing = missing.iter().map(ToString::to_string).collect();
        row.good = row.generation.is_empty() && missing.is_empty();
        if row.good || self.args.dry_run {
            return Ok(row);
        }
        row.error = self.bring_back(name, host, &mut far, &mut row.done, missing).await?;
        row.good = row.error.is_none();
        Ok(row)
    }

    /// Why the host is not as it should be in the end.
    async fn bring_back(
        &self,
        name: &str,
        host: &Host,
        far: &mut Far,
        done: &mut Vec<String>,
        mut missing: Vec<Missing>,
    ) -> Result<Option<String>, CliError> {
        // S2-37: what is started on an old configuration would have to be started again.
        if !self.generations(name, host).await?.is_empty() {
            let Some(deploy) = &self.inventory.deploy else {
                let text = "its configuration is of another generation: deploy it first, and sync again (or name the command as \
                            [deploy] command in fleet.toml)";
                return Ok(Some(text.to_owned()));
            };
            match self.deploy(name, host, deploy).await? {
                Ok(command) => done.push(command),
                Err(why) => return Ok(Some(why)),
            }
            if let Some(still) = self.generations(name, host).await?.first() {
                return Ok(Some(format!("after the deploy its generation is still another one: {}", still.detail)));
            }
            match look(far).await {
                Ok(now) => missing = now,
                Err(why) => return Ok(Some(why)),
            }
        }
        for action in Missing::restore(&missing, self.args.limit) {
            if let Err(why) = start(far, name, &action).await {
                return Ok(Some(why));
            }
        }
        done.extend(missing.iter().map(|one| format!("started {}", one.name)));
        Ok(match look(far).await {
            Ok(still) if still.is_empty() => None,
            Ok(still) => {
                Some(format!("still not running: {}", still.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
            }
            Err(why) => Some(why),
        })
    }

    /// The configured generation checks of a host that do not pass (S2-35, 36).
    async fn generations(&self, name: &str, host: &Host) -> Result<Vec<CheckResult>, CliError> {
        let (id, vars) = (TargetId::of_ssh(name), vars(name, host));
        let rules = self.inventory.config.checks.iter();
        let rules = rules
            .filter(|(_, rule)| matches!(rule.kind, CheckKind::Generation { .. }) && rule.on.matches(id, name, &host.labels));
        let filled = |(check, rule): (&String, &engine::CheckRule)| {
            let filled = rule.check(check).filled(&vars);
            filled.map_err(|error| CliError::usage(format!("check {check} for {name}: {error}")))
        };
        let checks: Vec<Check> = rules.map(filled).collect::<Result<_, _>>()?;
        if checks.is_empty() {
            return Ok(Vec::new());
        }
        let given = self.asker.ask(&[Asked { name, host, checks }], None).await;
        Ok(given.into_iter().map(|given| given.result).filter(|result| !result.passed).collect())
    }

    /// Runs the configured deploy command here. Its output goes to standard error.
    async fn deploy(&self, name: &str, host: &Host, deploy: &Deploy) -> Result<Result<String, String>, CliError> {
        let vars = vars(name, host);
        let filled = deploy.command.iter().map(|word| fill(word, &vars)).collect::<Result<Vec<_>, _>>();
        let words = filled.map_err(|error| CliError::usage(format!("deploy.command for {name}: {error}")))?;
        let Some((program, arguments)) = words.split_first() else { return Ok(Err("deploy.command is empty".to_owned())) };
        let shown = words.join(" ");
        if self.output == Output::Text {
            eprintln!("{name}: {shown}");
        }
        let child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .kill_on_drop(true)
            .spawn();
        let mut child = match child {
            Ok(child) => child,
            Err(error) => return Ok(Err(format!("cannot run {program}: {error}"))),
        };
        Ok(match tokio::time::timeout(deploy.limit.duration(), child.wait()).await {
            Err(_) => Err(format!("{shown} did not end within {}", deploy.limit)),
            Ok(Err(error)) => Err(format!("{shown}: {error}")),
            Ok(Ok(status)) if !status.success() => Err(format!("{shown} failed: {status}")),
            Ok(Ok(_)) => Ok(format!("ran {shown}")),
        })
    }
}

async fn look(far: &mut Far) -> Result<Vec<Missing>, String> {
    far.perform(recipe::missing(), PATIENCE).await.map_err(|error| error.to_string())?
}

async fn start(far: &mut Far, name: &str, action: &Action) -> Result<(), String> {
    let script = recipe::perform(&HostKind::Shell, TargetId::of_ssh(name), HOOKS_DIR, action);
    match far.perform(script, PATIENCE).await.map_err(|error| error.to_string())? {
        Verdict::Failed { message, .. } => Err(message),
        _ => Ok(()),
    }
}
