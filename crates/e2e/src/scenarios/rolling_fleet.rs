//! A whole fleet, one host after the other, under load: by a server with agents and ssh, and without any server.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::evidence;
use crate::fleet::local::{Local, ssh_home};
use crate::fleet::pulse::{Outages, Pulse};
use crate::fleet::{Fleet, Member, Role};
use crate::product::{self, PATIENCE, Server};
use crate::traffic::balancer::Balancer;
use crate::traffic::load::Load;
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "rolling_by_a_server",
        about: "eight hosts, agents and ssh, two kinds of limit group, HAProxy under load; one fails, kill -9, retry",
        limit: Duration::from_mins(8),
        machines: 8,
        run: by_a_server,
    },
    Scenario {
        name: "rolling_without_a_server",
        about: "the same over plain ssh from the command line; kill -9, resume, retry",
        limit: Duration::from_mins(8),
        machines: 8,
        run: without_a_server,
    },
];

/// A whole rollout takes longer than one reboot.
const ROLLOUT: Duration = Duration::from_mins(4);

/// How long each host must stay healthy, in milliseconds.
const SOAK: u64 = 1_000;

/// A host whose service does not come back is given up after so long, in milliseconds.
const GATE: u64 = 25_000;

/// Eight hosts that boot at once leave a small machine little time: one that is slow to answer must not count as silent.
const PACE: [(&str, u64); 2] = [("health_gate", GATE), ("active_limit", 60_000)];

/// What is watched from outside while the fleet is gone through.
struct Watch {
    balancer: Balancer,
    load: Load,
    pulse: Pulse,
}

impl Watch {
    fn start(fleet: &Fleet, balancer: Balancer) -> Self {
        let watch = Self { load: Load::start(&balancer.front), pulse: Pulse::start(fleet), balancer };
        // So that there are requests before anything happens.
        std::thread::sleep(Duration::from_secs(1));
        watch
    }

    /// No failed request; each front served before and after its reboot and not in between; limits were kept; the canary was
    /// waited for.
    fn judge(self, world: &World, fleet: &Fleet) -> anyhow::Result<()> {
        let Self { mut balancer, load, pulse } = self;
        std::thread::sleep(Duration::from_secs(1));
        let tally = load.end()?;
        let seen = balancer.seen()?;
        let outages = pulse.end()?;
        ensure!(tally.failed.is_empty(), "{}; failed: {:?}", tally.words(), tally.failed);
        world.shown(tally.words());
        for front in fleet.of(Role::Front) {
            world.shown(evidence::served_around_its_reboot(&front.host, &seen)?);
        }
        limits_kept(world, &outages)
    }
}

fn limits_kept(world: &World, outages: &Outages) -> anyhow::Result<()> {
    let rack = |name: &'static str| outages.most(move |member: &Member| member.rack == name);
    let (a, b, fronts) = (rack("a"), rack("b"), outages.most(|member| member.role == Role::Front));
    ensure!(a == 1 && b == 1 && fronts == 1, "down at once: {a} of rack a, {b} of rack b, {fronts} fronts: {outages:?}");
    let all = outages.most(|_| true);
    world.shown(format!("down at once, seen from outside: 1 of each rack, 1 front, {all} in all"));
    let order = outages.in_order();
    let (first, second) = (order.first().context("nobody was down")?, order.get(1).context("only one was down")?);
    let soak = Duration::from_millis(SOAK).as_secs_f64();
    ensure!(second.1.0 >= first.1.1 + soak, "{} went down before the canary {} had soaked: {order:?}", second.0, first.0);
    world.shown(format!("{} was down {:.1} s after the canary {} was up again", second.0, second.1.0 - first.1.1, first.0));
    Ok(())
}

/// How many hosts have rebooted by now.
fn rebooted(fleet: &Fleet) -> anyhow::Result<usize> {
    let reboots = fleet.members.iter().map(Member::reboots).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(reboots.into_iter().filter(|count| *count > 0).count())
}

/// What holds when a rollout has stopped at its broken host: the host rebooted once, everything else is as it was.
fn stopped_well(world: &World, fleet: &Fleet, balancer: &Balancer, broken: &str) -> anyhow::Result<()> {
    fleet.restored(Some(balancer), &[broken])?;
    for member in &fleet.members {
        let reboots = member.reboots()?;
        ensure!(reboots <= 1, "{} rebooted {reboots} times", member.host.name());
    }
    let reboots = fleet.member(broken)?.reboots()?;
    ensure!(reboots == 1, "{broken} rebooted {reboots} times");
    let done = rebooted(fleet)?;
    world.shown(format!("stopped at {broken}: {done} of {} hosts rebooted, everything else as it was", fleet.members.len()));
    Ok(())
}

// By a server.

fn by_a_server(world: &World) -> anyhow::Result<()> {
    let fleet = Fleet::make(world, 2, 6)?;
    // One front and three workers have an agent.
    let with_agent = |number: usize| [0, 2, 3, 4].contains(&number);
    for (number, member) in fleet.members.iter().enumerate() {
        if with_agent(number) {
            product::install_agent(world, &member.host)?;
        }
    }
    fleet.power_on()?;
    let balancer = fleet.balancer(world)?;
    let home = world.dir.join("home");
    ssh_home(&home, &fleet.members[0].host)?;
    let tables = Fleet::tables(Some(&balancer), "engine.");
    let mut server = Server::start_with(world, &PACE, &tables, &home)?;
    for (number, member) in fleet.members.iter().enumerate() {
        let labels: Value = member.labels().iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        if with_agent(number) {
            product::enrol_as(&server, &member.host, &labels)?;
        } else {
            let body = json!({"name": member.host.name(), "address": format!("root@{}", member.host.ip()), "labels": labels});
            let said = server.api.post("/api/v1/hosts", &body)?;
            ensure!((200..300).contains(&said.status), "{} {}", said.status, said.text);
        }
    }
    let options = json!({"canary": 1, "concurrency": 3, "soak": SOAK, "failure_budget": 0});
    let body = json!({"targets": ["*"], "options": options});
    let dry = json!({"targets": ["*"], "options": options, "dry_run": true});
    let preview = wait::until("the rollout to be accepted", PATIENCE, || {
        let preview = server.api.post("/api/v1/rollouts", &dry)?.expect(200)?;
        ensure!(preview["targets"] == 8, "{preview}");
        let blockers = preview["waves"][0]["tracks"][0]["blockers"].as_array().map(Vec::len);
        ensure!(blockers == Some(0), "the canary would not start: {preview}");
        Ok(Some(preview))
    })?;
    let names = |wave: usize| -> Vec<String> {
        let tracks = preview["waves"][wave]["tracks"].as_array();
        tracks.into_iter().flatten().filter_map(|track| track["name"].as_str().map(str::to_owned)).collect()
    };
    ensure!(names(0).len() == 1 && names(1).len() == 7, "{preview}");
    world.shown(format!("dry run: canary {}, then {}", names(0)[0], names(1).join(" ")));
    let broken = to_be_broken(&fleet, &names(1))?;
    broken.break_web()?;
    let broken = broken.host.name();

    let watch = Watch::start(&fleet, balancer);
    let started = server.api.post("/api/v1/rollouts", &body)?.expect(201)?;
    let id = product::text(&started, "id")?;
    wait::until_true("a few hosts to have rebooted", ROLLOUT, || Ok(rebooted(&fleet)? >= 3))?;
    server.kill_9()?;
    server.start_again()?;
    world.shown("the server killed (SIGKILL) after three reboots, and started again");

    let path = format!("/api/v1/rollouts/{id}");
    let paused = wait::until("the rollout to pause", ROLLOUT, || {
        let document = server.look(&path)?;
        let rollout = &document["rollout"];
        ensure!(!rollout["paused"].is_null() && rollout["running"] == 0, "{rollout}");
        Ok(Some(document))
    });
    let paused = paused.with_context(|| tell(&server, &path))?;
    let reason = product::text(&paused["rollout"]["paused"], "reason")?;
    ensure!(paused["rollout"]["failures"] == 1, "{paused}");
    stopped_well(world, &fleet, &watch.balancer, broken).with_context(|| tell(&server, &path))?;
    let tracks = server.look(&format!("/api/v1/orchestrations/{id}/tracks"))?;
    let failed = tracks["tracks"].as_array().into_iter().flatten().find(|track| track["outcome"] == "failed");
    ensure!(failed.is_some_and(|track| track["name"] == broken), "{tracks}");
    world.shown(format!("paused: {reason:?}; {broken}: {}", failed.map(|track| track["reason"].clone()).unwrap_or_default()));

    fleet.member(broken)?.repair_web()?;
    let retried = server.api.post(&format!("{path}/retry"), &json!({}))?.expect(201)?;
    let path = format!("/api/v1/rollouts/{}", product::text(&retried, "id")?);
    let over = wait::until("the retry to end", ROLLOUT, || {
        let document = server.look(&path)?;
        Ok(document["outcome"].is_string().then_some(document))
    });
    let over = over.with_context(|| tell(&server, &path))?;
    ensure!(over["outcome"] == "completed", "{}\n{over}", tell(&server, &path));
    world.shown(format!("retry: {} hosts, {}", retried["targets"], over["outcome"]));
    world.shown(fleet.rebooted(1, &[])?);
    fleet.restored(Some(&watch.balancer), &[])?;
    watch.judge(world, &fleet)
}

/// The last worker in this order after which another host of its rack is to come: when it fails, most are done, and that one is not
/// begun, since its rack has nothing to spare.
fn to_be_broken<'a>(fleet: &'a Fleet, order: &[String]) -> anyhow::Result<&'a Member> {
    let order = order.iter().map(|name| fleet.member(name)).collect::<anyhow::Result<Vec<_>>>()?;
    let followed = |at: usize| order.iter().skip(at + 1).any(|later| later.rack == order[at].rack);
    let last = (0..order.len()).rev().find(|at| order[*at].role == Role::Worker && followed(*at));
    last.map(|at| order[at]).context("no worker with another of its rack after it")
}

fn tell(server: &Server, path: &str) -> String {
    let tracks = server
        .look(&format!("{}/tracks", path.replace("rollouts", "orchestrations")))
        .map(|tracks| tracks.to_string())
        .unwrap_or_default();
    let journal = server.look(path).map(|document| document["journal"].clone()).unwrap_or_default();
    let lines = journal.as_array().into_iter().flatten();
    let lines: String = lines.map(|line| format!("{} {} {}\n", line["at"], line["action"], line["text"])).collect();
    format!("{lines}{tracks}\n{}", server.log_tail())
}

// Without a server.

fn without_a_server(world: &World) -> anyhow::Result<()> {
    let fleet = Fleet::make(world, 2, 6)?;
    fleet.power_on()?;
    let balancer = fleet.balancer(world)?;
    let tables = format!("{}{}", product::pace(&PACE), Fleet::tables(Some(&balancer), ""));
    let local = Local::new(world, &fleet, &tables)?;
    let soak = format!("{SOAK}ms");
    let how = ["--canary", "1", "--concurrency", "3", "--soak", &soak];

    let dry = local.run(&[&["reboot", "*", "--dry-run"], &how[..]].concat(), PATIENCE)?;
    ensure!(dry.ok(), "the dry run ended with {}: {}{}", dry.status, dry.out, dry.err);
    let mut order: Vec<(usize, String)> = fleet
        .members
        .iter()
        .filter_map(|member| Some((dry.out.find(member.host.name())?, member.host.name().to_owned())))
        .collect();
    order.sort();
    let order: Vec<String> = order.into_iter().map(|(_, name)| name).collect();
    ensure!(order.len() == 8, "the dry run does not name every host:\n{}", dry.out);
    world.shown(format!("dry run: {}", order.join(" ")));
    ensure!(rebooted(&fleet)? == 0, "a dry run rebooted a host");
    let broken = to_be_broken(&fleet, &order[1..])?;
    broken.break_web()?;
    let broken = broken.host.name();

    let watch = Watch::start(&fleet, balancer);
    let mut running = local.daemon(&[&["reboot", "*", "--yes"], &how[..]].concat());
    running.start()?;
    let enough = wait::until_true("a few hosts to have rebooted", ROLLOUT, || {
        ensure!(running.alive(), "it has ended");
        Ok(rebooted(&fleet)? >= 3)
    });
    enough.with_context(|| running.log_tail())?;
    running.kill_9()?;
    let resumed = local.run(&["resume"], ROLLOUT)?;
    ensure!(resumed.status.code() == Some(PAUSED), "resume ended with {}: {}{}", resumed.status, resumed.out, resumed.err);
    world.shown("reveille killed (SIGKILL) after three reboots; `reveille resume` went on, and paused");
    stopped_well(world, &fleet, &watch.balancer, broken).with_context(|| format!("{}{}", resumed.out, resumed.err))?;

    fleet.member(broken)?.repair_web()?;
    let list = local.json(&["orchestrations"], PATIENCE)?;
    let id = list["orchestrations"][0]["id"].as_str().with_context(|| list.to_string())?.to_owned();
    let retried = local.run(&["retry", &id, "--yes"], ROLLOUT)?;
    ensure!(retried.ok(), "retry ended with {}: {}{}", retried.status, retried.out, retried.err);
    world.shown(format!("after the repair `reveille retry` ended with {}", retried.status));
    world.shown(fleet.rebooted(1, &[])?);
    fleet.restored(Some(&watch.balancer), &[])?;
    watch.judge(world, &fleet)
}

/// The exit code of a rollout that waits for a person.
pub(super) const PAUSED: i32 = 8;
