//! `reveille sync` (S2-30 to 37): what should run on a host and does not, and a configuration of another generation; brought back,
//! the configuration first.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use inventory::{Host, Inventory};
use model::{Action, Check, CheckKind, CheckResult, Millis, TargetId, fill};
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
    // Told before anything is done: what is wrong with the last host would leave the others half done.
    let planned = hosts.iter().map(|(name, host)| Planned::new(&inventory, name, host)).collect::<Result<Vec<_>, _>>()?;
    let access = super::access(&global.here, &inventory)?;
    let asker = Asker::new(access.clone())?;
    let deploy_limit = inventory.deploy.as_ref().map_or(Millis(0), |deploy| deploy.limit);
    let work = Work { access: &access, asker: &asker, args: &args, deploy_limit, output: global.output };
    let failure_budget = args.failure_budget.of(u32::try_from(planned.len()).unwrap_or(u32::MAX));
    let mut synced = Synced { dry_run: args.dry_run, failures: 0, failure_budget, hosts: Vec::new() };
    let interrupted = tokio::select! {
        () = work.all(&planned, &mut synced) => false,
        _ = tokio::signal::ctrl_c() => true,
    };
    for left in planned.iter().skip(synced.hosts.len()) {
        synced.hosts.push(SyncedHost { host: left.name.to_owned(), ..SyncedHost::default() });
    }
    if interrupted {
        eprintln!("Interrupted: no further host is begun; what had begun may go on there.");
    }
    terminal::answer(global.output, &synced, || render::checks::synced(&synced))?;
    Ok(if interrupted { Exit::Detached } else { synced.exit() })
}

/// One host, with everything about it that could be written wrongly.
struct Planned<'a> {
    name: &'a str,
    host: &'a Host,
    at: Destination,
    /// The configured generation checks (S2-35, 36).
    generation: Vec<Check>,
    /// What brings the right one, where there is something to tell that by.
    deploy: Option<Vec<String>>,
}

impl<'a> Planned<'a> {
    fn new(inventory: &Inventory, name: &'a str, host: &'a Host) -> Result<Self, CliError> {
        let wrong = |what: String, error: &dyn std::fmt::Display| CliError::usage(format!("{what} for {name}: {error}"));
        let at: Destination = host.address.to_string().parse().map_err(|error| CliError::usage(format!("{name}: {error}")))?;
        let (id, vars) = (TargetId::of_ssh(name), vars(name, host));
        let rules = inventory.config.checks.iter();
        let rules = rules
            .filter(|(_, rule)| matches!(rule.kind, CheckKind::Generation { .. }) && rule.on.matches(id, name, &host.labels));
        let filled = |(check, rule): (&String, &engine::CheckRule)| {
            rule.check(check).filled(&vars).map_err(|error| wrong(format!("check {check}"), &error))
        };
        let generation: Vec<Check> = rules.map(filled).collect::<Result<_, _>>()?;
        let deploy = inventory.deploy.as_ref().filter(|_| !generation.is_empty()).map(|deploy| {
            let words = deploy.command.iter().map(|word| fill(word, &vars)).collect::<Result<Vec<_>, _>>();
            words.map_err(|error| wrong("deploy.command".to_owned(), &error))
        });
        Ok(Self { name, host, at, generation, deploy: deploy.transpose()? })
    }
}

struct Work<'a> {
    access: &'a Arc<Access>,
    asker: &'a Asker,
    args: &'a Sync,
    deploy_limit: Millis,
    output: Output,
}

impl Work<'_> {
    /// One host after the other: a deploy command may not like company, and a start is a disruption. Over the budget nothing new
    /// is begun.
    async fn all(&self, planned: &[Planned<'_>], synced: &mut Synced) {
        for one in planned {
            let budget = usize::try_from(synced.failure_budget).unwrap_or(usize::MAX);
            if !self.args.dry_run && synced.failures > budget {
                return;
            }
            // What is known of it if this ends here.
            let error = Some("was under way when this ended; it may go on there".to_owned());
            synced.hosts.push(SyncedHost { host: one.name.to_owned(), begun: true, error, ..SyncedHost::default() });
            if let Some(row) = synced.hosts.last_mut() {
                row.error = self.host(one, row).await.err();
                row.good = row.error.is_none() && ((row.generation.is_empty() && row.missing.is_empty()) || !self.args.dry_run);
                synced.failures += usize::from(!row.good);
            }
        }
    }

    /// Whether the host is as it should be in the end, or why not.
    async fn host(&self, one: &Planned<'_>, row: &mut SyncedHost) -> Result<(), String> {
        let mut far = self.access.far(one.at.clone());
        row.generation = self.generations(one).await;
        let mut missing = look(&mut far).await?;
        row.missing = missing.iter().map(ToString::to_string).collect();
        if self.args.dry_run || (row.generation.is_empty() && missing.is_empty()) {
            return Ok(());
        }
        // S2-37: what is started on an old configuration would have to be started again.
        if !row.generation.is_empty() {
            let Some(deploy) = &one.deploy else {
                return Err(
                    "its configuration is of another generation: deploy it first, and sync again (or name the command as \
                            [deploy] command in fleet.toml)"
                        .to_owned(),
                );
            };
            row.done.push(self.deploy(one.name, deploy).await?);
            if let Some(still) = self.generations(one).await.first() {
                return Err(format!("after the deploy its generation is still another one: {}", still.detail));
            }
            missing = look(&mut far).await?;
        }
        for action in Missing::restore(&missing, self.args.limit) {
            start(&mut far, one.name, &action).await?;
            // At once: what is started before the next one fails is told too.
            if let Action::Undrain { prior, .. } = &action {
                row.done.extend(prior.iter().map(|item| format!("started {}", item.name)));
            }
        }
        let still = look(&mut far).await?;
        if still.is_empty() {
            return Ok(());
        }
        Err(format!("still not running: {}", still.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
    }

    /// The generation checks of a host that do not pass.
    async fn generations(&self, one: &Planned<'_>) -> Vec<CheckResult> {
        if one.generation.is_empty() {
            return Vec::new();
        }
        let asked = Asked { name: one.name, host: one.host, checks: one.generation.clone() };
        let given = self.asker.ask(&[asked], None).await;
        given.into_iter().map(|given| given.result).filter(|result| !result.passed).collect()
    }

    /// Runs the configured deploy command here. Its output goes to standard error.
    async fn deploy(&self, name: &str, words: &[String]) -> Result<String, String> {
        let Some((program, arguments)) = words.split_first() else { return Err("deploy.command is empty".to_owned()) };
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
        let mut child = child.map_err(|error| format!("cannot run {program}: {error}"))?;
        match tokio::time::timeout(self.deploy_limit.duration(), child.wait()).await {
            Err(_) => Err(format!("{shown} did not end within {}", self.deploy_limit)),
            Ok(Err(error)) => Err(format!("{shown}: {error}")),
            Ok(Ok(status)) if !status.success() => Err(format!("{shown} failed: {status}")),
            Ok(Ok(_)) => Ok(format!("ran {shown}")),
        }
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
