//! The same platform, restarted by a program of somebody else that calls the library: `crates/cli/examples/rolling_restart.rs`.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::platform::{MANIFEST, PATIENCE, Pace, Platform, SMALL};
use crate::process::Said;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "services_by_the_library",
    about: "a program that calls the library restarts the platform, with every option; what it is told is what systemd says",
    limit: Duration::from_mins(6),
    machines: 1,
    run: library,
}];

/// Where the program is on the host.
const PROGRAM: &str = "/usr/local/bin/rolling-restart";

const SSO: &str = SMALL[0].name;
const MERCHANT: &str = SMALL[1].name;
const PROFILE: &str = SMALL[2].name;
const MARKET: &str = SMALL[3].name;

fn library(world: &World) -> anyhow::Result<()> {
    let platform = Platform::start(world, &Pace { soak: "1s", ..Pace::default() })?;
    platform.host.put_program(&world.program("examples/rolling_restart")?, PROGRAM)?;
    dry_run(world, &platform).context("a dry run")?;
    all(world, &platform).context("all of them")?;
    one(world, &platform).context("one, without migrations and with them")?;
    force(world, &platform).context("force")?;
    deploys(world, &platform).context("deploys")?;
    bad_version(world, &platform).context("a bad version")?;
    wrong(world, &platform).context("what makes no sense")
}

fn call(platform: &Platform, words: &str) -> anyhow::Result<Said> {
    platform.host.ssh(&format!("cd / && {PROGRAM} {words}"), PATIENCE)
}

/// What the call gave, in JSON.
fn result(platform: &Platform, words: &str) -> anyhow::Result<Value> {
    let said = call(platform, words)?;
    serde_json::from_str(&said.out).with_context(|| format!("`{words}` ended with {}: {}{}", said.status, said.out, said.err))
}

/// The error of the call: what happened, what to do, and with what the program ended.
fn error(platform: &Platform, words: &str) -> anyhow::Result<Value> {
    let said = call(platform, words)?;
    ensure!(said.out.is_empty(), "`{words}` gave a result: {}", said.out);
    let last = said.err.lines().last().unwrap_or_default();
    let error: Value = serde_json::from_str(last).with_context(|| format!("`{words}` said {}", said.err))?;
    ensure!(said.status.code().map(Value::from) == Some(error["exit_code"].clone()), "it ended with {}: {error}", said.status);
    Ok(error)
}

/// The units whose invocation differs from before, by systemd.
fn anew<'a>(platform: &'a Platform, before: &[String]) -> anyhow::Result<Vec<&'a str>> {
    let units = platform.units();
    let after = platform.invocations(&units)?;
    Ok(units.into_iter().zip(before.iter().zip(after)).filter(|(_, (one, other))| *one != other).map(|(unit, _)| unit).collect())
}

fn before(platform: &Platform) -> anyhow::Result<Vec<String>> {
    platform.invocations(&platform.units())
}

fn dry_run(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let before = before(platform)?;
    let told = result(platform, "--dry-run")?;
    let order = json!(["sso.postgresql", "sso.redis", SSO, MERCHANT, PROFILE, MARKET]);
    ensure!(told["success"] == true && told["order"] == order && told["orchestration"].is_null(), "{told:#}");
    ensure!(told["services_restarted"] == json!([]), "{told:#}");
    ensure!(anew(platform, &before)?.is_empty() && platform.events()?.is_empty(), "a dry run did something");
    world.shown("a dry run gives the order and changes nothing, by systemd's invocation ids");
    Ok(())
}

fn all(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let before = before(platform)?;
    let told = result(platform, "")?;
    ensure!(told["success"] == true && told["services_failed"] == json!([]), "{told:#}");
    ensure!(told["services_restarted"].as_array().map(Vec::len) == Some(6), "{told:#}");
    let id = told["orchestration"].as_str().context("no id")?;
    let listed = platform.reveille("orchestrations")?;
    ensure!(listed.out.contains(id), "{id} is not listed: {}{}", listed.out, listed.err);
    let restarted: Vec<&str> =
        platform.units().into_iter().filter(|unit| !SMALL.iter().any(|small| small.unit == *unit && small.reloads)).collect();
    ensure!(anew(platform, &before)? == restarted, "not {restarted:?}: {:?}", anew(platform, &before)?);
    platform.wait_up()?;
    world.shown(format!("all six: {} run anew, two were reloaded; it is {id} in the journal", restarted.len()));
    Ok(())
}

fn one(world: &World, platform: &Platform) -> anyhow::Result<()> {
    platform.host.put_file("/srv/sso.api/migrations/9.sql", "CREATE TABLE ninth (id int);\n", 0o644)?;
    let row = || platform.sql("sso", "SELECT count(*) FROM migrations WHERE name = 'migrations/9.sql'");
    for (words, rows) in [("--skip-migrations", "0"), ("", "1")] {
        let before = before(platform)?;
        let told = result(platform, &format!("--one {SSO} {words}"))?;
        ensure!(told == json!(true), "{words:?}: {told}");
        ensure!(anew(platform, &before)? == [SMALL[0].unit], "{words:?}: {:?} run anew", anew(platform, &before)?);
        ensure!(row()?.trim() == rows, "{words:?}: {} rows", row()?.trim());
    }
    world.shown(
        "one service: true, and only its unit runs anew; without migrations PostgreSQL has no row of the new one, then it has",
    );
    Ok(())
}

/// One that is down, and ill when it runs, is an emergency.
fn force(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let unit = SMALL[2].unit;
    platform.host.sh(&format!("systemctl stop {unit} && echo sick > /srv/{PROFILE}/behaviour"))?;
    let told = result(platform, PROFILE)?;
    ensure!(told["success"] == false && told["services_failed"] == json!([PROFILE]), "{told:#}");
    ensure!(told["reasons"][0].as_str().is_some_and(|reason| reason.starts_with(PROFILE)), "{told:#}");
    ensure!(!platform.host.ssh(&format!("systemctl is-active {unit}"), PATIENCE)?.ok(), "it was started");
    let before = before(platform)?;
    let told = result(platform, &format!("--one {PROFILE} --force 'profile.api is down'"))?;
    ensure!(told == json!(true) && anew(platform, &before)? == [unit], "{told}");
    platform.host.sh(&format!("systemctl is-active {unit}"))?;
    let health =
        platform.host.sh(&format!("curl -s -o /dev/null -w '%{{http_code}}' http://localhost:{}/health", SMALL[2].port))?;
    ensure!(health == "500", "its health was to be ill: {health}");
    platform.host.sh(&format!("rm /srv/{PROFILE}/behaviour && systemctl restart {unit}"))?;
    platform.wait_up()?;
    world.shown(
        "a service that is down: failed before it is touched; with force and a reason it runs, though its health says 500",
    );
    Ok(())
}

fn deploys(world: &World, platform: &Platform) -> anyhow::Result<()> {
    platform.put_tree("/new", "2", "")?;
    ensure!(result(platform, &format!("--one {MARKET} --deploy --deploy-path /new"))? == json!(true));
    ensure!(platform.version(&SMALL[3])? == "2", "{MARKET} serves {}", platform.version(&SMALL[3])?);
    for name in [MERCHANT, PROFILE] {
        platform.put_tree(&format!("/deploy/{name}"), "2", "")?;
    }
    let told = result(platform, &format!("{MERCHANT} {PROFILE} --deploy --deploy-path /deploy --parallel 0"))?;
    ensure!(told["success"] == true && told["services_restarted"] == json!([MERCHANT, PROFILE]), "{told:#}");
    for small in &SMALL[1..] {
        ensure!(platform.version(small)? == "2", "{} serves {}", small.name, platform.version(small)?);
    }
    ensure!(platform.version(&SMALL[0])? == "1", "{SSO} was not asked for");
    world.shown("deploys: of one service its tree, of two the folder of both; version 2 serves");
    Ok(())
}

fn bad_version(world: &World, platform: &Platform) -> anyhow::Result<()> {
    for (name, behaviour) in [(MERCHANT, "sick"), (PROFILE, ""), (MARKET, "")] {
        platform.put_tree(&format!("/mixed/{name}"), "3", behaviour)?;
    }
    let trees: Vec<String> = [1, 3].map(|at| platform.hash(&SMALL[at].tree())).into_iter().collect::<anyhow::Result<_>>()?;
    let told = result(platform, &format!("{MERCHANT} {PROFILE} {MARKET} --deploy --deploy-path /mixed --keep-going"))?;
    ensure!(told["success"] == false && told["services_failed"] == json!([MERCHANT]), "{told:#}");
    ensure!(told["services_restarted"] == json!([PROFILE]) && told["services_skipped"] == json!([MARKET]), "{told:#}");
    ensure!(told["reasons"][0].as_str().is_some_and(|reason| reason.starts_with(MERCHANT)), "{told:#}");
    let served = SMALL.iter().map(|small| platform.version(small)).collect::<anyhow::Result<Vec<_>>>()?;
    ensure!(served == ["1", "2", "3", "2"], "they serve {served:?}");
    let now: Vec<String> = [1, 3].map(|at| platform.hash(&SMALL[at].tree())).into_iter().collect::<anyhow::Result<_>>()?;
    ensure!(now == trees, "a tree is not what it was");
    let said = call(platform, &format!("--one {MERCHANT} --deploy --deploy-path /mixed/{MERCHANT}"))?;
    ensure!(said.out.trim() == "false" && said.status.code() == Some(1), "{}: {}{}", said.status, said.out, said.err);
    ensure!(platform.version(&SMALL[1])? == "2", "{MERCHANT} serves {}", platform.version(&SMALL[1])?);
    world.shown("a bad version: false, and named among the failed; the old one serves, what does not depend on it went on");
    Ok(())
}

fn wrong(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let before = before(platform)?;
    let unknown = error(platform, "sso.apii")?;
    let message = unknown["error"].as_str().unwrap_or_default();
    ensure!(unknown["exit_code"] == 2 && message.contains("sso.apii") && message.contains(MARKET), "{unknown:#}");
    ensure!(unknown["hint"].as_str().is_some_and(|hint| hint.contains(MANIFEST)), "{unknown:#}");
    let path = error(platform, &format!("{MARKET} --deploy-path /new"))?;
    ensure!(path["exit_code"] == 2 && path["hint"].is_string(), "{path:#}");
    let manifest = error(platform, "--manifest /no/such.toml")?;
    ensure!(manifest["exit_code"] == 2 && manifest["hint"].is_string(), "{manifest:#}");
    ensure!(anew(platform, &before)?.is_empty(), "something was touched");
    world.shown(format!("an unknown service: {message} ({})", unknown["hint"].as_str().unwrap_or("no hint")));
    Ok(())
}
