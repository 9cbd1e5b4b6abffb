//! S3's example platform: restarted, deployed to, and rolled back, on a host of its own, without a server.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::platform::{EVENTS, Pace, Platform, SMALL, Small, plan};
use crate::traffic::load::Load;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "services_of_a_platform",
    about: "PostgreSQL, Redis and four services: restarted in order, a good version and a bad one deployed, under load",
    limit: Duration::from_mins(9),
    machines: 1,
    run: platform,
}];

fn platform(world: &World) -> anyhow::Result<()> {
    let platform = Platform::start(world, &Pace::default())?;
    looked_at(world, &platform)?;
    restarted(world, &platform).context("all are restarted")?;
    good_version(world, &platform).context("a good version")?;
    bad_version(world, &platform).context("a bad version")
}

/// `check`, `services` and the dry run change nothing.
fn looked_at(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let before = platform.invocations(&platform.units())?;
    let said = platform.reveille("check")?;
    ensure!(said.ok(), "check: {}{}", said.out, said.err);
    let (listed, code) = platform.json("services")?;
    ensure!(code == Some(0), "not all are well: {listed}");
    let said = platform.reveille("restart --dry-run")?;
    ensure!(said.ok(), "the dry run: {}{}", said.out, said.err);
    let order: Vec<usize> = ["sso.postgresql", "sso.redis", "sso.api", "merchant.api", "profile.api", "marketplace.api"]
        .iter()
        .map(|name| said.out.find(&format!(" {name} ")).with_context(|| format!("no {name} in {}", said.out)))
        .collect::<anyhow::Result<_>>()?;
    ensure!(order.is_sorted(), "another order: {}", said.out);
    ensure!(platform.invocations(&platform.units())? == before, "a dry run restarted something");
    ensure!(platform.events()?.is_empty(), "a dry run wrote events");
    world.shown("the dry run names the order of S3-60 and changes nothing");
    Ok(())
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn restarted(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let units = platform.units();
    let before = platform.invocations(&units)?;
    let loads = loads(platform);
    let (result, code) = platform.json("restart --yes")?;
    let answered = quiet(loads)?;
    ensure!(code == Some(0) && result["success"] == true, "it ended with {code:?}: {result:#}");
    ensure!(names(&result["services_restarted"]).len() == 6, "{result:#}");
    let after = platform.invocations(&units)?;
    for (unit, (one, other)) in units.iter().zip(before.iter().zip(&after)) {
        let reloads = SMALL.iter().any(|small| small.unit == *unit && small.reloads);
        ensure!((one == other) == reloads, "{unit}: invocation {one} before and {other} after");
    }
    // When each began, by systemd's own clock: what others stand on first.
    let show = format!("systemctl show --property ActiveEnterTimestampMonotonic --value {}", units.join(" "));
    let began: Vec<u64> = platform.host.sh(&show)?.lines().filter_map(|line| line.trim().parse().ok()).collect();
    let of = |name: &str| units.iter().position(|unit| *unit == name).and_then(|place| began.get(place)).copied();
    let (sso, market) = (of("lilith-sso-api.service"), of("lilith-marketplace-api.service"));
    ensure!(of(&platform.postgresql) < sso && of("redis-server.service") < sso && sso < market, "{units:?} began at {began:?}");
    let kinds: Vec<(String, String)> = platform.events()?.iter().map(kind).collect::<anyhow::Result<_>>()?;
    let count = |wanted: &str| kinds.iter().filter(|(kind, _)| kind == wanted).count();
    ensure!(count("SERVICE_RESTART_START") == 6 && count("SERVICE_RESTART_SUCCESS") == 6 && kinds.len() == 12, "{kinds:?}");
    world.shown(format!("all six restarted in order, by systemd's invocation ids; the two that reload: {answered}"));
    Ok(())
}

fn kind(event: &Value) -> anyhow::Result<(String, String)> {
    let keys: Vec<&String> = event.as_object().context("no object")?.keys().collect();
    ensure!(keys.iter().all(|key| ["type", "serviceId", "timestamp", "metadata"].contains(&key.as_str())), "{event}");
    let at = event["timestamp"].as_str().context("no timestamp")?;
    ensure!(at.len() == 24 && at.ends_with('Z') && at.as_bytes()[19] == b'.', "{at} is no RFC 3339 with milliseconds");
    let word = |key: &str| Ok::<_, anyhow::Error>(event[key].as_str().with_context(|| format!("no {key}: {event}"))?.to_owned());
    Ok((word("type")?, word("serviceId")?))
}

/// Somebody asks each service that reloads all the time.
fn loads(platform: &Platform) -> Vec<(&'static str, Load)> {
    let reload = SMALL.iter().filter(|small| small.reloads);
    reload.map(|small| (small.name, Load::start(&format!("{}:{}", platform.host.ip(), small.port)))).collect()
}

/// No request failed.
fn quiet(loads: Vec<(&'static str, Load)>) -> anyhow::Result<String> {
    let mut words = Vec::new();
    for (name, load) in loads {
        let tally = load.end()?;
        ensure!(tally.failed.is_empty(), "{name}: {} requests failed, the first: {:?}", tally.failed.len(), tally.failed.first());
        words.push(format!("{name} {} requests, 0 failed", tally.good));
    }
    Ok(words.join(", "))
}

fn good_version(world: &World, platform: &Platform) -> anyhow::Result<()> {
    for small in SMALL {
        // What is the host's own stays, whatever is deployed.
        platform.host.put_file(&format!("{}/.env", small.tree()), "SECRET=of the host", 0o600)?;
        platform.put_tree(&format!("/deploy/{}", small.name), "2", "")?;
        platform.host.put_file(&format!("/deploy/{}/.env", small.name), "SECRET=of a developer", 0o644)?;
    }
    let deploy = "restart --deploy --deploy-path /deploy --parallel";
    let (preview, code) = platform.json(&format!("{deploy} --dry-run"))?;
    ensure!(code == Some(0), "the dry run ended with {code:?}: {preview:#}");
    let loads = loads(platform);
    let (result, code) = platform.json(&format!("{deploy} --yes"))?;
    let answered = quiet(loads)?;
    ensure!(code == Some(0) && result["success"] == true, "it ended with {code:?}: {result:#}");
    for small in SMALL {
        ensure!(platform.version(&small)? == "2", "{} answers with {}", small.name, platform.version(&small)?);
        let (now, new) = (platform.hash(&small.tree())?, platform.hash(&format!("/deploy/{}", small.name))?);
        ensure!(now == new, "the tree of {} is not the new one", small.name);
        ensure!(platform.host.read_file(&format!("{}/.env", small.tree()))? == "SECRET=of the host", "{}: .env", small.name);
    }
    let done = platform.sql("sso", "SELECT string_agg(name, ',' ORDER BY name) FROM migrations")?;
    ensure!(done.trim() == "migrations/1.sql,migrations/2.sql" || done.trim() == "migrations/2.sql", "migrations: {done}");
    let id = result["orchestration_id"].as_str().context("no orchestration")?;
    let (journal, _) = platform.json(&format!("{} {id}", plan::JOURNAL.join(" ")))?;
    world.shown(plan::same(&preview, &journal, true)?);
    world.shown(format!("version 2 deployed and served by all four, migrated on PostgreSQL; {answered}"));
    Ok(())
}

/// Version 3 of sso.api is ill: version 2 serves again, whole, and what depends on it was not touched.
fn bad_version(world: &World, platform: &Platform) -> anyhow::Result<()> {
    let [sso, others @ ..] = SMALL;
    for small in SMALL {
        platform.put_tree(&format!("/deploy/{}", small.name), "3", if small.name == sso.name { "sick" } else { "" })?;
    }
    let trees: Vec<String> = SMALL.iter().map(|small| platform.hash(&small.tree())).collect::<anyhow::Result<_>>()?;
    let units: Vec<&str> = others.iter().map(|small: &Small| small.unit).collect();
    let (before, events) = (platform.invocations(&units)?, platform.events()?.len());
    let (result, code) = platform.json("restart --yes --deploy --deploy-path /deploy")?;
    ensure!(code != Some(0) && result["success"] == false, "it ended with {code:?}: {result:#}");
    ensure!(names(&result["services_failed"]) == [sso.name], "{result:#}");
    ensure!(names(&result["services_skipped"]).len() == 3, "{result:#}");
    ensure!(platform.version(&sso)? == "2", "{} answers with {}", sso.name, platform.version(&sso)?);
    let now: Vec<String> = SMALL.iter().map(|small| platform.hash(&small.tree())).collect::<anyhow::Result<_>>()?;
    ensure!(now == trees, "a tree is not what it was");
    ensure!(platform.invocations(&units)? == before, "what depends on it was touched");
    let told: Vec<String> = platform.events()?.iter().skip(events).filter_map(|e| Some(kind(e).ok()?.0)).collect();
    let tail = ["SERVICE_RESTART_START", "ROLLBACK_START", "ROLLBACK_SUCCESS", "SERVICE_RESTART_FAILED"];
    ensure!(told.ends_with(&tail.map(str::to_owned)), "{EVENTS}: {told:?}");
    let row = result["services"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == sso.name));
    let reason = row.and_then(|row| row["reason"].as_str()).unwrap_or_default();
    ensure!(reason.contains("not healthy after the restart") && reason.contains("migration is not undone"), "{result:#}");
    let help = row.map(|row| &row["help"]).context("no row")?;
    ensure!(!help["journal"].as_array().is_none_or(Vec::is_empty), "no journal lines in {help:#}");
    ensure!(help.to_string().contains("systemctl stop lilith-sso-api.service"), "no manual rollback in {help:#}");
    // S3-13: the backup lies beside the unit file.
    let backup = platform.host.sh("cat /etc/systemd/system/lilith-sso-api.service.backup")?;
    ensure!(backup == platform.host.read_file("/etc/systemd/system/lilith-sso-api.service")?, "another backup: {backup}");
    world.shown(format!("version 3 rolled back: version 2 serves, trees whole, dependents untouched ({reason})"));
    Ok(())
}
