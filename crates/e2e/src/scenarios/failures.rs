//! Reboots that do not happen, and hosts that do not come back.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::evidence::Before;
use crate::product::{Managed, PATIENCE, Server};
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reboot_does_not_happen",
        about: "systemctl reboot does nothing and the agent restarts: failed, children started again, no new boot",
        limit: Duration::from_mins(5),
        machines: 3,
        run: reboot_does_not_happen,
    },
    Scenario {
        name: "host_stays_down",
        about: "a host that does not come back fails by its deadline and is stranded; its late return is recorded",
        limit: Duration::from_mins(5),
        machines: 3,
        run: host_stays_down,
    },
];

/// Says yes and does nothing. Everything else goes to the program itself.
const IDLE: &str = "#!/bin/sh\ncase \" $* \" in *\" reboot \"*) echo \"$*\" >> /root/asked; exit 0;; esac\n\
                    exec /usr/bin/systemctl.real \"$@\"\n";

fn reboot_does_not_happen(world: &World) -> anyhow::Result<()> {
    let server = Server::start(world, &[("begin_within", 15_000)])?;
    let managed = Managed::parent(world, &server, "idle", &[])?;
    let host = &managed.host;
    managed.wait_ready(&server, "orchestrated_reboot")?;
    let before = Before::of(host)?;

    host.shadow_program("/usr/bin/systemctl", IDLE)?;
    let run = managed.reboot(&server, &json!({}))?;
    let asked = || host.read_file("/root/asked").unwrap_or_default().lines().count();
    wait::until_true("the host to be told to reboot", PATIENCE, || Ok(asked() > 0))?;
    managed.kill_agent()?;
    let (phases, status) = run.follow(&server, PATIENCE, |_| Ok(()))?;
    host.unshadow_program("/usr/bin/systemctl")?;
    ensure!(status["status"] == "failed" && !phases.iter().any(|phase| phase == "completed"), "{phases:?} {status}");
    let reason = status["error_message"].as_str().context("no error_message")?;
    world.shown(format!("told to reboot {} times, agent killed in between: {}; {reason:?}", asked(), phases.join(" -> ")));
    world.shown(before.rebooted(host, 0)?);
    world.shown(before.children(host, &["c1", "c2"], true).with_context(|| run.tell(&server))?);
    let restarts: Vec<&Value> =
        status["child_hosts_restart_status"].as_array().into_iter().flatten().map(|child| &child["restart_status"]).collect();
    ensure!(restarts == ["running", "running"], "{status}");
    let view = managed.view(&server)?;
    ensure!(view["stranded"].is_null() && view["active_orchestration"].is_null(), "{view}");
    managed.wait_ready(&server, "orchestrated_reboot").context("it is as before, and may be tried again")
}

fn host_stays_down(world: &World) -> anyhow::Result<()> {
    let server = Server::start(world, &[("back_within", 6_000)])?;
    let managed = Managed::parent(world, &server, "down", &[])?;
    let host = &managed.host;
    managed.wait_ready(&server, "orchestrated_reboot")?;
    let before = Before::of(host)?;

    host.hold()?;
    let run = managed.reboot(&server, &json!({}))?;
    let (phases, status) = run.follow(&server, PATIENCE, |_| Ok(()))?;
    host.wait_down(PATIENCE)?;
    ensure!(phases.last().is_some_and(|phase| phase == "failed"), "{phases:?}");
    let reason = status["error_message"].as_str().context("no error_message")?.to_owned();
    ensure!(reason.contains("stranded") && reason.contains("c1") && reason.contains("c2"), "{reason}");
    let view = managed.view(&server)?;
    let alarms = |view: &Value| view["alarms"].as_array().map(Vec::len).unwrap_or_default();
    ensure!(view["stranded"].is_string() && alarms(&view) == 3, "host, c1 and c2 are stranded: {view}");
    world.shown(format!("{}: {reason:?}", phases.join(" -> ")));
    let why = server.look(&managed.path("/explain?operation=orchestrated_reboot"))?;
    ensure!(why["would_start"] == false && why.to_string().contains("stranded"), "{why}");

    host.release()?;
    host.wait_running(PATIENCE)?;
    // LXD leaves c1 as it was stopped and starts c2 and c3; a person puts c1 right.
    host.sh("lxd waitready --timeout=60 && lxc start c1")?;
    wait::until_true("its return to be recorded", PATIENCE, || {
        let view = managed.view(&server)?;
        ensure!(view["stranded"].is_null(), "{view}");
        Ok(true)
    })?;
    let view = managed.view(&server)?;
    ensure!(alarms(&view) == 3, "an alarm went although nobody has seen it: {view}");
    let ended = view["alarms"].as_array().into_iter().flatten().all(|alarm| alarm["ended_at"].is_string());
    ensure!(ended, "its return is not in its alarms: {view}");
    ensure!(run.status(&server)? == status, "the late return has changed the result");
    let audit = server.look("/api/v1/audit?action=stranded_ended")?;
    let returns = audit["entries"].as_array().map(Vec::len).unwrap_or_default();
    ensure!(returns == 3, "the audit log tells of {returns} returns: {audit}");
    world.shown(format!("late return: {}; {returns} returns in the audit log, 3 alarms stay", before.rebooted(host, 1)?));

    server.api.post(&managed.path("/acknowledge"), &json!({}))?.expect(200)?;
    let view = managed.view(&server)?;
    ensure!(alarms(&view) == 0, "{view}");
    managed.wait_ready(&server, "orchestrated_reboot")?;
    world.shown("no alarm after a person acknowledged; the host may be rebooted again");
    Ok(())
}
