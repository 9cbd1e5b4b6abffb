//! The first journey, with the controller or the agent killed (SIGKILL) at a known place of it.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use super::evidence::Before;
use crate::product::{Managed, PATIENCE, Run, Server};
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "controller_killed_before_the_reboot",
        about: "kill -9 of the controller while children are stopped, and when the reboot is written down but not sent",
        limit: Duration::from_mins(6),
        machines: 3,
        run: |world| controllers(world, &["shutting_down", "rebooting"]),
    },
    Scenario {
        name: "controller_killed_after_the_reboot",
        about: "kill -9 of the controller while the host is down, and while children are started",
        limit: Duration::from_mins(6),
        machines: 3,
        run: |world| controllers(world, &["pending_restart", "restarting"]),
    },
    Scenario {
        name: "agent_killed_at_its_claim",
        about: "kill -9 of the agent before its claim of the reboot is on disk, and right after",
        limit: Duration::from_mins(6),
        machines: 3,
        run: |world| agents(world, &["before_claim", "after_claim"]),
    },
    Scenario {
        name: "agent_killed_at_the_reboot",
        about: "kill -9 of the agent when it was about to order the reboot, and after the boot",
        limit: Duration::from_mins(6),
        machines: 3,
        run: |world| agents(world, &["before_order", "after_boot"]),
    },
];

/// What is expected to come of a kill, written down beforehand.
struct Cut {
    /// Where: a phase for the controller, a pause point for the agent.
    at: &'static str,
    /// S0's state at the end.
    end: &'static str,
    /// How often the host boots anew.
    boots: usize,
    /// What the error message says, if there is one. Whatever the end, c1 and c2 run on new boots, and c3 is stopped.
    error: Option<&'static str>,
}

const fn unharmed(at: &'static str) -> Cut {
    Cut { at, end: "completed", boots: 1, error: None }
}

/// A controller goes on from its journal as if it had never stopped.
const CONTROLLER: [Cut; 4] =
    [unharmed("shutting_down"), unharmed("rebooting"), unharmed("pending_restart"), unharmed("restarting")];

/// An agent that noted that it orders the reboot does not order it again: it cannot know whether it did, and one too many is
/// worse than one that failed (G2). Before that, what it claimed is done.
const AGENT: [Cut; 4] = [
    unharmed("before_claim"),
    unharmed("after_claim"),
    Cut { at: "before_order", end: "failed", boots: 0, error: Some("not_begun") },
    unharmed("after_boot"),
];

/// The turn after which the controller is stopped and killed: what it has just written is not sent yet.
const AFTER: &str = "after_append";

fn controllers(world: &World, phases: &[&str]) -> anyhow::Result<()> {
    let mut server = Server::start(world, &[])?;
    let managed = Managed::parent(world, &server, "ctl", &[])?;
    for phase in phases {
        let cut = CONTROLLER.iter().find(|cut| cut.at == *phase).context("not in the table")?;
        controller(world, &mut server, &managed, cut).with_context(|| format!("the controller killed in {phase}"))?;
    }
    Ok(())
}

fn controller(world: &World, server: &mut Server, managed: &Managed, cut: &Cut) -> anyhow::Result<()> {
    let host = &managed.host;
    managed.wait_ready(server, "orchestrated_reboot")?;
    let before = Before::of(host)?;
    let held = matches!(cut.at, "pending_restart" | "restarting");
    if held {
        host.hold()?;
    }
    match cut.at {
        // The first step ends and the stops are written down; they are not sent.
        "shutting_down" => server.points().set(AFTER, "step_ended")?,
        "rebooting" => server.points().set(AFTER, "boot_end_commanded")?,
        _ => {}
    }
    let run = managed.reboot(server, &json!({}))?;
    match cut.at {
        "pending_restart" => {
            run.wait_phase(server, "pending_restart")?;
            host.wait_down(PATIENCE)?;
        }
        "restarting" => {
            run.wait_phase(server, "pending_restart")?;
            // The next step that ends is the reboot's.
            server.points().set(AFTER, "step_ended")?;
            host.release()?;
            server.points().wait(AFTER, PATIENCE)?;
        }
        _ => server.points().wait(AFTER, PATIENCE)?,
    }
    let seen = run.status(server)?;
    ensure!(seen["status"] == cut.at, "killed in another phase: {seen}");
    server.kill_9()?;
    server.points().clear(AFTER)?;
    server.start_again()?;
    if cut.at == "pending_restart" {
        // Nothing was lost with it: it knows where it was before the host is heard.
        let seen = run.status(server)?;
        ensure!(seen["status"] == cut.at && host.leader().is_none(), "{seen}");
        host.release()?;
    }
    judge(world, server, managed, &run, &before, cut, "controller")
}

fn agents(world: &World, points: &[&str]) -> anyhow::Result<()> {
    // A reboot that was not ordered is judged by this limit.
    let server = Server::start(world, &[("begin_within", 15_000)])?;
    let managed = Managed::parent(world, &server, "agt", &[])?;
    for point in points {
        let cut = AGENT.iter().find(|cut| cut.at == *point).context("not in the table")?;
        agent(world, &server, &managed, cut).with_context(|| format!("the agent killed at {}", cut.at))?;
    }
    Ok(())
}

fn agent(world: &World, server: &Server, managed: &Managed, cut: &Cut) -> anyhow::Result<()> {
    let host = &managed.host;
    managed.wait_ready(server, "orchestrated_reboot")?;
    let before = Before::of(host)?;
    managed.points().set(cut.at, "")?;
    let run = managed.reboot(server, &json!({}))?;
    managed.points().wait(cut.at, PATIENCE)?;
    let rebooted = usize::from(cut.at == "after_boot");
    host.wait_running(PATIENCE)?;
    before.rebooted(host, rebooted).context("at the moment of the kill")?;
    managed.kill_agent()?;
    managed.points().clear(cut.at)?;
    judge(world, server, managed, &run, &before, cut, "agent")
}

fn judge(
    world: &World,
    server: &Server,
    managed: &Managed,
    run: &Run,
    before: &Before,
    cut: &Cut,
    who: &str,
) -> anyhow::Result<()> {
    let (phases, status) = run.follow(server, PATIENCE, |_| Ok(()))?;
    let tell = || run.tell(server);
    let (said, expected) = (status["error_message"].as_str(), cut.error);
    let as_expected = said.is_none() == expected.is_none() && said.unwrap_or_default().contains(expected.unwrap_or_default());
    ensure!(status["status"] == cut.end && as_expected, "{status}\n{}", tell());
    let boots = before.rebooted(&managed.host, cut.boots).with_context(tell)?;
    let children = before.children(&managed.host, &["c1", "c2"], true).with_context(tell)?;
    world.shown(format!("{who} killed at {}: then {}; {boots}; {children}", cut.at, phases.join(" -> ")));
    Ok(())
}
