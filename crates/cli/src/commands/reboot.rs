//! `reboot` and `shutdown`: show, ask, start, follow.

use model::{Operation, RolloutOptions};
use protocol::rest::hosts::{Blocker, Host, RolloutsUse};
use protocol::rest::orchestrations::{ForceOption, RebootOptions};

use crate::args::{OnTimeoutArg, Output, Reboot, Run, Shutdown};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::render;
use crate::{again, follow, terminal};

pub(super) async fn reboot(client: &Client, output: Output, args: Reboot) -> Result<Exit, CliError> {
    // One host of a server and nothing said about rolling: its orchestrated reboot (S0). Everything else is a rollout.
    let alone = match (&args.targets[..], client.is_here(), args.rolling.options() == RolloutOptions::default()) {
        ([one], false, true) => client.hosts(Some(one)).await?.hosts,
        _ => Vec::new(),
    };
    let [host] = &alone[..] else { return super::rollout::reboot(client, output, &args).await };
    // What is configured for it counts, however many hosts there are: else its drain would be left out without a word.
    let used = client.explain(host.id, None, &RebootOptions::default()).await?.rollouts_use;
    if let Some(note) = as_a_rollout(&host.name, &used) {
        if output == Output::Text {
            terminal::print(&note)?;
        }
        return super::rollout::reboot(client, output, &args).await;
    }
    let options = RebootOptions {
        shutdown_timeout_seconds: args.timeout_secs,
        on_timeout: args.on_timeout.map(OnTimeoutArg::word),
        strict: args.strict,
        force: force(&args.run),
    };
    run(client, output, host, None, options, &args.run).await
}

/// Why one host is rebooted as a rollout, if it is.
fn as_a_rollout(name: &str, used: &RolloutsUse) -> Option<String> {
    let RolloutsUse { drains, checks, windows } = used;
    let named = [("drain", drains), ("check", checks), ("window", windows)].into_iter().filter(|(_, names)| !names.is_empty());
    let named: Vec<String> = named.map(|(what, names)| format!("{what} {}", names.join(", "))).collect();
    (!named.is_empty())
        .then(|| format!("What is configured for {name} is used ({}), so this is a rollout of one host.\n\n", named.join("; ")))
}

pub(super) async fn shutdown(client: &Client, output: Output, args: Shutdown) -> Result<Exit, CliError> {
    let options = RebootOptions { force: force(&args.run), ..RebootOptions::default() };
    let host = client.one_host(&args.target).await?;
    run(client, output, &host, Some(Operation::Shutdown), options, &args.run).await
}

fn force(run: &Run) -> Option<ForceOption> {
    run.force.clone().map(|reason| ForceOption { reason })
}

async fn run(
    client: &Client,
    output: Output,
    host: &Host,
    operation: Option<Operation>,
    options: RebootOptions,
    run: &Run,
) -> Result<Exit, CliError> {
    super::rollout::attached(client, run.detach)?;
    let pre_check = client.pre_check(host.id).await?;
    let fitting = if pre_check.has_running_children { Operation::OrchestratedReboot } else { Operation::Reboot };
    let operation = operation.unwrap_or(fitting);
    let explanation = client.explain(host.id, Some(operation), &options).await?;
    let plan = || render::plan::plan(host, &pre_check, &explanation, &options);
    if run.dry_run {
        let document =
            serde_json::json!({ "host": host, "pre_check": pre_check, "explanation": explanation, "options": options });
        terminal::answer(output, &document, plan)?;
        return Ok(if explanation.would_start { Exit::Done } else { Exit::Refused });
    }
    if output == Output::Text {
        terminal::print(&plan())?;
    }
    if !explanation.would_start {
        return Err(blocked(host, &explanation.blockers, output));
    }
    if !run.yes {
        let question = format!("\nGo on with the {operation} of {}?", host.name);
        tokio::task::block_in_place(|| terminal::confirm(&question, "give --yes if nobody is there to be asked"))?;
    }
    let started = client.start(host.id, operation, &options).await?;
    let id = started.orchestration_id;
    if run.detach {
        terminal::answer(output, &started, || render::orchestration::detached(id))?;
        return Ok(Exit::Done);
    }
    if output == Output::Text {
        terminal::print(&format!("\nOrchestration {id}; Ctrl-C detaches and does not cancel it.\n"))?;
    }
    follow::follow(client, None, id, output).await
}

/// The refusal, with what can be done about it.
fn blocked(host: &Host, blockers: &[Blocker], output: Output) -> CliError {
    let mut error = CliError::new(Exit::Refused, format!("{} cannot go down now: nothing was done", host.name));
    let active = blockers.iter().find_map(|blocker| blocker.details.get("orchestration")?.as_str());
    let hint = match (active, blockers.iter().all(|blocker| blocker.forceable)) {
        (Some(id), _) => format!("follow the orchestration that holds it with `{}`", again::command(&format!("watch {id}"))),
        (None, true) => "all of it can be overridden with --force REASON, which is audited".to_owned(),
        (None, false) => again::hint(&format!("explain {}", host.name), "shows when this changes"),
    };
    // In text the plan above has listed them already.
    if output == Output::Json {
        error.blockers = blockers.to_vec();
    }
    error.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples;

    #[test]
    fn one_host_is_a_rollout_when_something_is_configured_for_it() {
        let mut used = RolloutsUse::default();
        assert_eq!(as_a_rollout("web1", &used), None);
        used.checks = vec!["front".to_owned(), "back".to_owned()];
        used.windows = vec!["night".to_owned()];
        let note = as_a_rollout("web1", &used).unwrap();
        assert!(note.contains("web1") && note.contains("(check front, back; window night)"), "{note}");
    }

    #[test]
    fn a_refusal_says_what_can_be_done() {
        let hint = |blockers: &[Blocker]| blocked(&samples::host(), blockers, Output::Text).hint.unwrap();
        let mut blockers = samples::blockers();
        assert_eq!(hint(&blockers), "`reveille explain shop-01` shows when this changes");
        assert!(hint(&blockers[1..]).contains("--force"));
        blockers[0].details.insert("orchestration".to_owned(), "abc".into());
        assert!(hint(&blockers).contains("reveille watch abc"));
    }
}
