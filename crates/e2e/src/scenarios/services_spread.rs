//! The same services on two hosts (S3-145): over SSH without a server, and through agents with one.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::fleet::local::Local;
use crate::fleet::{Fleet, Member, Role};
use crate::platform::{Pace, Platform, SHARED, SMALL, Small, plan};
use crate::points::Points;
use crate::process::{Said, command, output};
use crate::product::{self, AGENT_STATE, PATIENCE, Server};
use crate::traffic::load::Load;
use crate::wait;
use crate::world::{Scenario, World};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "services_of_two_hosts_over_ssh",
        about: "a platform on two hosts without agents: restarted, deployed to, rolled back, reveille killed and resumed",
        limit: Duration::from_mins(9),
        machines: 2,
        run: over_ssh,
    },
    Scenario {
        name: "services_of_two_hosts_through_agents",
        about: "the same plan through agents: restarted, deployed to, rolled back, server and agent killed on the way",
        limit: Duration::from_mins(9),
        machines: 2,
        run: through_agents,
    },
];

/// Who is asked.
enum Way {
    /// `reveille -i fleet.toml`.
    Local(Local),
    /// `reveille --server`.
    Server(Box<Server>),
}

struct Story<'w> {
    world: &'w World,
    platform: Platform,
    way: Way,
    manifest: String,
}

/// The pace of the engine here; what a restart needs is that of the platform.
fn tables() -> String {
    product::pace(&[])
}

fn over_ssh(world: &World) -> anyhow::Result<()> {
    let platform = Platform::spread(world)?;
    platform.power_on()?;
    let member = |host: &crate::lab::Host| Member { host: host.clone(), role: Role::Worker, rack: "a" };
    let fleet = Fleet { members: platform.hosts().into_iter().map(member).collect() };
    let local = Local::new(world, &fleet, &tables())?;
    let story = Story::new(world, platform, Way::Local(local))?;
    story.goes_well()?;
    story.migrated_once()?;
    story.killed().context("reveille killed")?;
    story.is_rolled_back()
}

fn through_agents(world: &World) -> anyhow::Result<()> {
    let platform = Platform::spread(world)?;
    for host in platform.hosts() {
        product::install_agent(world, host)?;
    }
    platform.power_on()?;
    let server = Server::start(world, &[])?;
    for host in platform.hosts() {
        product::enrol(&server, host)?;
    }
    let mut story = Story::new(world, platform, Way::Server(Box::new(server)))?;
    story.goes_well()?;
    story.migrated_once()?;
    story.server_and_agent_killed().context("server and agent killed")?;
    story.is_rolled_back()
}

/// The first of them is on the one host, the others on the other.
const SSO: Small = SMALL[0];

impl<'w> Story<'w> {
    fn new(world: &'w World, platform: Platform, way: Way) -> anyhow::Result<Self> {
        let manifest = world.dir.join("reveille.toml");
        std::fs::write(&manifest, platform.manifest(&Pace { soak: "2s", ..Pace::default() }))?;
        Ok(Self { world, platform, way, manifest: manifest.display().to_string() })
    }

    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [words, &["--manifest", &self.manifest]].concat()
    }

    fn server(&self) -> anyhow::Result<&Server> {
        let Way::Server(server) = &self.way else { anyhow::bail!("there is no server") };
        Ok(server)
    }

    fn client(&self, server: &Server, words: &[&str]) -> anyhow::Result<Command> {
        let mut reveille = command([self.world.program("reveille")?]);
        reveille.args(words).args(["--server", &server.api.base]).current_dir(&self.world.dir);
        reveille.arg("--ca").arg(server.api.ca.as_ref().context("no CA")?);
        reveille.env("REVEILLE_TOKEN", server.api.token.as_ref().context("no token")?);
        reveille.env("HOME", &self.world.dir);
        Ok(reveille)
    }

    fn run(&self, words: &[&str]) -> anyhow::Result<Said> {
        match &self.way {
            Way::Local(local) => local.run(words, PATIENCE),
            Way::Server(server) => output(&mut self.client(server, words)?, PATIENCE),
        }
    }

    fn json(&self, words: &[&str]) -> anyhow::Result<(Value, Option<i32>)> {
        let said = self.run(&[words, &["--output", "json"]].concat())?;
        let value = serde_json::from_str(&said.out).with_context(|| format!("{words:?} said {}\n{}", said.out, said.err))?;
        Ok((value, said.status.code()))
    }

    /// A tree for each service, on the host where it is.
    fn put_trees(&self, version: &str, ill: Option<&str>) -> anyhow::Result<()> {
        SMALL.iter().try_for_each(|small| {
            let behaviour = if ill == Some(small.name) { "sick" } else { "" };
            self.platform.put_tree_of(small, &format!("/deploy/{}", small.name), version, behaviour)
        })
    }

    /// All of them serve this version, from its tree.
    fn serve(&self, version: &str) -> anyhow::Result<()> {
        for small in SMALL {
            let serves = self.platform.version(&small)?;
            ensure!(serves == version, "{} answers with {serves} and not with {version}", small.name);
            let (now, new) = (
                self.platform.hash_of(&small, &small.tree())?,
                self.platform.hash_of(&small, &format!("/deploy/{}", small.name))?,
            );
            ensure!(now == new, "the tree of {} is not the new one", small.name);
        }
        let done =
            self.platform.sql("sso", &format!("SELECT count(*) FROM migrations WHERE name = 'migrations/{version}.sql'"))?;
        ensure!(done.trim() == "1", "migration {version} is there {done} times");
        let times = self.platform.migrated(version)?;
        ensure!(times == 1, "the migration of version {version} was run {times} times");
        Ok(())
    }

    fn trees(&self) -> anyhow::Result<Vec<String>> {
        SMALL.iter().map(|small| self.platform.hash_of(small, &small.tree())).collect()
    }

    fn goes_well(&self) -> anyhow::Result<()> {
        let platform = &self.platform;
        let units = platform.units();
        let before = platform.invocations(&units)?;
        self.put_trees("2", None)?;
        if matches!(self.way, Way::Local(_)) {
            let said = self.run(&self.words(&["check"]))?;
            ensure!(said.ok(), "check: {}{}", said.out, said.err);
            let (listed, code) = self.json(&self.words(&["services"]))?;
            ensure!(code == Some(0), "not all are well: {listed}");
        }
        let deploy = self.words(&["restart", "--deploy", "--deploy-path", "/deploy"]);
        // A server hears its agents first.
        let preview = wait::until("the dry run to find nothing in the way", PATIENCE, || {
            let (preview, code) = self.json(&[&deploy[..], &["--dry-run"]].concat())?;
            ensure!(code == Some(0), "the dry run ended with {code:?}: {preview:#}");
            Ok(Some(preview))
        })?;
        ensure!(platform.invocations(&units)? == before, "a dry run restarted something");
        let hosts: Vec<&str> =
            preview["services"].as_array().into_iter().flatten().filter_map(|row| row["host"].as_str()).collect();
        let (data, app) = (platform.host.name(), platform.other.name());
        ensure!(hosts == [data, data, data, app, app, app], "{preview:#}");

        let reload: Vec<&Small> = SMALL.iter().filter(|small| small.reloads).collect();
        let loads: Vec<Load> =
            reload.iter().map(|small| Load::start(&format!("{}:{}", platform.of(small).ip(), small.port))).collect();
        let (result, code) = self.json(&[&deploy[..], &["--yes"]].concat())?;
        let tallies = loads.into_iter().map(Load::end).collect::<anyhow::Result<Vec<_>>>()?;
        ensure!(code == Some(0) && result["success"] == true, "it ended with {code:?}: {result:#}");
        for (small, tally) in reload.iter().zip(&tallies) {
            ensure!(tally.failed.is_empty(), "{}: {}: {:?}", small.name, tally.words(), tally.failed.first());
        }
        self.serve("2")?;
        let after = platform.invocations(&units)?;
        for (unit, (one, other)) in units.iter().zip(before.iter().zip(&after)) {
            let reloads = SMALL.iter().any(|small| small.unit == *unit && small.reloads);
            ensure!((one == other) == reloads, "{unit}: invocation {one} before and {other} after");
        }
        let id = result["orchestration_id"].as_str().context("no orchestration")?;
        let (journal, _) = self.json(&[&plan::JOURNAL[..], &[id]].concat())?;
        let same = plan::same(&preview, &journal, true)?;
        let requests: usize = tallies.iter().map(|tally| tally.good).sum();
        self.world.shown(format!(
            "version 2 on both hosts, by systemd's invocation ids, answers and hashes; {requests} requests to those that reload, 0 failed"
        ));
        self.world.shown(same);
        Ok(())
    }

    /// A service on both hosts: its migration runs on the first, and where it fails nothing is touched.
    fn migrated_once(&self) -> anyhow::Result<()> {
        let manifest = self.world.dir.join("shared.toml");
        let service = format!("unit = \"{SHARED}\"\nmigrate = {{ named = \"shared-migrate\" }}\n");
        std::fs::write(&manifest, format!("[timings]\nstabilization_period = \"1s\"\n[service.shared]\n{service}"))?;
        let manifest = manifest.display().to_string();
        let hosts = self.platform.hosts();
        let mut words = vec!["restart", "--yes", "--manifest", &manifest];
        words.extend(hosts.iter().flat_map(|host| ["--host", host.name()]));
        let show = format!("systemctl show --property InvocationID --value {SHARED}");
        let look = || -> anyhow::Result<(Vec<String>, usize)> {
            let runs = hosts.iter().map(|host| host.sh(&show)).collect::<anyhow::Result<Vec<_>>>()?;
            let times = hosts.iter().map(|host| Ok(host.sh("cat /root/shared 2>/dev/null | wc -l")?.trim().parse::<usize>()?));
            Ok((runs, times.sum::<anyhow::Result<usize>>()?))
        };
        let (before, _) = look()?;
        let (result, code) = self.json(&words)?;
        ensure!(code == Some(0), "it ended with {code:?}: {result:#}");
        let (after, times) = look()?;
        ensure!(before.iter().zip(&after).all(|(one, other)| one != other), "not restarted on both: {before:?} {after:?}");
        ensure!(times == 1, "the migration was run {times} times");
        hosts.iter().try_for_each(|host| host.put_file("/root/shared-fails", "", 0o644))?;
        let (result, code) = self.json(&words)?;
        ensure!(code != Some(0) && result["success"] == false, "it ended with {code:?}: {result:#}");
        let (untouched, times) = look()?;
        ensure!(untouched == after && times == 2, "after a migration that failed: {times} runs, {after:?} {untouched:?}");
        self.world.shown("a service on both hosts: migrated once, restarted on both; with a migration that fails, on neither");
        Ok(())
    }

    /// `kill -9` of reveille in the middle of a deploy to both hosts; `resume` goes on.
    fn killed(&self) -> anyhow::Result<()> {
        let Way::Local(local) = &self.way else { anyhow::bail!("there is a server") };
        self.put_trees("3", None)?;
        let deploy = self.words(&["restart", "--yes", "--deploy", "--deploy-path", "/deploy"]);
        let mut running = local.daemon(&deploy);
        // Migrated, and nobody has written it down; a deploy on the other host that was not sent; one that was not written down.
        let (data, app) = (self.platform.host.name(), self.platform.other.name());
        let cuts = [
            ("before_append", format!("acked migrate of sso.api on {data} completed")),
            ("after_append", "command_issued deploy /deploy/merchant.api".to_owned()),
            ("before_append", format!("acked deploy of profile.api on {app} completed")),
        ];
        for (point, what) in &cuts {
            local.points().set(point, what)?;
            running.start()?;
            let paused = wait::until("the stop, or the end", PATIENCE, || {
                let reached = local.points().reached(point);
                Ok((reached || !running.alive()).then_some(reached))
            })?;
            ensure!(paused, "it has ended: {}", running.log_tail());
            running.kill_9()?;
            local.points().clear(point)?;
            running = local.daemon(&["resume"]);
        }
        let said = local.run(&["resume"], PATIENCE)?;
        ensure!(said.ok(), "resume ended with {}: {}{}", said.status, said.out, said.err);
        self.serve("3")?;
        self.world.shown(format!(
            "reveille killed {} times in a deploy to both hosts, and resumed: version 3, whole, migrated once",
            cuts.len()
        ));
        Ok(())
    }

    /// The server is killed when what was migrated is not written down, and the agent of the other host when it has deployed and
    /// nobody knows.
    fn server_and_agent_killed(&mut self) -> anyhow::Result<()> {
        self.put_trees("3", None)?;
        let (point, platform) = ("before_append", &self.platform);
        let [_, merchant, ..] = SMALL;
        let agent = Points::of(&platform.other.disk().join(AGENT_STATE.trim_start_matches('/')));
        agent.set("before_end", "2")?;
        self.server()?.points().set(point, &format!("acked migrate of sso.api on {} completed", platform.host.name()))?;
        let deploy = self.words(&["restart", "--yes", "--deploy", "--deploy-path", "/deploy", "--detach"]);
        let said = self.run(&deploy)?;
        ensure!(said.ok(), "it was not started: {}{}", said.out, said.err);
        let Way::Server(server) = &mut self.way else { anyhow::bail!("there is no server") };
        server.points().wait(point, PATIENCE)?;
        server.kill_9()?;
        server.points().clear(point)?;
        server.start_again()?;
        let list = server.look("/api/v1/orchestrations?active=true")?;
        let id = list["orchestrations"][0]["id"].as_str().with_context(|| list.to_string())?.to_owned();
        let path = format!("/api/v1/orchestrations/{id}");
        // The agent's second piece of work there: the unit file of merchant.api is backed up, its tree is exchanged, and nobody knows.
        agent.wait("before_end", PATIENCE)?;
        let tree = platform.hash_of(&merchant, &merchant.tree())?;
        ensure!(tree == platform.hash_of(&merchant, "/deploy/merchant.api")?, "the agent stands somewhere else");
        let pid = platform.other.sh("systemctl show -P MainPID reveille-agent")?;
        platform.other.sh(&format!("kill -9 {}", pid.trim()))?;
        agent.clear("before_end")?;
        let over = wait::until("the end", PATIENCE, || {
            let document = server.look(&path)?;
            Ok(document["outcome"].is_string().then_some(document))
        })?;
        ensure!(over["outcome"] == "completed", "{over:#}");
        self.serve("3")?;
        self.world.shown("the server killed before it wrote down that it was migrated, the agent of the other host before it said that it had deployed: version 3, \
             whole, migrated once");
        Ok(())
    }

    /// Version 4 of sso.api is ill: the old one serves on, and nothing on the other host was touched.
    fn is_rolled_back(&self) -> anyhow::Result<()> {
        let platform = &self.platform;
        self.put_trees("4", Some(SSO.name))?;
        let others: Vec<&str> = SMALL.iter().skip(1).map(|small| small.unit).collect();
        let (before, trees) = (platform.invocations(&others)?, self.trees()?);
        let sso = platform.invocations(&[SSO.unit])?;
        let (result, code) = self.json(&self.words(&["restart", "--deploy", "--deploy-path", "/deploy", "--yes"]))?;
        ensure!(code != Some(0) && result["success"] == false, "it ended with {code:?}: {result:#}");
        let failed = &result["services_failed"];
        ensure!(failed[0].as_str().is_some_and(|name| name.starts_with(SSO.name)) && failed[1].is_null(), "{result:#}");
        for small in SMALL {
            ensure!(platform.version(&small)? == "3", "{} answers with {}", small.name, platform.version(&small)?);
        }
        ensure!(self.trees()? == trees, "a tree is not as it was");
        ensure!(platform.invocations(&[SSO.unit])? != sso, "it was not touched at all");
        ensure!(platform.invocations(&others)? == before, "the other host was touched");
        let row = result["services"].as_array().and_then(|rows| rows.iter().find(|row| row["name"] == SSO.name));
        let row = row.context("no row")?;
        ensure!(row["rolled_back"] == true, "{row:#}");
        let reason = row["reason"].as_str().unwrap_or_default();
        ensure!(reason.contains("not healthy after the restart"), "{row:#}");
        self.world.shown(format!("version 4 rolled back, version 3 serves, the other host untouched ({reason})"));
        Ok(())
    }
}
