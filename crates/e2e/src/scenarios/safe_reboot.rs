//! The first journey: a host with children reboots safely and proves it.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::evidence::Before;
use crate::product::{Managed, PATIENCE, Server};
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "orchestrated_reboot",
        about: "by curl: children stopped, one reboot, the same children started, S0's document complete",
        limit: Duration::from_mins(5),
        machines: 3,
        run: orchestrated_reboot,
    },
    Scenario {
        name: "child_traps_its_stop",
        about: "a child that does not stop is told to, waited for, and comes back; the result says so",
        limit: Duration::from_mins(5),
        machines: 3,
        run: child_traps_its_stop,
    },
];

/// Stops before the agent does, and takes its time: so the host is seen while it goes down.
const SLOW: (&str, &str) = (
    "slow.service",
    "[Unit]\nAfter=reveille-agent.service\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n\
     ExecStop=/bin/sleep 3\n[Install]\nWantedBy=multi-user.target\n",
);

fn orchestrated_reboot(world: &World) -> anyhow::Result<()> {
    let server = Server::start(world, &[])?;
    let managed = Managed::parent(world, &server, "safe", &[SLOW])?;
    let host = &managed.host;
    managed.wait_ready(&server, "orchestrated_reboot")?;
    let before = Before::of(host)?;

    let check = server.look(&format!("/api/host/{}/reboot/pre-check", managed.id))?;
    let running = check["running_children"].as_array().context("no running_children")?;
    ensure!(check["has_running_children"] == true && check["has_container_engine"] == true, "{check}");
    ensure!(check["running_count"] == 2 && check["total_children"] == 3 && running.len() == 2, "{check}");

    // Down until it was seen to be down.
    host.hold()?;
    let run = managed.reboot(&server, &json!({}))?;
    ensure!(run.started["status"] == "shutting_down" && run.started["child_count"] == 2, "{}", run.started);
    let (phases, status) =
        run.follow(&server, PATIENCE, |phase| if phase == "pending_restart" { host.release() } else { Ok(()) })?;
    ensure!(phases == ["shutting_down", "rebooting", "pending_restart", "restarting", "completed"], "seen: {phases:?}");
    world.shown(format!("phases seen by curl: {}", phases.join(" -> ")));
    world.shown(before.rebooted(host, 1)?);
    world.shown(before.children(host, &["c1", "c2"], true)?);

    let ids: Vec<&Value> = running.iter().map(|child| &child["id"]).collect();
    let fields = complete(&status, &run.id, &managed.id, &ids)?;
    world.shown(format!("the status document has its {fields} fields, its times in order"));

    let audit = server.look(&format!("/api/v1/audit?orchestration={}&limit=500", run.id))?;
    let actions: Vec<&str> =
        audit["entries"].as_array().into_iter().flatten().filter_map(|line| line["action"].as_str()).collect();
    for action in ["accepted", "command_issued", "acked", "host_gone", "ended"] {
        ensure!(actions.contains(&action), "the audit log has no {action}: {actions:?}");
    }
    world.shown(format!("{} lines of audit", actions.len()));
    Ok(())
}

/// S0-43 to S0-63 of an orchestration that completed. Returns how many fields there are.
fn complete(status: &Value, id: &str, host: &str, children: &[&Value]) -> anyhow::Result<usize> {
    let document = status.as_object().context("not a document")?;
    let expected = [
        "orchestration_id",
        "parent_host_id",
        "status",
        "child_hosts_snapshot",
        "child_hosts_restart_status",
        "shutdown_timeout_seconds",
        "initiated_by",
        "initiated_at",
        "shutdown_completed_at",
        "reboot_issued_at",
        "agent_reconnected_at",
        "restart_completed_at",
        "error_message",
    ];
    ensure!(document.len() == expected.len() && expected.iter().all(|key| document.contains_key(*key)), "fields: {status}");
    ensure!(status["orchestration_id"] == id && status["parent_host_id"] == host && status["status"] == "completed", "{status}");
    ensure!(status["shutdown_timeout_seconds"] == 120 && status["initiated_by"] == "admin", "{status}");
    ensure!(status["error_message"].is_null(), "{status}");
    let times = ["initiated_at", "shutdown_completed_at", "reboot_issued_at", "agent_reconnected_at", "restart_completed_at"];
    let times: Vec<&str> = times.iter().filter_map(|key| status[*key].as_str()).collect();
    // RFC 3339 with one zone and one precision sorts as text.
    let well_formed = |time: &&str| time.len() == "2025-01-15T10:30:00.000Z".len() && time.ends_with('Z');
    ensure!(times.len() == 5 && times.iter().all(well_formed) && times.is_sorted(), "times: {times:?}");

    let keys = |value: &Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let mut fields = document.len();
    for (list, has) in [
        ("child_hosts_snapshot", ["child_name", "child_type", "id", "pre_reboot_status"]),
        ("child_hosts_restart_status", ["child_name", "error", "id", "restart_status"]),
    ] {
        let entries = status[list].as_array().with_context(|| format!("no {list}"))?;
        ensure!(entries.len() == children.len() && entries.iter().all(|entry| keys(entry) == has), "{list}: {entries:?}");
        ensure!(entries.iter().map(|entry| &entry["id"]).eq(children.iter().copied()), "{list} has other ids than the pre-check");
        let names: Vec<&Value> = entries.iter().map(|entry| &entry["child_name"]).collect();
        ensure!(names == ["c1", "c2"], "{list}: {names:?}");
        for entry in entries {
            let good = match list {
                "child_hosts_snapshot" => entry["child_type"] == "lxd" && entry["pre_reboot_status"] == "running",
                _ => entry["restart_status"] == "running" && entry["error"].is_null(),
            };
            ensure!(good, "{list}: {entry}");
        }
        fields += has.len();
    }
    Ok(fields)
}

/// Shortened; S0's is 120.
const STOP_SECONDS: u64 = 6;

fn child_traps_its_stop(world: &World) -> anyhow::Result<()> {
    let server = Server::start(world, &[])?;
    let managed = Managed::parent(world, &server, "trap", &[])?;
    let host = &managed.host;
    host.child_trap_stop("c1", Duration::from_secs(3600))?;
    // When the host itself goes down LXD cuts it off; by default after 30 s.
    host.sh("lxc config set c1 boot.host_shutdown_timeout 3")?;
    managed.wait_ready(&server, "orchestrated_reboot")?;
    let before = Before::of(host)?;

    let run = managed.reboot(&server, &json!({"shutdown_timeout_seconds": STOP_SECONDS}))?;
    let (_, status) = run.follow(&server, PATIENCE, |_| Ok(()))?;
    ensure!(status["status"] == "completed", "{status}\n{}", run.tell(&server));
    world.shown(before.rebooted(host, 1)?);
    world.shown(before.children(host, &["c1", "c2"], true)?);

    let log = host.child_journal("c1", "-u stubborn")?;
    let asked: Vec<&str> = log.lines().filter(|line| line.contains("asked to stop, staying")).collect();
    ensure!(!asked.is_empty(), "its log does not show that it was asked to stop:\n{log}");
    let story = run.story(&server)?;
    let child = |name: &str| -> anyhow::Result<Value> {
        let all = story["children"].as_array().context("no children")?;
        all.iter().find(|child| child["name"] == name).cloned().with_context(|| format!("no {name} in {story}"))
    };
    let (one, two) = (child("c1")?, child("c2")?);
    ensure!(one["stop_status"] == "timed_out" && one["restart_status"] == "running", "{one}");
    ensure!(two["stop_status"] == "stopped" && two["restart_status"] == "running", "{two}");
    let said = status["child_hosts_restart_status"][0]["error"].as_str().unwrap_or_default();
    ensure!(said.contains("did not stop"), "S0's document does not say it: {status}");

    let seconds = |key: &str| -> anyhow::Result<f64> { seconds_of_day(status[key].as_str().unwrap_or_default()) };
    let waited = seconds("reboot_issued_at")? - seconds("initiated_at")?;
    let waited = if waited < 0.0 { waited + 86_400.0 } else { waited };
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let limit = STOP_SECONDS as f64;
    ensure!(waited >= limit, "the reboot came {waited:.1} s after the start, and children had {STOP_SECONDS} s");
    world.shown(format!(
        "c1 logged its stop {} times, was waited for ({STOP_SECONDS} s; the reboot was issued after {waited:.1} s): {said:?}",
        asked.len()
    ));
    Ok(())
}

/// Of `2025-01-15T10:30:00.250Z`.
fn seconds_of_day(time: &str) -> anyhow::Result<f64> {
    let clock = time.split('T').nth(1).and_then(|rest| rest.strip_suffix('Z')).with_context(|| format!("no time: {time:?}"))?;
    let parts: Vec<f64> = clock.split(':').map(str::parse).collect::<Result<_, _>>()?;
    ensure!(parts.len() == 3, "no time: {time:?}");
    Ok(parts.iter().fold(0.0, |sum, part| sum * 60.0 + part))
}
