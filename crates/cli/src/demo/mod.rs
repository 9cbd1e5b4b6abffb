//! `reveille demo`: a controller and three sandbox hosts, two orchestrated reboots, and the controller killed in the second.
//!
//! What it tells is computed: from the journal, and from what the hosts themselves show ([`evidence`]). Where the two do not
//! agree, or anything ends in another way than it should, it says so and fails.

mod evidence;
mod hosts;
mod journey;
mod place;
mod stage;
mod tell;

use std::time::Duration;

use model::ChildStatus;
use protocol::rest::access::EnrolmentTokenRequest;
use protocol::rest::hosts::{Host, HostState};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::args::{DemoArgs, Output};
use crate::client::Client;
use crate::error::CliError;
use crate::exit::Exit;
use crate::sandbox::{Request, ask};
use crate::terminal;

use hosts::{APOLLO, BOREALIS, CALYPSO, HostSpec};
use journey::Journey;
use place::Place;
use stage::Stage;

/// How long a host may take to show itself.
const LIMIT: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);
/// How long reading a log or asking a host may go on after the end.
const LAST_WORK: Duration = Duration::from_secs(1);

fn failed(what: impl Into<String>) -> CliError {
    CliError::new(Exit::Failed, what)
}

/// Runs it. Whatever happens, no process and no directory of it is left.
pub(crate) fn run(args: DemoArgs, output: Output) -> Result<Exit, CliError> {
    if output == Output::Json {
        return Err(CliError::usage("the demonstration is told for people only")
            .hint("leave --output away; what it starts can be asked with --output json"));
    }
    // One thread, which lives until the end: the processes are bound to its life.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| failed(format!("cannot start: {error}")))?;
    let ended = runtime.block_on(live(&args));
    runtime.shutdown_timeout(LAST_WORK);
    ended.map(|()| Exit::Done)
}

async fn live(args: &DemoArgs) -> Result<(), CliError> {
    // Heard from before anything is made.
    let mut ends = Ends::new()?;
    let mut stage = Stage::new(Place::make(args.dir.as_deref())?)?;
    let mut told = tokio::select! {
        told = story(&mut stage) => told,
        () = ends.heard() => Err(failed("interrupted before the end of the story").hint("nothing of it is left")),
    };
    if told.is_ok() && !args.exit {
        told = tokio::select! {
            ended = explore(&mut stage) => ended,
            () = ends.heard() => terminal::print("\nStopping everything …\n"),
        };
    }
    stage.end().await;
    if told.is_ok() && args.exit {
        terminal::print("\nEverything is stopped and removed. Without --exit it stays up for exploring.\n")?;
    }
    told
}

/// Ctrl-C and its like.
struct Ends([tokio::signal::unix::Signal; 3]);

impl Ends {
    fn new() -> Result<Self, CliError> {
        let listen = |kind| signal(kind).map_err(|error| failed(format!("cannot listen for signals: {error}")));
        Ok(Self([listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?, listen(SignalKind::hangup())?]))
    }

    async fn heard(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

async fn story(stage: &mut Stage) -> Result<(), CliError> {
    terminal::print(
        "Reveille shows itself on three sandbox hosts: supervised trees of processes on\n\
         this machine that play hosts, not real machines. The controller and the agents\n\
         are the real ones, in processes of their own, and speak over MQTT with TLS.\n",
    )?;
    tell::part("A controller and three hosts")?;
    let pid = stage.start_controller().await?;
    tell::fact(&format!(
        "controller  process {pid}, API on {},\n{:12}MQTT with TLS on port {}",
        stage.url(),
        "",
        stage.mqtt_port()
    ))?;
    let client = stage.login().await?;
    let mut known = Vec::new();
    for spec in hosts::ALL {
        known.push(introduce(stage, &client, spec).await?);
    }
    let [apollo, borealis, _] = &known[..] else { return Err(failed("there are not three hosts")) };
    let untouched = evidence::look(&CALYPSO, &CALYPSO.dir(stage.path()));

    tell::part("An orchestrated reboot of apollo, by the controller's journal")?;
    let first = journey::reboot(stage, &client, apollo, &APOLLO, false).await?;
    evidence(&APOLLO, &first)?;

    tell::part("The same for borealis, and its controller is killed in the middle")?;
    let second = journey::reboot(stage, &client, borealis, &BOREALIS, true).await?;
    evidence(&BOREALIS, &second)?;

    tell::part("In short")?;
    if evidence::look(&CALYPSO, &CALYPSO.dir(stage.path())) != untouched {
        return Err(failed("calypso was touched, which nobody asked for"));
    }
    for (spec, journey) in [(&APOLLO, &first), (&BOREALIS, &second)] {
        let without = journey.without.map(|span| format!(", {} of it without a controller", tell::seconds(span)));
        let (took, away) = (tell::seconds(journey.took()), tell::seconds(journey.seen.away.duration()));
        tell::fact(&format!(
            "{:<10}completed in {took}{}\n{:10}{} journal entries; children away for at most {away}",
            spec.name,
            without.unwrap_or_default(),
            "",
            journey.entries,
        ))?;
    }
    tell::fact("calypso   not touched: the same boot all along")?;
    Ok(())
}

/// Enrols a host, switches it on, approves it, and brings its children into the state from which the story begins.
async fn introduce(stage: &mut Stage, client: &Client, spec: &HostSpec) -> Result<Host, CliError> {
    let request = EnrolmentTokenRequest {
        name: spec.name.to_owned(),
        labels: std::collections::BTreeMap::new(),
        expires_in_seconds: Some(600),
    };
    let token = client.enrol_token(&request).await?;
    let shown = stage.enrol(spec, &token.token).await?;
    let host = client.one_host(spec.name).await?;
    if host.key_fingerprint != shown {
        return Err(failed(format!("{} shows the key {shown}, and the controller another: {}", spec.name, host.key_fingerprint)));
    }
    client.approve(host.id, &shown).await?;
    stage.power_on(spec)?;
    arrange(stage, spec).await?;
    let host = active(client, spec).await?;
    let key: String = shown.trim_start_matches("sha256:").chars().take(8).collect();
    let mut text = format!("{:<12}its own key {key}… enrolled and approved", spec.name);
    if !spec.children.is_empty() {
        text.push_str(&format!("\n{:12}{} run", "", tell::names(&spec.running(true))));
    }
    for name in spec.running(false) {
        text.push_str(&format!("; {name} is stopped, though each boot starts it"));
    }
    tell::fact(&text)?;
    Ok(host)
}

/// Like somebody at the host who starts and stops children there.
async fn arrange(stage: &Stage, spec: &HostSpec) -> Result<(), CliError> {
    let dir = spec.dir(stage.path());
    let up = async {
        while ask_host(&dir, Request::List).await.is_err() {
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(LIMIT, up).await.map_err(|_| failed(format!("{} did not come up within {} s", spec.name, LIMIT.as_secs())))?;
    for child in spec.children {
        let name = child.name.to_owned();
        let request = match child.runs {
            true => Request::Start { name, frozen: false },
            false => Request::Stop { name, grace_ms: 10_000, force: false },
        };
        ask_host(&dir, request).await?;
    }
    Ok(())
}

async fn ask_host(dir: &std::path::Path, request: Request) -> Result<(), CliError> {
    let dir = dir.to_owned();
    let asked = tokio::task::spawn_blocking(move || ask(&dir, &request)).await;
    asked.map_err(|error| failed(error.to_string()))?.map(drop).map_err(|error| failed(error.to_string()))
}

/// The host, once the controller sees it as it is.
async fn active(client: &Client, spec: &HostSpec) -> Result<Host, CliError> {
    let as_it_is = |host: &Host| {
        let status = |name: &str| host.children.iter().find(|child| child.name == name).map(|child| child.status);
        let right = |runs: bool| if runs { ChildStatus::Running } else { ChildStatus::Stopped };
        host.state == HostState::Active && spec.children.iter().all(|child| status(child.name) == Some(right(child.runs)))
    };
    let seen = async {
        loop {
            let host = client.one_host(spec.name).await?;
            if as_it_is(&host) {
                return Ok(host);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    timeout(LIMIT, seen).await.map_err(|_| failed(format!("{} was not heard within {} s", spec.name, LIMIT.as_secs())))?
}

fn evidence(spec: &HostSpec, journey: &Journey) -> Result<(), CliError> {
    let seen = &journey.seen;
    terminal::print("\n")?;
    tell::fact(&format!("{} itself shows, in its files and in the logs of its children:", spec.name))?;
    tell::agrees(&format!("boot {}, then\nboot {}: one for one order", seen.boot_before, seen.boot_after))?;
    tell::agrees(&format!("{} were asked to stop, in this order, and ended", tell::names(&seen.stopped)))?;
    let pids: Vec<String> = seen.pids.iter().map(u32::to_string).collect();
    let pids: Vec<&str> = pids.iter().map(String::as_str).collect();
    tell::agrees(&format!("{} run again, started in this order: processes {}", tell::names(&seen.started), tell::names(&pids)))?;
    for name in &seen.stopped_again {
        tell::agrees(&format!("{name} was started by the boot, and is stopped as before"))?;
    }
    Ok(())
}

/// Stays up. Whoever kills the controller sees it started again.
async fn explore(stage: &mut Stage) -> Result<(), CliError> {
    let program = program();
    tell::part("Now try it yourself")?;
    let password = stage.path().join("password");
    std::fs::write(&password, format!("{}\n", stage.password())).map_err(|error| failed(error.to_string()))?;
    let (url, ca) = (stage.url(), stage.ca_file().display().to_string());
    tell::fact(&format!("address   {url}\nuser      admin\npassword  {}\nCA        {ca}", stage.password()))?;
    terminal::print("\n")?;
    tell::fact(&format!(
        "{program} login {url} \\\n  --ca {ca} \\\n  --password-file {}\n\
         {program} hosts\n{program} reboot apollo\n{program} audit --limit 20",
        password.display(),
    ))?;
    terminal::print("\n")?;
    tell::fact("Ctrl-C stops everything and removes it.")?;
    loop {
        let how = stage.controller_ended().await;
        let pid = stage.start_controller().await?;
        tell::struck(&format!("The controller ended ({how}); it is started again, as process {pid}."))?;
    }
}

/// How this program is called from here.
fn program() -> String {
    let Ok(path) = std::env::current_exe() else { return "reveille".to_owned() };
    let search = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&search).any(|dir| dir.join("reveille") == path) {
        return "reveille".to_owned();
    }
    let here = std::env::current_dir().ok().and_then(|dir| path.strip_prefix(dir).map(std::path::Path::to_owned).ok());
    here.unwrap_or(path).display().to_string()
}
