//! Hosts: listed, approved, enrolled, explained, acknowledged.

use protocol::rest::access::EnrolmentTokenRequest;
use protocol::rest::hosts::Host;
use protocol::rest::orchestrations::RebootOptions;
use protocol::rest::rollouts::TrackState;

use crate::args::{OperationArg, Output};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::{render, terminal};

/// Tracks of one rollout that are looked through.
const ROLLOUT_MAX: usize = 250_000;

pub(super) async fn list(client: &Client, output: Output, selector: Option<&str>) -> Result<Exit, CliError> {
    let list = client.hosts(selector).await?;
    terminal::answer(output, &list, || render::tables::hosts(&list))?;
    Ok(Exit::Done)
}

pub(super) async fn approve(client: &Client, output: Output, selector: &str, expected: Option<&str>) -> Result<Exit, CliError> {
    let host = client.one_host(selector).await?;
    let shown = &host.key_fingerprint;
    match expected {
        Some(expected) if !expected.trim().eq_ignore_ascii_case(shown) => {
            return Err(CliError::new(Exit::Refused, format!("{} has a key with another fingerprint: {shown}", host.name))
                .hint("compare it with the one that the agent shows on the host; do not approve a key that nobody knows"));
        }
        Some(_) => {}
        None => {
            eprintln!("{}\n  machine id       {}\n  key fingerprint  {shown}", host.name, host.machine_id);
            let question = "Is this the fingerprint that the agent shows on the host?";
            let instead = "give --fingerprint FINGERPRINT if nobody is there to be asked";
            tokio::task::block_in_place(|| terminal::confirm(question, instead))?;
        }
    }
    let host = client.approve(host.id, shown).await?;
    terminal::answer(output, &host, || format!("{} is approved.\n", host.name))?;
    Ok(Exit::Done)
}

pub(super) async fn enrol_token(
    client: &Client,
    output: Output,
    name: String,
    labels: Vec<(String, String)>,
    expires_in_secs: Option<u64>,
) -> Result<Exit, CliError> {
    let mut request =
        EnrolmentTokenRequest { name, labels: std::collections::BTreeMap::new(), expires_in_seconds: expires_in_secs };
    for (key, value) in labels {
        if request.labels.insert(key.clone(), value).is_some() {
            return Err(CliError::usage(format!("the label {key} is given twice")));
        }
    }
    let made = client.enrol_token(&request).await?;
    terminal::answer(output, &made, || {
        format!(
            "{}\n\nGood once, for {}, until {}. On the host: put it into a file and run `reveille-agent enrol --token-file FILE`.\n",
            made.token,
            made.name,
            render::time(made.expires_at)
        )
    })?;
    Ok(Exit::Done)
}

pub(super) async fn explain(
    client: &Client,
    output: Output,
    selector: &str,
    operation: Option<OperationArg>,
) -> Result<Exit, CliError> {
    let host = client.one_host(selector).await?;
    if operation.is_none()
        && let Some(done) = in_rollout(client, output, &host).await?
    {
        return Ok(done);
    }
    let operation = operation.map(|operation| match operation {
        OperationArg::OrchestratedReboot => model::Operation::OrchestratedReboot,
        OperationArg::Reboot => model::Operation::Reboot,
        OperationArg::Shutdown => model::Operation::Shutdown,
    });
    let explanation = client.explain(host.id, operation, &RebootOptions::default()).await?;
    terminal::answer(output, &explanation, || {
        let (name, operation) = (&explanation.host_name, explanation.operation);
        if explanation.would_start {
            format!("Nothing keeps {name} from a {operation} now.\n")
        } else {
            format!("What keeps {name} from a {operation} now:\n{}", render::blockers(&explanation.blockers))
        }
    })?;
    Ok(if explanation.would_start { Exit::Done } else { Exit::Refused })
}

/// Why a host does not start in the rollout that it waits in: the list that the scheduler goes by (pain 13).
async fn in_rollout(client: &Client, output: Output, host: &Host) -> Result<Option<Exit>, CliError> {
    let open = client.orchestrations(None, true).await?.orchestrations;
    for one in open.iter().filter(|one| one.rollout.is_some() || one.services.is_some()) {
        let tracks = client.tracks(one.id, "open", ROLLOUT_MAX).await?;
        // Of several services of a host the one that is worked on, else the next one.
        let own = || tracks.iter().filter(|track| track.target == host.id);
        let Some(track) = own().find(|track| track.state != TrackState::Waiting).or_else(|| own().next()) else { continue };
        let details = client.track(one.id, track.index).await?;
        terminal::answer(output, &details, || {
            let (name, id) = (if track.service.is_some() { &track.name } else { &host.name }, one.id);
            match (details.waiting_for.is_empty(), &details.track.step) {
                (true, Some(step)) => format!("{name} is worked on by {id}: {step}\n"),
                (true, None) => format!("Nothing keeps {name} waiting in {id}.\n"),
                (false, _) => format!("{name} waits in {id}:\n{}", render::blockers(&details.waiting_for)),
            }
        })?;
        return Ok(Some(if details.waiting_for.is_empty() { Exit::Done } else { Exit::Refused }));
    }
    Ok(None)
}

pub(super) async fn acknowledge(client: &Client, output: Output, selector: &str, child: Option<&str>) -> Result<Exit, CliError> {
    let host = client.one_host(selector).await?;
    let target = match child {
        None => None,
        Some(text) => {
            let alarm = host.alarms.iter().find(|alarm| alarm.name == text || alarm.target.to_string() == text);
            let none =
                || CliError::new(Exit::NotFound, format!("{} has no alarm for {text:?}", host.name)).hint("see `reveille hosts`");
            Some(alarm.ok_or_else(none)?.target)
        }
    };
    let done = client.acknowledge(host.id, target).await?;
    terminal::answer(output, &done, || format!("Acknowledged: {}.\n", done.acknowledged.join(", ")))?;
    Ok(Exit::Done)
}
