//! One at a time, and not too often.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::evidence::Before;
use crate::api::Reply;
use crate::lab::Kind;
use crate::product::{self, Managed, PATIENCE, Server};
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_at_a_time",
        about: "a second orchestration, a plain reboot or a shutdown of a host that has an active one: 409 with its id",
        limit: Duration::from_mins(5),
        machines: 3,
        run: one_at_a_time,
    },
    Scenario {
        name: "fourth_reboot_in_fifteen_minutes",
        about: "refused at the default limits: by the guard, and by the device after the database was replaced",
        limit: Duration::from_mins(5),
        machines: 3,
        run: fourth_reboot,
    },
];

fn one_at_a_time(world: &World) -> anyhow::Result<()> {
    let server = Server::start(world, &[])?;
    let managed = Managed::parent(world, &server, "one", &[])?;
    let host = &managed.host;
    managed.wait_ready(&server, "orchestrated_reboot")?;
    let before = Before::of(host)?;
    let orchestrated = format!("/api/host/{}/reboot/orchestrated", managed.id);
    let plain = format!("/api/v1/host/{}/reboot", managed.id);
    let shutdown = format!("/api/v1/host/{}/shutdown", managed.id);
    let ask = |path: &str| server.api.post(path, &json!({}));

    // At the same time: one of them.
    host.hold()?;
    let replies: Vec<Reply> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| ask(&orchestrated))).collect();
        asking.into_iter().map(|one| one.join().unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")))).collect::<Result<_, _>>()
    })?;
    let (started, refused): (Vec<&Reply>, Vec<&Reply>) = replies.iter().partition(|reply| reply.status == 200);
    ensure!(started.len() == 1 && refused.len() == 3, "{replies:?}");
    let id = product::text(&started[0].json, "orchestration_id")?;
    refused.iter().try_for_each(|reply| names(reply, &id))?;
    world.shown("four orchestrations asked for at once: one started, three answered 409 with its id");

    for path in [&orchestrated, &plain, &shutdown] {
        names(&ask(path)?, &id).with_context(|| path.clone())?;
    }
    let run = managed.run(&id);
    run.wait_phase(&server, "pending_restart")?;
    for path in [&orchestrated, &plain, &shutdown] {
        names(&ask(path)?, &id).with_context(|| format!("{path} while the host is down"))?;
    }
    host.release()?;
    world.shown("orchestrated, plain and shutdown refused with its id, while children stop and while the host is down");
    let (_, status) = run.follow(&server, PATIENCE, |_| Ok(()))?;
    ensure!(status["status"] == "completed", "{status}");
    world.shown(before.rebooted(host, 1)?);

    // A plain reboot that is active refuses an orchestrated one in the same way.
    managed.wait_ready(&server, "orchestrated_reboot")?;
    host.sh("lxc stop c1 c2")?;
    managed.wait_ready(&server, "reboot")?;
    host.hold()?;
    let started = ask(&plain)?.expect(200)?;
    let id = product::text(&started, "orchestration_id")?;
    for path in [&orchestrated, &plain, &shutdown] {
        names(&ask(path)?, &id).with_context(|| format!("{path} beside a plain reboot"))?;
    }
    host.release()?;
    let (_, status) = managed.run(&id).follow(&server, PATIENCE, |_| Ok(()))?;
    ensure!(status["status"] == "completed", "{status}");
    world.shown(format!("the same beside a plain reboot; in all {}", before.rebooted(host, 2)?));
    Ok(())
}

fn names(reply: &Reply, id: &str) -> anyhow::Result<()> {
    let said = &reply.json;
    ensure!(reply.status == 409 && said["error"] == "active_orchestration", "{} {said}", reply.status);
    ensure!(said["orchestration_id"] == id, "another id than {id}: {said}");
    Ok(())
}

fn fourth_reboot(world: &World) -> anyhow::Result<()> {
    let mut server = Server::start(world, &[])?;
    let managed = Managed::make(world, &server, "often", Kind::Plain, &[])?;
    let host = &managed.host;
    let before = Before::of(host)?;
    let ask = |server: &Server, id: &str, body: &Value| server.api.post(&format!("/api/v1/host/{id}/reboot"), body);
    for number in 1..=3 {
        managed.wait_ready(&server, "reboot")?;
        let started = ask(&server, &managed.id, &json!({}))?.expect(200)?;
        let (_, status) = managed.run(&product::text(&started, "orchestration_id")?).follow(&server, PATIENCE, |_| Ok(()))?;
        ensure!(status["status"] == "completed", "reboot {number}: {status}");
    }
    world.shown(format!("three reboots: {}", before.rebooted(host, 3)?));

    // Both know of three.
    let refused = ask(&server, &managed.id, &json!({}))?;
    let until = blocked(&refused, &["lockout", "device_rate_limit"])?;
    let counting = refused.json["commands"].as_array().map(Vec::len);
    ensure!(counting == Some(3), "the commands that count: {}", refused.json);
    world.shown(format!("the fourth: 409 blocked_safety by the guard, which names 3 commands; retry_at {until}"));
    let forced = ask(&server, &managed.id, &json!({"force": {"reason": "the test insists"}}))?;
    blocked(&forced, &["device_rate_limit"])?;
    let audit = server.look(&format!("/api/v1/audit?target={}&success=false", managed.id))?;
    let refusals = audit["entries"].as_array().map(Vec::len).unwrap_or_default();
    ensure!(refusals >= 1, "no refusal in the audit log: {audit}");
    world.shown("forced: 409 still, for the device's own limit; refusals are in the audit log");

    // The guard forgets; the device does not.
    server.replace_database()?;
    let id = product::enrol(&server, host)?;
    let again = Managed { host: host.clone(), id };
    crate::wait::until_true("the host to be heard by the new controller", PATIENCE, || {
        let why = server.look(&again.path("/explain?operation=reboot"))?;
        let only: Vec<&Value> = why["blockers"].as_array().into_iter().flatten().map(|one| &one["blocker"]).collect();
        ensure!(only == ["device_rate_limit"], "{why}");
        Ok(true)
    })?;
    let until = blocked(&ask(&server, &again.id, &json!({}))?, &["device_rate_limit"])?;
    let forced = ask(&server, &again.id, &json!({"force": {"reason": "the test insists"}}))?;
    blocked(&forced, &["device_rate_limit"])?;
    world.shown(format!("with a new database and the host enrolled again: 409 for the device's limit alone, retry_at {until}"));
    world.shown(format!("in all {}", before.rebooted(host, 3)?));
    Ok(())
}

/// 409 `blocked_safety` for exactly these blockers; returns `retry_at`.
fn blocked(reply: &Reply, why: &[&str]) -> anyhow::Result<String> {
    let said = &reply.json;
    ensure!(reply.status == 409 && said["error"] == "blocked_safety", "{} {said}", reply.status);
    let blockers: Vec<&str> =
        said["blockers"].as_array().into_iter().flatten().filter_map(|one| one["blocker"].as_str()).collect();
    ensure!(blockers == why, "blocked by {blockers:?} and not {why:?}: {said}");
    product::text(said, "retry_at")
}
